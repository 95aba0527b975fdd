#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	CONNECTIONS = 16,
	LISTENER = CONNECTIONS, /* its tag; a conversation's tag is its place */
	READ = 64 * 1024,
};

struct conversation {
	int fd; /* -1: free */
	uint32_t events; /* that epoll waits for */
	void *memory;    /* of whom we serve */
	struct text input, output;
	size_t taken; /* of input */
	size_t sent;  /* of output */
};

struct control {
	int listener, epoll;
	struct served served;
	struct sockaddr_un address;
	struct conversation conversations[CONNECTIONS];
};

static uint64_t tag_of(uint32_t place) { return 2ull << 32 | place; }

static void hang_up(struct control *s, struct conversation *v)
{
	close(v->fd);
	s->served.over(s->served.owner, v->memory);
	free(v->memory);
	text_free(&v->input);
	text_free(&v->output);
	*v = (struct conversation){.fd = -1};
}

/* The listener is edge-triggered: where accepting fails (no descriptors are left), nobody spins. */
static void greet(struct control *s)
{
	int fd;
	while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0 || errno == EINTR ||
	       errno == ECONNABORTED) {
		if (fd < 0)
			continue;
		uint32_t place = 0;
		while (place < CONNECTIONS && s->conversations[place].fd >= 0)
			place++;
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag_of(place)};
		void *memory = place < CONNECTIONS ? calloc(1, s->served.memory + 1) : NULL;
		if (!memory || epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event)) {
			static const char busy[] = "error too many connections\nfailed\n";
			send(fd, busy, sizeof busy - 1, MSG_NOSIGNAL);
			close(fd);
			free(memory);
			continue;
		}
		s->conversations[place] = (struct conversation){.fd = fd, .events = EPOLLIN, .memory = memory};
	}
}

/* The end of the next whole line of the input, or NULL. */
static char *line_end(const struct conversation *v)
{
	size_t rest = v->input.length - v->taken;
	return rest ? memchr(v->input.at + v->taken, '\n', rest) : NULL;
}

/* Read some. False: nothing more will come. */
static bool listen_to(struct conversation *v)
{
	static char data[READ];
	ssize_t n = recv(v->fd, data, sizeof data, 0);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	for (ssize_t i = 0; i < n; i++)
		if (!data[i])
			data[i] = '?'; /* no word of the language, but a line stays one */
	text_append(&v->input, data, (size_t)n);
	return !v->input.failed;
}

/* Whole lines of the input, up to the first that has an answer. False: a line is too long. */
static bool carry_out(struct control *s, struct conversation *v)
{
	const struct served *to = &s->served;
	char *end;
	while (!v->output.length && (end = line_end(v))) {
		char *line = v->input.at + v->taken;
		if (end - line > LINE_LIMIT)
			return false;
		*end = '\0';
		v->taken = (size_t)(end + 1 - v->input.at);
		to->line(to->owner, v->memory, line, &v->output);
	}
	if (v->taken) {
		v->input.length -= v->taken;
		memmove(v->input.at, v->input.at + v->taken, v->input.length);
		v->taken = 0;
	}
	return line_end(v) || v->input.length <= LINE_LIMIT;
}

/* Write what goes. False: the peer is gone, or the answer did not fit in memory. */
static bool answer(struct conversation *v)
{
	while (v->sent < v->output.length) {
		ssize_t n = send(v->fd, v->output.at + v->sent, v->output.length - v->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return !v->output.failed;
		if (n <= 0)
			return false;
		v->sent += (size_t)n;
	}
	bool whole = !v->output.failed;
	text_free(&v->output);
	v->sent = 0;
	return whole;
}

/* An answer is written out before anything more is read or carried out: what a slow reader makes us keep is one answer,
 * and packets have their turn between two answers. */
static void talk(struct control *s, struct conversation *v)
{
	bool goes_on = true;
	if (!v->output.length && !line_end(v))
		goes_on = listen_to(v);
	if (goes_on && !v->output.length && !carry_out(s, v)) {
		text_add(&v->output, "error a line is longer than 64 KiB\nfailed\n");
		goes_on = false;
	}
	if (!answer(v) || !goes_on) {
		hang_up(s, v);
		return;
	}
	struct epoll_event event = {.events = v->output.length || line_end(v) ? EPOLLOUT : EPOLLIN,
				    .data.u64 = tag_of((uint32_t)(v - s->conversations))};
	if (event.events != v->events && epoll_ctl(s->epoll, EPOLL_CTL_MOD, v->fd, &event))
		hang_up(s, v);
	else
		v->events = event.events;
}

void control_serve(struct control *s, uint64_t tag)
{
	uint32_t place = (uint32_t)tag;
	if (place == LISTENER)
		greet(s);
	else if (place < CONNECTIONS && s->conversations[place].fd >= 0)
		talk(s, &s->conversations[place]);
}

/* Also when it has no time for us (EAGAIN) or does not want us (EACCES). */
static bool somebody_listens(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool yes = fd >= 0 && (!connect(fd, (const struct sockaddr *)address, sizeof *address) || errno != ECONNREFUSED);
	if (fd >= 0)
		close(fd);
	return yes;
}

struct control *control_open(const char *path, int epoll, struct served served)
{
	struct control *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->epoll = epoll;
	s->served = served;
	s->address.sun_family = AF_UNIX;
	for (int i = 0; i < CONNECTIONS; i++)
		s->conversations[i].fd = -1;
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = tag_of(LISTENER)};
	struct stat old;
	s->listener = -1;
	if (strlen(path) >= sizeof s->address.sun_path) {
		errno = ENAMETOOLONG;
		goto failed;
	}
	strcpy(s->address.sun_path, path);
	if (!lstat(path, &old) && S_ISSOCK(old.st_mode)) {
		if (somebody_listens(&s->address)) {
			errno = EADDRINUSE;
			goto failed;
		}
		unlink(path);
	}
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	mode_t mask = umask(0177);
	bool bound = s->listener >= 0 && !bind(s->listener, (struct sockaddr *)&s->address, sizeof s->address);
	umask(mask);
	if (bound && !listen(s->listener, CONNECTIONS) && !epoll_ctl(epoll, EPOLL_CTL_ADD, s->listener, &event))
		return s;
failed:;
	int error = errno;
	if (s->listener >= 0)
		close(s->listener);
	free(s);
	errno = error;
	return NULL;
}

void control_close(struct control *s)
{
	for (int i = 0; i < CONNECTIONS; i++)
		if (s->conversations[i].fd >= 0)
			hang_up(s, &s->conversations[i]);
	close(s->listener);
	unlink(s->address.sun_path);
	free(s);
}
