/* Auth as a member lives it: logins, what is refused at apply, also for those who do not propose by the rules,
 * restarts, leases that run out. */
#include "fixture.h"

/* bcrypt of "newbob", as it travels */
#define HASH_BASE64 "JDJhJDA0JENPLy9QRDU0TUUwL3hOWlhSOEJCTE9IQzNMUzVVWlIyQlkwc3YwMGZEejJKemRBcmo5cTZx"
#define WORD(text) ((char *)(uintptr_t)(text))

static void be(struct fixture *f, const char *user) {
    f->username = user;
    f->auth_revision = user != NULL ? auth_store_revision(server_auth(f->server)) : 0;
}

static enum err add_user(struct fixture *f, const char *name) {
    Etcdserverpb__AuthUserAddRequest request = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    request.name = WORD(name);
    request.hashedpassword = WORD(HASH_BASE64);
    return ask(f, SERVER_OP_AUTH_USER_ADD, &request, NULL);
}

static enum err grant_role(struct fixture *f, const char *user, const char *role) {
    Etcdserverpb__AuthUserGrantRoleRequest request = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    request.user = WORD(user);
    request.role = WORD(role);
    return ask(f, SERVER_OP_AUTH_USER_GRANT_ROLE, &request, NULL);
}

static enum err grant_permission(struct fixture *f, const char *role, const char *key, const char *end) {
    Etcdserverpb__AuthRoleGrantPermissionRequest request = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    permission.permtype = AUTHPB__PERMISSION__TYPE__READWRITE;
    permission.key = pb_bytes(slice_from_cstr(key));
    permission.range_end = pb_bytes(slice_from_cstr(end));
    request.name = WORD(role);
    request.perm = &permission;
    return ask(f, SERVER_OP_AUTH_ROLE_GRANT_PERMISSION, &request, NULL);
}

static enum err try_put(struct fixture *f, const char *key, int64_t lease) {
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = pb_bytes(slice_from_cstr(key));
    request.lease = lease;
    return ask(f, SERVER_OP_PUT, &request, NULL);
}

/* Users root and u (role r: [a, b)); auth on. All with the password "newbob". */
static void with_users(struct fixture *f) {
    Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    role.name = WORD("r");
    Etcdserverpb__AuthEnableRequest enable = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    assert_int_equal(ask(f, SERVER_OP_AUTH_ENABLE, &enable, NULL), ERR_ROOT_USER_NOT_EXIST);
    assert_int_equal(add_user(f, "root"), OK);
    assert_int_equal(grant_role(f, "root", "root"), OK);
    assert_int_equal(add_user(f, "u"), OK);
    assert_int_equal(ask(f, SERVER_OP_AUTH_ROLE_ADD, &role, NULL), OK);
    assert_int_equal(grant_role(f, "u", "r"), OK);
    assert_int_equal(grant_permission(f, "r", "a", "b"), OK);
    assert_int_equal(ask(f, SERVER_OP_AUTH_ENABLE, &enable, NULL), OK);
}

/* ---- what is applied ---- */

static void an_entry_is_judged_by_who_its_header_names(void **state) {
    struct fixture *f = *state;
    with_users(f);
    for (int turn = 0; turn < 2; turn++) {
        be(f, NULL);
        assert_int_equal(try_put(f, "a", 0), ERR_USER_EMPTY);
        assert_int_equal(add_user(f, "x"), ERR_USER_EMPTY);
        be(f, "u");
        assert_int_equal(try_put(f, "a", 0), OK);
        assert_int_equal(try_put(f, "z", 0), ERR_PERMISSION_DENIED);
        assert_int_equal(add_user(f, "x"), ERR_PERMISSION_DENIED);
        be(f, "root");
        assert_int_equal(try_put(f, "z", 0), OK);
        stop(f); /* and a restart changes nothing */
        start(f);
    }
    be(f, "u");
    f->auth_revision--;
    assert_int_equal(try_put(f, "a", 0), ERR_AUTH_OLD_REVISION);
    be(f, "root");
    Etcdserverpb__AuthDisableRequest disable = ETCDSERVERPB__AUTH_DISABLE_REQUEST__INIT;
    assert_int_equal(ask(f, SERVER_OP_AUTH_DISABLE, &disable, NULL), OK);
    be(f, NULL);
    assert_int_equal(try_put(f, "a", 0), OK);
}

