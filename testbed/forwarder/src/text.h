/* A text that grows. What does not fit in memory is lost, and `failed` says so. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
	char *at; /* ends in a NUL once something was added */
	size_t length, capacity;
	bool failed;
};

void text_add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_append(struct text *t, const char *bytes, size_t n);
void text_clear(struct text *t);
void text_free(struct text *t);

#endif
