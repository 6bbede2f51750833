/* fake_world.h - a world for tests: files in memory with a record of what is not synced, virtual time, work done when
 * the test says so. For one thread.
 *
 * A disk may lose any part of what was written since the last sync of a file: fake_crash_image gives such a disk.
 */
#ifndef TESTS_FAKE_WORLD_H
#define TESTS_FAKE_WORLD_H

#include "base/check.h"
#include "base/heap.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/vec.h"
#include "env/env.h"

#include <sys/mman.h>

#define FAKE_FILE_CAPACITY ((size_t)1 << 30)
#define FAKE_SECTOR_BYTES 512

struct fake_write {
    int64_t offset;
    struct slice bytes; /* own copy */
};

struct fake_file {
    char *path;
    uint8_t *live; /* FAKE_FILE_CAPACITY of address space; maps show it */
    int64_t size_bytes;
    uint8_t *durable;
    int64_t durable_bytes;
    VEC(struct fake_write) unsynced;
    struct fake_handle *lock_holder;
};

struct fake_handle {
    struct env_file file;
    struct fake_file *node;
};

struct fake_world {
    struct env env;
    int64_t now_ns;
    VEC(struct fake_file *) files;
    struct heap timers;
    struct list jobs; /* submitted, not yet run */
    uint64_t syncs;
    uint64_t writes;
    /* Called before each sync takes effect. */
    void (*before_sync)(struct fake_world *world, struct fake_file *file);
    void *context;
    uint64_t fail_at_write; /* the n-th write (from 1) fails; 0 = none */
    bool is_full;           /* all writes fail */
    uint64_t fail_at_sync;
};

struct fake_worker {
    struct env_worker worker;
};

static inline struct fake_world *fake_of(struct env *env) { return (struct fake_world *)env; }
static inline struct fake_file *fake_node(struct env_file *file) { return ((struct fake_handle *)file)->node; }

static inline struct fake_file *fake_find(struct fake_world *world, const char *path) {
    for (size_t i = 0; i < world->files.count; i++)
        if (strcmp(world->files.items[i]->path, path) == 0) return world->files.items[i];
    return NULL;
}

static inline struct fake_file *fake_add_file(struct fake_world *world, const char *path) {
    struct fake_file *node = NEW(struct fake_file);
    node->path = mem_strdup(path);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    node->live = mmap(NULL, FAKE_FILE_CAPACITY, PROT_READ | PROT_WRITE, flags, -1, 0);
    node->durable = mmap(NULL, FAKE_FILE_CAPACITY, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(node->live != MAP_FAILED && node->durable != MAP_FAILED);
    VEC_PUSH(&world->files, node);
    return node;
}

static inline void fake_forget_writes(struct fake_file *node) {
    for (size_t i = 0; i < node->unsynced.count; i++) mem_free((void *)(uintptr_t)node->unsynced.items[i].bytes.data);
    node->unsynced.count = 0;
}

static inline void fake_drop_file(struct fake_file *node) {
    fake_forget_writes(node);
    VEC_RELEASE(&node->unsynced);
    munmap(node->live, FAKE_FILE_CAPACITY);
    munmap(node->durable, FAKE_FILE_CAPACITY);
    mem_free(node->path);
    mem_free(node);
}

static int64_t fake_now_ns(struct env *env) { return fake_of(env)->now_ns++; }
static void fake_random_bytes(struct env *env, void *bytes, size_t size) { memset(bytes, 7, size); }

static enum err fake_open(struct env *env, const char *path, int flags, unsigned mode, struct env_file **ret) {
    struct fake_file *node = fake_find(fake_of(env), path);
    if (node == NULL && !(flags & ENV_CREATE)) return ERR_NOT_FOUND_FILE;
    if (node == NULL) node = fake_add_file(fake_of(env), path);
    struct fake_handle *handle = NEW(struct fake_handle);
    handle->file.env = env;
    handle->node = node;
    *ret = &handle->file;
    return OK;
}

static void fake_close(struct env_file *file) {
    struct fake_handle *handle = (struct fake_handle *)file;
    if (handle->node->lock_holder == handle) handle->node->lock_holder = NULL;
    mem_free(handle);
}

static enum err fake_pread(struct env_file *file, void *bytes, size_t size, int64_t offset, size_t *ret_read) {
    struct fake_file *node = fake_node(file);
    size_t there = offset >= node->size_bytes ? 0 : (size_t)(node->size_bytes - offset);
    *ret_read = size < there ? size : there;
    memcpy(bytes, node->live + offset, *ret_read);
    return OK;
}

static enum err fake_pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) {
    struct fake_file *node = fake_node(file);
    struct fake_world *world = fake_of(file->env);
    if (++world->writes == world->fail_at_write) return ERR_IO;
    if (world->is_full) return ERR_NO_DISK_SPACE;
    for (size_t i = 0; i < count; i++) {
        uint8_t *copy = mem_alloc(pieces[i].len + 1);
        memcpy(copy, pieces[i].data, pieces[i].len);
        memcpy(node->live + offset, copy, pieces[i].len);
        VEC_PUSH(&node->unsynced, (struct fake_write){offset, slice_make(copy, pieces[i].len)});
        offset += (int64_t)pieces[i].len;
        CHECK((size_t)offset <= FAKE_FILE_CAPACITY);
        if (offset > node->size_bytes) node->size_bytes = offset;
    }
    return OK;
}

