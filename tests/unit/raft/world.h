/* world.h - several rafts in one process: messages in a list, disks that save when told to.
 *
 * Each node's disk is what a restart would find: hard state, snapshot metadata, entries. What an update asks to save
 * waits until the test says so, or is lost by a crash.
 */
#ifndef TEST_RAFT_WORLD_H
#define TEST_RAFT_WORLD_H

#include "base/check.h"
#include "base/prng.h"
#include "base/vec.h"
#include "raft/raft.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX_NODES 9

struct pending_save {
    uint64_t save_id;
    bool hard_changed;
    struct raft_hard_state hard;
    bool has_snapshot;
    struct raft_snapshot snapshot;
    struct raft_entry *entries;
    size_t entry_count;
};

struct node {
    struct raft *raft;
    bool is_down;
    uint64_t runs; /* starts so far: seeds differ */
    /* disk */
    struct raft_hard_state hard;
    struct raft_snapshot snapshot; /* of the state machine too: data is the applied text's checksum */
    VEC(struct raft_entry) entries;
    VEC(struct pending_save) saves;
    /* state machine: what was applied, and the members after it */
    uint64_t applied;
    VEC(struct raft_entry) applied_entries; /* since the last start or snapshot */
    /* seen in updates */
    uint64_t lead;
    enum raft_role role;
    VEC(struct raft_read_state) reads; /* contexts are not kept, only their first 8 bytes in the slice's len */
    VEC(uint64_t) read_contexts;
};

struct world {
    struct node nodes[MAX_NODES + 1]; /* by id, from 1 */
    size_t count;
    bool pre_vote;
    bool check_quorum;
    bool saves_at_once;
    uint64_t max_message_bytes;
    uint64_t max_applying_bytes;
    uint32_t max_inflight;
    uint64_t seed;
    VEC(struct raft_message) network;
    bool (*drops)(struct world *world, const struct raft_message *message);
    uint64_t cut; /* bit n: member n is on the other side of a cut network */
    struct prng prng;
    /* of all nodes: what was committed at each index */
    VEC(struct raft_entry) truth;
};

static inline struct raft_entry text_entry(const char *text) {
    return (struct raft_entry){.type = RAFT_ENTRY_NORMAL, .data = slice_from_cstr(text)};
}

static inline void world_absorb(struct world *world, uint64_t id, const struct raft_update *update);

static inline enum err world_step(struct world *world, uint64_t id, struct raft_event event) {
    struct node *node = &world->nodes[id];
    struct raft_update update;
    enum err error = raft_step(node->raft, &event, &update);
    world_absorb(world, id, &update);
    while (raft_has_update(node->raft)) {
        raft_step(node->raft, &(struct raft_event){.type = RAFT_NOTHING}, &update);
        world_absorb(world, id, &update);
    }
    return error;
}

/* The oldest outstanding save reaches the disk. False: there is none. */
static inline bool world_save_one(struct world *world, uint64_t id) {
    struct node *node = &world->nodes[id];
    if (node->saves.count == 0) return false;
    struct pending_save save = node->saves.items[0];
    node->saves.count--;
    memmove(node->saves.items, node->saves.items + 1, node->saves.count * sizeof save);
    if (save.has_snapshot) {
        raft_snapshot_release(&node->snapshot);
        node->snapshot = save.snapshot;
        for (size_t i = 0; i < node->entries.count; i++) raft_entry_release(&node->entries.items[i]);
        node->entries.count = 0;
    }
    for (size_t i = 0; i < save.entry_count; i++) {
        uint64_t base = node->snapshot.index;
        assert_true(save.entries[i].index > base);
        assert_true(save.entries[i].index <= base + node->entries.count + 1);
        while (base + node->entries.count >= save.entries[i].index)
            raft_entry_release(&node->entries.items[--node->entries.count]);
        VEC_PUSH(&node->entries, save.entries[i]);
    }
    mem_free(save.entries);
    if (save.hard_changed) node->hard = save.hard;
    if (save.save_id != 0) world_step(world, id, (struct raft_event){.type = RAFT_SAVED, .save_id = save.save_id});
    if (save.has_snapshot && !node->is_down) {
        /* installed */
        for (size_t i = 0; i < node->applied_entries.count; i++) raft_entry_release(&node->applied_entries.items[i]);
        node->applied_entries.count = 0;
        node->applied = node->snapshot.index;
        world_step(world, id, (struct raft_event){.type = RAFT_APPLIED, .applied = node->applied});
    }
    return true;
}

