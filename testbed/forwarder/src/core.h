/* The forwarding core: a frame and the tables in, copies out. No system call, no clock, no allocation. */
#ifndef CORE_H
#define CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "drops.h"
#include "tables.h"

/* Room for what is put in front of a packet: the longest is a BIER header of 4096 bits before an inner IPv6 header, in a
 * tunnel. */
enum { HEAD_MAX = 640 };

/* A frame as received, its Ethernet header first. */
struct frame {
	uint8_t *data;
	uint32_t length;
	uint32_t port;           /* index in tables->ports */
	bool checksum_missing;   /* its sender left the transport checksum to hardware that is not there */
};

/* A frame to be sent: `head`, then `tail`, which lies inside the received frame. */
struct copy {
	uint32_t port;
	uint16_t head_length;
	uint32_t tail_length;
	const uint8_t *tail;
	uint8_t head[HEAD_MAX];
};

struct core {
	struct tables *tables; /* sealed */
	struct copy *copies;
	uint32_t n, capacity;
	/* Called when `copies` is full, and by core_flush: send them. Sets nothing. */
	void (*send)(void *owner, const struct copy *copies, uint32_t n);
	void *owner;
	uint64_t drops[DROP_COUNT];
};

/* Work on one frame. Its bytes must stay until core_flush returns; the core may change them. */
void core_input(struct core *c, struct frame *f);

/* Send what is waiting. */
void core_flush(struct core *c);

#endif
