/* watch.c - watch streams, see watch.h. */
#include "client/watch.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "client/codec.h"

/* The id on answers that are for the whole stream, and on creations that failed. */
#define NO_WATCH_ID INT64_C(-1)

enum watch_state { WATCH_CREATING, WATCH_LIVE, WATCH_CANCELING };

struct watch {
    struct list link;     /* in stream->watches, in the order of ids */
    struct list creating; /* in stream->creating while a create request is unanswered */
    int64_t id;
    int64_t server_id; /* LIVE and CANCELING */
    enum watch_state state;
    bool cancel_wanted; /* canceled by the user before the server has answered the creation */
    bool told_created;
    struct etcd_watch_request request; /* key and range_end point into `keys` */
    struct buf keys;
    int64_t next_revision; /* first one not delivered; 0: from whatever is now */
    struct buf fragments;  /* encoded answers of a revision that is not complete yet, one behind the other */
};

struct queued {
    struct list link;
    struct etcd_watch_response *response;
};

struct etcd_watch_stream {
    struct client *client;
    struct client_rpc *rpc;  /* NULL: not open */
    struct env_timer reopen; /* running: the stream broke and is to be opened again */
    bool require_leader;
    bool got_something; /* since the stream was opened last */
    bool ended;
    struct etcd_error end;
    etcd_watch_callback callback;
    void *context;
    bool *closed; /* set when the stream is closed during a callback */
    int64_t next_id;
    struct list watches;
    struct list creating;
    struct map_u64 by_id;        /* id + 1 -> watch */
    struct map_u64 by_server_id; /* server_id -> watch */
    struct list queue;
    size_t queue_count;
};

/* ---- delivery ---- */

/* Hands an answer on and takes it over. False: the stream is gone, hands off. */
static bool deliver(struct etcd_watch_stream *self, struct etcd_watch_response *response) {
    if (self->callback == NULL) {
        struct queued *queued = NEW(struct queued);
        queued->response = response;
        list_push_back(&self->queue, &queued->link);
        self->queue_count++;
        if (self->rpc != NULL) client_rpc_pause(self->rpc, self->queue_count >= CLIENT_WATCH_BACKLOG_MAX);
        return true;
    }
    bool closed = false, *outer = self->closed;
    self->closed = &closed;
    self->callback(self->context, response, NULL);
    client_response_free(response);
    if (closed) {
        if (outer != NULL) *outer = true;
        return false;
    }
    self->closed = outer;
    return true;
}

static void end_stream(struct etcd_watch_stream *self, const struct etcd_error *error) {
    self->ended = true;
    self->end = *error;
    client_release(self->client);
    if (self->callback != NULL) self->callback(self->context, NULL, error);
}

/* ---- watches ---- */

static struct watch *find(const struct etcd_watch_stream *self, int64_t id) {
    return map_u64_get(&self->by_id, (uint64_t)id + 1);
}

static void watch_free(struct etcd_watch_stream *self, struct watch *watch) {
    list_remove(&watch->link);
    list_remove(&watch->creating);
    map_u64_remove(&self->by_id, (uint64_t)watch->id + 1);
    if (watch->state != WATCH_CREATING) map_u64_remove(&self->by_server_id, (uint64_t)watch->server_id);
    buf_release(&watch->keys);
    buf_release(&watch->fragments);
    mem_free(watch);
}

static void send(struct etcd_watch_stream *self, struct buf *message) {
    client_rpc_send(self->rpc, buf_slice(message));
    buf_release(message);
}

static void send_create(struct etcd_watch_stream *self, struct watch *watch) {
    struct buf message = BUF_INIT;
    client_encode_watch_create(&watch->request, watch->next_revision, &message);
    list_push_back(&self->creating, &watch->creating);
    send(self, &message);
}

static void send_cancel(struct etcd_watch_stream *self, struct watch *watch) {
    struct buf message = BUF_INIT;
    watch->state = WATCH_CANCELING;
    client_encode_watch_cancel(watch->server_id, &message);
    send(self, &message);
}

