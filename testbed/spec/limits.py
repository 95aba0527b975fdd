"""What a topology and a scenario may ask for, and why not more."""

from __future__ import annotations

# Bits per second. Below the first OSPF, PIM and BFD alone would fill a link; above the second no machine
# that this runs on comes near.
MIN_RATE = 64_000
MAX_RATE = 100 * 10**9

# Seconds, one way. A geostationary hop is 0.25 s; more than this is a forgotten unit.
MAX_DELAY = 1.0

# Beyond it no routing adjacency stays up; a link that loses everything is a fault, not a link.
MAX_LOSS = 0.5

# Linux: MAXVIFS is 32 a table (linux/mroute.h), and pimd's pimreg takes one.
MAX_MULTICAST_INTERFACES = 31

# Seconds; for anything on the timeline.
MAX_TIME = 24 * 3600.0

# Each has a port and processes of its own at every site; flows that are to be many are the background's.
MAX_SYNCS = 250

# Seconds between probes; closer ones measure the scheduler instead of the network.
MIN_PROBE_INTERVAL = 1e-4

# Bytes. IP length = block + 52: IPv4 20, UDP 8, UFTP 24; or IPv4 20, TCP 20, timestamps 12.
# An IPv4 and a UDP header in front of a probe.
TRANSPORT_OVERHEAD = 52
PROBE_OVERHEAD = 28
# Room for a scheme's own headers: BIER with a BitString of 256 bits takes 44 (RFC 8296), with 1024 bits 140, and a
# tunnel around routers without BIER 24 more (RFC 8279 section 6.9); IPv6 with a segment routing header of three
# segments takes 96. One block size for all, or goodputs would not compare.
ENCAPSULATION_ROOM = 164
