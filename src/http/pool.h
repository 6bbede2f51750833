/* http/pool.h - memory for nghttp2: small blocks come back to lists by size, without a trip to malloc.
 *
 * Floor 2, for http/ only. nghttp2 allocates a dozen small blocks a stream (items, streams, header blocks); most live
 * for microseconds. Each block carries its class in front of it. Lists are bounded. One thread.
 */
#ifndef HTTP_POOL_H
#define HTTP_POOL_H

#include <nghttp2/nghttp2.h>

struct http__pool;

struct http__pool *http__pool_new(void);
/* After the last session that uses it. */
void http__pool_free(struct http__pool *self);
/* Lives as long as the pool. */
nghttp2_mem *http__pool_mem(struct http__pool *self);

#endif