/* The last answer of a watch: why it ended, in clientv3's terms. */
static bool finish(struct etcd_watch_stream *self, struct watch *watch, struct client_answer *answer,
                   const struct etcd_watch_response *last) {
    struct etcd_watch_response *response = client_response_alloc(client_answer_arena(answer), sizeof(*response));
    if (last != NULL) *response = *last;
    response->watch = watch->id;
    response->canceled = true;
    response->events = NULL;
    response->event_count = 0;
    const char *reason = response->cancel_reason != NULL ? response->cancel_reason : "";
    if (watch->cancel_wanted) {
        response->code = ETCD_CANCELED;
    } else if (response->compact_revision != 0) {
        response->code = ETCD_OUT_OF_RANGE;
        reason = err_text(ERR_COMPACTED);
    } else if (reason[0] != 0) {
        response->code = ETCD_FAILED_PRECONDITION;
    } else {
        response->code = ETCD_OUT_OF_RANGE;
        reason = err_text(ERR_FUTURE_REV);
    }
    response->cancel_reason = reason;
    watch_free(self, watch);
    return deliver(self, client_answer_seal(answer, response));
}

/* ---- the stream ---- */

static void on_message(void *context, struct slice message);
static void on_end(void *context, const struct client_end *end);
static const struct client_rpc_handler rpc_handler = {.on_message = on_message, .on_end = on_end};

static void open_stream(struct etcd_watch_stream *self) {
    struct client_rpc_options options = {
        .path = "/etcdserverpb.Watch/Watch",
        .require_leader = self->require_leader,
        .handler = &rpc_handler,
        .context = self,
    };
    self->got_something = false;
    self->rpc = client_rpc_start(self->client, &options);
    LIST_FOREACH (link, &self->watches) send_create(self, CONTAINER_OF(link, struct watch, link));
    client_rpc_pause(self->rpc, self->queue_count >= CLIENT_WATCH_BACKLOG_MAX);
}

static void on_reopen(struct env_timer *timer) { open_stream(timer->context); }

static bool is_for_good(const struct client_end *end) {
    if (end->code == ETCD_OK || end->code == ETCD_INTERNAL) return false;
    return end->code != ETCD_UNAVAILABLE || slice_equal_cstr(end->text, err_text(ERR_NO_LEADER));
}

/* Back to how they were before their creation; those the user does not want any more end here. */
static bool rewind_watches(struct etcd_watch_stream *self) {
    map_u64_release(&self->by_server_id);
    LIST_FOREACH (link, &self->watches) {
        struct watch *watch = CONTAINER_OF(link, struct watch, link);
        watch->state = WATCH_CREATING;
        list_remove(&watch->creating);
        list_init(&watch->creating);
        buf_clear(&watch->fragments);
    }
    LIST_FOREACH (link, &self->watches) {
        struct watch *watch = CONTAINER_OF(link, struct watch, link);
        if (watch->cancel_wanted && !finish(self, watch, client_answer_new(), NULL)) return false;
    }
    return true;
}

static void on_end(void *context, const struct client_end *end) {
    struct etcd_watch_stream *self = context;
    self->rpc = NULL;
    if (is_for_good(end)) {
        struct etcd_error error;
        client_error_from_end(&error, end);
        end_stream(self, &error);
        return;
    }
    if (end->from_server && end->code == ETCD_UNAVAILABLE) client_move_on(self->client);
    bool at_once = self->got_something && !end->from_server;
    env_timer_start(client_env(self->client), &self->reopen, at_once ? 0 : CLIENT_WATCH_PAUSE_NS);
    rewind_watches(self);
}

/* No server gets to the last one, but one may say so. */
static int64_t revision_behind(int64_t revision) { return revision < INT64_MAX ? revision + 1 : revision; }

