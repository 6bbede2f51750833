#include "base/check.h"
#include "bolt/db.h"

#include <stdlib.h>

/* bbolt's AllocSize: files smaller than it grow to the size of the mapping, larger ones by it. */
#define MANY_PAGES 32
/* Free pages are few below this share of the file. */
#define WORTHWHILE_SHARE 64
#define GROW_BYTES ((uint64_t)16 << 20)

/* ---- begin ---- */

/* The txids of all open readers, ascending. */
static uint64_t *list_readers(struct bolt *db, size_t *ret_count) {
    uint64_t *txids = mem_alloc((db->reader_count + 1) * sizeof *txids);
    size_t count = 0;
    LIST_FOREACH (link, &db->readers) txids[count++] = CONTAINER_OF(link, struct bolt_tx, link)->meta.txid;
    *ret_count = count;
    return txids;
}

/* What was freed by earlier transactions and is seen by no reader any more becomes free. A reader that began since the
 * last time is too new for the groups looked at then, so only those above a reader that ended are worth a new look. */
static void settle_freelist(struct bolt *db) {
    pthread_mutex_lock(&db->lock);
    uint64_t changed_above = db->oldest_ended < db->settled_txid ? db->oldest_ended : db->settled_txid;
    size_t count;
    uint64_t *txids = list_readers(db, &count);
    db->oldest_ended = UINT64_MAX;
    db->settled_txid = db->meta.txid;
    pthread_mutex_unlock(&db->lock);
    freelist_settle(&db->freelist, txids, count, changed_above);
    mem_free(txids);
}

enum err bolt_begin_write(struct bolt *self, struct bolt_tx **ret_tx) {
    if (self->options.read_only) return ERR_BOLT_READ_ONLY;
    struct bolt_tx *tx = NEW(struct bolt_tx);
    tx->db = self;
    tx->is_writable = true;
    tx->arena = &self->writer_arena;
    pthread_mutex_lock(&self->lock);
    enum err error = self->failed;
    if (error == OK) {
        CHECKF(self->writer == NULL, "bolt: two write transactions at once");
        self->writer = tx;
        tx->meta = self->meta;
        tx->view = self->view;
        tx->view->references++;
    }
    pthread_mutex_unlock(&self->lock);
    if (error != OK) {
        mem_free(tx);
        return error;
    }
    settle_freelist(self);
    tx->page_limit = tx->meta.high_water_mark;
    tx->meta.txid++;
    bucket__init(&tx->root, tx, NULL);
    tx->root.root = tx->meta.root;
    tx->root.sequence = tx->meta.sequence;
    *ret_tx = tx;
    return OK;
}

static void end_write(struct bolt_tx *self) {
    struct bolt *db = self->db;
    bucket__release(&self->root);
    arena_reset(&db->writer_arena);
    VEC_RELEASE(&self->freed);
    VEC_RELEASE(&self->taken);
    VEC_RELEASE(&self->staged);
    pthread_mutex_lock(&db->lock);
    db->writer = NULL;
    bolt__view_unref(db, self->view);
    pthread_mutex_unlock(&db->lock);
    mem_free(self);
}

void tx__rollback(struct bolt_tx *self) {
    freelist_unfree(&self->db->freelist, &self->freed);
    for (size_t i = 0; i < self->taken.count; i++)
        freelist_add(&self->db->freelist, self->taken.items[i].first, self->taken.items[i].count);
    end_write(self);
}

/* ---- pages ---- */

/* Where a commit of many pages goes: to free pages, or in one run to the end of the file. To the end when the free
 * pages can't hold it, and while they are few: pages scattered over the file cost a write each. */
void tx__choose_place(struct bolt_tx *self, uint64_t pages) {
    uint64_t free_pages = self->db->freelist.free_count;
    bool few = pages >= MANY_PAGES && free_pages < self->meta.high_water_mark / WORTHWHILE_SHARE;
    if (pages > free_pages || few) self->is_at_end = true;
}

uint64_t tx__allocate(struct bolt_tx *self, uint32_t count) {
    uint64_t page = self->is_at_end ? 0 : freelist_take(&self->db->freelist, count, self->meta.txid);
    if (page != 0) {
        VEC_PUSH(&self->taken, (struct page_run){.first = page, .count = count});
        return page;
    }
    page = self->meta.high_water_mark;
    self->meta.high_water_mark += count;
    freelist_note_allocated(&self->db->freelist, page, count, self->meta.txid);
    return page;
}

