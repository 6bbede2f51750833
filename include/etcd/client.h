/* etcd/client.h - libetcdclient, a client of etcd v3 for C.
 *
 * A first program:
 *
 *     const char *endpoints[] = {"127.0.0.1:2379"};
 *     struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
 *     options.endpoints = endpoints;
 *     options.endpoint_count = 1;
 *     struct etcd_error error;
 *     struct etcd_client *client = etcd_client_new(&options, &error);
 *
 *     struct etcd_put_request put = {.key = etcd_text("greeting"), .value = etcd_text("hello")};
 *     if (etcd_put(client, &put, NULL, &error) != ETCD_OK) fprintf(stderr, "%s\n", error.text);
 *
 *     struct etcd_range_request get = {.key = etcd_text("greeting")};
 *     struct etcd_range_response *answer;
 *     if (etcd_range(client, &get, &answer, &error) == ETCD_OK) {
 *         for (size_t i = 0; i < answer->kv_count; i++)
 *             printf("%.*s\n", (int)answer->kvs[i].value.len, (const char *)answer->kvs[i].value.data);
 *         etcd_free(answer);
 *     }
 *     etcd_client_free(client);
 *
 * Requests are plain structs: set what you need, leave the rest zero. They and what they point to need to stay only
 * until the function returns. Answers are objects of the library: everything they point to lives until etcd_free.
 *
 * Errors. Functions that can fail return a code, ETCD_OK or one of gRPC's, and fill in a struct etcd_error (which may
 * be NULL). Outputs are written on success only. Memory exhaustion ends the process.
 *
 * Two ways to use it. Functions that wait (etcd_put, etcd_watch_next, ...) run the client's event loop until they have
 * their answer; everything else the client has to do (other calls, watches, lease renewal) goes on meanwhile. Or run
 * the loop yourself: start calls with etcd_call_start, give watches and renewals a callback, and either call
 * etcd_client_run in a thread of yours, or watch etcd_client_fd in your own event loop. Nothing happens, and no lease
 * is renewed, while nobody is inside one of these functions.
 *
 * Threads. A client and all that belongs to it is used by one thread at a time; several clients need no care.
 * Callbacks run inside the functions that run the loop; they may start and cancel things, but not call a function that
 * waits, nor free the client.
 *
 * Endpoints. One connection, to one endpoint at a time. When it can't be made or breaks, or when the server says that
 * it has no leader or says nothing at all, the next endpoint is tried, without end until the call's time is up. A
 * request is sent again when that is safe: reads and other requests that may be repeated when the server answers
 * UNAVAILABLE or the connection breaks; writes (put, delete, txn, compact, changes of members and users) only when it
 * is certain that the server has not seen them.
 */
#ifndef ETCD_CLIENT_H
#define ETCD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The codes of gRPC. */
enum etcd_code {
    ETCD_OK = 0,
    ETCD_CANCELED = 1,
    ETCD_UNKNOWN = 2,
    ETCD_INVALID_ARGUMENT = 3,
    ETCD_DEADLINE_EXCEEDED = 4,
    ETCD_NOT_FOUND = 5,
    ETCD_ALREADY_EXISTS = 6,
    ETCD_PERMISSION_DENIED = 7,
    ETCD_RESOURCE_EXHAUSTED = 8,
    ETCD_FAILED_PRECONDITION = 9,
    ETCD_ABORTED = 10,
    ETCD_OUT_OF_RANGE = 11,
    ETCD_UNIMPLEMENTED = 12,
    ETCD_INTERNAL = 13,
    ETCD_UNAVAILABLE = 14,
    ETCD_DATA_LOSS = 15,
    ETCD_UNAUTHENTICATED = 16,
};

struct etcd_error {
    int code;         /* enum etcd_code */
    char text[512];   /* for errors of the server its exact words: "etcdserver: key is not provided" */
    char detail[512]; /* what the client knows beyond it, for humans, or "": the last dial error when time ran out */
};

/* "DeadlineExceeded", as Go prints codes; "Code(99)" for one that is not known. */
const char *etcd_code_name(int code);

/* ---- bytes ---- */

struct etcd_bytes {
    const void *data;
    size_t len;
};