static void on_created(struct etcd_watch_stream *self, struct client_answer *answer,
                       const struct etcd_watch_response *created) {
    if (list_is_empty(&self->creating)) {
        client_answer_free(answer);
        return;
    }
    struct watch *watch = CONTAINER_OF(self->creating.next, struct watch, creating);
    list_remove(&watch->creating);
    list_init(&watch->creating);
    if (created->canceled) {
        finish(self, watch, answer, created);
        return;
    }
    watch->state = WATCH_LIVE;
    watch->server_id = created->watch;
    map_u64_put(&self->by_server_id, (uint64_t)watch->server_id, watch);
    if (watch->next_revision == 0) watch->next_revision = revision_behind(created->header.revision);
    if (watch->cancel_wanted) send_cancel(self, watch);
    if (!watch->request.created_notify || watch->told_created || watch->cancel_wanted) {
        client_answer_free(answer);
        return;
    }
    watch->told_created = true;
    struct etcd_watch_response *response = client_response_alloc(client_answer_arena(answer), sizeof(*response));
    *response = *created;
    response->watch = watch->id;
    deliver(self, client_answer_seal(answer, response));
}

/* Events, or the news that there are none up to a revision. */
static void on_events(struct etcd_watch_stream *self, struct watch *watch, struct client_answer *answer,
                      const struct etcd_watch_response *news) {
    int64_t reached =
        news->event_count > 0 ? news->events[news->event_count - 1].kv.mod_revision : news->header.revision;
    if (reached >= watch->next_revision) watch->next_revision = revision_behind(reached);
    struct etcd_watch_response *response = client_response_alloc(client_answer_arena(answer), sizeof(*response));
    *response = *news;
    response->watch = watch->id;
    deliver(self, client_answer_seal(answer, response));
}

static void on_progress_of_all(struct etcd_watch_stream *self, struct client_answer *answer,
                               const struct etcd_watch_response *news) {
    struct etcd_watch_response *response = client_response_alloc(client_answer_arena(answer), sizeof(*response));
    *response = *news;
    response->watch = NO_WATCH_ID;
    deliver(self, client_answer_seal(answer, response));
}

static void give_up(struct etcd_watch_stream *self, int code, struct slice text) {
    struct etcd_error error;
    client_error_set(&error, code, text, "");
    client_rpc_cancel(TAKE(self->rpc));
    end_stream(self, &error);
}

/* Encoded messages one behind the other decode to one message with the lists joined: that is how the fragments of a
 * revision are put together. */
static bool is_complete(struct watch *watch, struct slice *message, struct client_watch_answer **decoded,
                        struct arena *arena) {
    if ((*decoded)->fragment) {
        buf_append_slice(&watch->fragments, *message);
        return false;
    }
    if (watch->fragments.len == 0) return true;
    buf_append_slice(&watch->fragments, *message);
    *decoded = client_decode_watch(buf_slice(&watch->fragments), arena);
    buf_clear(&watch->fragments);
    return true;
}

static void on_message(void *context, struct slice message) {
    struct etcd_watch_stream *self = context;
    self->got_something = true;
    struct client_answer *answer = client_answer_new();
    struct client_watch_answer *decoded = client_decode_watch(message, client_answer_arena(answer));
    if (decoded == NULL) {
        client_answer_free(answer);
        give_up(self, ETCD_INTERNAL, SLICE_LITERAL("grpc: failed to unmarshal the received message"));
        return;
    }
    const struct etcd_watch_response *news = &decoded->response;
    if (news->created) {
        on_created(self, answer, news);
        return;
    }
    if (news->watch == NO_WATCH_ID && !news->canceled) {
        on_progress_of_all(self, answer, news);
        return;
    }
    struct watch *watch = map_u64_get(&self->by_server_id, (uint64_t)news->watch);
    if (watch != NULL && watch->fragments.len + message.len > CLIENT_WATCH_FRAGMENTS_MAX) {
        client_answer_free(answer);
        give_up(self, ETCD_RESOURCE_EXHAUSTED, SLICE_LITERAL("etcdclient: the fragments of a revision are too large"));
    } else if (watch != NULL && news->canceled) {
        finish(self, watch, answer, news);
    } else if (watch != NULL && !watch->cancel_wanted &&
               is_complete(watch, &message, &decoded, client_answer_arena(answer))) {
        on_events(self, watch, answer, &decoded->response);
    } else {
        client_answer_free(answer);
    }
}

