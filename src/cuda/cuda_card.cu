// The card's name and its memory's speed: the weights are read once, in order, with nothing else on the card, and
// again; the fastest of a few passes counts. It is what a step that only reads its weights could reach.
#include <stdio.h>
#include <string.h>

#include "cuda/cuda_internal.h"

enum { READ_THREADS = 512, BLOCKS_PER_SM = 4, N_READ = 5, AHEAD = 8 };

// Rates of an 8,192 x 8,192 x 8,192 bf16 product by compute capability, measured.
typedef struct flop_rate {
    int major, minor;
    double rate;
} flop_rate;
static const flop_rate flop_rates[] = {{9, 0, 790e12}};

__global__ void __launch_bounds__(READ_THREADS) read_kernel(const uint4 *from, int64_t n, uint32_t *sink)
{
    uint32_t sum = 0;
    int64_t stride = (int64_t)gridDim.x * READ_THREADS;
    for (int64_t i = blockIdx.x * (int64_t)READ_THREADS + threadIdx.x; i < n; i += stride * AHEAD) {
        uint4 v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) v[k] = i + k * stride < n ? __ldcs(from + i + k * stride) : uint4{};
#pragma unroll
        for (int k = 0; k < AHEAD; k++) sum ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
    }
    if (sum == 0x9e3779b9u) *sink = sum; // never known, so nothing is left out
}

// All blocks of weights, each as far as it is filled.
static int read_weights(nb_cuda *d, uint32_t *sink, nb_error *err)
{
    const nb_cuda_weights *w = &d->weights;
    for (int i = 0; i < w->n_chunk; i++) {
        read_kernel<<<d->n_sm * BLOCKS_PER_SM, READ_THREADS, 0, d->stream>>>((const uint4 *)w->chunk[i],
                                                                             w->chunk_bytes[i] / 16, sink);
        NB_CUDA_TRY(cudaGetLastError(), err);
    }
    return NB_OK;
}

static int measure(nb_cuda *d, uint32_t *sink, cudaEvent_t begin, cudaEvent_t end, double *rate, nb_error *err)
{
    int64_t n_byte = 0;
    for (int i = 0; i < d->weights.n_chunk; i++) n_byte += d->weights.chunk_bytes[i];
    for (int i = 0; i < N_READ; i++) {
        float ms = 0;
        NB_CUDA_TRY(cudaEventRecord(begin, d->stream), err);
        NB_TRY(read_weights(d, sink, err));
        NB_CUDA_TRY(cudaEventRecord(end, d->stream), err);
        NB_CUDA_TRY(cudaEventSynchronize(end), err);
        NB_CUDA_TRY(cudaEventElapsedTime(&ms, begin, end), err);
        double now = (double)n_byte / (ms * 1e-3);
        if (now > *rate) *rate = now;
    }
    return NB_OK;
}

int nb_cuda_card_read(nb_device *device, nb_cuda_card *out, nb_error *err)
{
    nb_cuda *d = (nb_cuda *)device;
    cudaDeviceProp card;
    uint32_t *sink = NULL;
    cudaEvent_t begin = NULL, end = NULL;
    memset(out, 0, sizeof *out);
    NB_CUDA_TRY(cudaGetDeviceProperties(&card, d->options.ordinal), err);
    snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, card.name);
    for (const flop_rate &known : flop_rates)
        if (card.major == known.major && card.minor == known.minor) out->flop_rate = known.rate;
    cudaError_t code = cudaMalloc(&sink, sizeof *sink);
    if (code == cudaSuccess) code = cudaEventCreate(&begin);
    if (code == cudaSuccess) code = cudaEventCreate(&end);
    int result = code == cudaSuccess ? measure(d, sink, begin, end, &out->read_rate, err)
                                     : nb_cuda_fail(code, "memory to measure with", err);
    cudaFree(sink);
    if (begin) cudaEventDestroy(begin);
    if (end) cudaEventDestroy(end);
    return result;
}
