// What a device made of sequences whose tokens are given: each row's logits and, where its steps were tapped, each
// layer's router logits and chosen experts. Two traces of the same tokens differ for two reasons, which
// nb_trace_compare tells apart:
//
//   rounding   other orders of sums, so other roundings to 16 bits: small beside the row, in every row alike
//   a flip     two experts are so near each other that rounding chooses the other one: moves this row by much, and
//              through states and keys the rows of the same sequence behind it
//
// Rows before a sequence's first flip are `clean` and held to the size of roundings. A flip must be a near tie. Behind
// it a row's first token may be another one only where its lead is small.
#ifndef NB_TEST_TRACE_H
#define NB_TEST_TRACE_H

#include "support/drive.h"

typedef struct nb_trace {
    const nb_model *model;
    int n_row, n_layer, n_expert, top_k, vocab;
    float *logits;         // [n_row][vocab]
    float *router;         // [n_row][n_layer][n_expert], of the routers' inputs as the device saw them
    int32_t *expert;       // [n_row][n_layer][top_k]; -1: not seen
    const nb_batch *batch; // of the step under way
    const int *first;
} nb_trace;

nb_trace *nb_trace_open(const nb_model *model, int n_row);
void nb_trace_close(nb_trace *t);

// Runs the batch that was collected; sequence i's tokens are rows first[i], first[i] + 1, ...; -1: they are not kept.
// A tapped step may take other kernels than one that is not (one token, on CUDA).
void nb_trace_step(nb_trace *t, nb_drive *d, const int *first, bool tapped);

typedef struct nb_trace_bounds {
    double clean_median;  // of the difference of clean rows, relative to the norm of their logits, and of all rows
    double clean_most;    // of a clean row's
    double router;        // of a router logit of a clean row, relative to the row's spread (its standard deviation)
    double margin;        // of two experts' router logits, relative to the spread: less is a near tie, which may flip
    double margin_behind; // of two experts that flip behind a first flip, where larger differences have come in
    double lead;          // of the likeliest token's logit: less may fall the other way
} nb_trace_bounds;
extern const nb_trace_bounds nb_trace_bounds_bf16, nb_trace_bounds_fp8; // of the demo, by KV format

typedef struct nb_trace_rows {
    int first, n;  // a sequence
    int logits_at; // the first row of it that has logits on both sides
} nb_trace_rows;

// Prints counts and largest differences, and fails the test where a bound is not kept. `want` must be tapped. Where
// `got` was not, its flips are unknown: a sequence may part from its first near tie in `want` on.
void nb_trace_compare(const char *what, const nb_trace *want, const nb_trace *got, const nb_trace_rows *seq, int n_seq,
                      const nb_trace_bounds *bounds);

// How many bounds were not kept, with as many lines printed; does not fail the test.
int nb_trace_count_wrong(const char *what, const nb_trace *want, const nb_trace *got, const nb_trace_rows *seq,
                         int n_seq, const nb_trace_bounds *bounds);

#endif
