#include "base/map.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"

static uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    return x;
}

uint64_t hash_bytes(struct slice bytes, uint64_t seed) {
    uint64_t hash = seed ^ (bytes.len * 0x9e3779b97f4a7c15u);
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;
    while (left >= 8) {
        hash = mix(hash ^ load_u64le(at)) + 0x9e3779b97f4a7c15u;
        at += 8;
        left -= 8;
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < left; i++) tail |= (uint64_t)at[i] << (8 * i);
    return mix(hash ^ tail);
}

void map_u64_init(struct map_u64 *self, uint64_t seed) { *self = (struct map_u64){.seed = seed}; }

void map_u64_release(struct map_u64 *self) {
    mem_free(self->entries);
    map_u64_init(self, self->seed);
}

static size_t u64_find(const struct map_u64 *self, uint64_t key) {
    size_t mask = self->capacity - 1;
    size_t index = mix(key ^ self->seed) & mask;
    while (self->entries[index].value != NULL && self->entries[index].key != key) index = (index + 1) & mask;
    return index;
}

void *map_u64_get(const struct map_u64 *self, uint64_t key) {
    return self->count == 0 ? NULL : self->entries[u64_find(self, key)].value;
}

static void u64_grow(struct map_u64 *self) {
    struct map_u64 bigger = {.capacity = self->capacity ? self->capacity * 2 : 16, .seed = self->seed};
    bigger.entries = mem_calloc(bigger.capacity, sizeof *bigger.entries);
    for (size_t i = 0; i < self->capacity; i++)
        if (self->entries[i].value != NULL) bigger.entries[u64_find(&bigger, self->entries[i].key)] = self->entries[i];
    bigger.count = self->count;
    mem_free(self->entries);
    *self = bigger;
}

void *map_u64_put(struct map_u64 *self, uint64_t key, void *value) {
    CHECK(value != NULL);
    if ((self->count + 1) * 4 > self->capacity * 3) u64_grow(self);
    struct map_u64_entry *entry = &self->entries[u64_find(self, key)];
    void *previous = entry->value;
    if (previous == NULL) self->count++;
    *entry = (struct map_u64_entry){key, value};
    return previous;
}

void *map_u64_remove(struct map_u64 *self, uint64_t key) {
    if (self->count == 0) return NULL;
    size_t mask = self->capacity - 1;
    size_t hole = u64_find(self, key);
    void *removed = self->entries[hole].value;
    if (removed == NULL) return NULL;
    /* Close the gap: pull back every later entry of the run whose home is at or before the hole. */
    for (size_t at = (hole + 1) & mask; self->entries[at].value != NULL; at = (at + 1) & mask) {
        size_t home = mix(self->entries[at].key ^ self->seed) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            self->entries[hole] = self->entries[at];
            hole = at;
        }
    }
    self->entries[hole].value = NULL;
    self->count--;
    return removed;
}

void *map_u64_next(const struct map_u64 *self, size_t *index) {
    while (*index < self->capacity) {
        void *value = self->entries[(*index)++].value;
        if (value != NULL) return value;
    }
    return NULL;
}

void map_bytes_init(struct map_bytes *self, uint64_t seed) { *self = (struct map_bytes){.seed = seed}; }

void map_bytes_release(struct map_bytes *self) {
    mem_free(self->entries);
    map_bytes_init(self, self->seed);
}

static size_t bytes_find(const struct map_bytes *self, struct slice key, uint64_t hash) {
    size_t mask = self->capacity - 1;
    size_t index = hash & mask;
    while (self->entries[index].value != NULL &&
           (self->entries[index].hash != hash || !slice_equal(self->entries[index].key, key)))
        index = (index + 1) & mask;
    return index;
}

void *map_bytes_get(const struct map_bytes *self, struct slice key) {
    if (self->count == 0) return NULL;
    return self->entries[bytes_find(self, key, hash_bytes(key, self->seed))].value;
}

static void bytes_grow(struct map_bytes *self) {
    struct map_bytes bigger = {.capacity = self->capacity ? self->capacity * 2 : 16, .seed = self->seed};
    bigger.entries = mem_calloc(bigger.capacity, sizeof *bigger.entries);
    for (size_t i = 0; i < self->capacity; i++) {
        struct map_bytes_entry *entry = &self->entries[i];
        if (entry->value != NULL) bigger.entries[bytes_find(&bigger, entry->key, entry->hash)] = *entry;
    }
    bigger.count = self->count;
    mem_free(self->entries);
    *self = bigger;
}

void *map_bytes_put(struct map_bytes *self, struct slice key, void *value) {
    CHECK(value != NULL);
    if ((self->count + 1) * 4 > self->capacity * 3) bytes_grow(self);
    uint64_t hash = hash_bytes(key, self->seed);
    struct map_bytes_entry *entry = &self->entries[bytes_find(self, key, hash)];
    void *previous = entry->value;
    if (previous == NULL) self->count++;
    *entry = (struct map_bytes_entry){key, hash, value};
    return previous;
}

void *map_bytes_remove(struct map_bytes *self, struct slice key) {
    if (self->count == 0) return NULL;
    size_t mask = self->capacity - 1;
    size_t hole = bytes_find(self, key, hash_bytes(key, self->seed));
    void *removed = self->entries[hole].value;
    if (removed == NULL) return NULL;
    for (size_t at = (hole + 1) & mask; self->entries[at].value != NULL; at = (at + 1) & mask) {
        size_t home = self->entries[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            self->entries[hole] = self->entries[at];
            hole = at;
        }
    }
    self->entries[hole].value = NULL;
    self->count--;
    return removed;
}

void *map_bytes_next(const struct map_bytes *self, size_t *index) {
    while (*index < self->capacity) {
        void *value = self->entries[(*index)++].value;
        if (value != NULL) return value;
    }
    return NULL;
}
