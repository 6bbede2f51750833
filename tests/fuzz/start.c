/* start.c - a member starts on what another one, or a bad disk, has left: entries that no client of ours could have
 * sent, records of any kind behind the log's, bits that flipped in log, snapshot and database.
 *
 * A member is made once, with some history; each input begins with its disk. Then steps, see leave(); then the start.
 * It may refuse, or fail later: in an orderly way, and never by itself a second time differently. */
#include "fuzz/fuzz.h"
#include "sim/stage.h"

#include "mvcc/store.h"
#include "wal/wal.h"

#include <stdio.h>

#define WAL_DIR SIM_DATA_DIR "/member/wal"
#define SNAP_DIR SIM_DATA_DIR "/member/snap"

enum { ENTRY, COMMITTED, STATE, SNAPSHOT, CONF_CHANGE, TERM, FLIP, STEPS };
#define FLIPS_MAX 16

static const struct sim_member_options member_options = {
    .snapshot_count = 30, .segment_bytes = 32 * 1024, .catch_up_entries = 5, .max_wals = 2, .max_snapshots = 2};

static struct sim_disk *make_disk(void) {
    struct sim_stage stage;
    sim_stage_init(&stage, 1, &member_options);
    sim_stage_start(&stage);
    for (int i = 0; i < 70; i++) sim_stage_put(&stage, i % 3 == 0 ? "a" : "b", "value");
    struct etcd_lease_grant_request lease = {.id = 7, .ttl_s = 1000};
    sim_stage_call(&stage, ETCD_METHOD_LEASE_GRANT, &lease);
    sim_stage_stop(&stage);
    struct sim_disk *disk = sim_disk_image(stage.disk, SIM_KEEP, sim_prng(stage.sim));
    sim_stage_release(&stage);
    return disk;
}

/* ---- what is left ---- */

struct flip {
    uint8_t file;
    uint64_t offset;
    unsigned bit;
};

struct leaver {
    struct flip flips[FLIPS_MAX]; /* done when the log is closed */
    size_t flip_count;
    struct wal *wal;
    struct raft_hard_state state;
    uint64_t index; /* of the last entry */
};

static void add(struct leaver *self, enum raft_entry_type type, struct slice data, bool is_committed) {
    struct raft_entry entry = {.type = type, .term = self->state.term, .index = ++self->index, .data = data};
    if (is_committed) self->state.commit = entry.index;
    CHECK(wal_save(self->wal, self->state, &entry, 1, NULL) == OK);
}

static void leave(struct leaver *self, struct fuzz_input *input) {
    switch (fuzz_byte(input) % STEPS) {
    case ENTRY: add(self, RAFT_ENTRY_NORMAL, fuzz_take(input, fuzz_byte(input)), false); break;
    case COMMITTED: add(self, RAFT_ENTRY_NORMAL, fuzz_take(input, fuzz_byte(input)), true); break;
    case CONF_CHANGE: {
        enum raft_entry_type type = (enum raft_entry_type)(fuzz_byte(input) % 4);
        add(self, type, fuzz_take(input, fuzz_byte(input)), true);
        break;
    }
    case STATE:
        self->state.commit += fuzz_byte(input);
        self->state.commit -= fuzz_byte(input);
        CHECK(wal_save(self->wal, self->state, NULL, 0, NULL) == OK);
        break;
    case TERM: self->state.term += fuzz_byte(input); break;
    case SNAPSHOT: {
        uint64_t ids[] = {1};
        struct wal_snapshot snapshot = {.index = fuzz_byte(input), .term = fuzz_byte(input), .has_conf_state = true};
        snapshot.conf_state.voters = (struct raft_ids){ids, 1, 1};
        CHECK(wal_save_snapshot(self->wal, &snapshot, NULL) == OK);
        break;
    }
    case FLIP: {
        uint8_t file = fuzz_byte(input);
        uint64_t offset = fuzz_number(input, 3);
        struct flip flip = {file, offset, fuzz_byte(input) % 8};
        if (self->flip_count < FLIPS_MAX) self->flips[self->flip_count++] = flip;
        break;
    }
    }
}

