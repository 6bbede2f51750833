/* Several members: elections, replication, snapshots, members that come and go. */
#include "world.h"

static void elect(struct world *world, uint64_t id) {
    world_step(world, id, (struct raft_event){.type = RAFT_CAMPAIGN});
    world_settle(world);
    assert_int_equal(world->nodes[id].role, RAFT_LEADER);
}

static size_t count_messages(const struct world *world, enum raft_message_type type, uint64_t to) {
    size_t count = 0;
    for (size_t i = 0; i < world->network.count; i++)
        count += world->network.items[i].type == type && (to == 0 || world->network.items[i].to == to);
    return count;
}

static const struct raft_message *find_message(const struct world *world, enum raft_message_type type, uint64_t to) {
    for (size_t i = 0; i < world->network.count; i++)
        if (world->network.items[i].type == type && world->network.items[i].to == to) return &world->network.items[i];
    return NULL;
}

static void clear_network(struct world *world) {
    for (size_t i = 0; i < world->network.count; i++) raft_message_release(&world->network.items[i]);
    world->network.count = 0;
}

static void election_by_timeout_and_replication(void **state) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world world = {.seed = seed, .pre_vote = seed % 2 == 0, .check_quorum = seed % 4 < 2};
        world_init(&world, 3, 3);
        for (int tick = 0; tick < 100 && world_leader(&world) == 0; tick++)
            for (uint64_t id = 1; id <= 3; id++) {
                world_tick(&world, id);
                world_settle(&world);
            }
        uint64_t leader = world_leader(&world);
        assert_int_not_equal(leader, 0);
        for (uint64_t id = 1; id <= 3; id++) assert_int_equal(world.nodes[id].lead, leader);
        /* a follower passes proposals on */
        uint64_t follower = leader % 3 + 1;
        assert_int_equal(world_propose(&world, follower, "from a follower"), OK);
        assert_int_equal(world_propose(&world, leader, "from the leader"), OK);
        world_settle(&world);
        for (uint64_t id = 1; id <= 3; id++) assert_int_equal(world.nodes[id].applied, 4);
        world_release(&world);
    }
}

static void a_leader_sends_before_it_has_saved_but_a_follower_answers_after(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    elect(&world, 1);
    world_propose(&world, 1, "a");
    assert_int_equal(world.nodes[1].saves.count, 1);
    assert_int_equal(count_messages(&world, RAFT_MSG_APP, 0), 2);
    while (world.network.count > 0) world_deliver(&world, 0);
    assert_int_equal(count_messages(&world, RAFT_MSG_APP_RESP, 0), 0);
    world_save_one(&world, 2);
    assert_int_equal(count_messages(&world, RAFT_MSG_APP_RESP, 1), 1);
    world_save_one(&world, 3);
    while (world.network.count > 0) world_deliver(&world, 0);
    /* two of three have it: committed, but not applied here before it is saved here */
    assert_int_equal(raft_committed_index(world.nodes[1].raft), 3);
    assert_int_equal(world.nodes[1].applied, 2);
    world_settle(&world);
    assert_int_equal(world.nodes[1].applied, 3);
    world_release(&world);
}

static void a_vote_is_saved_before_it_is_sent(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    world_step(&world, 1, (struct raft_event){.type = RAFT_CAMPAIGN});
    assert_int_equal(count_messages(&world, RAFT_MSG_VOTE, 0), 2); /* asking promises nothing */
    while (world.network.count > 0) world_deliver(&world, 0);
    assert_int_equal(count_messages(&world, RAFT_MSG_VOTE_RESP, 0), 0);
    world_save_one(&world, 2);
    assert_int_equal(count_messages(&world, RAFT_MSG_VOTE_RESP, 1), 1);
    assert_int_equal(world.nodes[2].hard.vote, 1);
    while (world.network.count > 0) world_deliver(&world, 0);
    assert_int_equal(world.nodes[1].role, RAFT_CANDIDATE); /* its own vote is not saved: one of three */
    world_save_one(&world, 1);
    assert_int_equal(world.nodes[1].role, RAFT_LEADER);
    world_release(&world);
}

