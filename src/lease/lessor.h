/* lessor.h - leases: who has how long to live, and which keys go with it.
 *
 * Floor 4. What all members must agree on (which leases exist, their TTL, their keys, checkpoints) changes only while
 * raft entries are applied. Time is the primary's own affair: only on the member that leads do leases run out; the
 * others hold them for ever. The lessor never revokes by itself: it names leases that ran out, the server proposes.
 *
 *     grant, checkpoint --> bucket "lease" (leasepb.Lease under the id, 8 bytes big endian)
 *     attach, detach    --> memory only; rebuilt from the keys at start
 *     promote           --> every lease gets its remaining TTL anew, and an expiry
 *     expired           --> ids to revoke; asked again after LESSOR_RETRY_NS while they are still there
 *     demote            --> no expiries
 *
 * Seconds are int64 as on the wire; instants are nanoseconds of env_now_ns, given by the caller. Loop only.
 * Rules: etcd server/lease; spec apply 4, 11, backend-schema 4.
 */
#ifndef LEASE_LESSOR_H
#define LEASE_LESSOR_H

#include "backend/backend.h"
#include "base/err.h"
#include "base/slice.h"

struct lessor;

#define LESSOR_MAX_TTL_S INT64_C(9000000000)
/* A lease handed out as expired is handed out again after this time if nobody revoked it. */
#define LESSOR_RETRY_NS INT64_C(3000000000)
/* The server's rhythm, as upstream's: looks each 500 ms and proposes at most 500 revokes then. */
#define LESSOR_CHECK_INTERVAL_NS INT64_C(500000000)
#define LESSOR_MAX_REVOKES_PER_CHECK 500
/* After a promotion expiries are spread so that at most this many fall into one second. */
#define LESSOR_SPREAD_PER_SECOND 750
#define LESSOR_MAX_CHECKPOINTS_PER_REQUEST 1000
#define LESSOR_DEFAULT_CHECKPOINT_INTERVAL_NS (INT64_C(300) * 1000000000)

struct lessor_config {
    /* Shorter TTLs are raised to this: ceil(3 * election timeout / 2) in seconds (lessor_min_ttl_s). */
    int64_t min_ttl_s;
    bool checkpoints;               /* --experimental-enable-lease-checkpoint */
    bool checkpoints_persisted;     /* --experimental-enable-lease-checkpoint-persist */
    int64_t checkpoint_interval_ns; /* 0 = the default */
    uint64_t seed;                  /* of the key table */
};

int64_t lessor_min_ttl_s(int64_t election_timeout_ms);

struct lessor *lessor_new(const struct lessor_config *config);
/* NULL is allowed. */
void lessor_free(struct lessor *self);

/* Forgets all and takes the leases of the backend's bucket (made if absent), without keys and not as primary; later
 * writes go to this backend, which must outlive the lessor or its next restore. At start and after a snapshot was
 * installed; the keys are attached next. ERR_CORRUPT. */
enum err lessor_restore(struct lessor *self, struct backend *backend, struct errmsg *message) MUST_USE;

/* ---- applying entries ---- */

/* Grants, persists; *ret_ttl_s is what was granted. In this order: id 0 ERR_LEASE_NOT_FOUND, ERR_LEASE_TTL_TOO_LARGE,
 * ERR_LEASE_EXISTS. */
enum err lessor_grant(struct lessor *self, int64_t id, int64_t ttl_s, int64_t now_ns, int64_t *ret_ttl_s) MUST_USE;

/* The keys that went with a lease. */
struct lease_keys {
    struct slice *keys; /* bytewise ascending */
    size_t count;
    void *items; /* the lessor's own */
};
/* Takes the lease away, from the bucket too, and gives its keys, which are attached to nothing any more: the caller
 * deletes them in one write transaction of the same entry, then calls lease_keys_release. ERR_LEASE_NOT_FOUND. */
enum err lessor_revoke(struct lessor *self, int64_t id, struct lease_keys *ret_keys) MUST_USE;
void lease_keys_release(struct lease_keys *self);

/* From now on the key (copied when new) belongs to this lease and no other; id 0: to none. ERR_LEASE_NOT_FOUND: no such
 * lease, the key belongs to none now. Costs one look into a hash table; nothing when no key has a lease and id is 0. */
enum err lessor_attach(struct lessor *self, int64_t id, struct slice key) MUST_USE;
/* lessor_attach with 0: for a deleted key. */
void lessor_detach(struct lessor *self, struct slice key);
/* The lease of a key, 0 = none. */
int64_t lessor_lease_of(const struct lessor *self, struct slice key);

/* Sets what remains (0 = the full TTL); goes to the bucket only if checkpoints are persisted. ERR_LEASE_NOT_FOUND. */
enum err lessor_checkpoint(struct lessor *self, int64_t id, int64_t remaining_ttl_s, int64_t now_ns) MUST_USE;

/* ---- the primary ---- */

/* This member leads now: each lease gets its remaining TTL + extend_ns, spread. */
void lessor_promote(struct lessor *self, int64_t now_ns, int64_t extend_ns);
void lessor_demote(struct lessor *self);
bool lessor_is_primary(const struct lessor *self);

/* Keepalive: the full TTL from now on. ERR_NOT_PRIMARY; ERR_LEASE_NOT_FOUND, also for a lease that has run out and is
 * still to be revoked. *ret_clear_checkpoint: a checkpoint with remaining TTL 0 must be proposed for this id. */
enum err lessor_renew(struct lessor *self, int64_t id, int64_t now_ns, int64_t *ret_ttl_s,
                      bool *ret_clear_checkpoint) MUST_USE;

/* Up to `max` leases that have run out, the longest overdue first: the caller proposes to revoke them. Returns how
 * many. Each comes again after LESSOR_RETRY_NS. 0 when not primary. */
size_t lessor_expired(struct lessor *self, int64_t now_ns, int64_t *ids, size_t max);
/* When lessor_expired has something next; INT64_MAX: never as things are. */
int64_t lessor_next_expiry_ns(const struct lessor *self);

struct lease_checkpoint {
    int64_t id;
    int64_t remaining_ttl_s;
};
/* Up to `max` leases whose checkpoint is due, for one LeaseCheckpointRequest. Always 0 unless checkpoints are on. */
size_t lessor_due_checkpoints(struct lessor *self, int64_t now_ns, struct lease_checkpoint *checkpoints, size_t max);
int64_t lessor_next_checkpoint_ns(const struct lessor *self);

/* ---- looking ---- */

struct lease_info {
    int64_t id;
    int64_t ttl_s;           /* granted */
    int64_t remaining_ttl_s; /* of the last checkpoint, 0 = none */
    int64_t expiry_ns;       /* INT64_MAX when not primary */
    size_t key_count;
};
bool lessor_exists(const struct lessor *self, int64_t id);
/* False when there is no such lease. Time to live: whole seconds of (expiry - now), cut off. */
bool lessor_lookup(const struct lessor *self, int64_t id, struct lease_info *ret_info);
/* The lease's keys in no order, as many as its key_count; the slices live until the next change. */
void lessor_keys(const struct lessor *self, int64_t id, struct slice *keys);
size_t lessor_count(const struct lessor *self);
/* All ids (room for lessor_count), the first to expire first, then by id. */
void lessor_list(const struct lessor *self, int64_t *ids);

#endif
