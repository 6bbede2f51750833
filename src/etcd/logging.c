#include "etcd/logging.h"

#include "base/gotext.h"
#include "base/map.h"
#include "base/mem.h"
#include "etcd/rotation.h"
#include "net/datagram.h"
#include "os/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
/* zap's sampler as etcd sets it up. */
#define SAMPLE_TICK_NS 1000000000ll
#define SAMPLE_FIRST 100
#define SAMPLE_THEREAFTER 100
#define SAMPLE_COUNTERS 4096
#define EXIT_PANIC 2

struct sample {
    int64_t ends_ns;
    uint64_t count;
};

struct logging {
    struct log *log;
    bool is_sampled;
    struct sample samples[LOG_FATAL_LEVEL + 1][SAMPLE_COUNTERS];
    bool to_stderr, to_stdout, to_journal;
    FILE **files;
    size_t file_count;
    struct rotation *rotation;
    struct buf entry; /* for the journal */
};

/* The text between `"key":"` and the next unescaped quote. */
static struct slice find_text(struct slice line, const char *key) {
    const uint8_t *at = memmem(line.data, line.len, key, strlen(key));
    if (at == NULL) return SLICE_NONE;
    at += strlen(key);
    const uint8_t *end = line.data + line.len, *from = at;
    while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
    return slice_make(from, (size_t)((at < end ? at : end) - from));
}

static bool is_sampled_out(struct logging *self, enum log_level level, struct slice line) {
    if (!self->is_sampled) return false;
    uint64_t hash = hash_bytes(find_text(line, "\"msg\":\""), 0);
    struct sample *sample = &self->samples[level][hash % SAMPLE_COUNTERS];
    int64_t now_ns = os_wall_clock_ns(NULL);
    if (now_ns >= sample->ends_ns || now_ns < sample->ends_ns - SAMPLE_TICK_NS)
        *sample = (struct sample){now_ns + SAMPLE_TICK_NS, 0};
    sample->count++;
    return sample->count > SAMPLE_FIRST && (sample->count - SAMPLE_FIRST) % SAMPLE_THEREAFTER != 0;
}

/* The journal's own protocol: fields, one a line. */
static void write_journal(struct logging *self, enum log_level level, struct slice line) {
    static const int priorities[] = {7, 6, 4, 3, 2, 2};
    struct slice caller = find_text(line, "\"caller\":\"");
    size_t folder = 0;
    while (folder < caller.len && caller.data[folder] != '/') folder++;
    buf_clear(&self->entry);
    buf_printf(&self->entry, "MESSAGE=%.*s\nPRIORITY=%d\nPACKAGE=%.*s\nSYSLOG_IDENTIFIER=%s\n", (int)line.len - 1,
               (const char *)line.data, priorities[level], (int)folder, (const char *)caller.data,
               program_invocation_short_name);
    if (net_datagram_send(JOURNAL_SOCKET, buf_slice(&self->entry)) != OK) fwrite(line.data, 1, line.len, stderr);
}

static void write_line(void *context, enum log_level level, struct slice line) {
    struct logging *self = context;
    if (is_sampled_out(self, level, line)) return;
    if (self->to_stderr) fwrite(line.data, 1, line.len, stderr);
    if (self->to_stdout) {
        fwrite(line.data, 1, line.len, stdout);
        fflush(stdout);
    }
    if (self->to_journal) write_journal(self, level, line);
    for (size_t i = 0; i < self->file_count; i++) {
        fwrite(line.data, 1, line.len, self->files[i]);
        fflush(self->files[i]);
    }
    if (self->rotation != NULL) rotation_write(self->rotation, line);
}

struct logging *logging_new_default(void) {
    struct logging *self = NEW(struct logging);
    self->to_stderr = self->is_sampled = true;
    self->log = log_new(LOG_INFO_LEVEL, write_line, self, os_wall_clock_ns, NULL);
    return self;
}

void logging_close(struct logging *self) {
    if (self == NULL) return;
    log_free(self->log);
    for (size_t i = 0; i < self->file_count; i++) fclose(self->files[i]);
    mem_free(self->files);
    rotation_free(self->rotation);
    buf_release(&self->entry);
    mem_free(self);
}

struct log *logging_log(struct logging *self) {
    return self->log;
}

static enum log_level parse_level(const char *text) {
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"debug", LOG_DEBUG_LEVEL}, {"info", LOG_INFO_LEVEL},   {"", LOG_INFO_LEVEL},
                  {"warn", LOG_WARN_LEVEL},   {"error", LOG_ERROR_LEVEL}, {"dpanic", LOG_PANIC_LEVEL},
                  {"panic", LOG_PANIC_LEVEL}, {"fatal", LOG_FATAL_LEVEL}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcasecmp(levels[i].name, text) == 0) return levels[i].level;
    struct buf quoted = BUF_INIT;
    go_append_quoted(&quoted, slice_from_cstr(text));
    fprintf(stderr, "panic: unrecognized level: %s\n", buf_cstr(&quoted));
    exit(EXIT_PANIC);
}

