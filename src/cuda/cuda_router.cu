// The kernel of cuda_router.h. Block (j, i): row tiles j, j + gridDim.x, .. of the logits of tokens 16 * i .. + 15,
// whose norms it makes itself, a token a warp; then its warps share the columns. The last block of the 16 tokens
// chooses their experts, the last of all groups the pairs.
//
// Bytes of a block: 16 rows of the residual stream, 128 KiB at d_model 2,048, and 64 KiB of weights a row tile, from
// L2.
#include "cuda/cuda_router.h"

#include "cuda/cuda_group.cuh"
#include "cuda/cuda_source.cuh"

enum {
    TOKENS = NB_ROUTER_TOKENS,
    WARPS = TOKENS,
    THREADS = WARPS * NB_CUDA_WARP,
    COLUMN_TILES = TOKENS / 8,
    AHEAD = 2,      // k tiles of a warp whose weights are loaded before the wait
    ROW_BATCH = 16, // pieces of 16 bytes of a row that a lane loads at once
};

__host__ __device__ __forceinline__ static int input_stride(const nb_cuda_router &p)
{
    return p.matrix.n_k_tile * NB_CUDA_K_TILE + 8; // so that the rows of a tile lie in different banks
}

// h = x * rsqrt(mean(x^2) + eps) * w of one row by one warp; weight: in shared memory. The row stays in registers as
// far as they go.
__device__ __forceinline__ static void norm_row(const nb_cuda_source &s, int row, const float *weight, uint16_t *out)
{
    const float *x = s.value + (int64_t)row * s.n_in;
    int first = (threadIdx.x & 31) * 4;
    float4 v[ROW_BATCH] = {};
    float sum = 0;
#pragma unroll
    for (int i = 0; i < ROW_BATCH; i++)
        if (first + i * 128 < s.n_in) v[i] = *(const float4 *)(x + first + i * 128);
#pragma unroll
    for (int i = 0; i < ROW_BATCH; i++) sum += nb_square_sum(v[i]);
    for (int i = first + ROW_BATCH * 128; i < s.n_in; i += 128) sum += nb_square_sum(*(const float4 *)(x + i));
    float scale = rsqrtf(nb_warp_sum(sum) / (float)s.n_in + s.eps);
    auto store = [&](int i, float4 value) {
        nb_store_scaled<false>(out + i, value, scale, *(const float4 *)(weight + i), 1.0f);
    };
#pragma unroll
    for (int i = 0; i < ROW_BATCH; i++)
        if (first + i * 128 < s.n_in) store(first + i * 128, v[i]);
    for (int i = first + ROW_BATCH * 128; i < s.n_in; i += 128) store(i, *(const float4 *)(x + i));
}

typedef nb_unit<NB_KIND_BF16> unit;

typedef struct logit_rows { // a row tile of the logits
    const nb_cuda_matrix *m;
    const uint4 *data;
    int tile, column; // of the matrix; logits of its first row
} logit_rows;

__device__ __forceinline__ static logit_rows open_rows(const nb_cuda_router &p, int i)
{
    bool shared = i >= p.matrix.n_row_tile;
    logit_rows r = {shared ? &p.shared_gate : &p.matrix};
    r.tile = i - (shared ? p.matrix.n_row_tile : 0), r.column = shared ? p.route.n_expert : 0;
    r.data = r.m->data + (int64_t)r.tile * r.m->n_k_tile * unit::n_chunk * NB_CUDA_WARP;
    return r;
}

__device__ __forceinline__ static void load_ahead(const nb_cuda_router &p, int i, unit ahead[AHEAD])
{
    if (i >= p.n_row_tile) return;
    const uint4 *data = open_rows(p, i).data;
#pragma unroll
    for (int k = 0; k < AHEAD; k++)
        nb_unit_load<NB_KIND_BF16>(&ahead[k], data, NULL, threadIdx.x / NB_CUDA_WARP + k * WARPS, p.matrix.n_k_tile);
}

// red: [WARPS][COLUMN_TILES][128], element lane * 4 + c as in nb_mma.
__device__ __forceinline__ static void store_logits(const nb_cuda_router &p, const logit_rows &r, int first, int count,
                                                    const float *red)
{
    int i = threadIdx.x, c = i & 3, tok = (i >> 7) * 8 + 2 * (i >> 2 & 3) + (c & 1),
        row = r.tile * 16 + ((i & 127) >> 4) + 8 * (c >> 1);
    if (i >= COLUMN_TILES * 128 || tok >= count || row >= r.m->n_out) return;
    float y = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) y += red[w * COLUMN_TILES * 128 + i];
    y *= r.m->scale_low * (r.m->row_scale ? __ldg(r.m->row_scale + row) : 1.0f);
    p.route.logits[(int64_t)(first + tok) * (p.route.n_expert + 1) + r.column + row] = y;
}

