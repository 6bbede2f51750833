/* fixture.h - a store on a real backend in a folder of its own, and a loop to turn. For the tests of mvcc/. */
#ifndef TESTS_MVCC_FIXTURE_H
#define TESTS_MVCC_FIXTURE_H

#include "backend/backend.h"
#include "base/mem.h"
#include "base/prng.h"
#include "mvcc/store.h"
#include "mvcc/watch.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_NS 120000000000ll

struct fixture {
    struct os_world *world;
    struct env *env;
    char folder[64];
    char path[96];
    struct backend *backend;
    struct store *store;
    struct store_options options;
};

static inline struct slice text(const char *chars) { return slice_from_cstr(chars); }

static inline void fixture_open(struct fixture *self) {
    struct errmsg message = {0};
    struct backend_options backend_options = {.unsafe_no_fsync = true};
    enum err error = backend_open(self->env, self->path, &backend_options, &self->backend, &message);
    if (error != OK) fail_msg("%s: %s", err_text(error), message.text);
    self->options.env = self->env;
    error = store_open(self->backend, &self->options, NULL, &self->store, &message);
    if (error != OK) fail_msg("%s: %s", err_text(error), message.text);
}

static inline void fixture_init(struct fixture *self) {
    *self = (struct fixture){.world = os_world_new(NULL)};
    self->env = os_world_env(self->world);
    snprintf(self->folder, sizeof self->folder, "mvcc-test-XXXXXX");
    assert_non_null(mkdtemp(self->folder));
    snprintf(self->path, sizeof self->path, "%s/db", self->folder);
}

static inline bool is_set(void *flag) { return *(bool *)flag; }
static inline void set_flag(void *flag) { *(bool *)flag = true; }

static inline void run_until(struct fixture *self, bool *flag) {
    assert_true(os_world_run(self->world, is_set, flag, LIMIT_NS));
}

/* What is due now and what follows from it. */
static inline void turn(struct fixture *self) { (void)os_world_turn(self->world); }

static inline void fixture_close(struct fixture *self) {
    bool stopped = false;
    store_stop(self->store, set_flag, &stopped);
    run_until(self, &stopped);
    store_close(self->store);
    assert_int_equal(backend_close(self->backend), OK);
}

static inline void fixture_release(struct fixture *self) {
    assert_int_equal(env_remove_all(self->env, self->folder), OK);
    os_world_free(self->world);
}

struct commit_wait {
    struct backend_waiter waiter;
    bool is_done;
};
static inline void commit_done(struct backend_waiter *waiter, enum err error) {
    assert_int_equal(error, OK);
    CONTAINER_OF(waiter, struct commit_wait, waiter)->is_done = true;
}
static inline void commit_now(struct fixture *self) {
    struct commit_wait wait = {.waiter.callback = commit_done};
    backend_commit(self->backend, &wait.waiter);
    run_until(self, &wait.is_done);
}

/* As if the power went: what was committed is all there is. */
static inline void fixture_crash(struct fixture *self) {
    char copy[128];
    snprintf(copy, sizeof copy, "%s/copy", self->folder);
    struct buf content = BUF_INIT;
    assert_int_equal(env_read_file(self->env, self->path, (size_t)1 << 30, &content), OK);
    struct env_file *file;
    assert_int_equal(env_open(self->env, copy, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600, &file), OK);
    assert_int_equal(env_pwrite(file, content.data, content.len, 0), OK);
    env_close(file);
    buf_release(&content);
    fixture_close(self);
    assert_int_equal(env_rename(self->env, copy, self->path), OK);
    fixture_open(self);
}

static inline int64_t put_lease(struct fixture *self, const char *key, const char *value, int64_t lease) {
    struct store_txn *txn = store_txn_begin(self->store);
    store_txn_put(txn, text(key), text(value), lease);
    return store_txn_end(txn);
}
static inline int64_t put(struct fixture *self, const char *key, const char *value) {
    return put_lease(self, key, value, 0);
}
static inline int64_t delete_range(struct fixture *self, const char *key, struct slice range_end) {
    struct store_txn *txn = store_txn_begin(self->store);
    (void)store_txn_delete_range(txn, text(key), range_end);
    return store_txn_end(txn);
}

struct hash_wait {
    bool is_done;
    enum err error;
    struct store_hash hash;
};
static inline void hash_done(void *context, enum err error, const struct store_hash *hash) {
    struct hash_wait *wait = context;
    *wait = (struct hash_wait){true, error, *hash};
}
static inline struct hash_wait hash_at(struct fixture *self, int64_t revision) {
    struct hash_wait wait = {0};
    store_hash_by_revision(self->store, revision, hash_done, &wait);
    assert_false(wait.is_done);
    run_until(self, &wait.is_done);
    return wait;
}

struct compact_wait {
    bool is_done;
    enum err error;
};
static inline void compact_done(void *context, enum err error) {
    *(struct compact_wait *)context = (struct compact_wait){true, error};
}
static inline void compact(struct fixture *self, int64_t revision) {
    struct compact_wait wait = {0};
    assert_int_equal(store_compact(self->store, revision, compact_done, &wait), OK);
    run_until(self, &wait.is_done);
    assert_int_equal(wait.error, OK);
}

#endif
