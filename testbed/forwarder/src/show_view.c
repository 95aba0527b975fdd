/* Tables as an operator would want to read them. */
#include <stdio.h>

#include "show.h"
#include "show_common.h"

/* BFR-ids of a BitString as ranges, "1-3,8": bit k of set identifier si is BFR-id si * BSL + k (RFC 8279 section 3). */
static void ids(struct text *out, const uint64_t *bits, uint32_t si, uint32_t bsl)
{
	const char *comma = "";
	for (uint32_t k = 0; k < bsl; k++) {
		if (!bits_test(bits, k))
			continue;
		uint32_t from = k;
		while (k + 1 < bsl && bits_test(bits, k + 1))
			k++;
		text_add(out, "%s%u", comma, si * bsl + from + 1);
		if (k > from)
			text_add(out, "-%u", si * bsl + k + 1);
		comma = ",";
	}
}

static void to_nexthop(struct text *out, const struct tables *t, uint32_t id)
{
	const struct nexthop *n = table_find(&t->nexthops, &id);
	char a[ADDRESS_TEXT];
	if (!n)
		return;
	text_add(out, "%.15s via %s%s", n->port, n->family ? address_text(a, n->family, n->via) : mac_text(a, n->mac),
		 n->resolved ? "" : " (unresolved)");
	if (get32(n->tunnel))
		text_add(out, ", tunnel to %s", address_text(a, 4, n->tunnel));
}

static void bift_view(struct text *out, const struct core *c)
{
	const struct tables *t = c->tables;
	for (uint32_t i = 0; i < t->bifts.n; i++) {
		const struct bift *b = table_at(&t->bifts, i);
		text_add(out, "BIFT %u (%s): sub-domain %u, SI %u, BSL %u", b->id, encap_names[b->encap], b->sd, b->si,
			 64 * b->words);
		if (b->bfr_id)
			text_add(out, ", own BFR-id %u", b->bfr_id);
		text_add(out, "; %llu delivered here\n", (unsigned long long)b->delivered.packets);
		text_add(out, "  %-3s %12s  %-56s %s\n", "way", "packets", "neighbour", "BFR-ids (F-BM)");
		for (uint32_t k = 0; k < b->paths; k++) {
			const struct path *p = table_at(&t->paths, b->first_path + k);
			struct text to = {0};
			if (p->kind == PATH_NEXTHOP) {
				to_nexthop(&to, t, p->nexthop);
				if (p->out_id != b->id)
					text_add(&to, " as %u", p->out_id);
			} else {
				text_add(&to, p->kind == PATH_LOCAL ? "this router" : "unreachable");
			}
			text_add(out, "  %-3u %12llu  %-56s ", p->way, (unsigned long long)p->sent.packets,
				 to.at ? to.at : "");
			ids(out, p->fbm, b->si, 64 * b->words);
			text_add(out, "\n");
			text_free(&to);
		}
	}
}

static void labels_view(struct text *out, const struct core *c)
{
	const struct tables *t = c->tables;
	text_add(out, "%8s %12s  %s\n", "label", "packets", "operation");
	for (uint32_t i = 0; i < t->labels.n; i++) {
		const struct label *l = table_at(&t->labels, i);
		text_add(out, "%8u %12llu  ", l->label, (unsigned long long)l->in.packets);
		if (l->kind == LABEL_REPLICATE)
			text_add(out, "replicate by segment %u", l->segment);
		else if (l->kind == LABEL_SWAP)
			text_add(out, "CONTINUE as %u to ", l->out);
		else if (l->kind == LABEL_POP_TO)
			text_add(out, "NEXT to ");
		else
			text_add(out, "NEXT here");
		if (l->kind == LABEL_SWAP || l->kind == LABEL_POP_TO)
			to_nexthop(out, t, l->nexthop);
		if (l->context)
			text_add(out, ", context %u", l->context);
		text_add(out, "\n");
	}
}

static void branch_view(struct text *out, const struct tables *t, const struct branch *b)
{
	char a[ADDRESS_TEXT];
	text_add(out, "  -> %12llu packets  ", (unsigned long long)b->sent.packets);
	if (b->nexthop == NONE)
		text_add(out, "loose");
	else
		to_nexthop(out, t, b->nexthop);
	text_add(out, " <");
	for (uint32_t i = 0; i < b->depth; i++)
		if (b->plane == PLANE_MPLS)
			text_add(out, "%s%u", i ? ", " : "", b->labels[i]);
		else
			text_add(out, "%s, ", address_text(a, 6, b->segments[i]));
	text_add(out, "%s>\n", b->plane == PLANE_SRV6 ? address_text(a, 6, b->sid) : "");
}

