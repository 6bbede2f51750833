/* internal.h - what the files of server/ share.
 *
 *   start.c      recovery from disk, bootstrap
 *   replicate.c  raft updates: to the WAL worker, to apply, to readers
 *   propose.c    requests on their way, their time-outs
 *   read.c       read index
 *   apply.c      a committed entry becomes a change of state
 *   membership.c conf changes, publishing, cluster version
 *   alarm.c      alarms and quota
 *   auth.c       who may, at apply; passwords and logins
 *   lease.c      expiry, checkpoints, renewals
 *   snapshot.c   snapshots, release of the log, purge
 *   server.c     life, ticks, status
 */
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

#include "auth/auth.h"
#include "backend/backend.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/gotext.h"
#include "base/map.h"
#include "base/vec.h"
#include "cluster/cluster.h"
#include "lease/lessor.h"
#include "mvcc/store.h"
#include "pb/raftpb.h"
#include "raft/raft.h"
#include "server/server.h"
#include "wal/snap.h"
#include "wal/wal.h"

#define NS_PER_MS 1000000ll
#define NS_PER_S 1000000000ll

enum server_state { SERVER_OPEN, SERVER_RUNNING, SERVER_STOPPING, SERVER_STOPPED, SERVER_FAILED };

/* What one flush of the WAL saves. One is being filled by the loop while the other is with the worker. */
struct save_batch {
    VEC(struct raft_entry) entries; /* with references */
    bool has_hard;
    bool must_sync;
    struct raft_hard_state hard;
    uint64_t save_id; /* of the newest update in it that wants RAFT_SAVED; 0 = none */
};

struct server_saver {
    struct env_worker *worker; /* the only one that touches the WAL while the member runs */
    struct env_job job;
    bool is_running;
    struct env_timer gather; /* runs while `filling` waits for company */
    int64_t usual_entries;   /* of a batch lately, in GATHER_UNIT parts of an entry */
    struct save_batch filling;
    struct save_batch running;
    enum err error; /* of the job, for the loop */
    struct wal_io io;
    int64_t flush_ns;          /* how long flushes took lately; 0: unknown */
    bool wants_spare;          /* of the job: order the next segment */
    struct wal_spare *ordered; /* of the job: what it ordered */
    struct wal_spare *spare;   /* being made */
    struct env_job spare_job;
    bool spare_is_running;
    enum err spare_result;  /* of the job: what the WAL made of it */
    enum err spare_error;   /* of the last try to make one */
    int64_t spare_retry_ns; /* not before this time */
    int64_t room_bytes;     /* in the segment that is written */
};

struct server_snapshotter {
    struct env_job job;
    struct backend_waiter committed;
    bool is_running;
    uint64_t index;
    uint64_t term;
    struct raft_conf_state conf_state;
    struct buf payload; /* v2 store JSON */
    enum err error;
    bool is_put_off;       /* the disk was full: again, */
    int64_t retry_ns;      /* not before this time; */
    uint64_t before_index; /* the snapshot before it still counts */
    struct env_job purge_job;
    bool purge_is_running;
    enum err purge_error;
};

struct server {
    struct env *env;
    struct log *log;
    struct log *raft_log;
    struct arena config_arena; /* copies of the config's texts */
    struct server_config config;
    struct server_hooks hooks;
    enum server_state state;

    uint64_t member_id;
    uint64_t cluster_id;
    struct buf wal_dir, snap_dir, db_path;
    int64_t quota_bytes; /* 0 = none */
    int64_t request_timeout_ns;

    struct raft *raft;
    struct wal *wal;
    struct backend *backend;
    struct store_load *load; /* while it starts */
    struct store *store;
    struct lessor *lessor;
    struct cluster *cluster;
    struct auth_store *auth;

    uint64_t lead;
    enum raft_role role;
    uint64_t term;
    uint64_t committed_index;
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t snapshot_index;
    /* Everything up to here is in the backend's buffer or file. */
    uint64_t consistent_index;
    uint64_t consistent_term;
    bool conf_state_is_dirty;
    bool is_applying;

    /* propose.c */
    VEC(struct raft_entry) batch; /* proposals of this turn */
    struct map_u64 pending;       /* id -> struct server_request */
    struct list pending_order;    /* oldest first */
    uint64_t unapplied_bytes;     /* of entries proposed here */
    uint64_t log_bytes;           /* of entries applied since the last snapshot was begun */
    struct env_timer turn;        /* ends the batch */
    bool turn_is_wanted;
    uint64_t id_prefix;
    uint64_t id_suffix;

    struct server_saver saver;

    /* read.c */
    struct list reads_waiting;  /* for the next read index */
    struct list reads_asked;    /* share the one in flight */
    struct list reads_applying; /* know their index, which is read_index, and wait for it to be applied */
    uint64_t read_context;      /* of the one in flight; 0 = none */
    int64_t read_asked_ns;
    uint64_t read_index;

    /* alarm.c */
    VEC(struct server_alarm) alarms;
    bool nospace_is_active;
    bool corrupt_is_active;

    /* lease.c */
    struct list lease_calls; /* wait until what is committed is applied */
    int64_t next_expiry_check_ns;

    /* auth.c */
    struct list passwords_waiting;
    struct list passwords_running;
    size_t password_count; /* in either */

