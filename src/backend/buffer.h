/* buffer.h - writes on their way to the file.
 *
 * Floor 3, private to backend/. A buffer is filled by the loop (active), then sealed: from there on nothing in it
 * changes, the worker reads it to apply it and the loop reads it to answer.
 *
 * The key bucket's part only ever gets longer: entries lie in chunks that never move, and a directory of chunks that
 * is replaced, not changed, when it is full. So a copy of struct key_list is a frozen list: what lies below its count
 * stays as it is while the loop goes on adding, and may be read on any thread as long as the buffer lives.
 */
#ifndef BACKEND_BUFFER_H
#define BACKEND_BUFFER_H

#include "backend/backend.h"
#include "base/arena.h"
#include "base/map.h"

#define KEY_CHUNK_ENTRIES 256

struct key_entry {
    uint8_t key[BACKEND_REVISION_MAX_BYTES];
    uint8_t key_bytes;
    uint32_t value_bytes;
    const uint8_t *value;
    struct shared *owner; /* of the value; NULL: the buffer's arena */
};

/* Ascending keys. */
struct key_list {
    struct key_entry **chunks;
    size_t chunk_capacity;
    size_t count;
};

static inline const struct key_entry *key_list_at(const struct key_list *self, size_t index) {
    return &self->chunks[index / KEY_CHUNK_ENTRIES][index % KEY_CHUNK_ENTRIES];
}
static inline struct slice key_entry_key(const struct key_entry *entry) {
    return slice_make(entry->key, entry->key_bytes);
}
/* The first entry at or after `key`. */
size_t key_list_lower_bound(const struct key_list *self, struct slice key);
/* NULL when absent. */
const struct key_entry *key_list_find(const struct key_list *self, struct slice key);

/* Deleted keys: ascending runs, one in the usual case. All but the last have their final count. */
struct key_runs {
    struct key_list **full;
    size_t full_capacity;
    size_t full_count;
    struct key_list last;
};
static inline bool key_runs_is_empty(const struct key_runs *self) { return self->last.count == 0; }
bool key_runs_contain(const struct key_runs *self, struct slice key);

/* A change in one of the small buckets. Loop only, but for reading. */
struct small_entry {
    unsigned references;
    bool is_deleted;
    struct slice key;
    struct slice value;
    struct shared *owner; /* of the value; NULL: it lies in `bytes` */
    uint8_t bytes[];
};
void small_entry_unref(struct small_entry *self);

struct buffer {
    unsigned references; /* loop only */
    struct arena arena;
    struct key_list puts;
    struct key_runs deletes;
    struct map_bytes small[BACKEND_BUCKET_COUNT]; /* of struct small_entry; BACKEND_KEY unused */
    bool is_created[BACKEND_BUCKET_COUNT];
    uint64_t operations;
    uint64_t bytes;
    struct env_job dropping;
};

/* `seed` of its tables: clients choose lease ids. */
struct buffer *buffer_new(uint64_t seed);
/* The last reference frees: a large buffer's content on the pool of `env` (NULL: at once), as that takes milliseconds.
 * NULL is allowed. */
void buffer_unref(struct buffer *self, struct env *env);
void buffer_put(struct buffer *self, enum backend_bucket bucket, struct slice key, struct shared *owner,
                struct slice value);
void buffer_delete(struct buffer *self, enum backend_bucket bucket, struct slice key);

/* Sorted by key. */
struct small_list {
    struct small_entry **items;
    size_t count;
};
/* All entries of one bucket, to an array of the caller's (mem_free); takes no references. */
struct small_list buffer_sort_small(const struct buffer *self, enum backend_bucket bucket);
size_t small_list_lower_bound(const struct small_list *self, struct slice key);
const struct small_entry *small_list_find(const struct small_list *self, struct slice key);

#endif
