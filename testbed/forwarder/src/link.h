/* What the kernel says by rtnetlink: which interfaces there are, and who the neighbours on them are. It is told to the
 * ports and next hops of the core's tables, and kept, so that new tables need not ask again. */
#ifndef LINK_H
#define LINK_H

#include "core.h"

struct link {
	int events; /* to be polled for reading */
	int requests;
	uint32_t sequence;
	bool lost; /* events were: all must be read anew */
	struct table interfaces; /* by name */
	struct table neighbours; /* those that the tables name by address, by port and address */
};

/* False: errno says why. */
bool link_open(struct link *l);

/* Neighbours are given back to the kernel: it need not keep them resolved any longer. */
void link_close(struct link *l);

/* After the tables were replaced: tell the new ports and next hops what is known. io_reconcile is due. */
void link_reconcile(struct link *l, struct core *c);

/* Take in events that are waiting. True: a port has another interface, so io_reconcile is due. */
bool link_receive(struct link *l, struct core *c);

/* To be called about once a second: ask again for neighbours that are not resolved. io_reconcile is due. */
void link_tick(struct link *l, struct core *c);

#endif
