/* Old files go. */
#include "base/mem.h"
#include "wal/internal.h"

/* ERR_LOCKED and the like: it can't be had. */
static enum err take_lock(struct env *env, const char *path, struct env_file **ret_file) {
    struct env_file *file;
    enum err error = env_open(env, path, ENV_WRITE, WAL_FILE_MODE, &file);
    if (error == OK && (error = env_lock(file, ENV_LOCK_OFD, true)) != OK) env_close(file);
    if (error == OK)
        *ret_file = file;
    else
        log_warn(env_log(env), "failed to lock file", LOG_STRING("path", path), LOG_ERR(error));
    return error;
}

static enum err purge_names(struct env *env, const char *dir, char *const *names, size_t excess, bool lock) {
    for (size_t i = 0; i < excess; i++) {
        CLEANUP_FREE char *path = wal__path(dir, names[i]);
        struct env_file *file = NULL;
        if (lock && take_lock(env, path, &file) != OK) return OK;
        /* One after another, also in a crash: a log with a hole in it can't be read. */
        enum err error = env_unlink(env, path);
        if (error == OK) error = env_sync_directory(env, dir);
        env_close(file);
        if (error != OK) {
            log_error(env_log(env), "failed to remove file", LOG_STRING("path", path), LOG_ERR(error));
            return error;
        }
        log_info(env_log(env), "purged", LOG_STRING("path", path));
    }
    return OK;
}

enum err wal__purge(struct env *env, const char *dir, const char *suffix, size_t max_files, bool lock) {
    if (max_files == 0) return OK;
    struct env_names names;
    TRY(env_list(env, dir, &names));
    size_t count = 0;
    for (size_t i = 0; i < names.count; i++) {
        char *name = names.names[i];
        if (!wal__has_suffix(name, suffix)) continue;
        names.names[i] = names.names[count];
        names.names[count++] = name;
    }
    enum err error = count > max_files ? purge_names(env, dir, names.names, count - max_files, lock) : OK;
    env_names_release(&names);
    return error;
}

enum err wal_purge(struct env *env, const char *dir, size_t max_files) {
    return wal__purge(env, dir, "wal", max_files, true);
}
