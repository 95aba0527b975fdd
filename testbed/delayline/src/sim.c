/* A line without a network, for tests: commands on standard input, answers on standard output, each ended by "ok".
 *
 *   seed N                   a new line
 *   shape FIELD=VALUE...     as in the control language
 *   put TIME LENGTH COUNT    frames come at TIME ns, numbered from 0 since the line's beginning
 *   take TIME                those that are due: a line "NUMBER" for each
 *   due                      when the next is due
 *   cut TIME                 the link goes down
 *   counts                   "NAME VALUE" for each counter, and "waiting VALUE"
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line.h"
#include "shape.h"

static void put(struct line *l, uint64_t *number, uint64_t time, uint32_t length)
{
	struct frame *frame = frame_new(length < sizeof *number ? sizeof *number : length);
	if (!frame)
		abort();
	frame->length = length;
	memcpy(frame->data, number, sizeof *number);
	++*number;
	line_put(l, frame, time);
}

static void take(struct line *l, uint64_t now)
{
	uint64_t number;
	for (struct frame *frame; (frame = line_take(l, now)); frame_release(frame)) {
		memcpy(&number, frame->data, sizeof number);
		printf("%" PRIu64 "\n", number);
		l->counts[COUNT_SENT]++;
	}
}

static void answer(struct line *l, uint64_t *number, char *line)
{
	uint64_t time, seed;
	uint32_t length, count;
	struct text problems = {0};
	if (sscanf(line, "seed %" SCNu64, &seed) == 1) {
		line_free(l);
		*l = (struct line){.fates.seed = seed};
		*number = 0;
	} else if (!strncmp(line, "shape", 5)) {
		shape_read(&l->fates.shape, line + 5, &problems);
		printf("%s", problems.at ? problems.at : "");
	} else if (sscanf(line, "put %" SCNu64 " %" SCNu32 " %" SCNu32, &time, &length, &count) == 3) {
		for (uint32_t i = 0; i < count; i++)
			put(l, number, time, length);
	} else if (sscanf(line, "take %" SCNu64, &time) == 1) {
		take(l, time);
	} else if (!strcmp(line, "due")) {
		printf("%" PRIu64 "\n", line_due(l));
	} else if (sscanf(line, "cut %" SCNu64, &time) == 1) {
		line_cut(l, time);
	} else if (!strcmp(line, "counts")) {
		for (int i = 0; i < COUNT_COUNT; i++)
			printf("%s %" PRIu64 "\n", count_names[i], l->counts[i]);
		printf("waiting %u\n", l->waiting);
	} else {
		abort();
	}
	text_free(&problems);
	printf("ok\n");
	fflush(stdout);
}

int main(void)
{
	struct line l = {0};
	uint64_t number = 0;
	char *line = NULL;
	size_t capacity = 0;
	ssize_t n;
	while ((n = getline(&line, &capacity, stdin)) > 0) {
		line[n - 1] = '\0';
		answer(&l, &number, line);
	}
	free(line);
	line_free(&l);
	return 0;
}
