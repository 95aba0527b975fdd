/* BIER: RFC 8279 section 6.5 over the header of RFC 8296. */
#include "parts.h"

enum { NIBBLE = 5 }; /* sent in both encapsulations: dissectors want it, and without MPLS it must be ignored */

/* A BIER header, as far as a BFR that only forwards cares. */
struct bier {
	uint32_t ttl; /* to send copies with */
	uint32_t entropy;
	uint8_t tc;
	uint8_t rest[8];      /* words 1 and 2, as they go out */
	struct bytes payload; /* what follows the BitString, as it is delivered */
	const struct inner *inner; /* at the BFIR: as it is sent; else NULL */
	uint64_t bits[WORDS_MAX];
};

/* Among the paths of one way that hold `bit`, the one the entropy points at; NULL if none does. With one path a bit,
 * as without ECMP, entropy does not matter. RFC 8279 section 6.7.1. */
static struct path *choose(struct path *paths, uint32_t n, unsigned bit, uint32_t hash)
{
	struct path *first = NULL;
	uint32_t found = 0;
	for (uint32_t i = 0; i < n; i++)
		if (bits_test(paths[i].fbm, bit) && !found++)
			first = &paths[i];
	if (found < 2)
		return first;
	uint32_t wanted = hash % found;
	for (uint32_t i = 0; i < n; i++)
		if (bits_test(paths[i].fbm, bit) && !wanted--)
			return &paths[i];
	return NULL;
}

/* The paths of the way that the entropy chooses: RFC 8279 section 6.7.2, several BIFTs for one <SD, BSL, SI>. */
static struct path *way_of(const struct tables *t, const struct bift *bift, uint32_t hash, uint32_t *n)
{
	uint32_t way = bift->ways > 1 ? hash % bift->ways : 0;
	struct path *paths = bift->paths ? table_at(&t->paths, bift->first_path) : NULL;
	uint32_t from = 0;
	while (from < bift->paths && paths[from].way < way)
		from++;
	uint32_t to = from;
	while (to < bift->paths && paths[to].way == way)
		to++;
	*n = to - from;
	return paths ? paths + from : NULL;
}

static void send_copy(struct work *w, const struct bift *bift, const struct bier *b, struct path *path)
{
	struct copy *c = copy_begin(w);
	uint32_t words = bift->words;
	uint8_t *h = copy_push(c, BIER_LEN + 8 * words);
	put32(h, path->out_id << 12 | (uint32_t)b->tc << 9 | 1u << 8 | b->ttl);
	memcpy(h + 4, b->rest, 8);
	uint64_t bits[WORDS_MAX];
	for (uint32_t i = 0; i < words; i++) /* step 7 */
		bits[i] = b->bits[i] & path->fbm[i];
	bits_write(h + BIER_LEN, bits, words);
	struct bytes tail = b->inner ? copy_push_inner(c, b->inner) : b->payload;
	copy_send(w, c, tail, path->nexthop_index,
		  bift->encap == ENCAP_MPLS ? ETHERTYPE_MPLS : ETHERTYPE_BIER, &path->sent);
}

static void deliver(struct work *w, struct bift *bift, const struct bier *b)
{
	uint32_t proto = b->rest[5] & 0x3F;
	if (proto != BIER_PROTO_IPV4 && proto != BIER_PROTO_IPV6) {
		drop(w, DROP_BIER_PROTO);
		return;
	}
	if (!is_ip(b->payload, proto)) { /* both values are the version's */
		drop(w, DROP_IP_HEADER);
		return;
	}
	count(&bift->delivered, b->payload.length);
	overlay_input(w, b->payload, bift->context);
}

