/* The words of a line of the control language: numbers, addresses, BitStrings. */
#ifndef READER_H
#define READER_H

#include "edit.h"

enum { CONTEXT_MAX = 65535, MTU_LIMIT = 65535, WAY_MAX = 63, INDEX_MAX = 65535 };

/* Where the reading of a line stands. After the first mistake every read fails silently, and what it returns is not to
 * be used: row() then returns NULL. */
struct reader {
	struct editor *editor;
	char *rest;
	bool failed;
};

/* Note what is wrong; `found` (may be NULL) is what stood there instead. */
void fail(struct reader *r, const char *what, const char *found);
void unknown(struct reader *r, const char *w);

/* The next word; NULL at the end of the line. option() is also NULL after a mistake; needed() complains. */
char *word(struct reader *r);
const char *option(struct reader *r);
const char *needed(struct reader *r, const char *what);
void end(struct reader *r);

/* The next of the items between commas in `*list`; NULL at the end. */
char *item(char **list);

bool number_in(const char *text, uint32_t low, uint32_t high, uint32_t *value);
uint32_t number(struct reader *r, const char *what, uint32_t low, uint32_t high);
uint32_t encap(struct reader *r);
uint32_t bift_id(struct reader *r, uint32_t encapsulation);
uint32_t label_number(struct reader *r);
uint32_t nexthop_id(struct reader *r);
uint32_t segment_id(struct reader *r);
uint32_t context_number(struct reader *r);

/* Read `text` (NULL: nothing, a mistake was noted) into `to`. address() returns the family: 4 or 6. */
void address6(struct reader *r, const char *text, uint8_t *to);
uint32_t address(struct reader *r, const char *text, uint8_t *to);
void name(struct reader *r, const char *text, char *to);

/* One end of a tunnel: an IPv4 address that one host can have. */
void tunnel_end(struct reader *r, const char *text, uint8_t *to);
void mac(struct reader *r, const char *text, uint8_t *to);

/* A BitString as a hexadecimal number: its last digit holds bits 4 to 1. */
void bit_string(struct reader *r, const char *text, uint64_t *bits);

/* The row with this key, for writing. NULL: the line has failed. */
void *row(struct reader *r, struct table *t, const void *key);

#endif
