#include "bolt/freelist.h"

#include "base/check.h"

#define CHUNK_PAGES 4096u
#define CHUNK_WORDS (CHUNK_PAGES / 64)
#define UNKNOWN UINT32_MAX

void freelist_init(struct freelist *self, uint64_t base_txid) { *self = (struct freelist){.base_txid = base_txid}; }

void freelist_release(struct freelist *self) {
    mem_free(self->free_bits);
    mem_free(self->pending_bits);
    mem_free(self->allocated_in);
    mem_free(self->chunks);
    for (size_t i = 0; i < self->groups.count; i++) VEC_RELEASE(&self->groups.items[i].runs);
    VEC_RELEASE(&self->groups);
    freelist_init(self, self->base_txid);
}

/* Transaction ids since open fit 32 bits for centuries; 0 and what does not fit mean "before every reader". */
static uint32_t short_txid(const struct freelist *self, uint64_t txid) {
    uint64_t since = txid - self->base_txid;
    return since > UINT32_MAX ? 0 : (uint32_t)since;
}

static void grow_to(struct freelist *self, uint64_t page) {
    size_t wanted = (size_t)(page / CHUNK_PAGES) + 1;
    if (wanted <= self->chunk_count) return;
    size_t old = self->chunk_count, count = old + old / 2 < wanted ? wanted : old + old / 2;
    self->free_bits = mem_realloc(self->free_bits, count * CHUNK_WORDS * 8);
    self->pending_bits = mem_realloc(self->pending_bits, count * CHUNK_WORDS * 8);
    self->allocated_in = mem_realloc(self->allocated_in, count * CHUNK_PAGES * 4);
    self->chunks = mem_realloc(self->chunks, count * sizeof *self->chunks);
    memset(self->free_bits + old * CHUNK_WORDS, 0, (count - old) * CHUNK_WORDS * 8);
    memset(self->pending_bits + old * CHUNK_WORDS, 0, (count - old) * CHUNK_WORDS * 8);
    memset(self->allocated_in + old * CHUNK_PAGES, 0, (count - old) * CHUNK_PAGES * 4);
    memset(self->chunks + old, 0, (count - old) * sizeof *self->chunks);
    self->chunk_count = count;
}

static bool bit_is_set(const uint64_t *bits, uint64_t page) { return bits[page / 64] >> (page % 64) & 1; }

bool freelist_is_free(const struct freelist *self, uint64_t page) {
    return page / CHUNK_PAGES < self->chunk_count && bit_is_set(self->free_bits, page);
}

bool freelist_is_pending(const struct freelist *self, uint64_t page) {
    return page / CHUNK_PAGES < self->chunk_count && bit_is_set(self->pending_bits, page);
}

/* A run may now be longer than was known: in this chunk, and in those before whose last run reaches it. */
static void forget_longest(struct freelist *self, size_t chunk) {
    self->chunks[chunk].longest = UNKNOWN;
    while (chunk > 0 && self->free_bits[chunk * CHUNK_WORDS - 1] >> 63) {
        chunk--;
        self->chunks[chunk].longest = UNKNOWN;
        if (self->chunks[chunk].free_count < CHUNK_PAGES) break;
    }
}

void freelist_add(struct freelist *self, uint64_t first, uint64_t count) {
    if (count == 0) return;
    grow_to(self, first + count - 1);
    for (uint64_t page = first; page < first + count;) {
        size_t word = (size_t)(page / 64), chunk = word / CHUNK_WORDS;
        uint64_t in_word = 64 - page % 64, left = first + count - page;
        uint64_t take = left < in_word ? left : in_word;
        uint64_t mask = (take == 64 ? UINT64_MAX : (1ull << take) - 1) << (page % 64);
        CHECK((self->free_bits[word] & mask) == 0);
        self->free_bits[word] |= mask;
        self->chunks[chunk].words |= 1ull << (word % CHUNK_WORDS);
        self->chunks[chunk].free_count += (uint32_t)take;
        page += take;
        if (page % CHUNK_PAGES == 0 || page == first + count) forget_longest(self, chunk);
    }
    self->free_count += count;
    if (first / CHUNK_PAGES < self->first_chunk) self->first_chunk = (size_t)(first / CHUNK_PAGES);
}

static void remove_run(struct freelist *self, uint64_t first, uint32_t count) {
    for (uint64_t page = first; page < first + count; page++) {
        size_t word = (size_t)(page / 64);
        struct freelist_chunk *chunk = &self->chunks[word / CHUNK_WORDS];
        self->free_bits[word] &= ~(1ull << (page % 64));
        if (self->free_bits[word] == 0) chunk->words &= ~(1ull << (word % CHUNK_WORDS));
        chunk->free_count--;
    }
    self->free_count -= count;
}

void freelist_note_allocated(struct freelist *self, uint64_t first, uint32_t count, uint64_t txid) {
    grow_to(self, first + count - 1);
    uint32_t since = short_txid(self, txid);
    for (uint32_t i = 0; i < count; i++) self->allocated_in[first + i] = since;
}

