/* client.c - the client against a server that may say anything: calls, watches, renewals and raw streams, over
 * connections that come and go. The first byte says how the bytes are cut; then steps (frames.h), by which the server
 * speaks; OTHER is what the user of the client does. */
#include "fuzz/frames.h"

#include "base/vec.h"
#include "client/calls.h"
#include "client/keepalive.h"
#include "client/watch.h"
#include "unit/http/fake_env.h"

#define OUTPUT_STEP_BYTES 65536
#define BASE_BYTES (4 * 1024 * 1024)
#define FACTOR (16 * 1024)
#define CALLS_MAX 64

struct world;
struct call {
    struct world *world;
    struct etcd_call *handle; /* NULL: over */
};

struct world {
    struct fake_env env;
    struct env_ops ops;
    uint64_t random;
    struct client_owner owner;
    struct client *client;
    struct client_renewals *renewals;
    struct call calls[CALLS_MAX];
    size_t call_count;
    struct etcd_watch_stream *watch;
    struct etcd_keepalive *keepalive;
    struct etcd_stream *stream;
    struct buf output;
    bool is_dialing, is_connected, refuses, is_paused, is_silent;
    uint32_t sum;
};

static void random_bytes(struct env *env, void *bytes, size_t size_bytes) {
    struct world *self = (struct world *)env;
    for (size_t i = 0; i < size_bytes; i++) {
        self->random = self->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(self->random >> 56);
    }
}

static void dial(struct client_owner *owner, const struct client_endpoint *endpoint) {
    struct world *self = CONTAINER_OF(owner, struct world, owner);
    CHECK(!self->is_dialing && !self->is_connected && endpoint->host != NULL);
    self->is_dialing = true;
}
static void hang_up(struct client_owner *owner) {
    struct world *self = CONTAINER_OF(owner, struct world, owner);
    self->is_dialing = self->is_connected = false;
}
static void want_flush(struct client_owner *owner) {}

/* What has been sent is lost: this server does not listen. */
static void settle(struct world *self) {
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0}; /* no server is one without */
    for (int rounds = 0; rounds < 20; rounds++) {
        fake_env_advance(&self->env, 0);
        if (self->is_dialing) {
            self->is_dialing = false;
            self->is_connected = !self->refuses;
            if (self->refuses)
                client_dial_failed(self->client, "dial tcp: connect: connection refused");
            else
                client_connected(self->client);
            if (self->is_connected && !self->is_silent)
                client_received(self->client, slice_make(settings, sizeof settings));
        }
        if (self->is_paused) return;
        while (client_produce(self->client, &self->output, OUTPUT_STEP_BYTES)) buf_clear(&self->output);
        buf_clear(&self->output);
    }
}

static void deliver(void *context, struct slice bytes) {
    struct world *self = context;
    if (self->is_connected) client_received(self->client, bytes);
    settle(self);
}

static void pass(void *context, int64_t duration_ns) {
    struct world *self = context;
    fake_env_advance(&self->env, duration_ns);
    settle(self);
}

/* ---- the user ---- */

static void touch(struct world *self, struct etcd_bytes bytes) {
    for (size_t i = 0; i < bytes.len; i++) self->sum = self->sum * 31 + ((const uint8_t *)bytes.data)[i];
}

static void answered(void *context, void *response, const struct etcd_error *error) {
    struct call *call = context;
    CHECK((response == NULL) == (error != NULL));
    CHECK(call->handle != NULL);
    call->handle = NULL;
    client_response_free(response);
}

static void start_call(struct world *self, uint8_t method) {
    static const uint64_t zeros[64]; /* any request without a field set */
    if (self->call_count == CALLS_MAX) return;
    struct call *call = &self->calls[self->call_count++];
    call->world = self;
    if (method <= ETCD_METHOD_MOVE_LEADER)
        call->handle = client_call_start(self->client, (enum etcd_method)method, zeros, answered, call);
    else
        call->handle = client_call_start_raw(self->client, method & 1 ? "/f.F/Raw" : "/etcdserverpb.KV/Range",
                                             (struct etcd_bytes){"raw", 3}, answered, call);
}

static void take_watch(struct world *self) {
    struct etcd_watch_response *response;
    struct etcd_error error;
    int code;
    if (!client_watch_take(self->watch, &response, &code, &error) || code != ETCD_OK) return;
    for (size_t i = 0; i < response->event_count; i++) {
        touch(self, response->events[i].kv.key);
        touch(self, response->events[i].kv.value);
        if (response->events[i].prev_kv != NULL) touch(self, response->events[i].prev_kv->value);
    }
    CHECK(!response->canceled || response->cancel_reason != NULL);
    client_response_free(response);
}

static void told(void *context, const struct etcd_watch_response *response, const struct etcd_error *error) {
    CHECK((response == NULL) == (error != NULL));
}

