/* Tunnels between BFRs that routers without BIER lie between: RFC 8279 section 6.9, by GRE (RFC 2784) over IPv4.
 *
 * Routers on the way see plain unicast IP, and GRE says by an Ethertype what it carries: BIER itself, or MPLS whose label
 * is BIER's. TTLs are each header's own (RFC 3443's pipe model). BIER packets that differ in entropy look the same from
 * outside, so all of a tunnel take one path: none is overtaken by another. */
#include "parts.h"

enum {
	OUTER_LEN = IPV4_LEN + GRE_LEN,
	GRE_CHECKSUM = 0x8000,
	GRE_CHECKSUM_LEN = 4, /* with what is reserved behind it */
	GRE_REFUSED = 0x7C07, /* what a receiver must discard: routing, key, sequence number, other versions (RFC 2784 section
				 2.3; the key and the sequence number of RFC 2890 are to be agreed on) */
};

/* The class that routers on the way serve it by: the BIER header's, which lies at `bier`. ECN is not copied. */
static uint8_t class_of(const uint8_t *bier, uint16_t ethertype)
{
	if (ethertype == ETHERTYPE_MPLS)
		return (uint8_t)((bier[2] >> 1 & 7) << 5); /* class selectors, RFC 2474 section 4.2.2 */
	return (uint8_t)((get16(bier + 8) >> 6 & 0x3F) << 2);
}

/* It may not be fragmented, so it needs no identification (RFC 6864 section 4.1). */
bool tunnel_push(struct work *w, struct copy *c, const uint8_t *far_end, uint32_t tail_length, uint16_t ethertype)
{
	const struct node *node = &w->core->tables->node;
	uint8_t *ip = c->head + ETH_LEN;
	uint32_t below = c->head_length - ETH_LEN, length = OUTER_LEN + below + tail_length;
	uint8_t class = class_of(ip, ethertype);
	if (length > 0xFFFF || !copy_push(c, OUTER_LEN)) {
		drop(w, DROP_MTU);
		return false;
	}
	memmove(ip + OUTER_LEN, ip, below);
	memset(ip, 0, OUTER_LEN);
	ip[0] = 4 << 4 | IPV4_LEN / 4;
	ip[1] = class;
	put16(ip + 2, length);
	put16(ip + 6, IPV4_DONT_FRAGMENT);
	ip[8] = (uint8_t)node->ttl;
	ip[9] = PROTO_GRE;
	memcpy(ip + 12, node->tunnel, IPV4_ADDR_LEN);
	memcpy(ip + 16, far_end, IPV4_ADDR_LEN);
	put16(ip + 10, checksum_finish(checksum_add(0, ip, IPV4_LEN)));
	put16(ip + IPV4_LEN + 2, ethertype);
	return true;
}

/* The IPv4 header off, and behind the packet's end what Ethernet may have padded. */
static bool open_ip(struct work *w, struct bytes *packet)
{
	const uint8_t *ip = packet->at;
	uint32_t header = 4u * (ip[0] & 0xF), length = get16(ip + 2);
	if (ip[0] >> 4 != 4 || header < IPV4_LEN || header > length || length > packet->length ||
	    checksum_finish(checksum_add(0, ip, header))) {
		drop(w, DROP_IP_HEADER);
		return false;
	}
	if (get16(ip + 6) & IPV4_FRAGMENT) {
		drop(w, DROP_FRAGMENT);
		return false;
	}
	packet->length = length;
	return bytes_skip(packet, header);
}

/* The GRE header off, which says what it carries. */
static bool open_gre(struct work *w, struct bytes *packet, uint16_t *ethertype)
{
	const uint8_t *gre = packet->at;
	struct bytes whole = *packet;
	if (!bytes_skip(packet, GRE_LEN)) {
		drop(w, DROP_SHORT);
		return false;
	}
	*ethertype = get16(gre + 2);
	if (get16(gre) & GRE_REFUSED) {
		drop(w, DROP_GRE);
		return false;
	}
	if (!(get16(gre) & GRE_CHECKSUM))
		return true;
	if (!bytes_skip(packet, GRE_CHECKSUM_LEN)) {
		drop(w, DROP_SHORT);
		return false;
	}
	if (checksum_finish(checksum_add(0, whole.at, whole.length))) {
		drop(w, DROP_CHECKSUM);
		return false;
	}
	return true;
}

void tunnel_input(struct work *w, struct bytes packet)
{
	const uint8_t *ip = packet.at, *here = w->core->tables->node.tunnel;
	if (packet.length < IPV4_LEN || ip[9] != PROTO_GRE || !get32(here) || memcmp(ip + 16, here, IPV4_ADDR_LEN))
		return;
	uint16_t ethertype;
	if (!open_ip(w, &packet) || !open_gre(w, &packet, &ethertype))
		return;
	if (ethertype == ETHERTYPE_BIER)
		bier_input(w, packet);
	else if (ethertype == ETHERTYPE_MPLS)
		mpls_input(w, packet);
	else
		drop(w, DROP_GRE_PROTOCOL);
}
