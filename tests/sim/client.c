/* client.c - the core's owner in the simulated world. */
#include "sim/client.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define PRODUCE_BYTES (64 * 1024)
#define ENDPOINTS_MAX 9

struct sim_client {
    struct sim_net *net;
    struct sim_machine *machine;
    struct client_owner owner;
    struct client *core;
    struct sim_end *end;
    struct env_timer flush;
    struct buf output;
};

static void hang_up(struct client_owner *owner) {
    struct sim_client *self = CONTAINER_OF(owner, struct sim_client, owner);
    if (self->end != NULL) sim_end_close(TAKE(self->end), SIM_CLOSE_ORDERLY);
}

static void connected(void *context, struct sim_end *end) { client_connected(((struct sim_client *)context)->core); }

static void want_flush(struct client_owner *owner) {
    struct sim_client *self = CONTAINER_OF(owner, struct sim_client, owner);
    if (!env_timer_is_running(&self->flush)) env_timer_start(sim_machine_env(self->machine), &self->flush, 0);
}

static void received(void *context, struct sim_end *end, struct slice bytes) {
    struct sim_client *self = context;
    client_received(self->core, bytes);
    want_flush(&self->owner);
}

static void ended(void *context, struct sim_end *end, enum err error) {
    struct sim_client *self = context;
    sim_end_close(TAKE(self->end), SIM_CLOSE_ORDERLY);
    if (error == ERR_CONNECTION_REFUSED)
        client_dial_failed(self->core, "dial tcp: connect: connection refused");
    else
        client_disconnected(self->core, error == OK ? "EOF" : "read: connection reset by peer");
}

static void drained(void *context, struct sim_end *end) { want_flush(&((struct sim_client *)context)->owner); }

static void dial(struct client_owner *owner, const struct client_endpoint *endpoint) {
    static const struct sim_end_events events = {
        .connected = connected, .received = received, .ended = ended, .drained = drained};
    struct sim_client *self = CONTAINER_OF(owner, struct sim_client, owner);
    char address[128];
    snprintf(address, sizeof address, "%s:%s", endpoint->host, endpoint->port);
    self->end = sim_net_connect(self->net, self->machine, address, &events, self);
}

static void flush(struct env_timer *timer) {
    struct sim_client *self = timer->context;
    if (self->end == NULL || sim_end_unsent(self->end) > 0) return;
    buf_clear(&self->output);
    bool has_more = client_produce(self->core, &self->output, PRODUCE_BYTES);
    if (self->end == NULL) return;
    sim_end_send(self->end, buf_slice(&self->output));
    if (has_more && sim_end_unsent(self->end) == 0) want_flush(&self->owner);
}

struct sim_client *sim_client_new(struct sim_net *net, struct sim_machine *machine, const char *endpoints,
                                  int64_t timeout_ms) {
    struct sim_client *self = NEW(struct sim_client);
    *self = (struct sim_client){.net = net, .machine = machine, .owner = {dial, hang_up, want_flush}};
    self->flush = (struct env_timer){.callback = flush, .context = self};
    char *list = mem_strdup(endpoints), *rest = list;
    const char *texts[ENDPOINTS_MAX];
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.endpoints = texts;
    if (timeout_ms != 0) options.command_timeout_ms = timeout_ms;
    for (char *text; (text = strsep(&rest, ",")) != NULL;) {
        CHECK(options.endpoint_count < ENDPOINTS_MAX);
        texts[options.endpoint_count++] = text;
    }
    struct etcd_error error;
    self->core = client_new(sim_machine_env(machine), &options, &self->owner, &error);
    CHECKF(self->core != NULL, "%s", error.text);
    mem_free(list);
    return self;
}

void sim_client_free(struct sim_client *self) {
    if (self == NULL) return;
    client_free(self->core);
    env_timer_stop(sim_machine_env(self->machine), &self->flush);
    if (self->end != NULL) sim_end_close(self->end, SIM_CLOSE_ORDERLY);
    buf_release(&self->output);
    mem_free(self);
}

struct client *sim_client_core(struct sim_client *self) {
    return self->core;
}

struct waiting {
    bool is_done;
    void *response;
    struct etcd_error error;
};

static void answered(void *context, void *response, const struct etcd_error *error) {
    struct waiting *self = context;
    self->is_done = true;
    self->response = response;
    if (response == NULL) self->error = *error;
}

static bool is_done(void *context) { return ((struct waiting *)context)->is_done; }

int sim_client_call(struct sim_client *self, enum etcd_method method, const void *request, void *ret_response,
                    struct etcd_error *error) {
    struct waiting waiting = {0};
    client_call_start(self->core, method, request, answered, &waiting);
    /* The client's own deadline ends it. */
    CHECK(sim_run_until(sim_machine_world(self->machine), is_done, &waiting, 600 * SIM_S_NS));
    if (waiting.response == NULL) {
        if (error != NULL) *error = waiting.error;
        return waiting.error.code;
    }
    if (ret_response != NULL)
        *(void **)ret_response = waiting.response;
    else
        client_response_free(waiting.response);
    return ETCD_OK;
}
