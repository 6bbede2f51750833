/* Users and roles: the rules of each change, the revision, the bytes in the backend; tokens; checks of requests. */
#include "fixture.h"

#include "auth/password.h"
#include "base/bytes.h"

#define HASH "$2a$04$CO//PD54ME0/xNZXR8BBLOHC3LS5UZR2BY0sv00fDz2JzdArj9q6q"

static void assert_record(struct fixture *f, enum backend_bucket bucket, const char *key, const char *bytes,
                          size_t len) {
    struct slice value;
    assert_int_equal(backend_get(f->own.backend, bucket, slice_from_cstr(key), &value), OK);
    assert_int_equal(value.len, len);
    if (len != 0) assert_memory_equal(value.data, bytes, len);
}

#define ASSERT_RECORD(bucket, key, literal) assert_record(f, bucket, key, literal, sizeof(literal) - 1)

/* Does what is said and asserts its answer and how far the revision moved. */
#define STEP(call, answer, moved)                                                                                      \
    do {                                                                                                               \
        uint64_t before_ = auth_store_revision(f->store);                                                              \
        assert_int_equal(call, answer);                                                                                \
        assert_int_equal(auth_store_revision(f->store) - before_, moved);                                              \
    } while (0)

#define KEY(text) SLICE_LITERAL(text)

static void a_new_database_has_revision_one(void **state) {
    struct fixture *f = *state;
    assert_int_equal(auth_store_revision(f->store), 1);
    assert_false(auth_store_is_enabled(f->store));
    ASSERT_RECORD(BACKEND_AUTH, "authRevision", "\0\0\0\0\0\0\0\1");
    ASSERT_RECORD(BACKEND_AUTH, "authEnabled", "");
}

/* Those of a database that etcd 3.5.33 wrote (golden/data-dirs/auth). */
static void records_are_those_of_etcd(void **state) {
    struct fixture *f = *state;
    STEP(add_role(f, "open"), OK, 1);
    STEP(add_role(f, "writer"), OK, 1);
    STEP(add_role(f, "all"), OK, 1);
    STEP(add_role(f, "reader"), OK, 1);
    STEP(grant_permission(f, "open", READWRITE, KEY("x"), KEY("\0")), OK, 1);
    STEP(grant_permission(f, "all", READ, KEY("\0"), KEY("\0")), OK, 1);
    STEP(grant_permission(f, "writer", WRITE, KEY("k1"), SLICE_NONE), OK, 1);
    STEP(grant_permission(f, "writer", READWRITE, KEY("k1"), KEY("k5")), OK, 1);
    STEP(grant_permission(f, "writer", WRITE, KEY("dir/"), KEY("dir0")), OK, 1);
    STEP(add_user(f, "bob", HASH), OK, 1);
    STEP(grant_role(f, "bob", "open"), OK, 1);
    STEP(add_user(f, "nopw", NULL), OK, 1);
    STEP(grant_role(f, "nopw", "all"), OK, 1);
    for (int turn = 0; turn < 2; turn++) {
        ASSERT_RECORD(BACKEND_AUTH_ROLES, "all",
                      "\x0a\x03"
                      "all\x12\x06\x12\x01\0\x1a\x01\0");
        ASSERT_RECORD(BACKEND_AUTH_ROLES, "reader", "\x0a\x06reader");
        ASSERT_RECORD(BACKEND_AUTH_ROLES, "open", "\x0a\x04open\x12\x08\x08\x02\x12\x01x\x1a\x01\0");
        ASSERT_RECORD(BACKEND_AUTH_ROLES, "writer",
                      "\x0a\x06writer\x12\x0e\x08\x01\x12\x04"
                      "dir/\x1a\x04"
                      "dir0\x12\x06\x08\x01\x12\x02k1\x12\x0a\x08\x02\x12\x02k1\x1a\x02k5");
        ASSERT_RECORD(BACKEND_AUTH_USERS, "bob",
                      "\x0a\x03"
                      "bob\x12\x3c" HASH "\x1a\x04open\x22\0");
        ASSERT_RECORD(BACKEND_AUTH_USERS, "nopw",
                      "\x0a\x04nopw\x1a\x03"
                      "all\x22\x02\x08\x01");
        ASSERT_RECORD(BACKEND_AUTH, "authRevision", "\0\0\0\0\0\0\0\x0e");
        restart(f);
    }
}

