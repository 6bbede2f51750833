#include "wal/snap.h"

#include "base/crc32c.h"
#include "base/gotext.h"
#include "base/mem.h"
#include "wal/internal.h"

#include <inttypes.h>

#define SNAP_FILE_MODE 0666

void snap_append_path(struct buf *out, const char *dir, uint64_t term, uint64_t index) {
    buf_printf(out, "%s/%016" PRIx64 "-%016" PRIx64 ".snap", dir, term, index);
}

void snap_append_db_path(struct buf *out, const char *dir, uint64_t index) {
    buf_printf(out, "%s/%016" PRIx64 ".snap.db", dir, index);
}

/* ---- writing ---- */

static void encode(const struct raft_snapshot *snapshot, struct buf *out) {
    CLEANUP_BUF struct buf data = BUF_INIT;
    buf_reserve(&data, raft_snapshot_size(snapshot));
    raft_snapshot_encode(snapshot, &data);
    struct snap_record record = {crc32c(0, data.data, data.len), buf_slice(&data)};
    buf_reserve(out, snap_record_size(&record));
    snap_record_encode(&record, out);
}

/* The folder is flushed too, so that a snapshot which the WAL will name can't be missing after a crash. */
static enum err write_durably(struct env *env, const char *dir, const char *path, struct slice bytes,
                              int64_t *ret_sync_ns) {
    struct env_file *file;
    TRY(env_open(env, path, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, SNAP_FILE_MODE, &file));
    enum err error = env_pwrite(file, bytes.data, bytes.len, 0);
    int64_t start_ns = env_now_ns(env);
    if (error == OK) error = env_fsync(file);
    *ret_sync_ns = env_now_ns(env) - start_ns;
    env_close(file);
    return error == OK ? env_sync_directory(env, dir) : error;
}

enum err snap_save(struct env *env, const char *dir, const struct raft_snapshot *snapshot, struct snap_io *ret_io) {
    struct snap_io io = {0};
    if (snapshot->index == 0) {
        if (ret_io != NULL) *ret_io = io;
        return OK;
    }
    int64_t start_ns = env_now_ns(env);
    CLEANUP_BUF struct buf path = BUF_INIT;
    CLEANUP_BUF struct buf content = BUF_INIT;
    snap_append_path(&path, dir, snapshot->term, snapshot->index);
    encode(snapshot, &content);
    io.encode_ns = env_now_ns(env) - start_ns;
    enum err error = write_durably(env, dir, buf_cstr(&path), buf_slice(&content), &io.sync_ns);
    if (error != OK) {
        log_warn(env_log(env), "failed to write a snap file", LOG_STRING("path", buf_cstr(&path)), LOG_ERR(error));
        enum err removed = env_unlink(env, buf_cstr(&path));
        if (removed != OK && removed != ERR_NOT_FOUND_FILE) {
            log_warn(env_log(env), "failed to remove a broken snap file", LOG_STRING("path", buf_cstr(&path)),
                     LOG_ERR(removed));
        }
        return error;
    }
    io.total_ns = env_now_ns(env) - start_ns;
    if (ret_io != NULL) *ret_io = io;
    return OK;
}

/* ---- reading ---- */

