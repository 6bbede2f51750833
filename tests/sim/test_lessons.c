/* What has hurt etcd's users and can happen on one member: a test for each bug, by its number (docs/LESSONS.md).
 *
 * Bugs of crashes at the wrong moment are the crash sweep's (test_crash.c): it goes through all moments. */
#include "backend/backend.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/vec.h"
#include "client/watch.h"
#include "pb/arena_pb.h"
#include "pb/rpc.pb-c.h"
#include "sim/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct sim_member_options snapshots = {.snapshot_count = 5, .catch_up_entries = 2, .max_snapshots = 2};

static void start(struct sim_stage *stage, const struct sim_member_options *options) {
    sim_stage_init(stage, 1, options);
    sim_stage_start(stage);
}

static void crash_and_start(struct sim_stage *stage) {
    sim_stage_crash(stage, SIM_DROP);
    sim_stage_start(stage);
}

static void delete_key(struct sim_stage *stage, const char *key) {
    struct etcd_delete_request gone = {.key = etcd_text(key)};
    sim_stage_call(stage, ETCD_METHOD_DELETE, &gone);
}

static void compact(struct sim_stage *stage, int64_t revision) {
    struct etcd_compact_request request = {.revision = revision, .physical = true};
    sim_stage_call(stage, ETCD_METHOD_COMPACT, &request);
}

static struct sim_state state_of(struct sim_stage *stage) {
    struct sim_state state;
    CHECK(sim_stage_state(stage, 0, &state));
    return state;
}

/* ---- leases ---- */

static int64_t remaining_s(struct sim_stage *stage, int64_t lease) {
    struct etcd_lease_ttl_request request = {.id = lease};
    struct etcd_lease_ttl_response *response;
    struct etcd_error error = {0};
    CHECKF(sim_client_call(stage->client, ETCD_METHOD_LEASE_TTL, &request, &response, &error) == ETCD_OK, "%s",
           error.text);
    int64_t remaining = response->ttl_s;
    client_response_free(response);
    return remaining;
}

/* With checkpoints kept, a restart does not give a lease its whole life again. */
static void test_13508_a_lease_keeps_its_checkpoint(void **state) {
    struct sim_member_options options = snapshots;
    options.lease_checkpoints = true;
    struct sim_stage stage;
    start(&stage, &options);
    struct etcd_lease_grant_request grant = {.ttl_s = 3600, .id = 7};
    sim_stage_call(&stage, ETCD_METHOD_LEASE_GRANT, &grant);
    sim_run_for(stage.sim, 1000 * SIM_S_NS);
    for (int i = 0; i < 20; i++)
        sim_stage_put(&stage, "k", "v"); /* a snapshot: the log is not read from the beginning */
    sim_run_for(stage.sim, SIM_S_NS);
    crash_and_start(&stage);
    assert_in_range(remaining_s(&stage, 7), 2500, 2710); /* checkpoints come every five minutes */
    sim_stage_release(&stage);
}

/* A lease whose time is over goes once, with all its keys at one revision, and stays gone. */
static void test_a_lease_that_ran_out_takes_its_keys_for_good(void **state) {
    struct sim_stage stage;
    start(&stage, NULL);
    struct etcd_lease_grant_request grant = {.ttl_s = 10, .id = 7};
    sim_stage_call(&stage, ETCD_METHOD_LEASE_GRANT, &grant);
    for (const char *key = "a"; key[0] <= 'c'; key = key[0] == 'a' ? "b" : key[0] == 'b' ? "c" : "d") {
        struct etcd_put_request put = {.key = etcd_text(key), .value = etcd_text("v"), .lease = 7};
        sim_stage_call(&stage, ETCD_METHOD_PUT, &put);
    }
    int64_t revision = state_of(&stage).revision;
    sim_run_for(stage.sim, 15 * SIM_S_NS);
    assert_int_equal(state_of(&stage).revision, revision + 1);
    assert_string_equal(sim_stage_get(&stage, "a"), "");
    crash_and_start(&stage);
    sim_run_for(stage.sim, 15 * SIM_S_NS);
    assert_int_equal(state_of(&stage).revision, revision + 1);
    sim_stage_release(&stage);
}

