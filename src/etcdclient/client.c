/* client.c - the real world of a client: loop, clock and connections, see etcdclient.h. */
#include "etcdclient/etcdclient.h"

#include "base/list.h"
#include "base/mem.h"

#include <stdio.h>

#define MS_NS INT64_C(1000000)

/* One try to connect, and what comes of it. Outlives the client's interest in it until net/ has closed the link. */
struct connection {
    struct etcd_client *client; /* NULL: given up */
    struct net_link *link;
    bool is_connected;
    char address[256]; /* "tcp 127.0.0.1:2379", for error texts */
};

/* ---- what the link calls ---- */

static void on_connected(void *machine) {
    struct connection *self = machine;
    self->is_connected = true;
    if (self->client != NULL) client_connected(self->client->core);
}

static void on_receive(void *machine, struct slice bytes) {
    struct connection *self = machine;
    if (self->client != NULL) client_received(self->client->core, bytes);
}

static bool on_produce(void *machine, struct buf *output, size_t budget_bytes) {
    struct connection *self = machine;
    if (self->client == NULL || !self->is_connected) return false;
    self->client->has_work = true; /* bytes are asked for after the turn has looked at its timers; there may be new */
    return client_produce(self->client->core, output, budget_bytes);
}

/* The core hangs up when the connection is to end. */
static bool is_finished(void *machine) { return false; }

static void on_closed(void *machine, enum err reason) {
    struct connection *self = machine;
    struct etcd_client *client = self->client;
    if (client != NULL) {
        client->connection = NULL;
        char text[400];
        if (self->is_connected) {
            client_disconnected(client->core, reason == OK ? "EOF" : err_text(reason));
        } else {
            /* Of TCP the error says itself that it was connecting. */
            const char *doing = strncmp(self->address, "unix ", 5) == 0 ? "connect: " : "";
            snprintf(text, sizeof(text), "dial %s: %s%s", self->address, doing, err_text(reason));
            client_dial_failed(client->core, text);
        }
    }
    mem_free(self);
}

static const struct net_machine link_machine = {
    .connected = on_connected,
    .receive = on_receive,
    .produce = on_produce,
    .is_finished = is_finished,
    .closed = on_closed,
};

/* ---- what the core asks for ---- */

static void on_bad_address(struct env_timer *timer) {
    struct etcd_client *client = timer->context;
    if (client->connection != NULL && client->connection->link == NULL) on_closed(client->connection, ERR_INVALID);
}

static void dial(struct client_owner *owner, const struct client_endpoint *endpoint) {
    struct etcd_client *client = CONTAINER_OF(owner, struct etcd_client, owner);
    struct connection *connection = NEW(struct connection);
    bool is_unix = endpoint->unix_path != NULL;
    char text[300];
    if (is_unix)
        snprintf(text, sizeof(text), "%s", endpoint->unix_path);
    else
        snprintf(text, sizeof(text), strchr(endpoint->host, ':') != NULL ? "[%s]:%s" : "%s:%s", endpoint->host,
                 endpoint->port);
    snprintf(connection->address, sizeof(connection->address), "%s %.240s", is_unix ? "unix" : "tcp", text);
    connection->client = client;
    client->connection = connection;
    struct net_address address = {.text = text, .is_unix = is_unix};
    if (net_dial(client->loop, address, &link_machine, connection, &connection->link) != OK) {
        /* The core must not hear of it from inside. */
        env_timer_start(os_world_env(client->world), &client->refusal, 0);
    }
}

static void hang_up(struct client_owner *owner) {
    struct etcd_client *client = CONTAINER_OF(owner, struct etcd_client, owner);
    struct connection *connection = TAKE(client->connection);
    if (connection == NULL) return;
    connection->client = NULL;
    if (connection->link != NULL)
        net_link_close(connection->link); /* on_closed frees it */
    else
        mem_free(connection);
}

