/* One conversation of the control protocol: lines in, replies out (docs/forwarder.md). */
#ifndef SESSION_H
#define SESSION_H

#include "core.h"
#include "text.h"

enum { TRANSACTION_LIMIT = 16 * 1024 * 1024 };

enum session_mode { SESSION_IDLE, SESSION_REPLACE, SESSION_UPDATE };

/* Zeroed: a new conversation. */
struct session {
	enum session_mode mode;
	struct text lines; /* of the open transaction */
	bool too_long;
};

/* Carry out one line (without its newline; it is taken apart on the way). Replies go to `out`; the last line of a reply
 * is "ok" or "failed". True: the tables were replaced by a commit. Nothing may be waiting in the core. */
bool session_line(struct session *s, struct core *c, char *line, struct text *out);

void session_free(struct session *s);

#endif