/* ---- compaction ---- */

/* The newest revision, which is returned, is a deletion, and the compaction took it away. */
static int64_t start_with_a_compacted_deletion(struct sim_stage *stage) {
    start(stage, NULL);
    sim_stage_put(stage, "k", "v");
    delete_key(stage, "k");
    int64_t revision = state_of(stage).revision;
    compact(stage, revision);
    sim_run_for(stage->sim, SIM_S_NS);
    return revision;
}

/* The store's revision must not go back. */
static void test_17780_the_revision_does_not_go_back(void **state) {
    for (int loss = 0; loss < SIM_LOSS_COUNT; loss++) {
        struct sim_stage stage;
        int64_t revision = start_with_a_compacted_deletion(&stage);
        sim_stage_crash(&stage, (enum sim_loss)loss);
        sim_stage_start(&stage);
        assert_int_equal(state_of(&stage).revision, revision);
        sim_stage_put(&stage, "k", "again");
        assert_int_equal(state_of(&stage).revision, revision + 1);
        sim_stage_release(&stage);
    }
}

/* A database whose newest revision was compacted away, as etcd before 3.5.14 leaves it. */
static void take_away_revision(struct sim_disk *disk, int64_t revision) {
    struct sim_database database;
    struct bolt_tx *tx;
    struct bolt_bucket *keys;
    uint8_t key[BACKEND_REVISION_MAX_BYTES];
    CHECK(sim_database_open(&database, disk, false, NULL));
    CHECK(bolt_begin_write(database.bolt, &tx) == OK);
    CHECK(bolt_bucket_open(bolt_tx_root(tx), SLICE_LITERAL("key"), &keys) == OK);
    CHECK(bolt_delete(keys, slice_make(key, backend_revision_encode(key, revision, 0, true))) == OK);
    CHECK(bolt_tx_commit(tx, NULL) == OK);
    sim_database_close(&database);
}

static void test_17780_nor_with_a_database_without_its_newest_revision(void **state) {
    struct sim_stage stage;
    int64_t revision = start_with_a_compacted_deletion(&stage);
    sim_stage_stop(&stage);
    take_away_revision(stage.disk, revision);
    sim_stage_start(&stage);
    assert_int_equal(state_of(&stage).revision, revision);
    sim_stage_release(&stage);
}

/* A transaction with a range at a compacted or future revision does nothing at all. */
static void test_18667_a_txn_with_a_bad_range_writes_nothing(void **state) {
    struct sim_stage stage;
    start(&stage, NULL);
    for (int i = 0; i < 10; i++) sim_stage_put(&stage, "k", "v");
    compact(&stage, 8);
    struct sim_state before = state_of(&stage);
    struct etcd_put_request put = {.key = etcd_text("half"), .value = etcd_text("done")};
    struct etcd_range_request bad[] = {{.key = etcd_text("k"), .revision = 3}, {.key = etcd_text("k"), .revision = 99}};
    for (int i = 0; i < 4; i++) {
        struct etcd_op ops[2] = {{.type = ETCD_OP_PUT, .put = &put}, {.type = ETCD_OP_RANGE, .range = &bad[i / 2]}};
        struct etcd_op turned[2] = {ops[1], ops[0]};
        struct etcd_txn_request txn = {.success = i % 2 ? ops : turned, .success_count = 2};
        struct etcd_error error = {0};
        assert_int_not_equal(sim_client_call(stage.client, ETCD_METHOD_TXN, &txn, NULL, &error), ETCD_OK);
        assert_string_equal(error.text, i / 2 ? "etcdserver: mvcc: required revision is a future revision"
                                              : "etcdserver: mvcc: required revision has been compacted");
        struct sim_state after = state_of(&stage);
        assert_true(sim_state_equals(&before, &after));
    }
    crash_and_start(&stage);
    struct sim_state after = state_of(&stage);
    assert_true(sim_state_equals(&before, &after));
    sim_stage_release(&stage);
}

