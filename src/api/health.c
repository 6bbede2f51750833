/* health.c - grpc.health.v1.Health: the one service "" is SERVING until the member stops. */
#include "api/internal.h"
#include "pb/health.pb-c.h"

#define SERVING 1
#define NOT_SERVING 2
#define SERVICE_UNKNOWN 3

static const Grpc__Health__V1__HealthCheckRequest *check_request(struct grpc_call *call) {
    return api__request(call, &grpc__health__v1__health_check_request__descriptor);
}

static size_t encode_status(const struct api *self, uint8_t out[2]) {
    out[0] = 1 << 3;
    out[1] = self->is_stopping ? NOT_SERVING : SERVING;
    return 2;
}

static void check(struct grpc_call *call) {
    const Grpc__Health__V1__HealthCheckRequest *request = check_request(call);
    if (request == NULL) return;
    if (request->service[0] != 0) {
        grpc_call_fail_text(call, 5, "unknown service");
        return;
    }
    uint8_t status[2];
    size_t len = encode_status(grpc_call_service(call), status);
    grpc_call_reply(call, slice_make(status, len));
}

/* statuses: a map from the name "" to its status. */
static void list(struct grpc_call *call) {
    if (api__request(call, &grpc__health__v1__health_list_request__descriptor) == NULL) return;
    uint8_t message[] = {1 << 3 | 2, 6, 1 << 3 | 2, 0, 2 << 3 | 2, 2, 0, 0};
    encode_status(grpc_call_service(call), message + 6);
    grpc_call_reply(call, slice_make(message, sizeof message));
}

/* ---- watching ---- */

struct health_watch {
    struct list link;
    struct grpc_call *call;
    bool is_known;
};

static void watch(struct grpc_call *call) {
    struct api *self = grpc_call_service(call);
    const Grpc__Health__V1__HealthCheckRequest *request = check_request(call);
    if (request == NULL) return;
    struct health_watch *watching = ARENA_NEW(grpc_call_arena(call), struct health_watch);
    watching->call = call;
    watching->is_known = request->service[0] == 0;
    list_push_back(&self->health_watches, &watching->link);
    grpc_call_set_context(call, watching);
    uint8_t status[2];
    encode_status(self, status);
    if (!watching->is_known) status[1] = SERVICE_UNKNOWN;
    grpc_call_send(call, slice_make(status, sizeof status));
}

static void watch_cancelled(struct grpc_call *call) {
    struct health_watch *watching = grpc_call_context(call);
    if (watching != NULL) list_remove(&watching->link);
    grpc_call_fail_text(call, 1, "Stream has ended.");
}

static const struct grpc_method methods[] = {
    {.path = "/grpc.health.v1.Health/Check", .on_call = check},
    {.path = "/grpc.health.v1.Health/List", .on_call = list},
    {.path = "/grpc.health.v1.Health/Watch", .server_stream = true, .on_call = watch, .on_cancel = watch_cancelled},
};

void api__health_add(struct api *self) { grpc_server_add(self->grpc, methods, sizeof methods / sizeof *methods, self); }

void api__health_stop(struct api *self) {
    LIST_FOREACH (link, &self->health_watches) {
        struct health_watch *watching = CONTAINER_OF(link, struct health_watch, link);
        list_remove(&watching->link);
        struct grpc_call *call = watching->call;
        grpc_call_set_context(call, NULL);
        if (watching->is_known) {
            uint8_t status[2];
            encode_status(self, status);
            grpc_call_send(call, slice_make(status, sizeof status));
        }
        grpc_call_fail_text(call, 1, "Stream has ended.");
    }
}
