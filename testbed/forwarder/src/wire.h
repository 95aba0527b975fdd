/* Bytes on the wire: big-endian reads and writes at any alignment, and the numbers of the protocols. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <string.h>

enum {
	ETH_LEN = 14, /* destination, source, type */
	MAC_LEN = 6,
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86DD,
	ETHERTYPE_MPLS = 0x8847,
	ETHERTYPE_BIER = 0xAB37,

	LABEL_LEN = 4,
	LABEL_MAX = 0xFFFFF,
	LABEL_FIRST_FREE = 16, /* 0 to 15 are special-purpose, RFC 7274 */

	BIER_LEN = 12, /* without the BitString, RFC 8296 section 2 */
	BIER_PROTO_IPV4 = 4,
	BIER_PROTO_IPV6 = 6,

	IPV4_LEN = 20,
	IPV4_ADDR_LEN = 4,
	IPV4_DONT_FRAGMENT = 0x4000,
	IPV4_FRAGMENT = 0x3FFF, /* more fragments, or an offset */
	IPV6_LEN = 40,
	GRE_LEN = 4, /* without what its flags announce, RFC 2784 section 2.1 */
	ADDR_LEN = 16, /* an IPv6 address; an IPv4 one uses the first 4 of the 16 */

	PROTO_HOPOPTS = 0,
	PROTO_IPV4 = 4,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_IPV6 = 41,
	PROTO_ROUTING = 43,
	PROTO_GRE = 47,
	PROTO_ICMPV6 = 58,
	PROTO_DSTOPTS = 60,
	ROUTING_TYPE_SRH = 4, /* RFC 8754 section 2 */
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
};

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap32(v);
}

static inline uint64_t get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return __builtin_bswap64(v);
}

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof v);
}

static inline void put64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof v);
}

/* The host's byte order is little-endian on every machine this runs on; the build stops elsewhere. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "wire.h swaps bytes");

#endif
