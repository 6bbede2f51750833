/* What the tests of wal/ share: a folder of their own, a world with a log that can be read, entries to save. */
#ifndef TESTS_WAL_FIXTURE_H
#define TESTS_WAL_FIXTURE_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "os/os.h"
#include "wal/wal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct os_world *world;
    struct env *env;
    struct log *log;
    struct buf lines;
    char dir[128];      /* the test's folder */
    char wal_dir[160];  /* in it */
    char snap_dir[160]; /* in it, made */
};

#define METADATA                                                                                                       \
    SLICE_LITERAL("\x08\xcd\xd2\x91\x8b\xd2\xb8\x81\xcf\x8e\x01\x10\xb2\x98\xea\xf1\x94\x83\x86\xfc\xcd\x01")

static inline void fixture__sink(void *context, enum log_level level, struct slice line) {
    struct fixture *self = context;
    buf_append_slice(&self->lines, line);
}

static inline int fixture_setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    const char *parent = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : P_tmpdir;
    snprintf(self->dir, sizeof self->dir, "%s/etcd-wal-XXXXXX", parent);
    CHECK(mkdtemp(self->dir) != NULL);
    snprintf(self->wal_dir, sizeof self->wal_dir, "%s/wal", self->dir);
    snprintf(self->snap_dir, sizeof self->snap_dir, "%s/snap", self->dir);
    self->log = log_new(LOG_DEBUG_LEVEL, fixture__sink, self, os_wall_clock_ns, NULL);
    self->world = os_world_new(self->log);
    self->env = os_world_env(self->world);
    CHECK(env_mkdir_all(self->env, self->snap_dir, 0700) == OK);
    *state = self;
    return 0;
}

static inline int fixture_teardown(void **state) {
    struct fixture *self = *state;
    CHECK(env_remove_all(self->env, self->dir) == OK);
    os_world_free(self->world);
    log_free(self->log);
    buf_release(&self->lines);
    mem_free(self);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

static inline bool fixture_logged(struct fixture *self, const char *text) {
    return strstr(buf_cstr(&self->lines), text) != NULL;
}

static inline struct wal_options fixture_options(struct fixture *self, int64_t segment_bytes) {
    return (struct wal_options){.env = self->env, .dir = self->wal_dir, .segment_bytes = segment_bytes};
}

static inline struct wal *fixture_create(struct fixture *self, int64_t segment_bytes) {
    struct wal_options options = fixture_options(self, segment_bytes);
    struct wal *wal;
    assert_int_equal(wal_create(&options, METADATA, &wal, NULL), OK);
    return wal;
}

/* Opens for writing and reads all; must work. */
static inline struct wal *fixture_open(struct fixture *self, int64_t segment_bytes, struct wal_contents *ret_contents) {
    struct wal_options options = fixture_options(self, segment_bytes);
    struct wal *wal;
    struct errmsg message = {0};
    assert_int_equal(wal_open(&options, 0, 0, &wal, &message), OK);
    assert_int_equal(wal_read_all(wal, ret_contents, &message), OK);
    return wal;
}

/* An entry whose data is `size_bytes` times a byte made of its index; release it. */
static inline struct raft_entry make_entry(uint64_t term, uint64_t index, size_t size_bytes) {
    struct shared *data = shared_new(size_bytes);
    memset(data->bytes, (int)(index * 37 + term) | 1, size_bytes);
    return raft_entry_make(RAFT_ENTRY_NORMAL, term, index, data);
}

static inline void assert_entry(const struct raft_entry *entry, uint64_t term, uint64_t index, size_t size_bytes) {
    struct raft_entry expected = make_entry(term, index, size_bytes);
    assert_int_equal(entry->term, term);
    assert_int_equal(entry->index, index);
    assert_true(slice_equal(entry->data, expected.data));
    raft_entry_release(&expected);
}

/* Saves one entry and, with it, that it is committed. */
static inline enum err save_entry(struct wal *wal, uint64_t term, uint64_t index, size_t size_bytes,
                                  struct wal_io *ret_io) {
    struct raft_entry entry = make_entry(term, index, size_bytes);
    enum err error = wal_save(wal, (struct raft_hard_state){term, 1, index}, &entry, 1, ret_io);
    raft_entry_release(&entry);
    return error;
}

static inline char *path_in(const char *dir, const char *name) {
    struct buf path = BUF_INIT;
    buf_printf(&path, "%s/%s", dir, name);
    return buf_detach_cstr(&path);
}

/* -1: not there. */
static inline int64_t size_of_file(struct fixture *self, const char *dir, const char *name) {
    char *path = path_in(dir, name);
    struct env_stat stat;
    int64_t size_bytes = env_stat(self->env, path, &stat) == OK ? stat.size_bytes : -1;
    mem_free(path);
    return size_bytes;
}

/* Up to limit_bytes from the file's start, appended. */
static inline void read_file(struct fixture *self, const char *dir, const char *name, size_t limit_bytes,
                             struct buf *out) {
    char *path = path_in(dir, name);
    struct env_file *file;
    size_t read_bytes;
    assert_int_equal(env_open(self->env, path, ENV_READ, 0, &file), OK);
    uint8_t *at = buf_reserve(out, limit_bytes);
    assert_int_equal(env_pread(file, at, limit_bytes, 0, &read_bytes), OK);
    out->len += read_bytes;
    env_close(file);
    mem_free(path);
}

/* Makes the file anew: `bytes`, then zeros up to size_bytes (0: none). Deleted first: file systems flush a file that
 * was truncated and written again, which takes long. */
static inline void write_file(struct fixture *self, const char *dir, const char *name, struct slice bytes,
                              int64_t size_bytes) {
    char *path = path_in(dir, name);
    struct env_file *file;
    enum err error = env_unlink(self->env, path);
    assert_true(error == OK || error == ERR_NOT_FOUND_FILE);
    assert_int_equal(env_open(self->env, path, ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, 0600, &file), OK);
    assert_int_equal(env_pwrite(file, bytes.data, bytes.len, 0), OK);
    if (size_bytes > (int64_t)bytes.len) assert_int_equal(env_truncate(file, size_bytes), OK);
    env_close(file);
    mem_free(path);
}

/* Up to limit_bytes of a recording. */
static inline void read_recording(struct fixture *self, const char *name, struct buf *out) {
    CLEANUP_BUF struct buf path = BUF_INIT;
    buf_printf(&path, "%s/golden/%s", TEST_SOURCE_DIR, name);
    assert_int_equal(env_read_file(self->env, buf_cstr(&path), 16u << 20, out), OK);
}

#define FIRST_SEGMENT "0000000000000000-0000000000000000.wal"

#endif
