// Linears of one stage of a block, collected and then run together over the team: one start of the threads for all of
// them.
//
//   nb_cpu_linear_add(...); nb_cpu_linear_add(...); nb_cpu_linear_run(cpu);
//
// Inputs are rounded as the options and the format ask: to bf16 (bf16_activations), then to e4m3 (a linear with an
// input_scale).
#ifndef NB_CPU_DEVICE_LINEAR_H
#define NB_CPU_DEVICE_LINEAR_H

#include "cpu/cpu_kernels.h"

struct nb_cpu;

typedef struct nb_cpu_linear_job {
    nb_cpu_matmul matmul;
    const float *x;    // before rounding
    uint16_t *rounded; // [n_row][n_in], NULL: x is used as it is
    bool shares;       // `rounded` is the previous job's
    int first_task, block;
} nb_cpu_linear_job;

typedef struct nb_cpu_linears {
    nb_cpu_linear_job *job;
    int n_job, cap_job;
    uint16_t *word; // rounded inputs
    int64_t n_word, cap_word;
} nb_cpu_linears;

// y = linear(x), or y += linear(x). x: [n_row][n_in], y: [n_row][n_out].
void nb_cpu_linear_add(struct nb_cpu *cpu, const nb_linear *linear, const float *x, int n_row, float *y, bool add);
void nb_cpu_linear_run(struct nb_cpu *cpu);

#endif
