/* keepalive.c - renewal of leases, see keepalive.h. */
#include "client/keepalive.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "client/codec.h"

#define SECOND_NS INT64_C(1000000000)
/* The Go client looks twice a second which leases are due; so a short one is renewed as often as there. */
#define RENEWAL_STEP_NS (SECOND_NS / 2)

struct client_renewals {
    struct client *client;
    struct client_rpc *rpc; /* NULL: not open */
    struct env_timer reopen;
    uint64_t answers; /* so far */
    struct list keepalives;
    struct map_u64 by_lease; /* lease id -> the first keepalive of that lease; others follow by same_lease */
};

struct etcd_keepalive {
    struct client_renewals *renewals;
    struct list link;
    uint64_t last_answer;   /* the number of the answer it had last */
    struct list same_lease; /* a ring of the keepalives of one lease */
    int64_t lease_id;
    struct env_timer send_timer;   /* the next renewal */
    struct env_timer expiry_timer; /* no answer until then: the lease is gone */
    etcd_keepalive_callback callback;
    void *context;
    bool has_news; /* without callback: an answer that was not taken */
    struct etcd_lease_keepalive_response news;
    bool ended;
    struct etcd_error end;
};

static void send_renewal(struct etcd_keepalive *self) {
    struct buf message = BUF_INIT;
    client_encode_keepalive(self->lease_id, &message);
    client_rpc_send(self->renewals->rpc, buf_slice(&message));
    buf_release(&message);
}

/* Out of the renewals' books; what was told already stays to be taken. */
static void retire(struct etcd_keepalive *self) {
    struct env *env = client_env(self->renewals->client);
    struct client_renewals *renewals = self->renewals;
    env_timer_stop(env, &self->send_timer);
    env_timer_stop(env, &self->expiry_timer);
    list_remove(&self->link);
    list_init(&self->link);
    client_release(renewals->client);
    if (map_u64_get(&renewals->by_lease, (uint64_t)self->lease_id) == self) {
        map_u64_remove(&renewals->by_lease, (uint64_t)self->lease_id);
        if (!list_is_empty(&self->same_lease))
            map_u64_put(&renewals->by_lease, (uint64_t)self->lease_id,
                        CONTAINER_OF(self->same_lease.next, struct etcd_keepalive, same_lease));
    }
    list_remove(&self->same_lease);
    list_init(&self->same_lease);
    if (list_is_empty(&renewals->keepalives)) {
        env_timer_stop(env, &renewals->reopen);
        client_rpc_cancel(TAKE(renewals->rpc));
    }
}

/* The callback may free self. */
static void end_keepalive(struct etcd_keepalive *self) {
    retire(self);
    self->ended = true;
    client_error_set(&self->end, ETCD_NOT_FOUND, slice_from_cstr(err_text(ERR_LEASE_NOT_FOUND)), "");
    if (self->callback != NULL) {
        struct etcd_error end = self->end;
        self->callback(self->context, NULL, &end);
    }
}

static void on_expired(struct env_timer *timer) { end_keepalive(timer->context); }

static void on_send_due(struct env_timer *timer) {
    struct etcd_keepalive *self = timer->context;
    if (self->renewals->rpc != NULL) send_renewal(self); /* else it is sent when the stream is open again */
}

/* The callback may free self. */
static void renewed(struct etcd_keepalive *self, const struct etcd_lease_keepalive_response *response) {
    if (response->ttl_s <= 0) {
        end_keepalive(self);
        return;
    }
    struct env *env = client_env(self->renewals->client);
    int64_t ttl_ns = response->ttl_s < INT64_MAX / SECOND_NS ? response->ttl_s * SECOND_NS : INT64_MAX / 2;
    env_timer_start(env, &self->send_timer, (ttl_ns / 3 + RENEWAL_STEP_NS - 1) / RENEWAL_STEP_NS * RENEWAL_STEP_NS);
    env_timer_start(env, &self->expiry_timer, ttl_ns);
    if (self->callback != NULL) {
        self->callback(self->context, response, NULL);
        return;
    }
    self->news = *response;
    self->has_news = true;
}

static void on_end(void *context, const struct client_end *end) {
    struct client_renewals *self = context;
    self->rpc = NULL;
    if (list_is_empty(&self->keepalives)) return;
    bool lost = !end->from_server && end->was_sent;
    env_timer_start(client_env(self->client), &self->reopen, lost ? 0 : CLIENT_KEEPALIVE_PAUSE_NS);
}

