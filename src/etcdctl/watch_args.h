/* watch_args.h - the arguments of watch: key, range end, and the command to run for each event.
 *
 * Floor 8, pure.
 */
#ifndef ETCDCTL_WATCH_ARGS_H
#define ETCDCTL_WATCH_ARGS_H

#include "etcdctl/failure.h"
#include "etcdctl/flags.h"

#include "etcd/client.h"

#define WATCH_FLAG_COUNT 5
extern const struct flag_spec watch_flag_specs[WATCH_FLAG_COUNT];

struct watch_args {
    struct etcd_watch_request request; /* its bytes are in the arena or the arguments */
    const char *const *exec_argv;      /* NULL-terminated; the command to run, or NULL */
    size_t exec_argc;
};

/* From the command line. `env_key` and `env_range` are ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END, "" when not
 * set: they stand for the arguments. What follows "--" is the command to run. */
bool watch_args_parse(const struct flags *flags, const struct arguments *arguments, const char *env_key,
                      const char *env_range, struct arena *arena, struct watch_args *ret_args, struct failure *failure);

enum watch_line_kind {
    WATCH_LINE_WATCH,
    WATCH_LINE_PROGRESS,
    WATCH_LINE_BAD,   /* `failure` has the complaint; the next line may be better */
    WATCH_LINE_FATAL, /* `failure` ends the command */
};

/* From one line of watch --interactive: "watch [options] key [range_end] [-- command ...]" or "progress". Options of
 * the command line do not count here. */
enum watch_line_kind watch_line_parse(struct slice line, const char *env_key, const char *env_range,
                                      struct arena *arena, struct watch_args *ret_args, struct failure *failure);

#endif
