#include "env/env.h"

#include "base/buf.h"
#include "base/mem.h"

int64_t env_now_ns(struct env *env) { return env->ops->now_ns(env); }
int64_t env_wall_ns(struct env *env) { return env->ops->wall_ns(env); }

uint64_t env_random(struct env *env) {
    uint64_t value;
    env->ops->random_bytes(env, &value, sizeof value);
    return value;
}

void env_random_bytes(struct env *env, void *bytes, size_t size_bytes) {
    env->ops->random_bytes(env, bytes, size_bytes);
}

struct log *env_log(struct env *env) {
    return env->log;
}

void env_timer_start(struct env *env, struct env_timer *timer, int64_t delay_ns) {
    env->ops->timer_start(env, timer, delay_ns);
}
void env_timer_stop(struct env *env, struct env_timer *timer) { env->ops->timer_stop(env, timer); }
bool env_timer_is_running(const struct env_timer *timer) { return heap_contains(&timer->world); }

struct env_worker *env_worker_new(struct env *env, const char *name) {
    return env->ops->worker_new(env, name);
}
void env_worker_submit(struct env_worker *worker, struct env_job *job) { worker->env->ops->worker_submit(worker, job); }
void env_worker_free(struct env_worker *worker) {
    if (worker != NULL) worker->env->ops->worker_free(worker);
}
void env_pool_submit(struct env *env, struct env_job *job) { env->ops->pool_submit(env, job); }
void env_post(struct env *env, struct env_job *job) { env->ops->post(env, job); }

enum err env_open(struct env *env, const char *path, int flags, unsigned mode, struct env_file **ret_file) {
    return env->ops->open(env, path, flags, mode, ret_file);
}
void env_close(struct env_file *file) {
    if (file != NULL) file->env->ops->close(file);
}
enum err env_pread(struct env_file *file, void *bytes, size_t size_bytes, int64_t offset, size_t *ret_read) {
    return file->env->ops->pread(file, bytes, size_bytes, offset, ret_read);
}
enum err env_pwrite(struct env_file *file, const void *bytes, size_t size_bytes, int64_t offset) {
    struct slice piece = slice_make(bytes, size_bytes);
    return file->env->ops->pwritev(file, &piece, 1, offset);
}
enum err env_pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) {
    return file->env->ops->pwritev(file, pieces, count, offset);
}
enum err env_fdatasync(struct env_file *file) { return file->env->ops->sync(file, true); }
enum err env_fsync(struct env_file *file) { return file->env->ops->sync(file, false); }
enum err env_truncate(struct env_file *file, int64_t size_bytes) { return file->env->ops->truncate(file, size_bytes); }
enum err env_allocate(struct env_file *file, int64_t offset, int64_t length_bytes) {
    return file->env->ops->allocate(file, offset, length_bytes);
}
enum err env_file_size(struct env_file *file, int64_t *ret_size_bytes) {
    return file->env->ops->file_size(file, ret_size_bytes);
}
enum err env_lock(struct env_file *file, enum env_lock_kind kind, bool exclusive) {
    return file->env->ops->lock(file, kind, exclusive);
}
enum err env_map(struct env_file *file, size_t size_bytes, const uint8_t **ret_view) {
    return file->env->ops->map(file, size_bytes, ret_view);
}
void env_unmap(struct env *env, const uint8_t *view, size_t size_bytes) { env->ops->unmap(env, view, size_bytes); }
enum err env_punch_hole(struct env_file *file, int64_t offset, int64_t length_bytes) {
    return file->env->ops->punch_hole(file, offset, length_bytes);
}

enum err env_stat(struct env *env, const char *path, struct env_stat *ret_stat) {
    return env->ops->stat(env, path, ret_stat);
}
enum err env_mkdir(struct env *env, const char *path, unsigned mode) { return env->ops->mkdir(env, path, mode); }
enum err env_rename(struct env *env, const char *from, const char *to) { return env->ops->rename(env, from, to); }
enum err env_unlink(struct env *env, const char *path) { return env->ops->unlink(env, path); }
enum err env_remove_all(struct env *env, const char *path) { return env->ops->remove_all(env, path); }
enum err env_sync_directory(struct env *env, const char *path) { return env->ops->sync_directory(env, path); }
enum err env_list(struct env *env, const char *path, struct env_names *ret_names) {
    return env->ops->list(env, path, ret_names);
}

void env_names_release(struct env_names *names) {
    for (size_t i = 0; i < names->count; i++) mem_free(names->names[i]);
    mem_free(names->names);
    *names = (struct env_names){0};
}

char *env_parent(const char *path) {
    char *parent = mem_strdup(path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        mem_free(parent);
        return mem_strdup(".");
    }
    slash[slash == parent] = 0;
    return parent;
}

enum err env_mkdir_all(struct env *env, const char *path, unsigned mode) {
    struct env_stat stat;
    if (env_stat(env, path, &stat) == OK) return stat.is_directory ? OK : ERR_NOT_DIRECTORY;
    CLEANUP_FREE char *parent = env_parent(path);
    TRY(env_mkdir_all(env, parent, mode));
    enum err error = env_mkdir(env, path, mode);
    if (error == ERR_FILE_EXISTS) return OK;
    return error == OK ? env_sync_directory(env, parent) : error;
}

enum err env_read_file(struct env *env, const char *path, size_t limit_bytes, struct buf *ret_content) {
    struct env_file *file;
    TRY(env_open(env, path, ENV_READ, 0, &file));
    int64_t size_bytes;
    enum err error = env_file_size(file, &size_bytes);
    if (error == OK && (uint64_t)size_bytes > limit_bytes) error = ERR_INVALID;
    if (error == OK) {
        size_t read_bytes = 0;
        uint8_t *at = buf_reserve(ret_content, (size_t)size_bytes + 1);
        error = env_pread(file, at, (size_t)size_bytes, 0, &read_bytes);
        if (error == OK) ret_content->len += read_bytes;
    }
    env_close(file);
    return error;
}
