/* h1.c - HTTP/1.1 and 1.0 on the server side; headers and bodies are read by http-parser.
 *
 *     LINE --request line--> HEAD --headers--> BODY --body--> DONE --reply is out--> LINE
 *        \                     \                 \
 *         closed in silence     400, 431, 501     400          (then FAILED: nothing more is read)
 *
 * One request at a time: bytes of later ones wait in `pending` (at most HTTP1_PIPELINE_MAX and one read).
 * http-parser knows only registered upper-case methods, Go's server takes any token: so the request line is read here
 * and the parser gets a made-up one with the same version. What etcd's connection sorter does not take for HTTP/1 (no
 * "METHOD TARGET HTTP/1.x" line) is closed without an answer.
 */
#include "http/h1.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <strings.h>

/* A body left unread when the reply is out is read and dropped up to here, else the connection is closed. */
#define DRAIN_MAX (256 * 1024)
#define CHUNK_MAX (64 * 1024)

/* ---- answers that no handler makes ---- */

static void fail(struct http1 *self, const char *status_line, const char *body) {
    if (self->state == H1_FAILED) return;
    self->state = H1_FAILED;
    self->conn->is_broken = true;
    if (status_line != NULL && (self->stream == NULL || !self->stream->is_submitted)) {
        buf_printf(&self->interim,
                   "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n", status_line);
        buf_append_cstr(&self->interim, body != NULL ? body : status_line);
    }
    if (self->stream != NULL) {
        struct http_stream *stream = TAKE(self->stream);
        http__stream_detach(stream);
    }
    http__conn_want_flush(self->conn);
}

/* ---- request line ---- */

static bool is_token(struct slice text) {
    if (text.len == 0) return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == 0 || (!isalnum(text.data[i]) && strchr("!#$%&'*+-.^_`|~", text.data[i]) == NULL))
            return false;
    return true;
}

/* Every '%' of the path is followed by two hex digits. */
static bool escapes_are_good(struct slice target) {
    for (size_t i = 0; i < target.len && target.data[i] != '?'; i++) {
        if (target.data[i] != '%') continue;
        if (i + 2 >= target.len || !isxdigit(target.data[i + 1]) || !isxdigit(target.data[i + 2])) return false;
    }
    return true;
}

/* "http://host/path" -> path; the host takes the place of the Host header's. */
static void split_absolute(struct http_request *request) {
    struct slice target = request->target;
    size_t scheme = slice_starts_with(target, SLICE_LITERAL("http://"))    ? 7
                    : slice_starts_with(target, SLICE_LITERAL("https://")) ? 8
                                                                           : 0;
    if (scheme == 0) return;
    struct slice rest = slice_from(target, scheme);
    const uint8_t *slash = memchr(rest.data, '/', rest.len);
    size_t host_len = slash != NULL ? (size_t)(slash - rest.data) : rest.len;
    request->authority = slice_make(rest.data, host_len);
    request->target = slash != NULL ? slice_from(rest, host_len) : SLICE_LITERAL("/");
}

static bool parse_request_line(struct http1 *self, struct slice line) {
    if (line.len != 0 && line.data[line.len - 1] == '\r') line.len--;
    const uint8_t *first = memchr(line.data, ' ', line.len);
    if (first == NULL) return false;
    const uint8_t *end = line.data + line.len;
    const uint8_t *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL) return false;
    struct slice version = slice_make(second + 1, (size_t)(end - second - 1));
    if (version.len != 8 || memcmp(version.data, "HTTP/1.", 7) != 0 || !isdigit(version.data[7])) return false;
    struct http_stream *stream = http__stream_new(self->conn, 0);
    struct http_request *request = &stream->request;
    self->stream = stream;
    request->method = arena_copy(&request->arena, slice_make(line.data, (size_t)(first - line.data)));
    request->target = arena_copy(&request->arena, slice_make(first + 1, (size_t)(second - first - 1)));
    request->version_major = 1;
    request->version_minor = version.data[7] == '0' ? 0 : 1;
    self->is_line_bad = !is_token(request->method) || request->target.len == 0;
    split_absolute(request);
    if (!slice_equal_cstr(request->method, "CONNECT") &&
        !(request->target.len != 0 && (request->target.data[0] == '/' || slice_equal_cstr(request->target, "*"))))
        self->is_line_bad = true;
    if (!escapes_are_good(request->target)) self->is_line_bad = true;
    return true;
}

