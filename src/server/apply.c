/* apply.c - a committed entry becomes a change of state, the same on every member.
 *
 * What an entry does is found in its data alone; who waits for it gets the answer by the way. Entries the backend
 * already holds (index <= consistent index, after a restart) are applied only to the in-memory membership copy.
 * Rules: spec/apply.md 1, 3-5; values that no request of ours can carry but a Go leader's log may: 15. */
#include "base/bytes.h"
#include "mvcc/txn.h"
#include "pb/arena_pb.h"
#include "pb/raft_internal.pb-c.h"
#include "pb/wire.h"
#include "server/internal.h"

#include <stdio.h>

/* What is found in the data without decoding it all. */
struct envelope {
    uint64_t id;
    uint32_t op; /* 0: none */
    struct slice message;
    struct slice header;
};

/* Length-delimited field at *at; false when it is none or cut off. */
static bool take_field(const uint8_t **at, const uint8_t *end, uint32_t *ret_field, struct slice *ret_bytes) {
    uint64_t tag, len;
    size_t taken = varint_load(*at, end, &tag);
    if (taken == 0 || (tag & 7) != 2) return false;
    const uint8_t *next = *at + taken;
    taken = varint_load(next, end, &len);
    if (taken == 0 || len > (uint64_t)(end - next) - taken) return false;
    *ret_field = (uint32_t)(tag >> 3);
    *ret_bytes = slice_make(next + taken, (size_t)len);
    *at = next + taken + len;
    return true;
}

static uint64_t header_id(struct slice header) {
    const uint8_t *end = header.data + header.len;
    uint64_t id = 0;
    if (header.len < 2 || header.data[0] != (1 << 3) || varint_load(header.data + 1, end, &id) == 0) return 0;
    return id;
}

/* Who asked: fields 2 and 3 of a header. */
static struct auth_info header_info(struct slice header) {
    struct auth_info info = {0};
    struct pb_reader reader = pb_reader_make(header, "RequestHeader", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 2: info.username = pb_read_bytes(&reader, "Username"); break;
        case 3: info.revision = pb_read_u64(&reader, "AuthRevision"); break;
        default: pb_skip_field(&reader);
        }
    }
    return reader.error == OK ? info : (struct auth_info){0};
}

/* Our own form: one operation behind its id, or with a header whose first field is the id. Everything else takes the
 * long way. */
static bool open_envelope(struct slice data, struct envelope *ret_envelope) {
    struct envelope found = {0};
    const uint8_t *at = data.data, *end = data.data + data.len;
    if (*at == 1 << 3) {
        size_t taken = varint_load(at + 1, end, &found.id);
        if (taken == 0) return false;
        at += 1 + taken;
    }
    while (at < end) {
        uint32_t field;
        struct slice bytes;
        if (!take_field(&at, end, &field, &bytes)) return false;
        if (field == 100) {
            if (found.id == 0) found.id = header_id(bytes);
            found.header = bytes;
        } else if (field == 2 || found.op != 0) {
            return false;
        } else {
            found.op = field;
            found.message = bytes;
        }
    }
    if (found.id == 0 || found.op == 0) return false;
    *ret_envelope = found;
    return true;
}

/* What an operation needs and gives. */
struct applying {
    struct server *self;
    struct server_request *request; /* NULL: nobody waits here */
    uint32_t op;
    const void *message;
    const struct auth_info *info; /* NULL while auth is off */
    struct buf *out;
    int64_t revision;
    bool answers_later;
};

static void append_int64(struct buf *out, uint32_t field, int64_t value) {
    if (value == 0) return;
    buf_append_varint(out, (uint64_t)field << 3);
    buf_append_varint(out, (uint64_t)value);
}

/* ---- compaction: the answer to `physical` waits for the deletions ---- */

struct physical_wait {
    struct server *self;
    struct list link;
    uint64_t id; /* of the request; 0 = nobody */
};

static void compaction_done(void *context, enum err error) {
    struct physical_wait *wait = context;
    struct server *self = wait->self;
    struct server_request *request = server__take_request(self, wait->id);
    list_remove(&wait->link);
    mem_free(wait);
    if (request != NULL) server__answer(self, request, error, store_revision(self->store));
}

static enum err apply_compaction(struct applying *a) {
    const Etcdserverpb__CompactionRequest *request = a->message;
    struct server *self = a->self;
    a->revision = store_revision(self->store);
    if (a->request == NULL || !request->physical) return store_compact(self->store, request->revision, NULL, NULL);
    struct physical_wait *wait = NEW(struct physical_wait);
    wait->self = self;
    wait->id = a->request->id;
    enum err error = store_compact(self->store, request->revision, compaction_done, wait);
    if (error != OK) {
        mem_free(wait);
        return error;
    }
    list_push_back(&self->physical, &wait->link);
    a->answers_later = true;
    return OK;
}

