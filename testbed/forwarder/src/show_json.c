#include "show.h"
#include "show_common.h"

static void string(struct text *out, const char *s, size_t n)
{
	text_add(out, "\"");
	for (size_t i = 0; i < n && s[i]; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c == '"' || c == '\\')
			text_add(out, "\\%c", c);
		else if (c < 0x20 || c > 0x7E)
			text_add(out, "\\u%04x", c);
		else
			text_append(out, s + i, 1);
	}
	text_add(out, "\"");
}

static void counter(struct text *out, const char *name, const struct counter *c)
{
	text_add(out, ",\"%s\":{\"packets\":%llu,\"bytes\":%llu}", name, (unsigned long long)c->packets,
		 (unsigned long long)c->bytes);
}

static void port(struct text *out, const struct tables *t, const void *row)
{
	const struct port *p = row;
	char m[MAC_TEXT];
	(void)t;
	text_add(out, "{\"name\":");
	string(out, p->name, NAME_LEN);
	text_add(out, ",\"ifindex\":%u,\"mac\":\"%s\",\"mtu\":%u,\"up\":%s,\"transport\":%s,\"context\":%u", p->ifindex,
		 mac_text(m, p->mac), p->mtu, p->up ? "true" : "false", p->transport ? "true" : "false", p->context);
	counter(out, "rx", &p->rx);
	counter(out, "tx", &p->tx);
	text_add(out, "}");
}

static void nexthop(struct text *out, const struct tables *t, const void *row)
{
	const struct nexthop *n = row;
	char a[ADDRESS_TEXT], m[MAC_TEXT];
	(void)t;
	text_add(out, "{\"id\":%u,\"port\":", n->id);
	string(out, n->port, NAME_LEN);
	if (n->family)
		text_add(out, ",\"via\":\"%s\"", address_text(a, n->family, n->via));
	if (get32(n->tunnel))
		text_add(out, ",\"tunnel\":\"%s\"", address_text(a, 4, n->tunnel));
	if (n->resolved)
		text_add(out, ",\"mac\":\"%s\"", mac_text(m, n->mac));
	text_add(out, ",\"resolved\":%s}", n->resolved ? "true" : "false");
}

static void bift(struct text *out, const struct tables *t, const void *row)
{
	static const char *const kinds[] = {"nexthop", "local", "drop"};
	const struct bift *b = row;
	char bits[BITS_TEXT];
	text_add(out, "{\"encap\":\"%s\",\"id\":%u,\"sd\":%u,\"si\":%u,\"bsl\":%u,\"bfr_id\":%u,\"context\":%u,\"mtu\":%u",
		 encap_names[b->encap], b->id, b->sd, b->si, 64 * b->words, b->bfr_id, b->context, b->mtu);
	counter(out, "delivered", &b->delivered);
	text_add(out, ",\"paths\":[");
	for (uint32_t i = 0; i < b->paths; i++) {
		const struct path *p = table_at(&t->paths, b->first_path + i);
		text_add(out, "%s{\"way\":%u,\"index\":%u,\"fbm\":\"%s\",\"kind\":\"%s\"", i ? "," : "", p->way, p->index,
			 bits_text(bits, p->fbm), kinds[p->kind]);
		if (p->kind == PATH_NEXTHOP)
			text_add(out, ",\"nexthop\":%u,\"out_id\":%u", p->nexthop, p->out_id);
		counter(out, "sent", &p->sent);
		text_add(out, "}");
	}
	text_add(out, "]}");
}

static void label(struct text *out, const struct tables *t, const void *row)
{
	static const char *const kinds[] = {"swap", "pop-to", "pop", "replicate"};
	const struct label *l = row;
	(void)t;
	text_add(out, "{\"label\":%u,\"kind\":\"%s\"", l->label, kinds[l->kind]);
	if (l->kind == LABEL_SWAP)
		text_add(out, ",\"out\":%u", l->out);
	if (l->kind == LABEL_SWAP || l->kind == LABEL_POP_TO)
		text_add(out, ",\"nexthop\":%u", l->nexthop);
	if (l->kind == LABEL_REPLICATE)
		text_add(out, ",\"segment\":%u", l->segment);
	if (l->kind == LABEL_POP)
		text_add(out, ",\"context\":%u", l->context);
	counter(out, "in", &l->in);
	text_add(out, "}");
}

static void sid(struct text *out, const struct tables *t, const void *row)
{
	const struct sid *s = row;
	char a[ADDRESS_TEXT];
	(void)t;
	text_add(out, "{\"address\":\"%s\",\"%s\":%u", address_text(a, 6, s->address),
		 s->kind == SID_REPLICATE ? "segment" : "context", s->kind == SID_REPLICATE ? s->segment : s->context);
	counter(out, "in", &s->in);
	text_add(out, "}");
}

