// The mixture of experts. Up to 8 tokens: gate_up_kernel and down_kernel, whose mma column is a token, so that each
// used expert is read once and no token is gathered; down adds experts up in registers and to the residual stream.
// More: the grouped products of cuda_tiles.cuh; then whole rows are added up, by down's kernel itself or by
// combine_kernel, and so the next layer's input is made too.
//
// Bytes: each used expert's 3 * d_ff * d_model weights once (NVFP4: 0.5625 bytes each).
#include "cuda/cuda_moe.h"

#include "cuda/cuda_combine.cuh"
#include "cuda/cuda_group.cuh"
#include "cuda/cuda_source.cuh"
#include "cuda/cuda_tiles.cuh"

enum { GATE_WARPS = 4, DOWN_WARPS = 12, ROUTE_WARPS = 8, PLACE_THREADS = 256 };

template <int KIND> static constexpr int gate_depth = KIND == NB_KIND_NVFP4 ? 4 : KIND == NB_KIND_BF16 ? 2 : 4;

// acc = one row tile times the tokens' inputs, units first, first + step, ...
template <int KIND, int D>
__device__ static void row_tile_product(float acc[1][4], const nb_cuda_matrix &m, int row_tile, int first, int step,
                                        const uint16_t *x, int stride, int n_tok)
{
    constexpr int n_tile = nb_unit<KIND>::n_tile, unit_words = nb_unit<KIND>::n_chunk * n_tile * 32;
    int n_unit = m.n_k_tile / n_tile;
    const uint4 *data = m.data + (int64_t)row_tile * n_unit * unit_words;
    const uint32_t *scale = m.scale + (int64_t)row_tile * n_unit * 32;
    for (int base = first; base < n_unit; base += step * D) {
        nb_unit<KIND> u[D];
#pragma unroll
        for (int i = 0; i < D; i++) nb_unit_load<KIND>(&u[i], data, scale, base + i * step, n_unit);
#pragma unroll
        for (int i = 0; i < D; i++)
            if (base + i * step < n_unit)
                nb_unit_mma<KIND, 1>(acc, u[i], m, row_tile, base + i * step, x, 0, stride, n_tok);
    }
}

__device__ static void product_any(float acc[1][4], const nb_cuda_matrix &m, int row_tile, int first, int step,
                                   const uint16_t *x, int stride, int n_tok)
{
    switch (m.kind) {
    case NB_KIND_BF16: row_tile_product<NB_KIND_BF16, 2>(acc, m, row_tile, first, step, x, stride, n_tok); break;
    case NB_KIND_FP8_A8: row_tile_product<NB_KIND_FP8_A8, 4>(acc, m, row_tile, first, step, x, stride, n_tok); break;
    case NB_KIND_FP8_A16: row_tile_product<NB_KIND_FP8_A16, 4>(acc, m, row_tile, first, step, x, stride, n_tok); break;
    default: row_tile_product<NB_KIND_NVFP4, 4>(acc, m, row_tile, first, step, x, stride, n_tok); break;
    }
}