/* ---- users and members after a snapshot ---- */

static int64_t auth_revision(struct sim_stage *stage) {
    return (int64_t)auth_store_revision(server_auth(sim_member_server(stage->member)));
}

struct asked {
    struct server_request request;
    bool is_done;
};

static void answered(struct server_request *request) { CONTAINER_OF(request, struct asked, request)->is_done = true; }
static bool is_done(void *context) { return ((struct asked *)context)->is_done; }

/* The client library has no calls for users: they go to the server itself. */
static void call_raw(struct sim_stage *stage, enum server_op op, const void *message) {
    struct buf encoded = BUF_INIT;
    pb_pack(message, &encoded);
    struct asked asked = {.request = {.op = op, .encoded = buf_slice(&encoded), .message = message}};
    asked.request.callback = answered;
    CHECK(server_propose(sim_member_server(stage->member), &asked.request) == OK);
    CHECK(sim_run_until(stage->sim, is_done, &asked, 60 * SIM_S_NS));
    assert_int_equal(asked.request.error, OK);
    buf_release(&encoded);
}

static void test_14571_users_are_the_same_after_a_snapshot(void **state) {
    struct sim_stage stage;
    start(&stage, &snapshots);
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "role%d", i);
        Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
        role.name = name;
        call_raw(&stage, SERVER_OP_AUTH_ROLE_ADD, &role);
    }
    int64_t revision = auth_revision(&stage);
    assert_int_not_equal(revision, 0);
    for (int i = 0; i < 20; i++) sim_stage_put(&stage, "k", "v");
    assert_int_not_equal(server_stats(sim_member_server(stage.member))->snapshots_saved, 0);
    crash_and_start(&stage);
    assert_int_equal(auth_revision(&stage), revision);
    sim_stage_release(&stage);
}

static void assert_member_is(struct sim_stage *stage, const char *name, const char *url) {
    struct etcd_member_list_request request = {0};
    struct etcd_members_response *response;
    struct etcd_error error = {0};
    CHECKF(sim_client_call(stage->client, ETCD_METHOD_MEMBER_LIST, &request, &response, &error) == ETCD_OK, "%s",
           error.text);
    assert_int_equal(response->member_count, 1);
    assert_string_equal(response->members[0].name, name);
    assert_int_equal(response->members[0].client_url_count, 1);
    assert_string_equal(response->members[0].client_urls[0], url);
    assert_int_equal(response->members[0].peer_url_count, 1);
    assert_string_equal(response->members[0].peer_urls[0], "http://localhost:2380");
    client_response_free(response);
}

static void test_19557_the_members_are_the_same_after_a_snapshot(void **state) {
    struct sim_stage stage;
    start(&stage, &snapshots);
    for (int i = 0; i < 20; i++) sim_stage_put(&stage, "k", "v");
    for (int i = 0; i < 2; i++) {
        assert_member_is(&stage, "default", "http://localhost:2379");
        crash_and_start(&stage);
    }
    sim_stage_release(&stage);
}

/* ---- watches ---- */

struct seen {
    int64_t revision;
    bool is_delete;
    char key[16];
};

/* All that one watch was told, in order. */
struct watching {
    struct sim_stage *stage;
    struct etcd_watch_stream *stream;
    VEC(struct seen) events;
    int64_t told_revision;    /* of the last event or progress */
    int64_t compact_revision; /* of the answer that ended it, or 0 */
    unsigned progresses;
    bool has_ended;
};

