/* The tables and counters, for people and programs. */
#ifndef SHOW_H
#define SHOW_H

#include "core.h"
#include "text.h"

/* All rows in the control language: what `replace` takes, so that reading back and replaying gives the same tables. */
void show_tables(struct text *out, const struct tables *t);

/* One JSON object on one line: every row with its counters, the ports' state, and the drops by reason. */
void show_json(struct text *out, const struct core *c);

/* For an operator's eyes: `what` is bift, labels, segments, flows, ports or drops. False: there is no such view. */
bool show_view(struct text *out, const struct core *c, const char *what);

#endif