static void acknowledgements_of_one_save_are_one_message(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    elect(&world, 1);
    for (int i = 0; i < 5; i++) world_propose(&world, 1, "a");
    while (world.network.count > 0) world_deliver(&world, 0);
    while (world_save_one(&world, 2)) continue;
    const struct raft_message *answer = find_message(&world, RAFT_MSG_APP_RESP, 1);
    assert_non_null(answer);
    size_t answers = count_messages(&world, RAFT_MSG_APP_RESP, 1);
    assert_true(answers >= 1 && answers <= 5);
    world_settle(&world);
    assert_int_equal(raft_committed_index(world.nodes[1].raft), 7);
    world_release(&world);
}

static void a_vote_answer_carries_the_term_it_answers(void **state) {
    struct world world = {.pre_vote = true};
    world_init(&world, 3, 3);
    struct raft_message pre_vote = {
        .type = RAFT_MSG_PRE_VOTE, .to = 1, .from = 2, .term = 9, .index = 1, .log_term = 1};
    world_step(&world, 1, (struct raft_event){.type = RAFT_RECEIVE, .message = &pre_vote});
    const struct raft_message *answer = find_message(&world, RAFT_MSG_PRE_VOTE_RESP, 2);
    assert_int_equal(answer->term, 9);
    assert_false(answer->reject);
    struct raft_status status;
    raft_status(world.nodes[1].raft, &status);
    assert_int_equal(status.hard.term, 1);
    clear_network(&world);
    /* a log that is behind gets no vote, and the rejection carries the own term */
    pre_vote.index = 0;
    pre_vote.log_term = 0;
    world_step(&world, 1, (struct raft_event){.type = RAFT_RECEIVE, .message = &pre_vote});
    answer = find_message(&world, RAFT_MSG_PRE_VOTE_RESP, 2);
    assert_true(answer->reject);
    assert_int_equal(answer->term, 1);
    world_release(&world);
}

static void a_heartbeat_of_an_old_term_is_answered_so_that_its_sender_steps_down(void **state) {
    struct world world = {.check_quorum = true};
    world_init(&world, 3, 3);
    elect(&world, 1);
    struct raft_message heartbeat = {.type = RAFT_MSG_HEARTBEAT, .to = 1, .from = 3, .term = 1};
    world_step(&world, 1, (struct raft_event){.type = RAFT_RECEIVE, .message = &heartbeat});
    const struct raft_message *answer = find_message(&world, RAFT_MSG_APP_RESP, 3);
    assert_non_null(answer);
    assert_int_equal(answer->term, 2);
    assert_int_equal(answer->index, 0);
    world_release(&world);
}

static void a_leaders_lease_keeps_candidates_away(void **state) {
    struct world world = {.check_quorum = true};
    world_init(&world, 3, 3);
    elect(&world, 1);
    struct raft_message vote = {.type = RAFT_MSG_VOTE, .to = 2, .from = 3, .term = 10, .index = 99, .log_term = 9};
    world_step(&world, 2, (struct raft_event){.type = RAFT_RECEIVE, .message = &vote});
    assert_int_equal(world.network.count, 0);
    assert_int_equal(world.nodes[2].lead, 1);
    vote.context = SLICE_LITERAL("CampaignTransfer");
    world_step(&world, 2, (struct raft_event){.type = RAFT_RECEIVE, .message = &vote});
    world_save_one(&world, 2);
    assert_int_equal(count_messages(&world, RAFT_MSG_VOTE_RESP, 3), 1);
    world_release(&world);
}

static bool to_or_from_3(struct world *world, const struct raft_message *message) {
    return message->to == 3 || message->from == 3;
}

static bool between_halves(struct world *world, const struct raft_message *message) {
    return (message->to <= 2) != (message->from <= 2);
}

static void a_leader_without_a_quorum_steps_down(void **state) {
    struct world world = {.check_quorum = true, .pre_vote = true};
    world_init(&world, 5, 5);
    elect(&world, 1);
    world.drops = between_halves;
    for (int i = 0; i < 21; i++) {
        world_tick(&world, 1);
        world_settle(&world);
    }
    assert_int_equal(world.nodes[1].role, RAFT_FOLLOWER);
    assert_int_equal(world.nodes[1].lead, 0);
    world_release(&world);
}

