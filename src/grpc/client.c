/* client.c - gRPC calls on an HTTP/2 client connection. */
#include "grpc/client.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define PREFIX_BYTES 5
#define CALL_ARENA_BYTES 1000
#define CALL_POOL_MAX 1024
#define FIXED_HEADERS 7
#define NS_PER_SECOND INT64_C(1000000000)

struct grpc_client {
    struct grpc_client_options options;
    struct http_client *http;
    char *authority;
    char *user_agent;
    struct list calls;
    struct list pool;
    size_t call_count;
    size_t pool_count;
};

struct grpc_client_call {
    struct grpc_client *client;
    struct http_exchange *exchange;
    const struct grpc_client_handler *handler;
    void *context;
    struct list link;
    struct arena arena; /* metadata and status text */
    struct env_timer deadline;
    struct buf partial; /* a message that is cut */
    struct buf held;    /* data while paused */
    uint8_t prefix[PREFIX_BYTES];
    uint8_t prefix_len;
    size_t message_bytes;
    int http_status;
    int code; /* -1: not known yet */
    struct slice text;
    bool is_from_server;
    bool is_paused;
    bool is_delivering;
    bool is_closed; /* the exchange is gone; on_status waits for held messages */
    struct grpc_status final;
};

/* ---- pool ---- */

static struct grpc_client_call *call_new(struct grpc_client *client) {
    struct grpc_client_call *self;
    struct arena arena;
    if (list_is_empty(&client->pool)) {
        self = mem_alloc(sizeof *self);
        arena_init(&arena, CALL_ARENA_BYTES);
    } else {
        self = CONTAINER_OF(client->pool.next, struct grpc_client_call, link);
        list_remove(&self->link);
        client->pool_count--;
        arena = self->arena;
    }
    memset(self, 0, sizeof *self);
    self->arena = arena;
    self->client = client;
    self->code = -1;
    list_push_back(&client->calls, &self->link);
    client->call_count++;
    return self;
}

static void call_free(struct grpc_client_call *self) {
    struct grpc_client *client = self->client;
    env_timer_stop(client->options.env, &self->deadline);
    buf_release(&self->partial);
    buf_release(&self->held);
    list_remove(&self->link);
    client->call_count--;
    if (client->pool_count >= CALL_POOL_MAX) {
        arena_release(&self->arena);
        mem_free(self);
        return;
    }
    arena_reset(&self->arena);
    list_push_front(&client->pool, &self->link);
    client->pool_count++;
}

/* ---- the end of a call ---- */

static void report(struct grpc_client_call *self) {
    self->handler->on_status(self->context, &self->final);
    call_free(self);
}

static void set_final(struct grpc_client_call *self, int code, struct slice text, bool was_sent, bool from_server) {
    self->final = (struct grpc_status){
        .code = code,
        .text = text,
        .error = code == GRPC_OK ? OK : grpc_status_error(code, text),
        .was_sent = was_sent,
        .from_server = from_server,
    };
}

static void set_made_up(struct grpc_client_call *self, int code, const char *text, bool was_sent) {
    set_final(self, code, slice_from_cstr(text), was_sent, false);
}

/* The gRPC-over-HTTP/2 description's table of RST_STREAM codes. */
static int code_from_reset(uint32_t h2_error_code) {
    switch (h2_error_code) {
    case 3: /* FLOW_CONTROL_ERROR */
    case 11: /* ENHANCE_YOUR_CALM */ return GRPC_RESOURCE_EXHAUSTED;
    case 7: /* REFUSED_STREAM */ return GRPC_UNAVAILABLE;
    case 8: /* CANCEL */ return GRPC_CANCELLED;
    case 12: /* INADEQUATE_SECURITY */ return GRPC_PERMISSION_DENIED;
    default: return GRPC_INTERNAL;
    }
}

static void set_final_done(struct grpc_client_call *self) {
    if (self->code >= 0) {
        set_final(self, self->code, self->text, true, true);
    } else if (self->http_status != 200) {
        set_made_up(
            self, grpc_code_from_http(self->http_status),
            arena_printf(&self->arena, "unexpected HTTP status code received from server: %d", self->http_status),
            true);
    } else {
        set_made_up(self, GRPC_INTERNAL, "server closed the stream without sending trailers", true);
    }
}

