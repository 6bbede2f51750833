/* endpoint health, status, hashkv. */
#include "etcdctl/commands.h"

#include "base/gotext.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

/* ---- health: all endpoints at once, in the order in which they answer ---- */

struct probes {
    pthread_mutex_t lock;
    struct endpoint_health *results; /* in order of completion */
    size_t done;
};

struct probe {
    struct probes *probes;
    struct etcd_client *client;
    const char *endpoint;
    pthread_t thread;
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* An alarm makes a member that answers unhealthy all the same. */
static void check_alarms(struct etcd_client *client, struct endpoint_health *health) {
    struct etcd_alarm_request request = {.action = ETCD_ALARM_GET};
    struct etcd_alarm_response *response;
    if (etcd_alarm(client, &request, &response, NULL) != ETCD_OK) {
        health->health = false;
        snprintf(health->error, sizeof health->error, "Unable to fetch the alarm list");
        return;
    }
    static const char *const names[] = {"NONE", "NOSPACE", "CORRUPT"};
    if (response->alarm_count > 0) {
        health->health = false;
        size_t used = (size_t)snprintf(health->error, sizeof health->error, "Active Alarm(s): ");
        for (size_t i = 0; i < response->alarm_count && used < sizeof health->error; i++) {
            unsigned type = (unsigned)response->alarms[i].alarm;
            used += (size_t)snprintf(health->error + used, sizeof health->error - used, "%s ",
                                     type < 3 ? names[type] : "UNKNOWN");
        }
    }
    etcd_free(response);
}

static void *run_probe(void *context) {
    struct probe *probe = context;
    struct endpoint_health health = {.endpoint = probe->endpoint};
    int64_t begin_ns = now_ns();
    struct etcd_range_request request = {.key = etcd_text("health")};
    struct etcd_error error;
    int code = etcd_range(probe->client, &request, NULL, &error);
    CLEANUP_BUF struct buf took = BUF_INIT;
    go_append_duration(&took, now_ns() - begin_ns);
    snprintf(health.took, sizeof health.took, "%s", buf_cstr(&took));
    /* A refusal is an answer too: consensus was reached for it. */
    health.health = code == ETCD_OK || code == ETCD_PERMISSION_DENIED;
    if (health.health)
        check_alarms(probe->client, &health);
    else {
        struct ctl scratch = {0};
        arena_init(&scratch.arena, 0);
        snprintf(health.error, sizeof health.error, "%s", ctl_error_text(&scratch, &error));
        arena_release(&scratch.arena);
    }
    pthread_mutex_lock(&probe->probes->lock);
    probe->probes->results[probe->probes->done++] = health;
    pthread_mutex_unlock(&probe->probes->lock);
    return NULL;
}

RUN(run_endpoint_health) {
    const char *const *endpoints;
    size_t count;
    ctl_cluster_endpoints(ctl, &endpoints, &count);
    ctl->logger = "client"; /* upstream's clients for this have another logger */
    struct probes probes = {.lock = PTHREAD_MUTEX_INITIALIZER};
    probes.results = arena_alloc(&ctl->arena, (count + 1) * sizeof *probes.results);
    struct probe *list = arena_alloc(&ctl->arena, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = (struct probe){&probes, ctl_connect_to(ctl, endpoints[i]), endpoints[i], 0};
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&list[i].thread, NULL, run_probe, &list[i]) != 0)
            ctl_fail(ctl, EXIT_ERROR, "could not start a thread");
    for (size_t i = 0; i < count; i++) pthread_join(list[i].thread, NULL);
    ctl_printed(ctl, print_endpoint_health(&ctl->printer, probes.results, count, &ctl->failure));
    for (size_t i = 0; i < count; i++)
        if (probes.results[i].error[0] != 0) ctl_fail(ctl, EXIT_ERROR, "unhealthy cluster");
    return EXIT_OK;
}

/* ---- status and hashkv: one after the other ---- */

RUN(run_endpoint_status) {
    const char *const *endpoints;
    size_t count, good = 0;
    ctl_cluster_endpoints(ctl, &endpoints, &count);
    struct endpoint_status *list = arena_alloc(&ctl->arena, (count + 1) * sizeof *list);
    Etcdserverpb__StatusRequest request;
    etcdserverpb__status_request__init(&request);
    for (size_t i = 0; i < count; i++) {
        struct etcd_error error;
        const Etcdserverpb__StatusResponse *response =
            ctl_try_call(ctl, ctl_connect_to(ctl, endpoints[i]), "Maintenance/Status", &request,
                         &etcdserverpb__status_response__descriptor, &error);
        if (response)
            list[good++] = (struct endpoint_status){endpoints[i], response};
        else
            fprintf(stderr, "Failed to get the status of endpoint %s (%s)\n", endpoints[i],
                    ctl_error_text(ctl, &error));
    }
    ctl_printed(ctl, print_endpoint_status(&ctl->printer, list, good, &ctl->failure));
    return good < count ? EXIT_ERROR : EXIT_OK;
}

RUN(run_endpoint_hashkv) {
    const char *const *endpoints;
    size_t count, good = 0;
    ctl_cluster_endpoints(ctl, &endpoints, &count);
    struct endpoint_hash *list = arena_alloc(&ctl->arena, (count + 1) * sizeof *list);
    Etcdserverpb__HashKVRequest request;
    etcdserverpb__hash_kvrequest__init(&request);
    request.revision = flags_number(&ctl->flags, "rev");
    const char *failed = NULL;
    for (size_t i = 0; i < count; i++) {
        struct etcd_error error;
        const Etcdserverpb__HashKVResponse *response =
            ctl_try_call(ctl, ctl_connect_to(ctl, endpoints[i]), "Maintenance/HashKV", &request,
                         &etcdserverpb__hash_kvresponse__descriptor, &error);
        if (response) {
            list[good++] = (struct endpoint_hash){endpoints[i], response};
            continue;
        }
        failed = ctl_error_text(ctl, &error);
        fprintf(stderr, "Failed to get the hash of endpoint %s (%s)\n", endpoints[i], failed);
    }
    ctl_printed(ctl, print_endpoint_hash(&ctl->printer, list, good, &ctl->failure));
    if (failed) ctl_fail(ctl, EXIT_ERROR, "%s", failed);
    return EXIT_OK;
}
