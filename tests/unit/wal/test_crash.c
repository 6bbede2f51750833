/* What a crash, a failing disk or noise leaves behind: nothing that was durable is lost, and nothing trips. */
#include "fixture.h"

#include "base/prng.h"
#include "wal/frame.h"

#define SEGMENT (64 * 1024)

/* ---- a disk that counts its operations and may fail one of them; it never really flushes, which takes long ---- */

struct faulty {
    struct env env;
    struct env *real;
    int operations;
    int fails_at; /* counted from 1; 0: never */
};

static struct faulty *faulty_of(struct env *env) { return CONTAINER_OF(env, struct faulty, env); }

static bool fails_now(struct env *env) {
    struct faulty *self = faulty_of(env);
    return ++self->operations == self->fails_at;
}

static void faulty_random_bytes(struct env *env, void *bytes, size_t size_bytes) {
    env_random_bytes(faulty_of(env)->real, bytes, size_bytes);
}
static int64_t faulty_now_ns(struct env *env) { return env_now_ns(faulty_of(env)->real); }
static int64_t faulty_wall_ns(struct env *env) { return env_wall_ns(faulty_of(env)->real); }
static enum err faulty_open(struct env *env, const char *path, int flags, unsigned mode, struct env_file **ret_file) {
    if (fails_now(env)) return ERR_IO;
    TRY(env_open(faulty_of(env)->real, path, flags, mode, ret_file));
    (*ret_file)->env = env;
    return OK;
}
static const struct env_ops *real_ops(struct env_file *file) { return faulty_of(file->env)->real->ops; }
static void faulty_close(struct env_file *file) { real_ops(file)->close(file); }
static enum err faulty_pread(struct env_file *file, void *bytes, size_t size_bytes, int64_t offset, size_t *ret_read) {
    return fails_now(file->env) ? ERR_IO : real_ops(file)->pread(file, bytes, size_bytes, offset, ret_read);
}
/* Half of it is written when it fails. */
static enum err faulty_pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) {
    if (!fails_now(file->env)) return real_ops(file)->pwritev(file, pieces, count, offset);
    struct slice half = slice_make(pieces[0].data, pieces[0].len / 2);
    assert_int_equal(real_ops(file)->pwritev(file, &half, 1, offset), OK);
    return ERR_NO_DISK_SPACE;
}
static enum err faulty_sync(struct env_file *file, bool data_only) { return fails_now(file->env) ? ERR_IO : OK; }
static enum err faulty_truncate(struct env_file *file, int64_t size_bytes) {
    return fails_now(file->env) ? ERR_IO : real_ops(file)->truncate(file, size_bytes);
}
static enum err faulty_allocate(struct env_file *file, int64_t offset, int64_t length_bytes) {
    return fails_now(file->env) ? ERR_NO_DISK_SPACE : real_ops(file)->allocate(file, offset, length_bytes);
}
static enum err faulty_file_size(struct env_file *file, int64_t *ret_size_bytes) {
    return fails_now(file->env) ? ERR_IO : real_ops(file)->file_size(file, ret_size_bytes);
}
static enum err faulty_lock(struct env_file *file, enum env_lock_kind kind, bool exclusive) {
    return fails_now(file->env) ? ERR_LOCKED : real_ops(file)->lock(file, kind, exclusive);
}
static enum err faulty_stat(struct env *env, const char *path, struct env_stat *ret_stat) {
    return env_stat(faulty_of(env)->real, path, ret_stat);
}
static enum err faulty_mkdir(struct env *env, const char *path, unsigned mode) {
    return fails_now(env) ? ERR_IO : env_mkdir(faulty_of(env)->real, path, mode);
}
static enum err faulty_rename(struct env *env, const char *from, const char *to) {
    return fails_now(env) ? ERR_IO : env_rename(faulty_of(env)->real, from, to);
}
static enum err faulty_unlink(struct env *env, const char *path) {
    return fails_now(env) ? ERR_IO : env_unlink(faulty_of(env)->real, path);
}
static enum err faulty_remove_all(struct env *env, const char *path) {
    return fails_now(env) ? ERR_IO : env_remove_all(faulty_of(env)->real, path);
}
static enum err faulty_sync_directory(struct env *env, const char *path) { return fails_now(env) ? ERR_IO : OK; }
static enum err faulty_list(struct env *env, const char *path, struct env_names *ret_names) {
    return fails_now(env) ? ERR_IO : env_list(faulty_of(env)->real, path, ret_names);
}

