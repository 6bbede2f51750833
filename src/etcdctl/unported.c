/* Commands that this version names but can't do: they say so and fail. */
#include "etcdctl/commands.h"

#include <stdio.h>

noreturn static void not_here(struct ctl *ctl, const struct command *command) {
    ctl_fail(ctl, EXIT_BAD_FEATURE, "%s is not supported by this version of etcdctl", command->name);
}

static void moved(const char *what) { fprintf(stderr, "Deprecated: Use `etcdutl snapshot %s` instead.\n\n", what); }

RUN(run_snapshot_restore) {
    moved("restore");
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "snapshot restore requires exactly one argument");
    not_here(ctl, command);
}

RUN(run_make_mirror) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "make-mirror takes one destination argument");
    if (*flags_text(&ctl->flags, "dest-prefix") != 0 && flags_bool(&ctl->flags, "no-dest-prefix"))
        ctl_fail(ctl, EXIT_BAD_ARGS,
                 "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one");
    not_here(ctl, command);
}

RUN(run_lock) {
    if (arguments->count == 0)
        ctl_fail(ctl, EXIT_BAD_ARGS, "lock takes a lock name argument and an optional command to execute");
    not_here(ctl, command);
}

RUN(run_elect) {
    if (arguments->count != 1 && arguments->count != 2)
        ctl_fail(ctl, EXIT_BAD_ARGS, "elect takes one election name argument and an optional proposal argument");
    bool listen = flags_bool(&ctl->flags, "listen");
    if (arguments->count == 1 && !listen) ctl_fail(ctl, EXIT_BAD_ARGS, "no proposal argument but -l not set");
    if (arguments->count == 2 && listen) ctl_fail(ctl, EXIT_BAD_ARGS, "proposal given but -l is set");
    not_here(ctl, command);
}

RUN(run_check) {
    static const char *const loads[] = {"s", "small", "m", "medium", "l", "large", "xl", "xLarge"};
    const char *load = flags_text(&ctl->flags, "load");
    size_t i = 0;
    while (i < sizeof loads / sizeof *loads && strcmp(load, loads[i]) != 0) i++;
    if (i == sizeof loads / sizeof *loads) ctl_fail(ctl, EXIT_BAD_FEATURE, "unknown load option %s", load);
    not_here(ctl, command);
}
