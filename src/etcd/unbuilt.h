/* unbuilt.h - what etcd 3.5 can be asked for and this member does not have: refused in clear words, never ignored.
 *
 * Floor 8. Mistakes that etcd itself would find on the way come first, in its words.
 */
#ifndef ETCD_UNBUILT_H
#define ETCD_UNBUILT_H

#include "etcd/options.h"

/* Before listening: discovery, proxy, v2 API, tracing. ERR_INVALID or ERR_UNIMPLEMENTED with the text. */
enum err unbuilt_check(const struct options *options, struct errmsg *message) MUST_USE;

/* Transport security of one side, before its listeners open: cipher suites, files that belong together, https. Warnings
 * go to `log`. `is_peer` chooses the words. A wrong validity of generated certificates ends the process. */
enum err unbuilt_check_tls(const struct options *options, bool is_peer, struct log *log,
                           struct errmsg *message) MUST_USE;
/* What is found when connections to peers are prepared: half a pair of files. */
enum err unbuilt_check_peer_files(const struct options *options, struct errmsg *message) MUST_USE;

/* --auth-token: lines of log, and ERR_INVALID. */
enum err unbuilt_check_auth_token(const struct options *options, struct log *log, struct errmsg *message) MUST_USE;

/* The subcommands gateway and grpc-proxy: prints and ends the process. */
_Noreturn void unbuilt_subcommand(const char *name);

#endif
