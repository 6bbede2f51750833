/* The key index against a naive model: lists of generations, searched from end to end. */
#include "base/mem.h"
#include "base/prng.h"
#include "mvcc/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_KEYS 600
#define KEY_BYTES 40

struct generation {
    int64_t created, version;
    VEC(struct revision) revisions;
};

struct model_key {
    char bytes[KEY_BYTES];
    size_t length;
    VEC(struct generation) generations; /* the last one may be empty; none: the key is unknown */
};

struct model {
    struct model_key keys[MAX_KEYS];
    size_t count;
};

static int compare_keys(const void *a, const void *b) {
    const struct model_key *x = a, *y = b;
    return slice_compare(slice_make(x->bytes, x->length), slice_make(y->bytes, y->length));
}

static void model_init(struct model *model, struct prng *prng, size_t count, int flavour) {
    memset(model, 0, sizeof *model);
    for (size_t i = 0; i < count; i++) {
        struct model_key *key = &model->keys[i];
        if (flavour == 0) {
            key->length = (size_t)snprintf(key->bytes, KEY_BYTES, "/registry/pods/key-%06zu", i * 7);
        } else if (flavour == 1) {
            key->length = 1 + prng_below(prng, 4);
            for (size_t j = 0; j < key->length; j++) key->bytes[j] = "ab"[prng_below(prng, 2)];
            key->length += (size_t)snprintf(key->bytes + key->length, 16, "%zu", i);
        } else {
            /* zero bytes at the end and in the middle, prefixes of one another */
            key->length = 1 + prng_below(prng, KEY_BYTES - 1);
            for (size_t j = 0; j < key->length; j++) key->bytes[j] = "\0\1\377"[prng_below(prng, 3)];
        }
    }
    qsort(model->keys, count, sizeof model->keys[0], compare_keys);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || compare_keys(&model->keys[model->count - 1], &model->keys[i]) != 0)
            model->keys[model->count++] = model->keys[i];
}

static void generation_release(struct generation *generation) { VEC_RELEASE(&generation->revisions); }

static void model_drop_key(struct model_key *key) {
    for (size_t i = 0; i < key->generations.count; i++) generation_release(&key->generations.items[i]);
    key->generations.count = 0;
}

static void model_release(struct model *model) {
    for (size_t i = 0; i < model->count; i++) {
        model_drop_key(&model->keys[i]);
        VEC_RELEASE(&model->keys[i].generations);
    }
}

static struct slice key_of(const struct model_key *key) { return slice_make(key->bytes, key->length); }

static bool model_is_live(const struct model_key *key) {
    return key->generations.count > 0 && key->generations.items[key->generations.count - 1].revisions.count > 0;
}

static void model_put(struct model_key *key, struct revision revision) {
    if (key->generations.count == 0) VEC_PUSH(&key->generations, (struct generation){0});
    struct generation *last = &key->generations.items[key->generations.count - 1];
    if (last->revisions.count == 0) last->created = revision.main;
    VEC_PUSH(&last->revisions, revision);
    last->version++;
}

static void model_tombstone(struct model_key *key, struct revision revision) {
    model_put(key, revision);
    VEC_PUSH(&key->generations, (struct generation){0});
}

static bool model_get(const struct model_key *key, int64_t at, struct index_item *ret_item) {
    for (size_t g = key->generations.count; g-- > 0;) {
        const struct generation *generation = &key->generations.items[g];
        size_t count = generation->revisions.count;
        if (count == 0) continue;
        if (g + 1 < key->generations.count && generation->revisions.items[count - 1].main <= at) return false;
        if (generation->revisions.items[0].main > at) continue;
        size_t i = count;
        while (generation->revisions.items[i - 1].main > at) i--;
        ret_item->mod = generation->revisions.items[i - 1];
        ret_item->create_main = generation->created;
        ret_item->version = generation->version - (int64_t)(count - i);
        return true;
    }
    return false;
}

