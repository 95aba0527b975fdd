/* mcfwd: the forwarder of one router. See docs/forwarder.md. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "io.h"
#include "link.h"
#include "log.h"
#include "quiet.h"
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
	int quiet;
	uint64_t logged[DROP_COUNT];
};

/* -- running ----------------------------------------------------------------------------------------------------- */

static bool watch(int epoll, int fd, uint64_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
	return fd >= 0 && !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* What was dropped since the last time, a line a reason: RFC 8296 section 2.1.1 wants errors logged, and not one line a
 * packet. */
static void log_drops(struct shell *s)
{
	io_count_drops(s->io);
	for (int i = 0; i < DROP_COUNT; i++) {
		uint64_t more = s->core.drops[i] - s->logged[i];
		if (more)
			log_line("dropped %llu packet%s: %s (%s)", (unsigned long long)more, more == 1 ? "" : "s",
				 drop_names[i], drop_texts[i]);
		s->logged[i] = s->core.drops[i];
	}
}

static void tables_replaced(struct shell *s)
{
	const struct tables *t = s->core.tables;
	link_reconcile(&s->link, &s->core);
	quiet_reconcile(&s->quiet, get32(t->node.tunnel));
	io_reconcile(s->io);
	log_line("tables: %u ports, %u next hops, %u bifts with %u paths, %u labels, %u sids, %u segments with %u branches, "
		 "%u flows",
		 t->ports.n, t->nexthops.n, t->bifts.n, t->paths.n, t->labels.n, t->sids.n, t->segments.n, t->branches.n,
		 t->flows.n);
}

static void take_line(void *owner, void *memory, char *line, struct text *out)
{
	struct shell *s = owner;
	struct session *session = memory;
	if (session->mode == SESSION_IDLE)
		io_count_drops(s->io); /* it may be a question */
	if (session_line(session, &s->core, line, out))
		tables_replaced(s);
}

/* A transaction that was open is aborted thereby. */
static void conversation_over(void *owner, void *memory)
{
	(void)owner;
	session_free(memory);
}

static void tick(struct shell *s)
{
	uint64_t expired;
	if (read(s->timer, &expired, sizeof expired) < 0)
		return;
	link_tick(&s->link, &s->core);
	io_reconcile(s->io);
	log_drops(s);
}

/* Every source of events in turn: each port a batch, each conversation an answer. Nothing waits in the core between. */
static void serve(struct shell *s)
{
	struct epoll_event events[EVENTS];
	for (;;) {
		int n = epoll_wait(s->epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			uint64_t tag = events[i].data.u64;
			if (io_owns(tag))
				io_receive(s->io, tag);
			else if (control_owns(tag))
				control_serve(s->control, tag);
			else if (tag == TAG_TIMER)
				tick(s);
			else if (tag == TAG_SIGNAL)
				return;
			else if (link_receive(&s->link, &s->core))
				io_reconcile(s->io);
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

/* One socket a port: do not let a cautious default decide how many. */
static void allow_many_files(void)
{
	struct rlimit files;
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* 0, or the status to exit with. */
static int start(struct shell *s, const char *control)
{
	struct itimerspec second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	struct served served = {sizeof(struct session), take_line, conversation_over, s};
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN); /* who reads the log may go */
	allow_many_files();
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->signals = signalfd(-1, &signals, SFD_CLOEXEC);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (!watch(s->epoll, s->signals, TAG_SIGNAL) || !watch(s->epoll, s->timer, TAG_TIMER) ||
	    timerfd_settime(s->timer, 0, &second, NULL))
		return failed("epoll");
	if (!(s->io = io_new(&s->core, s->epoll)))
		return failed("memory");
	if (!link_open(&s->link) || !watch(s->epoll, s->link.events, TAG_LINK))
		return failed("netlink");
	if (!(s->control = control_open(control, s->epoll, served)))
		return failed(control); /* before any port is touched: another one may be at work here */
	log_line("started, control at %s", control);
	tables_replaced(s);
	return 0;
}

static int run(const char *control, const char *tables, const char *log)
{
	static struct shell s = {.quiet = -1};
	if (!(s.core.tables = tables_new()))
		return failed("memory");
	if (!log_open(log))
		return failed(log);
	if (tables && !replay(&s.core, tables))
		return 2;
	int status = start(&s, control);
	if (status)
		return status;
	serve(&s);
	log_drops(&s);
	control_close(s.control);
	io_free(s.io);
	link_close(&s.link);
	tables_free(s.core.tables);
	log_line("stopped");
	return 0;
}

/* -- asking ------------------------------------------------------------------------------------------------------ */

static int call(const char *control)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(control) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, control);
	return fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address) ? fd : -1;
}

/* It may refuse to talk before it has heard us, and say why: that it does not listen is no error here. No more will
 * come, so that a transaction is not left open. */
static void say(int fd, const struct text *question)
{
	for (size_t sent = 0; sent < question->length;) {
		ssize_t n = send(fd, question->at + sent, question->length - sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return;
		sent += n < 0 ? 0 : (size_t)n;
	}
	shutdown(fd, SHUT_WR);
}

static int ask(const char *control, char **words, int n)
{
	struct text question = {0};
	int fd = call(control);
	FILE *answer = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!answer)
		return failed(control);
	for (int i = 0; i < n; i++)
		text_add(&question, "%s%s", words[i], i < n - 1 ? " " : "\n");
	say(fd, &question);
	text_free(&question);
	char *line = NULL;
	size_t capacity = 0;
	bool ok = false, over = false;
	while (!over && getline(&line, &capacity, answer) >= 0) {
		ok = !strcmp(line, "ok\n");
		over = ok || !strcmp(line, "failed\n");
		if (!over)
			fputs(line, strncmp(line, "error ", 6) ? stdout : stderr);
	}
	if (!over)
		fprintf(stderr, "mcfwd: %s: no answer\n", control);
	free(line);
	fclose(answer);
	return ok ? 0 : 1;
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
