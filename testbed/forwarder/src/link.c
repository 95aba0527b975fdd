#include "link.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "log.h"
#include "show_common.h"

#ifndef NTF_EXT_MANAGED
#define NTF_EXT_MANAGED (1 << 0)
#endif
#ifndef NDA_FLAGS_EXT
#define NDA_FLAGS_EXT 15
#endif

enum {
	READ = 64 * 1024,
	EVENTS_A_TURN = 32, /* reads of the events' socket before packets have their turn again */
	DUMP_TRIES = 3,
	VALID = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP,
	STATIC = NUD_PERMANENT | NUD_NOARP, /* somebody's configuration: neither asked for nor deleted */
	FRESH = NUD_REACHABLE | NUD_DELAY | NUD_PROBE | NUD_INCOMPLETE,
};

struct interface {
	char name[NAME_LEN];
	/* -- */
	uint32_t ifindex, mtu;
	uint8_t mac[MAC_LEN];
	bool up, seen;
};

struct neighbour_key {
	char port[NAME_LEN];
	uint32_t family;
	uint8_t via[ADDR_LEN];
};

struct neighbour {
	struct neighbour_key key;
	/* -- */
	uint32_t ifindex; /* the interface for which the rest holds */
	uint16_t state;   /* NUD_* */
	uint8_t mac[MAC_LEN];
	bool asked, wanted;
};

struct request {
	struct nlmsghdr header;
	union {
		struct ndmsg neighbour;
		struct ifinfomsg link;
	};
	uint8_t attributes[64];
};

/* -- requests ---------------------------------------------------------------------------------------------------- */

static const uint8_t *attribute(struct rtattr *first, int length, uint16_t type, size_t size)
{
	for (struct rtattr *a = first; RTA_OK(a, length); a = RTA_NEXT(a, length))
		if ((a->rta_type & NLA_TYPE_MASK) == type && RTA_PAYLOAD(a) >= size)
			return RTA_DATA(a);
	return NULL;
}

