// See series.h.
#include "loadgen/series.h"

#include <math.h>
#include <stdlib.h>

#include "base/arena.h"

void nb_series_add(nb_series *s, double value)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->value = nb_realloc(s->value, sizeof *s->value * (size_t)s->cap);
    }
    s->value[s->n++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void nb_series_sort(nb_series *s)
{
    if (s->n) qsort(s->value, (size_t)s->n, sizeof *s->value, compare);
}

void nb_series_drop(nb_series *s)
{
    free(s->value);
    *s = (nb_series){0};
}

double nb_series_mean(const nb_series *s)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++) sum += s->value[i];
    return s->n ? sum / (double)s->n : 0;
}

double nb_series_std(const nb_series *s)
{
    double mean = nb_series_mean(s), sum = 0;
    for (int64_t i = 0; i < s->n; i++) sum += (s->value[i] - mean) * (s->value[i] - mean);
    return s->n ? sqrt(sum / (double)s->n) : 0;
}

double nb_series_percentile(const nb_series *s, double p)
{
    if (s->n == 0) return 0;
    double at = p / 100 * (double)(s->n - 1);
    int64_t below = (int64_t)at;
    if (below >= s->n - 1) return s->value[s->n - 1];
    return s->value[below] + (at - (double)below) * (s->value[below + 1] - s->value[below]);
}
