/* driver.c - plays a scenario on a store and compares what happens with what the file says.
 *
 *     scenario_mvcc FILE             exit status 1 and both texts where they differ
 *     scenario_mvcc --rewrite FILE   writes what happens into the file
 *
 * A file is a list of steps: a command a line up to "----", then the expected lines up to an empty one. '#' begins a
 * comment. "" is an empty word, \0 in a word a zero byte.
 *
 *   put KEY VALUE [lease=N] [prev] [ignore_value] [ignore_lease]      request and response of the API's Put
 *   del KEY [END] [prev]
 *   get KEY [END] [rev=N] [limit=N] [order=0..2] [target=0..4] [keys_only] [count_only] [min_mod=N] [max_mod=N]
 *           [min_create=N] [max_create=N]
 *   txn ( if (TARGET KEY [END] OP VALUE)... ) ( then OPERATION... ) ( else OPERATION... )
 *           an operation is (put ...), (del ...), (get ...) or (txn ...); OP is = != < > or a number; TARGET value,
 * version, create, mod, lease or a number lease N                        makes the lease exist; attach and detach are
 * traced from then on watch ID KEY [END] [start=N] [prev] [no_put] [no_delete] [room=N]     room: batches taken before
 * it is full resume ID [room=N] / cancel ID / state ID run                            turns the loop until nothing
 * happens any more compact REV                    and waits for it compact-begin REV              and does not hash REV
 *   revision
 *   restart
 */
#include "fixture.h"
#include "mvcc/txn.h"
#include "pb/arena_pb.h"

#define MAX_WATCHERS 16

struct driver;

struct traced_watcher {
    struct driver *driver;
    struct watcher *watcher;
    char id[16];
    int room;
    bool prev;
};

struct driver {
    struct fixture fixture;
    struct buf out;
    struct arena arena;
    struct traced_watcher watchers[MAX_WATCHERS];
    VEC(int64_t) leases;
    char **words; /* of the command, NULL at the end */
};

/* ---- words ---- */

static char **split(struct arena *arena, const char *line) {
    VEC(char *) words = {0};
    while (*line != 0) {
        if (*line == ' ' || *line == '\n') {
            line++;
            continue;
        }
        size_t length = *line == '(' || *line == ')' ? 1 : strcspn(line, " \n()");
        VEC_PUSH(&words, arena_strdup(arena, slice_make(line, length)));
        line += length;
    }
    VEC_PUSH(&words, NULL);
    char **copy = ARENA_ARRAY(arena, char *, words.count);
    memcpy(copy, words.items, words.count * sizeof *copy);
    VEC_RELEASE(&words);
    return copy;
}

/* A key or value: "" and \0 mean what they mean in C. */
static struct slice bytes_of(struct driver *self, const char *word) {
    if (strcmp(word, "\"\"") == 0) return SLICE_LITERAL("");
    uint8_t *bytes = arena_alloc(&self->arena, strlen(word) + 1);
    size_t length = 0;
    for (; *word != 0; word++) {
        if (word[0] == '\\' && word[1] == '0') {
            bytes[length++] = 0;
            word++;
        } else {
            bytes[length++] = (uint8_t)*word;
        }
    }
    return slice_make(bytes, length);
}

static const char *next_word(struct driver *self) {
    if (*self->words == NULL) fail_msg("a word is missing");
    return *self->words++;
}

static bool at_end(struct driver *self) { return *self->words == NULL || strcmp(*self->words, ")") == 0; }

static bool take_word(struct driver *self, const char *word) {
    if (at_end(self) || strcmp(*self->words, word) != 0) return false;
    self->words++;
    return true;
}

static bool take_number(struct driver *self, const char *name, int64_t *ret_number) {
    size_t length = strlen(name);
    if (at_end(self) || strncmp(*self->words, name, length) != 0 || (*self->words)[length] != '=') return false;
    *ret_number = strtoll(*self->words + length + 1, NULL, 10);
    self->words++;
    return true;
}

static bool is_option(const char *word) {
    static const char *const names[] = {"prev",       "ignore_value", "ignore_lease", "keys_only",
                                        "count_only", "no_put",       "no_delete"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(word, names[i]) == 0) return true;
    return strchr(word, '=') != NULL && word[0] != '=';
}

static ProtobufCBinaryData take_end(struct driver *self) {
    if (at_end(self) || is_option(*self->words)) return pb_bytes(SLICE_LITERAL(""));
    return pb_bytes(bytes_of(self, *self->words++));
}

