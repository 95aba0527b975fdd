/* What becomes of a packet on a link: whether it is lost, how late it leaves, whether a copy of it does.
 *
 * The n-th packet of a direction has its own draws, from a generator that is counted on rather than advanced
 * (SplitMix64: Steele, Lea, Flood, 2014): its fate depends on the direction's seed, on n and on the shape, and on nothing
 * else. Only a burst of losses remembers the packet before. */
#ifndef FATE_H
#define FATE_H

#include <stdbool.h>
#include <stdint.h>

/* A probability p, as p * 2^53: certain is 2^53. */
typedef uint64_t chance;

/* What a direction of a link is like. Zeroed: an ideal cable. */
struct shape {
	uint64_t delay, jitter; /* ns: a packet takes from delay - jitter to delay + jitter, each time alike likely */
	chance loss;            /* of each packet alone; or, where `to_bad` is set, in bursts (Gilbert): */
	chance to_bad, to_good; /* how likely it is to change from passing all to losing all, and back, at each packet */
	chance duplicate;       /* a copy follows the packet, delayed on its own */
	chance reorder;         /* it is not delayed at all, and so overtakes what is on its way */
};

/* The chances of one direction, and where they are. */
struct fates {
	struct shape shape;
	uint64_t seed, n; /* n: packets so far */
	bool bad;         /* in a burst of losses */
};

struct fate {
	uint32_t copies;     /* 0: lost; 2: duplicated */
	uint64_t delay[2];   /* ns, of each */
	bool reordered;
};

/* The fate of the next packet. */
struct fate fate_next(struct fates *f);

/* A chance from a probability 0..1. */
chance chance_of(double probability);

#endif
