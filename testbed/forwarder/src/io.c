#include "io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "packet.h"

enum {
	BATCH = 32,
	FRAME_MAX = 16 * 1024, /* any jumbo frame with any encapsulation */
	COPIES = 1024,
};

/* A port's socket, and the copies that wait for it. */
struct lane {
	char name[NAME_LEN]; /* empty: free */
	int fd;              /* -1: none */
	uint32_t ifindex;
	bool transport, context; /* what the filter lets through */
	uint32_t tunnel;         /* and the address at which tunnels end here; 0: none does */
	bool refused;            /* the last attempt to open it failed, and the log says so */
	uint32_t port;           /* its row in the tables */
	uint32_t waiting;
	struct mmsghdr messages[COPIES];
	struct iovec parts[COPIES][3]; /* offloads if it has a context, head, tail */
};

/* What goes before each frame of a socket whose port has a context, in both directions (PACKET_VNET_HDR): whether a
 * host behind the port has left a checksum, or cutting into packets, to hardware. We leave nothing to it. */
static struct virtio_net_hdr no_offload;

struct io {
	struct core *core;
	int epoll;
	struct lane **lanes; /* in no order; a tag is an index here, and a lane keeps its place */
	uint32_t n;
	struct lane **by_port; /* by row index */
	uint32_t ports;
	bool suspect; /* a socket has said that its interface is down, or gone */
	uint8_t *frames;
	struct virtio_net_hdr offloads[BATCH];
	struct copy copies[COPIES];
};

/* -- sockets ----------------------------------------------------------------------------------------------------- */

/* Only what concerns the core is queued: BIER, MPLS, unicast IPv6 for this station and tunnels that end here where the
 * port is transport, IP multicast where it has a context. What was in a VLAN (the kernel has taken the tag off) is for another interface. Jumps
 * are counted in instructions to skip. */
static bool set_filter(int fd, const struct lane *lane)
{
	uint32_t tree = lane->transport ? UINT32_MAX : 0, group = lane->context ? UINT32_MAX : 0;
	uint32_t tunnel = lane->tunnel ? tree : 0;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_AD_OFF + SKF_AD_VLAN_TAG),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0xFFF, 18, 0), /* nothing, or */
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_BIER, 15, 0), /* to tree */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_MPLS, 14, 0), /* to tree */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV4, 3, 13), /* or nothing */
		/* IPv6 */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_AD_OFF + SKF_AD_PKTTYPE),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 10, 0),      /* to tree */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_MULTICAST, 7, 10), /* to group, or nothing */
		/* IPv4 */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_AD_OFF + SKF_AD_PKTTYPE),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_MULTICAST, 5, 0), /* to group */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_HOST, 0, 7),	     /* or nothing */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_LEN + 9),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROTO_GRE, 0, 5), /* or nothing */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_LEN + 16),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, lane->tunnel, 1, 3), /* to tunnel, or nothing */
		BPF_STMT(BPF_RET | BPF_K, group),
		BPF_STMT(BPF_RET | BPF_K, tunnel),
		BPF_STMT(BPF_RET | BPF_K, tree),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};
	return !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static void count_drops(struct io *io, const struct lane *lane)
{
	if (lane->fd >= 0)
		io->core->drops[DROP_RX_SOCKET] += packet_drops(lane->fd);
}

static void close_lane(struct io *io, struct lane *lane)
{
	if (lane->fd >= 0) {
		count_drops(io, lane);
		close(lane->fd);
		log_line("port %.15s: released interface %u", lane->name, lane->ifindex);
	}
	lane->fd = -1;
	lane->ifindex = 0;
	lane->refused = false;
}

/* What a socket lets through, and what stands before its frames, as the port is now. */
static bool set_role(int fd, struct lane *lane)
{
	int offloads = lane->context;
	for (int i = 0; i < COPIES; i++)
		lane->messages[i].msg_hdr = (struct msghdr){.msg_iov = lane->parts[i] + !offloads, .msg_iovlen = 2u + lane->context};
	return set_filter(fd, lane) &&
	       !setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &offloads, sizeof offloads);
}

