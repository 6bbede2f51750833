/* Segments prepared ahead. */
#include "base/mem.h"
#include "wal/internal.h"

struct wal_spare {
    struct env *env;
    char *path;
    int64_t segment_bytes;
    struct env_file *file; /* NULL: not made, or in vain, */
    enum err error;        /* then this is why */
};

struct wal_spare *wal__spare_new(struct env *env, const char *dir, int64_t segment_bytes, unsigned number) {
    struct wal_spare *self = NEW(struct wal_spare);
    struct buf path = BUF_INIT;
    buf_printf(&path, "%s/%u.tmp", dir, number % 2);
    self->env = env;
    self->path = buf_detach_cstr(&path);
    self->segment_bytes = segment_bytes;
    return self;
}

/* What an earlier process left under the name may hold the head of a segment it did not come to rename: it is cut off
 * first. */
static enum err make_zeros(struct env_file *file, int64_t size_bytes) {
    TRY(env_lock(file, ENV_LOCK_OFD, true));
    TRY(env_truncate(file, 0));
    return env_allocate(file, 0, size_bytes);
}

enum err wal_spare_make(struct wal_spare *self) {
    struct env_file *file = NULL;
    enum err error = env_open(self->env, self->path, ENV_WRITE | ENV_CREATE, WAL_FILE_MODE, &file);
    if (error == OK) error = make_zeros(file, self->segment_bytes);
    if (error != OK) {
        log_error(env_log(self->env), "failed to preallocate space when creating a new WAL",
                  LOG_INT("size", self->segment_bytes), LOG_ERR(error));
        if (file != NULL && env_unlink(self->env, self->path) != OK)
            log_warn(env_log(self->env), "failed to remove a spare WAL segment", LOG_STRING("path", self->path));
        env_close(file);
        self->error = error;
        return error;
    }
    self->file = file;
    return OK;
}

struct env_file *wal__spare_take(struct wal_spare *self, char **ret_path) {
    struct env_file *file = TAKE(self->file);
    *ret_path = TAKE(self->path);
    wal_spare_free(self);
    return file;
}

void wal_spare_free(struct wal_spare *self) {
    if (self == NULL) return;
    if (self->file != NULL && env_unlink(self->env, self->path) != OK)
        log_warn(env_log(self->env), "failed to remove a spare WAL segment", LOG_STRING("path", self->path));
    env_close(self->file);
    mem_free(self->path);
    mem_free(self);
}

struct wal_spare *wal_spare_order(struct wal *self) {
    if (self->phase != WAL_WRITING || self->spare_phase != WAL_SPARE_NONE) return NULL;
    self->spare_phase = WAL_SPARE_ORDERED;
    return wal__spare_new(self->env, self->dir, self->segment_bytes, self->spare_number++);
}

enum err wal_spare_deliver(struct wal *self, struct wal_spare *spare) {
    enum err error = spare->error;
    self->spare_phase = spare->file != NULL ? WAL_SPARE_READY : WAL_SPARE_NONE;
    if (spare->file != NULL)
        self->spare = spare;
    else
        wal_spare_free(spare);
    return error;
}

void wal__remove_spares(struct env *env, const char *dir) {
    for (unsigned number = 0; number < 2; number++) {
        struct wal_spare *spare = wal__spare_new(env, dir, 0, number);
        enum err error = env_open(env, spare->path, ENV_WRITE, WAL_FILE_MODE, &spare->file);
        if (error == OK && env_lock(spare->file, ENV_LOCK_OFD, true) != OK) {
            env_close(spare->file);
            spare->file = NULL;
        }
        wal_spare_free(spare);
    }
}
