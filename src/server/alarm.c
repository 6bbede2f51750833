/* alarm.c - alarms and quota.
 *
 * An alarm is raised and taken back by raft entries, so every member refuses the same requests from the same index on.
 * The quota is looked at before proposing, against the local database. Rules: spec/apply.md 5. */
#include "base/bytes.h"
#include "base/gotext.h"
#include "mvcc/txn.h"
#include "server/internal.h"

#include "pb/arena_pb.h"

#define ALARM_NONE 0
#define ALARM_NOSPACE 1
#define ALARM_CORRUPT 2

/* What a put costs beyond its key and value; a lease. */
#define PUT_OVERHEAD_BYTES 256
#define LEASE_OVERHEAD_BYTES 64

/* The alarm bucket's key, and an element of AlarmResponse: AlarmMember {memberID = 1, alarm = 2}. */
static size_t encode_alarm(uint8_t out[2 * (1 + VARINT_MAX_BYTES)], struct server_alarm alarm) {
    uint8_t *at = out;
    if (alarm.member_id != 0) {
        *at++ = 1 << 3;
        at += varint_store(at, alarm.member_id);
    }
    if (alarm.type != 0) {
        *at++ = 2 << 3;
        at += varint_store(at, (uint64_t)(int64_t)alarm.type);
    }
    return (size_t)(at - out);
}

static int compare_alarms(struct server_alarm a, struct server_alarm b) {
    uint8_t x[22], y[22];
    size_t x_len = encode_alarm(x, a), y_len = encode_alarm(y, b);
    return slice_compare(slice_make(x, x_len), slice_make(y, y_len));
}

/* Index of the alarm, or where it belongs. */
static size_t find_alarm(const struct server *self, struct server_alarm alarm, bool *ret_found) {
    size_t i = 0;
    while (i < self->alarms.count && compare_alarms(self->alarms.items[i], alarm) < 0) i++;
    *ret_found = i < self->alarms.count && compare_alarms(self->alarms.items[i], alarm) == 0;
    return i;
}

static bool insert_alarm(struct server *self, struct server_alarm alarm) {
    bool found;
    size_t at = find_alarm(self, alarm, &found);
    if (found) return false;
    VEC_RESERVE(&self->alarms, 1);
    memmove(&self->alarms.items[at + 1], &self->alarms.items[at],
            (self->alarms.count - at) * sizeof *self->alarms.items);
    self->alarms.items[at] = alarm;
    self->alarms.count++;
    return true;
}

static size_t count_of_type(const struct server *self, int32_t type) {
    size_t count = 0;
    for (size_t i = 0; i < self->alarms.count; i++) count += self->alarms.items[i].type == type;
    return count;
}

static void append_alarm(struct buf *out, struct server_alarm alarm) {
    uint8_t encoded[22];
    size_t len = encode_alarm(encoded, alarm);
    buf_append_byte(out, 2 << 3 | 2);
    buf_append_varint(out, len);
    buf_append(out, encoded, len);
}

static const char *alarm_name(int32_t type) {
    return type == ALARM_NOSPACE ? "NOSPACE" : type == ALARM_CORRUPT ? "CORRUPT" : "NONE";
}

void server__alarms_restore(struct server *self) {
    backend_create_bucket(self->backend, BACKEND_ALARM);
    self->alarms.count = 0;
    struct backend_view *view = backend_view(self->backend, BACKEND_VIEW_ALL);
    struct backend_cursor cursor;
    backend_cursor_init(&cursor, view, BACKEND_ALARM);
    struct slice key, value;
    while (backend_cursor_next(&cursor, &key, &value)) {
        const Etcdserverpb__AlarmMember *found =
            pb_unpack(&etcdserverpb__alarm_member__descriptor, key, &self->apply_arena);
        if (found != NULL) insert_alarm(self, (struct server_alarm){found->memberid, (int32_t)found->alarm});
    }
    backend_view_unref(view);
    arena_reset(&self->apply_arena);
    self->nospace_is_active = count_of_type(self, ALARM_NOSPACE) > 0;
    self->corrupt_is_active = count_of_type(self, ALARM_CORRUPT) > 0;
}

