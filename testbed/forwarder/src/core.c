#include "parts.h"

const char *const drop_names[DROP_COUNT] = {
#define X(id, name, text) name,
	DROP_REASONS(X)
#undef X
};

const char *const drop_texts[DROP_COUNT] = {
#define X(id, name, text) text,
	DROP_REASONS(X)
#undef X
};

void core_flush(struct core *c)
{
	if (c->n)
		c->send(c->owner, c->copies, c->n);
	c->n = 0;
}

static bool is_ours(const struct port *port, const uint8_t *destination)
{
	return !memcmp(port->mac, destination, MAC_LEN);
}

/* Frames of the tree are unicast, even on a LAN (RFC 8296 sections 2.1.3 and 2.2.3). */
static bool accept(struct work *w, const struct port *port, const uint8_t *destination)
{
	if (!is_ours(port, destination))
		drop(w, DROP_OTHER_HOST);
	else if (!port->transport)
		drop(w, DROP_NOT_TRANSPORT);
	else
		return true;
	return false;
}

static void ip_input(struct work *w, struct bytes packet, unsigned version, const struct port *port,
		     const uint8_t *destination)
{
	bool group = destination[0] & 1;
	if (group && port->context) {
		w->from_outside = true;
		if (is_ip(packet, version))
			overlay_input(w, packet, port->context);
		else
			drop(w, DROP_IP_HEADER);
	} else if (!group && port->transport && is_ours(port, destination)) {
		if (version == 6)
			srv6_input(w, packet); /* what is no SID of ours is the kernel's, silently */
		else
			tunnel_input(w, packet); /* and so is what is no tunnel's */
	}
}

void core_input(struct core *c, struct frame *f)
{
	struct work w = {.core = c, .frame = f};
	struct port *port = table_at(&c->tables->ports, f->port);
	struct bytes packet = {f->data, f->length};
	count(&port->rx, f->length);
	if (!bytes_skip(&packet, ETH_LEN)) {
		drop(&w, DROP_SHORT);
		return;
	}
	switch (get16(f->data + 12)) {
	case ETHERTYPE_BIER:
		if (accept(&w, port, f->data))
			bier_input(&w, packet);
		break;
	case ETHERTYPE_MPLS:
		if (accept(&w, port, f->data))
			mpls_input(&w, packet);
		break;
	case ETHERTYPE_IPV4:
		ip_input(&w, packet, 4, port, f->data);
		break;
	case ETHERTYPE_IPV6:
		ip_input(&w, packet, 6, port, f->data);
		break;
	default: /* ARP and the like: not ours */
		break;
	}
}
