/* db.h - what the files of bolt/ share: the open file, transactions, buckets.
 *
 * Floor 2, private to bolt/.
 */
#ifndef BOLT_DB_H
#define BOLT_DB_H

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "bolt/bolt.h"
#include "bolt/format.h"
#include "bolt/freelist.h"

#include <pthread.h>
#include <stdatomic.h>

struct node;

/* One mapping of the file. When the file outgrows it a larger one takes its place, and it goes with its last reader. */
struct view {
    const uint8_t *data;
    size_t size_bytes;
    unsigned references; /* under the lock */
};

struct bolt {
    struct env *env;
    char *path;
    struct env_file *file;
    struct bolt_options options;
    uint32_t page_size_bytes;
    unsigned page_shift;

    pthread_mutex_t lock; /* guards up to the next blank line */
    struct meta meta;     /* of the last commit */
    struct view *view;    /* covers meta.high_water_mark */
    struct list readers;  /* bolt_tx.link; txid ascending, as they begin with the newest */
    size_t reader_count;
    uint64_t oldest_ended; /* smallest txid of a reader that ended since the free list was settled; UINT64_MAX none */
    uint64_t free_pages, pending_pages;
    uint64_t written_bytes, commits;
    char *corruption; /* what was found first */
    enum err failed;  /* a commit failed: no more writes */
    struct bolt_tx *writer;

    /* the writer's */
    struct freelist freelist;
    uint64_t settled_txid; /* groups up to it have been looked at */
    int64_t file_size_bytes;
    struct arena writer_arena; /* kept between transactions */
    uint8_t *stage;            /* STAGE_BYTES, made when first needed */
};

/* Buckets in buckets; deeper ones are corrupt. */
#define MAX_NESTED_BUCKETS 32

/* Pages on their way to the file, collected to write neighbours together. */
#define STAGE_BYTES ((size_t)1 << 20)
struct staged_block {
    uint64_t page;
    uint64_t size_bytes;
    const uint8_t *bytes;
};

struct bolt_bucket {
    struct bolt_tx *tx;
    struct bolt_bucket *parent; /* NULL: the root bucket */
    struct slice name;
    uint64_t root; /* page; 0 = inline */
    uint64_t sequence;
    struct block block; /* the root page or inline page as it is in the file; data NULL: nothing there yet */
    struct node *node;  /* the root when changed */
    double fill;
    bool is_dirty; /* something here or below was changed */
    struct map_bytes opened;
    struct bolt_bucket *first_opened, *last_opened, *next_opened; /* children in the order of opening */
    /* The leaf of the last put or delete and the keys that belong there, to spare the next one the search. */
    struct node *last_leaf;
    struct slice last_low, last_high; /* [low, high); data NULL = no bound */
};

struct bolt_tx {
    struct bolt *db;
    struct meta meta;
    struct view *view;
    uint64_t page_limit; /* the high water mark when it began: pages that may be read */
    bool is_writable;
    struct list link; /* bolt.readers */
    struct arena *arena;
    struct arena own_arena;
    struct bolt_bucket root;
    /* of a write transaction */
    page_runs freed;
    page_runs taken; /* pages that came from the free list */
    bool is_at_end;  /* takes pages from beyond the high water mark only */
    VEC(struct staged_block) staged;
    size_t stage_used;
    uint64_t written_bytes;
    int64_t write_ns;
};

/* db.c */

/* Notes what is wrong with a page (the first finding stays) and returns ERR_CORRUPT. Any thread. */
enum err bolt__corrupt(struct bolt *self, uint64_t page, const char *what);
/* A mapping that covers at least size_bytes, with one reference; taken and given back under the lock. */
enum err bolt__view_new(struct bolt *self, uint64_t size_bytes, struct view **ret_view) MUST_USE;
void bolt__view_unref(struct bolt *self, struct view *view);
uint64_t bolt__map_bytes(uint64_t size_bytes);

/* meta.c */

/* Checks magic, version, checksum and sense. `page` has at least PAGE_HEADER_BYTES + META_BYTES. */
enum err meta_decode(const uint8_t *page, struct meta *ret_meta) MUST_USE;
/* A whole page of meta.page_size_bytes with `id` in its header. */
void meta_encode(const struct meta *meta, uint64_t id, uint8_t *page);

/* bucket.c */
void bucket__init(struct bolt_bucket *self, struct bolt_tx *tx, struct bolt_bucket *parent);
void bucket__release(struct bolt_bucket *self);
/* Rebalances, then writes out all that changed below; the new root is in self->root. */
enum err bucket__rebalance(struct bolt_bucket *self) MUST_USE;
enum err bucket__spill(struct bolt_bucket *self) MUST_USE;

/* tx.c */

/* Ends a write transaction without a trace. */
void tx__rollback(struct bolt_tx *self);
/* Finds `count` pages for this transaction. */
uint64_t tx__allocate(struct bolt_tx *self, uint32_t count);
/* A node is about to be written that takes so many pages. */
void tx__choose_place(struct bolt_tx *self, uint64_t pages);
/* The block leaves the tree. ERR_CORRUPT when it was free already. */
enum err tx__free(struct bolt_tx *self, uint64_t page, uint32_t overflow) MUST_USE;
/* Frees a block by its header. */
enum err tx__free_page(struct bolt_tx *self, uint64_t page) MUST_USE;
/* Memory for the image of a block that goes to `page`; the caller fills all of it before the next call. */
enum err tx__stage(struct bolt_tx *self, uint64_t page, uint64_t size_bytes, uint8_t **ret_bytes) MUST_USE;

/* check.c */

/* For an open to write: walks over everything that can be reached, so that a file that opens is a forest - no circle,
 * no page to which two ways lead, over which a cursor would go for ever - and fills the free list: from its page, or
 * with what was not reached. */
enum err bolt__examine(struct bolt *self, struct bolt_tx *tx, struct errmsg *message) MUST_USE;

/* What is wrong with a page that should be a branch or leaf; NULL when nothing. */
const char *bolt__page_problem(const struct bolt_tx *tx, uint64_t page);
/* Notes it. */
void bolt__bad_page(const struct bolt_tx *tx, uint64_t page);

/* The block of a branch or leaf page. */
static inline enum err tx_block(const struct bolt_tx *tx, uint64_t page, struct block *ret_block) {
    if (__builtin_expect(page >= 2 && page < tx->page_limit, 1)) {
        const uint8_t *data = tx->view->data + (page << tx->db->page_shift);
        /* Elements will be wanted next: fetched together with the header they cost one cache miss instead of two. */
        __builtin_prefetch(data + 64);
        __builtin_prefetch(data + 128);
        __builtin_prefetch(data + 192);
        uint64_t pages = 1 + (uint64_t)page_overflow(data);
        if (__builtin_expect(page_id(data) == page && pages <= tx->page_limit - page &&
                                 block_open(data, pages << tx->db->page_shift, ret_block),
                             1))
            return OK;
    }
    bolt__bad_page(tx, page);
    return ERR_CORRUPT;
}

/* For damage inside a block. */
static inline enum err tx_bad_block(const struct bolt_tx *tx, const struct block *block) {
    return bolt__corrupt(tx->db, page_id(block->data), "an element reaches beyond the page");
}

#endif
