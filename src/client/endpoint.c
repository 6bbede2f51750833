/* endpoint.c - reads endpoints, see endpoint.h. */
#include "client/endpoint.h"

#include "base/mem.h"
#include "base/slice.h"

#include <ctype.h>
#include <stdio.h>

static char *copy_range(const char *from, const char *to) {
    size_t len = (size_t)(to - from);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, from, len);
    copy[len] = 0;
    return copy;
}

static bool take_prefix(const char **text, const char *prefix) {
    size_t len = strlen(prefix);
    if (strncmp(*text, prefix, len) != 0) return false;
    *text += len;
    return true;
}

static bool is_graphic(const char *text) {
    for (; *text != 0; text++)
        if (!isgraph((unsigned char)*text)) return false;
    return true;
}

static enum err parse_tcp(const char *text, const char *rest, struct client_endpoint *endpoint,
                          struct errmsg *message) {
    const char *end = rest + strcspn(rest, "/");
    const char *colon = NULL;
    for (const char *at = rest; at < end; at++)
        if (*at == ':') colon = at;
    if (colon == NULL || colon + 1 == end) return err_set(message, ERR_INVALID, "%s: missing port in address", text);
    const char *host = rest, *host_end = colon;
    if (*host == '[') {
        if (host_end[-1] != ']') return err_set(message, ERR_INVALID, "%s: missing ']' in address", text);
        host++;
        host_end--;
    } else if (memchr(host, ':', (size_t)(host_end - host)) != NULL) {
        return err_set(message, ERR_INVALID, "%s: too many colons in address", text);
    }
    endpoint->host = host == host_end ? mem_strdup("localhost") : copy_range(host, host_end);
    endpoint->port = copy_range(colon + 1, end);
    endpoint->authority = copy_range(rest, end);
    return OK;
}

enum err client_endpoint_parse(const char *text, struct client_endpoint *ret_endpoint, struct errmsg *message) {
    struct client_endpoint endpoint = {0};
    const char *rest = text;
    if (!is_graphic(text)) return err_set(message, ERR_INVALID, "%s: invalid endpoint", text);
    if (take_prefix(&rest, "https://") || take_prefix(&rest, "unixs:"))
        return err_set(message, ERR_NOT_SUPPORTED, "%s: TLS is not supported yet", text);
    if (take_prefix(&rest, "unix://") || take_prefix(&rest, "unix:")) {
        if (*rest == 0) return err_set(message, ERR_INVALID, "%s: missing path of the socket", text);
        endpoint.unix_path = mem_strdup(rest);
        endpoint.authority = mem_strdup("localhost");
    } else {
        if (!take_prefix(&rest, "http://") && strstr(rest, "://") != NULL)
            return err_set(message, ERR_INVALID, "%s: unknown scheme", text);
        TRY(parse_tcp(text, rest, &endpoint, message));
    }
    endpoint.text = mem_strdup(text);
    *ret_endpoint = endpoint;
    return OK;
}

void client_endpoint_release(struct client_endpoint *self) {
    mem_free(self->text);
    mem_free(self->host);
    mem_free(self->port);
    mem_free(self->unix_path);
    mem_free(self->authority);
    *self = (struct client_endpoint){0};
}