static inline struct etcd_bytes etcd_bytes_of(const void *data, size_t len) {
    struct etcd_bytes bytes;
    bytes.data = data;
    bytes.len = len;
    return bytes;
}
static inline struct etcd_bytes etcd_text(const char *text) { return etcd_bytes_of(text, strlen(text)); }

/* A range_end that means "and every key behind it"; with the key "\0" too it means all keys. */
#define ETCD_FROM_KEY etcd_bytes_of("\0", 1)

/* The range_end for all keys beginning with `prefix`: writes up to prefix.len bytes to `out` and returns them. For a
 * prefix that is empty or all 0xff it is ETCD_FROM_KEY (with an empty prefix, the key must be "\0"). */
struct etcd_bytes etcd_prefix_end(struct etcd_bytes prefix, void *out);

/* ---- the client ---- */

struct etcd_client;

/* One failed attempt of a call, whether it is tried again or not. */
struct etcd_attempt {
    const char *method;   /* "/etcdserverpb.KV/Range" */
    const char *endpoint; /* as given in the options; "" when none was connected */
    unsigned attempt;     /* 0 the first */
    const struct etcd_error *error;
};

struct etcd_client_options {
    size_t size_bytes; /* set by ETCD_CLIENT_OPTIONS_INIT: tells the library which version of the struct this is */

    /* "host:port", "http://host:port" or "unix://path"; at least one. "https://" is refused, see tls. */
    const char *const *endpoints;
    size_t endpoint_count;

    int64_t dial_timeout_ms;      /* for one endpoint, TCP connection and HTTP/2 greeting together */
    int64_t command_timeout_ms;   /* for a call with all its attempts; 0: without end */
    int64_t keepalive_time_ms;    /* PING when nothing came for so long; 0: never */
    int64_t keepalive_timeout_ms; /* without an answer the connection counts as broken */

    /* Answers larger than this are RESOURCE_EXHAUSTED; 0: 2 GiB - 1. */
    size_t max_response_bytes;

    /* Not supported yet: etcd_client_new refuses them with ETCD_UNIMPLEMENTED when set, rather than connecting without
     * the protection that was asked for. */
    const char *username;
    const char *password;
    const char *tls_ca_file;
    const char *tls_cert_file;
    const char *tls_key_file;
    bool tls;

    /* Told of every failed attempt; NULL: nobody is. */
    void (*on_failed_attempt)(void *context, const struct etcd_attempt *attempt);
    void *on_failed_attempt_context;
};

/* 2 s to dial, 5 s for a call, no PINGs. */
#define ETCD_CLIENT_OPTIONS_INIT                                                                                       \
    { .size_bytes = sizeof(struct etcd_client_options), .dial_timeout_ms = 2000, .command_timeout_ms = 5000 }

/* Copies the options. Connects to nobody yet: the first call does. NULL on an error: ETCD_INVALID_ARGUMENT for
 * endpoints that make no sense, ETCD_UNIMPLEMENTED for what is not supported yet. */
struct etcd_client *etcd_client_new(const struct etcd_client_options *options, struct etcd_error *error);

/* Ends connection, calls, watches and renewals of leases (leases live on until they expire). No callback is called.
 * Watch streams, renewals and raw streams must be closed before. NULL is allowed. */
void etcd_client_free(struct etcd_client *client);

/* For calls begun from now on; 0: without end. */
void etcd_client_set_command_timeout(struct etcd_client *client, int64_t timeout_ms);

/* The endpoint that is connected, as given in the options, or "". Valid until the client is freed. */
const char *etcd_client_endpoint(const struct etcd_client *client);
/* Our end of that connection, "127.0.0.1:50123" ("@" for a unix socket), or "". Returns `text`. */
const char *etcd_client_local_address(const struct etcd_client *client, char *text, size_t size_bytes);

/* Runs the client for `timeout_ms` (0: what is ready now; negative: until there is neither a call nor an open watch
 * stream nor a renewal left). Returns early after etcd_client_stop. */
void etcd_client_run(struct etcd_client *client, int64_t timeout_ms);
/* From a callback: makes the etcd_client_run around it return. */
void etcd_client_stop(struct etcd_client *client);

/* For an event loop of your own: wait until the descriptor is readable, but not longer than etcd_client_timeout_ms
 * (-1: no limit), then call etcd_client_run(client, 0). */
