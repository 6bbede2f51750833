/* freelist.h - which pages of the file are free, and which will be once their readers have gone.
 *
 * Floor 2, private to bolt/. Two bits and four bytes a page: bitmaps with a summary for every 4096 pages, so that a
 * list of millions costs a commit nothing, and the transaction that allocated each page. The writer's thread only.
 *
 * A page freed by transaction w and allocated by a is still seen by a reader of transaction t when a <= t < w. So it
 * becomes free as soon as no such reader is open - also while older readers are (bbolt has the same rule).
 */
#ifndef BOLT_FREELIST_H
#define BOLT_FREELIST_H

#include "base/slice.h"
#include "base/vec.h"

struct page_run {
    uint64_t first;
    uint32_t count;
    uint32_t allocated_in; /* short txid, see freelist.c; 0 = long ago */
};

typedef VEC(struct page_run) page_runs;

/* What one transaction freed. */
struct pending_group {
    uint64_t txid;
    page_runs runs;
};

struct freelist_chunk {
    uint64_t words; /* bit i: word i of the chunk's bits is not zero */
    uint32_t free_count;
    uint32_t longest; /* no run that begins in this chunk is longer */
};

struct freelist {
    uint64_t *free_bits;
    uint64_t *pending_bits;
    uint32_t *allocated_in;
    struct freelist_chunk *chunks;
    size_t chunk_count;
    size_t first_chunk; /* none before it has a free page */
    uint64_t base_txid; /* of the file when it was opened */
    uint64_t free_count;
    uint64_t pending_count;
    VEC(struct pending_group) groups; /* txid ascending */
};

void freelist_init(struct freelist *self, uint64_t base_txid);
void freelist_release(struct freelist *self);
/* Marks pages free; they must be neither free nor pending. */
void freelist_add(struct freelist *self, uint64_t first, uint64_t count);
bool freelist_is_free(const struct freelist *self, uint64_t page);
bool freelist_is_pending(const struct freelist *self, uint64_t page);
/* `count` pages in a row, lowest id first; 0 when there are none. Notes that `txid` allocated them. */
uint64_t freelist_take(struct freelist *self, uint32_t count, uint64_t txid);
/* Notes that pages from beyond the high water mark were allocated. */
void freelist_note_allocated(struct freelist *self, uint64_t first, uint32_t count, uint64_t txid);
/* A page block leaves the tree: pending from now on, listed in `runs`. False when a page of it is free or pending
 * already: the file is corrupt. */
bool freelist_free(struct freelist *self, uint64_t first, uint32_t count, page_runs *runs);
/* Undoes freelist_free for all of `runs`. */
void freelist_unfree(struct freelist *self, const page_runs *runs);
/* The transaction was committed: its runs wait for readers. Takes the content of `runs`. */
void freelist_commit(struct freelist *self, uint64_t txid, page_runs *runs);
/* Frees what no open reader sees. `readers`: their txids ascending. `changed_above`: groups of this txid or less have
 * been looked at already with the same readers. */
void freelist_settle(struct freelist *self, const uint64_t *readers, size_t count, uint64_t changed_above);
/* All ids free or pending, ascending, to the caller's array of free_count + pending_count. */
void freelist_collect(const struct freelist *self, uint64_t *ret_ids);

#endif
