/* rotation.h - a log file that is put aside when it has grown, as lumberjack does it for etcd.
 *
 * Floor 8. At the limit the file is renamed to NAME-2006-01-02T15-04-05.000.EXT (UTC unless `localtime`) and a new one
 * begun; of those put aside only `maxbackups` of the last `maxage` days stay; `compress` makes them .gz. One thread at
 * a time.
 */
#ifndef ETCD_ROTATION_H
#define ETCD_ROTATION_H

#include "base/err.h"
#include "base/slice.h"

struct rotation;

/* The value of --log-rotation-config-json. ERR_INVALID with etcd's text. */
struct rotation_config {
    int64_t max_size_mb; /* 0 = 100 */
    int64_t max_age_days;
    int64_t max_backups;
    bool local_time;
    bool compress;
};
enum err rotation_config_parse(const char *json, struct rotation_config *ret_config, struct errmsg *message) MUST_USE;

/* The file is opened (and made, with its folders) at the first write. */
struct rotation *rotation_new(const char *path, const struct rotation_config *config);
void rotation_write(struct rotation *self, struct slice line);
/* NULL is allowed. */
void rotation_free(struct rotation *self);

#endif
