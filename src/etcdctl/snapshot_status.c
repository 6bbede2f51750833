/* snapshot status: what is in the file of a snapshot (or a member's db). Upstream moved it to etcdutl; 3.5 has both. */
#include "etcdctl/commands.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "bolt/bolt.h"
#include "os/os.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* Everything in the buckets, in order: the hash is over bucket names, keys and values. */
static enum err summarize(struct bolt_tx *tx, struct snapshot_status *status) {
    struct bolt_bucket *root = bolt_tx_root(tx);
    struct bolt_cursor names;
    struct bolt_item name;
    bolt_cursor_init(&names, root);
    for (bool more = bolt_cursor_first(&names, &name); more; more = bolt_cursor_next(&names, &name)) {
        struct bolt_bucket *bucket;
        TRY(bolt_bucket_open(root, name.key, &bucket));
        status->hash = crc32c(status->hash, name.key.data, name.key.len);
        bool is_history = slice_equal_cstr(name.key, "key");
        struct bolt_cursor cursor;
        struct bolt_item item;
        bolt_cursor_init(&cursor, bucket);
        for (bool next = bolt_cursor_first(&cursor, &item); next; next = bolt_cursor_next(&cursor, &item)) {
            status->hash = crc32c(status->hash, item.key.data, item.key.len);
            if (item.value.len > 0) status->hash = crc32c(status->hash, item.value.data, item.value.len);
            /* Keys of the history are revisions: the main one comes first. */
            if (is_history && item.key.len >= 8) status->revision = (int64_t)load_u64be(item.key.data);
            status->total_keys++;
        }
        if (cursor.error != OK) return cursor.error;
    }
    if (names.error != OK) return names.error;
    status->total_size_bytes = (int64_t)bolt_tx_size_bytes(tx);
    return OK;
}

static void collect_finding(void *context, const char *text) { buf_printf(context, "\n%s", text); }

static struct snapshot_status read_status(struct ctl *ctl, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        char *reason = arena_strdup(&ctl->arena, slice_from_cstr(strerror(errno)));
        if (*reason >= 'A' && *reason <= 'Z') *reason += 'a' - 'A';
        ctl_fail(ctl, EXIT_ERROR, "stat %s: %s", path, reason);
    }
    struct os_world *world = os_world_new(NULL);
    struct bolt_options options = {.read_only = true};
    struct bolt *file;
    struct errmsg message = {{0}};
    enum err error = bolt_open(os_world_env(world), path, &options, &file, &message);
    if (error != OK) ctl_fail(ctl, EXIT_ERROR, "%s", err_text(error));
    struct bolt_tx *tx = bolt_begin_read(file);
    CLEANUP_BUF struct buf findings = BUF_INIT;
    size_t found = bolt_check(tx, collect_finding, &findings);
    if (found > 0)
        ctl_fail(ctl, EXIT_ERROR, "snapshot file integrity check failed. %zu errors found.%s", found,
                 buf_cstr(&findings));
    struct snapshot_status status = {0};
    error = summarize(tx, &status);
    if (error != OK) {
        bolt_explain(file, &message);
        ctl_fail(ctl, EXIT_ERROR, "%s", message.text);
    }
    bolt_tx_end(tx);
    bolt_close(file);
    os_world_free(world);
    return status;
}

RUN(run_snapshot_status) {
    fputs("Deprecated: Use `etcdutl snapshot status` instead.\n\n", stderr);
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "snapshot status requires exactly one argument");
    ctl_set_output(ctl);
    struct snapshot_status status = read_status(ctl, arguments->items[0]);
    ctl_printed(ctl, print_snapshot_status(&ctl->printer, &status, &ctl->failure));
    return EXIT_OK;
}
