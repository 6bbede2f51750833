/* check.c - what is wrong with a KV request, in etcd's words and order (spec/apply.md 8, 9, 15). */
#include "api/internal.h"

/* Beyond VALUE a 3.5 member dies of it; 3.6 answers this. An unknown order is taken as none. */
#define LAST_SORT_TARGET ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE

enum err api__check_range(const Etcdserverpb__RangeRequest *request) {
    if (request->key.len == 0) return ERR_EMPTY_KEY;
    int target = (int)request->sort_target;
    if (target < 0 || target > (int)LAST_SORT_TARGET) return ERR_INVALID_SORT_OPTION;
    return OK;
}

enum err api__check_put(const Etcdserverpb__PutRequest *request) {
    if (request->key.len == 0) return ERR_EMPTY_KEY;
    if (request->ignore_value && request->value.len != 0) return ERR_VALUE_PROVIDED;
    if (request->ignore_lease && request->lease != 0) return ERR_LEASE_PROVIDED;
    return OK;
}

enum err api__check_delete_range(const Etcdserverpb__DeleteRangeRequest *request) {
    return request->key.len == 0 ? ERR_EMPTY_KEY : OK;
}

/* ---- txn: counts, compares, operations ---- */

static enum err check_shape(const Etcdserverpb__TxnRequest *txn, uint64_t max_ops);

static enum err check_op(const Etcdserverpb__RequestOp *op, uint64_t max_ops) {
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE: return api__check_range(op->request_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT: return api__check_put(op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return api__check_delete_range(op->request_delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN: return check_shape(op->request_txn, max_ops);
    default: return ERR_KEY_NOT_FOUND;
    }
}

static size_t largest(size_t a, size_t b, size_t c) {
    size_t ab = a > b ? a : b;
    return ab > c ? ab : c;
}

/* Nesting is bounded by the decoder (PB_MAX_DEPTH). */
static enum err check_shape(const Etcdserverpb__TxnRequest *txn, uint64_t max_ops) {
    uint64_t count = largest(txn->n_compare, txn->n_success, txn->n_failure);
    if (count > max_ops) return ERR_TOO_MANY_OPS;
    for (size_t i = 0; i < txn->n_compare; i++)
        if (txn->compare[i]->key.len == 0) return ERR_EMPTY_KEY;
    for (size_t i = 0; i < txn->n_success; i++) TRY(check_op(txn->success[i], max_ops - count));
    for (size_t i = 0; i < txn->n_failure; i++) TRY(check_op(txn->failure[i], max_ops - count));
    return OK;
}

/* ---- txn: a put that needs its key, which a delete may have taken away before: a 3.5 member dies of it ---- */

typedef Etcdserverpb__RequestOp request_op;

/* The smallest key that a delete to "\0" begins at, in any branch; other deletes of a key that is put are found by
 * api__check_keys. */
static void find_open_deletes(request_op *const *ops, size_t count, struct slice *first) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE) {
            struct slice key = pb_slice(ops[i]->request_delete_range->key);
            bool is_open = slice_equal(pb_slice(ops[i]->request_delete_range->range_end), SLICE_LITERAL("\0"));
            if (is_open && (first->data == NULL || slice_compare(key, *first) < 0)) *first = key;
        } else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            find_open_deletes(ops[i]->request_txn->success, ops[i]->request_txn->n_success, first);
            find_open_deletes(ops[i]->request_txn->failure, ops[i]->request_txn->n_failure, first);
        }
    }
}

static bool needs_key_from(request_op *const *ops, size_t count, struct slice first) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
            const Etcdserverpb__PutRequest *put = ops[i]->request_put;
            bool needs_key = put->ignore_value || put->ignore_lease;
            if (needs_key && slice_compare(pb_slice(put->key), first) >= 0) return true;
        } else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            const Etcdserverpb__TxnRequest *txn = ops[i]->request_txn;
            if (needs_key_from(txn->success, txn->n_success, first) ||
                needs_key_from(txn->failure, txn->n_failure, first))
                return true;
        }
    }
    return false;
}

static bool may_need_a_deleted_key(request_op *const *ops, size_t count) {
    struct slice first = SLICE_NONE;
    find_open_deletes(ops, count, &first);
    return first.data != NULL && needs_key_from(ops, count, first);
}

static enum err check_branch(request_op *const *ops, size_t count) {
    if (count < 2 && (count == 0 || ops[0]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)) return OK;
    TRY(api__check_keys(ops, count));
    return may_need_a_deleted_key(ops, count) ? ERR_DUPLICATE_KEY : OK;
}

enum err api__check_txn(const Etcdserverpb__TxnRequest *request, uint64_t max_ops) {
    TRY(check_shape(request, max_ops));
    TRY(check_branch(request->success, request->n_success));
    return check_branch(request->failure, request->n_failure);
}
