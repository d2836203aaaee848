// Every draw is a function of (seed, index): an attempt that the method rejects goes on with the next counter.
#include "loadgen/arrival.h"

#include <math.h>

#include "numeric/random.h"

#define TWO_PI 6.283185307179586

// One normal and two uniform numbers, which is what one attempt needs.
typedef struct draws {
    double normal, u, v;
} draws;

static draws draw(uint64_t seed, uint64_t index, uint64_t attempt)
{
    nb_random4 r = nb_random_philox(seed, index, attempt);
    double radius = sqrt(-2 * log((double)nb_random_unit(r.v[0])));
    return (draws){.normal = radius * cos(TWO_PI * (double)nb_random_unit(r.v[1])),
                   .u = (double)nb_random_unit(r.v[2]),
                   .v = (double)nb_random_unit(r.v[3])};
}

double nb_arrival_gamma(uint64_t seed, uint64_t index, double shape)
{
    double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (uint64_t attempt = 0;; attempt++) {
        draws r = draw(seed, index, attempt);
        double cube = pow(1 + c * r.normal, 3);
        if (cube <= 0 || log(r.u) >= r.normal * r.normal / 2 + d - d * cube + d * log(cube)) continue;
        return d * cube * (shape < 1 ? pow(r.v, 1 / shape) : 1);
    }
}

static double rate_of(const nb_arrival *a, int i, int n)
{
    if (a->end_rate_per_s == 0) return a->rate_per_s;
    double progress = n > 1 ? (double)i / (n - 1) : 0;
    if (a->exponential) return a->rate_per_s * pow(a->end_rate_per_s / a->rate_per_s, progress);
    return a->rate_per_s + (a->end_rate_per_s - a->rate_per_s) * progress;
}

// The time before request i, in seconds.
static double gap_of(const nb_arrival *a, int i, int n)
{
    double even = isinf(a->burstiness) ? 1 : nb_arrival_gamma(a->seed, (uint64_t)i, a->burstiness) / a->burstiness;
    return even / rate_of(a, i, n);
}

void nb_arrival_times(const nb_arrival *a, int n, int64_t *at_us)
{
    double sum_s = 0;
    for (int i = 0; i < n; i++) {
        if (isfinite(a->rate_per_s)) sum_s += gap_of(a, i, n);
        at_us[i] = (int64_t)(sum_s * 1e6);
    }
    if (sum_s == 0 || a->end_rate_per_s != 0) return;
    double scale = n / a->rate_per_s / sum_s;
    for (int i = 0; i < n; i++) at_us[i] = (int64_t)((double)at_us[i] * scale);
}
