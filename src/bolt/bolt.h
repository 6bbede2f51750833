/* bolt.h - the bbolt file format (version 2) as a storage engine.
 *
 * Floor 2. One file, a forest of B+trees: buckets of sorted keys and of further buckets. One writer at a time and any
 * number of readers, each with the state of one commit for as long as it likes; nobody waits for anybody. Files swap
 * with bbolt 1.3/1.4 (etcd 3.4 to 3.6) in both directions. It knows nothing of etcd's schema (backend/ does) and it
 * starts no threads: a commit blocks on the disk, so it belongs on a worker.
 *
 *   format.h     the file, byte by byte, and its bounds-checked access
 *   meta.c       the two meta pages
 *   freelist.*   which pages are free, pending, and since when
 *   db.c         open, close, views of the file, readers
 *   tx.c         write transactions: begin, commit, rollback; writing pages
 *   node.*       changed tree nodes in memory: search, rebalance, split, spill
 *   bucket.c     buckets, get, put, delete
 *   cursor.c     walking a bucket
 *   check.c      whole-file checks; rebuilding the free list
 *   copy.c       images for snapshots; copying into a fresh file
 *
 * How a commit keeps the file whole. Nodes that changed are written to free pages (never over live ones), fdatasync,
 * then one of the two meta pages in turn, fdatasync. A torn meta page leaves the other, whose tree is untouched until
 * the next write transaction.
 *
 * Threads. bolt_open and bolt_close: one thread while nobody else uses it. Read transactions may begin and end on any
 * thread at any time. A read transaction's buckets are to be opened by one thread at a time; opened buckets may be read
 * (bolt_get, cursors) by many threads at once. A write transaction is used by one thread at a time; a second one while
 * one is open is a broken invariant.
 *
 * Lifetime. Slices from a transaction are valid until it ends; in a write transaction also only until the key they
 * belong to is put or deleted. bolt_put does not copy: its key and value must stay until the transaction ends.
 *
 * Trouble. Bytes in the file are data: whatever they are, functions here answer ERR_CORRUPT (see bolt_explain), and
 * never read outside the page concerned. Pages have no checksums; damage that still looks like a page is not seen.
 */
#ifndef BOLT_BOLT_H
#define BOLT_BOLT_H

#include "env/env.h"

struct bolt;
struct bolt_tx;
struct bolt_bucket;

#define BOLT_MAX_KEY_BYTES 32768
#define BOLT_MAX_VALUE_BYTES 2147483646u
#define BOLT_MAX_DEPTH 32 /* levels of one tree; a deeper one is corrupt */
#define BOLT_DEFAULT_FILL 0.5

/* ---- files ---- */

struct bolt_options {
    /* For a new file: a power of two, 1024 to 65536; 0 = 4096. A present file keeps its own. */
    uint32_t page_size_bytes;
    /* Do not store the free list (etcd's way): no write of its pages in each commit; found again by a scan at open. */
    bool no_freelist_sync;
    /* A shared lock; the file must exist. Its pages are not looked through: in a file that is not known to be sound,
     * bolt_check comes before anything that walks (ways that lead to a page many times can make a walk endless). */
    bool read_only;
    /* Commits leave syncing to bolt_sync. A crash then loses the whole file: only for files made in one go. */
    bool no_sync;
    /* Address space reserved at once, so that growing needs no second mapping (etcd: 10 GiB). 0 = what the file has. */
    uint64_t initial_map_bytes;
};

/* Opens or creates (mode 0600). Errors, with `message` (may be NULL) saying more:
 * ERR_LOCKED      another process or another open holds the file (BSD flock); the caller decides about waiting
 * ERR_BOLT_INVALID, ERR_BOLT_VERSION, ERR_BOLT_CHECKSUM  neither meta page is good; the texts are bbolt's
 * ERR_CORRUPT     too short, or the scan of its pages found nonsense: a page reached twice, one both free and in use
 * or an error of the system. */
enum err bolt_open(struct env *env, const char *path, const struct bolt_options *options, struct bolt **ret_bolt,
                   struct errmsg *message) MUST_USE;
