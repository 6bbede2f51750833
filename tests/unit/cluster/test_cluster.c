#include "cluster/cluster.h"

#include "base/mem.h"

#include "../backend/own_backend.h"

#include <inttypes.h>

static int setup(void **state) {
    struct own_backend *self = NEW(struct own_backend);
    own_backend_init(self);
    *state = self;
    return 0;
}

static int teardown(void **state) {
    own_backend_release(*state);
    mem_free(*state);
    return 0;
}

static void read_golden(const char *name, struct buf *out) {
    char path[512];
    snprintf(path, sizeof path, "%s/golden/cluster/%s", TEST_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;) buf_append_byte(out, (uint8_t)c);
    fclose(file);
}

static enum err apply(struct cluster *cluster, enum raft_conf_change_type type, uint64_t id, const char *context,
                      bool persist) {
    struct raft_conf_change change = {
        .type = type, .node_id = id, .context = context == NULL ? SLICE_NONE : slice_from_cstr(context)};
    enum err error = cluster_validate_conf_change(cluster, &change);
    struct cluster_change what;
    if (error == OK) {
        cluster_apply_conf_change(cluster, &change, persist, &what);
        assert_int_equal(what.id, id);
    }
    return error;
}

static void assert_stored(struct backend *backend, enum backend_bucket bucket, const char *key, const char *value) {
    struct slice stored;
    assert_int_equal(backend_get(backend, bucket, slice_from_cstr(key), &stored), OK);
    if (value == NULL) {
        assert_null(stored.data);
        return;
    }
    assert_non_null(stored.data);
    assert_int_equal(stored.len, strlen(value));
    assert_memory_equal(stored.data, value, stored.len);
}

/* The checks of spec raft-wire 10. */
static void ids_are_those_of_a_go_member(void **state) {
    const char *one[] = {"http://10.0.0.8:2379"};
    assert_int_equal(cluster_member_id(one, 1, "", -1), 14544069596553697298u);
    assert_int_equal(cluster_member_id(one, 1, "", 472662245), 2448790162483548276u);
    assert_int_equal(cluster_member_id(one, 1, "etcd", 472662245), 6973882743191604649u);
    const char *two[] = {"http://10.0.0.2:2379", "http://10.0.0.1:2379"};
    assert_int_equal(cluster_member_id(two, 2, "", -1), 16552244735972308939u);
    const char *local[] = {"http://localhost:2380"};
    uint64_t id = cluster_member_id(local, 1, "etcd-cluster", -1);
    assert_int_equal(id, 0x8e9e05c52164694d);
    assert_int_equal(cluster_id_of(&id, 1), 0xcdf818194e3a8c32);
}

static void an_initial_cluster_becomes_members(void **state) {
    struct urls_map map;
    struct errmsg message = {{0}};
    assert_int_equal(urls_map_parse(SLICE_LITERAL("n3=http://127.0.0.1:30223,n1=http://127.0.0.1:30221,"
                                                  "n2=http://127.0.0.1:30222"),
                                    &map, &message),
                     OK);
    struct member_list list;
    assert_int_equal(member_list_from_urls_map(&map, "etcd-cluster", &list, &message), OK);
    assert_int_equal(list.count, 3);
    assert_true(list.items[0].id < list.items[1].id && list.items[1].id < list.items[2].id);
    struct buf json CLEANUP_BUF = BUF_INIT;
    const struct member *n1 = member_list_find_name(&list, "n1");
    member_append_json(n1, false, &json);
    char expected[128];
    snprintf(expected, sizeof expected,
             "{\"id\":%" PRIu64 ",\"peerURLs\":[\"http://127.0.0.1:30221\"],\"name\":\"n1\"}", n1->id);
    assert_string_equal(buf_cstr(&json), expected);
    member_list_release(&list);
    urls_map_release(&map);

    assert_int_equal(urls_map_parse(SLICE_LITERAL("a=http://h:1,b=http://h:1"), &map, &message), OK);
    assert_int_equal(member_list_from_urls_map(&map, "t", &list, &message), ERR_INVALID);
    assert_true(strncmp(message.text, "member exists with identical ID ", 32) == 0);
    urls_map_release(&map);
}

