#include "etcd/unbuilt.h"

#include "base/gotext.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Cipher suites that Go knows by name. */
static const char *const cipher_suites[] = {
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
};

static enum err not_built(struct errmsg *message, const char *what) {
    return err_set(message, ERR_UNIMPLEMENTED, "%s is not built into this etcd yet", what);
}

enum err unbuilt_check(const struct options *options, struct errmsg *message) {
    if (strcmp(options->proxy, "off") != 0) return not_built(message, "the v2 proxy (--proxy)");
    if (options->discovery[0] != 0) return not_built(message, "discovery (--discovery)");
    if (options->discovery_srv[0] != 0) return not_built(message, "DNS discovery (--discovery-srv)");
    if (options->enable_v2) return not_built(message, "the v2 API (--enable-v2)");
    if (options->enable_v2v3[0] != 0) return not_built(message, "the v2 API (--experimental-enable-v2v3)");
    if (options->tracing) return not_built(message, "distributed tracing (--experimental-enable-distributed-tracing)");
    if (options->memory_mlock) return not_built(message, "locking memory (--experimental-memory-mlock)");
    if (options->bootstrap_defrag_threshold_mb != 0)
        return not_built(message, "defragmentation at start (--experimental-bootstrap-defrag-threshold-megabytes)");
    return OK;
}

/* ---- transport security ---- */

static enum err check_ciphers(const struct texts *suites, struct errmsg *message) {
    for (size_t i = 0; i < suites->count; i++) {
        bool is_known = false;
        for (size_t j = 0; j < sizeof cipher_suites / sizeof *cipher_suites && !is_known; j++)
            is_known = strcmp(suites->items[i], cipher_suites[j]) == 0;
        if (is_known) continue;
        struct buf quoted = BUF_INIT;
        go_append_quoted(&quoted, slice_from_cstr(suites->items[i]));
        err_set(message, ERR_INVALID, "unexpected TLS cipher suite %s", buf_cstr(&quoted));
        buf_release(&quoted);
        return ERR_INVALID;
    }
    return OK;
}

static bool has_files(const struct tls_options *tls) { return tls->cert_file[0] != 0 || tls->key_file[0] != 0; }

static void check_validity(const struct options *options, const struct tls_options *tls, bool is_peer,
                           struct log *log) {
    static const char why[] = "selfSignedCertValidity is invalid,it should be greater than 0";
    if (!tls->auto_tls || has_files(tls) || options->self_signed_cert_validity_years > 0) return;
    log_warn(log, "cannot generate cert", LOG_STRING("error", why));
    log_fatal(log, is_peer ? "failed to get peer self-signed certs" : "failed to get client self-signed certs",
              LOG_STRING("error", why));
    exit(EXIT_FAILURE);
}

static void tell_files(const struct options *options, const struct tls_options *tls, bool is_peer, struct log *log) {
    struct buf text = BUF_INIT;
    buf_printf(&text,
               "cert = %s, key = %s, client-cert=%s, client-key=%s, trusted-ca = %s, client-cert-auth = %s, crl-file = "
               "%s",
               tls->cert_file, tls->key_file, tls->client_cert_file, tls->client_key_file, tls->trusted_ca_file,
               tls->client_cert_auth ? "true" : "false", tls->crl_file);
    log_info(
        log, is_peer ? "starting with peer TLS" : "starting with client TLS", LOG_STRING("tls-info", buf_cstr(&text)),
        LOG_STRINGS("cipher-suites", (const char *const *)options->cipher_suites.items, options->cipher_suites.count));
    buf_release(&text);
}

static enum err check_url(const struct url *url, const struct tls_options *tls, bool is_peer, struct log *log,
                          struct errmsg *message) {
    if (!url_is_tls(url)) {
        if (is_peer && url->scheme != URL_HTTP) return OK;
        const char *key = is_peer ? "peer-url" : "client-url";
        if (has_files(tls))
            log_warn(log,
                     is_peer ? "scheme is HTTP while key and cert files are present; ignoring key and cert files"
                             : "scheme is http or unix while key and cert files are present; ignoring key and cert "
                               "files",
                     LOG_STRING(key, url->text));
        if (tls->client_cert_auth)
            log_warn(log,
                     is_peer ? "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth "
                               "for this URL"
                             : "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert "
                               "auth for this URL",
                     LOG_STRING(key, url->text));
        return OK;
    }
    if (!has_files(tls) && !tls->auto_tls) {
        if (!is_peer)
            return err_set(message, ERR_INVALID,
                           "TLS key/cert (--cert-file, --key-file) must be provided for client url %s with HTTPS "
                           "scheme",
                           url->text);
        err_set(message, ERR_INVALID, "cannot listen on TLS for %s:%s: KeyFile and CertFile are not presented",
                url->host, url->port);
        log_error(log, "creating peer listener failed", LOG_STRING("error", message->text));
        return ERR_INVALID;
    }
    return err_set(message, ERR_UNIMPLEMENTED, "TLS is not built into this etcd yet: cannot listen on %s", url->text);
}

