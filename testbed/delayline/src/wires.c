#include "wires.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../forwarder/src/packet.h"

enum {
	BATCH = 64,
	AT_ONCE = 8,    /* batches, before what is due has its turn */
	VLAN_TAG = 4,   /* the kernel takes it off, and we put it in again */
	ADDRESSES = 12, /* what stands before it in a frame */
	KEPT = 2048,    /* shorter frames are copied into a buffer of their own size */
	OLDEST = 1000000000, /* ns: no frame has waited longer in the socket, whatever its time stamp says */
	BUFFER = 256 * 1024 * 1024, /* of the socket, which is every port's */
	MOST_IFINDEX = 1 << 20,
};

/* Frames that leave together, by whichever ports. */
struct outgoing {
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	struct sockaddr_ll to[BATCH];
	struct frame *frames[BATCH];
	struct line *lines[BATCH];
	uint32_t n;
};

/* One socket serves all ports, so that a turn is one call to receive and one to send, however many links there are. */
struct wires {
	int fd;
	struct wire **wires; /* a wire keeps its number */
	uint32_t n;
	uint32_t *by_ifindex; /* twice a wire's number, and the port's side; NOWHERE: not ours */
	uint32_t ifindexes;
	uint64_t crowded; /* frames that the socket, or memory, had no room for */
	struct frame *fresh[BATCH]; /* buffers to receive into, each for the longest frame */
	struct outgoing out;
};

static const uint32_t NOWHERE = UINT32_MAX;

/* What comes with a received frame: its time stamp and its VLAN. */
union ancillary {
	struct cmsghdr align;
	uint8_t data[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(struct tpacket_auxdata))];
};

static uint64_t nanoseconds(struct timespec t) { return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec; }

static uint64_t clock_at(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return nanoseconds(t);
}

uint64_t wires_now(void) { return clock_at(CLOCK_MONOTONIC); }

/* -- joining ----------------------------------------------------------------------------------------------------- */

static bool set_options(int fd)
{
	int one = 1, size = BUFFER;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	return !setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) &&
	       !setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one) &&
	       !setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
}

/* Room to look an interface up. */
static bool know_ifindex(struct wires *w, uint32_t ifindex)
{
	if (ifindex < w->ifindexes)
		return true;
	uint32_t *by_ifindex = ifindex < MOST_IFINDEX ? realloc(w->by_ifindex, (ifindex + 1) * sizeof *by_ifindex) : NULL;
	if (!by_ifindex)
		return false;
	for (uint32_t i = w->ifindexes; i <= ifindex; i++)
		by_ifindex[i] = NOWHERE;
	w->by_ifindex = by_ifindex;
	w->ifindexes = ifindex + 1;
	return true;
}

static void find_port(struct wires *w, struct port *p, const char *name, struct text *problems)
{
	p->ifindex = if_nametoindex(name);
	strncpy(p->name, name, sizeof p->name - 1);
	if (!p->ifindex)
		text_add(problems, "error %.15s: there is no such interface\n", name);
	else if (!know_ifindex(w, p->ifindex))
		text_add(problems, "error out of memory\n");
	else if (w->by_ifindex[p->ifindex] != NOWHERE)
		text_add(problems, "error %.15s: it has a link already\n", name);
}

static void free_wire(struct wire *wire)
{
	line_free(&wire->lines[0]);
	line_free(&wire->lines[1]);
	free(wire);
}

int wires_join(struct wires *w, const char *name, const char *a, const char *b, const uint64_t seeds[2],
	       struct text *problems)
{
	size_t before = problems->length;
	struct wire **wires = realloc(w->wires, (w->n + 1) * sizeof *wires);
	if (wires)
		w->wires = wires;
	struct wire *wire = calloc(1, sizeof *wire);
	if (!wire || !wires) {
		free(wire);
		text_add(problems, "error out of memory\n");
		return -1;
	}
	strncpy(wire->name, name, WIRE_NAME - 1);
	if (strlen(name) >= WIRE_NAME || wires_find(w, name))
		text_add(problems, "error link %.80s: the name is taken, or longer than %d characters\n", name, WIRE_NAME - 1);
	find_port(w, &wire->ports[0], a, problems);
	find_port(w, &wire->ports[1], b, problems);
	wire->lines[0].fates.seed = seeds[0];
	wire->lines[1].fates.seed = seeds[1];
	if (!strcmp(a, b))
		text_add(problems, "error %.15s: a link joins two interfaces\n", a);
	if (problems->length != before) {
		free_wire(wire);
		return -1;
	}
	for (uint32_t side = 0; side < 2; side++)
		w->by_ifindex[wire->ports[side].ifindex] = w->n << 1 | side;
	w->wires[w->n] = wire;
	return (int)w->n++;
}

