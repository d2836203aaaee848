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

#ifdef __cplusplus
}
#endif

#endif
