#include "frame.h"

#include <stdlib.h>

enum { SIZES = 3, SLAB = 32 };

static const uint32_t sizes[SIZES] = {512, 2048, FRAME_MAX};
static struct frame *spare[SIZES];

/* The sanitizers are to see each buffer come and go. */
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS 0
#else
#define KEEPS 1
#endif

static void grow(uint32_t kind)
{
	size_t each = (sizeof(struct frame) + sizes[kind] + 63) / 64 * 64;
	uint8_t *slab = malloc(each * SLAB); /* never given back: what was needed once will be again */
	for (size_t i = 0; slab && i < SLAB; i++) {
		struct frame *frame = (struct frame *)(void *)(slab + i * each);
		frame->size = sizes[kind];
		frame->next = spare[kind];
		spare[kind] = frame;
	}
}

static uint32_t kind_of(uint32_t size)
{
	uint32_t kind = 0;
	while (kind < SIZES && sizes[kind] < size)
		kind++;
	return kind;
}

struct frame *frame_new(uint32_t size)
{
	uint32_t kind = kind_of(size);
	struct frame *frame = NULL;
	if (kind == SIZES)
		return NULL;
	if (!KEEPS) {
		frame = malloc(sizeof *frame + size);
		if (frame)
			frame->size = size;
	} else {
		if (!spare[kind])
			grow(kind);
		frame = spare[kind];
		if (frame)
			spare[kind] = frame->next;
	}
	if (frame) {
		frame->next = NULL;
		frame->holders = 1;
		frame->start = frame->length = 0;
		frame->offload = (struct virtio_net_hdr){0};
	}
	return frame;
}

void frame_release(struct frame *frame)
{
	if (--frame->holders)
		return;
	if (!KEEPS) {
		free(frame);
		return;
	}
	uint32_t kind = kind_of(frame->size);
	frame->next = spare[kind];
	spare[kind] = frame;
}