/* ---- requests ---- */

static Etcdserverpb__PutRequest *parse_put(struct driver *self) {
    Etcdserverpb__PutRequest *put_request = ARENA_NEW(&self->arena, Etcdserverpb__PutRequest);
    etcdserverpb__put_request__init(put_request);
    put_request->key = pb_bytes(bytes_of(self, next_word(self)));
    put_request->value = pb_bytes(bytes_of(self, next_word(self)));
    while (!at_end(self)) {
        if (take_word(self, "prev"))
            put_request->prev_kv = true;
        else if (take_word(self, "ignore_value"))
            put_request->ignore_value = true;
        else if (take_word(self, "ignore_lease"))
            put_request->ignore_lease = true;
        else if (!take_number(self, "lease", &put_request->lease))
            fail_msg("put: %s", *self->words);
    }
    return put_request;
}

static Etcdserverpb__DeleteRangeRequest *parse_del(struct driver *self) {
    Etcdserverpb__DeleteRangeRequest *del = ARENA_NEW(&self->arena, Etcdserverpb__DeleteRangeRequest);
    etcdserverpb__delete_range_request__init(del);
    del->key = pb_bytes(bytes_of(self, next_word(self)));
    del->range_end = take_end(self);
    del->prev_kv = take_word(self, "prev");
    return del;
}

static Etcdserverpb__RangeRequest *parse_get(struct driver *self) {
    Etcdserverpb__RangeRequest *get = ARENA_NEW(&self->arena, Etcdserverpb__RangeRequest);
    etcdserverpb__range_request__init(get);
    get->key = pb_bytes(bytes_of(self, next_word(self)));
    get->range_end = take_end(self);
    while (!at_end(self)) {
        int64_t number;
        if (take_number(self, "order", &number))
            get->sort_order = (Etcdserverpb__RangeRequest__SortOrder)number;
        else if (take_number(self, "target", &number))
            get->sort_target = (Etcdserverpb__RangeRequest__SortTarget)number;
        else if (take_word(self, "keys_only"))
            get->keys_only = true;
        else if (take_word(self, "count_only"))
            get->count_only = true;
        else if (!take_number(self, "rev", &get->revision) && !take_number(self, "limit", &get->limit) &&
                 !take_number(self, "min_mod", &get->min_mod_revision) &&
                 !take_number(self, "max_mod", &get->max_mod_revision) &&
                 !take_number(self, "min_create", &get->min_create_revision) &&
                 !take_number(self, "max_create", &get->max_create_revision))
            fail_msg("get: %s", *self->words);
    }
    return get;
}

static int index_of(const char *word, const char *const *names) {
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(word, names[i]) == 0) return i;
    return atoi(word);
}

static Etcdserverpb__Compare *parse_compare(struct driver *self) {
    static const char *const targets[] = {"version", "create", "mod", "value", "lease", NULL};
    static const char *const results[] = {"=", ">", "<", "!=", NULL};
    Etcdserverpb__Compare *compare = ARENA_NEW(&self->arena, Etcdserverpb__Compare);
    etcdserverpb__compare__init(compare);
    int target = index_of(next_word(self), targets);
    compare->target = (Etcdserverpb__Compare__CompareTarget)target;
    compare->key = pb_bytes(bytes_of(self, next_word(self)));
    const char *word = next_word(self);
    if (strchr("=<>!0123456789", word[0]) == NULL) {
        compare->range_end = pb_bytes(bytes_of(self, word));
        word = next_word(self);
    }
    compare->result = (Etcdserverpb__Compare__CompareResult)index_of(word, results);
    const char *operand = next_word(self);
    static const Etcdserverpb__Compare__TargetUnionCase cases[] = {
        ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION, ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION,
        ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION, ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE,
        ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE};
    compare->target_union_case = cases[target >= 0 && target < 5 ? target : 0];
    if (compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE)
        compare->value = pb_bytes(bytes_of(self, operand));
    else
        compare->version = strtoll(operand, NULL, 10);
    return compare;
}

static Etcdserverpb__TxnRequest *parse_txn(struct driver *self);

