/* history.c - see history.h. */
#include "model/history.h"

#include <inttypes.h>

#include "base/check.h"
#include "base/prng.h"
#include "model/compare.h"

struct maker {
    struct prng prng;
    const struct history_options *options;
    struct model *model;
    struct arena *arena;
};

static uint64_t below(struct maker *self, uint64_t bound) { return prng_below(&self->prng, bound); }
static bool one_in(struct maker *self, uint64_t bound) { return below(self, bound) == 0; }

static void *make(struct maker *self, const ProtobufCMessageDescriptor *type) {
    void *message = arena_calloc(self->arena, 1, type->sizeof_message);
    type->message_init(message);
    return message;
}

/* ---- keys, values, revisions, leases ---- */

#define TEXT(text)                                                                                                     \
    { sizeof(text) - 1, (uint8_t *)(uintptr_t)(text) }
static const ProtobufCBinaryData names[] = {
    TEXT("a"),     TEXT("b"),     TEXT("c"),      TEXT("aa"),   TEXT("ab"),    TEXT("a\0"),
    TEXT("a\0\0"), TEXT("\0"),    TEXT("\0\0"),   TEXT("\xff"), TEXT("b\xff"), TEXT("b\xff\xff"),
    TEXT("dir/"),  TEXT("dir/1"), TEXT("dir/22"), TEXT("dir0"), TEXT("\x01"),  TEXT("zebra"),
};
static const ProtobufCBinaryData ends[] = {
    TEXT("\0"), TEXT("\0"), TEXT("c"), TEXT("dir0"), TEXT("b"), TEXT("\xff"), TEXT("\0\0"), TEXT("\xff\xff"), TEXT("a"),
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static ProtobufCBinaryData some_key(struct maker *self) {
    if (one_in(self, 300)) return (ProtobufCBinaryData){0};
    uint64_t count = one_in(self, 3) ? COUNT(names) : 7; /* some more than others */
    return names[below(self, count)];
}

/* [key, end) with the end just behind what begins with key. */
static ProtobufCBinaryData prefix_end(struct maker *self, ProtobufCBinaryData key) {
    uint8_t *end = arena_alloc(self->arena, key.len + 1);
    memcpy(end, key.data, key.len);
    for (size_t len = key.len; len > 0; len--)
        if (end[len - 1] != 0xff) {
            end[len - 1]++;
            return (ProtobufCBinaryData){len, end};
        }
    end[0] = 0;
    return (ProtobufCBinaryData){1, end};
}

static ProtobufCBinaryData some_end(struct maker *self, ProtobufCBinaryData key) {
    switch (below(self, 8)) {
    case 0:
    case 1: return (ProtobufCBinaryData){0};
    case 2:
    case 3: return key.len != 0 ? prefix_end(self, key) : (ProtobufCBinaryData){0};
    case 4: { /* the key alone, as a range */
        uint8_t *end = arena_alloc(self->arena, key.len + 1);
        if (key.len != 0) memcpy(end, key.data, key.len);
        end[key.len] = 0;
        return (ProtobufCBinaryData){key.len + 1, end};
    }
    case 5: return some_key(self);
    default: return ends[below(self, COUNT(ends))];
    }
}

static void some_range(struct maker *self, ProtobufCBinaryData *ret_key, ProtobufCBinaryData *ret_end) {
    *ret_key = one_in(self, 5) ? (ProtobufCBinaryData)TEXT("\0") : some_key(self);
    *ret_end = some_end(self, *ret_key);
}

static ProtobufCBinaryData filled(struct maker *self, size_t size) {
    uint8_t *bytes = arena_alloc(self->arena, size + 1);
    memset(bytes, 'a' + (int)below(self, 26), size);
    return (ProtobufCBinaryData){size, bytes};
}

static ProtobufCBinaryData some_value(struct maker *self) {
    static const ProtobufCBinaryData values[] = {TEXT(""),   TEXT("1"),  TEXT("2"),
                                                 TEXT("22"), TEXT("\0"), TEXT("\xff\0x")};
    if (one_in(self, 50)) return filled(self, below(self, 6000));
    return values[below(self, COUNT(values))];
}

static int64_t some_revision(struct maker *self) {
    int64_t current = model_revision(self->model), compacted = model_compact_revision(self->model);
    int64_t oldest = compacted > 0 ? compacted : 1;
    switch (below(self, 16)) {
    case 0: return current;
    case 1: return current + 1;
    case 2: return current + 1 + (int64_t)below(self, 20);
    case 3: return compacted;
    case 4: return compacted - 1;
    case 5: return compacted + 1;
    case 6: return -1 - (int64_t)below(self, 3);
    case 7: return one_in(self, 2) ? INT64_MAX : INT64_MIN;
    case 8: return 0;
    case 9: return 1 + (int64_t)below(self, 3);
    case 10:
    case 11: return oldest + (int64_t)below(self, (uint64_t)(current - oldest) + 1);
    default: {
        int64_t back = (int64_t)below(self, 12);
        return current > back ? current - back : current;
    }
    }
}

static int64_t some_lease(struct maker *self) {
    static const int64_t ids[] = {1, 2, 3, 7, -7, INT64_MAX, INT64_MIN, 0x694d000000000000};
    size_t count = model_lease_count(self->model);
    if (count != 0 && !one_in(self, 6)) return model_lease_id(self->model, below(self, count));
    return ids[below(self, COUNT(ids))];
}

/* ---- KV ---- */

static Etcdserverpb__RangeRequest *some_range_request(struct maker *self) {
    Etcdserverpb__RangeRequest *request = make(self, &etcdserverpb__range_request__descriptor);
    some_range(self, &request->key, &request->range_end);
    if (one_in(self, 3)) request->revision = some_revision(self);
    if (one_in(self, 2)) request->limit = one_in(self, 10) ? some_revision(self) : (int64_t)below(self, 8);
    if (one_in(self, 3)) request->sort_order = (int)below(self, 3);
    if (one_in(self, 3)) request->sort_target = (int)below(self, 5);
    if (one_in(self, 200)) request->sort_order = 7;
    if (one_in(self, 200) && !self->options->is_fragile) request->sort_target = one_in(self, 2) ? 5 : -1;
    request->serializable = one_in(self, 2);
    request->keys_only = one_in(self, 5);
    request->count_only = one_in(self, 6);
    if (one_in(self, 8)) request->min_mod_revision = some_revision(self);
    if (one_in(self, 8)) request->max_mod_revision = some_revision(self);
    if (one_in(self, 8)) request->min_create_revision = some_revision(self);
    if (one_in(self, 8)) request->max_create_revision = some_revision(self);
    return request;
}

static Etcdserverpb__PutRequest *some_put(struct maker *self) {
    Etcdserverpb__PutRequest *request = make(self, &etcdserverpb__put_request__descriptor);
    request->key = some_key(self);
    request->value = some_value(self);
    request->prev_kv = one_in(self, 3);
    if (one_in(self, 4)) request->lease = some_lease(self);
    request->ignore_value = one_in(self, 10);
    request->ignore_lease = one_in(self, 10);
    if (request->ignore_value && !one_in(self, 6)) request->value = (ProtobufCBinaryData){0};
    if (request->ignore_lease && !one_in(self, 6)) request->lease = 0;
    return request;
}

static Etcdserverpb__DeleteRangeRequest *some_delete(struct maker *self) {
    Etcdserverpb__DeleteRangeRequest *request = make(self, &etcdserverpb__delete_range_request__descriptor);
    if (one_in(self, 3))
        some_range(self, &request->key, &request->range_end);
    else
        request->key = some_key(self);
    request->prev_kv = one_in(self, 2);
    return request;
}

static Etcdserverpb__Compare *some_compare(struct maker *self) {
    Etcdserverpb__Compare *compare = make(self, &etcdserverpb__compare__descriptor);
    compare->key = some_key(self);
    if (one_in(self, 4)) compare->range_end = some_end(self, compare->key);
    compare->result = one_in(self, 50) ? 4 + (int)below(self, 3) : (int)below(self, 4);
    compare->target = one_in(self, 50) ? 5 + (int)below(self, 3) : (int)below(self, 5);
    static const Etcdserverpb__Compare__TargetUnionCase cases[] = {
        ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION, ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION,
        ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION, ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE,
        ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE};
    size_t what = (size_t)compare->target < COUNT(cases) && !one_in(self, 15) ? (size_t)compare->target
                                                                              : below(self, COUNT(cases));
    if (one_in(self, 15)) return compare;
    compare->target_union_case = cases[what];
    switch (what) {
    case 0: compare->version = (int64_t)below(self, 4); break;
    case 3: compare->value = some_value(self); break;
    case 4: compare->lease = one_in(self, 2) ? 0 : some_lease(self); break;
    default: compare->mod_revision = one_in(self, 3) ? 0 : some_revision(self); break;
    }
    return compare;
}

static Etcdserverpb__TxnRequest *some_txn(struct maker *self, unsigned depth);

static Etcdserverpb__RequestOp *some_op(struct maker *self, unsigned depth, bool reads_only) {
    Etcdserverpb__RequestOp *op = make(self, &etcdserverpb__request_op__descriptor);
    if (one_in(self, 300)) return op;
    uint64_t kind = reads_only ? 0 : below(self, depth < 3 ? 10 : 9);
    if (kind < 3) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = some_range_request(self);
        if (!one_in(self, 8)) op->request_range->revision = 0; /* most transactions are to run */
    } else if (kind < 7) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = some_put(self);
        /* A put that needs its key, behind a delete to "\0" that etcd does not see as overlapping, ends the process. */
        if (self->options->is_fragile) op->request_put->ignore_value = op->request_put->ignore_lease = false;
    } else if (kind < 9) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range = some_delete(self);
    } else {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = some_txn(self, depth + 1);
    }
    return op;
}