static void pre_vote_lets_no_lonely_member_raise_the_term(void **state) {
    struct world world = {.check_quorum = true, .pre_vote = true};
    world_init(&world, 3, 3);
    elect(&world, 1);
    world.drops = to_or_from_3;
    for (int i = 0; i < 100; i++) {
        for (uint64_t id = 1; id <= 3; id++) world_tick(&world, id);
        world_settle(&world);
    }
    struct raft_status status;
    raft_status(world.nodes[3].raft, &status);
    assert_int_equal(status.hard.term, 2);
    world.drops = NULL;
    for (int i = 0; i < 3; i++) {
        for (uint64_t id = 1; id <= 3; id++) world_tick(&world, id);
        world_settle(&world);
    }
    assert_int_equal(world.nodes[3].lead, 1);
    assert_int_equal(world.nodes[1].role, RAFT_LEADER);
    world_release(&world);
}

static void a_conflicting_tail_is_replaced(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    elect(&world, 1);
    world.drops = between_halves;
    world.drops = to_or_from_3;
    /* 3 leads nobody: its entries stay its own */
    world.drops = NULL;
    elect(&world, 3);
    world.drops = to_or_from_3;
    for (int i = 0; i < 10; i++) world_propose(&world, 3, "lost");
    world_settle(&world);
    elect(&world, 1);
    for (int i = 0; i < 3; i++) world_propose(&world, 1, "kept");
    world_settle(&world);
    world.drops = NULL;
    for (int i = 0; i < 3; i++) {
        world_tick(&world, 1);
        world_settle(&world);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        struct node *node = &world.nodes[id];
        assert_int_equal(node->applied, raft_last_index(world.nodes[1].raft));
        assert_int_equal(raft_last_index(node->raft), raft_last_index(world.nodes[1].raft));
        assert_int_equal(node->entries.count, raft_last_index(world.nodes[1].raft) - 1);
    }
    world_release(&world);
}

static void a_rejection_hints_at_the_term_where_logs_may_agree(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    struct raft *raft = world.nodes[1].raft;
    struct raft_entry old[] = {{.term = 2, .index = 2}, {.term = 2, .index = 3}, {.term = 4, .index = 4}};
    struct raft_message append = {.type = RAFT_MSG_APP,
                                  .to = 1,
                                  .from = 2,
                                  .term = 4,
                                  .index = 1,
                                  .log_term = 1,
                                  .entries = old,
                                  .entry_count = 3};
    assert_int_equal(world_step(&world, 1, (struct raft_event){.type = RAFT_RECEIVE, .message = &append}), OK);
    world_settle(&world);
    struct raft_message probe = {.type = RAFT_MSG_APP, .to = 1, .from = 3, .term = 5, .index = 9, .log_term = 3};
    world_step(&world, 1, (struct raft_event){.type = RAFT_RECEIVE, .message = &probe});
    world_save_one(&world, 1);
    const struct raft_message *answer = find_message(&world, RAFT_MSG_APP_RESP, 3);
    assert_true(answer->reject);
    assert_int_equal(answer->index, 9);
    assert_int_equal(answer->reject_hint, 3);
    assert_int_equal(answer->log_term, 2);
    assert_int_equal(raft_last_index(raft), 4);
    world_release(&world);
}

