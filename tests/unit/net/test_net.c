/* The loop, listeners and links over real sockets on this machine; ports are whatever is free. Nothing sleeps: each
 * test turns the loop until what it waits for has come, at most TURNS_MAX times. */
#include "grpc/client.h"
#include "grpc/server.h"
#include "net/listener.h"
#include "os/os.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

#include <cmocka.h>

#define TURNS_MAX 200000
#define CLIENTS_MAX 200

struct client {
    struct fixture *fixture;
    struct net_link *link;
    struct grpc_client *grpc;
    struct http_client_owner owner;
    size_t answers, failures, answer_bytes;
    int last_code;
    bool is_connected, is_closed;
    enum err reason;
};

struct plain { /* speaks HTTP/1.1 by hand */
    struct net_link *link;
    struct buf to_send, received;
    bool is_connected, is_closed, wants_no_read, finishes;
    enum err reason;
};

struct fixture {
    struct os_world *world;
    struct env *env;
    struct net_loop *loop;
    struct grpc_server *grpc;
    struct http_server *http;
    struct net_listener *listener;
    char address[64];
    struct client clients[CLIENTS_MAX];
    struct grpc_call *kept;
    size_t cancelled, http1_requests;
    size_t listeners_closed;
    int signals;
    struct plain plain;
};

/* ---- service ---- */

static void echo(struct grpc_call *call) { grpc_call_reply(call, grpc_call_message(call)); }
static void keep(struct grpc_call *call) { ((struct fixture *)grpc_call_service(call))->kept = call; }
static void note_cancel(struct grpc_call *call) { ((struct fixture *)grpc_call_service(call))->cancelled++; }
static const struct grpc_method methods[] = {
    {.path = "/t.T/Echo", .on_call = echo},
    {.path = "/t.T/Keep", .on_call = keep, .on_cancel = note_cancel},
};

static enum http_pull pull_forever(struct http_producer *producer, size_t want_bytes, struct http_piece *ret_piece) {
    static const uint8_t zeros[65536];
    *ret_piece = http_piece_kept(slice_make(zeros, sizeof zeros));
    return HTTP_PULL_PIECE;
}
static void forever_done(struct http_producer *producer) { producer->pull = NULL; }
static struct http_producer *forever(void) {
    static struct http_producer producer;
    producer = (struct http_producer){pull_forever, forever_done};
    return &producer;
}

static void on_request(void *context, struct http_request *request) {
    struct fixture *self = context;
    if (request->version_major == 2) {
        grpc_server_handle(self->grpc, request);
        return;
    }
    self->http1_requests++;
    if (slice_equal_cstr(request->target, "/forever")) {
        http_reply(request, 200, NULL, 0);
        http_reply_produce(request, forever());
        http_reply_end(request, NULL, 0);
        return;
    }
    http_reply_full(request, 200, NULL, 0, slice_from_cstr(request->peer));
}

/* ---- clients ---- */

static void client_want_flush(struct http_client_owner *owner) {
    net_link_touch(CONTAINER_OF(owner, struct client, owner)->link);
}
static void client_connected(void *machine) { ((struct client *)machine)->is_connected = true; }
static void client_receive(void *machine, struct slice bytes) {
    grpc_client_receive(((struct client *)machine)->grpc, bytes);
}
static bool client_produce(void *machine, struct buf *output, size_t budget_bytes) {
    return grpc_client_produce(((struct client *)machine)->grpc, output, budget_bytes);
}
static bool client_is_finished(void *machine) {
    return http_client_is_finished(grpc_client_http(((struct client *)machine)->grpc));
}
static void client_closed(void *machine, enum err reason) {
    struct client *self = machine;
    assert_false(self->is_closed);
    self->is_closed = true;
    self->reason = reason;
    grpc_client_free(TAKE(self->grpc));
}
static const struct net_machine client_machine = {.connected = client_connected,
                                                  .receive = client_receive,
                                                  .produce = client_produce,
                                                  .is_finished = client_is_finished,
                                                  .closed = client_closed};

static void on_message(void *context, struct slice message) {
    ((struct client *)context)->answers++;
    ((struct client *)context)->answer_bytes += message.len;
}
static void on_status(void *context, const struct grpc_status *status) {
    ((struct client *)context)->last_code = status->code;
    if (status->code != GRPC_OK) ((struct client *)context)->failures++;
}
static const struct grpc_client_handler handler = {.on_message = on_message, .on_status = on_status};