static void users_change_by_the_rules(void **state) {
    struct fixture *f = *state;
    STEP(add_user(f, "", "x"), ERR_USER_EMPTY, 0);
    STEP(add_user(f, "u", HASH), OK, 1);
    STEP(add_user(f, "u", HASH), ERR_USER_EXISTS, 0);
    STEP(grant_role(f, "nobody", "r"), ERR_USER_NOT_FOUND, 0);
    STEP(grant_role(f, "u", "r"), ERR_ROLE_NOT_FOUND, 0);
    STEP(grant_role(f, "u", "root"), OK, 1); /* it need not exist */
    STEP(add_role(f, "r"), OK, 1);
    STEP(add_role(f, "a"), OK, 1);
    STEP(grant_role(f, "u", "r"), OK, 1);
    STEP(grant_role(f, "u", "r"), OK, 0); /* has it */
    STEP(grant_role(f, "u", "a"), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_USERS, "u",
                  "\x0a\x01u\x12\x3c" HASH "\x1a\x01"
                  "a\x1a\x01r\x1a\x04root\x22\0");
    STEP(revoke_role(f, "nobody", "r"), ERR_USER_NOT_FOUND, 0);
    STEP(revoke_role(f, "u", "x"), ERR_ROLE_NOT_GRANTED, 0);
    STEP(revoke_role(f, "u", "root"), OK, 1);
    STEP(change_password(f, "nobody", HASH), ERR_USER_NOT_FOUND, 0);
    STEP(change_password(f, "u", "other"), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_USERS, "u",
                  "\x0a\x01u\x12\x05other\x1a\x01"
                  "a\x1a\x01r\x22\0");
    STEP(delete_role(f, "a"), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_USERS, "u", "\x0a\x01u\x12\x05other\x1a\x01r\x22\0");
    STEP(delete_user(f, "nobody"), ERR_USER_NOT_FOUND, 0);
    STEP(delete_user(f, "u"), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_USERS, "u", "");
    STEP(add_user(f, "np", NULL), OK, 1);
    STEP(change_password(f, "np", HASH), OK, 1); /* stays without */
    ASSERT_RECORD(BACKEND_AUTH_USERS, "np", "\x0a\x02np\x22\x02\x08\x01");
}

static void a_hash_that_is_no_base64_is_refused(void **state) {
    struct fixture *f = *state;
    Etcdserverpb__AuthUserAddRequest request = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    request.name = WORD("u");
    request.hashedpassword = WORD("!");
    STEP(auth_user_add(f->store, &request), ERR_NO_PASSWORD_USER, 0);
}

/* Logs of members older than 3.5 hold the password itself. */
static void a_bare_password_in_the_log_is_hashed(void **state) {
    struct fixture *f = *state;
    enable(f);
    Etcdserverpb__AuthUserAddRequest request = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    request.name = WORD("old");
    request.password = WORD("pw");
    STEP(auth_user_add(f->store, &request), OK, 1);
    struct slice hash;
    uint64_t revision;
    assert_int_equal(auth_password_of(f->store, KEY("old"), &hash, &revision), OK);
    assert_true(password_matches(KEY("pw"), hash));
}

/* Users of before 3.4 have no options, and keep having none. */
static void an_old_record_without_options_stays_so(void **state) {
    struct fixture *f = *state;
    backend_put(f->own.backend, BACKEND_AUTH_USERS, KEY("u"), KEY("\x0a\x01u\x12\x02pw"));
    restart(f);
    STEP(change_password(f, "u", "new"), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_USERS, "u", "\x0a\x01u\x12\x03new");
}

