/* What a member's options must fulfil, in the order and the words of etcd's embed.Config.Validate. */
#include "etcd/options.h"

#include "base/gotext.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define ELECTION_TIMEOUT_MAX_MS 50000
#define TRACING_RATE_MAX 1000000

const char options_advertise_missing[] =
    "--advertise-client-urls is required when --listen-client-urls is set explicitly";

static bool is_unix(const struct url *url) { return url->scheme == URL_UNIX || url->scheme == URL_UNIXS; }

static bool is_ip(const char *host) {
    uint8_t address[16];
    char plain[INET6_ADDRSTRLEN + 1];
    const char *zone = strchr(host, '%');
    size_t len = zone != NULL ? (size_t)(zone - host) : strlen(host);
    if (len >= sizeof plain) return false;
    memcpy(plain, host, len);
    plain[len] = 0;
    return inet_pton(AF_INET, plain, address) == 1 || inet_pton(AF_INET6, plain, address) == 1;
}

static enum err check_listen(const struct urls *urls, struct errmsg *message) {
    for (size_t i = 0; i < urls->count; i++) {
        const struct url *url = &urls->items[i];
        if (is_unix(url) || strcmp(url->host, "localhost") == 0 || is_ip(url->host)) continue;
        return err_set(message, ERR_INVALID, "expected IP in URL for binding (%s)", url->text);
    }
    return OK;
}

static enum err check_advertised(const char *flag, const struct urls *urls, struct errmsg *message) {
    for (size_t i = 0; i < urls->count; i++) {
        if (urls->items[i].host[0] != 0) continue;
        struct buf all = BUF_INIT, quoted = BUF_INIT;
        urls_append_text(urls, &all);
        go_append_quoted(&quoted, buf_slice(&all));
        err_set(message, ERR_INVALID, "%s %s must be \"host:port\" (unexpected empty host (%s))", flag,
                buf_cstr(&quoted), urls->items[i].text);
        buf_release(&all);
        buf_release(&quoted);
        return ERR_INVALID;
    }
    return OK;
}

static enum err refuse_quoted(struct errmsg *message, const char *before, const char *value, const char *behind) {
    struct buf quoted = BUF_INIT;
    go_append_quoted(&quoted, slice_from_cstr(value));
    err_set(message, ERR_INVALID, "%s%s%s", before, buf_cstr(&quoted), behind);
    buf_release(&quoted);
    return ERR_INVALID;
}

static enum err check_bootstrap(const struct options *self, struct errmsg *message) {
    if (strcmp(self->initial_cluster_state, "new") != 0 && strcmp(self->initial_cluster_state, "existing") != 0)
        return refuse_quoted(message, "unexpected clusterState ", self->initial_cluster_state, "");
    int ways = (self->discovery[0] != 0) + (self->initial_cluster[0] != 0) + (self->discovery_srv[0] != 0);
    if (ways > 1)
        return err_set(message, ERR_INVALID,
                       "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", "
                       "\"discovery\" or \"discovery-srv\"");
    return OK;
}

static enum err check_timing(const struct options *self, struct errmsg *message) {
    unsigned long long heartbeat = self->heartbeat_interval_ms, election = self->election_timeout_ms;
    if (heartbeat == 0)
        return err_set(message, ERR_INVALID, "--heartbeat-interval must be >0 (set to %llums)", heartbeat);
    if (election == 0) return err_set(message, ERR_INVALID, "--election-timeout must be >0 (set to %llums)", election);
    if (heartbeat > election / 5)
        return err_set(message, ERR_INVALID,
                       "--election-timeout[%llums] should be at least as 5 times as --heartbeat-interval[%llums]",
                       election, heartbeat);
    if (election > ELECTION_TIMEOUT_MAX_MS)
        return err_set(message, ERR_INVALID, "--election-timeout[%llums] is too long, and should be set less than %dms",
                       election, ELECTION_TIMEOUT_MAX_MS);
    return OK;
}

static enum err check_experimental(const struct options *self, struct log *log, struct errmsg *message) {
    if (self->tracing && (self->tracing_sampling_rate < 0 || self->tracing_sampling_rate > TRACING_RATE_MAX))
        return err_set(message, ERR_INVALID,
                       "distributed tracing configurition is not valid: (tracing sampling rate must be %s)",
                       self->tracing_sampling_rate < 0 ? "positive" : "less than 1000000");
    if (self->lease_checkpoint && !self->lease_checkpoint_persist)
        log_warn(log, "Detected that checkpointing is enabled without persistence. Consider enabling "
                      "experimental-enable-lease-checkpoint-persist");
    if (self->lease_checkpoint_persist && !self->lease_checkpoint)
        return err_set(message, ERR_INVALID,
                       "setting experimental-enable-lease-checkpoint-persist requires "
                       "experimental-enable-lease-checkpoint");
    if (self->compact_hash_check_time_ns <= 0) {
        struct buf text = BUF_INIT;
        go_append_duration(&text, self->compact_hash_check_time_ns);
        err_set(message, ERR_INVALID, "--experimental-compact-hash-check-time must be >0 (set to %s)", buf_cstr(&text));
        buf_release(&text);
        return ERR_INVALID;
    }
    return OK;
}

