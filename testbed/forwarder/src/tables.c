#include "tables.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TABLES = 10 };

static void each_table(struct tables *t, struct table *out[TABLES])
{
	struct table *all[TABLES] = {&t->ports, &t->nexthops, &t->bifts,	 &t->paths, &t->labels,
				     &t->sids,	&t->segments, &t->branches, &t->flows, &t->actions};
	memcpy(out, all, sizeof all);
}

struct tables *tables_new(void)
{
	struct tables *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->node.ttl = DEFAULT_TTL;
	t->node.fib = t->node.fib_index = NONE;
	table_init(&t->ports, sizeof(struct port), PORT_KEY);
	table_init(&t->nexthops, sizeof(struct nexthop), NEXTHOP_KEY);
	table_init(&t->bifts, sizeof(struct bift), BIFT_KEY);
	table_init(&t->paths, sizeof(struct path), PATH_KEY);
	table_init(&t->labels, sizeof(struct label), LABEL_KEY);
	table_init(&t->sids, sizeof(struct sid), SID_KEY);
	table_init(&t->segments, sizeof(struct segment), SEGMENT_KEY);
	table_init(&t->branches, sizeof(struct branch), BRANCH_KEY);
	table_init(&t->flows, sizeof(struct flow), FLOW_KEY);
	table_init(&t->actions, sizeof(struct action), ACTION_KEY);
	return t;
}

void tables_free(struct tables *t)
{
	if (!t)
		return;
	struct table *all[TABLES];
	each_table(t, all);
	for (int i = 0; i < TABLES; i++)
		table_free(all[i]);
	free(t);
}

struct tables *tables_copy(const struct tables *from)
{
	struct tables *t = tables_new();
	if (!t)
		return NULL;
	t->node = from->node;
	struct tables source = *from;
	struct table *to[TABLES], *in[TABLES];
	each_table(t, to);
	each_table(&source, in);
	for (int i = 0; i < TABLES; i++)
		if (!table_copy(to[i], in[i])) {
			tables_free(t);
			return NULL;
		}
	return t;
}

void problem(struct problems *p, const char *format, ...)
{
	p->count++;
	size_t room = sizeof p->text - p->length;
	if (room < 2)
		return;
	va_list args;
	va_start(args, format);
	int n = vsnprintf(p->text + p->length, room, format, args);
	va_end(args);
	if (n < 0 || (size_t)n + 2 > room) { /* whole messages only */
		p->text[p->length] = '\0';
		return;
	}
	p->length += (uint32_t)n;
	p->text[p->length++] = '\n';
	p->text[p->length] = '\0';
}

/* -- sealing: what rows point at --------------------------------------------------------------------------------- */

static uint32_t index_of(const struct table *t, const void *key)
{
	uint32_t i = table_lower(t, key, t->key_words);
	return table_matches(t, i, key, t->key_words) ? i : NONE;
}

/* The rows of `t` whose key begins with these words: the index of the first, and how many. */
static void range_of(const struct table *t, const void *key, uint16_t words, uint32_t *first, uint32_t *count)
{
	uint32_t i = *first = table_lower(t, key, words);
	while (table_matches(t, i, key, words))
		i++;
	*count = i - *first;
}

static void seal_nexthop_of(const struct tables *t, uint32_t id, uint32_t *index, struct problems *p,
			    const char *what, uint32_t number)
{
	*index = index_of(&t->nexthops, &id);
	if (*index == NONE)
		problem(p, "%s %u: there is no nexthop %u", what, number, id);
}

/* A tunnel carries BIER, and nothing else does through it. */
static void seal_no_tunnel(const struct tables *t, uint32_t index, struct problems *p, const char *what,
			   uint32_t number)
{
	const struct nexthop *nexthop = index == NONE ? NULL : table_at(&t->nexthops, index);
	if (nexthop && get32(nexthop->tunnel))
		problem(p, "%s %u: nexthop %u is a tunnel, which is for paths of a bift only", what, number, nexthop->id);
}

static void seal_ports(struct tables *t, const struct tables *old)
{
	for (uint32_t i = 0; old && i < t->ports.n; i++) {
		struct port *port = table_at(&t->ports, i);
		const struct port *before = table_find(&old->ports, port->name);
		if (!before)
			continue;
		port->ifindex = before->ifindex;
		port->mtu = before->mtu;
		port->up = before->up;
		memcpy(port->mac, before->mac, MAC_LEN);
		port->rx = before->rx;
		port->tx = before->tx;
	}
}

static void seal_nexthops(struct tables *t, const struct tables *old, struct problems *p)
{
	for (uint32_t i = 0; i < t->nexthops.n; i++) {
		struct nexthop *nexthop = table_at(&t->nexthops, i);
		nexthop->port_index = index_of(&t->ports, nexthop->port);
		if (nexthop->port_index == NONE)
			problem(p, "nexthop %u: there is no port %s", nexthop->id, nexthop->port);
		if (get32(nexthop->tunnel) && !get32(t->node.tunnel))
			problem(p, "nexthop %u: a tunnel needs this router's end as well: node tunnel ADDRESS", nexthop->id);
		if (get32(nexthop->tunnel) && get32(nexthop->tunnel) == get32(t->node.tunnel))
			problem(p, "nexthop %u: a tunnel from this router to itself", nexthop->id);
		const struct nexthop *before = old ? table_find(&old->nexthops, &nexthop->id) : NULL;
		if (nexthop->family && before && before->family == nexthop->family &&
		    !memcmp(before->via, nexthop->via, ADDR_LEN) && !memcmp(before->port, nexthop->port, NAME_LEN)) {
			memcpy(nexthop->mac, before->mac, MAC_LEN);
			nexthop->resolved = before->resolved;
		}
	}
}

