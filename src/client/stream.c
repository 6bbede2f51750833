/* stream.c - raw streams, see calls.h. */
#include "base/list.h"
#include "base/mem.h"
#include "client/calls.h"

struct message {
    struct list link;
    struct etcd_raw_response *response;
};

struct etcd_stream {
    struct client *client;
    struct client_rpc *rpc; /* NULL: ended */
    struct list messages;
    size_t message_count;
    struct etcd_error end; /* valid when ended */
};

static void on_message(void *context, struct slice bytes) {
    struct etcd_stream *self = context;
    struct message *message = NEW(struct message);
    message->response = client_raw_answer(bytes);
    list_push_back(&self->messages, &message->link);
    if (++self->message_count >= CLIENT_STREAM_BACKLOG_MAX) client_rpc_pause(self->rpc, true);
}

static void on_end(void *context, const struct client_end *end) {
    struct etcd_stream *self = context;
    self->rpc = NULL;
    client_error_from_end(&self->end, end);
}

static const struct client_rpc_handler rpc_handler = {.on_message = on_message, .on_end = on_end};

struct etcd_stream *client_stream_open(struct client *client, const char *path, int64_t timeout_ns) {
    struct etcd_stream *self = NEW(struct etcd_stream);
    self->client = client;
    list_init(&self->messages);
    struct client_rpc_options options = {
        .path = client_intern_path(client, path),
        .deadline_ns = timeout_ns > 0 ? env_now_ns(client_env(client)) + timeout_ns : 0,
        .is_fragile = true,
        .handler = &rpc_handler,
        .context = self,
    };
    self->rpc = client_rpc_start(client, &options);
    return self;
}

void client_stream_send(struct etcd_stream *self, struct etcd_bytes message) {
    if (self->rpc != NULL) client_rpc_send(self->rpc, client_slice(message));
}

void client_stream_close_send(struct etcd_stream *self) {
    if (self->rpc != NULL) client_rpc_half_close(self->rpc);
}

static struct etcd_raw_response *pop(struct etcd_stream *self) {
    struct message *message = CONTAINER_OF(self->messages.next, struct message, link);
    struct etcd_raw_response *response = message->response;
    list_remove(&message->link);
    mem_free(message);
    self->message_count--;
    return response;
}

bool client_stream_take(struct etcd_stream *self, struct etcd_raw_response **ret_response, int *ret_code,
                        struct etcd_error *error) {
    if (self->message_count > 0) {
        *ret_response = pop(self);
        *ret_code = ETCD_OK;
        if (self->rpc != NULL) client_rpc_pause(self->rpc, self->message_count >= CLIENT_STREAM_BACKLOG_MAX);
        return true;
    }
    if (self->rpc != NULL) return false;
    *ret_code = self->end.code;
    if (self->end.code == ETCD_OK)
        *ret_response = NULL;
    else if (error != NULL)
        *error = self->end;
    return true;
}

void client_stream_close(struct etcd_stream *self) {
    if (self == NULL) return;
    client_rpc_cancel(self->rpc);
    while (self->message_count > 0) client_response_free(pop(self));
    mem_free(self);
}

struct client *client_stream_client(const struct etcd_stream *self) {
    return self->client;
}
