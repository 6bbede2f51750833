/* h2.c - HTTP/2 on the server side, by nghttp2.
 *
 * A reply is handed to nghttp2 only when the connection is flushed: by then an answer that was made in one go is known
 * from its status to its trailers, and costs one submission. DATA payload is never copied into nghttp2: frames are
 * written straight from the queue's pieces into the output.
 *
 *     handler: http_reply, _write, _end --> conn->dirty --> produce: submit or resume --> nghttp2 asks read_reply
 *                                                                    --> send_data copies frame head and pieces
 *
 * Stopping: GOAWAY(2^31-1) and a PING; its answer shows that no stream is under way any more: GOAWAY(last stream).
 */
#include "http/internal.h"

#define FRAME_HEAD_BYTES 9
/* A status text may repeat what the client sent, each byte as three. */
#define SENT_HEADER_BLOCK_MAX (4 * HTTP_HEADER_LIST_MAX)

static const uint8_t stop_opaque[8] = "etcdstop";

/* ---- receiving ---- */

/* DATA mostly follows HEADERS of the same stream: saves nghttp2's search. */
static struct http_stream *find_stream(struct http_conn *conn, int32_t id) {
    if (conn->recent_stream == NULL || conn->recent_stream->id != id)
        conn->recent_stream = nghttp2_session_get_stream_user_data(conn->session, id);
    return conn->recent_stream;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    struct http_conn *conn = context;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    conn->recent_stream = NULL;
    if (conn->stream_count >= HTTP_STREAMS_MAX || conn->server->stream_count >= HTTP_SERVER_STREAMS_MAX)
        return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    struct http_stream *stream = http__stream_new(conn, frame->hd.stream_id);
    stream->request.version_major = 2;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream);
    conn->recent_stream = stream;
    h2__headers_begin(conn->headers);
    return 0;
}

static void refuse(struct http_stream *stream, uint32_t h2_error_code) {
    stream->is_headers_refused = true;
    nghttp2_submit_rst_stream(stream->conn->session, NGHTTP2_FLAG_NONE, stream->id, h2_error_code);
}

static void refuse_headers(struct http_stream *stream, enum h2__verdict verdict) {
    /* FRAME_SIZE_ERROR is what grpc-go says of a list that is too long */
    refuse(stream, verdict == H2__TOO_LARGE ? NGHTTP2_FRAME_SIZE_ERROR : NGHTTP2_PROTOCOL_ERROR);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *context) {
    struct http_conn *conn = context;
    struct http_stream *stream = conn->recent_stream;
    if (stream == NULL || stream->id != frame->hd.stream_id || stream->is_dispatched || stream->is_headers_refused)
        return 0;
    enum h2__verdict verdict = h2__headers_add(conn->headers, stream, name, value);
    if (verdict != H2__GOOD) refuse_headers(stream, verdict);
    return 0;
}

static void request_complete(struct http_conn *conn, struct http_stream *stream, bool has_body) {
    if (stream->is_headers_refused) return;
    enum h2__verdict verdict = h2__headers_end(conn->headers, stream);
    if (verdict != H2__GOOD) {
        refuse_headers(stream, verdict);
        return;
    }
    stream->request.has_body = has_body;
    http__stream_dispatch(stream);
    if (!has_body) http__stream_end(stream);
}

