/* api.c - the calls of etcd/client.h that wait for their answer, one like the other. */
#include "etcdclient/etcdclient.h"

#include "base/check.h"
#include "base/mem.h"
#include "client/calls.h"
#include "client/keepalive.h"
#include "client/watch.h"
#include "env/env.h"

#include <stdio.h>

#define MS_NS INT64_C(1000000)

const char *etcd_code_name(int code) {
    static const char *const names[] = {
        "OK",       "Canceled",        "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",   "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",      "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated",
    };
    static _Thread_local char unknown[24];
    if (code >= 0 && (size_t)code < sizeof(names) / sizeof(names[0])) return names[code];
    snprintf(unknown, sizeof(unknown), "Code(%d)", code);
    return unknown;
}

struct etcd_bytes etcd_prefix_end(struct etcd_bytes prefix, void *out) {
    uint8_t *end = out;
    if (prefix.len > 0) memcpy(end, prefix.data, prefix.len);
    for (size_t len = prefix.len; len > 0; len--) {
        if (end[len - 1] == 0xff) continue;
        end[len - 1]++;
        return etcd_bytes_of(end, len);
    }
    return ETCD_FROM_KEY;
}

void etcd_free(const void *response) { client_response_free(response); }

/* For whoever begins something: the next turn has to come soon. */
static struct client *core_of(struct etcd_client *client) {
    client->has_work = true;
    return client->core;
}

/* ---- waiting for one answer ---- */

struct wait {
    bool done;
    void *response;
    struct etcd_error error; /* code ETCD_OK: response is set */
};

static void on_done(void *context, void *response, const struct etcd_error *error) {
    struct wait *wait = context;
    wait->done = true;
    wait->response = response;
    if (error != NULL) wait->error = *error;
}

static int wait_for(struct etcd_client *client, struct wait *wait, void **ret_response, struct etcd_error *error) {
    while (!wait->done) etcdclient_turn(client, INT64_MAX);
    if (wait->error.code != ETCD_OK) {
        if (error != NULL) *error = wait->error;
        return wait->error.code;
    }
    if (ret_response != NULL)
        *ret_response = wait->response;
    else
        etcd_free(wait->response);
    return ETCD_OK;
}

/* `ret_response` points to a pointer to the method's response struct, or is NULL. */
static int call(struct etcd_client *client, enum etcd_method method, const void *request, void *ret_response,
                struct etcd_error *error) {
    struct wait wait = {0};
    void *response;
    client_call_start(core_of(client), method, request, on_done, &wait);
    int code = wait_for(client, &wait, ret_response != NULL ? &response : NULL, error);
    if (code == ETCD_OK && ret_response != NULL) memcpy(ret_response, &response, sizeof(response));
    return code;
}

int etcd_range(struct etcd_client *client, const struct etcd_range_request *request,
               struct etcd_range_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_RANGE, request, ret_response, error);
}

int etcd_put(struct etcd_client *client, const struct etcd_put_request *request,
             struct etcd_put_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_PUT, request, ret_response, error);
}

int etcd_delete(struct etcd_client *client, const struct etcd_delete_request *request,
                struct etcd_delete_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_DELETE, request, ret_response, error);
}

int etcd_txn(struct etcd_client *client, const struct etcd_txn_request *request,
             struct etcd_txn_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_TXN, request, ret_response, error);
}

int etcd_compact(struct etcd_client *client, const struct etcd_compact_request *request,
                 struct etcd_header_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_COMPACT, request, ret_response, error);
}

int etcd_lease_grant(struct etcd_client *client, const struct etcd_lease_grant_request *request,
                     struct etcd_lease_grant_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_LEASE_GRANT, request, ret_response, error);
}

int etcd_lease_revoke(struct etcd_client *client, const struct etcd_lease_revoke_request *request,
                      struct etcd_header_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_LEASE_REVOKE, request, ret_response, error);
}

int etcd_lease_ttl(struct etcd_client *client, const struct etcd_lease_ttl_request *request,
                   struct etcd_lease_ttl_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_LEASE_TTL, request, ret_response, error);
}

int etcd_lease_list(struct etcd_client *client, struct etcd_lease_list_response **ret_response,
                    struct etcd_error *error) {
    return call(client, ETCD_METHOD_LEASE_LIST, NULL, ret_response, error);
}

int etcd_lease_keepalive_once(struct etcd_client *client, int64_t id,
                              struct etcd_lease_keepalive_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_LEASE_KEEPALIVE_ONCE, &id, ret_response, error);
}

