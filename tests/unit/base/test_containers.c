/* Maps, heaps, lists, buffers and arenas against the plainest model. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/prng.h"
#include "base/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEYS 512

static void a_u64_map_agrees_with_an_array(void **state) {
    struct prng prng;
    prng_init(&prng, 1);
    struct map_u64 map;
    map_u64_init(&map, 7);
    static int values[KEYS];
    bool present[KEYS] = {false};
    size_t count = 0;
    for (int step = 0; step < 100000; step++) {
        uint64_t key = prng_below(&prng, KEYS);
        if (prng_below(&prng, 2) == 0) {
            assert_ptr_equal(map_u64_put(&map, key * 64, &values[key]), present[key] ? &values[key] : NULL);
            count += !present[key];
            present[key] = true;
        } else {
            assert_ptr_equal(map_u64_remove(&map, key * 64), present[key] ? &values[key] : NULL);
            count -= present[key];
            present[key] = false;
        }
        assert_int_equal(map.count, count);
        uint64_t probe = prng_below(&prng, KEYS);
        assert_ptr_equal(map_u64_get(&map, probe * 64), present[probe] ? &values[probe] : NULL);
    }
    size_t index = 0, walked = 0;
    while (map_u64_next(&map, &index) != NULL) walked++;
    assert_int_equal(walked, count);
    map_u64_release(&map);
}

static void a_bytes_map_agrees_with_an_array(void **state) {
    struct prng prng;
    prng_init(&prng, 2);
    struct map_bytes map;
    map_bytes_init(&map, 77);
    static char keys[KEYS][12];
    bool present[KEYS] = {false};
    for (int i = 0; i < KEYS; i++) snprintf(keys[i], sizeof keys[i], "key/%d", i);
    for (int step = 0; step < 100000; step++) {
        size_t i = prng_below(&prng, KEYS);
        struct slice key = slice_from_cstr(keys[i]);
        if (prng_below(&prng, 2) == 0) {
            assert_ptr_equal(map_bytes_put(&map, key, keys[i]), present[i] ? keys[i] : NULL);
            present[i] = true;
        } else {
            assert_ptr_equal(map_bytes_remove(&map, key), present[i] ? keys[i] : NULL);
            present[i] = false;
        }
        size_t probe = prng_below(&prng, KEYS);
        assert_ptr_equal(map_bytes_get(&map, slice_from_cstr(keys[probe])), present[probe] ? keys[probe] : NULL);
    }
    map_bytes_release(&map);
}

static void a_heap_gives_the_smallest_first(void **state) {
    struct prng prng;
    prng_init(&prng, 3);
    struct heap heap;
    heap_init(&heap);
    static struct heap_node nodes[KEYS];
    for (int step = 0; step < 50000; step++) {
        struct heap_node *node = &nodes[prng_below(&prng, KEYS)];
        int64_t key = (int64_t)prng_below(&prng, 1000);
        if (!heap_contains(node)) {
            node->key = key;
            heap_push(&heap, node);
        } else if (prng_below(&prng, 2) == 0) {
            heap_update(&heap, node, key);
        } else {
            heap_remove(&heap, node);
        }
        for (size_t i = 0; i < KEYS; i++)
            if (heap_contains(&nodes[i])) assert_true(heap_peek(&heap)->key <= nodes[i].key);
    }
    int64_t last = INT64_MIN;
    struct heap_node *node;
    while ((node = heap_peek(&heap)) != NULL) {
        assert_true(node->key >= last);
        last = node->key;
        heap_remove(&heap, node);
    }
    heap_release(&heap);
}

static void a_list_keeps_its_order_over_splice_and_removal(void **state) {
    struct item {
        int number;
        struct list link;
    } items[4];
    struct list a, b;
    list_init(&a);
    list_init(&b);
    for (int i = 0; i < 4; i++) {
        items[i].number = i;
        list_push_back(i < 2 ? &a : &b, &items[i].link);
    }
    list_splice_back(&a, &b);
    assert_true(list_is_empty(&b));
    int expected = 0;
    LIST_FOREACH (link, &a) {
        struct item *item = CONTAINER_OF(link, struct item, link);
        assert_int_equal(item->number, expected++);
        list_remove(&item->link);
    }
    assert_int_equal(expected, 4);
    assert_true(list_is_empty(&a));
}

static void an_arena_gives_aligned_pieces_and_forgets_them_all(void **state) {
    struct arena arena;
    arena_init(&arena, 128);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 3000; size += 37) {
            uint8_t *piece = arena_alloc(&arena, size);
            assert_int_equal((uintptr_t)piece % 8, 0);
            memset(piece, 0xab, size);
        }
        assert_true(arena_used(&arena) > 3000 * 3000 / 37 / 2);
        assert_string_equal(arena_printf(&arena, "%d-%s", 5, "x"), "5-x");
        arena_reset(&arena);
        assert_int_equal(arena_used(&arena), 0);
    }
    arena_release(&arena);
}

static void a_buf_grows_consumes_and_hands_over(void **state) {
    struct buf buf = BUF_INIT;
    for (int i = 0; i < 1000; i++) buf_printf(&buf, "%03d", i);
    assert_int_equal(buf.len, 3000);
    buf_consume(&buf, 2997);
    assert_string_equal(buf_cstr(&buf), "999");
    char *text = buf_detach_cstr(&buf);
    assert_string_equal(text, "999");
    assert_null(buf.data);
    mem_free(text);
}

static void varints_of_every_length_come_back(void **state) {
    for (int bits = 0; bits < 64; bits++) {
        uint64_t value = (UINT64_C(1) << bits) - (bits % 2), loaded;
        uint8_t bytes[VARINT_MAX_BYTES];
        size_t n = varint_store(bytes, value);
        assert_int_equal(n, varint_size(value));
        assert_int_equal(varint_load(bytes, bytes + n, &loaded), n);
        assert_true(loaded == value);
        assert_int_equal(varint_load(bytes, bytes + n - 1, &loaded), 0);
    }
    uint8_t endless[11];
    uint64_t loaded;
    memset(endless, 0xff, sizeof endless);
    assert_int_equal(varint_load(endless, endless + sizeof endless, &loaded), 0);
}

static void shared_bytes_live_until_the_last_reference(void **state) {
    struct shared *shared = shared_copy(SLICE_LITERAL("value"));
    struct shared *again = shared_ref(shared);
    shared_unref(shared);
    assert_true(slice_equal_cstr(shared_slice(again), "value"));
    shared_unref(again);
    shared_unref(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_u64_map_agrees_with_an_array),
        cmocka_unit_test(a_bytes_map_agrees_with_an_array),
        cmocka_unit_test(a_heap_gives_the_smallest_first),
        cmocka_unit_test(a_list_keeps_its_order_over_splice_and_removal),
        cmocka_unit_test(an_arena_gives_aligned_pieces_and_forgets_them_all),
        cmocka_unit_test(a_buf_grows_consumes_and_hands_over),
        cmocka_unit_test(varints_of_every_length_come_back),
        cmocka_unit_test(shared_bytes_live_until_the_last_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
