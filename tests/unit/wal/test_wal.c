/* The log as its owner sees it: what is saved is there after opening it again. */
#include "fixture.h"

#include "wal/frame.h"

#define SMALL_SEGMENT 8192

static void close_wal(struct wal *wal) { assert_int_equal(wal_close(wal), OK); }

static struct buf from_hex(const char *text) {
    struct buf bytes = BUF_INIT;
    for (const char *at = text; *at != 0; at++) {
        if (*at == ' ') continue;
        char pair[3] = {at[0], at[1], 0};
        buf_append_byte(&bytes, (uint8_t)strtoul(pair, NULL, 16));
        at++;
    }
    return bytes;
}

/* ---- a new log ---- */

static void new_log_has_the_bytes_of_etcd(void **state) {
    struct fixture *self = *state;
    CLEANUP_BUF struct buf expected = from_hex("0400000000000084 0804100000000000"
                                               "2000000000000000 080110bb81c7fc051a16 08cdd2918bd2b881cf8e01"
                                               "10b298eaf1948386fccd01"
                                               "0e00000000000082 08051094bbc7ed0e1a0408001000 0000");
    close_wal(fixture_create(self, 0));
    CLEANUP_BUF struct buf actual = BUF_INIT;
    read_file(self, self->wal_dir, FIRST_SEGMENT, 200, &actual);
    assert_int_equal(expected.len, 80);
    assert_memory_equal(actual.data, expected.data, expected.len);
    for (size_t i = expected.len; i < actual.len; i++) assert_int_equal(actual.data[i], 0);
    assert_int_equal(size_of_file(self, self->wal_dir, FIRST_SEGMENT), 64000000);
    char *path = path_in(self->wal_dir, FIRST_SEGMENT);
    struct env_stat stat;
    assert_int_equal(env_stat(self->env, path, &stat), OK);
    assert_int_equal(stat.mode, 0600);
    assert_int_equal(env_stat(self->env, self->wal_dir, &stat), OK);
    assert_int_equal(stat.mode, 0700);
    mem_free(path);
}

static void first_entry_and_state_have_the_bytes_of_etcd(void **state) {
    struct fixture *self = *state;
    CLEANUP_BUF struct buf recorded = BUF_INIT;
    read_recording(self, "data-dirs/alarm/member/wal/" FIRST_SEGMENT, &recorded);
    struct wal *wal = fixture_create(self, 0);
    /* the data of the first entry lies behind 24 bytes of frame, record and entry head */
    struct raft_entry entry = {RAFT_ENTRY_CONF_CHANGE, 1, 1, NULL, slice_make(recorded.data + 80 + 26, 98)};
    assert_int_equal(wal_save(wal, (struct raft_hard_state){1, 0, 1}, &entry, 1, NULL), OK);
    close_wal(wal);
    CLEANUP_BUF struct buf actual = BUF_INIT;
    read_file(self, self->wal_dir, FIRST_SEGMENT, 232, &actual);
    assert_memory_equal(actual.data, recorded.data, 232);
}

static void creating_twice_is_refused(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, SMALL_SEGMENT);
    assert_false(wal_exists(self->env, self->wal_dir));
    close_wal(fixture_create(self, SMALL_SEGMENT));
    assert_true(wal_exists(self->env, self->wal_dir));
    struct wal *wal;
    assert_int_equal(wal_create(&options, METADATA, &wal, NULL), ERR_FILE_EXISTS);
}

static void leftovers_do_not_disturb_creating(void **state) {
    struct fixture *self = *state;
    char staging[200];
    snprintf(staging, sizeof staging, "%s.tmp", self->wal_dir);
    assert_int_equal(env_mkdir(self->env, staging, 0700), OK);
    write_file(self, staging, FIRST_SEGMENT, SLICE_LITERAL("rubbish"), 0);
    assert_int_equal(env_mkdir(self->env, self->wal_dir, 0700), OK);
    write_file(self, self->wal_dir, "0.tmp", SLICE_LITERAL("rubbish"), 0);
    close_wal(fixture_create(self, SMALL_SEGMENT));
    struct env_stat stat;
    assert_int_equal(env_stat(self->env, staging, &stat), ERR_NOT_FOUND_FILE);
    assert_int_equal(size_of_file(self, self->wal_dir, "0.tmp"), -1);
    struct wal_contents contents;
    close_wal(fixture_open(self, SMALL_SEGMENT, &contents));
    wal_contents_release(&contents);
}

