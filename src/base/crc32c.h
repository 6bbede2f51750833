/* crc32c.h - CRC-32C (Castagnoli), as WAL records, .snap files and the Hash RPCs use it.
 *
 * Floor 0. Uses the SSE4.2 instruction where the processor has it.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over `len` more bytes: crc32c(crc32c(0, a), b) is that of a and b in one. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
