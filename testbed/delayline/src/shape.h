/* A shape as it is written in the control language. */
#ifndef SHAPE_H
#define SHAPE_H

#include "../../forwarder/src/text.h"
#include "fate.h"

/* Read FIELD=VALUE words: delay and jitter in ns, the others probabilities 0..1: loss, or to-bad and to-good; duplicate;
 * reorder. What is left out is nothing. False: the shape is as it was, and every mistake stands in `problems`, a line
 * "error ..." each. The text is taken apart. */
bool shape_read(struct shape *shape, char *words, struct text *problems);

#endif