/* No transaction may be open. NULL is allowed. */
void bolt_close(struct bolt *self);
/* For no_sync: makes all commits so far durable. */
enum err bolt_sync(struct bolt *self) MUST_USE;
/* Renames the file, replacing what is there, and makes that durable. */
enum err bolt_move(struct bolt *self, const char *path) MUST_USE;
const char *bolt_path(const struct bolt *self);
uint32_t bolt_page_size_bytes(const struct bolt *self);
/* What was wrong first when some call on this file answered ERR_CORRUPT: "PATH: page 17: ...". Any thread. */
void bolt_explain(struct bolt *self, struct errmsg *message);

struct bolt_stats {
    uint64_t txid;          /* of the last commit */
    uint64_t size_bytes;    /* high water mark x page size: what etcd calls the db size */
    uint64_t free_pages;    /* can be used by the next write transaction */
    uint64_t pending_pages; /* freed, but perhaps still read by somebody; never counted as free */
    uint64_t written_bytes; /* page and meta writes since open */
    uint64_t commits;       /* since open */
    size_t open_readers;
    bool freelist_is_stored; /* in the last commit */
};
/* As of the last commit. Any thread. */
void bolt_get_stats(struct bolt *self, struct bolt_stats *ret_stats);

/* ---- transactions ---- */

/* The state of the last commit. Cannot fail; ends with bolt_tx_end. */
struct bolt_tx *bolt_begin_read(struct bolt *self);
/* Errors: ERR_BOLT_READ_ONLY; the error of an earlier commit that failed (the file takes no more writes then). */
enum err bolt_begin_write(struct bolt *self, struct bolt_tx **ret_tx) MUST_USE;

struct bolt_commit_stats {
    int64_t rebalance_ns;
    int64_t spill_ns; /* with writing pages that were full before the end */
    int64_t write_ns; /* page writes and both syncs */
    uint64_t written_bytes;
};
/* Ends a write transaction. On an error nothing of it is visible here, and what a restart would find is either the
 * state before or (only when the last sync failed) after it: the caller stops the member, but for ERR_NO_DISK_SPACE,
 * after which the file may be written to again unless bolt_begin_write says otherwise. ret_stats may be NULL. */
enum err bolt_tx_commit(struct bolt_tx *tx, struct bolt_commit_stats *ret_stats) MUST_USE;
/* Ends a read transaction, or a write transaction without a trace. NULL is allowed. */
void bolt_tx_end(struct bolt_tx *tx);

/* Write transactions count as one above the last commit. */
uint64_t bolt_tx_id(const struct bolt_tx *tx);
/* High water mark x page size in this transaction. */
uint64_t bolt_tx_size_bytes(const struct bolt_tx *tx);
struct bolt *bolt_tx_file(const struct bolt_tx *tx);

/* ---- buckets: handles belong to the transaction; opening the same one twice gives the same handle ---- */

/* The unnamed bucket that holds all others; it takes no keys. */
struct bolt_bucket *bolt_tx_root(struct bolt_tx *tx);
/* Errors: ERR_BOLT_BUCKET_NOT_FOUND, ERR_BOLT_INCOMPATIBLE_VALUE (a plain key has that name), ERR_CORRUPT. */
enum err bolt_bucket_open(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **ret_bucket) MUST_USE;
/* Errors: also ERR_BOLT_BUCKET_EXISTS, ERR_BOLT_BUCKET_NAME_REQUIRED, ERR_BOLT_KEY_TOO_LARGE. */
enum err bolt_bucket_create(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **ret_bucket) MUST_USE;
enum err bolt_bucket_create_if_missing(struct bolt_bucket *parent, struct slice name,
                                       struct bolt_bucket **ret_bucket) MUST_USE;
/* With all its keys and buckets; handles to it and below must not be used any more. */
enum err bolt_bucket_delete(struct bolt_bucket *parent, struct slice name) MUST_USE;
/* How full pages are left when one is split in this transaction: 0.1 to 1.0; high for keys that come in order. */
void bolt_bucket_set_fill(struct bolt_bucket *bucket, double fill);
/* A number kept with the bucket; etcd leaves it 0. */
uint64_t bolt_bucket_sequence(const struct bolt_bucket *bucket);
void bolt_bucket_set_sequence(struct bolt_bucket *bucket, uint64_t sequence);

/* ---- keys: 1 to BOLT_MAX_KEY_BYTES bytes, ordered as slice_compare ---- */

