#include "packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

enum { BUFFER = 64 * 1024 * 1024 };

int packet_socket(void)
{
	int size = BUFFER, one = 1;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
	return fd;
}

bool packet_bind(int fd, uint32_t ifindex)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)ifindex};
	return !bind(fd, (struct sockaddr *)&address, sizeof address);
}

void packet_send(int fd, struct mmsghdr *messages, uint32_t n, void (*refused)(void *owner, uint32_t which, int error),
		 void *owner)
{
	for (uint32_t at = 0; at < n;) {
		int sent = sendmmsg(fd, messages + at, n - at, MSG_DONTWAIT);
		if (sent > 0) {
			at += (uint32_t)sent;
		} else if (errno != EINTR) {
			refused(owner, at++, errno);
		}
	}
}

uint32_t packet_drops(int fd)
{
	struct tpacket_stats stats = {0};
	socklen_t size = sizeof stats;
	return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) ? 0 : stats.tp_drops; /* reading begins it anew */
}
