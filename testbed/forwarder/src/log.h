/* One line an event. */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

/* Where lines go: a file that is appended to, or standard error for NULL. False: it cannot be opened. */
bool log_open(const char *path);

/* A line: the time (UTC), CLOCK_MONOTONIC in seconds (the clock of the testbed's events), and the text. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
