/* The core under a coverage-guided fuzzer (libFuzzer): what it must never do, whatever frames and control lines come.
 *
 * An input is a byte that chooses the tables to start from (fuzz_tables.h), then records, each behind SEPARATOR:
 *
 *   L text                      lines of the control protocol, as they are
 *   U text, R text              rows, within update ... commit or replace ... commit
 *   Q                           after a change of the tables: is what is shown of them as it must be?
 *   I port up mtu mtu           what the machine says of an interface
 *   N nexthop byte              what the kernel's neighbour table says; 0: nothing
 *   F port flags mend mend pad pad bytes
 *                               a frame, with `pad` zeros behind it; `flags` are those of enum frame_flags
 *
 * Numbers of two bytes are big-endian; a record too short for them does nothing. Every frame is in a buffer of its own
 * size, and so are the tables' rows, so that AddressSanitizer sees a read beyond them.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz_tables.h"
#include "parts.h"
#include "session.h"

#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#else
#define __msan_check_mem_is_initialized(at, n)
#define __msan_poison(at, n)
#endif

/* What is covered here is nothing to strive for. */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)

static const uint8_t SEPARATOR[] = {0xA5, 0x5A, 0xA5};

enum frame_flags {
	FRAME_CHECKSUM_MISSING = 1,
	FRAME_TO_US = 2,     /* its destination becomes the port's MAC address */
	FRAME_MEND_IPV4 = 4, /* the IPv4 header `mend` bytes before the end of `bytes` gets its checksum */
	FRAME_MEND_ECHO = 8, /* the same for an ICMPv6 message, in the IPv6 packet behind the Ethernet header */
	FRAME_HELD = 16,     /* the next frame is received before this one's copies are sent */
};

enum {
	SETS = sizeof sets / sizeof *sets,
	COPIES = 4,       /* few, so that flushing in the middle of a frame is tested too */
	HELD = 4,         /* frames whose copies may be waiting */
	FAN_OUT = 20000,  /* tables that make more copies of a frame are left alone: that takes long, and is what they say */
};

/* A frame in the core, and what its copies are judged by. */
struct held {
	uint8_t *data, *before;
	uint32_t length;
	bool may_change;
	uint32_t copies;
	uint32_t bier;             /* where its BIER header is, if it is for a BIFT; else 0 */
	uint16_t type;             /* and the Ethertype before it */
	uint32_t words;
	uint64_t bits[WORDS_MAX]; /* that no copy has had yet */
};

static struct tables *origin[SETS];
static uint32_t origin_fan_out[SETS];

/* What one input works on. */
static struct core core;
static struct session session;
static uint32_t fan_out;
static bool replaced; /* the tables, by a commit */
static bool shown;    /* since then */
static struct held held[HELD];
static int n_held;

static void wrong(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static void require(bool good, const char *what)
{
	if (!good)
		wrong(what);
}

/* -- tables ------------------------------------------------------------------------------------------------------ */

/* Rows that end where their memory ends. */
static void trim(struct tables *t)
{
	struct table *all[] = {&t->ports, &t->nexthops, &t->bifts, &t->paths, &t->labels,
			       &t->sids, &t->segments, &t->branches, &t->flows, &t->actions};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct table *each = all[i];
		if (!each->n) {
			table_free(each);
		} else if (each->cap != each->n) {
			each->rows = realloc(each->rows, (size_t)each->n * each->row_size);
			require(each->rows, "out of memory");
			each->cap = each->n;
		}
	}
}

static uint32_t more(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* The most copies of an IP packet that comes into a context. `of_bift`: those of what a BIFT is given. */
static uint32_t context_copies(const struct tables *t, uint32_t context, const uint32_t *of_bift)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < t->flows.n; i++) {
		const struct flow *flow = table_at(&t->flows, i);
		uint32_t n = 0;
		for (uint32_t k = 0; flow->key.context == context && k < flow->actions && n < FAN_OUT; k++) {
			const struct action *action = table_at(&t->actions, flow->first_action + k);
			if (action->kind == ACTION_BIER)
				n += of_bift[action->index];
			else if (action->kind == ACTION_SEGMENT)
				n += ((struct segment *)table_at(&t->segments, action->index))->branches;
			else
				n++;
		}
		most = more(most, n);
	}
	return most;
}