// Block (j, group): 8 rows of d_ff of one expert, all tokens.
__global__ void __launch_bounds__(GATE_WARPS * 32) gate_up_kernel(const __grid_constant__ nb_cuda_moe p)
{
    __shared__ float red[GATE_WARPS * 128];
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, row_tile = blockIdx.x, group = blockIdx.y;
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    __shared__ int32_t index[NB_TOP_K_EXPERT_MAX];
    __shared__ float weight[NB_TOP_K_EXPERT_MAX];
    int e;
    if (p.n_tok == 1) {
        nb_route_single(p.route, index, weight, row_tile == 0 && group == 0);
        e = group < p.route.has_shared ? p.route.n_expert : index[group - p.route.has_shared];
    } else {
        int n_group = *p.route.n_group;
        e = p.route.group_expert[min(group, p.route.n_expert)]; // one wait for both
        if (group >= n_group) return;
    }
    bool shared = e == p.route.n_expert;
    nb_cuda_matrix m = shared ? p.shared_gate_up
                              : nb_expert_matrix(p.experts.gate_up, e, p.experts.gate_up_data, p.experts.gate_up_scale,
                                                 p.experts.gate_multiplier, p.experts.up_multiplier);
    if (row_tile >= m.n_row_tile) return;
    float acc[1][4] = {};
    const uint16_t *x = m.kind == NB_KIND_FP8_A8 ? p.input_f8 : p.input;
    product_any(acc, m, row_tile, warp, GATE_WARPS, x, p.input_stride, p.n_tok);
    *(float4 *)&red[warp * 128 + lane * 4] = *(float4 *)acc[0];
    __syncthreads();
    int j = threadIdx.x; // (row, token) of the 8 x 8 results
    if (j >= 64) return;
    int row = j >> 3, tok = j & 7, at = (row * 4 + (tok >> 1)) * 4 + (tok & 1), ff = row_tile * 8 + row,
        half = m.n_out / 2;
    if (tok >= p.n_tok || ff >= half) return;
    float gate = 0, up = 0;
    for (int w = 0; w < GATE_WARPS; w++) gate += red[w * 128 + at], up += red[w * 128 + at + 2];
    gate *= m.scale_low * (m.row_scale ? m.row_scale[ff] : 1.0f);
    up *= m.scale_high * (m.row_scale ? m.row_scale[half + ff] : 1.0f);
    const nb_cuda_matrix &down = shared ? p.shared_down : p.experts.down;
    float y = nb_silu(gate) * up;
    p.inter[((int64_t)group * NB_CUDA_SMALL_MAX + tok) * p.inter_stride + ff] =
        down.kind == NB_KIND_FP8_A8 ? nb_input_from_f32<true>(y, 1.0f / down.input_scale) : nb_bf16_from_f32(y);
}

// Block: 16 rows of d_model, all used experts, each by one warp.
__global__ void __launch_bounds__(DOWN_WARPS * 32) down_kernel(const __grid_constant__ nb_cuda_moe p)
{
    __shared__ float red[DOWN_WARPS * 128];
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, row_tile = blockIdx.x;
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    int n_group = *p.route.n_group;
    float total[4] = {};
    for (int group = warp; group < n_group; group += DOWN_WARPS) {
        int e = p.route.group_expert[group];
        nb_cuda_matrix m = e == p.route.n_expert
                               ? p.shared_down
                               : nb_expert_matrix(p.experts.down, e, p.experts.down_data, p.experts.down_scale,
                                                  p.experts.down_multiplier, p.experts.down_multiplier);
        float acc[1][4] = {};
        const uint16_t *x = p.inter + (int64_t)group * NB_CUDA_SMALL_MAX * p.inter_stride;
        product_any(acc, m, row_tile, 0, 1, x, p.inter_stride, p.n_tok);
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int row = min(row_tile * 16 + (lane >> 2) + 8 * (c >> 1), m.n_out - 1);
            float w = p.route.group_weight[group * NB_CUDA_SMALL_MAX + 2 * (lane & 3) + (c & 1)];
            float y = acc[0][c] * m.scale_low * (m.row_scale ? m.row_scale[row] : 1.0f);
            total[c] += w != 0.0f ? w * y : 0.0f;
        }
    }
    *(float4 *)&red[warp * 128 + lane * 4] = *(float4 *)total;
    __syncthreads();
    int j = threadIdx.x;
    if (j >= 128) return;
    int c = j & 3, tok = 2 * ((j >> 2) & 3) + (c & 1), row = row_tile * 16 + (j >> 4) + 8 * (c >> 1);
    if (tok >= p.n_tok || row >= p.d_model) return;
    float y = 0;
    for (int w = 0; w < DOWN_WARPS; w++) y += red[w * 128 + j];
    p.residual[(int64_t)tok * p.d_model + row] += y;
}

// A block a token, for products that do not add up themselves.
template <bool BF16>
__global__ void __launch_bounds__(NB_COMBINE_THREADS, 2) combine_kernel(const __grid_constant__ nb_cuda_combine p)
{
    __shared__ nb_combine_shared x;
    nb_grid_release();
    nb_touch(p);
    nb_combine_norm w = nb_combine_ahead(p);
    nb_grid_wait();
    nb_combine_token<BF16>(p, blockIdx.x, w, &x);
}

