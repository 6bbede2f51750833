/* internal.h - what the files of cluster/ share: member.c (one member and its JSON), v2.c (the old store's JSON),
 * cluster.c (the whole, applying and persisting), json.c (reading JSON with 64-bit numbers). */
#ifndef CLUSTER_INTERNAL_H
#define CLUSTER_INTERNAL_H

#include "base/vec.h"
#include "cluster/cluster.h"

#include <jansson.h>

/* ---- json.c ---- */

/* Numbers that jansson's signed 64 bits can't hold come as strings. NULL (and `message`) when it is no JSON. */
json_t *cluster__json_parse(struct slice text, struct errmsg *message);
/* A number from either form; false when it is absent or no u64. */
bool cluster__json_u64(const json_t *object, const char *key, uint64_t *ret_value);
/* "" when absent; false when it is no string. */
bool cluster__json_string(const json_t *object, const char *key, const char **ret_text);
/* An array of strings; absent and null give none, *ret_is_there tells. False when it is something else. */
bool cluster__json_strings(const json_t *object, const char *key, struct member_urls *ret_texts, bool *ret_is_there);
void cluster__append_json_string(const char *text, struct buf *out);

/* ---- member.c ---- */

struct member_urls cluster__urls_copy(const char *const *texts, size_t count);
void cluster__urls_release(struct member_urls *self);
/* "peerURLs":[..],"isLearner":true without braces: what the v2 store has of it, and the middle of the member's JSON. */
void cluster__append_raft_attributes(const struct member *self, struct buf *out);
enum err cluster__member_from_json(const json_t *object, struct member *ret_member, bool *ret_is_promote,
                                   struct errmsg *message);

/* ---- cluster.c, v2.c ---- */

struct cluster__removed {
    uint64_t id;
    uint64_t v2_created;
};

struct cluster {
    uint64_t id;
    uint64_t own_id;
    struct log *log;
    struct backend *backend;
    VEC(struct member) members;           /* ascending ids */
    VEC(struct cluster__removed) removed; /* ascending ids */
    struct version version;
    struct downgrade_info downgrade;
    /* The v2 store's clock, and when its directories and the version were made. 0 = not there. */
    uint64_t v2_index;
    uint64_t v2_members_created;
    uint64_t v2_removed_created;
    uint64_t v2_version_created;
};

/* v2.c: adds what the JSON says to an empty cluster. */
enum err cluster__read_v2(struct cluster *self, struct slice json, struct errmsg *message);
void cluster__clear(struct cluster *self);
struct member *cluster__find(const struct cluster *self, uint64_t id);
/* Takes the member over; its id is not in yet. */
void cluster__insert(struct cluster *self, struct member member);
void cluster__insert_removed(struct cluster *self, uint64_t id, uint64_t v2_created);

#endif
