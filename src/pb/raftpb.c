/* Codecs of the raft messages between members. On disk: walpb.c. */
#include "pb/raftpb.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/vec.h"
#include "pb/wire.h"

#include <stdlib.h>

/* ---- entries ---- */

struct raft_entry raft_entry_copy(const struct raft_entry *self) {
    struct raft_entry copy = *self;
    if (self->owner != NULL) {
        copy.owner = shared_ref(self->owner);
    } else if (self->data.data != NULL) {
        copy.owner = shared_copy(self->data);
        copy.data = shared_slice(copy.owner);
    }
    return copy;
}

void raft_entry_release(struct raft_entry *self) {
    shared_unref(self->owner);
    self->owner = NULL;
    self->data = SLICE_NONE;
}

struct raft_entry raft_entry_make(enum raft_entry_type type, uint64_t term, uint64_t index, struct shared *data) {
    return (struct raft_entry){type, term, index, data, shared_slice(data)};
}

size_t raft_entry_size(const struct raft_entry *self) {
    return 1 + varint_size((uint64_t)self->type) + 1 + varint_size(self->term) + 1 + varint_size(self->index) +
           pb_bytes_size(self->data);
}

size_t raft_entry_encode_head(const struct raft_entry *self, uint8_t out[RAFT_ENTRY_HEAD_MAX_BYTES]) {
    uint8_t *at = out;
    at = pb_store_number(at, 1, (uint64_t)self->type);
    at = pb_store_number(at, 2, self->term);
    at = pb_store_number(at, 3, self->index);
    if (self->data.data != NULL) {
        *at++ = PB_TAG(4, PB_BYTES);
        at += varint_store(at, self->data.len);
    }
    return (size_t)(at - out);
}

void raft_entry_encode(const struct raft_entry *self, struct buf *out) {
    uint8_t *at = buf_reserve(out, RAFT_ENTRY_HEAD_MAX_BYTES + self->data.len);
    out->len += raft_entry_encode_head(self, at);
    buf_append_slice(out, self->data);
}

