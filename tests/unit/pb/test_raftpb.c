/* Bytes of the hand-written codecs: the examples of the format, the generated code as a second opinion, and noise. */
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/vec.h"
#include "pb/raft.pb-c.h"
#include "pb/raftpb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct buf from_hex(const char *text) {
    struct buf bytes = BUF_INIT;
    for (const char *at = text; *at != 0; at++) {
        if (*at == ' ') continue;
        char pair[3] = {at[0], at[1], 0};
        buf_append_byte(&bytes, (uint8_t)strtoul(pair, NULL, 16));
        at++;
    }
    return bytes;
}

static void assert_bytes(struct buf *actual, const char *expected_hex) {
    CLEANUP_BUF struct buf expected = from_hex(expected_hex);
    assert_int_equal(actual->len, expected.len);
    assert_memory_equal(actual->data, expected.data, expected.len);
    buf_release(actual);
}

/* ---- examples ---- */

static void link_heartbeat_is_as_recorded(void **state) {
    struct raft_message message = {.type = RAFT_MSG_HEARTBEAT};
    struct buf out = BUF_INIT;
    raft_message_encode(&message, &out);
    assert_int_equal(raft_message_size(&message), 0x1e);
    assert_bytes(&out, "0808 1000 1800 2000 2800 3000 4000 4a0a 1208 0a02 2800 1000 1800 5000 5800");
}

static void vote_request_is_as_recorded(void **state) {
    struct raft_message message = {.type = RAFT_MSG_VOTE, .to = 1, .from = 2, .term = 8, .log_term = 2, .index = 43};
    struct buf out = BUF_INIT;
    raft_message_encode(&message, &out);
    assert_bytes(&out, "0805 1001 1802 2008 2802 302b 4000 4a0a12080a022800 10001800 5000 5800");
}

static void leaders_empty_entry_has_no_data_tag(void **state) {
    struct raft_entry entry = {.term = 2, .index = 2};
    struct buf out = BUF_INIT;
    raft_entry_encode(&entry, &out);
    assert_bytes(&out, "0800 1002 1802");
    entry.data = SLICE_LITERAL("");
    raft_entry_encode(&entry, &out);
    assert_bytes(&out, "0800 1002 1802 2200");
}

static void head_and_data_are_the_entry(void **state) {
    struct raft_entry entry = {
        .type = RAFT_ENTRY_CONF_CHANGE, .term = UINT64_MAX, .index = UINT64_MAX, .data = SLICE_LITERAL("abc")};
    uint8_t head[RAFT_ENTRY_HEAD_MAX_BYTES];
    CLEANUP_BUF struct buf whole = BUF_INIT, parts = BUF_INIT;
    raft_entry_encode(&entry, &whole);
    buf_append(&parts, head, raft_entry_encode_head(&entry, head));
    buf_append_slice(&parts, entry.data);
    assert_int_equal(whole.len, raft_entry_size(&entry));
    assert_true(slice_equal(buf_slice(&whole), buf_slice(&parts)));
}

static void first_conf_change_of_a_cluster_is_as_recorded(void **state) {
    struct raft_conf_change change = {
        .type = RAFT_ADD_NODE, .node_id = 0x8e9e05c52164694d, .context = SLICE_LITERAL("{}")};
    struct buf out = BUF_INIT;
    raft_conf_change_encode(&change, &out);
    assert_bytes(&out, "0800 1000 18cdd2918bd2b881cf8e01 2202 7b7d");
}

static void snapshot_metadata_is_as_recorded(void **state) {
    uint64_t voter = 0x8e9e05c52164694d;
    struct raft_snapshot snapshot = {.index = 0x15, .term = 2, .conf_state = {.voters = {&voter, 1, 1}}};
    struct buf out = BUF_INIT;
    raft_snapshot_encode(&snapshot, &out);
    assert_bytes(&out, "1213 0a0d 08cdd2918bd2b881cf8e01 2800 1015 1802");
}

