/* logging.h - where a member's log lines go: standard error and output, files with rotation, the journal.
 *
 * Floor 8. env/log.h makes the lines; this thins them out as zap's sampler does (per second, level and message: the
 * first 100, then every 100th) and writes each as a whole. Any thread may log.
 */
#ifndef ETCD_LOGGING_H
#define ETCD_LOGGING_H

#include "etcd/options.h"

struct logging;

/* Info lines on standard error: for the time before the options are known. Never fails. */
struct logging *logging_new_default(void);
/* As the options say. An unknown level ends the process (as etcd does, status 2); else ERR_INVALID with etcd's text. */
enum err logging_open(const struct options *options, struct logging **ret_logging, struct errmsg *message) MUST_USE;
/* NULL is allowed. */
void logging_close(struct logging *self);
struct log *logging_log(struct logging *self);

#endif
