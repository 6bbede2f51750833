/* fixture.h - an auth store over a backend of its own, and short words for its requests. */
#ifndef TESTS_AUTH_FIXTURE_H
#define TESTS_AUTH_FIXTURE_H

#include "auth/auth.h"
#include "base/gotext.h"
#include "base/mem.h"
#include "pb/arena_pb.h"

#include "../backend/own_backend.h"

#define S INT64_C(1000000000)

struct fixture {
    struct own_backend own;
    struct auth_store *store;
};

static inline void fixture_new_store(struct fixture *self) {
    struct auth_config config = {.env = os_world_env(self->own.world), .bcrypt_cost = 4};
    self->store = auth_store_new(&config);
}

static inline int setup(void **state) {
    struct fixture *self = NEW(struct fixture);
    own_backend_init(&self->own);
    fixture_new_store(self);
    struct errmsg message = {{0}};
    assert_int_equal(auth_store_restore(self->store, self->own.backend, &message), OK);
    *state = self;
    return 0;
}

static inline int teardown(void **state) {
    struct fixture *self = *state;
    auth_store_free(self->store);
    own_backend_release(&self->own);
    mem_free(self);
    return 0;
}

/* From the file, as after a restart. */
static inline void restart(struct fixture *self) {
    auth_store_free(self->store);
    own_backend_reopen(&self->own);
    fixture_new_store(self);
    struct errmsg message = {{0}};
    assert_int_equal(auth_store_restore(self->store, self->own.backend, &message), OK);
}

#define WORD(text) ((char *)(uintptr_t)(text))

/* `hash`: the bcrypt text; NULL: a user without password. */
static inline enum err add_user(struct fixture *self, const char *name, const char *hash) {
    Etcdserverpb__AuthUserAddRequest request = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Authpb__UserAddOptions options = AUTHPB__USER_ADD_OPTIONS__INIT;
    struct buf encoded = BUF_INIT;
    request.name = WORD(name);
    if (hash == NULL) {
        options.no_password = true;
        request.options = &options;
    } else {
        append_base64(&encoded, slice_from_cstr(hash));
        request.hashedpassword = WORD(buf_cstr(&encoded));
    }
    enum err error = auth_user_add(self->store, &request);
    buf_release(&encoded);
    return error;
}

static inline enum err delete_user(struct fixture *self, const char *name) {
    Etcdserverpb__AuthUserDeleteRequest request = ETCDSERVERPB__AUTH_USER_DELETE_REQUEST__INIT;
    request.name = WORD(name);
    return auth_user_delete(self->store, &request);
}

static inline enum err change_password(struct fixture *self, const char *name, const char *hash) {
    Etcdserverpb__AuthUserChangePasswordRequest request = ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    struct buf encoded = BUF_INIT;
    append_base64(&encoded, slice_from_cstr(hash));
    request.name = WORD(name);
    request.hashedpassword = WORD(buf_cstr(&encoded));
    enum err error = auth_user_change_password(self->store, &request);
    buf_release(&encoded);
    return error;
}

static inline enum err grant_role(struct fixture *self, const char *user, const char *role) {
    Etcdserverpb__AuthUserGrantRoleRequest request = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    request.user = WORD(user);
    request.role = WORD(role);
    return auth_user_grant_role(self->store, &request);
}

static inline enum err revoke_role(struct fixture *self, const char *user, const char *role) {
    Etcdserverpb__AuthUserRevokeRoleRequest request = ETCDSERVERPB__AUTH_USER_REVOKE_ROLE_REQUEST__INIT;
    request.name = WORD(user);
    request.role = WORD(role);
    return auth_user_revoke_role(self->store, &request);
}

static inline enum err add_role(struct fixture *self, const char *name) {
    Etcdserverpb__AuthRoleAddRequest request = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    request.name = WORD(name);
    return auth_role_add(self->store, &request);
}

static inline enum err delete_role(struct fixture *self, const char *name) {
    Etcdserverpb__AuthRoleDeleteRequest request = ETCDSERVERPB__AUTH_ROLE_DELETE_REQUEST__INIT;
    request.role = WORD(name);
    return auth_role_delete(self->store, &request);
}

enum { READ, WRITE, READWRITE };

static inline enum err grant_permission(struct fixture *self, const char *role, int type, struct slice key,
                                        struct slice end) {
    Etcdserverpb__AuthRoleGrantPermissionRequest request = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    permission.permtype = (Authpb__Permission__Type)type;
    permission.key = pb_bytes(key);
    permission.range_end = pb_bytes(end);
    request.name = WORD(role);
    request.perm = &permission;
    return auth_role_grant_permission(self->store, &request);
}

static inline enum err revoke_permission(struct fixture *self, const char *role, struct slice key, struct slice end) {
    Etcdserverpb__AuthRoleRevokePermissionRequest request = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    request.role = WORD(role);
    request.key = pb_bytes(key);
    request.range_end = pb_bytes(end);
    return auth_role_revoke_permission(self->store, &request);
}

/* User root with role root, auth on. */
static inline void enable(struct fixture *self) {
    assert_int_equal(add_user(self, "root", "x"), OK);
    assert_int_equal(grant_role(self, "root", "root"), OK);
    assert_int_equal(auth_enable(self->store), OK);
}

static inline struct auth_info info_of(struct fixture *self, const char *user) {
    return (struct auth_info){slice_from_cstr(user), auth_store_revision(self->store)};
}

#endif
