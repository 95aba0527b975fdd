#include "wires.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../forwarder/src/packet.h"

enum {
	BATCH = 32,
	VLAN_TAG = 4,  /* the kernel takes it off, and we put it in again */
	ADDRESSES = 12, /* what stands before it in a frame */
	KEPT = 2048,    /* shorter frames are copied into a buffer of their own size */
	OLDEST = 1000000000, /* ns: no frame has waited longer in a socket, whatever its time stamp says */
};

struct wires {
	int epoll;
	struct wire **wires; /* a wire keeps its number */
	uint32_t n;
	struct frame *fresh[BATCH]; /* buffers to receive into, each for the longest frame */
};

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
	int one = 1;
	return !setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) &&
	       !setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one) &&
	       !setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
}

static bool open_port(struct port *p, const char *name, struct text *problems)
{
	p->ifindex = if_nametoindex(name);
	strncpy(p->name, name, sizeof p->name - 1);
	p->fd = p->ifindex ? packet_socket() : -1;
	if (p->fd >= 0 && set_options(p->fd) && packet_bind(p->fd, p->ifindex))
		return true;
	text_add(problems, "error %.15s: %s\n", name, p->ifindex ? strerror(errno) : "there is no such interface");
	return false;
}

static bool watch_port(struct wires *w, uint32_t number, uint32_t side)
{
	uint64_t tag = 1ull << 32 | number << 1 | side;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
	return !epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wires[number]->ports[side].fd, &event);
}

static void free_wire(struct wire *wire)
{
	for (int side = 0; side < 2; side++) {
		if (wire->ports[side].fd >= 0)
			close(wire->ports[side].fd);
		line_free(&wire->lines[side]);
	}
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
	wire->ports[0].fd = wire->ports[1].fd = -1;
	if (strlen(name) >= WIRE_NAME || wires_find(w, name))
		text_add(problems, "error link %.80s: the name is taken, or longer than %d characters\n", name, WIRE_NAME - 1);
	open_port(&wire->ports[0], a, problems);
	open_port(&wire->ports[1], b, problems);
	wire->lines[0].fates.seed = seeds[0];
	wire->lines[1].fates.seed = seeds[1];
	if (problems->length == before) {
		w->wires[w->n] = wire;
		if (watch_port(w, w->n, 0) && watch_port(w, w->n, 1))
			return (int)w->n++;
		text_add(problems, "error epoll: %s\n", strerror(errno));
	}
	free_wire(wire);
	return -1;
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

void wires_receive(struct wires *w, uint64_t tag)
{
	struct wire *wire = wires_at(w, (uint32_t)tag >> 1);
	if (!wire)
		return;
	struct port *port = &wire->ports[tag & 1];
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	union ancillary with[BATCH];
	for (int i = 0; i < BATCH; i++) {
		struct frame *frame = w->fresh[i];
		parts[i][0] = (struct iovec){&frame->offload, sizeof frame->offload};
		parts[i][1] = (struct iovec){frame->data + VLAN_TAG, FRAME_MAX - VLAN_TAG};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = parts[i], .msg_iovlen = 2, .msg_control = &with[i],
						      .msg_controllen = sizeof with[i]};
	}
	int n = recvmmsg(port->fd, messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
	uint64_t now = wires_now(), ahead = clock_at(CLOCK_REALTIME) - now;
	for (int i = 0; i < n; i++) {
		bool tagged;
		struct frame *frame = w->fresh[i];
		frame->length = messages[i].msg_len - (uint32_t)sizeof frame->offload;
		if (frame->length > FRAME_MAX - VLAN_TAG) {
			port->oversized++;
			continue;
		}
		uint64_t stamp = take_ancillary(&messages[i].msg_hdr, frame, &tagged);
		struct frame *kept = settle(w, (uint32_t)i, tagged);
		if (kept)
			line_put(&wire->lines[tag & 1], kept, arrival(stamp, ahead, now));
		else
			port->crowded++;
	}
}

/* -- sending ----------------------------------------------------------------------------------------------------- */

static void refused(void *owner, int error)
{
	struct line *line = owner;
	(void)error;
	line->counts[COUNT_REFUSED]++;
	line->counts[COUNT_SENT]--;
}

/* Whether there may be more. */
static bool release_batch(struct line *line, int fd, uint64_t now)
{
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	struct frame *frames[BATCH];
	uint32_t n = 0;
	while (n < BATCH && (frames[n] = line_take(line, now))) {
		parts[n][0] = (struct iovec){&frames[n]->offload, sizeof frames[n]->offload};
		parts[n][1] = (struct iovec){frames[n]->data + frames[n]->start, frames[n]->length};
		messages[n].msg_hdr = (struct msghdr){.msg_iov = parts[n], .msg_iovlen = 2};
		n++;
	}
	line->counts[COUNT_SENT] += n;
	packet_send(fd, messages, n, refused, line);
	for (uint32_t i = 0; i < n; i++)
		frame_release(frames[i]);
	return n == BATCH;
}

uint64_t wires_release(struct wires *w)
{
	uint64_t now = wires_now(), next = UINT64_MAX;
	for (uint32_t i = 0; i < w->n; i++) {
		for (int side = 0; side < 2; side++) {
			struct line *line = &w->wires[i]->lines[side];
			while (line_due(line) <= now && release_batch(line, w->wires[i]->ports[!side].fd, now))
				;
			if (line_due(line) < next)
				next = line_due(line);
		}
	}
	return next;
}

void wires_cut(struct wires *w, uint32_t number)
{
	struct wire *wire = wires_at(w, number);
	for (int side = 0; wire && side < 2; side++)
		line_cut(&wire->lines[side]);
}

/* -- showing ----------------------------------------------------------------------------------------------------- */

static void show_line(struct wire *wire, int side, struct text *out)
{
	struct port *port = &wire->ports[side];
	struct line *line = &wire->lines[side];
	port->crowded += packet_drops(port->fd);
	text_add(out, "{\"port\": \"%s\", \"n\": %" PRIu64 ", \"on_the_way\": %u, \"crowded\": %" PRIu64
		 ", \"oversized\": %" PRIu64, port->name, line->fates.n, line->waiting, port->crowded, port->oversized);
	for (int i = 0; i < COUNT_COUNT; i++)
		text_add(out, ", \"%s\": %" PRIu64, count_names[i], line->counts[i]);
	text_add(out, "}");
}

void wires_show(struct wires *w, struct text *out)
{
	text_add(out, "{");
	for (uint32_t i = 0; i < w->n; i++) {
		text_add(out, "%s\"%s\": [", i ? ",\n" : "", w->wires[i]->name);
		show_line(w->wires[i], 0, out);
		text_add(out, ", ");
		show_line(w->wires[i], 1, out);
		text_add(out, "]");
	}
	text_add(out, "}\n");
}

struct wires *wires_new(int epoll)
{
	struct wires *w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	w->epoll = epoll;
	for (int i = 0; i < BATCH; i++)
		if (!(w->fresh[i] = frame_new(FRAME_MAX))) {
			wires_free(w);
			return NULL;
		}
	return w;
}

void wires_free(struct wires *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		free_wire(w->wires[i]);
	for (int i = 0; i < BATCH; i++)
		if (w->fresh[i])
			frame_release(w->fresh[i]);
	free(w->wires);
	free(w);
}
