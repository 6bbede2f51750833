/* Names of segments, and opening them. */
#include "base/mem.h"
#include "base/vec.h"
#include "wal/internal.h"

#include <inttypes.h>
#include <stdio.h>

char *wal__path(const char *dir, const char *name) {
    struct buf path = BUF_INIT;
    buf_printf(&path, "%s/%s", dir, name);
    return buf_detach_cstr(&path);
}

char *wal__clean_dir(const char *dir) {
    char *clean = mem_strdup(dir);
    size_t len = strlen(clean);
    while (len > 1 && clean[len - 1] == '/') clean[--len] = 0;
    return clean;
}

bool wal__has_suffix(const char *name, const char *suffix) {
    size_t name_len = strlen(name), suffix_len = strlen(suffix);
    return name_len >= suffix_len && strcmp(name + name_len - suffix_len, suffix) == 0;
}

/* One to sixteen hex digits; returns what comes behind them, or NULL. */
static const char *parse_hex(const char *at, uint64_t *ret_value) {
    uint64_t value = 0;
    int digits = 0;
    for (; digits < 16; digits++, at++) {
        if (*at >= '0' && *at <= '9')
            value = value << 4 | (uint64_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            value = value << 4 | (uint64_t)(*at - 'a' + 10);
        else if (*at >= 'A' && *at <= 'F')
            value = value << 4 | (uint64_t)(*at - 'A' + 10);
        else
            break;
    }
    *ret_value = value;
    return digits == 0 ? NULL : at;
}

bool wal__parse_name(const char *name, struct wal_segment_name *ret_number) {
    struct wal_segment_name number;
    const char *at = parse_hex(name, &number.sequence);
    if (at == NULL || *at != '-') return false;
    at = parse_hex(at + 1, &number.index);
    if (at == NULL || strcmp(at, ".wal") != 0) return false;
    *ret_number = number;
    return true;
}

char *wal__make_name(struct wal_segment_name number) {
    struct buf name = BUF_INIT;
    buf_printf(&name, "%016" PRIx64 "-%016" PRIx64 ".wal", number.sequence, number.index);
    return buf_detach_cstr(&name);
}

bool wal_exists(struct env *env, const char *dir) {
    struct env_names names;
    if (env_list(env, dir, &names) != OK) return false;
    bool found = false;
    for (size_t i = 0; i < names.count; i++) found = found || wal__has_suffix(names.names[i], ".wal");
    env_names_release(&names);
    return found;
}

enum err wal__list(struct env *env, const char *dir, struct env_names *ret_names) {
    struct env_names names;
    TRY(env_list(env, dir, &names));
    size_t kept = 0;
    for (size_t i = 0; i < names.count; i++) {
        char *name = names.names[i];
        struct wal_segment_name number;
        if (wal__parse_name(name, &number)) {
            names.names[kept++] = name;
            continue;
        }
        if (!wal__has_suffix(name, ".tmp"))
            log_warn(env_log(env), "ignored file in WAL directory", LOG_STRING("path", name));
        mem_free(name);
    }
    names.count = kept;
    if (kept == 0) {
        env_names_release(&names);
        return ERR_WAL_FILE_NOT_FOUND;
    }
    *ret_names = names;
    return OK;
}

static enum err open_segment(struct env *env, const char *dir, const char *name, bool read_only,
                             struct wal_segment *ret_segment) {
    struct wal_segment segment = {0};
    CLEANUP_FREE char *path = wal__path(dir, name);
    TRY(env_open(env, path, read_only ? ENV_READ : ENV_WRITE, WAL_FILE_MODE, &segment.file));
    enum err error = read_only ? OK : env_lock(segment.file, ENV_LOCK_OFD, true);
    if (error != OK) {
        env_close(segment.file);
        return error;
    }
    segment.name = mem_strdup(name);
    wal__parse_name(name, &segment.number);
    *ret_segment = segment;
    return OK;
}

enum err wal__open_segments(struct env *env, const char *dir, const struct env_names *names, size_t from,
                            bool read_only, struct wal_segments *ret_segments) {
    struct wal_segments segments = {0};
    for (size_t i = from; i < names->count; i++) {
        struct wal_segment segment;
        enum err error = open_segment(env, dir, names->names[i], read_only, &segment);
        if (error != OK) {
            wal__close_segments(&segments);
            return error;
        }
        VEC_PUSH(&segments, segment);
    }
    *ret_segments = segments;
    return OK;
}

void wal__close_segment(struct wal_segment *segment) {
    env_close(segment->file);
    mem_free(segment->name);
}

void wal__close_segments(struct wal_segments *segments) {
    for (size_t i = 0; i < segments->count; i++) wal__close_segment(&segments->items[i]);
    VEC_RELEASE(segments);
}

struct wal_source *wal__sources(const struct wal_segments *segments) {
    struct wal_source *sources = NEW_ARRAY(struct wal_source, segments->count);
    for (size_t i = 0; i < segments->count; i++)
        sources[i] = (struct wal_source){segments->items[i].file, segments->items[i].name};
    return sources;
}