/* ---- leases ---- */

static enum err apply_lease_grant(struct applying *a) {
    const Etcdserverpb__LeaseGrantRequest *request = a->message;
    struct server *self = a->self;
    int64_t granted_s;
    TRY(lessor_grant(self->lessor, request->id, request->ttl, env_now_ns(self->env), &granted_s));
    a->revision = store_revision(self->store);
    append_int64(a->out, 2, request->id);
    append_int64(a->out, 3, granted_s);
    return OK;
}

static enum err apply_lease_revoke(struct applying *a) {
    const Etcdserverpb__LeaseRevokeRequest *request = a->message;
    enum err error = server__apply_lease_revoke(a->self, request->id);
    a->revision = store_revision(a->self->store);
    return error;
}

static enum err apply_lease_checkpoint(struct applying *a) {
    const Etcdserverpb__LeaseCheckpointRequest *request = a->message;
    for (size_t i = 0; i < request->n_checkpoints; i++) {
        const Etcdserverpb__LeaseCheckpoint *checkpoint = request->checkpoints[i];
        TRY(lessor_checkpoint(a->self->lessor, checkpoint->id, checkpoint->remaining_ttl, env_now_ns(a->self->env)));
    }
    return OK;
}

/* ---- operations ---- */

static enum err apply_operation(struct applying *a) {
    struct server *self = a->self;
    if (a->info != NULL) TRY(server__auth_check(self, a->op, a->message, a->info));
    TRY(server__alarm_check(self, (enum server_op)a->op, a->message));
    switch (a->op) {
    case SERVER_OP_PUT: return txn_apply_put(self->store, a->message, a->out, &a->revision);
    case SERVER_OP_DELETE_RANGE: return txn_apply_delete_range(self->store, a->message, a->out, &a->revision);
    case SERVER_OP_TXN:
        return txn_apply(self->store, a->message, a->request == NULL ? TXN_SKIP_TOP_RANGES : 0, a->out, &a->revision);
    case SERVER_OP_COMPACTION: return apply_compaction(a);
    case SERVER_OP_LEASE_GRANT: return apply_lease_grant(a);
    case SERVER_OP_LEASE_REVOKE: return apply_lease_revoke(a);
    case SERVER_OP_LEASE_CHECKPOINT: return apply_lease_checkpoint(a);
    case SERVER_OP_ALARM:
        a->revision = store_revision(self->store);
        return server__apply_alarm(self, a->message, a->out);
    default: a->revision = store_revision(self->store); return server__apply_auth(self, a->op, a->message, a->out);
    }
}

static const ProtobufCMessageDescriptor *descriptor_of(uint32_t op) {
    switch (op) {
    case SERVER_OP_PUT: return &etcdserverpb__put_request__descriptor;
    case SERVER_OP_DELETE_RANGE: return &etcdserverpb__delete_range_request__descriptor;
    case SERVER_OP_TXN: return &etcdserverpb__txn_request__descriptor;
    case SERVER_OP_COMPACTION: return &etcdserverpb__compaction_request__descriptor;
    case SERVER_OP_LEASE_GRANT: return &etcdserverpb__lease_grant_request__descriptor;
    case SERVER_OP_LEASE_REVOKE: return &etcdserverpb__lease_revoke_request__descriptor;
    case SERVER_OP_LEASE_CHECKPOINT: return &etcdserverpb__lease_checkpoint_request__descriptor;
    case SERVER_OP_ALARM: return &etcdserverpb__alarm_request__descriptor;
    default: return server__auth_descriptor(op);
    }
}

/* A log that says something only the same version of all members may act on: better to stop than to differ. */
static void unknown_operation(struct server *self, uint32_t op) {
    char detail[64];
    snprintf(detail, sizeof detail, "operation %u", op);
    server__fail(self, "not implemented apply", ERR_UNKNOWN_METHOD, detail);
}

