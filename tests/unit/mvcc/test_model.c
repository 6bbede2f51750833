/* The store and the watch hub against a naive model that keeps every state the store ever had. Random transactions,
 * reads at old revisions with all options, compactions, restarts, crashes, and watchers that come, go and stall. */
#include "fixture.h"

#define KEYS 24
#define MAX_REVISIONS 6000
#define WATCHERS 12

struct cell {
    bool exists;
    int64_t create, mod, version, lease;
    unsigned value;
};

struct change {
    int64_t revision;
    int key;
    bool is_delete;
};

struct state {
    struct cell cells[KEYS];
};

struct test_watcher {
    struct watcher *watcher; /* NULL: free slot */
    int from, to;            /* keys [from, to) */
    int64_t start;
    bool no_put, no_delete, prev_kv, is_stalled, was_compacted;
    size_t next_change; /* in the model's list: what must come next */
    int64_t last_revision;
    struct model *model;
};

struct model {
    struct fixture fixture;
    struct prng prng;
    struct state *states; /* by revision */
    int64_t revision, compacted;
    VEC(struct change) changes;
    struct test_watcher watchers[WATCHERS];
    int64_t leases[KEYS]; /* as attached through the table */
    unsigned next_value;
};

static uint64_t below(struct model *model, uint64_t bound) { return prng_below(&model->prng, bound); }

static struct slice key_text(int key) {
    static char texts[KEYS + 1][8];
    /* uneven lengths; "k" + 'a'.. so that the order is that of the numbers */
    snprintf(texts[key], sizeof texts[key], "k%c%s", 'a' + key, key % 3 ? "xyz" : "");
    return text(texts[key]);
}

static size_t encode_expected(const struct model *model, int key, const struct cell *cell, bool keys_only,
                              uint8_t *out) {
    (void)model;
    char value[32];
    snprintf(value, sizeof value, "%u", cell->value);
    struct keyvalue kv = {key_text(key), cell->create, cell->mod, cell->version, keys_only ? SLICE_NONE : text(value),
                          cell->lease};
    return (size_t)(keyvalue_encode(&kv, out) - out);
}

static void assert_kv(const struct model *model, struct slice encoded, int key, const struct cell *cell,
                      bool keys_only) {
    uint8_t expected[128];
    size_t length = encode_expected(model, key, cell, keys_only, expected);
    assert_int_equal(encoded.len, length);
    assert_memory_equal(encoded.data, expected, length);
}

/* ---- leases ---- */

static int key_number(struct slice key) { return key.data[1] - 'a'; }
static void attach(void *context, struct slice key, int64_t lease) {
    struct model *model = context;
    assert_int_equal(model->leases[key_number(key)], 0);
    model->leases[key_number(key)] = lease;
}
static void detach(void *context, struct slice key, int64_t lease) {
    struct model *model = context;
    assert_int_equal(model->leases[key_number(key)], lease);
    model->leases[key_number(key)] = 0;
}

static void check_leases(const struct model *model) {
    for (int i = 0; i < KEYS; i++) {
        const struct cell *cell = &model->states[model->revision].cells[i];
        assert_int_equal(model->leases[i], cell->exists ? cell->lease : 0);
    }
}

/* ---- watchers ---- */

static bool is_wanted(const struct test_watcher *watcher, const struct change *change) {
    return change->key >= watcher->from && change->key < watcher->to && change->revision >= watcher->start &&
           !(change->is_delete ? watcher->no_delete : watcher->no_put);
}

