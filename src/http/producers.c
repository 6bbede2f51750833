/* producers.c - replies made on demand whose client takes none of it. A producer holds on to what it reads from (a view
 * of the database, whose old pages can't be used again meanwhile), so it may not wait for ever: after
 * HTTP_PRODUCER_STALL_NS without a pull its stream is reset. etcd copies such an answer into memory and keeps it for as
 * long as the connection lives. */
#include "http/internal.h"

/* Longest unmoved first: a producer that moves goes to the end. */
void http__producer_moved(struct http_stream *self) {
    struct http_server *server = self->server;
    self->producer_moved_ns = env_now_ns(server->options.env);
    list_remove(&self->producer_link);
    list_push_back(&server->producing, &self->producer_link);
    if (!env_timer_is_running(&server->stall))
        env_timer_start(server->options.env, &server->stall, HTTP_PRODUCER_STALL_NS);
}

void http__server_end_stalled(struct env_timer *timer) {
    struct http_server *self = CONTAINER_OF(timer, struct http_server, stall);
    int64_t now_ns = env_now_ns(self->options.env);
    while (!list_is_empty(&self->producing)) {
        struct http_stream *stream = CONTAINER_OF(self->producing.next, struct http_stream, producer_link);
        int64_t left_ns = stream->producer_moved_ns + HTTP_PRODUCER_STALL_NS - now_ns;
        if (left_ns > 0) {
            env_timer_start(self->options.env, timer, left_ns);
            return;
        }
        if (stream->producer_waits) /* for what it reads from, not for the client */
            http__producer_moved(stream);
        else
            http__stream_cut_off(stream);
    }
}
