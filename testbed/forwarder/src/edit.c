#include "edit.h"

#include <stdio.h>

#include "reader.h"

/* -- the lines --------------------------------------------------------------------------------------------------- */

static void do_node(struct reader *r)
{
	struct node node = {.ttl = DEFAULT_TTL, .fib = NONE, .fib_index = NONE};
	const char *w;
	while ((w = option(r))) {
		if (!strcmp(w, "source"))
			address6(r, needed(r, "an address"), node.source);
		else if (!strcmp(w, "ttl"))
			node.ttl = number(r, "the TTL", 1, 255);
		else if (!strcmp(w, "tunnel"))
			tunnel_end(r, needed(r, "an IPv4 address"), node.tunnel);
		else if (!strcmp(w, "fib"))
			node.fib = nexthop_id(r);
		else
			unknown(r, w);
	}
	if (!r->failed && !r->editor->before && r->editor->node_given)
		fail(r, "this row was given before", NULL);
	r->editor->node_given = true;
	if (!r->failed)
		r->editor->tables->node = node;
}

static void do_port(struct reader *r)
{
	char key[NAME_LEN];
	uint32_t transport = 0, context = 0;
	const char *w;
	name(r, needed(r, "the port's name"), key);
	while ((w = option(r))) {
		if (!strcmp(w, "transport"))
			transport = 1;
		else if (!strcmp(w, "context"))
			context = context_number(r);
		else
			unknown(r, w);
	}
	struct port *port = row(r, &r->editor->tables->ports, key);
	if (!port)
		return;
	port->transport = transport;
	port->context = context;
}

static void do_nexthop(struct reader *r)
{
	struct nexthop n = {.id = nexthop_id(r)};
	const char *w;
	while ((w = option(r))) {
		if (!strcmp(w, "port")) {
			name(r, needed(r, "the port's name"), n.port);
		} else if (!strcmp(w, "mac")) {
			mac(r, needed(r, "a MAC address"), n.mac);
			n.resolved = 1;
		} else if (!strcmp(w, "via")) {
			n.family = address(r, needed(r, "an address"), n.via);
		} else if (!strcmp(w, "tunnel")) {
			tunnel_end(r, needed(r, "an IPv4 address"), n.tunnel);
		} else {
			unknown(r, w);
		}
	}
	if (!r->failed && !n.port[0])
		fail(r, "a next hop needs: port NAME", NULL);
	if (!r->failed && !n.resolved == !n.family)
		fail(r, "a next hop needs either: mac MAC, or: via ADDRESS", NULL);
	struct nexthop *at = row(r, &r->editor->tables->nexthops, &n.id);
	if (at)
		*at = n;
}

static void do_bift(struct reader *r)
{
	struct bift b = {.encap = encap(r)};
	uint32_t bsl = 0;
	const char *w;
	b.id = bift_id(r, b.encap);
	while ((w = option(r))) {
		if (!strcmp(w, "sd"))
			b.sd = number(r, "the sub-domain", 0, 255);
		else if (!strcmp(w, "si"))
			b.si = number(r, "the SI", 0, 255);
		else if (!strcmp(w, "bsl"))
			bsl = number(r, "the BSL", 64, BITS_MAX);
		else if (!strcmp(w, "bfr-id"))
			b.bfr_id = number(r, "the BFR-id", 1, 65535);
		else if (!strcmp(w, "context"))
			b.context = context_number(r);
		else if (!strcmp(w, "mtu"))
			b.mtu = number(r, "the MTU", 1, MTU_LIMIT);
		else
			unknown(r, w);
	}
	if (!r->failed && (bsl & (bsl - 1) || bsl < 64))
		fail(r, "a bift needs: bsl 64, 128, 256, 512, 1024, 2048 or 4096", NULL);
	struct bift *at = row(r, &r->editor->tables->bifts, &b);
	if (!at)
		return;
	b.words = bsl / 64;
	b.delivered = at->delivered;
	*at = b;
}

