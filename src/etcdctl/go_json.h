/* go_json.h - messages as Go's encoding/json prints the structs that were generated for them.
 *
 * Floor 8, pure. Fields by their names in the .proto, in the order of declaration; zero values left out; bytes in
 * base64; 64-bit integers as bare numbers; enums as numbers; < > & escaped. (The JSON gateway of a server speaks
 * another dialect.)
 */
#ifndef ETCDCTL_GO_JSON_H
#define ETCDCTL_GO_JSON_H

#include "base/buf.h"

#include <protobuf-c/protobuf-c.h>

/* {"header":{...},"kvs":[...]} */
void go_json_append_message(struct buf *out, const void *message);
/* The fields without braces: what an embedded struct adds to another. */
void go_json_append_fields(struct buf *out, const void *message);
/* A quoted string. */
void go_json_append_string(struct buf *out, const char *text);

#endif