/* RFC 8279 section 6.5, steps 2 to 8. `b->bits` is consumed. The TTL in `b` is that of the copies: 0 sends none. */
static void forward(struct work *w, struct bift *bift, struct bier *b)
{
	uint32_t n, words = bift->words, hash = mix(b->entropy);
	struct path *paths = way_of(w->core->tables, bift, hash, &n);
	bool expired = false;
	int k = bits_first(b->bits, words, 0);
	if (k < 0)
		drop(w, DROP_BIER_EMPTY);
	for (; k >= 0; k = bits_first(b->bits, words, (unsigned)k / 64)) {
		/* another mix than the ways', else one choice would decide the other */
		struct path *path = choose(paths, n, (unsigned)k, mix(hash));
		if (!path) {
			drop(w, DROP_BIER_NO_PATH);
			b->bits[k / 64] &= ~(1ull << (k % 64));
			continue;
		}
		if (path->kind == PATH_LOCAL)
			deliver(w, bift, b);
		else if (path->kind == PATH_DROP)
			drop(w, DROP_BIER_PATH_DROP);
		else if (b->ttl)
			send_copy(w, bift, b, path);
		else
			expired = true; /* RFC 8296 section 2.1.1.2: own bit delivered, the rest goes nowhere */
		for (uint32_t i = 0; i < words; i++)
			b->bits[i] &= ~path->fbm[i];
	}
	if (expired)
		drop(w, DROP_BIER_TTL);
}

/* The length of the BitString is the BIFT's (RFC 8296 section 2.1.2). */
static void input(struct work *w, struct bytes packet, struct bift *bift)
{
	struct bier b;
	const uint8_t *h = packet.at;
	if (!bytes_skip(&packet, BIER_LEN + 8 * bift->words)) {
		drop(w, DROP_SHORT);
		return;
	}
	if (bift->encap == ENCAP_MPLS && h[4] >> 4 != NIBBLE) {
		drop(w, DROP_BIER_NIBBLE);
		return;
	}
	if (h[4] & 0xF) {
		drop(w, DROP_BIER_VERSION);
		return;
	}
	unsigned code = h[5] >> 4;
	if (code < 1 || code > 7 || 1u << (code - 1) != bift->words) {
		drop(w, DROP_BIER_BSL);
		return;
	}
	uint32_t ttl = h[3];
	if (!ttl) {
		drop(w, DROP_BIER_TTL);
		return;
	}
	b.ttl = ttl - 1;
	b.entropy = get32(h + 4) & 0xFFFFF;
	b.tc = bift->encap == ENCAP_MPLS ? h[2] >> 1 & 7 : 0; /* without MPLS: send 000 */
	memcpy(b.rest, h + 4, 8);
	b.rest[0] = NIBBLE << 4;
	b.payload = packet;
	b.inner = NULL;
	bits_read(b.bits, h + BIER_LEN, bift->words);
	forward(w, bift, &b);
}

void bier_input(struct work *w, struct bytes packet)
{
	if (packet.length < BIER_LEN) {
		drop(w, DROP_SHORT);
		return;
	}
	uint32_t key[BIFT_KEY] = {ENCAP_ETHERNET, get32(packet.at) >> 12};
	struct bift *bift = table_find(&w->core->tables->bifts, key);
	if (bift)
		input(w, packet, bift);
	else
		drop(w, DROP_BIFT_UNKNOWN);
}

void bier_mpls_input(struct work *w, struct bytes packet, struct bift *bift) { input(w, packet, bift); }

void bier_originate(struct work *w, const struct inner *inner, struct action *action)
{
	const struct tables *t = w->core->tables;
	struct bift *bift = table_at(&t->bifts, action->index);
	uint32_t length = BIER_LEN + 8 * bift->words + inner->whole.length;
	if (bift->mtu && length > bift->mtu) { /* RFC 8296 section 3 */
		drop(w, DROP_INGRESS_MTU);
		return;
	}
	struct bier b;
	uint32_t tclass = ip_traffic_class(inner->whole.at);
	unsigned code = 1u + (unsigned)__builtin_ctz(bift->words);
	b.ttl = t->node.ttl;
	b.payload = inner->whole; /* to itself, it is one hop: the TTL is decremented once */
	b.inner = inner;
	b.entropy = ip_flow_hash(inner->whole) & 0xFFFFF;
	b.tc = bift->encap == ENCAP_MPLS ? (uint8_t)(tclass >> 5) : 0;
	put32(b.rest, (uint32_t)NIBBLE << 28 | code << 20 | b.entropy);
	uint32_t dscp = bift->encap == ENCAP_MPLS ? 0 : tclass >> 2; /* sections 2.1.2 and 2.2.2 */
	put32(b.rest + 4, dscp << 22 | (inner->version == 4 ? BIER_PROTO_IPV4 : BIER_PROTO_IPV6) << 16 | bift->bfr_id);
	memcpy(b.bits, action->bits, 8 * bift->words);
	count(&action->sent, inner->whole.length);
	forward(w, bift, &b);
}
