/* Requests of etcd/client.h as protobuf, answers back; objects that free themselves. */
#include "client/codec.h"
#include "pb/arena_pb.h"
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

static struct slice encode(enum etcd_method method, const void *request) {
    struct buf out = BUF_INIT;
    assert_true(client_method_get(method)->encode(request, &arena, &out));
    struct slice bytes = arena_copy(&arena, buf_slice(&out));
    buf_release(&out);
    return bytes;
}

#define ENCODED(method, request, type) pb_unpack(&type##__descriptor, encode(method, request), &arena)

static void test_a_range_request_with_everything(void **state) {
    struct etcd_range_request plain = {
        .key = etcd_text("a"),
        .range_end = etcd_text("b"),
        .limit = 1,
        .revision = 2,
        .sort_order = ETCD_SORT_DESCEND,
        .sort_target = ETCD_SORT_VALUE,
        .serializable = true,
        .keys_only = true,
        .count_only = true,
        .min_mod_revision = 3,
        .max_mod_revision = 4,
        .min_create_revision = 5,
        .max_create_revision = 6,
    };
    Etcdserverpb__RangeRequest *pb = ENCODED(ETCD_METHOD_RANGE, &plain, etcdserverpb__range_request);
    assert_true(slice_equal_cstr(pb_slice(pb->key), "a"));
    assert_true(slice_equal_cstr(pb_slice(pb->range_end), "b"));
    assert_int_equal(pb->limit, 1);
    assert_int_equal(pb->revision, 2);
    assert_int_equal(pb->sort_order, ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND);
    assert_int_equal(pb->sort_target, ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE);
    assert_true(pb->serializable && pb->keys_only && pb->count_only);
    assert_int_equal(pb->min_mod_revision, 3);
    assert_int_equal(pb->max_mod_revision, 4);
    assert_int_equal(pb->min_create_revision, 5);
    assert_int_equal(pb->max_create_revision, 6);
}

static void test_a_request_of_zeros_is_empty(void **state) {
    assert_int_equal(encode(ETCD_METHOD_PUT, &(struct etcd_put_request){0}).len, 0);
    assert_int_equal(encode(ETCD_METHOD_STATUS, NULL).len, 0);
}

static void test_a_member_list_is_linearizable_unless_asked_otherwise(void **state) {
    assert_true(
        slice_equal(encode(ETCD_METHOD_MEMBER_LIST, &(struct etcd_member_list_request){0}), SLICE_LITERAL("\x08\x01")));
    assert_int_equal(encode(ETCD_METHOD_MEMBER_LIST, &(struct etcd_member_list_request){.serializable = true}).len, 0);
}

static void test_a_transaction_with_every_kind_of_part(void **state) {
    struct etcd_range_request range = {.key = etcd_text("r")};
    struct etcd_put_request put = {.key = etcd_text("p")};
    struct etcd_delete_request del = {.key = etcd_text("d")};
    struct etcd_op inner_ops[] = {{.type = ETCD_OP_DELETE, .delete_range = &del}};
    struct etcd_txn_request inner = {.failure = inner_ops, .failure_count = 1};
    struct etcd_op ops[] = {{.type = ETCD_OP_RANGE, .range = &range},
                            {.type = ETCD_OP_PUT, .put = &put},
                            {.type = ETCD_OP_TXN, .txn = &inner}};
    struct etcd_compare compares[] = {
        {.key = etcd_text("a"), .target = ETCD_VERSION, .result = ETCD_NOT_EQUAL, .number = 0},
        {.key = etcd_text("a"), .target = ETCD_VALUE, .result = ETCD_GREATER, .value = etcd_text("v")},
        {.key = etcd_text("a"), .target = ETCD_LEASE, .result = ETCD_LESS, .number = 9},
        {.key = etcd_text("a"), .target = ETCD_MOD_REVISION, .number = 7, .range_end = etcd_text("b")},
        {.key = etcd_text("a"), .target = ETCD_CREATE_REVISION, .number = 8},
    };
    struct etcd_txn_request txn = {compares, 5, ops, 3, NULL, 0};
    Etcdserverpb__TxnRequest *pb = ENCODED(ETCD_METHOD_TXN, &txn, etcdserverpb__txn_request);
    assert_int_equal(pb->n_compare, 5);
    /* a zero is sent: it is chosen */
    assert_int_equal(pb->compare[0]->target_union_case, ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION);
    assert_int_equal(pb->compare[0]->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL);
    assert_true(slice_equal_cstr(pb_slice(pb->compare[1]->value), "v"));
    assert_int_equal(pb->compare[2]->lease, 9);
    assert_int_equal(pb->compare[3]->mod_revision, 7);
    assert_true(slice_equal_cstr(pb_slice(pb->compare[3]->range_end), "b"));
    assert_int_equal(pb->compare[4]->create_revision, 8);
    assert_int_equal(pb->n_success, 3);
    assert_true(slice_equal_cstr(pb_slice(pb->success[0]->request_range->key), "r"));
    assert_true(slice_equal_cstr(pb_slice(pb->success[1]->request_put->key), "p"));
    Etcdserverpb__TxnRequest *nested = pb->success[2]->request_txn;
    assert_int_equal(nested->n_failure, 1);
    assert_true(slice_equal_cstr(pb_slice(nested->failure[0]->request_delete_range->key), "d"));
}