int etcd_client_fd(const struct etcd_client *client);
int64_t etcd_client_timeout_ms(const struct etcd_client *client);

/* Gives an answer back: any of the etcd_*_response objects. NULL is allowed. */
void etcd_free(const void *response);

/* ---- answers: what they share ---- */

struct etcd_header {
    uint64_t cluster_id;
    uint64_t member_id;
    int64_t revision;
    uint64_t raft_term;
};

struct etcd_kv {
    struct etcd_bytes key;
    struct etcd_bytes value;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
    int64_t lease;
};

/* An answer that says nothing but "done". */
struct etcd_header_response {
    struct etcd_header header;
};

/* ---- keys and values ---- */

enum etcd_sort_order { ETCD_SORT_NONE, ETCD_SORT_ASCEND, ETCD_SORT_DESCEND };
enum etcd_sort_target { ETCD_SORT_KEY, ETCD_SORT_VERSION, ETCD_SORT_CREATE, ETCD_SORT_MOD, ETCD_SORT_VALUE };

struct etcd_range_request {
    struct etcd_bytes key;
    struct etcd_bytes range_end; /* empty: one key; see etcd_prefix_end, ETCD_FROM_KEY */
    int64_t limit;               /* 0: none */
    int64_t revision;            /* 0: now */
    enum etcd_sort_order sort_order;
    enum etcd_sort_target sort_target;
    bool serializable; /* from the member's own data, which may be old */
    bool keys_only;
    bool count_only;
    int64_t min_mod_revision;
    int64_t max_mod_revision;
    int64_t min_create_revision;
    int64_t max_create_revision;
};

struct etcd_range_response {
    struct etcd_header header;
    const struct etcd_kv *kvs;
    size_t kv_count;
    bool more;     /* the limit left some out */
    int64_t count; /* keys in the range, whatever the limit */
};

struct etcd_put_request {
    struct etcd_bytes key;
    struct etcd_bytes value;
    int64_t lease; /* 0: none */
    bool prev_kv;  /* answer with what was there */
    bool ignore_value;
    bool ignore_lease;
};

struct etcd_put_response {
    struct etcd_header header;
    const struct etcd_kv *prev_kv; /* NULL: not asked for, or there was none */
};

struct etcd_delete_request {
    struct etcd_bytes key;
    struct etcd_bytes range_end;
    bool prev_kv;
};

struct etcd_delete_response {
    struct etcd_header header;
    int64_t deleted;
    const struct etcd_kv *prev_kvs;
    size_t prev_kv_count;
};

enum etcd_compare_result { ETCD_EQUAL, ETCD_GREATER, ETCD_LESS, ETCD_NOT_EQUAL };
enum etcd_compare_target { ETCD_VERSION, ETCD_CREATE_REVISION, ETCD_MOD_REVISION, ETCD_VALUE, ETCD_LEASE };

struct etcd_compare {
    struct etcd_bytes key;
    struct etcd_bytes range_end; /* not empty: must hold for every key of the range */
    enum etcd_compare_target target;
    enum etcd_compare_result result;
    int64_t number;          /* for every target but ETCD_VALUE */
    struct etcd_bytes value; /* for ETCD_VALUE */
};

enum etcd_op_type { ETCD_OP_RANGE, ETCD_OP_PUT, ETCD_OP_DELETE, ETCD_OP_TXN };

/* One operation of a transaction: the pointer that `type` names is set. */
struct etcd_op {
    enum etcd_op_type type;
    const struct etcd_range_request *range;
    const struct etcd_put_request *put;
    const struct etcd_delete_request *delete_range;
    const struct etcd_txn_request *txn; /* at most 64 deep */
};

struct etcd_txn_request {
    const struct etcd_compare *compares;
    size_t compare_count;
    const struct etcd_op *success;
    size_t success_count;
    const struct etcd_op *failure;
    size_t failure_count;
};

struct etcd_op_response {
    enum etcd_op_type type;
    const struct etcd_range_response *range;
    const struct etcd_put_response *put;
    const struct etcd_delete_response *delete_range;
    const struct etcd_txn_response *txn;
};

struct etcd_txn_response {
    struct etcd_header header;
    bool succeeded;
    const struct etcd_op_response *responses; /* not to be freed singly */
    size_t response_count;
};