static inline void world_check_truth(struct world *world, const struct raft_entry *entry) {
    if (entry->index <= world->truth.count) {
        const struct raft_entry *known = &world->truth.items[entry->index - 1];
        if (known->index == 0) {
            world->truth.items[entry->index - 1] = raft_entry_copy(entry);
            return;
        }
        assert_int_equal(known->term, entry->term);
        assert_int_equal(known->type, entry->type);
        assert_true(slice_equal(known->data, entry->data));
        return;
    }
    while (world->truth.count + 1 < entry->index) VEC_PUSH(&world->truth, (struct raft_entry){0});
    VEC_PUSH(&world->truth, raft_entry_copy(entry));
}

static inline void world_apply(struct world *world, uint64_t id, const struct raft_entry *entries, size_t count) {
    struct node *node = &world->nodes[id];
    /* The update's memory is gone with the first step. */
    struct raft_entry *copies = NEW_ARRAY(struct raft_entry, count + 1);
    for (size_t i = 0; i < count; i++) copies[i] = raft_entry_copy(&entries[i]);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(copies[i].index, node->applied + 1);
        world_check_truth(world, &copies[i]);
        if (copies[i].type == RAFT_ENTRY_CONF_CHANGE) {
            struct raft_conf_change change;
            assert_int_equal(raft_conf_change_decode(copies[i].data, &change), OK);
            assert_int_equal(
                raft_step(node->raft, &(struct raft_event){.type = RAFT_CONF_CHANGE, .conf_change = &change}, NULL),
                OK);
        } else if (copies[i].type == RAFT_ENTRY_CONF_CHANGE_V2) {
            struct raft_conf_change_v2 change;
            assert_int_equal(raft_conf_change_v2_decode(copies[i].data, &change), OK);
            assert_int_equal(raft_step(node->raft,
                                       &(struct raft_event){.type = RAFT_CONF_CHANGE_V2, .conf_change_v2 = &change},
                                       NULL),
                             OK);
            raft_conf_change_v2_release(&change);
        }
        node->applied = copies[i].index;
        VEC_PUSH(&node->applied_entries, copies[i]);
    }
    mem_free(copies);
    world_step(world, id, (struct raft_event){.type = RAFT_APPLIED, .applied = node->applied});
}