static struct client *dial(struct fixture *self, size_t index, struct net_address address) {
    struct client *client = &self->clients[index];
    *client = (struct client){.fixture = self, .owner = {client_want_flush}, .last_code = -1};
    assert_int_equal(net_dial(self->loop, address, &client_machine, client, &client->link), OK);
    struct grpc_client_options options = {.env = self->env, .authority = "a"};
    client->grpc = grpc_client_new(&options, &client->owner);
    return client;
}

static void call(struct client *client, const char *path, struct slice message) {
    struct grpc_client_call_options options = {.path = path, .handler = &handler, .context = client};
    assert_non_null(grpc_client_unary(client->grpc, &options, message));
}

static void plain_connected(void *machine) { ((struct plain *)machine)->is_connected = true; }
static void plain_receive(void *machine, struct slice bytes) {
    buf_append_slice(&((struct plain *)machine)->received, bytes);
}
static void plain_receive_end(void *machine) { ((struct plain *)machine)->finishes = true; }
static bool plain_produce(void *machine, struct buf *output, size_t budget_bytes) {
    struct plain *self = machine;
    buf_append_slice(output, buf_slice(&self->to_send));
    buf_clear(&self->to_send);
    return false;
}
static bool plain_is_finished(void *machine) { return ((struct plain *)machine)->finishes; }
static bool plain_wants_read(void *machine) { return !((struct plain *)machine)->wants_no_read; }
static void plain_closed(void *machine, enum err reason) {
    ((struct plain *)machine)->is_closed = true;
    ((struct plain *)machine)->reason = reason;
}
static const struct net_machine plain_machine = {plain_connected,   plain_receive,    plain_receive_end, plain_produce,
                                                 plain_is_finished, plain_wants_read, plain_closed};

static struct plain *dial_plain(struct fixture *self, const char *to_send) {
    struct plain *plain = &self->plain;
    buf_append_cstr(&plain->to_send, to_send);
    assert_int_equal(
        net_dial(self->loop, (struct net_address){.text = self->address}, &plain_machine, plain, &plain->link), OK);
    return plain;
}

/* ---- fixture ---- */

static int64_t turn(void *context) { return os_world_turn(context); }

static struct net_listener *listen_at(struct fixture *self, struct net_address address, struct net_quota *quota) {
    struct net_listener_options options = {.address = address, .server = self->http, .quota = quota};
    struct net_listener *listener;
    struct errmsg message;
    assert_int_equal(net_listen(self->loop, &options, &listener, &message), OK);
    return listener;
}

static int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    self->world = os_world_new(NULL);
    self->env = os_world_env(self->world);
    self->loop = net_loop_new();
    os_world_set_wake(self->world, net_loop_wake_callback, self->loop);
    net_loop_set_turn_hook(self->loop, turn, self->world);
    struct grpc_server_options grpc_options = {.env = self->env, .receive_max_bytes = 10000000};
    self->grpc = grpc_server_new(&grpc_options);
    grpc_server_add(self->grpc, methods, 2, self);
    struct http_server_options options = {.env = self->env, .on_request = on_request, .context = self};
    self->http = http_server_new(&options);
    self->listener = listen_at(self, (struct net_address){.text = "127.0.0.1:0"}, NULL);
    snprintf(self->address, sizeof self->address, "127.0.0.1:%d", net_listener_port(self->listener));
    *state = self;
    return 0;
}

static int teardown(void **state) {
    struct fixture *self = *state;
    if (self->listener != NULL) net_listener_shutdown(self->listener, 0, NULL, NULL);
    net_loop_free(self->loop);
    if (self->kept != NULL) grpc_call_fail(self->kept, ERR_STOPPED);
    http_server_free(self->http);
    grpc_server_free(self->grpc);
    os_world_free(self->world);
    buf_release(&self->plain.to_send);
    buf_release(&self->plain.received);
    mem_free(self);
    return 0;
}

#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        for (int turns_ = 0; !(condition); turns_++) {                                                                 \
            assert_true(turns_ < TURNS_MAX);                                                                           \
            net_loop_turn(self->loop, true);                                                                           \
        }                                                                                                              \
    } while (0)

/* ---- tests ---- */

