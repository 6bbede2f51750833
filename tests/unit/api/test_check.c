/* Which transactions are refused for touching a key twice. */
#include "api/internal.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_is_put_once_on_any_way_through),
        cmocka_unit_test(test_a_key_is_not_put_where_it_is_deleted),
        cmocka_unit_test(test_nested_transactions_count_in_their_order),
        cmocka_unit_test(test_a_delete_to_the_end_lets_puts_pass_that_need_no_key),
    };
    arena_init(&arena, 0);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_release(&arena);
    return failed;
}