static void disk_messages_are_as_recorded(void **state) {
    struct buf out = BUF_INIT;
    struct wal_metadata metadata = {0x8e9e05c52164694d, 0xcdf818194e3a8c32};
    wal_metadata_encode(&metadata, &out);
    assert_int_equal(out.len, wal_metadata_size(&metadata));
    assert_bytes(&out, "08cdd2918bd2b881cf8e01 10b298eaf1948386fccd01");
    struct wal_snapshot none = {0};
    wal_snapshot_encode(&none, &out);
    assert_bytes(&out, "0800 1000");
    struct raft_hard_state hard_state = {.term = 1, .commit = 1};
    raft_hard_state_encode(&hard_state, &out);
    assert_bytes(&out, "0801 1000 1801");
    struct wal_record crc_record = {.type = WAL_RECORD_CRC};
    wal_record_encode(&crc_record, &out);
    assert_bytes(&out, "0804 1000");
    struct wal_record record = {WAL_RECORD_METADATA, 0, SLICE_LITERAL("\x08\xef\xfd\x02")};
    record.crc = crc32c(0, record.data.data, record.data.len);
    wal_record_encode(&record, &out);
    assert_bytes(&out, "0801 1099b5e4d003 1a04 08effd02");
}

/* ---- reading ---- */

static void missing_and_unknown_fields_are_fine(void **state) {
    struct raft_message message;
    assert_int_equal(raft_message_decode(SLICE_LITERAL(""), NULL, &message), OK);
    assert_null(message.snapshot);
    assert_int_equal(message.entry_count, 0);
    /* fields 13 (3.6's vote), 20 as varint, bytes, fixed and a group within a group */
    CLEANUP_BUF struct buf bytes = from_hex("0803 6807 a00105 a20103010203 a50101020304 a1010102030405060708 "
                                            "a301 08 01 ab01 0802 ac01 a401 1005");
    assert_int_equal(raft_message_decode(buf_slice(&bytes), NULL, &message), OK);
    assert_int_equal(message.type, RAFT_MSG_APP);
    assert_int_equal(message.to, 5);
    assert_int_equal(message.vote, 7);
    raft_message_release(&message);
}

static void snapshot_of_nothing_is_none(void **state) {
    struct raft_message message;
    CLEANUP_BUF struct buf empty = from_hex("0808 4a0a12080a022800 10001800");
    assert_int_equal(raft_message_decode(buf_slice(&empty), NULL, &message), OK);
    assert_null(message.snapshot);
    raft_message_release(&message);
    CLEANUP_BUF struct buf some = from_hex("0807 4a0c 0a00 12080a022800 10051801");
    assert_int_equal(raft_message_decode(buf_slice(&some), NULL, &message), OK);
    assert_non_null(message.snapshot);
    assert_int_equal(message.snapshot->index, 5);
    assert_non_null(message.snapshot->data);
    assert_int_equal(message.snapshot->data->size_bytes, 0);
    raft_message_release(&message);
}

static void lists_may_be_packed(void **state) {
    struct raft_conf_state conf_state;
    CLEANUP_BUF struct buf bytes = from_hex("0801 0a03 02ac02 1005 2801");
    assert_int_equal(raft_conf_state_decode(buf_slice(&bytes), &conf_state), OK);
    assert_int_equal(conf_state.voters.count, 3);
    assert_int_equal(conf_state.voters.items[2], 300);
    assert_int_equal(conf_state.learners.count, 1);
    assert_true(conf_state.auto_leave);
    raft_conf_state_release(&conf_state);
}

