/* options.h - everything that can be set on a member: one table for flags, ETCD_* variables and the YAML file.
 *
 * Floor 8. Each row of the table names a flag, its kind, default, variable, YAML key and help text; the values live in
 * struct options. Three readers fill it in, never mixed but for the order that etcd gives them:
 *
 *     arguments.c    the command line, as Go's flag package reads it
 *     environment.c  ETCD_* variables, for flags that the command line did not set
 *     configfile.c   --config-file: then flags and variables count for nothing
 *
 * and options_validate (validate.c) judges the result. Texts of errors are etcd's (catalog of start errors).
 */
#ifndef ETCD_OPTIONS_H
#define ETCD_OPTIONS_H

#include "base/buf.h"
#include "base/err.h"
#include "cluster/urls.h"
#include "env/log.h"

struct texts {
    char **items;
    size_t count;
};

struct options {
    /* general */
    char *config_file;
    bool print_version;
    /* member */
    char *name;
    char *data_dir;
    char *wal_dir;
    uint64_t snapshot_count;
    uint64_t heartbeat_interval_ms;
    uint64_t election_timeout_ms;
    bool initial_election_tick_advance;
    struct urls listen_peer_urls;
    struct urls listen_client_urls;
    struct urls listen_client_http_urls;
    uint64_t max_snapshots;
    uint64_t max_wals;
    int64_t quota_backend_bytes;
    char *backend_freelist_type;
    int64_t backend_batch_interval_ns;
    int64_t backend_batch_limit;
    uint64_t max_txn_ops;
    uint64_t max_request_bytes;
    uint64_t max_concurrent_streams;
    bool enable_grpc_gateway;
    int64_t grpc_keepalive_min_time_ns;
    int64_t grpc_keepalive_interval_ns;
    int64_t grpc_keepalive_timeout_ns;
    bool socket_reuse_port;
    bool socket_reuse_address;
    int64_t raft_read_timeout_ns;
    int64_t raft_write_timeout_ns;
    /* clustering */
    struct urls initial_advertise_peer_urls;
    char *initial_cluster;
    char *initial_cluster_state;
    char *initial_cluster_token;
    struct urls advertise_client_urls;
    bool advertise_client_urls_missing; /* --listen-client-urls was given without them */
    char *discovery;
    char *discovery_fallback;
    char *discovery_proxy;
    char *discovery_srv;
    char *discovery_srv_name;
    bool strict_reconfig_check;
    bool pre_vote;
    char *auto_compaction_retention;
    char *auto_compaction_mode;
    bool enable_v2;
    char *v2_deprecation;
    /* security */
    struct tls_options {
        char *cert_file;
        char *key_file;
        char *client_cert_file;
        char *client_key_file;
        bool client_cert_auth;
        char *crl_file;
        char *trusted_ca_file;
        bool auto_tls;
        struct texts allowed_cn;
        struct texts allowed_hostname;
    } client_tls, peer_tls;
    uint64_t self_signed_cert_validity_years;
    struct texts cipher_suites;
    struct texts cors;
    struct texts host_whitelist;
    char *tls_min_version;
    char *tls_max_version;
    bool peer_skip_client_san_verification;
    /* auth */
    char *auth_token;
    uint64_t bcrypt_cost;
    uint64_t auth_token_ttl_s;
    /* profiling and monitoring */
    bool enable_pprof;
    char *metrics;
    struct urls listen_metrics_urls;
    /* logging */
    char *logger;
    struct texts log_outputs;
    char *log_level;
    bool enable_log_rotation;
    char *log_rotation_config_json;
    /* tracing */
    bool tracing;
    char *tracing_address;
    char *tracing_service_name;
    char *tracing_instance_id;
    int64_t tracing_sampling_rate;
    /* the old HTTP proxy */
    char *proxy;
    uint64_t proxy_failure_wait_ms;
    uint64_t proxy_refresh_interval_ms;
    uint64_t proxy_dial_timeout_ms;
    uint64_t proxy_write_timeout_ms;
    uint64_t proxy_read_timeout_ms;
    /* experimental */
    bool initial_corrupt_check;
    int64_t corrupt_check_time_ns;
    bool compact_hash_check;
    int64_t compact_hash_check_time_ns;
    char *enable_v2v3;
    bool lease_checkpoint;
    bool lease_checkpoint_persist;
    int64_t compaction_batch_limit;
    int64_t compaction_sleep_interval_ns;
    int64_t watch_progress_notify_interval_ns;
    int64_t downgrade_check_time_ns;
    bool memory_mlock;
    int64_t warning_apply_duration_ns;
    bool txn_mode_write_with_shared_buffer;
    uint64_t bootstrap_defrag_threshold_mb;
    bool stop_grpc_service_on_defrag;
    uint64_t snapshot_catch_up_entries;
    /* unsafe */
    bool force_new_cluster;
    bool unsafe_no_fsync;

