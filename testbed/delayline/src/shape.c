#include "shape.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t longest = 3600u * 1000000000ull;

static bool read_time(const char *text, uint64_t *ns)
{
	char *end;
	errno = 0;
	*ns = strtoull(text, &end, 10);
	return isdigit((unsigned char)*text) && !*end && !errno && *ns <= longest;
}

static bool read_chance(const char *text, chance *c)
{
	char *end;
	double p = strtod(text, &end);
	if (!(isdigit((unsigned char)*text) && !*end && p >= 0 && p <= 1))
		return false;
	*c = chance_of(p);
	return true;
}

static void read_field(struct shape *s, const char *name, const char *value, struct text *problems)
{
	const struct {
		const char *name;
		uint64_t *time;
		chance *chance;
	} fields[] = {
		{"delay", &s->delay, NULL},	  {"jitter", &s->jitter, NULL},	    {"loss", NULL, &s->loss},
		{"to-bad", NULL, &s->to_bad},	  {"to-good", NULL, &s->to_good}, {"duplicate", NULL, &s->duplicate},
		{"reorder", NULL, &s->reorder},
	};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		if (strcmp(name, fields[i].name))
			continue;
		if (fields[i].time && !read_time(value, fields[i].time))
			text_add(problems, "error %s: whole nanoseconds, up to an hour, not %.40s\n", name, value);
		if (fields[i].chance && !read_chance(value, fields[i].chance))
			text_add(problems, "error %s: a probability from 0 to 1, not %.40s\n", name, value);
		return;
	}
	text_add(problems, "error a shape has no %.40s\n", name);
}

bool shape_read(struct shape *shape, char *words, struct text *problems)
{
	struct shape new = {0};
	char *rest = NULL;
	size_t before = problems->length;
	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(word, '=');
		if (equals)
			*equals = '\0';
		read_field(&new, word, equals ? equals + 1 : "", problems);
	}
	if (new.loss && (new.to_bad || new.to_good))
		text_add(problems, "error losses are independent (loss) or in bursts (to-bad, to-good), not both\n");
	if (!new.to_bad != !new.to_good)
		text_add(problems, "error bursts of losses need to-bad and to-good\n");
	if (problems->length != before || problems->failed)
		return false;
	*shape = new;
	return true;
}
