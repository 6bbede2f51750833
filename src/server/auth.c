/* auth.c - who may do what, asked when an entry is applied; the operations of auth; passwords away from the loop.
 *
 * The permission check at apply looks at nothing but the entry (its header names the user and the auth revision) and
 * the auth store, so all members say the same. Where 3.5 lets go of it (its members do not check while an alarm that
 * was raised since their start is active) we stay strict; and we check all of a transaction on every member, where 3.5
 * leaves out top-level ranges on all but the proposer, whose members then differ. Rules: spec/apply.md 3, 6. */
#include "auth/password.h"
#include "pb/arena_pb.h"
#include "pb/raft_internal.pb-c.h"
#include "server/internal.h"

/* ---- at apply ---- */

const ProtobufCMessageDescriptor *server__auth_descriptor(uint32_t op) {
    switch (op) {
    case SERVER_OP_AUTH_ENABLE: return &etcdserverpb__auth_enable_request__descriptor;
    case SERVER_OP_AUTH_DISABLE: return &etcdserverpb__auth_disable_request__descriptor;
    case SERVER_OP_AUTHENTICATE: return &etcdserverpb__internal_authenticate_request__descriptor;
    case SERVER_OP_AUTH_STATUS: return &etcdserverpb__auth_status_request__descriptor;
    case SERVER_OP_AUTH_USER_ADD: return &etcdserverpb__auth_user_add_request__descriptor;
    case SERVER_OP_AUTH_USER_DELETE: return &etcdserverpb__auth_user_delete_request__descriptor;
    case SERVER_OP_AUTH_USER_GET: return &etcdserverpb__auth_user_get_request__descriptor;
    case SERVER_OP_AUTH_USER_CHANGE_PASSWORD: return &etcdserverpb__auth_user_change_password_request__descriptor;
    case SERVER_OP_AUTH_USER_GRANT_ROLE: return &etcdserverpb__auth_user_grant_role_request__descriptor;
    case SERVER_OP_AUTH_USER_REVOKE_ROLE: return &etcdserverpb__auth_user_revoke_role_request__descriptor;
    case SERVER_OP_AUTH_USER_LIST: return &etcdserverpb__auth_user_list_request__descriptor;
    case SERVER_OP_AUTH_ROLE_LIST: return &etcdserverpb__auth_role_list_request__descriptor;
    case SERVER_OP_AUTH_ROLE_ADD: return &etcdserverpb__auth_role_add_request__descriptor;
    case SERVER_OP_AUTH_ROLE_DELETE: return &etcdserverpb__auth_role_delete_request__descriptor;
    case SERVER_OP_AUTH_ROLE_GET: return &etcdserverpb__auth_role_get_request__descriptor;
    case SERVER_OP_AUTH_ROLE_GRANT_PERMISSION: return &etcdserverpb__auth_role_grant_permission_request__descriptor;
    case SERVER_OP_AUTH_ROLE_REVOKE_PERMISSION: return &etcdserverpb__auth_role_revoke_permission_request__descriptor;
    default: return NULL;
    }
}

static struct slice *keys_of_lease(void *context, int64_t lease, size_t *ret_count) {
    const struct lessor *lessor = ((struct server *)context)->lessor;
    struct lease_info info;
    if (!lessor_lookup(lessor, lease, &info) || info.key_count == 0) return NULL;
    struct slice *keys = NEW_ARRAY(struct slice, info.key_count);
    lessor_keys(lessor, lease, keys);
    *ret_count = info.key_count;
    return keys;
}

struct auth_leases server_auth_leases(struct server *self) {
    return (struct auth_leases){keys_of_lease, self};
}

static enum err check_lease_revoke(struct server *self, const struct auth_info *info, int64_t lease) {
    size_t count = 0;
    struct slice *keys = keys_of_lease(self, lease, &count);
    enum err error = auth_check_write_keys(self->auth, info, keys, count);
    mem_free(keys);
    return error;
}

static enum err check_user_get(struct server *self, const struct auth_info *info,
                               const Etcdserverpb__AuthUserGetRequest *request) {
    return auth_check_user_get(self->auth, info, slice_from_cstr(request->name));
}

static enum err check_role_get(struct server *self, const struct auth_info *info,
                               const Etcdserverpb__AuthRoleGetRequest *request) {
    return auth_check_role_get(self->auth, info, slice_from_cstr(request->role));
}

