#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shape.h"

static void join(struct wires *w, struct carrier *c, const char *rest, struct text *out)
{
	char name[2 * WIRE_NAME], a[16], b[16];
	uint64_t seeds[2];
	int end = 0;
	if (sscanf(rest, "%127s %15s %15s %" SCNu64 " %" SCNu64 "%n", name, a, b, &seeds[0], &seeds[1], &end) < 5 ||
	    rest[end]) {
		text_add(out, "error a link is written: link NAME INTERFACE INTERFACE SEED SEED\n");
		return;
	}
	int number = wires_join(w, name, a, b, seeds, out);
	if (number < 0)
		return;
	const struct wire *wire = wires_at(w, (uint32_t)number);
	const uint32_t ifindex[2] = {wire->ports[0].ifindex, wire->ports[1].ifindex};
	if (!carrier_follow(c, (uint32_t)number, ifindex))
		text_add(out, "error link %.63s: its interfaces cannot be brought up\n", name);
}

static void reshape(struct wires *w, char *rest, struct text *out)
{
	char name[2 * WIRE_NAME], side;
	int end = 0;
	if (sscanf(rest, "%127s %c%n", name, &side, &end) < 2 || (side != 'a' && side != 'b') ||
	    (rest[end] && rest[end] != ' ')) {
		text_add(out, "error a shape is written: shape NAME a|b [FIELD=VALUE...]\n");
		return;
	}
	struct wire *wire = wires_find(w, name);
	if (!wire)
		text_add(out, "error there is no link %.80s\n", name);
	else
		shape_read(&wire->lines[side == 'b'].fates.shape, rest + end, out);
}

void commands_take(struct wires *w, struct carrier *c, char *line, struct text *out)
{
	if (!strncmp(line, "link ", 5)) {
		join(w, c, line + 5, out);
	} else if (!strncmp(line, "shape ", 6)) {
		reshape(w, line + 6, out);
	} else if (!strcmp(line, "state")) {
		wires_show(w, out);
		text_add(out, "ok\n");
		return;
	} else {
		text_add(out, "error lines are: link, shape, state\n");
	}
	text_add(out, out->length ? "failed\n" : "ok\n");
}