/* ---- saving ---- */

static void what_is_saved_is_read_again(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    for (uint64_t i = 1; i <= 50; i++) assert_int_equal(save_entry(wal, 2, i, (size_t)i * 10, NULL), OK);
    struct raft_entry empty = {.term = 3, .index = 51};
    assert_int_equal(wal_save(wal, (struct raft_hard_state){3, 7, 50}, &empty, 1, NULL), OK);
    close_wal(wal);
    for (int round = 0; round < 2; round++) {
        struct wal_contents contents;
        wal = fixture_open(self, 0, &contents);
        assert_true(slice_equal(buf_slice(&contents.metadata), METADATA));
        assert_true(contents.snapshot_found);
        assert_int_equal(contents.entries.count, 51);
        for (uint64_t i = 1; i <= 50; i++) assert_entry(&contents.entries.items[i - 1], 2, i, (size_t)i * 10);
        assert_null(contents.entries.items[50].data.data);
        assert_true(raft_hard_state_equal(contents.hard_state, (struct raft_hard_state){3, 7, 50}));
        wal_contents_release(&contents);
        close_wal(wal);
    }
}

static void opened_log_goes_on_where_it_ended(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(save_entry(wal, 2, i, 100, NULL), OK);
        close_wal(wal);
        struct wal_contents contents;
        wal = fixture_open(self, 0, &contents);
        assert_int_equal(contents.entries.count, i);
        wal_contents_release(&contents);
    }
    close_wal(wal);
    assert_int_equal(size_of_file(self, self->wal_dir, FIRST_SEGMENT), 64000000);
}

static void only_what_needs_it_is_flushed(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    struct wal_io io;
    assert_int_equal(save_entry(wal, 2, 1, 300, &io), OK);
    assert_int_equal(io.write_count, 1);
    assert_int_equal(io.sync_count, 1);
    assert_true(io.written_bytes > 300 && io.written_bytes < 400);
    /* a new commit index alone is kept back */
    assert_int_equal(wal_save(wal, (struct raft_hard_state){2, 1, 2}, NULL, 0, &io), OK);
    assert_int_equal(io.write_count, 0);
    assert_int_equal(io.sync_count, 0);
    /* nothing at all */
    assert_int_equal(wal_save(wal, (struct raft_hard_state){0}, NULL, 0, &io), OK);
    assert_int_equal(io.write_count, 0);
    /* a vote is not, and takes what was kept back with it */
    assert_int_equal(wal_save(wal, (struct raft_hard_state){2, 9, 2}, NULL, 0, &io), OK);
    assert_int_equal(io.write_count, 1);
    assert_int_equal(io.written_bytes, 2 * 24);
    assert_int_equal(io.sync_count, 1);
    assert_int_equal(wal_save(wal, (struct raft_hard_state){3, 9, 2}, NULL, 0, &io), OK);
    assert_int_equal(io.sync_count, 1);
    close_wal(wal);
}

static void first_state_after_opening_is_flushed(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    assert_int_equal(save_entry(wal, 2, 1, 300, NULL), OK);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, 0, &contents);
    wal_contents_release(&contents);
    struct wal_io io;
    assert_int_equal(wal_save(wal, (struct raft_hard_state){2, 1, 2}, NULL, 0, &io), OK);
    assert_int_equal(io.sync_count, 1);
    close_wal(wal);
}

