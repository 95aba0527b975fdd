#include "link.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "show_common.h"

#ifndef NTF_EXT_MANAGED
#define NTF_EXT_MANAGED (1 << 0)
#endif
#ifndef NDA_FLAGS_EXT
#define NDA_FLAGS_EXT 15
#endif

enum { READ = 64 * 1024, VALID = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP };

struct request {
	struct nlmsghdr header;
	union {
		struct ndmsg neighbour;
		struct ifinfomsg link;
	};
	uint8_t attributes[64];
};

/* -- interfaces -------------------------------------------------------------------------------------------------- */

static void gone(struct port *port, const char *why)
{
	log_line("port %.15s: %s", port->name, why);
	port->ifindex = port->up = 0;
}

static const uint8_t *attribute(struct rtattr *first, int length, uint16_t type, size_t size)
{
	for (struct rtattr *a = first; RTA_OK(a, length); a = RTA_NEXT(a, length))
		if ((a->rta_type & NLA_TYPE_MASK) == type && RTA_PAYLOAD(a) >= size)
			return RTA_DATA(a);
	return NULL;
}

static void ask_neighbours_of(struct link *l, struct core *c, const struct port *port);

/* An interface, as it is now. True: a port has another interface than before. */
static bool link_is(struct link *l, struct core *c, const struct nlmsghdr *m)
{
	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
		return false;
	struct ifinfomsg *info = NLMSG_DATA(m);
	struct rtattr *first = IFLA_RTA(info);
	int length = (int)IFLA_PAYLOAD(m);
	const uint8_t *name = attribute(first, length, IFLA_IFNAME, 1), *mtu = attribute(first, length, IFLA_MTU, 4),
		      *mac = attribute(first, length, IFLA_ADDRESS, MAC_LEN);
	if (!name || !mtu || info->ifi_family == AF_BRIDGE)
		return false;
	char key[NAME_LEN] = {0};
	strncpy(key, (const char *)name, NAME_LEN - 1);
	bool changed = false;
	for (uint32_t i = 0; i < c->tables->ports.n; i++) { /* renamed to something else */
		struct port *port = table_at(&c->tables->ports, i);
		if (port->ifindex == (uint32_t)info->ifi_index && memcmp(port->name, key, NAME_LEN)) {
			gone(port, "its interface has another name now");
			changed = true;
		}
	}
	struct port *port = table_find(&c->tables->ports, key);
	if (!port)
		return changed;
	bool up = info->ifi_flags & IFF_UP && info->ifi_flags & IFF_LOWER_UP, was_up = port->up;
	changed |= port->ifindex != (uint32_t)info->ifi_index;
	if (up != was_up)
		log_line("port %.15s: %s", port->name, up ? "up" : "down");
	port->ifindex = (uint32_t)info->ifi_index;
	memcpy(&port->mtu, mtu, 4);
	if (mac)
		memcpy(port->mac, mac, MAC_LEN);
	port->up = up;
	if (up && !was_up)
		ask_neighbours_of(l, c, port);
	return changed;
}

static bool link_is_gone(struct core *c, const struct nlmsghdr *m)
{
	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
		return false;
	const struct ifinfomsg *info = NLMSG_DATA(m);
	for (uint32_t i = 0; i < c->tables->ports.n && info->ifi_family != AF_BRIDGE; i++) {
		struct port *port = table_at(&c->tables->ports, i);
		if (port->ifindex == (uint32_t)info->ifi_index) {
			gone(port, "its interface is gone");
			return true;
		}
	}
	return false;
}

/* -- neighbours -------------------------------------------------------------------------------------------------- */

static void resolve(struct nexthop *n, const uint8_t *mac)
{
	char text[MAC_TEXT], address[ADDRESS_TEXT];
	bool same = mac ? n->resolved && !memcmp(n->mac, mac, MAC_LEN) : !n->resolved;
	n->resolved = mac != NULL;
	if (mac)
		memcpy(n->mac, mac, MAC_LEN);
	if (!same)
		log_line("next hop %u, %s on %.15s: %s", n->id, address_text(address, n->family, n->via), n->port,
			 mac ? mac_text(text, mac) : "unresolved");
}

static void neighbour_is(struct core *c, const struct nlmsghdr *m)
{
	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(struct ndmsg)))
		return;
	const struct ndmsg *info = NLMSG_DATA(m);
	uint32_t family = info->ndm_family == AF_INET ? 4 : info->ndm_family == AF_INET6 ? 6 : 0;
	struct rtattr *first = (struct rtattr *)((uint8_t *)info + NLMSG_ALIGN(sizeof *info));
	int length = (int)(m->nlmsg_len - NLMSG_LENGTH(sizeof *info));
	size_t size = family == 4 ? 4 : ADDR_LEN;
	const uint8_t *via = attribute(first, length, NDA_DST, size),
		      *mac = attribute(first, length, NDA_LLADDR, MAC_LEN);
	if (!family || !via)
		return;
	if (m->nlmsg_type == RTM_DELNEIGH || !(info->ndm_state & VALID))
		mac = NULL;
	for (uint32_t i = 0; i < c->tables->nexthops.n; i++) {
		struct nexthop *n = table_at(&c->tables->nexthops, i);
		const struct port *port = table_at(&c->tables->ports, n->port_index);
		if (n->family == family && !memcmp(n->via, via, size) && port->ifindex == (uint32_t)info->ndm_ifindex)
			resolve(n, mac);
	}
}

