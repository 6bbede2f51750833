/* check.h - invariants that are always compiled in.
 *
 * Floor 0. A broken invariant stops the process with a backtrace: going on would spread the damage.
 * Never used for bytes that came from disk or wire (those are ERR_CORRUPT) nor for operating errors
 * (those are returned).
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdnoreturn.h>

/* Prints "file:line: text" and a backtrace on standard error, then aborts. */
noreturn void check_failed(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Stops the process unless `condition` holds. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) check_failed(__FILE__, __LINE__, "check failed: %s", #condition);       \
    } while (0)

/* CHECK with a message of its own (printf arguments after the condition). */
#define CHECKF(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) check_failed(__FILE__, __LINE__, __VA_ARGS__);                          \
    } while (0)

/* Marks a place that no state can reach. */
#define UNREACHABLE() check_failed(__FILE__, __LINE__, "unreachable")

#endif
