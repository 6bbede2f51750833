/* index_key.c - a key's block and its revisions: appending, looking up, compacting, and the small-block allocator. */
#include "base/check.h"
#include "mvcc/index_private.h"

/* ---- slab ---- */

static size_t round_up(size_t size_bytes) { return (size_bytes + 7) & ~(size_t)7; }

void slab_release(struct slab *self) {
    for (size_t i = 0; i < self->chunks.count; i++) mem_free(self->chunks.items[i]);
    VEC_RELEASE(&self->chunks);
    *self = (struct slab){0};
}

static void *slab_carve(struct slab *self, size_t size_bytes) {
    if ((size_t)(self->end - self->at) < size_bytes) {
        /* What is left of the old chunk serves a later small block. */
        size_t left = (size_t)(self->end - self->at);
        if (left >= 8) slab_free(self, self->at, left > SLAB_MAX_BYTES ? SLAB_MAX_BYTES : left);
        void *chunk = mem_alloc(SLAB_CHUNK_BYTES);
        VEC_PUSH(&self->chunks, chunk);
        self->held_bytes += SLAB_CHUNK_BYTES;
        self->at = chunk;
        self->end = self->at + SLAB_CHUNK_BYTES;
    }
    void *piece = self->at;
    self->at += size_bytes;
    return piece;
}

void *slab_alloc(struct slab *self, size_t size_bytes) {
    size_t rounded = round_up(size_bytes);
    if (rounded > SLAB_MAX_BYTES) {
        self->held_bytes += rounded;
        return mem_alloc(rounded);
    }
    void **list = &self->free_lists[rounded / 8];
    if (*list == NULL) return slab_carve(self, rounded);
    void *piece = *list;
    memcpy(list, piece, sizeof *list);
    return piece;
}

void slab_free(struct slab *self, void *memory, size_t size_bytes) {
    size_t rounded = round_up(size_bytes);
    if (rounded > SLAB_MAX_BYTES) {
        self->held_bytes -= rounded;
        mem_free(memory);
        return;
    }
    void **list = &self->free_lists[rounded / 8];
    memcpy(memory, list, sizeof *list);
    *list = memory;
}

/* ---- the block ---- */

#define KEY_MAX_BYTES (((size_t)1 << 29) - 1)

struct index_key *index__key_new(struct index *self, struct slice bytes) {
    CHECK(bytes.len <= KEY_MAX_BYTES);
    struct index_key *key = slab_alloc(&self->slab, sizeof *key + bytes.len);
    memset(key, 0, sizeof *key);
    key->length = (uint32_t)bytes.len & KEY_MAX_BYTES;
    if (bytes.len != 0) memcpy(key->bytes, bytes.data, bytes.len);
    return key;
}

static size_t history_bytes(size_t capacity) {
    return sizeof(struct index_history) + capacity * sizeof(struct index_revision);
}

static struct index_history *history_new(struct index *self, size_t capacity) {
    CHECK(capacity <= UINT32_MAX);
    struct index_history *history = slab_alloc(&self->slab, history_bytes(capacity));
    history->count = 0;
    history->capacity = (uint32_t)capacity;
    return history;
}

static void history_free(struct index *self, struct index_history *history) {
    slab_free(&self->slab, history, history_bytes(history->capacity));
}

static struct index_history *history_resize(struct index *self, struct index_history *old, size_t capacity) {
    struct index_history *history = history_new(self, capacity);
    history->version = old->version;
    history->oldest_create = old->oldest_create;
    history->oldest_dropped = old->oldest_dropped;
    history->count = old->count;
    memcpy(history->revisions, old->revisions, old->count * sizeof *old->revisions);
    history_free(self, old);
    return history;
}

void index__key_free(struct index *self, struct index_key *key) {
    if (key->has_history) history_free(self, key->history);
    slab_free(&self->slab, key, sizeof *key + key->length);
}

void index__key_reserve(struct index *self, struct index_key *key, size_t more) {
    if (more == 0) return;
    if (key->has_history) {
        struct index_history *history = key->history;
        size_t wanted = history->count + more;
        if (wanted <= history->capacity) return;
        size_t grown = history->capacity + history->capacity / 2u;
        key->history = history_resize(self, history, wanted > grown ? wanted : grown);
        return;
    }
    struct index_history *history = history_new(self, 1 + more);
    history->version = key->version;
    history->oldest_create = key->create_main;
    history->oldest_dropped = key->is_dead ? 0 : key->version - 1;
    history->count = 1;
    history->revisions[0] = (struct index_revision){key->head_main, key->head_sub, key->is_dead};
    key->history = history;
    key->has_history = 1;
}