static void a_call_goes_through_sockets(void **state) {
    struct fixture *self = *state;
    struct client *client = dial(self, 0, (struct net_address){.text = self->address});
    call(client, "/t.T/Echo", SLICE_LITERAL("ping"));
    assert_false(client->is_connected);
    WAIT_FOR(client->last_code >= 0);
    assert_int_equal(client->last_code, GRPC_OK);
    assert_int_equal(client->answer_bytes, 4);
    assert_true(client->is_connected);
    assert_string_equal(net_link_peer(client->link), self->address);
    assert_int_equal(net_listener_connections(self->listener), 1);
    net_link_close(client->link);
    WAIT_FOR(client->is_closed && net_listener_connections(self->listener) == 0);
}

static void a_unix_socket_serves_too(void **state) {
    struct fixture *self = *state;
    char path[64];
    snprintf(path, sizeof path, "test_net.%d.sock", (int)getpid());
    struct net_address address = {.text = path, .is_unix = true};
    struct net_listener *listener = listen_at(self, address, NULL);
    struct client *client = dial(self, 0, address);
    call(client, "/t.T/Echo", SLICE_LITERAL("ping"));
    WAIT_FOR(client->last_code >= 0);
    assert_int_equal(client->last_code, GRPC_OK);
    assert_string_equal(net_link_peer(client->link), "@");
    net_listener_shutdown(listener, 0, NULL, NULL);
    WAIT_FOR(client->is_closed);
    unlink(path);
}

static void names_with_several_addresses_are_tried_in_turn(void **state) {
    struct fixture *self = *state;
    char address[64];
    snprintf(address, sizeof address, "localhost:%d", net_listener_port(self->listener));
    struct client *client = dial(self, 0, (struct net_address){.text = address});
    call(client, "/t.T/Echo", SLICE_LITERAL("ping"));
    WAIT_FOR(client->last_code >= 0 || client->is_closed);
    assert_int_equal(client->last_code, GRPC_OK);
}

static void a_refused_connection_is_reported(void **state) {
    struct fixture *self = *state;
    char address[64];
    snprintf(address, sizeof address, "localhost:%d", net_listener_port(self->listener));
    net_listener_shutdown(TAKE(self->listener), 0, NULL, NULL);
    net_loop_turn(self->loop, false);
    struct client *client = dial(self, 0, (struct net_address){.text = address});
    call(client, "/t.T/Echo", SLICE_LITERAL("ping"));
    WAIT_FOR(client->is_closed);
    assert_int_equal(client->reason, ERR_CONNECTION_REFUSED);
    assert_int_equal(client->last_code, GRPC_UNAVAILABLE);
}

static void an_address_without_port_is_refused_at_once(void **state) {
    struct fixture *self = *state;
    struct net_link *link;
    assert_int_equal(net_dial(self->loop, (struct net_address){.text = "localhost"}, &client_machine, NULL, &link),
                     ERR_INVALID);
}

static void closing_while_connecting_is_safe(void **state) {
    struct fixture *self = *state;
    for (int turns = 0; turns < 4; turns++) {
        struct client *client = dial(self, 0, (struct net_address){.text = self->address});
        for (int i = 0; i < turns; i++) net_loop_turn(self->loop, false);
        net_link_close(client->link);
        WAIT_FOR(client->is_closed);
    }
}

static void a_taken_port_is_named(void **state) {
    struct fixture *self = *state;
    struct net_listener_options options = {.address = {.text = self->address}, .server = self->http};
    struct net_listener *listener;
    struct errmsg message;
    char expected[128];
    snprintf(expected, sizeof expected, "listen tcp %s: bind: address already in use", self->address);
    assert_int_equal(net_listen(self->loop, &options, &listener, &message), ERR_ADDRESS_IN_USE);
    assert_string_equal(message.text, expected);
}

static void many_connections_and_calls(void **state) {
    struct fixture *self = *state;
    uint8_t bytes[300] = {0};
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = dial(self, i, (struct net_address){.text = self->address});
        for (int k = 0; k < 20; k++) call(client, "/t.T/Echo", slice_make(bytes, sizeof bytes));
    }
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        WAIT_FOR(self->clients[i].answers == 20);
        assert_int_equal(self->clients[i].failures, 0);
    }
}

static void large_messages_are_written_in_parts(void **state) {
    struct fixture *self = *state;
    struct client *client = dial(self, 0, (struct net_address){.text = self->address});
    struct buf large = BUF_INIT;
    memset(buf_extend(&large, 9000000), 'x', 9000000);
    for (int i = 0; i < 5; i++) call(client, "/t.T/Echo", buf_slice(&large));
    buf_release(&large);
    WAIT_FOR(client->answers == 5);
    assert_int_equal(client->answer_bytes, 45000000);
    assert_int_equal(client->failures, 0);
}