/* The most copies that any frame may come to: each path, branch and port once a tree, and NESTING_MAX trees deep. */
static uint32_t most_copies(const struct tables *t)
{
	uint32_t *deeper = calloc(t->bifts.n + 1, sizeof *deeper), *here = calloc(t->bifts.n + 1, sizeof *here);
	uint32_t most = 1; /* a swap, or the answer to an echo */
	require(deeper && here, "out of memory");
	for (int level = 0; level <= NESTING_MAX; level++) { /* from the innermost, which delivers nothing, outwards */
		for (uint32_t i = 0; i < t->bifts.n; i++) {
			const struct bift *b = table_at(&t->bifts, i);
			uint32_t delivered = level && b->context ? context_copies(t, b->context, deeper) : 0;
			here[i] = 0;
			for (uint32_t k = 0; k < b->paths && here[i] < FAN_OUT; k++) {
				const struct path *path = table_at(&t->paths, b->first_path + k);
				here[i] += path->kind == PATH_NEXTHOP ? 1 : path->kind == PATH_LOCAL ? delivered : 0;
			}
		}
		if (level < NESTING_MAX)
			memcpy(deeper, here, t->bifts.n * sizeof *here);
	}
	for (uint32_t i = 0; i < t->bifts.n; i++)
		most = more(most, here[i]);
	for (uint32_t i = 0; i < t->flows.n; i++)
		most = more(most, context_copies(t, ((struct flow *)table_at(&t->flows, i))->key.context, deeper));
	uint32_t outermost = most;
	for (uint32_t i = 0; i < t->segments.n; i++)
		most = more(most, ((struct segment *)table_at(&t->segments, i))->branches + outermost);
	free(deeper);
	free(here);
	return most;
}

/* RFC 8279 sections 6.1 and 6.5: a BFR has one bit, and whatever the entropy it is its own. */
static void check_own_bits(const struct tables *t)
{
	for (uint32_t i = 0; i < t->bifts.n; i++) {
		const struct bift *b = table_at(&t->bifts, i);
		int own = -1;
		uint64_t ways = 0;
		for (uint32_t k = 0; k < b->paths; k++) {
			const struct path *path = table_at(&t->paths, b->first_path + k);
			if (path->kind != PATH_LOCAL)
				continue;
			int bit = bits_first(path->fbm, WORDS_MAX, 0);
			require(own < 0 || bit == own, "a BIFT with two own bits");
			require(!(ways >> path->way & 1), "an own bit twice in a way");
			own = bit;
			ways |= 1ull << path->way;
		}
		require(!ways || ways == (b->ways == 64 ? ~0ull : (1ull << b->ways) - 1), "a way without the own bit");
	}
}

/* RFC 8279 section 6.9: a tunnel is for BIER alone, and has two ends. */
static void check_tunnels(const struct tables *t)
{
	uint32_t here = get32(t->node.tunnel);
	for (uint32_t i = 0; i < t->nexthops.n; i++) {
		const struct nexthop *hop = table_at(&t->nexthops, i);
		uint32_t there = get32(hop->tunnel);
		require(!there || (here && here != there), "a tunnel without two ends");
		require(!there || t->node.fib_index != i, "the kernel's routing behind a tunnel");
		for (uint32_t k = 0; k < t->labels.n; k++)
			require(!there || ((struct label *)table_at(&t->labels, k))->nexthop_index != i, "a label to a tunnel");
		for (uint32_t k = 0; k < t->branches.n; k++)
			require(!there || ((struct branch *)table_at(&t->branches, k))->nexthop_index != i,
				"a branch to a tunnel");
	}
}

/* What the core takes for granted of its tables, and UndefinedBehaviorSanitizer does not see. */
static void check_rows(const struct tables *t)
{
	check_own_bits(t);
	check_tunnels(t);
	for (uint32_t i = 0; i < t->branches.n; i++)
		require(((struct branch *)table_at(&t->branches, i))->depth <= STACK_MAX, "a branch too deep");
	for (uint32_t i = 0; i < t->bifts.n; i++) {
		uint32_t words = ((struct bift *)table_at(&t->bifts, i))->words;
		require(words && words <= WORDS_MAX && !(words & (words - 1)), "a BSL that is none");
	}
}

