/* table.h - text tables as the tablewriter library draws them.
 *
 * Floor 8, pure. Borders of + - |, the header in upper case and centred, cells right-aligned, one blank of padding.
 * A cell wider than 30 columns is broken at its blanks, as wide as its widest word asks for.
 */
#ifndef ETCDCTL_TABLE_H
#define ETCDCTL_TABLE_H

#include "base/buf.h"

/* `cells` has rows * columns texts, row by row. */
void table_append(struct buf *out, const char *const *header, size_t columns, const char *const *cells, size_t rows);

#endif
