// Values of `bench serve` that are more than a number: goals, lists with commas, pairs. Used by cmd_bench_serve.c.
#ifndef NB_BENCH_TEXT_H
#define NB_BENCH_TEXT_H

#include "loadgen/load_report.h"

enum { NB_BENCH_GOALS_MAX = 3 };

int nb_bench_text_positive(const char *option, const char *text, double *out, nb_error *err); // "inf" too

// "ttft:200": one more goal in `goal`.
int nb_bench_text_goal(const char *text, nb_load_goal *goal, int *n_goal, nb_error *err);

// "ttft,tpot" and "50,99.9" into the report.
int nb_bench_text_metrics(const char *list, nb_load_report *report, nb_error *err);
int nb_bench_text_percentiles(const char *list, nb_load_report *report, nb_error *err);

// "KEY=VALUE": the key in `arena`.
typedef struct nb_bench_pair {
    const char *key, *value;
} nb_bench_pair;
int nb_bench_text_pair(const char *option, const char *text, nb_arena *arena, nb_bench_pair *out, nb_error *err);

#endif