// The experts alone, counted in global memory before; place_kernel does the pairs.
__device__ static void group_experts(const nb_cuda_route &r, nb_grouping *g)
{
    for (int e = threadIdx.x; e < r.n_expert; e += blockDim.x)
        g->count[e] = __ldcg(r.expert_count + e), r.expert_count[e] = 0;
    __syncthreads();
    nb_lay_out_experts(r, g);
    for (int e = threadIdx.x; e < r.n_expert; e += blockDim.x) r.expert_first[e] = g->first[e];
}

__global__ void __launch_bounds__(ROUTE_WARPS * 32) route_kernel(const __grid_constant__ nb_cuda_route r)
{
    nb_grid_release();
    nb_touch(r);
    nb_grid_wait();
    __shared__ int32_t index[ROUTE_WARPS][NB_TOP_K_EXPERT_MAX];
    __shared__ float weight[ROUTE_WARPS][NB_TOP_K_EXPERT_MAX];
    __shared__ nb_grouping g;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, tok = blockIdx.x * ROUTE_WARPS + warp;
    if (tok < r.n_tok) nb_route_token(r, tok, index[warp], weight[warp], true);
    __syncwarp();
    if (r.spread && tok < r.n_tok && lane < r.top_k) atomicAdd(&r.expert_count[index[warp][lane]], 1);
    if (!nb_last_block(r.counter, gridDim.x)) return;
    if (r.spread)
        group_experts(r, &g);
    else
        nb_group_pairs(r, &g);
}

__global__ void place_kernel(const __grid_constant__ nb_cuda_route r)
{
    nb_grid_release();
    nb_grid_wait();
    int pair = blockIdx.x * blockDim.x + threadIdx.x;
    if (pair < r.n_tok * r.top_k) nb_place_pair(r, pair, atomicAdd(&r.expert_first[r.top_index[pair]], 1));
}

int nb_cuda_route_run(const nb_cuda_launch *at, const nb_cuda_route *r, nb_error *err)
{
    NB_TRY(nb_cuda_start(at, route_kernel, nb_ceil_div(r->n_tok, ROUTE_WARPS), ROUTE_WARPS * 32, 0, err, *r));
    if (!r->spread) return NB_OK;
    return nb_cuda_start(at, place_kernel, nb_ceil_div((int64_t)r->n_tok * r->top_k, PLACE_THREADS), PLACE_THREADS, 0,
                         err, *r);
}

static int moe_small(const nb_cuda_launch *at, const nb_cuda_moe *p, nb_error *err)
{
    int n_group = p->n_tok * p->route.top_k, tiles = p->experts.gate_up.n_row_tile;
    if (n_group > p->route.n_expert) n_group = p->route.n_expert;
    if (p->route.has_shared && p->shared_gate_up.n_row_tile > tiles) tiles = p->shared_gate_up.n_row_tile;
    dim3 grid(tiles, n_group + p->route.has_shared);
    NB_TRY(nb_cuda_start(at, gate_up_kernel, grid, GATE_WARPS * 32, 0, err, *p));
    return nb_cuda_start(at, down_kernel, p->experts.down.n_row_tile, DOWN_WARPS * 32, 0, err, *p);
}

static int run_grouped(const nb_cuda_launch *at, nb_tiles_args *t, int columns, int max_tile, nb_error *err)
{
    if (at->wgmma) return nb_product_grouped(at, t, max_tile, err);
    if (nb_grouped_serves(t, columns)) return nb_grouped_run(at, t, columns, max_tile, NULL, err);
    return nb_tiles_grouped(at, t, columns, max_tile, err);
}

// The shared expert's product where its weights are of another kind than the experts': its rows follow the pairs'.
static int run_shared(const nb_cuda_launch *at, const nb_tiles_args *grouped, const uint16_t *input, int n_tok,
                      nb_error *err)
{
    nb_tiles_args t = *grouped;
    int size = t.output[0].kind == NB_OUT_F32 ? 4 : 2;
    t.matrix[0] = t.shared, t.input = input, t.n_row = n_tok, t.n_tile = NULL, t.pair_token = NULL;
    t.output[0].out = (uint8_t *)t.output[0].out + (int64_t)t.n_pair * t.output[0].stride * size;
    return at->wgmma ? nb_product_dense(at, &t, err) : nb_tiles_dense(at, &t, err);
}