static void add(struct request *r, uint16_t type, const void *value, uint16_t size)
{
	struct rtattr *a = (struct rtattr *)((uint8_t *)r + NLMSG_ALIGN(r->header.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(size);
	memcpy(RTA_DATA(a), value, size);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

typedef void (*taker)(struct link *l, const struct nlmsghdr *m, void *to);

/* Send a request and read to the end of its answer, each message of which is given to `take`. 0, or an errno;
 * EINTR: what was dumped changed in the middle. */
static int ask(struct link *l, struct request *r, taker take, void *to)
{
	static uint8_t data[READ] __attribute__((aligned(8)));
	int status = 0;
	bool dump = (r->header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	r->header.nlmsg_seq = ++l->sequence;
	if (send(l->requests, r, r->header.nlmsg_len, 0) < 0)
		return errno;
	for (;;) {
		ssize_t n = recv(l->requests, data, sizeof data, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : EPIPE;
		int left = (int)n;
		for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			if (m->nlmsg_seq != r->header.nlmsg_seq)
				continue; /* of an earlier request that was given up */
			if (m->nlmsg_flags & NLM_F_DUMP_INTR)
				status = EINTR;
			if (m->nlmsg_type == NLMSG_ERROR) {
				struct nlmsgerr *error = NLMSG_DATA(m);
				return m->nlmsg_len < NLMSG_LENGTH(sizeof *error) ? EBADMSG : -error->error;
			}
			if (m->nlmsg_type == NLMSG_DONE)
				return status;
			take(l, m, to);
			if (!dump)
				return 0;
		}
	}
}

/* -- interfaces -------------------------------------------------------------------------------------------------- */

static void forget_interface(struct link *l, uint32_t ifindex, const char *but)
{
	for (uint32_t i = 0; i < l->interfaces.n; i++) {
		const struct interface *known = table_at(&l->interfaces, i);
		if (known->ifindex == ifindex && (!but || memcmp(known->name, but, NAME_LEN))) {
			char name[NAME_LEN];
			memcpy(name, known->name, NAME_LEN);
			table_remove(&l->interfaces, name, PORT_KEY);
			return;
		}
	}
}

/* An interface as it is now, or that it is gone. */
static void take_link(struct link *l, const struct nlmsghdr *m, void *to)
{
	(void)to;
	struct ifinfomsg *info = NLMSG_DATA(m);
	if (m->nlmsg_len < NLMSG_LENGTH(sizeof *info) || info->ifi_family == AF_BRIDGE)
		return;
	if (m->nlmsg_type == RTM_DELLINK) {
		forget_interface(l, (uint32_t)info->ifi_index, NULL);
		return;
	}
	struct rtattr *first = IFLA_RTA(info);
	int length = (int)IFLA_PAYLOAD(m);
	const uint8_t *name = attribute(first, length, IFLA_IFNAME, 1), *mtu = attribute(first, length, IFLA_MTU, 4),
		      *mac = attribute(first, length, IFLA_ADDRESS, MAC_LEN);
	if (m->nlmsg_type != RTM_NEWLINK || !name || !mtu)
		return;
	char key[NAME_LEN] = {0};
	strncpy(key, (const char *)name, NAME_LEN - 1);
	forget_interface(l, (uint32_t)info->ifi_index, key); /* if it had another name */
	bool added;
	struct interface *at = table_put(&l->interfaces, key, &added);
	if (!at)
		return;
	at->ifindex = (uint32_t)info->ifi_index;
	memcpy(&at->mtu, mtu, 4);
	if (mac)
		memcpy(at->mac, mac, MAC_LEN);
	at->up = info->ifi_flags & IFF_UP && info->ifi_flags & IFF_LOWER_UP;
	at->seen = true;
}

/* Read all interfaces anew. */
static void read_interfaces(struct link *l)
{
	int status = EINTR;
	for (int tries = 0; tries < DUMP_TRIES && status == EINTR; tries++) {
		struct request r = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
					       .nlmsg_type = RTM_GETLINK,
					       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
		for (uint32_t i = 0; i < l->interfaces.n; i++)
			((struct interface *)table_at(&l->interfaces, i))->seen = false;
		status = ask(l, &r, take_link, NULL);
	}
	if (status && status != EINTR) {
		log_line("netlink: interfaces cannot be read: %s", strerror(status));
		return;
	}
	for (uint32_t i = l->interfaces.n; i-- > 0;) {
		const struct interface *known = table_at(&l->interfaces, i);
		if (!known->seen)
			forget_interface(l, known->ifindex, NULL);
	}
}

/* Tell the ports. True: one has another interface than before. */
static bool tell_ports(struct link *l, struct core *c)
{
	bool changed = false;
	for (uint32_t i = 0; i < c->tables->ports.n; i++) {
		struct port *port = table_at(&c->tables->ports, i);
		const struct interface *at = table_find(&l->interfaces, port->name);
		uint32_t ifindex = at ? at->ifindex : 0;
		bool up = at && at->up;
		changed |= port->ifindex != ifindex;
		if (port->ifindex && !at)
			log_line("port %.15s: absent, its interface is gone", port->name);
		else if (up != (bool)port->up)
			log_line("port %.15s: %s", port->name, up ? "up" : "down");
		port->ifindex = ifindex;
		port->up = up;
		if (at) {
			port->mtu = at->mtu;
			memcpy(port->mac, at->mac, MAC_LEN);
		}
	}
	return changed;
}

/* -- neighbours -------------------------------------------------------------------------------------------------- */

static struct request neighbour_request(const struct neighbour *n, uint16_t type, uint16_t flags)
{
	struct request r = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ndmsg)),
				       .nlmsg_type = type,
				       .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
			    .neighbour = {.ndm_family = n->key.family == 4 ? AF_INET : AF_INET6,
					  .ndm_ifindex = (int)n->ifindex}};
	add(&r, NDA_DST, n->key.via, n->key.family == 4 ? 4 : ADDR_LEN);
	return r;
}

static void take_neighbour(struct link *l, const struct nlmsghdr *m, void *to)
{
	(void)to;
	struct ndmsg *info = NLMSG_DATA(m);
	if (m->nlmsg_len < NLMSG_LENGTH(sizeof *info) ||
	    (m->nlmsg_type != RTM_NEWNEIGH && m->nlmsg_type != RTM_DELNEIGH))
		return;
	uint32_t family = info->ndm_family == AF_INET ? 4 : info->ndm_family == AF_INET6 ? 6 : 0;
	struct rtattr *first = (struct rtattr *)((uint8_t *)info + NLMSG_ALIGN(sizeof *info));
	int length = (int)(m->nlmsg_len - NLMSG_LENGTH(sizeof *info));
	size_t size = family == 4 ? 4 : ADDR_LEN;
	const uint8_t *via = attribute(first, length, NDA_DST, size),
		      *mac = attribute(first, length, NDA_LLADDR, MAC_LEN);
	if (!family || !via)
		return;
	for (uint32_t i = 0; i < l->neighbours.n; i++) {
		struct neighbour *n = table_at(&l->neighbours, i);
		if (n->ifindex != (uint32_t)info->ndm_ifindex || n->key.family != family || memcmp(n->key.via, via, size))
			continue;
		bool valid = m->nlmsg_type == RTM_NEWNEIGH && (!(info->ndm_state & VALID) || mac);
		n->state = valid ? info->ndm_state : NUD_NONE;
		if (m->nlmsg_type == RTM_DELNEIGH)
			n->asked = false;
		if (mac)
			memcpy(n->mac, mac, MAC_LEN);
	}
}

/* Ask the kernel what it knows already. */
static void look_up(struct link *l, struct neighbour *n)
{
	struct request r = neighbour_request(n, RTM_GETNEIGH, 0);
	n->state = NUD_NONE;
	ask(l, &r, take_neighbour, NULL);
}

/* Ask the kernel to find a neighbour and to keep it found (NTF_EXT_MANAGED); before Linux 5.16 it finds it once, and
 * link_tick comes again when it has lost it. Never for a static entry: NTF_USE would make it an ordinary one. */
static void look_for(struct link *l, struct neighbour *n)
{
	uint32_t managed = NTF_EXT_MANAGED;
	struct request r = neighbour_request(n, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_ACK), plain = r;
	r.neighbour.ndm_flags = plain.neighbour.ndm_flags = NTF_USE;
	add(&r, NDA_FLAGS_EXT, &managed, sizeof managed);
	n->asked = !ask(l, &r, take_neighbour, NULL) || !ask(l, &plain, take_neighbour, NULL);
}

static void give_back(struct link *l, struct neighbour *n)
{
	struct request r = neighbour_request(n, RTM_DELNEIGH, NLM_F_ACK);
	if (n->asked && !(n->state & STATIC))
		ask(l, &r, take_neighbour, NULL);
	n->asked = false;
}

/* Follow interfaces, and ask for what is not resolved. `again`: look also at what has been asked for before. */
static void seek_neighbours(struct link *l, bool again)
{
	for (uint32_t i = 0; i < l->neighbours.n; i++) {
		struct neighbour *n = table_at(&l->neighbours, i);
		const struct interface *at = table_find(&l->interfaces, n->key.port);
		if (n->ifindex != (at ? at->ifindex : 0)) {
			n->ifindex = at ? at->ifindex : 0;
			n->state = NUD_NONE;
			n->asked = false;
			if (at)
				look_up(l, n);
		} else if (at && again && !(n->state & VALID)) {
			look_up(l, n); /* should an event be lost, it is for a second only */
		}
		if (at && at->up && !(n->state & STATIC) && (!n->asked || (again && !(n->state & FRESH))))
			look_for(l, n);
	}
}

static void tell_nexthops(struct link *l, struct core *c)
{
	char address[ADDRESS_TEXT], text[MAC_TEXT];
	for (uint32_t i = 0; i < c->tables->nexthops.n; i++) {
		struct nexthop *hop = table_at(&c->tables->nexthops, i);
		struct neighbour_key key = {.family = hop->family};
		memcpy(key.port, hop->port, NAME_LEN);
		memcpy(key.via, hop->via, ADDR_LEN);
		const struct neighbour *n = hop->family ? table_find(&l->neighbours, &key) : NULL;
		if (!hop->family)
			continue;
		bool valid = n && n->state & VALID;
		if (valid == (bool)hop->resolved && (!valid || !memcmp(hop->mac, n->mac, MAC_LEN)))
			continue;
		hop->resolved = valid;
		if (valid)
			memcpy(hop->mac, n->mac, MAC_LEN);
		log_line("next hop %u, %s on %.15s: %s", hop->id, address_text(address, hop->family, hop->via), hop->port,
			 valid ? mac_text(text, hop->mac) : "lost");
	}
}

/* Keep those that the tables name. */
static void choose_neighbours(struct link *l, const struct core *c)
{
	for (uint32_t i = 0; i < l->neighbours.n; i++)
		((struct neighbour *)table_at(&l->neighbours, i))->wanted = false;
	for (uint32_t i = 0; i < c->tables->nexthops.n; i++) {
		const struct nexthop *hop = table_at(&c->tables->nexthops, i);
		struct neighbour_key key = {.family = hop->family};
		bool added;
		memcpy(key.port, hop->port, NAME_LEN);
		memcpy(key.via, hop->via, ADDR_LEN);
		struct neighbour *n = hop->family ? table_put(&l->neighbours, &key, &added) : NULL;
		if (n)
			n->wanted = true;
	}
	for (uint32_t i = l->neighbours.n; i-- > 0;) {
		struct neighbour *n = table_at(&l->neighbours, i);
		if (n->wanted)
			continue;
		struct neighbour_key key = n->key;
		give_back(l, n);
		table_remove(&l->neighbours, &key, sizeof key / 4);
	}
}

/* -- what others call -------------------------------------------------------------------------------------------- */

void link_reconcile(struct link *l, struct core *c)
{
	tell_ports(l, c);
	choose_neighbours(l, c);
	seek_neighbours(l, false);
	tell_nexthops(l, c);
}

/* All messages of one read. */
static void take_all(struct link *l, uint8_t *data, ssize_t n)
{
	int left = (int)n;
	for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		if (m->nlmsg_type == RTM_NEWLINK || m->nlmsg_type == RTM_DELLINK)
			take_link(l, m, NULL);
		else
			take_neighbour(l, m, NULL);
	}
}

