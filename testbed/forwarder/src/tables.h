/* What a router knows: its ports, next hops, BIFTs, labels, SIDs, replication segments and flows.
 *
 * Plain rows in sorted tables. The fields above the line in each row are what the control language sets; those below
 * it follow from them (tables_seal), from the machine (ports and neighbours) or are counters. Indices are valid only
 * in sealed tables. One thread reads and replaces them, so a swap of a pointer between two packets is atomic.
 */
#ifndef TABLES_H
#define TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "bits.h"
#include "table.h"
#include "wire.h"

enum {
	NAME_LEN = 16, /* IFNAMSIZ */
	STACK_MAX = 8, /* labels or segments that one branch puts in front */
	DEFAULT_TTL = 64,
	NONE = 0xFFFFFFFFu,
};

struct counter {
	uint64_t packets, bytes;
};

/* An interface of the machine that the forwarder reads from and sends to. */
struct port {
	char name[NAME_LEN];
	uint32_t transport; /* BIER, MPLS and SRv6 are accepted here (RFC 9524 section 4: not on external interfaces) */
	uint32_t context;   /* IP multicast that arrives here is looked up in this context; 0: it is ignored */
	/* -- */
	uint32_t ifindex; /* 0: no such interface now */
	uint32_t mtu;
	uint32_t up; /* administratively up and with carrier */
	uint8_t mac[MAC_LEN];
	struct counter rx, tx;
};

/* A neighbour on a port: by its link-layer address, or by an IP address that the shell resolves. With a tunnel, the
 * neighbour is where the way to the tunnel's far end begins, and that end is the BFR-NBR (RFC 8279 section 6.9). */
struct nexthop {
	uint32_t id;
	char port[NAME_LEN];
	uint32_t family; /* of `via`: 0 (none: `mac` is given), 4, 6 */
	uint8_t via[ADDR_LEN];
	uint8_t tunnel[IPV4_ADDR_LEN]; /* its far end; zero: none */
	uint8_t mac[MAC_LEN];
	uint8_t resolved; /* whether `mac` holds; follows the kernel's neighbour table where `via` is given */
	/* -- */
	uint32_t port_index;
};

enum encap { ENCAP_ETHERNET = 0, ENCAP_MPLS = 1 }; /* RFC 8296 sections 2.2 and 2.1 */

/* One Bit Index Forwarding Table: for one <sub-domain, BSL, SI>. Its paths are rows of their own. */
struct bift {
	uint32_t encap;
	uint32_t id; /* BIFT-id, or BIER-MPLS label */
	uint32_t sd, si;
	uint32_t words;   /* BSL / 64 */
	uint32_t bfr_id;  /* of this router in the sub-domain: the BFIR-id of what it originates; 0: it may not be BFIR */
	uint32_t context; /* where packets for this router's own bit are delivered; 0: nowhere */
	uint32_t mtu;     /* largest BIER packet (header and payload) that the domain carries; 0: no limit known */
	/* -- */
	uint32_t first_path, paths, ways;
	struct counter delivered;
};

enum path_kind { PATH_NEXTHOP, PATH_LOCAL, PATH_DROP };

/* All rows of a BIFT that share a neighbour, as one F-BM (RFC 8279 section 6.4). A bit that is in several paths of one
 * way has equal-cost alternatives (6.7.1); several ways are several BIFTs chosen by entropy (6.7.2). */
struct path {
	uint32_t encap, bift, way, index;
	uint32_t kind;
	uint32_t nexthop;
	uint32_t out_id; /* BIFT-id or label to send with */
	uint64_t fbm[WORDS_MAX];
	/* -- */
	uint32_t nexthop_index;
	struct counter sent;
};

enum label_kind { LABEL_SWAP, LABEL_POP_TO, LABEL_POP, LABEL_REPLICATE };

/* CONTINUE; NEXT towards a neighbour (penultimate hop, adjacency); NEXT here; a Replication-SID. */
struct label {
	uint32_t label;
	uint32_t kind;
	uint32_t out;     /* swap */
	uint32_t nexthop; /* swap, pop-to */
	uint32_t context; /* pop: where a packet without further labels is delivered; 0: nowhere */
	uint32_t segment; /* replicate */
	/* -- */
	uint32_t nexthop_index, segment_index;
	struct counter in;
};

enum sid_kind { SID_REPLICATE, SID_CONTEXT };

