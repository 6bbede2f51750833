/* log.h - structured log lines in the shape of zap's JSON encoder.
 *
 * Floor 1. A line has a level, a message that operators match literally, and typed fields in the order given. The
 * encoder is here; where lines go (stderr, files, journal, a test's memory) is the sink's business. Any thread may
 * log: the sink takes whole lines.
 *
 *   log_info(log, "opened backend db", LOG_STRING("path", path), LOG_DURATION("took", took_ns));
 */
#ifndef ENV_LOG_H
#define ENV_LOG_H

#include "base/buf.h"
#include "base/err.h"

enum log_level { LOG_DEBUG_LEVEL, LOG_INFO_LEVEL, LOG_WARN_LEVEL, LOG_ERROR_LEVEL, LOG_PANIC_LEVEL, LOG_FATAL_LEVEL };

enum log_field_kind {
    LOG_END,
    LOG_FIELD_STRING,
    LOG_FIELD_SLICE,
    LOG_FIELD_INT,
    LOG_FIELD_UINT,
    LOG_FIELD_BOOL,
    LOG_FIELD_DURATION, /* int64 nanoseconds, Go duration text */
    LOG_FIELD_FLOAT,
    LOG_FIELD_TIME,    /* int64 wall-clock nanoseconds */
    LOG_FIELD_STRINGS, /* array of C strings */
    LOG_FIELD_HEX_ID,  /* uint64 as lower-case hex without leading zeros, as etcd prints ids */
    LOG_FIELD_JSON,    /* already encoded */
};

struct log_field {
    enum log_field_kind kind;
    const char *key;
    union {
        const char *string;
        struct slice slice;
        int64_t integer;
        uint64_t uinteger;
        double floating;
        const char *const *strings;
    } value;
    size_t count; /* of strings */
};

#define LOG_STRING(k, v) ((struct log_field){LOG_FIELD_STRING, (k), {.string = (v)}, 0})
#define LOG_SLICE(k, v) ((struct log_field){LOG_FIELD_SLICE, (k), {.slice = (v)}, 0})
#define LOG_INT(k, v) ((struct log_field){LOG_FIELD_INT, (k), {.integer = (int64_t)(v)}, 0})
#define LOG_UINT(k, v) ((struct log_field){LOG_FIELD_UINT, (k), {.uinteger = (uint64_t)(v)}, 0})
#define LOG_BOOL(k, v) ((struct log_field){LOG_FIELD_BOOL, (k), {.integer = (v) ? 1 : 0}, 0})
#define LOG_DURATION(k, v) ((struct log_field){LOG_FIELD_DURATION, (k), {.integer = (v)}, 0})
#define LOG_FLOAT(k, v) ((struct log_field){LOG_FIELD_FLOAT, (k), {.floating = (v)}, 0})
#define LOG_TIME(k, v) ((struct log_field){LOG_FIELD_TIME, (k), {.integer = (v)}, 0})
#define LOG_STRINGS(k, v, n) ((struct log_field){LOG_FIELD_STRINGS, (k), {.strings = (v)}, (n)})
#define LOG_HEX_ID(k, v) ((struct log_field){LOG_FIELD_HEX_ID, (k), {.uinteger = (v)}, 0})
#define LOG_JSON(k, v) ((struct log_field){LOG_FIELD_JSON, (k), {.string = (v)}, 0})
#define LOG_ERR(e) LOG_STRING("error", err_text(e))

struct log;

/* Takes one whole line (with its newline). Called from any thread, one call at a time. */
typedef void (*log_sink)(void *context, enum log_level level, struct slice line);

/* wall_clock_ns gives the time of a line. Both contexts must outlive the log. */
struct log *log_new(enum log_level minimum, log_sink sink, void *sink_context, int64_t (*wall_clock_ns)(void *),
                    void *clock_context);
/* NULL is allowed. */
void log_free(struct log *self);
/* The same sink and level under a logger name ("raft"): the "logger" key. Freed on its own. */
struct log *log_named(struct log *parent, const char *name);
void log_set_level(struct log *self, enum log_level minimum);
bool log_is_enabled(const struct log *self, enum log_level level);

/* `fields` ends with kind LOG_END. A NULL log swallows the line. */
void log_write(struct log *self, enum log_level level, const char *file, int line, const char *message,
               const struct log_field *fields);

#define LOG_AT(log, level, message, ...)                                                                               \
    log_write((log), (level), __FILE__, __LINE__, (message),                                                           \
              (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_END}})
#define log_debug(log, message, ...) LOG_AT(log, LOG_DEBUG_LEVEL, message __VA_OPT__(, ) __VA_ARGS__)
#define log_info(log, message, ...) LOG_AT(log, LOG_INFO_LEVEL, message __VA_OPT__(, ) __VA_ARGS__)
#define log_warn(log, message, ...) LOG_AT(log, LOG_WARN_LEVEL, message __VA_OPT__(, ) __VA_ARGS__)
#define log_error(log, message, ...) LOG_AT(log, LOG_ERROR_LEVEL, message __VA_OPT__(, ) __VA_ARGS__)
/* Only writes the line: ending the process is the programs' business. */
#define log_panic(log, message, ...) LOG_AT(log, LOG_PANIC_LEVEL, message __VA_OPT__(, ) __VA_ARGS__)
#define log_fatal(log, message, ...) LOG_AT(log, LOG_FATAL_LEVEL, message __VA_OPT__(, ) __VA_ARGS__)

#endif
