/* txn.c - what a request must look like, and transactions. */
#include "model/private.h"

/* ---- what is refused at once ---- */

enum err model__check_range(const Etcdserverpb__RangeRequest *request) {
    if (request->key.len == 0) return ERR_EMPTY_KEY;
    int order = (int)request->sort_order, target = (int)request->sort_target;
    /* A 3.5 member takes an unknown order as none and dies of an unknown target; 3.6 answers this. */
    (void)order;
    return target < 0 || target > 4 ? ERR_INVALID_SORT_OPTION : OK;
}

enum err model__check_put(const Etcdserverpb__PutRequest *request) {
    if (request->key.len == 0) return ERR_EMPTY_KEY;
    if (request->ignore_value && request->value.len != 0) return ERR_VALUE_PROVIDED;
    if (request->ignore_lease && request->lease != 0) return ERR_LEASE_PROVIDED;
    return OK;
}

static enum err check_shape(const Etcdserverpb__TxnRequest *txn, size_t max_ops);

static enum err check_op(const Etcdserverpb__RequestOp *op, size_t max_ops) {
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE: return model__check_range(op->request_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT: return model__check_put(op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return op->request_delete_range->key.len == 0 ? ERR_EMPTY_KEY : OK;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN: return check_shape(op->request_txn, max_ops);
    default: return ERR_KEY_NOT_FOUND;
    }
}

static enum err check_shape(const Etcdserverpb__TxnRequest *txn, size_t max_ops) {
    size_t count = txn->n_compare;
    if (txn->n_success > count) count = txn->n_success;
    if (txn->n_failure > count) count = txn->n_failure;
    if (count > max_ops) return ERR_TOO_MANY_OPS;
    for (size_t i = 0; i < txn->n_compare; i++)
        if (txn->compare[i]->key.len == 0) return ERR_EMPTY_KEY;
    for (size_t i = 0; i < txn->n_success; i++) TRY(check_op(txn->success[i], max_ops - count));
    for (size_t i = 0; i < txn->n_failure; i++) TRY(check_op(txn->failure[i], max_ops - count));
    return OK;
}

/* ---- a key is put once, and not where something is deleted ---- */

/* Puts and deletes of a list of operations, with those of both branches of the transactions in it. */
struct touched {
    VEC(const Etcdserverpb__PutRequest *) puts;
    VEC(const Etcdserverpb__DeleteRangeRequest *) deletes;
};

static bool has_put(const struct touched *self, struct slice key) {
    for (size_t i = 0; i < self->puts.count; i++)
        if (slice_equal(pb_slice(self->puts.items[i]->key), key)) return true;
    return false;
}

/* etcd takes the end of a delete as it is written here: "\0" is before every key, so such a delete touches none. */
static bool has_delete(const struct touched *self, struct slice key) {
    for (size_t i = 0; i < self->deletes.count; i++) {
        struct slice begin = pb_slice(self->deletes.items[i]->key), end = pb_slice(self->deletes.items[i]->range_end);
        bool is_inside = slice_compare(key, begin) >= 0 && slice_compare(key, end) < 0;
        if (end.len == 0 ? slice_equal(key, begin) : is_inside) return true;
    }
    return false;
}

static enum err add_put(struct touched *self, const Etcdserverpb__PutRequest *put, const struct touched *other_branch) {
    bool is_elsewhere = other_branch != NULL && has_put(other_branch, pb_slice(put->key));
    bool is_here = has_put(self, pb_slice(put->key));
    if (is_here && !is_elsewhere) return ERR_DUPLICATE_KEY;
    if (has_delete(self, pb_slice(put->key))) return ERR_DUPLICATE_KEY;
    if (!is_here) VEC_PUSH(&self->puts, put);
    return OK;
}

static void touched_release(struct touched *self) {
    VEC_RELEASE(&self->puts);
    VEC_RELEASE(&self->deletes);
}

static enum err touch_ops(Etcdserverpb__RequestOp *const *ops, size_t count, struct touched *self);

static enum err touch_txn(const Etcdserverpb__TxnRequest *txn, struct touched *self) {
    struct touched success = {0}, failure = {0};
    enum err error = touch_ops(txn->success, txn->n_success, &success);
    if (error == OK) error = touch_ops(txn->failure, txn->n_failure, &failure);
    for (size_t i = 0; i < success.puts.count && error == OK; i++) error = add_put(self, success.puts.items[i], NULL);
    for (size_t i = 0; i < failure.puts.count && error == OK; i++)
        error = add_put(self, failure.puts.items[i], &success);
    for (size_t i = 0; i < success.deletes.count; i++) VEC_PUSH(&self->deletes, success.deletes.items[i]);
    for (size_t i = 0; i < failure.deletes.count; i++) VEC_PUSH(&self->deletes, failure.deletes.items[i]);
    touched_release(&success);
    touched_release(&failure);
    return error;
}

static enum err touch_ops(Etcdserverpb__RequestOp *const *ops, size_t count, struct touched *self) {
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE)
            VEC_PUSH(&self->deletes, ops[i]->request_delete_range);
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            TRY(touch_txn(ops[i]->request_txn, self));
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            TRY(add_put(self, ops[i]->request_put, NULL));
    return OK;
}