static void activate(struct server *self, struct server_alarm alarm, struct buf *out) {
    if (alarm.type == ALARM_NONE) return;
    append_alarm(out, alarm);
    if (!insert_alarm(self, alarm)) return;
    uint8_t key[22];
    size_t len = encode_alarm(key, alarm);
    backend_put(self->backend, BACKEND_ALARM, slice_make(key, len), SLICE_NONE);
    log_warn(self->log, "alarm raised", LOG_STRING("alarm", alarm_name(alarm.type)),
             LOG_HEX_ID("from", alarm.member_id));
    if (alarm.type == ALARM_NOSPACE) self->nospace_is_active = true;
    if (alarm.type == ALARM_CORRUPT) self->corrupt_is_active = true;
}

/* 3.5's quirk: when the last alarm of one type goes, requests are refused for neither any more. */
static void deactivate(struct server *self, struct server_alarm alarm, struct buf *out) {
    bool found;
    size_t at = find_alarm(self, alarm, &found);
    if (!found) return;
    append_alarm(out, alarm);
    self->alarms.count--;
    memmove(&self->alarms.items[at], &self->alarms.items[at + 1],
            (self->alarms.count - at) * sizeof *self->alarms.items);
    uint8_t key[22];
    size_t len = encode_alarm(key, alarm);
    backend_delete(self->backend, BACKEND_ALARM, slice_make(key, len));
    if (count_of_type(self, alarm.type) > 0) return;
    if (alarm.type == ALARM_NOSPACE || alarm.type == ALARM_CORRUPT) {
        log_warn(self->log, "alarm disarmed", LOG_STRING("alarm", alarm_name(alarm.type)),
                 LOG_HEX_ID("from", alarm.member_id));
        self->nospace_is_active = self->corrupt_is_active = false;
    }
}

enum err server__apply_alarm(struct server *self, const void *message, struct buf *out) {
    const Etcdserverpb__AlarmRequest *request = message;
    struct server_alarm alarm = {request->memberid, (int32_t)request->alarm};
    switch ((int)request->action) {
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET:
        for (size_t i = 0; i < self->alarms.count; i++)
            if (alarm.type == ALARM_NONE || self->alarms.items[i].type == alarm.type)
                append_alarm(out, self->alarms.items[i]);
        return OK;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE: activate(self, alarm, out); return OK;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE: deactivate(self, alarm, out); return OK;
    default: return ERR_INVALID_ALARM;
    }
}

size_t server_alarms(const struct server *self, const struct server_alarm **ret_alarms) {
    *ret_alarms = self->alarms.items;
    return self->alarms.count;
}

/* ---- what an operation costs ---- */

static uint64_t put_cost(const Etcdserverpb__PutRequest *put) {
    return PUT_OVERHEAD_BYTES + put->key.len + put->value.len;
}

static uint64_t txn_cost(const Etcdserverpb__TxnRequest *txn);

static uint64_t branch_cost(Etcdserverpb__RequestOp *const *ops, size_t count) {
    uint64_t cost = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            cost += put_cost(ops[i]->request_put);
        else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            cost += txn_cost(ops[i]->request_txn);
    }
    return cost;
}

static uint64_t txn_cost(const Etcdserverpb__TxnRequest *txn) {
    uint64_t success = branch_cost(txn->success, txn->n_success);
    uint64_t failure = branch_cost(txn->failure, txn->n_failure);
    return success > failure ? success : failure;
}

static uint64_t cost_of(enum server_op op, const void *message) {
    switch (op) {
    case SERVER_OP_PUT: return put_cost(message);
    case SERVER_OP_TXN: return txn_cost(message);
    case SERVER_OP_LEASE_GRANT: return LEASE_OVERHEAD_BYTES;
    default: return 0;
    }
}

enum err server__alarm_check(const struct server *self, enum server_op op, const void *message) {
    if (self->corrupt_is_active && op != SERVER_OP_ALARM && op < SERVER_OP_LEASE_CHECKPOINT) return ERR_CORRUPT_CLUSTER;
    if (self->nospace_is_active && cost_of(op, message) > 0) return ERR_NO_SPACE;
    return OK;
}