static enum err decode_entry(struct slice bytes, struct shared *owner, struct raft_entry *ret_entry) {
    struct raft_entry entry = {0};
    struct pb_reader reader = pb_reader_make(bytes, "Entry", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: entry.type = (enum raft_entry_type)pb_read_u32(&reader, "Type"); break;
        case 2: entry.term = pb_read_u64(&reader, "Term"); break;
        case 3: entry.index = pb_read_u64(&reader, "Index"); break;
        case 4: entry.data = pb_read_bytes(&reader, "Data"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error != OK) return reader.error;
    if (entry.data.data != NULL) entry.owner = shared_ref(owner);
    *ret_entry = entry;
    return OK;
}

enum err raft_entry_decode(struct slice bytes, struct shared *owner, struct raft_entry *ret_entry) {
    return decode_entry(bytes, owner, ret_entry);
}

/* ---- hard state ---- */

size_t raft_hard_state_size(const struct raft_hard_state *self) {
    return 3 + varint_size(self->term) + varint_size(self->vote) + varint_size(self->commit);
}

void raft_hard_state_encode(const struct raft_hard_state *self, struct buf *out) {
    pb_put_number(out, 1, self->term);
    pb_put_number(out, 2, self->vote);
    pb_put_number(out, 3, self->commit);
}

enum err raft_hard_state_decode(struct slice bytes, struct raft_hard_state *ret_state) {
    struct raft_hard_state state = {0};
    struct pb_reader reader = pb_reader_make(bytes, "HardState", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: state.term = pb_read_u64(&reader, "Term"); break;
        case 2: state.vote = pb_read_u64(&reader, "Vote"); break;
        case 3: state.commit = pb_read_u64(&reader, "Commit"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error == OK) *ret_state = state;
    return reader.error;
}

/* ---- members ---- */

void raft_conf_state_release(struct raft_conf_state *self) {
    VEC_RELEASE(&self->voters);
    VEC_RELEASE(&self->learners);
    VEC_RELEASE(&self->voters_outgoing);
    VEC_RELEASE(&self->learners_next);
    self->auto_leave = false;
}

static struct raft_ids copy_ids(const struct raft_ids *from) {
    if (from->count == 0) return (struct raft_ids){0};
    struct raft_ids copy = {NEW_ARRAY(uint64_t, from->count), from->count, from->count};
    memcpy(copy.items, from->items, from->count * sizeof *from->items);
    return copy;
}

void raft_conf_state_copy(struct raft_conf_state *self, const struct raft_conf_state *from) {
    *self = (struct raft_conf_state){
        .voters = copy_ids(&from->voters),
        .learners = copy_ids(&from->learners),
        .voters_outgoing = copy_ids(&from->voters_outgoing),
        .learners_next = copy_ids(&from->learners_next),
        .auto_leave = from->auto_leave,
    };
}

static int compare_ids(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool ids_equal(const struct raft_ids *a, const struct raft_ids *b) {
    if (a->count != b->count) return false;
    size_t size_bytes = a->count * sizeof *a->items;
    if (a->count == 0 || memcmp(a->items, b->items, size_bytes) == 0) return true;
    struct raft_ids x = copy_ids(a), y = copy_ids(b);
    qsort(x.items, x.count, sizeof *x.items, compare_ids);
    qsort(y.items, y.count, sizeof *y.items, compare_ids);
    bool equal = memcmp(x.items, y.items, size_bytes) == 0;
    VEC_RELEASE(&x);
    VEC_RELEASE(&y);
    return equal;
}

bool raft_conf_state_equal(const struct raft_conf_state *a, const struct raft_conf_state *b) {
    return a->auto_leave == b->auto_leave && ids_equal(&a->voters, &b->voters) &&
           ids_equal(&a->learners, &b->learners) && ids_equal(&a->voters_outgoing, &b->voters_outgoing) &&
           ids_equal(&a->learners_next, &b->learners_next);
}

static size_t ids_size(const struct raft_ids *ids) {
    size_t size_bytes = ids->count;
    for (size_t i = 0; i < ids->count; i++) size_bytes += varint_size(ids->items[i]);
    return size_bytes;
}

size_t raft_conf_state_size(const struct raft_conf_state *self) {
    return ids_size(&self->voters) + ids_size(&self->learners) + ids_size(&self->voters_outgoing) +
           ids_size(&self->learners_next) + 2;
}

static void put_ids(struct buf *out, unsigned field, const struct raft_ids *ids) {
    for (size_t i = 0; i < ids->count; i++) pb_put_number(out, field, ids->items[i]);
}

void raft_conf_state_encode(const struct raft_conf_state *self, struct buf *out) {
    put_ids(out, 1, &self->voters);
    put_ids(out, 2, &self->learners);
    put_ids(out, 3, &self->voters_outgoing);
    put_ids(out, 4, &self->learners_next);
    pb_put_number(out, 5, self->auto_leave);
}

static void read_ids(struct pb_reader *reader, const char *name, struct raft_ids *ids) {
    if (reader->wire != PB_BYTES) {
        uint64_t id = pb_read_u64(reader, name);
        if (reader->error == OK) VEC_PUSH(ids, id);
        return;
    }
    struct slice packed = pb_read_bytes(reader, name);
    if (reader->error != OK) return;
    struct pb_reader inner = pb_reader_make(packed, reader->type_name, reader->message);
    while (inner.at < inner.end && inner.error == OK) {
        uint64_t id = pb_read_varint(&inner);
        if (inner.error == OK) VEC_PUSH(ids, id);
    }
    reader->error = inner.error;
}

enum err pb__merge_conf_state(struct slice bytes, struct raft_conf_state *self, struct errmsg *message) {
    struct pb_reader reader = pb_reader_make(bytes, "ConfState", message);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: read_ids(&reader, "Voters", &self->voters); break;
        case 2: read_ids(&reader, "Learners", &self->learners); break;
        case 3: read_ids(&reader, "VotersOutgoing", &self->voters_outgoing); break;
        case 4: read_ids(&reader, "LearnersNext", &self->learners_next); break;
        case 5: self->auto_leave = pb_read_u64(&reader, "AutoLeave") != 0; break;
        default: pb_skip_field(&reader);
        }
    }
    return reader.error;
}

enum err raft_conf_state_decode(struct slice bytes, struct raft_conf_state *ret_state) {
    struct raft_conf_state state = {0};
    enum err error = pb__merge_conf_state(bytes, &state, NULL);
    if (error == OK)
        *ret_state = state;
    else
        raft_conf_state_release(&state);
    return error;
}

/* ---- changes of the members ---- */

size_t raft_conf_change_size(const struct raft_conf_change *self) {
    return 3 + varint_size(self->id) + varint_size((uint64_t)self->type) + varint_size(self->node_id) +
           pb_bytes_size(self->context);
}

void raft_conf_change_encode(const struct raft_conf_change *self, struct buf *out) {
    pb_put_number(out, 1, self->id);
    pb_put_number(out, 2, (uint64_t)self->type);
    pb_put_number(out, 3, self->node_id);
    pb_put_bytes(out, 4, self->context);
}

enum err raft_conf_change_decode(struct slice bytes, struct raft_conf_change *ret_change) {
    struct raft_conf_change change = {0};
    struct pb_reader reader = pb_reader_make(bytes, "ConfChange", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: change.id = pb_read_u64(&reader, "ID"); break;
        case 2: change.type = (enum raft_conf_change_type)pb_read_u32(&reader, "Type"); break;
        case 3: change.node_id = pb_read_u64(&reader, "NodeID"); break;
        case 4: change.context = pb_read_bytes(&reader, "Context"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error == OK) *ret_change = change;
    return reader.error;
}

static size_t single_size(const struct raft_conf_change_single *single) {
    return 2 + varint_size((uint64_t)single->type) + varint_size(single->node_id);
}

void raft_conf_change_v2_release(struct raft_conf_change_v2 *self) {
    mem_free(self->changes);
    *self = (struct raft_conf_change_v2){0};
}

size_t raft_conf_change_v2_size(const struct raft_conf_change_v2 *self) {
    size_t size_bytes = 1 + varint_size((uint64_t)self->transition) + pb_bytes_size(self->context);
    for (size_t i = 0; i < self->change_count; i++) size_bytes += pb_nested_size(single_size(&self->changes[i]));
    return size_bytes;
}

void raft_conf_change_v2_encode(const struct raft_conf_change_v2 *self, struct buf *out) {
    pb_put_number(out, 1, (uint64_t)self->transition);
    for (size_t i = 0; i < self->change_count; i++) {
        pb_put_nested(out, 2, single_size(&self->changes[i]));
        pb_put_number(out, 1, (uint64_t)self->changes[i].type);
        pb_put_number(out, 2, self->changes[i].node_id);
    }
    pb_put_bytes(out, 3, self->context);
}

static enum err decode_single(struct slice bytes, struct raft_conf_change_single *ret_single) {
    struct raft_conf_change_single single = {0};
    struct pb_reader reader = pb_reader_make(bytes, "ConfChangeSingle", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: single.type = (enum raft_conf_change_type)pb_read_u32(&reader, "Type"); break;
        case 2: single.node_id = pb_read_u64(&reader, "NodeID"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error == OK) *ret_single = single;
    return reader.error;
}

enum err raft_conf_change_v2_decode(struct slice bytes, struct raft_conf_change_v2 *ret_change) {
    struct raft_conf_change_v2 change = {0};
    VEC(struct raft_conf_change_single) changes = {0};
    struct pb_reader reader = pb_reader_make(bytes, "ConfChangeV2", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: change.transition = (enum raft_conf_change_transition)pb_read_u32(&reader, "Transition"); break;
        case 2: {
            struct slice nested = pb_read_bytes(&reader, "Changes");
            struct raft_conf_change_single single;
            if (reader.error == OK) reader.error = decode_single(nested, &single);
            if (reader.error == OK) VEC_PUSH(&changes, single);
            break;
        }
        case 3: change.context = pb_read_bytes(&reader, "Context"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error != OK) {
        VEC_RELEASE(&changes);
        return reader.error;
    }
    change.changes = changes.items;
    change.change_count = changes.count;
    *ret_change = change;
    return OK;
}

/* ---- snapshots ---- */

void raft_snapshot_release(struct raft_snapshot *self) {
    shared_unref(self->data);
    raft_conf_state_release(&self->conf_state);
    *self = (struct raft_snapshot){0};
}

void raft_snapshot_copy(struct raft_snapshot *self, const struct raft_snapshot *from) {
    self->data = shared_ref(from->data);
    self->index = from->index;
    self->term = from->term;
    raft_conf_state_copy(&self->conf_state, &from->conf_state);
}

static size_t snapshot_metadata_size(const struct raft_snapshot *self) {
    return pb_nested_size(raft_conf_state_size(&self->conf_state)) + 2 + varint_size(self->index) +
           varint_size(self->term);
}

size_t raft_snapshot_size(const struct raft_snapshot *self) {
    return pb_bytes_size(shared_slice(self->data)) + pb_nested_size(snapshot_metadata_size(self));
}

void raft_snapshot_encode(const struct raft_snapshot *self, struct buf *out) {
    pb_put_bytes(out, 1, shared_slice(self->data));
    pb_put_nested(out, 2, snapshot_metadata_size(self));
    pb_put_nested(out, 1, raft_conf_state_size(&self->conf_state));
    raft_conf_state_encode(&self->conf_state, out);
    pb_put_number(out, 2, self->index);
    pb_put_number(out, 3, self->term);
}

static enum err merge_snapshot_metadata(struct slice bytes, struct raft_snapshot *self, struct errmsg *message) {
    struct pb_reader reader = pb_reader_make(bytes, "SnapshotMetadata", message);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: {
            struct slice nested = pb_read_bytes(&reader, "ConfState");
            if (reader.error == OK) reader.error = pb__merge_conf_state(nested, &self->conf_state, message);
            break;
        }
        case 2: self->index = pb_read_u64(&reader, "Index"); break;
        case 3: self->term = pb_read_u64(&reader, "Term"); break;
        default: pb_skip_field(&reader);
        }
    }
    return reader.error;
}

static enum err merge_snapshot(struct slice bytes, struct raft_snapshot *self, struct errmsg *message) {
    struct pb_reader reader = pb_reader_make(bytes, "Snapshot", message);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: {
            struct slice data = pb_read_bytes(&reader, "Data");
            if (reader.error == OK && data.len > SHARED_MAX_BYTES) reader.error = ERR_CORRUPT;
            if (reader.error != OK) break;
            shared_unref(self->data);
            self->data = shared_copy(data);
            break;
        }
        case 2: {
            struct slice nested = pb_read_bytes(&reader, "Metadata");
            if (reader.error == OK) reader.error = merge_snapshot_metadata(nested, self, message);
            break;
        }
        default: pb_skip_field(&reader);
        }
    }
    return reader.error;
}

