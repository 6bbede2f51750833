#include "etcdctl/ctl.h"

#include "base/check.h"
#include "base/err.h"
#include "base/gotext.h"
#include "etcdctl/words.h"
#include "os/os.h"
#include "pb/arena_pb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

static void write_line(void *context, enum log_level level, struct slice line) {
    fwrite(line.data, 1, line.len, stderr);
}

void ctl_init(struct ctl *self) {
    memset(self, 0, sizeof *self);
    arena_init(&self->arena, 0);
    self->logger = "etcd-client";
    self->log = log_new(LOG_INFO_LEVEL, write_line, NULL, os_wall_clock_ns, NULL);
}

void ctl_release(struct ctl *self) {
    for (size_t i = 0; i < self->clients.count; i++) etcd_client_free(self->clients.items[i]);
    for (size_t i = 0; i < self->responses.count; i++) etcd_free(self->responses.items[i]);
    VEC_RELEASE(&self->clients);
    VEC_RELEASE(&self->responses);
    log_free(self->log);
    buf_release(&self->out);
    buf_release(&self->errors);
    failure_release(&self->failure);
    flags_release(&self->flags);
    arena_release(&self->arena);
}

/* ---- output and ways out ---- */

void ctl_flush(struct ctl *self) {
    if (self->out.len > 0) fwrite(self->out.data, 1, self->out.len, stdout);
    fflush(stdout);
    if (self->errors.len > 0) fwrite(self->errors.data, 1, self->errors.len, stderr);
    buf_clear(&self->out);
    buf_clear(&self->errors);
}

noreturn void ctl_give_up(struct ctl *self) {
    ctl_flush(self);
    fprintf(stderr, "Error: %s\n", buf_cstr(&self->failure.text));
    exit(self->failure.code);
}

noreturn void ctl_fail(struct ctl *self, enum exit_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    self->failure.code = code;
    buf_clear(&self->failure.text);
    buf_vprintf(&self->failure.text, format, args);
    va_end(args);
    ctl_give_up(self);
}

noreturn void ctl_fail_call(struct ctl *self, enum exit_code code, const struct etcd_error *error) {
    ctl_fail(self, code, "%s", ctl_error_text(self, error));
}

/* Whether upstream's client knows the text as one of etcd's own errors. */
static bool is_etcd_error(const struct etcd_error *error) {
    if (strncmp(error->text, "etcdserver: ", strlen("etcdserver: ")) != 0) return false;
    for (enum err e = OK + 1; e < ERR_COUNT; e++)
        if (strcmp(err_text(e), error->text) == 0) return true;
    return false;
}

const char *ctl_error_text(struct ctl *self, const struct etcd_error *error) {
    if (is_etcd_error(error)) return arena_strdup(&self->arena, slice_from_cstr(error->text));
    if (error->code == ETCD_DEADLINE_EXCEEDED) return "context deadline exceeded";
    return arena_printf(&self->arena, "rpc error: code = %s desc = %s", etcd_code_name(error->code), error->text);
}

void ctl_printed(struct ctl *self, bool good) {
    if (!good) ctl_give_up(self);
    ctl_flush(self);
}

void ctl_print(struct ctl *self, const struct view *view, const void *message, const void *context) {
    ctl_printed(self, print_answer(&self->printer, view, message, context, &self->failure));
}

/* ---- input ---- */

bool ctl_read_stdin(void *context, struct arena *arena, struct slice *ret_bytes) {
    CLEANUP_BUF struct buf input = BUF_INIT;
    size_t got;
    while ((got = fread(buf_reserve(&input, 65536), 1, 65536, stdin)) > 0) input.len += got;
    if (ferror(stdin)) return false;
    *ret_bytes = arena_copy(arena, buf_slice(&input));
    return true;
}

int64_t ctl_lease_argument(struct ctl *self, const char *text) {
    int64_t id;
    CLEANUP_BUF struct buf reason = BUF_INIT;
    if (!word_parse_int(text, 16, &id, &reason))
        ctl_fail(self, EXIT_BAD_ARGS, "bad lease ID arg (%s), expecting ID in Hex", buf_cstr(&reason));
    return id;
}

