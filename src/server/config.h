/* config.h - what a member is told when it starts.
 *
 * Floor 5. Filled in by the program from flags, environment and file, already parsed and checked there; the server
 * copies what it keeps. Units are in the names; 0 means the value, not "default" (server_config_init sets etcd's
 * defaults).
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_VERSION "3.5.33"
#define SERVER_MIN_CLUSTER_VERSION "3.0.0"

#define SERVER_DEFAULT_QUOTA_BYTES (2ll << 30)
#define SERVER_MAX_QUOTA_BYTES (8ll << 30) /* beyond it: a warning */
/* Requests committed and not yet applied; beyond it proposals are refused (ERR_TOO_MANY_REQUESTS). */
#define SERVER_MAX_GAP 5000
/* The same for bytes of entries that were proposed and not yet applied, whether or not somebody still waits. */
#define SERVER_MAX_UNAPPLIED_BYTES ((uint64_t)256 << 20)
/* Bytes of entries in memory: a snapshot is taken after so many, however few entries they are, and then no more than
 * this is kept for followers, however few of --snapshot-catchup-entries that is. (etcd keeps 105,000 entries of any
 * size.) */
#define SERVER_LOG_BYTES ((uint64_t)64 << 20)

struct server_config {
    const char *name;
    const char *data_dir;
    const char *wal_dir; /* "" = <data_dir>/member/wal */

    const char *const *advertise_peer_urls;
    size_t advertise_peer_url_count;
    const char *const *advertise_client_urls;
    size_t advertise_client_url_count;
    const char *initial_cluster; /* "name=url,name=url" */
    const char *initial_cluster_token;
    bool initial_cluster_exists;
    bool force_new_cluster;

    int64_t tick_ns; /* the heartbeat interval */
    uint32_t election_ticks;
    bool initial_election_tick_advance;
    bool pre_vote;
    bool strict_reconfig_check;

    uint64_t snapshot_count;
    uint64_t snapshot_catch_up_entries;
    int64_t wal_segment_bytes; /* 0 = the default; others are for tests */
    unsigned max_wals;         /* 0 = all are kept */
    unsigned max_snapshots;    /* 0 = all are kept */

    int64_t quota_backend_bytes; /* 0 = the default, negative = none */
    uint64_t max_txn_ops;
    uint64_t max_request_bytes;

    int64_t backend_batch_interval_ns; /* 0 = the default */
    uint64_t backend_batch_limit;      /* 0 = the default */
    int compaction_batch_limit;        /* 0 = the default */
    int64_t compaction_sleep_ns;       /* 0 = the default */
    bool unsafe_no_fsync;

    unsigned bcrypt_cost;      /* 4 to 31 */
    int64_t auth_token_ttl_ns; /* 0 = the default */

    bool lease_checkpoint;
    bool lease_checkpoint_persist;

    int64_t warning_apply_ns; /* slower requests are logged */
};

/* etcd's defaults; the texts point to constants. */
void server_config_init(struct server_config *config);

#endif
