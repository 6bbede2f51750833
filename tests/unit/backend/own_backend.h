/* own_backend.h - a backend in a folder of its own, for the tests of those who write to one. */
#ifndef TESTS_OWN_BACKEND_H
#define TESTS_OWN_BACKEND_H

#include "backend/backend.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct own_backend {
    char directory[64];
    char path[80];
    struct os_world *world;
    struct backend *backend;
};

static inline void own_backend_open(struct own_backend *self) {
    struct backend_options options = {.unsafe_no_fsync = true};
    struct errmsg message = {{0}};
    assert_int_equal(backend_open(os_world_env(self->world), self->path, &options, &self->backend, &message), OK);
}

static inline void own_backend_init(struct own_backend *self) {
    *self = (struct own_backend){.directory = P_tmpdir "/etcd-backend-XXXXXX", .world = os_world_new(NULL)};
    assert_non_null(mkdtemp(self->directory));
    snprintf(self->path, sizeof self->path, "%s/db", self->directory);
    own_backend_open(self);
}

/* From the file, as after a restart. */
static inline void own_backend_reopen(struct own_backend *self) {
    assert_int_equal(backend_close(self->backend), OK);
    own_backend_open(self);
}

static inline void own_backend_release(struct own_backend *self) {
    assert_int_equal(backend_close(self->backend), OK);
    os_world_free(self->world);
    unlink(self->path);
    rmdir(self->directory);
}

#endif
