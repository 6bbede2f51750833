/* Random schedules of ticks, deliveries in any order, losses, duplicates, slow disks, crashes, proposals, reads, conf
 * changes and compactions; then all heals and everybody must get to the same end. What was applied once at an index is
 * what everybody applies there (world_check_truth); nobody shares a term's leadership; a read sees what was committed
 * when it was asked. */
#include "world.h"

#include "base/map.h"

struct chaos {
    struct world world;
    struct map_u64 leaders;   /* term -> id */
    VEC(uint64_t) read_floor; /* by context: what was known to be committed when it was asked */
    uint64_t proposals;
};

static void check_leaders(struct chaos *chaos) {
    for (uint64_t id = 1; id <= chaos->world.count; id++) {
        struct node *node = &chaos->world.nodes[id];
        if (node->is_down) continue;
        struct raft_status status;
        raft_status(node->raft, &status);
        if (status.role != RAFT_LEADER) continue;
        void *known = map_u64_get(&chaos->leaders, status.hard.term);
        if (known == NULL) map_u64_put(&chaos->leaders, status.hard.term, (void *)(uintptr_t)id);
        assert_true(known == NULL || (uintptr_t)known == id);
    }
}

static void check_reads(struct chaos *chaos) {
    for (uint64_t id = 1; id <= chaos->world.count; id++) {
        struct node *node = &chaos->world.nodes[id];
        for (size_t i = 0; i < node->reads.count; i++) {
            uint64_t context = node->read_contexts.items[i];
            assert_true(context < chaos->read_floor.count);
            assert_true(node->reads.items[i].index >= chaos->read_floor.items[context]);
        }
        node->reads.count = node->read_contexts.count = 0;
    }
}

static void propose(struct chaos *chaos, uint64_t id) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, chaos->proposals++);
    (void)world_propose(&chaos->world, id, text);
}

static bool crosses_the_cut(struct world *world, const struct raft_message *message) {
    return ((world->cut >> message->to) & 1) != ((world->cut >> message->from) & 1);
}

/* Of a thousand steps: some seeds have slow disks, some an unsteady power supply. */
static uint64_t share_of_saves(const struct world *world) { return world->seed % 3 == 1 ? 60 : 250; }
static uint64_t share_of_crashes(const struct world *world) { return world->seed % 5 == 2 ? 10 : 1; }

static void step_at_random(struct chaos *chaos, bool with_changes) {
    struct world *world = &chaos->world;
    uint64_t id = 1 + prng_below(&world->prng, world->count);
    struct node *node = &world->nodes[id];
    if (node->is_down) {
        if (prng_below(&world->prng, 20) == 0) world_start(world, id);
        return;
    }
    if (prng_below(&world->prng, 100) == 0) world->cut = prng_below(&world->prng, 3) == 0 ? 0 : prng_next(&world->prng);
    if (prng_below(&world->prng, 1000) < share_of_crashes(world)) {
        world_crash(world, id);
        return;
    }
    uint64_t dice = prng_below(&world->prng, 1000);
    if (dice < 300) {
        if (world->network.count > 0) world_deliver(world, prng_below(&world->prng, world->network.count));
    } else if (dice < 300 + share_of_saves(world)) {
        world_save_one(world, id);
    } else if (dice < 750) {
        world_tick(world, id);
    } else if (dice < 850) {
        propose(chaos, id);
    } else if (dice < 890) {
        VEC_PUSH(&chaos->read_floor, world->truth.count);
        (void)world_read(world, id, chaos->read_floor.count - 1);
    } else if (dice < 920 && world->network.count > 0) {
        size_t at = prng_below(&world->prng, world->network.count);
        struct raft_message copy;
        raft_message_copy(&copy, &world->network.items[at]);
        VEC_PUSH(&world->network, copy); /* twice */
    } else if (dice < 960 && world->network.count > 0) {
        size_t at = prng_below(&world->prng, world->network.count);
        raft_message_release(&world->network.items[at]);
        world->network.items[at] = world->network.items[--world->network.count];
    } else if (dice < 980) {
        (void)world_compact(world, id, prng_below(&world->prng, 5)); /* its disk keeps the log */
    } else if (dice < 985) {
        uint64_t other = 1 + prng_below(&world->prng, world->count);
        world_step(world, id, (struct raft_event){.type = RAFT_TRANSFER_LEADER, .transferee = other});
    } else if (dice < 990) {
        uint64_t other = 1 + prng_below(&world->prng, world->count);
        world_step(world, id, (struct raft_event){.type = RAFT_UNREACHABLE, .unreachable = other});
        world_step(world, id,
                   (struct raft_event){.type = RAFT_SNAPSHOT_STATUS, .snapshot_status = {.to = other, .failed = true}});
    } else if (with_changes) {
        /* members 1 and 2 stay voters */
        uint64_t other = 3 + prng_below(&world->prng, world->count - 2);
        static const enum raft_conf_change_type types[] = {RAFT_ADD_NODE, RAFT_REMOVE_NODE, RAFT_ADD_LEARNER_NODE};
        (void)world_propose_change(world, id, types[prng_below(&world->prng, 3)], other);
    }
    /* An outsider can't make the list grow for ever. */
    while (world->network.count > 300) {
        size_t at = prng_below(&world->prng, world->network.count);
        raft_message_release(&world->network.items[at]);
        world->network.items[at] = world->network.items[--world->network.count];
    }
}