static void entries_that_make_no_sense_change_nothing(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    struct raft_entry gap[] = {{.term = 2, .index = 2}, {.term = 2, .index = 4}};
    struct raft_message append = {.type = RAFT_MSG_APP,
                                  .to = 1,
                                  .from = 2,
                                  .term = 2,
                                  .index = 1,
                                  .log_term = 1,
                                  .entries = gap,
                                  .entry_count = 2};
    struct raft_event receive = {.type = RAFT_RECEIVE, .message = &append};
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    gap[1].index = 3;
    gap[1].term = 1; /* terms never fall */
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    gap[1].term = 3; /* nor exceed the message's */
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    append.index = UINT64_MAX - 1;
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    assert_int_equal(raft_last_index(world.nodes[1].raft), 1);
    /* a snapshot behind which nothing more fits */
    uint64_t voters[] = {1, 2, 3};
    struct raft_snapshot snapshot = {.index = UINT64_MAX, .term = 2, .conf_state = {.voters = {voters, 3, 3}}};
    struct raft_message install = {.type = RAFT_MSG_SNAP, .to = 1, .from = 2, .term = 2, .snapshot = &snapshot};
    receive.message = &install;
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    install.term = UINT64_MAX;
    snapshot.index = 9;
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    assert_int_equal(raft_last_index(world.nodes[1].raft), 1);
    /* somebody who says to be us: who leads us is somebody else */
    struct raft_message own = {.type = RAFT_MSG_HEARTBEAT, .to = 1, .from = 1, .term = 2};
    receive.message = &own;
    assert_int_equal(world_step(&world, 1, receive), ERR_INVALID);
    /* a leader that counts on entries we never had: our log lost them */
    struct raft_message heartbeat = {.type = RAFT_MSG_HEARTBEAT, .to = 1, .from = 2, .term = 2, .commit = 50};
    receive.message = &heartbeat;
    assert_int_equal(world_step(&world, 1, receive), ERR_CORRUPT);
    for (int type = 0; type < 30; type++) {
        struct raft_message odd = {.type = (enum raft_message_type)type, .to = 1, .from = 77};
        receive.message = &odd;
        (void)world_step(&world, 1, receive);
        odd.term = 2;
        (void)world_step(&world, 1, receive);
    }
    clear_network(&world);
    world_release(&world);
}

static void a_follower_far_behind_gets_a_snapshot(void **state) {
    struct world world = {0};
    world_init(&world, 3, 3);
    elect(&world, 1);
    world.drops = to_or_from_3;
    for (int i = 0; i < 50; i++) world_propose(&world, 1, "x");
    world_settle(&world);
    struct raft *leader = world.nodes[1].raft;
    assert_int_equal(raft_set_snapshot(leader, 40, raft_conf_state(leader), NULL), OK);
    assert_int_equal(raft_compact(leader, 35), OK);
    world.drops = NULL;
    world_tick(&world, 1);
    for (int i = 0; i < 100 && count_messages(&world, RAFT_MSG_SNAP, 3) == 0; i++) {
        if (world.network.count == 0) world_tick(&world, 1);
        world_deliver(&world, 0);
        for (uint64_t id = 1; id <= 3; id++)
            while (world_save_one(&world, id)) continue;
    }
    const struct raft_message *message = find_message(&world, RAFT_MSG_SNAP, 3);
    assert_non_null(message);
    assert_int_equal(message->snapshot->index, raft_applied_index(leader));
    assert_int_equal(message->snapshot->term, 2);
    assert_int_equal(message->snapshot->conf_state.voters.count, 3);
    struct raft_progress progress;
    assert_true(raft_progress_of(leader, 3, &progress));
    assert_int_equal(progress.state, RAFT_SNAPSHOT);
    assert_int_equal(progress.pending_snapshot, 40);
    assert_true(progress.is_paused);
    world_settle(&world);
    assert_true(raft_progress_of(leader, 3, &progress));
    assert_int_equal(progress.state, RAFT_REPLICATE);
    assert_true(world.nodes[3].snapshot.index >= 40);
    assert_int_equal(world.nodes[3].applied, raft_last_index(leader));
    world_release(&world);
}