/* The generation and place of spec 10's doCompact. */
static size_t model_find(const struct model_key *key, int64_t at, size_t *ret_place) {
    size_t g = 0;
    while (g + 1 < key->generations.count) {
        const struct generation *generation = &key->generations.items[g];
        if (generation->revisions.items[generation->revisions.count - 1].main >= at) break;
        g++;
    }
    size_t place = key->generations.items[g].revisions.count;
    while (place > 0 && key->generations.items[g].revisions.items[place - 1].main > at) place--;
    *ret_place = place; /* + 1; 0 = none */
    return g;
}

static void model_compact(struct model_key *key, int64_t at, struct index_revisions *dropped, bool *kept_any) {
    if (key->generations.count == 0) return;
    size_t place;
    size_t g = model_find(key, at, &place);
    for (size_t i = 0; i < g; i++)
        for (size_t j = 0; j < key->generations.items[i].revisions.count; j++)
            VEC_PUSH(&dropped->list, key->generations.items[i].revisions.items[j]);
    struct generation *generation = &key->generations.items[g];
    if (place > 0) {
        *kept_any = true;
        for (size_t j = 0; j + 1 < place; j++) VEC_PUSH(&dropped->list, generation->revisions.items[j]);
        generation->revisions.count -= place - 1;
        memmove(generation->revisions.items, generation->revisions.items + place - 1,
                generation->revisions.count * sizeof *generation->revisions.items);
    }
    for (size_t i = 0; i < g; i++) generation_release(&key->generations.items[i]);
    key->generations.count -= g;
    memmove(key->generations.items, key->generations.items + g,
            key->generations.count * sizeof *key->generations.items);
    if (key->generations.count == 1 && key->generations.items[0].revisions.count == 0) model_drop_key(key);
}

static bool model_keep(const struct model_key *key, int64_t at, struct revision *ret_revision) {
    if (key->generations.count == 0) return false;
    size_t place;
    size_t g = model_find(key, at, &place);
    if (place == 0) return false;
    if (g + 1 < key->generations.count && place == key->generations.items[g].revisions.count) return false;
    *ret_revision = key->generations.items[g].revisions.items[place - 1];
    return true;
}

static void compare_all(const struct model *model, const struct index *index, int64_t at) {
    uint64_t live = 0, known = 0;
    for (size_t i = 0; i < model->count; i++) {
        struct index_item expected, item;
        bool is_there = model_get(&model->keys[i], at, &expected);
        assert_int_equal(index_get(index, key_of(&model->keys[i]), at, &item), is_there);
        if (is_there) {
            assert_int_equal(item.mod.main, expected.mod.main);
            assert_int_equal(item.mod.sub, expected.mod.sub);
            assert_int_equal(item.create_main, expected.create_main);
            assert_int_equal(item.version, expected.version);
        }
        live += model_is_live(&model->keys[i]);
        known += model->keys[i].generations.count > 0;
    }
    assert_int_equal(index_live_count(index), live);
    assert_int_equal(index_key_count(index), known);
}

static void compare_ranges(const struct model *model, const struct index *index, struct prng *prng) {
    for (int round = 0; round < 10; round++) {
        size_t a = prng_below(prng, model->count), b = prng_below(prng, model->count);
        struct index_range range = {.begin = key_of(&model->keys[a]), .end = key_of(&model->keys[b])};
        if (prng_below(prng, 4) == 0) range.is_open = true;
        size_t end = range.is_open ? model->count : b;
        uint64_t live = 0;
        struct index_cursor all_cursor = index_seek(index, range.begin);
        struct index_cursor live_cursor = all_cursor;
        for (size_t i = a; i < end; i++) {
            if (model->keys[i].generations.count == 0) continue;
            struct index_key *key = index_next(&all_cursor, &range);
            assert_true(slice_equal(index_key_bytes(key), key_of(&model->keys[i])));
            if (!model_is_live(&model->keys[i])) continue;
            assert_ptr_equal(index_next_live(&live_cursor, &range), key);
            struct index_cursor nth = index_seek_live(index, range.begin, live);
            assert_ptr_equal(index_next(&nth, &range), key);
            live++;
        }
        if (a <= end) {
            assert_null(index_next(&all_cursor, &range));
            assert_null(index_next_live(&live_cursor, &range));
        }
        assert_int_equal(index_count(index, &range), live);
    }
}