/* ---- what users do ---- */

struct etcd_watch_stream *client_watch_open(struct client *client, const struct etcd_watch_stream_options *options) {
    struct etcd_watch_stream *self = NEW(struct etcd_watch_stream);
    self->client = client;
    client_hold(client);
    self->reopen = (struct env_timer){.callback = on_reopen, .context = self};
    if (options != NULL) {
        self->require_leader = options->require_leader;
        self->callback = options->callback;
        self->context = options->context;
    }
    list_init(&self->watches);
    list_init(&self->creating);
    list_init(&self->queue);
    map_u64_init(&self->by_id, 0);
    map_u64_init(&self->by_server_id, 0);
    return self;
}

int64_t client_watch_add(struct etcd_watch_stream *self, const struct etcd_watch_request *request) {
    struct watch *watch = NEW(struct watch);
    watch->id = self->next_id++;
    watch->request = *request;
    watch->next_revision = request->start_revision;
    buf_append_slice(&watch->keys, client_slice(request->key));
    buf_append_slice(&watch->keys, client_slice(request->range_end));
    watch->request.key = etcd_bytes_of(watch->keys.data, request->key.len);
    watch->request.range_end = request->range_end.len == 0
                                   ? etcd_bytes_of(NULL, 0)
                                   : etcd_bytes_of(watch->keys.data + request->key.len, request->range_end.len);
    list_init(&watch->creating);
    list_push_back(&self->watches, &watch->link);
    map_u64_put(&self->by_id, (uint64_t)watch->id + 1, watch);
    if (self->rpc != NULL)
        send_create(self, watch);
    else if (!self->ended && !env_timer_is_running(&self->reopen))
        open_stream(self);
    return watch->id;
}

void client_watch_cancel(struct etcd_watch_stream *self, int64_t id) {
    struct watch *watch = find(self, id);
    if (watch == NULL || watch->cancel_wanted) return;
    watch->cancel_wanted = true;
    buf_clear(&watch->fragments);
    if (watch->state == WATCH_LIVE && self->rpc != NULL) send_cancel(self, watch);
    /* A watch that waits for its stream ends when that is opened and the creation answered; after the stream's end
     * there is nobody to tell. */
}

void client_watch_request_progress(struct etcd_watch_stream *self) {
    if (self->rpc == NULL) return;
    struct buf message = BUF_INIT;
    client_encode_watch_progress(&message);
    send(self, &message);
}

static struct etcd_watch_response *pop(struct etcd_watch_stream *self) {
    struct queued *queued = CONTAINER_OF(self->queue.next, struct queued, link);
    struct etcd_watch_response *response = queued->response;
    list_remove(&queued->link);
    mem_free(queued);
    self->queue_count--;
    return response;
}

bool client_watch_take(struct etcd_watch_stream *self, struct etcd_watch_response **ret_response, int *ret_code,
                       struct etcd_error *error) {
    if (self->queue_count > 0) {
        *ret_response = pop(self);
        *ret_code = ETCD_OK;
        if (self->rpc != NULL) client_rpc_pause(self->rpc, self->queue_count >= CLIENT_WATCH_BACKLOG_MAX);
        return true;
    }
    if (!self->ended) return false;
    *ret_code = self->end.code;
    if (error != NULL) *error = self->end;
    return true;
}

void client_watch_close(struct etcd_watch_stream *self) {
    if (self == NULL) return;
    if (self->closed != NULL) *self->closed = true;
    if (!self->ended) client_release(self->client);
    client_rpc_cancel(self->rpc);
    env_timer_stop(client_env(self->client), &self->reopen);
    LIST_FOREACH (link, &self->watches) watch_free(self, CONTAINER_OF(link, struct watch, link));
    while (self->queue_count > 0) client_response_free(pop(self));
    map_u64_release(&self->by_id);
    map_u64_release(&self->by_server_id);
    mem_free(self);
}

struct client *client_watch_client(const struct etcd_watch_stream *self) {
    return self->client;
}