static bool is_stream(const char *output) {
    return strcmp(output, "default") == 0 || strcmp(output, "stderr") == 0 || strcmp(output, "stdout") == 0;
}

static enum err open_rotation(struct logging *self, const struct options *options, struct errmsg *message) {
    const char *path = NULL;
    size_t paths = 0;
    for (size_t i = 0; i < options->log_outputs.count; i++)
        if (!is_stream(options->log_outputs.items[i])) {
            path = options->log_outputs.items[i];
            paths++;
        }
    if (paths != 1)
        return err_set(message, ERR_INVALID,
                       "--log-outputs requires a single file path when --log-rotate-config-json is defined");
    struct rotation_config config;
    TRY(rotation_config_parse(options->log_rotation_config_json, &config, message));
    self->rotation = rotation_new(path, &config);
    return OK;
}

static enum err open_journal(struct logging *self, const struct texts *outputs, struct errmsg *message) {
    if (outputs->count > 1) {
        struct buf all = BUF_INIT;
        for (size_t i = 0; i < outputs->count; i++) {
            if (i > 0) buf_append_byte(&all, ' ');
            go_append_quoted(&all, slice_from_cstr(outputs->items[i]));
        }
        err_set(message, ERR_INVALID,
                "running with systemd/journal but other '--log-outputs' values ([%s]) are configured with 'default'; "
                "override 'default' value with something else",
                buf_cstr(&all));
        buf_release(&all);
        return ERR_INVALID;
    }
    enum err error = net_datagram_probe(JOURNAL_SOCKET);
    if (error != OK)
        return err_set(message, ERR_INVALID, "can't find journal (dial unixgram %s: %s%s)", JOURNAL_SOCKET,
                       error == ERR_CONNECTION_REFUSED ? "" : "connect: ", err_text(error));
    self->to_journal = true;
    return OK;
}

static enum err open_outputs(struct logging *self, const struct options *options, struct errmsg *message) {
    const struct texts *outputs = &options->log_outputs;
    if (outputs->count > 1)
        for (size_t i = 0; i < outputs->count; i++)
            if (strcmp(outputs->items[i], "default") == 0)
                return err_set(message, ERR_INVALID, "multi logoutput for \"default\" is not supported yet");
    if (options->enable_log_rotation) TRY(open_rotation(self, options, message));
    bool is_discarded = false;
    for (size_t i = 0; i < outputs->count; i++) {
        const char *output = outputs->items[i];
        if (strcmp(output, "systemd/journal") == 0) return open_journal(self, outputs, message);
        if (strcmp(output, "/dev/null") == 0) is_discarded = true;
    }
    if (is_discarded) return OK;
    self->files = mem_calloc(outputs->count + 1, sizeof *self->files);
    for (size_t i = 0; i < outputs->count; i++) {
        const char *output = outputs->items[i];
        if (strcmp(output, "default") == 0 || strcmp(output, "stderr") == 0) {
            self->to_stderr = true;
        } else if (strcmp(output, "stdout") == 0) {
            self->to_stdout = true;
        } else if (self->rotation == NULL) {
            FILE *file = fopen(output, "ae");
            if (file == NULL) {
                enum err error = err_from_errno(errno);
                struct buf quoted = BUF_INIT;
                go_append_quoted(&quoted, slice_from_cstr(output));
                err_set(message, ERR_INVALID, "couldn't open sink %s: open %s: %s", buf_cstr(&quoted), output,
                        err_text(error));
                buf_release(&quoted);
                return ERR_INVALID;
            }
            self->files[self->file_count++] = file;
        }
    }
    return OK;
}

enum err logging_open(const struct options *options, struct logging **ret_logging, struct errmsg *message) {
    if (strcmp(options->logger, "capnslog") == 0)
        return err_set(message, ERR_INVALID, "--logger=capnslog is removed in v3.5");
    if (strcmp(options->logger, "zap") != 0) {
        struct buf quoted = BUF_INIT;
        go_append_quoted(&quoted, slice_from_cstr(options->logger));
        err_set(message, ERR_INVALID, "unknown logger option %s", buf_cstr(&quoted));
        buf_release(&quoted);
        return ERR_INVALID;
    }
    struct logging *self = NEW(struct logging);
    self->is_sampled = true;
    enum err error = open_outputs(self, options, message);
    if (error != OK) {
        logging_close(self);
        return error;
    }
    self->log = log_new(parse_level(options->log_level), write_line, self, os_wall_clock_ns, NULL);
    *ret_logging = self;
    return OK;
}
