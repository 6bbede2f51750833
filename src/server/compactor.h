/* compactor.h - automatic compaction of history: --auto-compaction-mode and --auto-compaction-retention.
 *
 * Floor 5. Only the leader compacts; the others keep their clock running.
 *
 *     periodic   keeps what the last `retention` nanoseconds brought: samples the revision ten times an interval (the
 *                retention, at most an hour) and compacts to the oldest sample once an interval
 *     revision   keeps the last `retention` revisions; looks every 5 minutes
 *
 * Upstream: server/etcdserver/api/v3compactor. Loop only.
 */
#ifndef SERVER_COMPACTOR_H
#define SERVER_COMPACTOR_H

#include "server/server.h"

struct compactor;

enum compactor_mode { COMPACTOR_PERIODIC, COMPACTOR_REVISION };

/* `retention` in nanoseconds or revisions, > 0. Begins at once. The server must be running and outlive it. */
struct compactor *compactor_new(struct server *server, enum compactor_mode mode, int64_t retention);
/* Nothing fires any more; a compaction under way goes on by itself. After server_stop has answered, or before. NULL is
 * allowed. */
void compactor_free(struct compactor *self);

#endif
