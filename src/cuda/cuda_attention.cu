// The kernels of cuda_attention.h.
//
// attend_kernel: S^T = K Q^T and O^T = V^T P^T, so that tokens and d_head fill the 16 rows of an mma and the 8 query
// heads of a KV head its 8 columns. The tokens of a page are dealt to the rows such that S^T, transposed 8 x 8 by
// movmatrix, is the next product's operand and V is read in 16 tokens per lane. The four warps of a block share a page:
// each takes 16 tokens of K, then, the probabilities exchanged in shared memory, a quarter of V's d_head rows.
// Blocks (splits) add up through global memory, by the last one to come. The next page's K and this page's V are loaded
// before they are needed. In a decode the blocks prepare their queries themselves, and the one with a sequence's last
// page puts the token's K and V there; else prepare_qkv_kernel does it for all tokens before.
//
// Bytes: K and V of the context once per column tile; 2 * d_head * 2 operations per byte and query head.
#include "cuda/cuda_attention_heads.cuh"
#include "cuda/cuda_flash.h"
#include "cuda/cuda_prepared.cuh"
#include "cuda/cuda_route.cuh"

enum {
    WARPS = NB_TEAM_WARPS,
    THREADS = WARPS * 32,
    COLUMNS = NB_ATTENTION_COLUMNS,
    PREPARE_THREADS = 256,
    D_HEAD_MAX = 256
};

// q, k, v of a token from head_first on: q to its buffer, k and v to the cache. One block a token, one warp a head.
__global__ void __launch_bounds__(PREPARE_THREADS)
    prepare_qkv_kernel(const __grid_constant__ nb_cuda_attention p, int head_first)
{
    __shared__ float buffer[PREPARE_THREADS / 32][D_HEAD_MAX];
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    int tok = blockIdx.x, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, d = p.d_head, q_rows = d * (1 + p.gated);
    nb_attention_seq s = p.seq[p.tok_seq[tok]];
    int pos = s.n_past + tok - s.tok_first, row = pos % NB_PAGE_TOKENS;
    uint8_t *page = p.cache + (int64_t)p.page[s.page_first + pos / NB_PAGE_TOKENS] * p.page_bytes;
    const float *x = p.projected + (int64_t)tok * p.projected_stride;
    float *y = buffer[warp];
    int64_t v_first = (int64_t)p.n_kv_head * NB_PAGE_TOKENS * d;
    for (int h = head_first + blockIdx.y * (PREPARE_THREADS / 32) + warp; h < p.n_head + 2 * p.n_kv_head;
         h += gridDim.y * (PREPARE_THREADS / 32)) {
        if (h < p.n_head) {
            nb_norm_rotate(p, x + h * q_rows, p.q_norm, pos, y);
            uint16_t *q = p.q + ((int64_t)tok * p.n_head + h) * d;
            for (int i = lane; i < d; i += 32)
                q[i] = p.fp8 ? __half_as_ushort(__float2half_rn(nb_bf16_to_f32(nb_bf16_from_f32(y[i]))))
                             : nb_bf16_from_f32(y[i]);
        } else if (h < p.n_head + p.n_kv_head) {
            int kv = h - p.n_head;
            nb_norm_rotate(p, x + p.n_head * q_rows + kv * d, p.k_norm, pos, y);
            int64_t at = ((int64_t)kv * NB_PAGE_TOKENS + row) * d;
            for (int i = lane; i < d; i += 32) {
                if (p.fp8)
                    page[at + i] = nb_e4m3_from_f32(y[i] / p.k_scale);
                else
                    ((uint16_t *)page)[at + i] = nb_bf16_from_f32(y[i]);
            }
        } else {
            int kv = h - p.n_head - p.n_kv_head;
            const float *v = x + p.n_head * q_rows + (p.n_kv_head + kv) * d;
            int64_t at = v_first + (int64_t)kv * d * NB_PAGE_TOKENS + row;
            for (int i = lane; i < d; i += 32) {
                if (p.fp8)
                    page[at + (int64_t)i * NB_PAGE_TOKENS] = nb_e4m3_from_f32(v[i] / p.v_scale);
                else
                    ((uint16_t *)page)[at + (int64_t)i * NB_PAGE_TOKENS] = nb_bf16_from_f32(v[i]);
            }
        }
        __syncwarp();
    }
}

