#include "reader.h"

#include <arpa/inet.h>
#include <stdio.h>

void fail(struct reader *r, const char *what, const char *found)
{
	if (!r->failed)
		problem(&r->editor->problems, "line %u: %s%s%.40s", r->editor->line, what, found ? ", not " : "",
			found ? found : "");
	r->failed = true;
}

char *word(struct reader *r)
{
	char *p = r->rest;
	while (*p == ' ' || *p == '\t')
		p++;
	if (!*p) {
		r->rest = p;
		return NULL;
	}
	char *start = p;
	while (*p && *p != ' ' && *p != '\t')
		p++;
	if (*p)
		*p++ = '\0';
	r->rest = p;
	return start;
}

const char *needed(struct reader *r, const char *what)
{
	char *w = r->failed ? NULL : word(r);
	if (!w && !r->failed) {
		char message[80];
		snprintf(message, sizeof message, "%s is missing", what);
		fail(r, message, NULL);
	}
	return w;
}

bool number_in(const char *text, uint32_t low, uint32_t high, uint32_t *value)
{
	uint64_t n = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || (n = 10 * n + (uint64_t)(*text - '0')) > high)
			return false;
	}
	*value = (uint32_t)n;
	return n >= low;
}

uint32_t number(struct reader *r, const char *what, uint32_t low, uint32_t high)
{
	const char *w = needed(r, what);
	uint32_t value = low;
	if (w && !number_in(w, low, high, &value)) {
		char message[96];
		snprintf(message, sizeof message, "%s must be a number from %u to %u", what, low, high);
		fail(r, message, w);
	}
	return value;
}

void address6(struct reader *r, const char *text, uint8_t *to)
{
	if (text && inet_pton(AF_INET6, text, to) != 1)
		fail(r, "an IPv6 address is wanted", text);
}

uint32_t address(struct reader *r, const char *text, uint8_t *to)
{
	memset(to, 0, ADDR_LEN);
	if (!text)
		return 0;
	if (inet_pton(AF_INET, text, to) == 1)
		return 4;
	if (inet_pton(AF_INET6, text, to) == 1)
		return 6;
	fail(r, "an IP address is wanted", text);
	return 0;
}

void tunnel_end(struct reader *r, const char *text, uint8_t *to)
{
	if (!text)
		return;
	if (inet_pton(AF_INET, text, to) != 1)
		fail(r, "an IPv4 address is wanted", text);
	else if (to[0] == 0 || to[0] == 127 || to[0] >= 224) /* RFC 6890: this network, loopback; multicast, reserved */
		fail(r, "a tunnel ends at a unicast address", text);
}

void name(struct reader *r, const char *text, char *to)
{
	memset(to, 0, NAME_LEN);
	if (!text)
		return;
	size_t n = strlen(text);
	if (n >= NAME_LEN)
		fail(r, "an interface name has at most 15 characters", text);
	else
		memcpy(to, text, n);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void bit_string(struct reader *r, const char *text, uint64_t *bits)
{
	memset(bits, 0, 8 * WORDS_MAX);
	if (!text)
		return;
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++) {
		int digit = hex_digit(text[n - 1 - i]);
		if (digit < 0 || (i >= BITS_MAX / 4 && digit)) {
			fail(r, "a BitString is at most 1024 hexadecimal digits", text);
			return;
		}
		if (digit)
			bits[i / 16] |= (uint64_t)digit << (4 * (i % 16));
	}
}

void mac(struct reader *r, const char *text, uint8_t *to)
{
	for (int i = 0; text && i < MAC_LEN; i++, text += 3) {
		int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
		if (low < 0 || text[2] != (i < MAC_LEN - 1 ? ':' : '\0')) {
			fail(r, "a MAC address is written 02:00:00:00:00:01", NULL);
			return;
		}
		to[i] = (uint8_t)(high << 4 | low);
	}
}

uint32_t encap(struct reader *r)
{
	const char *w = needed(r, "the encapsulation");
	if (w && !strcmp(w, "mpls"))
		return ENCAP_MPLS;
	if (w && strcmp(w, "ethernet"))
		fail(r, "the encapsulation is ethernet or mpls", w);
	return ENCAP_ETHERNET;
}

/* BIFT-ids and labels share 20 bits; the first 16 labels are special. */
uint32_t bift_id(struct reader *r, uint32_t encapsulation)
{
	return number(r, "a BIFT-id", encapsulation == ENCAP_MPLS ? LABEL_FIRST_FREE : 0, LABEL_MAX);
}

uint32_t label_number(struct reader *r) { return number(r, "a label", LABEL_FIRST_FREE, LABEL_MAX); }
uint32_t nexthop_id(struct reader *r) { return number(r, "a next hop's number", 0, NONE - 1); }
uint32_t segment_id(struct reader *r) { return number(r, "a segment's number", 0, NONE - 1); }
uint32_t context_number(struct reader *r) { return number(r, "a context", 1, CONTEXT_MAX); }

void *row(struct reader *r, struct table *t, const void *key)
{
	if (r->failed)
		return NULL;
	bool added;
	void *at = table_put(t, key, &added);
	if (!at)
		fail(r, "out of memory", NULL);
	else if (!added && !r->editor->before) {
		fail(r, "this row was given before", NULL);
		return NULL;
	}
	return at;
}

void end(struct reader *r)
{
	char *w = r->failed ? NULL : word(r);
	if (w)
		fail(r, "the line should end", w);
}

const char *option(struct reader *r) { return r->failed ? NULL : word(r); }

void unknown(struct reader *r, const char *w)
{
	char message[64];
	snprintf(message, sizeof message, "unknown word: %.40s", w);
	fail(r, message, NULL);
}

char *item(char **list)
{
	char *start = *list;
	if (!start)
		return NULL;
	char *comma = strchr(start, ',');
	if (comma)
		*comma = '\0';
	*list = comma ? comma + 1 : NULL;
	return start;
}
