/* IP multicast at the edges of the trees: which flow a packet is of, and where it goes. */
#include "parts.h"

enum {
	IPV4_TTL = 8,
	IPV4_CHECKSUM = 10,
	IPV6_HOP_LIMIT = 7,
	UDP_CHECKSUM = 6,
	TCP_CHECKSUM = 16,
};

uint32_t checksum_add(uint32_t sum, const uint8_t *p, uint32_t n)
{
	uint64_t wide = sum;
	for (; n >= 4; p += 4, n -= 4)
		wide += get32(p);
	if (n >= 2)
		wide += (uint32_t)get16(p) << 16;
	if (n & 1)
		wide += (uint32_t)p[n - 1] << (n == 3 ? 8 : 24);
	/* 32-bit words are sums of their 16-bit halves, modulo 0xFFFF */
	wide = (wide & 0xFFFF) + (wide >> 16 & 0xFFFF) + (wide >> 32 & 0xFFFF) + (wide >> 48);
	return (uint32_t)wide;
}

uint16_t checksum_finish(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xFFFF) + (sum >> 16);
	return (uint16_t)~sum;
}

uint32_t ip_traffic_class(const uint8_t *ip)
{
	return ip[0] >> 4 == 4 ? ip[1] : get16(ip) >> 4 & 0xFF;
}

/* Where the transport header is, and which: 0 if there is none to be read here. */
static uint32_t transport(struct bytes *packet)
{
	const uint8_t *ip = packet->at;
	if (ip[0] >> 4 == 4) {
		if (get16(ip + 6) & IPV4_FRAGMENT || !bytes_skip(packet, 4u * (ip[0] & 0xF)))
			return 0;
		return ip[9];
	}
	return bytes_skip(packet, IPV6_LEN) ? ip[6] : 0;
}

uint32_t ip_flow_hash(struct bytes packet)
{
	const uint8_t *ip = packet.at;
	bool v4 = ip[0] >> 4 == 4;
	uint32_t from = v4 ? 12 : 8, to = v4 ? 20 : 40, hash = 0;
	for (uint32_t i = from; i < to; i += 4)
		hash = mix(hash ^ get32(ip + i));
	uint32_t proto = transport(&packet);
	if ((proto == PROTO_UDP || proto == PROTO_TCP) && packet.length >= 4)
		hash = mix(hash ^ get32(packet.at));
	return mix(hash ^ proto);
}

/* Do what the sender left to hardware. A frame goes from its socket to us without meeting any. */
static void complete_checksum(struct bytes packet)
{
	const uint8_t *ip = packet.at;
	bool v4 = ip[0] >> 4 == 4;
	uint32_t proto = transport(&packet);
	uint32_t at = proto == PROTO_UDP ? UDP_CHECKSUM : TCP_CHECKSUM;
	if ((proto != PROTO_UDP && proto != PROTO_TCP) || packet.length < at + 2)
		return;
	uint32_t sum = checksum_add(proto + packet.length, ip + (v4 ? 12 : 8), v4 ? 8 : 2 * ADDR_LEN);
	put16(packet.at + at, 0);
	uint16_t value = checksum_finish(checksum_add(sum, packet.at, packet.length));
	put16(packet.at + at, value ? value : 0xFFFF); /* RFC 768: zero means none */
}

/* Sources that no router forwards packets of: none, loopback, link-local (RFC 1812 section 5.3.7, RFC 3927 section 7;
 * RFC 4291 sections 2.5.2, 2.5.3 and 2.5.6). */
static bool is_local_source(const uint8_t *ip)
{
	static const uint8_t zero[ADDR_LEN - 1];
	if (ip[0] >> 4 == 4)
		return ip[12] == 0 || ip[12] == 127 || (ip[12] == 169 && ip[13] == 254);
	return (ip[8] == 0xFE && ip[9] >> 6 == 2) || (ip[23] <= 1 && !memcmp(ip + 8, zero, sizeof zero));
}

/* Whether it is a whole IP multicast packet that may leave its link; its length is trimmed to what the header says.
 * What may not leave the link is nothing to complain about: routing protocols live there. */
