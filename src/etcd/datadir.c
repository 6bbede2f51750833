#include "etcd/datadir.h"

#include "base/gotext.h"
#include "wal/wal.h"

#include <stdlib.h>
#include <time.h>

#define PRIVATE_MODE 0700
#define LOCK_POLL_NS 100000000ll
#define LOCK_TELL_NS 10000000000ll

enum datadir_kind datadir_identify(struct env *env, const char *path) {
    struct log *log = env_log(env);
    struct env_names names;
    enum err error = env_list(env, path, &names);
    if (error == ERR_NOT_FOUND_FILE) return DATADIR_EMPTY;
    if (error != OK) {
        struct env_stat stat;
        bool is_file = error == ERR_NOT_DIRECTORY && env_stat(env, path, &stat) == OK;
        struct buf text = BUF_INIT;
        buf_printf(&text, "%s %s: %s", is_file ? "readdirent" : "open", path, err_text(error));
        log_fatal(log, "failed to list data directory", LOG_STRING("dir", path), LOG_STRING("error", buf_cstr(&text)));
        exit(EXIT_FAILURE);
    }
    bool is_member = false, is_proxy = false;
    for (size_t i = 0; i < names.count; i++) {
        if (strcmp(names.names[i], "member") == 0)
            is_member = true;
        else if (strcmp(names.names[i], "proxy") == 0)
            is_proxy = true;
        else
            log_warn(log, "found invalid file under data directory", LOG_STRING("filename", names.names[i]),
                     LOG_STRING("data-dir", path));
    }
    env_names_release(&names);
    if (is_member && is_proxy) {
        log_fatal(log, "invalid datadir; both member and proxy directories exist");
        exit(EXIT_FAILURE);
    }
    return is_member ? DATADIR_MEMBER : is_proxy ? DATADIR_PROXY : DATADIR_EMPTY;
}

/* As ls -l and Go print it. */
static void append_mode(struct buf *out, char kind, unsigned mode) {
    buf_append_byte(out, (uint8_t)kind);
    for (int bit = 8; bit >= 0; bit--) buf_append_byte(out, mode >> bit & 1 ? (uint8_t) "xwr"[bit % 3] : '-');
}

static void warn_of_permissions(struct env *env, const char *path) {
    struct env_stat stat;
    if (env_stat(env, path, &stat) != OK || (stat.mode & 0777) == PRIVATE_MODE) return;
    struct buf text = BUF_INIT;
    buf_append_cstr(&text, "directory ");
    go_append_quoted(&text, slice_from_cstr(path));
    buf_append_cstr(&text, " exist, but the permission is \"");
    append_mode(&text, 'd', stat.mode);
    buf_append_cstr(&text, "\". The recommended permission is \"");
    append_mode(&text, '-', PRIVATE_MODE);
    buf_append_cstr(&text, "\" to prevent possible unprivileged access to the data");
    log_warn(env_log(env), "check file permission", LOG_STRING("error", buf_cstr(&text)));
    buf_release(&text);
}

/* Makes a folder, or warns of the one that is there; then a file in it. */
static enum err touch_folder(struct env *env, const char *what, const char *path, struct errmsg *message) {
    struct env_stat stat;
    if (env_stat(env, path, &stat) == OK) {
        warn_of_permissions(env, path);
    } else {
        enum err error = env_mkdir_all(env, path, PRIVATE_MODE);
        if (error != OK) return err_set(message, error, "%s: mkdir %s: %s", what, path, err_text(error));
    }
    struct buf file = BUF_INIT;
    buf_printf(&file, "%s/.touch", path);
    struct env_file *touched;
    enum err error = env_open(env, buf_cstr(&file), ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0600, &touched);
    if (error == OK) {
        env_close(touched);
        error = env_unlink(env, buf_cstr(&file));
    }
    if (error != OK) err_set(message, error, "%s: open %s: %s", what, buf_cstr(&file), err_text(error));
    buf_release(&file);
    return error;
}

enum err datadir_prepare(struct env *env, const struct options *options, struct errmsg *message) {
    TRY(touch_folder(env, "cannot access data directory", options->data_dir, message));
    struct buf wal_dir = BUF_INIT, path = BUF_INIT;
    if (options->wal_dir[0] != 0)
        buf_append_cstr(&wal_dir, options->wal_dir);
    else
        buf_printf(&wal_dir, "%s/member/wal", options->data_dir);
    enum err error = OK;
    if (wal_exists(env, buf_cstr(&wal_dir))) {
        buf_printf(&path, "%s/member", options->data_dir);
        error = touch_folder(env, "cannot write to member directory", buf_cstr(&path), message);
        if (error == OK) error = touch_folder(env, "cannot write to WAL directory", buf_cstr(&wal_dir), message);
    }
    buf_clear(&path);
    buf_printf(&path, "%s/member/snap", options->data_dir);
    if (error == OK) {
        struct env_stat stat;
        if (env_stat(env, buf_cstr(&path), &stat) == OK)
            warn_of_permissions(env, buf_cstr(&path));
        else if ((error = env_mkdir_all(env, buf_cstr(&path), PRIVATE_MODE)) != OK) {
            log_fatal(env_log(env), "failed to create snapshot directory", LOG_STRING("path", buf_cstr(&path)),
                      LOG_ERR(error));
            exit(EXIT_FAILURE);
        }
    }
    buf_release(&wal_dir);
    buf_release(&path);
    return error;
}

static bool is_locked(struct env *env, const char *path) {
    struct env_file *file;
    if (env_open(env, path, ENV_READ, 0, &file) != OK) return false;
    bool locked = env_lock(file, ENV_LOCK_FLOCK, true) == ERR_LOCKED;
    env_close(file);
    return locked;
}

void datadir_wait_for_lock(struct env *env, const char *path) {
    struct buf db = BUF_INIT;
    buf_printf(&db, "%s/member/snap/db", path);
    int64_t began_ns = env_now_ns(env);
    bool is_told = false;
    while (is_locked(env, buf_cstr(&db))) {
        if (!is_told && env_now_ns(env) - began_ns >= LOCK_TELL_NS) {
            log_info(env_log(env), "db file is flocked by another process, or taking too long",
                     LOG_STRING("path", buf_cstr(&db)), LOG_DURATION("took", env_now_ns(env) - began_ns));
            is_told = true;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_NS}, NULL);
    }
    buf_release(&db);
}
