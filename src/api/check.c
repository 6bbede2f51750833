/* check.c - what is wrong with a KV request, in etcd's words and order (spec/apply.md 8, 9, 15). */
#include "api/internal.h"
#include "base/map.h"

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

/* ---- txn: no key may be changed twice ---- */

struct interval {
    struct slice begin, end; /* end empty: the key alone */
};

/* What one branch, with the txns nested in it, puts and deletes. */
struct touched {
    struct map_bytes puts; /* the value says nothing */
    VEC(struct interval) deletes;
};

static char put_mark;
typedef Etcdserverpb__RequestOp request_op;

static void touched_release(struct touched *self) {
    map_bytes_release(&self->puts);
    VEC_RELEASE(&self->deletes);
}

/* etcd compares the end as it is written: "\0", which to a delete means everything from its key on, is before every key
 * here, so that a put beside such a delete is let pass. */
static bool covers(const struct interval *interval, struct slice key) {
    if (interval->end.len == 0) return slice_equal(interval->begin, key);
    return slice_compare(key, interval->begin) >= 0 && slice_compare(key, interval->end) < 0;
}

static bool is_deleted(const struct touched *self, struct slice key) {
    for (size_t i = 0; i < self->deletes.count; i++)
        if (covers(&self->deletes.items[i], key)) return true;
    return false;
}

static enum err collect(request_op *const *ops, size_t count, struct touched *ret_touched);

static void map_key_at(const struct map_bytes *map, size_t index, struct slice *ret_key) {
    *ret_key = map->entries[index].value != NULL ? map->entries[index].key : SLICE_NONE;
}

/* Adds a branch's puts. A key both branches of one txn put is fine: only one of them runs. */
static enum err merge_puts(struct touched *self, const struct touched *branch, const struct touched *sibling) {
    for (size_t i = 0; i < branch->puts.capacity; i++) {
        struct slice key;
        map_key_at(&branch->puts, i, &key);
        if (key.data == NULL) continue;
        if (sibling != NULL && map_bytes_get(&sibling->puts, key) != NULL) continue;
        if (map_bytes_get(&self->puts, key) != NULL || is_deleted(self, key)) return ERR_DUPLICATE_KEY;
        map_bytes_put(&self->puts, key, &put_mark);
    }
    return OK;
}

static enum err collect_nested(const Etcdserverpb__TxnRequest *txn, struct touched *into) {
    struct touched success = {0}, failure = {0};
    enum err error = collect(txn->success, txn->n_success, &success);
    if (error == OK) error = collect(txn->failure, txn->n_failure, &failure);
    if (error == OK) error = merge_puts(into, &success, NULL);
    if (error == OK) error = merge_puts(into, &failure, &success);
    for (size_t i = 0; i < success.deletes.count; i++) VEC_PUSH(&into->deletes, success.deletes.items[i]);
    for (size_t i = 0; i < failure.deletes.count; i++) VEC_PUSH(&into->deletes, failure.deletes.items[i]);
    touched_release(&success);
    touched_release(&failure);
    return error;
}

static enum err collect(request_op *const *ops, size_t count, struct touched *self) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE) continue;
        const Etcdserverpb__DeleteRangeRequest *request = ops[i]->request_delete_range;
        struct interval interval = {pb_slice(request->key), pb_slice(request->range_end)};
        VEC_PUSH(&self->deletes, interval);
    }
    enum err error = OK;
    for (size_t i = 0; i < count && error == OK; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            error = collect_nested(ops[i]->request_txn, self);
    for (size_t i = 0; i < count && error == OK; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) continue;
        struct slice key = pb_slice(ops[i]->request_put->key);
        if (map_bytes_get(&self->puts, key) != NULL || is_deleted(self, key)) error = ERR_DUPLICATE_KEY;
        map_bytes_put(&self->puts, key, &put_mark);
    }
    return error;
}

/* ---- txn: a put that needs its key, which a delete may have taken away before: a 3.5 member dies of it ---- */

/* The smallest key that a delete to "\0" begins at, in any branch; other deletes of a key that is put are found above.
 */
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
    struct touched touched = {0};
    enum err error = collect(ops, count, &touched);
    touched_release(&touched);
    if (error == OK && may_need_a_deleted_key(ops, count)) error = ERR_DUPLICATE_KEY;
    return error;
}

enum err api__check_txn(const Etcdserverpb__TxnRequest *request, uint64_t max_ops) {
    TRY(check_shape(request, max_ops));
    TRY(check_branch(request->success, request->n_success));
    return check_branch(request->failure, request->n_failure);
}