/* 0 = not given, else 12 or 13. */
static enum err tls_version(const char *text, int *ret_version, struct errmsg *message) {
    if (strcmp(text, "TLS1.2") == 0)
        *ret_version = 12;
    else if (strcmp(text, "TLS1.3") == 0)
        *ret_version = 13;
    else if (*text == 0)
        *ret_version = 0;
    else
        return refuse_quoted(message, "unexpected TLS version ", text, " (must be one of: TLS1.2, TLS1.3)");
    return OK;
}

static enum err check_tls(const struct options *self, struct errmsg *message) {
    int least, most;
    TRY(tls_version(self->tls_min_version, &least, message));
    TRY(tls_version(self->tls_max_version, &most, message));
    if (most != 0 && least > most)
        return err_set(message, ERR_INVALID, "min version (%s) is greater than max version (%s)", self->tls_min_version,
                       self->tls_max_version);
    if (least == 13 && self->cipher_suites.count > 0)
        return err_set(message, ERR_INVALID, "cipher suites cannot be configured when only TLS1.3 is enabled");
    return OK;
}

enum err options_validate(const struct options *self, struct log *log, struct errmsg *message) {
    TRY(check_listen(&self->listen_peer_urls, message));
    TRY(check_listen(&self->listen_client_urls, message));
    TRY(check_listen(&self->listen_client_http_urls, message));
    if (self->listen_client_http_urls.count == 0)
        log_warn(log, "Running http and grpc server on single port. This is not recommended for production.");
    TRY(check_listen(&self->listen_metrics_urls, message));
    TRY(check_advertised("--initial-advertise-peer-urls", &self->initial_advertise_peer_urls, message));
    TRY(check_advertised("--advertise-client-urls", &self->advertise_client_urls, message));
    TRY(check_bootstrap(self, message));
    TRY(check_timing(self, message));
    if (self->advertise_client_urls_missing) return err_set(message, ERR_INVALID, "%s", options_advertise_missing);
    const char *mode = self->auto_compaction_mode;
    if (*mode != 0 && strcmp(mode, "periodic") != 0 && strcmp(mode, "revision") != 0)
        return refuse_quoted(message, "unknown auto-compaction-mode ", mode, "");
    TRY(check_experimental(self, log, message));
    return check_tls(self, message);
}

void options_follow_name(struct options *self, const char *default_cluster) {
    if (strcmp(self->name, "default") == 0 || strcmp(self->initial_cluster, default_cluster) != 0) return;
    struct buf cluster = BUF_INIT;
    for (size_t i = 0; i < self->initial_advertise_peer_urls.count; i++)
        buf_printf(&cluster, "%s%s=%s", i > 0 ? "," : "", self->name, self->initial_advertise_peer_urls.items[i].text);
    mem_free(self->initial_cluster);
    self->initial_cluster = buf_detach_cstr(&cluster);
}

#define HOUR_NS 3600000000000ll

enum err options_retention(const struct options *self, int64_t *ret_retention, struct errmsg *message) {
    const char *text = self->auto_compaction_retention[0] != 0 ? self->auto_compaction_retention : "0";
    const char *mode = self->auto_compaction_mode;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (*end == 0 && errno == 0 && number >= 0 && text[0] != ' ') {
        if (*mode == 0) return err_set(message, ERR_INVALID, "--auto-compaction-mode is undefined");
        bool is_periodic = strcmp(mode, "periodic") == 0;
        if (is_periodic && number > INT64_MAX / HOUR_NS)
            return err_set(message, ERR_INVALID, "error parsing CompactionRetention: value out of range");
        *ret_retention = is_periodic ? number * HOUR_NS : number;
        return OK;
    }
    if (!go_parse_duration(text, ret_retention))
        return refuse_quoted(message, "error parsing CompactionRetention: time: invalid duration ", text, "");
    if (*mode == 0) return err_set(message, ERR_INVALID, "unsupported compaction mode ");
    return OK;
}
