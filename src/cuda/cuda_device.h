// The CUDA device. Without CUDA in the build nb_cuda_open says so.
#ifndef NB_CUDA_DEVICE_H
#define NB_CUDA_DEVICE_H

#include "model/device.h"
#include "model/plan.h"

typedef struct nb_cuda_options {
    int ordinal;                   // which GPU
    double gpu_memory_utilization; // share of the card's memory that may be used, 0 < x <= 1
    bool mtp;                      // load the MTP module too, so that steps can propose drafts
    bool portable;                 // only kernels that serve every card, not those of one architecture
} nb_cuda_options;

#ifdef __cplusplus
extern "C" {
#endif

int nb_cuda_open(const nb_cuda_options *options, nb_device **out, nb_error *err);

// From now on calls `fn` with the time of each kernel of every step, in order (slow: no overlap of kernels); NULL
// stops.
typedef void (*nb_cuda_time_fn)(void *user, nb_plan_part part, const char *kernel, double us);
int nb_cuda_time_kernels(nb_device *device, nb_cuda_time_fn fn, void *user, nb_error *err);

typedef struct nb_cuda_card {
    char name[128];
    double read_rate; // bytes/s at which a kernel reads the weights, each once: measured
    double flop_rate; // operations/s of a large bf16 product where it was measured for this kind of card, else 0
} nb_cuda_card;
// Needs a loaded model; takes some milliseconds. For the roof of `nibble bench`.
int nb_cuda_card_read(nb_device *device, nb_cuda_card *out, nb_error *err);

#ifdef __cplusplus
}
#endif

#endif
