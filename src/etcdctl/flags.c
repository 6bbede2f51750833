#include "etcdctl/flags.h"

#include "base/check.h"
#include "base/gotext.h"
#include "etcdctl/words.h"

#include <stdlib.h>

void flags_init(struct flags *self) {
    memset(self, 0, sizeof *self);
    arena_init(&self->arena, 0);
}

void flags_release(struct flags *self) {
    VEC_RELEASE(&self->all);
    arena_release(&self->arena);
}

void flags_add(struct flags *self, const struct flag_spec *specs, size_t count, bool inherited) {
    for (size_t i = 0; i < count; i++) {
        struct flag flag = {.spec = &specs[i], .inherited = inherited, .text = ""};
        VEC_PUSH(&self->all, flag);
        struct flag *added = &self->all.items[self->all.count - 1];
        if (!specs[i].default_text) continue;
        CLEANUP_BUF struct buf error = BUF_INIT;
        CHECK(flags_set(self, added, specs[i].default_text, &error));
        added->changed = false;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct flag *)a)->spec->name, ((const struct flag *)b)->spec->name);
}

void flags_sort(struct flags *self) {
    if (self->all.count > 1) qsort(self->all.items, self->all.count, sizeof *self->all.items, by_name);
}

static struct flag *find(const struct flags *self, struct slice name) {
    for (size_t i = 0; i < self->all.count; i++)
        if (slice_equal_cstr(name, self->all.items[i].spec->name)) return &self->all.items[i];
    return NULL;
}

struct flag *flags_find(const struct flags *self, const char *name) {
    return find(self, slice_from_cstr(name));
}

struct flag *flags_find_short(const struct flags *self, char shorthand) {
    for (size_t i = 0; i < self->all.count; i++)
        if (self->all.items[i].spec->shorthand == shorthand) return &self->all.items[i];
    return NULL;
}

/* ---- values ---- */

/* One field of a comma list, with the quoting of CSV: "a,b",c. Returns what follows, or NULL when a quote is not
 * closed or stands where none may. */
static const char *csv_field(const char *at, struct buf *out, struct buf *error) {
    if (*at != '"') {
        for (; *at != 0 && *at != ','; at++) {
            if (*at == '"') {
                buf_append_cstr(error, "parse error on line 1: bare \" in non-quoted field");
                return NULL;
            }
            buf_append_byte(out, (uint8_t)*at);
        }
        return at;
    }
    for (at++; *at != 0; at++) {
        if (*at == '"' && at[1] == '"') {
            at++;
        } else if (*at == '"') {
            at++;
            if (*at == 0 || *at == ',') return at;
            break;
        }
        buf_append_byte(out, (uint8_t)*at);
    }
    buf_append_cstr(error, "parse error on line 1: extraneous or missing \" in quoted-field");
    return NULL;
}

static bool set_strings(struct flags *self, struct flag *flag, const char *text, struct buf *error) {
    VEC(const char *) list = {0};
    CLEANUP_BUF struct buf field = BUF_INIT;
    if (flag->changed)
        for (size_t i = 0; i < flag->string_count; i++) VEC_PUSH(&list, flag->strings[i]);
    const char *at = text;
    while (*text != 0 && at) {
        buf_clear(&field);
        at = csv_field(at, &field, error);
        if (!at) break;
        VEC_PUSH(&list, arena_strdup(&self->arena, buf_slice(&field)));
        if (*at++ == 0) break;
    }
    if (at) {
        flag->strings = arena_alloc(&self->arena, (list.count + 1) * sizeof *flag->strings);
        if (list.count > 0) memcpy(flag->strings, list.items, list.count * sizeof *flag->strings);
        flag->string_count = list.count;
    }
    VEC_RELEASE(&list);
    return at != NULL;
}