template <int D>
__device__ static void store_out(const nb_cuda_attention &p, const nb_cuda_prepared &to, const nb_attention_seq &s,
                                 int kv, int column, int i, float y)
{
    int group = p.n_head / p.n_kv_head, tok = s.tok_first + column / group, head = kv * group + column % group;
    if (p.gated) y *= nb_sigmoid(p.projected[(int64_t)tok * p.projected_stride + head * 2 * D + D + i]);
    if (to.stride)
        nb_store_prepared_one(to, tok, head * D + i, y);
    else
        p.out[((int64_t)tok * p.n_head + head) * D + i] = nb_bf16_from_f32(y);
}

// Sum of the splits: max and sum per column in ms, O in part.
template <int D>
__device__ static void add_splits(const nb_cuda_attention &p, const nb_cuda_prepared &to, const nb_attention_seq &s,
                                  int kv, int first, int n_column, int n_split, const float *part, const float2 *ms)
{
    __shared__ float factor[NB_ATTENTION_SPLITS_MAX][COLUMNS], sums[NB_ATTENTION_SPLITS_MAX][COLUMNS];
    for (int i = threadIdx.x; i < n_split * COLUMNS; i += THREADS) {
        float2 m = __ldcg(&ms[i]);
        factor[i / COLUMNS][i % COLUMNS] = m.x, sums[i / COLUMNS][i % COLUMNS] = m.y;
    }
    __syncthreads();
    if (threadIdx.x < COLUMNS) {
        float top = -INFINITY, sum = 0;
        for (int j = 0; j < n_split; j++) top = fmaxf(top, factor[j][threadIdx.x]);
        for (int j = 0; j < n_split; j++) {
            float f = factor[j][threadIdx.x] == -INFINITY ? 0.0f : exp2f(factor[j][threadIdx.x] - top);
            factor[j][threadIdx.x] = f, sum += f * sums[j][threadIdx.x];
        }
        for (int j = 0; j < n_split; j++) factor[j][threadIdx.x] /= sum;
    }
    __syncthreads();
    for (int i = threadIdx.x * 4; i < n_column * D; i += THREADS * 4) {
        float4 y = {};
#pragma unroll 16
        for (int j = 0; j < n_split; j++) {
            float4 o = __ldcg((const float4 *)&part[(int64_t)j * COLUMNS * D + i]);
            float f = factor[j][i / D] * p.v_scale;
            y.x += f * o.x, y.y += f * o.y, y.z += f * o.z, y.w += f * o.w;
        }
        int column = first + i / D, at = i % D;
        store_out<D>(p, to, s, kv, column, at, y.x), store_out<D>(p, to, s, kv, column, at + 1, y.y);
        store_out<D>(p, to, s, kv, column, at + 2, y.z), store_out<D>(p, to, s, kv, column, at + 3, y.w);
    }
}

// A decode's queries; by the block that has the token's page, its K and V to there.
template <int D, bool FP8>
__device__ static void prepare_token(const nb_cuda_attention &p, const nb_attention_seq &s, nb_heads *heads,
                                     const float2 *rope, int kv, bool last, int32_t page)
{
    const float *projected = p.projected + (int64_t)s.tok_first * p.projected_stride;
    nb_prepare_heads<D, FP8>(p, heads, projected, rope, kv, last);
    if (!last) return;
    uint8_t *to = (uint8_t *)nb_page_of<D, FP8>(p, page, kv);
    nb_store_token<D, FP8>(p, heads, to, s.n_past % NB_PAGE_TOKENS);
    __threadfence_block(); // the block reads it from there
    nb_team_sync();
}

