/* snapshot save. */
#include "etcdctl/commands.h"

#include "base/gotext.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Go's text of a system error. */
static const char *system_text(struct ctl *ctl, int error_number) {
    char *text = arena_strdup(&ctl->arena, slice_from_cstr(strerror(error_number)));
    if (*text >= 'A' && *text <= 'Z') *text += 'a' - 'A';
    return text;
}

struct download {
    struct ctl *ctl;
    const char *part;
    const char *endpoint;
    int file;
    uint64_t size_bytes;
    bool begun;
    const char *failure; /* why it was given up by us */
};

/* What upstream's client says beside its caller. */
static void client_log(struct ctl *ctl, enum log_level level, const char *message, const char *error) {
    struct log *log = log_named(ctl->log, "client");
    if (level == LOG_ERROR_LEVEL)
        log_error(log, message, LOG_STRING("error", error), LOG_STRING("stacktrace", "snapshot save"));
    else if (level == LOG_WARN_LEVEL)
        log_warn(log, message, LOG_STRING("error", error));
    else
        log_info(log, message);
    log_free(log);
}

static void begin(struct download *self) {
    if (self->begun) return;
    self->begun = true;
    client_log(self->ctl, LOG_INFO_LEVEL, "opened snapshot stream; downloading", NULL);
    log_info(self->ctl->log, "fetching snapshot", LOG_STRING("endpoint", self->endpoint));
}

static int take_piece(void *context, struct etcd_bytes piece, uint64_t remaining_bytes, const char *version) {
    struct download *self = context;
    begin(self);
    const uint8_t *at = piece.data;
    size_t left = piece.len;
    while (left > 0) {
        ssize_t wrote = write(self->file, at, left);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) {
            self->failure = arena_printf(&self->ctl->arena, "write %s: %s", self->part, system_text(self->ctl, errno));
            return 1;
        }
        at += wrote;
        left -= (size_t)wrote;
    }
    self->size_bytes += piece.len;
    return 0;
}

/* The stream was not made, or broke. */
noreturn static void fetch_failed(struct ctl *ctl, struct download *download, const struct etcd_error *error) {
    unlink(download->part);
    if (download->failure) ctl_fail(ctl, EXIT_INTERRUPTED, "%s", download->failure);
    const char *text =
        arena_printf(&ctl->arena, "rpc error: code = %s desc = %s", etcd_code_name(error->code), error->text);
    if (error->code == ETCD_DEADLINE_EXCEEDED && !download->begun) {
        client_log(ctl, LOG_ERROR_LEVEL, "streamer failed to create ClientStream", text);
    } else {
        begin(download);
        client_log(ctl, LOG_WARN_LEVEL, "failed to receive from snapshot stream; closing", text);
    }
    ctl_fail_call(ctl, EXIT_INTERRUPTED, error);
}

static void fetch(struct ctl *ctl, struct etcd_client *client, struct download *download) {
    /* Without end, unless a time was asked for. */
    int64_t timeout_ns = flags_number(&ctl->flags, "command-timeout");
    bool limited = flags_changed(&ctl->flags, "command-timeout");
    struct etcd_error error = {.code = ETCD_DEADLINE_EXCEEDED, .text = "context deadline exceeded"};
    if (limited && timeout_ns < 1000000) fetch_failed(ctl, download, &error); /* less than the library counts in */
    if (etcd_snapshot(client, limited ? timeout_ns / 1000000 : 0, take_piece, download, &error) != ETCD_OK)
        fetch_failed(ctl, download, &error);
    begin(download);
    client_log(ctl, LOG_INFO_LEVEL, "completed snapshot read; closing", NULL);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How long ago that was, for humans: "now", "3 seconds ago". */
static const char *ago(struct ctl *ctl, int64_t took_ns) {
    long long seconds = took_ns / 1000000000;
    if (seconds == 0) return "now";
    long long number = seconds < 60 ? seconds : seconds < 3600 ? seconds / 60 : seconds / 3600;
    const char *unit = seconds < 60 ? "second" : seconds < 3600 ? "minute" : "hour";
    return arena_printf(&ctl->arena, "%lld %s%s ago", number, unit, number == 1 ? "" : "s");
}

/* The file ends with the SHA-256 of what is before it, which is whole sectors. */
static bool has_checksum(uint64_t size_bytes) { return size_bytes % 512 == 32; }

RUN(run_snapshot_save) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "snapshot save expects one argument");
    ctl_setup(ctl);
    if (ctl->endpoint_count != 1) {
        CLEANUP_BUF struct buf list = BUF_INIT;
        for (size_t i = 0; i < ctl->endpoint_count; i++) buf_printf(&list, "%s%s", i > 0 ? " " : "", ctl->endpoints[i]);
        ctl_fail(ctl, EXIT_INTERRUPTED, "snapshot must be requested to one selected node, not multiple [%s]",
                 buf_cstr(&list));
    }
    const char *path = arguments->items[0];
    int64_t begin_ns = now_ns();
    struct download download = {.ctl = ctl, .endpoint = ctl->endpoints[0]};
    struct etcd_client *client = ctl_connect(ctl);
    download.part = arena_printf(&ctl->arena, "%s.part", path);
    download.file = open(download.part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (download.file < 0)
        ctl_fail(ctl, EXIT_INTERRUPTED, "could not open %s (open %s: %s)", download.part, download.part,
                 system_text(ctl, errno));
    log_info(ctl->log, "created temporary db file", LOG_STRING("path", download.part));
    fetch(ctl, client, &download);
    if (!has_checksum(download.size_bytes)) {
        unlink(download.part);
        ctl_fail(ctl, EXIT_INTERRUPTED, "sha256 checksum not found [bytes: %llu]",
                 (unsigned long long)download.size_bytes);
    }
    if (fsync(download.file) != 0 || close(download.file) != 0)
        ctl_fail(ctl, EXIT_INTERRUPTED, "sync %s: %s", download.part, system_text(ctl, errno));
    CLEANUP_BUF struct buf size = BUF_INIT;
    go_append_humanized_bytes(&size, download.size_bytes);
    log_info(ctl->log, "fetched snapshot", LOG_STRING("endpoint", download.endpoint),
             LOG_STRING("size", buf_cstr(&size)), LOG_STRING("took", ago(ctl, now_ns() - begin_ns)));
    if (rename(download.part, path) != 0)
        ctl_fail(ctl, EXIT_INTERRUPTED, "could not rename %s to %s (rename %s %s: %s)", download.part, path,
                 download.part, path, system_text(ctl, errno));
    log_info(ctl->log, "saved", LOG_STRING("path", path));
    buf_printf(&ctl->out, "Snapshot saved at %s\n", path);
    ctl_flush(ctl);
    return EXIT_OK;
}