static int compare_revisions(const void *a, const void *b) {
    return revision_compare(*(const struct revision *)a, *(const struct revision *)b);
}

static void assert_same_revisions(struct index_revisions *a, struct index_revisions *b) {
    assert_int_equal(a->list.count, b->list.count);
    if (a->list.count == 0) return;
    qsort(a->list.items, a->list.count, sizeof *a->list.items, compare_revisions);
    qsort(b->list.items, b->list.count, sizeof *b->list.items, compare_revisions);
    assert_memory_equal(a->list.items, b->list.items, a->list.count * sizeof *a->list.items);
}

static void compare_keep(const struct model *model, const struct index *index, int64_t at, struct prng *prng) {
    struct index_revisions expected = {0}, kept = {0};
    bool expected_any = false, any = false;
    int64_t up_to = at - (int64_t)prng_below(prng, 50);
    for (size_t i = 0; i < model->count; i++) {
        struct revision revision;
        if (!model_keep(&model->keys[i], at, &revision)) continue;
        expected_any = true;
        if (revision.main <= up_to) VEC_PUSH(&expected.list, revision);
    }
    struct index_sweep sweep = {0};
    while (!sweep.is_finished) index_keep(index, at, up_to, &sweep, 1 + prng_below(prng, 100), &kept, &any);
    index_sweep_release(&sweep);
    assert_int_equal(any, expected_any);
    assert_same_revisions(&expected, &kept);
    VEC_RELEASE(&expected.list);
    VEC_RELEASE(&kept.list);
}

static void compact_both(struct model *model, struct index *index, int64_t at, struct prng *prng) {
    struct index_revisions expected = {0}, got = {0};
    struct index_dropped_list dropped = {0};
    bool expected_any = false, any = false;
    for (size_t i = 0; i < model->count; i++) model_compact(&model->keys[i], at, &expected, &expected_any);
    struct index_sweep sweep = {0};
    while (!sweep.is_finished)
        index_compact(index, at, &sweep, 1 + prng_below(prng, 100), 1 + prng_below(prng, 50), &dropped, &any);
    index_sweep_release(&sweep);
    for (size_t i = 0; i < dropped.list.count; i++) VEC_PUSH(&got.list, dropped.list.items[i].revision);
    assert_int_equal(any, expected_any);
    assert_same_revisions(&expected, &got);
    VEC_RELEASE(&expected.list);
    VEC_RELEASE(&got.list);
    VEC_RELEASE(&dropped.list);
}

