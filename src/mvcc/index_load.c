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

static uint64_t head_at(struct slice key, size_t depth) {
    size_t left = key.len - depth;
    if (left >= 8) return load_u64be(key.data + depth) >> 8 << 8 | HEAD_BYTES;
    uint64_t head = 0;
    for (size_t i = 0; i < left && i < HEAD_BYTES; i++) head |= (uint64_t)key.data[depth + i] << (56 - 8 * i);
    return head | (left < HEAD_BYTES ? left : HEAD_BYTES);
}

static void insertion_sort(struct item *items, size_t count, size_t depth) {
    for (size_t i = 1; i < count; i++) {
        struct item moving = items[i];
        struct slice key = slice_from(moving.record->key, depth);
        size_t at = i;
        while (at > 0 && slice_compare(slice_from(items[at - 1].record->key, depth), key) > 0) {
            items[at] = items[at - 1];
            at--;
        }
        items[at] = moving;
    }
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
    struct slice first = items[0].record->key;
    size_t common = first.len;
    for (size_t i = 1; i < count && common > depth; i++) {
        struct slice key = items[i].record->key;
        size_t limit = key.len < common ? key.len : common;
        size_t at = depth;
        while (at + 8 <= limit && load_u64le(first.data + at) == load_u64le(key.data + at)) at += 8;
        while (at < limit && first.data[at] == key.data[at]) at++;
        common = at;
    }
    return common;
}

static bool is_ascending(const struct item *items, size_t count, size_t depth) {
    for (size_t i = 1; i < count; i++)
        if (slice_compare(slice_from(items[i - 1].record->key, depth), slice_from(items[i].record->key, depth)) > 0)
            return false;
    return true;
}

static void sort_items(struct item *items, struct item *spare, size_t count, size_t depth) {
    while (count > 1) {
        if (count <= INSERTION_SORT_UP_TO) {
            insertion_sort(items, count, depth);
            return;
        }
        depth = common_depth(items, count, depth);
        if (is_ascending(items, count, depth)) return;
        for (size_t i = 0; i < count; i++) items[i].head = head_at(items[i].record->key, depth);
        radix_sort(items, spare, count);
        /* Runs of equal heads that go on behind it. The longest is left to the loop, the others are at most half as
         * long: so the recursion is shallow whatever the keys are. */
        size_t longest_at = 0, longest = 0;
        for (size_t at = 0; at < count;) {
            size_t end = at + 1;
            while (end < count && items[end].head == items[at].head) end++;
            bool goes_on = (items[at].head & 0xff) == HEAD_BYTES && end - at > 1;
            size_t length = goes_on ? end - at : 0;
            if (length > longest) {
                if (longest > 0) sort_items(items + longest_at, spare, longest, depth + HEAD_BYTES);
                longest_at = at;
                longest = length;
            } else if (length > 0) {
                sort_items(items + at, spare, length, depth + HEAD_BYTES);
            }
            at = end;
        }
        items += longest_at;
        count = longest;
        depth += HEAD_BYTES;
    }
}

/* ---- from records to keys ---- */

static struct revision revision_of(const struct index_record *record) {
    return (struct revision){record->main, record->sub};
}

/* The first sighting of a key: what it was before is known only from the record itself. */
static struct index_key *first_sighting(struct index *self, const struct index_record *record) {
    struct index_key *key = index__key_new(self, record->key);
    key->head_main = record->main;
    key->head_sub = record->sub;
    key->is_dead = record->is_tombstone;
    key->create_main = record->is_tombstone ? 0 : record->create_main;
    key->version = record->is_tombstone ? 1 : record->version;
    return key;
}

/* Appends the records of one key. A tombstone for a key that is dead already means nothing. */
static void append_group(struct index *self, struct index_key *key, const struct item *items, size_t count) {
    if (count > 1) index__key_reserve(self, key, count);
    for (size_t i = 0; i < count; i++) {
        const struct index_record *record = items[i].record;
        if (record->is_tombstone && key->is_dead) continue;
        index__key_append(self, key, revision_of(record), record->is_tombstone);
    }
}

static size_t group_length(const struct item *items, size_t count) {
    size_t length = 1;
    while (length < count && slice_equal(items[length].record->key, items[0].record->key)) length++;
    return length;
}

/* A key that was reserved more than it got must not stay in the long form with one revision. */
static struct index_key *new_key(struct index *self, const struct item *items, size_t length) {
    struct index_key *key = first_sighting(self, items[0].record);
    size_t more = 0;
    bool is_dead = key->is_dead;
    for (size_t i = 1; i < length; i++) {
        if (items[i].record->is_tombstone && is_dead) continue;
        is_dead = items[i].record->is_tombstone;
        more++;
    }
    index__key_reserve(self, key, more);
    for (size_t i = 1; i < length; i++) append_group(self, key, items + i, 1);
    return key;
}

void index_load(struct index *self, const struct index_record *records, size_t count, index_loaded loaded,
                void *context) {
    if (count == 0) return;
    struct item *items = mem_alloc(count * sizeof *items);
    struct item *spare = mem_alloc(count * sizeof *spare);
    for (size_t i = 0; i < count; i++) items[i] = (struct item){0, &records[i]};
    sort_items(items, spare, count, 0);
    mem_free(spare);

    bool is_first = self->root == NULL;
    VEC(struct index_key *) keys = {0};
    for (size_t at = 0; at < count;) {
        size_t length = group_length(items + at, count - at);
        struct index_path path;
        struct index_key *key;
        if (!is_first) index__descend(self, items[at].record->key, &path);
        if (!is_first && path.is_found) {
            key = path.leaf->keys[path.position];
            append_group(self, key, items + at, length);
            index__set_live(self, &path, !key->is_dead);
        } else {
            key = new_key(self, items + at, length);
            if (is_first)
                VEC_PUSH(&keys, key);
            else
                index__insert(self, &path, key);
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
