/* server.h - one member: what is proposed is replicated, made durable, applied in order and answered.
 *
 * Floor 5. Joins raft, WAL, snapshots, backend, store, leases and membership; knows nothing of gRPC, HTTP and sockets
 * and reaches the world through env/ only, so that the same code runs in the simulator.
 *
 *   server_propose --> this turn's batch --> raft_step --+--> WAL worker: write, fdatasync --> RAFT_SAVED --+
 *                                                        +--> peers                                        |
 *   callback <-- apply in order (lease, index, write buffer, watch hub) <-- committed entries <------------+
 *
 * The states of a member:
 *
 *     server_open -> OPEN -> server_start -> RUNNING -> server_stop -> STOPPING -> `stopped` -> server_close
 *                                               +---- a disk error, or an error in applying: `failed`; nothing is
 *                                                     applied or answered any more; the program ends the process
 *
 * Threads: loop only. Callbacks come on the loop, once, never from inside the call that asked for them.
 * Rules: spec/apply.md, spec/snap.md 6-8, spec/wal.md 9-11, spec/raft-wire.md 11-13.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "auth/auth.h"
#include "auth/password.h"
#include "base/buf.h"
#include "env/env.h"
#include "server/config.h"

struct server;
struct cluster;
struct lessor;
struct store;
struct backend;

/* Each may be NULL. */
struct server_hooks {
    void *context;
    /* The member's name and client URLs are published through raft: clients may be served. */
    void (*ready)(void *context);
    /* The member can't go on; the line for the operator is logged already. The process must end with this status. */
    void (*failed)(void *context, int exit_status);
};

/* ---- life ---- */

/* Recovers what is on disk, or makes a new member. Blocks. Log lines tell the story as etcd's do. `message` says what
 * is wrong in etcd's words, without path of source. */
enum err server_open(struct env *env, const struct server_config *config, const struct server_hooks *hooks,
                     struct server **ret_server, struct errmsg *message) MUST_USE;
/* Begins to tick. */
void server_start(struct server *self);
/* Takes no more; all that wait get ERR_STOPPED. `stopped` is called once, in a later turn. */
void server_stop(struct server *self, void (*stopped)(void *context), void *context);
/* Commits and closes everything; blocks. After `stopped`, or a server that was never started. NULL is allowed. */
void server_close(struct server *self);

/* ---- writing ---- */

/* Which operation: field numbers of InternalRaftRequest. */
enum server_op {
    SERVER_OP_PUT = 4,
    SERVER_OP_DELETE_RANGE = 5,
    SERVER_OP_TXN = 6,
    SERVER_OP_COMPACTION = 7,
    SERVER_OP_LEASE_GRANT = 8,
    SERVER_OP_LEASE_REVOKE = 9,
    SERVER_OP_ALARM = 10,
    SERVER_OP_LEASE_CHECKPOINT = 11,
    SERVER_OP_AUTH_ENABLE = 1000,
    SERVER_OP_AUTH_DISABLE = 1011,
    SERVER_OP_AUTHENTICATE = 1012,
    SERVER_OP_AUTH_STATUS = 1013,
    SERVER_OP_AUTH_USER_ADD = 1100,
    SERVER_OP_AUTH_USER_DELETE = 1101,
    SERVER_OP_AUTH_USER_GET = 1102,
    SERVER_OP_AUTH_USER_CHANGE_PASSWORD = 1103,
    SERVER_OP_AUTH_USER_GRANT_ROLE = 1104,
    SERVER_OP_AUTH_USER_REVOKE_ROLE = 1105,
    SERVER_OP_AUTH_USER_LIST = 1106,
    SERVER_OP_AUTH_ROLE_LIST = 1107,
    SERVER_OP_AUTH_ROLE_ADD = 1200,
    SERVER_OP_AUTH_ROLE_DELETE = 1201,
    SERVER_OP_AUTH_ROLE_GET = 1202,
    SERVER_OP_AUTH_ROLE_GRANT_PERMISSION = 1203,
    SERVER_OP_AUTH_ROLE_REVOKE_PERMISSION = 1204,
};

/* One operation on its way through raft. The caller embeds it and keeps it, and what it points to, until the callback
 * or server_cancel. Zero it before filling it in. */
struct server_request {
    /* in */
    enum server_op op;
    /* The operation's encoded message; goes into the log as it is (copied by server_propose). */
    struct slice encoded;
    /* The same decoded (a struct of pb/rpc.pb-c.h), checked by the API layer. */
    const void *message;
    struct slice username; /* of who asks, when auth is on */
    uint64_t auth_revision;
    void (*callback)(struct server_request *request);

    /* out, at the callback */
    enum err error;
    int64_t revision; /* for the response's header */
    struct buf *out;  /* given by the caller: the response's fields behind the header are appended; may be NULL */

    /* the server's own */
    uint64_t id;
    int64_t proposed_ns;
    struct list link;
};

/* Takes the request into this turn's batch. On an error there is no callback: ERR_STOPPED, ERR_TOO_MANY_REQUESTS,
 * ERR_REQUEST_TOO_LARGE, ERR_NO_SPACE (quota; the alarm is raised by the way). The callback's errors: what applying
 * answers, ERR_TIMEOUT and its kin, ERR_STOPPED. */
enum err server_propose(struct server *self, struct server_request *request) MUST_USE;
/* Nobody waits any more: no callback. It may be applied all the same. Harmless when it was never proposed. */
void server_cancel(struct server *self, struct server_request *request);
/* The next request id: also lease ids (with the top bit cleared) and conf change ids come from it. */
uint64_t server_next_id(struct server *self);

/* ---- reading ---- */