static void check_event(struct test_watcher *watcher, struct watch_event *event) {
    struct model *model = watcher->model;
    while (!is_wanted(watcher, &model->changes.items[watcher->next_change])) {
        watcher->next_change++;
        assert_true(watcher->next_change < model->changes.count);
    }
    const struct change *change = &model->changes.items[watcher->next_change++];
    const struct cell *cell = &model->states[change->revision].cells[change->key];
    assert_int_equal(event->revision.main, change->revision);
    assert_int_equal(event->is_delete, change->is_delete);
    assert_true(slice_equal(event->key, key_text(change->key)));
    if (change->is_delete) {
        struct keyvalue kv;
        assert_int_equal(keyvalue_decode(event->kv, &kv), OK);
        assert_int_equal(kv.mod_revision, change->revision);
        assert_true(slice_equal(kv.key, event->key));
    } else {
        assert_kv(model, event->kv, change->key, cell, false);
    }
    if (!watcher->prev_kv) return;
    const struct cell *before = &model->states[change->revision - 1].cells[change->key];
    if (event->previous != NULL)
        assert_kv(model, shared_slice(event->previous), change->key, before, false);
    else
        assert_true(!before->exists || change->revision - 1 < model->compacted);
}

static bool on_batch(void *context, struct watcher *handle, const struct watch_batch *batch) {
    struct test_watcher *watcher = context;
    assert_ptr_equal(handle, watcher->watcher);
    if (below(watcher->model, 8) == 0) {
        watcher->is_stalled = true;
        return false;
    }
    assert_true(batch->count > 0);
    assert_true(batch->events[0]->revision.main > watcher->last_revision);
    for (size_t i = 0; i < batch->count; i++) check_event(watcher, batch->events[i]);
    watcher->last_revision = batch->events[batch->count - 1]->revision.main;
    assert_true(batch->header_revision >= watcher->last_revision);
    return true;
}

static void on_compacted(void *context, struct watcher *handle, int64_t compact_revision) {
    struct test_watcher *watcher = context;
    watcher->was_compacted = true;
    assert_int_equal(compact_revision, watcher->model->compacted);
}

static void add_watcher(struct model *model, struct test_watcher *watcher) {
    int from = (int)below(model, KEYS), to = from + 1 + (int)below(model, (uint64_t)(KEYS - from));
    int64_t start = (int64_t)below(model, (uint64_t)model->revision + 4);
    struct watch_options options = {
        .key = key_text(from),
        .range_end = to == from + 1 ? SLICE_NONE
                     : to == KEYS   ? SLICE_LITERAL("\0")
                                    : key_text(to),
        .start_revision = start,
        .no_put = below(model, 5) == 0,
        .no_delete = below(model, 5) == 0,
        .prev_kv = below(model, 2) == 0,
        .sink = {on_batch, on_compacted, watcher},
    };
    *watcher = (struct test_watcher){.from = from,
                                     .to = to,
                                     .start = start == 0 ? model->revision + 1 : start,
                                     .no_put = options.no_put,
                                     .no_delete = options.no_delete,
                                     .prev_kv = options.prev_kv,
                                     .model = model};
    struct watcher *handle;
    assert_int_equal(watch_hub_add(store_watch_hub(model->fixture.store), &options, &handle), OK);
    watcher->watcher = handle;
}

static void resume_all(struct model *model) {
    for (int i = 0; i < WATCHERS; i++) {
        if (!model->watchers[i].is_stalled) continue;
        model->watchers[i].is_stalled = false;
        watcher_resume(model->watchers[i].watcher);
    }
}

static bool all_settled(struct model *model) {
    for (int i = 0; i < WATCHERS; i++) {
        struct watcher *watcher = model->watchers[i].watcher;
        if (watcher != NULL && !watcher_is_synced(watcher) && !watcher_is_compacted(watcher)) return false;
    }
    return true;
}

/* Everybody who is not compacted has got all. */
static void check_watchers(struct model *model) {
    int64_t deadline_ns = env_now_ns(model->fixture.env) + LIMIT_NS;
    while (!all_settled(model)) {
        assert_true(env_now_ns(model->fixture.env) < deadline_ns);
        resume_all(model);
        turn(&model->fixture);
    }
    for (int i = 0; i < WATCHERS; i++) {
        struct test_watcher *watcher = &model->watchers[i];
        if (watcher->watcher == NULL || watcher->was_compacted) continue;
        for (size_t j = watcher->next_change; j < model->changes.count; j++)
            assert_false(is_wanted(watcher, &model->changes.items[j]));
    }
}

