/* store.c - life of the store, its records in the backend, on and off, and what can be looked at. */
#include "auth/internal.h"

#include "auth/password.h"
#include "base/bytes.h"

#include <stdlib.h>

#define ENABLED_KEY SLICE_LITERAL("authEnabled")
#define REVISION_KEY SLICE_LITERAL("authRevision")

struct slice auth__copy(struct slice bytes) {
    uint8_t *copy = mem_alloc(bytes.len + 1);
    if (bytes.len != 0) memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = 0;
    return slice_make(copy, bytes.len);
}

void auth__free_copy(struct slice *copy) {
    mem_free((void *)(uintptr_t)copy->data);
    *copy = SLICE_NONE;
}

/* ---- life ---- */

struct auth_store *auth_store_new(const struct auth_config *config) {
    struct auth_store *self = NEW(struct auth_store);
    self->log = config->log;
    self->env = config->env;
    self->token_ttl_ns = config->token_ttl_ns != 0 ? config->token_ttl_ns : AUTH_DEFAULT_TOKEN_TTL_NS;
    self->bcrypt_cost = config->bcrypt_cost >= PASSWORD_MIN_COST && config->bcrypt_cost <= PASSWORD_MAX_COST
                            ? config->bcrypt_cost
                            : PASSWORD_DEFAULT_COST;
    self->seed = config->seed;
    self->ranges_version = 1;
    map_bytes_init(&self->users, self->seed);
    map_bytes_init(&self->roles, self->seed);
    map_bytes_init(&self->tokens, self->seed);
    list_init(&self->tokens_by_use);
    return self;
}

static void forget(struct auth_store *self) {
    auth__end_all_tokens(self);
    size_t at = 0;
    for (struct user *user; (user = map_bytes_next(&self->users, &at)) != NULL;) auth__user_free(user);
    at = 0;
    for (struct role *role; (role = map_bytes_next(&self->roles, &at)) != NULL;) auth__role_free(role);
    map_bytes_release(&self->users);
    map_bytes_release(&self->roles);
    map_bytes_init(&self->users, self->seed);
    map_bytes_init(&self->roles, self->seed);
    self->ranges_version++;
    self->is_enabled = false;
    self->revision = 0;
}

void auth_store_free(struct auth_store *self) {
    if (self == NULL) return;
    forget(self);
    map_bytes_release(&self->users);
    map_bytes_release(&self->roles);
    map_bytes_release(&self->tokens);
    buf_release(&self->scratch);
    mem_free(self);
}

/* ---- records ---- */

struct user *auth__user(const struct auth_store *self, struct slice name) {
    return map_bytes_get(&self->users, name);
}
struct role *auth__role(const struct auth_store *self, struct slice name) {
    return map_bytes_get(&self->roles, name);
}

void auth__save_user(struct auth_store *self, const struct user *user) {
    Authpb__UserAddOptions options = AUTHPB__USER_ADD_OPTIONS__INIT;
    options.no_password = user->no_password;
    Authpb__User record = AUTHPB__USER__INIT;
    record.name = pb_bytes(user->name);
    record.password = pb_bytes(user->password);
    record.n_roles = user->roles.count;
    record.roles = user->roles.items;
    record.options = user->has_options ? &options : NULL;
    buf_clear(&self->scratch);
    pb_pack(&record, &self->scratch);
    backend_put(self->backend, BACKEND_AUTH_USERS, user->name, buf_slice(&self->scratch));
}