/* Interfaces that the tables have named first are up. */
static void bring_up(struct tables *t)
{
	for (uint32_t i = 0; i < t->ports.n; i++) {
		struct port *port = table_at(&t->ports, i);
		if (port->ifindex)
			continue;
		port->ifindex = i + 1;
		port->mtu = 1500;
		port->up = 1;
		memcpy(port->mac, (const uint8_t[]){2, 0, 0, 0, 0, (uint8_t)i}, MAC_LEN);
	}
}

/* -- the control protocol ---------------------------------------------------------------------------------------- */

/* One line in memory of its own size. Its reply ends in "ok" or "failed"; without a commit the tables are the same. */
static void say(struct session *s, struct core *c, const char *line, size_t n, struct text *out)
{
	char *own = malloc(n + 1);
	require(own, "out of memory");
	memcpy(own, line, n);
	own[n] = '\0';
	const struct tables *before = c->tables;
	size_t from = out->length;
	bool committed = session_line(s, c, own, out);
	free(own);
	require(committed == (c->tables != before), "a commit that did not say so");
	const char *reply = out->length > from ? out->at + from : "ok\n";
	size_t length = strlen(reply);
	bool ok = length >= 3 && !strcmp(reply + length - 3, "ok\n");
	require(ok || (length >= 7 && !strcmp(reply + length - 7, "failed\n")), "a reply without an end");
	require(ok || !committed, "a commit that failed and took place");
}

static void say_lines(struct session *s, struct core *c, const char *at, size_t n, struct text *out)
{
	for (const char *end = at + n, *line_end; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (!line_end)
			line_end = end;
		say(s, c, at, (size_t)(line_end - at), out);
	}
}

static void say_text(struct session *s, struct core *c, const char *text, struct text *out)
{
	say_lines(s, c, text, strlen(text), out);
}

/* Whether two tables have the same rows, as far as the control language sets them. */
static bool same_tables(const struct tables *a, const struct tables *b)
{
#define END(type, field) (offsetof(struct type, field) + sizeof((struct type *)0)->field)
	const struct {
		const struct table *a, *b;
		size_t from, to; /* octets of a row; not padding, not what follows from the rest or from the machine */
	} parts[] = {
		{&a->ports, &b->ports, 0, END(port, context)},
		{&a->nexthops, &b->nexthops, 0, END(nexthop, tunnel)},
		{&a->bifts, &b->bifts, 0, END(bift, mtu)},
		{&a->paths, &b->paths, 0, END(path, out_id)},
		{&a->paths, &b->paths, offsetof(struct path, fbm), END(path, fbm)},
		{&a->labels, &b->labels, 0, END(label, segment)},
		{&a->sids, &b->sids, 0, END(sid, context)},
		{&a->segments, &b->segments, 0, END(segment, mtu)},
		{&a->branches, &b->branches, 0, END(branch, segments)},
		{&a->flows, &b->flows, 0, END(flow, key)},
		{&a->actions, &b->actions, 0, END(action, port)},
		{&a->actions, &b->actions, offsetof(struct action, bits), END(action, bits)},
	};
#undef END
	for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
		if (parts[k].a->n != parts[k].b->n)
			return false;
		for (uint32_t i = 0; i < parts[k].a->n; i++)
			if (memcmp((uint8_t *)table_at(parts[k].a, i) + parts[k].from,
				   (uint8_t *)table_at(parts[k].b, i) + parts[k].from, parts[k].to - parts[k].from))
				return false;
	}
	return a->node.ttl == b->node.ttl && a->node.fib == b->node.fib &&
	       !memcmp(a->node.source, b->node.source, ADDR_LEN) &&
	       !memcmp(a->node.tunnel, b->node.tunnel, IPV4_ADDR_LEN);
}

