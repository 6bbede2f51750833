/* etcdctl: the command line client. */
#include "etcdctl/commands.h"
#include "etcdctl/tree.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API_VERSION "3.5"

static void show_help(struct ctl *ctl, const struct command_path *path, bool with_help_flag) {
    command_help(path, ETCDCTL_VERSION, API_VERSION, with_help_flag, &ctl->out);
    ctl_flush(ctl);
}

RUN(run_version) {
    buf_printf(&ctl->out, "etcdctl version: %s\nAPI version: %s\n", ETCDCTL_VERSION, API_VERSION);
    ctl_flush(ctl);
    return EXIT_OK;
}

RUN(run_help) {
    struct command_path path;
    const char **rest = arena_alloc(&ctl->arena, (arguments->count + 1) * sizeof *rest);
    size_t rest_count;
    CLEANUP_BUF struct buf error = BUF_INIT;
    bool found = command_find(&command_tree, arguments->items, arguments->count, &path, rest, &rest_count, &error);
    if (!found) {
        fputs("Unknown help topic [", stderr);
        for (size_t i = 0; i < arguments->count; i++) fprintf(stderr, "%s`%s`", i > 0 ? " " : "", arguments->items[i]);
        fputs("]\n", stderr);
        path = (struct command_path){{&command_tree}, 1};
    }
    show_help(ctl, &path, found);
    return EXIT_OK;
}

/* What the program prints twice, as upstream: once where the command line was read, once at the end. */
static int usage_error(struct ctl *ctl, const char *error) {
    fprintf(stderr, "Error: %s\n", error);
    show_help(ctl, &ctl->path, true);
    fprintf(stderr, "\nError: %s\n", error);
    return EXIT_ERROR;
}

static int run(struct ctl *ctl, const char *const *argv, size_t argc) {
    const char **rest = arena_alloc(&ctl->arena, (argc + 1) * sizeof *rest);
    size_t rest_count;
    CLEANUP_BUF struct buf error = BUF_INIT;
    if (!command_find(&command_tree, argv, argc, &ctl->path, rest, &rest_count, &error)) {
        const char *text = buf_cstr(&error);
        fprintf(stderr, "Error: %s\nRun 'etcdctl --help' for usage.\nError: %s\n", text, text);
        return EXIT_ERROR;
    }
    const struct command *command = command_last(&ctl->path);
    command_flags(&ctl->path, &ctl->flags);
    struct arguments arguments;
    switch (flags_parse(&ctl->flags, rest, rest_count, &arguments, &error)) {
    case FLAGS_BAD: return usage_error(ctl, buf_cstr(&error));
    case FLAGS_HELP: show_help(ctl, &ctl->path, true); return EXIT_OK;
    case FLAGS_GOOD: break;
    }
    if (flags_bool(&ctl->flags, "help") || !command->run) {
        show_help(ctl, &ctl->path, true);
        return EXIT_OK;
    }
    return command->run(ctl, command, &arguments);
}

int main(int argc, char **argv) {
    const char *api = getenv("ETCDCTL_API");
    if (api && *api != 0 && strcmp(api, "3") != 0) {
        fprintf(stderr, "unsupported API version: %s\n", api);
        return EXIT_ERROR;
    }
    signal(SIGPIPE, SIG_DFL);
    struct ctl ctl;
    ctl_init(&ctl);
    int code = run(&ctl, (const char *const *)argv + 1, argc > 0 ? (size_t)argc - 1 : 0);
    ctl_release(&ctl);
    return code;
}
