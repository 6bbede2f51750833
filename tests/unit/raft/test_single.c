/* One voter, from its first start on. */
#include "world.h"

static void start_new(struct world *world) {
    world->count = 1;
    world_start(world, 1);
    struct raft_peer self = {.id = 1, .context = SLICE_LITERAL("{}")};
    raft_bootstrap(world->nodes[1].raft, &self, 1);
}

/* Elects the lone voter. */
static void elect(struct world *world) {
    for (int i = 0; i < 20 && world->nodes[1].role != RAFT_LEADER; i++) {
        world_tick(world, 1);
        world_settle(world);
    }
    assert_int_equal(world->nodes[1].role, RAFT_LEADER);
}

static void bootstrap_gives_its_entries_to_save_and_then_to_apply(void **state) {
    struct world world = {0};
    world.count = 1;
    world_start(&world, 1);
    struct raft *raft = world.nodes[1].raft;
    struct raft_peer self = {.id = 1, .context = SLICE_LITERAL("{\"id\":1}")};
    raft_bootstrap(raft, &self, 1);

    struct raft_update update;
    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_NOTHING}, &update), OK);
    assert_true(update.hard_changed && update.must_sync);
    assert_int_equal(update.hard.term, 1);
    assert_int_equal(update.hard.vote, 0);
    assert_int_equal(update.hard.commit, 1);
    assert_int_equal(update.save_id, 1);
    assert_int_equal(update.entry_count, 1);
    assert_int_equal(update.entries[0].type, RAFT_ENTRY_CONF_CHANGE);
    assert_int_equal(update.entries[0].term, 1);
    assert_int_equal(update.entries[0].index, 1);
    const uint8_t bytes[] = {0x08, 0, 0x10, 0, 0x18, 1, 0x22, 8, '{', '"', 'i', 'd', '"', ':', '1', '}'};
    assert_true(slice_equal(update.entries[0].data, slice_make(bytes, sizeof bytes)));
    assert_int_equal(update.committed_count, 0); /* not saved yet */
    assert_true(raft_is_voter(raft, 1));

    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = 1}, &update), OK);
    assert_false(update.hard_changed);
    assert_int_equal(update.entry_count, 0);
    assert_int_equal(update.committed_count, 1);
    assert_int_equal(update.committed[0].index, 1);
    world_release(&world);
}

static void no_campaign_while_a_conf_change_is_unapplied(void **state) {
    struct world world = {0};
    world.count = 1;
    world_start(&world, 1);
    struct raft *raft = world.nodes[1].raft;
    raft_bootstrap(raft, &(struct raft_peer){.id = 1}, 1);
    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN}, &update);
    assert_int_equal(update.role, RAFT_FOLLOWER);
    raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = 1}, &update);
    struct raft_conf_change change = {.type = RAFT_ADD_NODE, .node_id = 1};
    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_CONF_CHANGE, .conf_change = &change}, NULL), OK);
    raft_step(raft, &(struct raft_event){.type = RAFT_APPLIED, .applied = 1}, &update);
    raft_step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN}, &update);
    assert_int_equal(update.role, RAFT_CANDIDATE);
    world_release(&world);
}

static void its_own_vote_counts_when_it_is_saved(void **state) {
    struct world world = {.pre_vote = true};
    start_new(&world);
    world_settle(&world);
    world_step(&world, 1, (struct raft_event){.type = RAFT_NOTHING});
    world_settle(&world);
    struct raft *raft = world.nodes[1].raft;
    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN}, &update);
    assert_int_equal(update.role, RAFT_CANDIDATE);
    assert_int_equal(update.hard.term, 2);
    assert_int_equal(update.hard.vote, 1);
    assert_true(update.must_sync);
    uint64_t vote_save = update.save_id;
    raft_step(raft, &(struct raft_event){.type = RAFT_TICK}, &update);
    assert_int_equal(update.role, RAFT_CANDIDATE);
    raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = vote_save}, &update);
    assert_int_equal(update.role, RAFT_LEADER);
    assert_true(update.soft_changed);
    assert_int_equal(update.lead, 1);
    assert_int_equal(update.entry_count, 1);
    assert_int_equal(update.entries[0].term, 2);
    assert_int_equal(update.entries[0].index, 2);
    assert_null(update.entries[0].data.data);
    assert_int_equal(update.committed_count, 0);
    raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = update.save_id}, &update);
    assert_int_equal(update.hard.commit, 2);
    assert_false(update.must_sync);
    assert_int_equal(update.save_id, 0);
    assert_int_equal(update.committed_count, 1);
    world_release(&world);
}

