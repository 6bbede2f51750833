/* command.h - the tree of commands: finding the one a line means, and the help texts.
 *
 * Floor 8, pure. As the cobra library does it for etcd's own tool: a command may be shortened as long as it is clear
 * which one is meant ("mem li"); options may stand before, between and behind the words; a wrong first word brings
 * suggestions; a group without (or with an unknown) sub-command shows its help.
 */
#ifndef ETCDCTL_COMMAND_H
#define ETCDCTL_COMMAND_H

#include "etcdctl/flags.h"

struct ctl;

struct command {
    const char *name;
    const char *arguments; /* behind the name in the usage line, or "" */
    const char *summary;
    const char *description; /* more, lines separated by \n; may be NULL */
    const struct flag_spec *flags;
    size_t flag_count;
    bool flags_inherited;           /* the flags are those of the sub-commands too */
    const struct command *children; /* in the order that suggestions take */
    size_t child_count;
    /* NULL for a group. Returns the exit code. */
    int (*run)(struct ctl *ctl, const struct command *command, const struct arguments *arguments);
};

#define COMMAND_DEPTH 4

/* From the root to a command. */
struct command_path {
    const struct command *commands[COMMAND_DEPTH];
    size_t count;
};

static inline const struct command *command_last(const struct command_path *path) {
    return path->commands[path->count - 1];
}

/* Follows the words of a command line (without the program's name) as far as there are commands for them. `ret_rest`
 * (argc + 1 places) gets the words without those that were followed. False when the first word is no command; `error`
 * has "unknown command ..." with suggestions. */
bool command_find(const struct command *root, const char *const *argv, size_t argc, struct command_path *ret_path,
                  const char **ret_rest, size_t *ret_rest_count, struct buf *error);

/* All flags that the command at the end of the path takes: its own and --help, and those inherited. */
void command_flags(const struct command_path *path, struct flags *ret_flags);

/* The help of the command at the end of the path. `with_help_flag`: tell of --help too. */
void command_help(const struct command_path *path, const char *version, const char *api_version, bool with_help_flag,
                  struct buf *out);

/* "Usage:\n   put [options] ..." with the command's own flags: what a wrong line of a transaction shows. */
void command_short_usage(const struct command *command, struct buf *out);

#endif