static enum err decode(struct env *env, const char *path, struct slice content, struct raft_snapshot *ret_snapshot,
                       struct errmsg *message) {
    struct log *log = env_log(env);
    if (content.len == 0) {
        log_warn(log, "failed to read empty snapshot file", LOG_STRING("path", path));
        return err_set(message, ERR_SNAP_EMPTY, "%s", err_text(ERR_SNAP_EMPTY));
    }
    struct snap_record record;
    enum err error = snap_record_decode(content, &record, message);
    if (error != OK) {
        log_warn(log, "failed to unmarshal snappb.Snapshot", LOG_STRING("path", path),
                 LOG_STRING("error", message->text));
        return error;
    }
    if (record.data.len == 0 || record.crc == 0) {
        log_warn(log, "failed to read empty snapshot data", LOG_STRING("path", path));
        return err_set(message, ERR_SNAP_EMPTY, "%s", err_text(ERR_SNAP_EMPTY));
    }
    uint32_t crc = crc32c(0, record.data.data, record.data.len);
    if (crc != record.crc) {
        log_warn(log, "snap file is corrupt", LOG_STRING("path", path), LOG_UINT("prev-crc", record.crc),
                 LOG_UINT("new-crc", crc));
        return err_set(message, ERR_SNAP_CRC_MISMATCH, "%s", err_text(ERR_SNAP_CRC_MISMATCH));
    }
    error = raft_snapshot_decode(record.data, ret_snapshot, message);
    if (error != OK) {
        log_warn(log, "failed to unmarshal raftpb.Snapshot", LOG_STRING("path", path),
                 LOG_STRING("error", message->text));
    }
    return error;
}

enum err snap_read(struct env *env, const char *path, struct raft_snapshot *ret_snapshot, struct errmsg *message) {
    struct errmsg own_message;
    if (message == NULL) message = &own_message;
    CLEANUP_BUF struct buf content = BUF_INIT;
    enum err error = env_read_file(env, path, SNAP_MAX_FILE_BYTES, &content);
    if (error != OK) {
        log_warn(env_log(env), "failed to read a snap file", LOG_STRING("path", path), LOG_ERR(error));
        return err_set(message, error, "%s", err_text(error));
    }
    return decode(env, path, buf_slice(&content), ret_snapshot, message);
}

static void set_aside(struct env *env, const char *path) {
    CLEANUP_BUF struct buf broken = BUF_INIT;
    buf_printf(&broken, "%s.broken", path);
    enum err error = env_rename(env, path, buf_cstr(&broken));
    if (error != OK) {
        log_warn(env_log(env), "failed to rename a broken snap file", LOG_STRING("path", path),
                 LOG_STRING("broken-path", buf_cstr(&broken)), LOG_ERR(error));
    } else {
        log_warn(env_log(env), "renamed to a broken snap file", LOG_STRING("path", path),
                 LOG_STRING("broken-path", buf_cstr(&broken)));
    }
}

static bool is_recorded(const struct wal_snapshots *recorded, const struct raft_snapshot *snapshot) {
    for (size_t i = recorded->count; i > 0; i--) {
        const struct wal_snapshot *record = &recorded->items[i - 1];
        if (record->index == snapshot->index && record->term == snapshot->term) return true;
    }
    return false;
}

static bool starts_with(const char *name, const char *prefix) { return strncmp(name, prefix, strlen(prefix)) == 0; }

/* The names of .snap files, ascending. Leftovers of a defragmentation are deleted on the way. */
static enum err list_snapshots(struct env *env, const char *dir, struct env_names *ret_names) {
    struct env_names names;
    TRY(env_list(env, dir, &names));
    enum err error = OK;
    size_t kept = 0;
    for (size_t i = 0; i < names.count; i++) {
        char *name = names.names[i];
        if (starts_with(name, "db.tmp")) {
            log_info(env_log(env), "found orphaned defragmentation file; deleting", LOG_STRING("path", name));
            CLEANUP_FREE char *path = wal__path(dir, name);
            if (error == OK) error = env_unlink(env, path);
        } else if (wal__has_suffix(name, ".snap")) {
            names.names[kept++] = name;
            continue;
        } else if (strcmp(name, "db") != 0) {
            log_warn(env_log(env), "found unexpected non-snap file; skipping", LOG_STRING("path", name));
        }
        mem_free(name);
    }
    names.count = kept;
    if (error != OK)
        env_names_release(&names);
    else
        *ret_names = names;
    return error;
}