static void test_a_transaction_nests_only_so_deep(void **state) {
    struct etcd_txn_request txns[CLIENT_MAX_TXN_DEPTH + 1] = {0};
    struct etcd_op ops[CLIENT_MAX_TXN_DEPTH] = {0};
    for (size_t i = 0; i < CLIENT_MAX_TXN_DEPTH; i++) {
        ops[i] = (struct etcd_op){.type = ETCD_OP_TXN, .txn = &txns[i + 1]};
        txns[i] = (struct etcd_txn_request){.success = &ops[i], .success_count = 1};
    }
    struct buf out = BUF_INIT;
    assert_false(client_method_get(ETCD_METHOD_TXN)->encode(&txns[0], &arena, &out));
    assert_true(client_method_get(ETCD_METHOD_TXN)->encode(&txns[1], &arena, &out));
    buf_release(&out);
}

static void test_a_txn_answer_with_every_kind_of_part(void **state) {
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    kv.key = pb_bytes(SLICE_LITERAL("k"));
    kv.value = pb_bytes(SLICE_LITERAL("v"));
    kv.mod_revision = 5;
    Mvccpb__KeyValue *kvs[] = {&kv, &kv};
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    range.kvs = kvs;
    range.n_kvs = 2;
    range.count = 10;
    range.more = true;
    Etcdserverpb__PutResponse put = ETCDSERVERPB__PUT_RESPONSE__INIT;
    put.prev_kv = &kv;
    Etcdserverpb__DeleteRangeResponse del = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    del.deleted = 1;
    del.prev_kvs = kvs;
    del.n_prev_kvs = 1;
    Etcdserverpb__TxnResponse inner = ETCDSERVERPB__TXN_RESPONSE__INIT;
    inner.succeeded = true;
    Etcdserverpb__ResponseOp ops[5];
    Etcdserverpb__ResponseOp *op_list[5];
    for (size_t i = 0; i < 5; i++) {
        etcdserverpb__response_op__init(&ops[i]);
        op_list[i] = &ops[i];
    }
    ops[0].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
    ops[0].response_range = &range;
    ops[1].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
    ops[1].response_put = &put;
    ops[2].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
    ops[2].response_delete_range = &del;
    ops[3].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN;
    ops[3].response_txn = &inner;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.revision = 77;
    Etcdserverpb__TxnResponse txn = ETCDSERVERPB__TXN_RESPONSE__INIT;
    txn.header = &header;
    txn.responses = op_list;
    txn.n_responses = 5;
    struct etcd_txn_response *plain =
        client_decode_answer(client_method_get(ETCD_METHOD_TXN), pb_pack_arena(&txn, &arena));
    assert_non_null(plain);
    assert_int_equal(plain->header.revision, 77);
    assert_false(plain->succeeded);
    assert_int_equal(plain->response_count, 5);
    assert_int_equal(plain->responses[0].range->kv_count, 2);
    assert_int_equal(plain->responses[0].range->kvs[1].mod_revision, 5);
    assert_int_equal(plain->responses[0].range->count, 10);
    assert_true(plain->responses[0].range->more);
    assert_memory_equal(plain->responses[1].put->prev_kv->value.data, "v", 1);
    assert_int_equal(plain->responses[2].delete_range->deleted, 1);
    assert_int_equal(plain->responses[2].delete_range->prev_kv_count, 1);
    assert_true(plain->responses[3].txn->succeeded);
    /* one of a kind nobody knows: an empty range */
    assert_int_equal(plain->responses[4].type, ETCD_OP_RANGE);
    assert_int_equal(plain->responses[4].range->kv_count, 0);
    client_response_free(plain);
}

