/* The snapshot folder. The recorded .snap files are in test_golden.c. */
#include "fixture.h"

#include "wal/snap.h"

static void save(struct fixture *self, uint64_t term, uint64_t index, const char *data) {
    uint64_t voters[] = {3, 5};
    struct raft_snapshot snapshot = {
        shared_copy(slice_from_cstr(data)), index, term, {.voters = {voters, 2, 2}, .auto_leave = true}};
    assert_int_equal(snap_save(self->env, self->snap_dir, &snapshot, NULL), OK);
    shared_unref(snapshot.data);
}

static void assert_newest(struct fixture *self, const struct wal_snapshots *recorded, uint64_t index) {
    struct raft_snapshot snapshot;
    assert_int_equal(snap_load_newest(self->env, self->snap_dir, recorded, &snapshot), OK);
    assert_int_equal(snapshot.index, index);
    raft_snapshot_release(&snapshot);
}

static bool exists(struct fixture *self, const char *name) { return size_of_file(self, self->snap_dir, name) >= 0; }

static void touch(struct fixture *self, const char *name) { write_file(self, self->snap_dir, name, SLICE_NONE, 0); }

static void what_is_saved_is_loaded(void **state) {
    struct fixture *self = *state;
    save(self, 2, 0x15, "the state");
    assert_true(exists(self, "0000000000000002-0000000000000015.snap"));
    struct raft_snapshot snapshot;
    assert_int_equal(snap_load_newest(self->env, self->snap_dir, NULL, &snapshot), OK);
    assert_true(slice_equal_cstr(shared_slice(snapshot.data), "the state"));
    assert_int_equal(snapshot.index, 0x15);
    assert_int_equal(snapshot.term, 2);
    assert_int_equal(snapshot.conf_state.voters.count, 2);
    assert_int_equal(snapshot.conf_state.voters.items[1], 5);
    assert_true(snapshot.conf_state.auto_leave);
    raft_snapshot_release(&snapshot);
}

static void snapshot_of_nothing_is_not_saved(void **state) {
    struct fixture *self = *state;
    save(self, 0, 0, "x");
    struct env_names names;
    assert_int_equal(env_list(self->env, self->snap_dir, &names), OK);
    assert_int_equal(names.count, 0);
    env_names_release(&names);
    struct raft_snapshot snapshot;
    assert_int_equal(snap_load_newest(self->env, self->snap_dir, NULL, &snapshot), ERR_SNAP_NO_SNAPSHOT);
}

static void newest_is_by_term_then_index(void **state) {
    struct fixture *self = *state;
    save(self, 2, 0x300, "a");
    save(self, 3, 0x200, "b");
    save(self, 3, 0x100, "c");
    assert_newest(self, NULL, 0x200);
}

static void only_snapshots_on_record_are_loaded(void **state) {
    struct fixture *self = *state;
    for (uint64_t index = 1; index <= 4; index++) save(self, 2, index, "x");
    struct wal_snapshot items[] = {{.index = 0}, {.index = 2, .term = 2}, {.index = 3, .term = 1}};
    struct wal_snapshots recorded = {items, 3, 3};
    assert_newest(self, &recorded, 2);
    recorded.count = 1;
    struct raft_snapshot snapshot;
    assert_int_equal(snap_load_newest(self->env, self->snap_dir, &recorded, &snapshot), ERR_SNAP_NO_SNAPSHOT);
    assert_true(exists(self, "0000000000000002-0000000000000004.snap"));
}

