/* err.h - the one table of operating errors.
 *
 * Floor 0. Each error has a name, the gRPC code it becomes (15 = DATA_LOSS and so on; the numbers are gRPC's), and
 * the exact text that etcd's clients see. grpc/status.c translates in one place; nobody else maps errors.
 *
 * Three kinds of trouble, never mixed: an operating error is returned as enum err; a broken invariant is a CHECK;
 * bytes from disk or wire that make no sense are ERR_CORRUPT (or a narrower one) with a struct errmsg that names
 * file and offset.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/* X(name, grpc code, text) - texts with "etcdserver: " are upstream's, api/v3rpc/rpctypes and catalog of errors.
 * Codes: 0 OK 1 CANCELED 2 UNKNOWN 3 INVALID_ARGUMENT 4 DEADLINE_EXCEEDED 5 NOT_FOUND 6 ALREADY_EXISTS
 * 7 PERMISSION_DENIED 8 RESOURCE_EXHAUSTED 9 FAILED_PRECONDITION 10 ABORTED 11 OUT_OF_RANGE 12 UNIMPLEMENTED
 * 13 INTERNAL 14 UNAVAILABLE 15 DATA_LOSS 16 UNAUTHENTICATED */
#define ERR_TABLE(X)                                                                                                   \
    /* the system (texts as Go prints them) */                                                                         \
    X(ERR_NOT_FOUND_FILE, 2, "no such file or directory")                                                              \
    X(ERR_FILE_EXISTS, 2, "file exists")                                                                               \
    X(ERR_ACCESS, 2, "permission denied")                                                                              \
    X(ERR_NO_DISK_SPACE, 2, "no space left on device")                                                                 \
    X(ERR_READ_ONLY_DISK, 2, "read-only file system")                                                                  \
    X(ERR_IS_DIRECTORY, 2, "is a directory")                                                                           \
    X(ERR_NOT_DIRECTORY, 2, "not a directory")                                                                         \
    X(ERR_NOT_EMPTY, 2, "directory not empty")                                                                         \
    X(ERR_TOO_MANY_FILES, 2, "too many open files")                                                                    \
    X(ERR_IO, 2, "input/output error")                                                                                 \
    X(ERR_NOT_SUPPORTED, 2, "operation not supported")                                                                 \
    X(ERR_ADDRESS_IN_USE, 2, "bind: address already in use")                                                           \
    X(ERR_ADDRESS_NOT_AVAILABLE, 2, "bind: cannot assign requested address")                                           \
    X(ERR_CONNECTION_REFUSED, 2, "connect: connection refused")                                                        \
    X(ERR_SYSTEM, 2, "system error")                                                                                   \
    X(ERR_LOCKED, 2, "fileutil: file already locked")                                                                  \
    X(ERR_EOF, 2, "EOF")                                                                                               \
    X(ERR_UNEXPECTED_EOF, 2, "unexpected EOF")                                                                         \
    X(ERR_NO_MEMORY, 8, "out of memory")                                                                               \
    X(ERR_TIMEDOUT, 4, "i/o timeout")                                                                                  \
    X(ERR_INVALID, 3, "invalid argument")                                                                              \
    X(ERR_CORRUPT, 2, "corrupt data")                                                                                  \
    /* write-ahead log and snapshots */                                                                                \
    X(ERR_WAL_METADATA_CONFLICT, 2, "wal: conflicting metadata found")                                                 \
    X(ERR_WAL_FILE_NOT_FOUND, 2, "wal: file not found")                                                                \
    X(ERR_WAL_CRC_MISMATCH, 2, "wal: crc mismatch")                                                                    \
    X(ERR_WAL_SNAPSHOT_MISMATCH, 2, "wal: snapshot mismatch")                                                          \
    X(ERR_WAL_SNAPSHOT_NOT_FOUND, 2, "wal: snapshot not found")                                                        \
    X(ERR_WAL_SLICE_OUT_OF_RANGE, 2, "wal: slice bounds out of range")                                                 \
    X(ERR_WAL_MAX_ENTRY_SIZE, 2, "wal: max entry size limit exceeded")                                                 \
    X(ERR_SNAP_NO_SNAPSHOT, 2, "snap: no available snapshot")                                                          \
    X(ERR_SNAP_EMPTY, 2, "snap: empty snapshot")                                                                       \
    X(ERR_SNAP_CRC_MISMATCH, 2, "snap: crc mismatch")                                                                  \
    X(ERR_SNAP_NO_DB_SNAPSHOT, 2, "snap: snapshot file doesn't exist")                                                 \
    /* bolt */                                                                                                         \
    X(ERR_BOLT_INVALID, 2, "invalid database")                                                                         \
    X(ERR_BOLT_VERSION, 2, "version mismatch")                                                                         \
    X(ERR_BOLT_CHECKSUM, 2, "checksum error")                                                                          \
    X(ERR_BOLT_TIMEOUT, 2, "timeout")                                                                                  \
    X(ERR_BOLT_READ_ONLY, 2, "database is in read-only mode")                                                          \
    X(ERR_BOLT_BUCKET_NOT_FOUND, 2, "bucket not found")                                                                \
    X(ERR_BOLT_BUCKET_EXISTS, 2, "bucket already exists")                                                              \
    X(ERR_BOLT_BUCKET_NAME_REQUIRED, 2, "bucket name required")                                                        \
    X(ERR_BOLT_INCOMPATIBLE_VALUE, 2, "incompatible value")                                                            \
    X(ERR_BOLT_KEY_REQUIRED, 2, "key required")                                                                        \
    X(ERR_BOLT_KEY_TOO_LARGE, 2, "key too large")                                                                      \
    X(ERR_BOLT_VALUE_TOO_LARGE, 2, "value too large")                                                                  \
    /* raft */                                                                                                         \
    X(ERR_RAFT_PROPOSAL_DROPPED, 2, "raft proposal dropped")                                                           \
    X(ERR_RAFT_PEER_NOT_FOUND, 2, "raft: cannot step as peer not found")                                               \
    X(ERR_RAFT_STOPPED, 2, "raft: stopped")                                                                            \
    X(ERR_RAFT_COMPACTED, 2, "requested index is unavailable due to compaction")                                       \
    X(ERR_RAFT_UNAVAILABLE, 2, "requested entry at index is unavailable")                                              \
    X(ERR_RAFT_SNAP_OUT_OF_DATE, 2, "requested index is older than the existing snapshot")                             \
    /* what an RPC answers */                                                                                          \
    X(ERR_EMPTY_KEY, 3, "etcdserver: key is not provided")                                                             \
    X(ERR_KEY_NOT_FOUND, 3, "etcdserver: key not found")                                                               \
    X(ERR_VALUE_PROVIDED, 3, "etcdserver: value is provided")                                                          \
    X(ERR_LEASE_PROVIDED, 3, "etcdserver: lease is provided")                                                          \
    X(ERR_TOO_MANY_OPS, 3, "etcdserver: too many operations in txn request")                                           \
    X(ERR_DUPLICATE_KEY, 3, "etcdserver: duplicate key given in txn request")                                          \
    X(ERR_COMPACTED, 11, "etcdserver: mvcc: required revision has been compacted")                                     \
    X(ERR_FUTURE_REV, 11, "etcdserver: mvcc: required revision is a future revision")                                  \
    X(ERR_NO_SPACE, 8, "etcdserver: mvcc: database space exceeded")                                                    \
    X(ERR_LEASE_NOT_FOUND, 5, "etcdserver: requested lease not found")                                                 \
    X(ERR_LEASE_EXISTS, 9, "etcdserver: lease already exists")                                                         \
    X(ERR_LEASE_TTL_TOO_LARGE, 11, "etcdserver: too large lease TTL")                                                  \
    X(ERR_WATCH_CANCELED, 1, "etcdserver: watch canceled")                                                             \
    X(ERR_MEMBER_EXISTS, 9, "etcdserver: member ID already exist")                                                     \
    X(ERR_PEER_URL_EXISTS, 9, "etcdserver: Peer URLs already exists")                                                  \
    X(ERR_MEMBER_NOT_ENOUGH_STARTED, 2, "etcdserver: re-configuration failed due to not enough started members")       \
    X(ERR_MEMBER_BAD_URLS, 3, "etcdserver: given member URLs are invalid")                                             \
    X(ERR_MEMBER_NOT_FOUND, 5, "etcdserver: member not found")                                                         \
    X(ERR_MEMBER_NOT_LEARNER, 9, "etcdserver: can only promote a learner member")                                      \
    X(ERR_LEARNER_NOT_READY, 9, "etcdserver: can only promote a learner member which is in sync with leader")          \
    X(ERR_TOO_MANY_LEARNERS, 9, "etcdserver: too many learner members in cluster")                                     \
    X(ERR_CLUSTER_ID_MISMATCH, 9, "etcdserver: cluster ID mismatch")                                                   \
    X(ERR_REQUEST_TOO_LARGE, 3, "etcdserver: request is too large")                                                    \
    X(ERR_TOO_MANY_REQUESTS, 2, "etcdserver: too many requests")                                                       \
    X(ERR_RESPONSE_TOO_LARGE, 8, "etcdserver: response is too large")                                                  \
    X(ERR_ROOT_USER_NOT_EXIST, 9, "etcdserver: root user does not exist")                                              \
    X(ERR_ROOT_ROLE_NOT_EXIST, 9, "etcdserver: root user does not have root role")                                     \
    X(ERR_USER_EXISTS, 9, "etcdserver: user name already exists")                                                      \
    X(ERR_USER_EMPTY, 3, "etcdserver: user name is empty")                                                             \
    X(ERR_USER_NOT_FOUND, 9, "etcdserver: user name not found")                                                        \
    X(ERR_ROLE_EXISTS, 9, "etcdserver: role name already exists")                                                      \
    X(ERR_ROLE_NOT_FOUND, 9, "etcdserver: role name not found")                                                        \
    X(ERR_ROLE_EMPTY, 3, "etcdserver: role name is empty")                                                             \
    X(ERR_AUTH_FAILED, 3, "etcdserver: authentication failed, invalid user ID or password")                            \
    X(ERR_PERMISSION_NOT_GIVEN, 3, "etcdserver: permission not given")                                                 \
    X(ERR_PERMISSION_DENIED, 7, "etcdserver: permission denied")                                                       \
    X(ERR_ROLE_NOT_GRANTED, 9, "etcdserver: role is not granted to the user")                                          \
    X(ERR_PERMISSION_NOT_GRANTED, 9, "etcdserver: permission is not granted to the role")                              \
    X(ERR_AUTH_NOT_ENABLED, 9, "etcdserver: authentication is not enabled")                                            \
    X(ERR_INVALID_AUTH_TOKEN, 16, "etcdserver: invalid auth token")                                                    \
    X(ERR_INVALID_AUTH_MGMT, 3, "etcdserver: invalid auth management")                                                 \
    X(ERR_AUTH_OLD_REVISION, 3, "etcdserver: revision of auth store is old")                                           \
    X(ERR_NO_LEADER, 14, "etcdserver: no leader")                                                                      \
    X(ERR_NOT_LEADER, 9, "etcdserver: not leader")                                                                     \
    X(ERR_LEADER_CHANGED, 14, "etcdserver: leader changed")                                                            \
    X(ERR_NOT_CAPABLE, 14, "etcdserver: not capable")                                                                  \
    X(ERR_STOPPED, 14, "etcdserver: server stopped")                                                                   \
    X(ERR_TIMEOUT, 14, "etcdserver: request timed out")                                                                \
    X(ERR_TIMEOUT_LEADER_FAIL, 14, "etcdserver: request timed out, possibly due to previous leader failure")           \
    X(ERR_TIMEOUT_CONNECTION_LOST, 14, "etcdserver: request timed out, possibly due to connection lost")               \
    X(ERR_TIMEOUT_WAIT_APPLIED, 14, "etcdserver: request timed out, waiting for the applied index took too long")      \
    X(ERR_UNHEALTHY, 14, "etcdserver: unhealthy cluster")                                                              \
    X(ERR_CORRUPT_CLUSTER, 15, "etcdserver: corrupt cluster")                                                          \
    X(ERR_NOT_SUPPORTED_FOR_LEARNER, 14, "etcdserver: rpc not supported for learner")                                  \
    X(ERR_BAD_LEADER_TRANSFEREE, 9, "etcdserver: bad leader transferee")                                               \
    X(ERR_CLUSTER_VERSION_UNAVAILABLE, 14, "etcdserver: cluster version not found during downgrade")                   \
    X(ERR_WRONG_DOWNGRADE_FORMAT, 3, "etcdserver: wrong downgrade target version format")                              \
    X(ERR_INVALID_DOWNGRADE_TARGET, 3, "etcdserver: invalid downgrade target version")                                 \
    X(ERR_DOWNGRADE_IN_PROCESS, 9, "etcdserver: cluster has a downgrade job in progress")                              \
    X(ERR_NO_INFLIGHT_DOWNGRADE, 9, "etcdserver: no inflight downgrade job")                                           \
    X(ERR_INVALID_CLIENT_API_VERSION, 3, "etcdserver: invalid client api version")                                     \
    X(ERR_INVALID_SORT_OPTION, 3, "etcdserver: invalid sort option")                                                   \
    X(ERR_INVALID_ALARM, 3, "etcdserver: invalid alarm request")                                                       \
    X(ERR_REQUEST_CANCELLED, 2, "etcdserver: request cancelled")                                                       \
    X(ERR_TIMEOUT_LEADER_TRANSFER, 2, "etcdserver: request timed out, leader transfer took too long")                  \
    X(ERR_UNKNOWN_METHOD, 2, "etcdserver: unknown method")                                                             \
    X(ERR_NOT_PRIMARY, 2, "not a primary lessor")                                                                      \
    X(ERR_NO_PASSWORD_USER, 2, "auth: authentication failed, password was given for no password user")                 \
    X(ERR_VERIFY_ONLY, 2, "auth: token signing attempted with verify-only key")                                        \
    X(ERR_PASSWORD_TOO_LONG, 2, "bcrypt: password length exceeds 72 bytes")                                            \
    X(ERR_WATCHER_EMPTY_RANGE, 2, "mvcc: watcher range is empty")                                                      \
    X(ERR_WATCHER_DUPLICATE_ID, 2, "mvcc: duplicate watch ID provided on the WatchStream")                             \
    X(ERR_CONTEXT_CANCELED, 1, "context canceled")                                                                     \
    X(ERR_DEADLINE_EXCEEDED, 4, "context deadline exceeded")                                                           \
    X(ERR_UNAVAILABLE, 14, "transport is closing")                                                                     \
    X(ERR_INTERNAL, 13, "internal error")                                                                              \
    X(ERR_UNIMPLEMENTED, 12, "unimplemented")

enum err {
    OK = 0,
#define ERR_ENUM(name, code, text) name,
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
        ERR_COUNT
};

#define MUST_USE __attribute__((warn_unused_result))

/* The exact text, never NULL; "" for OK. */
const char *err_text(enum err error);
/* "ERR_COMPACTED"; "OK". */
const char *err_name(enum err error);
/* The gRPC code; 0 for OK. */
int err_grpc_code(enum err error);
/* From errno of a failed system call. */
enum err err_from_errno(int error_number);

/* What went wrong, where: filled in beside an enum err by functions that open or decode things. Cut off at its size. */
struct errmsg {
    char text[512];
};

/* Writes the text (NULL self: nothing) and returns `error`, so that `return err_set(...)` reads well. */
enum err err_set(struct errmsg *self, enum err error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "text: " before what is there. */
enum err err_prefix(struct errmsg *self, enum err error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Leaves the function with the error of a call that failed. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        enum err try_error_ = (call);                                                                                  \
        if (__builtin_expect(try_error_ != OK, 0)) return try_error_;                                                  \
    } while (0)

#endif
