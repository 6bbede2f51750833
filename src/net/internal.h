/* net/internal.h - what the files of net/ share. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/link.h"
#include "net/loop.h"

#include <uv.h>

#define NET__READ_BYTES (64 * 1024)
#define NET__SIGNALS_MAX 8
#define NET__PEER_MAX 64

struct net__signal {
    uv_signal_t handle;
    void (*callback)(void *context, int signal_number);
    void *context;
};

struct net_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: the next poll does not wait */
    uv_timer_t hook_timer;
    uv_timer_t linger_timer;
    struct list links;
    struct list dirty; /* to be flushed at the end of this turn, or when NET_FLUSH_BATCH have come together */
    size_t dirty_count;
    struct list late;      /* links whose turn to read has not come: they go first in the next */
    struct list served;    /* have read their budget, or were before those who are late */
    struct list reading;   /* have read in this turn, and may go on */
    struct list lingering; /* have sent everything, oldest first */
    int64_t (*hook)(void *context);
    void *hook_context;
    uint64_t turn;
    uint64_t reads_end_ns; /* of this turn; 0: nothing was read yet */
    size_t readers;        /* links that have read in this turn, */
    size_t last_readers;   /* and in the last */
    struct buf scratch;    /* what one flush produces */
    uint8_t *read_bytes;
    struct net__signal signals[NET__SIGNALS_MAX];
    size_t signal_count;
    bool has_turned;
    bool is_stopping;
};

struct net__dial;

struct net_link {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    struct net_loop *loop;
    const struct net_machine *table;
    void *machine;
    struct list link;
    struct list dirty_link;
    struct list wait_link; /* late, served, reading or lingering */
    struct buf unsent;     /* being written by libuv */
    uint64_t read_turn;
    size_t read_bytes; /* in that turn */
    uint64_t linger_until_ns;
    enum err reason;
    bool is_tcp;
    bool is_connected;
    bool is_reading;
    bool is_throttled;
    bool is_writing;
    bool has_read_end;
    bool is_shut; /* our end of stream is sent */
    bool is_closing;
    bool is_renewing;       /* the handle is closed to be opened again for another address */
    struct net__dial *dial; /* while connecting */
    char peer[NET__PEER_MAX];
};

/* Bytes that one link may read in this turn. */
size_t net__loop_read_budget(const struct net_loop *self);
/* Whether this turn has read long enough. */
bool net__loop_has_read_enough(struct net_loop *self);
/* After a read: many answered links are not kept waiting for the rest of a long turn. */
void net__loop_flush_batch(struct net_loop *self);
/* The link has sent everything: it is closed after NET_LINGER_NS. */
void net__loop_linger(struct net_loop *self, struct net_link *link);

/* A link whose uv handle is initialised but not connected. */
struct net_link *net__link_new(struct net_loop *loop, bool is_tcp, const struct net_machine *table, void *machine);
/* Fills in net_link_peer; net__link_connected does it too. */
void net__link_describe_peer(struct net_link *self);
/* The socket is connected: options, peer, reading. */
void net__link_connected(struct net_link *self);
void net__link_flush(struct net_link *self);
void net__link_resume_reading(struct net_link *self);
/* Reads on when the loop says so, which finds it in that list of its own. */
void net__link_throttle(struct net_link *self, struct list *where);
void net__link_close(struct net_link *self, enum err reason);
/* The socket does not take more now. */
bool net__link_is_blocked(const struct net_link *self);

/* What uv_close is given for a link. */
void net__link_on_closed(uv_handle_t *handle);
/* The link is going: what still resolves or connects must not touch it. */
void net__dial_forget(struct net__dial *self);

enum err net__err(int uv_error);
/* "host:port" -> parts; false when there is no port. `host` has room for host_size. */
bool net__split_address(const char *text, char *host, size_t host_size, char *port, size_t port_size);

#endif
