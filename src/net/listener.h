/* net/listener.h - listening sockets whose connections speak HTTP.
 *
 * Floor 7. Each accepted connection becomes an http_conn of the given http_server on a link of its own.
 *
 * TLS comes between link and http_conn: see transport in link.c.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/list.h"
#include "http/server.h"
#include "net/link.h"

struct net_listener;

/* How many connections some listeners may have together; beyond it connections wait in the kernel's queues. Outlives
 * them. */
struct net_quota {
    size_t max;
    size_t count;
    uint64_t closed;     /* since the start */
    struct list waiting; /* listeners */
};
void net_quota_init(struct net_quota *self, size_t max);

struct net_listener_options {
    struct net_address address; /* port 0: any free one */
    struct http_server *server; /* outlives the listener and its connections */
    struct net_quota *quota;    /* NULL: not limited */
    bool is_held;               /* all wait there until net_listener_open */
    bool reuse_port;            /* SO_REUSEPORT */
};

#define NET_LISTEN_BACKLOG 1024

/* ERR_ADDRESS_IN_USE, ERR_ACCESS, ERR_INVALID, others of the system, with *message in Go's words ("listen tcp
 * 127.0.0.1:2379: bind: address already in use"). A unix socket's old file is removed first. */
enum err net_listen(struct net_loop *loop, const struct net_listener_options *options,
                    struct net_listener **ret_listener, struct errmsg *message) MUST_USE;
/* Connections of a held listener are accepted from now on. */
void net_listener_open(struct net_listener *self);
/* The port listened on (for port 0). */
int net_listener_port(const struct net_listener *self);
size_t net_listener_connections(const struct net_listener *self);
/* No new connections; each open one is told to stop (GOAWAY) and closes when its requests have ended, or after
 * grace_ns. When the last is gone `on_closed` (may be NULL) comes, and the listener is freed. Called a second time it
 * only makes the grace shorter. */
void net_listener_shutdown(struct net_listener *self, int64_t grace_ns, void (*on_closed)(void *context),
                           void *context);

#endif
