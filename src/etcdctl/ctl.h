/* ctl.h - one run of etcdctl: global options, the client, output, and the ways out.
 *
 * Floor 8. Commands get a struct ctl, call what they need and return their exit code; what goes wrong ends the process
 * through ctl_fail ("Error: <text>" on standard error, the code of failure.h). One thread, but for endpoint health.
 */
#ifndef ETCDCTL_CTL_H
#define ETCDCTL_CTL_H

#include "etcd/client.h"
#include "etcdctl/command.h"
#include "etcdctl/failure.h"
#include "etcdctl/printer.h"

#include "env/log.h"
#include "pb/rpc.pb-c.h"

#include <stdnoreturn.h>

struct ctl {
    struct command_path path;
    struct flags flags;
    struct arena arena; /* lives as long as the process */
    struct log *log;    /* JSON lines on standard error */
    const char *logger; /* the name under which clients made from now on log */
    struct buf out;     /* written out by ctl_flush */
    struct buf errors;
    struct printer printer; /* set by ctl_setup */
    struct failure failure; /* of the moment */
    bool is_set_up;
    const char **endpoints;
    size_t endpoint_count;
    const char *username; /* NULL: no authentication */
    const char *password;
    VEC(struct etcd_client *) clients; /* all that were made */
    VEC(const void *) responses;       /* whose bytes messages point to */
};

void ctl_init(struct ctl *self);
void ctl_release(struct ctl *self);

/* Writes what was printed: `out` to standard output, `errors` to standard error. */
void ctl_flush(struct ctl *self);

noreturn void ctl_fail(struct ctl *self, enum exit_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* With what is in self->failure. */
noreturn void ctl_give_up(struct ctl *self);
/* With the error of a call. */
noreturn void ctl_fail_call(struct ctl *self, enum exit_code code, const struct etcd_error *error);
/* The text of a call's error as the Go client has it: bare for etcd's own errors, "context deadline exceeded", else
 * "rpc error: code = Unknown desc = ...". Lives in the arena. */
const char *ctl_error_text(struct ctl *self, const struct etcd_error *error);

/* ---- the client ---- */

/* Environment, output format, endpoints, credentials: what a command that talks to a server does first. Once. */
void ctl_setup(struct ctl *self);
/* Only the output format: for commands that need no server. */
void ctl_set_output(struct ctl *self);
/* A client for all endpoints, set up and authenticated. */
struct etcd_client *ctl_connect(struct ctl *self);
/* A client for one endpoint. */
struct etcd_client *ctl_connect_to(struct ctl *self, const char *endpoint);
/* Every URL that the members advertise to clients, when --cluster asks for them; else those of --endpoints. */
void ctl_cluster_endpoints(struct ctl *self, const char *const **ret_endpoints, size_t *ret_count);
/* For commands that wait as long as it takes. */
void ctl_without_timeout(struct ctl *self, struct etcd_client *client);

/* Calls a method ("KV/Put") of etcdserverpb; NULL and `error` when it fails. The answer is of `answer_type` and lives
 * as long as the process. */
void *ctl_try_call(struct ctl *self, struct etcd_client *client, const char *method, const void *request,
                   const ProtobufCMessageDescriptor *answer_type, struct etcd_error *error);
/* The same; an error ends the process with EXIT_ERROR. */
void *ctl_call(struct ctl *self, struct etcd_client *client, const char *method, const void *request,
               const ProtobufCMessageDescriptor *answer_type);

/* ---- output ---- */

/* Prints, writes it out; a format that does not exist ends the process. */
void ctl_print(struct ctl *self, const struct view *view, const void *message, const void *context);
/* After a print_ function. */
void ctl_printed(struct ctl *self, bool good);

/* ---- input ---- */

/* Reads all of standard input; a stdin_reader of requests.h. */
bool ctl_read_stdin(void *context, struct arena *arena, struct slice *ret_bytes);
/* The ID of a lease, from hexadecimal; a bad one ends the process. */
int64_t ctl_lease_argument(struct ctl *self, const char *text);
/* Asks for a password on the terminal, without echo; "" when there is nothing to read. */
const char *ctl_ask_password(struct ctl *self, const char *prompt);

static inline bool ctl_is_simple(const struct ctl *self) { return self->printer.format == OUTPUT_SIMPLE; }

#endif
