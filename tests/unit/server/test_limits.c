/* What a member keeps of requests: how much may be on its way, and how much of the log stays in memory. */
#include "fixture.h"
#include "server/internal.h"

#define VALUE_BYTES (1400 * 1000)
#define ASKED_MAX 400

struct flood {
    struct asked asked[ASKED_MAX];
    size_t count;
};

static bool all_done(void *context) {
    struct flood *flood = context;
    for (size_t i = 0; i < flood->count; i++)
        if (!flood->asked[i].is_done) return false;
    return true;
}

static bool has_snapshot(void *context) {
    return server_stats(((struct fixture *)context)->server)->snapshots_saved != 0;
}

static bool has_applied_all(void *context) {
    const struct server *server = ((struct fixture *)context)->server;
    return server->applied_index == server->committed_index && server->unapplied_bytes == 0;
}

static void proposals_beyond_the_limit_are_refused_and_the_log_is_cut(void **state) {
    struct fixture *f = *state;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    uint8_t *value = mem_calloc(1, VALUE_BYTES);
    put.key = pb_bytes(SLICE_LITERAL("k"));
    put.value = pb_bytes(slice_make(value, VALUE_BYTES));
    struct buf encoded = BUF_INIT;
    pb_pack(&put, &encoded);
    struct flood *flood = NEW(struct flood);
    enum err error = OK;
    while (error == OK) { /* nothing turns meanwhile */
        struct asked *asked = &flood->asked[flood->count];
        asked->request = (struct server_request){
            .op = SERVER_OP_PUT, .encoded = buf_slice(&encoded), .message = &put, .callback = answered};
        error = server_propose(f->server, &asked->request);
        flood->count += error == OK;
        assert_true(flood->count < ASKED_MAX);
    }
    assert_int_equal(error, ERR_TOO_MANY_REQUESTS);
    assert_in_range(flood->count * VALUE_BYTES, SERVER_MAX_UNAPPLIED_BYTES - VALUE_BYTES,
                    SERVER_MAX_UNAPPLIED_BYTES + VALUE_BYTES);
    assert_true(os_world_run(f->world, all_done, flood, 2 * LIMIT_NS));
    for (size_t i = 0; i < flood->count; i++) { /* on a slow machine it takes longer than a request may */
        enum err answer = flood->asked[i].request.error;
        assert_true(answer == OK || answer == ERR_TIMEOUT);
    }
    assert_true(os_world_run(f->world, has_applied_all, f, 6 * LIMIT_NS));
    assert_int_equal(ask(f, SERVER_OP_PUT, &put, NULL), OK);
    /* 256 MiB of log in fewer than 200 entries: far from --snapshot-count */
    assert_true(os_world_run(f->world, has_snapshot, f, 2 * LIMIT_NS));
    buf_release(&encoded);
    mem_free(value);
    mem_free(flood);
}

static void a_member_that_applies_too_slowly_takes_no_more(void **state) {
    struct fixture *f = *state;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_bytes(SLICE_LITERAL("k"));
    uint64_t committed = f->server->committed_index;
    f->server->committed_index = f->server->applied_index + SERVER_MAX_GAP + 1;
    assert_int_equal(ask(f, SERVER_OP_PUT, &put, NULL), ERR_TOO_MANY_REQUESTS);
    f->server->committed_index = f->server->applied_index + SERVER_MAX_GAP;
    struct buf encoded = BUF_INIT;
    pb_pack(&put, &encoded);
    struct asked asked = {
        .request = {.op = SERVER_OP_PUT, .encoded = buf_slice(&encoded), .message = &put, .callback = answered}};
    assert_int_equal(server_propose(f->server, &asked.request), OK);
    f->server->committed_index = committed;
    assert_true(os_world_run(f->world, is_done, &asked, LIMIT_NS));
    buf_release(&encoded);
}

static void users_and_roles_are_within_the_quota(void **state) {
    struct fixture *f = *state;
    f->server->quota_bytes = (int64_t)backend_size_bytes(server_backend(f->server)) + 2000;
    Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    char name[3000];
    char short_name[] = "short";
    role.name = short_name;
    assert_int_equal(ask(f, SERVER_OP_AUTH_ROLE_ADD, &role, NULL), OK);
    memset(name, 'r', sizeof name);
    name[sizeof name - 1] = 0;
    role.name = name;
    assert_int_equal(ask(f, SERVER_OP_AUTH_ROLE_ADD, &role, NULL), ERR_NO_SPACE);
    Etcdserverpb__AuthRoleDeleteRequest gone = ETCDSERVERPB__AUTH_ROLE_DELETE_REQUEST__INIT;
    gone.role = short_name;
    assert_int_equal(ask(f, SERVER_OP_AUTH_ROLE_DELETE, &gone, NULL), OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_member_that_applies_too_slowly_takes_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(users_and_roles_are_within_the_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(proposals_beyond_the_limit_are_refused_and_the_log_is_cut, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
