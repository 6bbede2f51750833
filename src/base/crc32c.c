#include "base/crc32c.h"

#include "base/bytes.h"

#define POLYNOMIAL 0x82f63b78u /* Castagnoli, reflected */

static uint32_t byte_step(uint32_t crc, uint8_t byte) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) ? POLYNOMIAL : 0);
    return crc;
}

static uint32_t crc_portable(uint32_t crc, const uint8_t *at, size_t len) {
    while (len-- > 0) crc = byte_step(crc, *at++);
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *at, size_t len) {
    uint64_t wide = crc;
    while (len >= 8) {
        wide = __builtin_ia32_crc32di(wide, load_u64le(at));
        at += 8;
        len -= 8;
    }
    crc = (uint32_t)wide;
    while (len-- > 0) crc = __builtin_ia32_crc32qi(crc, *at++);
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len) {
    const uint8_t *at = data;
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~crc_sse42(crc, at, len);
#endif
    return ~crc_portable(crc, at, len);
}