/* The body is over: it must be as long as it was said to be (RFC 9113, 8.1.1). */
static void body_complete(struct http_stream *stream) {
    uint64_t length = stream->request.content_length;
    if (length != UINT64_MAX && length != stream->body_bytes)
        nghttp2_submit_rst_stream(stream->conn->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_PROTOCOL_ERROR);
    else
        http__stream_end(stream);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    struct http_conn *conn = context;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: {
        bool is_last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        if (!is_last && frame->hd.type == NGHTTP2_DATA) return 0;
        struct http_stream *stream = find_stream(conn, frame->hd.stream_id);
        if (stream == NULL) return 0;
        if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            request_complete(conn, stream, !is_last);
        else if (is_last && stream->is_dispatched)
            body_complete(stream);
        return 0;
    }
    case NGHTTP2_SETTINGS:
        if (!conn->has_greeted) {
            conn->has_greeted = true;
            h2__keepalive_start(conn);
        }
        return 0;
    case NGHTTP2_RST_STREAM: h2__reset_received(conn); return 0;
    case NGHTTP2_PING:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
            h2__keepalive_pinged(conn);
        } else if (memcmp(frame->ping.opaque_data, stop_opaque, 8) == 0 && !conn->is_goaway_final) {
            conn->is_goaway_final = true;
            nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                                  NGHTTP2_NO_ERROR, NULL, 0);
        } else {
            h2__keepalive_ponged(conn, frame->ping.opaque_data);
        }
        return 0;
    default: return 0;
    }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
                   void *context) {
    struct http_conn *conn = context;
    struct http_stream *stream = find_stream(conn, stream_id);
    if (stream == NULL || !stream->is_dispatched) {
        conn->unreturned_bytes += len;
        return 0;
    }
    stream->body_bytes += len;
    http__stream_body(stream, slice_make(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *context) {
    struct http_stream *stream = nghttp2_session_get_stream_user_data(session, stream_id);
    if (stream == NULL) return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    struct http_conn *conn = context;
    if (conn->recent_stream == stream) conn->recent_stream = NULL;
    conn->unreturned_bytes += stream->unconsumed_bytes;
    http__stream_detach(stream);
    return 0;
}

static void return_window(struct http_conn *conn) {
    if (conn->unreturned_bytes == 0) return;
    nghttp2_session_consume_connection(conn->session, conn->unreturned_bytes);
    conn->unreturned_bytes = 0;
}

void h2__receive(struct http_conn *conn, struct slice bytes) {
    if (conn->server->options.keepalive_interval_ns > 0) conn->last_read_ns = env_now_ns(conn->server->options.env);
    ssize_t taken = nghttp2_session_mem_recv(conn->session, bytes.data, bytes.len);
    /* Too many frames that want an answer, or a header block without end: nghttp2 leaves the telling to us. (Another
     * negative result with nothing to send, like a bad preface, ends the connection as it is.) */
    if (taken == NGHTTP2_ERR_FLOODED || taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        nghttp2_session_terminate_session(conn->session, NGHTTP2_ENHANCE_YOUR_CALM);
    if (taken < 0) conn->is_broken = true;
    return_window(conn);
    if (conn->is_broken || nghttp2_session_want_write(conn->session) || !nghttp2_session_want_read(conn->session))
        http__conn_want_flush(conn);
}

/* Windows are told of what was consumed in lots: the connection's when a received lot is through, a stream's when
 * enough has come together (most streams have ended by then). */
void h2__consume(struct http_stream *stream, size_t size_bytes) {
    struct http_conn *conn = stream->conn;
    conn->unreturned_bytes += size_bytes;
    stream->unreturned_bytes += size_bytes;
    if (stream->unreturned_bytes >= HTTP_STREAM_WINDOW / 4 && !stream->request.has_ended) {
        nghttp2_session_consume_stream(conn->session, stream->id, stream->unreturned_bytes);
        stream->unreturned_bytes = 0;
    }
    if (conn->unreturned_bytes >= HTTP_CONN_WINDOW / 4) return_window(conn);
    if (nghttp2_session_want_write(conn->session)) http__conn_want_flush(conn);
}

/* ---- sending ---- */

static ssize_t read_reply(nghttp2_session *session, int32_t stream_id, uint8_t *bytes, size_t limit_bytes,
                          uint32_t *data_flags, nghttp2_data_source *source, void *context) {
    struct http_stream *stream = source->ptr;
    if (stream->is_cut_off) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!http__stream_fill(stream, limit_bytes)) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t size_bytes = stream->queue.size_bytes < limit_bytes ? stream->queue.size_bytes : limit_bytes;
    bool is_last = size_bytes == stream->queue.size_bytes && http__stream_is_complete(stream);
    if (size_bytes == 0 && !is_last) {
        stream->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (is_last) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->trailer_count != 0) {
            *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, stream_id, stream->trailers, stream->trailer_count) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)size_bytes;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head, size_t len,
                     nghttp2_data_source *source, void *context) {
    struct http_conn *conn = context;
    buf_append(conn->output, frame_head, FRAME_HEAD_BYTES);
    http__stream_take(source->ptr, len);
    conn->has_sent_since_ping = true;
    /* nghttp2 goes on from DATA frame to DATA frame by itself, as far as the client's windows reach. */
    return conn->output->len >= conn->output_end ? NGHTTP2_ERR_PAUSE : 0;
}

/* The whole reply is out before the request is in: tell the client to stop sending. */
static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    struct http_conn *conn = context;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    conn->has_sent_since_ping = true;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    struct http_stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream != NULL && !stream->request.has_ended)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static void set_status_header(struct http_stream *stream, nghttp2_nv *ret_header) {
    const char *value = stream->status == 200 ? "200" : arena_printf(&stream->request.arena, "%03d", stream->status);
    *ret_header = (nghttp2_nv){(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t)value, 7, 3,
                               NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static void submit_reply(struct http_stream *stream) {
    nghttp2_session *session = stream->conn->session;
    stream->is_submitted = true;
    set_status_header(stream, &stream->headers[0]);
    bool is_headers_only =
        http__stream_is_complete(stream) && stream->queue.size_bytes == 0 && stream->trailer_count == 0;
    nghttp2_data_provider provider = {{.ptr = stream}, read_reply};
    if (nghttp2_submit_response(session, stream->id, stream->headers, stream->reply_header_count + 1,
                                is_headers_only ? NULL : &provider) != 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR);
}

/* The reply of a dirty stream has moved: the protocol hears of it. */
static void advance_reply(struct http_stream *stream) {
    nghttp2_session *session = stream->conn->session;
    if (stream->reply_state == HTTP__REPLY_ABORTED || stream->is_cut_off) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, stream->abort_code);
    } else if (stream->reply_state != HTTP__REPLY_NONE && !stream->is_submitted) {
        submit_reply(stream);
    } else if (stream->is_deferred) {
        stream->is_deferred = false;
        nghttp2_session_resume_data(session, stream->id);
    }
}

