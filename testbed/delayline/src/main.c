/* delayline: the links of a lab, with their delays and losses. See docs/impairments.md. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../forwarder/src/control.h"
#include "../../forwarder/src/log.h"
#include "commands.h"

static const char usage[] =
	"delayline: links with delay, jitter, loss, duplication and reordering, between pairs of interfaces\n"
	"  delayline --control PATH [--log FILE]   run in the foreground, in a network namespace of its own, until SIGTERM\n";

enum {
	TAG_NEWS = 1,
	TAG_SIGNAL,
	TAG_FRAMES,
	EVENTS = 64,
	/* ns from one turn to the next at least, so that what comes close together is dealt with together: to be woken for
	 * each packet costs several times what the packet does. A packet that comes alone is on time. */
	PACE = 150000,
	TURNS = 6, /* of packets only, at that pace, before others have theirs */
};

struct shell {
	struct wires *wires;
	struct carrier *carrier;
	struct control *control;
	int epoll, signals, news;
};

static int failed(const char *what)
{
	fprintf(stderr, "delayline: %s: %s\n", what, strerror(errno));
	return 1;
}

static bool watch(int epoll, int fd, uint64_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
	return fd >= 0 && !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void take_line(void *owner, void *memory, char *line, struct text *out)
{
	struct shell *s = owner;
	(void)memory;
	commands_take(s->wires, s->carrier, line, out);
}

static void conversation_over(void *owner, void *memory)
{
	(void)owner;
	(void)memory;
}

static void take_news(struct shell *s)
{
	struct news news;
	struct wire *wire = read(s->news, &news, sizeof news) == sizeof news ? wires_at(s->wires, news.number) : NULL;
	for (int side = 0; wire && side < 2; side++) {
		wire->ports[side].carrier = news.carrier[side];
		if (news.cut)
			line_cut(&wire->lines[side], news.when);
	}
}

/* Until the next packet is due, or something comes. */
static int wait_for_events(struct shell *s, struct epoll_event *events, uint64_t due)
{
	uint64_t now = wires_now(), wait = due > now ? due - now : 0;
	struct timespec time = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
	return epoll_pwait2(s->epoll, events, EVENTS, due == UINT64_MAX ? NULL : &time, NULL);
}

static void pause_until(uint64_t ns)
{
	struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void serve(struct shell *s)
{
	struct epoll_event events[EVENTS];
	uint64_t next = UINT64_MAX;
	for (;;) {
		int n = wait_for_events(s, events, next);
		for (int i = 0; i < n; i++) {
			uint64_t tag = events[i].data.u64;
			if (control_owns(tag))
				control_serve(s->control, tag);
			else if (tag == TAG_NEWS)
				take_news(s);
			else if (tag == TAG_SIGNAL)
				return;
		}
		for (int turn = 0; turn < TURNS; turn++) {
			uint64_t begin = wires_now();
			uint32_t moved = wires_receive(s->wires);
			moved += wires_release(s->wires, &next);
			if (moved <= 1)
				break;
			pause_until(begin + PACE);
		}
	}
}

/* Our interfaces carry frames for others: the kernel is to say nothing of its own on them. */
static bool own_network(void)
{
	static const char *const settings[] = {"/proc/sys/net/ipv6/conf/all/disable_ipv6",
					       "/proc/sys/net/ipv6/conf/default/disable_ipv6"};
	if (unshare(CLONE_NEWNET))
		return false;
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
		int fd = open(settings[i], O_WRONLY | O_CLOEXEC); /* absent: a kernel without IPv6 */
		bool good = fd < 0 || write(fd, "1", 1) == 1;
		if (fd >= 0)
			close(fd);
		if (!good)
			return false;
	}
	return true;
}

/* All frames are sent from one processor, the last that we may use: each has a queue of its own for what arrives over a
 * virtual link, and frames sent from two may overtake each other. */
static void stay(void)
{
	cpu_set_t allowed, last;
	int cpu = CPU_SETSIZE - 1;
	if (sched_getaffinity(0, sizeof allowed, &allowed))
		return;
	while (cpu && !CPU_ISSET(cpu, &allowed))
		cpu--;
	CPU_ZERO(&last);
	CPU_SET(cpu, &last);
	sched_setaffinity(0, sizeof last, &last);
}

/* A delay is physics and waits for nobody: real-time priority where it is to be had, and timers without slack. Threads
 * inherit it. */
static void take_precedence(void)
{
	struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
	if (sched_setscheduler(0, SCHED_FIFO, &lowest)) {
		log_line("no real-time priority (%s): delays will be less exact on a busy machine", strerror(errno));
		setpriority(PRIO_PROCESS, 0, -20);
	}
	prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0);
}

static int start(struct shell *s, const char *control)
{
	struct served served = {0, take_line, conversation_over, s};
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (!own_network())
		return failed("no network namespace of its own");
	take_precedence();
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->signals = signalfd(-1, &signals, SFD_CLOEXEC);
	if (!watch(s->epoll, s->signals, TAG_SIGNAL))
		return failed("epoll");
	if (!(s->carrier = carrier_start(&s->news)) || !watch(s->epoll, s->news, TAG_NEWS))
		return failed("netlink");
	if (!(s->wires = wires_new()) || !watch(s->epoll, wires_socket(s->wires), TAG_FRAMES))
		return failed("packet socket");
	if (!(s->control = control_open(control, s->epoll, served)))
		return failed(control);
	stay();
	log_line("started, control at %s", control);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"log", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static struct shell s;
	const char *control = NULL, *log = NULL;
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c') {
			control = optarg;
		} else if (option == 'l') {
			log = optarg;
		} else {
			fputs(usage, option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
	}
	if (!control || optind < argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (!log_open(log))
		return failed(log);
	int status = start(&s, control);
	if (status)
		return status;
	serve(&s);
	control_close(s.control);
	wires_free(s.wires);
	log_line("stopped");
	return 0; /* the carriers' thread ends with the process */
}
