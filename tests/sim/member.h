/* member.h - a whole member on a machine: server, services, HTTP, at an address of the simulated net.
 *
 * What etcd/member.c is to the real world. HTTP/2 bytes come in at the address's connections, pages go to the machine's
 * disk.
 */
#ifndef TESTS_SIM_MEMBER_H
#define TESTS_SIM_MEMBER_H

#include "server/server.h"
#include "sim/net.h"

struct sim_member;

struct sim_member_options {
    const char *name;    /* NULL: "default" */
    const char *address; /* "a:2379": where clients connect */
    uint64_t snapshot_count;
    int64_t segment_bytes; /* of the WAL; 0: etcd's */
    int64_t quota_bytes;   /* 0: etcd's */
    uint64_t max_txn_ops;  /* 0: etcd's, here and below */
    uint64_t max_request_bytes;
    unsigned max_snapshots;
    unsigned max_wals;
    int64_t batch_interval_ns;
    uint64_t catch_up_entries;
    bool unsafe_no_fsync;
    bool lease_checkpoints; /* made and kept */
};
#define SIM_DATA_DIR "/data"

/* Opens the member on the machine's disk and starts it; clients' connections are taken once it is ready. NULL with
 * `message` when the start is refused. */
struct sim_member *sim_member_start(struct sim_net *net, struct sim_machine *machine,
                                    const struct sim_member_options *options, struct errmsg *message);
struct server *sim_member_server(struct sim_member *self);
bool sim_member_is_ready(const struct sim_member *self);
/* It has told that it can't go on: a real process would have ended with this status; 0 while it can. */
int sim_member_failed(const struct sim_member *self);
/* Runs the world until it is ready; false when it failed or has not become so within a virtual minute. */
bool sim_member_wait_ready(struct sim_member *self);
/* In order, as after SIGTERM; runs the world meanwhile. */
void sim_member_stop(struct sim_member *self);
/* Its memory goes, time stands still. What that writes to the machine's disk is no crash's: take the image before, and
 * throw the disk away. */
void sim_member_drop(struct sim_member *self, enum sim_close connections);

#endif