static inline void world_absorb(struct world *world, uint64_t id, const struct raft_update *update) {
    struct node *node = &world->nodes[id];
    node->lead = update->lead;
    node->role = update->role;
    for (size_t i = 0; i < update->message_count; i++) {
        struct raft_message copy;
        raft_message_copy(&copy, &update->messages[i]);
        assert_int_not_equal(copy.to, id);
        if (copy.type == RAFT_MSG_SNAP) {
            /* as the server does: what is applied now, not what the log was last compacted to */
            struct raft_snapshot *snapshot = copy.snapshot;
            assert_true(raft_applied_index(node->raft) >= snapshot->index);
            raft_conf_state_release(&snapshot->conf_state);
            raft_conf_state_copy(&snapshot->conf_state, raft_conf_state(node->raft));
            snapshot->index = raft_applied_index(node->raft);
            assert_int_equal(raft_term_at(node->raft, snapshot->index, &snapshot->term), OK);
        }
        if (world->drops != NULL && world->drops(world, &copy))
            raft_message_release(&copy);
        else
            VEC_PUSH(&world->network, copy);
    }
    for (size_t i = 0; i < update->read_state_count; i++) {
        uint64_t context = 0;
        assert_int_equal(update->read_states[i].context.len, 8);
        memcpy(&context, update->read_states[i].context.data, 8);
        VEC_PUSH(&node->reads, update->read_states[i]);
        VEC_PUSH(&node->read_contexts, context);
    }
    assert_true((update->save_id != 0) == update->must_sync);
    if (update->hard_changed || update->entry_count > 0 || update->snapshot != NULL) {
        struct pending_save save = {.save_id = update->save_id,
                                    .hard_changed = update->hard_changed,
                                    .hard = update->hard,
                                    .has_snapshot = update->snapshot != NULL,
                                    .entry_count = update->entry_count};
        if (update->snapshot != NULL) raft_snapshot_copy(&save.snapshot, update->snapshot);
        save.entries = NEW_ARRAY(struct raft_entry, update->entry_count + 1);
        for (size_t i = 0; i < update->entry_count; i++) save.entries[i] = raft_entry_copy(&update->entries[i]);
        VEC_PUSH(&node->saves, save);
    }
    if (update->committed_count > 0) world_apply(world, id, update->committed, update->committed_count);
    if (world->saves_at_once)
        while (world_save_one(world, id)) continue;
}

static inline void world_start(struct world *world, uint64_t id) {
    struct node *node = &world->nodes[id];
    struct raft_config config = {
        .id = id,
        .election_ticks = 10,
        .heartbeat_ticks = 1,
        .check_quorum = world->check_quorum,
        .pre_vote = world->pre_vote,
        .max_message_bytes = world->max_message_bytes,
        .max_applying_bytes = world->max_applying_bytes,
        .max_inflight = world->max_inflight,
        .seed = world->seed * 1000 + id * 100 + node->runs++,
    };
    struct raft_start start = {
        .hard_state = node->hard,
        .snapshot_index = node->snapshot.index,
        .snapshot_term = node->snapshot.term,
        .conf_state = &node->snapshot.conf_state,
        .entries = node->entries.items,
        .entry_count = node->entries.count,
    };
    struct errmsg message = {{0}};
    assert_int_equal(raft_new(&config, &start, &node->raft, &message), OK);
    node->applied = node->snapshot.index;
    node->is_down = false;
}

static inline void world_clear_node(struct node *node) {
    raft_free(node->raft);
    node->raft = NULL;
    for (size_t i = 0; i < node->saves.count; i++) {
        struct pending_save *save = &node->saves.items[i];
        for (size_t j = 0; j < save->entry_count; j++) raft_entry_release(&save->entries[j]);
        mem_free(save->entries);
        if (save->has_snapshot) raft_snapshot_release(&save->snapshot);
    }
    node->saves.count = 0;
    for (size_t i = 0; i < node->applied_entries.count; i++) raft_entry_release(&node->applied_entries.items[i]);
    node->applied_entries.count = 0;
    node->reads.count = node->read_contexts.count = 0;
}

static inline void world_crash(struct world *world, uint64_t id) {
    world_clear_node(&world->nodes[id]);
    world->nodes[id].is_down = true;
    world->nodes[id].lead = 0;
    world->nodes[id].role = RAFT_FOLLOWER;
}

/* `voters` nodes that know each other from a snapshot at index 1, term 1; others up to `count` know nobody. */
static inline void world_init(struct world *world, size_t count, size_t voters) {
    world->count = count;
    prng_init(&world->prng, world->seed);
    for (uint64_t id = 1; id <= count; id++) {
        struct node *node = &world->nodes[id];
        if (id <= voters) {
            node->snapshot.index = 1;
            node->snapshot.term = 1;
            for (uint64_t voter = 1; voter <= voters; voter++) VEC_PUSH(&node->snapshot.conf_state.voters, voter);
            node->hard = (struct raft_hard_state){.term = 1, .commit = 1};
        }
        world_start(world, id);
    }
}