struct etcd_compact_request {
    int64_t revision;
    bool physical; /* wait until the server's file has been swept */
};

/* `ret_response` may be NULL in all of these when only success matters. */
int etcd_range(struct etcd_client *client, const struct etcd_range_request *request,
               struct etcd_range_response **ret_response, struct etcd_error *error);
int etcd_put(struct etcd_client *client, const struct etcd_put_request *request,
             struct etcd_put_response **ret_response, struct etcd_error *error);
int etcd_delete(struct etcd_client *client, const struct etcd_delete_request *request,
                struct etcd_delete_response **ret_response, struct etcd_error *error);
int etcd_txn(struct etcd_client *client, const struct etcd_txn_request *request,
             struct etcd_txn_response **ret_response, struct etcd_error *error);
int etcd_compact(struct etcd_client *client, const struct etcd_compact_request *request,
                 struct etcd_header_response **ret_response, struct etcd_error *error);

/* ---- leases ---- */

struct etcd_lease_grant_request {
    int64_t ttl_s;
    int64_t id; /* 0: the server chooses */
};
struct etcd_lease_grant_response {
    struct etcd_header header;
    int64_t id;
    int64_t ttl_s;
};
struct etcd_lease_revoke_request {
    int64_t id;
};
struct etcd_lease_ttl_request {
    int64_t id;
    bool keys;
};
struct etcd_lease_ttl_response {
    struct etcd_header header;
    int64_t id;
    int64_t ttl_s; /* -1: there is no such lease */
    int64_t granted_ttl_s;
    const struct etcd_bytes *keys;
    size_t key_count;
};
struct etcd_lease_list_response {
    struct etcd_header header;
    const int64_t *ids;
    size_t id_count;
};
struct etcd_lease_keepalive_response {
    struct etcd_header header;
    int64_t id;
    int64_t ttl_s;
};

int etcd_lease_grant(struct etcd_client *client, const struct etcd_lease_grant_request *request,
                     struct etcd_lease_grant_response **ret_response, struct etcd_error *error);
int etcd_lease_revoke(struct etcd_client *client, const struct etcd_lease_revoke_request *request,
                      struct etcd_header_response **ret_response, struct etcd_error *error);
int etcd_lease_ttl(struct etcd_client *client, const struct etcd_lease_ttl_request *request,
                   struct etcd_lease_ttl_response **ret_response, struct etcd_error *error);
int etcd_lease_list(struct etcd_client *client, struct etcd_lease_list_response **ret_response,
                    struct etcd_error *error);
/* ETCD_NOT_FOUND "etcdserver: requested lease not found" when there is none. */
int etcd_lease_keepalive_once(struct etcd_client *client, int64_t id,
                              struct etcd_lease_keepalive_response **ret_response, struct etcd_error *error);

/* Renewal of a lease every third of its TTL, over reconnections, until closed or until the lease is gone. */
struct etcd_keepalive;

/* `response` is NULL at the end, when `error` says why: ETCD_NOT_FOUND when the lease does not exist (any more), also
 * when no server could be reached for the lease's whole TTL. After that nothing more is called; close is still due. */
typedef void (*etcd_keepalive_callback)(void *context, const struct etcd_lease_keepalive_response *response,
                                        const struct etcd_error *error);

/* The first renewal goes out at once. With a callback answers go to it; without (NULL) they wait for
 * etcd_keepalive_next, the newest only. Never fails. */
struct etcd_keepalive *etcd_keepalive_open(struct etcd_client *client, int64_t lease_id,
                                           etcd_keepalive_callback callback, void *context);
/* Waits for the next answer. ETCD_DEADLINE_EXCEEDED when none came in `timeout_ms` (negative: waits without end);
 * other errors are the end, as above, and come again with every call. */
int etcd_keepalive_next(struct etcd_keepalive *keepalive, int64_t timeout_ms,
                        struct etcd_lease_keepalive_response *ret_response, struct etcd_error *error);
/* Stops renewing; the lease runs out by itself. NULL is allowed. */
void etcd_keepalive_close(struct etcd_keepalive *keepalive);

/* ---- watches ---- */

/* Many watches over one stream. When the connection breaks, the stream is made anew, at whatever endpoint, and every
 * watch goes on at the revision after the last one delivered: no event is missing, none comes twice. */
