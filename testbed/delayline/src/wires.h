/* Links: two interfaces each, and a line from either to the other. */
#ifndef WIRES_H
#define WIRES_H

#include "../../forwarder/src/text.h"
#include "line.h"

enum { WIRE_NAME = 64 };

struct port {
	char name[16];
	uint32_t ifindex;
	int fd;
	uint64_t crowded, oversized; /* frames that its socket had no room for; that are longer than any link allows */
};

/* Packets that arrive at ports[0] take lines[0] and leave by ports[1], and the other way round. */
struct wire {
	char name[WIRE_NAME];
	struct port ports[2];
	struct line lines[2];
};

struct wires;

/* `epoll` is told of each socket: its event's data is wires_tag(). NULL: out of memory. */
struct wires *wires_new(int epoll);
void wires_free(struct wires *w);

/* Join two interfaces of this namespace. The wire's number, or -1: `problems` says why. */
int wires_join(struct wires *w, const char *name, const char *a, const char *b, const uint64_t seeds[2],
	       struct text *problems);

struct wire *wires_find(struct wires *w, const char *name);

/* The wire with this number, or NULL. */
struct wire *wires_at(struct wires *w, uint32_t number);

/* Receive a batch at the port of an event. */
void wires_receive(struct wires *w, uint64_t tag);

/* Send all that is due; when the next is, in ns (CLOCK_MONOTONIC), UINT64_MAX: nothing is on its way. */
uint64_t wires_release(struct wires *w);

/* What is on its way on a wire is lost. */
void wires_cut(struct wires *w, uint32_t number);

/* All wires, with their counters, as JSON. */
void wires_show(struct wires *w, struct text *out);

/* CLOCK_MONOTONIC, in ns. */
uint64_t wires_now(void);

static inline bool wires_own(uint64_t tag) { return tag >> 32 == 1; }

#endif
