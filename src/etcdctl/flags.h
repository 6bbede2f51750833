/* flags.h - options of a command line in the manner of the pflag library, which etcd's tools are known by.
 *
 * Floor 8, pure. "--name value", "--name=value", "-n value", "-nvalue", "-n=value", grouped short options; booleans
 * take no value but with "="; options and arguments may come mixed; "--" ends the options. Error texts are pflag's.
 *
 * A set is built from specs (static tables), then parsed once. Texts point into argv or the specs; lists live in the
 * set's arena, which flags_release frees.
 */
#ifndef ETCDCTL_FLAGS_H
#define ETCDCTL_FLAGS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/vec.h"

enum flag_type {
    FLAG_BOOL,
    FLAG_STRING,
    FLAG_INT,
    FLAG_UINT,
    FLAG_DURATION,
    FLAG_STRINGS, /* comma list; given twice it is added to */
};

struct flag_spec {
    const char *name;
    char shorthand; /* 0: none */
    enum flag_type type;
    const char *default_text; /* in the form of the command line; NULL: false, "", 0 */
    const char *usage;
};

struct flag {
    const struct flag_spec *spec;
    bool inherited; /* from a command above: a global option */
    bool changed;   /* given on the command line or in the environment */
    bool boolean;
    const char *text;
    int64_t number; /* FLAG_INT, FLAG_UINT (its bits), FLAG_DURATION (nanoseconds) */
    const char **strings;
    size_t string_count;
};

struct flags {
    VEC(struct flag) all; /* sorted by name after flags_sort */
    struct arena arena;
};

void flags_init(struct flags *self);
void flags_release(struct flags *self);
void flags_add(struct flags *self, const struct flag_spec *specs, size_t count, bool inherited);
void flags_sort(struct flags *self);

struct flag *flags_find(const struct flags *self, const char *name);
struct flag *flags_find_short(const struct flags *self, char shorthand);

enum flags_outcome { FLAGS_GOOD, FLAGS_BAD, FLAGS_HELP };

struct arguments {
    const char **items; /* the positional ones, in the set's arena */
    size_t count;
    size_t before_dash; /* how many came before "--" */
    bool dash;
    const size_t *lengths; /* NULL but for words that may hold zero bytes */
};

static inline struct slice argument(const struct arguments *self, size_t index) {
    return slice_make(self->items[index], self->lengths ? self->lengths[index] : strlen(self->items[index]));
}

/* FLAGS_HELP: "--help" or "-h" where no such flag is in the set. With FLAGS_BAD `error` has the text. */
enum flags_outcome flags_parse(struct flags *self, const char *const *argv, size_t argc, struct arguments *ret_rest,
                               struct buf *error);
/* Sets one flag from a text; false with the reason. */
bool flags_set(struct flags *self, struct flag *flag, const char *text, struct buf *error);

/* The value of a flag that the set is known to have. */
bool flags_bool(const struct flags *self, const char *name);
const char *flags_text(const struct flags *self, const char *name);
int64_t flags_number(const struct flags *self, const char *name);
bool flags_changed(const struct flags *self, const char *name);

/* The value as etcd prints it: "5s", "[a b]", "true". */
void flag_append_value(const struct flag *flag, struct buf *out);

/* "ETCDCTL_COMMAND_TIMEOUT" for "command-timeout". */
void flag_append_variable(const struct flag_spec *spec, struct buf *out);

/* What flags_read_environment found wrong with the environment. */
enum environment_problem {
    ENVIRONMENT_UNKNOWN,     /* `text` is NAME=value */
    ENVIRONMENT_MALFORMED,   /* `text` is the entry */
    ENVIRONMENT_CONFLICTING, /* `text` is NAME: also given as a flag */
};
typedef void (*environment_report)(void *context, enum environment_problem problem, const char *text);

/* Takes ETCDCTL_<FLAG> for every inherited flag that was not given on the command line; values that do not parse are
 * ignored, as upstream does. Names in `known` (NULL-terminated) are not reported as unknown. */
void flags_read_environment(struct flags *self, char *const *environment, const char *const *known,
                            environment_report report, void *context);

#endif