int etcd_member_list(struct etcd_client *client, const struct etcd_member_list_request *request,
                     struct etcd_members_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_MEMBER_LIST, request, ret_response, error);
}

int etcd_member_add(struct etcd_client *client, const struct etcd_member_add_request *request,
                    struct etcd_members_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_MEMBER_ADD, request, ret_response, error);
}

int etcd_member_remove(struct etcd_client *client, const struct etcd_member_id_request *request,
                       struct etcd_members_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_MEMBER_REMOVE, request, ret_response, error);
}

int etcd_member_update(struct etcd_client *client, const struct etcd_member_update_request *request,
                       struct etcd_members_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_MEMBER_UPDATE, request, ret_response, error);
}

int etcd_member_promote(struct etcd_client *client, const struct etcd_member_id_request *request,
                        struct etcd_members_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_MEMBER_PROMOTE, request, ret_response, error);
}

int etcd_status(struct etcd_client *client, struct etcd_status_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_STATUS, NULL, ret_response, error);
}

int etcd_hash(struct etcd_client *client, struct etcd_hash_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_HASH, NULL, ret_response, error);
}

int etcd_hash_kv(struct etcd_client *client, const struct etcd_hash_kv_request *request,
                 struct etcd_hash_kv_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_HASH_KV, request, ret_response, error);
}

int etcd_alarm(struct etcd_client *client, const struct etcd_alarm_request *request,
               struct etcd_alarm_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_ALARM, request, ret_response, error);
}

int etcd_defragment(struct etcd_client *client, struct etcd_header_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_DEFRAGMENT, NULL, ret_response, error);
}

int etcd_move_leader(struct etcd_client *client, const struct etcd_move_leader_request *request,
                     struct etcd_header_response **ret_response, struct etcd_error *error) {
    return call(client, ETCD_METHOD_MOVE_LEADER, request, ret_response, error);
}

int etcd_call_raw(struct etcd_client *client, const char *method, struct etcd_bytes request,
                  struct etcd_raw_response **ret_response, struct etcd_error *error) {
    struct wait wait = {0};
    void *response;
    client_call_start_raw(core_of(client), method, request, on_done, &wait);
    int code = wait_for(client, &wait, ret_response != NULL ? &response : NULL, error);
    if (code == ETCD_OK && ret_response != NULL) *ret_response = response;
    return code;
}

struct etcd_call *etcd_call_start(struct etcd_client *client, enum etcd_method method, const void *request,
                                  etcd_call_callback callback, void *context) {
    return client_call_start(core_of(client), method, request, callback, context);
}

struct etcd_call *etcd_call_start_raw(struct etcd_client *client, const char *method, struct etcd_bytes request,
                                      etcd_call_callback callback, void *context) {
    return client_call_start_raw(core_of(client), method, request, callback, context);
}

void etcd_call_cancel(struct etcd_call *canceled) { client_call_cancel(canceled); }

/* ---- waiting for the next of many ---- */

/* A point in time to wait for; INT64_MAX: for ever. */
static int64_t deadline_of(struct etcd_client *client, int64_t timeout_ms) {
    if (timeout_ms < 0) return INT64_MAX;
    return env_now_ns(client_env(client->core)) + timeout_ms * MS_NS;
}

/* Runs the loop once, at most until the deadline. False: it has passed. */
static bool wait_until(struct etcd_client *client, int64_t deadline_ns) {
    etcdclient_turn(client, deadline_ns);
    return deadline_ns == INT64_MAX || env_now_ns(client_env(client->core)) < deadline_ns;
}

static int nothing_came(struct etcd_error *error) {
    return client_error_set(error, ETCD_DEADLINE_EXCEEDED, SLICE_NONE, "");
}

struct etcd_keepalive *etcd_keepalive_open(struct etcd_client *client, int64_t lease_id,
                                           etcd_keepalive_callback callback, void *context) {
    core_of(client);
    return client_keepalive_open(client->renewals, lease_id, callback, context);
}

int etcd_keepalive_next(struct etcd_keepalive *keepalive, int64_t timeout_ms,
                        struct etcd_lease_keepalive_response *ret_response, struct etcd_error *error) {
    struct etcd_client *client = etcdclient_of(client_keepalive_client(keepalive));
    int64_t deadline_ns = deadline_of(client, timeout_ms);
    int code;
    for (bool in_time = true; !client_keepalive_take(keepalive, ret_response, &code, error);) {
        if (!in_time) return nothing_came(error);
        in_time = wait_until(client, deadline_ns);
    }
    return code;
}

