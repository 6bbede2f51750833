/* disk.h - one machine of the simulated world for targets that read files, with an edge on its mappings: under
 * AddressSanitizer a read of a mapped file beyond the file's end is seen (the real world would end the process). */
#ifndef TESTS_FUZZ_DISK_H
#define TESTS_FUZZ_DISK_H

#include "fuzz/fuzz.h"
#include "sim/disk.h"
#include "sim/world.h"

#ifndef FUZZ_HAS_ASAN
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

struct fuzz_disk {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_machine *machine;
    struct env *env;
    const struct env_ops *below; /* the machine's own */
    struct env_ops ops;
    const uint8_t *view; /* the newest mapping, with its edge */
    size_t view_bytes;
    size_t edge_at;
    size_t edge_bytes;
    unsigned fail_at; /* this call fails; 0: none */
    bool count_all;   /* else only calls that change the disk */
    bool has_failed;
};

static struct fuzz_disk fuzz_disk;

/* Bytes behind a file that are watched: a mapping may be far longer. */
#define FUZZ_EDGE_BYTES ((size_t)1 << 20)

static inline void fuzz__set_edge(size_t file_bytes) {
    if (fuzz_disk.view == NULL) return;
    if (fuzz_disk.edge_bytes != 0)
        ASAN_UNPOISON_MEMORY_REGION(fuzz_disk.view + fuzz_disk.edge_at, fuzz_disk.edge_bytes);
    fuzz_disk.edge_at = file_bytes;
    fuzz_disk.edge_bytes = file_bytes < fuzz_disk.view_bytes ? fuzz_disk.view_bytes - file_bytes : 0;
    if (fuzz_disk.edge_bytes > FUZZ_EDGE_BYTES) fuzz_disk.edge_bytes = FUZZ_EDGE_BYTES;
    if (fuzz_disk.edge_bytes != 0) ASAN_POISON_MEMORY_REGION(fuzz_disk.view + file_bytes, fuzz_disk.edge_bytes);
}

static inline enum err fuzz__map(struct env_file *file, size_t size_bytes, const uint8_t **ret_view) {
    int64_t file_bytes;
    fuzz__set_edge(SIZE_MAX);
    enum err error = fuzz_disk.below->map(file, size_bytes, ret_view);
    if (error != OK) return error;
    if (fuzz_disk.below->file_size(file, &file_bytes) != OK) return OK;
    fuzz_disk.view = *ret_view;
    fuzz_disk.view_bytes = size_bytes;
    fuzz__set_edge((size_t)file_bytes);
    return OK;
}

static inline void fuzz__unmap(struct env *env, const uint8_t *view, size_t size_bytes) {
    fuzz__set_edge(SIZE_MAX);
    if (view == fuzz_disk.view) fuzz_disk.view = NULL;
    fuzz_disk.below->unmap(env, view, size_bytes);
}

/* Who writes has no edge any more: the file is as long as he makes it. */
static inline enum err fuzz__pwritev(struct env_file *file, const struct slice *pieces, size_t count, int64_t offset) {
    fuzz__set_edge(SIZE_MAX);
    return fuzz_disk.below->pwritev(file, pieces, count, offset);
}
static inline enum err fuzz__truncate(struct env_file *file, int64_t size_bytes) {
    fuzz__set_edge(SIZE_MAX);
    return fuzz_disk.below->truncate(file, size_bytes);
}

static inline struct env *fuzz_disk_open(void) {
    struct fuzz_disk *self = &fuzz_disk;
    *self = (struct fuzz_disk){.sim = sim_new(1), .disk = sim_disk_new()};
    self->machine = sim_machine_new(self->sim, "m", self->disk, NULL);
    self->env = sim_machine_env(self->machine);
    self->below = self->env->ops;
    self->ops = *self->below;
    self->ops.map = fuzz__map;
    self->ops.unmap = fuzz__unmap;
    self->ops.pwritev = fuzz__pwritev;
    self->ops.truncate = fuzz__truncate;
    self->env->ops = &self->ops;
    return self->env;
}

static inline void fuzz__before_call(void *context, struct sim_disk_call *call) {
    if (!fuzz_disk.count_all && !sim_disk_op_changes(call->op)) return;
    if (fuzz_disk.fail_at == 0 || --fuzz_disk.fail_at != 0) return;
    call->error = ERR_IO;
    fuzz_disk.has_failed = true;
}

/* From here on one call to the disk fails. `choice` 0: none; up to 127: that one of those that change the disk; from
 * 128 on: the n-th of all. */
static inline void fuzz_disk_fail(uint8_t choice) {
    fuzz_disk.fail_at = choice % 128u;
    fuzz_disk.count_all = choice >= 128;
    sim_disk_set_hook(fuzz_disk.disk, fuzz__before_call, NULL);
}

static inline void fuzz_disk_close(void) {
    struct fuzz_disk *self = &fuzz_disk;
    self->env->ops = self->below;
    sim_machine_free(self->machine);
    sim_disk_free(self->disk);
    sim_free(self->sim);
}

#endif
