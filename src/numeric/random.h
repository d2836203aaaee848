// Random numbers as a function of (seed, counter): Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). No state: a request's draws depend on its seed and its position alone, never on its neighbours,
// and host and device code draw the same numbers.
#ifndef NB_RANDOM_H
#define NB_RANDOM_H

#include <stdint.h>

#include "numeric/host_device.h"

typedef struct nb_random4 {
    uint32_t v[4];
} nb_random4;

NB_HD nb_random4 nb_random_philox(uint64_t seed, uint64_t counter_low, uint64_t counter_high)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    nb_random4 c = {
        {(uint32_t)counter_low, (uint32_t)(counter_low >> 32), (uint32_t)counter_high, (uint32_t)(counter_high >> 32)}};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c.v[0], p1 = (uint64_t)0xCD9E8D57u * c.v[2];
        nb_random4 next = {
            {(uint32_t)(p1 >> 32) ^ c.v[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c.v[3] ^ k1, (uint32_t)p0}};
        c = next;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// Uniform in (0, 1): never 0, never 1, so that log() of it is finite. 23 bits, as with 24 the half would not fit into
// binary32 and the largest value would round to 1.
NB_HD float nb_random_unit(uint32_t bits)
{
    return ((float)(bits >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

#endif
