/* Packet sockets: one a port. Frames come in batches, and so do copies go out. */
#ifndef IO_H
#define IO_H

#include "core.h"

struct io;

/* Sockets for the ports of `core`, which must outlive it; sets what the core sends with. `epoll` is told of each socket:
 * its event's data is io_tag(). NULL: out of memory. */
struct io *io_new(struct core *core, int epoll);
void io_free(struct io *io);

/* After the tables were replaced, or an interface came, went or changed: open, close and re-filter sockets so that they
 * fit. Sockets of ports that stay are untouched. To be called about once a second, too: it tries again what failed. */
void io_reconcile(struct io *io);

/* Receive one batch from the socket of an event, work on it, and send what comes of it. */
void io_receive(struct io *io, uint64_t tag);

/* Add what the sockets dropped since the last time to the core's counter. */
void io_count_drops(struct io *io);

/* Whether an event's data is a port's. */
static inline bool io_owns(uint64_t tag) { return tag >> 32 == 1; }

#endif