static void do_path(struct reader *r)
{
	struct path p = {.encap = encap(r), .kind = NONE};
	const char *w;
	p.out_id = p.bift = bift_id(r, p.encap);
	p.way = number(r, "the way", 0, WAY_MAX);
	p.index = number(r, "the path's index", 0, INDEX_MAX);
	while ((w = option(r))) {
		if (!strcmp(w, "fbm")) {
			bit_string(r, needed(r, "the F-BM"), p.fbm);
		} else if (!strcmp(w, "as")) {
			p.out_id = bift_id(r, p.encap);
		} else if (p.kind != NONE) {
			fail(r, "one of: nexthop N, local, drop; then as N at most", w);
		} else if (!strcmp(w, "nexthop")) {
			p.kind = PATH_NEXTHOP;
			p.nexthop = nexthop_id(r);
		} else if (!strcmp(w, "local")) {
			p.kind = PATH_LOCAL;
		} else if (!strcmp(w, "drop")) {
			p.kind = PATH_DROP;
		} else {
			unknown(r, w);
		}
	}
	if (!r->failed && p.kind == NONE)
		fail(r, "a path needs one of: nexthop N, local, drop", NULL);
	struct path *at = row(r, &r->editor->tables->paths, &p);
	if (!at)
		return;
	p.sent = at->sent;
	*at = p;
}

static void do_label(struct reader *r)
{
	struct label l = {.label = label_number(r)};
	const char *kind = needed(r, "what to do with the label"), *w;
	if (!kind)
		return;
	if (!strcmp(kind, "swap")) {
		l.kind = LABEL_SWAP;
		l.out = label_number(r);
		w = needed(r, "nexthop N");
		if (w && strcmp(w, "nexthop"))
			fail(r, "after swap N comes: nexthop N", w);
		l.nexthop = nexthop_id(r);
	} else if (!strcmp(kind, "replicate")) {
		l.kind = LABEL_REPLICATE;
		l.segment = segment_id(r);
	} else if (!strcmp(kind, "pop")) {
		l.kind = LABEL_POP;
		if ((w = option(r)) && !strcmp(w, "nexthop")) {
			l.kind = LABEL_POP_TO;
			l.nexthop = nexthop_id(r);
		} else if (w && !strcmp(w, "context")) {
			l.context = context_number(r);
		} else if (w) {
			unknown(r, w);
		}
	} else {
		fail(r, "a label has one of: swap, pop, replicate", kind);
	}
	end(r);
	struct label *at = row(r, &r->editor->tables->labels, &l);
	if (!at)
		return;
	l.in = at->in;
	*at = l;
}

static void do_sid(struct reader *r)
{
	struct sid s = {0};
	address6(r, needed(r, "the SID"), s.address);
	const char *kind = needed(r, "what the SID is for");
	if (kind && !strcmp(kind, "replicate"))
		s.segment = segment_id(r);
	else if (kind && !strcmp(kind, "context")) {
		s.kind = SID_CONTEXT;
		s.context = context_number(r);
	} else if (kind)
		fail(r, "a sid has one of: replicate N, context N", kind);
	end(r);
	struct sid *at = row(r, &r->editor->tables->sids, &s);
	if (!at)
		return;
	s.in = at->in;
	*at = s;
}

static void do_segment(struct reader *r)
{
	static const char *const roles[] = {"head", "transit", "leaf", "bud"};
	struct segment s = {.id = segment_id(r), .role = NONE};
	const char *w = needed(r, "the node's role");
	for (uint32_t i = 0; w && i < 4; i++)
		if (!strcmp(w, roles[i]))
			s.role = i;
	if (w && s.role == NONE)
		fail(r, "a segment's role is one of: head, transit, leaf, bud", w);
	while ((w = option(r))) {
		if (!strcmp(w, "threshold"))
			s.threshold = number(r, "the hop limit threshold", 0, 255);
		else if (!strcmp(w, "context"))
			s.context = context_number(r);
		else if (!strcmp(w, "mtu"))
			s.mtu = number(r, "the MTU", 1, MTU_LIMIT);
		else
			unknown(r, w);
	}
	struct segment *at = row(r, &r->editor->tables->segments, &s.id);
	if (!at)
		return;
	s.in = at->in;
	s.delivered = at->delivered;
	*at = s;
}

static void read_list(struct reader *r, struct branch *b, bool of_labels)
{
	char *list = r->failed ? NULL : word(r), *one;
	if (!list)
		fail(r, "a list is missing", NULL);
	for (b->depth = 0; !r->failed && (one = item(&list)); b->depth++) {
		if (b->depth == STACK_MAX)
			fail(r, "a branch has at most 8 labels or segments", NULL);
		else if (!of_labels)
			address6(r, one, b->segments[b->depth]);
		else if (!number_in(one, LABEL_FIRST_FREE, LABEL_MAX, &b->labels[b->depth]))
			fail(r, "a label must be a number from 16 to 1048575", one);
	}
}

