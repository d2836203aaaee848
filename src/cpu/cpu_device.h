// The CPU device: all of model/device.h on the host, with scalar reference kernels that are always there and vector
// kernels chosen at run time. Called by cli and tests only.
#ifndef NB_CPU_DEVICE_H
#define NB_CPU_DEVICE_H

#include "model/device.h"

typedef enum nb_cpu_kernels { NB_CPU_AUTO, NB_CPU_SCALAR, NB_CPU_AVX2, NB_CPU_AVX512 } nb_cpu_kernels;

typedef struct nb_cpu_options {
    int n_thread;           // 0: all cores of the process
    nb_cpu_kernels kernels; // AUTO: the best that this machine has; one it has not is an error
    bool bf16_activations;  // round the input of every linear to BF16, as a GPU does
    bool gdn_chunked;       // prefill by the chunked form of Gated DeltaNet (chunks of 64) instead of the recurrence
} nb_cpu_options;

int nb_cpu_open(const nb_cpu_options *options, nb_device **out, nb_error *err);

#endif
