// Dense products. Up to 8 tokens weights stream through rings in shared memory, filled before the dependency is waited
// for, and the block prepares its own input: small_kernel, whose warps share a row tile and which leaves half the SM to
// the next kernel's rings; long_kernel for the head, whose warps have row tiles of their own and which takes the whole
// SM. tiles_kernel of cuda_tiles.cuh is for more tokens.
//
// Bytes: every matrix once per launch and 8 * NT tokens; the input n_tok * n_in * 2 per block from L2.
#include "cuda/cuda_linear.h"

#include "cuda/cuda_part.cuh"
#include "cuda/cuda_product.h"
#include "cuda/cuda_route.cuh"
#include "cuda/cuda_source.cuh"
#include "cuda/cuda_tiles.cuh"

int nb_cuda_fail(cudaError_t code, const char *what, nb_error *err)
{
    int kind = code == cudaErrorMemoryAllocation ? NB_ERR_MEMORY : NB_ERR_DEVICE;
    return nb_error_set(err, kind, "the GPU refused %.200s: %s", what, cudaGetErrorString(code));
}

bool nb_cuda_shared_fits(size_t n_byte)
{
    int device = 0, most = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) == cudaSuccess &&
           n_byte <= (size_t)most;
}

// Bytes of a warp's ring: eight warps leave room for the next kernel's on the same SM.
enum { RING_BYTES = 10 * 1024 };
template <int KIND> static constexpr int depth_of = RING_BYTES / nb_ring<KIND>::bytes;

enum {
    SMALL_WARP_MAX = 8,
    LONG_ROW_TILES = 16, // of an SM: a matrix of so many is long
};

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

// A warp's stream of units: of each of its row tiles, `stride` apart, every `step`th unit from `from` on.
template <int KIND> struct unit_stream {
    uint8_t *ring;
    int row_tile, unit; // the next to be asked for
    int stride, from, step;
    int at, to; // slots of the next unit to be taken and to be asked for
};

template <int KIND>
__device__ __forceinline__ static void ask_unit(unit_stream<KIND> *s, const nb_cuda_matrix &m, int n_unit)
{
    if (s->row_tile < m.n_row_tile) {
        int64_t tile = s->row_tile;
        nb_ring_copy<KIND>(s->ring + s->to * nb_ring<KIND>::bytes, m.data + tile * n_unit * nb_ring<KIND>::n * 32,
                           m.scale + tile * n_unit * 32, s->unit);
        s->unit += s->step;
        if (s->unit >= n_unit) s->unit = s->from, s->row_tile += s->stride;
    }
    s->to = s->to + 1 == depth_of<KIND> ? 0 : s->to + 1;
    asm volatile("cp.async.commit_group;");
}

template <int KIND>
__device__ __forceinline__ static unit_stream<KIND> open_units(uint8_t *ring, const nb_cuda_matrix &m, int n_unit,
                                                               int row_tile, int stride, int from, int step)
{
    unit_stream<KIND> s = {ring, from < n_unit ? row_tile : m.n_row_tile, from, stride, from, step, 0, 0};
    for (int i = 0; i < depth_of<KIND> - 1; i++) ask_unit(&s, m, n_unit);
    return s;
}

// The next unit, in whose stead another one is asked for.
template <int KIND>
__device__ __forceinline__ static void take_unit(unit_stream<KIND> *s, const nb_cuda_matrix &m, int n_unit,
                                                 nb_unit<KIND> *unit)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(depth_of<KIND> - 2) : "memory");
    nb_ring_read<KIND>(unit, s->ring + s->at * nb_ring<KIND>::bytes);
    ask_unit(s, m, n_unit);
    s->at = s->at + 1 == depth_of<KIND> ? 0 : s->at + 1;
}

