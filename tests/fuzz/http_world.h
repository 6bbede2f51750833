/* http_world.h - a server's connection with handlers that answer in every way there is: for the targets h1 and h2. */
#ifndef TESTS_FUZZ_HTTP_WORLD_H
#define TESTS_FUZZ_HTTP_WORLD_H

#include "base/vec.h"
#include "fuzz/fuzz.h"
#include "http/server.h"
#include "unit/http/fake_env.h"

#define PRODUCED_BYTES 5000
#define LARGE_BYTES (300 * 1000)
#define OUTPUT_STEP_BYTES 65536

static const char *const http_paths[] = {"/",      "/keep", "/hold", "/produce", "/fail", "/large",
                                         "/abort", "/full", "/late", "/wait",    "*"};

struct kept {
    struct http_request *request;
    size_t unconsumed_bytes;
    bool holds; /* bytes until told otherwise */
    bool has_replied;
};

struct producing {
    struct http_producer producer;
    struct http_request *request;
    size_t left;
    bool fails, waits;
    struct list link;
};

struct http_world {
    struct fake_env env;
    struct http_server *server;
    struct http_conn *conn;
    struct http_conn_owner owner;
    VEC(struct kept *) kept;
    struct list waiting; /* producers */
    struct buf output;
    size_t output_bytes;
    bool is_paused; /* the client does not read */
    uint32_t sum;
};

/* ---- handlers ---- */

static void kept_body(struct http_request *request, struct slice bytes) {
    struct kept *kept = request->context;
    (void)http_request_set_kept(request, bytes.len);
    if (kept->holds)
        kept->unconsumed_bytes += bytes.len;
    else
        http_request_consume(request, bytes.len);
}
static void kept_end(struct http_request *request) { CHECK(request->has_ended); }
static void kept_cancel(struct http_request *request) { CHECK(request->is_cancelled); }
static void kept_writable(struct http_request *request) {
    CHECK(http_reply_queued_bytes(request) < HTTP_REPLY_LOW_WATER);
}
static const struct http_request_handler kept_handler = {kept_body, kept_end, kept_cancel, kept_writable};

static void keep(struct http_world *self, struct http_request *request, bool holds) {
    struct kept *kept = NEW(struct kept);
    kept->request = request;
    kept->holds = holds;
    VEC_PUSH(&self->kept, kept);
    http_request_handle(request, &kept_handler, kept);
}

static enum http_pull pull(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    static const uint8_t zeros[1000];
    struct producing *self = CONTAINER_OF(producer, struct producing, producer);
    if (self->waits) {
        self->waits = false;
        return HTTP_PULL_WAIT;
    }
    if (self->left == 0) return self->fails ? HTTP_PULL_FAILED : HTTP_PULL_END;
    size_t size = self->left < sizeof zeros ? self->left : sizeof zeros;
    self->left -= size;
    *ret_piece = (struct http_piece){slice_make(zeros, size), NULL, NULL};
    return HTTP_PULL_PIECE;
}

static void pulled(struct http_producer *producer) {
    struct producing *self = CONTAINER_OF(producer, struct producing, producer);
    list_remove(&self->link);
    mem_free(self);
}

static const struct http_header plain[] = {HTTP_HEADER("content-type", "text/plain"), HTTP_HEADER("x", "y")};
static const struct http_header trailer = HTTP_HEADER("sum", "42");

static void produce(struct http_world *self, struct http_request *request, bool fails, bool waits) {
    struct producing *producing = NEW(struct producing);
    *producing = (struct producing){{pull, pulled}, request, PRODUCED_BYTES, fails, waits, {0}};
    list_push_back(&self->waiting, &producing->link);
    http_reply(request, 201, plain, 2);
    http_reply_produce(request, &producing->producer);
    http_reply_end(request, &trailer, 1);
}

static void touch(struct http_world *self, struct slice bytes) {
    for (size_t i = 0; i < bytes.len; i++) self->sum = self->sum * 31 + bytes.data[i];
}

static void look_at(struct http_world *self, struct http_request *request) {
    touch(self, request->method);
    touch(self, request->target);
    touch(self, request->authority);
    touch(self, http_request_path(request));
    touch(self, http_request_query(request));
    for (uint32_t i = 0; i < request->header_count; i++) {
        touch(self, request->headers[i].name);
        touch(self, request->headers[i].value);
    }
    CHECK(http_request_header(request, "\x01").data == NULL);
}