enum err server__auth_check(struct server *self, uint32_t op, const void *message, const struct auth_info *info) {
    struct auth_leases leases = server_auth_leases(self);
    switch (op) {
    case SERVER_OP_PUT: return auth_check_put(self->auth, info, message, &leases);
    case SERVER_OP_DELETE_RANGE: return auth_check_delete_range(self->auth, info, message);
    case SERVER_OP_TXN: return auth_check_txn(self->auth, info, message, &leases);
    case SERVER_OP_LEASE_REVOKE:
        return check_lease_revoke(self, info, ((const Etcdserverpb__LeaseRevokeRequest *)message)->id);
    case SERVER_OP_COMPACTION: /* these four are checked before they are proposed only, as in 3.5 */
    case SERVER_OP_LEASE_GRANT:
    case SERVER_OP_LEASE_CHECKPOINT:
    case SERVER_OP_ALARM:
    case SERVER_OP_AUTHENTICATE: return OK;
    case SERVER_OP_AUTH_USER_GET: return check_user_get(self, info, message);
    case SERVER_OP_AUTH_ROLE_GET: return check_role_get(self, info, message);
    default: return auth_check_admin(self->auth, info);
    }
}

/* The token ends in the consistent index before this entry (spec/apply.md 3). */
static enum err authenticate(struct server *self, const Etcdserverpb__InternalAuthenticateRequest *request,
                             struct buf *out) {
    struct buf token = BUF_INIT;
    enum err error =
        auth_assign_token(self->auth, slice_from_cstr(request->name), slice_from_cstr(request->simple_token),
                          self->consistent_index, env_now_ns(self->env), &token);
    if (error == OK) {
        buf_append_byte(out, 2 << 3 | 2);
        buf_append_varint(out, token.len);
        buf_append_slice(out, buf_slice(&token));
    }
    buf_release(&token);
    return error;
}

enum err server__apply_auth(struct server *self, uint32_t op, const void *message, struct buf *out) {
    struct auth_store *auth = self->auth;
    switch (op) {
    case SERVER_OP_AUTH_ENABLE: return auth_enable(auth);
    case SERVER_OP_AUTH_DISABLE: auth_disable(auth); return OK;
    case SERVER_OP_AUTHENTICATE: return authenticate(self, message, out);
    case SERVER_OP_AUTH_STATUS: auth_append_status(auth, out); return OK;
    case SERVER_OP_AUTH_USER_ADD: return auth_user_add(auth, message);
    case SERVER_OP_AUTH_USER_DELETE: return auth_user_delete(auth, message);
    case SERVER_OP_AUTH_USER_GET:
        return auth_append_user(auth, slice_from_cstr(((const Etcdserverpb__AuthUserGetRequest *)message)->name), out);
    case SERVER_OP_AUTH_USER_CHANGE_PASSWORD: return auth_user_change_password(auth, message);
    case SERVER_OP_AUTH_USER_GRANT_ROLE: return auth_user_grant_role(auth, message);
    case SERVER_OP_AUTH_USER_REVOKE_ROLE: return auth_user_revoke_role(auth, message);
    case SERVER_OP_AUTH_USER_LIST: auth_append_users(auth, out); return OK;
    case SERVER_OP_AUTH_ROLE_LIST: auth_append_roles(auth, out); return OK;
    case SERVER_OP_AUTH_ROLE_ADD: return auth_role_add(auth, message);
    case SERVER_OP_AUTH_ROLE_DELETE: return auth_role_delete(auth, message);
    case SERVER_OP_AUTH_ROLE_GET:
        return auth_append_role(auth, slice_from_cstr(((const Etcdserverpb__AuthRoleGetRequest *)message)->role), out);
    case SERVER_OP_AUTH_ROLE_GRANT_PERMISSION: return auth_role_grant_permission(auth, message);
    case SERVER_OP_AUTH_ROLE_REVOKE_PERMISSION: return auth_role_revoke_permission(auth, message);
    default: return ERR_UNKNOWN_METHOD;
    }
}

/* ---- passwords: one piece of work for the pool ---- */

struct server_password_work {
    struct env_job job;
    struct server *server; /* NULL: it has ended */
    struct list link;      /* waiting or running */
    void *owner;           /* NULL: nobody waits any more */
    void (*done)(void *owner, enum err error);
    bool is_running;
    bool checks; /* else it hashes */
    bool matches;
    unsigned cost;
    uint8_t salt[PASSWORD_SALT_BYTES];
    char text[PASSWORD_HASH_BYTES];
    size_t text_len;
    size_t password_len;
    char password[PASSWORD_MAX_BYTES];
};