static void begin_request(struct http1 *self) {
    struct http_stream *stream = self->stream;
    self->state = H1_HEAD;
    self->is_value_open = false;
    self->body_bytes = 0;
    self->keep_alive = false;
    self->host_count = 0;
    self->has_foreign_encoding = self->expects_continue = self->has_other_expectation = false;
    buf_clear(&self->name);
    buf_clear(&self->value);
    http_parser_init(&self->parser, HTTP_REQUEST);
    self->parser.data = self;
    static const http_parser_settings no_callbacks;
    const char *line = stream->request.version_minor == 0 ? "POST / HTTP/1.0\r\n" : "POST / HTTP/1.1\r\n";
    http_parser_execute(&self->parser, &no_callbacks, line, strlen(line));
    http__conn_set_timer(self->conn, self->conn->server->options.header_timeout_ns);
}

/* ---- headers and body ---- */

static bool has_token(struct slice value, const char *token) {
    size_t len = strlen(token);
    for (size_t i = 0; i + len <= value.len; i++)
        if (strncasecmp((const char *)value.data + i, token, len) == 0) return true;
    return false;
}

static bool header_complete(struct http1 *self) {
    if (!self->is_value_open) return true;
    self->is_value_open = false;
    struct slice name = buf_slice(&self->name), value = buf_slice(&self->value);
    while (value.len != 0 && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t')) value.len--;
    for (size_t i = 0; i < name.len; i++) self->name.data[i] = (uint8_t)tolower(self->name.data[i]);
    if (slice_equal_cstr(name, "host")) {
        self->host_count++;
        if (self->stream->request.authority.data == NULL)
            self->stream->request.authority = arena_copy(&self->stream->request.arena, value);
    } else if (slice_equal_cstr(name, "transfer-encoding")) {
        if (value.len != 7 || !has_token(value, "chunked")) self->has_foreign_encoding = true;
    } else if (slice_equal_cstr(name, "expect")) {
        if (value.len == 12 && has_token(value, "100-continue"))
            self->expects_continue = true;
        else
            self->has_other_expectation = true;
    }
    bool fits = http__stream_add_header(self->stream, name, value);
    buf_clear(&self->name);
    buf_clear(&self->value);
    return fits;
}

static int on_header_name(http_parser *parser, const char *bytes, size_t len) {
    struct http1 *self = parser->data;
    if (self->state == H1_BODY) return 0; /* trailers are dropped */
    if (!header_complete(self)) return -1;
    buf_append(&self->name, bytes, len);
    return 0;
}

static int on_header_value(http_parser *parser, const char *bytes, size_t len) {
    struct http1 *self = parser->data;
    if (self->state == H1_BODY) return 0;
    self->is_value_open = true;
    buf_append(&self->value, bytes, len);
    return 0;
}

static int on_headers_complete(http_parser *parser) {
    struct http1 *self = parser->data;
    struct http_stream *stream = self->stream;
    if (!header_complete(self)) return -1;
    buf_release(&self->name);
    buf_release(&self->value);
    parser->upgrade = 0;
    struct http_request *request = &stream->request;
    if (self->has_foreign_encoding) {
        fail(self, "501 Not Implemented", "Unsupported transfer encoding");
        return -1;
    }
    if (self->host_count == 0 && request->version_minor == 1) {
        fail(self, "400 Bad Request: missing required Host header", NULL);
        return -1;
    }
    if (self->host_count > 1 || self->is_line_bad) return -1;
    if (self->has_other_expectation) {
        fail(self, "417 Expectation Failed", "");
        return -1;
    }
    bool is_chunked = parser->flags & F_CHUNKED;
    request->has_body = is_chunked || (parser->content_length != ULLONG_MAX && parser->content_length != 0);
    if (!is_chunked) request->content_length = parser->content_length == ULLONG_MAX ? 0 : parser->content_length;
    self->keep_alive = http_should_keep_alive(parser);
    self->state = H1_BODY;
    env_timer_stop(self->conn->server->options.env, &self->conn->timer);
    http__stream_dispatch(stream);
    if (self->expects_continue && request->has_body && stream->reply_state == HTTP__REPLY_NONE) {
        buf_append_cstr(&self->interim, "HTTP/1.1 100 Continue\r\n\r\n");
        http__conn_want_flush(self->conn);
    }
    return 0;
}

static int on_body(http_parser *parser, const char *bytes, size_t len) {
    struct http1 *self = parser->data;
    self->body_bytes += len;
    if (self->stream == NULL) { /* the reply is out already */
        if (self->body_bytes > DRAIN_MAX) return -1;
        return 0;
    }
    http__stream_body(self->stream, slice_make(bytes, len));
    return 0;
}

static int on_message_complete(http_parser *parser) {
    struct http1 *self = parser->data;
    if (self->state == H1_FAILED) return -1;
    self->state = H1_DONE;
    if (self->stream != NULL)
        http__stream_end(self->stream);
    else
        self->state = H1_LINE;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings parser_settings = {
    .on_header_field = on_header_name,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* Reads one request line out of `bytes`; returns the bytes taken, 0 when it is not complete. */
static size_t take_line(struct http1 *self, struct slice bytes) {
    const uint8_t *newline = memchr(bytes.data, '\n', bytes.len);
    if (newline == NULL) {
        if (bytes.len > HTTP1_REQUEST_LINE_MAX) fail(self, "431 Request Header Fields Too Large", NULL);
        return 0;
    }
    size_t len = (size_t)(newline - bytes.data);
    if (!parse_request_line(self, slice_make(bytes.data, len))) {
        fail(self, self->request_count == 0 ? NULL : "400 Bad Request", NULL);
        return 0;
    }
    self->request_count++;
    begin_request(self);
    return len + 1;
}

static size_t take_message(struct http1 *self, struct slice bytes) {
    size_t taken = http_parser_execute(&self->parser, &parser_settings, (const char *)bytes.data, bytes.len);
    enum http_errno error = HTTP_PARSER_ERRNO(&self->parser);
    if (error == HPE_PAUSED)
        http_parser_pause(&self->parser, 0);
    else if (error == HPE_HEADER_OVERFLOW)
        fail(self, "431 Request Header Fields Too Large", NULL);
    else if (error != HPE_OK || self->parser.upgrade)
        fail(self, "400 Bad Request", NULL);
    return taken;
}

/* Reads as far as one request at a time allows; returns the bytes taken. */
static size_t advance(struct http1 *self, struct slice bytes) {
    size_t from = 0;
    while (from < bytes.len) {
        size_t taken = 0;
        struct slice rest = slice_from(bytes, from);
        if (self->state == H1_LINE)
            taken = self->conn->is_stopping ? 0 : take_line(self, rest);
        else if (self->state == H1_HEAD || self->state == H1_BODY)
            taken = take_message(self, rest);
        if (taken == 0) break;
        from += taken;
    }
    return from;
}

static void count_pending(struct http1 *self) {
    http__conn_set_held(self->conn, &self->conn->pending_bytes,
                        self->pending.capacity + self->name.capacity + self->value.capacity);
}

static void advance_pending(struct http1 *self) {
    if (self->pending.len == 0) return;
    struct buf pending = self->pending;
    self->pending = BUF_INIT;
    size_t taken = advance(self, buf_slice(&pending));
    buf_consume(&pending, taken);
    if (pending.len == 0) buf_release(&pending);
    self->pending = pending;
    count_pending(self);
}

void h1__receive(struct http_conn *conn, struct slice bytes) {
    struct http1 *self = conn->h1;
    if (self->pending.len == 0) {
        size_t taken = advance(self, bytes);
        bytes = slice_from(bytes, taken);
        if (self->state != H1_FAILED) buf_append_slice(&self->pending, bytes);
    } else {
        buf_append_slice(&self->pending, bytes);
        advance_pending(self);
    }
    count_pending(self);
}

void h1__receive_end(struct http_conn *conn) {
    struct http1 *self = conn->h1;
    conn->is_broken = true;
    self->keep_alive = false;
    if (self->stream == NULL || self->stream->reply_state != HTTP__REPLY_ENDED || self->state != H1_DONE) {
        fail(self, NULL, NULL);
        conn->is_finished = true;
    }
    http__conn_want_flush(conn);
}

bool h1__wants_read(const struct http_conn *conn) {
    const struct http1 *self = conn->h1;
    if (self->pending.len > HTTP1_PIPELINE_MAX && self->state == H1_DONE) return false;
    return self->stream == NULL || self->stream->unconsumed_bytes < HTTP_REQUEST_WINDOW_BYTES;
}

void h1__consume(struct http_stream *stream, size_t size_bytes) {
    if (stream->unconsumed_bytes < HTTP_REQUEST_WINDOW_BYTES) http__conn_want_flush(stream->conn);
}

/* ---- the reply ---- */

/* Go's spelling: each word with a capital. */
static void append_header_name(struct buf *output, const uint8_t *name, size_t len) {
    bool is_start = true;
    for (size_t i = 0; i < len; i++) {
        buf_append_byte(output, (uint8_t)(is_start ? toupper(name[i]) : name[i]));
        is_start = name[i] == '-';
    }
}

static void append_headers(struct buf *output, const nghttp2_nv *headers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        append_header_name(output, headers[i].name, headers[i].namelen);
        buf_append(output, ": ", 2);
        buf_append(output, headers[i].value, headers[i].valuelen);
        buf_append(output, "\r\n", 2);
    }
}

static const char *reason_of(int status) {
    switch (status) {
#define STATUS_REASON(number, name, text)                                                                              \
    case number: return #text;
        HTTP_STATUS_MAP(STATUS_REASON)
#undef STATUS_REASON
    default: return "Unknown";
    }
}

/* How the end of the body will be known. */
static void choose_framing(struct http1 *self, struct http_stream *stream, struct buf *output) {
    bool has_no_body = stream->status == 204 || stream->status == 304;
    self->is_head_only = slice_equal_cstr(stream->request.method, "HEAD") || has_no_body;
    self->is_reply_chunked = false;
    if (stream->has_reply_length || has_no_body) return;
    if (http__stream_is_complete(stream) && stream->trailer_count == 0) {
        buf_printf(output, "Content-Length: %zu\r\n", stream->queue.size_bytes);
    } else if (stream->request.version_minor != 0) {
        self->is_reply_chunked = true;
        buf_append_cstr(output, "Transfer-Encoding: chunked\r\n");
    } else {
        self->keep_alive = false;
    }
}

static void write_reply_head(struct http1 *self, struct http_stream *stream) {
    struct buf *output = self->conn->output;
    stream->is_submitted = true;
    buf_printf(output, "HTTP/1.%d %d %s\r\n", stream->request.version_minor, stream->status, reason_of(stream->status));
    append_headers(output, stream->headers + 1, stream->reply_header_count);
    buf_printf(output, "Date: %s\r\n", http__server_date(self->conn->server));
    choose_framing(self, stream, output);
    uint64_t length = stream->request.content_length;
    bool may_be_long = !stream->request.has_ended && (length == UINT64_MAX || length > DRAIN_MAX);
    if (self->conn->is_stopping || may_be_long) self->keep_alive = false;
    if (!self->keep_alive && stream->request.version_minor != 0)
        buf_append_cstr(output, "Connection: close\r\n");
    else if (self->keep_alive && stream->request.version_minor == 0)
        buf_append_cstr(output, "Connection: keep-alive\r\n");
    buf_append(output, "\r\n", 2);
}

/* The wire has the whole reply: the next request's turn. */
static void reply_is_out(struct http1 *self) {
    struct http_stream *stream = TAKE(self->stream);
    bool has_ended = stream->request.has_ended;
    http__stream_detach(stream);
    if (!self->keep_alive) {
        self->state = H1_FAILED;
        self->conn->is_broken = self->conn->is_finished = true;
        return;
    }
    http__conn_set_timer(self->conn, self->conn->server->options.header_timeout_ns);
    if (has_ended) self->state = H1_LINE;
    if (self->conn->is_stopping) self->conn->is_broken = self->conn->is_finished = true;
}

static void write_chunk(struct http1 *self, struct http_stream *stream, size_t size_bytes) {
    if (size_bytes == 0) return;
    if (self->is_head_only) {
        http__stream_drop_queue(stream);
        return;
    }
    if (self->is_reply_chunked) buf_printf(self->conn->output, "%zx\r\n", size_bytes);
    http__stream_take(stream, size_bytes);
    if (self->is_reply_chunked) buf_append(self->conn->output, "\r\n", 2);
}

/* False: nothing more can be written now. */
static bool advance_reply(struct http1 *self, size_t room_bytes) {
    struct http_stream *stream = self->stream;
    if (stream == NULL || stream->reply_state == HTTP__REPLY_NONE) return false;
    size_t want_bytes = room_bytes < CHUNK_MAX ? room_bytes : CHUNK_MAX;
    if (stream->reply_state == HTTP__REPLY_ABORTED || stream->is_cut_off || !http__stream_fill(stream, want_bytes)) {
        fail(self, NULL, NULL);
        return false;
    }
    if (!stream->is_submitted) write_reply_head(self, stream);
    size_t size_bytes = stream->queue.size_bytes < want_bytes ? stream->queue.size_bytes : want_bytes;
    write_chunk(self, stream, size_bytes);
    if (stream->queue.size_bytes != 0) return true;
    if (!http__stream_is_complete(stream)) return stream->producer != NULL && !stream->producer_waits;
    if (self->is_reply_chunked && !self->is_head_only) {
        buf_append_cstr(self->conn->output, "0\r\n");
        append_headers(self->conn->output, stream->trailers, stream->trailer_count);
        buf_append(self->conn->output, "\r\n", 2);
    }
    reply_is_out(self);
    advance_pending(self);
    return true;
}

bool h1__produce(struct http_conn *conn, size_t budget_bytes) {
    struct http1 *self = conn->h1;
    size_t end = conn->output->len + budget_bytes;
    bool has_more = true;
    while (has_more && conn->output->len < end) {
        while (!list_is_empty(&conn->dirty)) list_remove(conn->dirty.next);
        buf_append_slice(conn->output, buf_slice(&self->interim));
        buf_clear(&self->interim);
        has_more = advance_reply(self, end - conn->output->len) || self->interim.len != 0;
    }
    if (!has_more && self->state == H1_FAILED) conn->is_finished = true;
    return has_more;
}

/* ---- life ---- */

void h1__start(struct http_conn *conn) {
    struct http1 *self = NEW(struct http1);
    self->conn = conn;
    conn->h1 = self;
    http_parser_set_max_header_size(HTTP1_HEADER_MAX);
}

void h1__free(struct http_conn *conn) {
    struct http1 *self = conn->h1;
    buf_release(&self->pending);
    buf_release(&self->interim);
    buf_release(&self->name);
    buf_release(&self->value);
    mem_free(self);
}

void h1__stop(struct http_conn *conn) {
    struct http1 *self = conn->h1;
    self->keep_alive = false;
    if (self->stream == NULL) conn->is_broken = conn->is_finished = true;
}

/* Headers took too long, nothing came on a kept connection, or the rest of a body whose answer is out. */
void h1__timer(struct http_conn *conn) {
    struct http1 *self = conn->h1;
    if (self->state == H1_LINE || self->state == H1_HEAD || self->stream == NULL) {
        fail(self, NULL, NULL);
        conn->is_finished = true;
    }
}
