/* mcfwd: the forwarder of one router. See docs/forwarder.md. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "io.h"
#include "link.h"
#include "log.h"
#include "session.h"

static const char usage[] =
	"mcfwd: forward BIER packets and Replication segments\n"
	"  mcfwd [--control PATH] [--tables FILE] [--log FILE]   run in the foreground, until SIGTERM\n"
	"  mcfwd ask [--control PATH] LINE...                    send a line to a running one: mcfwd ask show bift\n"
	"PATH is /run/mcfwd.sock unless given; FILE holds rows of the control language to begin with.\n";

enum { TAG_LINK = 1, TAG_SIGNAL, TAG_TIMER, EVENTS = 64 };

struct shell {
	struct core core;
	struct io *io;
	struct link link;
	struct control *control;
	int epoll, signals, timer;
	uint64_t logged[DROP_COUNT];
};

/* -- running ----------------------------------------------------------------------------------------------------- */

static bool watch(int epoll, int fd, uint64_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
	return fd >= 0 && !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* What was dropped since the last time, a line a reason: RFC 8296 wants errors logged, and not one line a packet. */
static void log_drops(struct shell *s)
{
	io_count_drops(s->io);
	for (int i = 0; i < DROP_COUNT; i++) {
		uint64_t more = s->core.drops[i] - s->logged[i];
		if (more)
			log_line("dropped %llu: %s (%s)", (unsigned long long)more, drop_names[i], drop_texts[i]);
		s->logged[i] = s->core.drops[i];
	}
}

static void tables_changed(struct shell *s)
{
	const struct tables *t = s->core.tables;
	link_refresh(&s->link, &s->core);
	io_reconcile(s->io);
	log_line("tables: %u ports, %u next hops, %u bifts with %u paths, %u labels, %u sids, %u segments with %u branches, "
		 "%u flows",
		 t->ports.n, t->nexthops.n, t->bifts.n, t->paths.n, t->labels.n, t->sids.n, t->segments.n, t->branches.n,
		 t->flows.n);
}

static void before_answer(void *owner)
{
	struct shell *s = owner;
	io_count_drops(s->io);
}

static void serve(struct shell *s)
{
	struct epoll_event events[EVENTS];
	for (;;) {
		int n = epoll_wait(s->epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			uint64_t tag = events[i].data.u64, expired;
			if (io_owns(tag)) {
				io_receive(s->io, tag);
			} else if (control_owns(tag)) {
				if (control_serve(s->control, &s->core, tag, before_answer, s))
					tables_changed(s);
			} else if (tag == TAG_LINK) {
				if (link_receive(&s->link, &s->core))
					io_reconcile(s->io);
			} else if (tag == TAG_TIMER) {
				if (read(s->timer, &expired, sizeof expired) > 0)
					log_drops(s);
			} else {
				return;
			}
		}
	}
}

/* Rows from a file, as one transaction. */
static bool replay(struct core *c, const char *path)
{
	FILE *file = fopen(path, "re");
	if (!file) {
		fprintf(stderr, "mcfwd: %s: %s\n", path, strerror(errno));
		return false;
	}
	struct session session = {.mode = SESSION_REPLACE};
	struct text out = {0};
	char *line = NULL, commit[] = "commit";
	size_t capacity = 0;
	ssize_t n;
	while ((n = getline(&line, &capacity, file)) >= 0) {
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (!strcmp(line, "commit") || !strcmp(line, "abort") || !strcmp(line, "replace") || !strcmp(line, "update"))
			strcpy(line, "#"); /* a whole recorded transaction will do too */
		session_line(&session, c, line, &out);
	}
	session_line(&session, c, commit, &out);
	bool good = out.at && !strcmp(out.at, "ok\n");
	if (!good)
		fprintf(stderr, "mcfwd: %s:\n%s", path, out.at ? out.at : "out of memory\n");
	free(line);
	session_free(&session);
	text_free(&out);
	fclose(file);
	return good;
}

static int failed(const char *what)
{
	fprintf(stderr, "mcfwd: %s: %s\n", what, strerror(errno));
	return 1;
}

static int run(const char *control, const char *tables, const char *log)
{
	struct shell *s = calloc(1, sizeof *s);
	struct itimerspec second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	sigset_t signals;
	if (!s || !(s->core.tables = tables_new()))
		return failed("memory");
	if (!log_open(log))
		return failed(log);
	if (tables && !replay(&s->core, tables))
		return 2;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->signals = signalfd(-1, &signals, SFD_CLOEXEC);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (!link_open(&s->link))
		return failed("netlink");
	if (!watch(s->epoll, s->link.events, TAG_LINK) || !watch(s->epoll, s->signals, TAG_SIGNAL) ||
	    !watch(s->epoll, s->timer, TAG_TIMER) || timerfd_settime(s->timer, 0, &second, NULL))
		return failed("epoll");
	if (!(s->io = io_new(&s->core, s->epoll)))
		return failed("memory");
	tables_changed(s);
	if (!(s->control = control_open(control, s->epoll)))
		return failed(control);
	log_line("started, control at %s", control);
	serve(s);
	log_drops(s);
	control_close(s->control);
	io_free(s->io);
	link_close(&s->link);
	tables_free(s->core.tables);
	close(s->epoll);
	close(s->signals);
	close(s->timer);
	free(s);
	log_line("stopped");
	return 0;
}

/* -- asking ------------------------------------------------------------------------------------------------------ */

static int ask(const char *control, char **words, int n)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(control) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return failed(control);
	}
	strcpy(address.sun_path, control);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
		return failed(control);
	FILE *stream = fdopen(fd, "r+");
	if (!stream)
		return failed(control);
	for (int i = 0; i < n; i++)
		fprintf(stream, "%s%s", i ? " " : "", words[i]);
	fputc('\n', stream);
	fflush(stream);
	char *line = NULL;
	size_t capacity = 0;
	int status = 1; /* it hung up */
	while (getline(&line, &capacity, stream) >= 0) {
		if (!strcmp(line, "ok\n")) {
			status = 0;
			break;
		}
		if (!strcmp(line, "failed\n"))
			break;
		fputs(line, strncmp(line, "error ", 6) ? stdout : stderr);
	}
	free(line);
	fclose(stream);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'}, {"tables", required_argument, NULL, 't'},
		{"log", required_argument, NULL, 'l'},	   {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *control = "/run/mcfwd.sock", *tables = NULL, *log = NULL;
	bool asks = argc > 1 && !strcmp(argv[1], "ask");
	int option;
	if (asks)
		optind = 2;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == 'c') {
			control = optarg;
		} else if (option == 't' && !asks) {
			tables = optarg;
		} else if (option == 'l' && !asks) {
			log = optarg;
		} else {
			fputs(usage, option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
	}
	if (asks ? optind == argc : optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	return asks ? ask(control, argv + optind, argc - optind) : run(control, tables, log);
}