static void use_watch(struct world *self, uint8_t choice) {
    if (self->watch == NULL) {
        struct etcd_watch_stream_options options = {.require_leader = choice & 1,
                                                    .callback = choice >= 60 ? told : NULL};
        self->watch = client_watch_open(self->client, &options);
    }
    struct etcd_watch_request request = {.key = {"k", 1},
                                         .start_revision = choice & 2,
                                         .fragment = choice & 4,
                                         .created_notify = choice & 8,
                                         .no_put = choice & 16,
                                         .prev_kv = choice & 32};
    switch (choice % 6) {
    case 0:
    case 1: (void)client_watch_add(self->watch, &request); break;
    case 2: client_watch_cancel(self->watch, choice / 6 % 4); break;
    case 3: client_watch_request_progress(self->watch); break;
    case 4: take_watch(self); break;
    case 5: client_watch_close(self->watch); self->watch = NULL;
    }
}

static void renewed(void *context, const struct etcd_lease_keepalive_response *response,
                    const struct etcd_error *error) {
    CHECK((response == NULL) == (error != NULL));
}

static void use_keepalive(struct world *self, uint8_t choice) {
    struct etcd_lease_keepalive_response response;
    struct etcd_error error;
    int code;
    if (self->keepalive == NULL) {
        self->keepalive = client_keepalive_open(self->renewals, choice, choice % 5 == 0 ? renewed : NULL, NULL);
    } else if (choice % 4 != 0) {
        (void)client_keepalive_take(self->keepalive, &response, &code, &error);
    } else {
        client_keepalive_close(self->keepalive);
        self->keepalive = NULL;
    }
}

static void use_stream(struct world *self, uint8_t choice) {
    struct etcd_raw_response *response;
    struct etcd_error error;
    int code;
    if (self->stream == NULL) {
        self->stream =
            client_stream_open(self->client, "/etcdserverpb.Maintenance/Snapshot", choice & 1 ? 2000000000 : 0);
        return;
    }
    switch (choice % 4) {
    case 0: client_stream_send(self->stream, (struct etcd_bytes){"m", 1}); break;
    case 1: client_stream_close_send(self->stream); break;
    case 2:
        if (client_stream_take(self->stream, &response, &code, &error) && code == ETCD_OK && response != NULL) {
            touch(self, response->message);
            client_response_free(response);
        }
        break;
    case 3: client_stream_close(self->stream); self->stream = NULL;
    }
}

static void other(void *context, uint8_t choice) {
    struct world *self = context;
    if (choice < 30) start_call(self, choice);
    if (choice >= 30 && choice < 100) use_watch(self, choice - 30);
    if (choice >= 100 && choice < 120) use_keepalive(self, choice);
    if (choice >= 120 && choice < 140) use_stream(self, choice);
    if (choice == 140 && self->is_connected) {
        self->is_connected = false;
        client_disconnected(self->client, "EOF");
    }
    if (choice == 141) self->refuses = !self->refuses;
    if (choice == 142) self->is_paused = !self->is_paused;
    if (choice == 143 && self->call_count != 0) {
        struct call *call = &self->calls[self->call_count - 1];
        if (call->handle != NULL) client_call_cancel(TAKE(call->handle));
    }
    if (choice == 144) client_move_on(self->client);
    if (choice == 145) self->is_silent = !self->is_silent;
    CHECK(client_current_endpoint(self->client) != NULL);
    settle(self);
}

static void open_world(struct world *self) {
    static const char *const endpoints[] = {"a:1", "b:2"};
    *self = (struct world){.owner = {dial, hang_up, want_flush}};
    fake_env_init(&self->env);
    self->ops = *self->env.env.ops;
    self->ops.random_bytes = random_bytes;
    self->env.env.ops = &self->ops;
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.endpoints = endpoints;
    options.endpoint_count = 2;
    options.keepalive_time_ms = 10000;
    options.keepalive_timeout_ms = 1000;
    options.max_response_bytes = 100000;
    self->client = client_new(&self->env.env, &options, &self->owner, NULL);
    CHECK(self->client != NULL);
    self->renewals = client_renewals_new(self->client);
}

static void close_world(struct world *self) {
    if (self->watch != NULL) client_watch_close(self->watch);
    if (self->keepalive != NULL) client_keepalive_close(self->keepalive);
    if (self->stream != NULL) client_stream_close(self->stream);
    client_renewals_free(self->renewals);
    client_free(self->client);
    buf_release(&self->output);
    CHECK(fake_env_release(&self->env));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const none[] = {"/"};
    struct fuzz_input input = {data, data + size};
    struct world world;
    struct fuzz_wire wire = {
        .deliver = deliver, .pass = pass, .other = other, .context = &world, .paths = none, .path_count = 1};
    wire.cuts = fuzz_cuts_make(fuzz_byte(&input));
    size_t before_bytes = fuzz_live_bytes();
    open_world(&world);
    fuzz_play(&wire, &input);
    CHECK(fuzz_live_bytes() <= before_bytes + BASE_BYTES + FACTOR * size);
    close_world(&world);
    return 0;
}
