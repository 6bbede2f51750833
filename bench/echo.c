/* echo.c - a bare gRPC server: the ceiling that a server on nghttp2 and libuv can reach on this machine.
 *
 * Answers every unary call, whatever its path, with one canned message (the bytes of an etcd PutResponse header). It
 * shares no code with src/: what ours costs beyond this is ours. One thread; frames of many streams in one write.
 *
 *     bench_echo [port]        prints "listening on 127.0.0.1:PORT", ends on SIGTERM or SIGINT
 */
#include <nghttp2/nghttp2.h>
#include <uv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES (64 * 1024)

struct server {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_signal_t signals[2];
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    char read_bytes[READ_BYTES];
};

struct connection {
    uv_tcp_t tcp;
    struct server *server;
    nghttp2_session *session;
    char *output;
    size_t output_len;
    size_t output_capacity;
    int is_writing;
    int is_closing;
};

static const uint8_t reply[] = {0,    0,    0,    0,    28,   0x0a, 0x1a, 0x08, 0xb2, 0x98, 0xea,
                                0xf1, 0x94, 0x83, 0x86, 0xfc, 0xcd, 0x01, 0x10, 0xcd, 0xd2, 0x91,
                                0x8b, 0xd2, 0xb8, 0x81, 0xcf, 0x8e, 0x01, 0x18, 0x02, 0x20, 0x02};

#define HEADER(name, value)                                                                                            \
    {                                                                                                                  \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1, sizeof(value) - 1,              \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                                               \
    }

static const nghttp2_nv head[] = {HEADER(":status", "200"), HEADER("content-type", "application/grpc")};
static const nghttp2_nv trailers[] = {HEADER("grpc-status", "0"), HEADER("grpc-message", "")};

static void die(const char *what, int error) {
    fprintf(stderr, "bench_echo: %s: %s\n", what, uv_strerror(error));
    exit(1);
}

static void append(struct connection *self, const void *bytes, size_t len) {
    if (self->output_len + len > self->output_capacity) {
        self->output_capacity = (self->output_len + len) * 2;
        self->output = realloc(self->output, self->output_capacity);
        if (self->output == NULL) die("memory", UV_ENOMEM);
    }
    memcpy(self->output + self->output_len, bytes, len);
    self->output_len += len;
}

/* ---- HTTP/2 ---- */

static ssize_t read_reply(nghttp2_session *session, int32_t stream_id, uint8_t *bytes, size_t limit_bytes,
                          uint32_t *data_flags, nghttp2_data_source *source, void *context) {
    memcpy(bytes, reply, sizeof reply);
    *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, stream_id, trailers, sizeof trailers / sizeof *trailers);
    return sizeof reply;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context) {
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    nghttp2_data_provider provider = {{0}, read_reply};
    return nghttp2_submit_response(session, frame->hd.stream_id, head, sizeof head / sizeof *head, &provider);
}

static void start_session(struct connection *self) {
    nghttp2_session_server_new2(&self->session, self->server->callbacks, self, self->server->option);
    nghttp2_submit_settings(self->session, NGHTTP2_FLAG_NONE, NULL, 0);
    nghttp2_session_set_local_window_size(self->session, NGHTTP2_FLAG_NONE, 0, 4 * 1024 * 1024);
}

/* ---- sockets ---- */

static void on_closed(uv_handle_t *handle) {
    struct connection *self = handle->data;
    nghttp2_session_del(self->session);
    free(self->output);
    free(self);
}

static void close_connection(struct connection *self) {
    if (self->is_closing) return;
    self->is_closing = 1;
    uv_close((uv_handle_t *)&self->tcp, on_closed);
}

static void flush(struct connection *self);

static void on_written(uv_write_t *request, int status) {
    struct connection *self = request->data;
    free(request);
    self->is_writing = 0;
    self->output_len = 0;
    if (status != 0)
        close_connection(self);
    else
        flush(self);
}

static void write_rest(struct connection *self, size_t from) {
    uv_write_t *request = malloc(sizeof *request);
    if (request == NULL) die("memory", UV_ENOMEM);
    request->data = self;
    self->is_writing = 1;
    uv_buf_t piece = uv_buf_init(self->output + from, (unsigned)(self->output_len - from));
    if (uv_write(request, (uv_stream_t *)&self->tcp, &piece, 1, on_written) != 0) {
        free(request);
        close_connection(self);
    }
}

static void flush(struct connection *self) {
    if (self->is_writing || self->is_closing) return;
    const uint8_t *bytes;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(self->session, &bytes)) > 0) append(self, bytes, (size_t)len);
    if (self->output_len == 0) return;
    uv_buf_t piece = uv_buf_init(self->output, (unsigned)self->output_len);
    int written = uv_try_write((uv_stream_t *)&self->tcp, &piece, 1);
    if (written == UV_EAGAIN) written = 0;
    if (written < 0)
        close_connection(self);
    else if ((size_t)written < self->output_len)
        write_rest(self, (size_t)written);
    else
        self->output_len = 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *ret_room) {
    struct connection *self = handle->data;
    *ret_room = uv_buf_init(self->server->read_bytes, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *room) {
    struct connection *self = stream->data;
    if (len == 0) return;
    if (len < 0 || nghttp2_session_mem_recv(self->session, (const uint8_t *)room->base, (size_t)len) < 0)
        close_connection(self);
    else
        flush(self);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status != 0) return;
    struct server *server = listener->data;
    struct connection *self = calloc(1, sizeof *self);
    if (self == NULL) die("memory", UV_ENOMEM);
    self->server = server;
    uv_tcp_init(&server->loop, &self->tcp);
    self->tcp.data = self;
    start_session(self);
    if (uv_accept(listener, (uv_stream_t *)&self->tcp) != 0) {
        close_connection(self);
        return;
    }
    uv_tcp_nodelay(&self->tcp, 1);
    uv_read_start((uv_stream_t *)&self->tcp, on_alloc, on_read);
    flush(self);
}

static void on_signal(uv_signal_t *handle, int number) { uv_stop(handle->loop); }

int main(int argc, char **argv) {
    static struct server server;
    int port = argc > 1 ? atoi(argv[1]) : 21000;
    uv_loop_init(&server.loop);
    nghttp2_session_callbacks_new(&server.callbacks);
    nghttp2_session_callbacks_set_on_frame_recv_callback(server.callbacks, on_frame);
    nghttp2_option_new(&server.option);
    nghttp2_option_set_no_closed_streams(server.option, 1);
    uv_tcp_init(&server.loop, &server.listener);
    server.listener.data = &server;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", port, &address);
    int error = uv_tcp_bind(&server.listener, (const struct sockaddr *)&address, 0);
    if (error == 0) error = uv_listen((uv_stream_t *)&server.listener, 1024, on_connection);
    if (error != 0) die("listen", error);
    const int numbers[2] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&server.loop, &server.signals[i]);
        uv_signal_start(&server.signals[i], on_signal, numbers[i]);
    }
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    return 0;
}