/* Beside such a delete a put that needs its key would end a 3.5 member, if the delete comes first and takes the key;
 * ours refuses it in any order (docs/DIFFERENCES.md). */
static bool is_deadly(const Etcdserverpb__PutRequest *put, Etcdserverpb__RequestOp *const *ops, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            const Etcdserverpb__TxnRequest *txn = ops[i]->request_txn;
            if (is_deadly(put, txn->success, txn->n_success) || is_deadly(put, txn->failure, txn->n_failure))
                return true;
        }
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE) continue;
        struct slice end = pb_slice(ops[i]->request_delete_range->range_end);
        if (end.len == 1 && end.data[0] == 0 &&
            model__covers(pb_slice(ops[i]->request_delete_range->key), end, pb_slice(put->key)))
            return true;
    }
    return false;
}

static bool has_deadly(Etcdserverpb__RequestOp *const *ops, size_t count, Etcdserverpb__RequestOp *const *all,
                       size_t all_count) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) {
            const Etcdserverpb__TxnRequest *txn = ops[i]->request_txn;
            if (has_deadly(txn->success, txn->n_success, all, all_count) ||
                has_deadly(txn->failure, txn->n_failure, all, all_count))
                return true;
        }
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) continue;
        const Etcdserverpb__PutRequest *put = ops[i]->request_put;
        if ((put->ignore_value || put->ignore_lease) && is_deadly(put, all, all_count)) return true;
    }
    return false;
}

static enum err check_branch(Etcdserverpb__RequestOp *const *ops, size_t count) {
    struct touched touched = {0};
    enum err error = touch_ops(ops, count, &touched);
    touched_release(&touched);
    return error == OK && has_deadly(ops, count, ops, count) ? ERR_DUPLICATE_KEY : error;
}

enum err model__check_txn(const Etcdserverpb__TxnRequest *request) {
    TRY(check_shape(request, MODEL_MAX_TXN_OPS));
    TRY(check_branch(request->success, request->n_success));
    return check_branch(request->failure, request->n_failure);
}

static bool has_more_than_ranges(Etcdserverpb__RequestOp *const *ops, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) return true;
    return false;
}

bool model__txn_is_write(const Etcdserverpb__TxnRequest *request) {
    return has_more_than_ranges(request->success, request->n_success) ||
           has_more_than_ranges(request->failure, request->n_failure);
}

/* ---- compares ---- */

static bool holds_for(const Etcdserverpb__Compare *compare, const Mvccpb__KeyValue *kv) {
    int64_t left = 0, right = 0;
    int order;
    switch (compare->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        left = kv->version;
        if (compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION) right = compare->version;
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        left = kv->create_revision;
        if (compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION)
            right = compare->create_revision;
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        left = kv->mod_revision;
        if (compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION)
            right = compare->mod_revision;
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        left = kv->lease;
        if (compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE) right = compare->lease;
        break;
    default: break;
    }
    order = (left > right) - (left < right);
    if (compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE) {
        bool is_given = compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        order = slice_compare(pb_slice(kv->value), is_given ? pb_slice(compare->value) : SLICE_NONE);
    }
    switch (compare->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL: return order == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL: return order != 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER: return order > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS: return order < 0;
    default: return true;
    }
}

static bool holds(struct model *self, const Etcdserverpb__Compare *compare, struct arena *arena) {
    if ((int)compare->target < 0 || (int)compare->target > 4) return holds_for(compare, NULL);
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = compare->key;
    request.range_end = compare->range_end;
    Etcdserverpb__RangeResponse found = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    model__range(self, &request, arena, &found);
    if (found.n_kvs == 0) {
        if (compare->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE) return false;
        Mvccpb__KeyValue none = MVCCPB__KEY_VALUE__INIT;
        return holds_for(compare, &none);
    }
    for (size_t i = 0; i < found.n_kvs; i++)
        if (!holds_for(compare, found.kvs[i])) return false;
    return true;
}

/* ---- the way through: which branch of each transaction, before anything is written ---- */

struct path {
    bool *taken; /* in the order the transactions are met on the way */
    size_t count, next;
};

