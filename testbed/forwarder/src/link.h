/* What the kernel says by rtnetlink: which interfaces there are, and who the neighbours on them are. */
#ifndef LINK_H
#define LINK_H

#include "core.h"

struct link {
	int events; /* to be polled for reading */
	int requests;
	uint32_t sequence;
};

/* False: errno says why. */
bool link_open(struct link *l);
void link_close(struct link *l);

/* Read everything anew: after the tables were replaced. */
void link_refresh(struct link *l, struct core *c);

/* Take in the events that are waiting. True: a port changed its interface, so io_reconcile is due. */
bool link_receive(struct link *l, struct core *c);

#endif
