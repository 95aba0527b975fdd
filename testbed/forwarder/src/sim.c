/* The core without a network: frames and control lines on standard input, copies and replies on standard output.
 *
 *   node NAME                       go on with this router (made at its first mention)
 *   interface PORT MAC MTU up|down  what the machine would say of a port
 *   neighbour NEXTHOP MAC|none      what the kernel's neighbour table would say
 *   frame PORT HEX [partial]        a frame; "partial": its transport checksum is missing
 *   anything else                   a line of the control protocol (session.h)
 *
 * A frame is answered by "copy PORT HEX" for each copy; every answer ends in "ok" or "failed". For tests: built with
 * sanitizers, each frame in a buffer of its own size, so that a read beyond it is found.
 */
#include <stdio.h>
#include <stdlib.h>

#include "session.h"

enum { NODES = 256, COPIES = 4 }; /* few copies, so that flushing in the middle of a frame is tested too */

struct router {
	char name[64];
	struct core core;
	struct session session;
};

static void print_hex(const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		printf("%02x", p[i]);
}

static void print_copies(void *owner, const struct copy *copies, uint32_t n)
{
	struct router *r = owner;
	for (uint32_t i = 0; i < n; i++) {
		const struct port *port = table_at(&r->core.tables->ports, copies[i].port);
		printf("copy %.15s ", port->name);
		print_hex(copies[i].head, copies[i].head_length);
		print_hex(copies[i].tail, copies[i].tail_length);
		printf("\n");
	}
}

static struct router *router_named(struct router **routers, const char *name)
{
	int i = 0;
	for (; i < NODES && routers[i]; i++)
		if (!strcmp(routers[i]->name, name))
			return routers[i];
	if (i == NODES)
		abort();
	struct router *r = calloc(1, sizeof *r);
	if (!r)
		abort();
	snprintf(r->name, sizeof r->name, "%s", name);
	r->core = (struct core){.tables = tables_new(), .copies = calloc(COPIES, sizeof(struct copy)),
				.capacity = COPIES, .send = print_copies, .owner = r};
	return routers[i] = r;
}

static bool parse_mac(const char *text, uint8_t *mac)
{
	unsigned b[MAC_LEN];
	if (sscanf(text, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != MAC_LEN)
		return false;
	for (int i = 0; i < MAC_LEN; i++)
		mac[i] = (uint8_t)b[i];
	return true;
}

static struct port *port_named(struct router *r, const char *name)
{
	char key[NAME_LEN] = {0};
	snprintf(key, sizeof key, "%.15s", name);
	return table_find(&r->core.tables->ports, key);
}

static bool do_interface(struct router *r, const char *name, const char *mac, const char *mtu, const char *state)
{
	struct port *port = name ? port_named(r, name) : NULL;
	if (!port || !mac || !mtu || !state || !parse_mac(mac, port->mac))
		return false;
	port->ifindex = 1;
	port->mtu = (uint32_t)atoi(mtu);
	port->up = !strcmp(state, "up");
	return true;
}

static bool do_neighbour(struct router *r, const char *id, const char *mac)
{
	uint32_t key = id ? (uint32_t)atoi(id) : 0;
	struct nexthop *nexthop = table_find(&r->core.tables->nexthops, &key);
	if (!nexthop || !mac)
		return false;
	nexthop->resolved = parse_mac(mac, nexthop->mac);
	return true;
}

static bool do_frame(struct router *r, const char *name, const char *hex, const char *flag)
{
	struct port *port = name ? port_named(r, name) : NULL;
	if (!port || !hex)
		return false;
	uint32_t n = (uint32_t)strlen(hex) / 2;
	uint8_t *data = malloc(n ? n : 1);
	if (!data)
		abort();
	for (uint32_t i = 0; i < n; i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1]}, *end;
		data[i] = (uint8_t)strtoul(digits, &end, 16);
		if (end != digits + 2) {
			free(data);
			return false;
		}
	}
	struct table *ports = &r->core.tables->ports;
	struct frame f = {data, n, (uint32_t)(((unsigned char *)port - ports->rows) / ports->row_size), flag != NULL};
	core_input(&r->core, &f);
	core_flush(&r->core);
	free(data);
	return true;
}

static void carry_out(struct router **routers, struct router **at, char *line)
{
	char copy[32] = {0};
	snprintf(copy, sizeof copy, "%.31s", line);
	char *space = strchr(copy, ' ');
	if (space)
		*space = '\0';
	bool own = (*at)->session.mode == SESSION_IDLE, good = true;
	char *save = NULL, *w[5] = {0};
	if (own && (!strcmp(copy, "node") || !strcmp(copy, "interface") || !strcmp(copy, "neighbour") ||
		    !strcmp(copy, "frame"))) {
		for (int i = 0; i < 5; i++)
			w[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!strcmp(copy, "node"))
			*at = router_named(routers, w[1] ? w[1] : "");
		else if (!strcmp(copy, "interface"))
			good = do_interface(*at, w[1], w[2], w[3], w[4]);
		else if (!strcmp(copy, "neighbour"))
			good = do_neighbour(*at, w[1], w[2]);
		else
			good = do_frame(*at, w[1], w[2], w[3]);
		puts(good ? "ok" : "failed");
		return;
	}
	struct text out = {0};
	session_line(&(*at)->session, &(*at)->core, line, &out);
	if (out.length)
		fputs(out.at, stdout);
	text_free(&out);
}

int main(void)
{
	struct router *routers[NODES] = {0}, *at = router_named(routers, "");
	char *line = NULL;
	size_t capacity = 0;
	ssize_t n;
	while ((n = getline(&line, &capacity, stdin)) >= 0) {
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		carry_out(routers, &at, line);
		fflush(stdout);
	}
	free(line);
	for (int i = 0; i < NODES && routers[i]; i++) {
		tables_free(routers[i]->core.tables);
		free(routers[i]->core.copies);
		session_free(&routers[i]->session);
		free(routers[i]);
	}
	return 0;
}
