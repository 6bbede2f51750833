/* auth.h - users, roles, tokens, and what each user may do.
 *
 * Floor 4. Users and roles change only while raft entries are applied, by the same rules on every member; each change
 * goes to three buckets byte for byte as etcd 3.5 writes it:
 *
 *     auth       authEnabled   1 byte, 1 or 0; absent = 0
 *                authRevision  u64 big endian; a database that has none gets 1
 *     authUsers  name -> authpb.User {name, bcrypt text, roles ascending, options}
 *     authRoles  name -> authpb.Role {name, permissions ascending by key}
 *
 * Tokens live in memory only: who logs in gets one from every member that applies the Authenticate entry; it is gone
 * after the TTL without use, with its user, with the password, with `disable` and with a restart.
 *
 * The auth revision moves with each change but `enable`. A request carries the revision that its token had when it came
 * in; a permission check against an older revision answers ERR_AUTH_OLD_REVISION and the client asks again.
 *
 * While auth is off every check answers OK; callers on hot paths ask auth_store_is_enabled first.
 *
 * What one user may read and write is merged into disjoint ranges when it is first asked for, and again after roles
 * have changed. bcrypt is in auth/password.h: it takes 50 ms and more, so it never runs on the loop.
 *
 * Loop only. Rules: spec/apply.md 6, spec/backend-schema.md 6; upstream server/auth.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "backend/backend.h"
#include "base/buf.h"
#include "base/err.h"
#include "env/log.h"
#include "pb/rpc.pb-c.h"

struct auth_store;

#define AUTH_DEFAULT_TOKEN_TTL_NS (300 * INT64_C(1000000000))
/* Beyond it the token longest unused goes. */
#define AUTH_MAX_TOKENS 1000000
/* Letters that the proposer of Authenticate draws; "." and a decimal number follow. */
#define AUTH_TOKEN_PREFIX_BYTES 16

struct auth_config {
    struct log *log;      /* may be NULL */
    struct env *env;      /* for salts */
    int64_t token_ttl_ns; /* 0 = the default */
    unsigned bcrypt_cost; /* for entries of members older than 3.5, which carry the password itself */
    uint64_t seed;        /* of the tables */
};

/* Who asks. The name lives as long as what it was taken from. */
struct auth_info {
    struct slice username; /* empty: nobody said who */
    uint64_t revision;     /* 0: nobody said who */
};

struct auth_store *auth_store_new(const struct auth_config *config);
/* NULL is allowed. */
void auth_store_free(struct auth_store *self);

/* Forgets all, tokens included, and takes what the backend's buckets hold (made if absent); later writes go to this
 * backend, which must outlive the store or its next restore. At start and after a snapshot was installed. ERR_CORRUPT:
 * the member must not serve. */
enum err auth_store_restore(struct auth_store *self, struct backend *backend, struct errmsg *message) MUST_USE;

bool auth_store_is_enabled(const struct auth_store *self);
uint64_t auth_store_revision(const struct auth_store *self);

/* ---- applying entries; on an error nothing has changed ---- */

/* ERR_ROOT_USER_NOT_EXIST, ERR_ROOT_ROLE_NOT_EXIST. Enabling twice is fine; no new revision. */
enum err auth_enable(struct auth_store *self) MUST_USE;
/* Disabling twice changes nothing. */
void auth_disable(struct auth_store *self);

/* ERR_USER_EMPTY, ERR_USER_EXISTS, ERR_NO_PASSWORD_USER (the hash is no base64). */
enum err auth_user_add(struct auth_store *self, const Etcdserverpb__AuthUserAddRequest *request) MUST_USE;
/* ERR_INVALID_AUTH_MGMT (root while auth is on), ERR_USER_NOT_FOUND. Ends the user's tokens. */
enum err auth_user_delete(struct auth_store *self, const Etcdserverpb__AuthUserDeleteRequest *request) MUST_USE;
/* ERR_USER_NOT_FOUND, ERR_NO_PASSWORD_USER. A user without password stays one. Ends the user's tokens. */
enum err auth_user_change_password(struct auth_store *self,
                                   const Etcdserverpb__AuthUserChangePasswordRequest *request) MUST_USE;
/* ERR_USER_NOT_FOUND, ERR_ROLE_NOT_FOUND (but role root need not exist). A role the user has: OK, no new revision. */
enum err auth_user_grant_role(struct auth_store *self, const Etcdserverpb__AuthUserGrantRoleRequest *request) MUST_USE;
/* ERR_INVALID_AUTH_MGMT (root's role root while auth is on), ERR_USER_NOT_FOUND, ERR_ROLE_NOT_GRANTED. */
enum err auth_user_revoke_role(struct auth_store *self,
                               const Etcdserverpb__AuthUserRevokeRoleRequest *request) MUST_USE;
/* ERR_ROLE_EMPTY, ERR_ROLE_EXISTS. */
enum err auth_role_add(struct auth_store *self, const Etcdserverpb__AuthRoleAddRequest *request) MUST_USE;
/* ERR_INVALID_AUTH_MGMT (root while auth is on), ERR_ROLE_NOT_FOUND. Takes the role from all users. */
enum err auth_role_delete(struct auth_store *self, const Etcdserverpb__AuthRoleDeleteRequest *request) MUST_USE;
/* ERR_PERMISSION_NOT_GIVEN, ERR_INVALID_AUTH_MGMT (no key; the end not behind the key), ERR_ROLE_NOT_FOUND. Upstream's
 * search finds only the first permission of a key: granting another range of that key again adds a second one. */