static void proposals_commit_when_saved_in_any_grouping(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    struct raft *raft = world.nodes[1].raft;
    struct raft_entry three[] = {text_entry("a"), text_entry("b"), text_entry("c")};
    struct raft_event propose = {.type = RAFT_PROPOSE, .propose = {.entries = three, .count = 3}};
    struct raft_update first;
    struct raft_update second;
    raft_step(raft, &propose, &first);
    assert_int_equal(first.entry_count, 3);
    assert_int_equal(first.entries[0].index, 3);
    assert_int_equal(first.message_count, 0);
    uint64_t first_save = first.save_id;
    propose.propose.count = 1;
    raft_step(raft, &propose, &second);
    assert_int_equal(second.entry_count, 1);
    assert_int_equal(second.entries[0].index, 6);
    assert_int_equal(second.save_id, first_save + 1);
    uint64_t second_save = second.save_id;

    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = first_save}, &update);
    assert_int_equal(update.hard.commit, 5);
    assert_int_equal(update.committed_count, 3);
    assert_true(slice_equal_cstr(update.committed[2].data, "c"));
    raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = second_save}, &update);
    assert_int_equal(update.hard.commit, 6);
    assert_int_equal(update.committed_count, 1);
    assert_false(raft_has_update(raft));
    world_release(&world);
}

static void borrowed_data_is_copied_and_shared_data_is_not(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    struct raft *raft = world.nodes[1].raft;
    char text[] = "borrowed";
    struct shared *owner = shared_copy(SLICE_LITERAL("shared"));
    struct raft_entry entries[] = {text_entry(text), raft_entry_make(RAFT_ENTRY_NORMAL, 0, 0, shared_ref(owner))};
    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = entries, .count = 2}}, &update);
    text[0] = 'X';
    assert_true(slice_equal_cstr(update.entries[0].data, "borrowed"));
    assert_ptr_equal(update.entries[1].data.data, owner->bytes);
    raft_entry_release(&entries[1]);
    shared_unref(owner);
    assert_true(slice_equal_cstr(update.entries[1].data, "shared"));
    world_release(&world);
}

static void committed_entries_come_in_portions_as_they_are_applied(void **state) {
    struct world world = {.max_applying_bytes = 100};
    start_new(&world);
    elect(&world);
    struct raft *raft = world.nodes[1].raft;
    char big[61] = {0};
    memset(big, 'x', 60);
    struct raft_entry entries[] = {text_entry(big), text_entry(big), text_entry(big)};
    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = entries, .count = 3}}, &update);
    raft_step(raft, &(struct raft_event){.type = RAFT_SAVED, .save_id = update.save_id}, &update);
    assert_int_equal(update.committed_count, 1);
    assert_true(update.has_more); /* 69 bytes are out: there is room for one more, however large */
    raft_step(raft, &(struct raft_event){.type = RAFT_NOTHING}, &update);
    assert_int_equal(update.committed_count, 1);
    assert_false(update.has_more);
    raft_step(raft, &(struct raft_event){.type = RAFT_APPLIED, .applied = 3}, &update);
    assert_int_equal(update.committed_count, 1);
    assert_int_equal(update.committed[0].index, 5);
    world_release(&world);
}

