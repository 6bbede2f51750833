/* Transactions whose answers would be too large, or that nest deep. */
#include "base/bytes.h"
#include "fixture.h"
#include "mvcc/txn.h"
#include "pb/arena_pb.h"

#define MIB ((size_t)1 << 20)

static void write_value(struct fixture *fixture, const char *key, size_t size_bytes) {
    uint8_t *value = mem_calloc(1, size_bytes);
    struct store_txn *txn = store_txn_begin(fixture->store);
    store_txn_put(txn, text(key), slice_make(value, size_bytes), 0);
    store_txn_end(txn);
    mem_free(value);
}

static void append_length_field(struct buf *out, uint8_t field, struct slice content) {
    buf_append_byte(out, (uint8_t)(field << 3 | 2));
    buf_append_varint(out, content.len);
    buf_append_slice(out, content);
}

/* TxnRequest.success */
static void append_op(struct buf *txn, uint8_t kind, struct slice request) {
    struct buf op = BUF_INIT;
    append_length_field(&op, kind, request);
    append_length_field(txn, 2, buf_slice(&op));
    buf_release(&op);
}

#define RANGE_OF_ALL SLICE_LITERAL("\x0a\x01\0\x12\x01\0")
#define PUT_OF_AB                                                                                                      \
    SLICE_LITERAL("\x0a\x01"                                                                                           \
                  "a\x12\x01"                                                                                          \
                  "b")

static enum err apply(struct fixture *fixture, struct slice encoded, struct buf *out) {
    struct arena arena;
    arena_init(&arena, 0);
    const Etcdserverpb__TxnRequest *request = pb_unpack(&etcdserverpb__txn_request__descriptor, encoded, &arena);
    assert_non_null(request);
    int64_t revision;
    enum err error = txn_apply(fixture->store, request, 0, out, &revision);
    arena_release(&arena);
    return error;
}

static bool has_key(struct fixture *fixture, const char *key) {
    struct slice pair;
    bool found;
    assert_int_equal(store_get(fixture->store, text(key), 0, &pair, &found), OK);
    return found;
}

static void a_response_too_large_is_an_error_and_the_writes_are_done(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    for (int i = 0; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        write_value(&fixture, key, MIB);
    }
    struct buf txn = BUF_INIT, out = BUF_INIT;
    for (int i = 0; i < 6; i++) append_op(&txn, 1, RANGE_OF_ALL);
    assert_int_equal(apply(&fixture, buf_slice(&txn), &out), OK);
    assert_true(out.len > 60 * MIB);
    buf_clear(&out);
    append_op(&txn, 1, RANGE_OF_ALL);
    append_op(&txn, 2, PUT_OF_AB);
    assert_int_equal(apply(&fixture, buf_slice(&txn), &out), ERR_RESPONSE_TOO_LARGE);
    assert_int_equal(out.len, 0);
    assert_true(has_key(&fixture, "a"));
    buf_release(&txn);
    buf_release(&out);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

/* As deep as can be decoded, which a log of others may hold. */
static void a_transaction_may_nest_as_deep_as_can_be_decoded(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    struct buf txn = BUF_INIT, out = BUF_INIT;
    append_op(&txn, 2, PUT_OF_AB);
    for (int i = 0; i < PB_MAX_DEPTH / 2 - 2; i++) {
        struct buf outer = BUF_INIT;
        append_op(&outer, 4, buf_slice(&txn));
        buf_release(&txn);
        txn = outer;
    }
    assert_int_equal(apply(&fixture, buf_slice(&txn), &out), OK);
    assert_true(has_key(&fixture, "a"));
    buf_release(&txn);
    buf_release(&out);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_too_large_is_an_error_and_the_writes_are_done),
        cmocka_unit_test(a_transaction_may_nest_as_deep_as_can_be_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
