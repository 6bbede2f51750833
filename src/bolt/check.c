#include "base/check.h"
#include "base/buf.h"
#include "bolt/db.h"

#include <inttypes.h>

/* A walk over everything that a transaction's meta leads to. */
struct walk {
    struct bolt_tx *tx;
    uint64_t *reached; /* a bit a page */
    bool with_keys;    /* also compare keys: they are not touched otherwise */
    bool ends_early;   /* one finding is enough */
    bolt_check_report report;
    void *context;
    size_t findings;
};

static void find_fault(struct walk *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void find_fault(struct walk *self, const char *format, ...) {
    self->findings++;
    if (self->report == NULL) return;
    CLEANUP_BUF struct buf text = BUF_INIT;
    va_list args;
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    self->report(self->context, buf_cstr(&text));
}

static bool is_over(const struct walk *self) { return self->ends_early && self->findings > 0; }

static bool is_reached(const struct walk *self, uint64_t page) { return self->reached[page / 64] >> (page % 64) & 1; }

/* False when a page of the block was reached before. */
static bool reach(struct walk *self, uint64_t page, uint64_t count) {
    for (uint64_t id = page; id < page + count; id++) {
        if (is_reached(self, id)) {
            find_fault(self, "page %" PRIu64 ": more than one reference leads to it", id);
            return false;
        }
        self->reached[id / 64] |= 1ull << (id % 64);
    }
    return true;
}

/* Where a page is in the forest. */
struct place {
    struct slice low, high; /* of its keys: [low, high); data NULL = no bound */
    int depth;
    int nested;
};

static void walk_page(struct walk *self, uint64_t page, struct place place);

static void check_key(struct walk *self, uint64_t page, uint32_t index, struct slice key, struct slice before,
                      const struct place *place) {
    if (index > 0 && slice_compare(before, key) >= 0)
        find_fault(self, "page %" PRIu64 ": key %" PRIu32 " does not come after the one before", page, index);
    if (place->low.data != NULL && index == 0 && slice_compare(key, place->low) < 0)
        find_fault(self, "page %" PRIu64 ": its first key is below its branch's", page);
    if (place->high.data != NULL && slice_compare(key, place->high) >= 0)
        find_fault(self, "page %" PRIu64 ": key %" PRIu32 " belongs to the next page", page, index);
}

/* Elements of a leaf, or of an inline one: bbolt puts no buckets into those. */
static void walk_leaf(struct walk *self, uint64_t page, const struct block *block, const struct place *place,
                      bool is_inline);

static void walk_bucket(struct walk *self, uint64_t page, struct slice value, const struct place *place) {
    if (value.len < BUCKET_HEADER_BYTES) {
        find_fault(self, "page %" PRIu64 ": a bucket's header is cut off", page);
        return;
    }
    struct place inside = {SLICE_NONE, SLICE_NONE, 0, place->nested + 1};
    uint64_t root = load_u64le(value.data);
    if (root != 0) {
        walk_page(self, root, inside);
        return;
    }
    struct slice leaf = slice_from(value, BUCKET_HEADER_BYTES);
    struct block block;
    if (leaf.len >= PAGE_HEADER_BYTES && block_open(leaf.data, leaf.len, &block) && block.is_leaf)
        walk_leaf(self, page, &block, &inside, true);
    else
        find_fault(self, "page %" PRIu64 ": an inline bucket makes no sense", page);
}

static void walk_leaf(struct walk *self, uint64_t page, const struct block *block, const struct place *place,
                      bool is_inline) {
    struct slice before = SLICE_NONE, key, value;
    uint32_t flags;
    for (uint32_t i = 0; i < block->count && !is_over(self); i++) {
        if (!block_item(block, i, &key, &value, &flags)) {
            find_fault(self, "page %" PRIu64 ": element %" PRIu32 " reaches beyond it", page, i);
            return;
        }
        if (self->with_keys && (key.len == 0 || key.len > BOLT_MAX_KEY_BYTES))
            find_fault(self, "page %" PRIu64 ": key %" PRIu32 " has %zu bytes", page, i, key.len);
        if (self->with_keys) check_key(self, page, i, key, before, place);
        if ((flags & ELEMENT_BUCKET) && is_inline)
            find_fault(self, "page %" PRIu64 ": a bucket lies in an inline one", page);
        else if (flags & ELEMENT_BUCKET)
            walk_bucket(self, page, value, place);
        before = key;
    }
}

static void walk_branch(struct walk *self, uint64_t page, const struct block *block, const struct place *place) {
    struct slice before = SLICE_NONE, key, next;
    if (!block_key(block, 0, &next)) {
        find_fault(self, "page %" PRIu64 ": element 0 reaches beyond it", page);
        return;
    }
    for (uint32_t i = 0; i < block->count && !is_over(self); i++) {
        key = next;
        struct place below = {key, place->high, place->depth + 1, place->nested};
        if (i + 1 < block->count) {
            if (!block_key(block, i + 1, &next)) {
                find_fault(self, "page %" PRIu64 ": element %" PRIu32 " reaches beyond it", page, i + 1);
                return;
            }
            below.high = next;
        }
        if (self->with_keys) check_key(self, page, i, key, before, place);
        walk_page(self, block_child(block, i), below);
        before = key;
    }
}

static void walk_page(struct walk *self, uint64_t page, struct place place) {
    struct block block;
    const char *problem = bolt__page_problem(self->tx, page);
    if (problem == NULL && (place.depth == BOLT_MAX_DEPTH || place.nested == MAX_NESTED_BUCKETS))
        problem = "the tree is too deep";
    if (problem != NULL || tx_block(self->tx, page, &block) != OK) {
        find_fault(self, "page %" PRIu64 ": %s", page, problem);
        return;
    }
    if (!reach(self, page, 1 + (uint64_t)page_overflow(block.data))) return;
    if (block.is_leaf)
        walk_leaf(self, page, &block, &place, false);
    else
        walk_branch(self, page, &block, &place);
}

static void walk_all(struct walk *self) {
    self->reached = NEW_ARRAY(uint64_t, self->tx->page_limit / 64 + 1);
    self->reached[0] |= 3; /* the meta pages */
    walk_page(self, self->tx->root.root, (struct place){0});
}

/* ---- the stored free list ---- */

static const char *read_freelist(struct bolt_tx *tx, struct freelist *list) {
    uint64_t page = tx->meta.freelist, shift = tx->db->page_shift;
    const uint8_t *data = tx->view->data + (page << shift), *at = data + PAGE_HEADER_BYTES;
    uint64_t pages = 1 + (uint64_t)page_overflow(data), count = page_count(data);
    if (page_id(data) != page || page_flags(data) != FLAG_FREELIST) return "it is not a free list";
    if (pages > tx->page_limit - page) return "the free list reaches beyond the high water mark";
    uint64_t room = ((pages << shift) - PAGE_HEADER_BYTES) / 8;
    if (count == FREELIST_LONG) {
        count = load_u64le(at);
        at += 8;
        room--;
    }
    if (count > room) return "the free list is longer than its pages";
    for (uint64_t i = 0; i < count;) {
        uint64_t first = load_u64le(at + i * 8), length = 0;
        while (i < count && load_u64le(at + i * 8) == first + length) {
            if (first + length < 2 || first + length >= tx->page_limit) return "the free list names an impossible page";
            if (freelist_is_free(list, first + length)) return "the free list names a page twice";
            length++;
            i++;
        }
        freelist_add(list, first, length);
    }
    return NULL;
}

static void keep_finding(void *context, const char *text) { (void)err_set(context, ERR_CORRUPT, "%s", text); }

/* The pages that the stored list says are free, none of which is in use. */
static void take_stored_freelist(struct walk *walk, struct freelist *list) {
    struct bolt_tx *tx = walk->tx;
    uint64_t page = tx->meta.freelist;
    const char *problem = read_freelist(tx, list);
    if (problem != NULL) {
        find_fault(walk, "page %" PRIu64 ": %s", page, problem);
        return;
    }
    uint32_t overflow = page_overflow(tx->view->data + (page << tx->db->page_shift));
    if (!reach(walk, page, 1 + (uint64_t)overflow)) return;
    for (uint64_t at = 2; at < tx->page_limit && walk->findings == 0; at++)
        if (freelist_is_free(list, at) && is_reached(walk, at))
            find_fault(walk, "page %" PRIu64 ": it is in use and free", at);
}

/* Every page that nothing leads to. */
static void take_unreached(const struct walk *walk, struct freelist *list) {
    uint64_t first = 0, length = 0; /* the run so far */
    for (uint64_t page = 2; page < walk->tx->page_limit; page++) {
        if (is_reached(walk, page)) continue;
        if (length > 0 && page == first + length) {
            length++;
            continue;
        }
        freelist_add(list, first, length);
        first = page;
        length = 1;
    }
    freelist_add(list, first, length);
}

enum err bolt__examine(struct bolt *self, struct bolt_tx *tx, struct errmsg *message) {
    struct errmsg finding = {""};
    struct walk walk = {.tx = tx, .ends_early = true, .report = keep_finding, .context = &finding};
    walk_all(&walk);
    if (walk.findings == 0 && tx->meta.freelist != NO_FREELIST)
        take_stored_freelist(&walk, &self->freelist);
    else if (walk.findings == 0)
        take_unreached(&walk, &self->freelist);
    mem_free(walk.reached);
    if (walk.findings == 0) return OK;
    return err_set(message, ERR_CORRUPT, "%s: %s", self->path, finding.text);
}

/* ---- the check ---- */

static void check_freelist(struct walk *walk, const struct freelist *list) {
    for (uint64_t page = 2; page < walk->tx->page_limit; page++) {
        bool is_free = freelist_is_free(list, page) || freelist_is_pending(list, page);
        if (is_free && is_reached(walk, page)) find_fault(walk, "page %" PRIu64 ": it is in use and free", page);
        if (!is_free && !is_reached(walk, page)) find_fault(walk, "page %" PRIu64 ": it is lost", page);
    }
}

size_t bolt_check(struct bolt_tx *tx, bolt_check_report report, void *context) {
    struct bolt *db = tx->db;
    struct walk walk = {.tx = tx, .with_keys = true, .report = report, .context = context};
    walk_all(&walk);
    struct freelist stored;
    freelist_init(&stored, tx->meta.txid);
    if (tx->meta.freelist != NO_FREELIST) {
        const char *problem = read_freelist(tx, &stored);
        if (problem == NULL)
            reach(&walk, tx->meta.freelist,
                  1 + (uint64_t)page_overflow(tx->view->data + (tx->meta.freelist << db->page_shift)));
        else
            find_fault(&walk, "page %" PRIu64 ": %s", tx->meta.freelist, problem);
    }
    pthread_mutex_lock(&db->lock);
    bool is_current = db->meta.txid == tx->meta.txid - (tx->is_writable ? 1 : 0) &&
                      (tx->is_writable || db->writer == NULL) && !db->options.read_only;
    pthread_mutex_unlock(&db->lock);
    if (is_current) check_freelist(&walk, &db->freelist);
    if (tx->meta.freelist != NO_FREELIST) check_freelist(&walk, &stored);
    freelist_release(&stored);
    mem_free(walk.reached);
    return walk.findings;
}