static void work_free(struct server_password_work *work) {
    explicit_bzero(work->password, sizeof work->password);
    mem_free(work);
}

static void work_run(struct env_job *job) {
    struct server_password_work *work = CONTAINER_OF(job, struct server_password_work, job);
    struct slice password = slice_make(work->password, work->password_len);
    if (work->checks) {
        work->matches = password_matches(password, slice_make(work->text, work->text_len));
        return;
    }
    enum err error = password_hash(password, work->cost, work->salt, work->text);
    CHECK(error == OK); /* its length was looked at */
}

static void run_next(struct server *self);

static void work_done(struct env_job *job) {
    struct server_password_work *work = CONTAINER_OF(job, struct server_password_work, job);
    struct server *self = work->server;
    if (self == NULL) {
        work_free(work);
        return;
    }
    list_remove(&work->link);
    self->password_count--;
    if (work->owner != NULL) work->done(work->owner, self->state == SERVER_RUNNING ? OK : ERR_STOPPED);
    work_free(work);
    run_next(self);
    if (self->state == SERVER_STOPPING) server__want_turn(self);
}

static void run_next(struct server *self) {
    size_t running = 0;
    LIST_FOREACH (link, &self->passwords_running) running++;
    while (running < SERVER_PASSWORDS_RUNNING && !list_is_empty(&self->passwords_waiting)) {
        struct server_password_work *work =
            CONTAINER_OF(self->passwords_waiting.next, struct server_password_work, link);
        list_remove(&work->link);
        list_push_back(&self->passwords_running, &work->link);
        work->is_running = true;
        running++;
        env_pool_submit(self->env, &work->job);
    }
}

/* Of a longer password the first bytes are all that bcrypt looks at. NULL: the line is too long. */
static struct server_password_work *work_new(struct server *self, struct slice password, void *owner,
                                             void (*done)(void *owner, enum err error)) {
    if (self->password_count >= SERVER_PASSWORDS_WAITING) return NULL;
    struct server_password_work *work = NEW(struct server_password_work);
    work->job = (struct env_job){.run = work_run, .done = work_done};
    work->server = self;
    work->owner = owner;
    work->done = done;
    work->password_len = password.len < PASSWORD_MAX_BYTES ? password.len : PASSWORD_MAX_BYTES;
    if (work->password_len != 0) memcpy(work->password, password.data, work->password_len);
    return work;
}

static void work_submit(struct server *self, struct server_password_work *work) {
    self->password_count++;
    list_push_back(&self->passwords_waiting, &work->link);
    run_next(self);
}

static void work_cancel(struct server *self, struct server_password_work *work) {
    work->owner = NULL;
    if (work->is_running) return; /* ends by itself */
    list_remove(&work->link);
    self->password_count--;
    work_free(work);
}

void server__fail_all_passwords(struct server *self) {
    while (!list_is_empty(&self->passwords_waiting)) {
        struct server_password_work *work =
            CONTAINER_OF(self->passwords_waiting.next, struct server_password_work, link);
        list_remove(&work->link);
        self->password_count--;
        work->done(work->owner, ERR_STOPPED);
        work_free(work);
    }
}

void server__forsake_passwords(struct server *self) {
    LIST_FOREACH (link, &self->passwords_waiting) {
        struct server_password_work *work = CONTAINER_OF(link, struct server_password_work, link);
        list_remove(&work->link);
        work_free(work);
    }
    LIST_FOREACH (link, &self->passwords_running) {
        struct server_password_work *work = CONTAINER_OF(link, struct server_password_work, link);
        list_remove(&work->link);
        work->server = NULL;
    }
}

/* ---- a new password ---- */

static void hashed(void *owner, enum err error) {
    struct server_hashing *hashing = owner;
    memcpy(hashing->text, hashing->work->text, sizeof hashing->text);
    hashing->work = NULL;
    hashing->error = error;
    hashing->callback(hashing);
}

enum err server_hash_password(struct server *self, struct server_hashing *hashing) {
    if (self->state != SERVER_RUNNING) return ERR_STOPPED;
    if (hashing->password.len > PASSWORD_MAX_BYTES) return ERR_PASSWORD_TOO_LONG;
    hashing->work = work_new(self, hashing->password, hashing, hashed);
    if (hashing->work == NULL) return ERR_TOO_MANY_REQUESTS;
    hashing->work->cost = self->config.bcrypt_cost;
    env_random_bytes(self->env, hashing->work->salt, sizeof hashing->work->salt);
    work_submit(self, hashing->work);
    return OK;
}

