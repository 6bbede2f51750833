#include "etcdctl/command.h"

#include "base/check.h"
#include "base/gotext.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

/* ---- finding ---- */

/* Whether a word takes the one behind it as its value, among the flags the path so far knows. */
static bool takes_next(const struct flags *flags, const char *word) {
    if (strchr(word, '=')) return false;
    const struct flag *flag = NULL;
    if (word[0] == '-' && word[1] == '-')
        flag = flags_find(flags, word + 2);
    else if (word[0] == '-' && word[1] != 0 && word[2] == 0)
        flag = flags_find_short(flags, word[1]);
    else
        return false;
    return !flag || flag->spec->type != FLAG_BOOL;
}

/* The index of the first word that is neither a flag nor a flag's value, or argc. */
static size_t first_plain_word(const struct flags *flags, const char *const *argv, size_t argc) {
    for (size_t i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) break;
        if (takes_next(flags, argv[i])) {
            i++;
            continue;
        }
        if (argv[i][0] != 0 && argv[i][0] != '-') return i;
    }
    return argc;
}

/* The child of this name, or the only one that begins so. */
static const struct command *find_child(const struct command *parent, const char *word) {
    const struct command *match = NULL;
    size_t matches = 0;
    for (size_t i = 0; i < parent->child_count; i++) {
        const struct command *child = &parent->children[i];
        if (strcmp(child->name, word) == 0) return child;
        if (strncmp(child->name, word, strlen(word)) == 0) {
            match = child;
            matches++;
        }
    }
    return matches == 1 ? match : NULL;
}

#define LONGEST_NAME 64
#define SUGGESTION_DISTANCE 2