/* After an overrun the kernel queues nothing until all is read; only what is asked then misses nothing. */
static void recover(struct link *l)
{
	log_line("netlink: events were lost, reading all anew");
	l->lost = false;
	read_interfaces(l);
	for (uint32_t i = 0; i < l->neighbours.n; i++)
		look_up(l, table_at(&l->neighbours, i));
}

bool link_receive(struct link *l, struct core *c)
{
	static uint8_t data[READ] __attribute__((aligned(8)));
	for (int i = 0; i < EVENTS_A_TURN; i++) {
		ssize_t n = recv(l->events, data, sizeof data, MSG_DONTWAIT);
		if (n > 0) {
			take_all(l, data, n);
		} else if (n < 0 && errno == ENOBUFS) {
			l->lost = true;
		} else if (n < 0 && errno == EAGAIN) {
			if (l->lost)
				recover(l);
			break;
		}
	}
	bool changed = tell_ports(l, c);
	seek_neighbours(l, false);
	tell_nexthops(l, c);
	return changed;
}

void link_tick(struct link *l, struct core *c)
{
	link_receive(l, c); /* an overrun may be left to recover from */
	seek_neighbours(l, true);
	tell_nexthops(l, c);
}

bool link_open(struct link *l)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_NEIGH};
	struct timeval patience = {.tv_sec = 1};
	int size = 8 * 1024 * 1024;
	*l = (struct link){.requests = -1};
	table_init(&l->interfaces, sizeof(struct interface), PORT_KEY);
	table_init(&l->neighbours, sizeof(struct neighbour), sizeof(struct neighbour_key) / 4);
	l->events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (l->events < 0 || bind(l->events, (struct sockaddr *)&address, sizeof address))
		return false;
	setsockopt(l->events, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	l->requests = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (l->requests < 0)
		return false;
	setsockopt(l->requests, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	read_interfaces(l);
	return true;
}

void link_close(struct link *l)
{
	for (uint32_t i = 0; i < l->neighbours.n; i++)
		give_back(l, table_at(&l->neighbours, i));
	table_free(&l->interfaces);
	table_free(&l->neighbours);
	close(l->events);
	close(l->requests);
}
