#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "edit.h"
#include "show.h"

static void fail(struct text *out, const char *message) { text_add(out, "error %s\nfailed\n", message); }

static void begin(struct session *s, enum session_mode mode, struct text *out)
{
	if (s->mode != SESSION_IDLE) {
		fail(out, "a transaction is open: commit or abort it first");
		return;
	}
	s->mode = mode;
	s->too_long = false;
	text_clear(&s->lines);
}

/* The problems, one a line as they were noted, then how many more there were. */
static void report(struct text *out, const struct problems *p)
{
	uint32_t shown = 0;
	for (const char *at = p->text, *end; (end = strchr(at, '\n')); at = end + 1, shown++) {
		text_add(out, "error ");
		text_append(out, at, (size_t)(end - at) + 1);
	}
	if (p->count > shown)
		text_add(out, "error and %u more\n", p->count - shown);
	text_add(out, "failed\n");
}

/* Build the new tables beside the old ones; the old ones stay if anything is wrong. */
static bool commit(struct session *s, struct core *c, struct text *out)
{
	if (s->too_long || s->lines.failed) {
		fail(out, "the transaction is longer than 16 MiB");
		return false;
	}
	struct editor *e = calloc(1, sizeof *e);
	struct tables *t = s->mode == SESSION_REPLACE ? tables_new() : tables_copy(c->tables);
	if (!e || !t) {
		free(e);
		tables_free(t);
		fail(out, "out of memory");
		return false;
	}
	e->tables = t;
	e->before = s->mode == SESSION_REPLACE ? NULL : c->tables;
	char *at = s->lines.length ? s->lines.at : NULL;
	for (char *end; at && (end = strchr(at, '\n')); at = end + 1) {
		*end = '\0';
		e->line++;
		edit_line(e, at);
	}
	bool good = !e->problems.count && tables_seal(t, c->tables, &e->problems);
	if (good) {
		struct tables *old = c->tables;
		c->tables = t;
		tables_free(old);
		text_add(out, "ok\n");
	} else {
		report(out, &e->problems);
		tables_free(t);
	}
	free(e);
	return good;
}

static void close_transaction(struct session *s)
{
	s->mode = SESSION_IDLE;
	text_clear(&s->lines);
}

static void collect(struct session *s, const char *line)
{
	size_t n = strlen(line);
	if (s->lines.length + n + 1 > TRANSACTION_LIMIT) {
		s->too_long = true;
		return;
	}
	text_append(&s->lines, line, n);
	text_append(&s->lines, "\n", 1);
}

static void query(struct core *c, const char *line, struct text *out)
{
	if (!strcmp(line, "tables")) {
		show_tables(out, c->tables);
	} else if (!strcmp(line, "state")) {
		show_json(out, c);
	} else if (strncmp(line, "show ", 5) || !show_view(out, c, line + 5)) {
		fail(out, "outside a transaction (replace or update ... commit), lines are: tables, state, "
			  "show bift|labels|segments|flows|ports|drops");
		return;
	}
	text_add(out, "ok\n");
}

bool session_line(struct session *s, struct core *c, char *line, struct text *out)
{
	bool committed = false;
	if (!strcmp(line, "replace")) {
		begin(s, SESSION_REPLACE, out);
	} else if (!strcmp(line, "update")) {
		begin(s, SESSION_UPDATE, out);
	} else if (!strcmp(line, "commit") || !strcmp(line, "abort")) {
		if (s->mode == SESSION_IDLE)
			fail(out, "no transaction is open");
		else if (*line == 'c')
			committed = commit(s, c, out);
		else
			text_add(out, "ok\n");
		close_transaction(s);
	} else if (s->mode != SESSION_IDLE) {
		collect(s, line);
	} else if (*line) {
		query(c, line, out);
	}
	return committed;
}

void session_free(struct session *s) { text_free(&s->lines); }