static void test_every_method_reads_an_empty_answer_and_refuses_garbage(void **state) {
    for (int method = 0; method <= ETCD_METHOD_MOVE_LEADER; method++) {
        void *response = client_decode_answer(client_method_get((enum etcd_method)method), SLICE_NONE);
        assert_non_null(response);
        client_response_free(response);
        assert_null(client_decode_answer(client_method_get((enum etcd_method)method), SLICE_LITERAL("\x0a\xff")));
    }
}

static void test_members_answer(void **state) {
    char *peers[] = {(char[]){"http://a:1"}}, *clients[] = {(char[]){"http://a:2"}, (char[]){"http://a:3"}};
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT;
    member.id = UINT64_MAX;
    member.peerurls = peers;
    member.n_peerurls = 1;
    member.clienturls = clients;
    member.n_clienturls = 2;
    member.islearner = true;
    Etcdserverpb__Member *members[] = {&member};
    Etcdserverpb__MemberAddResponse add = ETCDSERVERPB__MEMBER_ADD_RESPONSE__INIT;
    add.member = &member;
    add.members = members;
    add.n_members = 1;
    struct etcd_members_response *plain =
        client_decode_answer(client_method_get(ETCD_METHOD_MEMBER_ADD), pb_pack_arena(&add, &arena));
    assert_true(plain->member->id == UINT64_MAX);
    assert_string_equal(plain->member->name, "");
    assert_true(plain->member->is_learner);
    assert_int_equal(plain->member_count, 1);
    assert_string_equal(plain->members[0].client_urls[1], "http://a:3");
    client_response_free(plain);
}

static void test_what_may_be_repeated(void **state) {
    static const char *const yes[] = {"/etcdserverpb.KV/Range", "/etcdserverpb.Lease/LeaseGrant",
                                      "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Auth/UserList"};
    static const char *const no[] = {"/etcdserverpb.KV/Put",
                                     "/etcdserverpb.KV/DeleteRange",
                                     "/etcdserverpb.KV/Txn",
                                     "/etcdserverpb.KV/Compact",
                                     "/etcdserverpb.Cluster/MemberAdd",
                                     "/etcdserverpb.Auth/UserAdd",
                                     "/etcdserverpb.Auth/Authenticate",
                                     "/unknown/Method"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) assert_true(client_path_is_repeatable(yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) assert_false(client_path_is_repeatable(no[i]));
}

static void test_watch_creation_carries_filters_and_the_given_revision(void **state) {
    struct etcd_watch_request request = {.key = etcd_text("k"),
                                         .start_revision = 3,
                                         .no_put = true,
                                         .no_delete = true,
                                         .prev_kv = true,
                                         .progress_notify = true,
                                         .fragment = true};
    struct buf out = BUF_INIT;
    client_encode_watch_create(&request, 9, &out);
    Etcdserverpb__WatchRequest *pb = pb_unpack(&etcdserverpb__watch_request__descriptor, buf_slice(&out), &arena);
    buf_release(&out);
    assert_int_equal(pb->create_request->start_revision, 9);
    assert_int_equal(pb->create_request->n_filters, 2);
    assert_int_equal(pb->create_request->filters[1], ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE);
    assert_true(pb->create_request->prev_kv && pb->create_request->progress_notify && pb->create_request->fragment);
    assert_int_equal(pb->create_request->watch_id, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_range_request_with_everything),
        TEST(test_a_request_of_zeros_is_empty),
        TEST(test_a_member_list_is_linearizable_unless_asked_otherwise),
        TEST(test_a_transaction_with_every_kind_of_part),
        TEST(test_a_transaction_nests_only_so_deep),
        TEST(test_a_txn_answer_with_every_kind_of_part),
        TEST(test_every_method_reads_an_empty_answer_and_refuses_garbage),
        TEST(test_members_answer),
        TEST(test_what_may_be_repeated),
        TEST(test_watch_creation_carries_filters_and_the_given_revision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
