#include "carrier.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wires.h"

enum { READ = 64 * 1024, EVENTS_BUFFER = 8 * 1024 * 1024 };

/* One of our two interfaces of a wire; its peer is a node's. */
struct end {
	uint32_t ifindex;
	uint32_t losses; /* how often it lost its carrier so far */
	bool up, carrier;
};

struct cable {
	uint32_t number;
	struct end ends[2];
};

struct carrier {
	pthread_mutex_t lock; /* of the cables */
	struct cable *cables;
	uint32_t n;
	int events, requests, news;
};

struct request {
	struct nlmsghdr header;
	struct ifinfomsg link;
};

static bool ask(struct carrier *c, uint16_t type, uint16_t flags, struct ifinfomsg link, uint8_t *answer)
{
	struct request r = {{sizeof r, type, (uint16_t)(NLM_F_REQUEST | flags), 0, 0}, link};
	return send(c->requests, &r, sizeof r, 0) == sizeof r && recv(c->requests, answer, READ, 0) >= (ssize_t)sizeof r.header;
}

static bool bring(struct carrier *c, struct end *end, bool up)
{
	static uint8_t answer[READ] __attribute__((aligned(8)));
	struct ifinfomsg link = {.ifi_index = (int)end->ifindex, .ifi_flags = up ? IFF_UP : 0, .ifi_change = IFF_UP};
	const struct nlmsghdr *m = (struct nlmsghdr *)answer;
	const struct nlmsgerr *said = NLMSG_DATA(m);
	bool good = ask(c, RTM_NEWLINK, NLM_F_ACK, link, answer) && m->nlmsg_type == NLMSG_ERROR && !said->error;
	if (good)
		end->up = up;
	return good;
}

/* How an interface is at this moment: an event may tell of a moment that is over. */
static bool look_at(struct carrier *c, struct end *end)
{
	static uint8_t answer[READ] __attribute__((aligned(8)));
	const struct nlmsghdr *m = (struct nlmsghdr *)answer;
	const struct ifinfomsg *link = NLMSG_DATA(m);
	if (!ask(c, RTM_GETLINK, 0, (struct ifinfomsg){.ifi_index = (int)end->ifindex}, answer) ||
	    m->nlmsg_type != RTM_NEWLINK)
		return false;
	int left = (int)IFLA_PAYLOAD(m);
	for (const struct rtattr *a = IFLA_RTA(link); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == IFLA_CARRIER_DOWN_COUNT)
			memcpy(&end->losses, RTA_DATA(a), sizeof end->losses);
		else if (a->rta_type == IFLA_CARRIER)
			end->carrier = *(const uint8_t *)RTA_DATA(a);
	}
	end->up = link->ifi_flags & IFF_UP;
	return true;
}

/* A node's end is down when ours has no carrier, which shows only while ours is up. So one of ours at most is taken
 * down: the one whose far end is down at the node. */
static void mirror(struct carrier *c, struct cable *cable)
{
	uint32_t before = cable->ends[0].losses + cable->ends[1].losses;
	struct news news = {.when = wires_now(), .number = cable->number};
	if (!look_at(c, &cable->ends[0]) || !look_at(c, &cable->ends[1]))
		return; /* it goes, with its nodes */
	news.cut = cable->ends[0].losses + cable->ends[1].losses != before;
	news.carrier[0] = cable->ends[0].carrier;
	news.carrier[1] = cable->ends[1].carrier;
	if (write(c->news, &news, sizeof news) < 0)
		abort(); /* a pipe to ourselves */
	for (int side = 0; side < 2; side++) {
		struct end *here = &cable->ends[side], *there = &cable->ends[!side];
		if (here->up && there->up != here->carrier) {
			bring(c, there, here->carrier);
			look_at(c, there); /* that it loses its carrier by this is no cut */
			return;		   /* what comes of it is the next event */
		}
	}
}

/* Mirror the cable of an interface; 0: every cable. */
static void mirror_those(struct carrier *c, uint32_t ifindex)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (!ifindex || c->cables[i].ends[0].ifindex == ifindex || c->cables[i].ends[1].ifindex == ifindex)
			mirror(c, &c->cables[i]);
}

static void *follow(void *owner)
{
	static uint8_t data[READ] __attribute__((aligned(8)));
	struct carrier *c = owner;
	for (;;) {
		ssize_t n = recv(c->events, data, sizeof data, 0);
		int left = (int)n;
		pthread_mutex_lock(&c->lock);
		if (n < 0 && errno == ENOBUFS) /* events were lost */
			mirror_those(c, 0);
		for (struct nlmsghdr *m = (struct nlmsghdr *)data; n > 0 && NLMSG_OK(m, left); m = NLMSG_NEXT(m, left))
			if (m->nlmsg_type == RTM_NEWLINK)
				mirror_those(c, (uint32_t)((struct ifinfomsg *)NLMSG_DATA(m))->ifi_index);
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

bool carrier_follow(struct carrier *c, uint32_t number, const uint32_t ifindex[2])
{
	bool good = false;
	pthread_mutex_lock(&c->lock);
	struct cable *cables = realloc(c->cables, (c->n + 1) * sizeof *cables);
	if (cables) {
		c->cables = cables;
		struct cable *cable = &c->cables[c->n++];
		*cable = (struct cable){number, {{.ifindex = ifindex[0]}, {.ifindex = ifindex[1]}}};
		good = bring(c, &cable->ends[0], true) && bring(c, &cable->ends[1], true) &&
		       look_at(c, &cable->ends[0]) && look_at(c, &cable->ends[1]);
		mirror(c, cable);
	}
	pthread_mutex_unlock(&c->lock);
	return good;
}

struct carrier *carrier_start(int *news)
{
	struct carrier *c = calloc(1, sizeof *c);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int size = EVENTS_BUFFER, ends[2], error;
	pthread_t thread;
	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	c->requests = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (c->events < 0 || c->requests < 0 || bind(c->events, (struct sockaddr *)&address, sizeof address) ||
	    pipe(ends))
		return NULL;
	setsockopt(c->events, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	*news = ends[0];
	c->news = ends[1];
	error = pthread_create(&thread, NULL, follow, c);
	errno = error;
	return error ? NULL : c;
}
