/* SRv6: End.Replicate (RFC 9524 section 2.2.1) and H.Encaps.Red (RFC 8986 section 5.2) with the SRH of RFC 8754. */
#include "parts.h"

enum {
	SRH_LEN = 8, /* without the segments */
	OPTION_PAD1 = 0,
	OPTION_MUST_SKIP = 0, /* the two high bits of an option's type: skip it if it is unknown (RFC 8200 section 4.2) */
};

/* -- writing ----------------------------------------------------------------------------------------------------- */

struct outer {
	uint32_t next, payload, traffic_class, flow_label, hop_limit;
};

static bool push_ipv6(struct copy *c, const uint8_t *source, const uint8_t *destination, const struct outer *o)
{
	uint8_t *h = copy_push(c, IPV6_LEN);
	if (!h)
		return false;
	put32(h, 6u << 28 | o->traffic_class << 20 | (o->flow_label & 0xFFFFF));
	put16(h + 4, o->payload);
	h[6] = (uint8_t)o->next;
	h[7] = (uint8_t)o->hop_limit;
	memcpy(h + 8, source, ADDR_LEN);
	memcpy(h + 24, destination, ADDR_LEN);
	return true;
}

/* Encapsulate in IPv6 along `n` segments in the order of travel: the first is the destination, and is left out of the
 * SRH; a single one needs no SRH. `o->payload` is that of the packet inside. */
static bool push_encaps_red(struct copy *c, const struct node *node, const uint8_t *const *segments, uint32_t n,
			    struct outer o)
{
	uint32_t inside = o.next, srh = n > 1 ? SRH_LEN + ADDR_LEN * (n - 1) : 0;
	o.payload += srh;
	if (srh)
		o.next = PROTO_ROUTING;
	if (o.payload > 0xFFFF || !push_ipv6(c, node->source, segments[0], &o))
		return false;
	if (!srh)
		return true;
	uint8_t *h = copy_push(c, srh);
	if (!h)
		return false;
	h[0] = (uint8_t)inside;
	h[1] = (uint8_t)(2 * (n - 1)); /* in 8 octets, without the first 8 */
	h[2] = ROUTING_TYPE_SRH;
	h[3] = (uint8_t)(n - 1); /* segments left */
	h[4] = (uint8_t)(n - 2); /* last entry */
	h[5] = 0;
	put16(h + 6, 0);
	for (uint32_t i = 0; i < n - 1; i++) /* the last segment comes first */
		memcpy(h + SRH_LEN + ADDR_LEN * i, segments[n - 1 - i], ADDR_LEN);
	return true;
}

/* The branch's segments, and its Replication-SID behind them if `all`. */
static uint32_t segments_of(const struct branch *b, bool all, const uint8_t *list[STACK_MAX + 1])
{
	uint32_t n = 0;
	for (; n < b->depth; n++)
		list[n] = b->segments[n];
	if (all)
		list[n++] = b->sid;
	return n;
}

void srv6_branch_head(struct work *w, struct branch *b, const struct inner *inner)
{
	const struct node *node = &w->core->tables->node;
	const uint8_t *list[STACK_MAX + 1];
	uint32_t tclass = ip_traffic_class(inner->whole.at), hash = ip_flow_hash(inner->whole);
	struct outer o = {inner->version == 4 ? PROTO_IPV4 : PROTO_IPV6, inner->whole.length, tclass, hash, node->ttl};
	struct copy *c = copy_begin(w);
	bool fits;
	if (b->steer == STEER_SRH) {
		fits = push_encaps_red(c, node, list, segments_of(b, true, list), o);
	} else {
		const uint8_t *sid = b->sid;
		if (b->depth) {
			struct outer around = o;
			around.next = PROTO_IPV6;
			around.payload += IPV6_LEN;
			fits = push_encaps_red(c, node, list, segments_of(b, false, list), around) &&
			       push_encaps_red(c, node, &sid, 1, o);
		} else {
			fits = push_encaps_red(c, node, &sid, 1, o);
		}
	}
	if (fits)
		copy_send(w, c, copy_push_inner(c, inner), b->nexthop_index, ETHERTYPE_IPV6, &b->sent);
	else
		drop(w, DROP_STACK);
}