static void free_watchers(struct model *model) {
    for (int i = 0; i < WATCHERS; i++) {
        watcher_free(model->watchers[i].watcher);
        model->watchers[i] = (struct test_watcher){0};
    }
}

/* ---- writing ---- */

static void change_key(struct model *model, struct state *next, int key, bool is_delete, int64_t lease) {
    struct cell *cell = &next->cells[key];
    int64_t revision = model->revision + 1;
    VEC_PUSH(&model->changes, (struct change){revision, key, is_delete});
    if (is_delete) {
        *cell = (struct cell){0};
        return;
    }
    bool existed = cell->exists;
    *cell = (struct cell){
        true, existed ? cell->create : revision, revision, existed ? cell->version + 1 : 1, lease, ++model->next_value};
}

static void write_something(struct model *model) {
    struct store_txn *txn = store_txn_begin(model->fixture.store);
    struct state *next = &model->states[model->revision + 1];
    *next = model->states[model->revision];
    size_t changes_before = model->changes.count;
    bool touched[KEYS] = {false};
    for (uint64_t i = 1 + below(model, 4); i > 0; i--) {
        int key = (int)below(model, KEYS);
        if (below(model, 4) > 0) {
            if (touched[key]) continue; /* as the API: no key twice in a transaction */
            int64_t lease = below(model, 3) == 0 ? 1 + (int64_t)below(model, 3) : 0;
            touched[key] = true;
            change_key(model, next, key, false, lease);
            char value[16];
            snprintf(value, sizeof value, "%u", model->next_value);
            store_txn_put(txn, key_text(key), text(value), lease);
        } else {
            int end = key + 1 + (int)below(model, 3);
            if (end > KEYS) end = KEYS;
            bool is_free = true;
            for (int j = key; j < end; j++) is_free = is_free && !touched[j];
            if (!is_free) continue;
            int64_t expected = 0;
            for (int j = key; j < end; j++) {
                if (!next->cells[j].exists) continue;
                change_key(model, next, j, true, 0);
                touched[j] = true;
                expected++;
            }
            struct slice range_end = end == key + 1 ? SLICE_NONE : end == KEYS ? SLICE_LITERAL("\0") : key_text(end);
            assert_int_equal(store_txn_delete_range(txn, key_text(key), range_end), expected);
        }
    }
    bool changed = model->changes.count > changes_before;
    /* Counted before the end, since live watchers look at the model from inside it. */
    if (changed) model->revision++;
    assert_int_equal(store_txn_revision(txn), model->revision);
    assert_int_equal(store_txn_end(txn), model->revision);
    assert_int_equal(store_revision(model->fixture.store), model->revision);
}

/* ---- reading ---- */

struct expected_item {
    int key;
    const struct cell *cell;
};

static const struct store_range_options *sorting;

static int compare_items(const void *a, const void *b) {
    const struct expected_item *x = a, *y = b;
    int64_t order = x->key - y->key;
    bool descends = sorting->order == STORE_SORT_DESCEND;
    int64_t by = 0;
    char left[16], right[16];
    switch (sorting->target) {
    case STORE_BY_VERSION: by = x->cell->version - y->cell->version; break;
    case STORE_BY_CREATE: by = x->cell->create - y->cell->create; break;
    case STORE_BY_MOD: by = x->cell->mod - y->cell->mod; break;
    case STORE_BY_VALUE:
        snprintf(left, sizeof left, "%u", x->cell->value);
        snprintf(right, sizeof right, "%u", y->cell->value);
        by = strcmp(left, right);
        break;
    case STORE_BY_KEY: by = order; break;
    }
    if (by != 0) return (by > 0) != descends ? 1 : -1;
    return order > 0 ? 1 : -1;
}

