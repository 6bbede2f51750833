#include "backend/buffer.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

#define FIRST_ARENA_BYTES ((size_t)64 << 10)
#define DROP_AT_ONCE_OPERATIONS 1000

/* ---- lists of revision keys ---- */

size_t key_list_lower_bound(const struct key_list *self, struct slice key) {
    size_t low = 0, high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(key_entry_key(key_list_at(self, middle)), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct key_entry *key_list_find(const struct key_list *self, struct slice key) {
    if (self->count == 0 || key.len < BACKEND_REVISION_BYTES) return NULL;
    /* With one change a revision the distance of the main revisions is that of the places. */
    const struct key_entry *first = key_list_at(self, 0);
    uint64_t distance = load_u64be(key.data) - load_u64be(first->key);
    if (distance < self->count) {
        const struct key_entry *guess = key_list_at(self, (size_t)distance);
        if (slice_equal(key_entry_key(guess), key)) return guess;
    }
    size_t index = key_list_lower_bound(self, key);
    if (index == self->count) return NULL;
    const struct key_entry *found = key_list_at(self, index);
    return slice_equal(key_entry_key(found), key) ? found : NULL;
}

static struct key_entry *key_list_push(struct key_list *self, struct arena *arena, struct slice key) {
    size_t chunk = self->count / KEY_CHUNK_ENTRIES, place = self->count % KEY_CHUNK_ENTRIES;
    if (chunk == self->chunk_capacity) {
        /* Frozen copies keep the old directory, which stays in the arena. */
        size_t capacity = chunk == 0 ? 16 : chunk * 2;
        struct key_entry **chunks = arena_alloc(arena, capacity * sizeof(struct key_entry *));
        if (chunk > 0) memcpy(chunks, self->chunks, chunk * sizeof(struct key_entry *));
        self->chunks = chunks;
        self->chunk_capacity = capacity;
    }
    if (place == 0) self->chunks[chunk] = arena_alloc(arena, KEY_CHUNK_ENTRIES * sizeof(struct key_entry));
    struct key_entry *entry = &self->chunks[chunk][place];
    memcpy(entry->key, key.data, key.len);
    entry->key_bytes = (uint8_t)key.len;
    entry->value = NULL;
    entry->value_bytes = 0;
    entry->owner = NULL;
    self->count++;
    return entry;
}

static bool comes_after(const struct key_list *self, struct slice key) {
    return self->count == 0 || slice_compare(key_entry_key(key_list_at(self, self->count - 1)), key) < 0;
}

bool key_runs_contain(const struct key_runs *self, struct slice key) {
    if (key_list_find(&self->last, key) != NULL) return true;
    for (size_t i = 0; i < self->full_count; i++)
        if (key_list_find(self->full[i], key) != NULL) return true;
    return false;
}

static void key_runs_add(struct key_runs *self, struct arena *arena, struct slice key) {
    if (!comes_after(&self->last, key)) {
        if (key_runs_contain(self, key)) return;
        if (self->full_count == self->full_capacity) {
            size_t capacity = self->full_capacity == 0 ? 8 : self->full_capacity * 2;
            struct key_list **full = arena_alloc(arena, capacity * sizeof(struct key_list *));
            if (self->full_count > 0) memcpy(full, self->full, self->full_count * sizeof(struct key_list *));
            self->full = full;
            self->full_capacity = capacity;
        }
        struct key_list *ended = arena_alloc(arena, sizeof *ended);
        *ended = self->last;
        self->full[self->full_count++] = ended;
        self->last = (struct key_list){0};
    }
    key_list_push(&self->last, arena, key);
}

/* ---- small buckets ---- */

void small_entry_unref(struct small_entry *self) {
    if (--self->references > 0) return;
    shared_unref(self->owner);
    mem_free(self);
}

static struct small_entry *small_entry_new(struct slice key, struct shared *owner, struct slice value) {
    size_t own_value_bytes = owner == NULL ? value.len : 0;
    struct small_entry *self = mem_alloc(sizeof *self + key.len + own_value_bytes);
    memcpy(self->bytes, key.data, key.len);
    if (own_value_bytes > 0) memcpy(self->bytes + key.len, value.data, value.len);
    self->references = 1;
    self->is_deleted = false;
    self->key = slice_make(self->bytes, key.len);
    self->value = owner == NULL ? slice_make(self->bytes + key.len, value.len) : value;
    self->owner = shared_ref(owner);
    return self;
}

static void replace_small(struct buffer *self, enum backend_bucket bucket, struct small_entry *entry) {
    struct small_entry *before = map_bytes_put(&self->small[bucket], entry->key, entry);
    if (before == NULL) return;
    self->bytes -= before->key.len + before->value.len;
    small_entry_unref(before);
}

/* ---- the buffer ---- */

struct buffer *buffer_new(uint64_t seed) {
    struct buffer *self = NEW(struct buffer);
    self->references = 1;
    arena_init(&self->arena, FIRST_ARENA_BYTES);
    for (int i = 0; i < BACKEND_BUCKET_COUNT; i++) map_bytes_init(&self->small[i], seed);
    return self;
}

/* Nobody refers to the buffer any more, so any thread will do: the counts of shared values are atomic, and entries of
 * small buckets are held by views only together with the buffer. */
static void drop_content(struct buffer *self) {
    for (size_t i = 0; i < self->puts.count; i++) shared_unref(key_list_at(&self->puts, i)->owner);
    for (int i = 0; i < BACKEND_BUCKET_COUNT; i++) {
        size_t place = 0;
        for (struct small_entry *at; (at = map_bytes_next(&self->small[i], &place)) != NULL;) small_entry_unref(at);
        map_bytes_release(&self->small[i]);
    }
    arena_release(&self->arena);
}

static void run_drop(struct env_job *job) { drop_content(CONTAINER_OF(job, struct buffer, dropping)); }

static void drop_done(struct env_job *job) { mem_free(CONTAINER_OF(job, struct buffer, dropping)); }

void buffer_unref(struct buffer *self, struct env *env) {
    if (self == NULL || --self->references > 0) return;
    if (env != NULL && self->operations > DROP_AT_ONCE_OPERATIONS) {
        self->dropping = (struct env_job){.run = run_drop, .done = drop_done};
        env_pool_submit(env, &self->dropping);
        return;
    }
    drop_content(self);
    mem_free(self);
}

static void put_revision(struct buffer *self, struct slice key, struct shared *owner, struct slice value) {
    CHECKF(key.len >= BACKEND_REVISION_BYTES && key.len <= BACKEND_REVISION_MAX_BYTES, "backend: key of %zu bytes",
           key.len);
    CHECKF(comes_after(&self->puts, key), "backend: a revision was put out of order");
    struct key_entry *entry = key_list_push(&self->puts, &self->arena, key);
    if (owner == NULL) value = arena_copy(&self->arena, value);
    entry->value = value.data != NULL ? value.data : (const uint8_t *)"";
    entry->value_bytes = (uint32_t)value.len;
    entry->owner = shared_ref(owner);
}

void buffer_put(struct buffer *self, enum backend_bucket bucket, struct slice key, struct shared *owner,
                struct slice value) {
    if (bucket == BACKEND_KEY)
        put_revision(self, key, owner, value);
    else
        replace_small(self, bucket, small_entry_new(key, owner, value));
    self->operations++;
    self->bytes += key.len + value.len;
}

void buffer_delete(struct buffer *self, enum backend_bucket bucket, struct slice key) {
    if (bucket == BACKEND_KEY) {
        CHECKF(key.len <= BACKEND_REVISION_MAX_BYTES, "backend: key of %zu bytes", key.len);
        key_runs_add(&self->deletes, &self->arena, key);
    } else {
        struct small_entry *entry = small_entry_new(key, NULL, SLICE_NONE);
        entry->is_deleted = true;
        replace_small(self, bucket, entry);
    }
    self->operations++;
    self->bytes += key.len;
}

static int compare_entries(const void *a, const void *b) {
    return slice_compare((*(struct small_entry *const *)a)->key, (*(struct small_entry *const *)b)->key);
}

struct small_list buffer_sort_small(const struct buffer *self, enum backend_bucket bucket) {
    const struct map_bytes *map = &self->small[bucket];
    struct small_list list = {NULL, 0};
    if (map->count == 0) return list;
    list.items = mem_alloc(map->count * sizeof(struct small_entry *));
    size_t place = 0;
    for (struct small_entry *at; (at = map_bytes_next(map, &place)) != NULL;) list.items[list.count++] = at;
    qsort(list.items, list.count, sizeof(struct small_entry *), compare_entries);
    return list;
}

size_t small_list_lower_bound(const struct small_list *self, struct slice key) {
    size_t low = 0, high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(self->items[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct small_entry *small_list_find(const struct small_list *self, struct slice key) {
    size_t index = small_list_lower_bound(self, key);
    if (index == self->count || !slice_equal(self->items[index]->key, key)) return NULL;
    return self->items[index];
}
