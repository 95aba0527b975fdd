/* The control language: one row of the tables a line (docs/forwarder.md). */
#ifndef EDIT_H
#define EDIT_H

#include "tables.h"

struct editor {
	struct tables *tables;       /* changed in place; not sealed */
	const struct tables *before; /* what an update started from; NULL: empty tables, a row may be given once only */
	bool node_given;             /* the one row that is no table's */
	uint32_t line;               /* number of the present line, for messages */
	struct problems problems;
};

/* Carry out one line, which is taken apart on the way. What is wrong with it goes to `problems`. */
void edit_line(struct editor *e, char *line);

#endif
