/* auth.c - the Auth service, and who may call the others.
 *
 * Most of Auth is proposed as it came and decided at apply (server/auth.c). New passwords are hashed before, so that
 * the log holds bcrypt texts only; Authenticate is server_login. Rules: spec/apply.md 6, catalog/rpcs.tsv. */
#include "api/internal.h"

#include "base/gotext.h"
#include "lease/lessor.h"

/* ---- who asks ---- */

enum err api__who(struct api *self, struct grpc_call *call, struct auth_info *ret_info) {
    struct slice token = grpc_call_metadata(call, "token");
    if (token.data == NULL) token = grpc_call_metadata(call, "authorization"); /* the JSON gateway's name for it */
    return auth_identify(server_auth(self->server), token, env_now_ns(self->env), ret_info);
}

static enum err check_known(struct api *self, struct grpc_call *call) {
    struct auth_info info;
    TRY(api__who(self, call, &info));
    return auth_check_known(server_auth(self->server), &info);
}

static enum err check_admin(struct api *self, struct grpc_call *call) {
    struct auth_info info;
    TRY(api__who(self, call, &info));
    return auth_check_admin(server_auth(self->server), &info);
}

bool api__require_user(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    enum err error = api__auth_is_on(self) ? check_known(self, call) : OK;
    if (error != OK) grpc_call_fail(call, error);
    return error == OK;
}

bool api__require_admin(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    enum err error = api__auth_is_on(self) ? check_admin(self, call) : OK;
    if (error != OK) grpc_call_fail(call, error);
    return error == OK;
}

static const char *bare_text(enum err error) {
    switch (error) {
    case ERR_USER_EMPTY: return "auth: user name is empty";
    case ERR_USER_NOT_FOUND: return "auth: user not found";
    case ERR_INVALID_AUTH_TOKEN: return "auth: invalid auth token";
    default: return "auth: permission denied";
    }
}

bool api__require_admin_bare(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    enum err error = api__auth_is_on(self) ? check_admin(self, call) : OK;
    if (error != OK) grpc_call_fail_text(call, 2, bare_text(error));
    return error == OK;
}

enum err api__check_read(struct api *self, struct grpc_call *call, struct slice key, struct slice range_end) {
    struct auth_info info;
    TRY(api__who(self, call, &info));
    return auth_check_read(server_auth(self->server), &info, key, range_end);
}

enum err api__check_read_txn(struct api *self, struct grpc_call *call, const Etcdserverpb__TxnRequest *request) {
    struct auth_info info;
    TRY(api__who(self, call, &info));
    struct auth_leases leases = server_auth_leases(self->server);
    return auth_check_txn(server_auth(self->server), &info, request, &leases);
}

enum err api__check_lease_keys(struct api *self, struct grpc_call *call, int64_t lease, bool writes) {
    struct auth_store *auth = server_auth(self->server);
    if (!auth_store_is_enabled(auth)) return OK;
    struct auth_info info;
    TRY(api__who(self, call, &info));
    TRY(auth_check_known(auth, &info));
    struct auth_leases leases = server_auth_leases(self->server);
    size_t count = 0;
    struct slice *keys = leases.keys(leases.context, lease, &count);
    enum err error =
        writes ? auth_check_write_keys(auth, &info, keys, count) : auth_check_read_keys(auth, &info, keys, count);
    mem_free(keys);
    return error;
}

/* ---- methods proposed as they come ---- */

static void propose_as_is(struct grpc_call *call, enum server_op op, const ProtobufCMessageDescriptor *type) {
    const void *request = api__request(call, type);
    if (request != NULL) api__propose(grpc_call_service(call), call, op, request, grpc_call_message(call));
}