enum err tx__free(struct bolt_tx *self, uint64_t page, uint32_t overflow) {
    if (!freelist_free(&self->db->freelist, page, overflow + 1, &self->freed))
        return bolt__corrupt(self->db, page, "it is freed twice: more than one reference leads to it");
    return OK;
}

enum err tx__free_page(struct bolt_tx *self, uint64_t page) {
    const uint8_t *data = self->view->data + (page << self->db->page_shift);
    uint64_t overflow = page_overflow(data);
    if (page_id(data) != page || overflow >= self->page_limit - page)
        return bolt__corrupt(self->db, page, "its header makes no sense");
    return tx__free(self, page, (uint32_t)overflow);
}

/* ---- writing ---- */

static int compare_staged(const void *a, const void *b) {
    uint64_t x = ((const struct staged_block *)a)->page, y = ((const struct staged_block *)b)->page;
    return (x > y) - (x < y);
}

/* The file is to hold all pages below the high water mark and one more. */
static enum err grow_file(struct bolt_tx *self) {
    struct bolt *db = self->db;
    uint64_t wanted = (self->meta.high_water_mark + 1) << db->page_shift;
    if (wanted <= (uint64_t)db->file_size_bytes) return OK;
    uint64_t map_bytes =
        self->view->size_bytes > bolt__map_bytes(wanted) ? self->view->size_bytes : bolt__map_bytes(wanted);
    wanted = map_bytes <= GROW_BYTES ? map_bytes : wanted + GROW_BYTES;
    TRY(env_truncate(db->file, (int64_t)wanted));
    db->file_size_bytes = (int64_t)wanted;
    return OK;
}

/* Writes what is staged: neighbours in the file in one call, without copies. */
static enum err write_staged(struct bolt_tx *self) {
    struct bolt *db = self->db;
    if (self->staged.count == 0) return OK;
    int64_t start_ns = env_now_ns(db->env);
    TRY(grow_file(self));
    struct staged_block *blocks = self->staged.items;
    size_t count = self->staged.count;
    qsort(blocks, count, sizeof *blocks, compare_staged);
    VEC(struct slice) pieces = {0};
    enum err error = OK;
    for (size_t i = 0; i < count && error == OK;) {
        uint64_t first = blocks[i].page, size_bytes = 0;
        pieces.count = 0;
        for (; i < count && blocks[i].page == first + (size_bytes >> db->page_shift); i++) {
            struct slice *last = pieces.count > 0 ? &pieces.items[pieces.count - 1] : NULL;
            if (last != NULL && last->data + last->len == blocks[i].bytes)
                last->len += blocks[i].size_bytes;
            else
                VEC_PUSH(&pieces, slice_make(blocks[i].bytes, blocks[i].size_bytes));
            size_bytes += blocks[i].size_bytes;
        }
        error = env_pwritev(db->file, pieces.items, pieces.count, (int64_t)(first << db->page_shift));
        self->written_bytes += size_bytes;
    }
    VEC_RELEASE(&pieces);
    self->staged.count = 0;
    self->stage_used = 0;
    self->write_ns += env_now_ns(db->env) - start_ns;
    return error;
}

enum err tx__stage(struct bolt_tx *self, uint64_t page, uint64_t size_bytes, uint8_t **ret_bytes) {
    struct bolt *db = self->db;
    if (size_bytes > STAGE_BYTES) {
        /* Too large for the stage: a piece of its own, which goes with the transaction. */
        uint8_t *bytes = arena_alloc(self->arena, size_bytes);
        VEC_PUSH(&self->staged, (struct staged_block){page, size_bytes, bytes});
        *ret_bytes = bytes;
        return OK;
    }
    if (db->stage == NULL) db->stage = mem_alloc(STAGE_BYTES);
    if (self->stage_used + size_bytes > STAGE_BYTES) TRY(write_staged(self));
    *ret_bytes = db->stage + self->stage_used;
    VEC_PUSH(&self->staged, (struct staged_block){page, size_bytes, *ret_bytes});
    self->stage_used += size_bytes;
    return OK;
}

/* ---- commit ---- */

