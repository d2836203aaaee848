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

void nb_arrival_times(const nb_arrival *a, int n, int64_t *at_us)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        if (isfinite(a->rate_per_s)) {
            sum += isinf(a->burstiness) ? 1 : nb_arrival_gamma(a->seed, (uint64_t)i, a->burstiness) / a->burstiness;
        }
        at_us[i] = (int64_t)(sum / a->rate_per_s * 1e6);
    }
    double scale = sum > 0 ? (double)n / sum : 1;
    for (int i = 0; i < n; i++) at_us[i] = (int64_t)((double)at_us[i] * scale);
}