static void want_flush(struct client_owner *owner) {
    struct etcd_client *client = CONTAINER_OF(owner, struct etcd_client, owner);
    if (client->connection != NULL && client->connection->is_connected) net_link_touch(client->connection->link);
}

/* ---- the loop ---- */

static int64_t on_turn(void *context) {
    struct etcd_client *client = context;
    int64_t next_ns = os_world_turn(client->world);
    if (client->until_ns == INT64_MAX) return next_ns;
    int64_t left_ns = client->until_ns - env_now_ns(os_world_env(client->world));
    if (left_ns < 0) left_ns = 0;
    return next_ns < 0 || left_ns < next_ns ? left_ns : next_ns;
}

/* The loop learns of new timers, and of what is to be sent, in a turn only: that one must not wait. */
void etcdclient_turn(struct etcd_client *client, int64_t until_ns) {
    bool is_news = client->has_work || client->until_ns != until_ns;
    client->has_work = false;
    client->until_ns = until_ns;
    net_loop_turn(client->loop, !is_news);
}

struct etcd_client *etcdclient_of(struct client *core) {
    return CONTAINER_OF(client_get_owner(core), struct etcd_client, owner);
}

void etcd_client_run(struct etcd_client *client, int64_t timeout_ms) {
    struct env *env = os_world_env(client->world);
    int64_t until_ns = timeout_ms <= 0 ? INT64_MAX : env_now_ns(env) + timeout_ms * MS_NS;
    client->is_stopping = false;
    if (timeout_ms == 0) {
        client->has_work = true;
        etcdclient_turn(client, until_ns);
        return;
    }
    while (!client->is_stopping && (timeout_ms < 0 ? client_is_busy(client->core) : env_now_ns(env) < until_ns))
        etcdclient_turn(client, until_ns);
}

void etcd_client_stop(struct etcd_client *client) { client->is_stopping = true; }

int etcd_client_fd(const struct etcd_client *client) { return net_loop_fd(client->loop); }

int64_t etcd_client_timeout_ms(const struct etcd_client *client) {
    return client->has_work ? 0 : net_loop_timeout_ms(client->loop);
}

/* ---- life ---- */

struct etcd_client *etcd_client_new(const struct etcd_client_options *options, struct etcd_error *error) {
    struct etcd_client *client = NEW(struct etcd_client);
    client->owner = (struct client_owner){.dial = dial, .hang_up = hang_up, .want_flush = want_flush};
    client->until_ns = INT64_MAX;
    client->refusal = (struct env_timer){.callback = on_bad_address, .context = client};
    client->world = os_world_new(NULL);
    client->loop = net_loop_new();
    os_world_set_wake(client->world, net_loop_wake_callback, client->loop);
    net_loop_set_turn_hook(client->loop, on_turn, client);
    client->core = client_new(os_world_env(client->world), options, &client->owner, error);
    if (client->core == NULL) {
        etcd_client_free(client);
        return NULL;
    }
    client->renewals = client_renewals_new(client->core);
    return client;
}

void etcd_client_free(struct etcd_client *client) {
    if (client == NULL) return;
    client_renewals_free(client->renewals);
    client_free(client->core);
    env_timer_stop(os_world_env(client->world), &client->refusal);
    net_loop_set_turn_hook(client->loop, NULL, NULL);
    net_loop_free(client->loop);
    os_world_free(client->world);
    mem_free(client);
}

void etcd_client_set_command_timeout(struct etcd_client *client, int64_t timeout_ms) {
    client_set_command_timeout_ns(client->core, timeout_ms * MS_NS);
}

const char *etcd_client_endpoint(const struct etcd_client *client) { return client_current_endpoint(client->core); }

const char *etcd_client_local_address(const struct etcd_client *client, char *text, size_t size_bytes) {
    snprintf(text, size_bytes, "%s", "");
    if (client->connection != NULL && client->connection->is_connected)
        net_link_local(client->connection->link, text, size_bytes);
    return text;
}