void index__key_append(struct index *self, struct index_key *key, struct revision revision, bool is_tombstone) {
    CHECKF(revision_compare(revision, (struct revision){key->head_main, key->head_sub}) > 0,
           "revision %lld.%lld is not after %lld.%u", (long long)revision.main, (long long)revision.sub,
           (long long)key->head_main, key->head_sub);
    CHECK(revision.sub <= UINT32_MAX && !(is_tombstone && key->is_dead));
    index__key_reserve(self, key, 1);
    struct index_history *history = key->history;
    history->revisions[history->count++] = (struct index_revision){revision.main, (uint32_t)revision.sub, is_tombstone};
    if (key->is_dead) {
        key->create_main = revision.main;
        history->version = 0;
    }
    history->version++;
    key->head_main = revision.main;
    key->head_sub = (uint32_t)revision.sub;
    key->is_dead = is_tombstone;
    key->has_lease = 0;
}

/* ---- looking up ---- */

/* Index of the newest revision with main <= at, or count when there is none. */
static size_t newest_at(const struct index_history *history, int64_t at) {
    size_t low = 0, high = history->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (history->revisions[middle].main <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? history->count : low - 1;
}

bool index_key_at(const struct index_key *key, int64_t at, struct index_item *ret_item) {
    if (at >= key->head_main) {
        if (key->is_dead) return false;
        *ret_item = (struct index_item){(struct index_key *)(uintptr_t)key,
                                        {key->head_main, key->head_sub},
                                        key->create_main,
                                        key->has_history ? key->history->version : key->version};
        return true;
    }
    if (!key->has_history) return false;
    const struct index_history *history = key->history;
    size_t place = newest_at(history, at);
    if (place == history->count || history->revisions[place].is_tombstone) return false;
    size_t begin = place;
    while (begin > 0 && !history->revisions[begin - 1].is_tombstone) begin--;
    bool is_oldest = begin == 0;
    *ret_item = (struct index_item){
        (struct index_key *)(uintptr_t)key,
        {history->revisions[place].main, history->revisions[place].sub},
        is_oldest ? history->oldest_create : history->revisions[begin].main,
        (int64_t)(place - begin) + 1 + (is_oldest ? history->oldest_dropped : 0),
    };
    return true;
}

/* ---- compaction ---- */

/* The generation that reads at `at` would use: the first that is not over before it. Returns the index of its first
 * revision (count: the empty one after the last tombstone) and, in *ret_found, the index of its newest revision <= at
 * or SIZE_MAX. */
static size_t generation_at(const struct index_history *history, int64_t at, size_t *ret_found) {
    size_t begin = 0;
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < history->count && history->revisions[i].main <= at; i++) {
        found = i;
        if (!history->revisions[i].is_tombstone) continue;
        if (history->revisions[i].main == at) break; /* its generation is still the one at `at` */
        begin = i + 1;
        found = SIZE_MAX;
    }
    *ret_found = found;
    return begin;
}

/* Back to the short form when one revision is left. */
static void shrink(struct index *self, struct index_key *key) {
    struct index_history *history = key->history;
    if (history->count == 1) {
        int64_t version = history->version;
        history_free(self, history);
        key->version = version;
        key->has_history = 0;
    } else if (history->capacity > 8 && history->count < history->capacity / 4u) {
        key->history = history_resize(self, history, history->count);
    }
}

bool index__key_compact(struct index *self, struct index_key *key, int64_t at, struct index_dropped_list *dropped,
                        bool *ret_kept_any) {
    if (!key->has_history) {
        if (key->head_main > at) return false;
        if (!key->is_dead || key->head_main == at) {
            *ret_kept_any = true;
            return false;
        }
        VEC_PUSH(&dropped->list, (struct index_dropped){{key->head_main, key->head_sub}, true});
        return true;
    }
    struct index_history *history = key->history;
    size_t found;
    size_t begin = generation_at(history, at, &found);
    size_t cut = found == SIZE_MAX ? begin : found;
    if (found != SIZE_MAX) *ret_kept_any = true;
    if (cut == 0) return false;
    VEC_RESERVE(&dropped->list, cut);
    for (size_t i = 0; i < cut; i++) {
        struct index_revision *revision = &history->revisions[i];
        dropped->list.items[dropped->list.count++] =
            (struct index_dropped){{revision->main, revision->sub}, revision->is_tombstone};
    }
    if (cut == history->count) return true;
    if (begin == 0) {
        history->oldest_dropped += (int64_t)cut;
    } else {
        history->oldest_create = history->revisions[begin].main;
        history->oldest_dropped = (int64_t)(cut - begin);
    }
    history->count -= (uint32_t)cut;
    memmove(history->revisions, history->revisions + cut, history->count * sizeof *history->revisions);
    shrink(self, key);
    return false;
}

bool index__key_keep(const struct index_key *key, int64_t at, struct revision *ret_kept) {
    if (!key->has_history) {
        if (key->head_main > at || key->is_dead) return false;
        *ret_kept = (struct revision){key->head_main, key->head_sub};
        return true;
    }
    size_t found;
    generation_at(key->history, at, &found);
    if (found == SIZE_MAX || key->history->revisions[found].is_tombstone) return false;
    *ret_kept = (struct revision){key->history->revisions[found].main, key->history->revisions[found].sub};
    return true;
}
