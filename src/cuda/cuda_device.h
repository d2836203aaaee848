// The CUDA device. Without CUDA in the build nb_cuda_open says so.
#ifndef NB_CUDA_DEVICE_H
#define NB_CUDA_DEVICE_H

#include "model/device.h"

typedef struct nb_cuda_options {
    int ordinal;                   // which GPU
    double gpu_memory_utilization; // share of the card's memory that may be used, 0 < x <= 1
} nb_cuda_options;

#ifdef __cplusplus
extern "C" {
#endif

int nb_cuda_open(const nb_cuda_options *options, nb_device **out, nb_error *err);

// From now on calls `fn` with the time of each kernel of every step, in order (slow: no overlap of kernels); NULL
// stops.
typedef void (*nb_cuda_time_fn)(void *user, const char *kernel, double us);
int nb_cuda_time_kernels(nb_device *device, nb_cuda_time_fn fn, void *user, nb_error *err);

#ifdef __cplusplus
}
#endif

#endif