/* One random life; returns the newest revision. */
static int64_t live_a_life(struct model *model, struct index *index, struct prng *prng, int operations,
                           unsigned delete_of_8) {
    int64_t now = 1, compacted = -1;
    for (int i = 0; i < operations; i++) {
        now++;
        size_t in_txn = 1 + prng_below(prng, 3);
        for (size_t sub = 0; sub < in_txn; sub++) {
            struct model_key *key = &model->keys[prng_below(prng, model->count)];
            struct revision revision = {now, (int64_t)sub};
            if (prng_below(prng, 8) < delete_of_8) {
                bool was_live = model_is_live(key);
                if (was_live) model_tombstone(key, revision);
                assert_int_equal(index_tombstone(index, key_of(key), revision, NULL), was_live);
            } else {
                model_put(key, revision);
                struct index_item item = index_put(index, key_of(key), revision, NULL), expected;
                assert_true(model_get(key, INT64_MAX, &expected));
                assert_int_equal(item.version, expected.version);
                assert_int_equal(item.create_main, expected.create_main);
            }
        }
        if (i % 97 == 0) {
            index_check(index);
            compare_ranges(model, index, prng);
            compare_all(model, index, compacted + (int64_t)prng_below(prng, (uint64_t)(now - compacted + 1)));
            int64_t from = compacted > 0 ? compacted : 1;
            compare_keep(model, index, from + (int64_t)prng_below(prng, (uint64_t)(now - from + 1)), prng);
        }
        if (i % 301 == 300) {
            int64_t from = compacted > 0 ? compacted : 1;
            compacted = prng_below(prng, 3) == 0 ? now : from + (int64_t)prng_below(prng, (uint64_t)(now - from + 1));
            compact_both(model, index, compacted, prng);
            index_check(index);
            compare_all(model, index, INT64_MAX);
            compare_all(model, index, compacted);
        }
    }
    return now;
}

static void test_random_lives(void **state) {
    for (uint64_t seed = 0; seed < 24; seed++) {
        struct prng prng;
        prng_init(&prng, seed);
        struct model *model = NEW(struct model);
        model_init(model, &prng, seed % 4 == 0 ? 20 : MAX_KEYS, (int)(seed % 3));
        struct index *index = index_new();
        live_a_life(model, index, &prng, 4000, seed % 5 == 0 ? 5 : 2);
        index_free(index);
        model_release(model);
        mem_free(model);
    }
}

static void test_everything_deleted_and_compacted_leaves_nothing(void **state) {
    struct prng prng;
    prng_init(&prng, 7);
    struct model *model = NEW(struct model);
    model_init(model, &prng, MAX_KEYS, 0);
    struct index *index = index_new();
    int64_t now = live_a_life(model, index, &prng, 2000, 2);
    for (size_t i = 0; i < model->count; i++) {
        if (!model_is_live(&model->keys[i])) continue;
        model_tombstone(&model->keys[i], (struct revision){++now, 0});
        assert_true(index_tombstone(index, key_of(&model->keys[i]), (struct revision){now, 0}, NULL));
    }
    assert_int_equal(index_live_count(index), 0);
    compact_both(model, index, now + 1, &prng);
    assert_int_equal(index_key_count(index), 0);
    index_check(index);
    index_free(index);
    model_release(model);
    mem_free(model);
}

struct pair {
    struct revision revision;
    const struct model_key *key;
    int64_t create, version;
    bool is_tombstone;
};

static int compare_pairs(const void *a, const void *b) {
    return revision_compare(((const struct pair *)a)->revision, ((const struct pair *)b)->revision);
}

/* What the pairs on disk would say after a life with compactions, loaded in one or several pieces, gives the same
 * index. */