static void a_member_joins_as_learner_and_is_promoted(void **state) {
    struct world world = {.check_quorum = true, .pre_vote = true};
    world_init(&world, 2, 1);
    elect(&world, 1);
    assert_int_equal(world_propose_change(&world, 1, RAFT_ADD_LEARNER_NODE, 2), OK);
    world_settle(&world);
    struct raft *leader = world.nodes[1].raft;
    assert_true(raft_is_learner(leader, 2));
    /* it knows nobody yet: the snapshot tells it */
    for (int i = 0; i < 5; i++) {
        world_tick(&world, 1);
        world_settle(&world);
    }
    assert_true(raft_is_learner(world.nodes[2].raft, 2));
    assert_int_equal(world.nodes[2].applied, raft_last_index(leader));
    /* a learner does not count: the leader commits alone, and leads nobody to it */
    world.drops = between_halves;
    assert_int_equal(world_propose(&world, 1, "alone"), OK);
    world.drops = NULL;
    world_settle(&world);
    world_step(&world, 1, (struct raft_event){.type = RAFT_TRANSFER_LEADER, .transferee = 2});
    world_settle(&world);
    assert_int_equal(world_leader(&world), 1);
    assert_int_equal(world_propose_change(&world, 1, RAFT_ADD_NODE, 2), OK);
    world_settle(&world);
    assert_true(raft_is_voter(world.nodes[2].raft, 2));
    world_step(&world, 1, (struct raft_event){.type = RAFT_TRANSFER_LEADER, .transferee = 2});
    world_settle(&world);
    assert_int_equal(world_leader(&world), 2);
    assert_int_equal(world_propose_change(&world, 2, RAFT_REMOVE_NODE, 1), OK);
    world_settle(&world);
    assert_int_equal(raft_conf_state(world.nodes[2].raft)->voters.count, 1);
    assert_int_equal(world_propose(&world, 2, "alone again"), OK);
    world_settle(&world);
    assert_int_equal(world.nodes[2].applied, raft_last_index(world.nodes[2].raft));
    world_release(&world);
}

static void leadership_moves_and_proposals_wait_meanwhile(void **state) {
    struct world world = {.check_quorum = true, .pre_vote = true};
    world_init(&world, 3, 3);
    elect(&world, 1);
    world.drops = to_or_from_3;
    world_propose(&world, 1, "a");
    world_settle(&world);
    world_step(&world, 1, (struct raft_event){.type = RAFT_TRANSFER_LEADER, .transferee = 3});
    assert_int_equal(world_propose(&world, 1, "b"), ERR_RAFT_PROPOSAL_DROPPED);
    for (int i = 0; i < 10; i++) {
        world_tick(&world, 1);
        world_settle(&world);
    }
    assert_int_equal(world_propose(&world, 1, "b"), OK); /* given up after an election timeout */
    world_settle(&world);
    world.drops = NULL;
    for (int i = 0; i < 3; i++) {
        world_tick(&world, 1);
        world_settle(&world);
    }
    world_step(&world, 1, (struct raft_event){.type = RAFT_TRANSFER_LEADER, .transferee = 3});
    world_settle(&world);
    assert_int_equal(world_leader(&world), 3);
    /* a follower passes the wish on */
    world_step(&world, 1, (struct raft_event){.type = RAFT_TRANSFER_LEADER, .transferee = 2});
    world_settle(&world);
    assert_int_equal(world_leader(&world), 2);
    world_release(&world);
}

static void reads_are_answered_when_a_quorum_still_follows(void **state) {
    struct world world = {.check_quorum = true};
    world_init(&world, 3, 3);
    elect(&world, 1);
    world_propose(&world, 1, "a");
    world_settle(&world);
    assert_int_equal(world_read(&world, 1, 100), OK);
    assert_int_equal(world_read(&world, 1, 101), OK);
    assert_int_equal(world_read(&world, 1, 101), OK); /* the same again: ignored */
    assert_int_equal(count_messages(&world, RAFT_MSG_HEARTBEAT, 2), 2);
    assert_int_equal(world.nodes[1].read_contexts.count, 0);
    world_settle(&world);
    assert_int_equal(world.nodes[1].read_contexts.count, 2);
    assert_int_equal(world.nodes[1].read_contexts.items[0], 100);
    assert_int_equal(world.nodes[1].read_contexts.items[1], 101);
    assert_int_equal(world.nodes[1].reads.items[1].index, 3);
    assert_int_equal(world_read(&world, 3, 300), OK); /* by way of the leader */
    world_settle(&world);
    assert_int_equal(world.nodes[3].read_contexts.count, 1);
    assert_int_equal(world.nodes[3].reads.items[0].index, 3);
    /* alone it answers nothing */
    world.drops = between_halves;
    world_crash(&world, 2);
    world.drops = to_or_from_3;
    assert_int_equal(world_read(&world, 1, 102), OK);
    world_settle(&world);
    assert_int_equal(world.nodes[1].read_contexts.count, 2);
    world_release(&world);
}

