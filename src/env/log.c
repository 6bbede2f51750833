#include "env/log.h"

#include "base/gotext.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

/* Shared by a log and those named after it. */
struct log_core {
    pthread_mutex_t lock;
    enum log_level minimum;
    log_sink sink;
    void *sink_context;
    int64_t (*wall_clock_ns)(void *);
    void *clock_context;
    struct buf line;
    int references;
};

struct log {
    struct log_core *core;
    const char *name;
};

struct log *log_new(enum log_level minimum, log_sink sink, void *sink_context, int64_t (*wall_clock_ns)(void *),
                    void *clock_context) {
    struct log *self = NEW(struct log);
    self->core = NEW(struct log_core);
    *self->core = (struct log_core){.minimum = minimum,
                                    .sink = sink,
                                    .sink_context = sink_context,
                                    .wall_clock_ns = wall_clock_ns,
                                    .clock_context = clock_context,
                                    .references = 1};
    pthread_mutex_init(&self->core->lock, NULL);
    return self;
}

struct log *log_named(struct log *parent, const char *name) {
    if (parent == NULL) return NULL;
    struct log *self = NEW(struct log);
    *self = (struct log){parent->core, name};
    pthread_mutex_lock(&self->core->lock);
    self->core->references++;
    pthread_mutex_unlock(&self->core->lock);
    return self;
}

void log_free(struct log *self) {
    if (self == NULL) return;
    pthread_mutex_lock(&self->core->lock);
    int left = --self->core->references;
    pthread_mutex_unlock(&self->core->lock);
    if (left == 0) {
        pthread_mutex_destroy(&self->core->lock);
        buf_release(&self->core->line);
        mem_free(self->core);
    }
    mem_free(self);
}

void log_set_level(struct log *self, enum log_level minimum) { self->core->minimum = minimum; }

bool log_is_enabled(const struct log *self, enum log_level level) {
    return self != NULL && level >= self->core->minimum;
}

/* 2006-01-02T15:04:05.000000Z0700 in local time. */
static void append_time(struct buf *out, int64_t wall_ns) {
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm broken_down;
    localtime_r(&seconds, &broken_down);
    char text[40];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &broken_down);
    buf_printf(out, "%s.%06d", text, (int)(wall_ns % 1000000000 / 1000));
    if (broken_down.tm_gmtoff == 0) {
        buf_append_byte(out, 'Z');
    } else {
        strftime(text, sizeof text, "%z", &broken_down);
        buf_append_cstr(out, text);
    }
}

static void append_string(struct buf *out, struct slice text) {
    buf_append_byte(out, '"');
    go_append_json_string(out, text, false);
    buf_append_byte(out, '"');
}

static void append_value(struct buf *out, const struct log_field *field) {
    switch (field->kind) {
    case LOG_FIELD_STRING:
        append_string(out, field->value.string != NULL ? slice_from_cstr(field->value.string) : SLICE_NONE);
        break;
    case LOG_FIELD_SLICE: append_string(out, field->value.slice); break;
    case LOG_FIELD_INT: buf_printf(out, "%lld", (long long)field->value.integer); break;
    case LOG_FIELD_UINT: buf_printf(out, "%llu", (unsigned long long)field->value.uinteger); break;
    case LOG_FIELD_BOOL: buf_append_cstr(out, field->value.integer ? "true" : "false"); break;
    case LOG_FIELD_DURATION:
        buf_append_byte(out, '"');
        go_append_duration(out, field->value.integer);
        buf_append_byte(out, '"');
        break;
    case LOG_FIELD_FLOAT: go_append_float(out, field->value.floating); break;
    case LOG_FIELD_TIME:
        buf_append_byte(out, '"');
        append_time(out, field->value.integer);
        buf_append_byte(out, '"');
        break;
    case LOG_FIELD_STRINGS:
        buf_append_byte(out, '[');
        for (size_t i = 0; i < field->count; i++) {
            if (i > 0) buf_append_byte(out, ',');
            append_string(out, slice_from_cstr(field->value.strings[i]));
        }
        buf_append_byte(out, ']');
        break;
    case LOG_FIELD_HEX_ID: buf_printf(out, "\"%llx\"", (unsigned long long)field->value.uinteger); break;
    case LOG_FIELD_JSON: buf_append_cstr(out, field->value.string); break;
    case LOG_END: break;
    }
}

/* The last folder and the file: "server/apply.c". */
static const char *short_file(const char *file) {
    const char *slash = NULL, *before = NULL;
    for (const char *at = file; *at; at++)
        if (*at == '/') {
            before = slash;
            slash = at;
        }
    return before != NULL ? before + 1 : file;
}

void log_write(struct log *self, enum log_level level, const char *file, int line, const char *message,
               const struct log_field *fields) {
    static const char *const names[] = {"debug", "info", "warn", "error", "panic", "fatal"};
    if (!log_is_enabled(self, level)) return;
    struct log_core *core = self->core;
    pthread_mutex_lock(&core->lock);
    struct buf *out = &core->line;
    buf_clear(out);
    buf_printf(out, "{\"level\":\"%s\",\"ts\":\"", names[level]);
    append_time(out, core->wall_clock_ns(core->clock_context));
    buf_append_byte(out, '"');
    if (self->name != NULL) buf_printf(out, ",\"logger\":\"%s\"", self->name);
    buf_printf(out, ",\"caller\":\"%s:%d\",\"msg\":", short_file(file), line);
    append_string(out, slice_from_cstr(message));
    for (const struct log_field *field = fields; field->kind != LOG_END; field++) {
        buf_printf(out, ",\"%s\":", field->key);
        append_value(out, field);
    }
    buf_append_cstr(out, "}\n");
    core->sink(core->sink_context, level, buf_slice(out));
    pthread_mutex_unlock(&core->lock);
}
