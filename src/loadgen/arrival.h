// When requests are sent: at once, or as a random process whose gaps follow a gamma distribution of mean 1 / rate.
// Burstiness is its shape: 1 gives a Poisson process, less comes in bursts, more is evener, infinity is a clock.
#ifndef NB_ARRIVAL_H
#define NB_ARRIVAL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nb_arrival {
    double rate_per_s;     // INFINITY: all at time 0
    double end_rate_per_s; // the rate rises from request to request up to this one; 0: it stays
    bool exponential;      // it rises by equal factors, else by equal steps
    double burstiness;     // > 0
    uint64_t seed;
} nb_arrival;

// Times of n requests since the start, ascending. At a constant rate they are scaled so that the last comes after n /
// rate exactly: runs with different seeds then offer the same load.
void nb_arrival_times(const nb_arrival *arrival, int n, int64_t *at_us);

// The draw number `index` from the gamma distribution of that shape and scale 1. Marsaglia, Tsang: "A simple method for
// generating gamma variables", ACM TOMS 26 (2000).
double nb_arrival_gamma(uint64_t seed, uint64_t index, double shape);

#endif
