/* store_range.c - reading: which pairs a range holds at a revision, filtered, sorted and cut; then the pairs
 * themselves.
 *
 * Without filters and sorting by something else than the key, only the pairs of the answer are collected (and for the
 * newest revision their number is known at once); otherwise all pairs of the range with the number they are sorted by,
 * which are then merge-sorted, also in slices. Among equals the key order stays.
 */
#include "base/check.h"
#include "mvcc/store_private.h"

struct range_item {
    struct revision revision;
    union {
        int64_t number;
        struct slice value;
    };
};

enum range_state { RANGE_COLLECTING, RANGE_SORTING, RANGE_READY };

struct store_range {
    struct store *store;
    struct store_range_options options; /* key and range_end point into `text` */
    struct buf text;
    struct index_range range;
    struct backend_view *view; /* NULL: reads the backend as it is, in one go */
    struct bolt_hint hint;
    int64_t header_revision;
    int64_t at;
    bool is_newest; /* nothing newer than `at` is in the index yet: only before the first pause */
    bool collects_all;
    size_t most; /* pairs to collect then */
    bool is_started;
    enum range_state state;
    struct store_floor floor;
    struct buf last_key;
    VEC(struct range_item) items;
    size_t keep; /* collect at most this many, when not all */
    int64_t count;
    bool count_is_known;
    bool more;
    bool is_reversed;
    /* a bottom-up merge sort that can pause: runs of `width` are merged into `spare` */
    struct range_item *spare;
    size_t width, left, middle, right, from_left, from_right, to;
    size_t next;
    struct arena arena; /* pairs without their values */
};

/* The items of a slice that fetching a value is worth. */
#define FETCH_COST 8

static bool is_by_key(const struct store_range_options *options) {
    switch (options->target) {
    case STORE_BY_VERSION:
    case STORE_BY_CREATE:
    case STORE_BY_MOD:
    case STORE_BY_VALUE: return false;
    case STORE_BY_KEY: break;
    }
    return true;
}

static bool has_filter(const struct store_range_options *options) {
    return options->min_mod != 0 || options->max_mod != 0 || options->min_create != 0 || options->max_create != 0;
}

static bool is_descending(const struct store_range_options *options) { return options->order == STORE_SORT_DESCEND; }

static size_t limit_of(const struct store_range_options *options) {
    return options->limit <= 0 ? SIZE_MAX : (size_t)options->limit;
}

/* ---- begin ---- */

static enum err resolve_revision(struct store *self, int64_t asked, int64_t current, int64_t *ret_at) {
    if (asked > current) return ERR_FUTURE_REV;
    int64_t at = asked <= 0 ? current : asked;
    if (at < self->compact_revision) return ERR_COMPACTED;
    *ret_at = at;
    return OK;
}

/* `current` is the revision that reads see now. */
static enum err range_init(struct store_range *self, struct store *store, const struct store_range_options *options,
                           int64_t current) {
    int64_t at;
    TRY(resolve_revision(store, options->revision, current, &at));
    *self = (struct store_range){.store = store, .options = *options, .header_revision = current, .at = at};
    self->is_newest = at == current;
    self->range = index_range_of(options->key, options->range_end);
    self->collects_all = !options->count_only && (has_filter(options) || !is_by_key(options));
    self->keep = options->count_only ? 0 : limit_of(options);
    /* As etcd: with a target but no order, a limit cuts first, and what it left is sorted (upstream apply.go Range). */
    bool cuts_first = options->order == STORE_SORT_NONE && !has_filter(options) && options->limit > 0;
    self->most = cuts_first ? limit_of(options) + 1 : SIZE_MAX;
    list_init(&self->floor.link);
    store->stats.range_count++;
    if (!self->range.is_single && !self->range.is_open && slice_compare(options->range_end, options->key) <= 0) {
        self->count_is_known = true;
        self->keep = 0;
        self->collects_all = false;
    } else if (self->is_newest) {
        self->count = (int64_t)index_count(store->index, &self->range);
        self->count_is_known = true;
    }
    return OK;
}

enum err store_range_begin(struct store *self, const struct store_range_options *options,
                           struct store_range **ret_range) {
    CHECK(!self->txn.is_open);
    struct store_range *range = mem_alloc(sizeof *range);
    enum err error = range_init(range, self, options, self->revision);
    if (error != OK) {
        mem_free(range);
        return error;
    }
    buf_append_slice(&range->text, options->key);
    buf_append_slice(&range->text, options->range_end);
    range->options.key = slice_make(range->text.data, options->key.len);
    range->options.range_end = slice_make(range->text.data + options->key.len, options->range_end.len);
    range->range = index_range_of(range->options.key, range->options.range_end);
    range->view = backend_view(self->backend, BACKEND_VIEW_KEY);
    range->floor.at = range->at;
    list_push_back(&self->floors, &range->floor.link);
    *ret_range = range;
    return OK;
}

/* ---- collecting ---- */

