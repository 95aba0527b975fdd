#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct text *t, size_t n)
{
	if (t->failed)
		return false;
	if (t->length + n + 1 <= t->capacity)
		return true;
	size_t capacity = t->capacity ? t->capacity : 256;
	while (capacity < t->length + n + 1)
		capacity *= 2;
	char *at = realloc(t->at, capacity);
	if (!at) {
		t->failed = true;
		return false;
	}
	t->at = at;
	t->capacity = capacity;
	return true;
}

void text_append(struct text *t, const char *bytes, size_t n)
{
	if (!reserve(t, n))
		return;
	memcpy(t->at + t->length, bytes, n);
	t->length += n;
	t->at[t->length] = '\0';
}

void text_add(struct text *t, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	if (n >= 0 && reserve(t, (size_t)n)) {
		vsnprintf(t->at + t->length, (size_t)n + 1, format, again);
		t->length += (size_t)n;
	}
	va_end(again);
	va_end(args);
}

void text_clear(struct text *t)
{
	t->length = 0;
	t->failed = false;
}

void text_free(struct text *t)
{
	free(t->at);
	*t = (struct text){0};
}
