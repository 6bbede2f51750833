/* raftpb.c - the hand-written codecs of what members tell each other and keep in WAL and .snap files. The first byte
 * says which; what was understood is written and read again, and must be the same. */
#include "fuzz.h"

#include "pb/raftpb.h"

/* An entry takes two bytes in a message and 48 in memory, in a list that doubles. */
#define BASE_BYTES (64 * 1024)
#define FACTOR 256

enum {
    ENTRY,
    HARD_STATE,
    CONF_STATE,
    CONF_CHANGE,
    CONF_CHANGE_V2,
    SNAPSHOT,
    MESSAGE,
    WAL_SNAPSHOT,
    WAL_RECORD,
    SNAP_RECORD,
    WAL_METADATA,
    KINDS
};

/* Decodes `bytes` as a message of the type; if that works, appends its encoding. */
#define READ_AND_WRITE(type, decode, release)                                                                          \
    do {                                                                                                               \
        struct type value;                                                                                             \
        error = decode;                                                                                                \
        if (error != OK) break;                                                                                        \
        type##_encode(&value, out);                                                                                    \
        CHECK(out->len == type##_size(&value));                                                                        \
        release;                                                                                                       \
    } while (0)

static void use_copies(struct raft_message *message) {
    struct raft_message copy;
    CHECK(raft_message_type_name(message->type) != NULL);
    raft_message_copy(&copy, message);
    CHECK(copy.entry_count == message->entry_count && slice_equal(copy.context, message->context));
    if (copy.snapshot != NULL) CHECK(raft_conf_state_equal(&copy.snapshot->conf_state, &message->snapshot->conf_state));
    raft_message_release(&copy);
    raft_message_release(message);
}

static void use_entry(struct raft_entry *entry) {
    struct raft_entry copy = raft_entry_copy(entry);
    CHECK(slice_equal(copy.data, entry->data));
    raft_entry_release(&copy);
    raft_entry_release(entry);
}

static void use_conf_state(struct raft_conf_state *state) {
    struct raft_conf_state copy;
    raft_conf_state_copy(&copy, state);
    if (copy.voters.count > 1) {
        uint64_t first = copy.voters.items[0];
        copy.voters.items[0] = copy.voters.items[copy.voters.count - 1];
        copy.voters.items[copy.voters.count - 1] = first;
    }
    CHECK(raft_conf_state_equal(&copy, state));
    raft_conf_state_release(&copy);
    raft_conf_state_release(state);
}

static enum err read_and_write(int kind, struct slice bytes, struct shared *owner, struct buf *out) {
    enum err error = OK;
    struct errmsg message;
    switch (kind) {
    case ENTRY: READ_AND_WRITE(raft_entry, raft_entry_decode(bytes, owner, &value), use_entry(&value)); break;
    case HARD_STATE: READ_AND_WRITE(raft_hard_state, raft_hard_state_decode(bytes, &value), (void)0); break;
    case CONF_STATE:
        READ_AND_WRITE(raft_conf_state, raft_conf_state_decode(bytes, &value), use_conf_state(&value));
        break;
    case CONF_CHANGE: READ_AND_WRITE(raft_conf_change, raft_conf_change_decode(bytes, &value), (void)0); break;
    case CONF_CHANGE_V2:
        READ_AND_WRITE(raft_conf_change_v2, raft_conf_change_v2_decode(bytes, &value),
                       raft_conf_change_v2_release(&value));
        break;
    case SNAPSHOT:
        READ_AND_WRITE(raft_snapshot, raft_snapshot_decode(bytes, &value, &message), raft_snapshot_release(&value));
        break;
    case MESSAGE: READ_AND_WRITE(raft_message, raft_message_decode(bytes, owner, &value), use_copies(&value)); break;
    case WAL_SNAPSHOT:
        READ_AND_WRITE(wal_snapshot, wal_snapshot_decode(bytes, &value), wal_snapshot_release(&value));
        break;
    case WAL_RECORD: READ_AND_WRITE(wal_record, wal_record_decode(bytes, &value, &message), (void)0); break;
    case SNAP_RECORD: READ_AND_WRITE(snap_record, snap_record_decode(bytes, &value, &message), (void)0); break;
    case WAL_METADATA: READ_AND_WRITE(wal_metadata, wal_metadata_decode(bytes, &value), (void)0); break;
    }
    return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    int choice = fuzz_byte(&input), kind = choice % KINDS;
    struct shared *owner = shared_copy(fuzz_rest(&input));
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct fuzz_limit limit;
    fuzz_begin(&limit, size, BASE_BYTES, FACTOR);
    bool is_borrowed = choice / KINDS % 2;
    enum err error = read_and_write(kind, shared_slice(owner), is_borrowed ? NULL : owner, &first);
    fuzz_end();
    CHECK(error == OK || error == ERR_CORRUPT || error == ERR_UNEXPECTED_EOF);
    if (error == OK) {
        CHECK(read_and_write(kind, buf_slice(&first), NULL, &second) == OK);
        CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
    }
    CHECK(atomic_load(&owner->references) == 1);
    shared_unref(owner);
    buf_release(&first);
    buf_release(&second);
    return 0;
}