static void roles_change_by_the_rules(void **state) {
    struct fixture *f = *state;
    STEP(add_role(f, ""), ERR_ROLE_EMPTY, 0);
    STEP(add_role(f, "r"), OK, 1);
    STEP(add_role(f, "r"), ERR_ROLE_EXISTS, 0);
    Etcdserverpb__AuthRoleGrantPermissionRequest none = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    none.name = WORD("nosuch");
    STEP(auth_role_grant_permission(f->store, &none), ERR_PERMISSION_NOT_GIVEN, 0);
    STEP(grant_permission(f, "nosuch", READ, SLICE_NONE, SLICE_NONE), ERR_INVALID_AUTH_MGMT, 0);
    STEP(grant_permission(f, "r", READ, KEY("b"), KEY("a")), ERR_INVALID_AUTH_MGMT, 0);
    STEP(grant_permission(f, "r", READ, KEY("b"), KEY("b")), ERR_INVALID_AUTH_MGMT, 0);
    STEP(grant_permission(f, "nosuch", READ, KEY("b"), SLICE_NONE), ERR_ROLE_NOT_FOUND, 0);
    STEP(grant_permission(f, "r", READ, KEY("b"), SLICE_NONE), OK, 1);
    STEP(grant_permission(f, "r", READ, KEY("b"), SLICE_NONE), OK, 1); /* the same again moves it too */
    STEP(revoke_permission(f, "nosuch", KEY("b"), SLICE_NONE), ERR_ROLE_NOT_FOUND, 0);
    STEP(revoke_permission(f, "r", KEY("b"), KEY("c")), ERR_PERMISSION_NOT_GRANTED, 0);
    STEP(revoke_permission(f, "r", KEY("b"), SLICE_NONE), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_ROLES, "r", "\x0a\x01r");
    STEP(delete_role(f, "nosuch"), ERR_ROLE_NOT_FOUND, 0);
    STEP(delete_role(f, "r"), OK, 1);
    ASSERT_RECORD(BACKEND_AUTH_ROLES, "r", "");
}

/* As etcd 3.5.1 answered: of several ranges with one key only the first is found again. */
static void a_second_range_of_a_key_is_added_again(void **state) {
    struct fixture *f = *state;
    assert_int_equal(add_role(f, "r"), OK);
    assert_int_equal(grant_permission(f, "r", WRITE, KEY("k1"), SLICE_NONE), OK);
    assert_int_equal(grant_permission(f, "r", READWRITE, KEY("k1"), KEY("k5")), OK);
    assert_int_equal(grant_permission(f, "r", READ, KEY("k1"), KEY("k5")), OK);
    assert_int_equal(grant_permission(f, "r", READ, KEY("k1"), SLICE_NONE), OK);
    struct buf out = BUF_INIT;
    assert_int_equal(auth_append_role(f->store, KEY("r"), &out), OK);
    static const char expected[] = "\x12\x04\x12\x02k1\x12\x0a\x08\x02\x12\x02k1\x1a\x02k5\x12\x08\x12\x02k1\x1a\x02k5";
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    buf_release(&out);
}

static void enabling_needs_root_and_protects_it(void **state) {
    struct fixture *f = *state;
    STEP(auth_enable(f->store), ERR_ROOT_USER_NOT_EXIST, 0);
    STEP(add_user(f, "root", HASH), OK, 1);
    STEP(add_role(f, "root"), OK, 1);
    STEP(auth_enable(f->store), ERR_ROOT_ROLE_NOT_EXIST, 0);
    STEP(grant_role(f, "root", "root"), OK, 1);
    STEP(auth_enable(f->store), OK, 0);
    STEP(auth_enable(f->store), OK, 0);
    ASSERT_RECORD(BACKEND_AUTH, "authEnabled", "\1");
    STEP(delete_user(f, "root"), ERR_INVALID_AUTH_MGMT, 0);
    STEP(delete_role(f, "root"), ERR_INVALID_AUTH_MGMT, 0);
    STEP(revoke_role(f, "root", "root"), ERR_INVALID_AUTH_MGMT, 0);
    restart(f);
    assert_true(auth_store_is_enabled(f->store));
    uint64_t before = auth_store_revision(f->store);
    auth_disable(f->store);
    auth_disable(f->store);
    assert_int_equal(auth_store_revision(f->store), before + 1);
    ASSERT_RECORD(BACKEND_AUTH, "authEnabled", "\0");
    STEP(revoke_role(f, "root", "root"), OK, 1);
    STEP(delete_role(f, "root"), OK, 1);
    STEP(delete_user(f, "root"), OK, 1);
}

