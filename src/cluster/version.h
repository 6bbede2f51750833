/* version.h - versions of servers and clusters: "3.5.33".
 *
 * Floor 4, pure. What stands behind the patch number ("-rc.1+git") is read over.
 */
#ifndef CLUSTER_VERSION_H
#define CLUSTER_VERSION_H

#include "base/slice.h"

struct version {
    uint16_t major;
    uint16_t minor;
    uint16_t patch;
};

#define VERSION_TEXT_BYTES 24
/* False unless it is three numbers with points between, each below 65536. */
bool version_parse(struct slice text, struct version *ret_version);
/* "3.5.0" */
const char *version_text(struct version version, char text[VERSION_TEXT_BYTES]);
/* "3.5", as log lines and the downgrade call name a cluster version. */
const char *version_text_minor(struct version version, char text[VERSION_TEXT_BYTES]);
/* <0, 0, >0 */
int version_compare(struct version a, struct version b);
static inline bool version_is_none(struct version v) { return v.major == 0 && v.minor == 0 && v.patch == 0; }

#endif