static void member_json_round_trips(void **state) {
    const char *texts[] = {
        "{\"id\":10276657743932975437,\"peerURLs\":[\"http://localhost:2380\"],\"name\":\"default\","
        "\"clientURLs\":[\"http://127.0.0.1:2379\"]}",
        "{\"id\":18446744073709551615,\"peerURLs\":[\"http://a:1\",\"http://b:1\"],\"isLearner\":true}",
        "{\"id\":1,\"peerURLs\":null,\"isPromote\":true}",
        "{\"id\":0,\"peerURLs\":[],\"name\":\"\\u003c\\\"12345678901234567890\\\\\\u2028\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct member member;
        bool is_promote;
        struct errmsg message = {{0}};
        assert_int_equal(member_parse_json(slice_from_cstr(texts[i]), &member, &is_promote, &message), OK);
        struct buf json CLEANUP_BUF = BUF_INIT;
        member_append_json(&member, is_promote, &json);
        assert_string_equal(buf_cstr(&json), texts[i]);
        member_release(&member);
    }
    const char *bad[] = {"",
                         "{",
                         "[]",
                         "{}",
                         "{\"id\":-1}",
                         "{\"id\":18446744073709551616}",
                         "{\"id\":1,\"peerURLs\":[1]}",
                         "{\"id\":1,\"name\":2}",
                         "{\"id\":1.5}",
                         "{\"id\":1,\"peerURLs\":\"x\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct member member;
        bool is_promote;
        assert_int_equal(member_parse_json(slice_from_cstr(bad[i]), &member, &is_promote, NULL), ERR_CORRUPT);
    }
    struct member_list list;
    struct errmsg message = {{0}};
    assert_int_equal(member_list_parse_json(SLICE_LITERAL("[{\"id\":2,\"peerURLs\":[\"http://b:1\"]},"
                                                          "{\"peerURLs\":[\"http://a:1\"],\"id\":1,\"x\":{}}]\n"),
                                            &list, &message),
                     OK);
    assert_int_equal(list.items[0].id, 1);
    member_list_release(&list);
    assert_int_equal(member_list_parse_json(SLICE_LITERAL("[{\"id\":2},{}]"), &list, &message), ERR_CORRUPT);
    assert_int_equal(member_list_parse_json(SLICE_LITERAL("{}"), &list, &message), ERR_CORRUPT);
}

/* What the recorded members did, entry by entry. */
static void replay_learner_removed(struct cluster *cluster, bool persist) {
    assert_int_equal(
        apply(cluster, RAFT_ADD_NODE, 0x9d355f4e8ce901cf,
              "{\"id\":11328065228696519119,\"peerURLs\":[\"http://127.0.0.1:23911\"],\"name\":\"default\"}", persist),
        OK);
    assert_int_equal(cluster_apply_v2_request(cluster, SLICE_LITERAL("PUT"),
                                              SLICE_LITERAL("/0/members/9d355f4e8ce901cf/attributes"),
                                              SLICE_LITERAL("{\"name\":\"default\",\"clientURLs\":["
                                                            "\"http://127.0.0.1:23910\"]}"),
                                              persist),
                     CLUSTER_V2_ATTRIBUTES);
    assert_int_equal(cluster_apply_v2_request(cluster, SLICE_LITERAL("PUT"), SLICE_LITERAL("/0/version"),
                                              SLICE_LITERAL("3.5.0"), persist),
                     CLUSTER_V2_VERSION);
    assert_int_equal(apply(cluster, RAFT_ADD_LEARNER_NODE, 0x9fa6ef439bca7bbe,
                           "{\"id\":11504145371820096446,\"peerURLs\":[\"http://127.0.0.1:23921\"],\"isLearner\":true}",
                           persist),
                     OK);
    assert_int_equal(apply(cluster, RAFT_REMOVE_NODE, 0x9fa6ef439bca7bbe, NULL, persist), OK);
    assert_int_equal(apply(cluster, RAFT_UPDATE_NODE, 0x9d355f4e8ce901cf,
                           "{\"id\":11328065228696519119,\"peerURLs\":[\"http://127.0.0.1:23911\","
                           "\"http://localhost:23912\"]}",
                           persist),
                     OK);
    assert_int_equal(
        apply(cluster, RAFT_ADD_LEARNER_NODE, 0x40564817a4853bc7,
              "{\"id\":4635972132806147015,\"peerURLs\":[\"http://127.0.0.1:23931\",\"http://a\\u003cb:2\"],"
              "\"isLearner\":true}",
              persist),
        OK);
}

