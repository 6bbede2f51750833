/* The program etcd: reads what it is told, starts a member, ends as its signal says. */
#include "etcd/datadir.h"
#include "etcd/logging.h"
#include "etcd/member.h"
#include "etcd/options.h"
#include "etcd/unbuilt.h"

#include "base/mem.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

static enum err read_file(struct options *options, const char *path, struct logging **logging, struct errmsg *message) {
    TRY(configfile_read(options, path, message));
    TRY(logging_open(options, logging, message));
    enum err error = options_validate(options, logging_log(*logging), message);
    if (error != OK) return error;
    log_info(logging_log(*logging),
             "loaded server configuration, other configuration command line flags and environment variables will be "
             "ignored if provided",
             LOG_STRING("path", path));
    configfile_check_proxy(options);
    return OK;
}

static enum err read_flags(struct options *options, struct logging **logging, struct errmsg *message) {
    struct logging *early = logging_new_default();
    enum err error = environment_read(options, logging_log(early), environ, message);
    if (error == OK) options_settle(options, logging_log(early));
    logging_close(early);
    if (error == OK) error = logging_open(options, logging, message);
    return error == OK ? options_validate(options, logging_log(*logging), message) : error;
}

static void warn_of_old_flags(const struct options *options, struct log *log) {
    static const char *const flags[] = {"enable-v2",           "experimental-enable-v2v3", "proxy",
                                        "proxy-failure-wait",  "proxy-read-timeout",       "proxy-refresh-interval",
                                        "proxy-write-timeout", "proxy-dial-timeout"};
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (!option_is_given(options, flags[i])) continue;
        buf_clear(&text);
        buf_printf(&text, "--%s is deprecated in 3.5 and will be decommissioned in 3.6.", flags[i]);
        log_warn(log, buf_cstr(&text));
    }
    buf_release(&text);
}

/* In etcd's order: flags, then a file if one is named, else variables. The log is set in any case. */
static enum err configure(struct options *options, int count, char **arguments, struct logging **ret_logging,
                          struct errmsg *message) {
    struct logging *logging = NULL;
    enum err error = arguments_read(options, count, arguments, message);
    if (error == OK) {
        const char *variable = getenv("ETCD_CONFIG_FILE");
        CLEANUP_FREE char *path = mem_strdup(options->config_file[0] != 0 ? options->config_file
                                             : variable != NULL           ? variable
                                                                          : "");
        error = *path != 0 ? read_file(options, path, &logging, message) : read_flags(options, &logging, message);
        if (logging != NULL) warn_of_old_flags(options, logging_log(logging));
    }
    *ret_logging = logging != NULL ? logging : logging_new_default();
    return error;
}

/* As a process that never caught the signal, so that whoever waits sees it. */
static void end_by_signal(int signal_number) {
    if (getpid() == 1) return;
    signal(signal_number, SIG_DFL);
    kill(getpid(), signal_number);
    pause();
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && (strcmp(argv[1], "gateway") == 0 || strcmp(argv[1], "grpc-proxy") == 0))
        unbuilt_subcommand(argv[1]);

    struct options options;
    options_init(&options);
    CLEANUP_FREE char *default_cluster = mem_strdup(options.initial_cluster);
    struct logging *logging;
    struct errmsg message;
    enum err error = configure(&options, argc - 1, argv + 1, &logging, &message);
    struct log *log = logging_log(logging);
    log_info(log, "Running: ", LOG_STRINGS("args", (const char *const *)argv, (size_t)argc));
    if (error != OK) {
        log_warn(log, "failed to verify flags", LOG_STRING("error", message.text));
        if (strcmp(message.text, options_advertise_missing) == 0)
            log_warn(log, "advertise client URLs are not set", LOG_STRING("error", message.text));
        member_leave(EXIT_FAILURE);
    }

    options_follow_name(&options, default_cluster);
    if (options.data_dir[0] == 0) {
        struct buf dir = BUF_INIT;
        buf_printf(&dir, "%s.etcd", options.name);
        mem_free(options.data_dir);
        options.data_dir = buf_detach_cstr(&dir);
        log_warn(log, "'data-dir' was empty; using default", LOG_STRING("data-dir", options.data_dir));
    }
    struct member *member = member_new(&options, log);
    enum datadir_kind kind = datadir_identify(member_env(member), options.data_dir);
    if (kind != DATADIR_EMPTY)
        log_info(log, "server has been already initialized", LOG_STRING("data-dir", options.data_dir),
                 LOG_STRING("dir-type", kind == DATADIR_MEMBER ? "member" : "proxy"));
    error = kind == DATADIR_PROXY ? err_set(&message, ERR_UNIMPLEMENTED, "the v2 proxy is not built into this etcd yet")
                                  : member_start(member, kind == DATADIR_MEMBER, &message);
    if (error != OK) {
        if (kind == DATADIR_EMPTY) log_warn(log, "failed to start etcd", LOG_STRING("error", message.text));
        log_fatal(log, "discovery failed", LOG_STRING("error", message.text));
        member_leave(EXIT_FAILURE);
    }

    int signal_number = member_run(member);
    member_free(member);
    logging_close(logging);
    options_release(&options);
    end_by_signal(signal_number);
    return EXIT_SUCCESS;
}
