#include "show_common.h"

#include <arpa/inet.h>
#include <stdio.h>

const char *const encap_names[2] = {"ethernet", "mpls"};
const char *const role_names[4] = {"head", "transit", "leaf", "bud"};

const char *address_text(char to[ADDRESS_TEXT], uint32_t family, const uint8_t *address)
{
	inet_ntop(family == 4 ? AF_INET : AF_INET6, address, to, ADDRESS_TEXT);
	return to;
}

const char *flow_address_text(char to[ADDRESS_TEXT], uint32_t family, const uint8_t *address)
{
	static const uint8_t any[ADDR_LEN];
	return memcmp(address, any, ADDR_LEN) ? address_text(to, family, address) : "*";
}

const char *bits_text(char to[BITS_TEXT], const uint64_t *bits)
{
	int top = WORDS_MAX - 1;
	while (top > 0 && !bits[top])
		top--;
	int n = snprintf(to, BITS_TEXT, "%llx", (unsigned long long)bits[top]);
	for (int i = top - 1; i >= 0; i--, n += 16)
		snprintf(to + n, (size_t)(BITS_TEXT - n), "%016llx", (unsigned long long)bits[i]);
	return to;
}

const char *mac_text(char to[MAC_TEXT], const uint8_t *mac)
{
	snprintf(to, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return to;
}