struct wire *wires_find(struct wires *w, const char *name)
{
	for (uint32_t i = 0; i < w->n; i++)
		if (!strcmp(w->wires[i]->name, name))
			return w->wires[i];
	return NULL;
}

struct wire *wires_at(struct wires *w, uint32_t number) { return number < w->n ? w->wires[number] : NULL; }

/* -- receiving --------------------------------------------------------------------------------------------------- */

/* The VLAN's tag goes back in behind the addresses, for which the frame was received a tag's length into its buffer. */
static void put_tag(struct frame *frame, const struct tpacket_auxdata *aux)
{
	uint8_t *to = frame->data;
	uint16_t type = aux->tp_status & TP_STATUS_VLAN_TPID_VALID ? aux->tp_vlan_tpid : 0x8100;
	memmove(to, to + VLAN_TAG, ADDRESSES);
	to[ADDRESSES] = (uint8_t)(type >> 8);
	to[ADDRESSES + 1] = (uint8_t)type;
	to[ADDRESSES + 2] = (uint8_t)(aux->tp_vlan_tci >> 8);
	to[ADDRESSES + 3] = (uint8_t)aux->tp_vlan_tci;
	frame->length += VLAN_TAG;
	if (frame->offload.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		frame->offload.csum_start = (uint16_t)(frame->offload.csum_start + VLAN_TAG);
}

/* When a frame came, by the kernel's stamp: how late we are to see it then makes nothing late. `ahead`: how far the
 * realtime clock, which stamps, is ahead of the monotonic one. */
static uint64_t arrival(uint64_t stamp, uint64_t ahead, uint64_t now)
{
	uint64_t at = stamp - ahead;
	return at <= now && now - at <= OLDEST ? at : now;
}

/* Read what came with a frame; its time stamp, or 0. */
static uint64_t take_ancillary(struct msghdr *message, struct frame *frame, bool *tagged)
{
	uint64_t stamp = 0;
	*tagged = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec t;
			memcpy(&t, CMSG_DATA(c), sizeof t);
			stamp = nanoseconds(t);
		} else if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
			struct tpacket_auxdata aux;
			memcpy(&aux, CMSG_DATA(c), sizeof aux);
			if (aux.tp_status & TP_STATUS_VLAN_VALID && frame->length >= ADDRESSES) {
				put_tag(frame, &aux);
				*tagged = true;
			}
		}
	}
	return stamp;
}

/* The frame as it is to be kept: without the room for a tag, and a short one in a short buffer. */
static struct frame *settle(struct wires *w, uint32_t at, bool tagged)
{
	struct frame *frame = w->fresh[at];
	const uint8_t *data = frame->data + (tagged ? 0 : VLAN_TAG);
	if (frame->length <= KEPT) {
		struct frame *copy = frame_new(frame->length);
		if (copy) {
			copy->length = frame->length;
			copy->offload = frame->offload;
			memcpy(copy->data, data, frame->length);
		}
		return copy;
	}
	struct frame *next = frame_new(FRAME_MAX);
	if (!next)
		return NULL;
	w->fresh[at] = next;
	frame->start = tagged ? 0 : VLAN_TAG;
	return frame;
}

/* A frame that has come in, to the line that it takes. */
static void take(struct wires *w, uint32_t at, struct msghdr *message, uint32_t length, uint64_t now, uint64_t ahead)
{
	const struct sockaddr_ll *from = message->msg_name;
	uint32_t port = (uint32_t)from->sll_ifindex < w->ifindexes ? w->by_ifindex[from->sll_ifindex] : NOWHERE;
	struct frame *frame = w->fresh[at];
	bool tagged;
	if (port == NOWHERE)
		return;
	struct wire *wire = w->wires[port >> 1];
	if (length > FRAME_MAX - VLAN_TAG) {
		wire->ports[port & 1].oversized++;
		return;
	}
	frame->length = length;
	uint64_t stamp = take_ancillary(message, frame, &tagged);
	struct frame *kept = settle(w, at, tagged);
	if (kept)
		line_put(&wire->lines[port & 1], kept, arrival(stamp, ahead, now));
	else
		w->crowded++;
}

static uint32_t receive_batch(struct wires *w)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	union ancillary with[BATCH];
	struct sockaddr_ll from[BATCH];
	for (int i = 0; i < BATCH; i++) {
		struct frame *frame = w->fresh[i];
		parts[i][0] = (struct iovec){&frame->offload, sizeof frame->offload};
		parts[i][1] = (struct iovec){frame->data + VLAN_TAG, FRAME_MAX - VLAN_TAG};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = parts[i],
						      .msg_iovlen = 2, .msg_control = &with[i],
						      .msg_controllen = sizeof with[i]};
	}
	int n = recvmmsg(w->fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
	uint64_t now = wires_now(), ahead = clock_at(CLOCK_REALTIME) - now;
	for (int i = 0; i < n; i++)
		take(w, (uint32_t)i, &messages[i].msg_hdr, messages[i].msg_len - (uint32_t)sizeof(struct virtio_net_hdr), now,
		     ahead);
	return n > 0 ? (uint32_t)n : 0;
}

