/* bytes.h - integers in byte strings: little and big endian, and protobuf varints.
 *
 * Floor 0. Pointers need no alignment.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t load_u16le(const void *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return le16toh(v);
}
static inline uint32_t load_u32le(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return le32toh(v);
}
static inline uint64_t load_u64le(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return le64toh(v);
}
static inline uint32_t load_u32be(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return be32toh(v);
}
static inline uint64_t load_u64be(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return be64toh(v);
}
static inline void store_u16le(void *p, uint16_t v) {
    v = htole16(v);
    memcpy(p, &v, 2);
}
static inline void store_u32le(void *p, uint32_t v) {
    v = htole32(v);
    memcpy(p, &v, 4);
}
static inline void store_u64le(void *p, uint64_t v) {
    v = htole64(v);
    memcpy(p, &v, 8);
}
static inline void store_u32be(void *p, uint32_t v) {
    v = htobe32(v);
    memcpy(p, &v, 4);
}
static inline void store_u64be(void *p, uint64_t v) {
    v = htobe64(v);
    memcpy(p, &v, 8);
}

#define VARINT_MAX_BYTES 10

/* Bytes that `value` takes as a varint: 1 to 10. */
static inline size_t varint_size(uint64_t value) { return (size_t)((63 - __builtin_clzll(value | 1)) / 7) + 1; }

/* Writes `value` at `out` (room for VARINT_MAX_BYTES) and returns the bytes written. */
static inline size_t varint_store(uint8_t *out, uint64_t value) {
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

/* Reads a varint from [at, end). Returns the bytes taken, or 0 when it is cut off or longer than 10 bytes. */
static inline size_t varint_load(const uint8_t *at, const uint8_t *end, uint64_t *ret_value) {
    uint64_t value = 0;
    for (size_t n = 0; n < VARINT_MAX_BYTES && at + n < end; n++) {
        value |= (uint64_t)(at[n] & 0x7f) << (7 * n);
        if (!(at[n] & 0x80)) {
            *ret_value = value;
            return n + 1;
        }
    }
    return 0;
}

#endif