static Etcdserverpb__RequestOp *parse_op(struct driver *self) {
    Etcdserverpb__RequestOp *op = ARENA_NEW(&self->arena, Etcdserverpb__RequestOp);
    etcdserverpb__request_op__init(op);
    const char *what = next_word(self);
    if (strcmp(what, "put") == 0) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = parse_put(self);
    } else if (strcmp(what, "del") == 0) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range = parse_del(self);
    } else if (strcmp(what, "get") == 0) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = parse_get(self);
    } else if (strcmp(what, "txn") == 0) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = parse_txn(self);
    } else if (strcmp(what, "nothing") != 0) {
        fail_msg("operation: %s", what);
    }
    return op;
}

static void expect_word(struct driver *self, const char *word) {
    const char *found = next_word(self);
    if (strcmp(found, word) != 0) fail_msg("%s instead of %s", found, word);
}

static Etcdserverpb__TxnRequest *parse_txn(struct driver *self) {
    Etcdserverpb__TxnRequest *txn = ARENA_NEW(&self->arena, Etcdserverpb__TxnRequest);
    etcdserverpb__txn_request__init(txn);
    txn->compare = ARENA_ARRAY(&self->arena, Etcdserverpb__Compare *, 16);
    txn->success = ARENA_ARRAY(&self->arena, Etcdserverpb__RequestOp *, 16);
    txn->failure = ARENA_ARRAY(&self->arena, Etcdserverpb__RequestOp *, 16);
    while (*self->words != NULL && strcmp(*self->words, "(") == 0) {
        expect_word(self, "(");
        const char *part = next_word(self);
        while (!at_end(self)) {
            expect_word(self, "(");
            if (strcmp(part, "if") == 0)
                txn->compare[txn->n_compare++] = parse_compare(self);
            else if (strcmp(part, "then") == 0)
                txn->success[txn->n_success++] = parse_op(self);
            else
                txn->failure[txn->n_failure++] = parse_op(self);
            expect_word(self, ")");
        }
        expect_word(self, ")");
    }
    return txn;
}

/* ---- tracing ---- */

static void trace_bytes(struct driver *self, struct slice bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] == 0)
            buf_append_cstr(&self->out, "\\0");
        else
            buf_append_byte(&self->out, bytes.data[i]);
    }
}

static void trace_kv(struct driver *self, const Mvccpb__KeyValue *kv) {
    trace_bytes(self, pb_slice(kv->key));
    buf_append_cstr(&self->out, "=");
    trace_bytes(self, pb_slice(kv->value));
    buf_printf(&self->out, " create=%lld mod=%lld version=%lld", (long long)kv->create_revision,
               (long long)kv->mod_revision, (long long)kv->version);
    if (kv->lease != 0) buf_printf(&self->out, " lease=%lld", (long long)kv->lease);
    buf_append_cstr(&self->out, "\n");
}

static void trace_revision(struct driver *self, const Etcdserverpb__ResponseHeader *header) {
    if (header != NULL && header->revision != 0) buf_printf(&self->out, " rev=%lld", (long long)header->revision);
    buf_append_cstr(&self->out, "\n");
}

static void indent(struct driver *self, int depth) { buf_printf(&self->out, "%*s", depth * 2, ""); }

static void trace_put(struct driver *self, const Etcdserverpb__PutResponse *response, int depth) {
    indent(self, depth);
    buf_append_cstr(&self->out, "put");
    trace_revision(self, response->header);
    if (response->prev_kv == NULL) return;
    indent(self, depth + 1);
    buf_append_cstr(&self->out, "prev ");
    trace_kv(self, response->prev_kv);
}

static void trace_del(struct driver *self, const Etcdserverpb__DeleteRangeResponse *response, int depth) {
    indent(self, depth);
    buf_printf(&self->out, "deleted %lld", (long long)response->deleted);
    trace_revision(self, response->header);
    for (size_t i = 0; i < response->n_prev_kvs; i++) {
        indent(self, depth + 1);
        buf_append_cstr(&self->out, "prev ");
        trace_kv(self, response->prev_kvs[i]);
    }
}

static void trace_range(struct driver *self, const Etcdserverpb__RangeResponse *response, int depth) {
    indent(self, depth);
    buf_printf(&self->out, "count %lld%s", (long long)response->count, response->more ? " more" : "");
    trace_revision(self, response->header);
    for (size_t i = 0; i < response->n_kvs; i++) {
        indent(self, depth + 1);
        trace_kv(self, response->kvs[i]);
    }
}