static void connections_beyond_a_shared_limit_wait(void **state) {
    struct fixture *self = *state;
    struct net_quota quota;
    net_quota_init(&quota, 1);
    struct net_listener *narrow[2];
    char addresses[2][64];
    for (size_t i = 0; i < 2; i++) {
        narrow[i] = listen_at(self, (struct net_address){.text = "127.0.0.1:0"}, &quota);
        snprintf(addresses[i], sizeof addresses[i], "127.0.0.1:%d", net_listener_port(narrow[i]));
    }
    for (size_t i = 0; i < 3; i++)
        call(dial(self, i, (struct net_address){.text = addresses[i % 2]}), "/t.T/Echo", SLICE_LITERAL("x"));
    for (size_t done = 1; done <= 3; done++) {
        struct client *served = NULL;
        while (served == NULL) {
            net_loop_turn(self->loop, true);
            for (size_t i = 0; i < 3; i++)
                if (self->clients[i].answers == 1 && !self->clients[i].is_closed) served = &self->clients[i];
        }
        assert_int_equal(net_listener_connections(narrow[0]) + net_listener_connections(narrow[1]), 1);
        assert_int_equal(quota.count, 1);
        net_link_close(served->link);
        WAIT_FOR(served->is_closed);
    }
    for (size_t i = 0; i < 2; i++) net_listener_shutdown(narrow[i], 0, NULL, NULL);
    net_loop_turn(self->loop, false); /* the quota goes */
    assert_int_equal(quota.count, 0);
}

static void note_closed(void *context) { ((struct fixture *)context)->listeners_closed++; }

static void shutdown_waits_for_open_calls(void **state) {
    struct fixture *self = *state;
    struct client *busy = dial(self, 0, (struct net_address){.text = self->address});
    struct client *idle = dial(self, 1, (struct net_address){.text = self->address});
    call(busy, "/t.T/Keep", SLICE_LITERAL("x"));
    call(idle, "/t.T/Echo", SLICE_LITERAL("x"));
    WAIT_FOR(self->kept != NULL && idle->answers == 1);
    net_listener_shutdown(TAKE(self->listener), INT64_C(60000000000), note_closed, self);
    WAIT_FOR(idle->is_closed);
    assert_false(busy->is_closed);
    assert_int_equal(self->listeners_closed, 0);
    grpc_call_reply(TAKE(self->kept), SLICE_LITERAL("bye"));
    WAIT_FOR(busy->is_closed && self->listeners_closed == 1);
    assert_int_equal(busy->answers, 1);
    assert_int_equal(busy->last_code, GRPC_OK);
}

static void shutdown_ends_when_the_grace_is_over(void **state) {
    struct fixture *self = *state;
    struct client *busy = dial(self, 0, (struct net_address){.text = self->address});
    call(busy, "/t.T/Keep", SLICE_LITERAL("x"));
    WAIT_FOR(self->kept != NULL);
    net_listener_shutdown(TAKE(self->listener), 1000000, note_closed, self);
    WAIT_FOR(busy->is_closed && self->listeners_closed == 1);
    assert_int_equal(self->cancelled, 1);
    assert_int_equal(busy->last_code, GRPC_UNAVAILABLE);
}

static void a_client_that_goes_cancels_its_calls(void **state) {
    struct fixture *self = *state;
    struct client *client = dial(self, 0, (struct net_address){.text = self->address});
    call(client, "/t.T/Keep", SLICE_LITERAL("x"));
    WAIT_FOR(self->kept != NULL);
    net_link_close(client->link);
    WAIT_FOR(self->cancelled == 1);
    grpc_call_reply(TAKE(self->kept), SLICE_LITERAL("nobody"));
}

static void http_1_is_served_and_closed_in_order(void **state) {
    struct fixture *self = *state;
    struct plain *plain =
        dial_plain(self, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\nConnection: "
                         "close\r\n\r\nthese bytes are never read by anybody");
    WAIT_FOR(plain->is_closed);
    assert_int_equal(plain->reason, OK);
    assert_int_equal(self->http1_requests, 2);
    const char *text = buf_cstr(&plain->received);
    const char *second = strstr(text + 1, "HTTP/1.1 200 OK");
    assert_non_null(second);
    assert_non_null(strstr(second, "127.0.0.1:"));
}

