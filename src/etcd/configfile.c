/* The file of --config-file. etcd reads YAML by turning it into JSON with sorted keys and decoding that into a struct:
 * types are checked in the order of the keys, keys match in any case, unknown ones are read over, and of a key given
 * twice the last one counts. The errors here are those of that way. */
#include "etcd/options.h"

#include "base/gotext.h"
#include "base/mem.h"
#include "base/vec.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <yaml.h>

#define EXIT_PANIC 2

/* allowed-cn of clients can be set in the file only. */
static const struct option_row file_only_rows[] = {
    {"", OPTION_STRINGS, GROUP_HIDDEN, offsetof(struct options, client_tls.allowed_cn), "", NULL,
     "client-transport-security.allowed-cn", NULL, ""},
};

/* Sections, and the Go types that the texts of errors name. */
static const struct section {
    const char *key;
    const char *type;
    const char *owner;
} sections[] = {
    {"client-transport-security", "embed.securityConfig", "configJSON"},
    {"peer-transport-security", "embed.securityConfig", "configJSON"},
    {"socket-options", "transport.SocketOpts", "Config"},
};

/* Top-level keys that etcd reads as text first. */
static const char *const json_keys[] = {"listen-peer-urls",        "listen-client-urls",
                                        "listen-client-http-urls", "initial-advertise-peer-urls",
                                        "advertise-client-urls",   "cors",
                                        "host-whitelist"};

/* Texts of lists of URLs, judged after all types are known to be right, in this order; `named` is what the error calls
 * the key. */
static struct url_key {
    const char *key;
    const char *named;
} const url_keys[] = {
    {"listen-peer-urls", "listen-peer-urls"},
    {"listen-client-urls", "listen-client-urls"},
    {"listen-client-http-urls", "listen-client-http-urls"},
    {"initial-advertise-peer-urls", "initial-advertise-peer-urls"},
    {"advertise-client-urls", "advertise-peer-urls"},
    {"listen-metrics-urls", "listen-metrics-urls"},
};

struct reader {
    struct options *options;
    yaml_document_t *document;
    struct texts pending; /* key, text, key, text: of url_keys and cors */
    struct errmsg *message;
};

/* ---- scalars, as YAML 1.1 ---- */

enum scalar { SCALAR_NULL, SCALAR_BOOL, SCALAR_NUMBER, SCALAR_STRING };

static bool is_one_of(const char *text, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0) return true;
    return false;
}

static bool is_number(const char *text) {
    if (*text == '+' || *text == '-') text++;
    if (strcmp(text, ".inf") == 0 || strcmp(text, ".nan") == 0) return true;
    if (!isdigit((unsigned char)*text) && !(*text == '.' && isdigit((unsigned char)text[1]))) return false;
    char *end;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'b' || text[1] == 'o')) {
        strtoull(text + 2, &end, text[1] == 'x' ? 16 : text[1] == 'b' ? 2 : 8);
        return *end == 0 && end > text + 2;
    }
    strtod(text, &end);
    return *end == 0;
}