// smem: rings [n_warp][RING_BYTES], then the input [n_tok][x_stride]; red: [2][SMALL_WARP_MAX * 128], sums: [32], all
// shared.
template <int KIND>
__device__ static void small_rows(const nb_cuda_dense &d, int i_matrix, int first, int stride, uint8_t *smem,
                                  float *red, float *sums)
{
    const nb_cuda_matrix &m = d.matrix[i_matrix];
    int n_unit = m.n_k_tile / nb_unit<KIND>::n_tile, warp = threadIdx.x >> 5, lane = threadIdx.x & 31,
        n_warp = blockDim.x >> 5;
    int x_stride = m.n_k_tile * NB_CUDA_K_TILE + 8;
    uint16_t *x = (uint16_t *)(smem + n_warp * RING_BYTES);
    nb_source_ahead source_ahead;
    nb_source_preload(d.source, &source_ahead);
    unit_stream<KIND> units = open_units<KIND>(smem + warp * RING_BYTES, m, n_unit, first, stride, warp, n_warp);
    nb_grid_wait();
    float inverse = m.input_scale > 0 ? 1.0f / m.input_scale : 1.0f;
    nb_source_rows<nb_unit<KIND>::f16>(d.source, source_ahead, 0, d.n_tok, inverse, x, x_stride,
                                       m.n_k_tile * NB_CUDA_K_TILE, sums);
    __syncthreads();
    if (d.keep && !nb_unit<KIND>::f16 && first == 0 && i_matrix == 0)
        for (int tok = 0; tok < d.n_tok; tok++)
            for (int i = threadIdx.x; i < m.n_k_tile * NB_CUDA_K_TILE; i += blockDim.x)
                d.keep[tok * m.n_k_tile * NB_CUDA_K_TILE + i] = x[tok * x_stride + i];
    int parity = 0;
    for (int row_tile = first; row_tile < m.n_row_tile; row_tile += stride) {
        float acc[1][4] = {};
        for (int u = warp; u < n_unit; u += n_warp) {
            nb_unit<KIND> unit;
            take_unit(&units, m, n_unit, &unit);
            nb_unit_mma<KIND, 1>(acc, unit, m, row_tile, u, x, 0, x_stride, d.n_tok);
        }
        *(float4 *)&red[(parity * SMALL_WARP_MAX + warp) * 128 + lane * 4] = *(float4 *)acc[0];
        __syncthreads();
        finish_row_tile(d, i_matrix, row_tile, red + parity * SMALL_WARP_MAX * 128);
        parity ^= 1;
    }
}

__global__ void __launch_bounds__(SMALL_WARP_MAX * 32, 2)
    small_kernel(const __grid_constant__ nb_cuda_dense d, const __grid_constant__ nb_cuda_route r)
{
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ float red[2 * SMALL_WARP_MAX * 128], sums[32];
    nb_grid_release();
    nb_touch(d);
    nb_touch(r);
    int i = 0;
    while ((int)blockIdx.x >= d.block_first[i + 1]) i++;
    int first = blockIdx.x - d.block_first[i], stride = d.block_first[i + 1] - d.block_first[i];
    switch (d.matrix[i].kind) {
    case NB_KIND_BF16: small_rows<NB_KIND_BF16>(d, i, first, stride, smem, red, sums); break;
    case NB_KIND_FP8_A8: small_rows<NB_KIND_FP8_A8>(d, i, first, stride, smem, red, sums); break;
    case NB_KIND_FP8_A16: small_rows<NB_KIND_FP8_A16>(d, i, first, stride, smem, red, sums); break;
    default: small_rows<NB_KIND_NVFP4>(d, i, first, stride, smem, red, sums); break;
    }
    if (!d.route || !nb_last_block(r.counter, gridDim.x)) return;
    nb_route_small(r);
}

// The block's share of each row of outputs: of two tokens in each thread, columns 2 * (lane % 4) and + 1 of nb_mma's
// sums. joined: [SMALL_WARP_MAX][NB_CUDA_SMALL_MAX] shared.
__device__ static void leave_parts(const nb_cuda_dense &d, const nb_head_part mine[2], nb_head_part *joined)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        nb_head_part p = nb_part_join_lanes(mine[i], 4);
        if (lane < 4) joined[warp * NB_CUDA_SMALL_MAX + 2 * lane + i] = p;
    }
    __syncthreads();
    if ((int)threadIdx.x >= d.n_tok) return;
    nb_head_part all = joined[threadIdx.x];
    for (int w = 1; w < SMALL_WARP_MAX; w++) all = nb_part_join(all, joined[w * NB_CUDA_SMALL_MAX + threadIdx.x]);
    d.part[threadIdx.x * gridDim.x + blockIdx.x] = all;
}