static const struct env_ops faulty_ops = {
    .now_ns = faulty_now_ns,
    .wall_ns = faulty_wall_ns,
    .random_bytes = faulty_random_bytes,
    .open = faulty_open,
    .close = faulty_close,
    .pread = faulty_pread,
    .pwritev = faulty_pwritev,
    .sync = faulty_sync,
    .truncate = faulty_truncate,
    .allocate = faulty_allocate,
    .file_size = faulty_file_size,
    .lock = faulty_lock,
    .stat = faulty_stat,
    .mkdir = faulty_mkdir,
    .rename = faulty_rename,
    .unlink = faulty_unlink,
    .remove_all = faulty_remove_all,
    .sync_directory = faulty_sync_directory,
    .list = faulty_list,
};

static struct faulty *use_faulty(struct fixture *self) {
    struct faulty *faulty = NEW(struct faulty);
    *faulty = (struct faulty){.env = {.ops = &faulty_ops, .log = self->log}, .real = self->env};
    self->env = &faulty->env;
    return faulty;
}

static void stop_faulty(struct fixture *self, struct faulty *faulty) {
    self->env = faulty->real;
    mem_free(faulty);
}

/* ---- a log to damage ---- */

struct sample {
    struct buf bytes;  /* of its only segment, up to the end of the last record */
    size_t ends[64];   /* bytes after each save */
    uint64_t last[64]; /* index of the last entry after each save */
    size_t count;
};

static void sample_save(struct sample *sample, struct wal *wal, size_t entry_count, size_t size_bytes) {
    struct raft_entry entries[8] = {0};
    uint64_t first = sample->count > 0 ? sample->last[sample->count - 1] + 1 : 1;
    for (size_t i = 0; i < entry_count; i++) entries[i] = make_entry(2, first + i, size_bytes);
    struct wal_io io;
    struct raft_hard_state hard_state = {2, 1, first + entry_count - 1};
    assert_int_equal(wal_save(wal, hard_state, entries, entry_count, &io), OK);
    for (size_t i = 0; i < entry_count; i++) raft_entry_release(&entries[i]);
    sample->ends[sample->count] = (sample->count > 0 ? sample->ends[sample->count - 1] : 80) + io.written_bytes;
    sample->last[sample->count++] = first + entry_count - 1;
}

static void sample_make(struct fixture *self, struct sample *sample) {
    struct wal *wal = fixture_create(self, SEGMENT);
    for (size_t i = 0; i < 20; i++) sample_save(sample, wal, 1 + i % 3, i * 29 % 400);
    sample_save(sample, wal, 1, 700);
    sample_save(sample, wal, 3, 800);
    assert_int_equal(wal_close(wal), OK);
    read_file(self, self->wal_dir, FIRST_SEGMENT, sample->ends[sample->count - 1], &sample->bytes);
}

/* The entries and the state after save number `save` (0: none yet), or more of them. */
static void assert_contents(const struct wal_contents *contents, const struct sample *sample, size_t saves) {
    uint64_t least = saves > 0 ? sample->last[saves - 1] : 0;
    assert_true(contents->entries.count >= least);
    assert_true(contents->entries.count <= sample->last[sample->count - 1]);
    assert_true(contents->hard_state.commit >= least);
    for (size_t i = 0; i < contents->entries.count; i++) {
        const struct raft_entry *entry = &contents->entries.items[i];
        assert_int_equal(entry->index, i + 1);
        assert_entry(entry, 2, i + 1, entry->data.len);
    }
}

/* Starts on what lies there, which must work; then writes, and starts again. */
static void assert_recovers(struct fixture *self, const struct sample *sample, size_t saves) {
    struct wal_options options = fixture_options(self, SEGMENT);
    struct wal *wal;
    struct wal_contents contents;
    struct errmsg message = {0};
    buf_clear(&self->lines);
    enum err error = wal_open_and_read(&options, 0, 0, &wal, &contents, &message);
    if (error != OK) fail_msg("%s", message.text);
    assert_contents(&contents, sample, saves);
    uint64_t last = contents.entries.count;
    wal_contents_release(&contents);
    assert_int_equal(save_entry(wal, 2, last + 1, 50, NULL), OK);
    assert_int_equal(wal_close(wal), OK);
    assert_int_equal(wal_open_and_read(&options, 0, 0, &wal, &contents, &message), OK);
    assert_int_equal(contents.entries.count, last + 1);
    assert_entry(&contents.entries.items[last], 2, last + 1, 50);
    wal_contents_release(&contents);
    assert_int_equal(wal_close(wal), OK);
}

/* The log's only segment, in place of what is there. */
static void put_segment(struct fixture *self, struct slice bytes, int64_t size_bytes) {
    char *broken = path_in(self->wal_dir, FIRST_SEGMENT ".broken");
    enum err error = env_unlink(self->env, broken);
    assert_true(error == OK || error == ERR_NOT_FOUND_FILE);
    mem_free(broken);
    write_file(self, self->wal_dir, FIRST_SEGMENT, bytes, size_bytes);
}