static enum scalar scalar_kind(const yaml_node_t *node, bool *ret_bool) {
    static const char *const nothing[] = {"", "~", "null", "Null", "NULL"};
    static const char *const yes[] = {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"};
    static const char *const no[] = {"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"};
    const char *text = (const char *)node->data.scalar.value;
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return SCALAR_STRING;
    if (is_one_of(text, nothing, sizeof nothing / sizeof *nothing)) return SCALAR_NULL;
    bool is_true = is_one_of(text, yes, sizeof yes / sizeof *yes);
    if (is_true || is_one_of(text, no, sizeof no / sizeof *no)) {
        *ret_bool = is_true;
        return SCALAR_BOOL;
    }
    return is_number(text) ? SCALAR_NUMBER : SCALAR_STRING;
}

static const char *json_kind(const yaml_node_t *node) {
    static const char *const names[] = {"null", "bool", "number", "string"};
    bool value;
    if (node->type == YAML_MAPPING_NODE) return "object";
    if (node->type == YAML_SEQUENCE_NODE) return "array";
    return names[scalar_kind(node, &value)];
}

static const char *go_type(enum option_kind kind, const char *key) {
    switch (kind) {
    case OPTION_BOOL: return "bool";
    case OPTION_UINT: return "uint";
    case OPTION_UINT64: return "uint64";
    case OPTION_UINT32: return "uint32";
    case OPTION_INT: return "int";
    case OPTION_INT64: return "int64";
    case OPTION_DURATION: return "time.Duration";
    case OPTION_PHASE: return "config.V2DeprecationEnum";
    case OPTION_STRINGS: return "[]string";
    case OPTION_STRING_SET: return strcmp(key, "log-outputs") == 0 ? "[]string" : "string";
    default: return "string";
    }
}

/* ---- one value ---- */

static const char *owner_of(const char *key) {
    return is_one_of(key, json_keys, sizeof json_keys / sizeof *json_keys) ? "configJSON" : "Config";
}

static enum err refuse_type(struct reader *self, const yaml_node_t *node, const char *number, const char *owner,
                            const char *path, const char *type) {
    return err_set(self->message, ERR_INVALID,
                   "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal %s%s%s into Go struct field "
                   "configYAML.%s.%s of type %s",
                   json_kind(node), number != NULL ? " " : "", number != NULL ? number : "", owner, path, type);
}

static enum err read_list(struct reader *self, const yaml_node_t *node, const char *owner, const char *path,
                          struct texts *ret_list) {
    struct texts list = {0};
    for (yaml_node_item_t *at = node->data.sequence.items.start; at < node->data.sequence.items.top; at++) {
        const yaml_node_t *item = yaml_document_get_node(self->document, *at);
        bool flag;
        if (item->type != YAML_SCALAR_NODE || scalar_kind(item, &flag) != SCALAR_STRING) {
            texts_release(&list);
            return refuse_type(self, item, NULL, owner, path, "string");
        }
        texts_add(&list, slice_from_cstr((const char *)item->data.scalar.value));
    }
    *ret_list = list;
    return OK;
}

static enum err read_number(struct reader *self, const struct option_row *row, const yaml_node_t *node,
                            const char *owner, const char *path) {
    const char *text = (const char *)node->data.scalar.value, *type = go_type(row->kind, row->yaml);
    struct errmsg problem;
    if (row->kind != OPTION_DURATION) {
        if (option_set(self->options, row, text, &problem)) return OK;
        return refuse_type(self, node, text, owner, path, type);
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end != 0 || errno != 0) return refuse_type(self, node, text, owner, path, type);
    *(int64_t *)option_value(self->options, row) = value;
    return OK;
}

static bool is_text_kind(enum option_kind kind, const char *key) { return strcmp(go_type(kind, key), "string") == 0; }

static enum err read_value(struct reader *self, const struct option_row *row, const yaml_node_t *node,
                           const char *owner, const char *path) {
    const char *type = go_type(row->kind, row->yaml);
    if (strcmp(type, "[]string") == 0 && node->type == YAML_SEQUENCE_NODE) {
        struct texts list;
        TRY(read_list(self, node, owner, path, &list));
        struct texts *place = option_value(self->options, row);
        texts_release(place);
        *place = list;
        if (place->count == 0 && strcmp(row->name, "log-outputs") == 0) texts_add(place, SLICE_LITERAL("default"));
        return OK;
    }
    if (node->type != YAML_SCALAR_NODE) return refuse_type(self, node, NULL, owner, path, type);
    bool flag = false;
    enum scalar kind = scalar_kind(node, &flag);
    const char *text = (const char *)node->data.scalar.value;
    if (kind == SCALAR_NULL) return OK;
    if (kind == SCALAR_BOOL && row->kind == OPTION_BOOL) {
        *(bool *)option_value(self->options, row) = flag;
        return OK;
    }
    bool is_numeric = row->kind >= OPTION_UINT && row->kind <= OPTION_DURATION;
    if (kind == SCALAR_NUMBER && is_numeric) return read_number(self, row, node, owner, path);
    bool is_text = is_text_kind(row->kind, row->yaml) || row->kind == OPTION_PHASE;
    if (kind != SCALAR_STRING || !is_text) return refuse_type(self, node, NULL, owner, path, type);
    if (row->kind == OPTION_URLS || row->kind == OPTION_UNIQUE_URLS || row->kind == OPTION_ORIGINS) {
        texts_add(&self->pending, slice_from_cstr(row->yaml));
        texts_add(&self->pending, slice_from_cstr(text));
        return OK;
    }
    if (row->kind == OPTION_STRING_SET) {
        struct errmsg problem;
        if (*text != 0) option_set(self->options, row, text, &problem);
        return OK;
    }
    char **place = option_value(self->options, row); /* an enum is judged later */
    mem_free(*place);
    *place = mem_strdup(text);
    return OK;
}

/* ---- mappings ---- */

struct pair {
    const char *key;
    const yaml_node_t *value;
    size_t place;
};

static int compare_pairs(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order != 0 ? order : x->place < y->place ? -1 : 1;
}

/* The pairs with text keys, by key, each once: the last. */
static struct pair *sorted_pairs(struct reader *self, const yaml_node_t *mapping, size_t *ret_count) {
    VEC(struct pair) pairs = {0};
    for (yaml_node_pair_t *at = mapping->data.mapping.pairs.start; at < mapping->data.mapping.pairs.top; at++) {
        const yaml_node_t *key = yaml_document_get_node(self->document, at->key);
        if (key->type != YAML_SCALAR_NODE) continue;
        VEC_PUSH(&pairs, (struct pair){(const char *)key->data.scalar.value,
                                       yaml_document_get_node(self->document, at->value), pairs.count});
    }
    if (pairs.count > 0) qsort(pairs.items, pairs.count, sizeof *pairs.items, compare_pairs);
    size_t kept = 0;
    for (size_t i = 0; i < pairs.count; i++)
        if (i + 1 == pairs.count || strcmp(pairs.items[i].key, pairs.items[i + 1].key) != 0)
            pairs.items[kept++] = pairs.items[i];
    *ret_count = kept;
    return pairs.items;
}

static const struct option_row *find_key(const char *section, const char *key) {
    struct buf path = BUF_INIT;
    if (section != NULL) buf_printf(&path, "%s.", section);
    buf_append_cstr(&path, key);
    const struct option_row *found = NULL;
    for (size_t i = 0; i < option_row_count && found == NULL; i++)
        if (option_rows[i].yaml != NULL && strcasecmp(option_rows[i].yaml, buf_cstr(&path)) == 0)
            found = &option_rows[i];
    for (size_t i = 0; i < sizeof file_only_rows / sizeof *file_only_rows && found == NULL; i++)
        if (strcasecmp(file_only_rows[i].yaml, buf_cstr(&path)) == 0) found = &file_only_rows[i];
    buf_release(&path);
    return found;
}

static enum err read_section(struct reader *self, const struct section *section, const yaml_node_t *node) {
    bool flag;
    if (node->type == YAML_SCALAR_NODE && scalar_kind(node, &flag) == SCALAR_NULL) return OK;
    if (node->type != YAML_MAPPING_NODE)
        return refuse_type(self, node, NULL, section->owner, section->key, section->type);
    size_t count;
    struct pair *pairs = sorted_pairs(self, node, &count);
    enum err error = OK;
    for (size_t i = 0; i < count && error == OK; i++) {
        const struct option_row *row = find_key(section->key, pairs[i].key);
        if (row != NULL) error = read_value(self, row, pairs[i].value, section->owner, row->yaml);
    }
    mem_free(pairs);
    return error;
}

static enum err read_root(struct reader *self) {
    const yaml_node_t *root = yaml_document_get_root_node(self->document);
    bool flag;
    if (root == NULL || (root->type == YAML_SCALAR_NODE && scalar_kind(root, &flag) == SCALAR_NULL)) return OK;
    if (root->type != YAML_MAPPING_NODE)
        return err_set(self->message, ERR_INVALID,
                       "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal %s into Go value of type "
                       "embed.configYAML",
                       json_kind(root));
    size_t count;
    struct pair *pairs = sorted_pairs(self, root, &count);
    enum err error = OK;
    for (size_t i = 0; i < count && error == OK; i++) {
        const struct section *section = NULL;
        for (size_t j = 0; j < sizeof sections / sizeof *sections; j++)
            if (strcasecmp(sections[j].key, pairs[i].key) == 0) section = &sections[j];
        if (section != NULL) {
            error = read_section(self, section, pairs[i].value);
            continue;
        }
        const struct option_row *row = find_key(NULL, pairs[i].key);
        if (row != NULL) error = read_value(self, row, pairs[i].value, owner_of(row->yaml), row->yaml);
    }
    mem_free(pairs);
    return error;
}

/* ---- what is judged after the types ---- */

static const char *pending_text(const struct reader *self, const char *key) {
    const char *found = NULL;
    for (size_t i = 0; i + 1 < self->pending.count; i += 2)
        if (strcmp(self->pending.items[i], key) == 0) found = self->pending.items[i + 1];
    return found != NULL && *found != 0 ? found : NULL;
}

static void set_pending(struct reader *self) {
    struct errmsg problem;
    for (size_t i = 0; i < sizeof url_keys / sizeof *url_keys; i++) {
        const char *text = pending_text(self, url_keys[i].key);
        if (text == NULL) continue;
        const struct option_row *row = option_find(url_keys[i].key, strlen(url_keys[i].key));
        if (option_set(self->options, row, text, &problem)) continue;
        fprintf(stderr, "unexpected error setting up %s: %s\n", url_keys[i].named, problem.text);
        exit(EXIT_FAILURE);
    }
    const char *cors = pending_text(self, "cors");
    if (cors == NULL || option_set(self->options, option_find("cors", 4), cors, &problem)) return;
    fprintf(stderr, "panic: new UniqueURLs should never fail: %s\n", problem.text);
    exit(EXIT_PANIC);
}

static enum err refuse_syntax(const yaml_parser_t *parser, struct errmsg *message) {
    size_t line = 0;
    bool is_scanner = parser->error == YAML_SCANNER_ERROR; /* its lines are counted from 0 */
    if (parser->problem_mark.line != 0)
        line = parser->problem_mark.line + (is_scanner ? 1 : 0);
    else if (parser->context_mark.line != 0)
        line = parser->context_mark.line;
    const char *problem = parser->problem != NULL ? parser->problem : "unknown problem parsing YAML content";
    if (line == 0) return err_set(message, ERR_INVALID, "error converting YAML to JSON: yaml: %s", problem);
    return err_set(message, ERR_INVALID, "error converting YAML to JSON: yaml: line %zu: %s", line, problem);
}

enum err configfile_read(struct options *self, const char *path, struct errmsg *message) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        enum err error = err_from_errno(errno);
        return err_set(message, ERR_INVALID, "open %s: %s", path, err_text(error));
    }
    CLEANUP_FREE char *default_cluster = mem_strdup(self->initial_cluster);
    yaml_parser_t parser;
    yaml_document_t document;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_file(&parser, file);
    enum err error;
    if (!yaml_parser_load(&parser, &document)) {
        error = refuse_syntax(&parser, message);
    } else {
        struct reader reader = {.options = self, .document = &document, .message = message};
        error = read_root(&reader);
        if (error == OK) set_pending(&reader);
        texts_release(&reader.pending);
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    fclose(file);
    if (error != OK) return error;
    bool finds_itself = self->discovery[0] != 0 || self->discovery_srv[0] != 0;
    if (finds_itself && strcmp(self->initial_cluster, default_cluster) == 0) self->initial_cluster[0] = 0;
    if (self->initial_cluster_state[0] == 0) {
        mem_free(self->initial_cluster_state);
        self->initial_cluster_state = mem_strdup("new");
    }
    if (self->self_signed_cert_validity_years == 0) self->self_signed_cert_validity_years = 1;
    return OK;
}

static void check_choice(struct options *self, const char *flag, char *value, const char *named) {
    const struct option_row *row = option_find(flag, strlen(flag));
    char *copy = mem_strdup(value); /* setting frees the value */
    struct errmsg problem;
    if (*copy != 0 && !option_set(self, row, copy, &problem)) {
        char stamp[32];
        time_t now = time(NULL);
        struct tm parts;
        localtime_r(&now, &parts);
        strftime(stamp, sizeof stamp, "%Y/%m/%d %H:%M:%S", &parts);
        fprintf(stderr, "%s unexpected error setting up %s: %s\n", stamp, named, problem.text);
        exit(EXIT_FAILURE);
    }
    mem_free(copy);
}

void configfile_check_proxy(struct options *self) {
    check_choice(self, "discovery-fallback", self->discovery_fallback, "discovery-fallback flag");
    check_choice(self, "proxy", self->proxy, "proxyFlag");
}
