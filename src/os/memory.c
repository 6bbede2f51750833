/* memory.c - freed memory back to the system: glibc keeps what lies below a block in use, which after a flood of
 * clients is nearly all that they made it take. */
#include "os/os.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* Resident and not of a file; 0 when the system does not tell. */
static size_t own_resident_bytes(void) {
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[128];
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len <= 0) return 0;
    text[len] = 0;
    size_t resident_pages, shared_pages;
    if (sscanf(text, "%*u %zu %zu", &resident_pages, &shared_pages) != 2 || shared_pages > resident_pages) return 0;
    return (resident_pages - shared_pages) * (size_t)sysconf(_SC_PAGESIZE);
}

bool os_memory_trim(size_t idle_max_bytes) {
    size_t resident_bytes = own_resident_bytes();
    if (resident_bytes <= idle_max_bytes) return false;
    struct mallinfo2 info = mallinfo2();
    size_t used_bytes = info.uordblks + info.hblkhd;
    if (used_bytes > resident_bytes || resident_bytes - used_bytes <= idle_max_bytes) return false;
    malloc_trim(0);
    return true;
}