enum err raft_snapshot_decode(struct slice bytes, struct raft_snapshot *ret_snapshot, struct errmsg *message) {
    struct raft_snapshot snapshot = {0};
    enum err error = merge_snapshot(bytes, &snapshot, message);
    if (error == OK)
        *ret_snapshot = snapshot;
    else
        raft_snapshot_release(&snapshot);
    return error;
}

/* ---- messages ---- */

const char *raft_message_type_name(enum raft_message_type type) {
    static const char *const names[] = {
        "MsgHup",
        "MsgBeat",
        "MsgProp",
        "MsgApp",
        "MsgAppResp",
        "MsgVote",
        "MsgVoteResp",
        "MsgSnap",
        "MsgHeartbeat",
        "MsgHeartbeatResp",
        "MsgUnreachable",
        "MsgSnapStatus",
        "MsgCheckQuorum",
        "MsgTransferLeader",
        "MsgTimeoutNow",
        "MsgReadIndex",
        "MsgReadIndexResp",
        "MsgPreVote",
        "MsgPreVoteResp",
        "MsgStorageAppend",
        "MsgStorageAppendResp",
        "MsgStorageApply",
        "MsgStorageApplyResp",
        "MsgForgetLeader",
    };
    size_t number = (size_t)type;
    return number < sizeof names / sizeof names[0] ? names[number] : "MsgUnknown";
}