static Etcdserverpb__RequestOp **some_ops(struct maker *self, size_t count, unsigned depth, bool reads_only) {
    Etcdserverpb__RequestOp **ops = arena_calloc(self->arena, count + 1, sizeof *ops);
    for (size_t i = 0; i < count; i++) ops[i] = some_op(self, depth, reads_only);
    return ops;
}

static Etcdserverpb__TxnRequest *some_txn(struct maker *self, unsigned depth) {
    Etcdserverpb__TxnRequest *request = make(self, &etcdserverpb__txn_request__descriptor);
    bool reads_only = one_in(self, 6);
    request->n_compare = below(self, 4) * below(self, 2);
    request->n_success = below(self, 5);
    request->n_failure = below(self, 4);
    if (one_in(self, 150)) request->n_success = MODEL_MAX_TXN_OPS - 1 + below(self, 3), reads_only = true;
    if (one_in(self, 150)) request->n_compare = MODEL_MAX_TXN_OPS - 1 + below(self, 3);
    request->compare = arena_calloc(self->arena, request->n_compare + 1, sizeof *request->compare);
    for (size_t i = 0; i < request->n_compare; i++) request->compare[i] = some_compare(self);
    request->success = some_ops(self, request->n_success, depth, reads_only);
    request->failure = some_ops(self, request->n_failure, depth, reads_only);
    return request;
}

