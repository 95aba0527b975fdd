/* A table: rows of one size, sorted by the key they begin with. A key is a whole number of 32-bit words. */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct table {
	unsigned char *rows;
	uint32_t n, cap;
	uint16_t row_size, key_words;
};

/* An empty table. */
void table_init(struct table *t, uint16_t row_size, uint16_t key_words);
void table_free(struct table *t);
void table_clear(struct table *t);

/* Make `to` (empty, initialised) an equal of `from`. False: out of memory. */
bool table_copy(struct table *to, const struct table *from);

/* The row at an index below n. */
static inline void *table_at(const struct table *t, uint32_t i) { return t->rows + (uint64_t)i * t->row_size; }

/* The row with this key, or NULL. */
void *table_find(const struct table *t, const void *key);

/* Index of the first row whose key begins with these words or sorts behind them. */
uint32_t table_lower(const struct table *t, const void *key, uint16_t words);

/* Whether the row at `i` exists and its key begins with these words. */
bool table_matches(const struct table *t, uint32_t i, const void *key, uint16_t words);

/* The row with this key, added (zeroed but for its key) if there is none. NULL: out of memory. */
void *table_put(struct table *t, const void *key, bool *added);

/* Remove every row whose key begins with these words; how many there were. */
uint32_t table_remove(struct table *t, const void *key, uint16_t words);

#endif
