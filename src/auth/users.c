/* users.c - changes of users, while entries are applied. */
#include "auth/internal.h"

#include "auth/password.h"

struct user *auth__user_new(struct slice name) {
    struct user *user = NEW(struct user);
    user->name = auth__copy(name);
    list_init(&user->tokens);
    return user;
}

void auth__user_free(struct user *user) {
    CHECK(list_is_empty(&user->tokens));
    for (size_t i = 0; i < user->roles.count; i++) mem_free(user->roles.items[i]);
    VEC_RELEASE(&user->roles);
    auth__ranges_release(&user->readable);
    auth__ranges_release(&user->writable);
    auth__free_copy(&user->password);
    auth__free_copy(&user->name);
    mem_free(user);
}

/* ---- the roles of one user ---- */

size_t auth__find_role_of(const struct user *user, const char *role, bool *ret_found) {
    size_t low = 0, high = user->roles.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(user->roles.items[middle], role) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = low < user->roles.count && strcmp(user->roles.items[low], role) == 0;
    return low;
}

void auth__user_insert_role(struct user *user, const char *role) {
    bool found;
    size_t at = auth__find_role_of(user, role, &found);
    VEC_RESERVE(&user->roles, 1);
    memmove(&user->roles.items[at + 1], &user->roles.items[at], (user->roles.count - at) * sizeof *user->roles.items);
    user->roles.items[at] = mem_strdup(role);
    user->roles.count++;
    user->ranges_version = 0;
    if (strcmp(role, ROOT) == 0) user->is_root = true;
}

/* All of that name: a database from elsewhere may have one twice. */
bool auth__user_remove_role(struct user *user, const char *role) {
    size_t kept = 0;
    for (size_t i = 0; i < user->roles.count; i++) {
        if (strcmp(user->roles.items[i], role) == 0)
            mem_free(user->roles.items[i]);
        else
            user->roles.items[kept++] = user->roles.items[i];
    }
    bool had_it = kept < user->roles.count;
    user->roles.count = kept;
    user->ranges_version = 0;
    if (strcmp(role, ROOT) == 0) user->is_root = false;
    return had_it;
}

static struct log_field roles_of(const struct user *user, const char *key) {
    return LOG_STRINGS(key, (const char *const *)user->roles.items, user->roles.count);
}

static const char *name_of(const struct user *user) { return (const char *)user->name.data; }

/* ---- passwords ---- */

/* The proposer hashed the password; entries of members before 3.5 hold the password itself. */
static enum err take_password(struct auth_store *self, const char *password, const char *hashed,
                              struct slice *ret_text) {
    struct buf text = BUF_INIT;
    if (password[0] != 0 && hashed[0] == 0) {
        uint8_t salt[PASSWORD_SALT_BYTES];
        char made[PASSWORD_HASH_BYTES];
        env_random_bytes(self->env, salt, sizeof salt);
        if (password_hash(slice_from_cstr(password), self->bcrypt_cost, salt, made) != OK) return ERR_NO_PASSWORD_USER;
        buf_append(&text, made, sizeof made);
    } else if (!password_decode_base64(slice_from_cstr(hashed), &text)) {
        buf_release(&text);
        return ERR_NO_PASSWORD_USER;
    }
    *ret_text = auth__copy(buf_slice(&text));
    buf_release(&text);
    return OK;
}

enum err auth_password_of(const struct auth_store *self, struct slice username, struct slice *ret_hash,
                          uint64_t *ret_revision) {
    if (!self->is_enabled) return ERR_AUTH_NOT_ENABLED;
    const struct user *user = auth__user(self, username);
    if (user == NULL) return ERR_AUTH_FAILED;
    if (user->no_password) return ERR_NO_PASSWORD_USER;
    *ret_hash = user->password;
    *ret_revision = self->revision;
    return OK;
}

/* ---- changes ---- */