static size_t saves_within(const struct sample *sample, size_t bytes) {
    size_t saves = 0;
    while (saves < sample->count && sample->ends[saves] <= bytes) saves++;
    return saves;
}

static void file_cut_at_any_byte_recovers(void **state) {
    struct fixture *self = *state;
    struct faulty *faulty = use_faulty(self);
    struct sample sample = {0};
    sample_make(self, &sample);
    size_t from = sample.ends[sample.count - 4];
    for (size_t cut = from; cut <= sample.bytes.len; cut++) {
        put_segment(self, slice_make(sample.bytes.data, cut), 0);
        assert_recovers(self, &sample, saves_within(&sample, cut));
    }
    /* in the head too, up to where there is no metadata yet */
    for (size_t cut = 56; cut < 300; cut++) {
        put_segment(self, slice_make(sample.bytes.data, cut), 0);
        assert_recovers(self, &sample, saves_within(&sample, cut));
    }
    buf_release(&sample.bytes);
    stop_faulty(self, faulty);
}

/* Of the last write, any set of sectors may have reached the disk. */
static void any_sectors_of_the_last_write_may_be_missing(void **state) {
    struct fixture *self = *state;
    struct faulty *faulty = use_faulty(self);
    struct sample sample = {0};
    sample_make(self, &sample);
    size_t synced = sample.ends[sample.count - 2];
    size_t first = synced / WAL_SECTOR_BYTES, last = (sample.bytes.len - 1) / WAL_SECTOR_BYTES;
    assert_in_range(last - first, 4, 8);
    struct buf disk = BUF_INIT;
    for (unsigned kept = 0; kept < 1u << (last - first + 1); kept++) {
        buf_clear(&disk);
        buf_append_slice(&disk, buf_slice(&sample.bytes));
        for (size_t sector = first; sector <= last; sector++) {
            if (kept & 1u << (sector - first)) continue;
            size_t from = sector * WAL_SECTOR_BYTES, to = from + WAL_SECTOR_BYTES;
            if (from < synced) from = synced;
            if (to > disk.len) to = disk.len;
            memset(disk.data + from, 0, to - from);
        }
        put_segment(self, buf_slice(&disk), SEGMENT);
        assert_recovers(self, &sample, sample.count - 1);
    }
    buf_release(&disk);
    buf_release(&sample.bytes);
    stop_faulty(self, faulty);
}

/* Not what a disk does, but what a tired one might: each sector of the whole file zeroed, each byte flipped. Either it
 * is told, or what is read is right as far as it goes. */
static void damage_anywhere_is_told_or_cut_off(void **state) {
    struct fixture *self = *state;
    struct faulty *faulty = use_faulty(self);
    struct sample sample = {0};
    sample_make(self, &sample);
    struct wal_options options = fixture_options(self, SEGMENT);
    struct buf disk = BUF_INIT;
    size_t sectors = (sample.bytes.len + WAL_SECTOR_BYTES - 1) / WAL_SECTOR_BYTES;
    for (size_t step = 0; step < sectors + sample.bytes.len; step++) {
        buf_clear(&disk);
        buf_append_slice(&disk, buf_slice(&sample.bytes));
        size_t at = step < sectors ? step * WAL_SECTOR_BYTES : step - sectors;
        size_t len = disk.len - at < WAL_SECTOR_BYTES ? disk.len - at : WAL_SECTOR_BYTES;
        if (step < sectors)
            memset(disk.data + at, 0, len);
        else
            disk.data[at] ^= (uint8_t)(1u << at % 8);
        put_segment(self, buf_slice(&disk), SEGMENT);
        struct wal *wal;
        struct wal_contents contents;
        buf_clear(&self->lines);
        enum err error = wal_open_and_read(&options, 0, 0, &wal, &contents, NULL);
        if (error != OK) {
            assert_true(fixture_logged(self, "fatal"));
            continue;
        }
        assert_contents(&contents, &sample, 0);
        wal_contents_release(&contents);
        assert_int_equal(wal_close(wal), OK);
    }
    buf_release(&disk);
    buf_release(&sample.bytes);
    stop_faulty(self, faulty);
}

