/* codec.h - between the plain structs of etcd/client.h and protobuf.
 *
 * Floor 6, part of client/. Knows every method: its path, whether it may be repeated, how its request is written and
 * its answer read. Knows nothing of connections.
 */
#ifndef CLIENT_CODEC_H
#define CLIENT_CODEC_H

#include "base/arena.h"
#include "base/buf.h"
#include "etcd/client.h"

#define CLIENT_MAX_TXN_DEPTH 64

struct client_method {
    const char *path;
    /* A server that has seen it may see it again: reads, and what has the same effect twice. As clientv3's retry
     * policies have it. */
    bool repeatable;
    /* Appends the encoded request; `scratch` is for lists on the way. False: a transaction nests too deep. */
    bool (*encode)(const void *request, struct arena *scratch, struct buf *out);
    /* The answer as a public struct, all of it in `arena`. NULL: malformed. */
    void *(*decode)(struct slice message, struct arena *arena);
};

const struct client_method *client_method_get(enum etcd_method method);

/* The same fact for a path that may not be in the table above (auth, downgrade, ...); unknown ones are not. */
bool client_path_is_repeatable(const char *path);

/* ---- answers as objects: a public struct, and the arena that it and all it points to live in ---- */

struct client_answer; /* owns the arena */

struct client_answer *client_answer_new(void);
struct arena *client_answer_arena(struct client_answer *self);
/* NULL is allowed. */
void client_answer_free(struct client_answer *self);
/* Zeroed room for a public struct that is to be sealed; what `decode` returns comes from here. */
void *client_response_alloc(struct arena *arena, size_t size_bytes);
/* Makes `response` (from client_response_alloc in the answer's arena) what client_response_free frees; returns it. */
void *client_answer_seal(struct client_answer *self, void *response);
/* etcd_free. */
void client_response_free(const void *response);

/* Decodes into a new object; NULL: malformed. */
void *client_decode_answer(const struct client_method *method, struct slice message);
/* A copy of the message as it is. */
struct etcd_raw_response *client_raw_answer(struct slice message);

/* ---- pieces for watches and renewals ---- */

struct slice client_slice(struct etcd_bytes bytes);
struct etcd_bytes client_bytes(struct slice bytes);

/* WatchRequest messages. */
void client_encode_watch_create(const struct etcd_watch_request *request, int64_t start_revision, struct buf *out);
void client_encode_watch_cancel(int64_t watch_id, struct buf *out);
void client_encode_watch_progress(struct buf *out);

/* A WatchResponse: `response->watch` is the server's id, code is not set. */
struct client_watch_answer {
    struct etcd_watch_response response;
    bool fragment;
};
/* NULL: malformed. The events may be written to. */
struct client_watch_answer *client_decode_watch(struct slice message, struct arena *arena);

void client_encode_keepalive(int64_t lease_id, struct buf *out);
bool client_decode_keepalive(struct slice message, struct arena *scratch,
                             struct etcd_lease_keepalive_response *ret_response);

/* SnapshotResponse; the piece points into `message`. */
bool client_decode_snapshot(struct slice message, struct arena *scratch, struct etcd_bytes *ret_piece,
                            uint64_t *ret_remaining_bytes, const char **ret_version);

#endif
