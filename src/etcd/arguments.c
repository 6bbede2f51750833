/* The command line, as Go's flag package reads it: one or two dashes, "-flag value" or "-flag=value", booleans without
 * a value, "--" ends the flags. */
#include "etcd/options.h"

#include "base/gotext.h"

#include <stdio.h>
#include <stdlib.h>

/* Exit statuses of the flag package. */
enum { EXIT_HELP = 0, EXIT_USAGE = 2 };

static void print(FILE *to, struct buf *text) {
    fwrite(text->data, 1, text->len, to);
    fflush(to);
    buf_release(text);
}

_Noreturn static void refuse(const char *text) {
    struct buf out = BUF_INIT;
    buf_printf(&out, "%s\n", text);
    help_usage(&out);
    print(stderr, &out);
    exit(EXIT_USAGE);
}

_Noreturn static void refuse_value(const char *kind, const char *value, const char *name, const char *why) {
    struct buf out = BUF_INIT;
    buf_printf(&out, "invalid %s ", kind);
    go_append_quoted(&out, slice_from_cstr(value));
    buf_printf(&out, " for %s-%s: %s", strcmp(kind, "value") == 0 ? "flag " : "", name, why);
    refuse(buf_cstr(&out));
}

_Noreturn static void help(void) {
    struct buf out = BUF_INIT;
    help_usage(&out);
    print(stderr, &out);
    help_flags(&out);
    print(stdout, &out);
    exit(EXIT_HELP);
}

enum err arguments_read(struct options *self, int count, char **arguments, struct errmsg *message) {
    struct buf text = BUF_INIT;
    struct errmsg problem;
    int at = 0;
    while (at < count) {
        const char *argument = arguments[at];
        if (argument[0] != '-' || argument[1] == 0) break;
        at++;
        if (strcmp(argument, "--") == 0) break;
        const char *name = argument + (argument[1] == '-' ? 2 : 1);
        if (*name == 0 || *name == '-' || *name == '=') {
            buf_printf(&text, "bad flag syntax: %s", argument);
            refuse(buf_cstr(&text));
        }
        const char *equals = strchr(name, '=');
        size_t name_len = equals != NULL ? (size_t)(equals - name) : strlen(name);
        const char *value = equals != NULL ? equals + 1 : NULL;
        const struct option_row *row = option_find(name, name_len);
        if (row == NULL) {
            if ((name_len == 4 && memcmp(name, "help", 4) == 0) || (name_len == 1 && *name == 'h')) help();
            buf_printf(&text, "flag provided but not defined: -%.*s", (int)name_len, name);
            refuse(buf_cstr(&text));
        }
        bool is_boolean = row->kind == OPTION_BOOL || row->kind == OPTION_IGNORED;
        if (value == NULL && is_boolean) value = "true";
        if (value == NULL && at < count) value = arguments[at++];
        if (value == NULL) {
            buf_printf(&text, "flag needs an argument: -%s", row->name);
            refuse(buf_cstr(&text));
        }
        if (!option_set(self, row, value, &problem))
            refuse_value(is_boolean ? "boolean value" : "value", value, row->name, problem.text);
        self->given[row - option_rows] = true;
    }
    buf_release(&text);
    if (at < count) return err_set(message, ERR_INVALID, "'%s' is not a valid flag", arguments[at]);
    if (self->print_version) {
        struct buf out = BUF_INIT;
        help_version(&out);
        print(stdout, &out);
        exit(EXIT_SUCCESS);
    }
    return OK;
}
