/* txn.c - carrying out Put, DeleteRange, Range and Txn requests.
 *
 * A transaction runs as spec/apply.md 4 has it: the comparisons of all levels are evaluated on the state before it (of
 * a nested one only the branch taken), which gives the path; the path is checked (leases, keys to keep a value or lease
 * of, revisions of ranges); then its operations run in order. `path` holds one bit a transaction in the order they are
 * met.
 *
 * Responses are encoded as they come. The length of a nested message is known only afterwards: its body is written
 * first and moved up by the bytes of the length.
 */
#include "mvcc/txn.h"

#include "backend/backend.h"
#include "base/bytes.h"
#include "base/check.h"
#include "mvcc/txn_private.h"

#define TAG_VARINT(field) ((uint8_t)((field) << 3))
#define TAG_BYTES(field) ((uint8_t)((field) << 3 | 2))

/* ---- encoding ---- */

static void put_number(struct buf *out, uint8_t field, int64_t number) {
    if (number == 0) return;
    buf_append_byte(out, TAG_VARINT(field));
    buf_append_varint(out, (uint64_t)number);
}

static void put_bytes(struct buf *out, uint8_t field, struct slice bytes) {
    buf_append_byte(out, TAG_BYTES(field));
    buf_append_varint(out, bytes.len);
    buf_append_slice(out, bytes);
}

/* Begins a message field; its content follows in `out`. */
static size_t open_message(struct buf *out, uint8_t field) {
    buf_append_byte(out, TAG_BYTES(field));
    return out->len;
}

static void close_message(struct buf *out, size_t begin) {
    size_t length = out->len - begin, prefix = varint_size(length);
    buf_extend(out, prefix);
    memmove(out->data + begin + prefix, out->data + begin, length);
    varint_store(out->data + begin, length);
}

/* Field 1 of a sub-response: a header with nothing but the revision. */
static void put_header(struct buf *out, int64_t revision) {
    size_t header = open_message(out, 1);
    put_number(out, 3, revision);
    close_message(out, header);
}

/* Where a response's pairs go. */
struct room {
    size_t used_bytes;
    bool is_over;
};

static void put_pair(struct room *room, struct buf *out, uint8_t field, struct slice encoded_kv) {
    room->used_bytes += encoded_kv.len;
    if (room->used_bytes > TXN_RESPONSE_MAX_BYTES)
        room->is_over = true;
    else
        put_bytes(out, field, encoded_kv);
}

/* ---- one operation ---- */

struct run {
    struct store *store;
    struct store_txn *txn;
    struct buf *out;
    struct room room;
    struct txn__path path;
    size_t at;                                             /* in path */
    VEC(const Etcdserverpb__DeleteRangeRequest *) deletes; /* met on the path so far, while puts are checked */
};

static enum err old_of(struct store_txn *txn, struct slice key, struct buf *copy, bool *ret_found) {
    struct slice kv = SLICE_NONE;
    *ret_found = store_txn_get(txn, key, &kv);
    if (*ret_found) buf_append_slice(copy, kv);
    return store_error(txn->store);
}

/* The fields of a PutResponse behind its header. */
static enum err do_put(struct store_txn *txn, const Etcdserverpb__PutRequest *request, struct buf *out,
                       struct room *room) {
    struct slice key = pb_slice(request->key), value = pb_slice(request->value);
    int64_t lease = request->lease;
    CLEANUP_BUF struct buf old = BUF_INIT;
    bool has_old = false;
    if (request->ignore_value || request->ignore_lease || request->prev_kv) TRY(old_of(txn, key, &old, &has_old));
    if (request->ignore_value || request->ignore_lease) {
        struct keyvalue kv;
        if (!has_old) return ERR_KEY_NOT_FOUND;
        TRY(keyvalue_decode(buf_slice(&old), &kv));
        if (request->ignore_value) value = kv.value;
        if (request->ignore_lease) lease = kv.lease;
    }
    store_txn_put(txn, key, value, lease);
    if (request->prev_kv && has_old) put_pair(room, out, 2, buf_slice(&old));
    return OK;
}

struct each_kv {
    struct room *room;
    struct buf *out;
    uint8_t field;
};

static void append_kv(void *context, struct slice encoded_kv) {
    struct each_kv *each = context;
    put_pair(each->room, each->out, each->field, encoded_kv);
}

/* The fields of a DeleteRangeResponse behind its header. */
static enum err do_delete_range(struct store_txn *txn, const Etcdserverpb__DeleteRangeRequest *request, struct buf *out,
                                struct room *room) {
    struct slice key = pb_slice(request->key), range_end = pb_slice(request->range_end);
    CLEANUP_BUF struct buf previous = BUF_INIT;
    if (request->prev_kv) {
        struct store_range_options options = {.key = key, .range_end = range_end};
        struct each_kv each = {room, &previous, 3};
        struct store_answer answer;
        TRY(store_txn_range(txn, &options, append_kv, &each, &answer));
    }
    put_number(out, 2, store_txn_delete_range(txn, key, range_end));
    buf_append_slice(out, buf_slice(&previous));
    return OK;
}