static bool advance_replies(struct http_conn *conn) {
    bool has_moved = !list_is_empty(&conn->dirty);
    while (!list_is_empty(&conn->dirty)) {
        struct http_stream *stream = CONTAINER_OF(conn->dirty.next, struct http_stream, dirty_link);
        list_remove(&stream->dirty_link);
        advance_reply(stream);
    }
    return has_moved;
}

static void check_finished(struct http_conn *conn) {
    nghttp2_session *session = conn->session;
    bool is_drained = conn->is_goaway_final && conn->stream_count == 0 && !nghttp2_session_want_write(session);
    if (conn->is_broken || is_drained || (!nghttp2_session_want_read(session) && !nghttp2_session_want_write(session)))
        conn->is_broken = conn->is_finished = true;
}

bool h2__produce(struct http_conn *conn, size_t budget_bytes) {
    conn->output_end = conn->output->len + budget_bytes;
    do {
        advance_replies(conn);
        while (conn->output->len < conn->output_end) {
            const uint8_t *bytes;
            ssize_t len = nghttp2_session_mem_send(conn->session, &bytes);
            if (len < 0) conn->is_broken = true;
            if (len <= 0) break;
            buf_append(conn->output, bytes, (size_t)len);
        }
    } while (!list_is_empty(&conn->dirty) && conn->output->len < conn->output_end);
    bool is_cut = conn->output->len >= conn->output_end;
    if (!is_cut) check_finished(conn);
    return is_cut;
}

/* ---- life ---- */

void h2__server_init(struct http_server *server) {
    server->pool_memory = http__pool_new();
    CHECK(nghttp2_session_callbacks_new(&server->h2_callbacks) == 0);
    nghttp2_session_callbacks *callbacks = server->h2_callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    CHECK(nghttp2_option_new(&server->h2_option) == 0);
    nghttp2_option_set_no_auto_window_update(server->h2_option, 1);
    nghttp2_option_set_no_closed_streams(server->h2_option, 1);
    nghttp2_option_set_no_http_messaging(server->h2_option, 1); /* h2_headers.c does it */
    nghttp2_option_set_max_outbound_ack(server->h2_option, HTTP_CONTROL_QUEUE_MAX);
    nghttp2_option_set_max_send_header_block_length(server->h2_option, SENT_HEADER_BLOCK_MAX);
    nghttp2_option_set_stream_reset_rate_limit(server->h2_option, UINT64_MAX, UINT64_MAX); /* h2_resets.c does it */
}

void h2__server_release(struct http_server *server) {
    nghttp2_session_callbacks_del(server->h2_callbacks);
    nghttp2_option_del(server->h2_option);
    http__pool_free(server->pool_memory);
}

void h2__start(struct http_conn *conn) {
    struct http_server *server = conn->server;
    CHECK(nghttp2_session_server_new3(&conn->session, server->h2_callbacks, conn, server->h2_option,
                                      http__pool_mem(server->pool_memory)) == 0);
    nghttp2_settings_entry settings[4];
    size_t count = 0;
    settings[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP_STREAM_WINDOW};
    settings[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEADER_LIST_MAX};
    settings[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
    uint32_t streams = server->options.max_concurrent_streams;
    if (streams != 0 && streams != UINT32_MAX)
        settings[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};
    CHECK(nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, count) == 0);
    CHECK(nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, HTTP_CONN_WINDOW) == 0);
    conn->headers = h2__headers_new();
}

void h2__free(struct http_conn *conn) {
    h2__headers_free(conn->headers);
    nghttp2_session_del(conn->session);
}

void h2__timer(struct http_conn *conn) {
    if (conn->has_greeted)
        h2__keepalive_timer(conn);
    else
        conn->is_broken = conn->is_finished = true; /* its preface took too long */
}

void h2__stop(struct http_conn *conn) {
    nghttp2_submit_shutdown_notice(conn->session);
    nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, stop_opaque);
}
