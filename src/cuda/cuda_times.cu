// Times of single kernels: events between the nodes of a graph, so that the host's launches are not in them. Without
// dependent launch, whose overlap belongs to no kernel.
#include <stdlib.h>

#include "cuda/cuda_internal.h"

int nb_cuda_times_mark(nb_cuda_times *t, cudaStream_t stream, const void *kernel, nb_error *err)
{
    if (t->n == NB_CUDA_TIMES_MAX) return NB_OK;
    if (kernel) {
        t->n++;
        t->part[t->n] = t->now;
        NB_CUDA_TRY(cudaFuncGetName(&t->name[t->n], kernel), err);
    }
    if (!t->event[t->n]) NB_CUDA_TRY(cudaEventCreate(&t->event[t->n]), err);
    NB_CUDA_TRY(cudaEventRecordWithFlags(t->event[t->n], stream, cudaEventRecordExternal), err);
    return NB_OK;
}

static int report(const nb_cuda_times *t, nb_cuda_time_fn fn, void *user, nb_error *err)
{
    for (int i = 1; i <= t->n; i++) {
        float ms = 0;
        NB_CUDA_TRY(cudaEventElapsedTime(&ms, t->event[i - 1], t->event[i]), err);
        fn(user, (nb_plan_part)t->part[i], t->name[i], ms * 1000);
    }
    return NB_OK;
}

int nb_cuda_times_run(nb_cuda *d, const nb_cuda_flight *f, const nb_cuda_meta *m, nb_error *err)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    nb_cuda_times *t = d->times;
    t->n = 0;
    NB_CUDA_TRY(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), err);
    int code = nb_cuda_times_mark(t, d->stream, NULL, err);
    if (code == NB_OK) code = nb_cuda_step_run(d, f, m, 0, err);
    NB_CUDA_TRY(cudaStreamEndCapture(d->stream, &graph), err);
    NB_TRY(code);
    NB_CUDA_TRY(cudaGraphInstantiate(&exec, graph, 0), err);
    cudaGraphDestroy(graph);
    NB_CUDA_TRY(cudaGraphLaunch(exec, d->stream), err);
    NB_CUDA_TRY(cudaStreamSynchronize(d->stream), err);
    cudaGraphExecDestroy(exec);
    return report(t, d->time, d->time_user, err);
}

void nb_cuda_times_close(nb_cuda_times *t)
{
    for (int i = 0; t && i <= NB_CUDA_TIMES_MAX; i++)
        if (t->event[i]) cudaEventDestroy(t->event[i]);
    free(t);
}

int nb_cuda_time_kernels(nb_device *device, nb_cuda_time_fn fn, void *user, nb_error *err)
{
    nb_cuda *d = (nb_cuda *)device;
    if (!d->times) d->times = (nb_cuda_times *)calloc(1, sizeof *d->times);
    if (!d->times) return nb_error_set(err, NB_ERR_MEMORY, "no memory for the times of kernels");
    d->time = fn, d->time_user = user;
    return NB_OK;
}