/* The filter is set before the socket is bound, so that nothing else is ever in its queue. */
static void open_lane(struct io *io, uint32_t index, uint32_t ifindex)
{
	struct lane *lane = io->lanes[index];
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 1ull << 32 | index};
	int fd = packet_socket();
	if (fd < 0 || !set_role(fd, lane) || !packet_bind(fd, ifindex) ||
	    epoll_ctl(io->epoll, EPOLL_CTL_ADD, fd, &event)) {
		if (!lane->refused && errno != ENODEV) /* gone by now, as netlink is about to say */
			log_line("port %.15s: no packet socket: %s", lane->name, strerror(errno));
		lane->refused = true;
		if (fd >= 0)
			close(fd);
		return;
	}
	lane->refused = false;
	lane->fd = fd;
	lane->ifindex = ifindex;
	log_line("port %.15s: bound to interface %u%s%s", lane->name, ifindex, lane->transport ? ", transport" : "",
		 lane->context ? ", overlay" : "");
}

/* A place for one more lane: one that is free, or a new one. */
static uint32_t free_lane(struct io *io)
{
	for (uint32_t i = 0; i < io->n; i++)
		if (!io->lanes[i]->name[0])
			return i;
	struct lane **lanes = realloc(io->lanes, (io->n + 1) * sizeof *lanes);
	if (!lanes)
		return NONE;
	io->lanes = lanes;
	struct lane *lane = calloc(1, sizeof *lane);
	if (!lane)
		return NONE;
	lane->fd = -1;
	for (int i = 0; i < COPIES; i++)
		lane->parts[i][0] = (struct iovec){&no_offload, sizeof no_offload};
	io->lanes[io->n] = lane;
	return io->n++;
}

static uint32_t lane_of(struct io *io, const struct port *port)
{
	for (uint32_t i = 0; i < io->n; i++)
		if (!memcmp(io->lanes[i]->name, port->name, NAME_LEN))
			return i;
	uint32_t index = free_lane(io);
	if (index == NONE) {
		log_line("port %.15s: out of memory", port->name);
		return NONE;
	}
	memcpy(io->lanes[index]->name, port->name, NAME_LEN);
	if (!port->ifindex)
		log_line("port %.15s: absent, there is no such interface", port->name);
	return index;
}

/* The socket of a port, as the port is now. */
static void fit_lane(struct io *io, uint32_t index, const struct port *port)
{
	struct lane *lane = io->lanes[index];
	uint32_t tunnel = get32(io->core->tables->node.tunnel);
	bool other = lane->transport != (bool)port->transport || lane->context != (bool)port->context ||
		     lane->tunnel != tunnel;
	lane->tunnel = tunnel;
	lane->transport = port->transport;
	lane->context = port->context;
	if (lane->fd >= 0 && lane->ifindex != port->ifindex)
		close_lane(io, lane);
	if (lane->fd < 0 && port->ifindex) {
		open_lane(io, index, port->ifindex);
	} else if (lane->fd >= 0 && other && !set_role(lane->fd, lane)) {
		log_line("port %.15s: no filter: %s", lane->name, strerror(errno));
	}
}

void io_reconcile(struct io *io)
{
	const struct table *ports = &io->core->tables->ports;
	struct lane **by_port = realloc(io->by_port, (ports->n + 1) * sizeof *by_port);
	for (uint32_t i = 0; i < io->n; i++) {
		struct lane *lane = io->lanes[i];
		if (!by_port || (lane->name[0] && !table_find(ports, lane->name))) {
			close_lane(io, lane);
			memset(lane->name, 0, NAME_LEN);
		}
	}
	if (!by_port) {
		log_line("out of memory: %u ports have no sockets", ports->n);
		io->ports = 0;
		return;
	}
	io->by_port = by_port;
	io->ports = ports->n;
	for (uint32_t i = 0; i < ports->n; i++) {
		const struct port *port = table_at(ports, i);
		uint32_t index = lane_of(io, port);
		by_port[i] = index == NONE ? NULL : io->lanes[index];
		if (index == NONE)
			continue;
		by_port[i]->port = i;
		fit_lane(io, index, port);
	}
}

/* A socket whose interface was deleted is bound to none, even if another has the interface's number by now. */
static void check_lanes(struct io *io)
{
	io->suspect = false;
	for (uint32_t i = 0; i < io->n; i++) {
		struct sockaddr_ll address = {0};
		socklen_t size = sizeof address;
		struct lane *lane = io->lanes[i];
		if (lane->fd >= 0 && !getsockname(lane->fd, (struct sockaddr *)&address, &size) &&
		    address.sll_ifindex != (int)lane->ifindex)
			close_lane(io, lane);
	}
	io_reconcile(io);
}