enum err unbuilt_check_tls(const struct options *options, bool is_peer, struct log *log, struct errmsg *message) {
    const struct tls_options *tls = is_peer ? &options->peer_tls : &options->client_tls;
    TRY(check_ciphers(&options->cipher_suites, message));
    check_validity(options, tls, is_peer, log);
    if (has_files(tls) && is_peer) tell_files(options, tls, is_peer, log);
    const struct urls *lists[] = {is_peer ? &options->listen_peer_urls : &options->listen_client_urls,
                                  is_peer ? NULL : &options->listen_client_http_urls};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; lists[i] != NULL && j < lists[i]->count; j++)
            TRY(check_url(&lists[i]->items[j], tls, is_peer, log, message));
    for (size_t i = 0; !is_peer && i < options->listen_metrics_urls.count; i++) {
        const struct url *url = &options->listen_metrics_urls.items[i];
        if (!url_is_tls(url)) continue;
        if (!has_files(tls) && !tls->auto_tls)
            return err_set(message, ERR_INVALID,
                           "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url");
        return err_set(message, ERR_UNIMPLEMENTED, "TLS is not built into this etcd yet: cannot listen on %s",
                       url->text);
    }
    return OK;
}

enum err unbuilt_check_peer_files(const struct options *options, struct errmsg *message) {
    const struct tls_options *tls = &options->peer_tls;
    if ((tls->cert_file[0] == 0) != (tls->key_file[0] == 0))
        return err_set(message, ERR_INVALID, "KeyFile and CertFile must both be present[key: %s, cert: %s]",
                       tls->key_file, tls->cert_file);
    if ((tls->client_cert_file[0] == 0) != (tls->client_key_file[0] == 0))
        return err_set(message, ERR_INVALID,
                       "ClientKeyFile and ClientCertFile must both be present or both absent: key: %s, cert: %s]",
                       tls->client_key_file, tls->client_cert_file);
    if (tls->allowed_cn.count > 0 && tls->allowed_hostname.count > 0)
        return err_set(message, ERR_INVALID,
                       "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"%s\"], hostnames=[\"%s\"])",
                       tls->allowed_cn.items[0], tls->allowed_hostname.items[0]);
    return OK;
}

/* ---- tokens ---- */

/* The value of `key` in "jwt,key=value,..."; NULL when absent. Into `out`. */
static const char *token_option(const char *spec, const char *key, struct buf *out) {
    size_t len = strlen(key);
    for (const char *at = strchr(spec, ','); at != NULL; at = strchr(at, ',')) {
        at++;
        if (strncmp(at, key, len) != 0 || at[len] != '=') continue;
        buf_clear(out);
        buf_append(out, at + len + 1, strcspn(at + len + 1, ","));
        return buf_cstr(out);
    }
    return NULL;
}

static bool is_sign_method(const char *method) {
    static const char *const methods[] = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
                                          "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA"};
    for (size_t i = 0; method != NULL && i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i], method) == 0) return true;
    return false;
}

/* What etcd finds wrong with the options of jwt; false: nothing. */
static bool has_jwt_problem(const char *spec, struct buf *problem) {
    struct buf text = BUF_INIT;
    bool is_wrong = true;
    const char *file;
    if (!is_sign_method(token_option(spec, "sign-method", &text))) {
        buf_append_cstr(problem, "auth: invalid auth signature method");
    } else if ((file = token_option(spec, "pub-key", &text)) != NULL ||
               (file = token_option(spec, "priv-key", &text)) != NULL) {
        FILE *opened = fopen(file, "re");
        is_wrong = opened == NULL;
        if (opened == NULL)
            buf_printf(problem, "open %s: %s", file, err_text(err_from_errno(errno)));
        else
            fclose(opened);
    } else {
        buf_append_cstr(problem, "auth: missing key data");
    }
    buf_release(&text);
    return is_wrong;
}

enum err unbuilt_check_auth_token(const struct options *options, struct log *log, struct errmsg *message) {
    static const char invalid[] = "auth: invalid auth options";
    const char *spec = options->auth_token;
    size_t len = strcspn(spec, ",");
    if (*spec == 0 || (len == 6 && strncmp(spec, "simple", len) == 0)) {
        if (*spec != 0) log_warn(log, "simple token is not cryptographically signed");
        return OK;
    }
    if (len != 3 || strncmp(spec, "jwt", len) != 0) {
        log_warn(log, "unknown token type", LOG_SLICE("type", slice_make(spec, len)), LOG_STRING("error", invalid));
    } else {
        struct buf problem = BUF_INIT;
        bool is_wrong = has_jwt_problem(spec, &problem);
        if (is_wrong) log_error(log, "problem loading JWT options", LOG_STRING("error", buf_cstr(&problem)));
        buf_release(&problem);
        if (!is_wrong) return not_built(message, "the token kind jwt (--auth-token)");
    }
    log_warn(log, "failed to create token provider", LOG_STRING("error", invalid));
    return err_set(message, ERR_INVALID, "%s", invalid);
}

void unbuilt_subcommand(const char *name) {
    fprintf(stderr, "etcd %s is not built into this etcd yet\n", name);
    exit(EXIT_FAILURE);
}
