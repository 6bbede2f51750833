/* The arena decoder: agrees with protobuf-c's own wherever that one is right, and keeps its promises where not. */
#include "base/prng.h"
#include "pb/arena_pb.h"
#include "pb/health.pb-c.h"
#include "pb/raft.pb-c.h"
#include "pb/raft_internal.pb-c.h"
#include "pb/rpc.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct arena arena;

static int set_up(void **state) {
    arena_init(&arena, 0);
    return 0;
}
static int tear_down(void **state) {
    arena_release(&arena);
    return 0;
}

#define UNPACK(type, bytes) pb_unpack(&type##__descriptor, bytes, &arena)

static void test_a_put_comes_back_as_it_went(void **state) {
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_bytes(SLICE_LITERAL("k\0ey"));
    put.value = pb_bytes(SLICE_LITERAL("value"));
    put.lease = -5;
    put.prev_kv = true;
    struct slice bytes = pb_pack_arena(&put, &arena);
    Etcdserverpb__PutRequest *back = UNPACK(etcdserverpb__put_request, bytes);
    assert_non_null(back);
    assert_true(slice_equal(pb_slice(back->key), SLICE_LITERAL("k\0ey")));
    assert_true(slice_equal(pb_slice(back->value), SLICE_LITERAL("value")));
    assert_int_equal(back->lease, -5);
    assert_true(back->prev_kv);
    assert_false(back->ignore_lease);
}

static bool points_into(struct slice outer, struct slice inner) {
    return inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len;
}

static void test_only_the_borrowing_form_refers_to_the_input(void **state) {
    static const uint8_t put[] = {0x0a, 1, 'k', 0x12, 2, 'v', 'w'};
    struct slice bytes = slice_make(put, sizeof(put));
    Etcdserverpb__PutRequest *borrowed = pb_unpack_borrowed(&etcdserverpb__put_request__descriptor, bytes, &arena);
    assert_true(points_into(bytes, pb_slice(borrowed->value)));
    Etcdserverpb__PutRequest *own = UNPACK(etcdserverpb__put_request, bytes);
    assert_false(points_into(bytes, pb_slice(own->value)));
}

static void test_empty_bytes_are_an_empty_message(void **state) {
    Etcdserverpb__RangeRequest *range = UNPACK(etcdserverpb__range_request, SLICE_NONE);
    assert_non_null(range);
    assert_int_equal(range->key.len, 0);
}

static void test_unknown_fields_are_skipped(void **state) {
    /* numbers 50 to 54 in every wire type, a group in a group, then key = "k" */
    static const uint8_t bytes[] = {0x90, 3,    0x96, 1,    0x99, 3,   1,    2,    3, 4,    5, 6,
                                    7,    8,    0xa2, 3,    2,    'a', 'b',  0xad, 3, 1,    2, 3,
                                    4,    0xb3, 3,    0x0b, 0x08, 1,   0x0c, 0xb4, 3, 0x0a, 1, 'k'};
    Etcdserverpb__PutRequest *put = UNPACK(etcdserverpb__put_request, slice_make(bytes, sizeof(bytes)));
    assert_non_null(put);
    assert_true(slice_equal_cstr(pb_slice(put->key), "k"));
}