static void errors_read_as_go_writes_them(void **state) {
    static const struct {
        const char *bytes;
        enum err error;
        const char *text;
    } cases[] = {
        {"08", ERR_UNEXPECTED_EOF, "unexpected EOF"},
        {"1a05 0102", ERR_UNEXPECTED_EOF, "unexpected EOF"},
        {"0000", ERR_CORRUPT, "proto: Record: illegal tag 0 (wire type 0)"},
        {"0a00", ERR_CORRUPT, "proto: wrong wireType = 2 for field Type"},
        {"1c", ERR_CORRUPT, "proto: Record: wiretype end group for non-group"},
        {"08 ffffffffffffffffffff", ERR_CORRUPT, "proto: integer overflow"},
        {"1a ffffffffffffffffff01", ERR_CORRUPT, "proto: negative length found during unmarshaling"},
        {"26", ERR_CORRUPT, "proto: illegal wireType 6"},
        {"25 010203", ERR_UNEXPECTED_EOF, "unexpected EOF"},
        {"23 0801", ERR_UNEXPECTED_EOF, "unexpected EOF"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP_BUF struct buf bytes = from_hex(cases[i].bytes);
        struct wal_record record;
        struct errmsg message = {0};
        assert_int_equal(wal_record_decode(buf_slice(&bytes), &record, &message), cases[i].error);
        assert_string_equal(message.text, cases[i].text);
    }
}

static void data_points_into_its_owner(void **state) {
    struct shared *owner = shared_copy(SLICE_LITERAL("\x08\x00\x10\x01\x18\x02\x22\x03zyx"));
    struct raft_entry entry;
    assert_int_equal(raft_entry_decode(shared_slice(owner), owner, &entry), OK);
    assert_ptr_equal(entry.data.data, owner->bytes + 8);
    assert_ptr_equal(entry.owner, owner);
    struct raft_entry copy = raft_entry_copy(&entry);
    assert_ptr_equal(copy.data.data, entry.data.data);
    assert_int_equal(atomic_load(&owner->references), 3);
    raft_entry_release(&copy);
    raft_entry_release(&entry);
    assert_int_equal(atomic_load(&owner->references), 1);

    assert_int_equal(raft_entry_decode(shared_slice(owner), NULL, &entry), OK);
    assert_null(entry.owner);
    copy = raft_entry_copy(&entry);
    assert_ptr_not_equal(copy.data.data, entry.data.data);
    assert_true(slice_equal_cstr(copy.data, "zyx"));
    raft_entry_release(&copy);
    shared_unref(owner);
}

static void conf_states_are_equal_in_any_order(void **state) {
    uint64_t a[] = {1, 2, 3}, b[] = {3, 1, 2}, c[] = {3, 1, 1};
    struct raft_conf_state x = {.voters = {a, 3, 3}}, y = {.voters = {b, 3, 3}}, z = {.voters = {c, 3, 3}};
    struct raft_conf_state w = {.learners = {a, 3, 3}};
    assert_true(raft_conf_state_equal(&x, &y));
    assert_false(raft_conf_state_equal(&x, &z));
    assert_false(raft_conf_state_equal(&x, &w));
    y.auto_leave = true;
    assert_false(raft_conf_state_equal(&x, &y));
}

static void types_have_their_names(void **state) {
    assert_string_equal(raft_message_type_name(RAFT_MSG_HUP), "MsgHup");
    assert_string_equal(raft_message_type_name(RAFT_MSG_PRE_VOTE_RESP), "MsgPreVoteResp");
    assert_string_equal(raft_message_type_name(RAFT_MSG_FORGET_LEADER), "MsgForgetLeader");
    assert_string_equal(raft_message_type_name((enum raft_message_type)24), "MsgUnknown");
}

/* ---- against the generated code ---- */

static uint64_t draw_number(struct prng *prng) { return prng_next(prng) >> prng_below(prng, 64); }

static struct shared *draw_bytes(struct prng *prng) {
    if (prng_below(prng, 4) == 0) return NULL;
    struct shared *bytes = shared_new(prng_below(prng, 300));
    for (size_t i = 0; i < bytes->size_bytes; i++) bytes->bytes[i] = (uint8_t)prng_next(prng);
    return bytes;
}

static struct raft_ids draw_ids(struct prng *prng) {
    struct raft_ids ids = {0};
    for (uint64_t i = prng_below(prng, 4); i > 0; i--) {
        uint64_t id = draw_number(prng);
        VEC_PUSH(&ids, id);
    }
    return ids;
}

static struct raft_message draw_message(struct prng *prng) {
    struct raft_message message = {
        .type = (enum raft_message_type)prng_below(prng, 19),
        .to = draw_number(prng),
        .from = draw_number(prng),
        .term = draw_number(prng),
        .log_term = draw_number(prng),
        .index = draw_number(prng),
        .commit = draw_number(prng),
        .reject = prng_below(prng, 2),
        .reject_hint = draw_number(prng),
        .entry_count = prng_below(prng, 5),
        .owner = draw_bytes(prng),
    };
    message.context = shared_slice(message.owner);
    if (message.entry_count > 0) message.entries = NEW_ARRAY(struct raft_entry, message.entry_count);
    for (size_t i = 0; i < message.entry_count; i++) {
        message.entries[i] = raft_entry_make((enum raft_entry_type)prng_below(prng, 3), draw_number(prng),
                                             draw_number(prng), draw_bytes(prng));
    }
    if (prng_below(prng, 3) == 0) {
        message.snapshot = NEW(struct raft_snapshot);
        *message.snapshot = (struct raft_snapshot){
            .data = draw_bytes(prng),
            .index = draw_number(prng) | 1,
            .term = draw_number(prng),
            .conf_state = {draw_ids(prng), draw_ids(prng), draw_ids(prng), draw_ids(prng), prng_below(prng, 2)},
        };
    }
    return message;
}

static void assert_same_bytes(const ProtobufCBinaryData *theirs, int has, struct slice ours) {
    assert_int_equal(has, ours.data != NULL);
    assert_int_equal(has ? theirs->len : 0, ours.len);
    if (ours.len > 0) assert_memory_equal(theirs->data, ours.data, ours.len);
}

static void assert_same_ids(const uint64_t *theirs, size_t count, const struct raft_ids *ours) {
    assert_int_equal(count, ours->count);
    if (count > 0) assert_memory_equal(theirs, ours->items, count * sizeof *theirs);
}

static void generated_code_reads_what_we_write_and_back(void **state) {
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 3000; round++) {
        struct raft_message message = draw_message(&prng);
        CLEANUP_BUF struct buf ours = BUF_INIT;
        raft_message_encode(&message, &ours);
        assert_int_equal(ours.len, raft_message_size(&message));

        Raftpb__Message *theirs = raftpb__message__unpack(NULL, ours.len, ours.data);
        assert_non_null(theirs);
        assert_int_equal(theirs->type, message.type);
        assert_int_equal(theirs->rejecthint, message.reject_hint);
        assert_int_equal(theirs->n_entries, message.entry_count);
        for (size_t i = 0; i < message.entry_count; i++) {
            assert_int_equal(theirs->entries[i]->type, message.entries[i].type);
            assert_int_equal(theirs->entries[i]->index, message.entries[i].index);
            assert_same_bytes(&theirs->entries[i]->data, theirs->entries[i]->has_data, message.entries[i].data);
        }
        assert_same_bytes(&theirs->context, theirs->has_context, message.context);
        assert_non_null(theirs->snapshot);
        const Raftpb__ConfState *conf_state = theirs->snapshot->metadata->conf_state;
        struct raft_conf_state nobody = {0};
        const struct raft_conf_state *own = message.snapshot != NULL ? &message.snapshot->conf_state : &nobody;
        assert_same_ids(conf_state->voters, conf_state->n_voters, &own->voters);
        assert_same_ids(conf_state->learners_next, conf_state->n_learners_next, &own->learners_next);

        uint8_t *again = mem_alloc(ours.len + 1);
        assert_int_equal(raftpb__message__get_packed_size(theirs), ours.len);
        raftpb__message__pack(theirs, again);
        assert_memory_equal(again, ours.data, ours.len);
        mem_free(again);
        raftpb__message__free_unpacked(theirs, NULL);

        struct shared *owner = shared_copy(buf_slice(&ours));
        struct raft_message decoded, copy;
        assert_int_equal(raft_message_decode(shared_slice(owner), owner, &decoded), OK);
        raft_message_copy(&copy, &decoded);
        raft_message_release(&decoded);
        shared_unref(owner);
        CLEANUP_BUF struct buf twice = BUF_INIT;
        raft_message_encode(&copy, &twice);
        assert_true(slice_equal(buf_slice(&twice), buf_slice(&ours)));
        raft_message_release(&copy);
        raft_message_release(&message);
    }
}