/* -- sending ----------------------------------------------------------------------------------------------------- */

static enum drop reason_of(int error)
{
	switch (error) {
	case ENOBUFS: /* the queueing discipline dropped it */
	case EAGAIN:
		return DROP_TX_QUEUE;
	case EMSGSIZE:
		return DROP_MTU;
	case ENETDOWN:
	case ENXIO:
	case ENODEV:
		return DROP_PORT_DOWN;
	default:
		return DROP_TX_ERROR;
	}
}

static void refused(void *owner, uint32_t which, int error)
{
	struct io *io = owner;
	(void)which;
	enum drop reason = reason_of(error);
	io->suspect |= reason == DROP_PORT_DOWN;
	io->core->drops[reason]++;
}

static void send_lane(struct io *io, struct lane *lane)
{
	if (lane->fd < 0)
		io->core->drops[DROP_PORT_DOWN] += lane->waiting;
	else
		packet_send(lane->fd, lane->messages, lane->waiting, refused, io);
	lane->waiting = 0;
}

static void send_copies(void *owner, const struct copy *copies, uint32_t n)
{
	struct io *io = owner;
	for (uint32_t i = 0; i < n; i++) {
		struct lane *lane = copies[i].port < io->ports ? io->by_port[copies[i].port] : NULL;
		if (!lane || lane->waiting == COPIES) {
			io->core->drops[DROP_PORT_DOWN]++;
			continue;
		}
		struct iovec *part = lane->parts[lane->waiting++];
		part[1] = (struct iovec){(void *)copies[i].head, copies[i].head_length};
		part[2] = (struct iovec){(void *)copies[i].tail, copies[i].tail_length};
	}
	for (uint32_t i = 0; i < io->ports; i++)
		if (io->by_port[i] && io->by_port[i]->waiting)
			send_lane(io, io->by_port[i]);
}

/* -- receiving --------------------------------------------------------------------------------------------------- */

void io_receive(struct io *io, uint64_t tag)
{
	struct lane *lane = (uint32_t)tag < io->n ? io->lanes[(uint32_t)tag] : NULL;
	if (!lane || lane->fd < 0)
		return; /* closed earlier in the same round of events */
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	uint32_t before = lane->context ? sizeof no_offload : 0;
	for (int i = 0; i < BATCH; i++) {
		parts[i][0] = (struct iovec){&io->offloads[i], before};
		parts[i][1] = (struct iovec){io->frames + (size_t)i * FRAME_MAX, FRAME_MAX};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = parts[i], .msg_iovlen = 2};
	}
	int n = recvmmsg(lane->fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
	io->suspect |= n < 0 && errno == ENETDOWN; /* the error is read here, once; netlink tells the rest */
	io->core->drops[DROP_UNCUT] += n < 0 && errno == EINVAL; /* of a kind that the header cannot tell (Linux < 6.2) */
	for (int i = 0; i < n; i++) {
		const struct virtio_net_hdr *offload = before ? &io->offloads[i] : &no_offload;
		struct frame frame = {.data = parts[i][1].iov_base, .length = messages[i].msg_len - before, .port = lane->port};
		frame.checksum_missing = offload->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
		if (offload->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
			io->core->drops[DROP_UNCUT]++;
			continue;
		}
		if (frame.length > FRAME_MAX) {
			io->core->drops[DROP_OVERSIZED]++;
			continue;
		}
		core_input(io->core, &frame);
	}
	core_flush(io->core);
	if (io->suspect)
		check_lanes(io);
}

void io_count_drops(struct io *io)
{
	for (uint32_t i = 0; i < io->n; i++)
		count_drops(io, io->lanes[i]);
}

struct io *io_new(struct core *core, int epoll)
{
	struct io *io = calloc(1, sizeof *io);
	if (!io)
		return NULL;
	io->frames = malloc((size_t)BATCH * FRAME_MAX);
	if (!io->frames) {
		free(io);
		return NULL;
	}
	io->core = core;
	io->epoll = epoll;
	core->copies = io->copies;
	core->capacity = COPIES;
	core->send = send_copies;
	core->owner = io;
	return io;
}

void io_free(struct io *io)
{
	for (uint32_t i = 0; i < io->n; i++) {
		close_lane(io, io->lanes[i]);
		free(io->lanes[i]);
	}
	free(io->lanes);
	free(io->by_port);
	free(io->frames);
	free(io);
}