static bool passes(const struct store_range_options *options, const struct index_item *item) {
    return (options->min_mod == 0 || item->mod.main >= options->min_mod) &&
           (options->max_mod == 0 || item->mod.main <= options->max_mod) &&
           (options->min_create == 0 || item->create_main >= options->min_create) &&
           (options->max_create == 0 || item->create_main <= options->max_create);
}

static size_t add_item(struct store_range *self, const struct index_item *item) {
    struct range_item added = {.revision = item->mod};
    size_t cost = 1;
    switch (self->options.target) {
    case STORE_BY_VERSION: added.number = item->version; break;
    case STORE_BY_CREATE: added.number = item->create_main; break;
    case STORE_BY_MOD: added.number = item->mod.main; break;
    case STORE_BY_VALUE: {
        struct slice encoded;
        struct keyvalue kv = {.value = SLICE_LITERAL("")};
        if (store__fetch(self->store, self->view, &self->hint, item->mod, &encoded) == OK &&
            keyvalue_decode(encoded, &kv) != OK)
            (void)store__fail(self->store, ERR_CORRUPT);
        added.value = kv.value;
        cost = FETCH_COST;
        break;
    }
    case STORE_BY_KEY: break;
    }
    VEC_PUSH(&self->items, added);
    return cost;
}

static size_t take_key(struct store_range *self, const struct index_key *key) {
    struct index_item item;
    if (!index_key_at(key, self->at, &item)) return 1;
    if (!self->count_is_known) self->count++;
    if (self->collects_all)
        return self->items.count < self->most && passes(&self->options, &item) ? add_item(self, &item) : 1;
    /* A descending answer is the end of the range; where it begins is known only when the number of keys is. */
    if (self->items.count < self->keep || (self->is_reversed && self->keep != 0))
        VEC_PUSH(&self->items, (struct range_item){.revision = item.mod});
    return 1;
}

static bool has_enough(const struct store_range *self) {
    if (!self->count_is_known) return false;
    if (self->collects_all) return self->items.count >= self->most;
    return self->items.count >= self->keep || self->items.count >= (uint64_t)self->count;
}

static struct index_cursor first_place(struct store_range *self) {
    const struct index *index = self->store->index;
    uint64_t count = (uint64_t)self->count;
    if (self->is_reversed && self->count_is_known && count > self->keep)
        return index_seek_live(index, self->range.begin, count - self->keep);
    return index_seek(index, self->range.begin);
}

/* Collects until the budget is spent; true when complete. */
static bool collect(struct store_range *self, size_t budget_keys) {
    struct index *index = self->store->index;
    struct index_cursor cursor;
    if (!self->is_started) {
        self->is_reversed = !self->collects_all && is_descending(&self->options) && !self->options.count_only;
        cursor = first_place(self);
        self->is_started = true;
    } else {
        cursor = index_seek(index, buf_slice(&self->last_key));
        self->is_newest = false;
    }
    const struct index_key *last = NULL;
    while (!has_enough(self)) {
        const struct index_key *key =
            self->is_newest ? index_next_live(&cursor, &self->range) : index_next(&cursor, &self->range);
        if (key == NULL) return true;
        if (last == NULL && self->last_key.len != 0 && slice_equal(index_key_bytes(key), buf_slice(&self->last_key))) {
            last = key;
            continue;
        }
        last = key;
        size_t cost = take_key(self, key);
        if (cost >= budget_keys) {
            buf_clear(&self->last_key);
            buf_append_slice(&self->last_key, index_key_bytes(key));
            return has_enough(self);
        }
        budget_keys -= cost;
    }
    return true;
}

/* ---- sorting ---- */

static bool is_less(const struct store_range *self, const struct range_item *a, const struct range_item *b) {
    if (self->options.target == STORE_BY_VALUE) return slice_compare(a->value, b->value) < 0;
    return a->number < b->number;
}

/* May `b`, which comes later in key order, go before `a`? */
static bool goes_before(const struct store_range *self, const struct range_item *b, const struct range_item *a) {
    return is_descending(&self->options) ? is_less(self, a, b) : is_less(self, b, a);
}

static void begin_merge(struct store_range *self, size_t left) {
    size_t count = self->items.count;
    self->left = left;
    self->middle = left + self->width < count ? left + self->width : count;
    self->right = self->middle + self->width < count ? self->middle + self->width : count;
    self->from_left = self->to = left;
    self->from_right = self->middle;
}

static bool sort_some(struct store_range *self, size_t budget) {
    size_t count = self->items.count;
    if (count < 2 || is_by_key(&self->options)) {
        if (is_by_key(&self->options)) self->is_reversed = is_descending(&self->options);
        return true;
    }
    if (self->spare == NULL) {
        self->spare = mem_alloc(count * sizeof *self->spare);
        self->width = 1;
        begin_merge(self, 0);
    }
    while (budget-- > 0) {
        while (self->to == self->right) {
            if (self->right < count) {
                begin_merge(self, self->right);
                continue;
            }
            struct range_item *sorted = self->spare;
            self->spare = self->items.items;
            self->items.items = sorted;
            self->items.capacity = count;
            self->width *= 2;
            if (self->width >= count) return true;
            begin_merge(self, 0);
        }
        struct range_item *items = self->items.items;
        bool is_right =
            self->from_left == self->middle ||
            (self->from_right < self->right && goes_before(self, &items[self->from_right], &items[self->from_left]));
        self->spare[self->to++] = items[is_right ? self->from_right++ : self->from_left++];
    }
    return false;
}

