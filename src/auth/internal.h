/* internal.h - what the files of auth/ share.
 *
 *   store.c     life, records in the backend, the revision, on and off, lists
 *   users.c     changes of users
 *   roles.c     changes of roles and permissions
 *   ranges.c    what a user may read and write
 *   check.c     permission checks of requests
 *   tokens.c    simple tokens
 */
#ifndef AUTH_INTERNAL_H
#define AUTH_INTERNAL_H

#include "auth/auth.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "env/env.h"
#include "pb/arena_pb.h"
#include "pb/auth.pb-c.h"

#define ROOT "root" /* the user and the role */

struct permission {
    int32_t type; /* READ 0, WRITE 1, READWRITE 2; others are kept and allow nothing */
    /* One piece of memory: the key, a zero byte (so that the end of a single key's range is there too), range_end. */
    struct slice key;
    struct slice range_end;
};

struct role {
    struct slice name; /* zero-terminated */
    VEC(struct permission) permissions;
};

/* [begin, end); an empty end means there is none. Points into the roles' memory. */
struct range {
    struct slice begin;
    struct slice end;
};

/* Disjoint, ascending, not touching. */
struct ranges {
    VEC(struct range) all;
};

struct user {
    struct slice name; /* zero-terminated */
    struct slice password;
    VEC(char *) roles; /* ascending */
    bool has_options;
    bool no_password;
    bool is_root; /* has the role root */
    uint64_t ranges_version;
    struct ranges readable, writable; /* while ranges_version is the store's */
    struct list tokens;
};

struct auth_store {
    struct log *log;
    struct env *env;
    struct backend *backend;
    bool is_enabled;
    uint64_t revision;
    unsigned bcrypt_cost;
    int64_t token_ttl_ns;
    uint64_t seed;
    struct map_bytes users;
    struct map_bytes roles;
    uint64_t ranges_version; /* moves whenever what anybody may do has changed; not 0 */
    struct map_bytes tokens;
    struct list tokens_by_use; /* longest unused first */
    struct buf scratch;
};

/* store.c */
struct user *auth__user(const struct auth_store *self, struct slice name);
struct role *auth__role(const struct auth_store *self, struct slice name);
/* The user's record as it is now goes to the backend. */
void auth__save_user(struct auth_store *self, const struct user *user);
void auth__save_role(struct auth_store *self, const struct role *role);
/* The next revision, to the backend too. */
void auth__next_revision(struct auth_store *self);
/* Zero-terminated memory of its own. */
struct slice auth__copy(struct slice bytes);
void auth__free_copy(struct slice *copy);

/* users.c */
struct user *auth__user_new(struct slice name);
void auth__user_free(struct user *user);
/* Index of the role, or where it belongs. */
size_t auth__find_role_of(const struct user *user, const char *role, bool *ret_found);
/* Puts it in its place; takes a copy. */
void auth__user_insert_role(struct user *user, const char *role);
/* False when the user has it not. */
bool auth__user_remove_role(struct user *user, const char *role);

/* roles.c */
struct role *auth__role_new(struct slice name);
void auth__role_free(struct role *role);
void auth__role_append_permission(struct role *role, int32_t type, struct slice key, struct slice range_end);

/* ranges.c */
bool auth__may(struct auth_store *self, struct user *user, struct slice key, struct slice range_end, bool writes);
void auth__ranges_release(struct ranges *ranges);

/* tokens.c */
void auth__end_tokens_of(struct auth_store *self, struct user *user);
void auth__end_all_tokens(struct auth_store *self);

#endif