enum err auth_role_grant_permission(struct auth_store *self,
                                    const Etcdserverpb__AuthRoleGrantPermissionRequest *request) MUST_USE;
/* ERR_ROLE_NOT_FOUND, ERR_PERMISSION_NOT_GRANTED. */
enum err auth_role_revoke_permission(struct auth_store *self,
                                     const Etcdserverpb__AuthRoleRevokePermissionRequest *request) MUST_USE;

/* The password was checked before the entry was proposed. Makes the token "<prefix>.<index>" and appends it to `out`.
 * ERR_AUTH_NOT_ENABLED, ERR_AUTH_FAILED (no such user, or one without password). */
enum err auth_assign_token(struct auth_store *self, struct slice username, struct slice prefix, uint64_t index,
                           int64_t now_ns, struct buf *out) MUST_USE;

/* ---- looking; the fields of the response behind the header are appended ---- */

void auth_append_status(const struct auth_store *self, struct buf *out);
enum err auth_append_user(const struct auth_store *self, struct slice name, struct buf *out) MUST_USE; /* its roles */
enum err auth_append_role(const struct auth_store *self, struct slice name, struct buf *out) MUST_USE; /* permissions */
void auth_append_users(const struct auth_store *self, struct buf *out); /* all names, ascending */
void auth_append_roles(const struct auth_store *self, struct buf *out);

/* ---- who asks, and may he ---- */

/* Who holds the token ("Bearer " before it is skipped), with the revision as it is now; renews the token's life.
 * SLICE_NONE: nobody, OK. ERR_INVALID_AUTH_TOKEN. While auth is off: nobody, whatever the token. The name lives until
 * the token ends: within this turn, if no entry is applied. */
enum err auth_identify(struct auth_store *self, struct slice token, int64_t now_ns,
                       struct auth_info *ret_info) MUST_USE;
/* Ends tokens whose time has come; cheap when there are none. */
void auth_store_tick(struct auth_store *self, int64_t now_ns);
size_t auth_store_token_count(const struct auth_store *self);

/* Of all checks: OK while auth is off. */
/* ERR_USER_EMPTY when nobody said who. */
enum err auth_check_known(const struct auth_store *self, const struct auth_info *info) MUST_USE;
/* ERR_USER_EMPTY, ERR_USER_NOT_FOUND (gone meanwhile), ERR_PERMISSION_DENIED (has not the role root). */
enum err auth_check_admin(const struct auth_store *self, const struct auth_info *info) MUST_USE;
/* For UserGet and RoleGet: an admin, or the user's own name or role. */
enum err auth_check_user_get(const struct auth_store *self, const struct auth_info *info, struct slice user) MUST_USE;
enum err auth_check_role_get(const struct auth_store *self, const struct auth_info *info, struct slice role) MUST_USE;

/* range_end as in RangeRequest: empty = one key, "\0" = all from the key on. ERR_USER_EMPTY, ERR_AUTH_OLD_REVISION,
 * ERR_PERMISSION_DENIED. */
enum err auth_check_read(struct auth_store *self, const struct auth_info *info, struct slice key,
                         struct slice range_end) MUST_USE;
enum err auth_check_write(struct auth_store *self, const struct auth_info *info, struct slice key,
                          struct slice range_end) MUST_USE;
/* Whether each of the keys may be read (written): those of a lease. */
enum err auth_check_read_keys(struct auth_store *self, const struct auth_info *info, const struct slice *keys,
                              size_t count) MUST_USE;
enum err auth_check_write_keys(struct auth_store *self, const struct auth_info *info, const struct slice *keys,
                               size_t count) MUST_USE;

/* The keys a lease has now, for those that attach to it: the caller's lessor. An array of ret_count slices to be freed
 * with mem_free; NULL when there are none. */
struct auth_leases {
    struct slice *(*keys)(void *context, int64_t lease, size_t *ret_count);
    void *context;
};
/* Write on the key; on all keys of the lease it attaches to; read with prev_kv. */
enum err auth_check_put(struct auth_store *self, const struct auth_info *info, const Etcdserverpb__PutRequest *request,
                        const struct auth_leases *leases) MUST_USE;
enum err auth_check_delete_range(struct auth_store *self, const struct auth_info *info,
                                 const Etcdserverpb__DeleteRangeRequest *request) MUST_USE;
/* Compares need read; the operations of both branches are checked, at all levels. */
enum err auth_check_txn(struct auth_store *self, const struct auth_info *info, const Etcdserverpb__TxnRequest *request,
                        const struct auth_leases *leases) MUST_USE;

/* ---- passwords, for the proposer ---- */

/* The bcrypt text of a user (lives until the user changes), to be checked away from the loop; *ret_revision must still
 * be the store's when Authenticate was applied. ERR_AUTH_NOT_ENABLED, ERR_AUTH_FAILED, ERR_NO_PASSWORD_USER. */
enum err auth_password_of(const struct auth_store *self, struct slice username, struct slice *ret_hash,
                          uint64_t *ret_revision) MUST_USE;

#endif
