/* watch: one from the command line, or any number from lines of standard input. */
#include "etcdctl/commands.h"

#include "base/gotext.h"
#include "etcdctl/child.h"
#include "etcdctl/watch_args.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static void append_quoted_variable(struct buf *out, const char *name, struct etcd_bytes value) {
    buf_printf(out, "%s=", name);
    go_append_quoted(out, slice_make(value.data, value.len));
}

/* Runs the command for one event. Its failure ends the watch. */
static void run_command(struct ctl *ctl, const struct watch_args *args, int64_t revision,
                        const struct etcd_event *event) {
    CLEANUP_BUF struct buf type = BUF_INIT, key = BUF_INIT, value = BUF_INIT, number = BUF_INIT, reason = BUF_INIT;
    buf_printf(&number, "ETCD_WATCH_REVISION=%lld", (long long)revision);
    buf_printf(&type, "ETCD_WATCH_EVENT_TYPE=\"%s\"", event->type == ETCD_EVENT_DELETE ? "DELETE" : "PUT");
    append_quoted_variable(&key, "ETCD_WATCH_KEY", event->kv.key);
    append_quoted_variable(&value, "ETCD_WATCH_VALUE", event->kv.value);
    const char *const more[] = {buf_cstr(&number), buf_cstr(&type), buf_cstr(&key), buf_cstr(&value), NULL};
    if (child_run(args->exec_argv, more, &reason) == 0) return;
    CLEANUP_BUF struct buf words = BUF_INIT;
    for (size_t i = 0; i < args->exec_argc; i++) {
        if (i > 0) buf_append_byte(&words, ' ');
        go_append_quoted(&words, slice_from_cstr(args->exec_argv[i]));
    }
    fprintf(stderr, "command [%s] error (%s)\n", buf_cstr(&words), buf_cstr(&reason));
    exit(EXIT_ERROR);
}

static void print_response(struct ctl *ctl, const struct watch_args *args, const struct etcd_watch_response *response) {
    if (response->canceled) {
        const char *why = response->compact_revision != 0 ? "etcdserver: mvcc: required revision has been compacted"
                                                          : response->cancel_reason;
        fprintf(stderr, "watch was canceled (%s)\n", why);
    } else if (response->event_count == 0) {
        buf_printf(&ctl->out, "progress notify: %lld\n", (long long)response->header.revision);
    }
    ctl_printed(ctl, print_watch(&ctl->printer, response, &ctl->failure));
    if (args->exec_argc == 0) return;
    for (size_t i = 0; i < response->event_count; i++)
        run_command(ctl, args, response->header.revision, &response->events[i]);
}

static struct etcd_watch_stream *open_stream(struct etcd_client *client) {
    struct etcd_watch_stream_options options = {.require_leader = true};
    return etcd_watch_open(client, &options);
}

noreturn static void watch_once(struct ctl *ctl, const struct watch_args *args) {
    struct etcd_client *client = ctl_connect(ctl);
    struct etcd_watch_stream *stream = open_stream(client);
    etcd_watch_add(stream, &args->request);
    bool canceled = false;
    while (!canceled) {
        struct etcd_watch_response *response;
        struct etcd_error error;
        if (etcd_watch_next(stream, -1, &response, &error) != ETCD_OK) {
            fprintf(stderr, "watch was canceled (%s)\n", ctl_error_text(ctl, &error));
            break;
        }
        canceled = response->canceled;
        print_response(ctl, args, response);
        etcd_free(response);
    }
    etcd_watch_close(stream);
    ctl_fail(ctl, EXIT_INTERRUPTED, "watch is canceled by the server");
}

/* ---- --interactive ---- */

struct watcher {
    int64_t number;
    struct watch_args args;
};

struct session {
    struct ctl *ctl;
    struct etcd_client *client;
    struct etcd_watch_stream *stream;
    VEC(struct watcher) watchers;
    struct buf input;
};