static void on_request(void *context, struct http_request *request) {
    static const uint8_t zeros[LARGE_BYTES];
    struct http_world *self = context;
    look_at(self, request);
    struct slice path = http_request_path(request);
    char name = path.len > 1 ? (char)path.data[1] : 0;
    switch (name) {
    case 'k': keep(self, request, false); break;
    case 'h': keep(self, request, true); break;
    case 'p': produce(self, request, false, false); break;
    case 'w': produce(self, request, false, true); break;
    case 'f':
        if (path.len > 2 && path.data[2] == 'a')
            produce(self, request, true, false);
        else
            http_reply_full(request, 200, plain, 2, SLICE_LITERAL("full"));
        break;
    case 'l':
        http_reply(request, path.len > 3 && path.data[3] == 'r' ? 200 : 204, plain, 1);
        http_reply_write(request, slice_make(zeros, LARGE_BYTES));
        http_reply_end(request, NULL, 0);
        break;
    case 'a': http_request_abort(request, 8); break;
    default:
        http_reply(request, 200, plain, 2);
        http_reply_write(request, SLICE_LITERAL("hello"));
        http_reply_end(request, &trailer, 1);
    }
}

/* ---- the connection ---- */

static void want_flush(struct http_conn_owner *owner) {}

static void http_world_open(struct http_world *self, uint8_t options) {
    *self = (struct http_world){.owner = {want_flush}};
    fake_env_init(&self->env);
    list_init(&self->waiting);
    struct http_server_options server_options = {.env = &self->env.env, .on_request = on_request, .context = self};
    if (options & 1) server_options.max_concurrent_streams = 4;
    if (options & 2) server_options.keepalive_interval_ns = server_options.keepalive_timeout_ns = 1000000000;
    if (options & 4) server_options.keepalive_min_ns = 1;
    self->server = http_server_new(&server_options);
    struct http_conn_info info = {.peer = "127.0.0.1:1"};
    self->conn = http_conn_new(self->server, &self->owner, &info);
}

/* What net/ does after a turn. */
static void flush(struct http_world *self) {
    if (self->conn == NULL || self->is_paused) return;
    for (bool more = true; more;) {
        more = http_conn_produce(self->conn, &self->output, OUTPUT_STEP_BYTES);
        CHECK(self->output.len != 0 || !more);
        self->output_bytes += self->output.len;
        buf_clear(&self->output);
    }
    if (!http_conn_is_finished(self->conn)) return;
    http_conn_free(self->conn);
    self->conn = NULL;
}

static void http_world_deliver(void *context, struct slice bytes) {
    struct http_world *self = context;
    if (self->conn == NULL || !http_conn_wants_read(self->conn)) return;
    http_conn_receive(self->conn, bytes);
    flush(self);
}

static void http_world_pass(void *context, int64_t duration_ns) {
    struct http_world *self = context;
    fake_env_advance(&self->env, duration_ns);
    flush(self);
}

static void answer(struct kept *kept, uint8_t choice) {
    if (!kept->has_replied) http_reply(kept->request, 200, plain, 2);
    kept->has_replied = true;
    http_reply_write(kept->request, SLICE_LITERAL("some of it"));
    if (choice & 1) return;
    http_reply_end(kept->request, &trailer, choice & 2 ? 1 : 0);
    kept->request = NULL;
}

static void use_kept(struct http_world *self, uint8_t choice) {
    struct kept *kept = self->kept.items[choice / 8 % self->kept.count];
    if (kept->request == NULL) return;
    switch (choice % 8) {
    case 0:
        http_request_consume(kept->request, kept->unconsumed_bytes);
        kept->unconsumed_bytes = 0;
        kept->holds = false;
        break;
    case 1:
        http_request_abort(kept->request, 2);
        kept->request = NULL;
        break;
    default: answer(kept, choice);
    }
}

static void http_world_other(void *context, uint8_t choice) {
    struct http_world *self = context;
    if (choice < 200 && self->kept.count != 0) use_kept(self, choice);
    if (choice >= 200 && choice < 210)
        LIST_FOREACH (link, &self->waiting)
            if (!CONTAINER_OF(link, struct producing, link)->request->is_cancelled)
                http_reply_resume(CONTAINER_OF(link, struct producing, link)->request);
    if (self->conn == NULL) return;
    if (choice == 210) http_conn_stop(self->conn);
    if (choice == 211) http_conn_receive_end(self->conn);
    if (choice == 212 || choice == 213) self->is_paused = choice == 212;
    CHECK(http_conn_open_requests(self->conn) != 0 || http_conn_queued_bytes(self->conn) == 0);
    flush(self);
}

static void http_world_close(struct http_world *self) {
    self->is_paused = false;
    flush(self);
    http_conn_free(self->conn);
    for (size_t i = 0; i < self->kept.count; i++) {
        if (self->kept.items[i]->request != NULL) answer(self->kept.items[i], 0);
        mem_free(self->kept.items[i]);
    }
    VEC_RELEASE(&self->kept);
    CHECK(list_is_empty(&self->waiting));
    buf_release(&self->output);
    http_server_free(self->server);
    CHECK(fake_env_release(&self->env));
}

#endif
