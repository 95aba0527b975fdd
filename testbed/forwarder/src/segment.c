/* The head of a Replication segment: where an IP packet enters it (RFC 9524 sections 2, 2.1 and 2.2). */
#include "parts.h"

void segment_originate(struct work *w, const struct inner *inner, struct action *action)
{
	const struct tables *t = w->core->tables;
	struct segment *s = table_at(&t->segments, action->index);
	if (s->mtu && inner->whole.length > s->mtu) {
		drop(w, DROP_INGRESS_MTU);
		return;
	}
	count(&action->sent, inner->whole.length);
	count(&s->in, inner->whole.length);
	if (!s->branches)
		drop(w, DROP_NO_BRANCH);
	for (uint32_t i = 0; i < s->branches; i++) {
		struct branch *b = table_at(&t->branches, s->first_branch + i);
		if (b->plane == PLANE_MPLS)
			mpls_branch(w, b, inner->whole, inner, false, ip_traffic_class(inner->whole.at) >> 5,
				    t->node.ttl);
		else
			srv6_branch_head(w, b, inner);
	}
}