void store_range_options_from(const Etcdserverpb__RangeRequest *request, struct store_range_options *ret_options) {
    int order = (int)request->sort_order, target = (int)request->sort_target;
    if (order < STORE_SORT_NONE || order > STORE_SORT_DESCEND) { /* etcd then leaves the keys as they come */
        order = STORE_SORT_ASCEND;
        target = STORE_BY_KEY;
    }
    if (target < STORE_BY_KEY || target > STORE_BY_VALUE) target = STORE_BY_KEY;
    *ret_options = (struct store_range_options){
        .key = pb_slice(request->key),
        .range_end = pb_slice(request->range_end),
        .revision = request->revision,
        .limit = request->limit,
        .order = (enum store_sort_order)order,
        .target = (enum store_sort_target)target,
        .min_mod = request->min_mod_revision,
        .max_mod = request->max_mod_revision,
        .min_create = request->min_create_revision,
        .max_create = request->max_create_revision,
        .keys_only = request->keys_only,
        .count_only = request->count_only,
    };
}

/* The fields of a RangeResponse behind its header. */
static enum err do_range(struct store_txn *txn, const Etcdserverpb__RangeRequest *request, struct buf *out,
                         struct room *room) {
    struct store_range_options options;
    store_range_options_from(request, &options);
    struct each_kv each = {room, out, 2};
    struct store_answer answer;
    TRY(store_txn_range(txn, &options, append_kv, &each, &answer));
    put_number(out, 3, answer.more);
    put_number(out, 4, answer.count);
    return OK;
}

/* ---- single requests ---- */

static bool lease_is_missing(const struct store *store, int64_t lease) {
    const struct store_lease_ops *ops = &store->options.lease;
    return lease != 0 && ops->exists != NULL && !ops->exists(ops->context, lease);
}

/* Ends the transaction; on an error nothing of it shows in `out`. */
static enum err end_txn(struct store_txn *txn, enum err error, const struct room *room, struct buf *out, size_t begin,
                        int64_t *ret_revision) {
    struct store *store = txn->store;
    int64_t revision = store_txn_end(txn);
    if (error == OK) error = store_error(store);
    if (error == OK && room->is_over) error = ERR_RESPONSE_TOO_LARGE;
    if (error != OK) {
        if (out->len > begin) out->len = begin;
        return error;
    }
    *ret_revision = revision;
    return OK;
}

enum err txn_apply_put(struct store *store, const Etcdserverpb__PutRequest *request, struct buf *out,
                       int64_t *ret_revision) {
    if (lease_is_missing(store, request->lease)) return ERR_LEASE_NOT_FOUND;
    size_t begin = out->len;
    struct store_txn *txn = store_txn_begin(store);
    struct room room = {0};
    enum err error = do_put(txn, request, out, &room);
    return end_txn(txn, error, &room, out, begin, ret_revision);
}

enum err txn_apply_delete_range(struct store *store, const Etcdserverpb__DeleteRangeRequest *request, struct buf *out,
                                int64_t *ret_revision) {
    size_t begin = out->len;
    struct store_txn *txn = store_txn_begin(store);
    struct room room = {0};
    enum err error = do_delete_range(txn, request, out, &room);
    return end_txn(txn, error, &room, out, begin, ret_revision);
}

enum err txn_range(struct store *store, const Etcdserverpb__RangeRequest *request, struct buf *out,
                   int64_t *ret_revision) {
    size_t begin = out->len;
    struct store_txn *txn = store_txn_begin(store);
    struct room room = {0};
    enum err error = do_range(txn, request, out, &room);
    return end_txn(txn, error, &room, out, begin, ret_revision);
}

/* ---- transactions ---- */

typedef Etcdserverpb__RequestOp request_op;

static const Etcdserverpb__TxnRequest *nested_txn(const request_op *op) {
    return op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN ? op->request_txn : NULL;
}

static bool list_writes(request_op *const *ops, size_t count) {
    for (size_t i = 0; i < count; i++) {
        switch (ops[i]->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE: return true;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            if (txn_is_write(ops[i]->request_txn)) return true;
            break;
        default: break;
        }
    }
    return false;
}

bool txn_is_write(const Etcdserverpb__TxnRequest *request) {
    return list_writes(request->success, request->n_success) || list_writes(request->failure, request->n_failure);
}

static bool list_is_serializable(request_op *const *ops, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE ||
            !ops[i]->request_range->serializable)
            return false;
    }
    return true;
}

bool txn_is_serializable(const Etcdserverpb__TxnRequest *request) {
    return list_is_serializable(request->success, request->n_success) &&
           list_is_serializable(request->failure, request->n_failure);
}

static bool take_branch(struct run *run) { return run->path.items[run->at++]; }

/* Evaluates this level and those below it on its path. */
static enum err find_path(struct run *run, const Etcdserverpb__TxnRequest *request) {
    bool holds;
    TRY(txn__compare_all(run->txn, request, &holds));
    VEC_PUSH(&run->path, holds);
    request_op *const *ops = holds ? request->success : request->failure;
    size_t count = holds ? request->n_success : request->n_failure;
    for (size_t i = 0; i < count; i++)
        if (nested_txn(ops[i]) != NULL) TRY(find_path(run, nested_txn(ops[i])));
    return OK;
}

