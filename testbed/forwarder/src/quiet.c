#include "quiet.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

/* A raw socket that wants GRE, so that no ICMP "protocol unreachable" is sent, and whose filter keeps nothing of it. The
 * queue must stay empty: a raw socket with a full one counts as none (Linux 6.10). */
static int open_quiet(void)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {1, &nothing};
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_GRE);
	if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
		return fd;
	log_line("tunnels: the kernel will answer with ICMP errors: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

void quiet_reconcile(int *fd, uint32_t tunnel)
{
	if (tunnel && *fd < 0) {
		*fd = open_quiet();
	} else if (!tunnel && *fd >= 0) {
		close(*fd);
		*fd = -1;
	}
}
