// The raw speed of a device: decode steps and prefill as the engine would submit them (one step ahead), without engine
// and server. Called by `nibble bench`.
#ifndef NB_BENCH_DEVICE_H
#define NB_BENCH_DEVICE_H

#include "model/device.h"
#include "model/plan.h"

typedef struct nb_bench_options {
    nb_device *device; // loaded, not reserved
    const nb_model *model;
    nb_kv_format kv;
    int max_seq;      // most sequences of a decode
    int max_context;  // longest sequence, prompt and decoded tokens together
    int chunk;        // tokens of a prefill step
    int n_step;       // timed decode steps
    int n_prompt;     // timed prefills
    double read_rate; // the device's, bytes/s: the roof
    double flop_rate; // operations/s; 0: unknown, the roof is memory's alone
} nb_bench_options;

typedef struct nb_bench_result {
    double us;      // median of a decode step, or of a whole prefill, by the host's clock
    double n_tok;   // of that step or prefill
    double n_byte;  // the fewest (nb_plan_step_make) ..
    double n_flop;  // .. both
    double roof_us; // no step can be faster
} nb_bench_result;

// Called with the time of each kernel of one more step, if the device can say it.
typedef void (*nb_bench_kernel_fn)(void *user, nb_plan_part part, const char *kernel, double us);

typedef struct nb_bench_device nb_bench_device;

int nb_bench_device_open(const nb_bench_options *options, nb_bench_device **out, nb_error *err);
void nb_bench_device_close(nb_bench_device *bench); // not the device

// One token of each of n_seq sequences that have `context` tokens; their prompts are one sequence's, copied.
int nb_bench_decode(nb_bench_device *bench, int n_seq, int context, nb_bench_result *out, nb_error *err);

// A prompt of n tokens, alone, in chunks.
int nb_bench_prefill(nb_bench_device *bench, int n, nb_bench_result *out, nb_error *err);

// The kernels of one more step like the last one that was timed, and its fewest bytes and operations by part. CUDA
// only.
int nb_bench_kernels(nb_bench_device *bench, nb_bench_kernel_fn fn, void *user, nb_plan_step *work, nb_error *err);

#endif
