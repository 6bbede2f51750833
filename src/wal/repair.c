/* Cutting off a torn end, and the start of a member around it. */
#include "base/mem.h"
#include "wal/internal.h"

#define COPY_BYTES (1024 * 1024)

static enum err copy_file(struct env_file *from, struct env_file *to) {
    CLEANUP_FREE uint8_t *bytes = mem_alloc(COPY_BYTES);
    for (int64_t offset = 0;;) {
        size_t read_bytes;
        TRY(env_pread(from, bytes, COPY_BYTES, offset, &read_bytes));
        if (read_bytes == 0) return OK;
        TRY(env_pwrite(to, bytes, read_bytes, offset));
        offset += (int64_t)read_bytes;
    }
}

/* The tail as it is now, under another name: what is cut off is not lost for a human. */
static enum err back_up(struct env *env, struct env_file *file, const char *path) {
    CLEANUP_BUF struct buf broken_path = BUF_INIT;
    buf_printf(&broken_path, "%s.broken", path);
    struct env_file *broken;
    enum err error = env_open(env, buf_cstr(&broken_path), ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, 0666, &broken);
    if (error != OK) {
        log_warn(env_log(env), "failed to create backup file", LOG_STRING("path", buf_cstr(&broken_path)),
                 LOG_ERR(error));
        return error;
    }
    error = copy_file(file, broken);
    env_close(broken);
    if (error != OK) {
        log_warn(env_log(env), "failed to copy", LOG_STRING("from", path), LOG_STRING("to", buf_cstr(&broken_path)),
                 LOG_ERR(error));
    }
    return error;
}

static enum err cut_off(struct env *env, struct env_file *file, const char *path, int64_t size_bytes) {
    TRY(back_up(env, file, path));
    enum err error = env_truncate(file, size_bytes);
    if (error != OK) {
        log_warn(env_log(env), "failed to truncate", LOG_STRING("path", path), LOG_ERR(error));
        return error;
    }
    error = env_fsync(file);
    if (error != OK) {
        log_warn(env_log(env), "failed to fsync", LOG_STRING("path", path), LOG_ERR(error));
        return error;
    }
    log_info(env_log(env), "repaired", LOG_STRING("path", path), LOG_ERR(ERR_UNEXPECTED_EOF));
    return OK;
}

static enum err repair_segment(struct env *env, const struct wal_segment *segment, const char *path,
                               struct errmsg *message) {
    struct wal_source source = {segment->file, segment->name};
    struct wal_decoder decoder = wal_decoder_make(&source, 1);
    struct wal_record record;
    enum err error;
    while ((error = wal_decoder_next(&decoder, &record, message)) == OK) {
    }
    wal_decoder_release(&decoder);
    if (error == ERR_EOF) {
        log_info(env_log(env), "repaired", LOG_STRING("path", path), LOG_ERR(ERR_EOF));
        return OK;
    }
    if (error == ERR_UNEXPECTED_EOF) {
        error = cut_off(env, segment->file, path, decoder.next_offset);
        return error == OK ? OK : err_set(message, error, "%s", err_text(error));
    }
    log_warn(env_log(env), "failed to repair", LOG_STRING("path", path), LOG_STRING("error", message->text));
    return error;
}

enum err wal_repair(const struct wal_options *options, struct errmsg *message) {
    struct env *env = options->env;
    CLEANUP_FREE char *dir = wal__clean_dir(options->dir);
    struct env_names names;
    struct wal_segments last;
    struct errmsg own_message;
    if (message == NULL) message = &own_message;
    enum err error = wal__list(env, dir, &names);
    if (error == OK) {
        error = wal__open_segments(env, dir, &names, names.count - 1, false, &last);
        env_names_release(&names);
    }
    if (error != OK) return err_set(message, error, "%s", err_text(error));
    CLEANUP_FREE char *path = wal__path(dir, last.items[0].name);
    log_info(env_log(env), "repairing", LOG_STRING("path", path));
    error = repair_segment(env, &last.items[0], path, message);
    wal__close_segments(&last);
    return error;
}

/* ---- start ---- */

enum err wal_open_and_read(const struct wal_options *options, uint64_t snapshot_index, uint64_t snapshot_term,
                           struct wal **ret_wal, struct wal_contents *ret_contents, struct errmsg *message) {
    struct log *log = env_log(options->env);
    struct errmsg own_message;
    if (message == NULL) message = &own_message;
    for (bool is_repaired = false;; is_repaired = true) {
        struct wal *wal;
        enum err error = wal_open(options, snapshot_index, snapshot_term, &wal, message);
        if (error != OK) {
            log_fatal(log, "failed to open WAL", LOG_STRING("error", message->text));
            return error;
        }
        error = wal_read_all(wal, ret_contents, message);
        if (error == OK) {
            *ret_wal = wal;
            return OK;
        }
        wal_close(wal);
        if (is_repaired || error != ERR_UNEXPECTED_EOF) {
            log_fatal(log, "failed to read WAL, cannot be repaired", LOG_STRING("error", message->text));
            return error;
        }
        struct errmsg repair_message;
        enum err repair_error = wal_repair(options, &repair_message);
        if (repair_error != OK) {
            log_fatal(log, "failed to repair WAL", LOG_STRING("error", message->text));
            *message = repair_message;
            return repair_error;
        }
        log_info(log, "repaired WAL", LOG_STRING("error", message->text));
    }
}
