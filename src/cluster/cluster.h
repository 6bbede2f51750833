/* cluster.h - who belongs to the cluster: members, their ids and URLs, removed ids, cluster version, downgrade job.
 *
 * Floor 4. A member of etcd 3.5 keeps this twice, and so does what is on disk:
 *
 *     in memory ("the v2 copy")   what entries up to the applied one made of it. A .snap file holds it as JSON of the
 *                                 old v2 store; at start it is read from there and every entry of the WAL behind the
 *                                 snapshot is applied to it again.
 *     backend buckets             members, members_removed, cluster; written only by entries beyond the file's
 *                                 consistent index (`persist` below; upstream's "shouldApplyV3").
 *
 * Here memory is the copy that answers questions; it must be exactly that of the applied index, since replayed conf
 * changes are validated against it and the JSON goes to other members.
 *
 * Each applying function is called with entries in log order. Loop only.
 * Rules: etcd server/etcdserver/api/membership; spec snap 4, 5, backend-schema 5, raft-wire 10-14.
 */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include "backend/backend.h"
#include "cluster/urls.h"
#include "cluster/version.h"
#include "env/log.h"
#include "pb/raftpb.h"

/* ---- identity ---- */

/* The first 8 bytes of SHA-1(sorted URL texts, token, and for a member added at runtime the decimal wall-clock
 * seconds). wall_s < 0: no time (members of the initial cluster). The texts are sorted here. */
uint64_t cluster_member_id(const char *const *peer_urls, size_t count, const char *token, int64_t wall_s);
/* The first 8 bytes of SHA-1(ids ascending, 8 bytes big endian each). */
uint64_t cluster_id_of(const uint64_t *member_ids, size_t count);

/* ---- a member ---- */

struct member_urls {
    char **items;
    size_t count;
};

struct member {
    uint64_t id;
    bool is_learner;
    char *name; /* "" until it has published itself: not started */
    struct member_urls peer_urls;
    struct member_urls client_urls;
    bool has_peer_urls; /* false: JSON null */
    /* Places in the v2 store, as the v2 index that made and last changed them; 0 = attributes never published. */
    struct {
        uint64_t directory_created;
        uint64_t raft_created, raft_modified;
        uint64_t attributes_created, attributes_modified;
    } v2;
};

void member_release(struct member *self);
/* {"id":N,"peerURLs":[..],"isLearner":true,"name":"..","clientURLs":[..]} as Go writes it: the value in the backend and
 * the context of a conf change. `is_promote` adds "isPromote":true behind it. */
void member_append_json(const struct member *self, bool is_promote, struct buf *out);
/* The same read, in any order and with unknown fields. ERR_CORRUPT. */
enum err member_parse_json(struct slice json, struct member *ret_member, bool *ret_is_promote,
                           struct errmsg *message) MUST_USE;
/* {"name":"..","clientURLs":[..]}: what a member publishes. */
void member_append_attributes_json(const char *name, const char *const *client_urls, size_t count, struct buf *out);

/* The members of a new cluster, ascending ids; no struct cluster is needed for that. */
struct member_list {
    struct member *items;
    size_t count;
};
void member_list_release(struct member_list *self);
/* ERR_INVALID "member exists with identical ID ...". */
enum err member_list_from_urls_map(const struct urls_map *map, const char *token, struct member_list *ret_list,
                                   struct errmsg *message) MUST_USE;
/* NULL when absent. */
const struct member *member_list_find_name(const struct member_list *self, const char *name);
/* A JSON array of members: what /members on the peer port answers (there with a newline behind it). */
enum err member_list_parse_json(struct slice json, struct member_list *ret_list, struct errmsg *message) MUST_USE;

/* ---- the cluster ---- */

struct cluster;

/* Nobody in it yet. The log (may be NULL) must outlive it. */
struct cluster *cluster_new(uint64_t cluster_id, uint64_t own_id, struct log *log);
/* NULL is allowed. */
void cluster_free(struct cluster *self);
/* Where persisting goes, until the next call; makes the three buckets. Before anything is applied with `persist`, and
 * after a snapshot was installed. */
