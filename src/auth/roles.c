/* roles.c - changes of roles and their permissions, while entries are applied. */
#include "auth/internal.h"

struct role *auth__role_new(struct slice name) {
    struct role *role = NEW(struct role);
    role->name = auth__copy(name);
    return role;
}

static struct permission permission_make(int32_t type, struct slice key, struct slice range_end) {
    uint8_t *bytes = mem_alloc(key.len + 1 + range_end.len);
    if (key.len != 0) memcpy(bytes, key.data, key.len);
    bytes[key.len] = 0;
    if (range_end.len != 0) memcpy(bytes + key.len + 1, range_end.data, range_end.len);
    return (struct permission){
        .type = type, .key = slice_make(bytes, key.len), .range_end = slice_make(bytes + key.len + 1, range_end.len)};
}

static void permission_release(struct permission *permission) { mem_free((void *)(uintptr_t)permission->key.data); }

void auth__role_free(struct role *role) {
    for (size_t i = 0; i < role->permissions.count; i++) permission_release(&role->permissions.items[i]);
    VEC_RELEASE(&role->permissions);
    auth__free_copy(&role->name);
    mem_free(role);
}

void auth__role_append_permission(struct role *role, int32_t type, struct slice key, struct slice range_end) {
    VEC_PUSH(&role->permissions, permission_make(type, key, range_end));
}

/* ---- roles ---- */

enum err auth_role_add(struct auth_store *self, const Etcdserverpb__AuthRoleAddRequest *request) {
    struct slice name = slice_from_cstr(request->name);
    if (name.len == 0) return ERR_ROLE_EMPTY;
    if (auth__role(self, name) != NULL) return ERR_ROLE_EXISTS;
    if (name.len > BOLT_MAX_KEY_BYTES) return ERR_INVALID_AUTH_MGMT; /* ends a Go member */
    struct role *role = auth__role_new(name);
    map_bytes_put(&self->roles, role->name, role);
    auth__save_role(self, role);
    auth__next_revision(self);
    /* A database from elsewhere may have users with a role of that name already. */
    self->ranges_version++;
    log_info(self->log, "created a role", LOG_STRING("role-name", request->name));
    return OK;
}

enum err auth_role_delete(struct auth_store *self, const Etcdserverpb__AuthRoleDeleteRequest *request) {
    if (self->is_enabled && strcmp(request->role, ROOT) == 0) {
        log_error(self->log, "cannot delete 'root' role", LOG_STRING("role-name", request->role));
        return ERR_INVALID_AUTH_MGMT;
    }
    struct role *role = map_bytes_remove(&self->roles, slice_from_cstr(request->role));
    if (role == NULL) return ERR_ROLE_NOT_FOUND;
    backend_delete(self->backend, BACKEND_AUTH_ROLES, role->name);
    auth__role_free(role);
    self->ranges_version++;
    size_t at = 0;
    for (struct user *user; (user = map_bytes_next(&self->users, &at)) != NULL;)
        if (auth__user_remove_role(user, request->role)) auth__save_user(self, user);
    auth__next_revision(self);
    log_info(self->log, "deleted a role", LOG_STRING("role-name", request->role));
    return OK;
}

/* ---- permissions ---- */

static bool is_open_ended(struct slice range_end) { return range_end.len == 1 && range_end.data[0] == 0; }

static bool is_range(struct slice key, struct slice range_end) {
    if (key.len == 0) return false;
    return range_end.len == 0 || is_open_ended(range_end) || slice_compare(key, range_end) < 0;
}

static const char *type_name(int32_t type) {
    static const char *const names[] = {"READ", "WRITE", "READWRITE"};
    return type >= 0 && type < 3 ? names[type] : "";
}

/* Behind all permissions whose key is not greater. */
static void insert_permission(struct role *role, struct permission permission) {
    VEC_RESERVE(&role->permissions, 1);
    size_t at = role->permissions.count;
    while (at > 0 && slice_compare(permission.key, role->permissions.items[at - 1].key) < 0) at--;
    memmove(&role->permissions.items[at + 1], &role->permissions.items[at],
            (role->permissions.count - at) * sizeof permission);
    role->permissions.items[at] = permission;
    role->permissions.count++;
}

/* The first permission with a key not less. */
static size_t first_from(const struct role *role, struct slice key) {
    size_t low = 0, high = role->permissions.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(role->permissions.items[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_for(const struct permission *permission, struct slice key, struct slice range_end) {
    return slice_equal(permission->key, key) && slice_equal(permission->range_end, range_end);
}

enum err auth_role_grant_permission(struct auth_store *self,
                                    const Etcdserverpb__AuthRoleGrantPermissionRequest *request) {
    if (request->perm == NULL) return ERR_PERMISSION_NOT_GIVEN;
    struct slice key = pb_slice(request->perm->key), range_end = pb_slice(request->perm->range_end);
    int32_t type = (int32_t)request->perm->permtype;
    if (!is_range(key, range_end)) return ERR_INVALID_AUTH_MGMT;
    struct role *role = auth__role(self, slice_from_cstr(request->name));
    if (role == NULL) return ERR_ROLE_NOT_FOUND;
    size_t at = first_from(role, key);
    if (at < role->permissions.count && is_for(&role->permissions.items[at], key, range_end))
        role->permissions.items[at].type = type;
    else
        insert_permission(role, permission_make(type, key, range_end));
    auth__save_role(self, role);
    auth__next_revision(self);
    self->ranges_version++;
    log_info(self->log, "granted/updated a permission to a user", LOG_STRING("user-name", request->name),
             LOG_STRING("permission-name", type_name(type)));
    return OK;
}

enum err auth_role_revoke_permission(struct auth_store *self,
                                     const Etcdserverpb__AuthRoleRevokePermissionRequest *request) {
    struct role *role = auth__role(self, slice_from_cstr(request->role));
    if (role == NULL) return ERR_ROLE_NOT_FOUND;
    struct slice key = pb_slice(request->key), range_end = pb_slice(request->range_end);
    size_t kept = 0;
    for (size_t i = 0; i < role->permissions.count; i++) {
        if (is_for(&role->permissions.items[i], key, range_end))
            permission_release(&role->permissions.items[i]);
        else
            role->permissions.items[kept++] = role->permissions.items[i];
    }
    if (kept == role->permissions.count) return ERR_PERMISSION_NOT_GRANTED;
    role->permissions.count = kept;
    auth__save_role(self, role);
    auth__next_revision(self);
    self->ranges_version++;
    log_info(self->log, "revoked a permission on range", LOG_STRING("role-name", request->role), LOG_SLICE("key", key),
             LOG_SLICE("range-end", range_end));
    return OK;
}