static void kept_back_states_are_bounded_and_go_out_on_close(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    struct wal_io io;
    size_t written = 0;
    assert_int_equal(wal_save(wal, (struct raft_hard_state){2, 1, 1}, NULL, 0, &io), OK);
    for (uint64_t commit = 2; commit < 6000; commit++) {
        assert_int_equal(wal_save(wal, (struct raft_hard_state){2, 1, commit}, NULL, 0, &io), OK);
        assert_int_equal(io.sync_count, 0);
        written += io.written_bytes;
    }
    assert_true(written > 2 * 64 * 1024);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, 0, &contents);
    assert_int_equal(contents.hard_state.commit, 5999);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void later_entries_replace_earlier_ones(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    for (uint64_t i = 1; i <= 10; i++) assert_int_equal(save_entry(wal, 2, i, 20, NULL), OK);
    assert_int_equal(save_entry(wal, 3, 6, 30, NULL), OK);
    assert_int_equal(save_entry(wal, 3, 7, 30, NULL), OK);
    assert_int_equal(save_entry(wal, 4, 7, 40, NULL), OK);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, 0, &contents);
    assert_int_equal(contents.entries.count, 7);
    assert_entry(&contents.entries.items[4], 2, 5, 20);
    assert_entry(&contents.entries.items[5], 3, 6, 30);
    assert_entry(&contents.entries.items[6], 4, 7, 40);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void hole_in_the_entries_is_an_error(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    assert_int_equal(save_entry(wal, 2, 1, 20, NULL), OK);
    assert_int_equal(save_entry(wal, 2, 3, 20, NULL), OK);
    close_wal(wal);
    struct wal_options options = fixture_options(self, 0);
    struct wal_contents contents;
    struct errmsg message;
    assert_int_equal(wal_open(&options, 0, 0, &wal, &message), OK);
    assert_int_equal(wal_read_all(wal, &contents, &message), ERR_WAL_SLICE_OUT_OF_RANGE);
    assert_memory_equal(message.text, "wal: slice bounds out of range", 30);
    assert_int_equal(wal_save(wal, (struct raft_hard_state){9, 9, 9}, NULL, 0, NULL), ERR_WAL_SLICE_OUT_OF_RANGE);
    close_wal(wal);
}

/* ---- snapshots on record ---- */

static void save_snapshot(struct wal *wal, uint64_t index, uint64_t term) {
    uint64_t voter = 1;
    struct wal_snapshot snapshot = {index, term, true, {.voters = {&voter, 1, 1}}};
    struct wal_io io;
    assert_int_equal(wal_save_snapshot(wal, &snapshot, &io), OK);
    assert_int_equal(io.sync_count, 1);
}

static void opened_at_a_snapshot_only_what_is_behind_it_is_read(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, 0);
    struct wal *wal = fixture_create(self, 0);
    for (uint64_t i = 1; i <= 10; i++) assert_int_equal(save_entry(wal, 2, i, 20, NULL), OK);
    save_snapshot(wal, 6, 2);
    close_wal(wal);

    struct wal_contents contents;
    assert_int_equal(wal_open(&options, 6, 2, &wal, NULL), OK);
    assert_int_equal(wal_read_all(wal, &contents, NULL), OK);
    assert_int_equal(contents.entries.count, 4);
    assert_entry(&contents.entries.items[0], 2, 7, 20);
    assert_true(contents.snapshot_found);
    wal_contents_release(&contents);
    close_wal(wal);

    assert_int_equal(wal_open(&options, 6, 3, &wal, NULL), OK);
    assert_int_equal(wal_read_all(wal, &contents, NULL), ERR_WAL_SNAPSHOT_MISMATCH);
    close_wal(wal);

    assert_int_equal(wal_open_read_only(&options, 5, 2, &wal, NULL), OK);
    assert_int_equal(wal_read_all(wal, &contents, NULL), ERR_WAL_SNAPSHOT_NOT_FOUND);
    close_wal(wal);

    assert_int_equal(wal_open(&options, 5, 2, &wal, NULL), OK);
    assert_int_equal(wal_read_all(wal, &contents, NULL), OK);
    assert_false(contents.snapshot_found);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void snapshots_beyond_the_commit_are_not_valid(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    for (uint64_t i = 1; i <= 10; i++) assert_int_equal(save_entry(wal, 2, i, 20, NULL), OK);
    save_snapshot(wal, 4, 2);
    save_snapshot(wal, 10, 2);
    save_snapshot(wal, 11, 2);
    close_wal(wal);
    struct wal_snapshots snapshots;
    assert_int_equal(wal_valid_snapshots(self->env, self->wal_dir, &snapshots, NULL), OK);
    assert_int_equal(snapshots.count, 3);
    assert_int_equal(snapshots.items[0].index, 0);
    assert_int_equal(snapshots.items[1].index, 4);
    assert_int_equal(snapshots.items[2].index, 10);
    assert_int_equal(snapshots.items[2].term, 2);
    assert_true(snapshots.items[2].has_conf_state);
    assert_false(snapshots.items[0].has_conf_state);
    wal_snapshots_release(&snapshots);
}