/* -- End.Replicate ----------------------------------------------------------------------------------------------- */

/* Replicate(RS, packet), S03 to S11: the destination comes from the local state, never from the SRH. `hop_limit` is
 * already decremented. */
static void replicate(struct work *w, const struct segment *s, struct bytes packet, uint32_t hop_limit)
{
	const struct tables *t = w->core->tables;
	struct bytes rest = packet;
	bytes_skip(&rest, IPV6_LEN);
	for (uint32_t i = 0; i < s->branches; i++) {
		struct branch *b = table_at(&t->branches, s->first_branch + i);
		struct copy *c = copy_begin(w);
		if (b->depth) {
			const uint8_t *list[STACK_MAX + 1];
			uint32_t word = get32(packet.at);
			struct outer o = {PROTO_IPV6, packet.length, word >> 20 & 0xFF, word, t->node.ttl};
			if (!push_encaps_red(c, &t->node, list, segments_of(b, false, list), o)) {
				drop(w, DROP_STACK);
				continue;
			}
		}
		uint8_t *h = copy_push(c, IPV6_LEN);
		if (!h) {
			drop(w, DROP_STACK);
			continue;
		}
		memcpy(h, packet.at, IPV6_LEN);
		h[7] = (uint8_t)hop_limit;
		memcpy(h + 24, b->sid, ADDR_LEN);
		copy_send(w, c, rest, b->nexthop_index, ETHERTYPE_IPV6, &b->sent);
	}
}

/* RFC 9524 section 2.2.2, A.2.1: who pings through a tree has summed up with the leaf's SID as the destination. */
static void answer_echo(struct work *w, const uint8_t *ip, struct bytes icmp)
{
	static const uint8_t unspecified[ADDR_LEN];
	const struct tables *t = w->core->tables;
	if (ip[8] == 0xFF || !memcmp(ip + 8, unspecified, ADDR_LEN)) { /* nobody (RFC 4291 sections 2.5.2 and 2.7) */
		drop(w, DROP_IP_HEADER);
		return;
	}
	uint32_t pseudo = checksum_add(PROTO_ICMPV6 + icmp.length, ip + 8, 2 * ADDR_LEN);
	if (checksum_finish(checksum_add(pseudo, icmp.at, icmp.length))) {
		drop(w, DROP_CHECKSUM);
		return;
	}
	if (t->node.fib_index == NONE) {
		drop(w, DROP_NO_NEIGHBOUR);
		return;
	}
	struct copy *c = copy_begin(w);
	struct outer o = {PROTO_ICMPV6, icmp.length, 0, 0, t->node.ttl};
	push_ipv6(c, ip + 24, ip + 8, &o);
	uint8_t *h = copy_push(c, 8);
	memcpy(h, icmp.at, 8);
	h[0] = ICMPV6_ECHO_REPLY;
	put16(h + 2, 0);
	uint32_t sum = checksum_add(pseudo, h, 8); /* the addresses have changed places, their sum is the same */
	bytes_skip(&icmp, 8);
	put16(h + 2, checksum_finish(checksum_add(sum, icmp.at, icmp.length)));
	copy_send(w, c, icmp, t->node.fib_index, ETHERTYPE_IPV6, NULL);
}

/* Whether every option of a header of options may be skipped by whoever does not know it. */
static bool options_skippable(const uint8_t *h, uint32_t length)
{
	for (uint32_t i = 2; i < length;) {
		if (h[i] == OPTION_PAD1) {
			i++;
			continue;
		}
		if (h[i] >> 6 != OPTION_MUST_SKIP || i + 2 > length || i + 2u + h[i + 1] > length)
			return false;
		i += 2u + h[i + 1];
	}
	return true;
}

/* Where the walk over the extension headers stands. */
struct chain {
	uint32_t next;
	struct bytes at;
	const uint8_t *srh; /* the one with segments left; NULL: there is none */
};

/* Walk to the upper-layer header. A routing header without segments left is passed over, whatever it is (RFC 8200
 * section 4.4, RFC 8754 section 4.3.1.1 S02); another must be the only such one, and an SRH that is whole. TLVs of the
 * SRH are not processed (RFC 9524 S15: only if local configuration allows it, and here is none). False: dropped. */