enum err auth_user_add(struct auth_store *self, const Etcdserverpb__AuthUserAddRequest *request) {
    struct slice name = slice_from_cstr(request->name);
    if (name.len == 0) return ERR_USER_EMPTY;
    if (auth__user(self, name) != NULL) return ERR_USER_EXISTS;
    if (name.len > BOLT_MAX_KEY_BYTES) return ERR_INVALID_AUTH_MGMT; /* ends a Go member */
    bool no_password = request->options != NULL && request->options->no_password;
    struct slice password = SLICE_NONE;
    if (!no_password) TRY(take_password(self, request->password, request->hashedpassword, &password));
    struct user *user = auth__user_new(name);
    user->password = password;
    user->has_options = true;
    user->no_password = no_password;
    map_bytes_put(&self->users, user->name, user);
    auth__save_user(self, user);
    auth__next_revision(self);
    log_info(self->log, "added a user", LOG_STRING("user-name", request->name));
    return OK;
}

enum err auth_user_delete(struct auth_store *self, const Etcdserverpb__AuthUserDeleteRequest *request) {
    if (self->is_enabled && strcmp(request->name, ROOT) == 0) {
        log_error(self->log, "cannot delete 'root' user", LOG_STRING("user-name", request->name));
        return ERR_INVALID_AUTH_MGMT;
    }
    struct user *user = auth__user(self, slice_from_cstr(request->name));
    if (user == NULL) return ERR_USER_NOT_FOUND;
    map_bytes_remove(&self->users, user->name);
    backend_delete(self->backend, BACKEND_AUTH_USERS, user->name);
    auth__next_revision(self);
    auth__end_tokens_of(self, user);
    log_info(self->log, "deleted a user", LOG_STRING("user-name", name_of(user)), roles_of(user, "user-roles"));
    auth__user_free(user);
    return OK;
}

enum err auth_user_change_password(struct auth_store *self,
                                   const Etcdserverpb__AuthUserChangePasswordRequest *request) {
    struct user *user = auth__user(self, slice_from_cstr(request->name));
    if (user == NULL) return ERR_USER_NOT_FOUND;
    struct slice password = SLICE_NONE;
    if (!user->no_password) TRY(take_password(self, request->password, request->hashedpassword, &password));
    auth__free_copy(&user->password);
    user->password = password;
    auth__save_user(self, user);
    auth__next_revision(self);
    auth__end_tokens_of(self, user);
    log_info(self->log, "changed a password of a user", LOG_STRING("user-name", name_of(user)),
             roles_of(user, "user-roles"));
    return OK;
}

enum err auth_user_grant_role(struct auth_store *self, const Etcdserverpb__AuthUserGrantRoleRequest *request) {
    struct user *user = auth__user(self, slice_from_cstr(request->user));
    if (user == NULL) return ERR_USER_NOT_FOUND;
    if (strcmp(request->role, ROOT) != 0 && auth__role(self, slice_from_cstr(request->role)) == NULL)
        return ERR_ROLE_NOT_FOUND;
    bool found;
    auth__find_role_of(user, request->role, &found);
    if (found) {
        log_warn(self->log, "ignored grant role request to a user", LOG_STRING("user-name", name_of(user)),
                 roles_of(user, "user-roles"), LOG_STRING("duplicate-role-name", request->role));
        return OK;
    }
    auth__user_insert_role(user, request->role);
    auth__save_user(self, user);
    auth__next_revision(self);
    log_info(self->log, "granted a role to a user", LOG_STRING("user-name", name_of(user)),
             roles_of(user, "user-roles"), LOG_STRING("added-role-name", request->role));
    return OK;
}

enum err auth_user_revoke_role(struct auth_store *self, const Etcdserverpb__AuthUserRevokeRoleRequest *request) {
    if (self->is_enabled && strcmp(request->name, ROOT) == 0 && strcmp(request->role, ROOT) == 0) {
        log_error(self->log, "'root' user cannot revoke 'root' role", LOG_STRING("user-name", request->name),
                  LOG_STRING("role-name", request->role));
        return ERR_INVALID_AUTH_MGMT;
    }
    struct user *user = auth__user(self, slice_from_cstr(request->name));
    if (user == NULL) return ERR_USER_NOT_FOUND;
    if (!auth__user_remove_role(user, request->role)) return ERR_ROLE_NOT_GRANTED;
    auth__save_user(self, user);
    auth__next_revision(self);
    log_info(self->log, "revoked a role from a user", LOG_STRING("user-name", name_of(user)),
             roles_of(user, "new-user-roles"), LOG_STRING("revoked-role-name", request->role));
    return OK;
}
