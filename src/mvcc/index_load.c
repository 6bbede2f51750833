/* index_load.c - taking in many revisions at once: sort them by key, make each key's block once, build the tree.
 *
 * The sort is a radix sort over 8-byte heads (7 bytes of key after what all have in common, and how many there were);
 * keys that share a head are sorted further by their next bytes. It is stable, so the revisions of a key stay in
 * ascending order. It touches the keys themselves once per 7 bytes that matter.
 */
#include "base/bytes.h"
#include "base/check.h"
#include "mvcc/index_private.h"

#define HEAD_BYTES 7
#define INSERTION_SORT_UP_TO 24

struct item {
    uint64_t head;
    const struct index_record *record;
};

static struct slice key_of(const struct item *item) { return slice_make(item->record->key, item->record->key_length); }

static uint64_t head_at(struct slice key, size_t depth) {
    size_t left = key.len - depth;
    if (left >= 8) return load_u64be(key.data + depth) >> 8 << 8 | HEAD_BYTES;
    uint64_t head = 0;
    for (size_t i = 0; i < left && i < HEAD_BYTES; i++) head |= (uint64_t)key.data[depth + i] << (56 - 8 * i);
    return head | (left < HEAD_BYTES ? left : HEAD_BYTES);
}

/* After sorting, `head` only says whether an item's key differs from the one before it in the same run. */
enum { SAME_KEY = 0, NEW_KEY = 1 };

static void insertion_sort(struct item *items, size_t count, size_t depth) {
    for (size_t i = 1; i < count; i++) {
        struct item moving = items[i];
        struct slice key = slice_from(key_of(&moving), depth);
        size_t at = i;
        while (at > 0 && slice_compare(slice_from(key_of(&items[at - 1]), depth), key) > 0) {
            items[at] = items[at - 1];
            at--;
        }
        items[at] = moving;
    }
    items[0].head = NEW_KEY;
    for (size_t i = 1; i < count; i++)
        items[i].head = slice_equal(key_of(&items[i - 1]), key_of(&items[i])) ? SAME_KEY : NEW_KEY;
}

/* Sorts by head; `spare` has room for `count`. Digits that are the same everywhere are skipped. */
static void radix_sort(struct item *items, struct item *spare, size_t count) {
    uint64_t all_and = ~(uint64_t)0, all_or = 0;
    bool is_sorted = true;
    for (size_t i = 0; i < count; i++) {
        all_and &= items[i].head;
        all_or |= items[i].head;
        is_sorted = is_sorted && (i == 0 || items[i - 1].head <= items[i].head);
    }
    if (is_sorted) return;
    struct item *from = items, *to = spare;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if ((((all_and ^ all_or) >> shift) & 0xff) == 0) continue;
        size_t starts[257] = {0};
        for (size_t i = 0; i < count; i++) starts[(from[i].head >> shift & 0xff) + 1]++;
        for (size_t digit = 1; digit < 257; digit++) starts[digit] += starts[digit - 1];
        for (size_t i = 0; i < count; i++) to[starts[from[i].head >> shift & 0xff]++] = from[i];
        struct item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
}

/* Bytes that all keys have in common, from `depth` on. */
static size_t common_depth(const struct item *items, size_t count, size_t depth) {
    struct slice first = key_of(&items[0]);
    size_t common = first.len;
    for (size_t i = 1; i < count && common > depth; i++) {
        struct slice key = key_of(&items[i]);
        size_t limit = key.len < common ? key.len : common;
        size_t at = depth;
        while (at + 8 <= limit && load_u64le(first.data + at) == load_u64le(key.data + at)) at += 8;
        while (at < limit && first.data[at] == key.data[at]) at++;
        common = at;
    }
    return common;
}

static void sort_run(struct item *items, struct item *spare, size_t count, size_t depth);

/* Sorts items that have their first `depth` bytes in common. */
static void sort_below(struct item *items, struct item *spare, size_t count, size_t depth) {
    if (count <= INSERTION_SORT_UP_TO)
        insertion_sort(items, count, depth);
    else
        sort_run(items, spare, count, common_depth(items, count, depth));
}

/* These have equal heads. Keys that end within it are equal and done with; otherwise all are left for the caller to
 * sort further: returns how many. */
static size_t settle_equal_heads(struct item *items, size_t count) {
    bool goes_on = (items[0].head & 0xff) == HEAD_BYTES && count > 1;
    if (goes_on) return count;
    items[0].head = NEW_KEY;
    for (size_t i = 1; i < count; i++) items[i].head = SAME_KEY;
    return 0;
}

static void sort_run(struct item *items, struct item *spare, size_t count, size_t depth) {
    for (;;) {
        for (size_t i = 0; i < count; i++) items[i].head = head_at(key_of(&items[i]), depth);
        radix_sort(items, spare, count);
        /* Runs of equal heads that go on behind it. The longest is left to the loop, the others are at most half as
         * long: so the recursion is shallow whatever the keys are. */
        size_t longest_at = 0, longest = 0;
        depth += HEAD_BYTES;
        for (size_t at = 0, end; at < count; at = end) {
            end = at + 1;
            while (end < count && items[end].head == items[at].head) end++;
            size_t left = settle_equal_heads(items + at, end - at);
            if (left > longest) {
                if (longest > 0) sort_below(items + longest_at, spare, longest, depth);
                longest_at = at;
                longest = left;
            } else if (left > 0) {
                sort_below(items + at, spare, left, depth);
            }
        }
        if (longest == 0) return;
        items += longest_at;
        count = longest;
        if (count <= INSERTION_SORT_UP_TO) {
            insertion_sort(items, count, depth);
            return;
        }
        depth = common_depth(items, count, depth);
    }
}

