/* client.h - a client in the simulated world: libetcdclient's core over a pipe. */
#ifndef TESTS_SIM_CLIENT_H
#define TESTS_SIM_CLIENT_H

#include "client/calls.h"
#include "sim/net.h"

struct sim_client;

/* Endpoints as addresses of the net, comma separated. `timeout_ms` for a call; 0: 5 s. */
struct sim_client *sim_client_new(struct sim_net *net, struct sim_machine *machine, const char *endpoints,
                                  int64_t timeout_ms);
void sim_client_free(struct sim_client *self);
/* For client_call_start, watches and so on. */
struct client *sim_client_core(struct sim_client *self);
/* Runs the world until the answer is there. The code; *ret_response (may be NULL) is the caller's to
 * client_response_free. */
int sim_client_call(struct sim_client *self, enum etcd_method method, const void *request, void *ret_response,
                    struct etcd_error *error);

#endif
