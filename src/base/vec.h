/* vec.h - typed growable arrays.
 *
 * Floor 0. `struct VEC(type)`-like: VEC(type) declares an anonymous struct {items, count, capacity}; {0} is empty.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include "base/mem.h"

#define VEC(type)                                                                                                      \
    struct {                                                                                                           \
        type *items;                                                                                                   \
        size_t count;                                                                                                  \
        size_t capacity;                                                                                               \
    }

#define VEC_RESERVE(vec, more)                                                                                         \
    do {                                                                                                               \
        if ((vec)->capacity - (vec)->count < (size_t)(more)) {                                                         \
            size_t wanted_ = (vec)->count + (size_t)(more);                                                            \
            size_t capacity_ = (vec)->capacity ? (vec)->capacity * 2 : 8;                                              \
            if (capacity_ < wanted_) capacity_ = wanted_;                                                              \
            (vec)->items = mem_realloc((vec)->items, capacity_ * sizeof *(vec)->items);                                \
            (vec)->capacity = capacity_;                                                                               \
        }                                                                                                              \
    } while (0)

#define VEC_PUSH(vec, ...)                                                                                             \
    do {                                                                                                               \
        VEC_RESERVE(vec, 1);                                                                                           \
        (vec)->items[(vec)->count++] = __VA_ARGS__;                                                                    \
    } while (0)

#define VEC_RELEASE(vec)                                                                                               \
    do {                                                                                                               \
        mem_free((vec)->items);                                                                                        \
        (vec)->items = NULL;                                                                                           \
        (vec)->count = (vec)->capacity = 0;                                                                            \
    } while (0)

#endif