/* A canceled watch is forgotten when it has been printed. */
static void deliver(struct session *self, const struct etcd_watch_response *response) {
    for (size_t i = 0; i < self->watchers.count; i++) {
        /* The answer to "progress" is for every watch there is. */
        if (response->watch != -1 && self->watchers.items[i].number != response->watch) continue;
        print_response(self->ctl, &self->watchers.items[i].args, response);
        if (response->canceled) self->watchers.items[i--] = self->watchers.items[--self->watchers.count];
    }
}

static void take_line(struct session *self, struct slice line) {
    struct ctl *ctl = self->ctl;
    /* What the arguments point to has to stay as long as the watch. */
    struct slice copy = arena_copy(&ctl->arena, line);
    struct watcher watcher;
    switch (watch_line_parse(copy, environment("ETCDCTL_WATCH_KEY"), environment("ETCDCTL_WATCH_RANGE_END"),
                             &ctl->arena, &watcher.args, &ctl->failure)) {
    case WATCH_LINE_WATCH:
        watcher.number = etcd_watch_add(self->stream, &watcher.args.request);
        VEC_PUSH(&self->watchers, watcher);
        break;
    case WATCH_LINE_PROGRESS: etcd_watch_request_progress(self->stream); break;
    case WATCH_LINE_BAD: fprintf(stderr, "%s\n", buf_cstr(&ctl->failure.text)); break;
    case WATCH_LINE_FATAL: ctl_give_up(ctl);
    }
}

static void read_lines(struct session *self) {
    ssize_t got = read(STDIN_FILENO, buf_reserve(&self->input, 4096), 4096);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got > 0) self->input.len += (size_t)got;
    uint8_t *newline;
    while (self->input.len > 0 && (newline = memchr(self->input.data, '\n', self->input.len))) {
        size_t length = (size_t)(newline - self->input.data);
        take_line(self, slice_make(self->input.data, length));
        buf_consume(&self->input, length + 1);
    }
    if (got <= 0) ctl_fail(self->ctl, EXIT_INVALID_INPUT, "error reading watch request line: EOF");
}

static void print_responses(struct session *self) {
    struct etcd_watch_response *response;
    struct etcd_error error;
    int code;
    while ((code = etcd_watch_next(self->stream, 0, &response, &error)) == ETCD_OK) {
        deliver(self, response);
        etcd_free(response);
    }
    if (code == ETCD_DEADLINE_EXCEEDED) return;
    fprintf(stderr, "watch was canceled (%s)\n", ctl_error_text(self->ctl, &error));
    etcd_watch_close(self->stream);
    self->stream = open_stream(self->client);
    self->watchers.count = 0;
}

noreturn static void watch_interactively(struct ctl *ctl) {
    struct session session = {.ctl = ctl, .client = ctl_connect(ctl)};
    session.stream = open_stream(session.client);
    for (;;) {
        struct pollfd files[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                 {.fd = etcd_client_fd(session.client), .events = POLLIN}};
        int64_t timeout_ms = etcd_client_timeout_ms(session.client);
        poll(files, 2, timeout_ms > 60000 ? 60000 : (int)timeout_ms);
        if (files[0].revents) read_lines(&session);
        etcd_client_run(session.client, 0);
        print_responses(&session);
    }
}

RUN(run_watch) {
    const char *key = environment("ETCDCTL_WATCH_KEY"), *range = environment("ETCDCTL_WATCH_RANGE_END");
    if (*key == 0 && *range != 0) {
        CLEANUP_BUF struct buf quoted = BUF_INIT;
        go_append_quoted(&quoted, slice_from_cstr(range));
        ctl_fail(ctl, EXIT_BAD_ARGS, "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=%s",
                 buf_cstr(&quoted));
    }
    if (flags_bool(&ctl->flags, "interactive")) watch_interactively(ctl);
    struct watch_args args;
    if (!watch_args_parse(&ctl->flags, arguments, key, range, &ctl->arena, &args, &ctl->failure)) ctl_give_up(ctl);
    watch_once(ctl, &args);
}