static void trace_txn(struct driver *self, const Etcdserverpb__TxnResponse *response, int depth) {
    indent(self, depth);
    buf_append_cstr(&self->out, response->succeeded ? "succeeded" : "failed");
    trace_revision(self, response->header);
    for (size_t i = 0; i < response->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = response->responses[i];
        switch (op->response_case) {
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT: trace_put(self, op->response_put, depth + 1); break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE:
            trace_del(self, op->response_delete_range, depth + 1);
            break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE:
            trace_range(self, op->response_range, depth + 1);
            break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN: trace_txn(self, op->response_txn, depth + 1); break;
        default: buf_append_cstr(&self->out, "nothing\n");
        }
    }
}

/* Decodes what a function encoded, with the header put before it as who answers does. */
static void *decode(struct driver *self, const ProtobufCMessageDescriptor *type, const struct buf *body,
                    int64_t revision) {
    struct buf whole = BUF_INIT, header = BUF_INIT;
    buf_append_byte(&header, 0x18);
    buf_append_varint(&header, (uint64_t)revision);
    buf_append_byte(&whole, 0x0a);
    buf_append_varint(&whole, header.len);
    buf_append_slice(&whole, buf_slice(&header));
    buf_append_slice(&whole, buf_slice(body));
    void *message = pb_unpack(type, buf_slice(&whole), &self->arena);
    if (message == NULL) fail_msg("the response of %zu bytes can't be decoded", whole.len);
    buf_release(&whole);
    buf_release(&header);
    return message;
}

static void trace_error(struct driver *self, enum err error) { buf_printf(&self->out, "%s\n", err_text(error)); }

/* ---- commands ---- */

static void do_put(struct driver *self) {
    struct buf body = BUF_INIT;
    int64_t revision;
    enum err error = txn_apply_put(self->fixture.store, parse_put(self), &body, &revision);
    if (error == OK)
        trace_put(self, decode(self, &etcdserverpb__put_response__descriptor, &body, revision), 0);
    else
        trace_error(self, error);
    buf_release(&body);
}

static void do_del(struct driver *self) {
    struct buf body = BUF_INIT;
    int64_t revision;
    assert_int_equal(txn_apply_delete_range(self->fixture.store, parse_del(self), &body, &revision), OK);
    trace_del(self, decode(self, &etcdserverpb__delete_range_response__descriptor, &body, revision), 0);
    buf_release(&body);
}

static void do_get(struct driver *self) {
    struct buf body = BUF_INIT;
    int64_t revision;
    enum err error = txn_range(self->fixture.store, parse_get(self), &body, &revision);
    if (error == OK)
        trace_range(self, decode(self, &etcdserverpb__range_response__descriptor, &body, revision), 0);
    else
        trace_error(self, error);
    buf_release(&body);
}

static void do_txn(struct driver *self, int flags) {
    struct buf body = BUF_INIT;
    int64_t revision;
    Etcdserverpb__TxnRequest *request = parse_txn(self);
    enum err error = txn_apply(self->fixture.store, request, flags, &body, &revision);
    if (error == OK)
        trace_txn(self, decode(self, &etcdserverpb__txn_response__descriptor, &body, revision), 0);
    else
        trace_error(self, error);
    buf_release(&body);
}

static bool on_batch(void *context, struct watcher *watcher, const struct watch_batch *batch) {
    struct traced_watcher *traced = context;
    struct driver *driver = traced->driver;
    (void)watcher;
    if (traced->room == 0) {
        buf_printf(&driver->out, "%s: full\n", traced->id);
        return false;
    }
    traced->room--;
    buf_printf(&driver->out, "%s: rev=%lld, %zu events\n", traced->id, (long long)batch->header_revision, batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        struct buf bytes = BUF_INIT;
        watch_event_append(batch->events[i], traced->prev, &bytes);
        assert_int_equal(bytes.len, watch_event_size(batch->events[i], traced->prev));
        Mvccpb__Event *event = pb_unpack(&mvccpb__event__descriptor, buf_slice(&bytes), &driver->arena);
        assert_non_null(event);
        buf_append_cstr(&driver->out, event->type == MVCCPB__EVENT__EVENT_TYPE__DELETE ? "  delete " : "  put ");
        trace_kv(driver, event->kv);
        if (event->prev_kv != NULL) {
            buf_append_cstr(&driver->out, "    prev ");
            trace_kv(driver, event->prev_kv);
        }
        buf_release(&bytes);
    }
    return true;
}