uint32_t wires_receive(struct wires *w)
{
	uint32_t all = 0, n = BATCH;
	for (int i = 0; i < AT_ONCE && n == BATCH; i++)
		all += n = receive_batch(w);
	return all;
}

/* -- sending ----------------------------------------------------------------------------------------------------- */

static void refused(void *owner, uint32_t which, int error)
{
	struct outgoing *out = owner;
	(void)error;
	out->lines[which]->counts[COUNT_REFUSED]++;
	out->lines[which]->counts[COUNT_SENT]--;
}

static void flush(struct wires *w)
{
	struct outgoing *out = &w->out;
	packet_send(w->fd, out->messages, out->n, refused, out);
	for (uint32_t i = 0; i < out->n; i++)
		frame_release(out->frames[i]);
	out->n = 0;
}

static void send_frame(struct wires *w, struct line *line, struct frame *frame, uint32_t ifindex)
{
	struct outgoing *out = &w->out;
	uint32_t i = out->n++;
	out->frames[i] = frame;
	out->lines[i] = line;
	out->to[i] = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_ifindex = (int)ifindex};
	out->parts[i][0] = (struct iovec){&frame->offload, sizeof frame->offload};
	out->parts[i][1] = (struct iovec){frame->data + frame->start, frame->length};
	out->messages[i].msg_hdr = (struct msghdr){.msg_name = &out->to[i], .msg_namelen = sizeof out->to[i],
						   .msg_iov = out->parts[i], .msg_iovlen = 2};
	line->counts[COUNT_SENT]++;
	if (out->n == BATCH)
		flush(w);
}

uint32_t wires_release(struct wires *w, uint64_t *next)
{
	uint64_t now = wires_now();
	uint32_t sent = 0;
	*next = UINT64_MAX;
	for (uint32_t i = 0; i < w->n; i++) {
		for (int side = 0; side < 2; side++) {
			struct line *line = &w->wires[i]->lines[side];
			for (struct frame *frame; (frame = line_take(line, now)); sent++)
				send_frame(w, line, frame, w->wires[i]->ports[!side].ifindex);
			if (line_due(line) < *next)
				*next = line_due(line);
		}
	}
	flush(w);
	return sent;
}

/* -- showing ----------------------------------------------------------------------------------------------------- */

static void show_line(struct wire *wire, int side, struct text *out)
{
	const struct port *port = &wire->ports[side];
	const struct line *line = &wire->lines[side];
	text_add(out, "{\"port\": \"%s\", \"carrier\": %s, \"on_the_way\": %u, \"oversized\": %" PRIu64, port->name,
		 port->carrier ? "true" : "false", line->waiting, port->oversized);
	for (int i = 0; i < COUNT_COUNT; i++)
		text_add(out, ", \"%s\": %" PRIu64, count_names[i], line->counts[i]);
	text_add(out, "}");
}

void wires_show(struct wires *w, struct text *out)
{
	w->crowded += packet_drops(w->fd);
	text_add(out, "{\"crowded\": %" PRIu64 ", \"links\": {", w->crowded);
	for (uint32_t i = 0; i < w->n; i++) {
		text_add(out, "%s\"%s\": [", i ? ",\n" : "", w->wires[i]->name);
		show_line(w->wires[i], 0, out);
		text_add(out, ", ");
		show_line(w->wires[i], 1, out);
		text_add(out, "]");
	}
	text_add(out, "}}\n");
}

int wires_socket(const struct wires *w) { return w->fd; }

struct wires *wires_new(void)
{
	struct wires *w = calloc(1, sizeof *w);
	bool good = w;
	if (!w)
		return NULL;
	for (int i = 0; i < BATCH; i++)
		good &= !!(w->fresh[i] = frame_new(FRAME_MAX));
	w->fd = packet_socket();
	if (good && w->fd >= 0 && set_options(w->fd) && packet_bind(w->fd, 0))
		return w;
	int error = good ? errno : ENOMEM;
	wires_free(w);
	errno = error;
	return NULL;
}

void wires_free(struct wires *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		free_wire(w->wires[i]);
	for (int i = 0; i < BATCH; i++)
		if (w->fresh[i])
			frame_release(w->fresh[i]);
	if (w->fd >= 0)
		close(w->fd);
	free(w->by_ifindex);
	free(w->wires);
	free(w);
}