/* How long the run at `page` is, counting no further than `enough`. */
static uint64_t run_length(const struct freelist *self, uint64_t page, uint64_t enough) {
    uint64_t end = (uint64_t)self->chunk_count * CHUNK_PAGES, length = 0;
    while (page < end && length < enough) {
        uint64_t taken = ~self->free_bits[page / 64] >> (page % 64), in_word = 64 - page % 64;
        uint64_t here = taken == 0 ? in_word : (uint64_t)__builtin_ctzll(taken);
        if (here > in_word) here = in_word;
        length += here;
        page += here;
        if (here < in_word) break;
    }
    return length;
}

/* The first run of at least `count` pages that begins in the chunk, or 0. Learns the chunk's longest run. */
static uint64_t find_in_chunk(struct freelist *self, size_t chunk, uint32_t count) {
    uint64_t page = (uint64_t)chunk * CHUNK_PAGES, end = page + CHUNK_PAGES, longest = 0;
    while (page < end) {
        uint64_t rest = self->free_bits[page / 64] >> (page % 64);
        if (rest == 0) {
            page = (page / 64 + 1) * 64;
            continue;
        }
        page += (uint64_t)__builtin_ctzll(rest);
        uint64_t length = run_length(self, page, count);
        if (length >= count) return page;
        if (length > longest) longest = length;
        page += length;
    }
    self->chunks[chunk].longest = (uint32_t)longest;
    return 0;
}

uint64_t freelist_take(struct freelist *self, uint32_t count, uint64_t txid) {
    if (self->free_count < count) return 0;
    for (size_t chunk = self->first_chunk; chunk < self->chunk_count; chunk++) {
        struct freelist_chunk *at = &self->chunks[chunk];
        if (at->free_count == 0) {
            if (chunk == self->first_chunk) self->first_chunk++;
            continue;
        }
        uint64_t found;
        if (count == 1) {
            size_t word = chunk * CHUNK_WORDS + (size_t)__builtin_ctzll(at->words);
            found = (uint64_t)word * 64 + (uint64_t)__builtin_ctzll(self->free_bits[word]);
        } else {
            if (at->longest < count) continue;
            found = find_in_chunk(self, chunk, count);
            if (found == 0) continue;
        }
        remove_run(self, found, count);
        freelist_note_allocated(self, found, count, txid);
        return found;
    }
    return 0;
}

bool freelist_free(struct freelist *self, uint64_t first, uint32_t count, page_runs *runs) {
    grow_to(self, first + count - 1);
    for (uint64_t page = first; page < first + count; page++)
        if (bit_is_set(self->free_bits, page) || bit_is_set(self->pending_bits, page)) return false;
    for (uint64_t page = first; page < first + count; page++) self->pending_bits[page / 64] |= 1ull << (page % 64);
    self->pending_count += count;
    VEC_PUSH(runs, (struct page_run){first, count, self->allocated_in[first]});
    return true;
}

static void clear_pending(struct freelist *self, const struct page_run *run) {
    for (uint64_t page = run->first; page < run->first + run->count; page++)
        self->pending_bits[page / 64] &= ~(1ull << (page % 64));
    self->pending_count -= run->count;
}

void freelist_unfree(struct freelist *self, const page_runs *runs) {
    for (size_t i = 0; i < runs->count; i++) clear_pending(self, &runs->items[i]);
}

void freelist_commit(struct freelist *self, uint64_t txid, page_runs *runs) {
    if (runs->count == 0) return;
    VEC_PUSH(&self->groups, (struct pending_group){txid, *runs});
    *runs = (page_runs){0};
}

/* Whether a reader sees pages allocated in `from` and freed in `to`: one of [from, to). */
static bool is_seen(const uint64_t *readers, size_t count, uint64_t from, uint64_t to) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (readers[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && readers[low] < to;
}

void freelist_settle(struct freelist *self, const uint64_t *readers, size_t count, uint64_t changed_above) {
    size_t kept_groups = 0;
    for (size_t g = 0; g < self->groups.count; g++) {
        struct pending_group *group = &self->groups.items[g];
        if (group->txid > changed_above) {
            size_t kept = 0;
            for (size_t i = 0; i < group->runs.count; i++) {
                struct page_run *run = &group->runs.items[i];
                uint64_t from = run->allocated_in == 0 ? 0 : self->base_txid + run->allocated_in;
                if (is_seen(readers, count, from, group->txid)) {
                    group->runs.items[kept++] = *run;
                    continue;
                }
                clear_pending(self, run);
                freelist_add(self, run->first, run->count);
            }
            group->runs.count = kept;
            if (kept == 0) {
                VEC_RELEASE(&group->runs);
                continue;
            }
        }
        struct pending_group moved = *group;
        self->groups.items[kept_groups++] = moved;
    }
    self->groups.count = kept_groups;
}

void freelist_collect(const struct freelist *self, uint64_t *ret_ids) {
    size_t count = 0;
    for (size_t word = 0; word < self->chunk_count * CHUNK_WORDS; word++) {
        uint64_t bits = self->free_bits[word] | self->pending_bits[word];
        for (; bits != 0; bits &= bits - 1) ret_ids[count++] = (uint64_t)word * 64 + (uint64_t)__builtin_ctzll(bits);
    }
}