static bool fits(const uint64_t *bits, uint32_t words)
{
	return bits_first(bits, WORDS_MAX, words) < 0;
}

static uint32_t bits_count(const uint64_t *bits)
{
	uint32_t n = 0;
	for (int i = 0; i < WORDS_MAX; i++)
		n += (uint32_t)__builtin_popcountll(bits[i]);
	return n;
}

static void seal_path(const struct tables *t, const struct bift *bift, struct path *path, struct problems *p)
{
	if (!fits(path->fbm, bift->words))
		problem(p, "path of bift %u: F-BM longer than the %u bits of the BIFT", bift->id, 64 * bift->words);
	if (bits_first(path->fbm, WORDS_MAX, 0) < 0)
		problem(p, "path of bift %u: F-BM without a bit", bift->id);
	if (path->kind == PATH_NEXTHOP)
		seal_nexthop_of(t, path->nexthop, &path->nexthop_index, p, "path of bift", bift->id);
	if (path->kind == PATH_LOCAL && bits_count(path->fbm) != 1) /* RFC 8279 section 6.5, figure 4 */
		problem(p, "path of bift %u: a local path has this router's own bit only", bift->id);
}

/* The own bit: of this router's BFR-id, delivered whatever the entropy (RFC 8296 section 2.1.1.2), clear in every copy
 * (RFC 8279 section 6.1). */
static void seal_own_bit(const struct tables *t, const struct bift *bift, struct problems *p)
{
	int own = -1;
	uint32_t ways = 0; /* that have it */
	bool alone = true;
	for (uint32_t i = 0; i < bift->paths; i++) {
		const struct path *path = table_at(&t->paths, bift->first_path + i);
		if (path->kind == PATH_LOCAL)
			own = bits_first(path->fbm, WORDS_MAX, 0);
	}
	if (own < 0)
		return;
	for (uint32_t i = 0; i < bift->paths; i++) {
		const struct path *path = table_at(&t->paths, bift->first_path + i);
		bool has = bits_test(path->fbm, (unsigned)own);
		if (path->kind != PATH_LOCAL && has)
			problem(p, "bift %u: its own bit %d is in another path too", bift->id, own + 1);
		else if (path->kind == PATH_LOCAL && has && path->way == ways)
			ways++;
		else if (path->kind == PATH_LOCAL)
			alone = false;
	}
	if (ways != bift->ways || !alone)
		problem(p, "bift %u: its own bit %d is to be local once in each way, and no other bit", bift->id, own + 1);
	if (bift->bfr_id && bift->bfr_id != bift->si * 64 * bift->words + (uint32_t)own + 1)
		problem(p, "bift %u: its own bit %d is not that of BFR-id %u", bift->id, own + 1, bift->bfr_id);
}

static void seal_bifts(struct tables *t, struct problems *p)
{
	uint32_t orphans = t->paths.n;
	for (uint32_t i = 0; i < t->bifts.n; i++) {
		struct bift *bift = table_at(&t->bifts, i);
		range_of(&t->paths, bift, BIFT_KEY, &bift->first_path, &bift->paths);
		orphans -= bift->paths;
		bift->ways = 1;
		uint32_t way = 0;
		for (uint32_t k = 0; k < bift->paths; k++) {
			struct path *path = table_at(&t->paths, bift->first_path + k);
			seal_path(t, bift, path, p);
			if (path->way > way + 1 || (k == 0 && path->way))
				problem(p, "bift %u: its ways are not numbered 0, 1, 2 ...", bift->id);
			way = path->way;
			bift->ways = way + 1;
		}
		seal_own_bit(t, bift, p);
		if (bift->encap == ENCAP_MPLS && index_of(&t->labels, &bift->id) != NONE)
			problem(p, "label %u is a BIFT's too", bift->id);
	}
	if (orphans)
		problem(p, "%u paths of a bift that does not exist", orphans);
}

/* Whoever arrives by a label leaves by labels, and by a SID by SIDs; only a head's branches may be of both planes. */
static void seal_plane(const struct tables *t, uint32_t segment_index, uint32_t plane, struct problems *p)
{
	const struct segment *segment = table_at(&t->segments, segment_index);
	uint32_t first, n;
	range_of(&t->branches, &segment->id, 1, &first, &n);
	for (uint32_t i = first; i < first + n; i++) {
		const struct branch *branch = table_at(&t->branches, i);
		if (branch->plane != plane) {
			problem(p, "segment %u: reached by a %s, it cannot branch into the other plane", segment->id,
				plane == PLANE_MPLS ? "label" : "sid");
			return;
		}
	}
}

