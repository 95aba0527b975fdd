#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "session.h"

enum {
	CONNECTIONS = 16,
	LISTENER = CONNECTIONS, /* its tag; a conversation's tag is its place */
	OUTPUT_MAX = 64 * 1024 * 1024,
	READ = 64 * 1024,
};

struct conversation {
	int fd; /* -1: free */
	struct session session;
	struct text input, output;
	size_t sent; /* of output */
};

struct control {
	int listener, epoll;
	struct sockaddr_un address;
	struct conversation conversations[CONNECTIONS];
};

static uint64_t tag_of(uint32_t place) { return 2ull << 32 | place; }

static void hang_up(struct conversation *v)
{
	close(v->fd);
	v->fd = -1;
	session_free(&v->session);
	v->session = (struct session){0};
	text_free(&v->input);
	text_free(&v->output);
	v->sent = 0;
}

static void greet(struct control *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	uint32_t place = 0;
	while (place < CONNECTIONS && s->conversations[place].fd >= 0)
		place++;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag_of(place)};
	if (place == CONNECTIONS || epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event)) {
		static const char busy[] = "error too many connections\nfailed\n";
		ssize_t ignored = write(fd, busy, sizeof busy - 1);
		(void)ignored;
		close(fd);
		return;
	}
	s->conversations[place].fd = fd;
}

/* Write what goes; wait for the rest only if there is some. False: the peer is gone. */
static bool flush(struct control *s, struct conversation *v)
{
	while (v->sent < v->output.length) {
		ssize_t n = send(v->fd, v->output.at + v->sent, v->output.length - v->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return false;
		v->sent += (size_t)n;
	}
	bool all = v->sent == v->output.length;
	struct epoll_event event = {.events = all ? EPOLLIN : EPOLLIN | EPOLLOUT,
				    .data.u64 = tag_of((uint32_t)(v - s->conversations))};
	if (all) {
		text_clear(&v->output);
		v->sent = 0;
	}
	return !epoll_ctl(s->epoll, EPOLL_CTL_MOD, v->fd, &event) && !v->output.failed &&
	       v->output.length - v->sent <= OUTPUT_MAX;
}

/* Every whole line of the input. */
static bool lines(struct conversation *v, struct core *c, void (*ask)(void *), void *owner)
{
	bool committed = false;
	char *at = v->input.at, *end;
	while (at && (end = memchr(at, '\n', v->input.length - (size_t)(at - v->input.at)))) {
		*end = '\0';
		if (v->session.mode == SESSION_IDLE)
			ask(owner);
		committed |= session_line(&v->session, c, at, &v->output);
		at = end + 1;
	}
	if (at && at > v->input.at) {
		size_t rest = v->input.length - (size_t)(at - v->input.at);
		memmove(v->input.at, at, rest);
		v->input.length = rest;
		v->input.at[rest] = '\0';
	}
	return committed;
}

static bool talk(struct control *s, struct core *c, struct conversation *v, void (*ask)(void *), void *owner)
{
	static char data[READ];
	ssize_t n = recv(v->fd, data, sizeof data, 0);
	bool committed = false, over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	if (n > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (!data[i])
				data[i] = '?'; /* no word of the language, but a line stays one */
		text_append(&v->input, data, (size_t)n);
		committed = lines(v, c, ask, owner);
		if (v->input.length > LINE_LIMIT || v->input.failed) {
			text_add(&v->output, "error a line is longer than 64 KiB\nfailed\n");
			over = true;
		}
	}
	if (!flush(s, v) || over)
		hang_up(v);
	return committed;
}

bool control_serve(struct control *s, struct core *c, uint64_t tag, void (*ask)(void *), void *owner)
{
	uint32_t place = (uint32_t)tag;
	if (place == LISTENER) {
		greet(s);
		return false;
	}
	struct conversation *v = &s->conversations[place];
	return v->fd >= 0 && talk(s, c, v, ask, owner);
}

static bool somebody_listens(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = fd >= 0 && !connect(fd, (const struct sockaddr *)address, sizeof *address);
	if (fd >= 0)
		close(fd);
	return yes;
}

struct control *control_open(const char *path, int epoll)
{
	struct control *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->epoll = epoll;
	s->address.sun_family = AF_UNIX;
	for (int i = 0; i < CONNECTIONS; i++)
		s->conversations[i].fd = -1;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag_of(LISTENER)};
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
			hang_up(&s->conversations[i]);
	close(s->listener);
	unlink(s->address.sun_path);
	free(s);
}