/* *ret_value is SLICE_NONE when the key is absent or a bucket. The only error is ERR_CORRUPT. */
enum err bolt_get(struct bolt_bucket *bucket, struct slice key, struct slice *ret_value) MUST_USE;
/* Where the last key was found, for one who looks up keys that lie near each other: {0} to begin with, one bucket of
 * one read transaction, one thread. */
struct bolt_hint {
    const uint8_t *leaf; /* bolt's own from here on */
    uint64_t leaf_bytes;
    uint32_t count;
    uint32_t next;
};
/* As bolt_get; the key behind the last one costs no descent, nor does another of the same page. */
enum err bolt_get_near(struct bolt_bucket *bucket, struct bolt_hint *hint, struct slice key,
                       struct slice *ret_value) MUST_USE;
/* Adds or replaces; key and value must live until the transaction ends. In ascending order a put costs no search.
 * Errors: ERR_BOLT_KEY_REQUIRED, ERR_BOLT_KEY_TOO_LARGE, ERR_BOLT_VALUE_TOO_LARGE, ERR_BOLT_INCOMPATIBLE_VALUE (a
 * bucket has that name, or this is the root), ERR_CORRUPT. */
enum err bolt_put(struct bolt_bucket *bucket, struct slice key, struct slice value) MUST_USE;
/* OK also when absent. Errors: ERR_BOLT_INCOMPATIBLE_VALUE (it is a bucket), ERR_CORRUPT. */
enum err bolt_delete(struct bolt_bucket *bucket, struct slice key) MUST_USE;

struct bolt_item {
    struct slice key;
    struct slice value; /* of a bucket: SLICE_NONE */
    bool is_bucket;
};

/* A place in a bucket; the caller embeds it, it owns nothing. A put, delete or bucket change in the same bucket makes
 * it invalid until the next first, last or seek. */
struct bolt_cursor {
    struct bolt_bucket *bucket;
    int depth; /* levels in use; 0 = nowhere */
    enum err error;
    struct bolt_cursor_level {
        const uint8_t *page; /* or NULL, then */
        const void *node;    /* a changed node of a write transaction */
        uint32_t index;      /* element */
        uint32_t count;      /* elements */
        uint64_t size_bytes; /* of the page's block */
    } levels[BOLT_MAX_DEPTH];
};

void bolt_cursor_init(struct bolt_cursor *self, struct bolt_bucket *bucket);
/* Each moves and gives what is there; false at an end, or when self->error is not OK (ERR_CORRUPT). After false, next
 * and previous stay there. */
bool bolt_cursor_first(struct bolt_cursor *self, struct bolt_item *ret_item);
bool bolt_cursor_last(struct bolt_cursor *self, struct bolt_item *ret_item);
/* The first key at or after `key`. */
bool bolt_cursor_seek(struct bolt_cursor *self, struct slice key, struct bolt_item *ret_item);
bool bolt_cursor_next(struct bolt_cursor *self, struct bolt_item *ret_item);
bool bolt_cursor_previous(struct bolt_cursor *self, struct bolt_item *ret_item);

/* ---- the whole file ---- */

/* What is wrong, one finding at a time; `text` lives for the call. */
typedef void (*bolt_check_report)(void *context, const char *text);

/* Walks everything that the transaction sees: every page referenced once and of the right kind, keys in order and
 * within their branch's bounds. With a write transaction nothing was changed in yet, or when nothing was committed
 * since the read transaction began and no write transaction is open, also: no reachable page is free, no page is
 * lost. Returns the findings. `report` may be NULL. */
size_t bolt_check(struct bolt_tx *tx, bolt_check_report report, void *context);

/* The file as of a read transaction, bolt_tx_size_bytes long: both meta pages made anew, the newer one first
 * (bbolt's Tx.WriteTo); free pages as they lie. Fills `bytes` with [offset, offset + size_bytes), which must lie
 * inside. Any thread, as long as the transaction lives. */
void bolt_image_read(const struct bolt_tx *tx, uint64_t offset, void *bytes, size_t size_bytes);

/* Copies all buckets with sequences and keys in order into the file `destination` (empty), densely packed, with
 * commits on the way. Errors: of reading here or writing there. */
enum err bolt_copy(struct bolt_tx *from, struct bolt *destination) MUST_USE;

#endif
