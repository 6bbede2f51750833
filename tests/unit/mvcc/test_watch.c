/* The watch hub: batches, many watchers, catching up from the ring and by a scan. */
#include "fixture.h"

struct receiver {
    struct watcher *watcher;
    VEC(size_t) batch_revisions; /* different revisions in each batch */
    int64_t next_revision;       /* the first it has not seen */
    size_t events;
    size_t previous; /* events that came with one */
    bool refuses;
};

static bool receive(void *context, struct watcher *watcher, const struct watch_batch *batch) {
    struct receiver *self = context;
    if (self->refuses) return false;
    size_t revisions = 0;
    for (size_t i = 0; i < batch->count; i++) {
        int64_t revision = batch->events[i]->revision.main;
        self->previous += watcher_wants_previous(watcher) && batch->events[i]->previous != NULL;
        if (i > 0 && revision == batch->events[i - 1]->revision.main) continue;
        assert_true(revision >= self->next_revision); /* never a revision again, also not in parts */
        self->next_revision = revision + 1;
        revisions++;
    }
    VEC_PUSH(&self->batch_revisions, revisions);
    self->events += batch->count;
    return true;
}

static void add_with(struct fixture *fixture, struct receiver *receiver, struct watch_options options) {
    *receiver = (struct receiver){0};
    options.sink = (struct watch_sink){receive, NULL, receiver};
    assert_int_equal(watch_hub_add(store_watch_hub(fixture->store), &options, &receiver->watcher), OK);
}

static void add(struct fixture *fixture, struct receiver *receiver, const char *key, struct slice range_end,
                int64_t start) {
    add_with(fixture, receiver,
             (struct watch_options){.key = text(key), .range_end = range_end, .start_revision = start});
}

static void release(struct receiver *receiver) {
    watcher_free(receiver->watcher);
    VEC_RELEASE(&receiver->batch_revisions);
}

static bool is_synced(void *context) { return watcher_is_synced(((struct receiver *)context)->watcher); }

static void wait_synced(struct fixture *fixture, struct receiver *receiver) {
    assert_true(os_world_run(fixture->world, is_synced, receiver, LIMIT_NS));
}

/* 2500 revisions with three events each that match, and one that does not. */
static void fill(struct fixture *fixture) {
    for (int i = 0; i < 2500; i++) {
        struct store_txn *txn = store_txn_begin(fixture->store);
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        store_txn_put(txn, text("w/1"), text(value), 0);
        store_txn_put(txn, text("w/2"), text(value), 0);
        store_txn_put(txn, text("x"), text(value), 0);
        store_txn_put(txn, text("w/3"), text(value), 0);
        store_txn_end(txn);
    }
}

static void catch_up_in_batches(size_t ring_events) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.options.watch_ring_events = ring_events;
    fixture_open(&fixture);
    fill(&fixture);
    struct receiver receiver;
    add(&fixture, &receiver, "w/", text("w0"), 2);
    wait_synced(&fixture, &receiver);
    assert_int_equal(receiver.batch_revisions.count, 3);
    assert_int_equal(receiver.batch_revisions.items[0], 1000);
    assert_int_equal(receiver.batch_revisions.items[1], 1000);
    assert_int_equal(receiver.batch_revisions.items[2], 500);
    assert_int_equal(receiver.events, 7500);
    release(&receiver);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

static void test_catch_up_comes_in_batches_of_1000_whole_revisions(void **state) {
    catch_up_in_batches(20000); /* all from the ring */
    catch_up_in_batches(1);     /* all by a scan */
}

