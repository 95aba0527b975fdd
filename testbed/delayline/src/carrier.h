/* A link is one cable, though it is two pairs of interfaces here: where one end goes down, the other loses its carrier,
 * and what was on its way is lost. A thread of its own sees to that, since the kernel's lock on network configuration,
 * which routers keep busy, must not hold up packets. */
#ifndef CARRIER_H
#define CARRIER_H

#include <stdbool.h>
#include <stdint.h>

struct carrier;

/* Begin. The number of each wire that went down can be read from `cuts`, 4 bytes each. NULL: errno says why. */
struct carrier *carrier_start(int *cuts);

/* Follow a wire's interfaces from now on, and bring them up. False: that was refused. */
bool carrier_follow(struct carrier *c, uint32_t number, const uint32_t ifindex[2]);

#endif
