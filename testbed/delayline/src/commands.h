/* The control language: a line, and its answer, which ends in "ok" or "failed".
 *
 *   link NAME A B SEED SEED         join the interfaces A and B; a seed for what comes in at A, and at B
 *   shape NAME a|b [FIELD=VALUE...] what comes in at A, or at B, from now on (shape.h)
 *   state                           every link and its counters, as JSON
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "carrier.h"
#include "wires.h"

void commands_take(struct wires *w, struct carrier *c, char *line, struct text *out);

#endif
