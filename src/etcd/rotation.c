#include "etcd/rotation.h"

#include "base/buf.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define MEBIBYTE (1024 * 1024)
#define DAY_S (24 * 3600)
#define STAMP_LENGTH 23 /* 2006-01-02T15-04-05.000 */

struct rotation {
    char *path;
    struct rotation_config config;
    FILE *file;
    int64_t size_bytes;
};

/* ---- configuration ---- */

static const char *json_kind(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "object";
    case JSON_ARRAY: return "array";
    case JSON_STRING: return "string";
    case JSON_INTEGER:
    case JSON_REAL: return "number";
    case JSON_TRUE:
    case JSON_FALSE: return "bool";
    case JSON_NULL: break;
    }
    return "null";
}

/* What Go's decoder says of the commonest slips, else the parser's own words. */
static enum err refuse_syntax(const char *json, const json_error_t *error, struct errmsg *message) {
    const char *before = "improperly formatted log rotation config: ";
    const char *at = json + strspn(json, " \t\r\n");
    if (*at == 0) return err_set(message, ERR_INVALID, "%sunexpected end of JSON input", before);
    if (*at == '{') {
        at += 1 + strspn(at + 1, " \t\r\n");
        if (*at == 0) return err_set(message, ERR_INVALID, "%sunexpected end of JSON input", before);
        if (*at != '"' && *at != '}')
            return err_set(message, ERR_INVALID, "%sinvalid character '%c' looking for beginning of object key string",
                           before, *at);
    } else if (strchr("[\"-0123456789tfn", *at) == NULL) {
        return err_set(message, ERR_INVALID, "%sinvalid character '%c' looking for beginning of value", before, *at);
    }
    return err_set(message, ERR_INVALID, "%s%s", before, error->text);
}

static enum err read_member(const json_t *root, const char *key, const char *type, void *place,
                            struct errmsg *message) {
    const json_t *value = json_object_get(root, key);
    if (value == NULL || json_is_null(value)) return OK;
    if (strcmp(type, "int") == 0 && json_is_integer(value)) {
        *(int64_t *)place = json_integer_value(value);
        return OK;
    }
    if (strcmp(type, "bool") == 0 && json_is_boolean(value)) {
        *(bool *)place = json_is_true(value);
        return OK;
    }
    return err_set(message, ERR_INVALID,
                   "invalid log rotation config: json: cannot unmarshal %s into Go struct field "
                   "logRotationConfig.Logger.%s of type %s",
                   json_kind(value), key, type);
}

enum err rotation_config_parse(const char *json, struct rotation_config *ret_config, struct errmsg *message) {
    json_error_t error;
    json_t *root = json_loads(json, JSON_DECODE_ANY, &error);
    if (root == NULL) return refuse_syntax(json, &error, message);
    struct rotation_config config = {0};
    enum err result = OK;
    if (!json_is_object(root) && !json_is_null(root))
        result = err_set(message, ERR_INVALID,
                         "invalid log rotation config: json: cannot unmarshal %s into Go value of type "
                         "embed.logRotationConfig",
                         json_kind(root));
    if (result == OK) result = read_member(root, "maxsize", "int", &config.max_size_mb, message);
    if (result == OK) result = read_member(root, "maxage", "int", &config.max_age_days, message);
    if (result == OK) result = read_member(root, "maxbackups", "int", &config.max_backups, message);
    if (result == OK) result = read_member(root, "localtime", "bool", &config.local_time, message);
    if (result == OK) result = read_member(root, "compress", "bool", &config.compress, message);
    json_decref(root);
    if (result == OK) *ret_config = config;
    return result;
}

/* ---- files put aside ---- */

/* The path up to and with its last slash, and where the extension begins. */
static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}
static size_t stem_length(const char *path) {
    const char *dot = strrchr(path + folder_length(path), '.');
    return dot != NULL ? (size_t)(dot - path) : strlen(path);
}

/* The present time, or the first millisecond after it that no file is named after. */
static void backup_name(const struct rotation *self, struct buf *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    size_t stem = stem_length(self->path);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    for (;; now_ms++) {
        time_t seconds = (time_t)(now_ms / 1000);
        struct tm parts;
        if (self->config.local_time)
            localtime_r(&seconds, &parts);
        else
            gmtime_r(&seconds, &parts);
        char stamp[32];
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H-%M-%S", &parts);
        buf_clear(out);
        buf_printf(out, "%.*s-%s.%03d%s", (int)stem, self->path, stamp, (int)(now_ms % 1000), self->path + stem);
        if (access(buf_cstr(out), F_OK) != 0) return;
    }
}

