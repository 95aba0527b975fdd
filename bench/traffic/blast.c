/* Traffic for benchmarks: frames at a fixed rate into an interface, and a count of what arrives.
 *
 *   blast send IFACE HEADER_HEX SIZE RATE SECONDS [BURST]
 *       frames of SIZE bytes (Ethernet header included) that begin with HEADER_HEX, then a 64-bit sequence number and
 *       zeros; RATE a second (0: as fast as it goes), BURST of them (32) at a time. Prints one JSON object.
 *   blast count OFFSET IFACE...
 *       until SIGTERM: counts, for each interface, IPv4 frames to UDP port 5001 and reads their sequence number at
 *       OFFSET. Prints "ready", then at the end one JSON object an interface on a line each: packets, duplicates and
 *       reordered ones, and when (CLOCK_MONOTONIC, in seconds) the first and the last came.
 *   blast turns IFACE
 *       until SIGTERM: whenever a BIER frame (Ethertype 0xAB37) comes for another station than the one before it, prints
 *       when the kernel received it (CLOCK_REALTIME, in nanoseconds) and its destination.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, FRAME_MAX = 9216, SNAP = 128, INTERFACES = 8, SEQUENCES = 1 << 26 };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int packet_socket(const char *interface, uint16_t protocol, const struct sock_fprog *filter)
{
	int fd = socket(AF_PACKET, SOCK_RAW, 0), size = 64 << 20, one = 1;
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface)};
	if (fd < 0 || !to.sll_ifindex)
		die(interface);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	if (filter) {
		setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
		if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof *filter))
			die("filter");
		to.sll_protocol = htons(protocol);
	}
	if (bind(fd, (struct sockaddr *)&to, sizeof to))
		die("bind");
	return fd;
}

static int send_frames(const char *interface, const char *hex, size_t size, double rate, double seconds, unsigned burst)
{
	static uint8_t frames[BATCH][FRAME_MAX];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH];
	size_t header = strlen(hex) / 2;
	if (size > FRAME_MAX || header + 8 > size || !burst || burst > BATCH)
		die("size");
	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < BATCH; i++) {
		for (size_t k = 0; k < header; k++) {
			unsigned byte;
			sscanf(hex + 2 * k, "%2x", &byte);
			frames[i][k] = (uint8_t)byte;
		}
		parts[i] = (struct iovec){frames[i], size};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
	int fd = packet_socket(interface, 0, NULL);
	uint64_t sequence = 0, refused = 0;
	double start = now(), end = start + seconds, t;
	while ((t = now()) < end && !stop) {
		if (rate > 0 && (double)sequence > (t - start) * rate) {
			double wait = (double)sequence / rate - (t - start);
			struct timespec pause = {0, (long)(wait * 1e9) % 1000000000};
			nanosleep(&pause, NULL);
			continue;
		}
		for (int i = 0; i < BATCH; i++) {
			uint64_t value = sequence + (uint64_t)i;
			memcpy(frames[i] + header, &value, sizeof value);
		}
		int n = sendmmsg(fd, messages, burst, 0);
		if (n < 0) {
			if (errno != ENOBUFS)
				die("sendmmsg");
			refused++;
			n = 1;
		}
		sequence += (uint64_t)n;
	}
	t = now() - start;
	printf("{\"sent\":%llu,\"refused\":%llu,\"seconds\":%.6f}\n", (unsigned long long)sequence,
	       (unsigned long long)refused, t);
	return 0;
}

struct counter {
	int fd;
	const char *name;
	uint8_t *seen; /* one bit a sequence number */
	uint64_t packets, duplicates, reordered, highest;
	double first, last;
};

