#include "table.h"

#include <stdlib.h>
#include <string.h>

void table_init(struct table *t, uint16_t row_size, uint16_t key_words)
{
	*t = (struct table){.row_size = row_size, .key_words = key_words};
}

void table_free(struct table *t)
{
	free(t->rows);
	t->rows = NULL;
	t->n = t->cap = 0;
}

void table_clear(struct table *t) { t->n = 0; }

static bool reserve(struct table *t, uint32_t n)
{
	if (n <= t->cap)
		return true;
	uint32_t cap = t->cap ? t->cap : 8;
	while (cap < n)
		cap *= 2;
	unsigned char *rows = realloc(t->rows, (size_t)cap * t->row_size);
	if (!rows)
		return false;
	t->rows = rows;
	t->cap = cap;
	return true;
}

bool table_copy(struct table *to, const struct table *from)
{
	if (!reserve(to, from->n))
		return false;
	if (from->n)
		memcpy(to->rows, from->rows, (size_t)from->n * from->row_size);
	to->n = from->n;
	return true;
}

/* Keys may be read straight from a packet, at any alignment. */
static int compare(const unsigned char *a, const unsigned char *b, uint16_t words)
{
	for (uint16_t i = 0; i < words; i++, a += 4, b += 4) {
		uint32_t x, y;
		memcpy(&x, a, 4);
		memcpy(&y, b, 4);
		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}

uint32_t table_lower(const struct table *t, const void *key, uint16_t words)
{
	/* tables are mostly filled in order */
	if (t->n && compare(table_at(t, t->n - 1), key, words) < 0)
		return t->n;
	uint32_t low = 0, high = t->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (compare(table_at(t, middle), key, words) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool table_matches(const struct table *t, uint32_t i, const void *key, uint16_t words)
{
	return i < t->n && compare(table_at(t, i), key, words) == 0;
}

void *table_find(const struct table *t, const void *key)
{
	uint32_t i = table_lower(t, key, t->key_words);
	return table_matches(t, i, key, t->key_words) ? table_at(t, i) : NULL;
}

void *table_put(struct table *t, const void *key, bool *added)
{
	uint32_t i = table_lower(t, key, t->key_words);
	*added = !table_matches(t, i, key, t->key_words);
	if (!*added)
		return table_at(t, i);
	if (!reserve(t, t->n + 1))
		return NULL;
	unsigned char *row = table_at(t, i);
	memmove(row + t->row_size, row, (size_t)(t->n - i) * t->row_size);
	memset(row, 0, t->row_size);
	memcpy(row, key, 4u * t->key_words);
	t->n++;
	return row;
}

uint32_t table_remove(struct table *t, const void *key, uint16_t words)
{
	uint32_t first = table_lower(t, key, words), last = first;
	while (table_matches(t, last, key, words))
		last++;
	if (last > first) {
		memmove(table_at(t, first), table_at(t, last), (size_t)(t->n - last) * t->row_size);
		t->n -= last - first;
	}
	return last - first;
}
