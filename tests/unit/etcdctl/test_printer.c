/* Answers in every format, byte for byte as recorded from etcdctl 3.5. */
#include "etcdctl/printer.h"

#include "base/arena.h"
#include "pb/arena_pb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define HEADER_JSON                                                                                                    \
    "\"header\":{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":5,\"raft_term\":" \
    "2}"
#define HEADER_FIELDS                                                                                                  \
    "\"ClusterID\" : 14841639068965178418\n\"MemberID\" : 10276657743932975437\n\"Revision\" : 5\n\"RaftTerm\" : 2\n"

static Etcdserverpb__ResponseHeader header = {
    .base = {&etcdserverpb__response_header__descriptor, 0, NULL},
    .cluster_id = 14841639068965178418u,
    .member_id = 10276657743932975437u,
    .revision = 5,
    .raft_term = 2,
};
static const struct etcd_header client_header = {14841639068965178418u, 10276657743932975437u, 5, 2};

struct output {
    struct buf out, errors;
    struct failure failure;
    struct printer printer;
};

static void begin(struct output *self, enum output_format format) {
    memset(self, 0, sizeof *self);
    self->printer = (struct printer){.format = format, .out = &self->out, .errors = &self->errors};
}

static void check(struct output *self, bool good, const char *want) {
    if (!good) fail_msg("%s", buf_cstr(&self->failure.text));
    assert_string_equal(buf_cstr(&self->out), want);
    buf_release(&self->out);
    buf_release(&self->errors);
    failure_release(&self->failure);
}

static void check_refused(struct output *self, bool good, const char *want) {
    assert_false(good);
    assert_int_equal(self->failure.code, EXIT_BAD_FEATURE);
    assert_string_equal(buf_cstr(&self->failure.text), want);
    assert_int_equal(self->out.len, 0);
    failure_release(&self->failure);
}

static void check_message(enum output_format format, const struct view *view, const void *message, const void *context,
                          const char *want) {
    struct output output;
    begin(&output, format);
    check(&output, print_answer(&output.printer, view, message, context, &output.failure), want);
}

static ProtobufCBinaryData bytes(const char *text) { return pb_bytes(slice_from_cstr(text)); }

static Mvccpb__KeyValue kv(const char *key, const char *value) {
    Mvccpb__KeyValue result;
    mvccpb__key_value__init(&result);
    result.key = bytes(key);
    result.value = bytes(value);
    result.create_revision = 2;
    result.mod_revision = 4;
    result.version = 3;
    return result;
}

static void test_ranges(void **state) {
    Mvccpb__KeyValue a = kv("a\"<", "x\n"), b = kv("b", "");
    b.lease = 7;
    Mvccpb__KeyValue *kvs[] = {&a, &b};
    Etcdserverpb__RangeResponse response;
    etcdserverpb__range_response__init(&response);
    response.header = &header;
    response.kvs = kvs;
    response.n_kvs = 2;
    response.more = true;
    response.count = 9;
    check_message(OUTPUT_SIMPLE, &view_range, &response, NULL, "a\"<\nx\n\nb\n\n");
    check_message(OUTPUT_JSON, &view_range, &response, NULL,
                  "{" HEADER_JSON ",\"kvs\":[{\"key\":\"YSI8\",\"create_revision\":2,\"mod_revision\":4,\"version\":3,"
                  "\"value\":\"eAo=\"},{\"key\":\"Yg==\",\"create_revision\":2,\"mod_revision\":4,\"version\":3,"
                  "\"lease\":7}],\"more\":true,\"count\":9}\n");
    check_message(OUTPUT_FIELDS, &view_range, &response, NULL,
                  HEADER_FIELDS
                  "\"Key\" : \"a\\\"<\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 4\n\"Version\" : 3\n\"Value\" : "
                  "\"x\\n\"\n\"Lease\" : 0\n\"Key\" : \"b\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 4\n\"Version\" "
                  ": 3\n\"Value\" : \"\"\n\"Lease\" : 7\n\"More\" : true\n\"Count\" : 9\n");
    struct output output;
    begin(&output, OUTPUT_SIMPLE);
    output.printer.hex = true;
    check(&output, print_answer(&output.printer, &view_range, &response, NULL, &output.failure),
          "\\x61\\x22\\x3c\n\\x78\\x0a\n\\x62\n\n");
    begin(&output, OUTPUT_SIMPLE);
    output.printer.value_only = true;
    check(&output, print_answer(&output.printer, &view_range, &response, NULL, &output.failure), "x\n\n\n");
    begin(&output, OUTPUT_TABLE);
    check_refused(&output, print_answer(&output.printer, &view_range, &response, NULL, &output.failure),
                  "table not supported as output format");
}

