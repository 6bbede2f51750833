/* Which transactions are refused for touching a key twice. */
#include "api/internal.h"
#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define OPS_MAX 4

typedef Etcdserverpb__RequestOp *op;

/* The operations live until the test's end. */
static struct arena arena;

static ProtobufCBinaryData bytes(const char *text) { return pb_bytes(slice_from_cstr(text)); }

static op put_op(const char *key, bool ignore_value) {
    op self = ARENA_NEW(&arena, Etcdserverpb__RequestOp);
    etcdserverpb__request_op__init(self);
    self->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    self->request_put = ARENA_NEW(&arena, Etcdserverpb__PutRequest);
    etcdserverpb__put_request__init(self->request_put);
    self->request_put->key = bytes(key);
    self->request_put->ignore_value = ignore_value;
    return self;
}
static op put(const char *key) { return put_op(key, false); }
static op touch(const char *key) { return put_op(key, true); }

static op delete_op(const char *key, struct slice range_end) {
    op self = ARENA_NEW(&arena, Etcdserverpb__RequestOp);
    etcdserverpb__request_op__init(self);
    self->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    self->request_delete_range = ARENA_NEW(&arena, Etcdserverpb__DeleteRangeRequest);
    etcdserverpb__delete_range_request__init(self->request_delete_range);
    self->request_delete_range->key = bytes(key);
    self->request_delete_range->range_end = pb_bytes(range_end);
    return self;
}
static op delete (const char *key) { return delete_op(key, SLICE_NONE); }
static op delete_from(const char *key) { return delete_op(key, SLICE_LITERAL("\0")); }

static void take(op *ops, size_t *count, op first, op second) {
    if (first != NULL) ops[(*count)++] = first;
    if (second != NULL) ops[(*count)++] = second;
}

/* Each branch has up to two operations. */
static op txn(op success, op success_too, op failure, op failure_too) {
    op self = ARENA_NEW(&arena, Etcdserverpb__RequestOp);
    etcdserverpb__request_op__init(self);
    self->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    Etcdserverpb__TxnRequest *request = self->request_txn = ARENA_NEW(&arena, Etcdserverpb__TxnRequest);
    etcdserverpb__txn_request__init(request);
    request->success = ARENA_ARRAY(&arena, op, OPS_MAX);
    request->failure = ARENA_ARRAY(&arena, op, OPS_MAX);
    take(request->success, &request->n_success, success, success_too);
    take(request->failure, &request->n_failure, failure, failure_too);
    return self;
}

static enum err check(op transaction) { return api__check_txn(transaction->request_txn, 128); }
static void passes(op transaction) { assert_int_equal(check(transaction), OK); }
static void duplicates(op transaction) { assert_int_equal(check(transaction), ERR_DUPLICATE_KEY); }

static void test_a_key_is_put_once_on_any_way_through(void **state) {
    duplicates(txn(put("a"), put("a"), NULL, NULL));
    passes(txn(put("a"), NULL, put("a"), NULL));
    duplicates(txn(put("a"), txn(put("a"), NULL, NULL, NULL), NULL, NULL));
    passes(txn(txn(put("a"), NULL, put("a"), NULL), NULL, NULL, NULL));
    /* Both branches of a nested one put it: once for who counts from above. */
    passes(txn(txn(NULL, NULL, txn(put("a"), NULL, put("a"), NULL), NULL), NULL, NULL, NULL));
    duplicates(txn(txn(put("a"), NULL, NULL, NULL), txn(NULL, NULL, put("a"), NULL), NULL, NULL));
}

static void test_a_key_is_not_put_where_it_is_deleted(void **state) {
    duplicates(txn(delete ("a"), put("a"), NULL, NULL));
    duplicates(txn(put("b"), delete_op("a", SLICE_LITERAL("c")), NULL, NULL));
    passes(txn(put("c"), delete_op("a", SLICE_LITERAL("c")), NULL, NULL));
    passes(txn(delete ("a"), delete ("a"), put("a"), NULL));
    duplicates(txn(delete ("a"), txn(NULL, NULL, put("a"), NULL), NULL, NULL));
    duplicates(txn(put("a"), txn(delete ("a"), NULL, NULL, NULL), NULL, NULL));
}

/* Of two nested transactions the later one's puts are held against the earlier one's deletes, not the other way. */
static void test_nested_transactions_count_in_their_order(void **state) {
    duplicates(txn(txn(delete ("a"), NULL, NULL, NULL), txn(put("a"), NULL, NULL, NULL), NULL, NULL));
    passes(txn(txn(put("a"), NULL, NULL, NULL), txn(delete ("a"), NULL, NULL, NULL), NULL, NULL));
    passes(txn(txn(put("a"), NULL, delete ("a"), NULL), NULL, NULL, NULL));
}

/* etcd does not see that a delete to "\0" goes to the end (its issue 22445). A put that needs the key would then end a
 * 3.5 member: refused. */
static void test_a_delete_to_the_end_lets_puts_pass_that_need_no_key(void **state) {
    passes(txn(delete_from("a"), put("b"), NULL, NULL));
    passes(txn(delete_from("a"), put("a"), NULL, NULL));
    duplicates(txn(delete_from("a"), touch("a"), NULL, NULL));
    duplicates(txn(delete_from("a"), touch("b"), NULL, NULL));
    passes(txn(delete_from("b"), touch("a"), NULL, NULL));
    duplicates(txn(touch("b"), txn(NULL, NULL, delete_from("a"), NULL), NULL, NULL));
    duplicates(txn(NULL, NULL, delete_from("a"), txn(touch("c"), NULL, NULL, NULL)));
    passes(txn(delete_from("a"), NULL, touch("b"), NULL));
}