static void metadata_that_differs_is_an_error(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, SMALL_SEGMENT);
    close_wal(fixture_create(self, SMALL_SEGMENT));
    CLEANUP_BUF struct buf bytes = BUF_INIT;
    uint32_t crc = 0;
    wal_put_crc(&bytes, crc);
    wal_put_record(&bytes, &crc, WAL_RECORD_METADATA, SLICE_LITERAL("one"));
    wal_put_record(&bytes, &crc, WAL_RECORD_METADATA, SLICE_LITERAL("one"));
    wal_put_record(&bytes, &crc, WAL_RECORD_METADATA, SLICE_LITERAL("two"));
    write_file(self, self->wal_dir, FIRST_SEGMENT, buf_slice(&bytes), 0);
    struct wal *wal;
    struct wal_contents contents;
    struct errmsg message;
    assert_int_equal(wal_open(&options, 0, 0, &wal, &message), OK);
    assert_int_equal(wal_read_all(wal, &contents, &message), ERR_WAL_METADATA_CONFLICT);
    assert_string_equal(message.text, "wal: conflicting metadata found");
    close_wal(wal);
}

/* ---- the cut ---- */

static void full_segment_is_cut_and_the_next_begins(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    struct wal_io io = {0};
    uint64_t index = 0;
    do {
        index++;
        assert_int_equal(save_entry(wal, 2, index, 1000, &io), OK);
    } while (io.sync_count == 1);
    assert_int_equal(io.sync_count, 2);
    assert_true(fixture_logged(self, "created a new WAL segment"));
    char next[64];
    snprintf(next, sizeof next, "0000000000000001-%016llx.wal", (unsigned long long)index + 1);
    assert_int_equal(size_of_file(self, self->wal_dir, next), SMALL_SEGMENT);
    int64_t first_bytes = size_of_file(self, self->wal_dir, FIRST_SEGMENT);
    assert_true(first_bytes >= SMALL_SEGMENT && first_bytes < SMALL_SEGMENT + 1100);

    CLEANUP_BUF struct buf head = BUF_INIT;
    read_file(self, self->wal_dir, next, 16 + 40 + 24, &head);
    CLEANUP_BUF struct buf first = BUF_INIT;
    read_file(self, self->wal_dir, FIRST_SEGMENT, 16 + 40, &first);
    assert_int_equal(head.data[9], 4);                                  /* crc */
    assert_int_equal(head.data[16 + 9], 1);                             /* metadata */
    assert_int_equal(head.data[16 + 40 + 9], 3);                        /* state, of this process */
    assert_memory_equal(head.data + 16 + 40 - 22, first.data + 34, 22); /* the metadata's bytes */

    assert_int_equal(save_entry(wal, 2, index + 1, 1000, &io), OK);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, SMALL_SEGMENT, &contents);
    assert_int_equal(contents.entries.count, index + 1);
    for (uint64_t i = 1; i <= index + 1; i++) assert_entry(&contents.entries.items[i - 1], 2, i, 1000);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void segment_of_64_million_bytes_is_cut(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    uint64_t index = 0;
    struct wal_io io = {0};
    do {
        index++;
        assert_int_equal(save_entry(wal, 2, index, 1 << 20, &io), OK);
    } while (io.sync_count == 1);
    assert_int_equal(index, 62);
    assert_int_equal(size_of_file(self, self->wal_dir, "0000000000000001-000000000000003f.wal"), 64000000);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, 0, &contents);
    assert_int_equal(contents.entries.count, 62);
    assert_entry(&contents.entries.items[61], 2, 62, 1 << 20);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void cut_without_a_state_of_this_process_writes_none(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    assert_int_equal(save_entry(wal, 2, 1, 100, NULL), OK);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, SMALL_SEGMENT, &contents);
    wal_contents_release(&contents);
    struct raft_entry entry = make_entry(2, 2, SMALL_SEGMENT);
    assert_int_equal(wal_save(wal, (struct raft_hard_state){0}, &entry, 1, NULL), OK);
    raft_entry_release(&entry);
    close_wal(wal);
    CLEANUP_BUF struct buf head = BUF_INIT;
    read_file(self, self->wal_dir, "0000000000000001-0000000000000003.wal", 16 + 40 + 24, &head);
    for (size_t i = 16 + 40; i < head.len; i++) assert_int_equal(head.data[i], 0);
    /* the state of the first segment still counts */
    wal = fixture_open(self, SMALL_SEGMENT, &contents);
    assert_true(raft_hard_state_equal(contents.hard_state, (struct raft_hard_state){2, 1, 1}));
    assert_int_equal(contents.entries.count, 2);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void cut_takes_the_spare(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    struct wal_spare *spare = wal_spare_order(wal);
    assert_non_null(spare);
    assert_null(wal_spare_order(wal));
    /* what a crash left under the name does not shine through */
    char rubbish[200];
    memset(rubbish, 'x', sizeof rubbish);
    write_file(self, self->wal_dir, "0.tmp", slice_make(rubbish, sizeof rubbish), 0);
    assert_int_equal(wal_spare_make(spare), OK);
    assert_int_equal(wal_spare_deliver(wal, spare), OK);
    assert_null(wal_spare_order(wal));
    assert_int_equal(size_of_file(self, self->wal_dir, "0.tmp"), SMALL_SEGMENT);
    assert_int_equal(save_entry(wal, 2, 1, SMALL_SEGMENT, NULL), OK);
    assert_int_equal(size_of_file(self, self->wal_dir, "0.tmp"), -1);
    assert_int_equal(size_of_file(self, self->wal_dir, "0000000000000001-0000000000000002.wal"), SMALL_SEGMENT);
    CLEANUP_BUF struct buf head = BUF_INIT;
    read_file(self, self->wal_dir, "0000000000000001-0000000000000002.wal", SMALL_SEGMENT, &head);
    for (size_t i = 16 + 40 + 24; i < head.len; i++) assert_int_equal(head.data[i], 0);

    /* cuts while the next one is on its way make their own */
    spare = wal_spare_order(wal);
    assert_int_equal(wal_spare_make(spare), OK);
    assert_int_equal(size_of_file(self, self->wal_dir, "1.tmp"), SMALL_SEGMENT);
    for (uint64_t i = 2; i <= 4; i++) assert_int_equal(save_entry(wal, 2, i, SMALL_SEGMENT, NULL), OK);
    assert_int_equal(size_of_file(self, self->wal_dir, "0000000000000004-0000000000000005.wal"), SMALL_SEGMENT);
    assert_int_equal(wal_spare_deliver(wal, spare), OK);
    assert_int_equal(save_entry(wal, 2, 5, SMALL_SEGMENT, NULL), OK);
    assert_int_equal(size_of_file(self, self->wal_dir, "1.tmp"), -1);

    spare = wal_spare_order(wal);
    assert_int_equal(wal_spare_make(spare), OK);
    close_wal(wal);
    wal_spare_free(spare);
    assert_int_equal(size_of_file(self, self->wal_dir, "0.tmp"), -1);
    struct wal_contents contents;
    wal = fixture_open(self, SMALL_SEGMENT, &contents);
    assert_int_equal(contents.entries.count, 5);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void closing_takes_spares_away(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    struct wal_spare *spare = wal_spare_order(wal);
    assert_int_equal(wal_spare_make(spare), OK);
    assert_int_equal(wal_spare_deliver(wal, spare), OK);
    write_file(self, self->wal_dir, "1.tmp", SLICE_LITERAL("old"), 0);
    close_wal(wal);
    assert_int_equal(size_of_file(self, self->wal_dir, "0.tmp"), -1);
    assert_int_equal(size_of_file(self, self->wal_dir, "1.tmp"), -1);
}

static void spare_that_fails_may_be_ordered_again(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    char *path = path_in(self->wal_dir, "0.tmp");
    assert_int_equal(env_mkdir(self->env, path, 0700), OK);
    struct wal_spare *spare = wal_spare_order(wal);
    assert_int_equal(wal_spare_make(spare), ERR_IS_DIRECTORY);
    assert_true(fixture_logged(self, "failed to preallocate space when creating a new WAL"));
    assert_int_equal(wal_spare_deliver(wal, spare), ERR_IS_DIRECTORY);
    assert_int_equal(save_entry(wal, 2, 1, SMALL_SEGMENT, NULL), OK);
    spare = wal_spare_order(wal);
    assert_non_null(spare);
    wal_spare_free(spare);
    assert_int_equal(env_remove_all(self->env, path), OK);
    mem_free(path);
    close_wal(wal);
}

/* ---- locks ---- */

static void fill_segments(struct wal *wal, uint64_t from, uint64_t to) {
    for (uint64_t i = from; i <= to; i++) assert_int_equal(save_entry(wal, 2, i, SMALL_SEGMENT, NULL), OK);
}

static void open_log_is_locked(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, SMALL_SEGMENT);
    struct wal *wal = fixture_create(self, SMALL_SEGMENT), *other;
    struct errmsg message;
    assert_int_equal(wal_open(&options, 0, 0, &other, &message), ERR_LOCKED);
    assert_string_equal(message.text, "fileutil: file already locked");
    fill_segments(wal, 1, 1);
    assert_int_equal(wal_open(&options, 1, 0, &other, &message), ERR_LOCKED);
    struct wal_contents contents;
    assert_int_equal(wal_open_read_only(&options, 0, 0, &other, &message), OK);
    assert_int_equal(wal_read_all(other, &contents, &message), OK);
    assert_int_equal(contents.entries.count, 1);
    wal_contents_release(&contents);
    close_wal(other);
    close_wal(wal);
}

