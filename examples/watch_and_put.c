/* watch_and_put.c - the whole of libetcdclient in one page: a lease kept alive, a watch, puts, a transaction.
 *
 *     cc watch_and_put.c $(pkg-config --cflags --libs libetcdclient) && ./a.out 127.0.0.1:2379
 */
#include <etcd/client.h>

#include <stdio.h>
#include <stdlib.h>

static void die(const char *what, const struct etcd_error *error) {
    fprintf(stderr, "%s: %s: %s %s\n", what, etcd_code_name(error->code), error->text, error->detail);
    exit(1);
}

static void print_event(const struct etcd_event *event) {
    printf("%s %.*s = %.*s at %lld\n", event->type == ETCD_EVENT_PUT ? "PUT" : "DELETE", (int)event->kv.key.len,
           (const char *)event->kv.key.data, (int)event->kv.value.len, (const char *)event->kv.value.data,
           (long long)event->kv.mod_revision);
}

int main(int argc, char **argv) {
    const char *endpoints[] = {argc > 1 ? argv[1] : "127.0.0.1:2379"};
    struct etcd_client_options options = ETCD_CLIENT_OPTIONS_INIT;
    options.endpoints = endpoints;
    options.endpoint_count = 1;
    struct etcd_error error;
    struct etcd_client *client = etcd_client_new(&options, &error);
    if (client == NULL) die("options", &error);

    /* Everything under "example/", from now on. */
    char end[8];
    struct etcd_watch_stream *stream = etcd_watch_open(client, NULL);
    struct etcd_watch_request watch = {.key = etcd_text("example/"), .created_notify = true};
    watch.range_end = etcd_prefix_end(watch.key, end);
    etcd_watch_add(stream, &watch);
    struct etcd_watch_response *news;
    if (etcd_watch_next(stream, 5000, &news, &error) != ETCD_OK) die("watch", &error);
    printf("watching from revision %lld on\n", (long long)news->header.revision + 1);
    etcd_free(news);

    /* A key that lives as long as we renew its lease. */
    struct etcd_lease_grant_response *lease;
    if (etcd_lease_grant(client, &(struct etcd_lease_grant_request){.ttl_s = 10}, &lease, &error) != ETCD_OK)
        die("grant", &error);
    struct etcd_keepalive *keepalive = etcd_keepalive_open(client, lease->id, NULL, NULL);
    struct etcd_put_request put = {.key = etcd_text("example/leased"), .value = etcd_text("1"), .lease = lease->id};
    if (etcd_put(client, &put, NULL, &error) != ETCD_OK) die("put", &error);

    /* Create only if it does not exist; else read it. */
    struct etcd_compare absent = {.key = etcd_text("example/once"), .target = ETCD_CREATE_REVISION};
    struct etcd_put_request create = {.key = absent.key, .value = etcd_text("created")};
    struct etcd_range_request read = {.key = absent.key};
    struct etcd_op yes = {.type = ETCD_OP_PUT, .put = &create}, no = {.type = ETCD_OP_RANGE, .range = &read};
    struct etcd_txn_request txn = {&absent, 1, &yes, 1, &no, 1};
    struct etcd_txn_response *outcome;
    if (etcd_txn(client, &txn, &outcome, &error) != ETCD_OK) die("txn", &error);
    printf("example/once %s\n", outcome->succeeded ? "created" : "was there");
    etcd_free(outcome);

    if (etcd_lease_revoke(client, &(struct etcd_lease_revoke_request){.id = lease->id}, NULL, &error) != ETCD_OK)
        die("revoke", &error);
    while (etcd_watch_next(stream, 500, &news, &error) == ETCD_OK) {
        for (size_t i = 0; i < news->event_count; i++) print_event(&news->events[i]);
        etcd_free(news);
    }

    etcd_free(lease);
    etcd_keepalive_close(keepalive);
    etcd_watch_close(stream);
    etcd_client_free(client);
    return 0;
}
