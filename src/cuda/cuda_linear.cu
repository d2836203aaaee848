// Dense products. Two kernels: small_kernel for up to 8 tokens (weights stream through registers, the first ones before
// the dependency is waited for; the block prepares its own input) and tiles_kernel of cuda_tiles.cuh for more.
//
// Bytes: every matrix once per launch and 8 * NT tokens; the input n_tok * n_in * 2 per block from L2.
#include "cuda/cuda_linear.h"

#include "cuda/cuda_route.cuh"
#include "cuda/cuda_source.cuh"
#include "cuda/cuda_tiles.cuh"

int nb_cuda_fail(cudaError_t code, const char *what, nb_error *err)
{
    int kind = code == cudaErrorMemoryAllocation ? NB_ERR_MEMORY : NB_ERR_DEVICE;
    return nb_error_set(err, kind, "the GPU refused %.200s: %s", what, cudaGetErrorString(code));
}

// Units a warp has in flight: about 128 bytes per lane.
template <int KIND> static constexpr int depth_of = KIND == NB_KIND_BF16 ? 2 : 4;

enum { SMALL_WARP_MAX = 16 };

__device__ static void store_output(const nb_cuda_output &o, int tok, int row, float y)
{
    int64_t at = (int64_t)tok * o.stride + o.first + row;
    if (o.kind == NB_OUT_F32) ((float *)o.out)[at] = y;
    if (o.kind == NB_OUT_BF16) ((uint16_t *)o.out)[at] = nb_bf16_from_f32(y);
    if (o.kind == NB_OUT_ADD) ((float *)o.out)[at] += y;
}

// Sums the warps' partial tiles and stores. red: [n_warp][128], element lane * 4 + c as in nb_mma.
__device__ static void finish_row_tile(const nb_cuda_dense &d, int i_matrix, int row_tile, const float *red)
{
    const nb_cuda_matrix &m = d.matrix[i_matrix];
    int n_warp = blockDim.x >> 5;
    for (int j = threadIdx.x; j < 128; j += blockDim.x) {
        int c = j & 3, tok = 2 * ((j >> 2) & 3) + (c & 1), row = row_tile * 16 + (j >> 4) + 8 * (c >> 1);
        if (tok >= d.n_tok || row >= m.n_out) continue;
        float y = 0;
        for (int w = 0; w < n_warp; w++) y += red[w * 128 + j];
        y *= m.scale_low * (m.row_scale ? m.row_scale[row] : 1.0f);
        store_output(d.output[i_matrix], tok, row, y);
    }
}

// red: [2][SMALL_WARP_MAX * 128], sums: [32], both shared.
template <int KIND>
__device__ static void small_rows(const nb_cuda_dense &d, int i_matrix, int first, int stride, float *red, float *sums)
{
    constexpr int D = depth_of<KIND>;
    extern __shared__ __align__(16) uint16_t x[];
    const nb_cuda_matrix &m = d.matrix[i_matrix];
    constexpr int n_tile = nb_unit<KIND>::n_tile, unit_words = nb_unit<KIND>::n_chunk * n_tile * 32;
    int n_unit = m.n_k_tile / n_tile, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, n_warp = blockDim.x >> 5;
    int n_round = (n_unit + n_warp * D - 1) / (n_warp * D), x_stride = m.n_k_tile * NB_CUDA_K_TILE + 8;
    nb_unit<KIND> now[D], next[D];
    float acc[1][4] = {};
    auto load = [&](nb_unit<KIND> *u, int row_tile, int round) {
        const uint4 *data = m.data + (int64_t)row_tile * n_unit * unit_words;
        const uint32_t *scale = m.scale + (int64_t)row_tile * n_unit * 32;
#pragma unroll
        for (int i = 0; i < D; i++) nb_unit_load<KIND>(&u[i], data, scale, warp + n_warp * (round * D + i), n_unit);
    };
    if (first < m.n_row_tile) load(now, first, 0);
    nb_grid_wait();
    float inverse = m.input_scale > 0 ? 1.0f / m.input_scale : 1.0f;
    for (int tok = 0; tok < d.n_tok; tok++) {
        nb_source_row<nb_unit<KIND>::f16>(d.source, tok, inverse, x + tok * x_stride, m.n_k_tile * NB_CUDA_K_TILE, sums);
    }
    __syncthreads();
    if (d.keep && first == 0 && i_matrix == 0)
        for (int tok = 0; tok < d.n_tok; tok++)
            for (int i = threadIdx.x; i < m.n_k_tile * NB_CUDA_K_TILE; i += blockDim.x)
                d.keep[tok * m.n_k_tile * NB_CUDA_K_TILE + i] = x[tok * x_stride + i];
    int parity = 0;
    for (int row_tile = first; row_tile < m.n_row_tile; row_tile += stride) {
        for (int round = 0; round < n_round; round++) {
            bool end = round == n_round - 1;
            int next_tile = end ? row_tile + stride : row_tile;
            if (next_tile < m.n_row_tile) load(next, next_tile, end ? 0 : round + 1);
#pragma unroll
            for (int i = 0; i < D; i++) {
                int u = warp + n_warp * (round * D + i);
                if (u < n_unit) nb_unit_mma<KIND, 1>(acc, now[i], m, row_tile, u, x, 0, x_stride, d.n_tok);
            }
#pragma unroll
            for (int i = 0; i < D; i++) now[i] = next[i];
        }
        *(float4 *)&red[(parity * SMALL_WARP_MAX + warp) * 128 + lane * 4] = *(float4 *)acc[0];
        acc[0][0] = acc[0][1] = acc[0][2] = acc[0][3] = 0;
        __syncthreads();
        finish_row_tile(d, i_matrix, row_tile, red + parity * SMALL_WARP_MAX * 128);
        parity ^= 1;
    }
}