static void lists_are_sorted(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"m", "a", "z", "b", "mm"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(add_user(f, names[i], "x"), OK);
        assert_int_equal(add_role(f, names[i]), OK);
    }
    static const char expected[] = "\x12\x01"
                                   "a\x12\x01"
                                   "b\x12\x01m\x12\x02mm\x12\x01z";
    struct buf users = BUF_INIT, roles = BUF_INIT, status = BUF_INIT;
    auth_append_users(f->store, &users);
    auth_append_roles(f->store, &roles);
    auth_append_status(f->store, &status);
    assert_string_equal(buf_cstr(&users), expected);
    assert_string_equal(buf_cstr(&roles), expected);
    assert_string_equal(buf_cstr(&status), "\x18\x0b"); /* off; revision 11 */
    buf_release(&users);
    buf_release(&roles);
    buf_release(&status);
}

static void a_record_that_makes_no_sense_stops_the_start(void **state) {
    struct fixture *f = *state;
    static const enum backend_bucket buckets[] = {BACKEND_AUTH_USERS, BACKEND_AUTH_ROLES};
    for (size_t i = 0; i < 2; i++) {
        backend_put(f->own.backend, buckets[i], KEY("u"), KEY("\x0a\x7f"));
        struct errmsg message = {{0}};
        assert_int_equal(auth_store_restore(f->store, f->own.backend, &message), ERR_CORRUPT);
        assert_non_null(strstr(message.text, i == 0 ? "authUsers" : "authRoles"));
        backend_delete(f->own.backend, buckets[i], KEY("u"));
    }
    struct errmsg message = {{0}};
    assert_int_equal(auth_store_restore(f->store, f->own.backend, &message), OK);
}

/* ---- tokens ---- */

static const char *assign(struct fixture *f, const char *user, const char *prefix, uint64_t index, int64_t now_ns) {
    static char text[64];
    struct buf out = BUF_INIT;
    assert_int_equal(auth_assign_token(f->store, slice_from_cstr(user), slice_from_cstr(prefix), index, now_ns, &out),
                     OK);
    snprintf(text, sizeof text, "%s", buf_cstr(&out));
    buf_release(&out);
    return text;
}

static enum err identify(struct fixture *f, const char *token, int64_t now_ns) {
    struct auth_info info;
    return auth_identify(f->store, slice_from_cstr(token), now_ns, &info);
}

static void a_token_lives_while_it_is_used(void **state) {
    struct fixture *f = *state;
    enable(f);
    assert_string_equal(assign(f, "root", "AAAA", 35, 0), "AAAA.35");
    assert_string_equal(assign(f, "root", "BBBB", 36, 100 * S), "BBBB.36");
    struct auth_info info;
    assert_int_equal(auth_identify(f->store, KEY("Bearer AAAA.35"), 299 * S, &info), OK);
    assert_true(slice_equal_cstr(info.username, "root"));
    assert_int_equal(info.revision, auth_store_revision(f->store));
    assert_int_equal(auth_identify(f->store, KEY("bearer AAAA.35"), 299 * S, &info), ERR_INVALID_AUTH_TOKEN);
    auth_store_tick(f->store, 400 * S - 1);
    assert_int_equal(auth_store_token_count(f->store), 2);
    assert_int_equal(identify(f, "BBBB.36", 400 * S), ERR_INVALID_AUTH_TOKEN); /* also before the tick */
    auth_store_tick(f->store, 400 * S);
    assert_int_equal(auth_store_token_count(f->store), 1);
    assert_int_equal(identify(f, "AAAA.35", 598 * S), OK);
    auth_store_tick(f->store, 898 * S);
    assert_int_equal(auth_store_token_count(f->store), 0);
    assert_int_equal(auth_identify(f->store, SLICE_NONE, 0, &info), OK); /* nobody */
    assert_int_equal(info.revision, 0);
    assert_int_equal(info.username.len, 0);
}