/* ERR_SNAP_NO_SNAPSHOT: not this one. */
static enum err try_load(struct env *env, const char *path, const struct wal_snapshots *recorded,
                         struct raft_snapshot *ret_snapshot) {
    struct raft_snapshot snapshot;
    struct errmsg message;
    enum err error = snap_read(env, path, &snapshot, &message);
    if (error != OK) {
        log_warn(env_log(env), "failed to read a snap file", LOG_STRING("path", path),
                 LOG_STRING("error", message.text));
        set_aside(env, path);
        return ERR_SNAP_NO_SNAPSHOT;
    }
    if (recorded != NULL && !is_recorded(recorded, &snapshot)) {
        raft_snapshot_release(&snapshot);
        return ERR_SNAP_NO_SNAPSHOT;
    }
    *ret_snapshot = snapshot;
    return OK;
}

enum err snap_load_newest(struct env *env, const char *dir, const struct wal_snapshots *recorded,
                          struct raft_snapshot *ret_snapshot) {
    struct env_names names;
    TRY(list_snapshots(env, dir, &names));
    enum err error = ERR_SNAP_NO_SNAPSHOT;
    for (size_t i = names.count; i > 0 && error != OK; i--) {
        CLEANUP_FREE char *path = wal__path(dir, names.names[i - 1]);
        error = try_load(env, path, recorded, ret_snapshot);
    }
    env_names_release(&names);
    return error;
}

enum err snap_find_db(struct env *env, const char *dir, uint64_t index, struct buf *ret_path) {
    CLEANUP_BUF struct buf path = BUF_INIT;
    snap_append_db_path(&path, dir, index);
    struct env_stat stat;
    if (env_stat(env, buf_cstr(&path), &stat) != OK) {
        log_warn(env_log(env), "failed to find [SNAPSHOT-INDEX].snap.db", LOG_UINT("snapshot-index", index),
                 LOG_STRING("snapshot-file-path", buf_cstr(&path)), LOG_ERR(ERR_SNAP_NO_DB_SNAPSHOT));
        return ERR_SNAP_NO_DB_SNAPSHOT;
    }
    buf_append_slice(ret_path, buf_slice(&path));
    return OK;
}

/* ---- receiving a database ---- */

#define RECEIVER_NAME_TRIES 100

struct snap_receiver {
    struct env *env;
    char *dir;
    char *path;
    struct env_file *file;
    int64_t size_bytes;
    int64_t start_ns;
};

static enum err open_temporary(struct env *env, const char *dir, char **ret_path, struct env_file **ret_file) {
    enum err error = ERR_FILE_EXISTS;
    for (int i = 0; i < RECEIVER_NAME_TRIES && error == ERR_FILE_EXISTS; i++) {
        struct buf path = BUF_INIT;
        buf_printf(&path, "%s/tmp%" PRIu32, dir, (uint32_t)env_random(env));
        error = env_open(env, buf_cstr(&path), ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE, WAL_FILE_MODE, ret_file);
        if (error == OK)
            *ret_path = buf_detach_cstr(&path);
        else
            buf_release(&path);
    }
    return error;
}

enum err snap_receiver_new(struct env *env, const char *dir, struct snap_receiver **ret_receiver) {
    char *path;
    struct env_file *file;
    TRY(open_temporary(env, dir, &path, &file));
    struct snap_receiver *self = NEW(struct snap_receiver);
    self->env = env;
    self->dir = mem_strdup(dir);
    self->path = path;
    self->file = file;
    self->start_ns = env_now_ns(env);
    *ret_receiver = self;
    return OK;
}

enum err snap_receiver_write(struct snap_receiver *self, struct slice bytes) {
    TRY(env_pwrite(self->file, bytes.data, bytes.len, self->size_bytes));
    self->size_bytes += (int64_t)bytes.len;
    return OK;
}

void snap_receiver_abort(struct snap_receiver *self) {
    if (self == NULL) return;
    env_close(self->file);
    enum err error = env_unlink(self->env, self->path);
    if (error != OK && error != ERR_NOT_FOUND_FILE) {
        log_warn(env_log(self->env), "failed to remove a received database", LOG_STRING("path", self->path),
                 LOG_ERR(error));
    }
    mem_free(self->path);
    mem_free(self->dir);
    mem_free(self);
}

