#include "bolt/db.h"

static uint64_t fnv64a(const uint8_t *bytes, size_t count) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

enum err meta_decode(const uint8_t *page, struct meta *ret_meta) {
    const uint8_t *at = page + PAGE_HEADER_BYTES;
    if (load_u32le(at) != BOLT_MAGIC) return ERR_BOLT_INVALID;
    if (load_u32le(at + 4) != BOLT_VERSION) return ERR_BOLT_VERSION;
    if (load_u64le(at + 56) != fnv64a(at, 56)) return ERR_BOLT_CHECKSUM;
    struct meta meta = {
        .page_size_bytes = load_u32le(at + 8),
        .root = load_u64le(at + 16),
        .sequence = load_u64le(at + 24),
        .freelist = load_u64le(at + 32),
        .high_water_mark = load_u64le(at + 40),
        .txid = load_u64le(at + 48),
    };
    /* A checksum that fits vouches for the writer, not for its sanity. */
    uint32_t size = meta.page_size_bytes;
    if (size < MIN_PAGE_BYTES || size > MAX_PAGE_BYTES || (size & (size - 1)) != 0) return ERR_BOLT_INVALID;
    if (meta.high_water_mark > MAX_PAGE_ID || meta.root < 2 || meta.root >= meta.high_water_mark)
        return ERR_BOLT_INVALID;
    if (meta.freelist != NO_FREELIST && (meta.freelist < 2 || meta.freelist >= meta.high_water_mark))
        return ERR_BOLT_INVALID;
    *ret_meta = meta;
    return OK;
}

void meta_encode(const struct meta *meta, uint64_t id, uint8_t *page) {
    memset(page, 0, meta->page_size_bytes);
    page_write_header(page, id, FLAG_META, 0, 0);
    uint8_t *at = page + PAGE_HEADER_BYTES;
    store_u32le(at, BOLT_MAGIC);
    store_u32le(at + 4, BOLT_VERSION);
    store_u32le(at + 8, meta->page_size_bytes);
    store_u64le(at + 16, meta->root);
    store_u64le(at + 24, meta->sequence);
    store_u64le(at + 32, meta->freelist);
    store_u64le(at + 40, meta->high_water_mark);
    store_u64le(at + 48, meta->txid);
    store_u64le(at + 56, fnv64a(at, 56));
}
