/* grpc.c - gRPC's server: headers, messages cut and packed, deadlines, every kind of call. The first byte says how the
 * bytes are cut; then steps (frames.h). */
#include "fuzz/frames.h"

#include "base/vec.h"
#include "grpc/call.h"
#include "grpc/server.h"
#include "http/server.h"
#include "unit/http/fake_env.h"

#define RECEIVE_MAX_BYTES 20000
#define OUTPUT_STEP_BYTES 65536
#define BASE_BYTES (2 * 1024 * 1024)
#define FACTOR (64 * 1024)

struct world {
    struct fake_env env;
    struct grpc_server *grpc;
    struct http_server *http;
    struct http_conn *conn;
    struct http_conn_owner owner;
    VEC(struct grpc_call *) open; /* calls for which no answer has been made */
    struct buf output;
    bool is_paused;
    size_t started, finished;
    struct http_producer producer;
    size_t pulled_bytes;
    bool pulls, pull_fails;
};

/* ---- the service ---- */

static void forget(struct world *self, struct grpc_call *call) {
    for (size_t i = 0; i < self->open.count; i++)
        if (self->open.items[i] == call) self->open.items[i] = self->open.items[--self->open.count];
}

static void echo(struct grpc_call *call) {
    CHECK(grpc_call_message(call).len <= RECEIVE_MAX_BYTES);
    CHECK(grpc_call_deadline_ns(call) > grpc_call_started_ns(call));
    struct slice token = grpc_call_metadata(call, "token");
    if (token.len != 0)
        grpc_call_fail_text(call, 16, (const char *)arena_strdup(grpc_call_arena(call), token));
    else
        grpc_call_reply(call, grpc_call_message(call));
}

static void keep(struct grpc_call *call) {
    struct world *self = grpc_call_service(call);
    grpc_call_set_context(call, self);
    CHECK(grpc_call_context(call) == self && grpc_call_peer(call)[0] == '1');
    VEC_PUSH(&self->open, call);
}

static void nothing(void *context) {}

static void stream_message(struct grpc_call *call, struct slice message) {
    struct world *self = grpc_call_service(call);
    CHECK(message.len <= RECEIVE_MAX_BYTES);
    struct http_piece pieces[2] = {{message, NULL, NULL}, http_piece_from_shared(shared_copy(message))};
    grpc_call_send_pieces(call, pieces, 2);
    static const uint8_t zeros[700 * 1000];
    struct http_piece large = {.bytes = slice_make(zeros, sizeof zeros), .release = nothing};
    if (message.len == 5) grpc_call_send_pieces(call, &large, 1);
    if (message.len != 3) return;
    forget(self, call);
    grpc_call_finish(call);
}

static void half_close(struct grpc_call *call) {
    struct world *self = grpc_call_service(call);
    forget(self, call);
    grpc_call_finish(call);
}

static void cancelled(struct grpc_call *call) {
    struct world *self = grpc_call_service(call);
    CHECK(grpc_call_is_cancelled(call));
    forget(self, call);
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}

static void drained(struct grpc_call *call) { grpc_call_send(call, SLICE_LITERAL("more")); }

static void download(struct grpc_call *call) {
    static const uint8_t zeros[3000];
    for (int i = 0; i < 20; i++) {
        uint8_t *room = grpc_call_reserve(call, sizeof zeros);
        memcpy(room, zeros, sizeof zeros);
        grpc_call_send_reserved(call);
    }
    grpc_call_finish(call);
}

#define PIECES_BYTES 3000

static enum http_pull pull(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    static const uint8_t zeros[PIECES_BYTES];
    struct world *self = CONTAINER_OF(producer, struct world, producer);
    size_t left = PIECES_BYTES - self->pulled_bytes, size = left < 1000 ? left : 1000;
    if (self->pulled_bytes != 0 && self->pull_fails) return HTTP_PULL_FAILED;
    self->pulled_bytes += size;
    *ret_piece = (struct http_piece){.bytes = slice_make(zeros, size)};
    return size != 0 ? HTTP_PULL_PIECE : HTTP_PULL_END;
}
static void pulled(struct http_producer *producer) { CONTAINER_OF(producer, struct world, producer)->pulls = false; }

/* One at a time: later ones get a plain answer. */
static void pieces(struct grpc_call *call) {
    struct world *self = grpc_call_service(call);
    if (self->pulls) {
        grpc_call_fail(call, ERR_TOO_MANY_REQUESTS);
        return;
    }
    self->pulls = true;
    self->pulled_bytes = 0;
    self->pull_fails = grpc_call_message(call).len == 1;
    self->producer = (struct http_producer){pull, pulled};
    grpc_call_reply_pieces(call, PIECES_BYTES, &self->producer);
}

static const char *const paths[] = {"/f.F/Echo", "/f.F/Keep", "/f.F/Both", "/f.F/Download",
                                    "/f.F/None", "/g.G/X",    "f",         "/f.F/Pieces"};