static void test_transactions(void **state) {
    Etcdserverpb__ResponseHeader inner;
    etcdserverpb__response_header__init(&inner);
    inner.revision = 5;
    Etcdserverpb__PutResponse put;
    etcdserverpb__put_response__init(&put);
    put.header = &inner;
    Mvccpb__KeyValue old = kv("k2", "v2");
    Mvccpb__KeyValue *olds[] = {&old};
    Etcdserverpb__DeleteRangeResponse deleted;
    etcdserverpb__delete_range_response__init(&deleted);
    deleted.header = &inner;
    deleted.deleted = 1;
    deleted.prev_kvs = olds;
    deleted.n_prev_kvs = 1;
    Etcdserverpb__TxnResponse nested;
    etcdserverpb__txn_response__init(&nested);
    Etcdserverpb__ResponseOp ops[3];
    Etcdserverpb__ResponseOp *list[3];
    for (size_t i = 0; i < 3; i++) {
        etcdserverpb__response_op__init(&ops[i]);
        list[i] = &ops[i];
    }
    ops[0].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
    ops[0].response_put = &put;
    ops[1].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
    ops[1].response_delete_range = &deleted;
    ops[2].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN;
    ops[2].response_txn = &nested;
    Etcdserverpb__TxnResponse response;
    etcdserverpb__txn_response__init(&response);
    response.header = &header;
    response.succeeded = true;
    response.responses = list;
    response.n_responses = 3;
    check_message(OUTPUT_SIMPLE, &view_txn, &response, NULL, "SUCCESS\n\nOK\n\n1\nk2\nv2\n\nFAILURE\n");
    check_message(OUTPUT_JSON, &view_txn, &response, NULL,
                  "{" HEADER_JSON
                  ",\"succeeded\":true,\"responses\":[{\"Response\":{\"response_put\":{\"header\":{\"revision\":5}}}},{"
                  "\"Response\":{\"response_delete_range\":{\"header\":{\"revision\":5},\"deleted\":1,\"prev_kvs\":[{"
                  "\"key\":\"azI=\",\"create_revision\":2,\"mod_revision\":4,\"version\":3,\"value\":\"djI=\"}]}}},{"
                  "\"Response\":{\"response_txn\":{}}}]}\n");
    response.n_responses = 1;
    check_message(OUTPUT_FIELDS, &view_txn, &response, NULL,
                  HEADER_FIELDS
                  "\"Succeeded\" : true\n\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 5\n\"RaftTerm\" : 0\n");
}

static void test_leases(void **state) {
    struct output output;
    struct etcd_lease_grant_response grant = {client_header, 0x1234, 100};
    begin(&output, OUTPUT_SIMPLE);
    check(&output, print_lease_grant(&output.printer, &grant, &output.failure),
          "lease 0000000000001234 granted with TTL(100s)\n");
    begin(&output, OUTPUT_JSON);
    check(&output, print_lease_grant(&output.printer, &grant, &output.failure),
          "{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":5,\"raft_term\":2,"
          "\"ID\":4660,\"TTL\":100,\"Error\":\"\"}\n");

    struct etcd_bytes keys[] = {etcd_text("lk1"), etcd_text("lk2")};
    struct etcd_lease_ttl_response ttl = {client_header, 0x1234, 99, 100, keys, 2};
    begin(&output, OUTPUT_SIMPLE);
    check(&output, print_lease_ttl(&output.printer, &ttl, true, &output.failure),
          "lease 0000000000001234 granted with TTL(100s), remaining(99s), attached keys([lk1 lk2])\n");
    begin(&output, OUTPUT_JSON);
    check(&output, print_lease_ttl(&output.printer, &ttl, true, &output.failure),
          "{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":5,\"raft_term\":2,"
          "\"id\":4660,\"ttl\":99,\"granted-ttl\":100,\"keys\":[\"bGsx\",\"bGsy\"]}\n");
    begin(&output, OUTPUT_FIELDS);
    check(&output, print_lease_ttl(&output.printer, &ttl, true, &output.failure),
          HEADER_FIELDS "\"ID\" : 4660\n\"TTL\" : 99\n\"GrantedTTL\" : 100\n\"Key\" : \"lk1\"\n\"Key\" : \"lk2\"\n");
    ttl = (struct etcd_lease_ttl_response){client_header, 0x1234, -1, 0, NULL, 0};
    begin(&output, OUTPUT_SIMPLE);
    check(&output, print_lease_ttl(&output.printer, &ttl, false, &output.failure),
          "lease 0000000000001234 already expired\n");

    struct etcd_lease_list_response none = {client_header, NULL, 0};
    begin(&output, OUTPUT_JSON);
    check(&output, print_lease_list(&output.printer, &none, &output.failure),
          "{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":5,\"raft_term\":2,"
          "\"leases\":[]}\n");
    begin(&output, OUTPUT_PROTOBUF);
    assert_true(print_lease_list(&output.printer, &none, &output.failure));
    assert_int_equal(output.out.len, 26); /* only the header */
    buf_release(&output.out);
    begin(&output, OUTPUT_PROTOBUF);
    check_refused(&output, print_lease_revoke(&output.printer, 1, &client_header, &output.failure),
                  "marshal unsupported for type clientv3.LeaseRevokeResponse ({cluster_id:14841639068965178418 "
                  "member_id:10276657743932975437 revision:5 raft_term:2  {} [] 0})");
}

