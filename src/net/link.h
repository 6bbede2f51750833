/* net/link.h - a connected socket and the machine on top of it.
 *
 * Floor 7. The machine (an http_conn, a grpc_client, ...) is bytes in, bytes out; the link moves them. Both ends of a
 * connection look the same from here: net/listener.h makes links of accepted sockets, net_dial of outgoing ones.
 */
#ifndef NET_LINK_H
#define NET_LINK_H

#include "base/buf.h"
#include "net/loop.h"

struct net_link;

/* What the machine offers; `machine` is given to each. */
struct net_machine {
    /* Dialed links only: the connection stands. Bytes flow after it. May be NULL. */
    void (*connected)(void *machine);
    void (*receive)(void *machine, struct slice bytes);
    /* The other side will send no more. May be NULL: the link closes when all is sent. */
    void (*receive_end)(void *machine);
    /* Appends about up to budget_bytes; true: there is more now. */
    bool (*produce)(void *machine, struct buf *output, size_t budget_bytes);
    /* Close when everything produced is sent. */
    bool (*is_finished)(void *machine);
    /* May be NULL: always. */
    bool (*wants_read)(void *machine);
    /* The link is gone, whatever the reason (OK: finished in order); exactly once, and the last call. For a dialed link
     * that never connected too. Not from inside net_dial. */
    void (*closed)(void *machine, enum err reason);
    /* So many bytes produced wait for the socket now. May be NULL. */
    void (*unsent)(void *machine, size_t size_bytes);
};

/* The machine has something to produce or is finished: it is asked at the end of this turn. Cheap, may be repeated. */
void net_link_touch(struct net_link *self);
/* Closes without sending what is left; `closed` follows in a later turn. */
void net_link_close(struct net_link *self);
/* The other end: "127.0.0.1:50123" or "@" for a unix socket. Lives as long as the link. */
const char *net_link_peer(const struct net_link *self);
/* Our end, in the same form; only of a link that is connected. */
void net_link_local(const struct net_link *self, char *text, size_t size_bytes);

/* Where to connect or listen: "host:port", "[::1]:port" or, with is_unix, a path (or etcd's unix://host:port, which is
 * a path too). */
struct net_address {
    const char *text;
    bool is_unix;
};

/* Starts connecting; `machine` and the table live until `closed`. Errors (ERR_INVALID for an address without port) are
 * immediate and leave nothing behind; all others come through `closed`. */
enum err net_dial(struct net_loop *loop, struct net_address address, const struct net_machine *table, void *machine,
                  struct net_link **ret_link) MUST_USE;

#endif