/* The files of a folder, one behind the other: which, and a bit of it. */
static void flip_bit(struct sim_disk *disk, struct env *env, const struct flip *flip) {
    const char *folder = flip->file & 1 ? SNAP_DIR : WAL_DIR;
    struct env_names names;
    if (env_list(env, folder, &names) != OK) return;
    if (names.count != 0) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names.names[flip->file / 2 % names.count]);
        struct env_stat stat;
        if (env_stat(env, path, &stat) == OK && stat.size_bytes > 0)
            (void)sim_disk_flip_bit(disk, path, (int64_t)flip->offset % stat.size_bytes, flip->bit);
    }
    env_names_release(&names);
}

/* The machine is one that is not on any more when the member starts. */
static void leave_all(struct sim_stage *stage, struct fuzz_input *input) {
    struct sim_machine *machine = sim_machine_new(stage->sim, "before", stage->disk, NULL);
    struct env *env = sim_machine_env(machine);
    struct wal_options options = {.env = env, .dir = WAL_DIR, .segment_bytes = member_options.segment_bytes};
    struct leaver leaver = {0};
    struct wal_contents contents;
    struct wal_snapshots snapshots;
    struct errmsg message;
    CHECK(wal_valid_snapshots(env, WAL_DIR, &snapshots, &message) == OK && snapshots.count != 0);
    const struct wal_snapshot *newest = &snapshots.items[snapshots.count - 1];
    enum err error = wal_open_and_read(&options, newest->index, newest->term, &leaver.wal, &contents, &message);
    CHECKF(error == OK, "%s", message.text);
    leaver.state = contents.hard_state;
    leaver.index = newest->index + contents.entries.count;
    wal_contents_release(&contents);
    while (fuzz_left(input) != 0) leave(&leaver, input);
    CHECK(wal_close(leaver.wal) == OK);
    for (size_t i = 0; i < leaver.flip_count; i++) flip_bit(stage->disk, env, &leaver.flips[i]);
    wal_snapshots_release(&snapshots);
    sim_machine_free(machine);
}

/* Whether the member is up, and serves. */
static bool start_and_stop(struct sim_stage *stage, int64_t *ret_revision) {
    struct errmsg message = {""};
    if (!sim_stage_try_start(stage, &message)) {
        CHECK(message.text[0] != 0);
        return false;
    }
    sim_run_for(stage->sim, 3 * SIM_S_NS);
    if (sim_member_failed(stage->member) != 0) {
        sim_stage_kill(stage);
        return false;
    }
    struct store *store = server_store(sim_member_server(stage->member));
    *ret_revision = store_revision(store);
    struct etcd_put_request put = {.key = {"k", 1}, .value = {"v", 1}};
    int code = sim_client_call(stage->client, ETCD_METHOD_PUT, &put, NULL, NULL);
    bool is_well = sim_member_failed(stage->member) == 0 && store_error(store) == OK;
    CHECK(code != ETCD_OK || !is_well || store_revision(store) > *ret_revision);
    *ret_revision = store_revision(store);
    if (is_well)
        sim_stage_stop(stage);
    else
        sim_stage_kill(stage);
    return is_well;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct sim_disk *disk;
    if (disk == NULL) disk = make_disk();
    struct fuzz_input input = {data, data + size};
    struct sim_stage stage;
    int64_t first = 0, second = 0;
    sim_stage_init(&stage, 1, &member_options);
    sim_stage_set_disk(&stage, sim_disk_image(disk, SIM_KEEP, sim_prng(stage.sim)));
    leave_all(&stage, &input);
    if (start_and_stop(&stage, &first)) {
        bool is_well = start_and_stop(&stage, &second);
        CHECK(is_well && second >= first);
    }
    sim_stage_release(&stage);
    return 0;
}