__global__ void __launch_bounds__(SMALL_WARP_MAX * 32, 1) small_kernel(const __grid_constant__ nb_cuda_dense d,
                                                                       const __grid_constant__ nb_cuda_route r)
{
    __shared__ float red[2 * SMALL_WARP_MAX * 128], sums[32];
    nb_grid_release();
    int i = 0;
    while ((int)blockIdx.x >= d.block_first[i + 1]) i++;
    int first = blockIdx.x - d.block_first[i], stride = d.block_first[i + 1] - d.block_first[i];
    switch (d.matrix[i].kind) {
    case NB_KIND_BF16: small_rows<NB_KIND_BF16>(d, i, first, stride, red, sums); break;
    case NB_KIND_FP8_A8: small_rows<NB_KIND_FP8_A8>(d, i, first, stride, red, sums); break;
    case NB_KIND_FP8_A16: small_rows<NB_KIND_FP8_A16>(d, i, first, stride, red, sums); break;
    default: small_rows<NB_KIND_NVFP4>(d, i, first, stride, red, sums); break;
    }
    if (!d.route || !nb_last_block(r.counter, gridDim.x)) return;
    nb_route_small(r);
}

template <bool F16>
__global__ void prepare_kernel(const __grid_constant__ nb_cuda_source s, float inverse, uint16_t *input, int stride)
{
    __shared__ float sums[32];
    nb_grid_release();
    nb_grid_wait();
    nb_source_row<F16>(s, blockIdx.x, inverse, input + (int64_t)blockIdx.x * stride, stride, sums);
}

int nb_cuda_prepare_run(const nb_cuda_launch *at, const nb_cuda_source *source, int n_tok, int f16, float input_scale,
                        uint16_t *input, int stride, nb_error *err)
{
    float inverse = input_scale > 0 ? 1.0f / input_scale : 1.0f;
    return nb_cuda_start(at, f16 ? prepare_kernel<true> : prepare_kernel<false>, n_tok, 256, 0, err, *source, inverse, input,
                         stride);
}

// Warps of a block: so many that each has its full depth in flight for the first matrix's row tile.
static int small_warps(const nb_cuda_matrix *m)
{
    int unit = m->kind == NB_KIND_NVFP4 ? 2 : 1, depth = m->kind == NB_KIND_BF16 ? 2 : 4;
    int n = nb_ceil_div(m->n_k_tile / unit, depth), warps = 1;
    while (warps < n && warps < SMALL_WARP_MAX) warps *= 2;
    return warps < 4 ? 4 : warps;
}

// Spreads one wave of blocks over the matrices by their bytes.
static int small_grid(const nb_cuda_launch *at, nb_cuda_dense *d, int warps)
{
    enum { WARPS_PER_SM = 16 };
    int wave = at->n_sm * (WARPS_PER_SM / warps > 0 ? WARPS_PER_SM / warps : 1);
    int64_t total = 0;
    static const int weight[] = {4, 2, 2, 1};
    for (int i = 0; i < d->n_matrix; i++) total += (int64_t)d->matrix[i].n_row_tile * weight[d->matrix[i].kind];
    int first = 0;
    for (int i = 0; i < d->n_matrix; i++) {
        int64_t share = (int64_t)d->matrix[i].n_row_tile * weight[d->matrix[i].kind];
        int n = (int)(share * wave / total);
        n = n < 1 ? 1 : n > d->matrix[i].n_row_tile ? d->matrix[i].n_row_tile : n;
        d->block_first[i] = first;
        first += n;
    }
    for (int i = d->n_matrix; i <= NB_CUDA_MATRIX_MAX; i++) d->block_first[i] = first;
    return first;
}

static int dense_small(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    int warps = small_warps(&d->matrix[0]), k = 0;
    for (int i = 0; i < d->n_matrix; i++) k = d->matrix[i].n_k_tile > k ? d->matrix[i].n_k_tile : k;
    int grid = small_grid(at, d, warps);
    size_t smem = (size_t)d->n_tok * (size_t)(k * NB_CUDA_K_TILE + 8) * 2;
    static const nb_cuda_route none = {};
    return nb_cuda_start(at, small_kernel, grid, warps * 32, smem, err, *d, d->route ? *d->route : none);
}

int nb_cuda_dense_run(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    if (d->n_tok <= NB_CUDA_SMALL_MAX) return dense_small(at, d, err);
    for (int i = 0; i < d->n_matrix;) { // matrices of one input go together
        const nb_cuda_matrix *m = &d->matrix[i];
        int stride = m->n_k_tile * NB_CUDA_K_TILE, f16 = m->kind == NB_KIND_FP8_A8;
        nb_tiles_args t = {};
        t.input = d->keep && !f16 ? d->keep : d->input, t.input_stride = stride, t.n_row = d->n_tok;
        NB_TRY(nb_cuda_prepare_run(at, &d->source, d->n_tok, f16, m->input_scale, (uint16_t *)t.input, stride, err));
        for (; i < d->n_matrix && d->matrix[i].kind == m->kind && d->matrix[i].input_scale == m->input_scale; i++)
            t.matrix[t.n_matrix] = d->matrix[i], t.output[t.n_matrix++] = d->output[i];
        NB_TRY(nb_tiles_dense(at, &t, err));
    }
    return NB_OK;
}
