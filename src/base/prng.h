/* prng.h - xoshiro256**: fast pseudo-random numbers from a seed.
 *
 * Floor 0. Same seed, same numbers. Never for secrets: those come from env_random_bytes.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *self, uint64_t seed);
uint64_t prng_next(struct prng *self);
/* Uniform in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *self, uint64_t bound);

#endif
