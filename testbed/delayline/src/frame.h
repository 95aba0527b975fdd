/* Frames, in buffers that are used again: none is allocated for a packet once as many have been in use at a time. */
#ifndef FRAME_H
#define FRAME_H

#include <linux/virtio_net.h>
#include <stdint.h>

enum {
	FRAME_MAX = 9216 + 14 + 4, /* the largest MTU of a link, an Ethernet header, a VLAN's tag */
};

struct frame {
	struct frame *next;      /* among free ones */
	uint32_t size;           /* of the buffer */
	uint32_t start, length;  /* where in it the frame is */
	uint32_t holders;        /* it is free when the last lets go */
	struct virtio_net_hdr offload; /* what its sender has left to hardware */
	uint8_t data[];
};

/* A buffer for at least `size` bytes, held once. NULL: out of memory, or `size` is above FRAME_MAX. */
struct frame *frame_new(uint32_t size);

/* Let go of it. */
void frame_release(struct frame *frame);

#endif
