"""What runs beside FRR: the protocols and programs by which BIER and SR-P2MP learn of the IGP and steer forwarders.

Also used in processes of their own inside a router's namespaces, which start in a moment because nothing heavy is
imported here.
"""
