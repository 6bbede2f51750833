/* private.h - what the files of the model share. See model.h. */
#ifndef TESTS_MODEL_PRIVATE_H
#define TESTS_MODEL_PRIVATE_H

#include "base/mem.h"
#include "base/vec.h"
#include "model/model.h"

#define MODEL_LARGE_BYTES 65536

/* One change of one key, as etcd stores it. */
struct model_record {
    int64_t main, sub;
    struct model_key *key;
    bool is_delete;
    struct slice value; /* owned; the rest only of a put */
    int64_t create_revision, version, lease;
};

/* A key that has ever been named. */
struct model_key {
    struct slice name;               /* owned */
    const struct model_record *seen; /* by the last model__look: its newest record then, NULL if there was none */
};

struct model_lease {
    int64_t id;
    int64_t granted_ttl_s;
    int64_t until_ns;
    int64_t slack_ns; /* it may end so much later */
};

/* The hash that etcd keeps of a compaction: of what was between the one before and this. */
struct model_compact_hash {
    uint32_t hash;
    bool is_open; /* what the hash is differs from release to release */
    int64_t from, revision;
};
#define MODEL_COMPACT_HASHES 10

struct model_watcher {
    int64_t id;
    struct slice key, end; /* owned; `end` as in the request */
    bool no_put, no_delete, prev_kv, fragment;
    int64_t next;         /* nothing of before it must come any more */
    int64_t start;        /* where it began */
    bool is_synced;       /* has certainly caught up: each revision comes alone, with its own header */
    bool is_compacted;    /* gets nothing more */
    bool must_compact;    /* began before the compacted revision */
    bool may_compact;     /* a compaction has passed it before it was known to have caught up */
    struct buf fragments; /* encoded events of fragments so far: a message of events only */
    int64_t fragments_revision;
    bool has_fragments;
};

/* A response that answers a request. */
struct model_control {
    Etcdserverpb__WatchResponse response;
    Etcdserverpb__ResponseHeader header;
    const char *reason;
    bool is_optional; /* progress that a server need not tell */
};

struct model_stream {
    bool is_open;
    int64_t next_id;
    VEC(struct model_watcher *) watchers;
    VEC(struct model_control) controls; /* in the order asked */
};

struct model {
    VEC(struct model_key *) keys; /* sorted */
    VEC(struct model_record *) records;
    int64_t revision, compact_revision;
    int64_t changes; /* of the transaction that runs */
    VEC(struct model_lease) leases;
    int64_t now_ns;
    struct model_identity identity;
    struct model_compact_hash compact_hashes[MODEL_COMPACT_HASHES];
    size_t compact_hash_count;
    bool may_sweep; /* a compaction may not have finished in the background */
    bool has_large; /* values of more than MODEL_LARGE_BYTES have been put: a server may let watchers fall behind */
    uint64_t *lost_deletions; /* NULL: there must be none */
    struct model_stream streams[MODEL_STREAMS_MAX];
};

/* ---- store.c ---- */

/* A message of zeros in the arena. */
void *model__make(struct arena *arena, const ProtobufCMessageDescriptor *type);
/* Sets key->seen of all keys as of the end of the revision. */
void model__look(struct model *self, int64_t revision);
/* Whether key is in [begin, end) as requests spell it. */
bool model__covers(struct slice begin, struct slice end, struct slice key);
/* What reads see now: within a transaction also its own changes. */
int64_t model__visible(const struct model *self);
bool model__exists(struct model *self, struct slice key);
Mvccpb__KeyValue *model__key_value(const struct model_record *record, struct arena *arena);
Etcdserverpb__ResponseHeader *model__header(int64_t revision, struct arena *arena);

enum err model__check_revision(const struct model *self, int64_t revision);
void model__range(struct model *self, const Etcdserverpb__RangeRequest *request, struct arena *arena,
                  Etcdserverpb__RangeResponse *response);
void model__put(struct model *self, const Etcdserverpb__PutRequest *request, struct arena *arena,
                Etcdserverpb__PutResponse *response);
void model__delete_range(struct model *self, const Etcdserverpb__DeleteRangeRequest *request, struct arena *arena,
                         Etcdserverpb__DeleteRangeResponse *response);
void model__delete_key(struct model *self, struct slice key);
/* Ends what put and delete_range have begun. */
void model__commit(struct model *self);
void model__drop_records(struct model *self, int64_t compact_revision);

/* ---- txn.c ---- */
enum err model__check_range(const Etcdserverpb__RangeRequest *request);
enum err model__check_put(const Etcdserverpb__PutRequest *request);
enum err model__check_txn(const Etcdserverpb__TxnRequest *request);
bool model__txn_is_write(const Etcdserverpb__TxnRequest *request);
enum err model__txn(struct model *self, const Etcdserverpb__TxnRequest *request, struct arena *arena,
                    Etcdserverpb__TxnResponse *response);

/* ---- hash.c ---- */
/* From the hash at `from` (a compacted revision) to `revision`. */
uint32_t model__hash(struct model *self, int64_t from, int64_t revision, bool is_compacting);
/* A key was deleted and made anew in just this revision: what is kept of it when hashing up to there, has changed. */
bool model__is_hash_open_at(const struct model *self, int64_t revision);
enum err model__hash_kv(struct model *self, int64_t revision, struct arena *arena, struct model_answer *ret_answer);

/* ---- lease.c ---- */
struct model_lease *model__lease(struct model *self, int64_t id);
void model__revoke(struct model *self, struct model_lease *lease);
enum err model__ask_lease(struct model *self, enum model_method method, const void *request, struct arena *arena,
                          struct model_answer *ret_answer);

/* ---- watch.c ---- */
void model__watch_compacted(struct model *self);
void model__streams_release(struct model *self);

#endif