static void branch(struct text *out, const struct branch *b)
{
	char a[ADDRESS_TEXT];
	text_add(out, "{\"index\":%u,\"plane\":\"%s\"", b->index, b->plane == PLANE_MPLS ? "mpls" : "srv6");
	if (b->nexthop != NONE)
		text_add(out, ",\"nexthop\":%u", b->nexthop);
	if (b->plane == PLANE_SRV6)
		text_add(out, ",\"sid\":\"%s\",\"steer\":\"%s\"", address_text(a, 6, b->sid),
			 b->steer == STEER_ENCAPS ? "encaps" : "srh");
	text_add(out, ",\"%s\":[", b->plane == PLANE_MPLS ? "labels" : "segments");
	for (uint32_t i = 0; i < b->depth; i++) {
		const char *comma = i ? "," : "";
		if (b->plane == PLANE_MPLS)
			text_add(out, "%s%u", comma, b->labels[i]);
		else
			text_add(out, "%s\"%s\"", comma, address_text(a, 6, b->segments[i]));
	}
	text_add(out, "]");
	counter(out, "sent", &b->sent);
	text_add(out, "}");
}

static void segment(struct text *out, const struct tables *t, const void *row)
{
	const struct segment *s = row;
	text_add(out, "{\"id\":%u,\"role\":\"%s\",\"threshold\":%u,\"context\":%u,\"mtu\":%u", s->id, role_names[s->role],
		 s->threshold, s->context, s->mtu);
	counter(out, "in", &s->in);
	counter(out, "delivered", &s->delivered);
	text_add(out, ",\"branches\":[");
	for (uint32_t i = 0; i < s->branches; i++) {
		text_add(out, "%s", i ? "," : "");
		branch(out, table_at(&t->branches, s->first_branch + i));
	}
	text_add(out, "]}");
}

static void action(struct text *out, const struct action *a)
{
	char bits[BITS_TEXT];
	if (a->kind == ACTION_BIER) {
		text_add(out, "{\"bier\":%u,\"encap\":\"%s\",\"bits\":\"%s\"", a->id, encap_names[a->encap],
			 bits_text(bits, a->bits));
	} else if (a->kind == ACTION_SEGMENT) {
		text_add(out, "{\"segment\":%u", a->id);
	} else {
		text_add(out, "{\"port\":");
		string(out, a->port, NAME_LEN);
	}
	counter(out, "sent", &a->sent);
	text_add(out, "}");
}

static void flow(struct text *out, const struct tables *t, const void *row)
{
	const struct flow *f = row;
	char source[ADDRESS_TEXT], group[ADDRESS_TEXT];
	text_add(out, "{\"context\":%u,\"family\":%u,\"source\":\"%s\",\"group\":\"%s\"", f->key.context, f->key.family,
		 flow_address_text(source, f->key.family, f->key.source),
		 flow_address_text(group, f->key.family, f->key.group));
	counter(out, "in", &f->in);
	text_add(out, ",\"actions\":[");
	for (uint32_t i = 0; i < f->actions; i++) {
		text_add(out, "%s", i ? "," : "");
		action(out, table_at(&t->actions, f->first_action + i));
	}
	text_add(out, "]}");
}

static void rows(struct text *out, const char *name, const struct tables *t, const struct table *table,
		 void (*show)(struct text *, const struct tables *, const void *))
{
	text_add(out, ",\"%s\":[", name);
	for (uint32_t i = 0; i < table->n; i++) {
		text_add(out, "%s", i ? "," : "");
		show(out, t, table_at(table, i));
	}
	text_add(out, "]");
}

void show_json(struct text *out, const struct core *c)
{
	const struct tables *t = c->tables;
	char a[ADDRESS_TEXT];
	text_add(out, "{\"node\":{\"ttl\":%u,\"source\":\"%s\"", t->node.ttl, address_text(a, 6, t->node.source));
	if (get32(t->node.tunnel))
		text_add(out, ",\"tunnel\":\"%s\"", address_text(a, 4, t->node.tunnel));
	if (t->node.fib != NONE)
		text_add(out, ",\"fib\":%u", t->node.fib);
	text_add(out, "}");
	rows(out, "ports", t, &t->ports, port);
	rows(out, "nexthops", t, &t->nexthops, nexthop);
	rows(out, "bifts", t, &t->bifts, bift);
	rows(out, "labels", t, &t->labels, label);
	rows(out, "sids", t, &t->sids, sid);
	rows(out, "segments", t, &t->segments, segment);
	rows(out, "flows", t, &t->flows, flow);
	text_add(out, ",\"drops\":{");
	for (int i = 0, n = 0; i < DROP_COUNT; i++)
		if (c->drops[i])
			text_add(out, "%s\"%s\":%llu", n++ ? "," : "", drop_names[i], (unsigned long long)c->drops[i]);
	text_add(out, "}}\n");
}