void auth__save_role(struct auth_store *self, const struct role *role) {
    size_t count = role->permissions.count;
    Authpb__Permission *permissions = NEW_ARRAY(Authpb__Permission, count);
    Authpb__Permission **pointers = NEW_ARRAY(Authpb__Permission *, count);
    for (size_t i = 0; i < count; i++) {
        const struct permission *permission = &role->permissions.items[i];
        authpb__permission__init(&permissions[i]);
        permissions[i].permtype = (Authpb__Permission__Type)permission->type;
        permissions[i].key = pb_bytes(permission->key);
        permissions[i].range_end = pb_bytes(permission->range_end);
        pointers[i] = &permissions[i];
    }
    Authpb__Role record = AUTHPB__ROLE__INIT;
    record.name = pb_bytes(role->name);
    record.n_keypermission = count;
    record.keypermission = pointers;
    buf_clear(&self->scratch);
    pb_pack(&record, &self->scratch);
    backend_put(self->backend, BACKEND_AUTH_ROLES, role->name, buf_slice(&self->scratch));
    mem_free(pointers);
    mem_free(permissions);
}

static void save_enabled(struct auth_store *self) {
    uint8_t byte = self->is_enabled;
    backend_put(self->backend, BACKEND_AUTH, ENABLED_KEY, slice_make(&byte, 1));
}

void auth__next_revision(struct auth_store *self) {
    self->revision++;
    uint8_t bytes[8];
    store_u64be(bytes, self->revision);
    backend_put(self->backend, BACKEND_AUTH, REVISION_KEY, slice_make(bytes, sizeof bytes));
}

/* ---- what the buckets hold ---- */

static enum err restore_user(struct auth_store *self, struct slice value, struct arena *arena) {
    const Authpb__User *record = pb_unpack(&authpb__user__descriptor, value, arena);
    if (record == NULL || auth__user(self, pb_slice(record->name)) != NULL) return ERR_CORRUPT;
    struct user *user = auth__user_new(pb_slice(record->name));
    user->password = auth__copy(pb_slice(record->password));
    user->has_options = record->options != NULL;
    user->no_password = user->has_options && record->options->no_password;
    for (size_t i = 0; i < record->n_roles; i++) auth__user_insert_role(user, record->roles[i]);
    map_bytes_put(&self->users, user->name, user);
    return OK;
}

static enum err restore_role(struct auth_store *self, struct slice value, struct arena *arena) {
    const Authpb__Role *record = pb_unpack(&authpb__role__descriptor, value, arena);
    if (record == NULL || auth__role(self, pb_slice(record->name)) != NULL) return ERR_CORRUPT;
    struct role *role = auth__role_new(pb_slice(record->name));
    for (size_t i = 0; i < record->n_keypermission; i++) {
        const Authpb__Permission *permission = record->keypermission[i];
        auth__role_append_permission(role, (int32_t)permission->permtype, pb_slice(permission->key),
                                     pb_slice(permission->range_end));
    }
    map_bytes_put(&self->roles, role->name, role);
    return OK;
}

static enum err restore_bucket(struct auth_store *self, const struct backend_view *view, enum backend_bucket bucket,
                               enum err (*take)(struct auth_store *, struct slice, struct arena *),
                               struct errmsg *message) {
    struct backend_cursor cursor;
    backend_cursor_init(&cursor, view, bucket);
    struct arena arena;
    arena_init(&arena, 0);
    struct slice key, value;
    enum err error = OK;
    while (error == OK && backend_cursor_next(&cursor, &key, &value)) {
        error = take(self, value, &arena);
        if (error != OK)
            err_set(message, error, "a record of bucket %s in %s makes no sense",
                    (const char *)backend_bucket_name(bucket).data, backend_path(self->backend));
        arena_reset(&arena);
    }
    if (error == OK && cursor.error != OK) {
        error = cursor.error;
        backend_explain(self->backend, message);
    }
    arena_release(&arena);
    return error;
}

static enum err restore_state(struct auth_store *self) {
    struct slice value;
    TRY(backend_get(self->backend, BACKEND_AUTH, ENABLED_KEY, &value));
    self->is_enabled = value.len == 1 && value.data[0] == 1;
    TRY(backend_get(self->backend, BACKEND_AUTH, REVISION_KEY, &value));
    if (value.len == 8) self->revision = load_u64be(value.data);
    if (self->revision == 0) auth__next_revision(self);
    return OK;
}

