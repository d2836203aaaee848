// Stands in for the CUDA device in a build without CUDA.
#include "cuda/cuda_device.h"

int nb_cuda_open(const nb_cuda_options *options, nb_device **out, nb_error *err)
{
    (void)options;
    *out = NULL;
    return nb_error_set(err, NB_ERR_DEVICE, "this build has no CUDA device; build where nvcc is, or use --device cpu");
}

int nb_cuda_time_kernels(nb_device *device, nb_cuda_time_fn fn, void *user, nb_error *err)
{
    (void)device, (void)fn, (void)user;
    return nb_error_set(err, NB_ERR_DEVICE, "this build has no CUDA device, so no kernels can be timed");
}

int nb_cuda_card_read(nb_device *device, nb_cuda_card *out, nb_error *err)
{
    (void)device, (void)out;
    return nb_error_set(err, NB_ERR_DEVICE, "this build has no CUDA device");
}