static void apply_one(struct server *self, uint32_t op, uint64_t id, const void *message,
                      const struct auth_info *info) {
    struct server_request *request = id != 0 ? map_u64_get(&self->pending, id) : NULL;
    buf_clear(&self->scratch);
    struct applying a = {.self = self,
                         .request = request,
                         .op = op,
                         .message = message,
                         .info = info,
                         .out = request != NULL && request->out != NULL ? request->out : &self->scratch};
    enum err error = apply_operation(&a);
    if (error == ERR_CORRUPT) {
        server__fail(self, "failed to apply a committed entry", error,
                     "the database does not hold what its index says");
        return;
    }
    if (error == ERR_UNKNOWN_METHOD) {
        unknown_operation(self, op);
        return;
    }
    if (request == NULL || a.answers_later) return;
    server__take_request(self, id);
    server__answer(self, request, error, a.revision);
}

/* ---- the long way: whatever a Go member may have written ---- */

struct decoded {
    uint32_t op;
    const void *message;
};

static struct decoded operation_of(const Etcdserverpb__InternalRaftRequest *request) {
    const struct decoded operations[] = {
        {SERVER_OP_PUT, request->put},
        {SERVER_OP_DELETE_RANGE, request->delete_range},
        {SERVER_OP_TXN, request->txn},
        {SERVER_OP_COMPACTION, request->compaction},
        {SERVER_OP_LEASE_GRANT, request->lease_grant},
        {SERVER_OP_LEASE_REVOKE, request->lease_revoke},
        {SERVER_OP_ALARM, request->alarm},
        {SERVER_OP_LEASE_CHECKPOINT, request->lease_checkpoint},
        {SERVER_OP_AUTH_ENABLE, request->auth_enable},
        {SERVER_OP_AUTH_DISABLE, request->auth_disable},
        {SERVER_OP_AUTHENTICATE, request->authenticate},
        {SERVER_OP_AUTH_STATUS, request->auth_status},
        {SERVER_OP_AUTH_USER_ADD, request->auth_user_add},
        {SERVER_OP_AUTH_USER_DELETE, request->auth_user_delete},
        {SERVER_OP_AUTH_USER_GET, request->auth_user_get},
        {SERVER_OP_AUTH_USER_CHANGE_PASSWORD, request->auth_user_change_password},
        {SERVER_OP_AUTH_USER_GRANT_ROLE, request->auth_user_grant_role},
        {SERVER_OP_AUTH_USER_REVOKE_ROLE, request->auth_user_revoke_role},
        {SERVER_OP_AUTH_USER_LIST, request->auth_user_list},
        {SERVER_OP_AUTH_ROLE_LIST, request->auth_role_list},
        {SERVER_OP_AUTH_ROLE_ADD, request->auth_role_add},
        {SERVER_OP_AUTH_ROLE_DELETE, request->auth_role_delete},
        {SERVER_OP_AUTH_ROLE_GET, request->auth_role_get},
        {SERVER_OP_AUTH_ROLE_GRANT_PERMISSION, request->auth_role_grant_permission},
        {SERVER_OP_AUTH_ROLE_REVOKE_PERMISSION, request->auth_role_revoke_permission},
    };
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (operations[i].message != NULL) return operations[i];
    return (struct decoded){0};
}

static bool apply_cluster_request(struct server *self, const Etcdserverpb__InternalRaftRequest *request, bool both) {
    if (request->cluster_version_set != NULL) {
        server__cluster_version_set(self, request->cluster_version_set->ver, both);
        return true;
    }
    if (request->cluster_member_attr_set != NULL) {
        const Membershippb__ClusterMemberAttrSetRequest *set = request->cluster_member_attr_set;
        const Membershippb__Attributes *attributes = set->member_attributes;
        server__member_attributes_set(self, set->member_id, attributes != NULL ? attributes->name : "",
                                      attributes != NULL ? (const char *const *)attributes->client_urls : NULL,
                                      attributes != NULL ? attributes->n_client_urls : 0, both);
        return true;
    }
    if (request->downgrade_info_set != NULL) {
        struct downgrade_info info = {.enabled = request->downgrade_info_set->enabled};
        if (info.enabled && !version_parse(slice_from_cstr(request->downgrade_info_set->ver), &info.target))
            info.enabled = false;
        cluster_set_downgrade(self->cluster, info, both);
        return true;
    }
    return false;
}

