#include "etcdctl/child.h"

#include "base/gotext.h"
#include "base/vec.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

static bool replaced(const char *entry, const char *const *more) {
    size_t length = strcspn(entry, "=");
    for (; *more; more++)
        if (strncmp(*more, entry, length) == 0 && (*more)[length] == '=') return true;
    return false;
}

static int start_error(const char *program, int error_number, struct buf *error) {
    if (!strchr(program, '/') && error_number == ENOENT) {
        buf_append_cstr(error, "exec: ");
        go_append_quoted(error, slice_from_cstr(program));
        buf_append_cstr(error, ": executable file not found in $PATH");
        return 1;
    }
    CLEANUP_BUF struct buf reason = BUF_INIT;
    buf_append_cstr(&reason, strerror(error_number));
    if (reason.len > 0 && reason.data[0] >= 'A' && reason.data[0] <= 'Z') reason.data[0] += 'a' - 'A';
    buf_printf(error, "fork/exec %s: %s", program, buf_cstr(&reason));
    return 1;
}

int child_run(const char *const *argv, const char *const *more, struct buf *error) {
    VEC(const char *) environment = {0};
    for (char **entry = environ; *entry; entry++)
        if (!replaced(*entry, more)) VEC_PUSH(&environment, *entry);
    for (const char *const *entry = more; *entry; entry++) VEC_PUSH(&environment, *entry);
    VEC_PUSH(&environment, NULL);
    pid_t pid;
    /* posix_spawnp takes char *const[] but writes to none of it. */
    int failed = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv,
                              (char *const *)(uintptr_t)environment.items);
    VEC_RELEASE(&environment);
    if (failed) return start_error(argv[0], failed, error);
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return start_error(argv[0], errno, error);
    if (WIFSIGNALED(status)) {
        CLEANUP_BUF struct buf name = BUF_INIT;
        buf_append_cstr(&name, strsignal(WTERMSIG(status)));
        if (name.len > 0 && name.data[0] >= 'A' && name.data[0] <= 'Z') name.data[0] += 'a' - 'A';
        buf_printf(error, "signal: %s", buf_cstr(&name));
        return 1;
    }
    if (WEXITSTATUS(status) != 0) buf_printf(error, "exit status %d", WEXITSTATUS(status));
    return WEXITSTATUS(status);
}
