// The mixture of experts. Tokens are grouped by expert, so that an expert's weights are read once for all its tokens; a
// token's results are then summed in the order of its experts' ranks, which does not depend on the grouping.
#ifndef NB_CPU_MOE_H
#define NB_CPU_MOE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/weights.h"

struct nb_cpu;

typedef struct nb_cpu_moe_scratch { // R rows, K = R * top_k grouped rows
    float *logits;                  // [R][n_expert], then probabilities
    float *weight;                  // [R][top_k]
    int32_t *id;                    // [R][top_k] by falling weight
    int32_t *place;                 // [R][top_k] grouped row of it
    int32_t *first;                 // [n_expert + 1] first grouped row of an expert
    float *x;                       // [K][d_model]
    float *gate, *up;               // [K][d_ff]
    float *y;                       // [K][d_model]
    float *shared_gate, *shared_up; // [R][d_ff of the shared expert]
    float *shared_y;                // [R][d_model]
    float *shared_weight;           // [R]
} nb_cpu_moe_scratch;

// One row of router logits [n_expert] (overwritten with probabilities) to its top_k experts by falling probability, the
// lowest index on ties; renormalised to sum 1 if asked.
void nb_cpu_moe_route(const struct nb_cpu *cpu, float *logits, int n_expert, int top_k, bool renormalise, float *weight,
                      int32_t *id);

// x += moe(normed). normed, x: [n_row][d_model]. i_layer is for taps; -1: none.
void nb_cpu_moe_apply(struct nb_cpu *cpu, const nb_moe_weights *moe, const float *normed, int n_row, int i_layer,
                      float *x);

#endif