void etcd_keepalive_close(struct etcd_keepalive *keepalive) { client_keepalive_close(keepalive); }

struct etcd_watch_stream *etcd_watch_open(struct etcd_client *client, const struct etcd_watch_stream_options *options) {
    return client_watch_open(core_of(client), options);
}

int64_t etcd_watch_add(struct etcd_watch_stream *stream, const struct etcd_watch_request *request) {
    core_of(etcdclient_of(client_watch_client(stream)));
    return client_watch_add(stream, request);
}

void etcd_watch_cancel(struct etcd_watch_stream *stream, int64_t watch) {
    core_of(etcdclient_of(client_watch_client(stream)));
    client_watch_cancel(stream, watch);
}

void etcd_watch_request_progress(struct etcd_watch_stream *stream) {
    core_of(etcdclient_of(client_watch_client(stream)));
    client_watch_request_progress(stream);
}

int etcd_watch_next(struct etcd_watch_stream *stream, int64_t timeout_ms, struct etcd_watch_response **ret_response,
                    struct etcd_error *error) {
    struct etcd_client *client = etcdclient_of(client_watch_client(stream));
    int64_t deadline_ns = deadline_of(client, timeout_ms);
    int code;
    for (bool in_time = true; !client_watch_take(stream, ret_response, &code, error);) {
        if (!in_time) return nothing_came(error);
        in_time = wait_until(client, deadline_ns);
    }
    return code;
}

void etcd_watch_close(struct etcd_watch_stream *stream) { client_watch_close(stream); }

struct etcd_stream *etcd_stream_open(struct etcd_client *client, const char *method) {
    return client_stream_open(core_of(client), method, 0);
}

void etcd_stream_send(struct etcd_stream *stream, struct etcd_bytes message) {
    core_of(etcdclient_of(client_stream_client(stream)));
    client_stream_send(stream, message);
}

void etcd_stream_close_send(struct etcd_stream *stream) {
    core_of(etcdclient_of(client_stream_client(stream)));
    client_stream_close_send(stream);
}

int etcd_stream_next(struct etcd_stream *stream, int64_t timeout_ms, struct etcd_raw_response **ret_response,
                     struct etcd_error *error) {
    struct etcd_client *client = etcdclient_of(client_stream_client(stream));
    int64_t deadline_ns = deadline_of(client, timeout_ms);
    int code;
    for (bool in_time = true; !client_stream_take(stream, ret_response, &code, error);) {
        if (!in_time) return nothing_came(error);
        in_time = wait_until(client, deadline_ns);
    }
    return code;
}

void etcd_stream_close(struct etcd_stream *stream) { client_stream_close(stream); }

/* ---- snapshot ---- */

static int pass_on(const struct etcd_raw_response *message, etcd_snapshot_callback callback, void *context,
                   struct etcd_error *error) {
    struct arena scratch;
    struct etcd_bytes piece;
    uint64_t remaining_bytes;
    const char *version;
    int code = ETCD_OK;
    arena_init(&scratch, 0);
    if (!client_decode_snapshot(client_slice(message->message), &scratch, &piece, &remaining_bytes, &version))
        code =
            client_error_set(error, ETCD_INTERNAL, SLICE_LITERAL("grpc: failed to unmarshal the received message"), "");
    else if (callback(context, piece, remaining_bytes, version) != 0)
        code = client_error_set(error, ETCD_CANCELED, SLICE_LITERAL("context canceled"), "");
    arena_release(&scratch);
    return code;
}

int etcd_snapshot(struct etcd_client *client, int64_t timeout_ms, etcd_snapshot_callback callback, void *context,
                  struct etcd_error *error) {
    struct etcd_stream *stream =
        client_stream_open(core_of(client), "/etcdserverpb.Maintenance/Snapshot", timeout_ms * MS_NS);
    client_stream_send(stream, etcd_bytes_of(NULL, 0)); /* SnapshotRequest has no fields */
    client_stream_close_send(stream);
    int code;
    for (;;) {
        struct etcd_raw_response *message;
        code = etcd_stream_next(stream, -1, &message, error);
        if (code != ETCD_OK || message == NULL) break;
        code = pass_on(message, callback, context, error);
        etcd_free(message);
        if (code != ETCD_OK) break;
    }
    etcd_stream_close(stream);
    return code;
}