/* ---- login ---- */

static void finish(struct server_login *login, enum err error) {
    login->error = error;
    login->callback(login);
}

static void refuse(struct server_login *login, enum err error) {
    if (error != ERR_AUTH_NOT_ENABLED)
        log_warn(login->server->log, "invalid authentication was requested", LOG_STRING("user", login->name),
                 LOG_ERR(error));
    finish(login, error);
}

static void check_password(struct server_login *login);

static void token_known(struct server_request *request) {
    struct server_login *login = CONTAINER_OF(request, struct server_login, request);
    struct server *self = login->server;
    mem_free(TAKE(login->message));
    if (request->error == OK && login->checked_revision != auth_store_revision(self->auth)) {
        log_info(self->log, "revision when password checked became stale; retrying");
        buf_clear(login->out);
        check_password(login);
        return;
    }
    login->revision = request->revision;
    finish(login, request->error);
}

static void draw_token_prefix(struct server *self, char prefix[AUTH_TOKEN_PREFIX_BYTES + 1]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < AUTH_TOKEN_PREFIX_BYTES;) {
        uint8_t byte;
        env_random_bytes(self->env, &byte, 1);
        if (byte < 208) prefix[i++] = letters[byte % 52]; /* 4 * 52: each letter as likely */
    }
    prefix[AUTH_TOKEN_PREFIX_BYTES] = 0;
}

/* The password stays here: the log sees the name and the token's beginning. */
static void propose_token(struct server_login *login) {
    struct server *self = login->server;
    draw_token_prefix(self, login->token_prefix);
    Etcdserverpb__InternalAuthenticateRequest *message = NEW(Etcdserverpb__InternalAuthenticateRequest);
    etcdserverpb__internal_authenticate_request__init(message);
    message->name = (char *)(uintptr_t)login->name;
    message->simple_token = login->token_prefix;
    login->message = message;
    struct buf encoded = BUF_INIT;
    pb_pack(message, &encoded);
    login->request = (struct server_request){.op = SERVER_OP_AUTHENTICATE,
                                             .encoded = buf_slice(&encoded),
                                             .message = message,
                                             .callback = token_known,
                                             .out = login->out};
    enum err error = server_propose(self, &login->request);
    buf_release(&encoded);
    if (error == OK) return;
    mem_free(TAKE(login->message));
    finish(login, error);
}

static void password_checked(void *owner, enum err error) {
    struct server_login *login = owner;
    bool matches = login->work->matches;
    login->work = NULL;
    if (error != OK) {
        finish(login, error);
        return;
    }
    if (matches) {
        propose_token(login);
        return;
    }
    log_info(login->server->log, "invalid password", LOG_STRING("user-name", login->name));
    refuse(login, ERR_AUTH_FAILED);
}

static void check_password(struct server_login *login) {
    struct server *self = login->server;
    struct slice hash;
    enum err error = auth_password_of(self->auth, slice_from_cstr(login->name), &hash, &login->checked_revision);
    if (error != OK) {
        refuse(login, error);
        return;
    }
    login->work = work_new(self, slice_from_cstr(login->password), login, password_checked);
    if (login->work == NULL) {
        finish(login, ERR_TOO_MANY_REQUESTS);
        return;
    }
    login->work->checks = true;
    login->work->text_len = hash.len < PASSWORD_HASH_BYTES ? hash.len : PASSWORD_HASH_BYTES;
    if (hash.len == PASSWORD_HASH_BYTES) memcpy(login->work->text, hash.data, hash.len);
    work_submit(self, login->work);
}

static void index_known(struct server_read *read, enum err error) {
    struct server_login *login = CONTAINER_OF(read, struct server_login, read);
    if (error != OK)
        finish(login, error);
    else
        check_password(login);
}

enum err server_login(struct server *self, struct server_login *login) {
    login->server = self;
    login->read.callback = index_known;
    return server_read_index(self, &login->read);
}

void server_login_cancel(struct server *self, struct server_login *login) {
    server_read_cancel(self, &login->read);
    server_cancel(self, &login->request);
    if (login->work != NULL) work_cancel(self, login->work);
    login->work = NULL;
    mem_free(TAKE(login->message));
}
