/* disk.h - a disk in memory that knows what would survive if the power went now.
 *
 * Files and folders with what is on the platter and what only the system's cache has. A file's content becomes durable
 * by a sync of the file, a folder's names by a sync of the folder; sectors of SIM_SECTOR_BYTES are written whole or not
 * at all. At any time an image can be taken: a disk as it may be found after a crash at this moment. The disk itself
 * goes on, so that one run can be crashed at each of its steps.
 *
 * A hook sees each operation before it happens and may make it fail, pretend, or stop half way: faults, full disks, and
 * the canaries of the tests. No threads.
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "base/prng.h"
#include "env/env.h"

struct sim_disk;

#define SIM_SECTOR_BYTES 512

enum sim_disk_op {
    SIM_DISK_OPEN, /* an open that makes no file */
    SIM_DISK_READ,
    SIM_DISK_LOOK, /* stat, list, size, map */
    SIM_DISK_LOCK,
    SIM_DISK_CREATE, /* an open that makes a file, mkdir */
    SIM_DISK_WRITE,
    SIM_DISK_SYNC,
    SIM_DISK_RESIZE, /* truncate, allocate, punched holes */
    SIM_DISK_RENAME,
    SIM_DISK_UNLINK,
    SIM_DISK_SYNC_FOLDER,
};
#define SIM_DISK_OP_COUNT (SIM_DISK_SYNC_FOLDER + 1)
const char *sim_disk_op_name(enum sim_disk_op op);
/* It changes what a crash may leave behind. */
bool sim_disk_op_changes(enum sim_disk_op op);

/* One operation about to happen. */
struct sim_disk_call {
    enum sim_disk_op op;
    const char *path;  /* of the file as it was opened, or the folder */
    int64_t offset;    /* of a write; of a resize: the new size */
    size_t size_bytes; /* of a write */
    /* What the hook decides: */
    enum err error;    /* not OK: it fails so */
    size_t part_bytes; /* of a write that fails: so much of it is done all the same, in whole sectors */
    bool pretend;      /* a sync: OK is answered, nothing is done */
};
typedef void (*sim_disk_hook)(void *context, struct sim_disk_call *call);

struct sim_disk *sim_disk_new(void);
/* No file may be open. NULL is allowed. */
void sim_disk_free(struct sim_disk *self);
/* NULL takes it away. */
void sim_disk_set_hook(struct sim_disk *self, sim_disk_hook hook, void *context);

/* Room on the disk; a write or allocation beyond it is ERR_NO_DISK_SPACE. 0: no limit. */
void sim_disk_set_capacity(struct sim_disk *self, uint64_t capacity_bytes);
uint64_t sim_disk_used_bytes(const struct sim_disk *self);

struct sim_disk_speed {
    int64_t write_ns; /* of each write, */
    int64_t byte_ps;  /* and picoseconds of each of its bytes */
    int64_t sync_ns;
    int64_t stall_ns;  /* and now and then, one in stall_in syncs, */
    uint32_t stall_in; /* so long; 0: never */
};
/* Writes 5 us and 0.5 ns a byte, syncs 200 us unless told otherwise. */
void sim_disk_set_speed(struct sim_disk *self, const struct sim_disk_speed *speed);

/* ---- crashes ---- */

enum sim_loss {
    SIM_KEEP,    /* the process dies, the system lives on: all that was written is there */
    SIM_DROP,    /* nothing that was not synced is there */
    SIM_TEAR,    /* of each file's and folder's changes the first few, the last of them by half */
    SIM_REORDER, /* of each file's changes any, sector by sector */
};
#define SIM_LOSS_COUNT (SIM_REORDER + 1)
const char *sim_loss_name(enum sim_loss loss);

/* The disk after a crash at this moment; durable all of it. The caller frees it. */
struct sim_disk *sim_disk_image(const struct sim_disk *self, enum sim_loss loss, struct prng *prng);
/* Whether there is anything that is not durable: otherwise all losses give the same image. */
bool sim_disk_has_unsynced(const struct sim_disk *self);

/* ---- from outside: damage, and files put there ---- */

/* -1: no such file. */
int64_t sim_disk_file_bytes(const struct sim_disk *self, const char *path);
/* False: no such file, or it is shorter. */
bool sim_disk_flip_bit(struct sim_disk *self, const char *path, int64_t offset, unsigned bit);
/* A file with this content, durable; its folders too. */
void sim_disk_put_file(struct sim_disk *self, const char *path, struct slice content);
/* All that was written to the file is durable now. */
void sim_disk_sync_file(struct sim_disk *self, const char *path);
/* A file or a whole folder, if it is there. */
void sim_disk_remove(struct sim_disk *self, const char *path);
/* A hash of all paths and contents: two disks with the same content give the same. */
uint64_t sim_disk_fingerprint(const struct sim_disk *self);

/* ---- for world.c ---- */

/* Fills in the file calls of a world's table; every path and file below is of `self`. The nanoseconds that a call took
 * are reported to `spend`. */
struct sim_disk_user {
    struct env *env;
    struct sim_disk *disk;
    void (*spend)(struct sim_disk_user *self, int64_t ns);
};
struct sim_disk_user *sim_disk_user_of(struct env *env); /* defined by world.c */
void sim_disk_fill_ops(struct env_ops *ops);

#endif
