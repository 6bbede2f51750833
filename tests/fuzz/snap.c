/* snap.c - the snapshot folder: .snap files of any content under any names.
 *
 * The first byte: 1 put the bytes into a record with the right checksum, 2 the WAL knows of two snapshots only. The
 * second: which call to the disk fails (0: none). Then two bytes, how long the newest .snap is, and its
 * content; then names of other files, 0xff between. */
#include "fuzz/disk.h"

#include "base/crc32c.h"
#include "wal/snap.h"

#include <stdio.h>

#define DIR "/snap"
#define NEWEST DIR "/ffffffffffffffff-ffffffffffffffff.snap"
#define SAVED DIR "/saved"

static void put_file(const char *path, struct slice bytes, bool in_record) {
    struct buf content = BUF_INIT;
    struct snap_record record = {crc32c(0, bytes.data, bytes.len), bytes};
    if (in_record)
        snap_record_encode(&record, &content);
    else
        buf_append_slice(&content, bytes);
    sim_disk_put_file(fuzz_disk.disk, path, buf_slice(&content));
    buf_release(&content);
}

/* Saved and read again it is the same. */
static void save_again(struct env *env, const struct raft_snapshot *snapshot) {
    struct raft_snapshot again;
    struct buf path = BUF_INIT, first = BUF_INIT, second = BUF_INIT;
    struct errmsg message = {""};
    if (snapshot->index == 0) return;
    struct snap_io io;
    if (snap_save(env, SAVED, snapshot, &io) != OK) {
        CHECK(fuzz_disk.has_failed);
        return;
    }
    snap_append_path(&path, SAVED, snapshot->term, snapshot->index);
    enum err error = snap_read(env, buf_cstr(&path), &again, &message);
    CHECKF(error == OK || fuzz_disk.has_failed, "%s", message.text);
    if (error == OK) {
        raft_snapshot_encode(snapshot, &first);
        raft_snapshot_encode(&again, &second);
        CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
        raft_snapshot_release(&again);
    }
    buf_release(&path);
    buf_release(&first);
    buf_release(&second);
}

static void read_newest(struct env *env, bool only_recorded) {
    struct raft_snapshot snapshot;
    struct errmsg message = {""};
    enum err error = snap_read(env, NEWEST, &snapshot, &message);
    CHECK(error == OK || message.text[0] != 0);
    if (error == OK) {
        save_again(env, &snapshot);
        raft_snapshot_release(&snapshot);
    }
    struct wal_snapshot known[] = {{.index = 1, .term = 1}, {.index = 7, .term = 2}};
    struct wal_snapshots recorded = {known, 2, 2};
    error = snap_load_newest(env, DIR, only_recorded ? &recorded : NULL, &snapshot);
    if (error != OK) return;
    CHECK(!only_recorded || snapshot.index == 1 || snapshot.index == 7);
    raft_snapshot_release(&snapshot);
}

static void put_names(struct fuzz_input *input) {
    static const char content[] = "x";
    for (int i = 0; i < 8 && fuzz_left(input) != 0; i++) {
        struct slice name = fuzz_part(input);
        if (name.len == 0 || name.len > 200 || memchr(name.data, '/', name.len) || memchr(name.data, 0, name.len))
            continue;
        char path[256];
        snprintf(path, sizeof path, DIR "/%.*s", (int)name.len, (const char *)name.data);
        if (strcmp(path, SAVED) == 0 || strcmp(path, DIR "/.") == 0 || strcmp(path, DIR "/..") == 0) continue;
        sim_disk_put_file(fuzz_disk.disk, path, slice_make(content, sizeof content));
    }
}

static void receive(struct env *env) {
    struct snap_receiver *receiver;
    struct snap_io io;
    enum err error = snap_receiver_new(env, DIR, &receiver);
    if (error == OK) {
        error = snap_receiver_write(receiver, SLICE_LITERAL("pages"));
        if (error == OK)
            error = snap_receiver_finish(receiver, 7, &io);
        else
            snap_receiver_abort(receiver);
    }
    CHECK(error == OK || fuzz_disk.has_failed);
    for (uint64_t index = 7; index <= 8; index++) {
        struct buf path = BUF_INIT;
        enum err found = snap_find_db(env, DIR, index, &path);
        CHECK(found == OK || found == ERR_SNAP_NO_DB_SNAPSHOT);
        CHECK(found == OK || index == 8 || fuzz_disk.has_failed);
        buf_release(&path);
    }
    if (snap_receiver_new(env, DIR, &receiver) == OK) snap_receiver_abort(receiver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    int flags = fuzz_byte(&input);
    uint8_t fail_at = fuzz_byte(&input);
    struct env *env = fuzz_disk_open();
    CHECK(env_mkdir_all(env, SAVED, 0700) == OK);
    struct slice bytes = fuzz_take(&input, (size_t)fuzz_number(&input, 2));
    put_file(NEWEST, bytes, flags & 1);
    put_names(&input);
    fuzz_disk_fail(fail_at);
    read_newest(env, flags & 2);
    receive(env);
    snap_release_dbs(env, DIR, 0x100);
    CHECK(snap_purge(env, DIR, 2) == OK || fuzz_disk.has_failed);
    CHECK(snap_remove_temporary(env, DIR) == OK || fuzz_disk.has_failed);
    fuzz_disk_close();
    return 0;
}
