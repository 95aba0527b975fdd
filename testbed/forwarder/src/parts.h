/* What the parts of the core owe each other. A packet travels as `struct bytes`: it never moves, its ends do. */
#ifndef PARTS_H
#define PARTS_H

#include "core.h"

/* How often a delivered packet may be steered into another tree by the same router. */
enum { NESTING_MAX = 4 };

struct bytes {
	uint8_t *at;
	uint32_t length;
};

static inline bool bytes_skip(struct bytes *b, uint32_t n)
{
	if (n > b->length)
		return false;
	b->at += n;
	b->length -= n;
	return true;
}

/* Whether it begins as an IP packet of the version that its carrier has announced. */
static inline bool is_ip(struct bytes b, unsigned version) { return b.length && b.at[0] >> 4 == version; }

/* An IP packet on its way into a tree: as it came, and as it goes on with its TTL decremented. The header is a copy,
 * because other copies of the packet may still point at the frame. */
struct inner {
	struct bytes whole;
	uint8_t header[IPV6_LEN];
	uint32_t header_length; /* what of `whole` the header replaces */
	uint32_t version;
};

/* What one frame's work carries along. */
struct work {
	struct core *core;
	const struct frame *frame;
	bool from_outside; /* an IP packet that came as such, not out of a tree */
	unsigned nesting;
};

static inline void drop(struct work *w, enum drop reason) { w->core->drops[reason]++; }

static inline void count(struct counter *c, uint32_t bytes)
{
	c->packets++;
	c->bytes += bytes;
}

/* -- sending (send.c): begin, write behind `head`, then send or forget -------------------------------------------- */

/* A copy whose head has its Ethernet header's room and nothing else. */
struct copy *copy_begin(struct work *w);

/* Room for `n` more bytes of head, or NULL. */
static inline uint8_t *copy_push(struct copy *c, uint32_t n)
{
	if (c->head_length + n > HEAD_MAX)
		return NULL;
	uint8_t *at = c->head + c->head_length;
	c->head_length = (uint16_t)(c->head_length + n);
	return at;
}

/* Put the inner header behind what is there; what remains to be sent of the packet. The room is always there: HEAD_MAX. */
struct bytes copy_push_inner(struct copy *c, const struct inner *inner);

/* Send to a neighbour. `counter` (may be NULL) counts what goes out, without the Ethernet header. */
void copy_send(struct work *w, struct copy *c, struct bytes tail, uint32_t nexthop_index, uint16_t ethertype,
	       struct counter *counter);

/* Send to an IP multicast group on a port (RFC 1112 section 6.4, RFC 2464 section 7). */
void copy_send_group(struct work *w, struct copy *c, struct bytes tail, uint32_t port_index, unsigned family,
		     const uint8_t *group, struct counter *counter);

/* -- tunnels to BFR-NBRs that are not on a link (tunnel.c), RFC 8279 section 6.9 ---------------------------------- */

/* Put the tunnel's headers before what is in the head, a BIER header for a neighbour that wants this Ethertype. False:
 * it was dropped. */
bool tunnel_push(struct work *w, struct copy *c, const uint8_t *far_end, uint32_t tail_length, uint16_t ethertype);

/* An IPv4 packet for this station: what a tunnel that ends here carries is taken out of it. */
void tunnel_input(struct work *w, struct bytes packet);

/* -- the planes -------------------------------------------------------------------------------------------------- */

/* A BIER packet from its BIER header on, behind Ethertype 0xAB37. */
void bier_input(struct work *w, struct bytes packet);

/* The same as the last entry of an MPLS label stack, whose label is the BIFT's. */
void bier_mpls_input(struct work *w, struct bytes packet, struct bift *bift);

/* Be the BFIR of an inner IP packet. */
void bier_originate(struct work *w, const struct inner *inner, struct action *action);

void mpls_input(struct work *w, struct bytes packet);
void srv6_input(struct work *w, struct bytes packet);

/* Be the head of a segment for an inner IP packet. */
void segment_originate(struct work *w, const struct inner *inner, struct action *action);

/* One copy for a downstream node, `below` under its labels: `labelled` says whether `below` begins with a label, so that
 * what is pushed is no bottom of stack. `inner` (NULL but at a head) takes the place of `below`. */
void mpls_branch(struct work *w, struct branch *b, struct bytes below, const struct inner *inner, bool labelled,
		 uint32_t tc, uint32_t ttl);
void srv6_branch_head(struct work *w, struct branch *b, const struct inner *inner);

/* -- the overlay (overlay.c) ------------------------------------------------------------------------------------- */

/* An IP packet that came in from outside, or out of a tree, in a context. */
void overlay_input(struct work *w, struct bytes packet, uint32_t context);

/* Traffic class octet of an IP packet (DSCP and ECN) and a hash of its flow. `packet` has a whole IP header. */
uint32_t ip_traffic_class(const uint8_t *ip);
uint32_t ip_flow_hash(struct bytes packet);

/* One's complement sum over some bytes, added to `sum`; fold and complement give a checksum (RFC 1071). */
uint32_t checksum_add(uint32_t sum, const uint8_t *p, uint32_t n);
uint16_t checksum_finish(uint32_t sum);

/* A well-mixed 32-bit hash of a number: for choosing among equal paths. */
static inline uint32_t mix(uint32_t x)
{
	x = (x ^ x >> 16) * 0x7feb352du;
	x = (x ^ x >> 15) * 0x846ca68bu;
	return x ^ x >> 16;
}

#endif