/* What `tables` shows, replace takes, and makes the same tables of it. */
static void check_tables_text(void)
{
	static const char ok[] = "ok\n";
	struct text shown_rows = {0}, reply = {0};
	struct core other = {.tables = tables_new()};
	struct session fresh = {0}, asking = {0};
	require(other.tables, "out of memory");
	say_text(&asking, &core, "tables", &shown_rows);
	require(shown_rows.length > strlen(ok), "no tables shown");
	say_text(&fresh, &other, "replace", &reply);
	say_lines(&fresh, &other, shown_rows.at, shown_rows.length - strlen(ok), &reply);
	say_text(&fresh, &other, "commit", &reply);
	if (strcmp(reply.at, ok) || !same_tables(core.tables, other.tables)) {
		fprintf(stderr, "%s%s", shown_rows.at, reply.at);
		wrong("tables that are shown and not accepted, or become others");
	}
	session_free(&fresh);
	session_free(&asking);
	tables_free(other.tables);
	text_free(&shown_rows);
	text_free(&reply);
}

/* JSON as far as it can go wrong here: quotes and brackets close, commas stand between, all is printable ASCII. */
static void check_json(const char *text)
{
	char open[16];
	int depth = 0;
	char before = 0;
	bool quoted = false;
	for (const char *p = text; *p != '\n'; p++) {
		require(*p >= 0x20 && *p <= 0x7E, "JSON with raw bytes");
		if (quoted && *p == '\\') {
			p++;
			require(*p == '"' || *p == '\\' || *p == 'u', "JSON with an unknown escape");
		} else if (quoted) {
			quoted = *p != '"';
		} else if (*p == '"') {
			quoted = true;
		} else if (*p == '{' || *p == '[') {
			require(depth < (int)sizeof open, "JSON too deep");
			open[depth++] = *p;
		} else if (*p == '}' || *p == ']') {
			require(depth && open[--depth] == (*p == '}' ? '{' : '['), "JSON brackets");
			require(before != ',' && before != ':', "JSON ends at a comma");
		} else if (*p == ',') {
			require(before != ',' && before != '{' && before != '[', "JSON comma");
		}
		before = *p;
	}
	require(!quoted && !depth, "JSON that does not end");
}

static void check_state(void)
{
	struct text out = {0};
	struct session asking = {0};
	say_text(&asking, &core, "state", &out);
	check_json(out.at);
	session_free(&asking);
	text_free(&out);
}

static void flush(void);

/* New tables. */
static void adopt(void)
{
	replaced = true;
	shown = false;
	trim(core.tables);
	bring_up(core.tables);
	fan_out = most_copies(core.tables);
	check_rows(core.tables);
}

static void control(const char *how, const uint8_t *text, size_t n)
{
	struct text out = {0};
	const struct tables *before = core.tables;
	flush();
	if (how) {
		say_text(&session, &core, "abort", &out); /* whatever was open */
		say_text(&session, &core, how, &out);
	}
	say_lines(&session, &core, (const char *)text, n, &out);
	if (how)
		say_text(&session, &core, "commit", &out);
	text_free(&out);
	if (core.tables != before)
		adopt();
}

/* -- frames ------------------------------------------------------------------------------------------------------ */

/* Behind a tunnel's headers, if they are there: the Ethertype of what it carries. */
static uint16_t behind_tunnel(const struct held *h, uint32_t *at)
{
	const uint8_t *ip = h->data + ETH_LEN;
	if (h->length < ETH_LEN + IPV4_LEN || ip[9] != PROTO_GRE)
		return 0;
	*at = ETH_LEN + 4u * (ip[0] & 0xF) + GRE_LEN;
	if (*at > h->length)
		return 0;
	const uint8_t *gre = h->data + *at - GRE_LEN;
	if (gre[0] & 0x80)
		*at += GRE_LEN;
	return get16(gre + 2);
}

/* Where a frame's BIER header is: behind Ethernet, a tunnel's headers, or labels. It is the core's to say whether it gets
 * there. */
static void find_bier(struct held *h)
{
	const struct tables *t = core.tables;
	uint32_t at = ETH_LEN;
	uint16_t type = h->length >= ETH_LEN ? get16(h->data + 12) : 0;
	if (type == ETHERTYPE_IPV4)
		type = behind_tunnel(h, &at);
	uint32_t key[BIFT_KEY] = {type == ETHERTYPE_MPLS ? ENCAP_MPLS : ENCAP_ETHERNET};
	h->bier = 0;
	h->type = type;
	if (type != ETHERTYPE_MPLS && type != ETHERTYPE_BIER)
		return;
	for (; at + BIER_LEN <= h->length; at += LABEL_LEN) {
		key[1] = get32(h->data + at) >> 12;
		const struct bift *bift = table_find(&t->bifts, key);
		if (bift && at + BIER_LEN + 8 * bift->words <= h->length) {
			h->bier = at;
			h->words = bift->words;
			bits_read(h->bits, h->data + at + BIER_LEN, bift->words);
		}
		if (bift || type == ETHERTYPE_BIER)
			return;
	}
}