void raft_message_copy(struct raft_message *self, const struct raft_message *from) {
    *self = *from;
    if (from->entry_count > 0) {
        self->entries = NEW_ARRAY(struct raft_entry, from->entry_count);
        for (size_t i = 0; i < from->entry_count; i++) self->entries[i] = raft_entry_copy(&from->entries[i]);
    } else {
        self->entries = NULL;
    }
    if (from->snapshot != NULL) {
        self->snapshot = NEW(struct raft_snapshot);
        raft_snapshot_copy(self->snapshot, from->snapshot);
    }
    if (from->owner != NULL) {
        self->owner = shared_ref(from->owner);
    } else if (from->context.data != NULL) {
        self->owner = shared_copy(from->context);
        self->context = shared_slice(self->owner);
    }
}

void raft_message_release(struct raft_message *self) {
    for (size_t i = 0; i < self->entry_count; i++) raft_entry_release(&self->entries[i]);
    mem_free(self->entries);
    if (self->snapshot != NULL) raft_snapshot_release(self->snapshot);
    mem_free(self->snapshot);
    shared_unref(self->owner);
    *self = (struct raft_message){0};
}

static const struct raft_snapshot NO_SNAPSHOT;

static const struct raft_snapshot *snapshot_of(const struct raft_message *self) {
    return self->snapshot != NULL ? self->snapshot : &NO_SNAPSHOT;
}