static const struct grpc_method methods[] = {
    {.path = "/f.F/Echo", .on_call = echo},
    {.path = "/f.F/Keep", .on_call = keep, .on_cancel = cancelled},
    {.path = "/f.F/Both",
     .client_stream = true,
     .server_stream = true,
     .on_call = keep,
     .on_message = stream_message,
     .on_half_close = half_close,
     .on_cancel = cancelled,
     .on_drain = drained},
    {.path = "/f.F/Download", .server_stream = true, .on_call = download},
    {.path = "/f.F/Pieces", .on_call = pieces},
};

static void observe_started(void *context, const struct grpc_call *call) { ((struct world *)context)->started++; }
static void observe_finished(void *context, const struct grpc_call *call, int code) {
    CHECK(code >= 0 && code <= 16);
    ((struct world *)context)->finished++;
}
static enum err admit(void *context, struct grpc_call *call) {
    return grpc_call_metadata(call, "refuse").data != NULL ? ERR_PERMISSION_DENIED : OK;
}

/* ---- the connection ---- */

static void on_request(void *context, struct http_request *request) {
    grpc_server_handle(((struct world *)context)->grpc, request);
}
static void want_flush(struct http_conn_owner *owner) {}

static void flush(struct world *self) {
    if (self->conn == NULL || self->is_paused) return;
    while (http_conn_produce(self->conn, &self->output, OUTPUT_STEP_BYTES)) buf_clear(&self->output);
    buf_clear(&self->output);
    if (!http_conn_is_finished(self->conn)) return;
    http_conn_free(self->conn);
    self->conn = NULL;
}

static void deliver(void *context, struct slice bytes) {
    struct world *self = context;
    if (self->conn == NULL || !http_conn_wants_read(self->conn)) return;
    http_conn_receive(self->conn, bytes);
    flush(self);
}

static void pass(void *context, int64_t duration_ns) {
    struct world *self = context;
    fake_env_advance(&self->env, duration_ns);
    flush(self);
}

static void other(void *context, uint8_t choice) {
    struct world *self = context;
    if (choice < 200 && self->open.count != 0) {
        struct grpc_call *call = self->open.items[choice % self->open.count];
        if (choice & 1) {
            forget(self, call);
            grpc_call_fail(call, ERR_NO_LEADER);
        } else if (grpc_call_method(call)->server_stream && grpc_call_queued_bytes(call) < 1000000) {
            grpc_call_send(call, SLICE_LITERAL("news"));
        } else {
            forget(self, call);
            CHECK(grpc_call_conn_queued_bytes(call) >= grpc_call_queued_bytes(call));
            *grpc_call_reserve(call, 1) = 7;
            grpc_call_reply_reserved(call);
        }
    }
    if (choice == 200) grpc_server_cancel_all(self->grpc, ERR_STOPPED);
    if (choice == 201 || choice == 202) self->is_paused = choice == 201;
    if (choice == 203) {
        http_conn_free(self->conn);
        self->conn = NULL;
    }
    flush(self);
}

static void open_world(struct world *self) {
    *self = (struct world){.owner = {want_flush}};
    fake_env_init(&self->env);
    struct grpc_server_options options = {
        .env = &self->env.env,
        .receive_max_bytes = RECEIVE_MAX_BYTES,
        .observer = {.started = observe_started, .finished = observe_finished, .context = self},
        .admit = admit};
    self->grpc = grpc_server_new(&options);
    grpc_server_add(self->grpc, methods, sizeof methods / sizeof *methods, self);
    struct http_server_options http_options = {.env = &self->env.env, .on_request = on_request, .context = self};
    self->http = http_server_new(&http_options);
    struct http_conn_info info = {.peer = "127.0.0.1:1"};
    self->conn = http_conn_new(self->http, &self->owner, &info);
}

static void close_world(struct world *self) {
    self->is_paused = false;
    flush(self);
    http_conn_free(self->conn);
    while (self->open.count != 0) {
        struct grpc_call *call = self->open.items[0];
        forget(self, call);
        grpc_call_fail(call, ERR_STOPPED);
    }
    CHECK(grpc_server_open_calls(self->grpc) == 0);
    CHECK(self->started == self->finished);
    VEC_RELEASE(&self->open);
    buf_release(&self->output);
    http_server_free(self->http);
    grpc_server_free(self->grpc);
    CHECK(fake_env_release(&self->env));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    struct world world;
    struct fuzz_wire wire = {.deliver = deliver,
                             .pass = pass,
                             .other = other,
                             .context = &world,
                             .paths = paths,
                             .path_count = sizeof paths / sizeof *paths};
    wire.cuts = fuzz_cuts_make(fuzz_byte(&input));
    size_t before_bytes = fuzz_live_bytes();
    open_world(&world);
    fuzz_begin_client(&wire);
    fuzz_play(&wire, &input);
    CHECK(fuzz_live_bytes() <= before_bytes + BASE_BYTES + FACTOR * size);
    close_world(&world);
    return 0;
}