/* A member that was removed and does not know disturbs the others for ever if there is no pre-vote; etcd's peers tell
 * it to stop. */
static void stop_the_removed(struct world *world) {
    uint64_t best = 1;
    for (uint64_t id = 2; id <= world->count; id++)
        if (world->nodes[id].applied > world->nodes[best].applied) best = id;
    const struct raft *raft = world->nodes[best].raft;
    for (uint64_t id = 1; id <= world->count; id++)
        if (!raft_is_voter(raft, id) && !raft_is_learner(raft, id)) world_crash(world, id);
}

static void tick_all(struct world *world) {
    for (uint64_t id = 1; id <= world->count; id++)
        if (!world->nodes[id].is_down) world_tick(world, id);
}

static void heal(struct chaos *chaos) {
    struct world *world = &chaos->world;
    world->drops = NULL;
    for (uint64_t id = 1; id <= world->count; id++)
        if (world->nodes[id].is_down) world_start(world, id);
    uint64_t last = 0;
    for (int round = 0; round < 400; round++) {
        world_settle(world);
        tick_all(world);
        if (round == 200) stop_the_removed(world);
        check_leaders(chaos);
        uint64_t leader = world_leader(world);
        if (round == 300) {
            assert_int_not_equal(leader, 0);
            propose(chaos, leader);
        }
        if (leader != 0 && prng_below(&world->prng, 10) == 0) {
            (void)world_compact(world, leader, 1000);
            /* a snapshot that got lost on its way */
            for (uint64_t id = 1; id <= world->count; id++)
                world_step(
                    world, leader,
                    (struct raft_event){.type = RAFT_SNAPSHOT_STATUS, .snapshot_status = {.to = id, .failed = true}});
        }
    }
    world_settle(world);
    uint64_t leader = world_leader(world);
    assert_int_not_equal(leader, 0);
    struct raft *raft = world->nodes[leader].raft;
    last = raft_last_index(raft);
    assert_int_equal(raft_committed_index(raft), last);
    for (uint64_t id = 1; id <= world->count; id++) {
        if (!raft_is_voter(raft, id) && !raft_is_learner(raft, id)) continue;
        assert_int_equal(world->nodes[id].applied, last);
        assert_true(raft_conf_state_equal(raft_conf_state(raft), raft_conf_state(world->nodes[id].raft)));
    }
    check_reads(chaos);
}

static void run(uint64_t seed, bool with_changes) {
    struct chaos chaos = {.world = {.seed = seed,
                                    .pre_vote = seed % 2 == 0,
                                    .check_quorum = seed % 3 != 0,
                                    .max_message_bytes = seed % 5 == 0 ? 30 : 0,
                                    .max_applying_bytes = seed % 7 == 0 ? 30 : 0,
                                    .max_inflight = seed % 4 == 0 ? 2 : 0}};
    map_u64_init(&chaos.leaders, 0);
    size_t count = with_changes ? 5 : 3;
    chaos.world.drops = crosses_the_cut;
    world_init(&chaos.world, count, 3);
    for (int i = 0; i < 3000; i++) {
        step_at_random(&chaos, with_changes);
        check_leaders(&chaos);
        check_reads(&chaos);
    }
    heal(&chaos);
    world_release(&chaos.world);
    map_u64_release(&chaos.leaders);
    VEC_RELEASE(&chaos.read_floor);
}

static void three_members_agree_whatever_happens(void **state) {
    for (uint64_t seed = 1; seed <= 300; seed++) run(seed, false);
}

static void members_agree_while_they_come_and_go(void **state) {
    for (uint64_t seed = 1; seed <= 300; seed++) run(seed, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_members_agree_whatever_happens),
        cmocka_unit_test(members_agree_while_they_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