static struct store_range_options random_options(struct model *model, int *ret_from, int *ret_to) {
    int from = (int)below(model, KEYS), to = from + 1 + (int)below(model, (uint64_t)(KEYS - from));
    struct store_range_options options = {
        .key = key_text(from),
        .range_end = to == from + 1 ? SLICE_NONE
                     : to == KEYS   ? SLICE_LITERAL("\0")
                                    : key_text(to),
        .limit = below(model, 2) == 0 ? (int64_t)below(model, 8) - 1 : 0,
        .order = (enum store_sort_order)below(model, 3),
        .target = (enum store_sort_target)below(model, 5),
        .keys_only = below(model, 5) == 0,
        .count_only = below(model, 8) == 0,
    };
    if (below(model, 3) == 0) options.order = STORE_SORT_NONE, options.target = STORE_BY_KEY;
    int64_t revision = model->revision;
    if (below(model, 6) == 0) options.min_mod = (int64_t)below(model, (uint64_t)revision + 1);
    if (below(model, 6) == 0) options.max_mod = (int64_t)below(model, (uint64_t)revision + 1);
    if (below(model, 6) == 0) options.min_create = (int64_t)below(model, (uint64_t)revision + 1);
    if (below(model, 6) == 0) options.max_create = (int64_t)below(model, (uint64_t)revision + 1);
    if (below(model, 2) == 0) options.revision = (int64_t)below(model, (uint64_t)revision + 3) - 1;
    *ret_from = from;
    *ret_to = to;
    return options;
}

static void read_something(struct model *model) {
    int from, to;
    struct store_range_options options = random_options(model, &from, &to);
    int64_t at = options.revision <= 0 ? model->revision : options.revision;
    int64_t asked_at = model->revision;
    struct store_range *range;
    enum err error = store_range_begin(model->fixture.store, &options, &range);
    if (at > model->revision) {
        assert_int_equal(error, ERR_FUTURE_REV);
        return;
    }
    if (at < model->compacted) {
        assert_int_equal(error, ERR_COMPACTED);
        return;
    }
    assert_int_equal(error, OK);
    /* In slices, with writes and compactions in between. */
    while (!store_range_step(range, 1 + below(model, 20))) {
        if (below(model, 3) == 0 && model->revision + 2 < MAX_REVISIONS) write_something(model);
        if (below(model, 3) == 0) turn(&model->fixture);
    }
    struct expected_item items[KEYS];
    size_t count = 0, kept = 0;
    for (int key = from; key < to; key++) {
        const struct cell *cell = &model->states[at].cells[key];
        if (!cell->exists) continue;
        count++;
        if (options.min_mod != 0 && cell->mod < options.min_mod) continue;
        if (options.max_mod != 0 && cell->mod > options.max_mod) continue;
        if (options.min_create != 0 && cell->create < options.min_create) continue;
        if (options.max_create != 0 && cell->create > options.max_create) continue;
        items[kept++] = (struct expected_item){key, cell};
    }
    /* A limit without an order cuts what comes first by key; what is left is sorted. */
    bool filters = options.min_mod != 0 || options.max_mod != 0 || options.min_create != 0 || options.max_create != 0;
    bool cuts_first = options.limit > 0 && options.order == STORE_SORT_NONE && !filters;
    if (cuts_first && kept > (size_t)options.limit + 1) kept = (size_t)options.limit + 1;
    sorting = &options;
    qsort(items, kept, sizeof *items, compare_items);
    bool more = options.limit > 0 && kept > (size_t)options.limit;
    if (more) kept = (size_t)options.limit;
    if (options.count_only) kept = 0, more = false;
    assert_int_equal(store_range_count(range), count);
    assert_int_equal(store_range_more(range), more);
    assert_int_equal(store_range_length(range), kept);
    assert_int_equal(store_range_revision(range), asked_at);
    struct slice kv;
    bool found;
    for (size_t i = 0; i < kept; i++) {
        assert_int_equal(store_range_next(range, &kv, &found), OK);
        assert_true(found);
        assert_kv(model, kv, items[i].key, items[i].cell, options.keys_only);
        if (below(model, 10) == 0) turn(&model->fixture);
    }
    assert_int_equal(store_range_next(range, &kv, &found), OK);
    assert_false(found);
    store_range_free(range);
}

