/* Links: two interfaces each, and a line from either to the other. */
#ifndef WIRES_H
#define WIRES_H

#include "../../forwarder/src/text.h"
#include "line.h"

enum { WIRE_NAME = 64 };

struct port {
	char name[16];
	uint32_t ifindex;
	bool carrier;       /* when it was last looked at (carrier.h) */
	uint64_t oversized; /* frames that are longer than any link allows */
};

/* Packets that arrive at ports[0] take lines[0] and leave by ports[1], and the other way round. */
struct wire {
	char name[WIRE_NAME];
	struct port ports[2];
	struct line lines[2];
};

struct wires;

/* NULL: errno says why. */
struct wires *wires_new(void);
void wires_free(struct wires *w);

/* Join two interfaces of this namespace. The wire's number, or -1: `problems` says why. */
int wires_join(struct wires *w, const char *name, const char *a, const char *b, const uint64_t seeds[2],
	       struct text *problems);

struct wire *wires_find(struct wires *w, const char *name);

/* The wire with this number, or NULL. */
struct wire *wires_at(struct wires *w, uint32_t number);

/* Readable when frames have come. */
int wires_socket(const struct wires *w);

/* Receive all that has come, up to some hundred frames; how many. */
uint32_t wires_receive(struct wires *w);

/* Send all that is due; how many. `next`: when the next is, in ns (CLOCK_MONOTONIC), UINT64_MAX: nothing is on its way. */
uint32_t wires_release(struct wires *w, uint64_t *next);

/* All wires, with their counters, as JSON. */
void wires_show(struct wires *w, struct text *out);

/* CLOCK_MONOTONIC, in ns. */
uint64_t wires_now(void);

#endif
