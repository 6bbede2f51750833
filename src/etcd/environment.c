/* ETCD_* variables: each sets the flag of its name unless the command line did; what is wrong with them. */
#include "etcd/options.h"

#include "base/gotext.h"
#include "base/mem.h"

#include <stdlib.h>

static int compare_rows(const void *a, const void *b) {
    return strcmp((*(const struct option_row *const *)a)->name, (*(const struct option_row *const *)b)->name);
}

/* The row whose variable has this name, or NULL. */
static const struct option_row *find_variable(const char *name, size_t name_len) {
    struct buf variable = BUF_INIT;
    const struct option_row *found = NULL;
    for (size_t i = 0; i < option_row_count && found == NULL; i++) {
        option_variable(&option_rows[i], &variable);
        if (slice_equal(buf_slice(&variable), slice_make(name, name_len))) found = &option_rows[i];
    }
    buf_release(&variable);
    return found;
}

/* Tells variables that a flag hides (the end), or that name no flag. */
static void check_names(struct log *log, char **environment, const bool *given, const bool *used) {
    for (char **at = environment; *at != NULL; at++) {
        const char *equals = strchr(*at, '=');
        if (equals == NULL) {
            log_warn(log, "found invalid environment variable", LOG_STRING("environment-variable", *at));
            continue;
        }
        if (strncmp(*at, "ETCD_", 5) != 0) continue;
        const struct option_row *row = find_variable(*at, (size_t)(equals - *at));
        if (row != NULL && used[row - option_rows]) continue;
        if (row != NULL && given[row - option_rows]) {
            log_fatal(log,
                      "conflicting environment variable is shadowed by corresponding command-line flag (either unset "
                      "environment variable or disable flag))",
                      LOG_SLICE("environment-variable", slice_make(*at, (size_t)(equals - *at))));
            exit(EXIT_FAILURE);
        }
        if (strncmp(*at, "ETCD_VERSION=", 13) == 0 && equals[1] != 0) continue; /* told already */
        log_warn(log, "unrecognized environment variable", LOG_STRING("environment-variable", *at));
    }
}

enum err environment_read(struct options *self, struct log *log, char **environment, struct errmsg *message) {
    const char *version = getenv("ETCD_VERSION");
    if (version != NULL && *version != 0)
        log_warn(log, "cannot set special environment variable", LOG_STRING("key", "ETCD_VERSION"),
                 LOG_STRING("value", version));

    const struct option_row **rows = mem_calloc(option_row_count, sizeof *rows);
    bool *given = mem_calloc(option_row_count, sizeof *given), *used = mem_calloc(option_row_count, sizeof *used);
    memcpy(given, self->given, option_row_count * sizeof *given);
    for (size_t i = 0; i < option_row_count; i++) rows[i] = &option_rows[i];
    qsort(rows, option_row_count, sizeof *rows, compare_rows);

    enum err error = OK;
    struct buf variable = BUF_INIT, text = BUF_INIT;
    struct errmsg problem;
    for (size_t i = 0; i < option_row_count; i++) { /* by name; the last mistake is the one told */
        size_t place = (size_t)(rows[i] - option_rows);
        const char *value = given[place] ? NULL : getenv(option_variable(rows[i], &variable));
        if (value == NULL || *value == 0 || strcmp(buf_cstr(&variable), "ETCD_VERSION") == 0) continue;
        used[place] = true;
        if (option_set(self, rows[i], value, &problem)) {
            self->given[place] = true;
            log_info(log, "recognized and used environment variable", LOG_STRING("variable-name", buf_cstr(&variable)),
                     LOG_STRING("variable-value", value));
            continue;
        }
        buf_clear(&text);
        go_append_quoted(&text, slice_from_cstr(value));
        error = err_set(message, ERR_INVALID, "invalid value %s for %s: %s", buf_cstr(&text), buf_cstr(&variable),
                        problem.text);
    }
    check_names(log, environment, given, used);
    buf_release(&variable);
    buf_release(&text);
    mem_free(rows);
    mem_free(given);
    mem_free(used);
    return error;
}

#define RAFT_TIMEOUT_MIN_NS 5000000000ll

static void raise_timeout(struct log *log, const char *name, int64_t *timeout_ns) {
    if (*timeout_ns >= RAFT_TIMEOUT_MIN_NS) return;
    *timeout_ns = RAFT_TIMEOUT_MIN_NS;
    struct buf text = BUF_INIT;
    buf_printf(&text, "%s increased to minimum value: ", name);
    go_append_duration(&text, *timeout_ns);
    log_info(log, buf_cstr(&text));
    buf_release(&text);
}

void options_settle(struct options *self, struct log *log) {
    raise_timeout(log, "raft-read-timeout", &self->raft_read_timeout_ns);
    raise_timeout(log, "raft-write-timeout", &self->raft_write_timeout_ns);
    bool may_be_proxy =
        strcmp(self->proxy, "off") != 0 || (self->discovery[0] != 0 && strcmp(self->discovery_fallback, "proxy") == 0);
    if (!may_be_proxy && option_is_given(self, "listen-client-urls") &&
        !option_is_given(self, "advertise-client-urls")) {
        urls_release(&self->advertise_client_urls);
        self->advertise_client_urls_missing = true;
    }
    bool finds_itself = self->discovery[0] != 0 || self->discovery_srv[0] != 0 || self->discovery_srv_name[0] != 0;
    if (finds_itself && !option_is_given(self, "initial-cluster")) self->initial_cluster[0] = 0;
}