static bool check(struct work *w, struct bytes *packet)
{
	const uint8_t *ip = packet->at;
	uint32_t length;
	if (packet->length >= IPV4_LEN && ip[0] >> 4 == 4) {
		uint32_t header = 4u * (ip[0] & 0xF);
		length = get16(ip + 2);
		if (header < IPV4_LEN || header > length || length > packet->length ||
		    checksum_finish(checksum_add(0, ip, header))) {
			drop(w, DROP_IP_HEADER);
			return false;
		}
		if (ip[16] >> 4 != 0xE) {
			drop(w, DROP_IP_NOT_MULTICAST);
			return false;
		}
		if (!memcmp(ip + 16, (const uint8_t[]){224, 0, 0}, 3))
			return false;
	} else if (packet->length >= IPV6_LEN && ip[0] >> 4 == 6) {
		length = IPV6_LEN + get16(ip + 4);
		if (length > packet->length) {
			drop(w, DROP_IP_HEADER);
			return false;
		}
		if (ip[24] != 0xFF) {
			drop(w, DROP_IP_NOT_MULTICAST);
			return false;
		}
		if ((ip[25] & 0xF) <= 2) /* interface-local and link-local, RFC 4291 section 2.7 */
			return false;
	} else {
		drop(w, DROP_IP_HEADER);
		return false;
	}
	packet->length = length;
	return !is_local_source(ip);
}

/* (S,G), then (*,G), then (*,*). */
static struct flow *lookup(const struct tables *t, const uint8_t *ip, uint32_t context)
{
	struct flow_key key = {.context = context, .family = ip[0] >> 4};
	uint32_t n = key.family == 4 ? 4 : ADDR_LEN, at = key.family == 4 ? 12 : 8;
	memcpy(key.source, ip + at, n);
	memcpy(key.group, ip + at + n, n);
	struct flow *flow = table_find(&t->flows, &key);
	if (flow)
		return flow;
	memset(key.source, 0, ADDR_LEN);
	if ((flow = table_find(&t->flows, &key)))
		return flow;
	memset(key.group, 0, ADDR_LEN);
	return table_find(&t->flows, &key);
}

/* The header with one hop less to go. False: none is left. */
static bool next_hop(struct inner *inner)
{
	const uint8_t *ip = inner->whole.at;
	inner->version = ip[0] >> 4;
	inner->header_length = inner->version == 4 ? IPV4_LEN : IPV6_LEN;
	memcpy(inner->header, ip, inner->header_length);
	uint32_t at = inner->version == 4 ? IPV4_TTL : IPV6_HOP_LIMIT;
	if (inner->header[at] <= 1)
		return false;
	inner->header[at]--;
	if (inner->version == 4) { /* what the TTL's word loses, the checksum gains; never 0xFFFF: RFC 1624 section 3 */
		uint32_t sum = get16(inner->header + IPV4_CHECKSUM) + 0x100u;
		put16(inner->header + IPV4_CHECKSUM, sum + (sum >= 0xFFFF));
	}
	return true;
}

static void to_port(struct work *w, const struct inner *inner, struct action *action)
{
	if (w->from_outside && w->frame->port == action->index)
		return; /* never back to where it came from, by way of the own bit neither */
	struct copy *c = copy_begin(w);
	struct bytes rest = copy_push_inner(c, inner);
	const uint8_t *group = inner->header + (inner->version == 4 ? 16 : 24);
	copy_send_group(w, c, rest, action->index, inner->version, group, &action->sent);
}

void overlay_input(struct work *w, struct bytes packet, uint32_t context)
{
	const struct tables *t = w->core->tables;
	if (!check(w, &packet))
		return;
	if (w->nesting == NESTING_MAX) {
		drop(w, DROP_NESTED);
		return;
	}
	struct flow *flow = context ? lookup(t, packet.at, context) : NULL;
	if (!flow) {
		drop(w, DROP_NO_FLOW);
		return;
	}
	count(&flow->in, packet.length);
	struct inner inner = {.whole = packet};
	if (!next_hop(&inner)) {
		drop(w, DROP_IP_TTL);
		return;
	}
	if (w->frame->checksum_missing && w->from_outside && !w->nesting) /* no copy points at the frame yet */
		complete_checksum(packet);
	w->nesting++;
	for (uint32_t i = 0; i < flow->actions; i++) {
		struct action *action = table_at(&t->actions, flow->first_action + i);
		if (action->kind == ACTION_BIER)
			bier_originate(w, &inner, action);
		else if (action->kind == ACTION_SEGMENT)
			segment_originate(w, &inner, action);
		else
			to_port(w, &inner, action);
	}
	w->nesting--;
}
