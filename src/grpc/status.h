/* grpc/status.h - the one place where an error becomes a gRPC status and back.
 *
 * Floor 3. Codes and texts are those of base/err.h's table; grpc-message is percent-encoded as the gRPC-over-HTTP/2
 * description says: every byte outside 0x20..0x7e, and '%'.
 */
#ifndef GRPC_STATUS_H
#define GRPC_STATUS_H

#include "base/arena.h"
#include "base/err.h"

enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

/* "InvalidArgument", as Go prints them; "Code(77)" is for the caller to make: NULL beyond 16. */
const char *grpc_code_name(int code);
/* The status of an error (not OK): the code of the table and the text. */
enum grpc_code grpc_status_code(enum err error);
/* The error of a status that came from a server: the row with this code and text, ERR_COUNT when there is none. */
enum err grpc_status_error(int code, struct slice text);
/* The text as grpc-message; the text itself when it needs no change. Lives in the arena or is `text`. */
struct slice grpc_message_encode(struct arena *arena, struct slice text);
/* The other way; broken escapes stay as they are. */
struct slice grpc_message_decode(struct arena *arena, struct slice value);
/* The code a client makes of an HTTP status without grpc-status (401 -> UNAUTHENTICATED, 404 -> UNIMPLEMENTED...). */
enum grpc_code grpc_code_from_http(int http_status);

#endif