    bool *given; /* by row: set by flag or variable */
};

enum option_kind {
    OPTION_BOOL,
    OPTION_IGNORED, /* a flag of the past: any boolean-like value, no effect */
    OPTION_STRING,
    OPTION_ENUM,  /* one of `choices` */
    OPTION_PHASE, /* the same, with its own words of refusal */
    OPTION_UINT,  /* Go's uint: 64 bits */
    OPTION_UINT64,
    OPTION_UINT32, /* kept in a uint64_t */
    OPTION_INT,
    OPTION_INT64,
    OPTION_DURATION,    /* nanoseconds */
    OPTION_URLS,        /* each call replaces */
    OPTION_UNIQUE_URLS, /* a value that is in it already, and "", change nothing */
    OPTION_ORIGINS,     /* URLs or "*", kept as sorted texts */
    OPTION_STRINGS,     /* comma list, in order */
    OPTION_STRING_SET,  /* comma list, sorted, each once */
};

enum option_group {
    GROUP_HIDDEN,
    GROUP_MEMBER,
    GROUP_CLUSTERING,
    GROUP_SECURITY,
    GROUP_AUTH,
    GROUP_MONITORING,
    GROUP_LOGGING,
    GROUP_TRACING,
    GROUP_PROXY,
    GROUP_EXPERIMENTAL,
    GROUP_UNSAFE,
    GROUP_COUNT
};

struct option_row {
    const char *name; /* without dashes */
    enum option_kind kind;
    enum option_group group;
    size_t offset; /* into struct options */
    const char *default_text;
    const char *shown_default; /* in help, where it differs; else NULL */
    const char *yaml;          /* "key", "section.key"; NULL = not in the file */
    const char *choices;       /* of an enum: "a|b" */
    const char *help;
};

extern const struct option_row option_rows[];
extern const size_t option_row_count;
extern const char *const option_group_titles[GROUP_COUNT];

/* All defaults. */
void options_init(struct options *self);
void options_release(struct options *self);

/* NULL when there is no such flag. */
const struct option_row *option_find(const char *name, size_t name_len);
/* "ETCD_DATA_DIR"; lives in `out`. */
const char *option_variable(const struct option_row *row, struct buf *out);
/* Sets the value from its text, as Go does; false and the reason otherwise (value unchanged). */
bool option_set(struct options *self, const struct option_row *row, const char *text, struct errmsg *problem);
bool option_is_given(const struct options *self, const char *name);
void *option_value(struct options *self, const struct option_row *row);

/* texts */
void texts_release(struct texts *self);
void texts_add(struct texts *self, struct slice text);
/* Sorts and drops doubles. */
void texts_make_set(struct texts *self);
void texts_split(struct texts *self, const char *text);

/* ---- readers ---- */

/* The arguments behind the program's name. Mistakes, --help and --version end the process as etcd does; a left-over
 * argument is ERR_INVALID with the text. */
enum err arguments_read(struct options *self, int count, char **arguments, struct errmsg *message) MUST_USE;
/* Warnings and infos go to `log`. A variable that a flag hides ends the process. */
enum err environment_read(struct options *self, struct log *log, char **environment, struct errmsg *message) MUST_USE;
/* What follows from which flags were given: defaults that others switch off. After environment_read. */
void options_settle(struct options *self, struct log *log);
/* Some mistakes end the process, as in etcd. ERR_INVALID with the text otherwise. */
enum err configfile_read(struct options *self, const char *path, struct errmsg *message) MUST_USE;
/* The values of the old proxy, which etcd looks at after all else; a wrong one ends the process. */
void configfile_check_proxy(struct options *self);

/* ---- judging ---- */

extern const char options_advertise_missing[]; /* the one text of options_validate that callers look for */
/* Logging is set up already. Writes warnings. ERR_INVALID with etcd's text. */
enum err options_validate(const struct options *self, struct log *log, struct errmsg *message) MUST_USE;
/* --initial-cluster follows --name when only that was given. `default_cluster` is the value before anything was read.
 */
void options_follow_name(struct options *self, const char *default_cluster);
/* --auto-compaction-retention: nanoseconds for periodic, revisions for revision mode. ERR_INVALID. */
enum err options_retention(const struct options *self, int64_t *ret_retention, struct errmsg *message) MUST_USE;

/* ---- texts ---- */
void help_usage(struct buf *out);
void help_flags(struct buf *out);
void help_version(struct buf *out);
/* As Go calls it: "amd64". */
const char *help_architecture(void);

#endif