/* Our JSON is the recorded one without what we leave out: WatcherHub and Stats. */
static void assert_same_store(const struct cluster *cluster, struct buf *golden) {
    struct buf ours CLEANUP_BUF = BUF_INIT;
    cluster_append_v2_json(cluster, &ours);
    const char *theirs = buf_cstr(golden);
    const char *hub = strstr(theirs, ",\"WatcherHub\"");
    const char *index = strstr(theirs, ",\"CurrentIndex\":");
    const char *stats = strstr(theirs, ",\"Stats\":");
    const char *version = strstr(theirs, ",\"CurrentVersion\":");
    /* the hub's events may hold a CurrentIndex of their own only before it */
    assert_true(hub != NULL && index > hub && stats > index && version > stats);
    struct buf expected CLEANUP_BUF = BUF_INIT;
    buf_append(&expected, theirs, (size_t)(hub - theirs));
    buf_append(&expected, index, (size_t)(stats - index));
    buf_append_cstr(&expected, version);
    assert_string_equal(buf_cstr(&ours), buf_cstr(&expected));
}

static void the_v2_store_is_written_as_a_go_member_does(void **state) {
    struct cluster *cluster = cluster_new(1, 0x9d355f4e8ce901cf, NULL);
    replay_learner_removed(cluster, false);
    struct buf golden CLEANUP_BUF = BUF_INIT;
    read_golden("learner-removed.v2.json", &golden);
    assert_same_store(cluster, &golden);
    cluster_free(cluster);
}

static void the_v2_store_of_a_go_member_is_read(void **state) {
    const char *files[] = {"single.v2.json", "learner-removed.v2.json"};
    for (size_t i = 0; i < 2; i++) {
        struct cluster *cluster = cluster_new(1, 2, NULL);
        struct buf golden CLEANUP_BUF = BUF_INIT;
        struct errmsg message = {{0}};
        read_golden(files[i], &golden);
        assert_int_equal(cluster_recover_v2(cluster, buf_slice(&golden), &message), OK);
        assert_same_store(cluster, &golden);
        assert_int_equal(cluster_member_count(cluster), i + 1);
        cluster_free(cluster);
    }
}

