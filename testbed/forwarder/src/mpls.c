/* SR-MPLS: label operations (RFC 3031, RFC 8660) and Replication segments over them (RFC 9524 section 2.1).
 *
 * TTLs follow the pipe model (RFC 3443 section 3.2), as RFC 8279 section 6.9 wants it for tunnels that carry BIER: an
 * entry's TTL is decremented where that entry is what is forwarded on, labels that steer are pushed with a large TTL,
 * and what a pop exposes keeps its own. */
#include "parts.h"

enum { ENTRY_S = 1 << 8 };

static uint32_t entry_of(uint32_t label, uint32_t tc, bool bottom, uint32_t ttl)
{
	return label << 12 | tc << 9 | (bottom ? ENTRY_S : 0) | ttl;
}

static void swap(struct work *w, const struct label *label, uint32_t entry, struct bytes below, uint32_t ttl)
{
	struct copy *c = copy_begin(w);
	put32(copy_push(c, LABEL_LEN), entry_of(label->out, entry >> 9 & 7, entry & ENTRY_S, ttl));
	copy_send(w, c, below, label->nexthop_index, ETHERTYPE_MPLS, NULL);
}

/* NEXT towards a neighbour: what is below goes on as it is. */
static void pop_to(struct work *w, const struct label *label, uint32_t entry, struct bytes below)
{
	struct copy *c = copy_begin(w);
	uint16_t ethertype = ETHERTYPE_MPLS;
	if (!(entry & ENTRY_S)) {
		if (below.length < LABEL_LEN) {
			drop(w, DROP_LABEL_BOTTOM);
			return;
		}
	} else if (below.length && (below.at[0] >> 4 == 4 || below.at[0] >> 4 == 6)) {
		ethertype = below.at[0] >> 4 == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
	} else {
		drop(w, DROP_LABEL_BOTTOM);
		return;
	}
	copy_send(w, c, below, label->nexthop_index, ethertype, NULL);
}

void mpls_branch(struct work *w, struct branch *b, struct bytes below, const struct inner *inner, bool labelled,
		 uint32_t tc, uint32_t ttl)
{
	const struct tables *t = w->core->tables;
	uint32_t labels[STACK_MAX], first = 0, nexthop = b->nexthop_index;
	memcpy(labels, b->labels, sizeof labels);
	if (nexthop == NONE) { /* loose: whatever the first label leads to now */
		const struct label *own = table_find(&t->labels, &labels[0]);
		if (!own || own->nexthop_index == NONE || (own->kind == LABEL_POP_TO && b->depth < 2)) {
			drop(w, DROP_LOOSE);
			return;
		}
		nexthop = own->nexthop_index;
		if (own->kind == LABEL_SWAP)
			labels[0] = own->out;
		else
			first = 1;
	}
	struct copy *c = copy_begin(w);
	for (uint32_t i = first; i < b->depth; i++) {
		bool last = i + 1 == b->depth; /* the Replication-SID; what is above it steers */
		put32(copy_push(c, LABEL_LEN), entry_of(labels[i], tc, last && !labelled, last ? ttl : t->node.ttl));
	}
	if (inner)
		below = copy_push_inner(c, inner);
	copy_send(w, c, below, nexthop, ETHERTYPE_MPLS, &b->sent);
}

/* POP the Replication-SID and PUSH each downstream one (RFC 9524 section 2.1). True: this router is a leaf as well, and
 * `below` is still to be processed here. */
static bool replicate(struct work *w, struct segment *s, uint32_t entry, struct bytes below, uint32_t ttl)
{
	const struct tables *t = w->core->tables;
	bool leaf = s->role == ROLE_LEAF || s->role == ROLE_BUD;
	count(&s->in, below.length);
	if (s->branches && ttl < 2)
		drop(w, DROP_LABEL_TTL);
	else
		for (uint32_t i = 0; i < s->branches; i++)
			mpls_branch(w, table_at(&t->branches, s->first_branch + i), below, NULL, !(entry & ENTRY_S),
				    entry >> 9 & 7, ttl - 1);
	if (!s->branches && !leaf)
		drop(w, DROP_NO_BRANCH);
	if (leaf)
		count(&s->delivered, below.length);
	return leaf;
}

/* Every pop consumes four bytes of the packet, so this ends. Behind a Replication-SID at a leaf only a label that names
 * the context may follow: a stack of Replication-SIDs must not amplify (RFC 9524 section 4). */
void mpls_input(struct work *w, struct bytes packet)
{
	const struct tables *t = w->core->tables;
	bool at_leaf = false;
	for (bool top = true;; top = false) {
		struct bytes below = packet;
		if (!bytes_skip(&below, LABEL_LEN)) {
			drop(w, top ? DROP_SHORT : DROP_LABEL_BOTTOM);
			return;
		}
		uint32_t entry = get32(packet.at), key[BIFT_KEY] = {ENCAP_MPLS, entry >> 12}, context = 0;
		uint32_t ttl = entry & 0xFF;
		struct bift *bift = table_find(&t->bifts, key);
		struct label *label = table_find(&t->labels, &key[1]);
		if (at_leaf && (bift || (label && label->kind != LABEL_POP))) {
			drop(w, DROP_SEGMENTS_LEFT);
			return;
		}
		if (bift) {
			if (entry & ENTRY_S) /* RFC 8296 section 2.1.1.2 */
				bier_mpls_input(w, packet, bift);
			else
				drop(w, DROP_LABEL_BOTTOM);
			return;
		}
		if (!label) {
			drop(w, DROP_LABEL_UNKNOWN);
			return;
		}
		count(&label->in, packet.length);
		bool forwards = label->kind == LABEL_SWAP || label->kind == LABEL_POP_TO;
		if (ttl < (forwards ? 2 : 1)) {
			drop(w, DROP_LABEL_TTL);
			return;
		}
		if (label->kind == LABEL_SWAP) {
			swap(w, label, entry, below, ttl - 1);
			return;
		}
		if (label->kind == LABEL_POP_TO) {
			pop_to(w, label, entry, below);
			return;
		}
		if (label->kind == LABEL_REPLICATE) {
			struct segment *s = table_at(&t->segments, label->segment_index);
			if (!replicate(w, s, entry, below, ttl))
				return;
			context = s->context;
			at_leaf = true;
		} else {
			context = label->context;
		}
		if (entry & ENTRY_S) {
			overlay_input(w, below, context);
			return;
		}
		packet = below;
	}
}