const char *ctl_ask_password(struct ctl *self, const char *prompt) {
    ctl_flush(self);
    printf("%s", prompt);
    fflush(stdout);
    struct termios before;
    bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length = getline(&line, &capacity, stdin);
    if (terminal) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    printf("\n");
    fflush(stdout);
    const char *password = "";
    if (length > 0) password = arena_strdup(&self->arena, word_trim(slice_make(line, (size_t)length)));
    free(line);
    return password;
}

/* ---- set-up ---- */

static void report_environment(void *context, enum environment_problem problem, const char *text) {
    struct ctl *self = context;
    switch (problem) {
    case ENVIRONMENT_UNKNOWN:
        log_warn(self->log, "unrecognized environment variable", LOG_STRING("environment-variable", text));
        break;
    case ENVIRONMENT_MALFORMED:
        log_warn(self->log, "found invalid environment variable", LOG_STRING("environment-variable", text));
        break;
    case ENVIRONMENT_CONFLICTING:
        log_fatal(self->log,
                  "conflicting environment variable is shadowed by corresponding command-line flag (either unset "
                  "environment variable or disable flag))",
                  LOG_STRING("environment-variable", text), LOG_STRING("stacktrace", command_last(&self->path)->name));
        exit(EXIT_ERROR);
    }
}

static void dump_flags(struct ctl *self) {
    for (size_t i = 0; i < self->flags.all.count; i++) {
        const struct flag *flag = &self->flags.all.items[i];
        if (!flag->inherited) continue;
        flag_append_variable(flag->spec, &self->errors);
        buf_append_byte(&self->errors, '=');
        flag_append_value(flag, &self->errors);
        buf_append_byte(&self->errors, '\n');
    }
    ctl_flush(self);
}

/* A file option that was given but is empty is a script's mistake, not "none". */
static const char *file_option(struct ctl *self, const char *name) {
    const char *file = flags_text(&self->flags, name);
    if (*file == 0 && flags_changed(&self->flags, name))
        ctl_fail(self, EXIT_BAD_ARGS, "empty string is passed to --%s option", name);
    return file;
}

static void check_readable(struct ctl *self, const char *file) {
    if (*file == 0 || access(file, R_OK) == 0) return;
    struct buf reason = BUF_INIT;
    buf_append_cstr(&reason, strerror(errno));
    if (reason.len > 0 && reason.data[0] >= 'A' && reason.data[0] <= 'Z') reason.data[0] += 'a' - 'A';
    ctl_fail(self, EXIT_BAD_ARGS, "open %s: %s", file, buf_cstr(&reason));
}

static void check_security(struct ctl *self) {
    const char *cert = file_option(self, "cert"), *key = file_option(self, "key");
    const char *cacert = file_option(self, "cacert");
    if ((*cert == 0) != (*key == 0))
        ctl_fail(self, EXIT_BAD_ARGS, "KeyFile and CertFile must both be present[key: %s, cert: %s]", key, cert);
    check_readable(self, cert);
    check_readable(self, key);
    check_readable(self, cacert);
}

static void take_credentials(struct ctl *self) {
    const char *user = flags_text(&self->flags, "user");
    if (*user == 0) return;
    const char *password = flags_text(&self->flags, "password");
    self->username = user;
    self->password = password;
    if (*password != 0) return;
    const char *colon = strchr(user, ':');
    if (colon) {
        self->username = arena_strdup(&self->arena, slice_make(user, (size_t)(colon - user)));
        self->password = colon + 1;
        return;
    }
    self->password = ctl_ask_password(self, "Password: ");
}

static void take_endpoints(struct ctl *self) {
    const struct flag *flag = flags_find(&self->flags, "endpoints");
    self->endpoints = arena_alloc(&self->arena, (flag->string_count + 1) * sizeof *self->endpoints);
    self->endpoint_count = flag->string_count;
    for (size_t i = 0; i < flag->string_count; i++)
        self->endpoints[i] = arena_strdup(&self->arena, word_trim(slice_from_cstr(flag->strings[i])));
    if (*flags_text(&self->flags, "discovery-srv") != 0)
        ctl_fail(self, EXIT_BAD_FEATURE, "--discovery-srv is not supported by this version of etcdctl");
}

