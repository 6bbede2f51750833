/* client.c - HTTP/2 on the client side, by nghttp2.
 *
 * An exchange lives until nghttp2 closes its stream, or the connection goes. Requests are submitted at once and leave
 * with the next produce, with whatever body was queued until then.
 */
#include "http/client.h"

#include "http/internal.h"

#include <stdlib.h>

#define FRAME_HEAD_BYTES 9
#define DEFAULT_STREAM_WINDOW (1024 * 1024)
#define DEFAULT_CONN_WINDOW (16 * 1024 * 1024)
#define EXCHANGE_ARENA_BYTES 1000
#define EXCHANGE_POOL_MAX 1024
#define GOAWAY_TEXT_MAX 128

static const uint8_t keepalive_opaque[8] = "etcdping";

struct http_exchange {
    struct http_client *client;
    const struct http_exchange_handler *handler; /* NULL: abandoned */
    void *context;
    struct list link; /* in client->exchanges or its pool */
    struct http__queue queue;
    struct arena arena; /* of the header block that is being read */
    struct http_header *headers;
    uint8_t *reserved;
    size_t reserved_bytes;
    size_t unreturned_bytes;
    uint32_t header_count;
    uint32_t header_capacity;
    uint32_t header_bytes;
    int32_t id;
    int status;
    bool has_ended; /* our side */
    bool is_deferred;
    bool is_answered; /* END_STREAM has come */
    bool is_cancelled;
    bool is_paused;
    bool is_above_low_water;
};

struct http_client {
    struct http_client_options options;
    struct http_client_owner *owner;
    nghttp2_session *session;
    struct list exchanges;
    struct list pool;
    size_t exchange_count;
    size_t pool_count;
    size_t unreturned_bytes;
    struct buf *output; /* during produce */
    size_t output_end;  /* its length at which produce stops */
    struct env_timer timer;
    int64_t last_read_ns;
    char goaway_text[GOAWAY_TEXT_MAX];
    bool is_pinged;
    bool is_ready;
    bool is_draining;
    bool is_finished;
    bool is_flush_wanted;
    bool is_producing;
};

static void want_flush(struct http_client *self) {
    if (self->is_flush_wanted || self->is_producing) return;
    self->is_flush_wanted = true;
    self->owner->want_flush(self->owner);
}

/* ---- exchanges ---- */

static struct http_exchange *exchange_new(struct http_client *client) {
    struct http_exchange *self;
    struct arena arena;
    if (list_is_empty(&client->pool)) {
        self = mem_alloc(sizeof *self);
        arena_init(&arena, EXCHANGE_ARENA_BYTES);
    } else {
        self = CONTAINER_OF(client->pool.next, struct http_exchange, link);
        list_remove(&self->link);
        client->pool_count--;
        arena = self->arena;
    }
    memset(self, 0, sizeof *self);
    self->arena = arena;
    self->client = client;
    http__queue_init(&self->queue);
    list_push_back(&client->exchanges, &self->link);
    client->exchange_count++;
    return self;
}

static void exchange_free(struct http_exchange *self) {
    struct http_client *client = self->client;
    struct http__cost uncounted = {0};
    http__queue_release(&self->queue, &uncounted);
    mem_free(self->reserved);
    list_remove(&self->link);
    client->exchange_count--;
    if (client->pool_count >= EXCHANGE_POOL_MAX) {
        arena_release(&self->arena);
        mem_free(self);
        return;
    }
    arena_reset(&self->arena);
    list_push_front(&client->pool, &self->link);
    client->pool_count++;
}

static void exchange_close(struct http_exchange *self, enum http_close why, uint32_t h2_error_code) {
    if (self->is_cancelled) why = HTTP_CLOSE_CANCELLED;
    if (self->handler != NULL) self->handler->on_close(self->context, why, h2_error_code);
    exchange_free(self);
}