static void told(void *context, const struct etcd_watch_response *response, const struct etcd_error *error) {
    struct watching *self = context;
    CHECK(response != NULL);
    if (response->canceled) {
        self->has_ended = true;
        self->compact_revision = response->compact_revision;
        return;
    }
    for (size_t i = 0; i < response->event_count; i++) {
        const struct etcd_event *event = &response->events[i];
        struct seen seen = {event->kv.mod_revision, event->type == ETCD_EVENT_DELETE, ""};
        CHECK(event->kv.key.len < sizeof seen.key);
        memcpy(seen.key, event->kv.key.data, event->kv.key.len);
        /* in order, and nothing that a progress answer has said to be told already */
        CHECKF(seen.revision > self->told_revision ||
                   (self->events.count > 0 && self->events.items[self->events.count - 1].revision == seen.revision),
               "revision %lld comes behind %lld", (long long)seen.revision, (long long)self->told_revision);
        self->told_revision = seen.revision;
        VEC_PUSH(&self->events, seen);
    }
    if (response->event_count == 0 && !response->created) {
        self->progresses++;
        if (response->header.revision > self->told_revision) self->told_revision = response->header.revision;
    }
}

static void watch_all(struct watching *self, struct sim_stage *stage, int64_t from) {
    *self = (struct watching){.stage = stage};
    struct etcd_watch_stream_options options = {.callback = told, .context = self};
    self->stream = client_watch_open(sim_client_core(stage->client), &options);
    struct etcd_watch_request request = {
        .key = etcd_bytes_of("", 1), .range_end = ETCD_FROM_KEY, .start_revision = from, .progress_notify = true};
    client_watch_add(self->stream, &request);
}

static void stop_watching(struct watching *self) {
    client_watch_close(self->stream);
    VEC_RELEASE(&self->events);
}

/* Every revision from..to once, in order. */
static void assert_seen(const struct watching *self, int64_t from, int64_t to) {
    assert_int_equal(self->events.count, to - from + 1);
    for (int64_t i = 0; i <= to - from; i++) assert_int_equal(self->events.items[i].revision, from + i);
}

/* told() checks it: what a progress answer says was reached comes never again. */
static void test_15220_progress_is_not_ahead_of_events(void **state) {
    struct sim_stage stage;
    struct watching watching;
    start(&stage, NULL);
    for (int i = 0; i < 3000; i++) sim_stage_put(&stage, "k", "v");
    watch_all(&watching, &stage, 2);
    for (int i = 0; i < 200; i++) {
        client_watch_request_progress(watching.stream);
        sim_stage_put(&stage, "k", "w");
    }
    sim_run_for(stage.sim, SIM_S_NS);
    assert_int_not_equal(watching.progresses, 0);
    assert_seen(&watching, 2, 3201);
    stop_watching(&watching);
    sim_stage_release(&stage);
}

static void test_20221_a_watch_of_the_future_sees_nothing_older(void **state) {
    struct sim_stage stage;
    struct watching watching;
    start(&stage, NULL);
    for (int i = 0; i < 10; i++) sim_stage_put(&stage, "k", "v");
    int64_t now = state_of(&stage).revision;
    watch_all(&watching, &stage, now + 5);
    for (int i = 0; i < 3; i++) sim_stage_put(&stage, "k", "v");
    sim_run_for(stage.sim, SIM_S_NS);
    crash_and_start(&stage); /* and not after a reconnection either */
    for (int i = 0; i < 7; i++) sim_stage_put(&stage, "k", "v");
    sim_run_for(stage.sim, SIM_S_NS);
    assert_seen(&watching, now + 5, now + 10);
    stop_watching(&watching);
    sim_stage_release(&stage);
}

static void test_19179_a_watch_from_the_compacted_revision_sees_its_deletion(void **state) {
    for (int with_restart = 0; with_restart < 2; with_restart++) {
        struct sim_stage stage;
        struct watching watching;
        start(&stage, NULL);
        sim_stage_put(&stage, "k", "v");
        delete_key(&stage, "k");
        int64_t revision = state_of(&stage).revision;
        compact(&stage, revision);
        if (with_restart) crash_and_start(&stage);
        watch_all(&watching, &stage, revision);
        sim_run_for(stage.sim, SIM_S_NS);
        assert_seen(&watching, revision, revision);
        assert_true(watching.events.items[0].is_delete);
        stop_watching(&watching);
        sim_stage_release(&stage);
    }
}