static void conf_changes_come_back(void **state) {
    struct prng prng;
    prng_init(&prng, 8);
    for (int round = 0; round < 1000; round++) {
        struct shared *context = draw_bytes(&prng);
        struct raft_conf_change_single singles[3];
        for (int i = 0; i < 3; i++) {
            singles[i].type = (enum raft_conf_change_type)prng_below(&prng, 4);
            singles[i].node_id = draw_number(&prng);
        }
        struct raft_conf_change_v2 v2 = {(enum raft_conf_change_transition)prng_below(&prng, 3), singles,
                                         prng_below(&prng, 4), shared_slice(context)};
        CLEANUP_BUF struct buf bytes = BUF_INIT, again = BUF_INIT;
        raft_conf_change_v2_encode(&v2, &bytes);
        assert_int_equal(bytes.len, raft_conf_change_v2_size(&v2));
        struct raft_conf_change_v2 decoded;
        assert_int_equal(raft_conf_change_v2_decode(buf_slice(&bytes), &decoded), OK);
        raft_conf_change_v2_encode(&decoded, &again);
        assert_true(slice_equal(buf_slice(&bytes), buf_slice(&again)));
        raft_conf_change_v2_release(&decoded);

        struct raft_conf_change v1 = {draw_number(&prng), singles[0].type, singles[0].node_id, shared_slice(context)};
        struct raft_conf_change v1_decoded;
        buf_clear(&bytes);
        raft_conf_change_encode(&v1, &bytes);
        assert_int_equal(bytes.len, raft_conf_change_size(&v1));
        assert_int_equal(raft_conf_change_decode(buf_slice(&bytes), &v1_decoded), OK);
        assert_int_equal(v1_decoded.id, v1.id);
        assert_int_equal(v1_decoded.node_id, v1.node_id);
        assert_true(slice_equal(v1_decoded.context, v1.context));
        shared_unref(context);
    }
}

