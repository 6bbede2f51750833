/* mem.h - memory for objects.
 *
 * Floor 0. mem_* never return NULL: when the system has no memory left the process ends at once with a
 * line on standard error and exit status 2, as a Go member does. State on disk is always good to restart
 * from, so ending is safe; limping on with half an update is not. Sizes that an outsider chooses are bounded
 * by named limits before they get here.
 *
 * Any thread may call any of these.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size_bytes) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* Zeroed. The product count * size_bytes is checked against overflow. */
void *mem_calloc(size_t count, size_t size_bytes) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *mem_realloc(void *memory, size_t size_bytes) __attribute__((returns_nonnull, warn_unused_result));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* NULL is allowed. */
void mem_free(void *memory);

#define NEW(type) ((type *)mem_calloc(1, sizeof(type)))
#define NEW_ARRAY(type, count) ((type *)mem_calloc((count), sizeof(type)))

/* For tests: every allocation first asks `hook`; false makes it fail. NULL takes the hook away.
 * Set while no other thread allocates. */
typedef int (*mem_fail_hook)(void *context, size_t size_bytes);
void mem_set_fail_hook(mem_fail_hook hook, void *context);

/* Frees a `char *` or `void *` local at the end of its scope. */
#define CLEANUP_FREE __attribute__((cleanup(mem__cleanup)))
static inline void mem__cleanup(void *pointer_to_pointer) { mem_free(*(void **)pointer_to_pointer); }

/* Gives up ownership of a local held by a cleanup attribute: the value goes out, NULL stays. */
#define TAKE(pointer)                                                                                                  \
    __extension__({                                                                                                    \
        __auto_type taken_ = (pointer);                                                                                \
        (pointer) = NULL;                                                                                              \
        taken_;                                                                                                        \
    })

#endif