static void segments_view(struct text *out, const struct core *c)
{
	const struct tables *t = c->tables;
	char a[ADDRESS_TEXT];
	for (uint32_t i = 0; i < t->segments.n; i++) {
		const struct segment *s = table_at(&t->segments, i);
		text_add(out, "Replication segment %u: %s", s->id, role_names[s->role]);
		for (uint32_t k = 0; k < t->labels.n; k++) {
			const struct label *l = table_at(&t->labels, k);
			if (l->kind == LABEL_REPLICATE && l->segment == s->id)
				text_add(out, ", label %u", l->label);
		}
		for (uint32_t k = 0; k < t->sids.n; k++) {
			const struct sid *sid = table_at(&t->sids, k);
			if (sid->kind == SID_REPLICATE && sid->segment == s->id)
				text_add(out, ", %s", address_text(a, 6, sid->address));
		}
		text_add(out, "; %llu in, %llu delivered here\n", (unsigned long long)s->in.packets,
			 (unsigned long long)s->delivered.packets);
		for (uint32_t k = 0; k < s->branches; k++)
			branch_view(out, t, table_at(&t->branches, s->first_branch + k));
	}
}

static void flows_view(struct text *out, const struct core *c)
{
	const struct tables *t = c->tables;
	char source[ADDRESS_TEXT], group[ADDRESS_TEXT];
	for (uint32_t i = 0; i < t->flows.n; i++) {
		const struct flow *f = table_at(&t->flows, i);
		text_add(out, "context %u (%s, %s): %llu packets\n", f->key.context,
			 flow_address_text(source, f->key.family, f->key.source),
			 flow_address_text(group, f->key.family, f->key.group), (unsigned long long)f->in.packets);
		for (uint32_t k = 0; k < f->actions; k++) {
			const struct action *a = table_at(&t->actions, f->first_action + k);
			text_add(out, "  -> %12llu packets  ", (unsigned long long)a->sent.packets);
			if (a->kind == ACTION_BIER) {
				const struct bift *b = table_at(&t->bifts, a->index);
				text_add(out, "BIER, BIFT %u, to BFR-ids ", a->id);
				ids(out, a->bits, b->si, 64 * b->words);
			} else if (a->kind == ACTION_SEGMENT) {
				text_add(out, "replication segment %u", a->id);
			} else {
				text_add(out, "port %.15s", a->port);
			}
			text_add(out, "\n");
		}
	}
}

static void ports_view(struct text *out, const struct core *c)
{
	const struct tables *t = c->tables;
	char m[MAC_TEXT];
	text_add(out, "%-15s %-7s %-17s %5s %12s %12s  %s\n", "port", "state", "mac", "mtu", "received", "sent", "for");
	for (uint32_t i = 0; i < t->ports.n; i++) {
		const struct port *p = table_at(&t->ports, i);
		text_add(out, "%-15.15s %-7s %-17s %5u %12llu %12llu  %s", p->name,
			 !p->ifindex ? "absent" : p->up ? "up" : "down", mac_text(m, p->mac), p->mtu,
			 (unsigned long long)p->rx.packets, (unsigned long long)p->tx.packets,
			 p->transport ? "transport" : "");
		if (p->context)
			text_add(out, " context %u", p->context);
		text_add(out, "\n");
	}
}

static void drops_view(struct text *out, const struct core *c)
{
	for (int i = 0; i < DROP_COUNT; i++)
		if (c->drops[i])
			text_add(out, "%12llu  %-20s %s\n", (unsigned long long)c->drops[i], drop_names[i], drop_texts[i]);
}

bool show_view(struct text *out, const struct core *c, const char *what)
{
	static const struct {
		const char *name;
		void (*show)(struct text *, const struct core *);
	} views[] = {
		{"bift", bift_view},   {"labels", labels_view}, {"segments", segments_view},
		{"flows", flows_view}, {"ports", ports_view},	{"drops", drops_view},
	};
	for (size_t i = 0; i < sizeof views / sizeof *views; i++)
		if (!strcmp(what, views[i].name)) {
			views[i].show(out, c);
			return true;
		}
	return false;
}