// A warp multiplies whole row tiles, so it adds nothing to other warps' sums and waits for none of them. What remains
// behind the last full round is spread over all SMs: row tile i is of block i % gridDim.x.
// smem: rings [SMALL_WARP_MAX][RING_BYTES], then the input [n_tok][x_stride].
template <int KIND>
__global__ void __launch_bounds__(SMALL_WARP_MAX * 32, NB_CUDA_LONG_BLOCKS)
    long_kernel(const __grid_constant__ nb_cuda_dense d)
{
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ float sums[32];
    nb_grid_release();
    nb_touch(d);
    const nb_cuda_matrix &m = d.matrix[0];
    int n_unit = m.n_k_tile / nb_unit<KIND>::n_tile, n_pad = m.n_k_tile * NB_CUDA_K_TILE, x_stride = n_pad + 8;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    int first = warp * gridDim.x + blockIdx.x, stride = SMALL_WARP_MAX * gridDim.x;
    uint16_t *x = (uint16_t *)(smem + SMALL_WARP_MAX * RING_BYTES);
    nb_source_ahead source_ahead;
    nb_source_preload(d.source, &source_ahead);
    unit_stream<KIND> units = open_units<KIND>(smem + warp * RING_BYTES, m, n_unit, first, stride, 0, 1);
    nb_grid_wait();
    float inverse = m.input_scale > 0 ? 1.0f / m.input_scale : 1.0f;
    nb_source_rows<nb_unit<KIND>::f16>(d.source, source_ahead, 0, d.n_tok, inverse, x, x_stride, n_pad, sums);
    __syncthreads();
    nb_head_part part[2] = {nb_part_none(m.n_out), nb_part_none(m.n_out)};
    for (int row_tile = first; row_tile < m.n_row_tile; row_tile += stride) {
        float acc[1][4] = {};
        for (int u = 0; u < n_unit; u++) {
            nb_unit<KIND> unit;
            take_unit(&units, m, n_unit, &unit);
            nb_unit_mma<KIND, 1>(acc, unit, m, row_tile, u, x, 0, x_stride, d.n_tok);
        }
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int tok = 2 * (lane & 3) + (c & 1), row = row_tile * 16 + (lane >> 2) + 8 * (c >> 1);
            if (tok >= d.n_tok || row >= m.n_out) continue;
            float y = acc[0][c] * m.scale_low * (m.row_scale ? m.row_scale[row] : 1.0f);
            store_output(d.output[0], tok, row, y);
            if (d.part) nb_part_add(&part[c & 1], y, row);
        }
    }
    if (!d.part) return;
    __syncthreads(); // the rings are free
    leave_parts(d, part, (nb_head_part *)smem);
}

__global__ void prepare_kernel(const __grid_constant__ nb_cuda_source s, float inverse, uint16_t *f16, uint16_t *bf16,
                               int stride)
{
    __shared__ float sums[32];
    nb_grid_release();
    nb_touch(s);
    nb_source_ahead ahead;
    nb_source_preload(s, &ahead);
    nb_grid_wait();
    int64_t row = (int64_t)blockIdx.x * stride;
    if (f16) nb_source_rows<true>(s, ahead, blockIdx.x, 1, inverse, f16 + row, stride, stride, sums);
    if (bf16) nb_source_rows<false>(s, ahead, blockIdx.x, 1, 1.0f, bf16 + row, stride, stride, sums);
}

int nb_cuda_prepare_run(const nb_cuda_launch *at, const nb_cuda_source *source, int n_tok, float input_scale,
                        uint16_t *f16, uint16_t *bf16, int stride, nb_error *err)
{
    return nb_cuda_start(at, prepare_kernel, n_tok, 256, 0, err, *source, input_scale > 0 ? 1.0f / input_scale : 1.0f,
                         f16, bf16, stride);
}

// Spreads one wave of blocks over the matrices by their bytes.
static int small_grid(nb_cuda_dense *d, int wave)
{
    int64_t total = 0;
    static const int weight[] = {4, 2, 2, 1};
    for (int i = 0; i < d->n_matrix; i++) total += (int64_t)d->matrix[i].n_row_tile * weight[d->matrix[i].kind];
    int first = 0;
    for (int i = 0; i < d->n_matrix; i++) {
        int tiles = d->matrix[i].n_row_tile, n = (int)((int64_t)tiles * weight[d->matrix[i].kind] * wave / total);
        n = n < 1 ? 1 : nb_ceil_div(tiles, nb_ceil_div(tiles, n)); // no more blocks than equal rounds need
        d->block_first[i] = first;
        first += n;
    }
    for (int i = d->n_matrix; i <= NB_CUDA_MATRIX_MAX; i++) d->block_first[i] = first;
    return first;
}

