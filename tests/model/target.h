/* target.h - a member that histories are played against: asked in bytes over gRPC, wherever it is.
 *
 *     target_socket_open     any etcd that listens at host:port, ours or the real one
 *     target_sim_open        ours inside this process: virtual time, a disk that loses what was not synced, restarts
 *
 * Both are one connection with a grpc_client on it. The calls below turn the target's world until what they wait for
 * has come, for at most TARGET_PATIENCE_NS of its time.
 */
#ifndef TESTS_MODEL_TARGET_H
#define TESTS_MODEL_TARGET_H

#include "base/arena.h"
#include "base/vec.h"
#include "grpc/client.h"

#define TARGET_PATIENCE_NS INT64_C(15000000000)

struct target;

enum target_restart { TARGET_STOP, TARGET_CRASH };

struct target_ops {
    /* Lets something happen; false when the connection is lost. May wait a little when `is_waiting`. */
    bool (*turn)(struct target *self, bool is_waiting);
    /* Stops or crashes the member, starts it on what its disk holds, and connects again: `client` is another one then.
     * False when it did not come back. NULL: can't be done. */
    bool (*restart)(struct target *self, enum target_restart how);
    /* Lets so much time pass. NULL: can't be done. */
    bool (*pass)(struct target *self, int64_t duration_ns);
    /* An empty member in place of this one. NULL: can't be done. */
    bool (*renew)(struct target *self, uint64_t seed);
    void (*free)(struct target *self);
};

/* What both drivers embed first. */
struct target {
    const struct target_ops *ops;
    struct env *env; /* whose time it is */
    struct http_client_owner owner;
    struct grpc_client *client; /* NULL: not connected */
};

struct target *target_socket_open(const char *address);
/* There is no member before the first renew. */
struct target *target_sim_open(void);
void target_free(struct target *self);

struct target_reply {
    int code; /* of gRPC; -1: nothing came in time */
    struct slice text, message;
};
/* A unary call; the reply is in the arena. */
void target_call(struct target *self, const char *path, struct slice request, struct arena *arena,
                 struct target_reply *ret_reply);

/* The same, but only for so many turns: code -1 when nothing has come by then. The target is to be restarted next. */
void target_call_for(struct target *self, const char *path, struct slice request, unsigned turns, struct arena *arena,
                     struct target_reply *ret_reply);

/* A stream: requests out, messages in. */
struct target_stream;
struct target_stream *target_stream_open(struct target *self, const char *path);
void target_stream_send(struct target_stream *self, struct slice request);
/* The oldest message not yet taken, in the arena; false: none has come. */
bool target_stream_take(struct target_stream *self, struct arena *arena, struct slice *ret_message);
/* The server has ended it; all messages before are there. */
bool target_stream_is_ended(const struct target_stream *self, int *ret_code, struct slice *ret_text);
/* NULL is allowed. Before the target is restarted, renewed or freed. */
void target_stream_close(struct target_stream *self);

#endif
