/* fixture.h - one member on a real disk, asked and waited for. */
#ifndef TESTS_SERVER_FIXTURE_H
#define TESTS_SERVER_FIXTURE_H

#include "server/server.h"

#include "base/mem.h"
#include "cluster/cluster.h"
#include "lease/lessor.h"
#include "mvcc/store.h"
#include "os/os.h"
#include "pb/arena_pb.h"
#include "pb/kv.pb-c.h"
#include "pb/rpc.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_NS 120000000000ll

struct fixture {
    struct os_world *world;
    struct server *server;
    char dir[64];
    bool is_ready;
    bool is_stopped;
    int failures;
    uint64_t snapshot_count;
    const char *username; /* who asks; NULL = nobody */
    uint64_t auth_revision;
};

static inline void on_ready(void *context) { ((struct fixture *)context)->is_ready = true; }
static inline void on_failed(void *context, int status) { ((struct fixture *)context)->failures++; }
static inline void on_stopped(void *context) { ((struct fixture *)context)->is_stopped = true; }
static inline bool is_ready(void *context) { return ((struct fixture *)context)->is_ready; }
static inline bool is_stopped(void *context) { return ((struct fixture *)context)->is_stopped; }

static inline void start(struct fixture *f) {
    static const char *const peer[] = {"http://localhost:2380"}, *const client[] = {"http://localhost:2379"};
    struct server_config config;
    server_config_init(&config);
    config.data_dir = f->dir;
    config.advertise_peer_urls = peer;
    config.advertise_peer_url_count = 1;
    config.advertise_client_urls = client;
    config.advertise_client_url_count = 1;
    config.tick_ns = 10000000;
    config.bcrypt_cost = 4;
    config.snapshot_count = f->snapshot_count;
    struct server_hooks hooks = {f, on_ready, on_failed};
    struct errmsg message = {{0}};
    f->is_ready = f->is_stopped = false;
    enum err error = server_open(os_world_env(f->world), &config, &hooks, &f->server, &message);
    if (error != OK) fail_msg("%s: %s", err_name(error), message.text);
    server_start(f->server);
    assert_true(os_world_run(f->world, is_ready, f, LIMIT_NS));
}

static inline void stop(struct fixture *f) {
    server_stop(f->server, on_stopped, f);
    assert_true(os_world_run(f->world, is_stopped, f, LIMIT_NS));
    server_close(f->server);
    f->server = NULL;
}

static inline int setup(void **state) {
    struct fixture *f = NEW(struct fixture);
    f->world = os_world_new(NULL);
    snprintf(f->dir, sizeof f->dir, "/tmp/etcd-c-member-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->snapshot_count = 100000;
    start(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state) {
    struct fixture *f = *state;
    stop(f);
    assert_int_equal(f->failures, 0);
    assert_int_equal(env_remove_all(os_world_env(f->world), f->dir), OK);
    os_world_free(f->world);
    mem_free(f);
    return 0;
}

/* ---- asking, and waiting for the answer ---- */

struct asked {
    struct server_request request;
    struct buf out;
    bool is_done;
};

static inline void answered(struct server_request *request) { ((struct asked *)request)->is_done = true; }
static inline bool is_done(void *context) { return ((struct asked *)context)->is_done; }

static inline enum err ask(struct fixture *f, enum server_op op, const void *message, int64_t *ret_revision) {
    struct asked asked = {0};
    struct buf encoded = BUF_INIT;
    pb_pack(message, &encoded);
    asked.request = (struct server_request){.op = op,
                                            .encoded = buf_slice(&encoded),
                                            .message = message,
                                            .username = slice_from_cstr(f->username != NULL ? f->username : ""),
                                            .auth_revision = f->auth_revision,
                                            .callback = answered,
                                            .out = &asked.out};
    enum err error = server_propose(f->server, &asked.request);
    if (error == OK) {
        assert_true(os_world_run(f->world, is_done, &asked, LIMIT_NS));
        error = asked.request.error;
        if (ret_revision != NULL) *ret_revision = asked.request.revision;
    }
    buf_release(&asked.out);
    buf_release(&encoded);
    return error;
}

static inline int64_t put(struct fixture *f, const char *key, const char *value, int64_t lease) {
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = pb_bytes(slice_from_cstr(key));
    request.value = pb_bytes(slice_from_cstr(value));
    request.lease = lease;
    int64_t revision = 0;
    assert_int_equal(ask(f, SERVER_OP_PUT, &request, &revision), OK);
    return revision;
}

static inline bool value_is(struct fixture *f, const char *key, const char *value) {
    struct slice pair;
    bool found;
    assert_int_equal(store_get(server_store(f->server), slice_from_cstr(key), 0, &pair, &found), OK);
    if (!found) return value == NULL;
    struct arena arena;
    arena_init(&arena, 0);
    Mvccpb__KeyValue *kv = pb_unpack(&mvccpb__key_value__descriptor, pair, &arena);
    assert_non_null(kv);
    bool is_equal = value != NULL && slice_equal_cstr(pb_slice(kv->value), value);
    arena_release(&arena);
    return is_equal;
}

#endif
