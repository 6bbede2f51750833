/* The free list against the plainest one there is: an array with a state for each page. */
#include "base/prng.h"
#include "bolt/freelist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* after them */
#include <cmocka.h>

enum { PAGES = 20000 }; /* several chunks */

enum state { USED, FREE, PENDING };

struct plain {
    enum state state[PAGES];
    uint64_t allocated[PAGES];
    uint64_t freed[PAGES];
};

static void assert_same(const struct freelist *list, const struct plain *plain) {
    uint64_t free_count = 0, pending_count = 0;
    for (uint64_t page = 0; page < PAGES; page++) {
        free_count += plain->state[page] == FREE;
        pending_count += plain->state[page] == PENDING;
        if (freelist_is_free(list, page) != (plain->state[page] == FREE)) fail_msg("page %d", (int)page);
        if (freelist_is_pending(list, page) != (plain->state[page] == PENDING)) fail_msg("page %d", (int)page);
    }
    assert_int_equal(list->free_count, free_count);
    assert_int_equal(list->pending_count, pending_count);
}

/* The lowest run of `count` free pages, or 0. */
static uint64_t plain_find(const struct plain *plain, uint32_t count) {
    uint32_t length = 0;
    for (uint64_t page = 2; page < PAGES; page++) {
        length = plain->state[page] == FREE ? length + 1 : 0;
        if (length == count) return page + 1 - count;
    }
    return 0;
}

static void runs_are_found_lowest_first(void **state) {
    static struct plain plain;
    struct prng prng;
    prng_init(&prng, 3);
    for (int round = 0; round < 12; round++) {
        memset(&plain, 0, sizeof plain);
        struct freelist list;
        freelist_init(&list, 0);
        unsigned density = (unsigned)prng_below(&prng, 100);
        for (int step = 0; step < 1500; step++) {
            if (prng_below(&prng, 100) < density) {
                uint64_t first = 2 + prng_below(&prng, PAGES - 400), count = 1 + prng_below(&prng, 300);
                for (uint64_t page = first; page < first + count; page++) {
                    if (plain.state[page] != USED) continue;
                    plain.state[page] = FREE;
                    freelist_add(&list, page, 1);
                }
            } else {
                uint32_t count = prng_below(&prng, 2) ? 1 : (uint32_t)(1 + prng_below(&prng, 5000));
                uint64_t expected = plain_find(&plain, count);
                assert_int_equal(freelist_take(&list, count, 1), expected);
                for (uint32_t i = 0; expected != 0 && i < count; i++) plain.state[expected + i] = USED;
            }
        }
        assert_same(&list, &plain);
        freelist_release(&list);
    }
}

static void pages_wait_for_their_readers_and_no_longer(void **state) {
    static struct plain plain;
    struct prng prng;
    prng_init(&prng, 5);
    for (int round = 0; round < 20; round++) {
        memset(&plain, 0, sizeof plain);
        const uint64_t base = round % 2 ? 1000 : 0;
        struct freelist list;
        freelist_init(&list, base);
        freelist_add(&list, 2, PAGES - 2);
        for (uint64_t page = 2; page < PAGES; page++) plain.state[page] = FREE;
        uint64_t readers[64];
        size_t reader_count = 0;
        uint64_t settled = base, oldest_ended = UINT64_MAX;
        for (uint64_t txid = base + 1; txid < base + 250; txid++) {
            /* As bolt_begin_write does it. */
            freelist_settle(&list, readers, reader_count, oldest_ended < settled ? oldest_ended : settled);
            settled = txid - 1;
            oldest_ended = UINT64_MAX;
            for (uint64_t page = 2; page < PAGES; page++) {
                bool is_seen = false;
                for (size_t r = 0; r < reader_count; r++)
                    is_seen |= plain.allocated[page] <= readers[r] && readers[r] < plain.freed[page];
                if (plain.state[page] == PENDING && !is_seen) plain.state[page] = FREE;
            }
            if (txid % 25 == 0) assert_same(&list, &plain);
            page_runs runs = {0};
            bool is_kept = prng_below(&prng, 8) != 0;
            uint64_t freed[64];
            size_t freed_count = 0;
            for (int i = 0; i < 60; i++) {
                uint64_t page = 2 + prng_below(&prng, 600);
                if (plain.state[page] != USED) {
                    if (plain.state[page] == PENDING) assert_false(freelist_free(&list, page, 1, &runs));
                    continue;
                }
                assert_true(freelist_free(&list, page, 1, &runs));
                plain.state[page] = PENDING;
                plain.freed[page] = txid;
                freed[freed_count++] = page;
            }
            uint64_t taken[64];
            size_t taken_count = 0;
            for (int i = 0; i < 40; i++) {
                uint64_t page = freelist_take(&list, 1, txid);
                plain.state[page] = USED;
                plain.allocated[page] = txid;
                taken[taken_count++] = page;
            }
            if (is_kept) {
                freelist_commit(&list, txid, &runs);
                /* Readers of this commit; some end. */
                if (prng_below(&prng, 3) == 0 && reader_count < 64) readers[reader_count++] = txid;
            } else {
                freelist_unfree(&list, &runs);
                VEC_RELEASE(&runs);
                for (size_t i = 0; i < freed_count; i++) plain.state[freed[i]] = USED;
                for (size_t i = 0; i < taken_count; i++) {
                    freelist_add(&list, taken[i], 1);
                    plain.state[taken[i]] = FREE;
                }
            }
            while (reader_count > 0 && prng_below(&prng, 4) == 0) {
                size_t which = prng_below(&prng, reader_count);
                if (readers[which] < oldest_ended) oldest_ended = readers[which];
                reader_count--;
                memmove(readers + which, readers + which + 1, (reader_count - which) * sizeof *readers);
            }
        }
        freelist_release(&list);
    }
}

static void all_that_is_not_used_is_listed_in_order(void **state) {
    struct freelist list;
    freelist_init(&list, 0);
    page_runs runs = {0};
    freelist_add(&list, 70, 5);
    freelist_add(&list, 9000, 1);
    assert_true(freelist_free(&list, 63, 2, &runs));
    assert_false(freelist_free(&list, 64, 1, &runs));
    assert_false(freelist_free(&list, 74, 1, &runs));
    uint64_t ids[8];
    freelist_collect(&list, ids);
    const uint64_t expected[8] = {63, 64, 70, 71, 72, 73, 74, 9000};
    assert_memory_equal(ids, expected, sizeof ids);
    VEC_RELEASE(&runs);
    freelist_release(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_found_lowest_first),
        cmocka_unit_test(pages_wait_for_their_readers_and_no_longer),
        cmocka_unit_test(all_that_is_not_used_is_listed_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