// DECODE: one tile a sequence, of one token.
template <int D, bool FP8, bool DECODE>
__global__ void __launch_bounds__(THREADS)
    attend_kernel(const __grid_constant__ nb_cuda_attention p, const __grid_constant__ nb_cuda_prepared to)
{
    __shared__ nb_exchange x;
    __shared__ __align__(16) float2 rope[DECODE ? D / 2 : 2];
    __shared__ typename std::conditional<DECODE, nb_heads, char>::type heads;
    int split = blockIdx.x, kv = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2,
        t = lane & 3;
    nb_grid_release();
    nb_touch(p);
    nb_touch(to);
    nb_attention_tile tile = p.tile[blockIdx.z];
    nb_attention_seq s = p.seq[tile.seq];
    int group = p.n_head / p.n_kv_head, n_column = min(COLUMNS, s.n_new * group - tile.first);
    int last_pos = s.n_past + (tile.first + n_column - 1) / group, n_page = last_pos / NB_PAGE_TOKENS + 1;
    int per = (n_page + p.n_split - 1) / p.n_split, n_active = (n_page + per - 1) / per;
    int first = split * per, end = min(n_page, first + per);
    const int32_t *pages = p.page + s.page_first;
    if constexpr (DECODE) {
        nb_fetch_norms<D>(p, &heads);
        nb_fill_rope(p, s.n_past, rope, threadIdx.x, THREADS);
        nb_copies_wait();
        __syncthreads();
    }
    nb_grid_wait();
    if (split >= n_active) return;
    uint32_t q[D / 64][8] = {};
    int limit[2];
    for (int c = 0; c < 2; c++) limit[c] = s.n_past + (tile.first + min(2 * t + c, n_column - 1)) / group + 1;
    if constexpr (DECODE) {
        prepare_token<D, FP8>(p, s, &heads, rope, kv, end == n_page, pages[end - 1]);
        if (g < n_column) nb_load_query<D>(q, heads.q[g]);
    } else if (g < n_column) {
        int column = tile.first + g, tok = s.tok_first + column / group;
        nb_load_query<D>(q, p.q + ((int64_t)tok * p.n_head + kv * group + column % group) * D);
    }
    const uint8_t *page = nb_page_of<D, FP8>(p, pages[first], kv);
    nb_page_part<D, FP8> part;
    nb_load_k<D, FP8>(&part, page), nb_load_v<D, FP8>(&part, p, page);
    nb_column_state<D> st;
    nb_attend_pages<D, FP8>(p, pages, kv, first, end, q, limit, &x, &part, &st);
    nb_exchange_sums<D>(st, &x);
    int64_t slot = (int64_t)blockIdx.z * p.n_kv_head + kv, at = slot * p.n_split + split;
#pragma unroll
    for (int c = 0; c < 4; c++) {
        int column = 2 * t + (c & 1);
        if (column >= n_column) continue;
        float sum = x.sum[0][column] + x.sum[1][column] + x.sum[2][column] + x.sum[3][column];
        if (n_active > 1 && warp == 0 && g == 0 && c < 2)
            p.part_sum[at * COLUMNS + column] = make_float2(st.top[c & 1], sum);
#pragma unroll
        for (int m = 0; m < D / 64; m++) {
            int i = warp * (D / WARPS) + m * 16 + g + 8 * (c >> 1);
            if (n_active == 1)
                store_out<D>(p, to, s, kv, tile.first + column, i, st.o[m][c] / sum * p.v_scale);
            else
                p.part[(at * COLUMNS + column) * D + i] = st.o[m][c];
        }
    }
    if (n_active == 1) return;
    if (!nb_last_block(p.counter + slot, n_active)) return;
    add_splits<D>(p, to, s, kv, tile.first, n_column, n_active, p.part + slot * p.n_split * COLUMNS * D,
                  p.part_sum + slot * p.n_split * COLUMNS);
}

template <int D, bool DECODE>
static int attend(const nb_cuda_launch *at, const nb_cuda_attention *p, const nb_cuda_prepared *to, nb_error *err)
{
    dim3 grid(p->n_split, p->n_kv_head, p->n_tile);
    static const nb_cuda_prepared none = {};
    return nb_cuda_start(at, p->fp8 ? attend_kernel<D, true, DECODE> : attend_kernel<D, false, DECODE>, grid, THREADS,
                         0, err, *p, to ? *to : none);
}

template <bool DECODE>
static int attend_any(const nb_cuda_launch *at, const nb_cuda_attention *p, const nb_cuda_prepared *to, nb_error *err)
{
    if (p->d_head == 64) return attend<64, DECODE>(at, p, to, err);
    if (p->d_head == 128) return attend<128, DECODE>(at, p, to, err);
    return attend<256, DECODE>(at, p, to, err);
}

int nb_cuda_attention_store(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    return nb_cuda_start(at, prepare_qkv_kernel, p->n_tok, PREPARE_THREADS, 0, err, *p, p->n_head);
}

int nb_cuda_attention_run(const nb_cuda_launch *at, const nb_cuda_attention *p, const nb_cuda_prepared *to,
                          nb_error *err)
{
    enum { WARPS_PREPARE = PREPARE_THREADS / 32 };
    bool one_tile_each = p->n_tok == p->n_seq && p->n_tile == p->n_seq; // so no page is read by a tile beside it
    if (one_tile_each && p->n_rot % NB_HEAD_ROTATED == 0) return attend_any<true>(at, p, to, err);
    dim3 grid(p->n_tok, p->n_tok < at->n_sm ? nb_ceil_div(p->n_head + 2 * p->n_kv_head, WARPS_PREPARE) : 1);
    NB_TRY(nb_cuda_start(at, prepare_qkv_kernel, grid, PREPARE_THREADS, 0, err, *p, 0));
    if (p->n_flash) NB_TRY(nb_flash_run(at, p, err));
    return p->n_tile ? attend_any<false>(at, p, to, err) : NB_OK;
}