static nb_cuda_combine combine_of(const nb_cuda_moe *p)
{
    nb_cuda_combine c = {};
    c.n_tok = p->n_tok, c.d_model = p->d_model, c.top_k = p->route.top_k, c.has_shared = p->route.has_shared;
    c.pair_at = p->route.pair_at, c.top_weight = p->route.top_weight, c.shared_weight = p->route.shared_weight;
    c.pair_out = p->pair_out, c.residual = p->residual, c.next_norm = p->next_norm, c.eps = p->eps, c.next = p->next;
    c.meet = p->route.meet;
    return c;
}

static int moe_large(const nb_cuda_launch *at, const nb_cuda_moe *p, nb_error *err)
{
    int n_pair = p->n_tok * p->route.top_k, columns = p->route.tile_columns;
    int max_tile = (n_pair < p->route.n_expert ? n_pair : p->route.n_expert) + n_pair / columns;
    if (p->route.tile_shared) max_tile += nb_ceil_div(p->n_tok, columns);
    nb_tiles_args t = {};
    t.n_matrix = 1;
    t.n_tile = p->route.n_tile, t.tile = p->route.tile, t.n_expert = p->route.n_expert, t.n_pair = n_pair;
    t.n_row = p->route.tile_shared ? p->n_tok : 0;
    t.matrix[0] = p->experts.gate_up, t.shared = p->shared_gate_up;
    t.data_stride = p->experts.gate_up_data, t.scale_stride = p->experts.gate_up_scale;
    t.multiplier_low = p->experts.gate_multiplier, t.multiplier_high = p->experts.up_multiplier;
    t.input = t.matrix[0].kind == NB_KIND_FP8_A8 ? p->input_f8 : p->input, t.input_stride = p->input_stride;
    t.pair_token = p->route.pair_token;
    t.output[0].kind = NB_OUT_BF16, t.output[0].out = p->inter, t.output[0].stride = p->inter_stride;
    t.inter_f16 = p->experts.down.kind == NB_KIND_FP8_A8;
    t.inter_inverse = t.inter_f16 ? 1.0f / p->experts.down.input_scale : 1.0f;
    bool apart = p->route.has_shared && !p->route.tile_shared;
    NB_TRY(run_grouped(at, &t, columns, max_tile, err));
    if (apart) NB_TRY(run_shared(at, &t, p->input, p->n_tok, err));
    t.tiles_known = nb_grouped_serves(&t, columns);
    t.matrix[0] = p->experts.down, t.shared = p->shared_down;
    t.data_stride = p->experts.down_data, t.scale_stride = p->experts.down_scale;
    t.multiplier_low = t.multiplier_high = p->experts.down_multiplier;
    t.input = p->inter, t.input_stride = p->inter_stride, t.pair_token = NULL;
    t.output[0].kind = at->wgmma ? NB_OUT_BF16 : NB_OUT_F32, t.output[0].out = p->pair_out,
    t.output[0].stride = p->d_model;
    nb_cuda_combine sum = combine_of(p);
    if (apart) NB_TRY(run_shared(at, &t, p->inter + (int64_t)n_pair * p->inter_stride, p->n_tok, err));
    if (!at->wgmma && nb_grouped_serves(&t, columns)) return nb_grouped_run(at, &t, columns, max_tile, &sum, err);
    NB_TRY(run_grouped(at, &t, columns, max_tile, err));
    auto combine = at->wgmma ? combine_kernel<true> : combine_kernel<false>;
    return nb_cuda_start(at, combine, p->n_tok, NB_COMBINE_THREADS, 0, err, sum);
}

int nb_cuda_moe_run(const nb_cuda_launch *at, const nb_cuda_moe *p, nb_error *err)
{
    return p->n_tok <= NB_CUDA_SMALL_MAX ? moe_small(at, p, err) : moe_large(at, p, err);
}
