/* The kernel's silence about tunnels: it sees their packets too, knows nobody who wants them, and would tell the sender. */
#ifndef QUIET_H
#define QUIET_H

#include <stdint.h>

/* Keep it silent where `tunnel` (this router's end of tunnels) is not 0. `fd` is kept from call to call, -1 at first. */
void quiet_reconcile(int *fd, uint32_t tunnel);

#endif