static void odd_and_broken_stores(void **state) {
    struct cluster *cluster = cluster_new(1, 2, NULL);
    struct errmsg message = {{0}};
    /* user data, unknown fields, missing indexes and any order of fields are read over */
    assert_int_equal(
        cluster_recover_v2(
            cluster,
            SLICE_LITERAL("{\"Extra\":[1,99999999999999999999],\"Root\":{\"Children\":{\"1\":{\"Children\":{\"user\":"
                          "{\"Value\":\"x\"}}},\"0\":{\"Children\":{\"members\":{\"Children\":{\"ff\":{\"Children\":"
                          "{\"raftAttributes\":{\"Value\":\"{\\\"peerURLs\\\":null}\"}}}}}}}}}}"),
            &message),
        OK);
    assert_int_equal(cluster_member_count(cluster), 1);
    assert_non_null(cluster_member(cluster, 0xff));
    assert_int_equal(cluster_recover_v2(cluster, SLICE_NONE, &message), OK);
    assert_int_equal(cluster_member_count(cluster), 0);
    const char *bad[] = {
        "{}",
        "x",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":{\"Children\":{\"ff\":{\"Children\":{}}}}}}}}}",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":{\"Children\":{\"xyz\":{\"Children\":{}}}}}}}}}",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"version\":{\"Value\":\"three\"}}}}}}",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":{\"Children\":{\"ff\":{\"Children\":"
        "{\"raftAttributes\":{\"Value\":\"no json\"}}}}}}}}}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(cluster_recover_v2(cluster, slice_from_cstr(bad[i]), &message), ERR_CORRUPT);
    cluster_free(cluster);
}

static void the_backend_gets_the_bytes_of_a_go_member(void **state) {
    struct own_backend *self = *state;
    struct cluster *cluster = cluster_new(1, 0x9d355f4e8ce901cf, NULL);
    cluster_set_backend(cluster, self->backend);
    replay_learner_removed(cluster, true);
    cluster_set_downgrade(cluster, (struct downgrade_info){true, {3, 4, 0}}, true);
    assert_stored(self->backend, BACKEND_CLUSTER, "downgrade", "{\"target-version\":\"3.4.0\",\"enabled\":true}");
    assert_stored(self->backend, BACKEND_CLUSTER, "clusterVersion", "3.5.0");
    assert_stored(self->backend, BACKEND_MEMBERS, "9d355f4e8ce901cf",
                  "{\"id\":11328065228696519119,\"peerURLs\":[\"http://127.0.0.1:23911\",\"http://localhost:23912\"],"
                  "\"name\":\"default\",\"clientURLs\":[\"http://127.0.0.1:23910\"]}");
    assert_stored(self->backend, BACKEND_MEMBERS, "40564817a4853bc7",
                  "{\"id\":4635972132806147015,\"peerURLs\":[\"http://127.0.0.1:23931\",\"http://a\\u003cb:2\"],"
                  "\"isLearner\":true}");
    assert_stored(self->backend, BACKEND_MEMBERS, "9fa6ef439bca7bbe", NULL);
    assert_stored(self->backend, BACKEND_MEMBERS_REMOVED, "9fa6ef439bca7bbe", "removed");

    struct cluster *other = cluster_new(1, 2, NULL);
    struct errmsg message = {{0}};
    assert_int_equal(cluster_recover_backend(other, self->backend, &message), OK);
    struct buf ours CLEANUP_BUF = BUF_INIT;
    struct buf theirs CLEANUP_BUF = BUF_INIT;
    cluster_append_members_json(cluster, &ours);
    cluster_append_members_json(other, &theirs);
    assert_string_equal(buf_cstr(&ours), buf_cstr(&theirs));
    assert_true(cluster_is_removed(other, 0x9fa6ef439bca7bbe));
    assert_int_equal(version_compare(cluster_version(other), (struct version){3, 5, 0}), 0);
    assert_true(cluster_downgrade(other).enabled);
    assert_int_equal(cluster_voter_count(other), 1);
    assert_int_equal(cluster_started_voter_count(other), 1);
    cluster_free(other);
    cluster_set_downgrade(cluster, (struct downgrade_info){false, {0}}, true);
    assert_stored(self->backend, BACKEND_CLUSTER, "downgrade", "{\"target-version\":\"\",\"enabled\":false}");
    cluster_free(cluster);
}

static void replayed_entries_change_memory_only(void **state) {
    struct own_backend *self = *state;
    struct cluster *cluster = cluster_new(1, 0x9d355f4e8ce901cf, NULL);
    cluster_set_backend(cluster, self->backend);
    replay_learner_removed(cluster, false);
    assert_stored(self->backend, BACKEND_MEMBERS, "9d355f4e8ce901cf", NULL);
    assert_stored(self->backend, BACKEND_CLUSTER, "clusterVersion", NULL);
    assert_int_equal(cluster_member_count(cluster), 2);
    cluster_free(cluster);
}

static void zombies_leave_the_backend(void **state) {
    struct own_backend *self = *state;
    struct cluster *cluster = cluster_new(1, 1, NULL);
    cluster_set_backend(cluster, self->backend);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 1, "{\"id\":1,\"peerURLs\":[\"http://a:1\"]}", true), OK);
    backend_put(self->backend, BACKEND_MEMBERS, SLICE_LITERAL("2"), SLICE_LITERAL("{\"id\":2,\"peerURLs\":null}"));
    backend_put(self->backend, BACKEND_MEMBERS, SLICE_LITERAL("1"),
                SLICE_LITERAL("{\"id\":1,\"peerURLs\":null,\"isLearner\":true}"));
    cluster_sync_backend(cluster);
    assert_stored(self->backend, BACKEND_MEMBERS, "2", NULL);
    assert_stored(self->backend, BACKEND_MEMBERS, "1", "{\"id\":1,\"peerURLs\":[\"http://a:1\"]}");
    cluster_free(cluster);
}