static void a_second_conf_change_becomes_an_empty_entry(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    struct raft *raft = world.nodes[1].raft;
    struct raft_conf_change change = {.type = RAFT_ADD_LEARNER_NODE, .node_id = 2};
    struct buf bytes CLEANUP_BUF = BUF_INIT;
    raft_conf_change_encode(&change, &bytes);
    struct raft_entry entries[] = {{.type = RAFT_ENTRY_CONF_CHANGE, .data = buf_slice(&bytes)},
                                   {.type = RAFT_ENTRY_CONF_CHANGE, .data = buf_slice(&bytes)}};
    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = entries, .count = 2}}, &update);
    assert_int_equal(update.entry_count, 2);
    assert_int_equal(update.entries[0].type, RAFT_ENTRY_CONF_CHANGE);
    assert_int_equal(update.entries[1].type, RAFT_ENTRY_NORMAL);
    assert_null(update.entries[1].data.data);
    /* junk is refused before anything is appended */
    struct raft_entry junk[] = {text_entry("good"), {.type = RAFT_ENTRY_CONF_CHANGE, .data = SLICE_LITERAL("\x08")}};
    uint64_t last = raft_last_index(raft);
    assert_int_equal(
        raft_step(raft, &(struct raft_event){.type = RAFT_PROPOSE, .propose = {.entries = junk, .count = 2}}, &update),
        ERR_INVALID);
    assert_int_equal(raft_last_index(raft), last);
    world_release(&world);
}

static void a_refused_conf_change_is_no_longer_pending(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    struct raft *raft = world.nodes[1].raft;
    struct raft_conf_change nothing = {.type = RAFT_REMOVE_NODE, .node_id = 0};
    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_CONF_CHANGE, .conf_change = &nothing}, NULL),
                     OK);
    assert_int_equal(raft_conf_state(raft)->voters.count, 1);
    struct raft_conf_change last_voter = {.type = RAFT_REMOVE_NODE, .node_id = 1};
    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_CONF_CHANGE, .conf_change = &last_voter}, NULL),
                     ERR_INVALID);
    assert_true(raft_is_voter(raft, 1));
    world_release(&world);
}

static void a_lone_leader_answers_reads_once_it_has_committed_in_its_term(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    world_propose(&world, 1, "a");
    world_settle(&world);
    world_crash(&world, 1);
    world_start(&world, 1);
    struct node *node = &world.nodes[1];
    assert_int_equal(world_read(&world, 1, 7), ERR_NO_LEADER);
    world_step(&world, 1, (struct raft_event){.type = RAFT_CAMPAIGN});
    world_save_one(&world, 1); /* the vote: now it leads, its first entry is not saved */
    while (node->role != RAFT_LEADER) world_save_one(&world, 1);
    assert_int_equal(world_read(&world, 1, 7), OK);
    assert_int_equal(node->read_contexts.count, 0);
    world_settle(&world);
    assert_int_equal(node->read_contexts.count, 1);
    assert_int_equal(node->read_contexts.items[0], 7);
    assert_int_equal(node->reads.items[0].index, raft_committed_index(node->raft));
    assert_int_equal(world_read(&world, 1, 8), OK);
    assert_int_equal(node->read_contexts.items[1], 8);
    world_release(&world);
}

static void compaction_keeps_the_term_before_the_first_entry(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    for (int i = 0; i < 200; i++) world_propose(&world, 1, "x");
    world_settle(&world);
    struct raft *raft = world.nodes[1].raft;
    uint64_t term;
    assert_int_equal(raft_compact(raft, 150), OK);
    assert_int_equal(raft_first_index(raft), 151);
    assert_int_equal(raft_term_at(raft, 150, &term), OK);
    assert_int_equal(term, 2);
    assert_int_equal(raft_term_at(raft, 149, &term), ERR_RAFT_COMPACTED);
    assert_int_equal(raft_term_at(raft, 203, &term), ERR_RAFT_UNAVAILABLE);
    assert_null(raft_entry_at(raft, 150));
    assert_int_equal(raft_entry_at(raft, 151)->index, 151);
    assert_int_equal(raft_compact(raft, 150), ERR_RAFT_COMPACTED);
    for (int i = 0; i < 200; i++) world_propose(&world, 1, "y");
    world_settle(&world);
    assert_int_equal(raft_last_index(raft), 402);
    for (uint64_t i = 151; i <= 402; i++) assert_int_equal(raft_entry_at(raft, i)->index, i);
    struct raft_conf_state none = {0};
    assert_int_equal(raft_set_snapshot(raft, 300, &none, NULL), OK);
    assert_int_equal(raft_set_snapshot(raft, 300, &none, NULL), ERR_RAFT_SNAP_OUT_OF_DATE);
    world_release(&world);
}

