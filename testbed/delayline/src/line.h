/* One direction of a link: packets go in with the time they came, and come out when they are due. Pure: no clock, no I/O. */
#ifndef LINE_H
#define LINE_H

#include "fate.h"
#include "frame.h"

/* What became of the frames of a direction:
 * received + duplicated = lost + cut + overflowed + sent + refused + those on their way. */
enum count {
	COUNT_RECEIVED,
	COUNT_LOST,       /* by chance, as asked */
	COUNT_DUPLICATED, /* by chance, as asked */
	COUNT_REORDERED,  /* of those that went on: not delayed, as asked */
	COUNT_CUT,        /* was on its way when the link went down */
	COUNT_OVERFLOWED, /* more were on their way than memory is for */
	COUNT_SENT,
	COUNT_REFUSED, /* the far end was down, or had no room */
	COUNT_COUNT,
};

extern const char *const count_names[COUNT_COUNT];

enum { LINE_LIMIT_BYTES = 256 * 1024 * 1024 };

struct slot {
	uint64_t came, due, order; /* who came first leaves first where both are due at once */
	struct frame *frame;
};

/* Zeroed but for its seed: a direction of an ideal link. */
struct line {
	struct fates fates;
	struct slot *slots; /* a heap: the first is the next that is due */
	uint32_t waiting, capacity;
	uint64_t bytes, order;
	uint64_t counts[COUNT_COUNT];
};

/* A frame came in at a time, in ns. It is held until it leaves. */
void line_put(struct line *l, struct frame *frame, uint64_t arrived);

/* When the next one is due; UINT64_MAX: none is on its way. */
static inline uint64_t line_due(const struct line *l) { return l->waiting ? l->slots[0].due : UINT64_MAX; }

/* The next frame that is due by now, or NULL. Whoever takes it lets go of it, and counts whether it was sent. */
struct frame *line_take(struct line *l, uint64_t now);

/* The link went down: what had come before that, and is on its way, is lost. */
void line_cut(struct line *l, uint64_t when);

void line_free(struct line *l);

#endif