/* RFC 8279 section 6.5, RFC 8296 section 2: the header of a copy of a packet that came with BIER. Every bit goes out
 * once at most, and none that did not come in. */
static void check_bier_forwarded(struct held *h, const uint8_t *out)
{
	const uint8_t *in = h->data + h->bier;
	uint64_t bits[WORDS_MAX];
	bits_read(bits, out + BIER_LEN, h->words);
	for (uint32_t i = 0; i < h->words; i++) {
		require(!(bits[i] & ~h->bits[i]), "BIER: a bit that was not there, or was sent before");
		h->bits[i] &= ~bits[i];
	}
	require(out[3] == in[3] - 1, "BIER: TTL");
	require(out[4] == 0x50 && (out[5] == in[5]) && !memcmp(out + 6, in + 6, 6), "BIER: words 1 and 2");
}

static void check_bier(const uint8_t *bier, uint32_t length)
{
	require(length >= BIER_LEN, "BIER: header cut");
	uint32_t code = bier[5] >> 4;
	require(code >= 1 && code <= 7, "BIER: BSL");
	uint32_t words = 1u << (code - 1);
	require(length >= BIER_LEN + 8 * words, "BIER: BitString cut");
	require(bier[2] & 1 && bier[3] && bier[4] == 0x50, "BIER: S, TTL, nibble or version");
	uint64_t bits[WORDS_MAX];
	bits_read(bits, bier + BIER_LEN, words);
	require(bits_first(bits, words, 0) >= 0, "BIER: no bit");
}

/* An IP header that the core wrote, at the end of `head`: it says how long the packet is. */
static void check_ip(const struct copy *c, uint32_t at)
{
	const uint8_t *ip = c->head + at;
	uint32_t length = c->head_length - at + c->tail_length;
	if (ip[0] >> 4 == 4) {
		uint32_t options = 4u * (ip[0] & 0xF) - IPV4_LEN;
		require(get16(ip + 2) == length && options <= c->tail_length, "IPv4: length");
		uint32_t sum = checksum_add(0, ip, IPV4_LEN);
		require(!checksum_finish(checksum_add(sum, c->tail, options)), "IPv4: checksum");
		require(ip[8], "IPv4: TTL");
	} else {
		require(ip[0] >> 4 == 6 && IPV6_LEN + get16(ip + 4) == length, "IPv6: length");
		require(ip[7], "IPv6: hop limit");
	}
}

/* The headers that begin a tunnel, with which IP alone leaves more behind it in the head. */
static void check_tunnel(const struct copy *c)
{
	const uint8_t *ip = c->head + ETH_LEN, *gre = ip + IPV4_LEN;
	require(c->head_length >= ETH_LEN + IPV4_LEN + GRE_LEN, "tunnel: headers");
	check_ip(c, ETH_LEN);
	require(ip[0] == 0x45 && ip[9] == PROTO_GRE && get16(ip + 6) == IPV4_DONT_FRAGMENT, "tunnel: IPv4");
	require(ip[8] == core.tables->node.ttl, "tunnel: TTL");
	require(!memcmp(ip + 12, core.tables->node.tunnel, IPV4_ADDR_LEN) && get32(ip + 16), "tunnel: ends");
	require(!get16(gre), "tunnel: GRE");
	require(get16(gre + 2) == ETHERTYPE_BIER || get16(gre + 2) == ETHERTYPE_MPLS, "tunnel: payload");
}