static void test_load_gives_what_was_lived(void **state) {
    for (uint64_t seed = 0; seed < 24; seed++) {
        struct prng prng;
        prng_init(&prng, 100 + seed);
        struct model *model = NEW(struct model);
        model_init(model, &prng, seed % 4 == 0 ? 30 : MAX_KEYS, (int)(seed % 3));
        struct index *lived = index_new();
        int64_t now = live_a_life(model, lived, &prng, 3000, 2);
        VEC(struct pair) pairs = {0};
        for (size_t i = 0; i < model->count; i++) {
            for (size_t g = 0; g < model->keys[i].generations.count; g++) {
                struct generation *generation = &model->keys[i].generations.items[g];
                for (size_t j = 0; j < generation->revisions.count; j++) {
                    bool is_tombstone =
                        g + 1 < model->keys[i].generations.count && j + 1 == generation->revisions.count;
                    VEC_PUSH(&pairs, (struct pair){generation->revisions.items[j], &model->keys[i], generation->created,
                                                   generation->version - (int64_t)(generation->revisions.count - j - 1),
                                                   is_tombstone});
                }
            }
        }
        qsort(pairs.items, pairs.count, sizeof *pairs.items, compare_pairs);
        struct index_record **records = NEW_ARRAY(struct index_record *, pairs.count);
        for (size_t i = 0; i < pairs.count; i++) {
            struct pair *pair = &pairs.items[i];
            struct slice key = key_of(pair->key);
            records[i] = mem_alloc(sizeof *records[i] + key.len);
            *records[i] = (struct index_record){
                pair->revision.main,           pair->create,      pair->version, 0, (uint32_t)pair->revision.sub,
                (uint32_t)key.len & INT32_MAX, pair->is_tombstone};
            memcpy(records[i]->key, key.data, key.len);
        }
        struct index *loaded = index_new();
        size_t piece = seed % 2 ? pairs.count : 1 + prng_below(&prng, 700);
        for (size_t at = 0; at < pairs.count; at += piece) {
            index_load(loaded, (const struct index_record *const *)records + at,
                       pairs.count - at < piece ? pairs.count - at : piece, NULL, NULL);
            index_check(loaded);
        }
        for (int i = 0; i < 20; i++) {
            compare_all(model, loaded, INT64_MAX);
            compare_ranges(model, loaded, &prng);
        }
        compact_both(model, loaded, now, &prng);
        compare_all(model, loaded, INT64_MAX);
        index_check(loaded);
        index_free(loaded);
        index_free(lived);
        for (size_t i = 0; i < pairs.count; i++) mem_free(records[i]);
        mem_free(records);
        VEC_RELEASE(&pairs);
        model_release(model);
        mem_free(model);
    }
}

static void test_a_tombstone_at_the_compaction_revision_is_kept(void **state) {
    struct index *index = index_new();
    struct slice key = SLICE_LITERAL("a");
    index_put(index, key, (struct revision){2, 0}, NULL);
    index_tombstone(index, key, (struct revision){3, 0}, NULL);
    struct index_dropped_list dropped = {0};
    struct index_sweep sweep = {0};
    bool any = false;
    index_compact(index, 3, &sweep, 100, 100, &dropped, &any);
    assert_int_equal(dropped.list.count, 1);
    assert_int_equal(dropped.list.items[0].revision.main, 2);
    assert_int_equal(index_key_count(index), 1);
    index_sweep_release(&sweep);
    index_compact(index, 4, &sweep, 100, 100, &dropped, &any);
    assert_int_equal(dropped.list.count, 2);
    assert_true(dropped.list.items[1].is_tombstone);
    assert_int_equal(index_key_count(index), 0);
    index_sweep_release(&sweep);
    VEC_RELEASE(&dropped.list);
    index_free(index);
}

static void test_memory_per_key_stays_below_64_bytes(void **state) {
    struct prng prng;
    prng_init(&prng, 1);
    for (int random_order = 0; random_order < 2; random_order++) {
        struct index *index = index_new();
        size_t key_bytes = 0;
        char text[32];
        for (int i = 0; i < 100000; i++) {
            uint64_t number = random_order ? prng_below(&prng, 1000000000) : (uint64_t)i;
            size_t length = (size_t)snprintf(text, sizeof text, "/bench/%012llu", (unsigned long long)number);
            uint64_t before = index_key_count(index);
            index_put(index, slice_make(text, length), (struct revision){i + 2, 0}, NULL);
            if (index_key_count(index) != before) key_bytes += length;
        }
        double per_key = (double)(index_memory_bytes(index) - key_bytes) / (double)index_key_count(index);
        assert_true(per_key < 64.0);
        index_free(index);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lives),
        cmocka_unit_test(test_everything_deleted_and_compacted_leaves_nothing),
        cmocka_unit_test(test_load_gives_what_was_lived),
        cmocka_unit_test(test_a_tombstone_at_the_compaction_revision_is_kept),
        cmocka_unit_test(test_memory_per_key_stays_below_64_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