    /* membership.c */
    struct cluster_proposal {
        bool is_running;
        uint64_t id;
        int64_t proposed_ns;
    } publish, version_set;
    bool is_published;
    int64_t next_version_check_ns;
    char version_text[VERSION_TEXT_BYTES]; /* what server_cluster_version returned */

    /* compactions whose `physical` answer is awaited */
    struct list physical;

    struct server_snapshotter snapshotter;
    int64_t next_purge_ns;

    struct env_timer tick;
    int64_t next_tick_ns;

    void (*stopped)(void *context);
    void *stopped_context;
    bool store_is_stopped;

    struct arena apply_arena; /* for one entry */
    struct buf scratch;       /* answers nobody waits for */
    struct server_stats stats;
};

/* replicate.c */
void server__step(struct server *self, const struct raft_event *event);
void server__flush_hard_state(struct server *self);
/* Wants a turn of its own soon, in which batches are proposed and reads asked for. */
void server__want_turn(struct server *self);

/* propose.c */
void server__propose_batch(struct server *self);
/* unapplied_bytes and log_bytes: an entry has been applied; what was proposed to another leader may be lost. */
void server__count_applied(struct server *self, const struct raft_entry *entry);
void server__recount_unapplied(struct server *self);
/* An entry of our own making; takes the reference over. */
void server__propose_data(struct server *self, enum raft_entry_type type, struct shared *data);
/* An operation of the member's own, whose answer nobody awaits; `message` is a struct of pb/. */
void server__propose_message(struct server *self, enum server_op op, const void *message);
void server__check_timeouts(struct server *self, int64_t now_ns);
void server__fail_all_requests(struct server *self, enum err error);
/* Takes a request out of the table; NULL when nobody waits. */
struct server_request *server__take_request(struct server *self, uint64_t id);
void server__answer(struct server *self, struct server_request *request, enum err error, int64_t revision);
enum err server__timeout_error(const struct server *self, int64_t proposed_ns);

/* read.c */
void server__ask_read_index(struct server *self, int64_t now_ns);
void server__read_state(struct server *self, const struct raft_read_state *state);
void server__release_reads(struct server *self);
void server__check_reads(struct server *self, int64_t now_ns);
void server__fail_all_reads(struct server *self, enum err error);

/* apply.c */
void server__apply(struct server *self, const struct raft_entry *entries, size_t count);

/* membership.c */
void server__apply_conf_change(struct server *self, const struct raft_entry *entry, bool both);
/* False when the data is no v2 request. */
bool server__apply_v2_request(struct server *self, struct slice data, bool both);
void server__member_attributes_set(struct server *self, uint64_t id, const char *name, const char *const *urls,
                                   size_t url_count, bool both);
void server__cluster_version_set(struct server *self, const char *version, bool both);
/* Whether the cluster has decided on a version this program is too old for; told as fatal then. */
bool server__is_downgrade(struct server *self, struct version version);
void server__membership_tick(struct server *self, int64_t now_ns);
void server__first_commit_in_term(struct server *self);

/* alarm.c */
void server__alarms_restore(struct server *self);
enum err server__apply_alarm(struct server *self, const void *request, struct buf *out);
/* OK, ERR_NO_SPACE, ERR_CORRUPT_CLUSTER: what active alarms say to an operation at apply. */
enum err server__alarm_check(const struct server *self, enum server_op op, const void *message);
/* Whether an operation of this size fits; raises the alarm when not. */
enum err server__quota_check(struct server *self, enum server_op op, const void *message);
bool server__has_alarm(const struct server *self, int32_t type);
/* No room for the database or for the next WAL segment: what makes them grow is refused until there is. */
#define DISK_RETRY_NS BACKEND_RETRY_NS
bool server__disk_is_full(const struct server *self);
void server__raise_alarm(struct server *self, int32_t type);
void server__quota_init(struct server *self);
void server__tell_start(struct server *self);

/* auth.c */
/* NULL when it is no operation of auth. */
const ProtobufCMessageDescriptor *server__auth_descriptor(uint32_t op);
/* What the auth store says to an operation at apply; only asked while auth is on. */
enum err server__auth_check(struct server *self, uint32_t op, const void *message, const struct auth_info *info);
/* ERR_UNKNOWN_METHOD when it is no operation of auth. */
enum err server__apply_auth(struct server *self, uint32_t op, const void *message, struct buf *out);
void server__fail_all_passwords(struct server *self);
/* A member that failed is closed while something runs on the pool: that ends alone. Nobody is called back. */
void server__forsake_passwords(struct server *self);

/* lease.c */
void server__lease_tick(struct server *self, int64_t now_ns);
void server__leadership_changed(struct server *self, bool is_leader);
void server__release_lease_calls(struct server *self);
void server__fail_all_lease_calls(struct server *self, enum err error);
enum err server__apply_lease_revoke(struct server *self, int64_t lease);

/* snapshot.c */
void server__maybe_snapshot(struct server *self);
void server__purge_start(struct server *self, int64_t now_ns);
void server__purge_tick(struct server *self, int64_t now_ns);
void server__spare_tick(struct server *self, int64_t now_ns);
void server__snapshot_release(struct server *self);

/* server.c */
void server__advance_stop(struct server *self);
/* An error after which the member must not go on. */
void server__fail(struct server *self, const char *what, enum err error, const char *detail);

#endif