static Etcdserverpb__CompactionRequest *some_compaction(struct maker *self) {
    Etcdserverpb__CompactionRequest *request = make(self, &etcdserverpb__compaction_request__descriptor);
    request->revision = some_revision(self);
    request->physical = one_in(self, 2);
    return request;
}

static Etcdserverpb__HashKVRequest *some_hash(struct maker *self) {
    Etcdserverpb__HashKVRequest *request = make(self, &etcdserverpb__hash_kvrequest__descriptor);
    if (one_in(self, 2)) request->revision = some_revision(self);
    return request;
}

/* ---- leases ---- */

static Etcdserverpb__LeaseGrantRequest *some_grant(struct maker *self) {
    Etcdserverpb__LeaseGrantRequest *request = make(self, &etcdserverpb__lease_grant_request__descriptor);
    request->id = some_lease(self);
    if (one_in(self, 6)) request->id = 0;
    if (self->options->has_time && !one_in(self, 3))
        request->ttl = (int64_t)below(self, 40) - 3;
    else
        request->ttl = 100000 + (int64_t)below(self, 100000);
    if (one_in(self, 10)) request->ttl = MODEL_LEASE_TTL_MAX - 1 + (int64_t)below(self, 3);
    if (one_in(self, 40)) request->ttl = INT64_MAX;
    return request;
}