static void noise_never_trips_the_decoder(void **state) {
    struct fixture *self = *state;
    struct faulty *faulty = use_faulty(self);
    struct prng prng;
    prng_init(&prng, 11);
    assert_int_equal(env_mkdir(self->env, self->wal_dir, 0700), OK);
    struct wal_options options = fixture_options(self, SEGMENT);
    struct buf noise = BUF_INIT;
    for (int round = 0; round < 4000; round++) {
        uint32_t crc = 0;
        buf_clear(&noise);
        for (uint64_t n = prng_below(&prng, 5); n > 0; n--) {
            uint8_t bytes[40];
            for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(prng_next(&prng) >> prng_below(&prng, 8));
            size_t len = prng_below(&prng, sizeof bytes + 1);
            if (prng_below(&prng, 3) == 0)
                buf_append(&noise, bytes, len);
            else
                wal_put_record(&noise, &crc, (enum wal_record_type)prng_below(&prng, 7), slice_make(bytes, len));
        }
        if (noise.len > 0 && prng_below(&prng, 2) == 0)
            noise.data[prng_below(&prng, noise.len)] ^= (uint8_t)(1u << prng_below(&prng, 8));
        put_segment(self, buf_slice(&noise), prng_below(&prng, 2) ? SEGMENT : 0);
        struct wal *wal;
        struct wal_contents contents;
        struct wal_snapshots snapshots;
        if (wal_valid_snapshots(self->env, self->wal_dir, &snapshots, NULL) == OK) wal_snapshots_release(&snapshots);
        buf_clear(&self->lines);
        if (wal_open_and_read(&options, 0, 0, &wal, &contents, NULL) != OK) continue;
        wal_contents_release(&contents);
        assert_int_equal(wal_close(wal), OK);
    }
    buf_release(&noise);
    stop_faulty(self, faulty);
}

/* ---- a failing disk ---- */

/* Saves until an error; returns the last index that was promised to be durable. */
static uint64_t save_some(struct wal *wal, uint64_t from, uint64_t to) {
    uint64_t promised = from - 1;
    for (uint64_t i = from; i <= to; i++) {
        if (save_entry(wal, 2, i, 30000, NULL) != OK) {
            assert_int_not_equal(save_entry(wal, 2, i, 10, NULL), OK);
            assert_int_not_equal(wal_sync(wal, NULL), OK);
            break;
        }
        promised = i;
        struct wal_spare *spare = wal_spare_order(wal);
        if (spare != NULL) {
            enum err error = wal_spare_make(spare);
            assert_in_range(error, OK, ERR_COUNT);
            wal_spare_deliver(wal, spare);
        }
    }
    return promised;
}

/* A life: made, filled over some cuts, closed, opened, filled, released, purged. */
static uint64_t live(struct fixture *self) {
    struct wal_options options = fixture_options(self, SEGMENT);
    struct wal *wal;
    struct wal_contents contents;
    if (wal_create(&options, METADATA, &wal, NULL) != OK) return 0;
    uint64_t promised = save_some(wal, 1, 5);
    wal_close(wal);
    if (promised < 5) return promised;
    if (wal_open_and_read(&options, 0, 0, &wal, &contents, NULL) != OK) return promised;
    assert_int_equal(contents.entries.count, 5);
    wal_contents_release(&contents);
    promised = save_some(wal, 6, 8);
    wal_close(wal);
    return promised;
}

static void disk_that_fails_at_any_operation_loses_nothing_promised(void **state) {
    struct fixture *self = *state;
    struct faulty *faulty = use_faulty(self);
    assert_int_equal(live(self), 8);
    int operations = faulty->operations;
    assert_true(operations > 60);
    for (int at = 1; at <= operations; at++) {
        assert_int_equal(env_remove_all(self->env, self->wal_dir), OK);
        faulty->operations = 0;
        faulty->fails_at = at;
        buf_clear(&self->lines);
        uint64_t promised = live(self);
        faulty->fails_at = 0;
        if (!wal_exists(self->env, self->wal_dir)) {
            assert_int_equal(promised, 0);
            continue;
        }
        struct wal_options options = fixture_options(self, SEGMENT);
        struct wal *wal;
        struct wal_contents contents;
        struct errmsg message = {0};
        enum err error = wal_open_and_read(&options, 0, 0, &wal, &contents, &message);
        if (error != OK) fail_msg("operation %d: %s", at, message.text);
        assert_true(contents.entries.count >= promised);
        for (size_t i = 0; i < promised; i++) assert_entry(&contents.entries.items[i], 2, i + 1, 30000);
        wal_contents_release(&contents);
        assert_int_equal(wal_close(wal), OK);
    }
    stop_faulty(self, faulty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(file_cut_at_any_byte_recovers),
        TEST(any_sectors_of_the_last_write_may_be_missing),
        TEST(damage_anywhere_is_told_or_cut_off),
        TEST(noise_never_trips_the_decoder),
        TEST(disk_that_fails_at_any_operation_loses_nothing_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