static void test_a_scan_hands_out_early_when_it_holds_many_bytes(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.options.watch_ring_events = 1;
    fixture_open(&fixture);
    char *value = mem_calloc(1, 100001);
    memset(value, 'v', 100000);
    for (int i = 0; i < 120; i++) put(&fixture, "big", value);
    struct receiver receiver;
    add(&fixture, &receiver, "big", SLICE_NONE, 2);
    wait_synced(&fixture, &receiver);
    assert_int_equal(receiver.events, 120);
    assert_true(receiver.batch_revisions.count >= 2);
    release(&receiver);
    mem_free(value);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

/* More than fit in one scan, at different positions, some of which refuse. */
static void test_many_watchers_catch_up_by_scans(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture.options.watch_ring_events = 8;
    fixture_open(&fixture);
    for (int i = 0; i < 3000; i++) put(&fixture, i % 2 ? "a" : "b", "1");
    enum { COUNT = 1500 };
    struct receiver *receivers = NEW_ARRAY(struct receiver, COUNT);
    for (int i = 0; i < COUNT; i++) {
        add(&fixture, &receivers[i], i % 3 ? "a" : "b", i % 5 ? SLICE_NONE : text("c"), 2 + i);
        receivers[i].refuses = i % 7 == 0;
    }
    for (int i = 0; i < COUNT; i++)
        if (i % 7 != 0) wait_synced(&fixture, &receivers[i]);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(watcher_is_synced(receivers[i].watcher), i % 7 != 0);
        if (i % 7 != 0) continue;
        receivers[i].refuses = false;
        watcher_resume(receivers[i].watcher);
    }
    put(&fixture, "a", "2");
    put(&fixture, "b", "2");
    for (int i = 0; i < COUNT; i++) {
        wait_synced(&fixture, &receivers[i]);
        size_t expected = 0;
        for (int j = 0; j < 3002; j++) {
            bool is_a = j < 3000 ? j % 2 == 1 : j == 3000;
            bool wants = i % 5 == 0 ? (i % 3 ? true : !is_a) : (i % 3 != 0) == is_a;
            expected += wants && j + 2 >= 2 + i;
        }
        assert_int_equal(receivers[i].events, expected);
        release(&receivers[i]);
    }
    mem_free(receivers);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

/* Found by key among 100,000 watchers of keys, prefixes and nested ranges: each gets what is its own. */
static void test_100000_watchers(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    enum { COUNT = 100000 };
    struct receiver *receivers = NEW_ARRAY(struct receiver, COUNT);
    char key[32], end[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "k%06d", i);
        snprintf(end, sizeof end, "k%06d", i + 1 + i % 10);
        add(&fixture, &receivers[i], key, i % 2 ? SLICE_NONE : text(end), 0);
    }
    assert_int_equal(watch_hub_stats(store_watch_hub(fixture.store)).watchers, COUNT);
    for (int i = 0; i < COUNT; i += 37) {
        snprintf(key, sizeof key, "k%06d", i);
        put(&fixture, key, "1");
    }
    for (int i = 0; i < COUNT; i++) {
        size_t expected = 0;
        int span = i % 2 ? 1 : 1 + i % 10;
        for (int j = i; j < i + span && j < COUNT; j++) expected += j % 37 == 0;
        assert_int_equal(receivers[i].events, expected);
    }
    for (int i = 0; i < COUNT; i++) release(&receivers[(i * 7919ll) % COUNT]);
    assert_int_equal(watch_hub_stats(store_watch_hub(fixture.store)).watchers, 0);
    mem_free(receivers);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

/* What was there before an event is gone with the compaction, whether or not the ring still knows it. */
static void test_no_previous_value_from_before_the_compacted_revision(void **state) {
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    struct receiver early, late;
    add_with(&fixture, &early, (struct watch_options){.key = text("k"), .prev_kv = true});
    put(&fixture, "k", "1");
    put(&fixture, "k", "2");
    int64_t compacted = put(&fixture, "k", "3");
    put(&fixture, "k", "4");
    assert_int_equal(early.events, 4);
    assert_int_equal(early.previous, 3);
    compact(&fixture, compacted);
    add_with(&fixture, &late, (struct watch_options){.key = text("k"), .start_revision = compacted, .prev_kv = true});
    wait_synced(&fixture, &late);
    assert_int_equal(late.events, 2);
    assert_int_equal(late.previous, 1);
    release(&early);
    release(&late);
    fixture_close(&fixture);
    fixture_release(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catch_up_comes_in_batches_of_1000_whole_revisions),
        cmocka_unit_test(test_a_scan_hands_out_early_when_it_holds_many_bytes),
        cmocka_unit_test(test_many_watchers_catch_up_by_scans),
        cmocka_unit_test(test_100000_watchers),
        cmocka_unit_test(test_no_previous_value_from_before_the_compacted_revision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