bool flags_set(struct flags *self, struct flag *flag, const char *text, struct buf *error) {
    bool good = true;
    uint64_t number;
    switch (flag->spec->type) {
    case FLAG_BOOL: good = word_parse_bool(text, &flag->boolean, error); break;
    case FLAG_STRING: flag->text = text; break;
    case FLAG_INT: good = word_parse_int(text, 0, &flag->number, error); break;
    case FLAG_UINT:
        good = word_parse_uint(text, 0, &number, error);
        if (good) flag->number = (int64_t)number;
        break;
    case FLAG_DURATION: good = word_parse_duration(text, &flag->number, error); break;
    case FLAG_STRINGS: good = set_strings(self, flag, text, error); break;
    }
    if (good) flag->changed = true;
    return good;
}

void flag_append_value(const struct flag *flag, struct buf *out) {
    switch (flag->spec->type) {
    case FLAG_BOOL: buf_append_cstr(out, flag->boolean ? "true" : "false"); break;
    case FLAG_STRING: buf_append_cstr(out, flag->text); break;
    case FLAG_INT: buf_printf(out, "%lld", (long long)flag->number); break;
    case FLAG_UINT: buf_printf(out, "%llu", (unsigned long long)flag->number); break;
    case FLAG_DURATION: go_append_duration(out, flag->number); break;
    case FLAG_STRINGS:
        buf_append_byte(out, '[');
        for (size_t i = 0; i < flag->string_count; i++) {
            if (i > 0) buf_append_byte(out, ',');
            buf_append_cstr(out, flag->strings[i]);
        }
        buf_append_byte(out, ']');
        break;
    }
}

/* ---- the command line ---- */

static bool set_from_line(struct flags *self, struct flag *flag, const char *text, struct buf *error) {
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (flags_set(self, flag, text, &reason)) return true;
    buf_append_cstr(error, "invalid argument ");
    go_append_quoted(error, slice_from_cstr(text));
    if (flag->spec->shorthand)
        buf_printf(error, " for \"-%c, --%s\" flag: ", flag->spec->shorthand, flag->spec->name);
    else
        buf_printf(error, " for \"--%s\" flag: ", flag->spec->name);
    buf_append_slice(error, buf_slice(&reason));
    return false;
}

struct line {
    const char *const *argv;
    size_t argc;
    size_t at;
};

static enum flags_outcome parse_long(struct flags *self, const char *word, struct line *line, struct buf *error) {
    const char *name = word + 2;
    if (*name == '-' || *name == '=') {
        buf_printf(error, "bad flag syntax: %s", word);
        return FLAGS_BAD;
    }
    const char *equals = strchr(name, '=');
    struct slice name_only = equals ? slice_make(name, (size_t)(equals - name)) : slice_from_cstr(name);
    struct flag *flag = find(self, name_only);
    if (!flag) {
        if (slice_equal_cstr(name_only, "help")) return FLAGS_HELP;
        buf_printf(error, "unknown flag: --%.*s", (int)name_only.len, (const char *)name_only.data);
        return FLAGS_BAD;
    }
    const char *text;
    if (equals) {
        text = equals + 1;
    } else if (flag->spec->type == FLAG_BOOL) {
        text = "true";
    } else if (line->at < line->argc) {
        text = line->argv[line->at++];
    } else {
        buf_printf(error, "flag needs an argument: %s", word);
        return FLAGS_BAD;
    }
    return set_from_line(self, flag, text, error) ? FLAGS_GOOD : FLAGS_BAD;
}

static enum flags_outcome parse_short(struct flags *self, const char *word, struct line *line, struct buf *error) {
    const char *rest = word + 1;
    while (*rest != 0) {
        struct flag *flag = flags_find_short(self, *rest);
        if (!flag) {
            if (*rest == 'h') return FLAGS_HELP;
            buf_printf(error, "unknown shorthand flag: '%c' in -%s", *rest, rest);
            return FLAGS_BAD;
        }
        const char *text;
        const char *next = "";
        if (rest[1] == '=' && rest[2] != 0) {
            text = rest + 2;
        } else if (flag->spec->type == FLAG_BOOL) {
            text = "true";
            next = rest + 1;
        } else if (rest[1] != 0) {
            text = rest + 1;
        } else if (line->at < line->argc) {
            text = line->argv[line->at++];
        } else {
            buf_printf(error, "flag needs an argument: '%c' in -%s", *rest, rest);
            return FLAGS_BAD;
        }
        if (!set_from_line(self, flag, text, error)) return FLAGS_BAD;
        rest = next;
    }
    return FLAGS_GOOD;
}

