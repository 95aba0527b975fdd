"""The userspace forwarder for BIER and Replication segments: its C sources, and the Python side of its control socket.

`rows` and `tables` say what a router knows, `client` tells it to a running forwarder, `state` is what comes back, and
`program` is how one is started.
"""