static void take(struct counter *c, size_t offset)
{
	static uint8_t frames[BATCH][SNAP];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH];
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){frames[i], SNAP};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
	int n = recvmmsg(c->fd, messages, BATCH, MSG_DONTWAIT, NULL);
	double t = now();
	for (int i = 0; i < n; i++) {
		uint64_t sequence;
		if (messages[i].msg_len < offset + sizeof sequence)
			continue;
		memcpy(&sequence, frames[i] + offset, sizeof sequence);
		if (sequence >= SEQUENCES)
			continue;
		uint8_t bit = (uint8_t)(1 << (sequence % 8));
		if (c->seen[sequence / 8] & bit) {
			c->duplicates++;
			continue;
		}
		c->seen[sequence / 8] |= bit;
		if (!c->packets++)
			c->first = t;
		else if (sequence < c->highest)
			c->reordered++;
		if (sequence > c->highest)
			c->highest = sequence;
		c->last = t;
	}
}

static int count_frames(size_t offset, char **names, int n)
{
	/* IPv4 over UDP to port 5001, first fragments; only the beginning of a frame is worth a copy */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 17, 0, 4),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 14), BPF_STMT(BPF_LD | BPF_H | BPF_IND, 16),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5001, 0, 1), BPF_STMT(BPF_RET | BPF_K, SNAP),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};
	struct counter counters[INTERFACES] = {0};
	struct pollfd polls[INTERFACES];
	if (n > INTERFACES)
		die("too many interfaces");
	for (int i = 0; i < n; i++) {
		counters[i] = (struct counter){.fd = packet_socket(names[i], ETH_P_IP, &filter), .name = names[i],
					       .seen = calloc(SEQUENCES / 8, 1)};
		polls[i] = (struct pollfd){.fd = counters[i].fd, .events = POLLIN};
	}
	puts("ready");
	fflush(stdout);
	while (!stop) {
		if (poll(polls, (nfds_t)n, 200) <= 0)
			continue;
		for (int i = 0; i < n; i++)
			if (polls[i].revents)
				take(&counters[i], offset);
	}
	for (int i = 0; i < n; i++) {
		struct counter *c = &counters[i];
		struct tpacket_stats stats = {0};
		socklen_t length = sizeof stats;
		getsockopt(c->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length);
		printf("{\"interface\":\"%s\",\"packets\":%llu,\"duplicates\":%llu,\"reordered\":%llu,\"highest\":%llu,"
		       "\"socket_drops\":%u,\"first\":%.6f,\"last\":%.6f}\n",
		       c->name, (unsigned long long)c->packets, (unsigned long long)c->duplicates,
		       (unsigned long long)c->reordered, (unsigned long long)c->highest, stats.tp_drops, c->first, c->last);
	}
	return 0;
}

static int print_turns(const char *name)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xAB37, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SNAP), BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog filter = {sizeof code / sizeof *code, code};
	int fd = packet_socket(name, ETH_P_ALL, &filter), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
	uint8_t last[ETH_ALEN] = {0};
	puts("ready");
	fflush(stdout);
	while (!stop) {
		uint8_t frame[SNAP];
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(sizeof(struct timespec))];
		} control;
		struct iovec part = {frame, sizeof frame};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
					 .msg_controllen = sizeof control};
		struct timespec t;
		if (recvmsg(fd, &message, 0) < ETH_HLEN || !memcmp(last, frame, ETH_ALEN) || !CMSG_FIRSTHDR(&message))
			continue;
		memcpy(last, frame, ETH_ALEN);
		memcpy(&t, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof t);
		printf("%lld%09ld %02x:%02x:%02x:%02x:%02x:%02x\n", (long long)t.tv_sec, t.tv_nsec, last[0], last[1], last[2],
		       last[3], last[4], last[5]);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	if ((argc == 7 || argc == 8) && !strcmp(argv[1], "send"))
		return send_frames(argv[2], argv[3], (size_t)atol(argv[4]), atof(argv[5]), atof(argv[6]),
				   argc == 8 ? (unsigned)atoi(argv[7]) : BATCH);
	if (argc == 3 && !strcmp(argv[1], "turns"))
		return print_turns(argv[2]);
	if (argc >= 4 && !strcmp(argv[1], "count"))
		return count_frames((size_t)atol(argv[2]), argv + 3, argc - 3);
	fprintf(stderr, "usage: blast send IFACE HEADER_HEX SIZE RATE SECONDS [BURST] | blast count OFFSET IFACE... | "
			"blast turns IFACE\n");
	return 2;
}
