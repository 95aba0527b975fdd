#include "line.h"

#include <stdlib.h>

const char *const count_names[COUNT_COUNT] = {
	"received", "lost", "duplicated", "reordered", "cut", "overflowed", "sent", "refused",
};

static bool before(const struct slot *a, const struct slot *b)
{
	return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static bool has_room(struct line *l, const struct frame *frame)
{
	if (l->bytes + frame->size > LINE_LIMIT_BYTES)
		return false;
	if (l->waiting < l->capacity)
		return true;
	uint32_t capacity = l->capacity ? 2 * l->capacity : 64;
	struct slot *slots = realloc(l->slots, capacity * sizeof *slots);
	if (!slots)
		return false;
	l->slots = slots;
	l->capacity = capacity;
	return true;
}

/* Put a slot into the heap, whose place `at` is the last and free. */
static void rise(struct line *l, uint32_t at, struct slot new)
{
	for (; at && before(&new, &l->slots[(at - 1) / 2]); at = (at - 1) / 2)
		l->slots[at] = l->slots[(at - 1) / 2];
	l->slots[at] = new;
}

/* The caller's hold on the frame goes over to the line, or is let go. */
static void put(struct line *l, struct frame *frame, uint64_t came, uint64_t due)
{
	if (!has_room(l, frame)) {
		l->counts[COUNT_OVERFLOWED]++;
		frame_release(frame);
		return;
	}
	rise(l, l->waiting++, (struct slot){came, due, l->order++, frame});
	l->bytes += frame->size;
}

void line_put(struct line *l, struct frame *frame, uint64_t arrived)
{
	struct fate fate = fate_next(&l->fates);
	l->counts[COUNT_RECEIVED]++;
	l->counts[COUNT_LOST] += !fate.copies;
	l->counts[COUNT_DUPLICATED] += fate.copies > 1;
	l->counts[COUNT_REORDERED] += fate.reordered;
	frame->holders += fate.copies;
	for (uint32_t i = 0; i < fate.copies; i++)
		put(l, frame, arrived, arrived + fate.delay[i]);
	frame_release(frame);
}

struct frame *line_take(struct line *l, uint64_t now)
{
	if (!l->waiting || line_due(l) > now)
		return NULL;
	struct frame *frame = l->slots[0].frame;
	struct slot last = l->slots[--l->waiting];
	uint32_t at = 0;
	for (uint32_t child; (child = 2 * at + 1) < l->waiting; at = child) {
		child += child + 1 < l->waiting && before(&l->slots[child + 1], &l->slots[child]);
		if (!before(&l->slots[child], &last))
			break;
		l->slots[at] = l->slots[child];
	}
	l->slots[at] = last;
	l->bytes -= frame->size;
	return frame;
}

void line_cut(struct line *l, uint64_t when)
{
	uint32_t n = l->waiting;
	l->waiting = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct slot slot = l->slots[i];
		if (slot.came >= when) {
			rise(l, l->waiting++, slot);
			continue;
		}
		l->counts[COUNT_CUT]++;
		l->bytes -= slot.frame->size;
		frame_release(slot.frame);
	}
}

void line_free(struct line *l)
{
	line_cut(l, UINT64_MAX);
	free(l->slots);
}
