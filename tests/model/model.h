/* model.h - a small plain model of etcd's semantics: what one member answers when it is asked one thing at a time.
 *
 * KV with all its revisions, transactions, compaction, leases, watches, and the hash of the store, in plain arrays that
 * are searched from one end to the other: slow, short, and made from the rules (what etcd promises and what the real
 * 3.5 does), not from the server's code. Requests and answers are the API's own messages, so a comparison covers every
 * field there is.
 *
 *     model_ask(model, MODEL_PUT, &request, arena, &answer)           a unary call: code, text and message
 *     model_stream_ask(model, stream, &request)                       a request on a watch stream
 *     model_stream_take(model, stream, &response)                     is this response one that may come now?
 *
 * What a watch stream sends and when is partly the server's choice (in which batches a watcher catches up), so the
 * model does not say what comes: it is told what came and says what is wrong with it; and it knows what is still
 * missing.
 *
 * Nothing here knows a clock: model_set_now tells the time that leases count by. Nothing expires by itself:
 * model_expire is told what the server let expire, and objects when that was too early. One thread.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"

#define MODEL_MAX_TXN_OPS 128                /* --max-txn-ops */
#define MODEL_MAX_REQUEST_BYTES 1572864      /* --max-request-bytes */
#define MODEL_RECEIVE_MAX_BYTES (2048 << 10) /* max-request-bytes + 512 KiB: what gRPC takes */
#define MODEL_STREAMS_MAX 2
#define MODEL_WATCHERS_MAX 6 /* a stream: what a history opens, not what etcd allows */
#define MODEL_LEASE_TTL_MAX INT64_C(9000000000)

struct model;

enum model_method {
    MODEL_RANGE,
    MODEL_PUT,
    MODEL_DELETE_RANGE,
    MODEL_TXN,
    MODEL_COMPACT,
    MODEL_GRANT,
    MODEL_REVOKE,
    MODEL_TIME_TO_LIVE,
    MODEL_LEASES,
    MODEL_KEEP_ALIVE, /* a stream of its own: one request, one response */
    MODEL_HASH_KV,
    MODEL_METHOD_COUNT
};
struct model_method_info {
    const char *name; /* "put" */
    const char *path; /* "/etcdserverpb.KV/Put" */
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
    bool is_stream;
};
const struct model_method_info *model_method_info(enum model_method method);

/* What every header says beside the revision. */
struct model_identity {
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t raft_term;
};

struct model_answer {
    int code;            /* gRPC's; 0: OK */
    const char *text;    /* "" when OK; static, or in the arena */
    void *message;       /* NULL unless OK; in the arena, its bytes partly the model's: until the next call */
    void *other_message; /* an answer that is as right, also when `code` is an error; NULL: there is none */
    bool is_hash_open;   /* the hash may be any: it depends on how far a compaction in the background has come, or on
                            the release of etcd */
    int64_t ttl_slack_s; /* the time to live may be so much less, or more after a restart */
};

/* A store at `revision`, empty and compacted at `compact_revision`: 1 and -1 is a new member. */
struct model *model_new(int64_t revision, int64_t compact_revision);
/* NULL is allowed. */
void model_free(struct model *self);
void model_set_identity(struct model *self, const struct model_identity *identity);
/* Nanoseconds from any beginning; never goes back. */
void model_set_now(struct model *self, int64_t now_ns);

/* The call and its effect. A lease grant must name its id (the caller fills in what the server chose). */
void model_ask(struct model *self, enum model_method method, const void *request, struct arena *arena,
               struct model_answer *ret_answer);

/* ---- what has happened to the member ---- */

/* It was stopped or has crashed, and is back: streams are gone, leases count from the beginning. */
void model_restart(struct model *self);
/* The server has let the lease expire and deleted its keys at one revision (if it had any). NULL, or why that is wrong
 * (too early; no such lease). */
const char *model_expire(struct model *self, int64_t lease);
/* Its time has come so much over `grace_ns` ago: it should be gone by now. */
bool model_is_overdue(const struct model *self, size_t lease_index, int64_t grace_ns);
/* When the first lease may expire; INT64_MAX: there is none. */
int64_t model_next_expiry_ns(const struct model *self);

/* ---- what a generator and a driver may look at ---- */

int64_t model_revision(const struct model *self);
int64_t model_compact_revision(const struct model *self);
size_t model_lease_count(const struct model *self);
int64_t model_lease_id(const struct model *self, size_t index);
/* Keys attached to it. */
size_t model_lease_keys(struct model *self, int64_t lease, struct slice *keys, size_t limit);
/* The lease a key is attached to now; 0: none, or no such key. */
int64_t model_key_lease(struct model *self, struct slice key);
size_t model_live_keys(struct model *self);

/* ---- watch streams ---- */

/* The member is upstream's before 3.5.16: a deletion at just the compacted revision may be missing in what a watcher is
 * told that catches up (known.h). Each that is missing adds one to *lost. */
void model_allow_lost_deletions(struct model *self, uint64_t *lost);

bool model_stream_is_open(const struct model *self, size_t stream);
void model_stream_open(struct model *self, size_t stream);
void model_stream_close(struct model *self, size_t stream);
size_t model_watcher_count(const struct model *self, size_t stream);
int64_t model_watcher_id(const struct model *self, size_t stream, size_t index);

void model_stream_ask(struct model *self, size_t stream, const Etcdserverpb__WatchRequest *request);
/* NULL: as it must be. Else what is wrong, to be freed with mem_free; the stream can't be followed any further. */
char *model_stream_take(struct model *self, size_t stream, const Etcdserverpb__WatchResponse *response);
/* Answers to requests that must come and have not. */
bool model_stream_is_answered(const struct model *self, size_t stream);
/* Nothing more must come: answers and events are all there. */
bool model_stream_is_settled(struct model *self, size_t stream);
/* Says in words what is missing. */
void model_stream_tell_missing(struct model *self, size_t stream, struct buf *text);

#endif