void ctl_set_output(struct ctl *self) {
    self->printer.out = &self->out;
    self->printer.errors = &self->errors;
    self->printer.hex = flags_bool(&self->flags, "hex");
    if (!output_format_parse(flags_text(&self->flags, "write-out"), &self->printer.format))
        ctl_fail(self, EXIT_BAD_FEATURE, "unsupported output format");
}

void ctl_setup(struct ctl *self) {
    if (self->is_set_up) return;
    self->is_set_up = true;
    /* Not for flags: read by main, and by watch. */
    bool watch = strcmp(command_last(&self->path)->name, "watch") == 0;
    const char *const known[] = {"ETCDCTL_API", watch ? "ETCDCTL_WATCH_KEY" : NULL, "ETCDCTL_WATCH_RANGE_END", NULL};
    flags_read_environment(&self->flags, environ, known, report_environment, self);
    if (flags_bool(&self->flags, "debug")) dump_flags(self);
    ctl_set_output(self);
    check_security(self);
    take_credentials(self);
    take_endpoints(self);
}

/* ---- clients ---- */

struct attempt_context {
    struct log *log;
    const char *logger; /* its name */
    struct etcd_client *client;
    const char *target; /* the client's first endpoint */
};

static const char *without_scheme(const char *endpoint) {
    const char *scheme = strstr(endpoint, "://");
    return scheme ? scheme + 3 : endpoint;
}

/* In the words of the Go client, whose lines people's tools look for. */
static void failed_attempt(void *context, const struct etcd_attempt *attempt) {
    const struct attempt_context *self = context;
    CLEANUP_BUF struct buf target = BUF_INIT, peer = BUF_INIT, text = BUF_INIT;
    buf_printf(&target, "etcd-endpoints://0x%08lx/%s", (unsigned long)(uintptr_t)self, without_scheme(self->target));
    char local[128];
    if (*attempt->endpoint == 0)
        buf_append_cstr(&peer, "Peer{Addr: <nil>, LocalAddr: <nil>, AuthInfo: <nil>}");
    else
        buf_printf(&peer, "Peer{Addr: '%s', LocalAddr: '%s', AuthInfo: 'insecure'}", without_scheme(attempt->endpoint),
                   etcd_client_local_address(self->client, local, sizeof local));
    buf_printf(&text, "rpc error: code = %s desc = %s", etcd_code_name(attempt->error->code), attempt->error->text);
    struct log *log = log_named(self->log, self->logger);
    log_warn(log, "retrying of unary invoker failed", LOG_STRING("target", buf_cstr(&target)),
             LOG_STRING("peer", buf_cstr(&peer)), LOG_UINT("attempt", attempt->attempt),
             LOG_STRING("error", buf_cstr(&text)));
    log_free(log);
}

/* The server tells whether user and password are good, and gives a token when authentication is on. */
static void authenticate(struct ctl *self, struct etcd_client *client) {
    Etcdserverpb__AuthenticateRequest request;
    etcdserverpb__authenticate_request__init(&request);
    request.name = arena_strdup(&self->arena, slice_from_cstr(self->username));
    request.password = arena_strdup(&self->arena, slice_from_cstr(self->password));
    struct etcd_error error;
    if (ctl_try_call(self, client, "Auth/Authenticate", &request, &etcdserverpb__authenticate_response__descriptor,
                     &error))
        ctl_fail(self, EXIT_BAD_CONNECTION, "this version of etcdctl can't speak to a cluster with authentication");
    if (strcmp(error.text, err_text(ERR_AUTH_NOT_ENABLED)) != 0) ctl_fail_call(self, EXIT_BAD_CONNECTION, &error);
}

