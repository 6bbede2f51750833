#include "etcdctl/watch_args.h"

#include "etcdctl/requests.h"
#include "etcdctl/words.h"

const struct flag_spec watch_flag_specs[WATCH_FLAG_COUNT] = {
    {"interactive", 'i', FLAG_BOOL, NULL, "read watches from standard input, a line each"},
    {"prefix", 0, FLAG_BOOL, NULL, "watch all keys that begin with the key"},
    {"rev", 0, FLAG_INT, NULL, "begin with the events of this revision; 0 for those to come"},
    {"prev-kv", 0, FLAG_BOOL, NULL, "show key and value as they were before each event"},
    {"progress-notify", 0, FLAG_BOOL, NULL, "tell from time to time which revision has been reached"},
};

/* Which mistakes end an interactive watch (WATCH_LINE_FATAL) and which do not is upstream's choice. */
static enum watch_line_kind bad_number(struct failure *failure, const char *why) {
    failure_set(failure, EXIT_BAD_ARGS, "bad number of arguments%s", why);
    return WATCH_LINE_FATAL;
}

/* Key and range from the words before "--" or from the environment. */
static enum watch_line_kind set_range(const struct flags *flags, const struct arguments *arguments, const char *env_key,
                                      const char *env_range, struct arena *arena, struct etcd_watch_request *request,
                                      struct failure *failure) {
    struct slice key, end = SLICE_NONE;
    bool has_end;
    if (*env_key != 0) {
        key = slice_from_cstr(env_key);
        has_end = *env_range != 0;
        if (has_end) end = slice_from_cstr(env_range);
    } else {
        key = argument(arguments, 0);
        has_end = arguments->before_dash == 2;
        if (has_end) end = argument(arguments, 1);
    }
    if (flags_bool(flags, "prefix") && has_end) {
        failure_set(failure, EXIT_BAD_ARGS, "`range_end` and `--prefix` are mutually exclusive");
        return WATCH_LINE_BAD;
    }
    if (flags_bool(flags, "prefix")) {
        end = prefix_end(key, arena);
        if (key.len == 0) key = end;
    }
    request->key = etcd_bytes_of(key.data, key.len);
    request->range_end = etcd_bytes_of(end.data, end.len);
    return WATCH_LINE_WATCH;
}

static enum watch_line_kind parse_args(const struct flags *flags, const struct arguments *arguments,
                                       const char *env_key, const char *env_range, struct arena *arena,
                                       struct watch_args *ret_args, struct failure *failure) {
    struct watch_args args = {0};
    if (arguments->dash && arguments->before_dash == arguments->count)
        return bad_number(failure, " (found separator --, but no commands)");
    if (*env_key != 0 && arguments->before_dash > 0) return bad_number(failure, " (found conflicting environment key)");
    if (*env_key == 0 && arguments->before_dash == 0) return bad_number(failure, "");
    enum watch_line_kind kind = set_range(flags, arguments, env_key, env_range, arena, &args.request, failure);
    if (kind != WATCH_LINE_WATCH) return kind;
    args.request.start_revision = flags_number(flags, "rev");
    args.request.prev_kv = flags_bool(flags, "prev-kv");
    args.request.progress_notify = flags_bool(flags, "progress-notify");
    args.exec_argc = arguments->count - arguments->before_dash;
    if (args.exec_argc > 0) {
        const char **exec_argv = arena_alloc(arena, (args.exec_argc + 1) * sizeof *exec_argv);
        memcpy(exec_argv, arguments->items + arguments->before_dash, args.exec_argc * sizeof *exec_argv);
        exec_argv[args.exec_argc] = NULL;
        args.exec_argv = exec_argv;
    }
    *ret_args = args;
    return WATCH_LINE_WATCH;
}

bool watch_args_parse(const struct flags *flags, const struct arguments *arguments, const char *env_key,
                      const char *env_range, struct arena *arena, struct watch_args *ret_args,
                      struct failure *failure) {
    return parse_args(flags, arguments, env_key, env_range, arena, ret_args, failure) == WATCH_LINE_WATCH;
}

static enum watch_line_kind bad_line(struct slice line, struct failure *failure, const char *why) {
    failure_set(failure, EXIT_BAD_ARGS, "Invalid command %.*s (%s)", (int)line.len, (const char *)line.data, why);
    return WATCH_LINE_BAD;
}

enum watch_line_kind watch_line_parse(struct slice line, const char *env_key, const char *env_range,
                                      struct arena *arena, struct watch_args *ret_args, struct failure *failure) {
    struct slice *words;
    size_t count;
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_split(line, arena, &words, &count, &reason)) {
        failure_set(failure, EXIT_INVALID_INPUT, "%s", buf_cstr(&reason));
        return WATCH_LINE_FATAL;
    }
    if (count == 0) {
        failure_set(failure, EXIT_BAD_ARGS, "Invalid command: %.*s (watch and progress supported)", (int)line.len,
                    (const char *)line.data);
        return WATCH_LINE_BAD;
    }
    if (slice_equal_cstr(words[0], "progress")) return WATCH_LINE_PROGRESS;
    if (!slice_equal_cstr(words[0], "watch")) return bad_line(line, failure, "only support watch");
    if (count < 2 && *env_key == 0) return bad_line(line, failure, "command type or key is not provided");

    struct flags flags;
    flags_init(&flags);
    flags_add(&flags, watch_flag_specs, WATCH_FLAG_COUNT, false);
    const char **argv = arena_alloc(arena, count * sizeof *argv);
    for (size_t i = 0; i < count; i++) argv[i] = (const char *)words[i].data;
    struct arguments arguments;
    enum watch_line_kind kind = WATCH_LINE_FATAL;
    if (flags_parse(&flags, argv + 1, count - 1, &arguments, &reason) == FLAGS_GOOD)
        kind = parse_args(&flags, &arguments, env_key, env_range, arena, ret_args, failure);
    else
        failure_set(failure, EXIT_BAD_ARGS, "%s", reason.len > 0 ? buf_cstr(&reason) : "pflag: help requested");
    if (kind == WATCH_LINE_BAD) {
        buf_clear(&reason);
        buf_append_slice(&reason, buf_slice(&failure->text));
        bad_line(line, failure, buf_cstr(&reason));
    }
    flags_release(&flags);
    return kind;
}