/* ---- sending ---- */

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *bytes, size_t limit_bytes,
                         uint32_t *data_flags, nghttp2_data_source *source, void *context) {
    struct http_exchange *exchange = source->ptr;
    size_t size_bytes = exchange->queue.size_bytes < limit_bytes ? exchange->queue.size_bytes : limit_bytes;
    bool is_last = exchange->has_ended && size_bytes == exchange->queue.size_bytes;
    if (size_bytes == 0 && !is_last) {
        exchange->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (is_last) *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size_bytes;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head, size_t len,
                     nghttp2_data_source *source, void *context) {
    struct http_client *self = context;
    struct http_exchange *exchange = source->ptr;
    buf_append(self->output, frame_head, FRAME_HEAD_BYTES);
    struct http__cost uncounted = {0};
    http__queue_take(&exchange->queue, len, self->output, &uncounted);
    if (exchange->is_above_low_water && exchange->queue.size_bytes < HTTP_REPLY_LOW_WATER) {
        exchange->is_above_low_water = false;
        if (exchange->handler != NULL && exchange->handler->on_writable != NULL)
            exchange->handler->on_writable(exchange->context);
    }
    return self->output->len >= self->output_end ? NGHTTP2_ERR_PAUSE : 0; /* else nghttp2 goes on by itself */
}

struct http_exchange *http_client_start(struct http_client *self, const struct http_header *headers, size_t count,
                                        bool end, const struct http_exchange_handler *handler, void *context) {
    if (self->is_draining || self->is_finished) return NULL;
    struct http_exchange *exchange = exchange_new(self);
    nghttp2_nv *lines = arena_alloc(&exchange->arena, count * sizeof *lines);
    for (size_t i = 0; i < count; i++)
        lines[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)headers[i].name.data, (uint8_t *)(uintptr_t)headers[i].value.data,
                                headers[i].name.len, headers[i].value.len,
                                NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    nghttp2_data_provider provider = {{.ptr = exchange}, read_body};
    exchange->has_ended = end;
    exchange->id = nghttp2_submit_request(self->session, NULL, lines, count, end ? NULL : &provider, exchange);
    if (exchange->id < 0) { /* stream ids are used up */
        exchange_free(exchange);
        self->is_draining = true;
        return NULL;
    }
    exchange->handler = handler;
    exchange->context = context;
    want_flush(self);
    return exchange;
}

static void queue_body(struct http_exchange *self, struct http_piece piece, bool end) {
    CHECK(!self->has_ended);
    struct http__cost uncounted = {0};
    http__queue_push(&self->queue, piece, &uncounted);
    self->has_ended = end;
    if (self->queue.size_bytes >= HTTP_REPLY_LOW_WATER) self->is_above_low_water = true;
    if (self->is_deferred) {
        self->is_deferred = false;
        nghttp2_session_resume_data(self->client->session, self->id);
    }
    want_flush(self->client);
}

void http_exchange_write(struct http_exchange *self, struct slice bytes, bool end) {
    queue_body(self, http__piece_copy(bytes), end);
}

uint8_t *http_exchange_reserve(struct http_exchange *self, size_t size_bytes) {
    CHECK(self->reserved == NULL);
    self->reserved = mem_alloc(size_bytes);
    self->reserved_bytes = size_bytes;
    return self->reserved;
}

void http_exchange_write_reserved(struct http_exchange *self, bool end) {
    CHECK(self->reserved != NULL);
    uint8_t *room = TAKE(self->reserved);
    queue_body(self, (struct http_piece){slice_make(room, self->reserved_bytes), mem_free, room}, end);
}

size_t http_exchange_queued_bytes(const struct http_exchange *self) { return self->queue.size_bytes; }

void http_exchange_cancel(struct http_exchange *self) {
    if (self->is_cancelled) return;
    self->is_cancelled = true;
    nghttp2_submit_rst_stream(self->client->session, NGHTTP2_FLAG_NONE, self->id, NGHTTP2_CANCEL);
    want_flush(self->client);
}

void http_exchange_abandon(struct http_exchange *self) {
    self->handler = NULL;
    http_exchange_cancel(self);
}

/* ---- receiving ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (exchange == NULL) return 0;
    exchange->header_count = exchange->header_capacity = exchange->header_bytes = 0;
    exchange->status = 0;
    return 0;
}

static bool add_header(struct http_exchange *self, struct slice name, struct slice value) {
    self->header_bytes += (uint32_t)(name.len + value.len + 32);
    if (self->header_bytes > HTTP_CLIENT_HEADER_LIST_MAX) return false;
    if (self->header_count == self->header_capacity) {
        uint32_t capacity = self->header_capacity ? self->header_capacity * 2 : 4;
        struct http_header *bigger = arena_alloc(&self->arena, capacity * sizeof *bigger);
        if (self->header_count != 0) memcpy(bigger, self->headers, self->header_count * sizeof *bigger);
        self->headers = bigger;
        self->header_capacity = capacity;
    }
    self->headers[self->header_count++] =
        (struct http_header){arena_copy(&self->arena, name), arena_copy(&self->arena, value)};
    return true;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *context) {
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (exchange == NULL || exchange->is_cancelled) return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        exchange->status = (int)strtol((const char *)value, NULL, 10);
        return 0;
    }
    return add_header(exchange, slice_make(name, name_len), slice_make(value, value_len))
               ? 0
               : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void goaway_received(struct http_client *self, const nghttp2_goaway *goaway) {
    size_t len = goaway->opaque_data_len < GOAWAY_TEXT_MAX - 1 ? goaway->opaque_data_len : GOAWAY_TEXT_MAX - 1;
    if (len != 0) memcpy(self->goaway_text, goaway->opaque_data, len);
    self->goaway_text[len] = 0;
    self->is_draining = true;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    struct http_client *self = context;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
        struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (exchange == NULL) return 0;
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) exchange->is_answered = true;
        bool is_interim = exchange->status >= 100 && exchange->status < 200;
        if (frame->hd.type == NGHTTP2_HEADERS && !is_interim && !exchange->is_cancelled)
            exchange->handler->on_headers(exchange->context, exchange->status, exchange->headers,
                                          exchange->header_count);
        return 0;
    }
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) self->is_ready = true;
        return 0;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK) self->is_pinged = false;
        return 0;
    case NGHTTP2_GOAWAY: goaway_received(self, &frame->goaway); return 0;
    default: return 0;
    }
}

static void return_stream_window(struct http_exchange *self) {
    if (self->is_paused || self->unreturned_bytes == 0) return;
    if (self->unreturned_bytes < self->client->options.stream_window_bytes / 4) return;
    nghttp2_session_consume_stream(self->client->session, self->id, self->unreturned_bytes);
    self->unreturned_bytes = 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
                   void *context) {
    struct http_client *self = context;
    self->unreturned_bytes += len;
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);
    if (exchange == NULL || exchange->is_cancelled) return 0;
    exchange->unreturned_bytes += len;
    return_stream_window(exchange);
    exchange->handler->on_data(exchange->context, slice_make(data, len));
    return 0;
}

void http_exchange_pause(struct http_exchange *self, bool paused) {
    self->is_paused = paused;
    return_stream_window(self);
    if (nghttp2_session_want_write(self->client->session)) want_flush(self->client);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *context) {
    struct http_exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);
    if (exchange == NULL) return 0;
    enum http_close why = exchange->is_answered                  ? HTTP_CLOSE_DONE
                          : error_code == NGHTTP2_REFUSED_STREAM ? HTTP_CLOSE_REFUSED
                                                                 : HTTP_CLOSE_RESET;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    exchange_close(exchange, why, error_code);
    return 0;
}

/* ---- keepalive ---- */

static void on_timer(struct env_timer *timer) {
    struct http_client *self = timer->context;
    const struct http_client_options *options = &self->options;
    int64_t silent_ns = env_now_ns(options->env) - self->last_read_ns;
    int64_t interval_ns = options->keepalive_interval_ns;
    if (self->is_finished) return;
    if (silent_ns < interval_ns) {
        self->is_pinged = false;
        env_timer_start(options->env, timer, interval_ns - silent_ns);
    } else if (self->is_pinged) {
        self->is_finished = true;
        want_flush(self);
    } else if (self->exchange_count == 0 && !options->keepalive_without_streams) {
        env_timer_start(options->env, timer, interval_ns);
    } else {
        self->is_pinged = true;
        nghttp2_submit_ping(self->session, NGHTTP2_FLAG_NONE, keepalive_opaque);
        env_timer_start(options->env, timer, options->keepalive_timeout_ns);
        want_flush(self);
    }
}

/* ---- the connection ---- */

static nghttp2_session *session_new(struct http_client *self) {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_option_set_no_auto_window_update(option, 1);
    /* grpc-go sends "unknown service " with nothing behind the blank. */
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
    nghttp2_session *session;
    CHECK(nghttp2_session_client_new2(&session, callbacks, self, option) == 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, self->options.stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_CLIENT_HEADER_LIST_MAX},
    };
    CHECK(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 3) == 0);
    CHECK(nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                                (int32_t)self->options.conn_window_bytes) == 0);
    return session;
}