static void get_something(struct model *model) {
    int key = (int)below(model, KEYS);
    int64_t from = model->compacted > 0 ? model->compacted : 1;
    int64_t at = from + (int64_t)below(model, (uint64_t)(model->revision - from + 1));
    const struct cell *cell = &model->states[at].cells[key];
    struct slice kv;
    bool found;
    assert_int_equal(store_get(model->fixture.store, key_text(key), at, &kv, &found), OK);
    assert_int_equal(found, cell->exists);
    if (found) assert_kv(model, kv, key, cell, false);
}

/* ---- life ---- */

static void compact_something(struct model *model) {
    int64_t from = model->compacted > 0 ? model->compacted : 0;
    int64_t at = from + (int64_t)below(model, (uint64_t)(model->revision - from + 2));
    enum err error = store_compact(model->fixture.store, at, NULL, NULL);
    if (at <= model->compacted)
        assert_int_equal(error, ERR_COMPACTED);
    else if (at > model->revision)
        assert_int_equal(error, ERR_FUTURE_REV);
    else {
        assert_int_equal(error, OK);
        model->compacted = at;
    }
}

/* The store lost what was not committed; so does the model. */
static void follow_store(struct model *model) {
    model->revision = store_revision(model->fixture.store);
    model->compacted = store_compact_revision(model->fixture.store);
    while (model->changes.count > 0 && model->changes.items[model->changes.count - 1].revision > model->revision)
        model->changes.count--;
    index_check(store_index(model->fixture.store));
    check_leases(model);
}

static void restart(struct model *model) {
    check_watchers(model);
    free_watchers(model);
    memset(model->leases, 0, sizeof model->leases);
    int64_t revision = model->revision;
    if (below(model, 2) == 0) {
        fixture_close(&model->fixture);
        fixture_open(&model->fixture);
        assert_int_equal(store_revision(model->fixture.store), revision);
    } else {
        fixture_crash(&model->fixture);
        memset(model->leases, 0, sizeof model->leases);
        /* fixture_crash attached them once more */
        fixture_close(&model->fixture);
        fixture_open(&model->fixture);
    }
    follow_store(model);
}

static void run_model(uint64_t seed, int steps) {
    struct model *model = NEW(struct model);
    prng_init(&model->prng, seed);
    model->states = NEW_ARRAY(struct state, MAX_REVISIONS);
    model->revision = 1;
    model->compacted = -1;
    fixture_init(&model->fixture);
    struct store_options *options = &model->fixture.options;
    options->lease = (struct store_lease_ops){NULL, attach, detach, model};
    options->compaction_batch_limit = 1 + (int)below(model, 20);
    options->compaction_sleep_ns = 1;
    options->compaction_slice_keys = 1 + below(model, 10);
    options->watch_ring_events = 1 + below(model, seed % 2 ? 2000 : 20);
    fixture_open(&model->fixture);
    for (int i = 0; i < steps && model->revision + 40 < MAX_REVISIONS; i++) {
        switch (below(model, 16)) {
        default: write_something(model); break;
        case 7:
        case 8: get_something(model); break;
        case 9:
        case 10:
        case 11: read_something(model); break;
        case 12: turn(&model->fixture); break;
        case 13: {
            struct test_watcher *watcher = &model->watchers[below(model, WATCHERS)];
            if (watcher->watcher == NULL)
                add_watcher(model, watcher);
            else if (below(model, 4) == 0)
                watcher_free(TAKE(watcher->watcher));
            if (watcher->watcher == NULL) *watcher = (struct test_watcher){0};
            break;
        }
        case 14: resume_all(model); break;
        case 15:
            if (below(model, 6) == 0) compact_something(model);
            if (below(model, 40) == 0) restart(model);
            if (below(model, 20) == 0) check_watchers(model);
            if (below(model, 4) == 0) commit_now(&model->fixture);
            break;
        }
    }
    check_watchers(model);
    check_leases(model);
    free_watchers(model);
    fixture_close(&model->fixture);
    fixture_release(&model->fixture);
    VEC_RELEASE(&model->changes);
    mem_free(model->states);
    mem_free(model);
}

static void test_random_lives(void **state) {
    for (uint64_t seed = 1; seed <= 30; seed++) run_model(seed, 4000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_lives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