static void test_watches(void **state) {
    struct etcd_kv before = {.key = etcd_text("w/a"), .value = etcd_text("1"), 2, 2, 1, 0};
    struct etcd_event events[] = {
        {ETCD_EVENT_PUT, before, NULL},
        {ETCD_EVENT_DELETE, {.key = etcd_text("w/a"), .mod_revision = 4}, &before},
    };
    struct etcd_watch_response response = {.header = client_header, .events = events, .event_count = 2};
    struct output output;
    begin(&output, OUTPUT_SIMPLE);
    check(&output, print_watch(&output.printer, &response, &output.failure), "PUT\nw/a\n1\nDELETE\nw/a\n1\nw/a\n\n");
    begin(&output, OUTPUT_JSON);
    check(&output, print_watch(&output.printer, &response, &output.failure),
          "{\"Header\":{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":5,"
          "\"raft_term\":2},\"Events\":[{\"kv\":{\"key\":\"dy9h\",\"create_revision\":2,\"mod_revision\":2,"
          "\"version\":1,\"value\":\"MQ==\"}},{\"type\":1,\"kv\":{\"key\":\"dy9h\",\"mod_revision\":4},\"prev_kv\":{"
          "\"key\":\"dy9h\",\"create_revision\":2,\"mod_revision\":2,\"version\":1,\"value\":\"MQ==\"}}],"
          "\"CompactRevision\":0,\"Canceled\":false,\"Created\":false}\n");
    struct etcd_watch_response refused = {
        .header = client_header, .created = true, .canceled = true, .cancel_reason = "permission denied"};
    begin(&output, OUTPUT_JSON);
    check(&output, print_watch(&output.printer, &refused, &output.failure),
          "{\"Header\":{},\"Events\":null,\"CompactRevision\":0,\"Canceled\":true,\"Created\":false}\n");
    struct etcd_watch_response compacted = {
        .header = client_header, .canceled = true, .compact_revision = 4, .cancel_reason = ""};
    begin(&output, OUTPUT_JSON);
    check(&output, print_watch(&output.printer, &compacted, &output.failure),
          "{\"Header\":{\"cluster_id\":14841639068965178418,\"member_id\":10276657743932975437,\"revision\":5,"
          "\"raft_term\":2},\"Events\":[],\"CompactRevision\":4,\"Canceled\":true,\"Created\":false}\n");
}