static void check_copy(const struct copy *c)
{
	const struct port *port = table_at(&core.tables->ports, c->port);
	require(c->port < core.tables->ports.n && port->up, "port");
	require(c->head_length >= ETH_LEN && c->head_length <= HEAD_MAX, "head");
	require(c->head_length + c->tail_length - ETH_LEN <= port->mtu, "longer than the port's MTU");
	require(!memcmp(c->head + MAC_LEN, port->mac, MAC_LEN), "source MAC address");
	struct held *h = held;
	while (h < held + n_held && (c->tail < h->data || c->tail > h->data + h->length))
		h++;
	require(h < held + n_held && c->tail_length <= h->length - (uint32_t)(c->tail - h->data), "tail");
	require(++h->copies <= fan_out, "too many copies");
	uint32_t type = get16(c->head + 12), from = ETH_LEN;
	bool tunnel = type == ETHERTYPE_IPV4 && c->head_length > ETH_LEN + IPV4_LEN;
	if (tunnel) {
		check_tunnel(c);
		from += IPV4_LEN + GRE_LEN;
		type = get16(c->head + from - 2);
	}
	uint32_t below = c->head_length - from;
	const uint8_t *at = c->head + from;
	require(!tunnel || type == ETHERTYPE_BIER || (below >= BIER_LEN && at[2] & 1), "tunnel: no BIER");
	if (type == ETHERTYPE_BIER || (type == ETHERTYPE_MPLS && below >= BIER_LEN && at[2] & 1 && at[4] >> 4 == 5)) {
		check_bier(at, below);
		if (h->bier && h->type == type && below == BIER_LEN + 8 * h->words &&
		    c->tail == h->data + h->bier + below)
			check_bier_forwarded(h, at);
		else
			check_ip(c, from + BIER_LEN + (8u << ((at[5] >> 4) - 1)));
	} else if (type == ETHERTYPE_MPLS) {
		require(!below || (below >= LABEL_LEN && get32(at) >> 12 >= LABEL_FIRST_FREE && at[3]), "label");
	} else {
		require(type == ETHERTYPE_IPV4 || type == ETHERTYPE_IPV6, "ethertype");
		if (below) /* else a label was popped, and what was below went on as it was */
			check_ip(c, ETH_LEN);
	}
}

static void send_copies(void *owner, const struct copy *copies, uint32_t n)
{
	(void)owner;
	for (uint32_t i = 0; i < n; i++) {
		__msan_check_mem_is_initialized(copies[i].head, copies[i].head_length);
		check_copy(&copies[i]);
		__msan_poison(copies[i].head, HEAD_MAX);
	}
}

static void flush(void)
{
	core_flush(&core);
	for (; n_held; n_held--) {
		struct held *h = &held[n_held - 1];
		require(h->may_change || !memcmp(h->data, h->before, h->length), "a frame that was changed");
		free(h->data);
		free(h->before);
	}
}

static void mend(uint8_t *data, uint32_t length, uint32_t at, uint32_t flags)
{
	uint8_t *p = data + at;
	uint32_t left = length - at;
	if (flags & FRAME_MEND_IPV4 && left >= IPV4_LEN && 4u * (p[0] & 0xF) <= left) {
		put16(p + 10, 0);
		put16(p + 10, checksum_finish(checksum_add(0, p, 4u * (p[0] & 0xF))));
	}
	if (flags & FRAME_MEND_ECHO && left >= 8 && at >= ETH_LEN + IPV6_LEN) {
		const uint8_t *ip = data + ETH_LEN;
		uint32_t end = ETH_LEN + IPV6_LEN + get16(ip + 4);
		if (end < at + 8 || end > length)
			return;
		put16(p + 2, 0);
		uint32_t sum = checksum_add(PROTO_ICMPV6 + end - at, ip + 8, 2 * ADDR_LEN);
		put16(p + 2, checksum_finish(checksum_add(sum, p, end - at)));
	}
}

