/* BitStrings: bit 1 is the least significant bit of word 0 (RFC 8279 section 3); on the wire the last word comes first. */
#ifndef BITS_H
#define BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum { BITS_MAX = 4096, WORDS_MAX = BITS_MAX / 64 };

static inline void bits_read(uint64_t *to, const uint8_t *from, unsigned words)
{
	for (unsigned i = 0; i < words; i++)
		to[words - 1 - i] = get64(from + 8 * i);
}

static inline void bits_write(uint8_t *to, const uint64_t *from, unsigned words)
{
	for (unsigned i = 0; i < words; i++)
		put64(to + 8 * i, from[words - 1 - i]);
}

/* Index (from 0) of the least significant bit that is set, looking from word `from` on; -1 if there is none. */
static inline int bits_first(const uint64_t *b, unsigned words, unsigned from)
{
	for (unsigned i = from; i < words; i++)
		if (b[i])
			return (int)(64 * i) + __builtin_ctzll(b[i]);
	return -1;
}

static inline bool bits_test(const uint64_t *b, unsigned bit) { return b[bit / 64] >> (bit % 64) & 1; }

#endif
