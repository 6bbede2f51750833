/* Answers that are printed as their message is: the simple and the fields form of each. */
#include "etcdctl/printer.h"

#include "base/arena.h"
#include "base/gotext.h"
#include "etcdctl/printer_parts.h"
#include "etcdctl/requests.h"
#include "pb/arena_pb.h"

/* ---- parts ---- */

void part_header(struct buf *out, const Etcdserverpb__ResponseHeader *header) {
    buf_printf(out, "\"ClusterID\" : %llu\n\"MemberID\" : %llu\n\"Revision\" : %lld\n\"RaftTerm\" : %llu\n",
               header ? (unsigned long long)header->cluster_id : 0, header ? (unsigned long long)header->member_id : 0,
               header ? (long long)header->revision : 0, header ? (unsigned long long)header->raft_term : 0);
}

void part_quoted(struct buf *out, const char *name, struct slice text) {
    buf_printf(out, "\"%s\" : ", name);
    go_append_quoted(out, text);
    buf_append_byte(out, '\n');
}

static void append_bytes_line(const struct printer *self, ProtobufCBinaryData bytes) {
    if (self->hex)
        for (size_t i = 0; i < bytes.len; i++) buf_printf(self->out, "\\x%02x", bytes.data[i]);
    else
        buf_append(self->out, bytes.data, bytes.len);
    buf_append_byte(self->out, '\n');
}

void part_kv(const struct printer *self, const Mvccpb__KeyValue *kv) {
    if (!self->value_only) append_bytes_line(self, kv->key);
    append_bytes_line(self, kv->value);
}

void part_kv_fields(struct buf *out, const char *prefix, const Mvccpb__KeyValue *kv) {
    buf_printf(out, "\"%sKey\" : ", prefix);
    go_append_quoted(out, pb_slice(kv->key));
    buf_printf(
        out, "\n\"%sCreateRevision\" : %lld\n\"%sModRevision\" : %lld\n\"%sVersion\" : %lld\n\"%sValue\" : ", prefix,
        (long long)kv->create_revision, prefix, (long long)kv->mod_revision, prefix, (long long)kv->version, prefix);
    go_append_quoted(out, pb_slice(kv->value));
    buf_printf(out, "\n\"%sLease\" : %lld\n", prefix, (long long)kv->lease);
}

/* ---- keys ---- */

static void range_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__RangeResponse *response = message;
    for (size_t i = 0; i < response->n_kvs; i++) part_kv(self, response->kvs[i]);
}

static void range_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__RangeResponse *response = message;
    part_header(self->out, response->header);
    for (size_t i = 0; i < response->n_kvs; i++) part_kv_fields(self->out, "", response->kvs[i]);
    buf_printf(self->out, "\"More\" : %s\n\"Count\" : %lld\n", response->more ? "true" : "false",
               (long long)response->count);
}

const struct view view_range = {range_simple, range_fields};

static void put_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__PutResponse *response = message;
    buf_append_cstr(self->out, "OK\n");
    if (response->prev_kv) part_kv(self, response->prev_kv);
}

static void put_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__PutResponse *response = message;
    part_header(self->out, response->header);
    if (response->prev_kv) part_kv_fields(self->out, "Prev", response->prev_kv);
}

const struct view view_put = {put_simple, put_fields};

static void delete_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__DeleteRangeResponse *response = message;
    buf_printf(self->out, "%lld\n", (long long)response->deleted);
    for (size_t i = 0; i < response->n_prev_kvs; i++) part_kv(self, response->prev_kvs[i]);
}

static void delete_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__DeleteRangeResponse *response = message;
    part_header(self->out, response->header);
    buf_printf(self->out, "\"Deleted\" : %lld\n", (long long)response->deleted);
    for (size_t i = 0; i < response->n_prev_kvs; i++) part_kv_fields(self->out, "Prev", response->prev_kvs[i]);
}

const struct view view_delete = {delete_simple, delete_fields};

