#include "base/check.h"
#include "bolt/db.h"

#define COPY_FILL 0.9
#define COPY_BATCH_ITEMS 10000
#define COPY_BATCH_BYTES ((size_t)64 << 20)

/* ---- image ---- */

void bolt_image_read(const struct bolt_tx *tx, uint64_t offset, void *bytes, size_t size_bytes) {
    uint64_t page_bytes = tx->db->page_size_bytes, end = offset + size_bytes;
    CHECK(end >= offset && end <= bolt_tx_size_bytes(tx) && !tx->is_writable);
    uint8_t *out = bytes;
    for (uint64_t id = offset / page_bytes; id < 2 && offset < end; id++) {
        struct meta meta = tx->meta;
        meta.txid -= id;
        CLEANUP_FREE uint8_t *page = mem_alloc(page_bytes);
        meta_encode(&meta, id, page);
        uint64_t from = offset - id * page_bytes, count = page_bytes - from;
        if (count > end - offset) count = end - offset;
        memcpy(out, page + from, count);
        out += count;
        offset += count;
    }
    if (offset < end) memcpy(out, tx->view->data + offset, end - offset);
}

/* ---- copy ---- */

struct copy {
    struct bolt *destination;
    struct bolt_tx *tx;
    struct slice names[MAX_NESTED_BUCKETS]; /* the path to the bucket that is being filled */
    struct bolt_bucket *buckets[MAX_NESTED_BUCKETS + 1];
    int depth;
    size_t items;
    size_t bytes;
};

static enum err open_path(struct copy *self) {
    TRY(bolt_begin_write(self->destination, &self->tx));
    self->buckets[0] = bolt_tx_root(self->tx);
    for (int i = 0; i < self->depth; i++) {
        TRY(bolt_bucket_create_if_missing(self->buckets[i], self->names[i], &self->buckets[i + 1]));
        bolt_bucket_set_fill(self->buckets[i + 1], COPY_FILL);
    }
    self->items = 0;
    self->bytes = 0;
    return OK;
}

static enum err commit_and_go_on(struct copy *self) {
    struct bolt_tx *tx = self->tx;
    self->tx = NULL;
    TRY(bolt_tx_commit(tx, NULL));
    return open_path(self);
}

static enum err copy_bucket(struct copy *self, struct bolt_bucket *from);

static enum err copy_nested(struct copy *self, struct bolt_bucket *parent, struct slice name) {
    struct bolt_bucket *from;
    TRY(bolt_bucket_open(parent, name, &from));
    if (self->depth == MAX_NESTED_BUCKETS) return bolt__corrupt(parent->tx->db, parent->root, "buckets nest too deep");
    int depth = self->depth;
    TRY(bolt_bucket_create(self->buckets[depth], name, &self->buckets[depth + 1]));
    bolt_bucket_set_fill(self->buckets[depth + 1], COPY_FILL);
    bolt_bucket_set_sequence(self->buckets[depth + 1], bolt_bucket_sequence(from));
    self->names[self->depth++] = name;
    TRY(copy_bucket(self, from));
    self->depth--;
    return OK;
}

static enum err copy_bucket(struct copy *self, struct bolt_bucket *from) {
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, from);
    for (bool more = bolt_cursor_first(&cursor, &item); more; more = bolt_cursor_next(&cursor, &item)) {
        if (item.is_bucket) {
            TRY(copy_nested(self, from, item.key));
            continue;
        }
        TRY(bolt_put(self->buckets[self->depth], item.key, item.value));
        self->bytes += item.key.len + item.value.len;
        if (++self->items >= COPY_BATCH_ITEMS || self->bytes >= COPY_BATCH_BYTES) TRY(commit_and_go_on(self));
    }
    return cursor.error;
}

enum err bolt_copy(struct bolt_tx *from, struct bolt *destination) {
    struct copy copy = {.destination = destination};
    enum err error = open_path(&copy);
    if (error == OK) error = copy_bucket(&copy, &from->root);
    if (error != OK) {
        bolt_tx_end(copy.tx);
        return error;
    }
    return bolt_tx_commit(copy.tx, NULL);
}