static size_t count_txns(const Etcdserverpb__TxnRequest *txn) {
    size_t count = 1;
    for (size_t i = 0; i < txn->n_success; i++)
        if (txn->success[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            count += count_txns(txn->success[i]->request_txn);
    for (size_t i = 0; i < txn->n_failure; i++)
        if (txn->failure[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            count += count_txns(txn->failure[i]->request_txn);
    return count;
}

static void find_path(struct model *self, const Etcdserverpb__TxnRequest *txn, struct arena *arena, struct path *path) {
    bool taken = true;
    for (size_t i = 0; i < txn->n_compare && taken; i++) taken = holds(self, txn->compare[i], arena);
    path->taken[path->count++] = taken;
    Etcdserverpb__RequestOp **ops = taken ? txn->success : txn->failure;
    size_t count = taken ? txn->n_success : txn->n_failure;
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            find_path(self, ops[i]->request_txn, arena, path);
}

/* ---- what is checked on the way ---- */

typedef enum err (*op_check)(struct model *self, const Etcdserverpb__RequestOp *op);

static enum err check_put_op(struct model *self, const Etcdserverpb__RequestOp *op) {
    if (op->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) return OK;
    const Etcdserverpb__PutRequest *put = op->request_put;
    if ((put->ignore_value || put->ignore_lease) && !model__exists(self, pb_slice(put->key))) return ERR_KEY_NOT_FOUND;
    if (put->lease != 0 && model__lease(self, put->lease) == NULL) return ERR_LEASE_NOT_FOUND;
    return OK;
}

static enum err check_range_op(struct model *self, const Etcdserverpb__RequestOp *op) {
    if (op->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) return OK;
    int64_t revision = op->request_range->revision;
    if (revision < 0 && revision < self->compact_revision) return ERR_COMPACTED; /* alone it would mean now */
    return model__check_revision(self, revision);
}

static enum err check_path(struct model *self, const Etcdserverpb__TxnRequest *txn, struct path *path, op_check check) {
    bool taken = path->taken[path->next++];
    Etcdserverpb__RequestOp **ops = taken ? txn->success : txn->failure;
    size_t count = taken ? txn->n_success : txn->n_failure;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            TRY(check_path(self, ops[i]->request_txn, path, check));
        else
            TRY(check(self, ops[i]));
    }
    return OK;
}

/* ---- doing it ---- */

static void run(struct model *self, const Etcdserverpb__TxnRequest *txn, struct path *path, struct arena *arena,
                Etcdserverpb__TxnResponse *response);

static Etcdserverpb__ResponseOp *run_op(struct model *self, const Etcdserverpb__RequestOp *op, struct path *path,
                                        struct arena *arena) {
    Etcdserverpb__ResponseOp *response = model__make(arena, &etcdserverpb__response_op__descriptor);
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        response->response_range = model__make(arena, &etcdserverpb__range_response__descriptor);
        model__range(self, op->request_range, arena, response->response_range);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        response->response_put = model__make(arena, &etcdserverpb__put_response__descriptor);
        model__put(self, op->request_put, arena, response->response_put);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        response->response_delete_range = model__make(arena, &etcdserverpb__delete_range_response__descriptor);
        model__delete_range(self, op->request_delete_range, arena, response->response_delete_range);
        break;
    default:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN;
        response->response_txn = model__make(arena, &etcdserverpb__txn_response__descriptor);
        response->response_txn->header = model__header(0, arena); /* there, and empty */
        run(self, op->request_txn, path, arena, response->response_txn);
        break;
    }
    return response;
}

static void run(struct model *self, const Etcdserverpb__TxnRequest *txn, struct path *path, struct arena *arena,
                Etcdserverpb__TxnResponse *response) {
    response->succeeded = path->taken[path->next++];
    Etcdserverpb__RequestOp **ops = response->succeeded ? txn->success : txn->failure;
    size_t count = response->succeeded ? txn->n_success : txn->n_failure;
    response->responses = ARENA_ARRAY(arena, Etcdserverpb__ResponseOp *, count + 1);
    response->n_responses = count;
    for (size_t i = 0; i < count; i++) response->responses[i] = run_op(self, ops[i], path, arena);
}

enum err model__txn(struct model *self, const Etcdserverpb__TxnRequest *request, struct arena *arena,
                    Etcdserverpb__TxnResponse *response) {
    struct path path = {.taken = ARENA_ARRAY(arena, bool, count_txns(request))};
    find_path(self, request, arena, &path);
    TRY(check_path(self, request, &path, check_put_op));
    path.next = 0;
    TRY(check_path(self, request, &path, check_range_op));
    path.next = 0;
    run(self, request, &path, arena, response);
    response->header = model__header(model__visible(self), arena);
    model__commit(self);
    return OK;
}