struct http_client *http_client_new(const struct http_client_options *options, struct http_client_owner *owner) {
    struct http_client *self = NEW(struct http_client);
    self->options = *options;
    if (self->options.stream_window_bytes == 0) self->options.stream_window_bytes = DEFAULT_STREAM_WINDOW;
    if (self->options.conn_window_bytes == 0) self->options.conn_window_bytes = DEFAULT_CONN_WINDOW;
    self->owner = owner;
    list_init(&self->exchanges);
    list_init(&self->pool);
    self->session = session_new(self);
    self->timer.callback = on_timer;
    self->timer.context = self;
    self->last_read_ns = env_now_ns(options->env);
    if (options->keepalive_interval_ns > 0 && options->keepalive_timeout_ns > 0)
        env_timer_start(options->env, &self->timer, options->keepalive_interval_ns);
    return self;
}

void http_client_free(struct http_client *self) {
    if (self == NULL) return;
    self->is_finished = self->is_draining = self->is_flush_wanted = true;
    env_timer_stop(self->options.env, &self->timer);
    while (!list_is_empty(&self->exchanges)) {
        struct http_exchange *exchange = CONTAINER_OF(self->exchanges.next, struct http_exchange, link);
        /* nghttp2 makes the stream when the request is produced. */
        bool has_left = nghttp2_session_find_stream(self->session, exchange->id) != NULL;
        exchange_close(exchange, has_left ? HTTP_CLOSE_LOST : HTTP_CLOSE_REFUSED, 0);
    }
    while (!list_is_empty(&self->pool)) {
        struct http_exchange *exchange = CONTAINER_OF(self->pool.next, struct http_exchange, link);
        list_remove(&exchange->link);
        arena_release(&exchange->arena);
        mem_free(exchange);
    }
    nghttp2_session_del(self->session);
    mem_free(self);
}

