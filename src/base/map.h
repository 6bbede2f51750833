/* map.h - hash maps: from 64-bit numbers and from byte strings to pointers.
 *
 * Floor 0. Open addressing with linear probing, at most three quarters full. Byte-string keys are not copied: they
 * must live in the value (or elsewhere) as long as the entry does. Iteration order is that of the table and means
 * nothing: never let it reach the log, the wire or a hash. The seed keeps outsiders from choosing keys that collide; 0
 * where keys are our own. Not for two threads at once.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map_u64_entry {
    uint64_t key;
    void *value; /* NULL = free */
};

struct map_u64 {
    struct map_u64_entry *entries;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
    uint64_t seed;
};

void map_u64_init(struct map_u64 *self, uint64_t seed);
/* Empty again, with the same seed; so map_bytes_release. */
void map_u64_release(struct map_u64 *self);
/* NULL when absent. */
void *map_u64_get(const struct map_u64 *self, uint64_t key);
/* value must not be NULL. Returns the value it replaces, or NULL. */
void *map_u64_put(struct map_u64 *self, uint64_t key, void *value);
/* Returns the value taken out, or NULL. */
void *map_u64_remove(struct map_u64 *self, uint64_t key);
/* Walks: *index starts at 0; NULL at the end. The map must not change meanwhile. */
void *map_u64_next(const struct map_u64 *self, size_t *index);

struct map_bytes_entry {
    struct slice key;
    uint64_t hash;
    void *value; /* NULL = free */
};

struct map_bytes {
    struct map_bytes_entry *entries;
    size_t count;
    size_t capacity;
    uint64_t seed;
};

void map_bytes_init(struct map_bytes *self, uint64_t seed);
void map_bytes_release(struct map_bytes *self);
void *map_bytes_get(const struct map_bytes *self, struct slice key);
/* A replaced entry takes over the new key slice as well. */
void *map_bytes_put(struct map_bytes *self, struct slice key, void *value);
void *map_bytes_remove(struct map_bytes *self, struct slice key);
void *map_bytes_next(const struct map_bytes *self, size_t *index);

/* A fast 64-bit hash of bytes; not for anything that reaches disk or wire. */
uint64_t hash_bytes(struct slice bytes, uint64_t seed);

#endif