/* A watcher that hears nothing for a while, during which what it has not seen is compacted, is told so. */
static void test_18089_a_compaction_does_not_leave_a_gap(void **state) {
    static char value[4000];
    unsigned ended = 0, complete = 0;
    for (int compactions = 0; compactions < 2; compactions++) {
        struct sim_stage stage;
        struct watching watching;
        start(&stage, NULL);
        sim_stage_put(&stage, "k", "v");
        watch_all(&watching, &stage, 1);
        sim_run_for(stage.sim, SIM_S_NS);
        struct sim_machine *other = sim_machine_new(stage.sim, "other", NULL, NULL);
        struct sim_client *writer = sim_client_new(stage.net, other, "host:2379", 0);
        sim_net_cut(stage.net, "host", "desk", true);
        memset(value, 'x', sizeof value);
        for (int i = 0; i < 2000; i++) {
            struct etcd_put_request put = {.key = etcd_text("k"), .value = etcd_bytes_of(value, sizeof value)};
            CHECK(sim_client_call(writer, ETCD_METHOD_PUT, &put, NULL, NULL) == ETCD_OK);
        }
        int64_t now = state_of(&stage).revision;
        struct etcd_compact_request request = {.revision = now - 1, .physical = true};
        if (compactions) CHECK(sim_client_call(writer, ETCD_METHOD_COMPACT, &request, NULL, NULL) == ETCD_OK);
        sim_net_cut(stage.net, "host", "desk", false);
        sim_run_for(stage.sim, 10 * SIM_S_NS);
        ended += watching.has_ended;
        complete += !watching.has_ended;
        if (watching.has_ended) {
            assert_int_equal(watching.compact_revision, now - 1);
            assert_true(watching.told_revision < now - 1);
        }
        /* what came, came without a gap */
        assert_seen(&watching, 2, watching.has_ended ? watching.told_revision : now);
        stop_watching(&watching);
        sim_client_free(writer);
        sim_machine_free(other);
        sim_stage_release(&stage);
    }
    assert_int_equal(ended, 1);
    assert_int_equal(complete, 1);
}

/* Over crashes of the member a watcher sees each event once and in order. */
static void test_14563_watches_lose_and_repeat_nothing_over_crashes(void **state) {
    struct sim_stage stage;
    struct watching watching;
    start(&stage, &snapshots);
    watch_all(&watching, &stage, 2);
    for (int i = 0; i < 200; i++) {
        if (i % 25 == 24) {
            sim_stage_crash(&stage, (enum sim_loss)(i / 25 % SIM_LOSS_COUNT));
            sim_stage_start(&stage);
        }
        if (i % 3 == 2)
            delete_key(&stage, "k");
        else
            sim_stage_put(&stage, "k", "v");
    }
    sim_run_for(stage.sim, 10 * SIM_S_NS);
    assert_seen(&watching, 2, state_of(&stage).revision);
    stop_watching(&watching);
    sim_stage_release(&stage);
}

/* ---- snapshots that clients take ---- */

struct image {
    struct buf bytes;
    bool is_over;
};

static void take_image(struct etcd_stream *stream, struct image *image) {
    struct etcd_raw_response *part;
    struct etcd_error error = {0};
    int code;
    while (!image->is_over && client_stream_take(stream, &part, &code, &error)) {
        CHECKF(code == ETCD_OK, "%s", error.text);
        image->is_over = part == NULL;
        if (part == NULL) break;
        struct arena arena;
        arena_init(&arena, 0);
        const Etcdserverpb__SnapshotResponse *response = pb_unpack(
            &etcdserverpb__snapshot_response__descriptor, slice_make(part->message.data, part->message.len), &arena);
        CHECK(response != NULL);
        buf_append_slice(&image->bytes, pb_slice(response->blob));
        arena_release(&arena);
        client_response_free(part);
    }
}