/* ---- noise ---- */

/* Each decoder on the same bytes, copied to memory of exactly their length so that a sanitizer sees a step beyond. */
static void decode_with_all(struct slice noise) {
    struct shared *owner = shared_copy(noise);
    struct slice bytes = shared_slice(owner);
    struct raft_message message;
    if (raft_message_decode(bytes, owner, &message) == OK) raft_message_release(&message);
    struct raft_entry entry;
    if (raft_entry_decode(bytes, owner, &entry) == OK) raft_entry_release(&entry);
    struct raft_snapshot snapshot;
    struct errmsg text;
    if (raft_snapshot_decode(bytes, &snapshot, &text) == OK) raft_snapshot_release(&snapshot);
    struct raft_conf_state conf_state;
    if (raft_conf_state_decode(bytes, &conf_state) == OK) raft_conf_state_release(&conf_state);
    struct raft_conf_change_v2 change_v2;
    if (raft_conf_change_v2_decode(bytes, &change_v2) == OK) raft_conf_change_v2_release(&change_v2);
    struct wal_snapshot wal_snapshot;
    if (wal_snapshot_decode(bytes, &wal_snapshot) == OK) wal_snapshot_release(&wal_snapshot);
    struct raft_conf_change change;
    struct raft_hard_state hard_state;
    struct wal_record record;
    struct snap_record snap_record;
    struct wal_metadata metadata;
    int good = (raft_conf_change_decode(bytes, &change) == OK) + (raft_hard_state_decode(bytes, &hard_state) == OK) +
               (wal_record_decode(bytes, &record, &text) == OK) +
               (snap_record_decode(bytes, &snap_record, &text) == OK) + (wal_metadata_decode(bytes, &metadata) == OK);
    assert_in_range(good, 0, 5);
    assert_int_equal(atomic_load(&owner->references), 1);
    shared_unref(owner);
}

static void noise_is_refused_or_read_but_never_trips(void **state) {
    struct prng prng;
    prng_init(&prng, 9);
    uint8_t noise[64];
    for (int round = 0; round < 50000; round++) {
        size_t len = prng_below(&prng, sizeof noise + 1);
        for (size_t i = 0; i < len; i++) noise[i] = (uint8_t)(prng_next(&prng) >> prng_below(&prng, 8));
        decode_with_all(slice_make(noise, len));
    }
    for (int round = 0; round < 3000; round++) {
        struct raft_message message = draw_message(&prng);
        CLEANUP_BUF struct buf bytes = BUF_INIT;
        raft_message_encode(&message, &bytes);
        raft_message_release(&message);
        for (uint64_t flips = prng_below(&prng, 3); flips > 0; flips--)
            bytes.data[prng_below(&prng, bytes.len)] ^= (uint8_t)(1u << prng_below(&prng, 8));
        decode_with_all(slice_make(bytes.data, prng_below(&prng, bytes.len + 1)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_heartbeat_is_as_recorded),
        cmocka_unit_test(vote_request_is_as_recorded),
        cmocka_unit_test(leaders_empty_entry_has_no_data_tag),
        cmocka_unit_test(head_and_data_are_the_entry),
        cmocka_unit_test(first_conf_change_of_a_cluster_is_as_recorded),
        cmocka_unit_test(snapshot_metadata_is_as_recorded),
        cmocka_unit_test(disk_messages_are_as_recorded),
        cmocka_unit_test(missing_and_unknown_fields_are_fine),
        cmocka_unit_test(snapshot_of_nothing_is_none),
        cmocka_unit_test(lists_may_be_packed),
        cmocka_unit_test(errors_read_as_go_writes_them),
        cmocka_unit_test(data_points_into_its_owner),
        cmocka_unit_test(conf_states_are_equal_in_any_order),
        cmocka_unit_test(types_have_their_names),
        cmocka_unit_test(generated_code_reads_what_we_write_and_back),
        cmocka_unit_test(conf_changes_come_back),
        cmocka_unit_test(noise_is_refused_or_read_but_never_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