static void an_endless_reply_stops_with_a_reader_that_does_not_read(void **state) {
    struct fixture *self = *state;
    struct plain *plain = dial_plain(self, "GET /forever HTTP/1.1\r\nHost: h\r\n\r\n");
    WAIT_FOR(plain->received.len > 100000);
    plain->wants_no_read = true;
    net_link_touch(plain->link);
    /* The sockets fill up; then the loop has nothing left to do, and others are served. */
    struct client *client = dial(self, 0, (struct net_address){.text = self->address});
    for (size_t i = 1; i <= 500; i++) {
        call(client, "/t.T/Echo", SLICE_LITERAL("x"));
        WAIT_FOR(client->answers == i);
    }
    net_link_close(plain->link);
    WAIT_FOR(plain->is_closed && net_listener_connections(self->listener) == 1);
}

static void note_signal(void *context, int number) { ((struct fixture *)context)->signals += number; }

static void signals_reach_the_loop(void **state) {
    struct fixture *self = *state;
    assert_int_equal(net_loop_on_signal(self->loop, SIGUSR1, note_signal, self), OK);
    raise(SIGUSR1);
    WAIT_FOR(self->signals == SIGUSR1);
}

static void run_job(struct env_job *job) {}
struct job {
    struct env_job job;
    bool is_done;
    struct net_loop *loop;
};
static void job_done(struct env_job *job) {
    struct job *self = CONTAINER_OF(job, struct job, job);
    self->is_done = true;
    net_loop_stop(self->loop);
}

static void jobs_of_other_threads_wake_the_loop(void **state) {
    struct fixture *self = *state;
    struct job job = {.job = {.run = run_job, .done = job_done}, .loop = self->loop};
    env_pool_submit(self->env, &job.job);
    net_loop_run(self->loop);
    assert_true(job.is_done);
}

struct alarm {
    struct env_timer timer;
    struct net_loop *loop;
    int count;
};
static void alarm_rings(struct env_timer *timer) {
    struct alarm *self = timer->context;
    self->count++;
    net_loop_stop(self->loop);
}

static void timers_of_the_world_fire_on_the_loop(void **state) {
    struct fixture *self = *state;
    struct alarm alarm = {.loop = self->loop};
    alarm.timer = (struct env_timer){.callback = alarm_rings, .context = &alarm};
    int64_t before_ns = env_now_ns(self->env);
    env_timer_start(self->env, &alarm.timer, 3000000);
    net_loop_run(self->loop);
    assert_int_equal(alarm.count, 1);
    assert_true(env_now_ns(self->env) - before_ns >= 3000000);
}

/* A turn that takes longer than the time until its own next deadline. */
static int64_t slow_hook(void *context) {
    usleep(3000);
    ++*(int *)context;
    return 1000000;
}

static void a_deadline_that_passes_during_the_turn_is_not_lost(void **state) {
    struct net_loop *loop = net_loop_new();
    int calls = 0;
    net_loop_set_turn_hook(loop, slow_hook, &calls);
    alarm(20); /* a lost deadline is a poll without end */
    for (int i = 0; i < 20; i++) net_loop_turn(loop, true);
    alarm(0);
    assert_true(calls >= 20);
    net_loop_free(loop);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_call_goes_through_sockets),
        TEST(a_unix_socket_serves_too),
        TEST(names_with_several_addresses_are_tried_in_turn),
        TEST(a_refused_connection_is_reported),
        TEST(an_address_without_port_is_refused_at_once),
        TEST(closing_while_connecting_is_safe),
        TEST(a_taken_port_is_named),
        TEST(many_connections_and_calls),
        TEST(large_messages_are_written_in_parts),
        TEST(connections_beyond_a_shared_limit_wait),
        TEST(shutdown_waits_for_open_calls),
        TEST(shutdown_ends_when_the_grace_is_over),
        TEST(a_client_that_goes_cancels_its_calls),
        TEST(http_1_is_served_and_closed_in_order),
        TEST(an_endless_reply_stops_with_a_reader_that_does_not_read),
        TEST(signals_reach_the_loop),
        TEST(jobs_of_other_threads_wake_the_loop),
        TEST(timers_of_the_world_fire_on_the_loop),
        cmocka_unit_test(a_deadline_that_passes_during_the_turn_is_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