/* Sorts all; finds out on the way over them whether they are sorted already. */
static void sort_items(struct item *items, size_t count) {
    bool is_ascending = true;
    size_t common = key_of(&items[0]).len;
    items[0].head = NEW_KEY;
    for (size_t i = 1; i < count && (is_ascending || common > 0); i++) {
        struct slice key = key_of(&items[i]), first = key_of(&items[0]);
        if (is_ascending) {
            int order = slice_compare(key_of(&items[i - 1]), key);
            is_ascending = order <= 0;
            items[i].head = order == 0 ? SAME_KEY : NEW_KEY;
        }
        if (common > key.len) common = key.len;
        if (common > 0 && memcmp(first.data, key.data, common) != 0)
            for (common = 0; first.data[common] == key.data[common];) common++;
    }
    if (is_ascending) return;
    struct item *spare = mem_alloc(count * sizeof *spare);
    if (count <= INSERTION_SORT_UP_TO)
        insertion_sort(items, count, 0);
    else
        sort_run(items, spare, count, common);
    mem_free(spare);
}

/* ---- from records to keys ---- */

static struct revision revision_of(const struct index_record *record) {
    return (struct revision){record->main, record->sub};
}

/* The first sighting of a key: what it was before is known only from the record itself. */
static struct index_key *first_sighting(struct index *self, const struct index_record *record) {
    struct index_key *key = index__key_new(self, slice_make(record->key, record->key_length));
    key->head_main = record->main;
    key->head_sub = record->sub;
    key->is_dead = record->is_tombstone;
    key->create_main = record->is_tombstone ? 0 : record->create_main;
    key->version = record->is_tombstone ? 1 : record->version;
    return key;
}

/* Appends the records of one key. A tombstone for a key that is dead already means nothing. */
static void append_group(struct index *self, struct index_key *key, const struct item *items, size_t count) {
    size_t more = 0;
    bool is_dead = key->is_dead;
    for (size_t i = 0; i < count; i++) {
        if (items[i].record->is_tombstone && is_dead) continue;
        is_dead = items[i].record->is_tombstone;
        more++;
    }
    index__key_reserve(self, key, more);
    for (size_t i = 0; i < count; i++) {
        const struct index_record *record = items[i].record;
        if (record->is_tombstone && key->is_dead) continue;
        index__key_append(self, key, revision_of(record), record->is_tombstone);
    }
}

/* The records of neighbours lie anywhere in memory: fetch them ahead of use. */
static void prefetch(const struct item *items, size_t at, size_t count) {
    if (at + 16 >= count) return;
    const uint8_t *record = (const uint8_t *)items[at + 16].record;
    __builtin_prefetch(record);
    __builtin_prefetch(record + 64);
    __builtin_prefetch(record + 128);
}

static size_t group_length(const struct item *items, size_t count) {
    size_t length = 1;
    while (length < count && items[length].head == SAME_KEY) {
        prefetch(items, length, count);
        length++;
    }
    return length;
}

static struct index_key *new_key(struct index *self, const struct item *items, size_t length) {
    struct index_key *key = first_sighting(self, items[0].record);
    append_group(self, key, items + 1, length - 1);
    return key;
}

/* The records of one key, which the tree may know already. */
static struct index_key *add_to_tree(struct index *self, const struct item *items, size_t length) {
    struct index_path path;
    index__descend(self, key_of(&items[0]), &path);
    struct index_key *key;
    if (path.is_found) {
        key = path.leaf->keys[path.position];
        append_group(self, key, items, length);
        index__set_live(self, &path, !key->is_dead);
    } else {
        key = new_key(self, items, length);
        index__insert(self, &path, key);
    }
    return key;
}

void index_load(struct index *self, const struct index_record *const *records, size_t count, index_loaded loaded,
                void *context) {
    if (count == 0) return;
    struct item *items = mem_alloc(count * sizeof *items);
    for (size_t i = 0; i < count; i++) items[i] = (struct item){0, records[i]};
    sort_items(items, count);

    bool is_first = self->root == NULL;
    VEC(struct index_key *) keys = {0};
    for (size_t at = 0; at < count;) {
        prefetch(items, at, count);
        size_t length = group_length(items + at, count - at);
        struct index_key *key;
        if (is_first) {
            key = new_key(self, items + at, length);
            VEC_PUSH(&keys, key);
        } else {
            key = add_to_tree(self, items + at, length);
        }
        const struct index_record *newest = items[at + length - 1].record;
        int64_t lease = key->is_dead ? 0 : newest->lease;
        key->has_lease = lease != 0;
        if (loaded != NULL) loaded(context, key, lease);
        at += length;
    }
    if (is_first) index__build(self, keys.items, keys.count);
    VEC_RELEASE(&keys);
    mem_free(items);
}