static size_t count_segments(struct fixture *self) {
    struct env_names names;
    size_t count = 0;
    assert_int_equal(env_list(self->env, self->wal_dir, &names), OK);
    for (size_t i = 0; i < names.count; i++) count += strstr(names.names[i], ".wal") != NULL;
    env_names_release(&names);
    return count;
}

static void purge_deletes_what_is_released_only(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    fill_segments(wal, 1, 6); /* segment n begins at index n + 1, number 6 is empty yet */
    assert_int_equal(count_segments(self), 7);
    assert_int_equal(wal_purge(self->env, self->wal_dir, 0), OK);
    assert_int_equal(wal_purge(self->env, self->wal_dir, 2), OK);
    assert_int_equal(count_segments(self), 7);
    assert_true(fixture_logged(self, "failed to lock file"));

    wal_release_to(wal, 1); /* in the first segment */
    assert_int_equal(wal_purge(self->env, self->wal_dir, 2), OK);
    assert_int_equal(count_segments(self), 7);

    wal_release_to(wal, 4); /* the segment that begins at 4 and the one before stay */
    assert_int_equal(wal_purge(self->env, self->wal_dir, 2), OK);
    assert_int_equal(count_segments(self), 5);
    assert_int_equal(size_of_file(self, self->wal_dir, "0000000000000001-0000000000000002.wal"), -1);
    assert_true(size_of_file(self, self->wal_dir, "0000000000000002-0000000000000003.wal") > 0);
    assert_true(fixture_logged(self, "\"purged\""));

    wal_release_to(wal, 1000);
    assert_int_equal(wal_purge(self->env, self->wal_dir, 1), OK);
    assert_int_equal(count_segments(self), 1);
    assert_int_equal(save_entry(wal, 2, 7, 10, NULL), OK);
    close_wal(wal);
}

