/* Every reason for which a packet, or one copy of it, is not sent on. Each has a counter and a name. */
#ifndef DROPS_H
#define DROPS_H

#define DROP_REASONS(X)                                                                                       \
	/* the frame */                                                                                       \
	X(SHORT, "short", "frame ends inside a header")                                                       \
	X(OVERSIZED, "oversized", "frame longer than the receive buffer")                                     \
	X(UNCUT, "uncut", "several packets in one frame: turn the host's segmentation offload off")             \
	X(OTHER_HOST, "other-host", "frame for another station")                                              \
	X(NOT_TRANSPORT, "not-transport", "BIER, MPLS or SRv6 on a port where it is not allowed")             \
	/* BIER, RFC 8296 */                                                                                  \
	X(BIFT_UNKNOWN, "bift-unknown", "no BIFT with this BIFT-id")                                          \
	X(BIER_NIBBLE, "bier-nibble", "first nibble is not 0101 behind an MPLS label")                        \
	X(BIER_VERSION, "bier-version", "version is not 0")                                                   \
	X(BIER_BSL, "bier-bsl", "BSL field differs from the BIFT's")                                          \
	X(BIER_EMPTY, "bier-empty", "no bit set")                                                             \
	X(BIER_TTL, "bier-ttl", "TTL expired")                                                                \
	X(BIER_NO_PATH, "bier-no-path", "a bit without a path")                                               \
	X(BIER_PATH_DROP, "bier-path-drop", "a bit whose path is to drop it (unreachable BFER)")              \
	X(BIER_PROTO, "bier-proto", "BFER does not know the Proto")                                           \
	/* tunnels around routers that are no BFRs, RFC 8279 section 6.9 */                                    \
	X(FRAGMENT, "fragment", "tunnel packet in fragments")                                                  \
	X(GRE, "gre", "GRE header of another version, or with fields that are not agreed on")                  \
	X(GRE_PROTOCOL, "gre-protocol", "neither BIER nor MPLS in a tunnel")                                   \
	/* MPLS */                                                                                            \
	X(LABEL_UNKNOWN, "label-unknown", "no such label here")                                               \
	X(LABEL_BOTTOM, "label-bottom", "label stack without a bottom, or bottom where more labels must follow")\
	X(LABEL_TTL, "label-ttl", "TTL expired")                                                              \
	/* replication segments, RFC 9524 */                                                                  \
	X(HOP_LIMIT, "hop-limit", "hop limit 1 or less at a Replication-SID")                                 \
	X(HOP_LIMIT_THRESHOLD, "hop-limit-threshold", "hop limit below the segment's threshold")              \
	X(NO_BRANCH, "no-branch", "segment that neither replicates nor delivers")                             \
	X(SRH, "srh", "malformed segment routing header")                                                     \
	X(SEGMENTS_LEFT, "segments-left", "segments left at a leaf")                                          \
	X(UPPER_LAYER, "upper-layer", "upper-layer header not allowed at a leaf")                             \
	X(IPV6_OPTION, "ipv6-option", "option that must be understood and is not")                            \
	X(STACK, "stack", "the labels to push would not fit")                                                 \
	X(LOOSE, "loose", "first label of a loose branch has no next hop")                                    \
	/* overlay: IP multicast at the edges */                                                              \
	X(IP_HEADER, "ip-header", "malformed IP header")                                                      \
	X(IP_TTL, "ip-ttl", "inner TTL or hop limit expired")                                                 \
	X(IP_NOT_MULTICAST, "ip-not-multicast", "payload is no IP multicast")                                 \
	X(CHECKSUM, "checksum", "bad checksum")                                                               \
	X(NO_FLOW, "no-flow", "no flow for this source and group")                                            \
	X(INGRESS_MTU, "ingress-mtu", "too large for the domain once encapsulated")                           \
	X(NESTED, "nested", "overlay that leads back into itself")                                            \
	/* sending */                                                                                         \
	X(NO_NEIGHBOUR, "no-neighbour", "next hop without a link-layer address")                              \
	X(PORT_DOWN, "port-down", "port absent or down")                                                      \
	X(MTU, "mtu", "larger than the port's MTU")                                                           \
	X(TX_QUEUE, "tx-queue", "the port's queue was full")                                                  \
	X(TX_ERROR, "tx-error", "the kernel refused the frame")                                               \
	X(RX_SOCKET, "rx-socket", "the receive socket was full")

enum drop {
#define X(id, name, text) DROP_##id,
	DROP_REASONS(X)
#undef X
	DROP_COUNT
};

extern const char *const drop_names[DROP_COUNT];
extern const char *const drop_texts[DROP_COUNT];

#endif