static void do_branch(struct reader *r)
{
	struct branch b = {.segment = segment_id(r), .nexthop = NONE};
	b.index = number(r, "the branch's index", 0, INDEX_MAX);
	bool has_labels = false, has_sid = false, has_segments = false;
	const char *w;
	while ((w = option(r))) {
		if (!strcmp(w, "nexthop")) {
			b.nexthop = nexthop_id(r);
		} else if (!strcmp(w, "labels") && !has_labels && !has_sid && !has_segments) {
			has_labels = true;
			read_list(r, &b, true);
		} else if (!strcmp(w, "sid") && !has_labels && !has_sid) {
			has_sid = true;
			b.plane = PLANE_SRV6;
			address6(r, needed(r, "the downstream SID"), b.sid);
		} else if ((!strcmp(w, "encaps") || !strcmp(w, "srh")) && !has_labels && !has_segments) {
			has_segments = true;
			b.steer = *w == 'e' ? STEER_ENCAPS : STEER_SRH;
			read_list(r, &b, false);
		} else {
			unknown(r, w);
		}
	}
	if (!r->failed && !has_labels && !has_sid)
		fail(r, "a branch needs either: labels N,N..., or: sid ADDRESS", NULL);
	if (!r->failed && has_sid && b.nexthop == NONE)
		fail(r, "a branch to a SID needs: nexthop N (the one to the kernel's routing makes it loose)", NULL);
	struct branch *at = row(r, &r->editor->tables->branches, &b);
	if (!at)
		return;
	b.sent = at->sent;
	*at = b;
}

/* Source or group: '*' is any. */
static uint32_t flow_address(struct reader *r, const char *what, uint8_t *to)
{
	const char *w = needed(r, what);
	if (w && !strcmp(w, "*")) {
		memset(to, 0, ADDR_LEN);
		return 0;
	}
	return address(r, w, to);
}

static bool is_multicast(const struct flow_key *key)
{
	return key->family == 4 ? key->group[0] >> 4 == 0xE : key->group[0] == 0xFF;
}

static void read_flow_key(struct reader *r, struct flow_key *key)
{
	memset(key, 0, sizeof *key);
	key->context = context_number(r);
	uint32_t source = flow_address(r, "the source", key->source);
	uint32_t group = flow_address(r, "the group", key->group);
	if (r->failed)
		return;
	if (source && group && source != group)
		fail(r, "source and group are of two families", NULL);
	if (!group && source)
		fail(r, "a source without a group", NULL);
	key->family = group;
	if (group && !is_multicast(key))
		fail(r, "the group is no multicast address", NULL);
}

static bool read_action(struct reader *r, const char *w, struct action *a)
{
	if (!strcmp(w, "bier")) {
		a->kind = ACTION_BIER;
		a->encap = encap(r);
		a->id = bift_id(r, a->encap);
		bit_string(r, needed(r, "the BitString"), a->bits);
	} else if (!strcmp(w, "segment")) {
		a->kind = ACTION_SEGMENT;
		a->id = segment_id(r);
	} else if (!strcmp(w, "port")) {
		a->kind = ACTION_PORT;
		name(r, needed(r, "the port's name"), a->port);
	} else {
		unknown(r, w);
	}
	return !r->failed;
}

/* Both families, if neither source nor group says which. */
static void put_flow(struct reader *r, const struct flow_key *key, const struct action *action)
{
	struct tables *t = r->editor->tables;
	if (!action) {
		row(r, &t->flows, key);
		return;
	}
	struct action a = *action;
	a.key = *key;
	const struct action *before;
	bool added;
	struct action *at = table_put(&t->actions, &a, &added);
	if (!at)
		fail(r, "out of memory", NULL);
	else if (!added)
		fail(r, "the flow has the same action twice", NULL);
	else if ((before = r->editor->before ? table_find(&r->editor->before->actions, &a) : NULL))
		a.sent = before->sent;
	if (!r->failed)
		*at = a;
}

static void each_family(struct reader *r, struct flow_key key, const struct action *action)
{
	if (key.family) {
		put_flow(r, &key, action);
		return;
	}
	key.family = 4;
	put_flow(r, &key, action);
	key.family = 6;
	put_flow(r, &key, action);
}

static void remove_actions(struct tables *t, struct flow_key key)
{
	if (key.family) {
		table_remove(&t->actions, &key, FLOW_KEY);
		return;
	}
	key.family = 4;
	table_remove(&t->actions, &key, FLOW_KEY);
	key.family = 6;
	table_remove(&t->actions, &key, FLOW_KEY);
}