static void conf_changes_are_validated(void **state) {
    struct cluster *cluster = cluster_new(1, 1, NULL);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 1, "{\"id\":1,\"peerURLs\":[\"http://a:1\"]}", false), OK);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 1, "{\"id\":1,\"peerURLs\":[\"http://b:1\"]}", false),
                     ERR_MEMBER_EXISTS);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 2, "{\"id\":2,\"peerURLs\":[\"http://b:1\",\"http://a:1\"]}", false),
                     ERR_PEER_URL_EXISTS);
    assert_int_equal(
        apply(cluster, RAFT_ADD_LEARNER_NODE, 2, "{\"id\":2,\"peerURLs\":[\"http://b:1\"],\"isLearner\":true}", false),
        OK);
    assert_int_equal(
        apply(cluster, RAFT_ADD_LEARNER_NODE, 3, "{\"id\":3,\"peerURLs\":[\"http://c:1\"],\"isLearner\":true}", false),
        ERR_TOO_MANY_LEARNERS);
    assert_true(cluster_is_learner(cluster, 2));
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 1, "{\"id\":1,\"peerURLs\":null,\"isPromote\":true}", false),
                     ERR_MEMBER_NOT_LEARNER);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 9, "{\"id\":9,\"peerURLs\":null,\"isPromote\":true}", false),
                     ERR_MEMBER_NOT_FOUND);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 2, "{\"id\":2,\"peerURLs\":null,\"isPromote\":true}", false), OK);
    assert_false(cluster_is_learner(cluster, 2));
    assert_string_equal(cluster_member(cluster, 2)->peer_urls.items[0], "http://b:1");
    assert_int_equal(apply(cluster, RAFT_UPDATE_NODE, 2, "{\"id\":2,\"peerURLs\":[\"http://a:1\"]}", false),
                     ERR_PEER_URL_EXISTS);
    assert_int_equal(apply(cluster, RAFT_UPDATE_NODE, 2, "{\"id\":2,\"peerURLs\":[\"http://b:1\"]}", false), OK);
    assert_int_equal(apply(cluster, RAFT_UPDATE_NODE, 9, "{\"id\":9,\"peerURLs\":[]}", false), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(apply(cluster, RAFT_REMOVE_NODE, 9, NULL, false), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(apply(cluster, RAFT_REMOVE_NODE, 2, NULL, false), OK);
    assert_true(cluster_is_removed(cluster, 2));
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 2, "{\"id\":2,\"peerURLs\":[\"http://d:1\"]}", false),
                     ERR_MEMBER_NOT_FOUND);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 4, "{\"id\":5,\"peerURLs\":[\"http://d:1\"]}", false), ERR_CORRUPT);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 4, "junk", false), ERR_CORRUPT);
    assert_int_equal(apply(cluster, (enum raft_conf_change_type)9, 4, "{\"id\":4}", false), ERR_CORRUPT);
    cluster_free(cluster);
}

static void other_v2_requests_change_nothing(void **state) {
    struct cluster *cluster = cluster_new(1, 1, NULL);
    assert_int_equal(apply(cluster, RAFT_ADD_NODE, 1, "{\"id\":1,\"peerURLs\":[\"http://a:1\"]}", false), OK);
    struct {
        const char *method, *path, *value;
    } cases[] = {
        {"SYNC", "", ""},
        {"PUT", "/1/user", "x"},
        {"DELETE", "/0/version", "3.5.0"},
        {"PUT", "/0/version", "junk"},
        {"PUT", "/0/members/1/attributes", "junk"},
        {"PUT", "/0/members//attributes", "{}"},
        {"PUT", "/0/members/xyz/attributes", "{}"},
        {"PUT", "/0/members/1/other", "{}"},
        {"PUT", "/0/members/11111111111111111/attributes", "{}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(cluster_apply_v2_request(cluster, slice_from_cstr(cases[i].method),
                                                  slice_from_cstr(cases[i].path), slice_from_cstr(cases[i].value),
                                                  false),
                         CLUSTER_V2_IGNORED);
    assert_true(version_is_none(cluster_version(cluster)));
    /* somebody who is no member any more */
    assert_int_equal(cluster_apply_v2_request(cluster, SLICE_LITERAL("PUT"), SLICE_LITERAL("/0/members/2/attributes"),
                                              SLICE_LITERAL("{}"), false),
                     CLUSTER_V2_ATTRIBUTES);
    struct buf path CLEANUP_BUF = BUF_INIT;
    cluster_append_attributes_path(0x8e9e05c52164694d, &path);
    assert_string_equal(buf_cstr(&path), "/0/members/8e9e05c52164694d/attributes");
    struct buf json CLEANUP_BUF = BUF_INIT;
    member_append_attributes_json("default", (const char *const[]){"http://127.0.0.1:2379"}, 1, &json);
    assert_string_equal(buf_cstr(&json), "{\"name\":\"default\",\"clientURLs\":[\"http://127.0.0.1:2379\"]}");
    cluster_free(cluster);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_a_go_member),
        cmocka_unit_test(an_initial_cluster_becomes_members),
        cmocka_unit_test(member_json_round_trips),
        cmocka_unit_test(the_v2_store_is_written_as_a_go_member_does),
        cmocka_unit_test(the_v2_store_of_a_go_member_is_read),
        cmocka_unit_test(odd_and_broken_stores),
        TEST(the_backend_gets_the_bytes_of_a_go_member),
        TEST(replayed_entries_change_memory_only),
        TEST(zombies_leave_the_backend),
        cmocka_unit_test(conf_changes_are_validated),
        cmocka_unit_test(other_v2_requests_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