static enum err fake_sync(struct env_file *file, bool data_only) {
    struct fake_file *node = fake_node(file);
    struct fake_world *world = fake_of(file->env);
    world->syncs++;
    if (world->before_sync != NULL) world->before_sync(world, node);
    if (world->syncs == world->fail_at_sync) return ERR_IO;
    for (size_t i = 0; i < node->unsynced.count; i++) {
        const struct fake_write *write = &node->unsynced.items[i];
        memcpy(node->durable + write->offset, write->bytes.data, write->bytes.len);
    }
    node->durable_bytes = node->size_bytes;
    fake_forget_writes(node);
    return OK;
}

static enum err fake_truncate(struct env_file *file, int64_t size_bytes) {
    fake_node(file)->size_bytes = size_bytes;
    return OK;
}

static enum err fake_file_size(struct env_file *file, int64_t *ret_size_bytes) {
    *ret_size_bytes = fake_node(file)->size_bytes;
    return OK;
}

static enum err fake_lock(struct env_file *file, enum env_lock_kind kind, bool exclusive) {
    struct fake_file *node = fake_node(file);
    if (node->lock_holder != NULL) return ERR_LOCKED;
    node->lock_holder = (struct fake_handle *)file;
    return OK;
}

static enum err fake_map(struct env_file *file, size_t size_bytes, const uint8_t **ret_view) {
    CHECK(size_bytes <= FAKE_FILE_CAPACITY);
    *ret_view = fake_node(file)->live;
    return OK;
}
static void fake_unmap(struct env *env, const uint8_t *view, size_t size_bytes) {}

static enum err fake_remove_all(struct env *env, const char *path) {
    struct fake_world *world = fake_of(env);
    for (size_t i = 0; i < world->files.count; i++) {
        if (strcmp(world->files.items[i]->path, path) != 0) continue;
        fake_drop_file(world->files.items[i]);
        world->files.items[i] = world->files.items[--world->files.count];
        break;
    }
    return OK;
}

/* The replaced file keeps its memory, for those who have it open. */
static enum err fake_rename(struct env *env, const char *from, const char *to) {
    struct fake_file *node = fake_find(fake_of(env), from), *before = fake_find(fake_of(env), to);
    if (node == NULL) return ERR_NOT_FOUND_FILE;
    if (before != NULL) before->path[0] = '?';
    mem_free(node->path);
    node->path = mem_strdup(to);
    return OK;
}

static enum err fake_sync_directory(struct env *env, const char *path) { return OK; }

static void fake_timer_stop(struct env *env, struct env_timer *timer) {
    heap_remove(&fake_of(env)->timers, &timer->world);
}

static void fake_timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns) {
    fake_timer_stop(env, timer);
    timer->world.key = fake_of(env)->now_ns + delay_ns;
    heap_push(&fake_of(env)->timers, &timer->world);
}

static struct env_worker *fake_worker_new(struct env *env, const char *name) {
    struct fake_worker *worker = NEW(struct fake_worker);
    worker->worker.env = env;
    return &worker->worker;
}