static inline void world_release(struct world *world) {
    for (uint64_t id = 1; id <= world->count; id++) {
        struct node *node = &world->nodes[id];
        world_clear_node(node);
        raft_snapshot_release(&node->snapshot);
        for (size_t i = 0; i < node->entries.count; i++) raft_entry_release(&node->entries.items[i]);
        VEC_RELEASE(&node->entries);
        VEC_RELEASE(&node->saves);
        VEC_RELEASE(&node->applied_entries);
        VEC_RELEASE(&node->reads);
        VEC_RELEASE(&node->read_contexts);
    }
    for (size_t i = 0; i < world->network.count; i++) raft_message_release(&world->network.items[i]);
    VEC_RELEASE(&world->network);
    for (size_t i = 0; i < world->truth.count; i++) raft_entry_release(&world->truth.items[i]);
    VEC_RELEASE(&world->truth);
}

/* Delivers the message at a place of the list. */
static inline void world_deliver(struct world *world, size_t at) {
    struct raft_message message = world->network.items[at];
    world->network.count--;
    memmove(world->network.items + at, world->network.items + at + 1,
            (world->network.count - at) * sizeof *world->network.items);
    if (message.to >= 1 && message.to <= world->count && !world->nodes[message.to].is_down)
        (void)world_step(world, message.to, (struct raft_event){.type = RAFT_RECEIVE, .message = &message});
    raft_message_release(&message);
}

/* Until nothing is on its way and everything is saved. */
static inline void world_settle(struct world *world) {
    for (bool busy = true; busy;) {
        busy = world->network.count > 0;
        while (world->network.count > 0) world_deliver(world, 0);
        for (uint64_t id = 1; id <= world->count; id++)
            while (!world->nodes[id].is_down && world_save_one(world, id)) busy = true;
    }
}

static inline void world_tick(struct world *world, uint64_t id) {
    (void)world_step(world, id, (struct raft_event){.type = RAFT_TICK});
}

static inline enum err world_propose(struct world *world, uint64_t id, const char *text) {
    struct raft_entry entry = text_entry(text);
    return world_step(world, id, (struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = &entry, .count = 1}});
}

static inline enum err world_propose_change(struct world *world, uint64_t id, enum raft_conf_change_type type,
                                            uint64_t node_id) {
    struct raft_conf_change change = {.type = type, .node_id = node_id};
    struct buf bytes CLEANUP_BUF = BUF_INIT;
    raft_conf_change_encode(&change, &bytes);
    struct raft_entry entry = {.type = RAFT_ENTRY_CONF_CHANGE, .data = buf_slice(&bytes)};
    return world_step(world, id, (struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = &entry, .count = 1}});
}

static inline enum err world_read(struct world *world, uint64_t id, uint64_t context) {
    return world_step(
        world, id, (struct raft_event){.type = RAFT_READ_INDEX, .read_context = slice_make(&context, sizeof context)});
}

/* Makes a snapshot of what is applied, and forgets the log up to `keep` entries before it. False: nothing new. */
static inline bool world_compact(struct world *world, uint64_t id, uint64_t keep) {
    struct raft *raft = world->nodes[id].raft;
    uint64_t applied = raft_applied_index(raft);
    if (applied < 2 || raft_set_snapshot(raft, applied, raft_conf_state(raft), NULL) != OK) return false;
    if (applied < raft_first_index(raft) + keep) return true;
    assert_int_equal(raft_compact(raft, applied - keep), OK);
    return true;
}

/* The one who leads the highest term, 0 = nobody. */
static inline uint64_t world_leader(struct world *world) {
    uint64_t leader = 0;
    uint64_t term = 0;
    for (uint64_t id = 1; id <= world->count; id++) {
        struct node *node = &world->nodes[id];
        if (node->is_down) continue;
        struct raft_status status;
        raft_status(node->raft, &status);
        if (status.role == RAFT_LEADER && status.hard.term > term) {
            term = status.hard.term;
            leader = id;
        }
    }
    return leader;
}

#endif