static enum err finish(struct snap_receiver *self, const char *path, struct snap_io *io) {
    int64_t start_ns = env_now_ns(self->env);
    TRY(env_fsync(self->file));
    io->sync_ns = env_now_ns(self->env) - start_ns;
    struct env_stat stat;
    if (env_stat(self->env, path, &stat) == OK) return OK;
    TRY(env_rename(self->env, self->path, path));
    return env_sync_directory(self->env, self->dir);
}

enum err snap_receiver_finish(struct snap_receiver *self, uint64_t index, struct snap_io *ret_io) {
    struct snap_io io = {0};
    CLEANUP_BUF struct buf path = BUF_INIT;
    snap_append_db_path(&path, self->dir, index);
    enum err error = finish(self, buf_cstr(&path), &io);
    if (error == OK) {
        CLEANUP_BUF struct buf size = BUF_INIT;
        go_append_humanized_bytes(&size, (uint64_t)self->size_bytes);
        log_info(env_log(self->env), "saved database snapshot to disk", LOG_STRING("path", buf_cstr(&path)),
                 LOG_INT("bytes", self->size_bytes), LOG_STRING("size", buf_cstr(&size)));
        io.total_ns = env_now_ns(self->env) - self->start_ns;
        if (ret_io != NULL) *ret_io = io;
    }
    snap_receiver_abort(self);
    return error;
}

/* ---- keeping house ---- */

enum err snap_remove_temporary(struct env *env, const char *dir) {
    struct env_names names;
    TRY(env_list(env, dir, &names));
    enum err error = OK;
    for (size_t i = 0; i < names.count && error == OK; i++) {
        if (!starts_with(names.names[i], "tmp")) continue;
        CLEANUP_FREE char *path = wal__path(dir, names.names[i]);
        error = env_unlink(env, path);
        if (error != OK)
            log_error(env_log(env), "remove file failed", LOG_STRING("file", names.names[i]), LOG_ERR(error));
    }
    env_names_release(&names);
    return error;
}

/* The index in "<hex>.snap.db". */
static bool parse_db_name(const char *name, uint64_t *ret_index) {
    uint64_t index = 0;
    size_t digits = strlen(name) - strlen(".snap.db");
    if (digits == 0) return false;
    for (size_t i = 0; i < digits; i++) {
        static const char hex[] = "0123456789abcdef";
        char lower = name[i] >= 'A' && name[i] <= 'F' ? (char)(name[i] + 32) : name[i];
        const char *at = memchr(hex, lower, 16);
        if (at == NULL || index >> 60 != 0) return false;
        index = index << 4 | (uint64_t)(at - hex);
    }
    *ret_index = index;
    return true;
}

void snap_release_dbs(struct env *env, const char *dir, uint64_t index) {
    struct env_names names;
    if (env_list(env, dir, &names) != OK) return;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i];
        uint64_t db_index;
        if (!wal__has_suffix(name, ".snap.db")) continue;
        if (!parse_db_name(name, &db_index)) {
            log_error(env_log(env), "failed to parse index from filename", LOG_STRING("path", name),
                      LOG_STRING("error", "invalid syntax"));
            continue;
        }
        if (db_index >= index) continue;
        log_info(env_log(env), "found orphaned .snap.db file; deleting", LOG_STRING("path", name));
        CLEANUP_FREE char *path = wal__path(dir, name);
        enum err error = env_unlink(env, path);
        if (error != OK) {
            log_error(env_log(env), "failed to remove orphaned .snap.db file", LOG_STRING("path", name),
                      LOG_ERR(error));
        }
    }
    env_names_release(&names);
}

enum err snap_purge(struct env *env, const char *dir, size_t max_files) {
    TRY(wal__purge(env, dir, "snap.db", max_files, false));
    return wal__purge(env, dir, "snap", max_files, false);
}