#define AS_IS(function, op, type)                                                                                      \
    static void function(struct grpc_call *call) { propose_as_is(call, op, &etcdserverpb__##type##__descriptor); }

AS_IS(enable, SERVER_OP_AUTH_ENABLE, auth_enable_request)
AS_IS(disable, SERVER_OP_AUTH_DISABLE, auth_disable_request)
AS_IS(status, SERVER_OP_AUTH_STATUS, auth_status_request)
AS_IS(user_get, SERVER_OP_AUTH_USER_GET, auth_user_get_request)
AS_IS(user_list, SERVER_OP_AUTH_USER_LIST, auth_user_list_request)
AS_IS(user_delete, SERVER_OP_AUTH_USER_DELETE, auth_user_delete_request)
AS_IS(user_grant_role, SERVER_OP_AUTH_USER_GRANT_ROLE, auth_user_grant_role_request)
AS_IS(user_revoke_role, SERVER_OP_AUTH_USER_REVOKE_ROLE, auth_user_revoke_role_request)
AS_IS(role_add, SERVER_OP_AUTH_ROLE_ADD, auth_role_add_request)
AS_IS(role_get, SERVER_OP_AUTH_ROLE_GET, auth_role_get_request)
AS_IS(role_list, SERVER_OP_AUTH_ROLE_LIST, auth_role_list_request)
AS_IS(role_delete, SERVER_OP_AUTH_ROLE_DELETE, auth_role_delete_request)
AS_IS(role_grant_permission, SERVER_OP_AUTH_ROLE_GRANT_PERMISSION, auth_role_grant_permission_request)
AS_IS(role_revoke_permission, SERVER_OP_AUTH_ROLE_REVOKE_PERMISSION, auth_role_revoke_permission_request)

/* ---- new passwords: hashed, then proposed ---- */

/* Either request. While it is hashed the call has no context: a client that goes away does not end the hashing, but
 * what comes of it is not proposed. */
struct new_password {
    struct server_hashing hashing;
    struct api *api;
    struct grpc_call *call;
    Etcdserverpb__AuthUserAddRequest *add; /* or */
    Etcdserverpb__AuthUserChangePasswordRequest *change;
};

/* The password never reaches the log, not even one that is given in vain. */
static void propose_new_password(struct new_password *self, char *hash) {
    struct grpc_call *call = self->call;
    static char none[1];
    if (self->add != NULL) {
        self->add->password = none;
        self->add->hashedpassword = hash;
    } else {
        self->change->password = none;
        self->change->hashedpassword = hash;
    }
    enum server_op op = self->add != NULL ? SERVER_OP_AUTH_USER_ADD : SERVER_OP_AUTH_USER_CHANGE_PASSWORD;
    const void *message = self->add != NULL ? (const void *)self->add : self->change;
    api__propose(self->api, call, op, message, pb_pack_arena(message, grpc_call_arena(call)));
}

static void password_hashed(struct server_hashing *hashing) {
    struct new_password *self = CONTAINER_OF(hashing, struct new_password, hashing);
    enum err error = grpc_call_is_cancelled(self->call) ? ERR_CONTEXT_CANCELED : hashing->error;
    if (error != OK) {
        grpc_call_fail(self->call, error);
        return;
    }
    struct buf text = BUF_INIT;
    append_base64(&text, slice_make(hashing->text, sizeof hashing->text));
    char *hash = arena_strdup(grpc_call_arena(self->call), buf_slice(&text));
    buf_release(&text);
    propose_new_password(self, hash);
}

static void hash_and_propose(struct new_password *self, const char *password) {
    self->hashing = (struct server_hashing){.password = slice_from_cstr(password), .callback = password_hashed};
    enum err error = server_hash_password(self->api->server, &self->hashing);
    if (error != OK) grpc_call_fail(self->call, error);
}

static void new_password_cancelled(struct grpc_call *call) {
    if (grpc_call_context(call) != NULL) api__propose_cancelled(call);
}

/* Who may not change users need not make us hash: the answer is that of apply. */
static struct new_password *new_password(struct grpc_call *call) {
    if (!api__require_admin(call)) return NULL;
    struct new_password *self = ARENA_NEW(grpc_call_arena(call), struct new_password);
    *self = (struct new_password){.api = grpc_call_service(call), .call = call};
    return self;
}

static void user_add(struct grpc_call *call) {
    Etcdserverpb__AuthUserAddRequest *request = api__request(call, &etcdserverpb__auth_user_add_request__descriptor);
    struct new_password *self = request != NULL ? new_password(call) : NULL;
    if (self == NULL) return;
    self->add = request;
    static char none[1];
    if (request->options != NULL && request->options->no_password)
        propose_new_password(self, none);
    else
        hash_and_propose(self, request->password);
}

static void user_change_password(struct grpc_call *call) {
    Etcdserverpb__AuthUserChangePasswordRequest *request =
        api__request(call, &etcdserverpb__auth_user_change_password_request__descriptor);
    struct new_password *self = request != NULL ? new_password(call) : NULL;
    if (self == NULL) return;
    self->change = request;
    hash_and_propose(self, request->password);
}

/* ---- authenticate ---- */

struct authenticating {
    struct server_login login;
    struct api *api;
    struct grpc_call *call;
    struct buf out;
};

static void logged_in(struct server_login *login) {
    struct authenticating *self = CONTAINER_OF(login, struct authenticating, login);
    struct buf out = self->out; /* goes with the call */
    if (login->error != OK)
        grpc_call_fail(self->call, login->error);
    else
        api__reply(self->api, self->call, login->revision, buf_slice(&out));
    buf_release(&out);
}

static void authenticate(struct grpc_call *call) {
    const Etcdserverpb__AuthenticateRequest *request =
        api__request(call, &etcdserverpb__authenticate_request__descriptor);
    if (request == NULL) return;
    struct authenticating *self = ARENA_NEW(grpc_call_arena(call), struct authenticating);
    *self = (struct authenticating){.api = grpc_call_service(call), .call = call};
    self->login = (struct server_login){
        .name = request->name, .password = request->password, .out = &self->out, .callback = logged_in};
    enum err error = server_login(self->api->server, &self->login);
    if (error != OK)
        grpc_call_fail(call, error);
    else
        grpc_call_set_context(call, self);
}

static void authenticate_cancelled(struct grpc_call *call) {
    struct authenticating *self = grpc_call_context(call);
    if (self != NULL) {
        server_login_cancel(self->api->server, &self->login);
        buf_release(&self->out);
    }
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}

/* ---- the service ---- */

#define METHOD(name, function)                                                                                         \
    { .path = "/etcdserverpb.Auth/" name, .on_call = function, .on_cancel = api__propose_cancelled }

static const struct grpc_method methods[] = {
    METHOD("AuthEnable", enable),
    METHOD("AuthDisable", disable),
    METHOD("AuthStatus", status),
    {.path = "/etcdserverpb.Auth/Authenticate", .on_call = authenticate, .on_cancel = authenticate_cancelled},
    {.path = "/etcdserverpb.Auth/UserAdd", .on_call = user_add, .on_cancel = new_password_cancelled},
    METHOD("UserGet", user_get),
    METHOD("UserList", user_list),
    METHOD("UserDelete", user_delete),
    {.path = "/etcdserverpb.Auth/UserChangePassword",
     .on_call = user_change_password,
     .on_cancel = new_password_cancelled},
    METHOD("UserGrantRole", user_grant_role),
    METHOD("UserRevokeRole", user_revoke_role),
    METHOD("RoleAdd", role_add),
    METHOD("RoleGet", role_get),
    METHOD("RoleList", role_list),
    METHOD("RoleDelete", role_delete),
    METHOD("RoleGrantPermission", role_grant_permission),
    METHOD("RoleRevokePermission", role_revoke_permission),
};

void api__auth_add(struct api *self) { grpc_server_add(self->grpc, methods, sizeof methods / sizeof *methods, self); }