static void on_compacted(void *context, struct watcher *watcher, int64_t revision) {
    struct traced_watcher *traced = context;
    (void)watcher;
    buf_printf(&traced->driver->out, "%s: compacted %lld\n", traced->id, (long long)revision);
}

static struct traced_watcher *find_watcher(struct driver *self, const char *id) {
    for (size_t i = 0; i < MAX_WATCHERS; i++)
        if (strcmp(self->watchers[i].id, id) == 0) return &self->watchers[i];
    fail_msg("no watcher %s", id);
    return NULL;
}

static void do_watch(struct driver *self) {
    const char *id = next_word(self);
    struct traced_watcher *traced = find_watcher(self, "");
    *traced = (struct traced_watcher){.driver = self, .room = -1};
    snprintf(traced->id, sizeof traced->id, "%s", id);
    struct watch_options options = {.sink = {on_batch, on_compacted, traced}};
    options.key = bytes_of(self, next_word(self));
    options.range_end = pb_slice(take_end(self));
    int64_t room = -1;
    while (!at_end(self)) {
        if (take_word(self, "prev"))
            options.prev_kv = traced->prev = true;
        else if (take_word(self, "no_put"))
            options.no_put = true;
        else if (take_word(self, "no_delete"))
            options.no_delete = true;
        else if (!take_number(self, "start", &options.start_revision) && !take_number(self, "room", &room))
            fail_msg("watch: %s", *self->words);
    }
    traced->room = (int)room;
    enum err error = watch_hub_add(store_watch_hub(self->fixture.store), &options, &traced->watcher);
    if (error == OK) return;
    traced->id[0] = 0;
    trace_error(self, error);
}

static void do_state(struct driver *self) {
    struct traced_watcher *traced = find_watcher(self, next_word(self));
    buf_printf(&self->out, "%s: %s, next %lld\n", traced->id,
               watcher_is_synced(traced->watcher)      ? "synced"
               : watcher_is_compacted(traced->watcher) ? "compacted"
                                                       : "behind",
               (long long)watcher_next_revision(traced->watcher));
}

static void do_resume(struct driver *self) {
    struct traced_watcher *traced = find_watcher(self, next_word(self));
    int64_t room = -1;
    (void)take_number(self, "room", &room);
    traced->room = (int)room;
    watcher_resume(traced->watcher);
}

static void do_cancel(struct driver *self) {
    struct traced_watcher *traced = find_watcher(self, next_word(self));
    watcher_free(traced->watcher);
    *traced = (struct traced_watcher){0};
}

/* Catching up and compacting use timers of 0 only (and the compaction's pause), the backend's are of 100 ms. */
static void do_run(struct driver *self) {
    for (int idle = 0; idle < 3 || store_is_compacting(self->fixture.store);)
        idle = os_world_turn(self->fixture.world) == 0 ? 0 : idle + 1;
}

static void do_hash(struct driver *self) {
    struct hash_wait wait = hash_at(&self->fixture, strtoll(next_word(self), NULL, 10));
    if (wait.error != OK)
        trace_error(self, wait.error);
    else
        buf_printf(&self->out, "hash %u compact=%lld rev=%lld current=%lld\n", wait.hash.hash,
                   (long long)wait.hash.compact_revision, (long long)wait.hash.revision,
                   (long long)wait.hash.current_revision);
}

static void do_compact(struct driver *self, bool waits) {
    int64_t revision = strtoll(next_word(self), NULL, 10);
    struct compact_wait wait = {0};
    enum err error = store_compact(self->fixture.store, revision, waits ? compact_done : NULL, &wait);
    if (error != OK) {
        trace_error(self, error);
        return;
    }
    if (waits) run_until(&self->fixture, &wait.is_done);
    buf_printf(&self->out, "%s\n", waits ? "compacted" : "accepted");
}

static bool lease_exists(void *context, int64_t lease) {
    struct driver *self = context;
    for (size_t i = 0; i < self->leases.count; i++)
        if (self->leases.items[i] == lease) return true;
    return false;
}

static void trace_lease(struct driver *self, const char *what, struct slice key, int64_t lease) {
    buf_printf(&self->out, "%s ", what);
    trace_bytes(self, key);
    buf_printf(&self->out, " %lld\n", (long long)lease);
}
static void attach(void *context, struct slice key, int64_t lease) { trace_lease(context, "attach", key, lease); }
static void detach(void *context, struct slice key, int64_t lease) { trace_lease(context, "detach", key, lease); }