static void test_malformed_bytes_are_refused(void **state) {
    static const struct {
        const char *what;
        struct slice bytes;
    } cases[] = {
        {"key as varint", SLICE_LITERAL("\x08\x01")},
        {"lease as bytes", SLICE_LITERAL("\x1a\x01\x01")},
        {"field number 0", SLICE_LITERAL("\x02\x01k")},
        {"length beyond the end", SLICE_LITERAL("\x0a\x05k")},
        {"length of 2^64-1", SLICE_LITERAL("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
        {"varint of 11 bytes", SLICE_LITERAL("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
        {"group that does not end", SLICE_LITERAL("\xb3\x03\x08\x01")},
        {"end of no group", SLICE_LITERAL("\xb4\x03")},
        {"wire type 6", SLICE_LITERAL("\x96\x03")},
        {"wire type 7", SLICE_LITERAL("\x97\x03")},
        {"cut off fixed64", SLICE_LITERAL("\x99\x03\x01\x02")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (UNPACK(etcdserverpb__put_request, cases[i].bytes) != NULL) fail_msg("accepted: %s", cases[i].what);
}

static void test_text_with_a_zero_byte_is_refused(void **state) {
    assert_null(UNPACK(etcdserverpb__auth_user_add_request, SLICE_LITERAL("\x0a\x03"
                                                                          "a\0b")));
}

static void test_lists_come_packed_or_not(void **state) {
    Etcdserverpb__WatchCreateRequest *packed =
        UNPACK(etcdserverpb__watch_create_request, SLICE_LITERAL("\x2a\x03\x00\x01\x00"));
    assert_int_equal(packed->n_filters, 3);
    assert_int_equal(packed->filters[1], 1);
    Etcdserverpb__WatchCreateRequest *single =
        UNPACK(etcdserverpb__watch_create_request, SLICE_LITERAL("\x28\x01\x28\x00\x2a\x01\x01"));
    assert_int_equal(single->n_filters, 3);
    assert_int_equal(single->filters[0], 1);
    assert_int_equal(single->filters[2], 1);
}

static void test_lists_grow_in_order(void **state) {
    Etcdserverpb__MemberAddRequest add = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    char texts[100][8], *urls[100];
    for (size_t i = 0; i < 100; i++) {
        snprintf(texts[i], sizeof(texts[i]), "u%zu", i);
        urls[i] = texts[i];
    }
    add.peerurls = urls;
    for (add.n_peerurls = 0; add.n_peerurls <= 100; add.n_peerurls++) {
        Etcdserverpb__MemberAddRequest *back = UNPACK(etcdserverpb__member_add_request, pb_pack_arena(&add, &arena));
        assert_int_equal(back->n_peerurls, add.n_peerurls);
        for (size_t i = 0; i < add.n_peerurls; i++) assert_string_equal(back->peerurls[i], texts[i]);
    }
}

static void test_of_a_oneof_the_last_counts(void **state) {
    /* version 1, then value "x", then lease 7 */
    Etcdserverpb__Compare *compare = UNPACK(etcdserverpb__compare, SLICE_LITERAL("\x20\x01\x3a\x01x\x40\x07"));
    assert_int_equal(compare->target_union_case, ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE);
    assert_int_equal(compare->lease, 7);
    /* a zero in a oneof is present */
    compare = UNPACK(etcdserverpb__compare, SLICE_LITERAL("\x20\x00"));
    assert_int_equal(compare->target_union_case, ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION);
    /* another message of a oneof is not merged into the former one's memory */
    Etcdserverpb__RequestOp *op = UNPACK(etcdserverpb__request_op, SLICE_LITERAL("\x12\x03\x0a\x01k\x0a\x03\x0a\x01r"));
    assert_int_equal(op->request_case, ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE);
    assert_true(slice_equal_cstr(pb_slice(op->request_range->key), "r"));
    /* nor is the same one */
    op = UNPACK(etcdserverpb__request_op, SLICE_LITERAL("\x12\x03\x0a\x01k\x12\x03\x12\x01v"));
    assert_int_equal(op->request_put->key.len, 0);
}

static void test_a_message_field_that_comes_twice_is_merged(void **state) {
    Etcdserverpb__PutResponse *response =
        UNPACK(etcdserverpb__put_response, SLICE_LITERAL("\x0a\x02\x08\x05\x0a\x02\x18\x07"));
    assert_int_equal(response->header->cluster_id, 5);
    assert_int_equal(response->header->revision, 7);
}

static void test_proto2_tells_absent_from_zero(void **state) {
    Raftpb__Entry *entry = UNPACK(raftpb__entry, SLICE_LITERAL("\x10\x00"));
    assert_true(entry->has_term);
    assert_int_equal(entry->term, 0);
    assert_false(entry->has_index);
    assert_false(entry->has_data);
    entry = UNPACK(raftpb__entry, SLICE_LITERAL("\x22\x00"));
    assert_true(entry->has_data);
}

static void test_a_map_is_a_list_of_entries(void **state) {
    Grpc__Health__V1__HealthListResponse *list =
        UNPACK(grpc__health__v1__health_list_response, SLICE_LITERAL("\x0a\x06\x0a\x00\x12\x02\x08\x01"));
    assert_int_equal(list->n_statuses, 1);
    assert_string_equal(list->statuses[0]->key, "");
    assert_int_equal(list->statuses[0]->value->status, 1);
}

/* `depth` messages inside each other: TxnRequest, RequestOp, TxnRequest, ... */
static struct slice nested_txn(unsigned depth) {
    struct buf inner = BUF_INIT, outer = BUF_INIT;
    for (unsigned level = 1; level < depth; level++) {
        bool in_op = (depth - level) % 2 == 0;
        buf_clear(&outer);
        buf_append_byte(&outer, in_op ? 0x22 : 0x12);
        buf_append_varint(&outer, inner.len);
        buf_append_slice(&outer, buf_slice(&inner));
        struct buf swap = inner;
        inner = outer;
        outer = swap;
    }
    struct slice bytes = arena_copy(&arena, buf_slice(&inner));
    buf_release(&inner);
    buf_release(&outer);
    return bytes;
}

static void test_nesting_has_a_limit(void **state) {
    assert_non_null(UNPACK(etcdserverpb__txn_request, nested_txn(PB_MAX_DEPTH)));
    assert_null(UNPACK(etcdserverpb__txn_request, nested_txn(PB_MAX_DEPTH + 1)));
    assert_null(UNPACK(etcdserverpb__txn_request, nested_txn(20000)));
    bool is_too_deep;
    const ProtobufCMessageDescriptor *type = &etcdserverpb__txn_request__descriptor;
    assert_non_null(pb_unpack_depth(type, nested_txn(PB_MAX_DEPTH), &arena, &is_too_deep));
    assert_false(is_too_deep);
    assert_null(pb_unpack_depth(type, nested_txn(PB_MAX_DEPTH + 1), &arena, &is_too_deep));
    assert_true(is_too_deep);
    assert_null(pb_unpack_depth(type, SLICE_LITERAL("\x12\x05"), &arena, &is_too_deep));
    assert_false(is_too_deep);
}

static void test_packing_appends_at_any_length(void **state) {
    struct buf out = BUF_INIT;
    static char value[5000];
    memset(value, 'v', sizeof(value));
    for (size_t len = 0; len <= sizeof(value); len += len < 600 ? 1 : 97) {
        Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
        put.key = pb_bytes(SLICE_LITERAL("key"));
        put.value = pb_bytes(slice_make(value, len));
        Etcdserverpb__InternalRaftRequest request = ETCDSERVERPB__INTERNAL_RAFT_REQUEST__INIT;
        request.put = &put;
        buf_clear(&out);
        buf_append_cstr(&out, "before");
        pb_pack(&request, &out);
        assert_memory_equal(out.data, "before", 6);
        struct slice reference = pb_pack_arena(&request, &arena);
        assert_true(slice_equal(slice_from(buf_slice(&out), 6), reference));
        assert_int_equal(pb_packed_size(&request), reference.len);
        arena_reset(&arena);
        if (len % 7 == 0) buf_release(&out);
    }
    buf_release(&out);
}

static const ProtobufCMessageDescriptor *const fuzzed[] = {
    &etcdserverpb__txn_request__descriptor,   &etcdserverpb__range_request__descriptor,
    &etcdserverpb__watch_request__descriptor, &etcdserverpb__internal_raft_request__descriptor,
    &etcdserverpb__member__descriptor,        &raftpb__message__descriptor,
    &raftpb__conf_state__descriptor,          &grpc__health__v1__health_list_response__descriptor,
};

/* Random fields of the type; those that are no list at most once, since protobuf-c loses elements when it merges. */
static void random_message(struct prng *prng, const ProtobufCMessageDescriptor *type, unsigned depth, struct buf *out) {
    uint64_t seen = 0;
    for (unsigned fields = (unsigned)prng_below(prng, 6); fields > 0 && type->n_fields > 0; fields--) {
        unsigned index = (unsigned)prng_below(prng, type->n_fields);
        const ProtobufCFieldDescriptor *field = &type->fields[index];
        if (field->label != PROTOBUF_C_LABEL_REPEATED && (seen >> index & 1)) continue;
        seen |= (uint64_t)1 << index;
        switch (field->type) {
        case PROTOBUF_C_TYPE_MESSAGE: {
            struct buf inner = BUF_INIT;
            if (depth < 6) random_message(prng, field->descriptor, depth + 1, &inner);
            buf_append_varint(out, field->id << 3 | 2);
            buf_append_varint(out, inner.len);
            buf_append_slice(out, buf_slice(&inner));
            buf_release(&inner);
            break;
        }
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_BYTES: {
            size_t len = (size_t)prng_below(prng, 5);
            buf_append_varint(out, field->id << 3 | 2);
            buf_append_varint(out, len);
            for (size_t i = 0; i < len; i++) buf_append_byte(out, (uint8_t)('a' + prng_below(prng, 26)));
            break;
        }
        default:
            buf_append_varint(out, field->id << 3);
            buf_append_varint(out, prng_next(prng) >> prng_below(prng, 64));
            break;
        }
    }
}

static void test_agrees_with_protobuf_c_on_random_messages(void **state) {
    struct prng prng;
    prng_init(&prng, 7);
    struct buf bytes = BUF_INIT, ours = BUF_INIT, theirs = BUF_INIT;
    for (int round = 0; round < 20000; round++) {
        const ProtobufCMessageDescriptor *type = fuzzed[prng_below(&prng, sizeof(fuzzed) / sizeof(fuzzed[0]))];
        buf_clear(&bytes);
        random_message(&prng, type, 0, &bytes);
        void *message = pb_unpack_borrowed(type, buf_slice(&bytes), &arena);
        ProtobufCMessage *reference = protobuf_c_message_unpack(type, NULL, bytes.len, bytes.data);
        assert_non_null(message);
        assert_non_null(reference);
        buf_clear(&ours);
        buf_clear(&theirs);
        pb_pack(message, &ours);
        uint8_t *packed = buf_extend(&theirs, protobuf_c_message_get_packed_size(reference));
        protobuf_c_message_pack(reference, packed);
        assert_true(slice_equal(buf_slice(&ours), buf_slice(&theirs)));
        protobuf_c_message_free_unpacked(reference, NULL);
        /* Cut off and corrupted anywhere it is refused or understood, but nothing breaks. */
        if (bytes.len > 0) {
            (void)pb_unpack_borrowed(type, slice_make(bytes.data, (size_t)prng_below(&prng, bytes.len)), &arena);
            bytes.data[prng_below(&prng, bytes.len)] = (uint8_t)prng_next(&prng);
            message = pb_unpack_borrowed(type, buf_slice(&bytes), &arena);
            buf_clear(&ours);
            if (message != NULL) pb_pack(message, &ours);
        }
        arena_reset(&arena);
    }
    buf_release(&bytes);
    buf_release(&ours);
    buf_release(&theirs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_put_comes_back_as_it_went),
        TEST(test_only_the_borrowing_form_refers_to_the_input),
        TEST(test_empty_bytes_are_an_empty_message),
        TEST(test_unknown_fields_are_skipped),
        TEST(test_malformed_bytes_are_refused),
        TEST(test_text_with_a_zero_byte_is_refused),
        TEST(test_lists_come_packed_or_not),
        TEST(test_lists_grow_in_order),
        TEST(test_of_a_oneof_the_last_counts),
        TEST(test_a_message_field_that_comes_twice_is_merged),
        TEST(test_proto2_tells_absent_from_zero),
        TEST(test_a_map_is_a_list_of_entries),
        TEST(test_nesting_has_a_limit),
        TEST(test_packing_appends_at_any_length),
        TEST(test_agrees_with_protobuf_c_on_random_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