struct etcd_watch_stream;

enum etcd_event_type { ETCD_EVENT_PUT, ETCD_EVENT_DELETE };

struct etcd_event {
    enum etcd_event_type type;
    struct etcd_kv kv;             /* of a deletion: key and mod_revision */
    const struct etcd_kv *prev_kv; /* NULL: not asked for, none, or compacted */
};

struct etcd_watch_request {
    struct etcd_bytes key;
    struct etcd_bytes range_end;
    int64_t start_revision; /* 0: from now on */
    bool prev_kv;
    bool progress_notify; /* also tell of the revision when there is nothing to tell */
    bool fragment;        /* let the server cut large answers; they are put together again before delivery */
    bool created_notify;  /* deliver the answer to the creation (the first one only, not after reconnections) */
    bool no_put;
    bool no_delete;
};

/* What is delivered: events of one or more whole revisions in order, or news of the watch. */
struct etcd_watch_response {
    struct etcd_header header;
    int64_t watch; /* which one; -1: the answer to etcd_watch_request_progress */
    bool created;
    bool canceled;             /* this watch has ended; code and cancel_reason say why */
    int code;                  /* with canceled: ETCD_CANCELED by etcd_watch_cancel, ETCD_OUT_OF_RANGE compacted, ... */
    const char *cancel_reason; /* with canceled: the server's words, never NULL */
    int64_t compact_revision;  /* with canceled: the oldest revision that can be watched from, or 0 */
    const struct etcd_event *events;
    size_t event_count; /* 0, neither created nor canceled: progress, header.revision has been reached */
};

/* `response` lives until the callback returns. It is NULL when the stream as a whole has ended for good: `error` says
 * why; nothing more is called after that; close is still due. */
typedef void (*etcd_watch_callback)(void *context, const struct etcd_watch_response *response,
                                    const struct etcd_error *error);

struct etcd_watch_stream_options {
    bool require_leader;          /* the server ends the watches when it loses its leader */
    etcd_watch_callback callback; /* NULL: answers wait for etcd_watch_next */
    void *context;
};

/* `options` may be NULL: all zero. Never fails. */
struct etcd_watch_stream *etcd_watch_open(struct etcd_client *client, const struct etcd_watch_stream_options *options);
/* Adds a watch and returns its number (counting from 0), without waiting: errors of the server come as a canceled
 * answer. */
int64_t etcd_watch_add(struct etcd_watch_stream *stream, const struct etcd_watch_request *request);
/* A last, canceled answer is still to come; then its number means nothing any more. Unknown numbers are ignored. */
void etcd_watch_cancel(struct etcd_watch_stream *stream, int64_t watch);
/* Asks the server for a progress answer, for the whole stream. Lost when the connection breaks before it comes. */
void etcd_watch_request_progress(struct etcd_watch_stream *stream);
/* Waits for the next answer (etcd_free it). ETCD_DEADLINE_EXCEEDED when none came in `timeout_ms` (negative: waits
 * without end); other errors are the end of the stream and come again with every call. */
int etcd_watch_next(struct etcd_watch_stream *stream, int64_t timeout_ms, struct etcd_watch_response **ret_response,
                    struct etcd_error *error);
/* Ends all its watches; nothing more is delivered. NULL is allowed. */
void etcd_watch_close(struct etcd_watch_stream *stream);

/* ---- members ---- */

struct etcd_member {
    uint64_t id;
    const char *name; /* "": not started yet */
    const char *const *peer_urls;
    size_t peer_url_count;
    const char *const *client_urls;
    size_t client_url_count;
    bool is_learner;
};

struct etcd_member_list_request {
    bool serializable; /* from the member's own knowledge */
};
struct etcd_member_add_request {
    const char *const *peer_urls;
    size_t peer_url_count;
    bool is_learner;
};
struct etcd_member_update_request {
    uint64_t id;
    const char *const *peer_urls;
    size_t peer_url_count;
};
struct etcd_member_id_request {
    uint64_t id;
};
struct etcd_members_response {
    struct etcd_header header;
    const struct etcd_member *member; /* the added one; else NULL */
    const struct etcd_member *members;
    size_t member_count;
};

int etcd_member_list(struct etcd_client *client, const struct etcd_member_list_request *request,
                     struct etcd_members_response **ret_response, struct etcd_error *error);
