/* format.h - the file, byte by byte, and access to it that trusts no byte.
 *
 * Floor 2, private to bolt/. All integers are little endian; page id = offset / page size.
 *
 * page header     0 u64 id (its own)   8 u16 flags (one of FLAG_*)   10 u16 count   12 u32 overflow
 *                 a block is 1 + overflow pages in a row; only the first has a header
 * meta            page 0 or 1, at 16: 0 u32 magic  4 u32 version  8 u32 page size  12 u32 flags  16 u64 root page
 *                 24 u64 root sequence  32 u64 freelist page or NO_FREELIST  40 u64 high water mark  48 u64 txid
 *                 56 u64 FNV-64a of bytes 0..55. Transaction N is in page N % 2.
 * leaf            at 16 count x { 0 u32 flags (1 = bucket)  4 u32 pos  8 u32 key size  12 u32 value size }
 * branch          at 16 count x { 0 u32 pos  4 u32 key size  8 u64 child page }
 *                 pos counts from the element's own start; the key there, a leaf's value right behind it.
 * freelist        count x u64 ascending; count 0xffff: the real count is the first u64
 * bucket value    0 u64 root page  8 u64 sequence; root 0: an inline leaf page (header and all) follows
 *
 * A struct block was checked once as a whole (header, element array inside); keys and values are checked element by
 * element as they are read, which costs a compare or two.
 */
#ifndef BOLT_FORMAT_H
#define BOLT_FORMAT_H

#include "base/bytes.h"
#include "base/slice.h"

#define BOLT_MAGIC 0xed0cdaedu
#define BOLT_VERSION 2u
#define PAGE_HEADER_BYTES 16u
#define ELEMENT_BYTES 16u
#define BUCKET_HEADER_BYTES 16u
#define META_BYTES 64u
#define NO_FREELIST UINT64_MAX
#define FREELIST_LONG 0xffffu /* count that says "see the first id" */
#define MIN_PAGE_BYTES 1024u
#define MAX_PAGE_BYTES 65536u
/* Ids beyond it would overflow file offsets. */
#define MAX_PAGE_ID (INT64_MAX / MAX_PAGE_BYTES)

enum page_flag { FLAG_BRANCH = 0x01, FLAG_LEAF = 0x02, FLAG_META = 0x04, FLAG_FREELIST = 0x10 };
enum element_flag { ELEMENT_BUCKET = 0x01 };

static inline uint64_t page_id(const uint8_t *page) { return load_u64le(page); }
static inline uint32_t page_flags(const uint8_t *page) { return load_u16le(page + 8); }
static inline uint32_t page_count(const uint8_t *page) { return load_u16le(page + 10); }
static inline uint32_t page_overflow(const uint8_t *page) { return load_u32le(page + 12); }

static inline void page_write_header(uint8_t *page, uint64_t id, uint32_t flags, uint32_t count, uint32_t overflow) {
    store_u64le(page, id);
    store_u16le(page + 8, (uint16_t)flags);
    store_u16le(page + 10, (uint16_t)count);
    store_u32le(page + 12, overflow);
}

/* A branch or leaf whose element array lies inside its `size_bytes`. */
struct block {
    const uint8_t *data;
    uint64_t size_bytes;
    uint32_t count;
    bool is_leaf;
};

/* Header and element array of a page or inline page; false when they make no sense. */
static inline bool block_open(const uint8_t *data, uint64_t size_bytes, struct block *ret_block) {
    uint32_t flags = page_flags(data), count = page_count(data);
    if (flags != FLAG_LEAF && flags != FLAG_BRANCH) return false;
    if (flags == FLAG_BRANCH && count == 0) return false;
    if (PAGE_HEADER_BYTES + (uint64_t)count * ELEMENT_BYTES > size_bytes) return false;
    *ret_block = (struct block){data, size_bytes, count, flags == FLAG_LEAF};
    return true;
}

static inline const uint8_t *block_element(const struct block *block, uint32_t index) {
    return block->data + PAGE_HEADER_BYTES + (size_t)index * ELEMENT_BYTES;
}

/* `index` below count. False when the key lies outside the block. */
static inline bool block_key(const struct block *block, uint32_t index, struct slice *ret_key) {
    const uint8_t *element = block_element(block, index);
    uint32_t shift = block->is_leaf ? 4 : 0;
    uint64_t pos = load_u32le(element + shift), size_bytes = load_u32le(element + shift + 4);
    uint64_t room = block->size_bytes - (uint64_t)(element - block->data);
    if (pos + size_bytes > room) return false;
    *ret_key = slice_make(element + pos, size_bytes);
    return true;
}