static void test_members(void **state) {
    char peer1[] = "http://127.0.0.1:30991", peer2[] = "http://127.0.0.1:30992", name[] = "default";
    char peer3[] = "http://localhost:2380", client3[] = "http://127.0.0.1:30100";
    char *peers1[] = {peer1, peer2}, *peers2[] = {peer3}, *clients2[] = {client3};
    Etcdserverpb__Member first, second;
    etcdserverpb__member__init(&first);
    etcdserverpb__member__init(&second);
    first.id = 0x123;
    first.peerurls = peers1;
    first.n_peerurls = 2;
    first.islearner = true;
    second.id = 10276657743932975437u;
    second.name = name;
    second.peerurls = peers2;
    second.n_peerurls = 1;
    second.clienturls = clients2;
    second.n_clienturls = 1;
    Etcdserverpb__Member *members[] = {&first, &second};
    Etcdserverpb__MemberListResponse response;
    etcdserverpb__member_list_response__init(&response);
    response.header = &header;
    response.members = members;
    response.n_members = 2;
    struct output output;
    begin(&output, OUTPUT_SIMPLE);
    check(&output, print_members(&output.printer, &response, &output.failure),
          "123, unstarted, , http://127.0.0.1:30991,http://127.0.0.1:30992, , true\n"
          "8e9e05c52164694d, started, default, http://localhost:2380, http://127.0.0.1:30100, false\n");
    begin(&output, OUTPUT_TABLE);
    check(&output, print_members(&output.printer, &response, &output.failure),
          "+------------------+-----------+---------+-----------------------------------------------+---------------"
          "---------+------------+\n"
          "|        ID        |  STATUS   |  NAME   |                  PEER ADDRS                   |      CLIENT "
          "ADDRS      | IS LEARNER |\n"
          "+------------------+-----------+---------+-----------------------------------------------+---------------"
          "---------+------------+\n"
          "|              123 | unstarted |         | http://127.0.0.1:30991,http://127.0.0.1:30992 |               "
          "         |       true |\n"
          "| 8e9e05c52164694d |   started | default |                         http://localhost:2380 | "
          "http://127.0.0.1:30100 |      false |\n"
          "+------------------+-----------+---------+-----------------------------------------------+---------------"
          "---------+------------+\n");
    begin(&output, OUTPUT_JSON);
    output.printer.hex = true;
    check(&output, print_members(&output.printer, &response, &output.failure),
          "{\"header\":{\"cluster_id\":\"cdf818194e3a8c32\",\"member_id\":\"8e9e05c52164694d\",\"raft_term\":2},"
          "\"members\":[{\"ID\":\"123\",\"name\":\"\",\"peerURLs\":[\"http://127.0.0.1:30991\","
          "\"http://127.0.0.1:30992\"],\"clientURLS\":null},{\"ID\":\"8e9e05c52164694d\",\"name\":\"default\","
          "\"peerURLs\":[\"http://localhost:2380\"],\"clientURLS\":[\"http://127.0.0.1:30100\"]}]}\n");
}

static Etcdserverpb__StatusResponse status_with(char **errors, size_t count) {
    static char version[] = "3.5.33";
    Etcdserverpb__StatusResponse status;
    etcdserverpb__status_response__init(&status);
    status.header = &header;
    status.version = version;
    status.dbsize = 20480;
    status.dbsizeinuse = 16384;
    status.leader = header.member_id;
    status.raftindex = status.raftappliedindex = 16;
    status.raftterm = 2;
    status.errors = errors;
    status.n_errors = count;
    return status;
}

static void test_a_long_cell_is_wrapped(void **state) {
    char alarm[] = "memberID:10276657743932975437 alarm:NOSPACE ";
    char *errors[] = {alarm};
    Etcdserverpb__StatusResponse status = status_with(errors, 1);
    struct endpoint_status list = {"127.0.0.1:30100", &status};
    struct output output;
    begin(&output, OUTPUT_TABLE);
    check(&output, print_endpoint_status(&output.printer, &list, 1, &output.failure),
          "+-----------------+------------------+---------+---------+-----------+------------+-----------+------------+"
          "--------------------+--------------------------------+\n"
          "|    ENDPOINT     |        ID        | VERSION | DB SIZE | IS LEADER | IS LEARNER | RAFT TERM | RAFT INDEX |"
          " RAFT APPLIED INDEX |             ERRORS             |\n"
          "+-----------------+------------------+---------+---------+-----------+------------+-----------+------------+"
          "--------------------+--------------------------------+\n"
          "| 127.0.0.1:30100 | 8e9e05c52164694d |  3.5.33 |   20 kB |      true |      false |         2 |         16 |"
          "                 16 |  memberID:10276657743932975437 |\n"
          "|                 |                  |         |         |           |            |           |            |"
          "                    |                 alarm:NOSPACE  |\n"
          "+-----------------+------------------+---------+---------+-----------+------------+-----------+------------+"
          "--------------------+--------------------------------+\n");
}