size_t raft_message_size(const struct raft_message *self) {
    size_t size_bytes = 9 + varint_size((uint64_t)self->type) + varint_size(self->to) + varint_size(self->from) +
                        varint_size(self->term) + varint_size(self->log_term) + varint_size(self->index) +
                        varint_size(self->commit) + 1 + varint_size(self->reject_hint);
    for (size_t i = 0; i < self->entry_count; i++) size_bytes += pb_nested_size(raft_entry_size(&self->entries[i]));
    return size_bytes + pb_nested_size(raft_snapshot_size(snapshot_of(self))) + pb_bytes_size(self->context);
}

void raft_message_encode(const struct raft_message *self, struct buf *out) {
    pb_put_number(out, 1, (uint64_t)self->type);
    pb_put_number(out, 2, self->to);
    pb_put_number(out, 3, self->from);
    pb_put_number(out, 4, self->term);
    pb_put_number(out, 5, self->log_term);
    pb_put_number(out, 6, self->index);
    for (size_t i = 0; i < self->entry_count; i++) {
        pb_put_nested(out, 7, raft_entry_size(&self->entries[i]));
        raft_entry_encode(&self->entries[i], out);
    }
    pb_put_number(out, 8, self->commit);
    pb_put_nested(out, 9, raft_snapshot_size(snapshot_of(self)));
    raft_snapshot_encode(snapshot_of(self), out);
    pb_put_number(out, 10, self->reject);
    pb_put_number(out, 11, self->reject_hint);
    pb_put_bytes(out, 12, self->context);
}

/* What decoding a message gathers, until it is known to be good. */
struct message_draft {
    struct raft_message message;
    VEC(struct raft_entry) entries;
    struct raft_snapshot snapshot;
};

static void read_message_entry(struct pb_reader *reader, struct shared *owner, struct message_draft *draft) {
    struct slice nested = pb_read_bytes(reader, "Entries");
    struct raft_entry entry;
    if (reader->error == OK) reader->error = decode_entry(nested, owner, &entry);
    if (reader->error == OK) VEC_PUSH(&draft->entries, entry);
}

static void read_message_snapshot(struct pb_reader *reader, struct message_draft *draft) {
    struct slice nested = pb_read_bytes(reader, "Snapshot");
    if (reader->error == OK) reader->error = merge_snapshot(nested, &draft->snapshot, NULL);
}

static enum err read_message(struct slice bytes, struct shared *owner, struct message_draft *draft) {
    struct raft_message *message = &draft->message;
    struct pb_reader reader = pb_reader_make(bytes, "Message", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: message->type = (enum raft_message_type)pb_read_u32(&reader, "Type"); break;
        case 2: message->to = pb_read_u64(&reader, "To"); break;
        case 3: message->from = pb_read_u64(&reader, "From"); break;
        case 4: message->term = pb_read_u64(&reader, "Term"); break;
        case 5: message->log_term = pb_read_u64(&reader, "LogTerm"); break;
        case 6: message->index = pb_read_u64(&reader, "Index"); break;
        case 7: read_message_entry(&reader, owner, draft); break;
        case 8: message->commit = pb_read_u64(&reader, "Commit"); break;
        case 9: read_message_snapshot(&reader, draft); break;
        case 10: message->reject = pb_read_u64(&reader, "Reject") != 0; break;
        case 11: message->reject_hint = pb_read_u64(&reader, "RejectHint"); break;
        case 12: message->context = pb_read_bytes(&reader, "Context"); break;
        case 13: message->vote = pb_read_u64(&reader, "Vote"); break;
        default: pb_skip_field(&reader);
        }
    }
    return reader.error;
}

enum err raft_message_decode(struct slice bytes, struct shared *owner, struct raft_message *ret_message) {
    struct message_draft draft = {0};
    enum err error = read_message(bytes, owner, &draft);
    struct raft_message *message = &draft.message;
    message->entries = draft.entries.items;
    message->entry_count = draft.entries.count;
    if (error != OK) {
        raft_snapshot_release(&draft.snapshot);
        raft_message_release(message);
        return error;
    }
    if (draft.snapshot.index != 0 || draft.snapshot.data != NULL) {
        message->snapshot = NEW(struct raft_snapshot);
        *message->snapshot = draft.snapshot;
    } else {
        raft_snapshot_release(&draft.snapshot);
    }
    if (message->context.data != NULL) message->owner = shared_ref(owner);
    *ret_message = *message;
    return OK;
}