// This warp's share of the columns.
__device__ __forceinline__ static void multiply(const nb_cuda_router &p, const logit_rows &r, const unit ahead[AHEAD],
                                                const uint16_t *x, int count, float acc[COLUMN_TILES][4])
{
    int warp = threadIdx.x / NB_CUDA_WARP, n_k = p.matrix.n_k_tile;
    auto add = [&](const unit &u, int k) {
        if (k < n_k) nb_unit_mma<NB_KIND_BF16, COLUMN_TILES>(acc, u, *r.m, r.tile, k, x, 0, input_stride(p), count);
    };
#pragma unroll
    for (int i = 0; i < AHEAD; i++) add(ahead[i], warp + i * WARPS);
    for (int k = warp + AHEAD * WARPS; k < n_k; k += WARPS) {
        unit u;
        nb_unit_load<NB_KIND_BF16>(&u, r.data, NULL, k, n_k);
        add(u, k);
    }
}

// x: [TOKENS][input_stride]; weight: [n_in], both shared. The rows are the experts' input too; each block of the tokens
// keeps a share of them.
__device__ __forceinline__ static void make_input(const nb_cuda_router &p, int first, int count, const float *weight,
                                                  uint16_t *x)
{
    int warp = threadIdx.x / NB_CUDA_WARP, lane = threadIdx.x % NB_CUDA_WARP;
    int n_column = p.matrix.n_k_tile * NB_CUDA_K_TILE;
    uint16_t *out = x + warp * input_stride(p);
    if (warp < count) {
        norm_row(p.source, first + warp, weight, out);
        for (int i = p.source.n_in + lane; i < n_column; i += NB_CUDA_WARP) out[i] = 0;
    }
    __syncthreads();
    if (warp < count && warp % gridDim.x == blockIdx.x)
        for (int i = lane * 8; i < n_column; i += NB_CUDA_WARP * 8)
            *(uint4 *)(p.hidden + (int64_t)(first + warp) * n_column + i) = *(const uint4 *)(out + i);
}

__global__ void __launch_bounds__(THREADS) router_kernel(const __grid_constant__ nb_cuda_router p)
{
    extern __shared__ __align__(16) uint16_t x[]; // then the norm's weights
    __shared__ __align__(16) float red[WARPS * COLUMN_TILES * 128];
    __shared__ int32_t index[WARPS][NB_TOP_K_EXPERT_MAX];
    __shared__ float weight[WARPS][NB_TOP_K_EXPERT_MAX];
    __shared__ nb_grouping g;
    int warp = threadIdx.x / NB_CUDA_WARP, lane = threadIdx.x % NB_CUDA_WARP;
    int first = blockIdx.y * TOKENS, count = min((int)TOKENS, p.route.n_tok - first);
    float *norm = (float *)(x + TOKENS * input_stride(p));
    unit ahead[AHEAD];
    nb_grid_release();
    nb_touch(p);
    load_ahead(p, blockIdx.x, ahead);
    for (int i = threadIdx.x * 4; i < p.source.n_in; i += THREADS * 4)
        *(float4 *)(norm + i) = __ldg((const float4 *)(p.source.weight + i));
    __syncthreads();
    nb_grid_wait();
    make_input(p, first, count, norm, x);
    for (int i = blockIdx.x; i < p.n_row_tile; i += gridDim.x) {
        logit_rows r = open_rows(p, i);
        float acc[COLUMN_TILES][4] = {};
        multiply(p, r, ahead, x, count, acc);
        load_ahead(p, i + gridDim.x, ahead);
#pragma unroll
        for (int nt = 0; nt < COLUMN_TILES; nt++)
            *(float4 *)&red[(warp * COLUMN_TILES + nt) * 128 + lane * 4] = *(float4 *)acc[nt];
        __syncthreads();
        store_logits(p, r, first, count, red);
        __syncthreads();
    }
    if (!nb_last_block(p.route.counters + blockIdx.y, gridDim.x)) return;
    if (warp < count) nb_route_token(p.route, first + warp, index[warp], weight[warp], true);
    if (!nb_last_block(p.route.counter, gridDim.y)) return;
    nb_group_pairs(p.route, &g);
}

static size_t smem_bytes(const nb_cuda_router *p)
{
    return (size_t)TOKENS * input_stride(*p) * sizeof(uint16_t) + (size_t)p->source.n_in * sizeof(float);
}

bool nb_cuda_router_serves(const nb_cuda_router *p)
{
    size_t n_static = WARPS * COLUMN_TILES * 128 * sizeof(float) + sizeof(nb_grouping) +
                      2 * WARPS * NB_TOP_K_EXPERT_MAX * sizeof(float) + 1024; // the compiler's own
    return p->matrix.kind == NB_KIND_BF16 && (!p->route.has_shared || p->shared_gate.kind == NB_KIND_BF16) &&
           nb_cuda_shared_fits(smem_bytes(p) + n_static);
}

int nb_cuda_router_run(const nb_cuda_launch *at, nb_cuda_router *p, nb_error *err)
{
    int n_group = nb_ceil_div(p->route.n_tok, TOKENS), most = at->n_sm / n_group; // one wave
    p->n_row_tile = p->matrix.n_row_tile + (p->route.has_shared ? p->shared_gate.n_row_tile : 0);
    int n_round = nb_ceil_div(p->n_row_tile, most > 0 ? most : 1);
    dim3 grid(nb_ceil_div(p->n_row_tile, n_round), n_group);
    return nb_cuda_start(at, router_kernel, grid, THREADS, smem_bytes(p), err, *p);
}