static void do_flow(struct reader *r)
{
	struct flow_key key;
	read_flow_key(r, &key);
	if (r->failed)
		return;
	each_family(r, key, NULL);
	if (!r->failed)
		remove_actions(r->editor->tables, key); /* a line says all of a flow */
	const char *w;
	while ((w = option(r))) {
		struct action a = {0};
		if (read_action(r, w, &a))
			each_family(r, key, &a);
	}
}

/* -- del --------------------------------------------------------------------------------------------------------- */

static void remove_rows(struct reader *r, struct table *t, const void *key, uint16_t words, const char *what)
{
	end(r);
	if (!r->failed && !table_remove(t, key, words)) {
		char message[64];
		snprintf(message, sizeof message, "there is no such %s", what);
		fail(r, message, NULL);
	}
}

static void del_path(struct reader *r)
{
	struct tables *t = r->editor->tables;
	uint32_t key[PATH_KEY] = {encap(r)}, n = 2;
	key[1] = bift_id(r, key[0]);
	for (const char *w; n < PATH_KEY && (w = option(r)); n++)
		if (!number_in(w, 0, INDEX_MAX, &key[n]))
			fail(r, "a number is wanted", w);
	remove_rows(r, &t->paths, key, (uint16_t)n, "path");
}

static void do_del(struct reader *r)
{
	struct tables *t = r->editor->tables;
	const char *what = needed(r, "what to delete");
	union {
		uint32_t words[FLOW_KEY];
		char name[NAME_LEN];
		uint8_t address[ADDR_LEN];
		struct flow_key flow;
	} key = {.words = {0}};
	if (!what)
		return;
	if (!strcmp(what, "port")) {
		name(r, needed(r, "the port's name"), key.name);
		remove_rows(r, &t->ports, key.name, PORT_KEY, "port");
	} else if (!strcmp(what, "nexthop")) {
		key.words[0] = nexthop_id(r);
		remove_rows(r, &t->nexthops, key.words, NEXTHOP_KEY, "nexthop");
	} else if (!strcmp(what, "bift")) {
		key.words[0] = encap(r);
		key.words[1] = bift_id(r, key.words[0]);
		remove_rows(r, &t->bifts, key.words, BIFT_KEY, "bift");
		if (!r->failed)
			table_remove(&t->paths, key.words, BIFT_KEY);
	} else if (!strcmp(what, "path")) {
		del_path(r);
	} else if (!strcmp(what, "label")) {
		key.words[0] = label_number(r);
		remove_rows(r, &t->labels, key.words, LABEL_KEY, "label");
	} else if (!strcmp(what, "sid")) {
		address6(r, needed(r, "the SID"), key.address);
		remove_rows(r, &t->sids, key.address, SID_KEY, "sid");
	} else if (!strcmp(what, "segment")) {
		key.words[0] = segment_id(r);
		remove_rows(r, &t->segments, key.words, SEGMENT_KEY, "segment");
		if (!r->failed)
			table_remove(&t->branches, key.words, SEGMENT_KEY);
	} else if (!strcmp(what, "branch")) {
		key.words[0] = segment_id(r);
		key.words[1] = number(r, "the branch's index", 0, INDEX_MAX);
		remove_rows(r, &t->branches, key.words, BRANCH_KEY, "branch");
	} else if (!strcmp(what, "flow")) {
		read_flow_key(r, &key.flow);
		if (r->failed)
			return;
		struct flow_key flow = key.flow;
		remove_actions(t, flow);
		if (!flow.family) {
			flow.family = 4;
			table_remove(&t->flows, &flow, FLOW_KEY);
			flow.family = 6;
		}
		remove_rows(r, &t->flows, &flow, FLOW_KEY, "flow");
	} else {
		fail(r, "nothing of this kind can be deleted", what);
	}
}

void edit_line(struct editor *e, char *line)
{
	static const struct {
		const char *name;
		void (*run)(struct reader *r);
	} lines[] = {
		{"node", do_node},   {"port", do_port},	      {"nexthop", do_nexthop}, {"bift", do_bift},
		{"path", do_path},   {"label", do_label},     {"sid", do_sid},	       {"segment", do_segment},
		{"branch", do_branch}, {"flow", do_flow},     {"del", do_del},
	};
	struct reader r = {.editor = e, .rest = line};
	char *first = word(&r);
	if (!first || *first == '#')
		return;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		if (!strcmp(first, lines[i].name)) {
			lines[i].run(&r);
			return;
		}
	unknown(&r, first);
}