static void bad_ones_are_set_aside(void **state) {
    struct fixture *self = *state;
    save(self, 1, 1, "good");
    touch(self, "0000000000000002-0000000000000001.snap"); /* empty */
    write_file(self, self->snap_dir, "0000000000000002-0000000000000002.snap", SLICE_LITERAL("\x08\x05"),
               0); /* no data */
    write_file(self, self->snap_dir, "0000000000000002-0000000000000003.snap", SLICE_LITERAL("\x08\x00\x12\x01z"),
               0); /* crc 0 */
    write_file(self, self->snap_dir, "0000000000000002-0000000000000004.snap", SLICE_LITERAL("\x08\x05\x12\x01z"),
               0); /* another crc */
    write_file(self, self->snap_dir, "0000000000000002-0000000000000005.snap", SLICE_LITERAL("\x08\x05\x12\x09z"),
               0); /* cut off */
    assert_newest(self, NULL, 1);
    for (int i = 1; i <= 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "0000000000000002-000000000000000%d.snap", i);
        assert_false(exists(self, name));
        snprintf(name, sizeof name, "0000000000000002-000000000000000%d.snap.broken", i);
        assert_true(exists(self, name));
    }
    assert_true(fixture_logged(self, "failed to read empty snapshot file"));
    assert_true(fixture_logged(self, "failed to read empty snapshot data"));
    assert_true(fixture_logged(self, "snap file is corrupt"));
    assert_true(fixture_logged(self, "failed to unmarshal snappb.Snapshot"));
    assert_true(fixture_logged(self, "renamed to a broken snap file"));
}

/* Or does not matter: the crc has 32 bits in five bytes of seven. */
static void every_flip_in_a_snap_is_noticed(void **state) {
    struct fixture *self = *state;
    const char *name = "0000000000000002-0000000000000007.snap";
    save(self, 2, 7, "some data of the state machine");
    CLEANUP_BUF struct buf content = BUF_INIT;
    read_file(self, self->snap_dir, name, 4096, &content);
    char *path = path_in(self->snap_dir, name);
    for (size_t bit = 0; bit < content.len * 8; bit++) {
        content.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_file(self, self->snap_dir, name, buf_slice(&content), 0);
        content.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct raft_snapshot snapshot;
        if (snap_read(self->env, path, &snapshot, NULL) != OK) continue;
        assert_in_range(bit / 8, 1, 5);
        assert_true(slice_equal_cstr(shared_slice(snapshot.data), "some data of the state machine"));
        raft_snapshot_release(&snapshot);
    }
    for (size_t len = 0; len < content.len; len++) {
        write_file(self, self->snap_dir, name, slice_make(content.data, len), 0);
        struct raft_snapshot snapshot;
        assert_int_not_equal(snap_read(self->env, path, &snapshot, NULL), OK);
    }
    mem_free(path);
}

static void failed_save_leaves_no_file(void **state) {
    struct fixture *self = *state;
    struct raft_snapshot snapshot = {.index = 1, .term = 1};
    char missing[200];
    snprintf(missing, sizeof missing, "%s/missing", self->dir);
    assert_int_equal(snap_save(self->env, missing, &snapshot, NULL), ERR_NOT_FOUND_FILE);
    assert_true(fixture_logged(self, "failed to write a snap file"));
}

static void listing_tidies_up(void **state) {
    struct fixture *self = *state;
    save(self, 2, 1, "x");
    touch(self, "db");
    touch(self, "db.tmp.17");
    touch(self, "0000000000000001.snap.db");
    touch(self, "stray");
    assert_newest(self, NULL, 1);
    assert_false(exists(self, "db.tmp.17"));
    assert_true(exists(self, "stray"));
    assert_true(fixture_logged(self, "\"found orphaned defragmentation file; deleting\",\"path\":\"db.tmp.17\""));
    assert_true(fixture_logged(self, "\"found unexpected non-snap file; skipping\",\"path\":\"stray\""));
    assert_true(
        fixture_logged(self, "\"found unexpected non-snap file; skipping\",\"path\":\"0000000000000001.snap.db\""));
    assert_false(fixture_logged(self, "\"path\":\"db\""));
}

static struct snap_receiver *receive(struct fixture *self, const char *first, const char *second) {
    struct snap_receiver *receiver;
    assert_int_equal(snap_receiver_new(self->env, self->snap_dir, &receiver), OK);
    assert_int_equal(snap_receiver_write(receiver, slice_from_cstr(first)), OK);
    assert_int_equal(snap_receiver_write(receiver, slice_from_cstr(second)), OK);
    return receiver;
}

