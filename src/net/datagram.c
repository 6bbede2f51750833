#include "net/datagram.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static enum err open_connected(const char *path, int *ret_socket) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof address.sun_path) return ERR_INVALID;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return err_from_errno(errno);
    if (connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
        enum err error = err_from_errno(errno);
        close(fd);
        return error;
    }
    *ret_socket = fd;
    return OK;
}

enum err net_datagram_send(const char *path, struct slice message) {
    int fd;
    TRY(open_connected(path, &fd));
    ssize_t sent;
    do sent = send(fd, message.data, message.len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    enum err error = sent < 0 ? err_from_errno(errno) : OK;
    close(fd);
    return error;
}

enum err net_datagram_probe(const char *path) {
    int fd;
    TRY(open_connected(path, &fd));
    close(fd);
    return OK;
}