static void on_close(void *context, enum http_close why, uint32_t h2_error_code) {
    struct grpc_client_call *self = context;
    self->exchange = NULL;
    switch (why) {
    case HTTP_CLOSE_DONE: set_final_done(self); break;
    case HTTP_CLOSE_RESET:
        set_made_up(self, code_from_reset(h2_error_code),
                    arena_printf(&self->arena, "stream terminated by RST_STREAM with error code: %u", h2_error_code),
                    true);
        break;
    case HTTP_CLOSE_REFUSED: set_made_up(self, GRPC_UNAVAILABLE, err_text(ERR_UNAVAILABLE), false); break;
    case HTTP_CLOSE_CANCELLED:
        if (self->code >= 0) /* for a reason of our own */
            set_final(self, self->code, self->text, true, false);
        else
            set_made_up(self, GRPC_CANCELLED, "context canceled", true);
        break;
    case HTTP_CLOSE_LOST: set_made_up(self, GRPC_UNAVAILABLE, err_text(ERR_UNAVAILABLE), true); break;
    }
    self->is_closed = true;
    if (!self->is_paused || self->held.len == 0) report(self);
}

/* Ends the call for a reason found here. */
static void give_up(struct grpc_client_call *self, int code, const char *text) {
    self->code = code;
    self->text = arena_copy(&self->arena, slice_from_cstr(text));
    http_exchange_cancel(self->exchange);
}

static void on_deadline(struct env_timer *timer) {
    struct grpc_client_call *self = timer->context;
    if (self->exchange != NULL) http_exchange_abandon(TAKE(self->exchange));
    if (!self->is_closed) set_made_up(self, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded", true);
    report(self);
}

/* ---- receiving ---- */

static bool name_is(const struct http_header *header, const char *name) {
    return slice_equal(header->name, slice_from_cstr(name));
}

static int parse_code(struct slice value) {
    int code = 0;
    if (value.len == 0 || value.len > 9) return GRPC_UNKNOWN;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') return GRPC_UNKNOWN;
        code = code * 10 + (value.data[i] - '0');
    }
    return code;
}

static void on_headers(void *context, int status, const struct http_header *headers, size_t count) {
    struct grpc_client_call *self = context;
    bool has_status = false;
    if (status != 0) self->http_status = status;
    for (size_t i = 0; i < count; i++) {
        if (name_is(&headers[i], "grpc-status")) {
            self->code = parse_code(headers[i].value);
            has_status = true;
        } else if (name_is(&headers[i], "grpc-message")) {
            self->text = grpc_message_decode(&self->arena, arena_copy(&self->arena, headers[i].value));
        }
    }
    if (!has_status && status == 200 && self->handler->on_headers != NULL)
        self->handler->on_headers(self->context, headers, count);
}

