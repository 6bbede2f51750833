/* index_private.h - what the files of the key index share: blocks, nodes, the allocator.
 *
 *   inner   heads[] separators[] children[] live[]       child i holds keys >= separator i (0: any), < separator i+1
 *   leaf    heads[] keys[] live (a bit a key), next
 *
 * The keys of a node share `prefix_length` bytes; heads[i] are the 4 bytes after them, big endian, padded with zeros.
 * A search compares heads in the node and touches only about one key.
 */
#ifndef MVCC_INDEX_PRIVATE_H
#define MVCC_INDEX_PRIVATE_H

#include "mvcc/index.h"

#define INDEX_FANOUT 64
#define INDEX_MAX_DEPTH 24

/* ---- blocks of a few bytes, without a header each; freed ones wait for the next of their size ---- */

#define SLAB_MAX_BYTES 512
#define SLAB_CHUNK_BYTES 65536

struct slab {
    void *free_lists[SLAB_MAX_BYTES / 8 + 1];
    uint8_t *at, *end;
    VEC(void *) chunks;
    size_t held_bytes;
};
void slab_release(struct slab *self);
void *slab_alloc(struct slab *self, size_t size_bytes);
void slab_free(struct slab *self, void *memory, size_t size_bytes);

/* ---- a key and its revisions ---- */

struct index_revision {
    int64_t main;
    uint32_t sub;
    uint32_t is_tombstone;
};

/* All revisions of a key with more than one. Generations are not stored: a tombstone ends one. Only the oldest can have
 * lost revisions to a compaction, so only it needs its creation and count kept. */
struct index_history {
    int64_t version;        /* of the newest generation */
    int64_t oldest_create;  /* of the oldest generation */
    int64_t oldest_dropped; /* revisions the oldest generation had before revisions[0] */
    uint32_t count;
    uint32_t capacity;
    struct index_revision revisions[];
};

struct index_key {
    uint32_t length : 29;
    uint32_t is_dead : 1; /* the newest revision is a tombstone */
    uint32_t has_history : 1;
    uint32_t has_lease : 1;
    uint32_t head_sub; /* the newest revision */
    int64_t head_main;
    int64_t create_main; /* of the newest generation */
    union {
        int64_t version;               /* of the newest generation */
        struct index_history *history; /* when has_history */
    };
    uint8_t bytes[];
};

static inline struct slice index__bytes(const struct index_key *key) { return slice_make(key->bytes, key->length); }

/* ---- nodes ---- */

struct index_node {
    uint32_t prefix_length;
    uint16_t count;
    bool is_leaf;
    uint32_t heads[INDEX_FANOUT];
};

struct index_leaf {
    struct index_node node;
    uint64_t live;
    struct index_leaf *next;
    struct index_key *keys[INDEX_FANOUT];
};

struct index_separator {
    uint32_t length;
    uint8_t bytes[];
};

struct index_inner {
    struct index_node node;
    uint64_t live[INDEX_FANOUT];
    struct index_node *children[INDEX_FANOUT];
    struct index_separator *separators[INDEX_FANOUT]; /* [0] is NULL */
};

struct index {
    struct index_node *root; /* NULL when empty */
    struct index_leaf *first;
    uint64_t key_count;
    uint64_t live_count;
    size_t node_bytes;
    struct slab slab;
};

struct index_path {
    struct index_inner *inner[INDEX_MAX_DEPTH];
    uint32_t slot[INDEX_MAX_DEPTH];
    size_t depth;
    struct index_leaf *leaf;
    size_t position; /* first key >= the one asked for */
    bool is_found;
};

/* Empty tree: leaf NULL. */
void index__descend(const struct index *self, struct slice key, struct index_path *path);
/* Adds `key` at the place that index__descend found. */
void index__insert(struct index *self, struct index_path *path, struct index_key *key);
/* Takes the key at the path out of the tree (it must be dead) and frees its block. */
void index__remove(struct index *self, struct index_path *path);
/* Keeps bit and counts when the key at the path begins or ceases to live. */
void index__set_live(struct index *self, struct index_path *path, bool is_live);
/* The tree over keys that are sorted and distinct; the index must be empty. */
void index__build(struct index *self, struct index_key **keys, size_t count);

/* A block with one revision, in no tree yet. */
struct index_key *index__key_new(struct index *self, struct slice bytes);
void index__key_free(struct index *self, struct index_key *key);
/* Adds a revision to a key that has one; version and creation follow. */
void index__key_append(struct index *self, struct index_key *key, struct revision revision, bool is_tombstone);
/* Makes room for `more` revisions to be appended. */
void index__key_reserve(struct index *self, struct index_key *key, size_t more);
/* index_compact and index_keep for one key. Compact: true when the key has no revision left (it is to be removed). */
bool index__key_compact(struct index *self, struct index_key *key, int64_t at, struct index_dropped_list *dropped,
                        bool *ret_kept_any);
bool index__key_keep(const struct index_key *key, int64_t at, struct revision *ret_kept);

#endif
