/* txn_compare.c - the comparisons of a transaction (spec/apply.md 9).
 *
 * Versions and revisions are in the index; only values and leases need the stored pair. An unknown target or relation
 * makes the comparison true, as in etcd.
 */
#include "mvcc/txn_private.h"

typedef Etcdserverpb__Compare compare;

static bool relation_holds(int relation, int order) {
    switch (relation) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL: return order == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL: return order != 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER: return order > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS: return order < 0;
    default: return true;
    }
}

static int compare_numbers(int64_t a, int64_t b) { return (a > b) - (a < b); }

/* The right-hand number; 0 when the union holds something else. */
static int64_t number_of(const compare *request) {
    switch ((int)request->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        return request->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION ? request->version : 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        return request->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION
                   ? request->create_revision
                   : 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        return request->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION ? request->mod_revision
                                                                                              : 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        return request->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE ? request->lease : 0;
    default: return 0;
    }
}

static struct slice value_of(const compare *request) {
    return request->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE ? pb_slice(request->value)
                                                                                   : SLICE_LITERAL("");
}

/* `item` NULL: the key does not exist and counts as zero. */
static enum err one_holds(struct store *store, const compare *request, const struct index_item *item, bool *ret_holds) {
    struct keyvalue kv = {.value = SLICE_LITERAL("")};
    int target = (int)request->target;
    bool needs_pair =
        target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE ||
        (target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE && item != NULL && index_key_has_lease(item->key));
    if (needs_pair && item != NULL) {
        struct slice encoded;
        TRY(store__fetch(store, NULL, NULL, item->mod, &encoded));
        if (keyvalue_decode(encoded, &kv) != OK) return store__fail(store, ERR_CORRUPT);
    }
    int order = 0;
    switch (target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        order = compare_numbers(item != NULL ? item->version : 0, number_of(request));
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        order = compare_numbers(item != NULL ? item->create_main : 0, number_of(request));
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        order = compare_numbers(item != NULL ? item->mod.main : 0, number_of(request));
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE: order = compare_numbers(kv.lease, number_of(request)); break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE: order = slice_compare(kv.value, value_of(request)); break;
    default: break;
    }
    *ret_holds = relation_holds((int)request->result, order);
    return OK;
}

/* Every key of the range must satisfy it. */
static enum err compare_holds(struct store *store, const compare *request, bool *ret_holds) {
    struct index_range range = index_range_of(pb_slice(request->key), pb_slice(request->range_end));
    struct index_cursor cursor = index_seek(store->index, range.begin);
    bool any = false, holds = true;
    for (struct index_key *key; holds && (key = index_next_live(&cursor, &range)) != NULL; any = true) {
        struct index_item item;
        if (index_key_at(key, INT64_MAX, &item)) TRY(one_holds(store, request, &item, &holds));
    }
    if (any || !holds)
        *ret_holds = holds;
    else if (request->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE)
        *ret_holds = false;
    else
        return one_holds(store, request, NULL, ret_holds);
    return OK;
}

enum err txn__compare_all(struct store_txn *txn, const Etcdserverpb__TxnRequest *request, bool *ret_holds) {
    bool holds = true;
    for (size_t i = 0; holds && i < request->n_compare; i++)
        TRY(compare_holds(txn->store, request->compare[i], &holds));
    *ret_holds = holds;
    return OK;
}
