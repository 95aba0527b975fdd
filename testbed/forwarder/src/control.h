/* The control socket: several conversations (session.h) over one Unix stream socket. */
#ifndef CONTROL_H
#define CONTROL_H

#include "core.h"

struct control;

/* Listen at `path`; a socket that nobody listens on any more is replaced. NULL: errno says why (EADDRINUSE: somebody
 * does listen). */
struct control *control_open(const char *path, int epoll);
void control_close(struct control *s);

/* An event of the listening socket or of a conversation. True: the tables were replaced. `ask` is called before a
 * question is answered, so that counters are fresh. */
bool control_serve(struct control *s, struct core *c, uint64_t tag, void (*ask)(void *owner), void *owner);

static inline bool control_owns(uint64_t tag) { return tag >> 32 == 2; }

#endif
