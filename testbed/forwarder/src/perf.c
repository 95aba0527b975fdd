/* What the core itself costs, without a kernel: nanoseconds a packet in and a copy out.
 *
 *   perf BITS COPIES SIZE [ROUNDS]
 *
 * A transit BFR with COPIES neighbours that share 256 BFERs, and packets of SIZE bytes with BITS of them set, spread
 * evenly over all neighbours. Prints one JSON object.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "session.h"

enum { BSL = 256, BURST = 32 };

static void discard(void *owner, const struct copy *copies, uint32_t n)
{
	uint64_t *bytes = owner;
	for (uint32_t i = 0; i < n; i++)
		*bytes += copies[i].head_length + copies[i].tail_length;
}

static void tell(struct session *s, struct core *c, const char *line)
{
	char copy[1024];
	struct text out = {0};
	snprintf(copy, sizeof copy, "%s", line);
	session_line(s, c, copy, &out);
	if (out.at && strcmp(out.at, "ok\n")) {
		fputs(out.at, stderr);
		exit(1);
	}
	text_free(&out);
}

/* The F-BM of one neighbour: every COPIES-th bit. */
static const char *mask(char *to, unsigned neighbour, unsigned copies)
{
	uint64_t bits[BSL / 64] = {0};
	for (unsigned k = neighbour; k < BSL; k += copies)
		bits[k / 64] |= 1ull << (k % 64);
	sprintf(to, "%016llx%016llx%016llx%016llx", (unsigned long long)bits[3], (unsigned long long)bits[2],
		(unsigned long long)bits[1], (unsigned long long)bits[0]);
	return to;
}

int main(int argc, char **argv)
{
	unsigned set = argc > 1 ? (unsigned)atoi(argv[1]) : 0, copies = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	uint32_t size = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
	long rounds = argc > 4 ? atol(argv[4]) : 2000000;
	if (!set || set > BSL || !copies || copies > set || size < ETH_LEN + BIER_LEN + BSL / 8 || size > 9216) {
		fprintf(stderr, "usage: perf BITS COPIES SIZE [ROUNDS]\n");
		return 2;
	}
	uint64_t bytes = 0;
	struct core c = {.tables = tables_new(), .copies = calloc(1024, sizeof(struct copy)), .capacity = 1024,
			 .send = discard, .owner = &bytes};
	struct session s = {0};
	char line[1024], hex[80];
	tell(&s, &c, "replace");
	tell(&s, &c, "port in transport");
	tell(&s, &c, "port out transport");
	tell(&s, &c, "bift ethernet 1 sd 0 si 0 bsl 256");
	for (unsigned i = 0; i < copies; i++) {
		snprintf(line, sizeof line, "nexthop %u port out mac 02:00:00:00:00:%02x", i, i);
		tell(&s, &c, line);
		snprintf(line, sizeof line, "path ethernet 1 0 %u fbm %s nexthop %u", i, mask(hex, i, copies), i);
		tell(&s, &c, line);
	}
	tell(&s, &c, "commit");
	for (uint32_t i = 0; i < c.tables->ports.n; i++) {
		struct port *port = table_at(&c.tables->ports, i);
		port->up = port->ifindex = 1;
		port->mtu = 9216;
	}
	static uint8_t frames[BURST][9216];
	for (int i = 0; i < BURST; i++) {
		uint8_t *f = frames[i];
		uint64_t bits[BSL / 64] = {0};
		for (unsigned k = 0; k < set; k++)
			bits[k / 64] |= 1ull << (k % 64);
		put16(f + 12, ETHERTYPE_BIER);
		put32(f + ETH_LEN, 1u << 12 | 1u << 8 | 64);
		put32(f + ETH_LEN + 4, 3u << 20 | (uint32_t)i);
		put32(f + ETH_LEN + 8, 4u << 16 | 1);
		bits_write(f + ETH_LEN + BIER_LEN, bits, BSL / 64);
	}
	char name[NAME_LEN] = "in";
	struct port *in = table_find(&c.tables->ports, name);
	uint32_t index = (uint32_t)(((unsigned char *)in - c.tables->ports.rows) / c.tables->ports.row_size);
	struct timespec start, end;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	for (long n = 0; n < rounds; n += BURST) {
		for (int i = 0; i < BURST; i++)
			core_input(&c, &(struct frame){frames[i], size, index, false});
		core_flush(&c);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	double ns = (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
	printf("{\"bits\":%u,\"copies\":%u,\"size\":%u,\"ns_per_packet\":%.1f,\"ns_per_copy\":%.1f,\"copies_made\":%.3f}\n",
	       set, copies, size, ns / (double)rounds, ns / (double)rounds / copies,
	       (double)bytes / (double)size / (double)rounds);
	tables_free(c.tables);
	free(c.copies);
	session_free(&s);
	return 0;
}