static void received_database_is_found_by_its_index(void **state) {
    struct fixture *self = *state;
    CLEANUP_BUF struct buf path = BUF_INIT;
    assert_int_equal(snap_find_db(self->env, self->snap_dir, 0xab, &path), ERR_SNAP_NO_DB_SNAPSHOT);
    assert_true(fixture_logged(self, "failed to find [SNAPSHOT-INDEX].snap.db"));
    struct snap_io io;
    assert_int_equal(snap_receiver_finish(receive(self, "one", "two"), 0xab, &io), OK);
    assert_true(fixture_logged(self, "saved database snapshot to disk"));
    assert_int_equal(snap_find_db(self->env, self->snap_dir, 0xab, &path), OK);
    CLEANUP_BUF struct buf content = BUF_INIT;
    read_file(self, self->snap_dir, "00000000000000ab.snap.db", 100, &content);
    assert_true(slice_equal_cstr(buf_slice(&content), "onetwo"));

    /* a second one for the same index is thrown away */
    assert_int_equal(snap_receiver_finish(receive(self, "other", ""), 0xab, NULL), OK);
    buf_clear(&content);
    read_file(self, self->snap_dir, "00000000000000ab.snap.db", 100, &content);
    assert_true(slice_equal_cstr(buf_slice(&content), "onetwo"));

    snap_receiver_abort(receive(self, "never", "mind"));
    struct env_names names;
    assert_int_equal(env_list(self->env, self->snap_dir, &names), OK);
    assert_int_equal(names.count, 1);
    env_names_release(&names);
}

static void leftovers_of_receiving_go_at_start(void **state) {
    struct fixture *self = *state;
    touch(self, "tmp123");
    touch(self, "db");
    assert_int_equal(snap_remove_temporary(self->env, self->snap_dir), OK);
    assert_false(exists(self, "tmp123"));
    assert_true(exists(self, "db"));
}

static void databases_below_a_snapshot_are_released(void **state) {
    struct fixture *self = *state;
    touch(self, "00000000000000aa.snap.db");
    touch(self, "00000000000000ab.snap.db");
    touch(self, "xyz.snap.db");
    touch(self, ".snap.db");
    snap_release_dbs(self->env, self->snap_dir, 0xab);
    assert_false(exists(self, "00000000000000aa.snap.db"));
    assert_true(exists(self, "00000000000000ab.snap.db"));
    assert_true(exists(self, "xyz.snap.db"));
    assert_true(
        fixture_logged(self, "\"found orphaned .snap.db file; deleting\",\"path\":\"00000000000000aa.snap.db\""));
    assert_true(fixture_logged(self, "failed to parse index from filename"));
}

static void purge_keeps_the_newest_of_each_kind(void **state) {
    struct fixture *self = *state;
    char name[64];
    for (int i = 1; i <= 7; i++) {
        snprintf(name, sizeof name, "0000000000000002-000000000000000%d.snap", i);
        touch(self, name);
        snprintf(name, sizeof name, "000000000000000%d.snap.db", i);
        touch(self, name);
    }
    touch(self, "0000000000000001-0000000000000001.snap.broken");
    assert_int_equal(snap_purge(self->env, self->snap_dir, 0), OK);
    assert_true(exists(self, "0000000000000001.snap.db"));
    assert_int_equal(snap_purge(self->env, self->snap_dir, 5), OK);
    for (int i = 1; i <= 7; i++) {
        snprintf(name, sizeof name, "0000000000000002-000000000000000%d.snap", i);
        assert_int_equal(exists(self, name), i > 2);
        snprintf(name, sizeof name, "000000000000000%d.snap.db", i);
        assert_int_equal(exists(self, name), i > 2);
    }
    assert_true(exists(self, "0000000000000001-0000000000000001.snap.broken"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_is_saved_is_loaded),
        TEST(snapshot_of_nothing_is_not_saved),
        TEST(newest_is_by_term_then_index),
        TEST(only_snapshots_on_record_are_loaded),
        TEST(bad_ones_are_set_aside),
        TEST(every_flip_in_a_snap_is_noticed),
        TEST(failed_save_leaves_no_file),
        TEST(listing_tidies_up),
        TEST(received_database_is_found_by_its_index),
        TEST(leftovers_of_receiving_go_at_start),
        TEST(databases_below_a_snapshot_are_released),
        TEST(purge_keeps_the_newest_of_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