/* The free list goes to pages of its own: all that is free or will be once nobody reads it. */
static enum err stage_freelist(struct bolt_tx *self) {
    struct bolt *db = self->db;
    if (self->meta.freelist != NO_FREELIST) TRY(tx__free_page(self, self->meta.freelist));
    self->meta.freelist = NO_FREELIST;
    if (db->options.no_freelist_sync) return OK;
    uint64_t most = db->freelist.free_count + db->freelist.pending_count;
    uint64_t pages = ((PAGE_HEADER_BYTES + (most + 1) * 8) >> db->page_shift) + 1;
    uint64_t page = tx__allocate(self, (uint32_t)pages);
    uint8_t *out;
    uint64_t size_bytes = pages << db->page_shift;
    TRY(tx__stage(self, page, size_bytes, &out));
    uint64_t count = db->freelist.free_count + db->freelist.pending_count;
    memset(out, 0, size_bytes);
    bool is_long = count >= FREELIST_LONG;
    page_write_header(out, page, FLAG_FREELIST, is_long ? FREELIST_LONG : (uint32_t)count, (uint32_t)pages - 1);
    uint8_t *at = out + PAGE_HEADER_BYTES;
    if (is_long) {
        store_u64le(at, count);
        at += 8;
    }
    uint64_t *ids = (uint64_t *)(void *)at; /* 8-byte aligned: stage and pages are */
    freelist_collect(&db->freelist, ids);
    for (uint64_t i = 0; i < count; i++) store_u64le(&ids[i], ids[i]);
    self->meta.freelist = page;
    return OK;
}

static enum err write_meta(struct bolt_tx *self) {
    struct bolt *db = self->db;
    CLEANUP_FREE uint8_t *page = mem_alloc(db->page_size_bytes);
    uint64_t id = self->meta.txid % 2;
    meta_encode(&self->meta, id, page);
    TRY(env_pwrite(db->file, page, db->page_size_bytes, (int64_t)(id << db->page_shift)));
    self->written_bytes += db->page_size_bytes;
    return db->options.no_sync ? OK : env_fdatasync(db->file);
}

/* Everything up to the meta page: after it, the new tree is on disk but nothing leads to it. */
static enum err write_tree(struct bolt_tx *self, struct bolt_commit_stats *stats) {
    struct bolt *db = self->db;
    int64_t start_ns = env_now_ns(db->env);
    TRY(bucket__rebalance(&self->root));
    int64_t rebalanced_ns = env_now_ns(db->env);
    stats->rebalance_ns = rebalanced_ns - start_ns;
    TRY(bucket__spill(&self->root));
    self->meta.root = self->root.root;
    self->meta.sequence = self->root.sequence;
    TRY(stage_freelist(self));
    stats->spill_ns = env_now_ns(db->env) - rebalanced_ns - self->write_ns;
    TRY(write_staged(self));
    TRY(grow_file(self));
    return OK;
}

/* What readers that begin from now on see. */
static void publish(struct bolt_tx *self, struct view *larger) {
    struct bolt *db = self->db;
    freelist_commit(&db->freelist, self->meta.txid, &self->freed);
    pthread_mutex_lock(&db->lock);
    db->meta = self->meta;
    if (larger != NULL) {
        bolt__view_unref(db, db->view);
        db->view = larger;
    }
    db->free_pages = db->freelist.free_count;
    db->pending_pages = db->freelist.pending_count;
    db->written_bytes += self->written_bytes;
    db->commits++;
    pthread_mutex_unlock(&db->lock);
}

enum err bolt_tx_commit(struct bolt_tx *tx, struct bolt_commit_stats *ret_stats) {
    CHECKF(tx->is_writable, "bolt: commit of a read transaction");
    struct bolt *db = tx->db;
    struct bolt_commit_stats stats = {0};
    struct view *larger = NULL;
    enum err error = write_tree(tx, &stats);
    uint64_t size_bytes = tx->meta.high_water_mark << db->page_shift;
    if (error == OK && size_bytes > tx->view->size_bytes) error = bolt__view_new(db, size_bytes, &larger);
    int64_t start_ns = env_now_ns(db->env);
    if (error == OK && !db->options.no_sync) error = env_fdatasync(db->file);
    bool may_go_on = error == ERR_NO_DISK_SPACE; /* nothing leads to what was written */
    if (error == OK) error = write_meta(tx);
    /* The full disk that may be waited for is the one from before the meta page. */
    if (error == ERR_NO_DISK_SPACE && !may_go_on) error = ERR_IO;
    stats.write_ns = tx->write_ns + env_now_ns(db->env) - start_ns;
    stats.written_bytes = tx->written_bytes;
    if (error != OK) {
        pthread_mutex_lock(&db->lock);
        if (!may_go_on) db->failed = error;
        bolt__view_unref(db, larger);
        pthread_mutex_unlock(&db->lock);
        tx__rollback(tx);
        return error;
    }
    publish(tx, larger);
    end_write(tx);
    if (ret_stats != NULL) *ret_stats = stats;
    return OK;
}