int etcd_member_add(struct etcd_client *client, const struct etcd_member_add_request *request,
                    struct etcd_members_response **ret_response, struct etcd_error *error);
int etcd_member_remove(struct etcd_client *client, const struct etcd_member_id_request *request,
                       struct etcd_members_response **ret_response, struct etcd_error *error);
int etcd_member_update(struct etcd_client *client, const struct etcd_member_update_request *request,
                       struct etcd_members_response **ret_response, struct etcd_error *error);
int etcd_member_promote(struct etcd_client *client, const struct etcd_member_id_request *request,
                        struct etcd_members_response **ret_response, struct etcd_error *error);

/* ---- maintenance: of the member that happens to be connected; give a client one endpoint to choose ---- */

struct etcd_status_response {
    struct etcd_header header;
    const char *version;
    int64_t db_size_bytes;
    int64_t db_size_in_use_bytes;
    uint64_t leader; /* 0: it knows of none */
    uint64_t raft_index;
    uint64_t raft_term;
    uint64_t raft_applied_index;
    const char *const *errors;
    size_t error_count;
    bool is_learner;
    /* of servers since 3.6, else "" and 0 */
    const char *storage_version;
    int64_t db_size_quota_bytes;
    bool downgrade_enabled;
    const char *downgrade_target_version;
};
struct etcd_hash_response {
    struct etcd_header header;
    uint32_t hash;
};
struct etcd_hash_kv_request {
    int64_t revision; /* 0: now */
};
struct etcd_hash_kv_response {
    struct etcd_header header;
    uint32_t hash;
    int64_t compact_revision;
    int64_t hash_revision; /* of servers since 3.6 */
};
enum etcd_alarm_action { ETCD_ALARM_GET, ETCD_ALARM_ACTIVATE, ETCD_ALARM_DEACTIVATE };
enum etcd_alarm_type { ETCD_ALARM_NONE, ETCD_ALARM_NOSPACE, ETCD_ALARM_CORRUPT };
struct etcd_alarm_request {
    enum etcd_alarm_action action;
    uint64_t member_id; /* 0: all */
    enum etcd_alarm_type alarm;
};
struct etcd_alarm {
    uint64_t member_id;
    enum etcd_alarm_type alarm;
};
struct etcd_alarm_response {
    struct etcd_header header;
    const struct etcd_alarm *alarms;
    size_t alarm_count;
};
struct etcd_move_leader_request {
    uint64_t target_id;
};

int etcd_status(struct etcd_client *client, struct etcd_status_response **ret_response, struct etcd_error *error);
int etcd_hash(struct etcd_client *client, struct etcd_hash_response **ret_response, struct etcd_error *error);
int etcd_hash_kv(struct etcd_client *client, const struct etcd_hash_kv_request *request,
                 struct etcd_hash_kv_response **ret_response, struct etcd_error *error);
int etcd_alarm(struct etcd_client *client, const struct etcd_alarm_request *request,
               struct etcd_alarm_response **ret_response, struct etcd_error *error);
/* May take long: raise the command timeout. */
int etcd_defragment(struct etcd_client *client, struct etcd_header_response **ret_response, struct etcd_error *error);
int etcd_move_leader(struct etcd_client *client, const struct etcd_move_leader_request *request,
                     struct etcd_header_response **ret_response, struct etcd_error *error);

/* Gets one piece of a snapshot; `remaining_bytes` come after it. The last piece is the SHA-256 of all before (32
 * bytes; the file that etcdctl writes has it at its end). `version` is the storage version, "" before 3.6. Not 0 ends
 * the snapshot with ETCD_CANCELED. */
typedef int (*etcd_snapshot_callback)(void *context, struct etcd_bytes piece, uint64_t remaining_bytes,
                                      const char *version);
/* `timeout_ms` is for the whole of it, 0: without end (the command timeout does not count). */
int etcd_snapshot(struct etcd_client *client, int64_t timeout_ms, etcd_snapshot_callback callback, void *context,
                  struct etcd_error *error);

/* ---- any method, in protobuf ---- */

struct etcd_raw_response {
    struct etcd_bytes message;
};

/* `method` is a path like "/etcdserverpb.Auth/UserAdd", `request` an encoded message. Methods that the library knows
 * to be repeatable are, others not. */