void server__quota_init(struct server *self) {
    const struct server_config *config = &self->config;
    struct buf size = BUF_INIT, maximum = BUF_INIT;
    if (config->quota_backend_bytes < 0) {
        self->quota_bytes = 0;
        log_info(self->log, "disabled backend quota", LOG_STRING("quota-name", "v3-applier"),
                 LOG_INT("quota-size-bytes", config->quota_backend_bytes));
    } else {
        bool is_default = config->quota_backend_bytes == 0;
        self->quota_bytes = is_default ? SERVER_DEFAULT_QUOTA_BYTES : config->quota_backend_bytes;
        go_append_humanized_bytes(&size, (uint64_t)self->quota_bytes);
        go_append_humanized_bytes(&maximum, (uint64_t)SERVER_MAX_QUOTA_BYTES);
        if (self->quota_bytes > SERVER_MAX_QUOTA_BYTES)
            log_warn(self->log, "quota exceeds the maximum value", LOG_STRING("quota-name", "v3-applier"),
                     LOG_INT("quota-size-bytes", self->quota_bytes), LOG_STRING("quota-size", buf_cstr(&size)),
                     LOG_INT("quota-maximum-size-bytes", SERVER_MAX_QUOTA_BYTES),
                     LOG_STRING("quota-maximum-size", buf_cstr(&maximum)));
        log_info(self->log, is_default ? "enabled backend quota with default value" : "enabled backend quota",
                 LOG_STRING("quota-name", "v3-applier"), LOG_INT("quota-size-bytes", self->quota_bytes),
                 LOG_STRING("quota-size", buf_cstr(&size)));
    }
    buf_release(&size);
    buf_release(&maximum);
}

bool server__has_alarm(const struct server *self, int32_t type) { return count_of_type(self, type) > 0; }

void server__raise_alarm(struct server *self, int32_t type) {
    Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
    alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    alarm.memberid = self->member_id;
    alarm.alarm = (Etcdserverpb__AlarmType)type;
    server__propose_message(self, SERVER_OP_ALARM, &alarm);
}

static bool has_no_spare(const struct server *self) { return self->saver.spare_error == ERR_NO_DISK_SPACE; }

bool server__disk_is_full(const struct server *self) { return backend_is_full(self->backend) || has_no_spare(self); }

/* The rest of the last segment is for the member's own entries: without room for those it must stop. */
static bool is_log_full(const struct server *self) {
    int64_t segment_bytes = self->config.wal_segment_bytes != 0 ? self->config.wal_segment_bytes : WAL_SEGMENT_BYTES;
    return has_no_spare(self) && self->saver.room_bytes < segment_bytes / 4;
}

/* Users and roles are in the database too; etcd adds them beyond the quota. At apply they cost nothing: there members
 * must agree, Go's among them. */
static uint64_t auth_cost(enum server_op op, const void *message) {
    switch (op) {
    case SERVER_OP_AUTH_USER_ADD:
    case SERVER_OP_AUTH_USER_GRANT_ROLE:
    case SERVER_OP_AUTH_ROLE_ADD:
    case SERVER_OP_AUTH_ROLE_GRANT_PERMISSION: return pb_packed_size(message);
    default: return 0;
    }
}

/* A full disk needs no alarm that somebody must disarm: writes go on when there is room. */
enum err server__quota_check(struct server *self, enum server_op op, const void *message) {
    uint64_t cost = cost_of(op, message) + auth_cost(op, message);
    if ((cost > 0 && server__disk_is_full(self)) || is_log_full(self)) return ERR_NO_SPACE;
    if (self->quota_bytes == 0) return OK;
    if (cost == 0 || backend_size_bytes(self->backend) + cost < (uint64_t)self->quota_bytes) return OK;
    struct buf size = BUF_INIT;
    go_append_humanized_bytes(&size, (uint64_t)self->quota_bytes);
    log_warn(self->log, "message exceeded backend quota; raising alarm", LOG_INT("quota-size-bytes", self->quota_bytes),
             LOG_STRING("quota-size", buf_cstr(&size)), LOG_STRING("error", "etcdserver: no space"));
    buf_release(&size);
    server__raise_alarm(self, ALARM_NOSPACE);
    return ERR_NO_SPACE;
}