/* ---- against the plainest way: lists, everything compared with everything ---- */

struct plain {
    const char *puts[200];
    size_t put_count;
    struct slice deletes[200][2];
    size_t delete_count;
};

static bool plain_has(const struct plain *self, const char *key) {
    for (size_t i = 0; i < self->put_count; i++)
        if (strcmp(self->puts[i], key) == 0) return true;
    return false;
}

static bool plain_deletes(const struct plain *self, struct slice key) {
    for (size_t i = 0; i < self->delete_count; i++) {
        const struct slice *range = self->deletes[i];
        if (range[1].len == 0 ? slice_equal(range[0], key)
                              : slice_compare(key, range[0]) >= 0 && slice_compare(key, range[1]) < 0)
            return true;
    }
    return false;
}

static bool plain_put(struct plain *self, const char *key) {
    if (plain_has(self, key) || plain_deletes(self, slice_from_cstr(key))) return false;
    self->puts[self->put_count++] = key;
    return true;
}

static bool plain_collect(op const *ops, size_t count, struct plain *into) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE) continue;
        into->deletes[into->delete_count][0] = pb_slice(ops[i]->request_delete_range->key);
        into->deletes[into->delete_count++][1] = pb_slice(ops[i]->request_delete_range->range_end);
    }
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN) continue;
        const Etcdserverpb__TxnRequest *nested = ops[i]->request_txn;
        struct plain success = {.put_count = 0}, failure = {.put_count = 0};
        if (!plain_collect(nested->success, nested->n_success, &success)) return false;
        if (!plain_collect(nested->failure, nested->n_failure, &failure)) return false;
        for (size_t k = 0; k < success.put_count; k++)
            if (!plain_put(into, success.puts[k])) return false;
        for (size_t k = 0; k < failure.put_count; k++)
            if (!plain_has(&success, failure.puts[k]) && !plain_put(into, failure.puts[k])) return false;
        for (size_t k = 0; k < success.delete_count; k++)
            memcpy(into->deletes[into->delete_count++], success.deletes[k], sizeof success.deletes[k]);
        for (size_t k = 0; k < failure.delete_count; k++)
            memcpy(into->deletes[into->delete_count++], failure.deletes[k], sizeof failure.deletes[k]);
    }
    for (size_t i = 0; i < count; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT &&
            !plain_put(into, (const char *)ops[i]->request_put->key.data))
            return false;
    return true;
}

static op random_op(struct prng *prng, unsigned depth, uint64_t keys) {
    char *key =
        arena_printf(&arena, "%c%c", (char)('a' + prng_below(prng, keys)), (char)('a' + prng_below(prng, keys)));
    uint64_t drawn = prng_below(prng, 10);
    if (drawn < 5) return put(key);
    if (drawn < 6) return delete (key);
    if (drawn < 8 || depth == 0)
        return delete_op(key,
                         slice_from_cstr(arena_printf(&arena, "%c%c", key[0], (char)(key[1] + prng_below(prng, 3)))));
    op ops[4];
    for (int i = 0; i < 4; i++) ops[i] = prng_below(prng, 3) == 0 ? NULL : random_op(prng, depth - 1, keys);
    return txn(ops[0], ops[1], ops[2], ops[3]);
}

static void test_random_transactions_are_judged_as_in_the_plainest_way(void **state) {
    struct prng prng;
    int good = 0, rounds = 20000;
    prng_init(&prng, 1);
    for (int i = 0; i < rounds; i++) {
        uint64_t keys = 3 + prng_below(&prng, 24);
        op ops[6];
        size_t count = 1 + prng_below(&prng, 6);
        for (size_t k = 0; k < count; k++) ops[k] = random_op(&prng, 4, keys);
        struct plain plain = {.put_count = 0};
        bool is_good = plain_collect(ops, count, &plain);
        if ((api__check_keys(ops, count) == OK) != is_good) fail_msg("round %d", i);
        good += is_good;
        arena_reset(&arena);
    }
    assert_true(good > rounds / 10 && good < rounds * 9 / 10);
}

/* 64 times 64 times 16 operations on keys of their own, deletes first: they must not be compared each with each. */
static void test_many_operations_are_soon_judged(void **state) {
    enum { WIDE = 64, LEAVES = 16 };
    op top[WIDE];
    for (int i = 0; i < WIDE; i++) {
        top[i] = txn(NULL, NULL, NULL, NULL);
        Etcdserverpb__TxnRequest *middle = top[i]->request_txn;
        middle->success = ARENA_ARRAY(&arena, op, WIDE);
        middle->n_success = WIDE;
        for (int k = 0; k < WIDE; k++) {
            middle->success[k] = txn(NULL, NULL, NULL, NULL);
            Etcdserverpb__TxnRequest *leaf = middle->success[k]->request_txn;
            leaf->success = ARENA_ARRAY(&arena, op, LEAVES);
            leaf->n_success = LEAVES;
            for (int n = 0; n < LEAVES; n++) {
                const char *key = arena_printf(&arena, "%d-%d-%d", n, k, i);
                leaf->success[n] = i < WIDE / 2 ? delete (key) : put(key);
            }
        }
    }
    assert_int_equal(api__check_keys(top, WIDE), OK);
    arena_reset(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_put_once_on_any_way_through),
        cmocka_unit_test(test_a_key_is_not_put_where_it_is_deleted),
        cmocka_unit_test(test_nested_transactions_count_in_their_order),
        cmocka_unit_test(test_a_delete_to_the_end_lets_puts_pass_that_need_no_key),
        cmocka_unit_test(test_random_transactions_are_judged_as_in_the_plainest_way),
        cmocka_unit_test(test_many_operations_are_soon_judged),
    };
    arena_init(&arena, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_release(&arena);
    return failed;
}