static void receive(const uint8_t *record, size_t n)
{
	enum { FIXED = 6 };
	if (n < FIXED || !core.tables->ports.n || fan_out >= FAN_OUT)
		return;
	uint32_t port = record[0] % core.tables->ports.n, flags = record[1];
	uint32_t mend_at = get16(record + 2), pad = get16(record + 4), bytes = (uint32_t)(n - FIXED);
	if (n_held == HELD)
		flush();
	struct held *h = &held[n_held];
	*h = (struct held){.length = bytes + pad, .may_change = flags & FRAME_CHECKSUM_MISSING};
	h->data = calloc(1, h->length ? h->length : 1);
	h->before = malloc(h->length ? h->length : 1);
	require(h->data && h->before, "out of memory");
	if (bytes)
		memcpy(h->data, record + FIXED, bytes);
	if (flags & FRAME_TO_US && h->length >= MAC_LEN)
		memcpy(h->data, ((struct port *)table_at(&core.tables->ports, port))->mac, MAC_LEN);
	if (mend_at <= bytes)
		mend(h->data, h->length, bytes - mend_at, flags);
	memcpy(h->before, h->data, h->length);
	find_bier(h);
	n_held++;
	core_input(&core, &(struct frame){h->data, h->length, port, h->may_change});
	if (!(flags & FRAME_HELD))
		flush();
}

/* -- the machine ------------------------------------------------------------------------------------------------- */

static void interface(const uint8_t *p, size_t n)
{
	if (n < 4 || !core.tables->ports.n)
		return;
	flush();
	struct port *port = table_at(&core.tables->ports, p[0] % core.tables->ports.n);
	port->ifindex = p[1] ? 1 : 0;
	port->up = p[1] & 1;
	port->mtu = get16(p + 2);
}

static void neighbour(const uint8_t *p, size_t n)
{
	if (n < 2 || !core.tables->nexthops.n)
		return;
	struct nexthop *nexthop = table_at(&core.tables->nexthops, p[0] % core.tables->nexthops.n);
	nexthop->resolved = p[1] != 0;
	nexthop->mac[MAC_LEN - 1] = p[1];
}

/* -- what the engine calls --------------------------------------------------------------------------------------- */

static void carry_out(const uint8_t *record, size_t n)
{
	if (!n)
		return;
	uint8_t kind = *record++;
	n--;
	switch (kind) {
	case 'L':
		control(NULL, record, n);
		break;
	case 'U':
		control("update", record, n);
		break;
	case 'R':
		control("replace", record, n);
		break;
	case 'Q':
		if (replaced && !shown) {
			flush();
			check_state();
			check_tables_text();
		}
		shown = true;
		break;
	case 'I':
		interface(record, n);
		break;
	case 'N':
		neighbour(record, n);
		break;
	case 'F':
		receive(record, n);
		break;
	default:
		break;
	}
}

/* The tables to start from, in memory that is there from the input before if that did not replace them. */
static void start(uint32_t set)
{
	static uint32_t set_before;
	struct tables *from = origin[set];
	if (core.tables && !replaced && set == set_before) {
		struct tables *t = core.tables;
		table_copy(&t->ports, &from->ports);
		table_copy(&t->nexthops, &from->nexthops);
	} else {
		tables_free(core.tables);
		core.tables = tables_copy(from);
		require(core.tables, "out of memory");
		trim(core.tables);
	}
	fan_out = origin_fan_out[set];
	set_before = set;
	replaced = shown = false;
	memset(core.drops, 0, sizeof core.drops);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	static struct copy copies[COPIES];
	__msan_poison(copies, sizeof copies);
	core = (struct core){.tables = tables_new(), .copies = copies, .capacity = COPIES, .send = send_copies};
	for (uint32_t i = 0; i < SETS; i++) {
		struct text reply = {0};
		say_text(&session, &core, "replace", &reply);
		for (const char *const *row = sets[i]; *row; row++)
			say_text(&session, &core, *row, &reply);
		say_text(&session, &core, "commit", &reply);
		if (strcmp(reply.at, "ok\n"))
			wrong(reply.at);
		text_free(&reply);
		adopt();
		origin[i] = tables_copy(core.tables);
		origin_fan_out[i] = fan_out;
		require(origin[i] && fan_out < FAN_OUT, "fuzz_tables.h copies too much");
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	start(data[0] % SETS);
	const uint8_t *at = data + 1, *end = data + size;
	while (at < end) {
		const uint8_t *next = memmem(at, (size_t)(end - at), SEPARATOR, sizeof SEPARATOR);
		carry_out(at, (size_t)((next ? next : end) - at));
		at = next ? next + sizeof SEPARATOR : end;
	}
	flush();
	session_free(&session);
	session = (struct session){0};
	return 0;
}

#pragma clang attribute pop