// Rings, and the widest input.
static size_t small_shared(const nb_cuda_dense *d)
{
    int k = 0;
    for (int i = 0; i < d->n_matrix; i++) k = d->matrix[i].n_k_tile > k ? d->matrix[i].n_k_tile : k;
    return SMALL_WARP_MAX * RING_BYTES + (size_t)d->n_tok * (size_t)(k * NB_CUDA_K_TILE + 8) * 2;
}

static int dense_small(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    int grid = small_grid(d, at->n_sm);
    static const nb_cuda_route none = {};
    return nb_cuda_start(at, small_kernel, grid, SMALL_WARP_MAX * 32, small_shared(d), err, *d,
                         d->route ? *d->route : none);
}

static bool is_long(const nb_cuda_launch *at, const nb_cuda_dense *d)
{
    return d->n_matrix == 1 && !d->route && d->matrix[0].n_row_tile >= LONG_ROW_TILES * at->n_sm;
}

// As many blocks an SM as fit: two on Hopper. A warp's units depend on nothing but each other's latency, which the
// second block hides; that is worth the next kernel's early start where there are so many row tiles.
template <int KIND> static int start_long(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    size_t smem = small_shared(d);
    int n_block = 1;
    NB_CUDA_TRY(cudaFuncSetAttribute(long_kernel<KIND>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)smem), err);
    NB_CUDA_TRY(cudaFuncSetAttribute(long_kernel<KIND>, cudaFuncAttributePreferredSharedMemoryCarveout,
                                     cudaSharedmemCarveoutMaxShared),
                err);
    NB_CUDA_TRY(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n_block, long_kernel<KIND>, SMALL_WARP_MAX * 32, smem),
                err);
    int grid = (n_block < NB_CUDA_LONG_BLOCKS ? n_block : NB_CUDA_LONG_BLOCKS) * at->n_sm;
    d->n_part = d->part ? grid : 0;
    return nb_cuda_start(at, long_kernel<KIND>, grid, SMALL_WARP_MAX * 32, smem, err, *d);
}

static int dense_long(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    switch (d->matrix[0].kind) {
    case NB_KIND_BF16: return start_long<NB_KIND_BF16>(at, d, err);
    case NB_KIND_FP8_A8: return start_long<NB_KIND_FP8_A8>(at, d, err);
    case NB_KIND_FP8_A16: return start_long<NB_KIND_FP8_A16>(at, d, err);
    default: return start_long<NB_KIND_NVFP4>(at, d, err);
    }
}

// Whether the matrices with FP8 inputs, or those with bf16 inputs, go by cuda_product.h. FP8 inputs are codes only
// where at->wgmma: products of codes are added with fewer bits, which is enough for roundings and choices of experts
// behind them to fall the other way, and a decode's answer is not to depend on how many others there are.
static bool goes_by_product(const nb_cuda_launch *at, const nb_cuda_dense *d, bool fp8)
{
    int n_row_tile = 0, least = fp8 ? NB_PRODUCT_MIN_FP8 : NB_PRODUCT_MIN_DENSE;
    bool serves = true;
    for (int i = 0; i < d->n_matrix; i++) {
        if ((d->matrix[i].kind == NB_KIND_FP8_A8) != fp8) continue;
        n_row_tile += d->matrix[i].n_row_tile, serves &= nb_product_serves(&d->matrix[i]);
    }
    return at->wgmma || (at->products && serves && d->n_tok >= least && n_row_tile >= NB_PRODUCT_MIN_ROW_TILES);
}