static void apply_decoded(struct server *self, struct slice data, bool both) {
    const Etcdserverpb__InternalRaftRequest *request =
        pb_unpack_borrowed(&etcdserverpb__internal_raft_request__descriptor, data, &self->apply_arena);
    if (request == NULL) {
        if (!server__apply_v2_request(self, data, both))
            server__fail(self, "failed to unmarshal a committed entry", ERR_CORRUPT, "");
        return;
    }
    if (request->v2 != NULL) {
        struct slice inner = pb_pack_arena(request->v2, &self->apply_arena);
        if (!server__apply_v2_request(self, inner, both))
            server__fail(self, "failed to unmarshal a committed entry", ERR_CORRUPT, "");
        return;
    }
    if (apply_cluster_request(self, request, both) || !both) return;
    if (request->range != NULL) return; /* only its proposer answers it */
    struct decoded operation = operation_of(request);
    if (operation.message == NULL) {
        unknown_operation(self, 0);
        return;
    }
    struct auth_info info = {0};
    if (request->header != NULL)
        info = (struct auth_info){slice_from_cstr(request->header->username), request->header->auth_revision};
    uint64_t id = request->id != 0 || request->header == NULL ? request->id : request->header->id;
    apply_one(self, operation.op, id, operation.message, auth_store_is_enabled(self->auth) ? &info : NULL);
}

static void apply_normal(struct server *self, const struct raft_entry *entry, bool both) {
    if (entry->data.len == 0) {
        server__first_commit_in_term(self);
        return;
    }
    struct envelope envelope;
    if (!open_envelope(entry->data, &envelope)) {
        apply_decoded(self, entry->data, both);
        return;
    }
    const ProtobufCMessageDescriptor *descriptor = descriptor_of(envelope.op);
    if (descriptor == NULL) {
        apply_decoded(self, entry->data, both);
        return;
    }
    if (!both) return;
    struct server_request *request = map_u64_get(&self->pending, envelope.id);
    const void *message = request != NULL && request->op == (enum server_op)envelope.op ? request->message : NULL;
    if (message == NULL) message = pb_unpack_borrowed(descriptor, envelope.message, &self->apply_arena);
    if (message == NULL) {
        server__fail(self, "failed to unmarshal a committed entry", ERR_CORRUPT, "");
        return;
    }
    if (!auth_store_is_enabled(self->auth)) {
        apply_one(self, envelope.op, envelope.id, message, NULL);
        return;
    }
    struct auth_info info = header_info(envelope.header);
    apply_one(self, envelope.op, envelope.id, message, &info);
}

static void apply_entry(struct server *self, const struct raft_entry *entry) {
    bool both = entry->index > self->consistent_index;
    switch (entry->type) {
    case RAFT_ENTRY_NORMAL: apply_normal(self, entry, both); break;
    case RAFT_ENTRY_CONF_CHANGE: server__apply_conf_change(self, entry, both); break;
    default:
        server__fail(self, "unknown entry type; must be either EntryNormal or EntryConfChange", ERR_CORRUPT, "");
        break;
    }
    if (self->state == SERVER_FAILED) return;
    if (both) {
        self->consistent_index = entry->index;
        self->consistent_term = entry->term;
    }
    self->applied_index = entry->index;
    self->applied_term = entry->term;
    self->stats.proposals_applied++;
    server__count_applied(self, entry);
    arena_reset(&self->apply_arena);
}

static bool has_conf_change(const struct raft_entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (entries[i].type != RAFT_ENTRY_NORMAL) return true;
    return false;
}

static void apply_all(struct server *self, const struct raft_entry *entries, size_t count) {
    for (size_t i = 0; i < count && self->state != SERVER_FAILED; i++) {
        if (entries[i].index <= self->applied_index) continue;
        CHECK(entries[i].index == self->applied_index + 1);
        apply_entry(self, &entries[i]);
    }
}

/* A conf change is told to raft at once, after which raft's own array may move: those batches are copied. */
static void apply_copies(struct server *self, const struct raft_entry *entries, size_t count) {
    struct raft_entry *copies = NEW_ARRAY(struct raft_entry, count);
    for (size_t i = 0; i < count; i++) copies[i] = raft_entry_copy(&entries[i]);
    apply_all(self, copies, count);
    for (size_t i = 0; i < count; i++) raft_entry_release(&copies[i]);
    mem_free(copies);
}

void server__apply(struct server *self, const struct raft_entry *entries, size_t count) {
    CHECK(!self->is_applying);
    self->is_applying = true;
    if (has_conf_change(entries, count))
        apply_copies(self, entries, count);
    else
        apply_all(self, entries, count);
    self->is_applying = false;
    if (self->state == SERVER_FAILED) return;
    struct raft_event event = {.type = RAFT_APPLIED, .applied = self->applied_index};
    enum err error = raft_step(self->raft, &event, NULL);
    CHECK(error == OK);
    server__release_reads(self);
    server__release_lease_calls(self);
    server__maybe_snapshot(self);
    if (self->lead == 0) server__want_turn(self);
}