static void put_one_of(struct sim_stage *stage, int number) {
    static char value[3000];
    char key[16];
    memset(value, 'a' + number % 26, sizeof value);
    snprintf(key, sizeof key, "k%d", number % 1000);
    struct etcd_put_request put = {.key = etcd_text(key), .value = etcd_bytes_of(value, sizeof value)};
    sim_stage_call(stage, ETCD_METHOD_PUT, &put);
}

static void assert_whole(struct image *image) {
    assert_true(image->is_over);
    assert_int_equal(image->bytes.len % 4096, 32); /* the file, and behind it its SHA-256 */
    struct sim_disk *disk = sim_disk_new();
    sim_disk_put_file(disk, SIM_DATABASE_PATH, slice_make(image->bytes.data, image->bytes.len - 32));
    assert_int_equal(sim_check_database(disk), 0);
    sim_disk_free(disk);
}

/* Two clients take snapshots and do not hurry, while all is written anew, compacted, and perhaps defragmented. */
static void test_20650_a_snapshot_is_one_moment(void **state) {
    for (int with_defrag = 0; with_defrag < 2; with_defrag++) {
        struct sim_stage stage;
        start(&stage, NULL);
        for (int i = 0; i < 3000; i++) put_one_of(&stage, i);
        sim_run_for(stage.sim, SIM_S_NS);
        struct etcd_stream *streams[2];
        struct image images[2] = {{BUF_INIT, false}, {BUF_INIT, false}};
        for (int i = 0; i < 2; i++) {
            streams[i] = client_stream_open(sim_client_core(stage.client), "/etcdserverpb.Maintenance/Snapshot", 0);
            client_stream_send(streams[i], etcd_bytes_of("", 0));
            client_stream_close_send(streams[i]);
        }
        for (int i = 0; i < 2000; i++) {
            put_one_of(&stage, 7 * i);
            if (i % 500 == 20) compact(&stage, state_of(&stage).revision - 10);
            if (i % 700 == 50 && with_defrag) sim_stage_call(&stage, ETCD_METHOD_DEFRAGMENT, NULL);
            if (i % 100 == 0) sim_run_for(stage.sim, 200 * SIM_MS_NS);
        }
        for (int round = 0; round < 1000 && !(images[0].is_over && images[1].is_over); round++) {
            for (int i = 0; i < 2; i++) take_image(streams[i], &images[i]);
            sim_run_for(stage.sim, 10 * SIM_MS_NS);
        }
        for (int i = 0; i < 2; i++) {
            assert_whole(&images[i]);
            client_stream_close(streams[i]);
            buf_release(&images[i].bytes);
        }
        sim_stage_release(&stage);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_15220_progress_is_not_ahead_of_events),
        cmocka_unit_test(test_20221_a_watch_of_the_future_sees_nothing_older),
        cmocka_unit_test(test_19179_a_watch_from_the_compacted_revision_sees_its_deletion),
        cmocka_unit_test(test_18089_a_compaction_does_not_leave_a_gap),
        cmocka_unit_test(test_14563_watches_lose_and_repeat_nothing_over_crashes),
        cmocka_unit_test(test_20650_a_snapshot_is_one_moment),
        cmocka_unit_test(test_13508_a_lease_keeps_its_checkpoint),
        cmocka_unit_test(test_a_lease_that_ran_out_takes_its_keys_for_good),
        cmocka_unit_test(test_17780_the_revision_does_not_go_back),
        cmocka_unit_test(test_17780_nor_with_a_database_without_its_newest_revision),
        cmocka_unit_test(test_18667_a_txn_with_a_bad_range_writes_nothing),
        cmocka_unit_test(test_14571_users_are_the_same_after_a_snapshot),
        cmocka_unit_test(test_19557_the_members_are_the_same_after_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