int etcd_call_raw(struct etcd_client *client, const char *method, struct etcd_bytes request,
                  struct etcd_raw_response **ret_response, struct etcd_error *error);

/* A stream to any method; never made anew. */
struct etcd_stream;

/* Returns at once; connecting and errors show in etcd_stream_next. */
struct etcd_stream *etcd_stream_open(struct etcd_client *client, const char *method);
/* Queues a message. */
void etcd_stream_send(struct etcd_stream *stream, struct etcd_bytes message);
/* No more messages from us. */
void etcd_stream_close_send(struct etcd_stream *stream);
/* Waits for the next message (etcd_free it). At the end of the stream ETCD_OK with *ret_response NULL, or the error it
 * ended with. ETCD_DEADLINE_EXCEEDED with an empty error text when none came in `timeout_ms` (negative: waits without
 * end). */
int etcd_stream_next(struct etcd_stream *stream, int64_t timeout_ms, struct etcd_raw_response **ret_response,
                     struct etcd_error *error);
void etcd_stream_close(struct etcd_stream *stream);

/* ---- calls without waiting ---- */

/* Which call, with the struct of its request (NULL where there is none) and of its response. */
enum etcd_method {
    ETCD_METHOD_RANGE,                /* etcd_range_request, etcd_range_response */
    ETCD_METHOD_PUT,                  /* etcd_put_request, etcd_put_response */
    ETCD_METHOD_DELETE,               /* etcd_delete_request, etcd_delete_response */
    ETCD_METHOD_TXN,                  /* etcd_txn_request, etcd_txn_response */
    ETCD_METHOD_COMPACT,              /* etcd_compact_request, etcd_header_response */
    ETCD_METHOD_LEASE_GRANT,          /* etcd_lease_grant_request, etcd_lease_grant_response */
    ETCD_METHOD_LEASE_REVOKE,         /* etcd_lease_revoke_request, etcd_header_response */
    ETCD_METHOD_LEASE_TTL,            /* etcd_lease_ttl_request, etcd_lease_ttl_response */
    ETCD_METHOD_LEASE_LIST,           /* NULL, etcd_lease_list_response */
    ETCD_METHOD_LEASE_KEEPALIVE_ONCE, /* const int64_t *id, etcd_lease_keepalive_response */
    ETCD_METHOD_MEMBER_LIST,          /* etcd_member_list_request, etcd_members_response */
    ETCD_METHOD_MEMBER_ADD,           /* etcd_member_add_request, etcd_members_response */
    ETCD_METHOD_MEMBER_REMOVE,        /* etcd_member_id_request, etcd_members_response */
    ETCD_METHOD_MEMBER_UPDATE,        /* etcd_member_update_request, etcd_members_response */
    ETCD_METHOD_MEMBER_PROMOTE,       /* etcd_member_id_request, etcd_members_response */
    ETCD_METHOD_STATUS,               /* NULL, etcd_status_response */
    ETCD_METHOD_HASH,                 /* NULL, etcd_hash_response */
    ETCD_METHOD_HASH_KV,              /* etcd_hash_kv_request, etcd_hash_kv_response */
    ETCD_METHOD_ALARM,                /* etcd_alarm_request, etcd_alarm_response */
    ETCD_METHOD_DEFRAGMENT,           /* NULL, etcd_header_response */
    ETCD_METHOD_MOVE_LEADER,          /* etcd_move_leader_request, etcd_header_response */
};

struct etcd_call;

/* Called once, never from inside etcd_call_start. `response` is NULL on an error; else it is the callee's to
 * etcd_free. */
typedef void (*etcd_call_callback)(void *context, void *response, const struct etcd_error *error);

/* The call object is valid until the callback is called or the call is canceled. `request` need not outlive this. */
struct etcd_call *etcd_call_start(struct etcd_client *client, enum etcd_method method, const void *request,
                                  etcd_call_callback callback, void *context);
struct etcd_call *etcd_call_start_raw(struct etcd_client *client, const char *method, struct etcd_bytes request,
                                      etcd_call_callback callback, void *context);
/* The callback is not called; the server may have done it nonetheless. */
void etcd_call_cancel(struct etcd_call *call);

#ifdef __cplusplus
}
#endif

#endif