/* Transactions nest; the decoder bounds how deep. */
static void txn_responses(const struct printer *self, const Etcdserverpb__TxnResponse *response, const void *context) {
    bool fields = self->format == OUTPUT_FIELDS;
    for (size_t i = 0; i < response->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = response->responses[i];
        const struct view *view = NULL;
        switch (op->response_case) {
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE: view = &view_range; break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT: view = &view_put; break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE: view = &view_delete; break;
        case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN: view = &view_txn; break;
        default: break;
        }
        if (!fields) buf_append_byte(self->out, '\n');
        if (view)
            (fields ? view->fields : view->simple)(self, op->response_range, context);
        else if (!fields)
            buf_printf(self->out, "unexpected response in position %zu\n", i);
    }
}

static void txn_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__TxnResponse *response = message;
    buf_append_cstr(self->out, response->succeeded ? "SUCCESS\n" : "FAILURE\n");
    txn_responses(self, response, context);
}

static void txn_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__TxnResponse *response = message;
    part_header(self->out, response->header);
    buf_printf(self->out, "\"Succeeded\" : %s\n", response->succeeded ? "true" : "false");
    txn_responses(self, response, context);
}

const struct view view_txn = {txn_simple, txn_fields};

/* ---- alarms, members, leadership ---- */

static const char *alarm_name(int type) {
    static const char *const names[] = {"NONE", "NOSPACE", "CORRUPT"};
    return type >= 0 && type < 3 ? names[type] : "UNKNOWN";
}

static void alarms_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AlarmResponse *response = message;
    for (size_t i = 0; i < response->n_alarms; i++) {
        const Etcdserverpb__AlarmMember *alarm = response->alarms[i];
        if (alarm->memberid != 0) buf_printf(self->out, "memberID:%llu ", (unsigned long long)alarm->memberid);
        if (alarm->alarm != 0) buf_printf(self->out, "alarm:%s ", alarm_name((int)alarm->alarm));
        buf_append_byte(self->out, '\n');
    }
}

static void alarms_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AlarmResponse *response = message;
    if (!context) part_header(self->out, response->header);
    for (size_t i = 0; i < response->n_alarms; i++)
        buf_printf(self->out, "\"MemberID\" : %llu\n\"AlarmType\" : %s\n\n",
                   (unsigned long long)response->alarms[i]->memberid, alarm_name((int)response->alarms[i]->alarm));
}

const struct view view_alarms = {alarms_simple, alarms_fields};

static void move_leader_simple(const struct printer *self, const void *message, const void *context) {
    const uint64_t *ids = context;
    buf_printf(self->out, "Leadership transferred from %llx to %llx\n", (unsigned long long)ids[0],
               (unsigned long long)ids[1]);
}

const struct view view_move_leader = {move_leader_simple, NULL};

/* All member messages begin with the header. */
static void member_line(const struct printer *self, const Etcdserverpb__ResponseHeader *header, uint64_t id,
                        const char *what) {
    buf_printf(self->out, "Member %16llx %s cluster %16llx\n", (unsigned long long)id, what,
               header ? (unsigned long long)header->cluster_id : 0);
}

static void member_add_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__MemberAddResponse *response = message;
    member_line(self, response->header, response->member ? response->member->id : 0, "added to");
}
static void member_remove_simple(const struct printer *self, const void *message, const void *context) {
    member_line(self, ((const Etcdserverpb__MemberRemoveResponse *)message)->header, *(const uint64_t *)context,
                "removed from");
}
static void member_update_simple(const struct printer *self, const void *message, const void *context) {
    member_line(self, ((const Etcdserverpb__MemberUpdateResponse *)message)->header, *(const uint64_t *)context,
                "updated in");
}
static void member_promote_simple(const struct printer *self, const void *message, const void *context) {
    member_line(self, ((const Etcdserverpb__MemberPromoteResponse *)message)->header, *(const uint64_t *)context,
                "promoted in");
}

const struct view view_member_add = {member_add_simple, NULL};
const struct view view_member_remove = {member_remove_simple, NULL};
const struct view view_member_update = {member_update_simple, NULL};
const struct view view_member_promote = {member_promote_simple, NULL};

/* ---- users and roles ---- */

static void auth_status_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AuthStatusResponse *response = message;
    buf_printf(self->out, "Authentication Status: %s\nAuthRevision: %llu\n", response->enabled ? "true" : "false",
               (unsigned long long)response->authrevision);
}