static void purged_log_is_opened_at_a_snapshot(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, SMALL_SEGMENT);
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    fill_segments(wal, 1, 6);
    save_snapshot(wal, 5, 2);
    wal_release_to(wal, 5);
    assert_int_equal(wal_purge(self->env, self->wal_dir, 1), OK);
    close_wal(wal);
    struct errmsg message;
    assert_int_equal(wal_open(&options, 0, 0, &wal, &message), ERR_WAL_FILE_NOT_FOUND);
    assert_string_equal(message.text, "wal: file not found");
    struct wal_contents contents;
    assert_int_equal(wal_open(&options, 5, 2, &wal, NULL), OK);
    assert_int_equal(wal_read_all(wal, &contents, NULL), OK);
    assert_int_equal(contents.entries.count, 1);
    assert_entry(&contents.entries.items[0], 2, 6, SMALL_SEGMENT);
    wal_contents_release(&contents);
    close_wal(wal);
    struct wal_snapshots snapshots;
    assert_int_equal(wal_valid_snapshots(self->env, self->wal_dir, &snapshots, NULL), OK);
    assert_int_equal(snapshots.count, 1);
    wal_snapshots_release(&snapshots);
}

static void missing_segment_between_is_noticed(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, SMALL_SEGMENT);
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    fill_segments(wal, 1, 6);
    close_wal(wal);
    char *path = path_in(self->wal_dir, "0000000000000003-0000000000000004.wal");
    assert_int_equal(env_unlink(self->env, path), OK);
    mem_free(path);
    assert_int_equal(wal_open(&options, 0, 0, &wal, NULL), ERR_WAL_FILE_NOT_FOUND);
    assert_int_equal(wal_open(&options, 4, 2, &wal, NULL), ERR_WAL_FILE_NOT_FOUND);
    assert_int_equal(wal_open(&options, 5, 2, &wal, NULL), OK);
    close_wal(wal);
}