static bool walk(struct work *w, struct chain *c)
{
	while (c->next == PROTO_HOPOPTS || c->next == PROTO_DSTOPTS || c->next == PROTO_ROUTING) {
		const uint8_t *h = c->at.at;
		uint32_t length = c->at.length < 8 ? 0 : 8u + 8u * h[1];
		if (!length || !bytes_skip(&c->at, length)) {
			drop(w, c->next == PROTO_ROUTING ? DROP_SRH : DROP_SHORT);
			return false;
		}
		if (c->next == PROTO_ROUTING && h[3]) {
			/* entries 0 to `last entry`; a reduced SRH may have one segment more left (RFC 8754 4.1.1) */
			if (c->srh || h[2] != ROUTING_TYPE_SRH || SRH_LEN + ADDR_LEN * (h[4] + 1u) > length ||
			    h[3] > h[4] + 1u) {
				drop(w, DROP_SRH);
				return false;
			}
			c->srh = h;
		} else if (c->next != PROTO_ROUTING && !options_skippable(h, length)) {
			drop(w, DROP_IPV6_OPTION);
			return false;
		}
		c->next = h[0];
	}
	return true;
}

/* S18 to S31, at a leaf or bud. */
static void deliver(struct work *w, struct segment *s, const uint8_t *ip, struct chain c)
{
	const struct tables *t = w->core->tables;
	uint32_t context = s->context, left = c.srh ? c.srh[3] : 0;
	if (left) { /* S20: the context from the segment list */
		const struct sid *sid = table_find(&t->sids, c.srh + SRH_LEN + ADDR_LEN * (left - 1));
		if (sid && sid->kind == SID_CONTEXT) {
			context = sid->context;
			left--;
		}
		if (left) { /* S21 */
			drop(w, DROP_SEGMENTS_LEFT);
			return;
		}
	}
	if (c.next == PROTO_IPV4 || c.next == PROTO_IPV6) {
		if (!is_ip(c.at, c.next == PROTO_IPV4 ? 4 : 6)) {
			drop(w, DROP_IP_HEADER);
			return;
		}
		count(&s->delivered, c.at.length);
		overlay_input(w, c.at, context);
	} else if (c.next == PROTO_ICMPV6 && c.at.length >= 8 && c.at.at[0] == ICMPV6_ECHO_REQUEST) {
		answer_echo(w, ip, c.at);
	} else {
		drop(w, DROP_UPPER_LAYER);
	}
}

void srv6_input(struct work *w, struct bytes packet)
{
	const struct tables *t = w->core->tables;
	if (packet.length < IPV6_LEN || !is_ip(packet, 6))
		return;
	const uint8_t *ip = packet.at;
	struct sid *sid = table_find(&t->sids, ip + 24);
	if (!sid)
		return;
	uint32_t length = IPV6_LEN + get16(ip + 4), hop_limit = ip[7];
	if (length > packet.length) {
		drop(w, DROP_SHORT);
		return;
	}
	packet.length = length; /* what is behind it is padding of the frame */
	count(&sid->in, length);
	if (sid->kind != SID_REPLICATE) {
		drop(w, DROP_UPPER_LAYER);
		return;
	}
	struct segment *s = table_at(&t->segments, sid->segment_index);
	if (hop_limit <= 1) { /* S02: on a leaf too, unlike BIER */
		drop(w, DROP_HOP_LIMIT);
		return;
	}
	if (hop_limit < s->threshold) { /* S09 */
		drop(w, DROP_HOP_LIMIT_THRESHOLD);
		return;
	}
	struct chain c = {ip[6], packet, NULL};
	bytes_skip(&c.at, IPV6_LEN);
	if (!walk(w, &c))
		return;
	count(&s->in, length);
	replicate(w, s, packet, hop_limit - 1);
	if (s->role == ROLE_LEAF || s->role == ROLE_BUD)
		deliver(w, s, ip, c);
	else if (!s->branches)
		drop(w, DROP_NO_BRANCH);
}