bool nb_cuda_dense_input(const nb_cuda_launch *at, const nb_cuda_dense *d, nb_cuda_prepared *p)
{
    *p = {NULL, NULL, 1.0f, d->matrix[0].n_k_tile * NB_CUDA_K_TILE};
    p->codes = at->wgmma, p->fp8_placed = !p->codes && goes_by_product(at, d, true);
    p->bf16_placed = goes_by_product(at, d, false);
    if (d->n_tok <= NB_CUDA_SMALL_MAX) return false;
    for (int i = 0; i < d->n_matrix; i++) {
        const nb_cuda_matrix *m = &d->matrix[i];
        float inverse = m->input_scale > 0 ? 1.0f / m->input_scale : 1.0f;
        if (m->n_k_tile * NB_CUDA_K_TILE != p->stride) return false;
        if (m->kind != NB_KIND_FP8_A8) {
            p->bf16 = d->keep;
        } else {
            if (p->fp8 && p->inverse != inverse) return false;
            p->fp8 = d->input, p->inverse = inverse;
        }
    }
    return true;
}

// Whether the BF16 matrices are too few rows for launches of their own.
static bool few_bf16_rows(const nb_cuda_dense *d)
{
    int n_row_tile = 0;
    for (int i = 0; i < d->n_matrix; i++) n_row_tile += d->matrix[i].kind == NB_KIND_BF16 ? d->matrix[i].n_row_tile : 0;
    return n_row_tile < NB_PRODUCT_MIN_ROW_TILES;
}

static int prepare(const nb_cuda_launch *at, const nb_cuda_dense *d, float input_scale, uint16_t *fp8, bool fp8_product,
                   uint16_t *bf16, bool bf16_product, int stride, nb_error *err)
{
    uint16_t *plain[] = {fp8_product ? NULL : fp8, bf16_product ? NULL : bf16},
             *product[] = {fp8_product ? fp8 : NULL, bf16_product ? bf16 : NULL};
    if (plain[0] || plain[1])
        NB_TRY(nb_cuda_prepare_run(at, &d->source, d->n_tok, input_scale, plain[0], plain[1], stride, err));
    if (product[0] || product[1])
        NB_TRY(
            nb_product_prepare(at, &d->source, d->n_tok, input_scale, product[0], at->wgmma, product[1], stride, err));
    return NB_OK;
}

// Matrices of one kind and input go together, with them BF16 ones of the same launch; the first group prepares the
// input of those in bf16 too.
static int dense_large(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    bool fp8_product = goes_by_product(at, d, true), bf16_product = goes_by_product(at, d, false), bf16_wanted = false;
    for (int i = 0; i < d->n_matrix; i++) bf16_wanted |= d->matrix[i].kind != NB_KIND_FP8_A8;
    for (int i = 0; i < d->n_matrix;) {
        const nb_cuda_matrix *m = &d->matrix[i];
        nb_tiles_args t = {};
        int stride = m->n_k_tile * NB_CUDA_K_TILE;
        bool fp8 = m->kind == NB_KIND_FP8_A8, product = fp8 ? fp8_product : bf16_product;
        if (!d->ready)
            NB_TRY(prepare(at, d, m->input_scale, fp8 ? d->input : NULL, fp8_product, bf16_wanted ? d->keep : NULL,
                           bf16_product, stride, err));
        bf16_wanted = false; // it is there now
        t.input = fp8 ? d->input : d->keep, t.side_input = d->keep, t.input_stride = stride, t.n_row = d->n_tok;
        t.e4m3 = fp8 && at->wgmma, t.side_placed = bf16_product;
        auto add = [&] { t.matrix[t.n_matrix] = d->matrix[i], t.output[t.n_matrix++] = d->output[i++]; };
        while (i < d->n_matrix && d->matrix[i].kind == m->kind && d->matrix[i].input_scale == m->input_scale) add();
        bool side = m->kind != NB_KIND_BF16 && (product ? !at->wgmma && few_bf16_rows(d) : !bf16_product);
        for (; side && i < d->n_matrix && d->matrix[i].kind == NB_KIND_BF16; t.n_side++) add();
        NB_TRY(product ? nb_product_dense(at, &t, err) : nb_tiles_dense(at, &t, err));
    }
    return NB_OK;
}

int nb_cuda_dense_run(const nb_cuda_launch *at, nb_cuda_dense *d, nb_error *err)
{
    d->n_part = 0;
    if (d->n_tok > NB_CUDA_SMALL_MAX) return dense_large(at, d, err);
    return is_long(at, d) ? dense_long(at, d, err) : dense_small(at, d, err);
}