static void tokens_end_with_what_they_stand_for(void **state) {
    struct fixture *f = *state;
    enable(f);
    struct buf out = BUF_INIT;
    assert_int_equal(add_user(f, "u", "x"), OK);
    assert_int_equal(add_user(f, "np", NULL), OK);
    assert_int_equal(auth_assign_token(f->store, KEY("np"), KEY("A"), 1, 0, &out), ERR_AUTH_FAILED);
    assert_int_equal(auth_assign_token(f->store, KEY("nobody"), KEY("A"), 1, 0, &out), ERR_AUTH_FAILED);
    assert_int_equal(out.len, 0);
    assign(f, "u", "A", 1, 0);
    assign(f, "root", "R", 1, 0);
    assert_int_equal(change_password(f, "u", "y"), OK);
    assert_int_equal(identify(f, "A.1", 0), ERR_INVALID_AUTH_TOKEN);
    assign(f, "u", "A", 2, 0);
    assign(f, "u", "A", 2, 0); /* the same again */
    assert_int_equal(auth_store_token_count(f->store), 2);
    assert_int_equal(grant_role(f, "u", "root"), OK);
    assert_int_equal(revoke_role(f, "u", "root"), OK);
    assert_int_equal(identify(f, "A.2", 0), OK);
    assert_int_equal(delete_user(f, "u"), OK);
    assert_int_equal(identify(f, "A.2", 0), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(identify(f, "R.1", 0), OK);
    auth_disable(f->store);
    assert_int_equal(identify(f, "R.1", 0), OK); /* nobody asks */
    assert_int_equal(auth_assign_token(f->store, KEY("root"), KEY("A"), 1, 0, &out), ERR_AUTH_NOT_ENABLED);
    assert_int_equal(auth_enable(f->store), OK);
    assert_int_equal(identify(f, "R.1", 0), ERR_INVALID_AUTH_TOKEN);
    assign(f, "root", "R", 2, 0);
    restart(f);
    assert_int_equal(identify(f, "R.2", 0), ERR_INVALID_AUTH_TOKEN);
    buf_release(&out);
}

static void beyond_the_limit_the_longest_unused_token_goes(void **state) {
    struct fixture *f = *state;
    enable(f);
    for (uint64_t i = 0; i < AUTH_MAX_TOKENS; i++) assign(f, "root", "A", i, 0);
    assert_int_equal(identify(f, "A.0", 1), OK); /* now A.1 is it */
    assign(f, "root", "B", 0, 1);
    assert_int_equal(auth_store_token_count(f->store), AUTH_MAX_TOKENS);
    assert_int_equal(identify(f, "A.1", 1), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(identify(f, "A.0", 1), OK);
    assert_int_equal(identify(f, "B.0", 1), OK);
}

static void only_logins_with_a_password_are_checked(void **state) {
    struct fixture *f = *state;
    struct slice hash;
    uint64_t revision;
    assert_int_equal(auth_password_of(f->store, KEY("root"), &hash, &revision), ERR_AUTH_NOT_ENABLED);
    enable(f);
    assert_int_equal(add_user(f, "np", NULL), OK);
    assert_int_equal(auth_password_of(f->store, KEY("np"), &hash, &revision), ERR_NO_PASSWORD_USER);
    assert_int_equal(auth_password_of(f->store, KEY("nobody"), &hash, &revision), ERR_AUTH_FAILED);
    assert_int_equal(auth_password_of(f->store, KEY("root"), &hash, &revision), OK);
    assert_true(slice_equal_cstr(hash, "x"));
    assert_int_equal(revision, auth_store_revision(f->store));
}

/* ---- checks ---- */

/* User u: reads [r, s), writes [w, x), both on [b, c). */
static void with_user(struct fixture *f) {
    enable(f);
    assert_int_equal(add_user(f, "u", "x"), OK);
    assert_int_equal(add_role(f, "role"), OK);
    assert_int_equal(grant_role(f, "u", "role"), OK);
    assert_int_equal(grant_permission(f, "role", READ, KEY("r"), KEY("s")), OK);
    assert_int_equal(grant_permission(f, "role", WRITE, KEY("w"), KEY("x")), OK);
    assert_int_equal(grant_permission(f, "role", READWRITE, KEY("b"), KEY("c")), OK);
}

static void who_asks_matters_first(void **state) {
    struct fixture *f = *state;
    struct auth_info nobody = {0};
    assert_int_equal(auth_check_read(f->store, &nobody, KEY("k"), SLICE_NONE), OK); /* off */
    assert_int_equal(auth_check_admin(f->store, &nobody), OK);
    assert_int_equal(auth_check_known(f->store, &nobody), OK);
    with_user(f);
    struct auth_info root = info_of(f, "root"), u = info_of(f, "u"), gone = info_of(f, "gone"), old = u;
    old.revision--;
    assert_int_equal(auth_check_known(f->store, &nobody), ERR_USER_EMPTY);
    assert_int_equal(auth_check_known(f->store, &u), OK);
    assert_int_equal(auth_check_admin(f->store, &nobody), ERR_USER_EMPTY);
    assert_int_equal(auth_check_admin(f->store, &gone), ERR_USER_NOT_FOUND);
    assert_int_equal(auth_check_admin(f->store, &u), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_admin(f->store, &root), OK);
    assert_int_equal(auth_check_read(f->store, &nobody, KEY("r"), SLICE_NONE), ERR_USER_EMPTY);
    assert_int_equal(auth_check_read(f->store, &old, KEY("r"), SLICE_NONE), ERR_AUTH_OLD_REVISION);
    assert_int_equal(auth_check_read(f->store, &gone, KEY("r"), SLICE_NONE), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_read(f->store, &u, KEY("r"), SLICE_NONE), OK);
    assert_int_equal(auth_check_write(f->store, &u, KEY("r"), SLICE_NONE), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_write(f->store, &root, KEY("r"), SLICE_NONE), OK);
    assert_int_equal(auth_check_user_get(f->store, &u, KEY("u")), OK);
    assert_int_equal(auth_check_user_get(f->store, &u, KEY("root")), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_user_get(f->store, &nobody, KEY("u")), ERR_USER_EMPTY);
    assert_int_equal(auth_check_role_get(f->store, &u, KEY("role")), OK);
    assert_int_equal(auth_check_role_get(f->store, &u, KEY("root")), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_check_role_get(f->store, &nobody, KEY("role")), ERR_USER_EMPTY);
}

static struct slice *lease_keys(void *context, int64_t lease, size_t *ret_count) {
    if (lease == 3) return NULL;
    struct slice *keys = NEW_ARRAY(struct slice, 2);
    keys[0] = KEY("w1");
    keys[1] = lease == 1 ? KEY("b") : KEY("z");
    *ret_count = 2;
    return keys;
}

static const struct auth_leases leases = {lease_keys, NULL};

static Etcdserverpb__PutRequest put_of(const char *key, int64_t lease, bool prev_kv) {
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_bytes(slice_from_cstr(key));
    put.lease = lease;
    put.prev_kv = prev_kv;
    return put;
}

static void puts_and_deletes_need_all_they_touch(void **state) {
    struct fixture *f = *state;
    with_user(f);
    struct auth_info u = info_of(f, "u"), root = info_of(f, "root");
    static const struct {
        const char *key;
        int64_t lease;
        bool prev_kv;
        enum err error;
    } puts[] = {{"w", 0, false, OK}, {"w", 0, true, ERR_PERMISSION_DENIED},
                {"b", 0, true, OK},  {"r", 0, false, ERR_PERMISSION_DENIED},
                {"w", 1, false, OK}, {"w", 2, false, ERR_PERMISSION_DENIED},
                {"w", 3, false, OK}};
    for (size_t i = 0; i < sizeof puts / sizeof *puts; i++) {
        Etcdserverpb__PutRequest put = put_of(puts[i].key, puts[i].lease, puts[i].prev_kv);
        assert_int_equal(auth_check_put(f->store, &u, &put, &leases), puts[i].error);
        assert_int_equal(auth_check_put(f->store, &root, &put, &leases), OK);
    }
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    delete.key = pb_bytes(KEY("w"));
    delete.range_end = pb_bytes(KEY("x"));
    assert_int_equal(auth_check_delete_range(f->store, &u, &delete), OK);
    delete.prev_kv = true;
    assert_int_equal(auth_check_delete_range(f->store, &u, &delete), ERR_PERMISSION_DENIED);
    delete.key = pb_bytes(KEY("b"));
    delete.range_end = pb_bytes(KEY("c"));
    assert_int_equal(auth_check_delete_range(f->store, &u, &delete), OK);
}

/* Each operation alone in each place where a txn can hold one: CVE-2026-33343, CVE-2026-44283 among them. */
static void every_place_of_a_txn_is_checked(void **state) {
    struct fixture *f = *state;
    with_user(f);
    struct auth_info u = info_of(f, "u"), nobody = {0};
    Etcdserverpb__PutRequest good_put = put_of("w", 1, false), bad_put = put_of("r", 0, false),
                             peeking_put = put_of("w", 0, true), leasing_put = put_of("w", 2, false);
    Etcdserverpb__RangeRequest good_range = ETCDSERVERPB__RANGE_REQUEST__INIT, bad_range = good_range;
    good_range.key = pb_bytes(KEY("r"));
    bad_range.key = pb_bytes(KEY("r"));
    bad_range.range_end = pb_bytes(KEY("\0"));
    Etcdserverpb__DeleteRangeRequest bad_delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    bad_delete.key = pb_bytes(KEY("r"));
    Etcdserverpb__RequestOp ops[7];
    for (size_t i = 0; i < 7; i++) etcdserverpb__request_op__init(&ops[i]);
    Etcdserverpb__PutRequest *puts[] = {&good_put, &bad_put, &peeking_put, &leasing_put};
    for (size_t i = 0; i < 4; i++) {
        ops[i].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        ops[i].request_put = puts[i];
    }
    ops[4].request_case = ops[5].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    ops[4].request_range = &good_range;
    ops[5].request_range = &bad_range;
    ops[6].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    ops[6].request_delete_range = &bad_delete;
    for (size_t i = 0; i < 7; i++) {
        enum err expected = i == 0 || i == 4 ? OK : ERR_PERMISSION_DENIED;
        Etcdserverpb__RequestOp *op = &ops[i];
        for (int place = 0; place < 4; place++) {
            Etcdserverpb__TxnRequest inner = ETCDSERVERPB__TXN_REQUEST__INIT, outer = inner;
            Etcdserverpb__RequestOp nested = ETCDSERVERPB__REQUEST_OP__INIT, *nested_pointer = &nested;
            nested.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
            nested.request_txn = &inner;
            Etcdserverpb__TxnRequest *txn = place < 2 ? &outer : &inner;
            txn->n_success = place % 2 == 0;
            txn->n_failure = place % 2 == 1;
            txn->success = txn->failure = &op;
            if (place >= 2) {
                outer.n_failure = 1;
                outer.failure = &nested_pointer;
            }
            assert_int_equal(auth_check_txn(f->store, &u, &outer, &leases), expected);
            assert_int_equal(auth_check_txn(f->store, &nobody, &outer, &leases), ERR_USER_EMPTY);
        }
    }
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT, *compare_pointer = &compare;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_compare = 1;
    txn.compare = &compare_pointer;
    compare.key = pb_bytes(KEY("w"));
    assert_int_equal(auth_check_txn(f->store, &u, &txn, &leases), ERR_PERMISSION_DENIED);
    compare.key = pb_bytes(KEY("r"));
    assert_int_equal(auth_check_txn(f->store, &u, &txn, &leases), OK);
    compare.range_end = pb_bytes(KEY("t"));
    assert_int_equal(auth_check_txn(f->store, &u, &txn, &leases), ERR_PERMISSION_DENIED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_new_database_has_revision_one),
        TEST(records_are_those_of_etcd),
        TEST(users_change_by_the_rules),
        TEST(a_hash_that_is_no_base64_is_refused),
        TEST(a_bare_password_in_the_log_is_hashed),
        TEST(an_old_record_without_options_stays_so),
        TEST(roles_change_by_the_rules),
        TEST(a_second_range_of_a_key_is_added_again),
        TEST(enabling_needs_root_and_protects_it),
        TEST(lists_are_sorted),
        TEST(a_record_that_makes_no_sense_stops_the_start),
        TEST(a_token_lives_while_it_is_used),
        TEST(tokens_end_with_what_they_stand_for),
        TEST(beyond_the_limit_the_longest_unused_token_goes),
        TEST(only_logins_with_a_password_are_checked),
        TEST(who_asks_matters_first),
        TEST(puts_and_deletes_need_all_they_touch),
        TEST(every_place_of_a_txn_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