void http_client_receive(struct http_client *self, struct slice bytes) {
    if (self->is_finished) return;
    if (self->options.keepalive_interval_ns > 0) self->last_read_ns = env_now_ns(self->options.env);
    if (nghttp2_session_mem_recv(self->session, bytes.data, bytes.len) < 0)
        self->is_finished = self->is_draining = true;
    if (self->unreturned_bytes != 0) {
        nghttp2_session_consume_connection(self->session, self->unreturned_bytes);
        self->unreturned_bytes = 0;
    }
    if (self->is_finished || self->is_draining || nghttp2_session_want_write(self->session)) want_flush(self);
}

bool http_client_produce(struct http_client *self, struct buf *output, size_t budget_bytes) {
    self->is_flush_wanted = false;
    self->is_producing = true;
    self->output = output;
    self->output_end = output->len + budget_bytes;
    while (output->len < self->output_end) {
        const uint8_t *bytes;
        ssize_t len = nghttp2_session_mem_send(self->session, &bytes);
        if (len < 0) self->is_finished = true;
        if (len <= 0) break;
        buf_append(output, bytes, (size_t)len);
    }
    self->output = NULL;
    self->is_producing = false;
    bool is_cut = output->len >= self->output_end;
    bool is_dead = !nghttp2_session_want_read(self->session) && !nghttp2_session_want_write(self->session);
    if (!is_cut && (is_dead || (self->is_draining && self->exchange_count == 0)))
        self->is_finished = self->is_draining = true;
    return is_cut;
}

bool http_client_is_finished(const struct http_client *self) { return self->is_finished; }
bool http_client_is_draining(const struct http_client *self) { return self->is_draining; }
bool http_client_is_ready(const struct http_client *self) { return self->is_ready; }
const char *http_client_goaway_text(const struct http_client *self) { return self->goaway_text; }
size_t http_client_open_exchanges(const struct http_client *self) { return self->exchange_count; }
