/* A link is one cable, though it is two pairs of interfaces here: where one end goes down, the other loses its carrier,
 * and what was on its way is lost. A thread of its own sees to that, since the kernel's lock on network configuration,
 * which routers keep busy, must not hold up packets. */
#ifndef CARRIER_H
#define CARRIER_H

#include <stdbool.h>
#include <stdint.h>

struct carrier;

/* How a wire is. `when` that was seen (CLOCK_MONOTONIC, ns): where it was cut, whatever came before did so before the cut,
 * or in it. */
struct news {
	uint64_t when;
	uint32_t number;
	bool cut;	 /* since the last news */
	bool carrier[2]; /* whether the node's end is up, as far as we can see */
};

/* Begin. News can be read from `news`. NULL: errno says why. */
struct carrier *carrier_start(int *news);

/* Follow a wire's interfaces from now on, and bring them up. False: that was refused. */
bool carrier_follow(struct carrier *c, uint32_t number, const uint32_t ifindex[2]);

#endif
