/* Values of options: from text as Go's flag package and etcd's own flag types read it. */
#include "etcd/options.h"

#include "base/gotext.h"
#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static const char parse_error[] = "parse error";
static const char range_error[] = "value out of range";

/* ---- texts ---- */

void texts_release(struct texts *self) {
    for (size_t i = 0; i < self->count; i++) mem_free(self->items[i]);
    mem_free(self->items);
    *self = (struct texts){0};
}

void texts_add(struct texts *self, struct slice text) {
    self->items = mem_realloc(self->items, (self->count + 1) * sizeof *self->items);
    char *copy = mem_alloc(text.len + 1);
    if (text.len > 0) memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    self->items[self->count++] = copy;
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void texts_make_set(struct texts *self) {
    if (self->count == 0) return;
    qsort(self->items, self->count, sizeof *self->items, compare_texts);
    size_t kept = 1;
    for (size_t i = 1; i < self->count; i++) {
        if (strcmp(self->items[i], self->items[kept - 1]) == 0)
            mem_free(self->items[i]);
        else
            self->items[kept++] = self->items[i];
    }
    self->count = kept;
}

void texts_split(struct texts *self, const char *text) {
    for (;;) {
        const char *comma = strchr(text, ',');
        texts_add(self, comma != NULL ? slice_make(text, (size_t)(comma - text)) : slice_from_cstr(text));
        if (comma == NULL) return;
        text = comma + 1;
    }
}

/* ---- numbers, as strconv with base 0 ---- */

/* Digits with an optional 0x, 0o, 0b or 0 before them, and _ between digits. NULL, or why not. */
static const char *parse_magnitude(const char *text, uint64_t *ret_value) {
    unsigned base = 10;
    bool has_prefix = false;
    if (text[0] == '0' && text[1] != 0) {
        char letter = (char)tolower((unsigned char)text[1]);
        base = letter == 'x' ? 16 : letter == 'b' ? 2 : 8;
        has_prefix = true;
        text += letter == 'x' || letter == 'b' || letter == 'o' ? 2 : 1;
    }
    if (*text == 0) return parse_error;
    uint64_t value = 0;
    bool overflows = false, after_digit = has_prefix;
    for (; *text != 0; text++) {
        if (*text == '_') {
            if (!has_prefix || !after_digit) return parse_error;
            after_digit = false;
            continue;
        }
        unsigned digit = isdigit((unsigned char)*text)   ? (unsigned)(*text - '0')
                         : isalpha((unsigned char)*text) ? (unsigned)(tolower((unsigned char)*text) - 'a' + 10)
                                                         : 99;
        if (digit >= base) return parse_error;
        after_digit = true;
        overflows |= __builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value);
    }
    if (!after_digit) return parse_error;
    if (overflows) return range_error;
    *ret_value = value;
    return NULL;
}

static const char *parse_int(const char *text, int64_t *ret_value) {
    bool negative = *text == '-';
    if (*text == '-' || *text == '+') text++;
    uint64_t magnitude;
    const char *why = parse_magnitude(text, &magnitude);
    if (why != NULL) return why;
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return range_error;
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return NULL;
}

static const char *parse_bool(const char *text, bool *ret_value) {
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < 6; i++) {
        if (strcmp(text, yes[i]) == 0) {
            *ret_value = true;
            return NULL;
        }
        if (strcmp(text, no[i]) == 0) {
            *ret_value = false;
            return NULL;
        }
    }
    return parse_error;
}

static bool is_choice(const char *choices, const char *text) {
    size_t len = strlen(text);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        if (*at == '|') at++;
        if (strncmp(at, text, len) == 0 && (at[len] == '|' || at[len] == 0)) return true;
    }
    return false;
}

/* ---- setting ---- */

static void set_string(char **place, const char *text) {
    mem_free(*place);
    *place = mem_strdup(text);
}

static bool set_urls(struct urls *place, const char *text, struct errmsg *problem) {
    struct urls urls;
    if (urls_parse(slice_from_cstr(text), &urls, problem) != OK) return false;
    urls_release(place);
    *place = urls;
    return true;
}

static bool set_unique_urls(struct urls *place, const char *text, struct errmsg *problem) {
    if (*text == 0) return true;
    for (size_t i = 0; i < place->count; i++)
        if (strcmp(place->items[i].text, text) == 0) return true;
    return set_urls(place, text, problem);
}

static bool set_origins(struct texts *place, const char *text, struct errmsg *problem) {
    for (size_t i = 0; i < place->count; i++)
        if (strcmp(place->items[i], text) == 0) return true;
    if (strcmp(text, "*") == 0) {
        texts_add(place, slice_from_cstr(text));
        texts_make_set(place);
        return true;
    }
    struct urls urls;
    if (urls_parse(slice_from_cstr(text), &urls, problem) != OK) return false;
    texts_release(place);
    for (size_t i = 0; i < urls.count; i++) texts_add(place, slice_from_cstr(urls.items[i].text));
    texts_make_set(place);
    urls_release(&urls);
    return true;
}