struct sid {
	uint8_t address[ADDR_LEN];
	uint32_t kind;
	uint32_t segment; /* replicate: End.Replicate */
	uint32_t context; /* context: the processing context a leaf derives from the segment list */
	/* -- */
	uint32_t segment_index;
	struct counter in;
};

enum role { ROLE_HEAD, ROLE_TRANSIT, ROLE_LEAF, ROLE_BUD };

/* Replication state (RFC 9524 section 2.2.1). Its branches are rows of their own. */
struct segment {
	uint32_t id;
	uint32_t role;
	uint32_t threshold; /* IPv6 hop limit threshold; 0: none */
	uint32_t context;   /* leaf and bud: where packets are delivered */
	uint32_t mtu;       /* largest IP packet a head steers into it; 0: no limit known */
	/* -- */
	uint32_t first_branch, branches;
	struct counter in, delivered;
};

enum plane { PLANE_MPLS, PLANE_SRV6 };
enum steer { STEER_ENCAPS, STEER_SRH };

/* One downstream node of a segment. */
struct branch {
	uint32_t segment, index;
	uint32_t plane;
	uint32_t nexthop;           /* NONE, MPLS only: the first label is looked up in this router's own labels */
	uint32_t steer;             /* SRv6: H.Encaps.Red around the copy, or (head only) one encapsulation with an SRH */
	uint32_t depth;             /* how many labels or segments: at least one label, none or more segments */
	uint32_t labels[STACK_MAX]; /* outermost first; the last is the downstream Replication-SID */
	uint8_t sid[ADDR_LEN];      /* the downstream Replication-SID */
	uint8_t segments[STACK_MAX][ADDR_LEN]; /* in the order of travel */
	/* -- */
	uint32_t nexthop_index;
	struct counter sent;
};

struct flow_key {
	uint32_t context;
	uint32_t family; /* 4 or 6 */
	uint8_t group[ADDR_LEN];  /* zero: any */
	uint8_t source[ADDR_LEN]; /* zero: any */
};

/* IP multicast packets of a context. What happens to them are rows of their own. */
struct flow {
	struct flow_key key;
	/* -- */
	uint32_t first_action, actions;
	struct counter in;
};

enum action_kind { ACTION_BIER, ACTION_SEGMENT, ACTION_PORT };

struct action {
	struct flow_key key;
	uint32_t kind;
	uint32_t encap;      /* bier */
	uint32_t id;         /* bier: BIFT; segment */
	char port[NAME_LEN]; /* port */
	uint64_t bits[WORDS_MAX]; /* bier: the BFERs */
	/* -- */
	uint32_t index; /* of the BIFT, segment or port */
	struct counter sent;
};

enum {
	PORT_KEY = NAME_LEN / 4,
	NEXTHOP_KEY = 1,
	BIFT_KEY = 2,
	PATH_KEY = 4,
	LABEL_KEY = 1,
	SID_KEY = ADDR_LEN / 4,
	SEGMENT_KEY = 1,
	BRANCH_KEY = 2,
	FLOW_KEY = sizeof(struct flow_key) / 4,
	ACTION_KEY = FLOW_KEY + 3 + NAME_LEN / 4,
};

/* What concerns the router as a whole. */
struct node {
	uint8_t source[ADDR_LEN]; /* of the outer header of what it encapsulates in IPv6 */
	uint8_t tunnel[IPV4_ADDR_LEN]; /* this router's end of every tunnel; zero: it has none */
	uint32_t ttl;             /* that it sends BIER packets, labels and outer headers with */
	uint32_t fib;             /* next hop to the kernel's own routing, for what this router originates; NONE: none */
	/* -- */
	uint32_t fib_index;
};

struct tables {
	struct node node;
	struct table ports, nexthops, bifts, paths, labels, sids, segments, branches, flows, actions;
};

/* Empty tables, sealed. NULL: out of memory. */
struct tables *tables_new(void);
struct tables *tables_copy(const struct tables *from);
void tables_free(struct tables *t);

/* A place for messages: the first few of them, one a line. */
struct problems {
	char text[4096];
	uint32_t length, count;
};
void problem(struct problems *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Check every reference and value, and set what follows from them. What `old` knows of the machine (ports, resolved
 * neighbours, the ports' counters) is carried over by name; `old` may be NULL. False: problems, `t` is of no use. */
bool tables_seal(struct tables *t, const struct tables *old, struct problems *p);

#endif