static void add(struct request *r, uint16_t type, const void *value, uint16_t size)
{
	struct rtattr *a = (struct rtattr *)((uint8_t *)r + NLMSG_ALIGN(r->header.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(size);
	memcpy(RTA_DATA(a), value, size);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* Ask the kernel to find a neighbour and to keep it found (NTF_EXT_MANAGED, Linux 5.16); older ones find it once. */
static void ask_neighbour(struct link *l, const struct nexthop *n, uint32_t ifindex)
{
	for (uint32_t managed = NTF_EXT_MANAGED;; managed = 0) {
		struct request r = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ndmsg)),
					       .nlmsg_type = RTM_NEWNEIGH,
					       .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK,
					       .nlmsg_seq = ++l->sequence},
				    .neighbour = {.ndm_family = n->family == 4 ? AF_INET : AF_INET6,
						  .ndm_ifindex = (int)ifindex,
						  .ndm_flags = NTF_USE}};
		add(&r, NDA_DST, n->via, n->family == 4 ? 4 : ADDR_LEN);
		if (managed)
			add(&r, NDA_FLAGS_EXT, &managed, sizeof managed);
		struct {
			struct nlmsghdr header;
			struct nlmsgerr error;
			uint8_t rest[512];
		} answer;
		if (send(l->requests, &r, r.header.nlmsg_len, 0) < 0 ||
		    recv(l->requests, &answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof answer.error) ||
		    !answer.error.error || !managed)
			return;
	}
}

static void ask_neighbours_of(struct link *l, struct core *c, const struct port *port)
{
	for (uint32_t i = 0; i < c->tables->nexthops.n; i++) {
		const struct nexthop *n = table_at(&c->tables->nexthops, i);
		if (n->family && !memcmp(n->port, port->name, NAME_LEN))
			ask_neighbour(l, n, port->ifindex);
	}
}

/* -- the sockets ------------------------------------------------------------------------------------------------- */

static bool take(struct link *l, struct core *c, uint8_t *data, ssize_t size)
{
	bool changed = false;
	int left = (int)size;
	for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		if (m->nlmsg_type == RTM_NEWLINK)
			changed |= link_is(l, c, m);
		else if (m->nlmsg_type == RTM_DELLINK)
			changed |= link_is_gone(c, m);
		else if (m->nlmsg_type == RTM_NEWNEIGH || m->nlmsg_type == RTM_DELNEIGH)
			neighbour_is(c, m);
	}
	return changed;
}

/* Ask for all of a kind; the answers come like events. */
static uint32_t dump(struct link *l, uint16_t type)
{
	struct request r = {.header = {.nlmsg_len = NLMSG_LENGTH(type == RTM_GETLINK ? sizeof(struct ifinfomsg)
										    : sizeof(struct ndmsg)),
				       .nlmsg_type = type,
				       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
				       .nlmsg_seq = ++l->sequence}};
	if (send(l->events, &r, r.header.nlmsg_len, 0) < 0)
		log_line("netlink: %s", strerror(errno));
	return r.header.nlmsg_seq;
}

/* Read until the answer to a dump has ended; what events come in between are taken as well. */
static bool finish_dump(struct link *l, struct core *c, uint32_t sequence)
{
	static uint8_t data[READ] __attribute__((aligned(8)));
	bool changed = false;
	for (;;) {
		ssize_t n = recv(l->events, data, sizeof data, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return changed;
		changed |= take(l, c, data, n);
		int left = (int)n;
		for (struct nlmsghdr *m = (struct nlmsghdr *)data; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left))
			if (m->nlmsg_seq == sequence && (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR))
				return changed;
	}
}

void link_refresh(struct link *l, struct core *c)
{
	for (uint32_t i = 0; i < c->tables->ports.n; i++) {
		struct port *port = table_at(&c->tables->ports, i);
		if (!port->ifindex)
			port->up = 0;
	}
	finish_dump(l, c, dump(l, RTM_GETLINK));
	for (uint32_t i = 0; i < c->tables->ports.n; i++) {
		const struct port *port = table_at(&c->tables->ports, i);
		if (port->up)
			ask_neighbours_of(l, c, port);
	}
	finish_dump(l, c, dump(l, RTM_GETNEIGH));
}

bool link_receive(struct link *l, struct core *c)
{
	static uint8_t data[READ] __attribute__((aligned(8)));
	bool changed = false;
	ssize_t n;
	while ((n = recv(l->events, data, sizeof data, MSG_DONTWAIT)) > 0)
		changed |= take(l, c, data, n);
	if (n < 0 && errno == ENOBUFS) { /* events were lost */
		log_line("netlink: events lost, reading all anew");
		link_refresh(l, c);
		changed = true;
	}
	return changed;
}

bool link_open(struct link *l)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_NEIGH};
	int size = 8 * 1024 * 1024;
	l->sequence = 0;
	l->requests = -1;
	l->events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (l->events < 0 || bind(l->events, (struct sockaddr *)&address, sizeof address))
		return false;
	setsockopt(l->events, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	l->requests = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	return l->requests >= 0;
}

void link_close(struct link *l)
{
	close(l->events);
	close(l->requests);
}
