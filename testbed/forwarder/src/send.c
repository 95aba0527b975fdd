#include "parts.h"

struct copy *copy_begin(struct work *w)
{
	struct core *c = w->core;
	if (c->n == c->capacity)
		core_flush(c);
	struct copy *copy = &c->copies[c->n];
	copy->head_length = ETH_LEN;
	return copy;
}

struct bytes copy_push_inner(struct copy *c, const struct inner *inner)
{
	struct bytes rest = inner->whole;
	memcpy(copy_push(c, inner->header_length), inner->header, inner->header_length);
	bytes_skip(&rest, inner->header_length);
	return rest;
}

static void send(struct work *w, struct copy *c, struct bytes tail, uint32_t port_index, struct counter *counter)
{
	struct port *port = table_at(&w->core->tables->ports, port_index);
	uint32_t length = c->head_length + tail.length;
	if (!port->up) {
		drop(w, DROP_PORT_DOWN);
	} else if (length - ETH_LEN > port->mtu) {
		drop(w, DROP_MTU);
	} else {
		memcpy(c->head + MAC_LEN, port->mac, MAC_LEN);
		c->port = port_index;
		c->tail = tail.at;
		c->tail_length = tail.length;
		count(&port->tx, length);
		if (counter)
			count(counter, length - ETH_LEN);
		w->core->n++;
	}
}

void copy_send(struct work *w, struct copy *c, struct bytes tail, uint32_t nexthop_index, uint16_t ethertype,
	       struct counter *counter)
{
	const struct nexthop *nexthop = table_at(&w->core->tables->nexthops, nexthop_index);
	if (!nexthop->resolved) {
		drop(w, DROP_NO_NEIGHBOUR);
		return;
	}
	if (get32(nexthop->tunnel)) {
		if (!tunnel_push(w, c, nexthop->tunnel, tail.length, ethertype))
			return;
		ethertype = ETHERTYPE_IPV4;
	}
	memcpy(c->head, nexthop->mac, MAC_LEN);
	put16(c->head + 12, ethertype);
	send(w, c, tail, nexthop->port_index, counter);
}

void copy_send_group(struct work *w, struct copy *c, struct bytes tail, uint32_t port_index, unsigned family,
		     const uint8_t *group, struct counter *counter)
{
	if (family == 4) {
		const uint8_t prefix[3] = {0x01, 0x00, 0x5E};
		memcpy(c->head, prefix, 3);
		c->head[3] = group[1] & 0x7F;
		memcpy(c->head + 4, group + 2, 2);
	} else {
		c->head[0] = c->head[1] = 0x33;
		memcpy(c->head + 2, group + 12, 4);
	}
	put16(c->head + 12, family == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
	send(w, c, tail, port_index, counter);
}