enum flags_outcome flags_parse(struct flags *self, const char *const *argv, size_t argc, struct arguments *ret_rest,
                               struct buf *error) {
    struct arguments rest = {.items = arena_alloc(&self->arena, (argc + 1) * sizeof *rest.items)};
    struct line line = {argv, argc, 0};
    while (line.at < argc) {
        const char *word = argv[line.at++];
        if (word[0] != '-' || word[1] == 0) {
            rest.items[rest.count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            rest.dash = true;
            rest.before_dash = rest.count;
            while (line.at < argc) rest.items[rest.count++] = argv[line.at++];
            break;
        }
        enum flags_outcome outcome =
            word[1] == '-' ? parse_long(self, word, &line, error) : parse_short(self, word, &line, error);
        if (outcome != FLAGS_GOOD) return outcome;
    }
    if (!rest.dash) rest.before_dash = rest.count;
    *ret_rest = rest;
    return FLAGS_GOOD;
}

static struct flag *known_flag(const struct flags *self, const char *name) {
    struct flag *flag = flags_find(self, name);
    CHECKF(flag != NULL, "no option --%s here", name);
    return flag;
}

bool flags_bool(const struct flags *self, const char *name) { return known_flag(self, name)->boolean; }
const char *flags_text(const struct flags *self, const char *name) { return known_flag(self, name)->text; }
int64_t flags_number(const struct flags *self, const char *name) { return known_flag(self, name)->number; }
bool flags_changed(const struct flags *self, const char *name) { return known_flag(self, name)->changed; }

/* ---- the environment ---- */

#define PREFIX "ETCDCTL_"

void flag_append_variable(const struct flag_spec *spec, struct buf *out) {
    buf_append_cstr(out, PREFIX);
    for (const char *at = spec->name; *at != 0; at++)
        buf_append_byte(out, (uint8_t)(*at == '-' ? '_' : *at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at));
}

static bool names_variable(const struct flag_spec *spec, struct slice name) {
    CLEANUP_BUF struct buf variable = BUF_INIT;
    flag_append_variable(spec, &variable);
    return slice_equal(buf_slice(&variable), name);
}

static bool in_list(const char *const *list, struct slice name) {
    for (; list && *list; list++)
        if (slice_equal_cstr(name, *list)) return true;
    return false;
}

void flags_read_environment(struct flags *self, char *const *environment, const char *const *known,
                            environment_report report, void *context) {
    /* Which flags the command line gave, before variables change flags. */
    size_t count = self->all.count;
    bool *given = arena_alloc(&self->arena, count + 1);
    for (size_t i = 0; i < count; i++) given[i] = self->all.items[i].changed;
    for (char *const *entry = environment; entry && *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (!equals) {
            report(context, ENVIRONMENT_MALFORMED, *entry);
            continue;
        }
        struct slice name = slice_make(*entry, (size_t)(equals - *entry));
        if (!slice_starts_with(name, SLICE_LITERAL(PREFIX)) || in_list(known, name)) continue;
        size_t i = 0;
        while (i < count && !(self->all.items[i].inherited && names_variable(self->all.items[i].spec, name))) i++;
        if (i < count && given[i]) {
            report(context, ENVIRONMENT_CONFLICTING, arena_strdup(&self->arena, name));
        } else if (i < count && equals[1] != 0) {
            CLEANUP_BUF struct buf ignored = BUF_INIT;
            flags_set(self, &self->all.items[i], equals + 1, &ignored);
        } else {
            report(context, ENVIRONMENT_UNKNOWN, *entry);
        }
    }
}