static void reverse(struct range_item *items, size_t count) {
    for (size_t i = 0, j = count; i + 1 < j; i++) {
        struct range_item swap = items[i];
        items[i] = items[--j];
        items[j] = swap;
    }
}

static void finish(struct store_range *self) {
    size_t limit = limit_of(&self->options);
    if (self->is_reversed) reverse(self->items.items, self->items.count);
    if (self->collects_all)
        self->more = self->items.count > limit;
    else if (!self->options.count_only)
        self->more = limit != SIZE_MAX && (uint64_t)self->count > limit;
    if (self->items.count > limit) self->items.count = limit;
    mem_free(TAKE(self->spare));
    if (!list_is_empty(&self->floor.link)) {
        list_remove(&self->floor.link);
        store__compaction_kick(self->store);
    }
    self->state = RANGE_READY;
}

bool store_range_step(struct store_range *self, size_t budget_keys) {
    if (budget_keys == 0) budget_keys = 1;
    if (self->state == RANGE_COLLECTING) {
        if (!collect(self, budget_keys)) return false;
        self->state = RANGE_SORTING;
    }
    if (self->state == RANGE_SORTING) {
        if (self->collects_all && !sort_some(self, budget_keys)) return false;
        finish(self);
    }
    return true;
}

/* ---- the answer ---- */

int64_t store_range_count(const struct store_range *self) { return self->count; }
bool store_range_more(const struct store_range *self) { return self->more; }
size_t store_range_length(const struct store_range *self) { return self->items.count; }

size_t store_range_place_bytes(const struct store_range *self) {
    size_t bytes = self->items.capacity * sizeof *self->items.items + arena_used(&self->arena);
    return self->spare != NULL ? bytes + self->items.count * sizeof *self->spare : bytes;
}

int64_t store_range_revision(const struct store_range *self) { return self->header_revision; }

static enum err without_value(struct arena *arena, struct slice encoded, struct slice *ret_kv) {
    struct keyvalue kv;
    TRY(keyvalue_decode(encoded, &kv));
    kv.value.len = 0;
    size_t size_bytes = keyvalue_size(&kv);
    uint8_t *bytes = arena_alloc(arena, size_bytes);
    keyvalue_encode(&kv, bytes);
    *ret_kv = slice_make(bytes, size_bytes);
    return OK;
}

enum err store_range_next(struct store_range *self, struct slice *ret_kv, bool *ret_found) {
    CHECK(self->state == RANGE_READY);
    if (self->next >= self->items.count) {
        *ret_found = false;
        return OK;
    }
    struct slice kv;
    TRY(store__fetch(self->store, self->view, &self->hint, self->items.items[self->next].revision, &kv));
    if (self->options.keys_only) {
        if (self->arena.first_chunk_bytes == 0) arena_init(&self->arena, 0);
        if (without_value(&self->arena, kv, &kv) != OK) return store__fail(self->store, ERR_CORRUPT);
    }
    self->next++;
    *ret_kv = kv;
    *ret_found = true;
    return OK;
}

static void range_release(struct store_range *self) {
    bool held_back = !list_is_empty(&self->floor.link);
    list_remove(&self->floor.link);
    if (held_back) store__compaction_kick(self->store);
    backend_view_unref(self->view);
    mem_free(self->spare);
    VEC_RELEASE(&self->items);
    buf_release(&self->text);
    buf_release(&self->last_key);
    if (self->arena.first_chunk_bytes != 0) arena_release(&self->arena);
}

void store_range_free(struct store_range *self) {
    if (self == NULL) return;
    range_release(self);
    mem_free(self);
}

enum err store_txn_range(struct store_txn *txn, const struct store_range_options *options, store_each each,
                         void *context, struct store_answer *ret_answer) {
    struct store_range range;
    TRY(range_init(&range, txn->store, options, store_txn_revision(txn)));
    txn->operations++;
    while (!store_range_step(&range, SIZE_MAX)) {
    }
    enum err error = OK;
    struct slice kv;
    for (bool found = true; error == OK;) {
        error = store_range_next(&range, &kv, &found);
        if (error != OK || !found) break;
        each(context, kv);
    }
    struct store_answer answer = {range.count, range.more};
    range_release(&range);
    if (error != OK) return error;
    *ret_answer = answer;
    return OK;
}

enum err store_get(struct store *self, struct slice key, int64_t revision, struct slice *ret_kv, bool *ret_found) {
    int64_t at;
    TRY(resolve_revision(self, revision, self->revision, &at));
    self->stats.range_count++;
    struct index_item item;
    if (!index_get(self->index, key, at, &item)) {
        *ret_found = false;
        return OK;
    }
    TRY(store__fetch(self, NULL, NULL, item.mod, ret_kv));
    *ret_found = true;
    return OK;
}
