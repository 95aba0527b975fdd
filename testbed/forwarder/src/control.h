/* The control socket: several conversations (session.h) over one Unix stream socket. */
#ifndef CONTROL_H
#define CONTROL_H

#include "core.h"

struct control;

/* Whom it serves. */
struct served {
	struct core *core;
	void (*before_answer)(void *owner);    /* a question is about to be answered: make counters fresh */
	void (*tables_replaced)(void *owner);  /* called before the commit is confirmed */
	void *owner;
};

/* Listen at `path`; a socket that nobody listens on any more is replaced. NULL: errno says why (EADDRINUSE: somebody
 * does listen). */
struct control *control_open(const char *path, int epoll, struct served served);

/* Hang up, and remove the socket's file. */
void control_close(struct control *s);

/* An event of the listening socket or of a conversation: at most one answer is given. Nothing may be waiting in the
 * core. */
void control_serve(struct control *s, uint64_t tag);

static inline bool control_owns(uint64_t tag) { return tag >> 32 == 2; }

#endif