static const void *some_lease_request(struct maker *self, enum model_method method) {
    switch (method) {
    case MODEL_GRANT: return some_grant(self);
    case MODEL_REVOKE: {
        Etcdserverpb__LeaseRevokeRequest *request = make(self, &etcdserverpb__lease_revoke_request__descriptor);
        request->id = some_lease(self);
        return request;
    }
    case MODEL_TIME_TO_LIVE: {
        Etcdserverpb__LeaseTimeToLiveRequest *request =
            make(self, &etcdserverpb__lease_time_to_live_request__descriptor);
        request->id = some_lease(self);
        request->keys = !one_in(self, 3);
        return request;
    }
    case MODEL_LEASES: return make(self, &etcdserverpb__lease_leases_request__descriptor);
    default: {
        Etcdserverpb__LeaseKeepAliveRequest *request = make(self, &etcdserverpb__lease_keep_alive_request__descriptor);
        request->id = some_lease(self);
        return request;
    }
    }
}

/* ---- watches ---- */

static Etcdserverpb__WatchCreateRequest *some_watch(struct maker *self) {
    Etcdserverpb__WatchCreateRequest *request = make(self, &etcdserverpb__watch_create_request__descriptor);
    some_range(self, &request->key, &request->range_end);
    if (one_in(self, 20)) request->key = (ProtobufCBinaryData){0};
    if (one_in(self, 2)) request->start_revision = some_revision(self);
    if (self->options->is_fragile && request->start_revision < 0) request->start_revision = 0;
    request->progress_notify = one_in(self, 5);
    request->prev_kv = one_in(self, 2);
    request->fragment = one_in(self, 3);
    if (one_in(self, 4)) request->watch_id = (int64_t)below(self, 9) - 1;
    /* 3.5.1 loses the events of a watcher -1 after it has refused another. */
    if (self->options->is_fragile && request->watch_id < 0) request->watch_id = 0;
    if (one_in(self, 4)) {
        request->n_filters = 1 + below(self, 2);
        request->filters = arena_calloc(self->arena, 2, sizeof *request->filters);
        for (size_t i = 0; i < request->n_filters; i++)
            request->filters[i] = (int)below(self, one_in(self, 10) ? 4 : 2);
    }
    return request;
}

static void watch_step(struct maker *self, struct step *step) {
    step->stream = below(self, MODEL_STREAMS_MAX);
    if (!model_stream_is_open(self->model, step->stream)) {
        step->kind = STEP_STREAM_OPEN;
        return;
    }
    size_t count = model_watcher_count(self->model, step->stream);
    uint64_t what = below(self, 20);
    if (what == 0) {
        step->kind = STEP_STREAM_CLOSE;
        return;
    }
    Etcdserverpb__WatchRequest *request = make(self, &etcdserverpb__watch_request__descriptor);
    step->kind = STEP_WATCH;
    step->request = request;
    if (what < 12 && count < MODEL_WATCHERS_MAX) {
        request->request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
        request->create_request = some_watch(self);
    } else if (what < 17) {
        request->request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
        request->cancel_request = make(self, &etcdserverpb__watch_cancel_request__descriptor);
        bool is_known = count != 0 && !one_in(self, 8);
        request->cancel_request->watch_id =
            is_known ? model_watcher_id(self->model, step->stream, below(self, count)) : (int64_t)below(self, 12) - 2;
    } else {
        request->request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
        request->progress_request = make(self, &etcdserverpb__watch_progress_request__descriptor);
    }
}