static void test_endpoint_status(void **state) {
    Etcdserverpb__StatusResponse status = status_with(NULL, 0);
    struct endpoint_status list = {"127.0.0.1:30100", &status};
    struct output output;
    begin(&output, OUTPUT_SIMPLE);
    check(&output, print_endpoint_status(&output.printer, &list, 1, &output.failure),
          "127.0.0.1:30100, 8e9e05c52164694d, 3.5.33, 20 kB, true, false, 2, 16, 16, \n");
    begin(&output, OUTPUT_JSON);
    check(&output, print_endpoint_status(&output.printer, &list, 1, &output.failure),
          "[{\"Endpoint\":\"127.0.0.1:30100\",\"Status\":{" HEADER_JSON
          ",\"version\":\"3.5.33\",\"dbSize\":20480,\"leader\":10276657743932975437,\"raftIndex\":16,\"raftTerm\":2,"
          "\"raftAppliedIndex\":16,\"dbSizeInUse\":16384}}]\n");
    begin(&output, OUTPUT_FIELDS);
    check(&output, print_endpoint_status(&output.printer, &list, 1, &output.failure),
          HEADER_FIELDS "\"Version\" : \"3.5.33\"\n\"DBSize\" : 20480\n\"Leader\" : 10276657743932975437\n"
                        "\"IsLearner\" : false\n\"RaftIndex\" : 16\n\"RaftAppliedIndex\" : 16\n\"Errors\" : []\n"
                        "\"Endpoint\" : \"127.0.0.1:30100\"\n\n");
    begin(&output, OUTPUT_JSON);
    check(&output, print_endpoint_status(&output.printer, NULL, 0, &output.failure), "[]\n");
}

static void test_endpoint_health(void **state) {
    struct endpoint_health list[] = {
        {"a:1", true, "1.5ms", ""},
        {"b:2", false, "300ms", "context deadline exceeded"},
    };
    struct output output;
    begin(&output, OUTPUT_SIMPLE);
    assert_true(print_endpoint_health(&output.printer, list, 2, &output.failure));
    assert_string_equal(buf_cstr(&output.errors),
                        "b:2 is unhealthy: failed to commit proposal: context deadline exceeded\n");
    check(&output, true, "a:1 is healthy: successfully committed proposal: took = 1.5ms\n");
    begin(&output, OUTPUT_JSON);
    check(&output, print_endpoint_health(&output.printer, list, 2, &output.failure),
          "[{\"endpoint\":\"a:1\",\"health\":true,\"took\":\"1.5ms\"},{\"endpoint\":\"b:2\",\"health\":false,"
          "\"took\":\"300ms\",\"error\":\"context deadline exceeded\"}]\n");
    begin(&output, OUTPUT_PROTOBUF);
    check_refused(&output, print_endpoint_health(&output.printer, list, 2, &output.failure),
                  "protobuf not supported as output format");
}

static void test_permissions(void **state) {
    Authpb__Permission permissions[4];
    Authpb__Permission *list[4];
    for (size_t i = 0; i < 4; i++) {
        authpb__permission__init(&permissions[i]);
        list[i] = &permissions[i];
    }
    permissions[0].permtype = AUTHPB__PERMISSION__TYPE__READWRITE;
    permissions[0].key = bytes("a");
    permissions[0].range_end = bytes("c");
    permissions[1].permtype = AUTHPB__PERMISSION__TYPE__WRITE;
    permissions[1].key = bytes("bar");
    permissions[2].key = bytes("dir/");
    permissions[2].range_end = bytes("dir0");
    permissions[3].permtype = AUTHPB__PERMISSION__TYPE__WRITE;
    permissions[3].key = bytes("m");
    permissions[3].range_end = pb_bytes(SLICE_LITERAL("\0"));
    Etcdserverpb__AuthRoleGetResponse response;
    etcdserverpb__auth_role_get_response__init(&response);
    response.header = &header;
    response.perm = list;
    response.n_perm = 4;
    check_message(OUTPUT_SIMPLE, &view_role_get, &response, "r1",
                  "Role r1\nKV Read:\n\t[a, c)\n\t[dir/, dir0) (prefix dir/)\nKV Write:\n\t[a, c)\n\tbar\n\t[m, <open "
                  "ended>\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),          cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_leases),          cmocka_unit_test(test_watches),
        cmocka_unit_test(test_members),         cmocka_unit_test(test_a_long_cell_is_wrapped),
        cmocka_unit_test(test_endpoint_status), cmocka_unit_test(test_endpoint_health),
        cmocka_unit_test(test_permissions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