/* Leaves the plain file when anything goes wrong. */
static void compress_file(const char *path) {
    struct buf packed = BUF_INIT;
    buf_printf(&packed, "%s.gz", path);
    FILE *from = fopen(path, "re");
    gzFile to = from != NULL ? gzopen(buf_cstr(&packed), "we") : NULL;
    bool is_good = to != NULL;
    char block[16384];
    size_t count;
    while (is_good && (count = fread(block, 1, sizeof block, from)) > 0)
        is_good = gzwrite(to, block, (unsigned)count) == (int)count;
    if (from != NULL) {
        is_good = is_good && ferror(from) == 0;
        fclose(from);
    }
    if (to != NULL) is_good = gzclose(to) == Z_OK && is_good;
    unlink(is_good ? path : buf_cstr(&packed));
    buf_release(&packed);
}

static int newest_first(const struct dirent **a, const struct dirent **b) {
    return -strcmp((*a)->d_name, (*b)->d_name);
}

/* Seconds since 1970 in a name's stamp, or -1 when the name is not one of ours. */
static time_t stamp_time(const struct rotation *self, const char *name) {
    const char *own = self->path + folder_length(self->path);
    size_t stem = stem_length(self->path) - folder_length(self->path), len = strlen(name);
    if (len > 3 && strcmp(name + len - 3, ".gz") == 0) len -= 3;
    size_t extension = strlen(own) - stem;
    if (len != stem + 1 + STAMP_LENGTH + extension || strncmp(name, own, stem) != 0 || name[stem] != '-') return -1;
    if (strncmp(name + stem + 1 + STAMP_LENGTH, own + stem, extension) != 0) return -1;
    struct tm parts = {.tm_isdst = -1};
    if (strptime(name + stem + 1, "%Y-%m-%dT%H-%M-%S", &parts) == NULL) return -1;
    return self->config.local_time ? mktime(&parts) : timegm(&parts);
}

static void remove_old(const struct rotation *self) {
    if (self->config.max_backups <= 0 && self->config.max_age_days <= 0) return;
    size_t folder = folder_length(self->path);
    struct buf path = BUF_INIT;
    if (folder == 0)
        buf_append_cstr(&path, ".");
    else
        buf_append(&path, self->path, folder);
    struct dirent **names;
    int count = scandir(buf_cstr(&path), &names, NULL, newest_first);
    time_t oldest = self->config.max_age_days > 0 ? time(NULL) - self->config.max_age_days * DAY_S : 0;
    int64_t kept = 0;
    for (int i = 0; i < count; i++) {
        time_t stamp = stamp_time(self, names[i]->d_name);
        if (stamp >= 0) {
            bool goes = stamp < oldest || (self->config.max_backups > 0 && kept >= self->config.max_backups);
            if (goes) {
                buf_clear(&path);
                buf_printf(&path, "%.*s%s", (int)folder, self->path, names[i]->d_name);
                unlink(buf_cstr(&path));
            } else {
                kept++;
            }
        }
        free(names[i]);
    }
    if (count >= 0) free(names);
    buf_release(&path);
}

/* ---- writing ---- */

struct rotation *rotation_new(const char *path, const struct rotation_config *config) {
    struct rotation *self = NEW(struct rotation);
    self->path = mem_strdup(path);
    self->config = *config;
    if (self->config.max_size_mb <= 0) self->config.max_size_mb = 100;
    return self;
}

void rotation_free(struct rotation *self) {
    if (self == NULL) return;
    if (self->file != NULL) fclose(self->file);
    mem_free(self->path);
    mem_free(self);
}

static void make_folders(const char *path) {
    char *copy = mem_strdup(path);
    for (char *at = copy + 1; *at != 0; at++) {
        if (*at != '/') continue;
        *at = 0;
        mkdir(copy, 0755);
        *at = '/';
    }
    mem_free(copy);
}

static void open_file(struct rotation *self, mode_t mode) {
    make_folders(self->path);
    bool is_new = access(self->path, F_OK) != 0;
    self->file = fopen(self->path, "ae");
    if (self->file == NULL) return;
    if (is_new) fchmod(fileno(self->file), mode);
    struct stat found;
    self->size_bytes = fstat(fileno(self->file), &found) == 0 ? found.st_size : 0;
}

static void rotate(struct rotation *self) {
    struct stat found;
    mode_t mode = fstat(fileno(self->file), &found) == 0 ? found.st_mode & 0777 : 0600;
    fclose(self->file);
    self->file = NULL;
    struct buf aside = BUF_INIT;
    backup_name(self, &aside);
    if (rename(self->path, buf_cstr(&aside)) == 0 && self->config.compress) compress_file(buf_cstr(&aside));
    buf_release(&aside);
    remove_old(self);
    open_file(self, mode);
}

void rotation_write(struct rotation *self, struct slice line) {
    if (self->file == NULL) open_file(self, 0600);
    if (self->file != NULL && self->size_bytes + (int64_t)line.len > self->config.max_size_mb * MEBIBYTE) rotate(self);
    if (self->file == NULL) return;
    fwrite(line.data, 1, line.len, self->file);
    fflush(self->file);
    self->size_bytes += (int64_t)line.len;
}
