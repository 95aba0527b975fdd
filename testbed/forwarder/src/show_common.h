/* Values as text, as the control language writes them. */
#ifndef SHOW_COMMON_H
#define SHOW_COMMON_H

#include "tables.h"
#include "text.h"

enum { ADDRESS_TEXT = 48, BITS_TEXT = BITS_MAX / 4 + 1, MAC_TEXT = 18 };

extern const char *const encap_names[2];
extern const char *const role_names[4];

/* Each writes into `to` and returns it. */
const char *address_text(char to[ADDRESS_TEXT], uint32_t family, const uint8_t *address);
const char *flow_address_text(char to[ADDRESS_TEXT], uint32_t family, const uint8_t *address); /* zero is "*" */
const char *bits_text(char to[BITS_TEXT], const uint64_t *bits);
const char *mac_text(char to[MAC_TEXT], const uint8_t *mac);

#endif