static void a_refused_txn_changes_nothing(void **state) {
    struct fixture *f = *state;
    with_users(f);
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_bytes(SLICE_LITERAL("a"));
    put.value = pb_bytes(SLICE_LITERAL("bad"));
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = pb_bytes(SLICE_LITERAL("z"));
    Etcdserverpb__RequestOp ops[2], *pointers[] = {&ops[0], &ops[1]};
    for (int i = 0; i < 2; i++) etcdserverpb__request_op__init(&ops[i]);
    ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[0].request_put = &put;
    ops[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    ops[1].request_range = &range;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_success = 2;
    txn.success = pointers;
    be(f, "u");
    assert_int_equal(try_put(f, "a", 0), OK);
    int64_t before = store_revision(server_store(f->server));
    assert_int_equal(ask(f, SERVER_OP_TXN, &txn, NULL), ERR_PERMISSION_DENIED);
    assert_int_equal(store_revision(server_store(f->server)), before);
    stop(f);
    start(f);
    assert_int_equal(store_revision(server_store(f->server)), before);
    assert_true(value_is(f, "a", ""));
}

static void raise_alarm(struct fixture *f, Etcdserverpb__AlarmType type) {
    Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
    alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    alarm.memberid = 5;
    alarm.alarm = type;
    be(f, "root");
    assert_int_equal(ask(f, SERVER_OP_ALARM, &alarm, NULL), OK);
}

static void an_alarm_does_not_switch_auth_off(void **state) {
    struct fixture *f = *state;
    with_users(f);
    raise_alarm(f, ETCDSERVERPB__ALARM_TYPE__NOSPACE);
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    delete.key = pb_bytes(SLICE_LITERAL("z"));
    be(f, "u");
    assert_int_equal(ask(f, SERVER_OP_DELETE_RANGE, &delete, NULL), ERR_PERMISSION_DENIED);
    delete.key = pb_bytes(SLICE_LITERAL("a"));
    assert_int_equal(ask(f, SERVER_OP_DELETE_RANGE, &delete, NULL), OK);
    assert_int_equal(try_put(f, "a", 0), ERR_NO_SPACE);
    assert_int_equal(try_put(f, "z", 0), ERR_PERMISSION_DENIED);
}

static void a_corrupt_alarm_leaves_auth_alone(void **state) {
    struct fixture *f = *state;
    with_users(f);
    raise_alarm(f, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
    assert_int_equal(try_put(f, "a", 0), ERR_CORRUPT_CLUSTER);
    assert_int_equal(add_user(f, "x"), OK);
}

static bool lease_is_gone(void *context) {
    return !lessor_exists(server_lessor(((struct fixture *)context)->server), 7);
}

/* A lease takes root's keys along when it runs out, and nobody needs to log in for that. */
static void a_lease_runs_out_with_keys_of_others(void **state) {
    struct fixture *f = *state;
    with_users(f);
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    grant.id = 7;
    grant.ttl = 1;
    be(f, "u");
    assert_int_equal(ask(f, SERVER_OP_LEASE_GRANT, &grant, NULL), OK);
    be(f, "root");
    assert_int_equal(try_put(f, "z", 7), OK);
    be(f, "u");
    assert_int_equal(try_put(f, "a", 7), ERR_PERMISSION_DENIED); /* z is on it */
    Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    revoke.id = 7;
    assert_int_equal(ask(f, SERVER_OP_LEASE_REVOKE, &revoke, NULL), ERR_PERMISSION_DENIED);
    assert_true(os_world_run(f->world, lease_is_gone, f, LIMIT_NS));
    assert_true(value_is(f, "z", NULL));
}

/* ---- logins ---- */

struct visitor {
    struct server_login login;
    struct buf out;
    bool is_done;
};

static void logged_in(struct server_login *login) { ((struct visitor *)login)->is_done = true; }
static bool is_in(void *context) { return ((struct visitor *)context)->is_done; }

static void visit(struct fixture *f, struct visitor *visitor, const char *name, const char *password) {
    *visitor = (struct visitor){0};
    visitor->login =
        (struct server_login){.name = name, .password = password, .out = &visitor->out, .callback = logged_in};
    assert_int_equal(server_login(f->server, &visitor->login), OK);
    assert_false(visitor->is_done);
}

static enum err log_in(struct fixture *f, const char *name, const char *password, struct buf *ret_token) {
    struct visitor visitor;
    visit(f, &visitor, name, password);
    assert_true(os_world_run(f->world, is_in, &visitor, LIMIT_NS));
    if (visitor.login.error == OK) {
        assert_int_equal(visitor.out.data[0], 2 << 3 | 2);
        assert_int_equal(visitor.out.data[1], visitor.out.len - 2);
        buf_append(ret_token, visitor.out.data + 2, visitor.out.len - 2);
    } else {
        assert_int_equal(visitor.out.len, 0);
    }
    buf_release(&visitor.out);
    return visitor.login.error;
}

static void a_login_gives_a_token_of_etcds_shape(void **state) {
    struct fixture *f = *state;
    struct buf token = BUF_INIT;
    assert_int_equal(log_in(f, "root", "newbob", &token), ERR_AUTH_NOT_ENABLED);
    with_users(f);
    assert_int_equal(log_in(f, "nobody", "newbob", &token), ERR_AUTH_FAILED);
    assert_int_equal(log_in(f, "u", "oldbob", &token), ERR_AUTH_FAILED);
    assert_int_equal(log_in(f, "u", "", &token), ERR_AUTH_FAILED);
    struct server_status before, after; /* the member may publish itself meanwhile */
    server_status(f->server, &before);
    assert_int_equal(log_in(f, "u", "newbob", &token), OK);
    server_status(f->server, &after);
    assert_int_equal(buf_cstr(&token)[AUTH_TOKEN_PREFIX_BYTES], '.');
    uint64_t applied_index = strtoull(buf_cstr(&token) + AUTH_TOKEN_PREFIX_BYTES + 1, NULL, 10);
    assert_in_range(applied_index, before.raft_applied_index, after.raft_applied_index);
    for (int i = 0; i < AUTH_TOKEN_PREFIX_BYTES; i++)
        assert_true((token.data[i] | 32) >= 'a' && (token.data[i] | 32) <= 'z');
    struct auth_info info;
    assert_int_equal(auth_identify(server_auth(f->server), buf_slice(&token), 0, &info), OK);
    assert_true(slice_equal_cstr(info.username, "u"));
    buf_release(&token);
}

static bool is_checked(void *context) { return ((struct visitor *)context)->login.work != NULL; }

/* Whoever logs in while users change gets a token that knows of the change. */
static void a_login_begins_anew_when_users_change_meanwhile(void **state) {
    struct fixture *f = *state;
    with_users(f);
    struct visitor visitor;
    visit(f, &visitor, "u", "newbob");
    assert_true(os_world_run(f->world, is_checked, &visitor, LIMIT_NS));
    uint64_t before = auth_store_revision(server_auth(f->server));
    assert_int_equal(visitor.login.checked_revision, before);
    be(f, "root");
    assert_int_equal(add_user(f, "x"), OK);
    assert_true(os_world_run(f->world, is_in, &visitor, LIMIT_NS));
    assert_int_equal(visitor.login.error, OK);
    assert_int_equal(visitor.login.checked_revision, before + 1);
    buf_release(&visitor.out);
}

static bool nothing_runs(void *context) {
    return auth_store_token_count(server_auth(((struct fixture *)context)->server)) == 1;
}

/* In every state: waiting for the index, in line, on the pool, in the log. */
static void a_login_can_be_given_up_at_any_time(void **state) {
    struct fixture *f = *state;
    with_users(f);
    struct visitor visitors[3];
    for (int i = 0; i < 3; i++) visit(f, &visitors[i], "u", "newbob");
    server_login_cancel(f->server, &visitors[0].login);
    assert_true(os_world_run(f->world, is_checked, &visitors[2], LIMIT_NS));
    server_login_cancel(f->server, &visitors[1].login); /* runs */
    server_login_cancel(f->server, &visitors[2].login); /* waits */
    struct buf token = BUF_INIT;
    assert_int_equal(log_in(f, "u", "newbob", &token), OK);
    buf_release(&token);
    assert_true(os_world_run(f->world, nothing_runs, f, LIMIT_NS));
    for (int i = 0; i < 3; i++) {
        assert_false(visitors[i].is_done);
        buf_release(&visitors[i].out);
    }
}

static void a_stop_answers_those_who_log_in(void **state) {
    struct fixture *f = *state;
    with_users(f);
    struct visitor visitors[4];
    for (int i = 0; i < 4; i++) visit(f, &visitors[i], "u", "newbob");
    assert_true(os_world_run(f->world, is_checked, &visitors[3], LIMIT_NS));
    stop(f);
    for (int i = 0; i < 4; i++) {
        assert_true(visitors[i].is_done);
        assert_int_equal(visitors[i].login.error, ERR_STOPPED);
        buf_release(&visitors[i].out);
    }
    start(f);
}

static void the_line_of_passwords_has_an_end(void **state) {
    struct fixture *f = *state;
    with_users(f);
    size_t count = SERVER_PASSWORDS_WAITING + 5, done = 0, refused = 0;
    struct visitor *visitors = NEW_ARRAY(struct visitor, count);
    for (size_t i = 0; i < count; i++) visit(f, &visitors[i], "u", "newbob");
    assert_true(os_world_run(f->world, is_checked, &visitors[SERVER_PASSWORDS_WAITING - 1], LIMIT_NS));
    for (size_t i = 0; i < count; i++) {
        done += visitors[i].is_done;
        refused += visitors[i].is_done && visitors[i].login.error == ERR_TOO_MANY_REQUESTS;
    }
    assert_int_equal(refused, 5);
    assert_true(done >= 5);
    for (size_t i = 0; i < count; i++) {
        if (!visitors[i].is_done) server_login_cancel(f->server, &visitors[i].login);
        buf_release(&visitors[i].out);
    }
    mem_free(visitors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_is_judged_by_who_its_header_names, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_txn_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_alarm_does_not_switch_auth_off, setup, teardown),
        cmocka_unit_test_setup_teardown(a_corrupt_alarm_leaves_auth_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_runs_out_with_keys_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_login_gives_a_token_of_etcds_shape, setup, teardown),
        cmocka_unit_test_setup_teardown(a_login_begins_anew_when_users_change_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(a_login_can_be_given_up_at_any_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_answers_those_who_log_in, setup, teardown),
        cmocka_unit_test_setup_teardown(the_line_of_passwords_has_an_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