static void a_peers_window_is_bounded_and_opens_again(void **state) {
    struct world world = {.max_inflight = 4, .max_message_bytes = 40};
    world_init(&world, 3, 3);
    elect(&world, 1);
    for (int i = 0; i < 50; i++) world_propose(&world, 1, "0123456789012345678901234567890123456789");
    assert_int_equal(count_messages(&world, RAFT_MSG_APP, 2), 4);
    world_settle(&world);
    for (uint64_t id = 1; id <= 3; id++) assert_int_equal(world.nodes[id].applied, 52);
    /* messages were lost and it is told: probes, then goes on */
    world.drops = to_or_from_3;
    for (int i = 0; i < 10; i++) world_propose(&world, 1, "x");
    world_settle(&world);
    world.drops = NULL;
    world_step(&world, 1, (struct raft_event){.type = RAFT_UNREACHABLE, .unreachable = 3});
    struct raft_progress progress;
    assert_true(raft_progress_of(world.nodes[1].raft, 3, &progress));
    assert_int_equal(progress.state, RAFT_PROBE);
    world_tick(&world, 1);
    world_settle(&world);
    assert_int_equal(world.nodes[3].applied, 62);
    world_release(&world);
}

static void two_members_are_replaced_through_a_joint_configuration(void **state) {
    struct world world = {0};
    world_init(&world, 5, 3);
    elect(&world, 1);
    struct raft_conf_change_single changes[] = {
        {RAFT_ADD_NODE, 4}, {RAFT_ADD_NODE, 5}, {RAFT_REMOVE_NODE, 2}, {RAFT_REMOVE_NODE, 3}};
    struct raft_conf_change_v2 change = {.changes = changes, .change_count = 4};
    struct buf bytes CLEANUP_BUF = BUF_INIT;
    raft_conf_change_v2_encode(&change, &bytes);
    struct raft_entry entry = {.type = RAFT_ENTRY_CONF_CHANGE_V2, .data = buf_slice(&bytes)};
    struct raft_event propose = {.type = RAFT_PROPOSE, .propose = {.entries = &entry, .count = 1}};
    assert_int_equal(world_step(&world, 1, propose), OK);
    for (int i = 0; i < 20; i++) {
        if (i == 2) assert_true(world_compact(&world, 1, 0));
        world_tick(&world, 1);
        world_settle(&world);
    }
    const struct raft_conf_state *conf = raft_conf_state(world.nodes[1].raft);
    assert_int_equal(conf->voters_outgoing.count, 0);
    assert_int_equal(conf->voters.count, 3);
    assert_int_equal(conf->voters.items[1], 4);
    assert_int_equal(conf->voters.items[2], 5);
    world_propose(&world, 1, "by the new ones");
    world_settle(&world);
    assert_int_equal(world.nodes[5].applied, raft_last_index(world.nodes[1].raft));
    world_release(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(election_by_timeout_and_replication),
        cmocka_unit_test(a_leader_sends_before_it_has_saved_but_a_follower_answers_after),
        cmocka_unit_test(a_vote_is_saved_before_it_is_sent),
        cmocka_unit_test(acknowledgements_of_one_save_are_one_message),
        cmocka_unit_test(a_vote_answer_carries_the_term_it_answers),
        cmocka_unit_test(a_heartbeat_of_an_old_term_is_answered_so_that_its_sender_steps_down),
        cmocka_unit_test(a_leaders_lease_keeps_candidates_away),
        cmocka_unit_test(a_leader_without_a_quorum_steps_down),
        cmocka_unit_test(pre_vote_lets_no_lonely_member_raise_the_term),
        cmocka_unit_test(a_conflicting_tail_is_replaced),
        cmocka_unit_test(a_rejection_hints_at_the_term_where_logs_may_agree),
        cmocka_unit_test(entries_that_make_no_sense_change_nothing),
        cmocka_unit_test(a_follower_far_behind_gets_a_snapshot),
        cmocka_unit_test(a_member_joins_as_learner_and_is_promoted),
        cmocka_unit_test(leadership_moves_and_proposals_wait_meanwhile),
        cmocka_unit_test(reads_are_answered_when_a_quorum_still_follows),
        cmocka_unit_test(a_peers_window_is_bounded_and_opens_again),
        cmocka_unit_test(two_members_are_replaced_through_a_joint_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
