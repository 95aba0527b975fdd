"""The SR-P2MP controller: from OSPF's link state database to Replication segments in routers (docs/sr-p2mp.md)."""
