/* Codecs of what lies in WAL and .snap files. */
#include "base/bytes.h"
#include "base/vec.h"
#include "pb/raftpb.h"
#include "pb/wire.h"

void wal_snapshot_release(struct wal_snapshot *self) {
    raft_conf_state_release(&self->conf_state);
    *self = (struct wal_snapshot){0};
}

size_t wal_snapshot_size(const struct wal_snapshot *self) {
    size_t size_bytes = 2 + varint_size(self->index) + varint_size(self->term);
    return self->has_conf_state ? size_bytes + pb_nested_size(raft_conf_state_size(&self->conf_state)) : size_bytes;
}

void wal_snapshot_encode(const struct wal_snapshot *self, struct buf *out) {
    pb_put_number(out, 1, self->index);
    pb_put_number(out, 2, self->term);
    if (!self->has_conf_state) return;
    pb_put_nested(out, 3, raft_conf_state_size(&self->conf_state));
    raft_conf_state_encode(&self->conf_state, out);
}

static enum err read_wal_snapshot(struct slice bytes, struct wal_snapshot *self) {
    struct pb_reader reader = pb_reader_make(bytes, "Snapshot", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: self->index = pb_read_u64(&reader, "Index"); break;
        case 2: self->term = pb_read_u64(&reader, "Term"); break;
        case 3: {
            struct slice nested = pb_read_bytes(&reader, "ConfState");
            self->has_conf_state = true;
            if (reader.error == OK) reader.error = pb__merge_conf_state(nested, &self->conf_state, NULL);
            break;
        }
        default: pb_skip_field(&reader);
        }
    }
    return reader.error;
}

enum err wal_snapshot_decode(struct slice bytes, struct wal_snapshot *ret_snapshot) {
    struct wal_snapshot snapshot = {0};
    enum err error = read_wal_snapshot(bytes, &snapshot);
    if (error == OK)
        *ret_snapshot = snapshot;
    else
        wal_snapshot_release(&snapshot);
    return error;
}

size_t wal_record_size(const struct wal_record *self) {
    return 2 + varint_size((uint64_t)self->type) + varint_size(self->crc) + pb_bytes_size(self->data);
}

void wal_record_encode(const struct wal_record *self, struct buf *out) {
    pb_put_number(out, 1, (uint64_t)self->type);
    pb_put_number(out, 2, self->crc);
    pb_put_bytes(out, 3, self->data);
}

enum err wal_record_decode(struct slice bytes, struct wal_record *ret_record, struct errmsg *message) {
    struct wal_record record = {0};
    struct pb_reader reader = pb_reader_make(bytes, "Record", message);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: record.type = (int64_t)pb_read_u64(&reader, "Type"); break;
        case 2: record.crc = pb_read_u32(&reader, "Crc"); break;
        case 3: record.data = pb_read_bytes(&reader, "Data"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error == OK) *ret_record = record;
    return reader.error;
}

size_t snap_record_size(const struct snap_record *self) {
    return 1 + varint_size(self->crc) + pb_bytes_size(self->data);
}

void snap_record_encode(const struct snap_record *self, struct buf *out) {
    pb_put_number(out, 1, self->crc);
    pb_put_bytes(out, 2, self->data);
}

enum err snap_record_decode(struct slice bytes, struct snap_record *ret_record, struct errmsg *message) {
    struct snap_record record = {0};
    struct pb_reader reader = pb_reader_make(bytes, "Snapshot", message);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: record.crc = pb_read_u32(&reader, "Crc"); break;
        case 2: record.data = pb_read_bytes(&reader, "Data"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error == OK) *ret_record = record;
    return reader.error;
}

size_t wal_metadata_size(const struct wal_metadata *self) {
    return 2 + varint_size(self->node_id) + varint_size(self->cluster_id);
}

void wal_metadata_encode(const struct wal_metadata *self, struct buf *out) {
    pb_put_number(out, 1, self->node_id);
    pb_put_number(out, 2, self->cluster_id);
}

enum err wal_metadata_decode(struct slice bytes, struct wal_metadata *ret_metadata) {
    struct wal_metadata metadata = {0};
    struct pb_reader reader = pb_reader_make(bytes, "Metadata", NULL);
    while (pb_read_field(&reader)) {
        switch (reader.field) {
        case 1: metadata.node_id = pb_read_u64(&reader, "NodeID"); break;
        case 2: metadata.cluster_id = pb_read_u64(&reader, "ClusterID"); break;
        default: pb_skip_field(&reader);
        }
    }
    if (reader.error == OK) *ret_metadata = metadata;
    return reader.error;
}
