/* A control socket: several conversations of lines over one Unix stream socket. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

enum { LINE_LIMIT = 64 * 1024 };

struct control;

/* Whom it serves. */
struct served {
	size_t memory; /* bytes that each conversation has to remember things in; zeroes at first */
	/* Carry out one line (without its newline; it may be taken apart). A line that has an answer adds it to `out`. */
	void (*line)(void *owner, void *memory, char *line, struct text *out);
	void (*over)(void *owner, void *memory); /* the conversation has ended */
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