static void held_back_state_is_written_before_anything_else(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, SMALL_SEGMENT);
    assert_int_equal(save_entry(wal, 2, 1, 10, NULL), OK);
    assert_int_equal(wal_save(wal, (struct raft_hard_state){2, 1, 5}, NULL, 0, NULL), OK);
    struct wal_io io;
    assert_int_equal(wal_sync(wal, &io), OK);
    assert_int_equal(io.written_bytes, 24);
    close_wal(wal);
}

static void without_fsync_nothing_is_flushed(void **state) {
    struct fixture *self = *state;
    struct wal_options options = fixture_options(self, SMALL_SEGMENT);
    options.no_sync = true;
    struct wal *wal;
    struct wal_io io;
    assert_int_equal(wal_create(&options, METADATA, &wal, NULL), OK);
    assert_int_equal(save_entry(wal, 2, 1, SMALL_SEGMENT, &io), OK);
    assert_int_equal(io.sync_count, 0);
    assert_int_equal(io.write_count, 2);
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, SMALL_SEGMENT, &contents);
    assert_int_equal(contents.entries.count, 1);
    wal_contents_release(&contents);
    close_wal(wal);
}

static void entries_share_the_blocks_they_were_read_in(void **state) {
    struct fixture *self = *state;
    struct wal *wal = fixture_create(self, 0);
    for (uint64_t i = 1; i <= 3000; i++) {
        struct raft_entry entry = make_entry(2, i, 300);
        assert_int_equal(wal_save(wal, (struct raft_hard_state){0}, &entry, 1, NULL), OK);
        raft_entry_release(&entry);
    }
    close_wal(wal);
    struct wal_contents contents;
    wal = fixture_open(self, 0, &contents);
    size_t blocks = 1;
    for (size_t i = 1; i < contents.entries.count; i++)
        blocks += contents.entries.items[i].owner != contents.entries.items[i - 1].owner;
    assert_int_equal(contents.entries.count, 3000);
    assert_in_range(blocks, 2, 8);
    for (uint64_t i = 1; i <= 3000; i++) assert_entry(&contents.entries.items[i - 1], 2, i, 300);
    wal_contents_release(&contents);
    close_wal(wal);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(new_log_has_the_bytes_of_etcd),
        TEST(first_entry_and_state_have_the_bytes_of_etcd),
        TEST(creating_twice_is_refused),
        TEST(leftovers_do_not_disturb_creating),
        TEST(what_is_saved_is_read_again),
        TEST(opened_log_goes_on_where_it_ended),
        TEST(only_what_needs_it_is_flushed),
        TEST(first_state_after_opening_is_flushed),
        TEST(kept_back_states_are_bounded_and_go_out_on_close),
        TEST(later_entries_replace_earlier_ones),
        TEST(hole_in_the_entries_is_an_error),
        TEST(opened_at_a_snapshot_only_what_is_behind_it_is_read),
        TEST(snapshots_beyond_the_commit_are_not_valid),
        TEST(metadata_that_differs_is_an_error),
        TEST(full_segment_is_cut_and_the_next_begins),
        TEST(segment_of_64_million_bytes_is_cut),
        TEST(cut_without_a_state_of_this_process_writes_none),
        TEST(cut_takes_the_spare),
        TEST(closing_takes_spares_away),
        TEST(spare_that_fails_may_be_ordered_again),
        TEST(open_log_is_locked),
        TEST(purge_deletes_what_is_released_only),
        TEST(purged_log_is_opened_at_a_snapshot),
        TEST(missing_segment_between_is_noticed),
        TEST(held_back_state_is_written_before_anything_else),
        TEST(without_fsync_nothing_is_flushed),
        TEST(entries_share_the_blocks_they_were_read_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