void cluster_set_backend(struct cluster *self, struct backend *backend);

/* Replaces all by what a .snap file's data says: any field order, unknown fields and foreign v2 keys are read over.
 * Empty data: an empty cluster. The downgrade job comes from the backend, if set. ERR_CORRUPT. */
enum err cluster_recover_v2(struct cluster *self, struct slice json, struct errmsg *message) MUST_USE;
/* Replaces all by what the backend says (3.6's way, and for tools). ERR_CORRUPT. */
enum err cluster_recover_backend(struct cluster *self, struct backend *backend, struct errmsg *message) MUST_USE;
/* The v2 store's JSON, for a .snap file or a snapshot message. */
void cluster_append_v2_json(const struct cluster *self, struct buf *out);
/* Deletes members from the backend that memory does not have (upstream's zombie clean-up), and rewrites those that
 * differ in being a learner. After a snapshot was installed. */
void cluster_sync_backend(struct cluster *self);

uint64_t cluster_id(const struct cluster *self);
uint64_t cluster_own_id(const struct cluster *self);
size_t cluster_member_count(const struct cluster *self);
/* Ascending ids; lives until the next applying call. */
const struct member *cluster_member_at(const struct cluster *self, size_t index);
/* NULL when absent. */
const struct member *cluster_member(const struct cluster *self, uint64_t id);
bool cluster_is_removed(const struct cluster *self, uint64_t id);
size_t cluster_voter_count(const struct cluster *self);
size_t cluster_started_voter_count(const struct cluster *self);
bool cluster_is_learner(const struct cluster *self, uint64_t id);
/* As member_append_json, in an array; no newline. */
void cluster_append_members_json(const struct cluster *self, struct buf *out);
/* None (0.0.0) until decided. */
struct version cluster_version(const struct cluster *self);

struct downgrade_info {
    bool enabled;
    struct version target;
};
struct downgrade_info cluster_downgrade(const struct cluster *self);

/* ---- applying entries ---- */

/* Whether the change may be, against the members in memory: ERR_MEMBER_NOT_FOUND (also for a removed id),
 * ERR_MEMBER_EXISTS, ERR_PEER_URL_EXISTS, ERR_MEMBER_NOT_LEARNER, ERR_TOO_MANY_LEARNERS. ERR_CORRUPT: its context is no
 * member, or that of another id. An invalid change is given to raft with node id 0. */
enum err cluster_validate_conf_change(const struct cluster *self, const struct raft_conf_change *change) MUST_USE;

struct cluster_change {
    enum {
        CLUSTER_MEMBER_ADDED,
        CLUSTER_MEMBER_PROMOTED,
        CLUSTER_MEMBER_REMOVED,
        CLUSTER_MEMBER_UPDATED,
    } kind;
    uint64_t id;
};
/* Makes a validated change; what happened, for the transport. Removing the own id is told by ret->id. */
void cluster_apply_conf_change(struct cluster *self, const struct raft_conf_change *change, bool persist,
                               struct cluster_change *ret_change);

/* A member told its name and client URLs (cluster_member_attr_set, or a v2 publish). Unknown ids are read over. */
void cluster_set_attributes(struct cluster *self, uint64_t id, const char *name, const char *const *client_urls,
                            size_t count, bool persist);
/* cluster_version_set, or its v2 form. */
void cluster_set_version(struct cluster *self, struct version version, bool persist);
/* downgrade_info_set; goes to the backend only when `persist`. */
void cluster_set_downgrade(struct cluster *self, struct downgrade_info info, bool persist);

enum cluster_v2_result { CLUSTER_V2_IGNORED, CLUSTER_V2_ATTRIBUTES, CLUSTER_V2_VERSION };
/* A v2 request: PUT of /0/members/ID/attributes or of /0/version; everything else changes nothing that we keep. */
enum cluster_v2_result cluster_apply_v2_request(struct cluster *self, struct slice method, struct slice path,
                                                struct slice value, bool persist);
/* The paths of those two requests. */
void cluster_append_attributes_path(uint64_t id, struct buf *out);
#define CLUSTER_V2_VERSION_PATH "/0/version"

#endif
