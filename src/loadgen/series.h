// Statistics of a list of numbers, as NumPy computes them by default. An empty list gives 0 everywhere.
#ifndef NB_SERIES_H
#define NB_SERIES_H

#include <stdint.h>

typedef struct nb_series {
    double *value;
    int64_t n, cap;
} nb_series;

void nb_series_add(nb_series *s, double value);
void nb_series_sort(nb_series *s); // ascending: nb_series_percentile needs it
void nb_series_drop(nb_series *s);

double nb_series_mean(const nb_series *s);
double nb_series_std(const nb_series *s);                       // of the population
double nb_series_percentile(const nb_series *sorted, double p); // 0 <= p <= 100, linear between neighbours

#endif