static void a_restart_goes_on_where_the_disk_was(void **state) {
    struct world world = {.seed = 5};
    start_new(&world);
    elect(&world);
    for (int round = 0; round < 20; round++) {
        char text[16];
        snprintf(text, sizeof text, "r%d", round);
        assert_int_equal(world_propose(&world, 1, text), OK);
        if (round % 3 != 0) world_settle(&world); /* else what is not saved is lost */
        world_crash(&world, 1);
        world_start(&world, 1);
        elect(&world); /* every entry committed before is checked against the truth as it is applied again */
    }
    assert_true(world.nodes[1].applied_entries.count >= 13);
    world_release(&world);
}

static void a_start_that_does_not_fit_is_refused(void **state) {
    struct raft_config config = {.id = 1, .election_ticks = 10, .heartbeat_ticks = 1};
    struct raft_entry entries[] = {{.term = 1, .index = 6}, {.term = 1, .index = 7}};
    struct raft_start start = {.snapshot_index = 5, .snapshot_term = 1, .entries = entries, .entry_count = 2};
    struct raft *raft;
    struct errmsg message;
    start.hard_state = (struct raft_hard_state){.term = 1, .commit = 4};
    assert_int_equal(raft_new(&config, &start, &raft, &message), ERR_CORRUPT);
    assert_string_equal(message.text, "state.commit 4 is out of range [5, 7]");
    start.hard_state.commit = 8;
    assert_int_equal(raft_new(&config, &start, &raft, &message), ERR_CORRUPT);
    start.hard_state.commit = 7;
    entries[1].index = 8;
    assert_int_equal(raft_new(&config, &start, &raft, &message), ERR_CORRUPT);
    entries[1].index = 7;
    assert_int_equal(raft_new(&config, &start, &raft, &message), OK);
    raft_free(raft);
}

static void an_update_may_be_left_for_later(void **state) {
    struct world world = {0};
    start_new(&world);
    elect(&world);
    struct raft *raft = world.nodes[1].raft;
    struct raft_entry entry = text_entry("a");
    struct raft_event propose = {.type = RAFT_PROPOSE, .propose = {.entries = &entry, .count = 1}};
    for (int i = 0; i < 5; i++) assert_int_equal(raft_step(raft, &propose, NULL), OK);
    assert_true(raft_has_update(raft));
    struct raft_update update;
    raft_step(raft, &(struct raft_event){.type = RAFT_NOTHING}, &update);
    assert_int_equal(update.entry_count, 5);
    assert_false(raft_has_update(raft));
    world_release(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstrap_gives_its_entries_to_save_and_then_to_apply),
        cmocka_unit_test(no_campaign_while_a_conf_change_is_unapplied),
        cmocka_unit_test(its_own_vote_counts_when_it_is_saved),
        cmocka_unit_test(proposals_commit_when_saved_in_any_grouping),
        cmocka_unit_test(borrowed_data_is_copied_and_shared_data_is_not),
        cmocka_unit_test(committed_entries_come_in_portions_as_they_are_applied),
        cmocka_unit_test(a_second_conf_change_becomes_an_empty_entry),
        cmocka_unit_test(a_refused_conf_change_is_no_longer_pending),
        cmocka_unit_test(a_lone_leader_answers_reads_once_it_has_committed_in_its_term),
        cmocka_unit_test(compaction_keeps_the_term_before_the_first_entry),
        cmocka_unit_test(a_restart_goes_on_where_the_disk_was),
        cmocka_unit_test(a_start_that_does_not_fit_is_refused),
        cmocka_unit_test(an_update_may_be_left_for_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
