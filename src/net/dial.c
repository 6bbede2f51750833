/* dial.c - outgoing links: resolve, then try one address after another. */
#include "net/internal.h"

#include <stdio.h>

/* While connecting. Freed when libuv is through with it, which may be after the link has closed. */
struct net__dial {
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct net_link *link; /* NULL: gone */
    struct addrinfo *addresses;
    struct addrinfo *next;
};

bool net__split_address(const char *text, char *host, size_t host_size, char *port, size_t port_size) {
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == 0) return false;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len >= host_size || strlen(colon + 1) >= port_size) return false;
    memcpy(host, text, len);
    host[len] = 0;
    snprintf(port, port_size, "%s", colon + 1);
    return true;
}

void net__dial_forget(struct net__dial *self) { self->link = NULL; }

static void dial_end(struct net__dial *self, int error) {
    struct net_link *link = self->link;
    if (self->addresses != NULL) uv_freeaddrinfo(self->addresses);
    mem_free(self);
    if (link == NULL) return;
    link->dial = NULL;
    if (link->is_closing) return;
    if (error != 0) {
        net__link_close(link, net__err(error));
        return;
    }
    net__link_connected(link);
    if (link->table->connected != NULL) link->table->connected(link->machine);
    net_link_touch(link);
}

static void try_next(struct net__dial *self);

/* A socket that failed can not be tried again: the link gets a new one. */
static void on_renewed(uv_handle_t *handle) {
    struct net_link *link = handle->data;
    link->is_renewing = false;
    if (link->is_closing) {
        dial_end(link->dial, UV_ECANCELED);
        net__link_on_closed(handle);
        return;
    }
    CHECK(uv_tcp_init(&link->loop->uv, &link->uv.tcp) == 0);
    handle->data = link;
    try_next(link->dial);
}

static void on_connected(uv_connect_t *request, int status) {
    struct net__dial *self = request->data;
    if (status == 0 || status == UV_ECANCELED || self->next == NULL || self->link == NULL || self->link->is_closing) {
        dial_end(self, status);
        return;
    }
    self->link->is_renewing = true;
    uv_close(&self->link->uv.handle, on_renewed);
}

static void try_next(struct net__dial *self) {
    struct addrinfo *address = self->next;
    self->next = address->ai_next;
    int error = uv_tcp_connect(&self->connect, &self->link->uv.tcp, address->ai_addr, on_connected);
    if (error != 0) on_connected(&self->connect, error);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses) {
    struct net__dial *self = request->data;
    self->addresses = self->next = addresses;
    if (status != 0 || self->link == NULL || self->link->is_closing)
        dial_end(self, status != 0 ? status : UV_ECANCELED);
    else
        try_next(self);
}

enum err net_dial(struct net_loop *loop, struct net_address address, const struct net_machine *table, void *machine,
                  struct net_link **ret_link) {
    char host[256], port[16];
    if (!address.is_unix && !net__split_address(address.text, host, sizeof host, port, sizeof port)) return ERR_INVALID;
    struct net_link *link = net__link_new(loop, !address.is_unix, table, machine);
    struct net__dial *self = NEW(struct net__dial);
    self->link = link;
    self->resolve.data = self->connect.data = self;
    link->dial = self;
    *ret_link = link;
    if (address.is_unix) {
        uv_pipe_connect(&self->connect, &link->uv.pipe, address.text, on_connected);
        return OK;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    int error = uv_getaddrinfo(&loop->uv, &self->resolve, on_resolved, host[0] ? host : "127.0.0.1", port, &hints);
    if (error != 0) {
        mem_free(self);
        link->dial = NULL;
        net__link_close(link, net__err(error));
    }
    return OK;
}