/* Levenshtein distance, whatever the case; the names compared are short. */
static size_t distance(const char *a, const char *b) {
    size_t rows = strlen(a), columns = strlen(b);
    if (rows >= LONGEST_NAME || columns >= LONGEST_NAME) return LONGEST_NAME;
    size_t row[LONGEST_NAME];
    for (size_t j = 0; j <= columns; j++) row[j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t best = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[columns];
}

static void unknown_command(const struct command *root, const char *word, struct buf *error) {
    buf_append_cstr(error, "unknown command ");
    go_append_quoted(error, slice_from_cstr(word));
    buf_printf(error, " for \"%s\"", root->name);
    bool any = false;
    for (size_t i = 0; i < root->child_count; i++) {
        const char *name = root->children[i].name;
        if (strncasecmp(name, word, strlen(word)) != 0 && distance(word, name) > SUGGESTION_DISTANCE) continue;
        buf_append_cstr(error, any ? "" : "\n\nDid you mean this?\n");
        buf_printf(error, "\t%s\n", name);
        any = true;
    }
}

bool command_find(const struct command *root, const char *const *argv, size_t argc, struct command_path *ret_path,
                  const char **ret_rest, size_t *ret_rest_count, struct buf *error) {
    struct command_path path = {{root}, 1};
    size_t rest = argc;
    if (argc > 0) memcpy(ret_rest, argv, argc * sizeof *argv);
    const char *unknown = NULL;
    for (;;) {
        struct flags flags;
        command_flags(&path, &flags);
        size_t at = first_plain_word(&flags, ret_rest, rest);
        flags_release(&flags);
        if (at == rest) break;
        const char *word = ret_rest[at];
        const struct command *child = find_child(command_last(&path), word);
        if (!child) {
            unknown = word;
            break;
        }
        CHECK(path.count < COMMAND_DEPTH);
        path.commands[path.count++] = child;
        memmove(&ret_rest[at], &ret_rest[at + 1], (rest - at - 1) * sizeof *ret_rest);
        rest--;
    }
    if (unknown && path.count == 1) {
        unknown_command(root, unknown, error);
        return false;
    }
    ret_rest[rest] = NULL;
    *ret_path = path;
    *ret_rest_count = rest;
    return true;
}

/* ---- flags ---- */

static const struct flag_spec help_spec = {"help", 'h', FLAG_BOOL, NULL, "show this help"};

void command_flags(const struct command_path *path, struct flags *ret_flags) {
    flags_init(ret_flags);
    for (size_t i = 0; i < path->count; i++) {
        const struct command *command = path->commands[i];
        bool last = i + 1 == path->count;
        if (last || command->flags_inherited) flags_add(ret_flags, command->flags, command->flag_count, !last);
    }
    flags_add(ret_flags, &help_spec, 1, false);
    flags_sort(ret_flags);
}

/* ---- help: cells separated by tabs, columns as wide as their widest cell, in steps of 8 ---- */

#define TAB 8

static void append_rows(const char *indent, struct buf *cells, const size_t *ends, const char *const *usages,
                        size_t count, struct buf *out) {
    size_t widest = 0;
    for (size_t i = 0; i < count; i++) {
        size_t width = ends[i] - (i > 0 ? ends[i - 1] : 0);
        if (width > widest) widest = width;
    }
    size_t column = (widest + 1 + TAB - 1) / TAB * TAB;
    for (size_t i = 0; i < count; i++) {
        size_t from = i > 0 ? ends[i - 1] : 0;
        size_t width = ends[i] - from;
        buf_append_cstr(out, indent);
        buf_append(out, cells->data + from, width);
        for (size_t tabs = (column - width + TAB - 1) / TAB; tabs > 0; tabs--) buf_append_byte(out, '\t');
        buf_append_cstr(out, usages[i]);
        buf_append_byte(out, '\n');
    }
}

/* "      --limit=0", "  -w, --write-out=\"simple\"", "      --hex[=false]". */
static void append_flag_cell(const struct flag *flag, struct buf *out) {
    if (flag->spec->shorthand)
        buf_printf(out, "  -%c, --%s", flag->spec->shorthand, flag->spec->name);
    else
        buf_printf(out, "      --%s", flag->spec->name);
    switch (flag->spec->type) {
    case FLAG_BOOL:
        buf_append_cstr(out, "[=");
        flag_append_value(flag, out);
        buf_append_byte(out, ']');
        break;
    case FLAG_STRING: buf_printf(out, "=\"%s\"", flag->text); break;
    default: buf_append_byte(out, '='); flag_append_value(flag, out);
    }
}

static void append_options(const char *title, const struct flags *flags, bool inherited, bool with_help_flag,
                           struct buf *out) {
    CLEANUP_BUF struct buf cells = BUF_INIT;
    VEC(size_t) ends = {0};
    VEC(const char *) usages = {0};
    for (size_t i = 0; i < flags->all.count; i++) {
        if (flags->all.items[i].inherited != inherited) continue;
        if (flags->all.items[i].spec == &help_spec && !with_help_flag) continue;
        append_flag_cell(&flags->all.items[i], &cells);
        VEC_PUSH(&ends, cells.len);
        VEC_PUSH(&usages, flags->all.items[i].spec->usage);
    }
    if (ends.count > 0) {
        buf_printf(out, "%s:\n", title);
        append_rows("", &cells, ends.items, usages.items, ends.count, out);
        buf_append_byte(out, '\n');
    }
    VEC_RELEASE(&ends);
    VEC_RELEASE(&usages);
}

static int by_command_name(const void *a, const void *b) {
    return strcmp((*(const struct command *const *)a)->name, (*(const struct command *const *)b)->name);
}

struct command_rows {
    struct buf cells;
    VEC(size_t) ends;
    VEC(const char *) usages;
};

/* The commands below, by name; of groups only what is in them. */
static void collect_commands(const struct command *parent, const char *prefix, struct command_rows *rows) {
    VEC(const struct command *) children = {0};
    for (size_t i = 0; i < parent->child_count; i++) VEC_PUSH(&children, &parent->children[i]);
    if (children.count > 1) qsort(children.items, children.count, sizeof *children.items, by_command_name);
    for (size_t i = 0; i < children.count; i++) {
        const struct command *child = children.items[i];
        CLEANUP_BUF struct buf name = BUF_INIT;
        buf_printf(&name, "%s%s", prefix, child->name);
        if (child->child_count > 0) {
            buf_append_byte(&name, ' ');
            collect_commands(child, buf_cstr(&name), rows);
            continue;
        }
        buf_append_slice(&rows->cells, buf_slice(&name));
        VEC_PUSH(&rows->ends, rows->cells.len);
        VEC_PUSH(&rows->usages, child->summary);
    }
    VEC_RELEASE(&children);
}

static void append_commands(const struct command *command, struct buf *out) {
    struct command_rows rows = {0};
    collect_commands(command, "", &rows);
    buf_append_cstr(out, "\nCOMMANDS:\n");
    append_rows("\t", &rows.cells, rows.ends.items, rows.usages.items, rows.ends.count, out);
    buf_append_byte(out, '\n');
    buf_release(&rows.cells);
    VEC_RELEASE(&rows.ends);
    VEC_RELEASE(&rows.usages);
}

static void append_indented(const char *text, struct buf *out) {
    while (*text != 0) {
        size_t length = strcspn(text, "\n");
        buf_append_byte(out, '\t');
        buf_append(out, text, length);
        buf_append_byte(out, '\n');
        text += length + (text[length] == '\n');
    }
}

void command_help(const struct command_path *path, const char *version, const char *api_version, bool with_help_flag,
                  struct buf *out) {
    const struct command *command = command_last(path);
    bool root = path->count == 1;
    buf_append_cstr(out, "NAME:\n\t");
    for (size_t i = root ? 0 : 1; i < path->count; i++) buf_printf(out, "%s ", path->commands[i]->name);
    buf_printf(out, "- %s\n\nUSAGE:\n\t", command->summary);
    for (size_t i = 0; i < path->count; i++) buf_printf(out, "%s ", path->commands[i]->name);
    if (*command->arguments != 0) buf_printf(out, "%s ", command->arguments);
    buf_append_cstr(out, "[flags]\n\n");
    if (root) buf_printf(out, "VERSION:\n\t%s\n\n", version);
    if (command->child_count > 0) {
        buf_printf(out, "API VERSION:\n\t%s\n\n", api_version);
        append_commands(command, out);
    }
    if (command->description) {
        buf_append_cstr(out, "DESCRIPTION:\n");
        append_indented(command->description, out);
        buf_append_byte(out, '\n');
    }
    struct flags flags;
    command_flags(path, &flags);
    append_options("OPTIONS", &flags, false, with_help_flag, out);
    append_options("GLOBAL OPTIONS", &flags, true, true, out);
    flags_release(&flags);
}

static const char *type_name(enum flag_type type) {
    static const char *const names[] = {"", "string", "int", "uint", "duration", "strings"};
    return names[type];
}

void command_short_usage(const struct command *command, struct buf *out) {
    struct command_path path = {{command}, 1};
    struct flags flags;
    command_flags(&path, &flags);
    buf_printf(out, "Usage:\n   %s %s [flags]\n\nFlags:\n", command->name, command->arguments);
    size_t widest = 0;
    for (size_t i = 0; i < flags.all.count; i++) {
        const struct flag_spec *spec = flags.all.items[i].spec;
        size_t width = strlen(spec->name) + 1 + strlen(type_name(spec->type));
        if (width > widest) widest = width;
    }
    for (size_t i = 0; i < flags.all.count; i++) {
        const struct flag_spec *spec = flags.all.items[i].spec;
        if (spec->shorthand)
            buf_printf(out, "  -%c, --", spec->shorthand);
        else
            buf_append_cstr(out, "      --");
        CLEANUP_BUF struct buf cell = BUF_INIT;
        buf_printf(&cell, "%s %s", spec->name, type_name(spec->type));
        buf_printf(out, "%-*s   %s", (int)widest, buf_cstr(&cell), spec->usage);
        if (spec->default_text)
            buf_printf(out, spec->type == FLAG_STRING ? " (default \"%s\")" : " (default %s)", spec->default_text);
        buf_append_byte(out, '\n');
    }
    buf_append_byte(out, '\n');
    flags_release(&flags);
}
