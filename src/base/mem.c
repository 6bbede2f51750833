#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mem_fail_hook fail_hook;
static void *fail_hook_context;

void mem_set_fail_hook(mem_fail_hook hook, void *context) {
    fail_hook = hook;
    fail_hook_context = context;
}

static int may_allocate(size_t size_bytes) { return fail_hook == NULL || fail_hook(fail_hook_context, size_bytes); }

__attribute__((noreturn, cold)) static void out_of_memory(size_t size_bytes) {
    char line[96];
    int length = snprintf(line, sizeof line, "out of memory (%zu bytes wanted)\n", size_bytes);
    if (write(STDERR_FILENO, line, (size_t)length) < 0) _exit(3);
    _exit(2);
}

void *mem_alloc(size_t size_bytes) {
    void *memory = may_allocate(size_bytes) ? malloc(size_bytes ? size_bytes : 1) : NULL;
    if (__builtin_expect(memory == NULL, 0)) out_of_memory(size_bytes);
    return memory;
}

void *mem_calloc(size_t count, size_t size_bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) out_of_memory(SIZE_MAX);
    void *memory = may_allocate(total) ? calloc(1, total ? total : 1) : NULL;
    if (__builtin_expect(memory == NULL, 0)) out_of_memory(total);
    return memory;
}

void *mem_realloc(void *memory, size_t size_bytes) {
    void *moved = may_allocate(size_bytes) ? realloc(memory, size_bytes ? size_bytes : 1) : NULL;
    if (__builtin_expect(moved == NULL, 0)) out_of_memory(size_bytes);
    return moved;
}

char *mem_strdup(const char *text) {
    size_t size_bytes = strlen(text) + 1;
    return memcpy(mem_alloc(size_bytes), text, size_bytes);
}

void mem_free(void *memory) { free(memory); }
