/* check.c - may he? The same questions at apply, on every member, and before a read is served. */
#include "auth/internal.h"

enum err auth_check_known(const struct auth_store *self, const struct auth_info *info) {
    return self->is_enabled && info->username.len == 0 ? ERR_USER_EMPTY : OK;
}

enum err auth_check_admin(const struct auth_store *self, const struct auth_info *info) {
    if (!self->is_enabled) return OK;
    if (info->username.len == 0) return ERR_USER_EMPTY;
    const struct user *user = auth__user(self, info->username);
    if (user == NULL) return ERR_USER_NOT_FOUND;
    return user->is_root ? OK : ERR_PERMISSION_DENIED;
}

enum err auth_check_user_get(const struct auth_store *self, const struct auth_info *info, struct slice user) {
    enum err error = auth_check_admin(self, info);
    return error != OK && slice_equal(user, info->username) ? OK : error;
}

enum err auth_check_role_get(const struct auth_store *self, const struct auth_info *info, struct slice role) {
    enum err error = auth_check_admin(self, info);
    if (error == OK) return OK;
    const struct user *user = auth__user(self, info->username);
    for (size_t i = 0; user != NULL && i < user->roles.count; i++)
        if (slice_equal_cstr(role, user->roles.items[i])) return OK;
    return error;
}

static enum err check(struct auth_store *self, const struct auth_info *info, struct slice key, struct slice range_end,
                      bool writes) {
    if (!self->is_enabled) return OK;
    if (info->revision == 0) return ERR_USER_EMPTY;
    if (info->revision < self->revision) {
        log_warn(self->log, "request auth revision is less than current node auth revision",
                 LOG_UINT("current node auth revision", self->revision),
                 LOG_UINT("request auth revision", info->revision), LOG_SLICE("request key", key),
                 LOG_STRING("error", "auth: revision in header is old"));
        return ERR_AUTH_OLD_REVISION;
    }
    struct user *user = auth__user(self, info->username);
    if (user == NULL) {
        log_error(self->log, "cannot find a user for permission check", LOG_SLICE("user-name", info->username));
        return ERR_PERMISSION_DENIED;
    }
    return user->is_root || auth__may(self, user, key, range_end, writes) ? OK : ERR_PERMISSION_DENIED;
}

enum err auth_check_read(struct auth_store *self, const struct auth_info *info, struct slice key,
                         struct slice range_end) {
    return check(self, info, key, range_end, false);
}

enum err auth_check_write(struct auth_store *self, const struct auth_info *info, struct slice key,
                          struct slice range_end) {
    return check(self, info, key, range_end, true);
}

static enum err check_keys(struct auth_store *self, const struct auth_info *info, const struct slice *keys,
                           size_t count, bool writes) {
    for (size_t i = 0; i < count; i++) TRY(check(self, info, keys[i], SLICE_NONE, writes));
    return OK;
}

enum err auth_check_read_keys(struct auth_store *self, const struct auth_info *info, const struct slice *keys,
                              size_t count) {
    return check_keys(self, info, keys, count, false);
}

enum err auth_check_write_keys(struct auth_store *self, const struct auth_info *info, const struct slice *keys,
                               size_t count) {
    return check_keys(self, info, keys, count, true);
}

/* ---- requests ---- */

/* Who could not revoke a lease because of a key on it must not put more keys on it either. */
static enum err check_lease(struct auth_store *self, const struct auth_info *info, int64_t lease,
                            const struct auth_leases *leases) {
    if (lease == 0) return OK;
    const struct user *user = auth__user(self, info->username);
    if (user != NULL && user->is_root) return OK; /* spares the walk */
    size_t count = 0;
    struct slice *keys = leases->keys(leases->context, lease, &count);
    enum err error = check_keys(self, info, keys, count, true);
    mem_free(keys);
    return error;
}

enum err auth_check_put(struct auth_store *self, const struct auth_info *info, const Etcdserverpb__PutRequest *request,
                        const struct auth_leases *leases) {
    if (!self->is_enabled) return OK;
    struct slice key = pb_slice(request->key);
    TRY(check(self, info, key, SLICE_NONE, true));
    TRY(check_lease(self, info, request->lease, leases));
    return request->prev_kv ? check(self, info, key, SLICE_NONE, false) : OK;
}

enum err auth_check_delete_range(struct auth_store *self, const struct auth_info *info,
                                 const Etcdserverpb__DeleteRangeRequest *request) {
    struct slice key = pb_slice(request->key), range_end = pb_slice(request->range_end);
    TRY(check(self, info, key, range_end, true));
    return request->prev_kv ? check(self, info, key, range_end, false) : OK;
}

static enum err check_op(struct auth_store *self, const struct auth_info *info, const Etcdserverpb__RequestOp *op,
                         const struct auth_leases *leases) {
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return check(self, info, pb_slice(op->request_range->key), pb_slice(op->request_range->range_end), false);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT: return auth_check_put(self, info, op->request_put, leases);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return auth_check_delete_range(self, info, op->request_delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN: return auth_check_txn(self, info, op->request_txn, leases);
    default: return OK; /* does nothing */
    }
}

enum err auth_check_txn(struct auth_store *self, const struct auth_info *info, const Etcdserverpb__TxnRequest *request,
                        const struct auth_leases *leases) {
    if (!self->is_enabled) return OK;
    for (size_t i = 0; i < request->n_compare; i++)
        TRY(check(self, info, pb_slice(request->compare[i]->key), pb_slice(request->compare[i]->range_end), false));
    for (size_t i = 0; i < request->n_success; i++) TRY(check_op(self, info, request->success[i], leases));
    for (size_t i = 0; i < request->n_failure; i++) TRY(check_op(self, info, request->failure[i], leases));
    return OK;
}
