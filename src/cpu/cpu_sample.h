// The sampler: one row of logits to a token and its log-probabilities. The rules below are THE definition, for every
// device; a device that sums in another order may differ only where two cumulative sums agree to rounding.
//
// z = logits
//  1. penalties, each token of the history once. repetition r: z > 0 ? z / r : z * r. Then, over the output,
//     z -= frequency * n_output, and z -= presence if n_output > 0 (as vLLM).
//  2. z[tok] += bias; tokens whose mask bit is 0: z = -INFINITY.
//  3. temperature 0: the largest z, the lowest id on ties; nothing below applies. Else z = z / temperature.
//  4. order: falling z, lower id first. w_i = exp(z_i - z_max).
//     top-k: the first k of the order. top-p: with W = sum of w over those, the shortest prefix whose sum is >= top_p *
//     W (at least one). min-p: of those, w_i >= min_p.
//  5. draw: u = nb_random_unit(nb_random_philox(seed, position, 0).v[0]); with W' = sum of w over what is left, the
//  first
//     token in ascending ID order whose cumulative sum of w is > u * W'. (Id order: no sort of the vocabulary is needed
//     where nothing is truncated, and a parallel prefix sum gives it.)
// Log-probabilities and ranks are of the raw logits: logits - log sum exp(logits), the sum in binary64. The rank of a
// token is its place in the order (falling logit, lower id first), from 1.
#ifndef NB_CPU_SAMPLE_H
#define NB_CPU_SAMPLE_H

#include "model/batch.h"

typedef struct nb_sample_candidate {
    float z;
    int32_t id;
} nb_sample_candidate;

typedef struct nb_sample_input {
    const float *logits; // [vocab] raw, not changed
    int32_t vocab;
    const nb_batch *batch; // row's history, bias and mask lie here
    const nb_row *row;
    int64_t position;     // of the token to draw
    const int32_t *extra; // output tokens the history does not hold yet (those given as NB_TOKEN_LAST)
    int32_t n_extra;
} nb_sample_input;

// scratch: [vocab], of the calling thread. Fills all of `out` except `logits`. out->tok is -1 where the row does not
// ask for a token, and where none can be drawn: every token masked, or a logit is NaN.
void nb_cpu_sample_row(const nb_sample_input *input, nb_sample_candidate *scratch, nb_row_result *out);

#endif
