#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static FILE *file;

bool log_open(const char *path)
{
	file = path ? fopen(path, "ae") : stderr;
	if (file)
		setvbuf(file, NULL, _IOLBF, 0);
	return file;
}

void log_line(const char *format, ...)
{
	struct timespec wall, steady;
	struct tm utc;
	char date[32];
	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &steady);
	gmtime_r(&wall.tv_sec, &utc);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
	fprintf(file, "%s.%06ldZ %lld.%06ld ", date, wall.tv_nsec / 1000, (long long)steady.tv_sec, steady.tv_nsec / 1000);
	va_list args;
	va_start(args, format);
	vfprintf(file, format, args);
	va_end(args);
	fputc('\n', file);
}
