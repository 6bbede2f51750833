/* The near end of a link, for log lines. */
#include "net/internal.h"

#include <stdio.h>

void net_link_local(const struct net_link *self, char *text, size_t size_bytes) {
    struct sockaddr_storage address;
    int length = sizeof address;
    char host[INET6_ADDRSTRLEN];
    snprintf(text, size_bytes, "@");
    if (!self->is_tcp || uv_tcp_getsockname(&self->uv.tcp, (struct sockaddr *)&address, &length) != 0) return;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
        uv_ip4_name(v4, host, sizeof host);
        snprintf(text, size_bytes, "%s:%d", host, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;
        uv_ip6_name(v6, host, sizeof host);
        snprintf(text, size_bytes, "[%s]:%d", host, ntohs(v6->sin6_port));
    }
}
