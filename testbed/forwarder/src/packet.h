/* Packet sockets, as every program here that reads and writes frames has them. */
#ifndef PACKET_H
#define PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A raw packet socket that does not wait and is bound to nothing yet, with room for whole bursts: the link's queue, not
 * the socket, is to decide what is dropped. It does not hear what goes out. -1: errno says why. */
int packet_socket(void);

/* Receive what arrives at an interface from now on, and send there; 0: at every interface of the namespace. */
bool packet_bind(int fd, uint32_t ifindex);

/* Send frames. One that the kernel refuses does not hold up those behind it: `refused` is told which, and the errno. */
void packet_send(int fd, struct mmsghdr *messages, uint32_t n, void (*refused)(void *owner, uint32_t which, int error),
		 void *owner);

/* Frames that the socket had no room for, since this was last asked. */
uint32_t packet_drops(int fd);

#endif