static void on_message(void *context, struct slice message) {
    struct client_renewals *self = context;
    struct etcd_lease_keepalive_response response;
    struct arena scratch;
    arena_init(&scratch, 0);
    bool good = client_decode_keepalive(message, &scratch, &response);
    arena_release(&scratch);
    if (!good) return; /* no answer: the lease's own clock runs on */
    /* Each callback may close any keepalive: the head of the ring goes on to the next before, and the round is over
     * at one that has had this answer. */
    self->answers++;
    for (;;) {
        struct etcd_keepalive *keepalive = map_u64_get(&self->by_lease, (uint64_t)response.id);
        if (keepalive == NULL || keepalive->last_answer == self->answers) return;
        keepalive->last_answer = self->answers;
        if (!list_is_empty(&keepalive->same_lease))
            map_u64_put(&self->by_lease, (uint64_t)response.id,
                        CONTAINER_OF(keepalive->same_lease.next, struct etcd_keepalive, same_lease));
        renewed(keepalive, &response);
    }
}

static const struct client_rpc_handler rpc_handler = {.on_message = on_message, .on_end = on_end};

static void open_stream(struct client_renewals *self) {
    struct client_rpc_options options = {
        .path = "/etcdserverpb.Lease/LeaseKeepAlive",
        .handler = &rpc_handler,
        .context = self,
    };
    self->rpc = client_rpc_start(self->client, &options);
    LIST_FOREACH (link, &self->keepalives) send_renewal(CONTAINER_OF(link, struct etcd_keepalive, link));
}

static void on_reopen(struct env_timer *timer) { open_stream(timer->context); }

struct client_renewals *client_renewals_new(struct client *client) {
    struct client_renewals *self = NEW(struct client_renewals);
    self->client = client;
    self->reopen = (struct env_timer){.callback = on_reopen, .context = self};
    list_init(&self->keepalives);
    map_u64_init(&self->by_lease, 0);
    return self;
}

void client_renewals_free(struct client_renewals *self) {
    if (self == NULL) return;
    client_rpc_cancel(self->rpc);
    env_timer_stop(client_env(self->client), &self->reopen);
    map_u64_release(&self->by_lease);
    mem_free(self);
}

struct etcd_keepalive *client_keepalive_open(struct client_renewals *renewals, int64_t lease_id,
                                             etcd_keepalive_callback callback, void *context) {
    struct etcd_keepalive *self = NEW(struct etcd_keepalive);
    self->renewals = renewals;
    self->lease_id = lease_id;
    self->callback = callback;
    self->context = context;
    self->send_timer = (struct env_timer){.callback = on_send_due, .context = self};
    self->expiry_timer = (struct env_timer){.callback = on_expired, .context = self};
    list_init(&self->same_lease);
    list_push_back(&renewals->keepalives, &self->link);
    client_hold(renewals->client);
    struct etcd_keepalive *other = map_u64_get(&renewals->by_lease, (uint64_t)lease_id);
    if (other != NULL)
        list_insert_after(&other->same_lease, &self->same_lease);
    else
        map_u64_put(&renewals->by_lease, (uint64_t)lease_id, self);
    env_timer_start(client_env(renewals->client), &self->expiry_timer,
                    client_dial_timeout_ns(renewals->client) + SECOND_NS);
    if (renewals->rpc != NULL)
        send_renewal(self);
    else if (!env_timer_is_running(&renewals->reopen))
        open_stream(renewals);
    return self;
}

bool client_keepalive_take(struct etcd_keepalive *self, struct etcd_lease_keepalive_response *ret_response,
                           int *ret_code, struct etcd_error *error) {
    if (self->has_news) {
        self->has_news = false;
        *ret_response = self->news;
        *ret_code = ETCD_OK;
        return true;
    }
    if (!self->ended) return false;
    *ret_code = self->end.code;
    if (error != NULL) *error = self->end;
    return true;
}

void client_keepalive_close(struct etcd_keepalive *self) {
    if (self == NULL) return;
    if (!self->ended) retire(self);
    mem_free(self);
}

struct client *client_keepalive_client(const struct etcd_keepalive *self) {
    return self->renewals->client;
}