static struct etcd_client *connect_to(struct ctl *self, const char *const *endpoints, size_t count) {
    if (count == 0) ctl_fail(self, EXIT_BAD_CONNECTION, "etcdclient: no available endpoints");
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.endpoints = endpoints;
    options.endpoint_count = count;
    options.dial_timeout_ms = flags_number(&self->flags, "dial-timeout") / 1000000;
    int64_t timeout_ns = flags_number(&self->flags, "command-timeout");
    options.command_timeout_ms = timeout_ns > 1000000 ? timeout_ns / 1000000 : 1;
    options.keepalive_time_ms = flags_number(&self->flags, "keepalive-time") / 1000000;
    options.keepalive_timeout_ms = flags_number(&self->flags, "keepalive-timeout") / 1000000;
    options.tls_cert_file = flags_text(&self->flags, "cert");
    options.tls_key_file = flags_text(&self->flags, "key");
    options.tls_ca_file = flags_text(&self->flags, "cacert");
    if (*options.tls_cert_file == 0) options.tls_cert_file = options.tls_key_file = NULL;
    if (*options.tls_ca_file == 0) options.tls_ca_file = NULL;
    options.tls = !flags_bool(&self->flags, "insecure-transport");
    options.on_failed_attempt = failed_attempt;
    struct attempt_context *context = arena_alloc(&self->arena, sizeof *context);
    *context = (struct attempt_context){self->log, self->logger, NULL, endpoints[0]};
    options.on_failed_attempt_context = context;
    struct etcd_error error;
    struct etcd_client *client = etcd_client_new(&options, &error);
    if (!client) ctl_fail(self, EXIT_BAD_CONNECTION, "%s", error.text);
    context->client = client;
    VEC_PUSH(&self->clients, client);
    if (self->username) authenticate(self, client);
    return client;
}

struct etcd_client *ctl_connect(struct ctl *self) {
    ctl_setup(self);
    return connect_to(self, self->endpoints, self->endpoint_count);
}

struct etcd_client *ctl_connect_to(struct ctl *self, const char *endpoint) {
    ctl_setup(self);
    return connect_to(self, &endpoint, 1);
}

void ctl_without_timeout(struct ctl *self, struct etcd_client *client) { etcd_client_set_command_timeout(client, 0); }

void ctl_cluster_endpoints(struct ctl *self, const char *const **ret_endpoints, size_t *ret_count) {
    ctl_setup(self);
    if (!flags_bool(&self->flags, "cluster")) {
        *ret_endpoints = self->endpoints;
        *ret_count = self->endpoint_count;
        return;
    }
    Etcdserverpb__MemberListRequest request;
    etcdserverpb__member_list_request__init(&request);
    request.linearizable = true;
    struct etcd_error error;
    const Etcdserverpb__MemberListResponse *members =
        ctl_try_call(self, ctl_connect(self), "Cluster/MemberList", &request,
                     &etcdserverpb__member_list_response__descriptor, &error);
    if (!members)
        ctl_fail(self, EXIT_ERROR, "failed to fetch endpoints from etcd cluster member list: %s",
                 ctl_error_text(self, &error));
    size_t count = 0;
    for (size_t i = 0; i < members->n_members; i++) count += members->members[i]->n_clienturls;
    const char **endpoints = arena_alloc(&self->arena, (count + 1) * sizeof *endpoints);
    count = 0;
    for (size_t i = 0; i < members->n_members; i++)
        for (size_t j = 0; j < members->members[i]->n_clienturls; j++)
            endpoints[count++] = members->members[i]->clienturls[j];
    *ret_endpoints = endpoints;
    *ret_count = count;
}

/* ---- calls ---- */

void *ctl_try_call(struct ctl *self, struct etcd_client *client, const char *method, const void *request,
                   const ProtobufCMessageDescriptor *answer_type, struct etcd_error *error) {
    CLEANUP_BUF struct buf path = BUF_INIT, bytes = BUF_INIT;
    buf_printf(&path, "/etcdserverpb.%s", method);
    pb_pack(request, &bytes);
    struct etcd_raw_response *response;
    if (etcd_call_raw(client, buf_cstr(&path), etcd_bytes_of(bytes.data, bytes.len), &response, error) != ETCD_OK)
        return NULL;
    VEC_PUSH(&self->responses, response);
    void *answer =
        pb_unpack_borrowed(answer_type, slice_make(response->message.data, response->message.len), &self->arena);
    if (!answer) {
        error->code = ETCD_INTERNAL;
        snprintf(error->text, sizeof error->text, "grpc: failed to unmarshal the received message");
    }
    return answer;
}

void *ctl_call(struct ctl *self, struct etcd_client *client, const char *method, const void *request,
               const ProtobufCMessageDescriptor *answer_type) {
    struct etcd_error error;
    void *answer = ctl_try_call(self, client, method, request, answer_type, &error);
    if (!answer) ctl_fail_call(self, EXIT_ERROR, &error);
    return answer;
}