static void run_command(struct driver *self, const char *line) {
    arena_reset(&self->arena);
    self->words = split(&self->arena, line);
    if (*self->words == NULL) return;
    const char *command = next_word(self);
    if (strcmp(command, "put") == 0)
        do_put(self);
    else if (strcmp(command, "del") == 0)
        do_del(self);
    else if (strcmp(command, "get") == 0)
        do_get(self);
    else if (strcmp(command, "txn") == 0)
        do_txn(self, 0);
    else if (strcmp(command, "txn-of-follower") == 0)
        do_txn(self, TXN_SKIP_TOP_RANGES);
    else if (strcmp(command, "lease") == 0)
        VEC_PUSH(&self->leases, strtoll(next_word(self), NULL, 10));
    else if (strcmp(command, "watch") == 0)
        do_watch(self);
    else if (strcmp(command, "resume") == 0)
        do_resume(self);
    else if (strcmp(command, "cancel") == 0)
        do_cancel(self);
    else if (strcmp(command, "state") == 0)
        do_state(self);
    else if (strcmp(command, "run") == 0)
        do_run(self);
    else if (strcmp(command, "compact") == 0)
        do_compact(self, true);
    else if (strcmp(command, "compact-begin") == 0)
        do_compact(self, false);
    else if (strcmp(command, "hash") == 0)
        do_hash(self);
    else if (strcmp(command, "revision") == 0)
        buf_printf(&self->out, "current %lld, compacted %lld\n", (long long)store_revision(self->fixture.store),
                   (long long)store_compact_revision(self->fixture.store));
    else if (strcmp(command, "restart") == 0) {
        fixture_close(&self->fixture);
        fixture_open(&self->fixture);
    } else {
        fail_msg("unknown command %s", command);
    }
    if (*self->words != NULL) fail_msg("%s: what is %s?", command, *self->words);
}

/* ---- the file ---- */

static char *take_line(char **at) {
    char *line = *at, *end = strchr(line, '\n');
    if (*line == 0) return NULL;
    if (end != NULL) *end++ = 0;
    *at = end != NULL ? end : line + strlen(line);
    return line;
}

/* Plays all; `result` becomes the file as it should be. */
static void play(struct driver *self, char *content, struct buf *result) {
    char *line;
    while ((line = take_line(&content)) != NULL) {
        buf_printf(result, "%s\n", line);
        if (strcmp(line, "----") != 0) {
            if (line[0] != '#') run_command(self, line);
            continue;
        }
        buf_append_slice(result, buf_slice(&self->out));
        buf_clear(&self->out);
        while ((line = take_line(&content)) != NULL && line[0] != 0) {
        }
        buf_append_cstr(result, "\n");
    }
}

static void driver_close(struct driver *self) {
    for (size_t i = 0; i < MAX_WATCHERS; i++) watcher_free(self->watchers[i].watcher);
    fixture_close(&self->fixture);
    fixture_release(&self->fixture);
    buf_release(&self->out);
    arena_release(&self->arena);
    VEC_RELEASE(&self->leases);
}

static const char *path;
static bool is_rewriting;

static void test_scenario(void **state) {
    struct driver *self = NEW(struct driver);
    arena_init(&self->arena, 0);
    fixture_init(&self->fixture);
    self->fixture.options.lease = (struct store_lease_ops){lease_exists, attach, detach, self};
    self->fixture.options.compaction_sleep_ns = 1;
    self->fixture.options.watch_ring_events = 4;
    fixture_open(&self->fixture);

    struct buf content = BUF_INIT, result = BUF_INIT;
    assert_int_equal(env_read_file(self->fixture.env, path, (size_t)1 << 20, &content), OK);
    char *copy = mem_strdup(buf_cstr(&content));
    play(self, copy, &result);
    if (is_rewriting) {
        struct env_file *file;
        assert_int_equal(env_open(self->fixture.env, path, ENV_WRITE | ENV_TRUNCATE, 0644, &file), OK);
        assert_int_equal(env_pwrite(file, result.data, result.len, 0), OK);
        env_close(file);
    } else {
        assert_string_equal(buf_cstr(&result), buf_cstr(&content));
    }
    mem_free(copy);
    buf_release(&content);
    buf_release(&result);
    driver_close(self);
    mem_free(self);
}

int main(int argc, char **argv) {
    is_rewriting = argc == 3 && strcmp(argv[1], "--rewrite") == 0;
    path = argv[argc - 1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenario)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