/* Of a leaf. */
static inline bool block_item(const struct block *block, uint32_t index, struct slice *ret_key, struct slice *ret_value,
                              uint32_t *ret_flags) {
    const uint8_t *element = block_element(block, index);
    uint64_t pos = load_u32le(element + 4), key_bytes = load_u32le(element + 8), value_bytes = load_u32le(element + 12);
    uint64_t room = block->size_bytes - (uint64_t)(element - block->data);
    if (pos + key_bytes + value_bytes > room) return false;
    *ret_flags = load_u32le(element);
    *ret_key = slice_make(element + pos, key_bytes);
    *ret_value = slice_make(element + pos + key_bytes, value_bytes);
    return true;
}

/* Of a branch. */
static inline uint64_t block_child(const struct block *block, uint32_t index) {
    return load_u64le(block_element(block, index) + 8);
}

/* As slice_compare; keys here are short and often share their first bytes, so eight at a time. */
static inline int key_compare(struct slice a, struct slice b) {
    size_t common = a.len < b.len ? a.len : b.len, i = 0;
    for (; common - i >= 8; i += 8) {
        uint64_t x = load_u64be(a.data + i), y = load_u64be(b.data + i);
        if (x != y) return x < y ? -1 : 1;
    }
    for (; i < common; i++)
        if (a.data[i] != b.data[i]) return a.data[i] < b.data[i] ? -1 : 1;
    return (a.len > b.len) - (a.len < b.len);
}

/* The first element at or after `key` (count when none). False when a key lies outside the block. */
static inline bool block_lower_bound(const struct block *block, struct slice key, uint32_t *ret_index,
                                     bool *ret_is_equal) {
    uint32_t low = 0, high = block->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct slice there;
        if (!block_key(block, middle, &there)) return false;
        int order = key_compare(there, key);
        if (order == 0) {
            *ret_index = middle;
            *ret_is_equal = true;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_index = low;
    *ret_is_equal = false;
    return true;
}

/* The child of a branch whose range holds `key`. */
static inline bool block_child_index(const struct block *block, struct slice key, uint32_t *ret_index) {
    uint32_t index;
    bool is_equal;
    if (!block_lower_bound(block, key, &index, &is_equal)) return false;
    *ret_index = is_equal || index == 0 ? index : index - 1;
    return true;
}

/* The first eight bytes of a key as a number, for guesses. */
static inline uint64_t key_prefix(struct slice key) {
    if (key.len >= 8) return load_u64be(key.data);
    uint8_t padded[8] = {0};
    if (key.len > 0) memcpy(padded, key.data, key.len);
    return load_u64be(padded);
}

/* Prefixes of a key at or below the first of a block, and above its last; high <= low: unknown. */
struct key_range {
    uint64_t low, high;
};

/* As block_lower_bound, but begins where the key should be if keys were evenly spread in `range`, and looks further
 * and further from there. Revisions nearly are, and each probe saved is a cache miss or two. */
static inline bool block_guess(const struct block *block, struct slice key, struct key_range range, uint32_t *ret_index,
                               bool *ret_is_equal) {
    uint64_t prefix = key_prefix(key);
    if (block->count < 4 || prefix < range.low || prefix > range.high || range.high <= range.low)
        return block_lower_bound(block, key, ret_index, ret_is_equal);
    double share = (double)(prefix - range.low) / (double)(range.high - range.low);
    uint32_t low = 0, high = block->count, probe = (uint32_t)(share * block->count), step = 1;
    if (probe >= high) probe = high - 1;
    *ret_is_equal = false;
    for (int side = 0; low < high;) {
        struct slice there;
        if (!block_key(block, probe, &there)) return false;
        int order = key_compare(there, key);
        if (order == 0) {
            *ret_index = probe;
            *ret_is_equal = true;
            return true;
        }
        if (order < 0)
            low = probe + 1;
        else
            high = probe;
        int next_side = order < 0 ? 1 : -1;
        if (side == 0) side = next_side;
        if (side == next_side && high - low > step) {
            probe = side > 0 ? low + step - 1 : high - step;
            step *= 2;
        } else {
            side = 2; /* the key is between two probes: halves from now on */
            probe = low + (high - low) / 2;
        }
    }
    *ret_index = low;
    return true;
}

/* The child of a branch whose range holds `key`; `range` becomes that of the child. */
static inline bool block_guess_child(const struct block *block, struct slice key, struct key_range *range,
                                     uint32_t *ret_index) {
    uint32_t index;
    bool is_equal;
    struct slice around;
    if (!block_guess(block, key, *range, &index, &is_equal)) return false;
    if (!is_equal && index > 0) index--;
    if (!block_key(block, index, &around)) return false;
    range->low = key_prefix(around);
    if (index + 1 < block->count) {
        if (!block_key(block, index + 1, &around)) return false;
        range->high = key_prefix(around);
    }
    *ret_index = index;
    return true;
}

struct meta {
    uint32_t page_size_bytes;
    uint64_t root;
    uint64_t sequence;
    uint64_t freelist;
    uint64_t high_water_mark; /* the first page id never used */
    uint64_t txid;
};

#endif