enum err auth_store_restore(struct auth_store *self, struct backend *backend, struct errmsg *message) {
    forget(self);
    self->backend = backend;
    backend_create_bucket(backend, BACKEND_AUTH);
    backend_create_bucket(backend, BACKEND_AUTH_USERS);
    backend_create_bucket(backend, BACKEND_AUTH_ROLES);
    enum err error = restore_state(self);
    if (error != OK) {
        backend_explain(backend, message);
        return error;
    }
    struct backend_view *view = backend_view(backend, BACKEND_VIEW_ALL);
    error = restore_bucket(self, view, BACKEND_AUTH_USERS, restore_user, message);
    if (error == OK) error = restore_bucket(self, view, BACKEND_AUTH_ROLES, restore_role, message);
    backend_view_unref(view);
    return error;
}

/* ---- on and off ---- */

bool auth_store_is_enabled(const struct auth_store *self) { return self->is_enabled; }
uint64_t auth_store_revision(const struct auth_store *self) { return self->revision; }

enum err auth_enable(struct auth_store *self) {
    if (self->is_enabled) {
        log_info(self->log, "authentication is already enabled; ignored auth enable request");
        return OK;
    }
    const struct user *root = auth__user(self, SLICE_LITERAL(ROOT));
    if (root == NULL) return ERR_ROOT_USER_NOT_EXIST;
    if (!root->is_root) return ERR_ROOT_ROLE_NOT_EXIST;
    self->is_enabled = true;
    save_enabled(self);
    log_info(self->log, "enabled authentication");
    return OK;
}

void auth_disable(struct auth_store *self) {
    if (!self->is_enabled) return;
    self->is_enabled = false;
    save_enabled(self);
    auth__next_revision(self);
    auth__end_all_tokens(self);
    log_info(self->log, "disabled authentication");
}

/* ---- looking ---- */

void auth_append_status(const struct auth_store *self, struct buf *out) {
    Etcdserverpb__AuthStatusResponse response = ETCDSERVERPB__AUTH_STATUS_RESPONSE__INIT;
    response.enabled = self->is_enabled;
    response.authrevision = self->revision;
    pb_pack(&response, out);
}

enum err auth_append_user(const struct auth_store *self, struct slice name, struct buf *out) {
    const struct user *user = auth__user(self, name);
    if (user == NULL) return ERR_USER_NOT_FOUND;
    Etcdserverpb__AuthUserGetResponse response = ETCDSERVERPB__AUTH_USER_GET_RESPONSE__INIT;
    response.n_roles = user->roles.count;
    response.roles = user->roles.items;
    pb_pack(&response, out);
    return OK;
}

enum err auth_append_role(const struct auth_store *self, struct slice name, struct buf *out) {
    const struct role *role = auth__role(self, name);
    if (role == NULL) return ERR_ROLE_NOT_FOUND;
    for (size_t i = 0; i < role->permissions.count; i++) {
        const struct permission *permission = &role->permissions.items[i];
        Authpb__Permission field = AUTHPB__PERMISSION__INIT;
        field.permtype = (Authpb__Permission__Type)permission->type;
        field.key = pb_bytes(permission->key);
        field.range_end = pb_bytes(permission->range_end);
        buf_append_byte(out, 2 << 3 | 2);
        buf_append_varint(out, pb_packed_size(&field));
        pb_pack(&field, out);
    }
    return OK;
}

static int compare_names(const void *a, const void *b) {
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Keys of a table as field 2, ascending. */
static void append_names(const struct map_bytes *table, struct buf *out) {
    struct slice *names = NEW_ARRAY(struct slice, table->count);
    size_t count = 0;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->entries[i].value != NULL) names[count++] = table->entries[i].key;
    CHECK(count == table->count);
    if (count > 1) qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, 2 << 3 | 2);
        buf_append_varint(out, names[i].len);
        buf_append_slice(out, names[i]);
    }
    mem_free(names);
}

void auth_append_users(const struct auth_store *self, struct buf *out) { append_names(&self->users, out); }
void auth_append_roles(const struct auth_store *self, struct buf *out) { append_names(&self->roles, out); }