/* One who waits until a linearizable read may be served from the local store. Embedded and kept as above. */
struct server_read {
    /* OK, ERR_TIMEOUT, ERR_LEADER_CHANGED, ERR_STOPPED. */
    void (*callback)(struct server_read *read, enum err error);
    int64_t asked_ns;
    struct list link;
};
/* All who ask in one turn share one read index. ERR_STOPPED: no callback. */
enum err server_read_index(struct server *self, struct server_read *read) MUST_USE;
void server_read_cancel(struct server *self, struct server_read *read);

struct store *server_store(struct server *self);
struct backend *server_backend(struct server *self);
struct lessor *server_lessor(struct server *self);
struct cluster *server_cluster(struct server *self);
struct auth_store *server_auth(struct server *self);
/* For auth_check_put and auth_check_txn. */
struct auth_leases server_auth_leases(struct server *self);
const struct server_config *server_config_of(const struct server *self);
struct env *server_env(const struct server *self);

/* ---- leases that need the leader ---- */

/* Renews at the leader, after it has caught up with what is committed. Embedded and kept as above. */
struct server_lease_call {
    int64_t lease;
    bool with_keys; /* time to live */
    void (*callback)(struct server_lease_call *call);
    /* out */
    enum err error; /* ERR_LEASE_NOT_FOUND, ERR_NOT_PRIMARY, ERR_TIMEOUT, ERR_STOPPED */
    int64_t ttl_s;  /* after renewal; remaining, truncated, for time to live */
    int64_t granted_ttl_s;
    struct list link;
    bool is_renewal;
    int64_t asked_ns;
};
enum err server_lease_renew(struct server *self, struct server_lease_call *call) MUST_USE;
/* The keys are then read from server_lessor. */
enum err server_lease_time_to_live(struct server *self, struct server_lease_call *call) MUST_USE;
void server_lease_call_cancel(struct server *self, struct server_lease_call *call);

/* ---- passwords ----
 *
 * bcrypt takes 50 ms and more, so it runs on the pool, SERVER_PASSWORDS_RUNNING at a time (what else the pool does goes
 * on); the others wait in line. */

#define SERVER_PASSWORDS_RUNNING 1
/* Beyond it: ERR_TOO_MANY_REQUESTS. */
#define SERVER_PASSWORDS_WAITING 1000

struct server_password_work;

/* Makes the bcrypt text of a new password. Embedded and kept until the callback. */
struct server_hashing {
    struct slice password; /* copied */
    void (*callback)(struct server_hashing *hashing);
    /* out */
    enum err error; /* ERR_STOPPED */
    char text[PASSWORD_HASH_BYTES];
    struct server_password_work *work; /* the server's own */
};
/* ERR_PASSWORD_TOO_LONG, ERR_TOO_MANY_REQUESTS, ERR_STOPPED: no callback. */
enum err server_hash_password(struct server *self, struct server_hashing *hashing) MUST_USE;

/* Authenticate: read index, the password checked here, then an entry that makes every member know the token; begun anew
 * when users have changed meanwhile (upstream v3_server.go). Embedded and kept as above; zero it first. */
struct server_login {
    const char *name;
    const char *password;
    struct buf *out; /* the response's fields behind the header are appended */
    void (*callback)(struct server_login *login);
    /* out */
    /* ERR_AUTH_NOT_ENABLED, ERR_AUTH_FAILED, ERR_NO_PASSWORD_USER; those of reading and of proposing */
    enum err error;
    int64_t revision; /* for the response's header */
    /* the server's own */
    struct server *server;
    struct server_read read;
    struct server_request request;
    struct server_password_work *work;
    uint64_t checked_revision;
    char token_prefix[AUTH_TOKEN_PREFIX_BYTES + 1];
    void *message;
};
/* ERR_STOPPED: no callback. */
enum err server_login(struct server *self, struct server_login *login) MUST_USE;
void server_login_cancel(struct server *self, struct server_login *login);

/* ---- what it knows ---- */

struct server_status {
    uint64_t member_id;
    uint64_t cluster_id;
    uint64_t leader; /* 0 = nobody known */
    uint64_t raft_term;
    uint64_t raft_index; /* committed */
    uint64_t raft_applied_index;
    bool is_learner;
    bool is_leader;
    bool has_nospace_alarm; /* of any member */
    bool has_corrupt_alarm;
    int64_t quota_bytes; /* 0 = none */
};
void server_status(const struct server *self, struct server_status *ret_status);
/* Writes a ResponseHeader as field 1 of a response at `out` and returns its length; revision 0 is left out. */
#define SERVER_HEADER_MAX_BYTES 48
size_t server_store_header(const struct server *self, int64_t revision, uint8_t out[SERVER_HEADER_MAX_BYTES]);
/* "3.5.0", or "" while undecided. Lives until the next turn. */
const char *server_cluster_version(const struct server *self);
/* The alarms raised now, in the order of their encoding. */
struct server_alarm {
    uint64_t member_id;
    int32_t type; /* 1 NOSPACE, 2 CORRUPT; a log of others may hold more */
};
size_t server_alarms(const struct server *self, const struct server_alarm **ret_alarms);

/* Counters for /metrics; only grow. */
struct server_stats {
    uint64_t proposals_committed;
    uint64_t proposals_applied;
    uint64_t proposals_failed;
    uint64_t proposals_pending; /* a gauge */
    uint64_t leader_changes;
    uint64_t slow_applies;
    uint64_t slow_read_indexes;
    uint64_t read_indexes_failed;
    uint64_t lease_expired;
    uint64_t wal_written_bytes;
    uint64_t wal_fsyncs;
    int64_t wal_fsync_ns;
    uint64_t snapshots_saved;
};
const struct server_stats *server_stats(const struct server *self);

#endif
