/* snapshot.c - Maintenance.Snapshot: the database as it lies, then its SHA-256.
 *
 *   commit -> pinned image -> { a pool thread reads a stretch and hashes it -> messages of 32 KiB -> wait until the
 *   client has taken most of it } -> one message with the sum
 *
 * A saved file has 32 bytes more than a multiple of 512, by which tools know that the sum is there (spec/snap.md 11).
 */
#include "api/internal.h"
#include "backend/backend.h"
#include "base/gotext.h"
#include "grpc/status.h"

#include <openssl/evp.h>

#define BLOB_BYTES (32 * 1024)
#define STRETCH_BYTES (16 * BLOB_BYTES)
#define SUM_BYTES 32

struct sending {
    struct api *api;
    struct grpc_call *call; /* NULL: it has ended */
    struct backend_waiter committed;
    struct backend_snapshot *image;
    uint64_t size_bytes;
    uint64_t sent_bytes;
    EVP_MD_CTX *digest;
    struct env_job job;
    struct env_timer stall; /* runs while the client has to take something first */
    bool is_reading;
    size_t stretch_bytes;
    int64_t began_ns;
    uint8_t stretch[STRETCH_BYTES];
};

static void sending_free(struct sending *self) {
    backend_snapshot_free(self->image);
    EVP_MD_CTX_free(self->digest);
    mem_free(self);
}

static void send_blob(struct sending *self, uint64_t remaining, struct slice blob) {
    struct buf message = BUF_INIT;
    api__append_uint(&message, 2, remaining);
    api__append_bytes(&message, 3, blob);
    grpc_call_send(self->call, buf_slice(&message));
    buf_release(&message);
}

/* Its call ends; what is left of it may live on until a job is done. */
static struct grpc_call *take_call(struct sending *self) {
    self->api->snapshots_open--;
    env_timer_stop(self->api->env, &self->stall);
    grpc_call_set_context(self->call, NULL);
    return TAKE(self->call);
}

static void finish(struct sending *self) {
    uint8_t sum[SUM_BYTES];
    CHECK(EVP_DigestFinal_ex(self->digest, sum, NULL) == 1);
    log_info(self->api->log, "sending database sha256 checksum to client", LOG_UINT("total-bytes", self->size_bytes),
             LOG_INT("checksum-size", SUM_BYTES));
    send_blob(self, 0, slice_make(sum, sizeof sum));
    struct buf size = BUF_INIT;
    go_append_humanized_bytes(&size, self->size_bytes);
    log_info(self->api->log, "successfully sent database snapshot to client", LOG_UINT("total-bytes", self->size_bytes),
             LOG_STRING("size", buf_cstr(&size)), LOG_DURATION("took", env_now_ns(self->api->env) - self->began_ns));
    buf_release(&size);
    struct grpc_call *call = take_call(self);
    sending_free(self);
    grpc_call_finish(call);
}

static void read_next(struct sending *self);

static void stretch_run(struct env_job *job) {
    struct sending *self = CONTAINER_OF(job, struct sending, job);
    backend_snapshot_read(self->image, self->sent_bytes, self->stretch, self->stretch_bytes);
    CHECK(EVP_DigestUpdate(self->digest, self->stretch, self->stretch_bytes) == 1);
}

static void stretch_done(struct env_job *job) {
    struct sending *self = CONTAINER_OF(job, struct sending, job);
    self->is_reading = false;
    if (self->call == NULL) {
        sending_free(self);
        return;
    }
    for (size_t at = 0; at < self->stretch_bytes; at += BLOB_BYTES) {
        size_t len = self->stretch_bytes - at < BLOB_BYTES ? self->stretch_bytes - at : BLOB_BYTES;
        self->sent_bytes += len;
        send_blob(self, self->size_bytes - self->sent_bytes, slice_make(self->stretch + at, len));
    }
    read_next(self);
}

static void read_next(struct sending *self) {
    if (self->sent_bytes == self->size_bytes) {
        finish(self);
        return;
    }
    if (grpc_call_queued_bytes(self->call) > API_SNAPSHOT_QUEUE_BYTES) { /* on_drain goes on */
        env_timer_start(self->api->env, &self->stall, API_SNAPSHOT_STALL_NS);
        return;
    }
    env_timer_stop(self->api->env, &self->stall);
    uint64_t left = self->size_bytes - self->sent_bytes;
    self->stretch_bytes = left < STRETCH_BYTES ? (size_t)left : STRETCH_BYTES;
    self->is_reading = true;
    self->job.run = stretch_run;
    self->job.done = stretch_done;
    env_pool_submit(self->api->env, &self->job);
}

void api__snapshot_drained(struct grpc_call *call) {
    struct sending *self = grpc_call_context(call);
    if (self != NULL && self->image != NULL && !self->is_reading) read_next(self);
}

static void committed(struct backend_waiter *waiter, enum err error) {
    struct sending *self = CONTAINER_OF(waiter, struct sending, committed);
    if (self->call == NULL) {
        sending_free(self);
        return;
    }
    if (error != OK) {
        grpc_call_fail(take_call(self), error);
        sending_free(self);
        return;
    }
    self->image = backend_snapshot_new(server_backend(self->api->server));
    self->size_bytes = backend_snapshot_size_bytes(self->image);
    struct buf size = BUF_INIT;
    go_append_humanized_bytes(&size, self->size_bytes);
    log_info(self->api->log, "sending database snapshot to client", LOG_UINT("total-bytes", self->size_bytes),
             LOG_STRING("size", buf_cstr(&size)));
    buf_release(&size);
    read_next(self);
}

/* The image keeps the file's old pages from being used again. */
static void give_up(struct env_timer *timer) {
    struct sending *self = CONTAINER_OF(timer, struct sending, stall);
    log_warn(self->api->log, "snapshot given up; client does not read it", LOG_UINT("sent-bytes", self->sent_bytes),
             LOG_UINT("total-bytes", self->size_bytes), LOG_STRING("remote-addr", grpc_call_peer(self->call)));
    struct grpc_call *call = take_call(self);
    sending_free(self);
    grpc_call_fail_text(call, GRPC_ABORTED, "etcdserver: snapshot is not read");
}

void api__snapshot(struct grpc_call *call) {
    struct api *api = grpc_call_service(call);
    if (api__request(call, &etcdserverpb__snapshot_request__descriptor) == NULL) return;
    if (!api__require_admin_bare(call)) return;
    if (api->snapshots_open >= API_SNAPSHOTS_MAX) {
        grpc_call_fail(call, ERR_TOO_MANY_REQUESTS);
        return;
    }
    api->snapshots_open++;
    struct sending *self = NEW(struct sending);
    self->api = api;
    self->call = call;
    self->stall.callback = give_up;
    self->began_ns = env_now_ns(self->api->env);
    self->digest = EVP_MD_CTX_new();
    CHECK(self->digest != NULL && EVP_DigestInit_ex(self->digest, EVP_sha256(), NULL) == 1);
    grpc_call_set_context(call, self);
    self->committed.callback = committed;
    backend_commit(server_backend(self->api->server), &self->committed);
}

/* A commit or a read on its way ends by itself and finds that the call has gone. */
void api__snapshot_cancelled(struct grpc_call *call) {
    struct sending *self = grpc_call_context(call);
    if (self != NULL) {
        take_call(self);
        if (self->image != NULL && !self->is_reading) sending_free(self);
    }
    grpc_call_fail(call, ERR_CONTEXT_CANCELED);
}