/* ---- large requests ---- */

/* Around the limits: of a request in the log, of a message, of a watch response in one piece. */
static const void *some_large_put(struct maker *self) {
    Etcdserverpb__PutRequest *request = make(self, &etcdserverpb__put_request__descriptor);
    request->key = names[below(self, 7)];
    request->prev_kv = one_in(self, 3);
    switch (below(self, 4)) {
    case 0: request->value = filled(self, MODEL_MAX_REQUEST_BYTES - 40 + below(self, 40)); break;
    case 1: request->value = filled(self, MODEL_RECEIVE_MAX_BYTES - 10 + below(self, 20)); break;
    default: request->value = filled(self, 700000 + below(self, 800000)); break;
    }
    return request;
}

static const void *some_large_txn(struct maker *self) {
    Etcdserverpb__TxnRequest *request = make(self, &etcdserverpb__txn_request__descriptor);
    request->n_success = 3;
    request->success = some_ops(self, 3, 4, true);
    for (size_t i = 0; i < 3; i++) {
        request->success[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        request->success[i]->request_put = make(self, &etcdserverpb__put_request__descriptor);
        request->success[i]->request_put->key = names[i];
        request->success[i]->request_put->value = filled(self, 500000 + below(self, 20000));
    }
    return request;
}

/* ---- which ---- */

struct weights {
    unsigned put, range, delete, txn, compact, hash, grant, revoke, time_to_live, leases, keep_alive, watch, settle;
    unsigned pass, restart; /* where there is time */
};
/* Each history has a character. */
static const struct weights characters[] = {
    {250, 250, 60, 200, 10, 10, 25, 15, 20, 5, 10, 80, 10, 10, 2}, /* all of it */
    {500, 100, 100, 100, 1, 5, 5, 5, 5, 1, 1, 60, 1, 2, 1},        /* a long past */
    {200, 200, 60, 100, 60, 30, 20, 15, 10, 5, 5, 100, 10, 10, 3}, /* compacted all the time */
    {200, 100, 40, 100, 5, 5, 120, 90, 60, 20, 60, 60, 5, 60, 5},  /* leases */
    {150, 100, 60, 450, 10, 10, 30, 20, 5, 2, 2, 60, 5, 5, 2},     /* transactions */
    {300, 20, 80, 80, 8, 2, 20, 15, 2, 2, 2, 300, 20, 10, 2},      /* watches */
};

static uint64_t mix(uint64_t seed, uint64_t number) {
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + number;
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

static void call(struct step *step, enum model_method method, const void *request) {
    step->kind = STEP_CALL;
    step->method = method;
    step->request = request;
}

static bool picks(uint64_t *at, unsigned weight) {
    bool is_picked = *at < weight;
    *at -= weight;
    return is_picked;
}

/* A call whose effect can be found out when its answer is lost. */
static void some_write(struct maker *self, struct step *step) {
    switch (below(self, 8)) {
    case 0: call(step, MODEL_COMPACT, some_compaction(self)); break;
    case 1: {
        Etcdserverpb__LeaseGrantRequest *request = some_grant(self);
        if (request->id == 0) request->id = 11;
        call(step, MODEL_GRANT, request);
        break;
    }
    case 2: call(step, MODEL_REVOKE, some_lease_request(self, MODEL_REVOKE)); break;
    case 3: call(step, MODEL_DELETE_RANGE, some_delete(self)); break;
    case 4: call(step, MODEL_PUT, some_put(self)); break;
    default: call(step, MODEL_TXN, some_txn(self, 0)); break;
    }
}

void history_step(const struct history_options *options, size_t number, struct model *model, struct arena *arena,
                  struct step *ret_step) {
    struct maker self = {.options = options, .model = model, .arena = arena};
    prng_init(&self.prng, mix(options->seed, number));
    struct weights weights = characters[options->seed % COUNT(characters)];
    if (!options->has_time) weights.pass = weights.restart = 0;
    *ret_step = (struct step){.kind = STEP_SETTLE};
    if (below(&self, 1000000) < options->large_per_million) {
        bool is_txn = one_in(&self, 3);
        call(ret_step, is_txn ? MODEL_TXN : MODEL_PUT, is_txn ? some_large_txn(&self) : some_large_put(&self));
        return;
    }
    uint64_t at =
        below(&self, weights.put + weights.range + weights.delete + weights.txn + weights.compact + weights.hash +
                         weights.grant + weights.revoke + weights.time_to_live + weights.leases + weights.keep_alive +
                         weights.watch + weights.settle + weights.pass + weights.restart);
    static const enum model_method lease_methods[] = {MODEL_GRANT, MODEL_REVOKE, MODEL_TIME_TO_LIVE, MODEL_LEASES,
                                                      MODEL_KEEP_ALIVE};
    unsigned lease_weights[] = {weights.grant, weights.revoke, weights.time_to_live, weights.leases,
                                weights.keep_alive};
    for (size_t i = 0; i < COUNT(lease_methods); i++)
        if (picks(&at, lease_weights[i])) {
            call(ret_step, lease_methods[i], some_lease_request(&self, lease_methods[i]));
            return;
        }
    if (picks(&at, weights.put))
        call(ret_step, MODEL_PUT, some_put(&self));
    else if (picks(&at, weights.range))
        call(ret_step, MODEL_RANGE, some_range_request(&self));
    else if (picks(&at, weights.delete))
        call(ret_step, MODEL_DELETE_RANGE, some_delete(&self));
    else if (picks(&at, weights.txn))
        call(ret_step, MODEL_TXN, some_txn(&self, 0));
    else if (picks(&at, weights.compact))
        call(ret_step, MODEL_COMPACT, some_compaction(&self));
    else if (picks(&at, weights.hash))
        call(ret_step, MODEL_HASH_KV, some_hash(&self));
    else if (picks(&at, weights.watch))
        watch_step(&self, ret_step);
    else if (picks(&at, weights.pass)) {
        ret_step->kind = STEP_PASS;
        ret_step->duration_ns = (int64_t)below(&self, 1 + below(&self, 20000)) * 1000000;
    } else if (picks(&at, weights.restart)) {
        if (one_in(&self, 2)) {
            some_write(&self, ret_step);
            ret_step->kind = STEP_CRASH_DURING;
            ret_step->turns = (unsigned)below(&self, 60);
        } else {
            ret_step->kind = one_in(&self, 3) ? STEP_STOP : STEP_CRASH;
        }
    }
}

void step_tell(const struct step *step, struct buf *text) {
    switch (step->kind) {
    case STEP_CALL:
        buf_printf(text, "%s ", model_method_info(step->method)->name);
        compare_tell(step->request, text);
        break;
    case STEP_STREAM_OPEN: buf_printf(text, "open watch stream %zu", step->stream); break;
    case STEP_STREAM_CLOSE: buf_printf(text, "close watch stream %zu", step->stream); break;
    case STEP_WATCH:
        buf_printf(text, "on watch stream %zu ", step->stream);
        compare_tell(step->request, text);
        break;
    case STEP_SETTLE: buf_append_cstr(text, "wait for all events"); break;
    case STEP_PASS: buf_printf(text, "let %" PRId64 " ms pass", step->duration_ns / 1000000); break;
    case STEP_STOP: buf_append_cstr(text, "stop and start"); break;
    case STEP_CRASH: buf_append_cstr(text, "crash and start"); break;
    case STEP_CRASH_DURING:
        buf_printf(text, "crash and start %u turns after %s ", step->turns, model_method_info(step->method)->name);
        compare_tell(step->request, text);
        break;
    }
}
