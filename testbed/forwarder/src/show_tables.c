#include "show.h"
#include "show_common.h"

static void number(struct text *out, const char *word, uint32_t value)
{
	if (value)
		text_add(out, " %s %u", word, value);
}

static void node_line(struct text *out, const struct node *node)
{
	static const uint8_t unset[ADDR_LEN];
	char a[ADDRESS_TEXT];
	text_add(out, "node ttl %u", node->ttl);
	if (memcmp(node->source, unset, ADDR_LEN))
		text_add(out, " source %s", address_text(a, 6, node->source));
	if (get32(node->tunnel))
		text_add(out, " tunnel %s", address_text(a, 4, node->tunnel));
	if (node->fib != NONE)
		text_add(out, " fib %u", node->fib);
	text_add(out, "\n");
}

static void port_line(struct text *out, const struct port *p)
{
	text_add(out, "port %.15s%s", p->name, p->transport ? " transport" : "");
	number(out, "context", p->context);
	text_add(out, "\n");
}

static void nexthop_line(struct text *out, const struct nexthop *n)
{
	char a[ADDRESS_TEXT], m[MAC_TEXT];
	text_add(out, "nexthop %u port %.15s %s %s", n->id, n->port, n->family ? "via" : "mac",
		 n->family ? address_text(a, n->family, n->via) : mac_text(m, n->mac));
	if (get32(n->tunnel))
		text_add(out, " tunnel %s", address_text(a, 4, n->tunnel));
	text_add(out, "\n");
}

static void bift_line(struct text *out, const struct bift *b)
{
	text_add(out, "bift %s %u sd %u si %u bsl %u", encap_names[b->encap], b->id, b->sd, b->si, 64 * b->words);
	number(out, "bfr-id", b->bfr_id);
	number(out, "context", b->context);
	number(out, "mtu", b->mtu);
	text_add(out, "\n");
}

static void path_line(struct text *out, const struct path *p)
{
	char bits[BITS_TEXT];
	text_add(out, "path %s %u %u %u fbm %s", encap_names[p->encap], p->bift, p->way, p->index,
		 bits_text(bits, p->fbm));
	if (p->kind == PATH_NEXTHOP)
		text_add(out, " nexthop %u", p->nexthop);
	else
		text_add(out, p->kind == PATH_LOCAL ? " local" : " drop");
	if (p->out_id != p->bift)
		text_add(out, " as %u", p->out_id);
	text_add(out, "\n");
}

static void label_line(struct text *out, const struct label *l)
{
	text_add(out, "label %u ", l->label);
	if (l->kind == LABEL_SWAP)
		text_add(out, "swap %u nexthop %u", l->out, l->nexthop);
	else if (l->kind == LABEL_POP_TO)
		text_add(out, "pop nexthop %u", l->nexthop);
	else if (l->kind == LABEL_REPLICATE)
		text_add(out, "replicate %u", l->segment);
	else
		text_add(out, "pop");
	number(out, "context", l->context);
	text_add(out, "\n");
}

static void sid_line(struct text *out, const struct sid *s)
{
	char a[ADDRESS_TEXT];
	text_add(out, "sid %s %s %u\n", address_text(a, 6, s->address),
		 s->kind == SID_REPLICATE ? "replicate" : "context", s->kind == SID_REPLICATE ? s->segment : s->context);
}

static void segment_line(struct text *out, const struct segment *s)
{
	text_add(out, "segment %u %s", s->id, role_names[s->role]);
	number(out, "threshold", s->threshold);
	number(out, "context", s->context);
	number(out, "mtu", s->mtu);
	text_add(out, "\n");
}

static void branch_line(struct text *out, const struct branch *b)
{
	char a[ADDRESS_TEXT];
	text_add(out, "branch %u %u", b->segment, b->index);
	if (b->plane == PLANE_MPLS) {
		for (uint32_t i = 0; i < b->depth; i++)
			text_add(out, "%s%u", i ? "," : " labels ", b->labels[i]);
	} else {
		text_add(out, " sid %s", address_text(a, 6, b->sid));
		for (uint32_t i = 0; i < b->depth; i++)
			text_add(out, "%s%s", i ? "," : b->steer == STEER_ENCAPS ? " encaps " : " srh ",
				 address_text(a, 6, b->segments[i]));
	}
	if (b->nexthop != NONE)
		text_add(out, " nexthop %u", b->nexthop);
	text_add(out, "\n");
}

static void action_words(struct text *out, const struct action *a)
{
	char bits[BITS_TEXT];
	if (a->kind == ACTION_BIER)
		text_add(out, " bier %s %u %s", encap_names[a->encap], a->id, bits_text(bits, a->bits));
	else if (a->kind == ACTION_SEGMENT)
		text_add(out, " segment %u", a->id);
	else
		text_add(out, " port %.15s", a->port);
}

/* One flow of any group in any family is two rows, which one line made and one line shows. */
static void flow_line(struct text *out, const struct tables *t, const struct flow *f)
{
	char source[ADDRESS_TEXT], group[ADDRESS_TEXT];
	text_add(out, "flow %u %s %s", f->key.context, flow_address_text(source, f->key.family, f->key.source),
		 flow_address_text(group, f->key.family, f->key.group));
	for (uint32_t i = 0; i < f->actions; i++)
		action_words(out, table_at(&t->actions, f->first_action + i));
	text_add(out, "\n");
}

static bool is_any(const struct flow *f)
{
	static const uint8_t zero[ADDR_LEN];
	return !memcmp(f->key.group, zero, ADDR_LEN);
}

void show_tables(struct text *out, const struct tables *t)
{
	node_line(out, &t->node);
#define LINES(table, line)                                      \
	for (uint32_t i = 0; i < t->table.n; i++)               \
		line(out, table_at(&t->table, i))
	LINES(ports, port_line);
	LINES(nexthops, nexthop_line);
	LINES(bifts, bift_line);
	LINES(paths, path_line);
	LINES(labels, label_line);
	LINES(sids, sid_line);
	LINES(segments, segment_line);
	LINES(branches, branch_line);
#undef LINES
	for (uint32_t i = 0; i < t->flows.n; i++) {
		const struct flow *f = table_at(&t->flows, i);
		if (!is_any(f) || f->key.family == 4) /* one line stands for both families */
			flow_line(out, t, f);
	}
}