const struct view view_auth_status = {auth_status_simple, NULL};

/* context: the user's name */
static void user_get_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AuthUserGetResponse *response = message;
    buf_printf(self->out, "User: %s\nRoles:", (const char *)context);
    for (size_t i = 0; i < response->n_roles; i++) buf_printf(self->out, " %s", response->roles[i]);
    buf_append_byte(self->out, '\n');
}

const struct view view_user_get = {user_get_simple, NULL};

static void user_list_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AuthUserListResponse *response = message;
    for (size_t i = 0; i < response->n_users; i++) buf_printf(self->out, "%s\n", response->users[i]);
}

const struct view view_user_list = {user_list_simple, NULL};

static void role_list_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AuthRoleListResponse *response = message;
    for (size_t i = 0; i < response->n_roles; i++) buf_printf(self->out, "%s\n", response->roles[i]);
}

static void role_list_fields(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AuthRoleListResponse *response = message;
    part_header(self->out, response->header);
    buf_append_cstr(self->out, "\"Roles\" :");
    for (size_t i = 0; i < response->n_roles; i++) {
        buf_append_byte(self->out, ' ');
        go_append_quoted(self->out, slice_from_cstr(response->roles[i]));
    }
    buf_append_byte(self->out, '\n');
}

const struct view view_role_list = {role_list_simple, role_list_fields};

static void permission_line(struct buf *out, const Authpb__Permission *permission) {
    struct slice key = pb_slice(permission->key), end = pb_slice(permission->range_end);
    buf_append_byte(out, '\t');
    if (end.len == 0) {
        buf_append_slice(out, key);
    } else {
        buf_append_byte(out, '[');
        buf_append_slice(out, key);
        buf_append_cstr(out, ", ");
        if (slice_equal(end, SLICE_LITERAL("\0"))) {
            buf_append_cstr(out, "<open ended>");
        } else {
            struct arena arena;
            arena_init(&arena, 0);
            buf_append_slice(out, end);
            buf_append_byte(out, ')');
            if (slice_equal(prefix_end(key, &arena), end)) {
                buf_append_cstr(out, " (prefix ");
                buf_append_slice(out, key);
                buf_append_byte(out, ')');
            }
            arena_release(&arena);
        }
    }
    buf_append_byte(out, '\n');
}

/* context: the role's name */
static void role_get_simple(const struct printer *self, const void *message, const void *context) {
    const Etcdserverpb__AuthRoleGetResponse *response = message;
    buf_printf(self->out, "Role %s\nKV Read:\n", (const char *)context);
    for (size_t i = 0; i < response->n_perm; i++)
        if (response->perm[i]->permtype != AUTHPB__PERMISSION__TYPE__WRITE)
            permission_line(self->out, response->perm[i]);
    buf_append_cstr(self->out, "KV Write:\n");
    for (size_t i = 0; i < response->n_perm; i++)
        if (response->perm[i]->permtype != AUTHPB__PERMISSION__TYPE__READ)
            permission_line(self->out, response->perm[i]);
}

static void role_get_fields(const struct printer *self, const void *message, const void *context) {
    static const char *const types[] = {"READ", "WRITE", "READWRITE"};
    const Etcdserverpb__AuthRoleGetResponse *response = message;
    part_header(self->out, response->header);
    for (size_t i = 0; i < response->n_perm; i++) {
        unsigned type = (unsigned)response->perm[i]->permtype;
        buf_printf(self->out, "\"PermType\" :  %s\n", type < 3 ? types[type] : "UNKNOWN");
        part_quoted(self->out, "Key", pb_slice(response->perm[i]->key));
        part_quoted(self->out, "RangeEnd", pb_slice(response->perm[i]->range_end));
    }
}

const struct view view_role_get = {role_get_simple, role_get_fields};

static void done_simple(const struct printer *self, const void *message, const void *context) {
    buf_append_cstr(self->out, context);
}

/* Every such message begins with its header. */
static void done_fields(const struct printer *self, const void *message, const void *context) {
    part_header(self->out, ((const Etcdserverpb__AuthRoleAddResponse *)message)->header);
}

const struct view view_done = {done_simple, done_fields};