static bool begin_message(struct grpc_client_call *self) {
    self->message_bytes = load_u32be(self->prefix + 1);
    size_t limit_bytes = self->client->options.receive_max_bytes;
    char text[96];
    if (self->prefix[0] != 0) {
        give_up(self, GRPC_INTERNAL, "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    if (limit_bytes == 0 || self->message_bytes <= limit_bytes) return true;
    snprintf(text, sizeof text, "grpc: received message larger than max (%zu vs. %zu)", self->message_bytes,
             limit_bytes);
    give_up(self, GRPC_RESOURCE_EXHAUSTED, text);
    return false;
}

/* One step; returns the bytes used. */
static size_t take(struct grpc_client_call *self, struct slice bytes) {
    size_t used = 0;
    if (self->prefix_len < PREFIX_BYTES) {
        size_t missing = (size_t)(PREFIX_BYTES - self->prefix_len);
        used = bytes.len < missing ? bytes.len : missing;
        memcpy(self->prefix + self->prefix_len, bytes.data, used);
        self->prefix_len = (uint8_t)(self->prefix_len + used);
        if (self->prefix_len < PREFIX_BYTES || !begin_message(self)) return bytes.len;
        bytes = slice_from(bytes, used);
    }
    size_t missing = self->message_bytes - self->partial.len;
    if (bytes.len < missing) {
        buf_append_slice(&self->partial, bytes);
        return used + bytes.len;
    }
    self->prefix_len = 0;
    if (self->partial.len == 0) {
        self->handler->on_message(self->context, slice_make(bytes.data, missing));
    } else {
        buf_append(&self->partial, bytes.data, missing);
        self->handler->on_message(self->context, buf_slice(&self->partial));
        buf_clear(&self->partial);
    }
    return used + missing;
}

static bool is_given_up(const struct grpc_client_call *self) { return self->code >= 0 && !self->is_closed; }

static void take_all(struct grpc_client_call *self, struct slice bytes) {
    size_t from = 0;
    self->is_delivering = true;
    while (from < bytes.len && !is_given_up(self)) {
        if (self->is_paused) {
            buf_append_slice(&self->held, slice_from(bytes, from));
            break;
        }
        from += take(self, slice_from(bytes, from));
    }
    self->is_delivering = false;
}

static void on_data(void *context, struct slice bytes) {
    struct grpc_client_call *self = context;
    if (self->is_paused)
        buf_append_slice(&self->held, bytes);
    else
        take_all(self, bytes);
}

void grpc_client_call_pause(struct grpc_client_call *self, bool paused) {
    self->is_paused = paused;
    if (self->exchange != NULL) http_exchange_pause(self->exchange, paused);
    if (paused || self->is_delivering || (self->held.len == 0 && !self->is_closed)) return;
    struct buf held = self->held;
    self->held = BUF_INIT;
    take_all(self, buf_slice(&held));
    buf_release(&held);
    if (self->is_closed && !self->is_paused) report(self);
}

static void on_writable(void *context) {
    struct grpc_client_call *self = context;
    if (self->handler->on_writable != NULL) self->handler->on_writable(self->context);
}

static const struct http_exchange_handler exchange_handler = {on_headers, on_data, on_close, on_writable};

/* ---- starting ---- */

/* grpc-timeout has at most 8 digits: the finest unit that fits. */
static struct slice timeout_text(struct arena *arena, int64_t timeout_ns) {
    static const struct {
        int64_t ns;
        char letter;
    } units[] = {{1, 'n'},
                 {1000, 'u'},
                 {1000000, 'm'},
                 {NS_PER_SECOND, 'S'},
                 {60 * NS_PER_SECOND, 'M'},
                 {3600 * NS_PER_SECOND, 'H'}};
    size_t i = 0;
    while (i + 1 < sizeof units / sizeof *units && timeout_ns / units[i].ns > 99999999) i++;
    int64_t count = timeout_ns / units[i].ns + (timeout_ns % units[i].ns != 0);
    return slice_from_cstr(arena_printf(arena, "%lld%c", (long long)count, units[i].letter));
}

static size_t make_headers(struct grpc_client_call *self, const struct grpc_client_call_options *options,
                           struct http_header **ret_headers) {
    const struct grpc_client *client = self->client;
    struct arena *arena = &self->arena;
    struct http_header *headers = arena_alloc(arena, (FIXED_HEADERS + 1 + options->metadata_count) * sizeof *headers);
    size_t count = 0;
    headers[count++] = (struct http_header){SLICE_LITERAL(":method"), SLICE_LITERAL("POST")};
    headers[count++] = (struct http_header){SLICE_LITERAL(":scheme"),
                                            client->options.is_tls ? SLICE_LITERAL("https") : SLICE_LITERAL("http")};
    headers[count++] = (struct http_header){SLICE_LITERAL(":path"), slice_from_cstr(options->path)};
    headers[count++] = (struct http_header){SLICE_LITERAL(":authority"), slice_from_cstr(client->authority)};
    headers[count++] = (struct http_header){SLICE_LITERAL("content-type"), SLICE_LITERAL("application/grpc")};
    headers[count++] = (struct http_header){SLICE_LITERAL("user-agent"), slice_from_cstr(client->user_agent)};
    headers[count++] = (struct http_header){SLICE_LITERAL("te"), SLICE_LITERAL("trailers")};
    if (options->timeout_ns > 0)
        headers[count++] =
            (struct http_header){SLICE_LITERAL("grpc-timeout"), timeout_text(arena, options->timeout_ns)};
    for (size_t i = 0; i < options->metadata_count; i++)
        headers[count++] = (struct http_header){arena_copy(arena, options->metadata[i].name),
                                                arena_copy(arena, options->metadata[i].value)};
    *ret_headers = headers;
    return count;
}

struct grpc_client_call *grpc_client_start(struct grpc_client *self, const struct grpc_client_call_options *options) {
    if (http_client_is_draining(self->http)) return NULL;
    struct grpc_client_call *call = call_new(self);
    call->handler = options->handler;
    call->context = options->context;
    struct http_header *headers;
    size_t count = make_headers(call, options, &headers);
    call->exchange = http_client_start(self->http, headers, count, false, &exchange_handler, call);
    if (call->exchange == NULL) {
        call_free(call);
        return NULL;
    }
    call->deadline.callback = on_deadline;
    call->deadline.context = call;
    if (options->timeout_ns > 0) env_timer_start(self->options.env, &call->deadline, options->timeout_ns);
    return call;
}

static void send(struct grpc_client_call *self, struct slice message, bool end) {
    CHECK(message.len <= UINT32_MAX);
    uint8_t *room = http_exchange_reserve(self->exchange, PREFIX_BYTES + message.len);
    room[0] = 0;
    store_u32be(room + 1, (uint32_t)message.len);
    if (message.len != 0) memcpy(room + PREFIX_BYTES, message.data, message.len);
    http_exchange_write_reserved(self->exchange, end);
}

struct grpc_client_call *grpc_client_unary(struct grpc_client *self, const struct grpc_client_call_options *options,
                                           struct slice message) {
    struct grpc_client_call *call = grpc_client_start(self, options);
    if (call != NULL) send(call, message, true);
    return call;
}

void grpc_client_call_send(struct grpc_client_call *self, struct slice message) {
    if (self->exchange != NULL) send(self, message, false);
}

void grpc_client_call_half_close(struct grpc_client_call *self) {
    if (self->exchange != NULL) http_exchange_write(self->exchange, SLICE_NONE, true);
}

void grpc_client_call_cancel(struct grpc_client_call *self) {
    if (self->exchange != NULL) http_exchange_cancel(self->exchange);
}

size_t grpc_client_call_queued_bytes(const struct grpc_client_call *self) {
    return self->exchange != NULL ? http_exchange_queued_bytes(self->exchange) : 0;
}

/* ---- the connection ---- */

struct grpc_client *grpc_client_new(const struct grpc_client_options *options, struct http_client_owner *owner) {
    struct grpc_client *self = NEW(struct grpc_client);
    self->options = *options;
    self->authority = mem_strdup(options->authority);
    self->user_agent = mem_strdup(options->user_agent != NULL ? options->user_agent : "etcd-c");
    list_init(&self->calls);
    list_init(&self->pool);
    struct http_client_options http_options = {
        .env = options->env,
        .keepalive_interval_ns = options->keepalive_interval_ns,
        .keepalive_timeout_ns = options->keepalive_timeout_ns,
        .keepalive_without_streams = options->keepalive_without_streams,
        .stream_window_bytes = options->stream_window_bytes,
    };
    self->http = http_client_new(&http_options, owner);
    return self;
}

void grpc_client_free(struct grpc_client *self) {
    if (self == NULL) return;
    http_client_free(self->http);
    while (!list_is_empty(&self->calls)) /* paused ones whose exchange had ended */
        report(CONTAINER_OF(self->calls.next, struct grpc_client_call, link));
    while (!list_is_empty(&self->pool)) {
        struct grpc_client_call *call = CONTAINER_OF(self->pool.next, struct grpc_client_call, link);
        list_remove(&call->link);
        arena_release(&call->arena);
        mem_free(call);
    }
    mem_free(self->authority);
    mem_free(self->user_agent);
    mem_free(self);
}

struct http_client *grpc_client_http(struct grpc_client *self) {
    return self->http;
}

void grpc_client_receive(struct grpc_client *self, struct slice bytes) { http_client_receive(self->http, bytes); }

bool grpc_client_produce(struct grpc_client *self, struct buf *output, size_t budget_bytes) {
    return http_client_produce(self->http, output, budget_bytes);
}

size_t grpc_client_open_calls(const struct grpc_client *self) { return self->call_count; }