enum check { CHECK_PUTS, CHECK_RANGES };

static bool is_deleted_before(const struct run *run, struct slice key) {
    for (size_t i = 0; i < run->deletes.count; i++) {
        const Etcdserverpb__DeleteRangeRequest *request = run->deletes.items[i];
        struct slice begin = pb_slice(request->key), end = pb_slice(request->range_end);
        bool is_open = slice_equal(end, SLICE_LITERAL("\0"));
        if (end.len == 0 ? slice_equal(key, begin)
                         : slice_compare(key, begin) >= 0 && (is_open || slice_compare(key, end) < 0))
            return true;
    }
    return false;
}

/* A key that the transaction itself takes away first would be missed only when half of it is done. */
static enum err check_put(struct run *run, const Etcdserverpb__PutRequest *put) {
    struct index_item item;
    bool needs_key = put->ignore_value || put->ignore_lease;
    if (needs_key && (!index_get(run->store->index, pb_slice(put->key), INT64_MAX, &item) ||
                      is_deleted_before(run, pb_slice(put->key))))
        return ERR_KEY_NOT_FOUND;
    return lease_is_missing(run->store, put->lease) ? ERR_LEASE_NOT_FOUND : OK;
}

static enum err check_range(struct run *run, const Etcdserverpb__RangeRequest *range) {
    if (range->revision == 0) return OK;
    if (range->revision > run->store->revision) return ERR_FUTURE_REV;
    return range->revision < run->store->compact_revision ? ERR_COMPACTED : OK;
}

static enum err check_path(struct run *run, const Etcdserverpb__TxnRequest *request, enum check what) {
    bool holds = take_branch(run);
    request_op *const *ops = holds ? request->success : request->failure;
    size_t count = holds ? request->n_success : request->n_failure;
    for (size_t i = 0; i < count; i++) {
        switch (ops[i]->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            if (what == CHECK_PUTS) TRY(check_put(run, ops[i]->request_put));
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
            if (what == CHECK_PUTS) VEC_PUSH(&run->deletes, ops[i]->request_delete_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            if (what == CHECK_RANGES) TRY(check_range(run, ops[i]->request_range));
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN: TRY(check_path(run, ops[i]->request_txn, what)); break;
        default: break;
        }
    }
    return OK;
}

static enum err run_txn(struct run *run, const Etcdserverpb__TxnRequest *request, bool skip_ranges);

/* A ResponseOp's field has the number of its request's. */
static enum err run_op(struct run *run, const request_op *op) {
    struct buf *out = run->out;
    uint8_t field = (uint8_t)op->request_case;
    size_t wrapper = open_message(out, 3); /* TxnResponse.responses */
    size_t message = open_message(out, field);
    /* The header comes first, but its revision is known only after the operation. */
    CLEANUP_BUF struct buf body = BUF_INIT;
    enum err error = OK;
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        error = do_range(run->txn, op->request_range, &body, &run->room);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        error = do_put(run->txn, op->request_put, &body, &run->room);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        error = do_delete_range(run->txn, op->request_delete_range, &body, &run->room);
        break;
    default: {
        struct buf *outer = run->out;
        run->out = &body;
        error = run_txn(run, op->request_txn, false);
        run->out = outer;
    }
    }
    TRY(error);
    /* A nested transaction's header stays empty, as in etcd. */
    put_header(out, nested_txn(op) != NULL ? 0 : store_txn_revision(run->txn));
    buf_append_slice(out, buf_slice(&body));
    close_message(out, message);
    close_message(out, wrapper);
    return OK;
}

/* The fields of a TxnResponse behind its header. */
static enum err run_txn(struct run *run, const Etcdserverpb__TxnRequest *request, bool skip_ranges) {
    bool holds = take_branch(run);
    put_number(run->out, 2, holds);
    request_op *const *ops = holds ? request->success : request->failure;
    size_t count = holds ? request->n_success : request->n_failure;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET) continue;
        if (skip_ranges && ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) continue;
        TRY(run_op(run, ops[i]));
    }
    return OK;
}

enum err txn_apply(struct store *store, const Etcdserverpb__TxnRequest *request, int flags, struct buf *out,
                   int64_t *ret_revision) {
    size_t begin = out->len;
    bool skip_ranges = (flags & TXN_SKIP_TOP_RANGES) != 0;
    struct run run = {.store = store, .txn = store_txn_begin(store), .out = out};
    enum err error = find_path(&run, request);
    if (error == OK && txn_is_write(request)) error = check_path(&run, request, CHECK_PUTS);
    run.at = 0;
    if (error == OK) error = check_path(&run, request, CHECK_RANGES);
    run.at = 0;
    if (error == OK) error = run_txn(&run, request, skip_ranges);
    VEC_RELEASE(&run.path);
    VEC_RELEASE(&run.deletes);
    return end_txn(run.txn, error, &run.room, out, begin, ret_revision);
}