void *option_value(struct options *self, const struct option_row *row) { return (char *)self + row->offset; }

static const char *set_uint32(uint64_t *place, const char *text, struct errmsg *problem) {
    uint64_t value;
    const char *why = parse_magnitude(text, &value);
    if (why == NULL && value > UINT32_MAX) why = range_error;
    if (why == NULL) {
        *place = value;
        return NULL;
    }
    struct buf quoted = BUF_INIT;
    go_append_quoted(&quoted, slice_from_cstr(text));
    err_set(problem, ERR_INVALID, "strconv.ParseUint: parsing %s: %s", buf_cstr(&quoted),
            why == range_error ? why : "invalid syntax");
    buf_release(&quoted);
    return problem->text;
}

bool option_set(struct options *self, const struct option_row *row, const char *text, struct errmsg *problem) {
    void *place = row->kind == OPTION_IGNORED ? NULL : option_value(self, row);
    const char *why = NULL;
    switch (row->kind) {
    case OPTION_IGNORED: return true;
    case OPTION_BOOL: why = parse_bool(text, place); break;
    case OPTION_STRING: set_string(place, text); return true;
    case OPTION_ENUM:
        if (!is_choice(row->choices, text))
            why = "invalid value";
        else
            set_string(place, text);
        break;
    case OPTION_PHASE:
        if (is_choice(row->choices, text)) {
            set_string(place, text);
        } else {
            struct buf quoted = BUF_INIT;
            go_append_quoted(&quoted, slice_from_cstr(text));
            err_set(problem, ERR_INVALID, "invalid value %s", buf_cstr(&quoted));
            buf_release(&quoted);
            return false;
        }
        break;
    case OPTION_UINT:
    case OPTION_UINT64: why = parse_magnitude(text, place); break;
    case OPTION_UINT32: return set_uint32(place, text, problem) == NULL;
    case OPTION_INT:
    case OPTION_INT64: why = parse_int(text, place); break;
    case OPTION_DURATION:
        if (!go_parse_duration(text, place)) why = parse_error;
        break;
    case OPTION_URLS: return set_urls(place, text, problem);
    case OPTION_UNIQUE_URLS: return set_unique_urls(place, text, problem);
    case OPTION_ORIGINS: return set_origins(place, text, problem);
    case OPTION_STRINGS:
        texts_release(place);
        if (*text != 0) texts_split(place, text);
        return true;
    case OPTION_STRING_SET:
        texts_release(place);
        texts_split(place, text);
        texts_make_set(place);
        return true;
    }
    if (why != NULL) err_set(problem, ERR_INVALID, "%s", why);
    return why == NULL;
}

void options_init(struct options *self) {
    *self = (struct options){0};
    self->given = NEW_ARRAY(bool, option_row_count);
    struct errmsg problem;
    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->kind == OPTION_IGNORED) continue;
        if (row->kind == OPTION_DURATION && row->default_text[0] == 0) continue; /* zero already */
        if (!option_set(self, row, row->default_text, &problem)) abort();        /* the table is wrong */
    }
}

void options_release(struct options *self) {
    for (size_t i = 0; i < option_row_count; i++) {
        const struct option_row *row = &option_rows[i];
        void *place = row->kind == OPTION_IGNORED ? NULL : option_value(self, row);
        switch (row->kind) {
        case OPTION_STRING:
        case OPTION_ENUM:
        case OPTION_PHASE:
            mem_free(*(char **)place);
            *(char **)place = NULL;
            break;
        case OPTION_URLS:
        case OPTION_UNIQUE_URLS: urls_release(place); break;
        case OPTION_ORIGINS:
        case OPTION_STRINGS:
        case OPTION_STRING_SET: texts_release(place); break;
        default: break;
        }
    }
    texts_release(&self->client_tls.allowed_cn);
    mem_free(self->given);
    self->given = NULL;
}

const struct option_row *option_find(const char *name, size_t name_len) {
    for (size_t i = 0; i < option_row_count; i++)
        if (strlen(option_rows[i].name) == name_len && memcmp(option_rows[i].name, name, name_len) == 0)
            return &option_rows[i];
    return NULL;
}

bool option_is_given(const struct options *self, const char *name) {
    const struct option_row *row = option_find(name, strlen(name));
    return row != NULL && self->given[row - option_rows];
}

const char *option_variable(const struct option_row *row, struct buf *out) {
    buf_clear(out);
    buf_append_cstr(out, "ETCD_");
    for (const char *at = row->name; *at != 0; at++)
        buf_append_byte(out, *at == '-' ? '_' : (uint8_t)toupper((unsigned char)*at));
    return buf_cstr(out);
}