static void seal_labels(struct tables *t, struct problems *p)
{
	for (uint32_t i = 0; i < t->labels.n; i++) {
		struct label *label = table_at(&t->labels, i);
		label->nexthop_index = label->segment_index = NONE;
		if (label->kind == LABEL_SWAP || label->kind == LABEL_POP_TO)
			seal_nexthop_of(t, label->nexthop, &label->nexthop_index, p, "label", label->label);
		seal_no_tunnel(t, label->nexthop_index, p, "label", label->label);
		if (label->kind == LABEL_REPLICATE &&
		    (label->segment_index = index_of(&t->segments, &label->segment)) == NONE)
			problem(p, "label %u: there is no segment %u", label->label, label->segment);
		if (label->segment_index != NONE)
			seal_plane(t, label->segment_index, PLANE_MPLS, p);
	}
}

static void seal_sids(struct tables *t, struct problems *p)
{
	for (uint32_t i = 0; i < t->sids.n; i++) {
		struct sid *sid = table_at(&t->sids, i);
		sid->segment_index = NONE;
		if (sid->kind != SID_REPLICATE)
			continue;
		sid->segment_index = index_of(&t->segments, &sid->segment);
		if (sid->segment_index == NONE)
			problem(p, "sid: there is no segment %u", sid->segment);
		else
			seal_plane(t, sid->segment_index, PLANE_SRV6, p);
	}
}

static void seal_branch(const struct tables *t, const struct segment *segment, struct branch *branch,
			struct problems *p)
{
	branch->nexthop_index = NONE;
	if (branch->nexthop != NONE)
		seal_nexthop_of(t, branch->nexthop, &branch->nexthop_index, p, "branch of segment", branch->segment);
	seal_no_tunnel(t, branch->nexthop_index, p, "branch of segment", branch->segment);
	if (branch->plane == PLANE_SRV6 && branch->steer == STEER_SRH && segment->role != ROLE_HEAD)
		problem(p, "branch of segment %u: only a head may put the segments in its own encapsulation",
			branch->segment);
}

static void seal_segments(struct tables *t, struct problems *p)
{
	uint32_t orphans = t->branches.n;
	for (uint32_t i = 0; i < t->segments.n; i++) {
		struct segment *segment = table_at(&t->segments, i);
		range_of(&t->branches, &segment->id, 1, &segment->first_branch, &segment->branches);
		orphans -= segment->branches;
		if (segment->role == ROLE_LEAF && segment->branches)
			problem(p, "segment %u: a leaf has no branches (a bud has)", segment->id);
		for (uint32_t k = 0; k < segment->branches; k++)
			seal_branch(t, segment, table_at(&t->branches, segment->first_branch + k), p);
	}
	if (orphans)
		problem(p, "%u branches of a segment that does not exist", orphans);
}

static void seal_action(const struct tables *t, struct action *action, struct problems *p)
{
	if (action->kind == ACTION_PORT) {
		if ((action->index = index_of(&t->ports, action->port)) == NONE)
			problem(p, "flow: there is no port %s", action->port);
	} else if (action->kind == ACTION_SEGMENT) {
		if ((action->index = index_of(&t->segments, &action->id)) == NONE)
			problem(p, "flow: there is no segment %u", action->id);
	} else {
		uint32_t key[BIFT_KEY] = {action->encap, action->id};
		if ((action->index = index_of(&t->bifts, key)) == NONE) {
			problem(p, "flow: there is no bift %u", action->id);
			return;
		}
		const struct bift *bift = table_at(&t->bifts, action->index);
		if (!bift->bfr_id)
			problem(p, "flow: bift %u has no bfr-id, so this router may not be its BFIR", bift->id);
		if (!fits(action->bits, bift->words))
			problem(p, "flow: BitString longer than the %u bits of bift %u", 64 * bift->words, bift->id);
		if (bits_first(action->bits, WORDS_MAX, 0) < 0)
			problem(p, "flow: BitString without a bit for bift %u", bift->id);
	}
}

static void seal_flows(struct tables *t, struct problems *p)
{
	for (uint32_t i = 0; i < t->flows.n; i++) {
		struct flow *flow = table_at(&t->flows, i);
		range_of(&t->actions, &flow->key, FLOW_KEY, &flow->first_action, &flow->actions);
		for (uint32_t k = 0; k < flow->actions; k++)
			seal_action(t, table_at(&t->actions, flow->first_action + k), p);
	}
}

bool tables_seal(struct tables *t, const struct tables *old, struct problems *p)
{
	uint32_t before = p->count;
	seal_ports(t, old);
	seal_nexthops(t, old, p);
	seal_bifts(t, p);
	seal_labels(t, p);
	seal_sids(t, p);
	seal_segments(t, p);
	seal_flows(t, p);
	t->node.fib_index = NONE;
	if (t->node.fib != NONE)
		seal_nexthop_of(t, t->node.fib, &t->node.fib_index, p, "node's fib", 0);
	seal_no_tunnel(t, t->node.fib_index, p, "node's fib", 0);
	return p->count == before;
}
