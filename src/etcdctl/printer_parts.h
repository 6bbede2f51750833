/* printer_parts.h - pieces that printed answers are made of. Private to the printers. */
#ifndef ETCDCTL_PRINTER_PARTS_H
#define ETCDCTL_PRINTER_PARTS_H

#include "etcdctl/printer.h"

/* `"ClusterID" : 1` and so on; NULL prints zeros. */
void part_header(struct buf *out, const Etcdserverpb__ResponseHeader *header);
/* `"Name" : "quoted"` with a newline. */
void part_quoted(struct buf *out, const char *name, struct slice text);
/* Key and value of the simple format, a line each. */
void part_kv(const struct printer *self, const Mvccpb__KeyValue *kv);
/* The six lines of the fields format; `prefix` stands before each name. */
void part_kv_fields(struct buf *out, const char *prefix, const Mvccpb__KeyValue *kv);

#endif
