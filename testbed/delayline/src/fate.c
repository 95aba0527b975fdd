#include "fate.h"

/* A packet's draws, by purpose. */
enum { DRAW_LOSS, DRAW_DUPLICATE, DRAW_REORDER, DRAW_DELAY, DRAW_DELAY_OF_COPY, DRAWS = 8 };

/* The number at place `i`, from 0, of SplitMix64's sequence for a seed. */
static uint64_t number_at(uint64_t seed, uint64_t i)
{
	uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static uint64_t draw(const struct fates *f, unsigned purpose) { return number_at(f->seed, f->n * DRAWS + purpose); }

static bool happens(const struct fates *f, unsigned purpose, chance c) { return c && draw(f, purpose) >> 11 < c; }

chance chance_of(double probability) { return (chance)(probability * 0x1p53); }

static bool is_lost(struct fates *f)
{
	const struct shape *s = &f->shape;
	if (!s->to_bad) {
		f->bad = false;
		return happens(f, DRAW_LOSS, s->loss);
	}
	bool lost = f->bad;
	if (happens(f, DRAW_LOSS, f->bad ? s->to_good : s->to_bad))
		f->bad = !f->bad;
	return lost;
}

/* Uniform over the 2 * jitter + 1 whole nanoseconds; never less than nothing. */
static uint64_t delay_of(const struct fates *f, unsigned purpose)
{
	const struct shape *s = &f->shape;
	if (!s->jitter)
		return s->delay;
	uint64_t span = 2 * s->jitter + 1;
	uint64_t at = s->delay + (uint64_t)((unsigned __int128)draw(f, purpose) * span >> 64);
	return at > s->jitter ? at - s->jitter : 0;
}

struct fate fate_next(struct fates *f)
{
	struct fate fate = {.copies = 1};
	if (is_lost(f)) {
		fate.copies = 0;
	} else {
		fate.reordered = happens(f, DRAW_REORDER, f->shape.reorder);
		fate.delay[0] = fate.reordered ? 0 : delay_of(f, DRAW_DELAY);
		if (happens(f, DRAW_DUPLICATE, f->shape.duplicate))
			fate.delay[fate.copies++] = delay_of(f, DRAW_DELAY_OF_COPY);
	}
	f->n++;
	return fate;
}
