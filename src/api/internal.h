/* internal.h - what the files of api/ share. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include "api/api.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "mvcc/store.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

#define NS_PER_S 1000000000ll

struct api {
    struct server *server;
    struct env *env;
    struct log *log;
    struct grpc_server *grpc;
    int64_t watch_progress_interval_ns;
    uint64_t max_request_bytes;
    uint64_t max_txn_ops;
    const char *const *cors_origins;
    size_t cors_origin_count;
    uint64_t seed; /* of tables whose keys clients choose */
    bool is_stopping;
    struct list health_watches;
    struct list watch_streams;
    size_t range_place_bytes; /* gathered by all ranges that are not answered yet */
    size_t watch_bytes;       /* of all watchers */
    size_t snapshots_open;
    size_t hashes_open;
    size_t defrags_open;
};

/* Each registers its service. */
void api__kv_add(struct api *self);
void api__watch_add(struct api *self);
void api__lease_add(struct api *self);
void api__cluster_add(struct api *self);
void api__maintenance_add(struct api *self);
void api__auth_add(struct api *self);
void api__health_add(struct api *self);

void api__health_stop(struct api *self);
void api__watch_stop(struct api *self);

/* ---- decoding ---- */

/* The request message in the call's arena; NULL: the call was answered with grpc-go's words. Bytes fields point into
 * the call's message. */
void *api__request(struct grpc_call *call, const ProtobufCMessageDescriptor *type);
/* Ends a stream whose message makes no sense, with grpc-go's words. */
void api__fail_malformed(struct grpc_call *call);

/* ---- answering ---- */

/* Header (revision 0: left out) and the fields behind it as one message; ends the call. */
void api__reply(struct api *self, struct grpc_call *call, int64_t revision, struct slice body);
/* The same for a stream, which goes on. */
void api__send(struct api *self, struct grpc_call *call, int64_t revision, struct slice body);

/* Fields of a message; zero numbers are left out. */
void api__append_uint(struct buf *out, uint32_t field, uint64_t value);
void api__append_bytes(struct buf *out, uint32_t field, struct slice bytes);

/* An answer of so many bytes is more than a message may have: grpc-go's words. */
void api__fail_too_long(struct grpc_call *call, size_t size_bytes);

/* ---- auth.c: who asks, and may he ----
 *
 * While auth is off everybody may. Those that return a bool have answered the call when it is false. */

/* ERR_INVALID_AUTH_TOKEN; nobody without a token. The name lives within this turn, until an entry is applied. */
enum err api__who(struct api *self, struct grpc_call *call, struct auth_info *ret_info);
/* Anybody with a valid token. */
bool api__require_user(struct grpc_call *call);
/* Role root. */
bool api__require_admin(struct grpc_call *call);
/* The same for methods whose errors reach the wire in 3.5's inner words, as code Unknown ("auth: permission denied").
 */
bool api__require_admin_bare(struct grpc_call *call);
/* ERR_AUTH_OLD_REVISION and its kin: may who asks read what these read? */
enum err api__check_read(struct api *self, struct grpc_call *call, struct slice key, struct slice range_end);
enum err api__check_read_txn(struct api *self, struct grpc_call *call, const Etcdserverpb__TxnRequest *request);
/* Read (write) each key of a lease. */
enum err api__check_lease_keys(struct api *self, struct grpc_call *call, int64_t lease, bool writes);
static inline bool api__auth_is_on(struct api *self) { return auth_store_is_enabled(server_auth(self->server)); }

/* ---- a call that waits for the server ---- */

/* A proposal: encoded and message as in struct server_request; when it is applied the call is answered with header and
 * `out`. In the call's arena. */
void api__propose(struct api *self, struct grpc_call *call, enum server_op op, const void *message,
                  struct slice encoded);
/* on_cancel of the methods that propose. */
void api__propose_cancelled(struct grpc_call *call);

/* ---- check.c: what etcd's API layer refuses before anything happens ---- */

enum err api__check_range(const Etcdserverpb__RangeRequest *request);
enum err api__check_put(const Etcdserverpb__PutRequest *request);
enum err api__check_delete_range(const Etcdserverpb__DeleteRangeRequest *request);
enum err api__check_txn(const Etcdserverpb__TxnRequest *request, uint64_t max_ops);

/* ---- txn_keys.c ---- */

/* ERR_DUPLICATE_KEY: on a way through the operations a key is put twice, or put and deleted. */
enum err api__check_keys(Etcdserverpb__RequestOp *const *ops, size_t count);

/* kv_range.c */
void api__range(struct grpc_call *call);
void api__range_cancelled(struct grpc_call *call);
/* Waits for the read index, then applies a read-only txn. */
void api__read_txn(struct grpc_call *call, const Etcdserverpb__TxnRequest *request);

/* snapshot.c */
void api__snapshot(struct grpc_call *call);
void api__snapshot_drained(struct grpc_call *call);
void api__snapshot_cancelled(struct grpc_call *call);

#endif
