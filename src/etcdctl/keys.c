/* get, put, del, compaction, txn. */
#include "etcdctl/commands.h"

#include "etcdctl/requests.h"
#include "etcdctl/txn_lines.h"
#include "etcdctl/words.h"
#include "pb/arena_pb.h"

#include <stdio.h>
#include <stdlib.h>

RUN(run_get) {
    Etcdserverpb__RangeRequest *request;
    if (!request_get(&ctl->flags, arguments, &ctl->arena, &request, &ctl->failure)) ctl_give_up(ctl);
    void *response = ctl_call(ctl, ctl_connect(ctl), "KV/Range", request, &etcdserverpb__range_response__descriptor);
    if (flags_bool(&ctl->flags, "count-only") && ctl->printer.format != OUTPUT_FIELDS)
        ctl_fail(ctl, EXIT_BAD_ARGS, "--count-only is only for `--write-out=fields`");
    ctl->printer.value_only = flags_bool(&ctl->flags, "print-value-only");
    if (ctl->printer.value_only && !ctl_is_simple(ctl))
        ctl_fail(ctl, EXIT_BAD_ARGS, "print-value-only is only for `--write-out=simple`");
    ctl_print(ctl, &view_range, response, NULL);
    return EXIT_OK;
}

RUN(run_put) {
    Etcdserverpb__PutRequest *request;
    if (!request_put(&ctl->flags, arguments, &ctl->arena, ctl_read_stdin, ctl, &request, &ctl->failure))
        ctl_give_up(ctl);
    void *response = ctl_call(ctl, ctl_connect(ctl), "KV/Put", request, &etcdserverpb__put_response__descriptor);
    ctl_print(ctl, &view_put, response, NULL);
    return EXIT_OK;
}

RUN(run_del) {
    Etcdserverpb__DeleteRangeRequest *request;
    bool warn;
    if (!request_del(&ctl->flags, arguments, &ctl->arena, &request, &warn, &ctl->failure)) ctl_give_up(ctl);
    if (warn) fputs(DEL_RANGE_WARNING, stderr);
    void *response =
        ctl_call(ctl, ctl_connect(ctl), "KV/DeleteRange", request, &etcdserverpb__delete_range_response__descriptor);
    ctl_print(ctl, &view_delete, response, NULL);
    return EXIT_OK;
}

RUN(run_compaction) {
    if (arguments->count != 1) ctl_fail(ctl, EXIT_BAD_ARGS, "compaction command needs 1 argument");
    Etcdserverpb__CompactionRequest request;
    etcdserverpb__compaction_request__init(&request);
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_parse_int(arguments->items[0], 10, &request.revision, &reason))
        ctl_fail(ctl, EXIT_ERROR, "%s", buf_cstr(&reason));
    request.physical = flags_bool(&ctl->flags, "physical");
    struct etcd_client *client = ctl_connect(ctl);
    /* Sweeping the file may take long. */
    if (request.physical) ctl_without_timeout(ctl, client);
    ctl_call(ctl, client, "KV/Compact", &request, &etcdserverpb__compaction_response__descriptor);
    buf_printf(&ctl->out, "compacted revision %lld\n", (long long)request.revision);
    ctl_flush(ctl);
    return EXIT_OK;
}

/* ---- txn ---- */

static void prompt(struct ctl *ctl, const char *text) {
    if (!flags_bool(&ctl->flags, "interactive")) return;
    buf_printf(&ctl->out, "%s\n", text);
    ctl_flush(ctl);
}

/* The next line without white space around it; empty at the end of a section. The end of the input is an error. */
static struct slice next_line(struct ctl *ctl) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length = getline(&line, &capacity, stdin);
    bool complete = length > 0 && line[length - 1] == '\n';
    struct slice copy = complete ? arena_copy(&ctl->arena, slice_make(line, (size_t)length)) : SLICE_NONE;
    free(line);
    if (!complete) ctl_fail(ctl, EXIT_INVALID_INPUT, "EOF");
    return word_trim(copy);
}

static void read_compares(struct ctl *ctl, Etcdserverpb__TxnRequest *request) {
    VEC(Etcdserverpb__Compare *) list = {0};
    for (struct slice line = next_line(ctl); line.len > 0; line = next_line(ctl)) {
        Etcdserverpb__Compare *compare;
        if (!txn_parse_compare(line, &ctl->arena, &compare, &ctl->failure)) ctl_give_up(ctl);
        VEC_PUSH(&list, compare);
    }
    request->compare = list.items;
    request->n_compare = list.count;
}

/* Standard input is the transaction: no value can come from there. */
static bool no_stdin(void *context, struct arena *arena, struct slice *ret_bytes) { return false; }

static void read_ops(struct ctl *ctl, Etcdserverpb__RequestOp ***ret_ops, size_t *ret_count) {
    struct txn_op_parser parser = {.arena = &ctl->arena, .read_stdin = no_stdin, .notes = &ctl->errors};
    VEC(Etcdserverpb__RequestOp *) list = {0};
    for (struct slice line = next_line(ctl); line.len > 0; line = next_line(ctl)) {
        Etcdserverpb__RequestOp *op;
        if (!txn_parse_op(&parser, line, &op, &ctl->failure)) ctl_give_up(ctl);
        VEC_PUSH(&list, op);
    }
    *ret_ops = list.items;
    *ret_count = list.count;
}

RUN(run_txn) {
    if (arguments->count != 0) ctl_fail(ctl, EXIT_BAD_ARGS, "txn command does not accept argument");
    struct etcd_client *client = ctl_connect(ctl);
    ctl_without_timeout(ctl, client);
    Etcdserverpb__TxnRequest request;
    etcdserverpb__txn_request__init(&request);
    prompt(ctl, "compares:");
    read_compares(ctl, &request);
    prompt(ctl, "success requests (get, put, del):");
    read_ops(ctl, &request.success, &request.n_success);
    prompt(ctl, "failure requests (get, put, del):");
    read_ops(ctl, &request.failure, &request.n_failure);
    void *response = ctl_call(ctl, client, "KV/Txn", &request, &etcdserverpb__txn_response__descriptor);
    mem_free(request.compare);
    mem_free(request.success);
    mem_free(request.failure);
    ctl_print(ctl, &view_txn, response, NULL);
    return EXIT_OK;
}
