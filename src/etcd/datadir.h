/* datadir.h - what a data directory is before a server opens it: whose, of what kind, and writable.
 *
 * Floor 8. Blocks; before the loop runs.
 */
#ifndef ETCD_DATADIR_H
#define ETCD_DATADIR_H

#include "env/env.h"
#include "etcd/options.h"

enum datadir_kind { DATADIR_EMPTY, DATADIR_MEMBER, DATADIR_PROXY };

/* A folder that can't be read, or one of both kinds, ends the process with etcd's line. Strange files are told. */
enum datadir_kind datadir_identify(struct env *env, const char *path);

/* Makes the folders, warns of open permissions, and sees that they can be written. Errors in etcd's words. */
enum err datadir_prepare(struct env *env, const struct options *options, struct errmsg *message) MUST_USE;

/* Waits until no other process holds member/snap/db; tells once when that takes long, as etcd does. */
void datadir_wait_for_lock(struct env *env, const char *path);

#endif