static void fake_submit(struct env_worker *worker, struct env_job *job) {
    list_push_back(&fake_of(worker->env)->jobs, &job->link);
}
static void fake_pool_submit(struct env *env, struct env_job *job) { list_push_back(&fake_of(env)->jobs, &job->link); }

/* Runs one job and its `done`; false when there is none. */
static inline bool fake_run_job(struct fake_world *world) {
    if (list_is_empty(&world->jobs)) return false;
    struct env_job *job = CONTAINER_OF(world->jobs.next, struct env_job, link);
    list_remove(&job->link);
    if (job->run != NULL) job->run(job);
    job->done(job);
    return true;
}

static void fake_worker_free(struct env_worker *worker) {
    while (fake_run_job(fake_of(worker->env))) {
    }
    mem_free(worker);
}

/* Fires the timers that are due within the time given, one after another. */
static inline void fake_advance(struct fake_world *world, int64_t by_ns) {
    int64_t end_ns = world->now_ns + by_ns;
    for (struct heap_node *next; (next = heap_peek(&world->timers)) != NULL && next->key <= end_ns;) {
        if (next->key > world->now_ns) world->now_ns = next->key;
        struct env_timer *timer = CONTAINER_OF(next, struct env_timer, world);
        heap_remove(&world->timers, next);
        timer->callback(timer);
    }
    if (end_ns > world->now_ns) world->now_ns = end_ns;
}

static inline void fake_world_init(struct fake_world *world) {
    static const struct env_ops ops = {
        .now_ns = fake_now_ns,
        .wall_ns = fake_now_ns,
        .random_bytes = fake_random_bytes,
        .timer_start = fake_timer_start,
        .timer_stop = fake_timer_stop,
        .worker_new = fake_worker_new,
        .worker_submit = fake_submit,
        .worker_free = fake_worker_free,
        .pool_submit = fake_pool_submit,
        .post = fake_pool_submit,
        .open = fake_open,
        .close = fake_close,
        .pread = fake_pread,
        .pwritev = fake_pwritev,
        .sync = fake_sync,
        .truncate = fake_truncate,
        .file_size = fake_file_size,
        .lock = fake_lock,
        .map = fake_map,
        .unmap = fake_unmap,
        .rename = fake_rename,
        .remove_all = fake_remove_all,
        .unlink = fake_remove_all,
        .sync_directory = fake_sync_directory,
    };
    *world = (struct fake_world){.env = {.ops = &ops}};
    list_init(&world->jobs);
    heap_init(&world->timers);
}

static inline void fake_world_release(struct fake_world *world) {
    CHECK(list_is_empty(&world->jobs));
    for (size_t i = 0; i < world->files.count; i++) fake_drop_file(world->files.items[i]);
    VEC_RELEASE(&world->files);
    heap_release(&world->timers);
}

enum fake_loss { FAKE_LOSE_ALL, FAKE_LOSE_NOTHING, FAKE_LOSE_SOME, FAKE_TEAR };

/* Adds to `to` a file as it may be found after a crash now. */
static inline void fake_crash_image(const struct fake_file *node, enum fake_loss loss, struct prng *prng,
                                    struct fake_world *to) {
    struct fake_file *image = fake_add_file(to, node->path);
    memcpy(image->live, node->durable, (size_t)node->durable_bytes);
    image->size_bytes = node->durable_bytes;
    if (loss != FAKE_LOSE_ALL && node->size_bytes > image->size_bytes) image->size_bytes = node->size_bytes;
    for (size_t i = 0; loss != FAKE_LOSE_ALL && i < node->unsynced.count; i++) {
        const struct fake_write *write = &node->unsynced.items[i];
        for (size_t at = 0; at < write->bytes.len; at += FAKE_SECTOR_BYTES) {
            size_t length = write->bytes.len - at < FAKE_SECTOR_BYTES ? write->bytes.len - at : FAKE_SECTOR_BYTES;
            if (loss == FAKE_LOSE_SOME && prng_below(prng, 2) == 0) continue;
            if (loss == FAKE_TEAR) length = prng_below(prng, length + 1);
            memcpy(image->live + write->offset + (int64_t)at, write->bytes.data + at, length);
        }
    }
    memcpy(image->durable, image->live, (size_t)image->size_bytes);
    image->durable_bytes = image->size_bytes;
}

#endif
