// The kernels of cuda_attention.h.
//
// attend_kernel: S^T = K Q^T and O^T = V^T P^T, so that tokens and d_head fill the 16 rows of an mma and the 8 query heads of a
// KV head its 8 columns. The tokens of a page are dealt to the rows such that S^T, transposed 8 x 8 by movmatrix, is the next
// product's operand and V is read in 16 tokens per lane. Each warp takes whole pages; warps merge in shared memory, blocks
// (splits) through global memory, the last one to come adding up.
//
// Bytes: K and V of the context once per column tile; 2 * d_head * 2 operations per byte and query head.
#include "cuda/cuda_attention.h"

#include "cuda/cuda_route.cuh"
#include "cuda/cuda_source.cuh"

enum { WARPS = 4, THREADS = WARPS * 32, COLUMNS = NB_ATTENTION_COLUMNS, PREPARE_THREADS = 256, D_HEAD_MAX = 256 };

// Norm and rotation of one head by one warp; x: [d] in global memory, y: [d] shared.
__device__ static void norm_rotate(const nb_cuda_attention &p, const float *x, const float *weight, int pos, float *y)
{
    int lane = threadIdx.x & 31, d = p.d_head, half = p.n_rot / 2;
    float sum = 0;
    for (int i = lane; i < d; i += 32) sum += x[i] * x[i];
    float scale = rsqrtf(nb_warp_sum(sum) / (float)d + p.eps);
    for (int i = lane; i < d; i += 32) y[i] = x[i] * scale * weight[i];
    __syncwarp();
    for (int i = lane; i < half; i += 32) {
        float c, s, a = y[i], b = y[i + half];
        sincosf((float)pos * p.inv_freq[i], &s, &c);
        c *= p.rope_factor, s *= p.rope_factor;
        y[i] = a * c - b * s, y[i + half] = b * c + a * s;
    }
    __syncwarp();
}

// q, k, v of a token: q to its buffer, k and v to the cache. One block a token, one warp a head.
__global__ void __launch_bounds__(PREPARE_THREADS) prepare_qkv_kernel(const __grid_constant__ nb_cuda_attention p)
{
    __shared__ float buffer[PREPARE_THREADS / 32][D_HEAD_MAX];
    nb_grid_release();
    nb_grid_wait();
    int tok = blockIdx.x, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, d = p.d_head, q_rows = d * (1 + p.gated);
    nb_attention_seq s = p.seq[p.tok_seq[tok]];
    int pos = s.n_past + tok - s.tok_first, row = pos % NB_PAGE_TOKENS;
    uint8_t *page = p.cache + (int64_t)p.page[s.page_first + pos / NB_PAGE_TOKENS] * p.page_bytes;
    const float *x = p.projected + (int64_t)tok * p.projected_stride;
    float *y = buffer[warp];
    int64_t v_first = (int64_t)p.n_kv_head * NB_PAGE_TOKENS * d;
    for (int h = blockIdx.y * (PREPARE_THREADS / 32) + warp; h < p.n_head + 2 * p.n_kv_head;
         h += gridDim.y * (PREPARE_THREADS / 32)) {
        if (h < p.n_head) {
            norm_rotate(p, x + h * q_rows, p.q_norm, pos, y);
            uint16_t *q = p.q + ((int64_t)tok * p.n_head + h) * d;
            for (int i = lane; i < d; i += 32)
                q[i] = p.fp8 ? __half_as_ushort(__float2half_rn(nb_bf16_to_f32(nb_bf16_from_f32(y[i])))) : nb_bf16_from_f32(y[i]);
        } else if (h < p.n_head + p.n_kv_head) {
            int kv = h - p.n_head;
            norm_rotate(p, x + p.n_head * q_rows + kv * d, p.k_norm, pos, y);
            int64_t at = ((int64_t)kv * NB_PAGE_TOKENS + row) * d;
            for (int i = lane; i < d; i += 32) {
                if (p.fp8) page[at + i] = nb_e4m3_from_f32(y[i] / p.k_scale);
                else ((uint16_t *)page)[at + i] = nb_bf16_from_f32(y[i]);
            }
        } else {
            int kv = h - p.n_head - p.n_kv_head;
            const float *v = x + p.n_head * q_rows + (p.n_kv_head + kv) * d;
            int64_t at = v_first + (int64_t)kv * d * NB_PAGE_TOKENS + row;
            for (int i = lane; i < d; i += 32) {
                if (p.fp8) page[at + (int64_t)i * NB_PAGE_TOKENS] = nb_e4m3_from_f32(v[i] / p.v_scale);
                else ((uint16_t *)page)[at + (int64_t)i * NB_PAGE_TOKENS] = nb_bf16_from_f32(v[i]);
            }
        }
        __syncwarp();
    }
}

// 16 values of a row as four steps of A fragments (two words each).
template <bool FP8> __device__ __forceinline__ void load_16(const uint8_t *row, uint32_t w[8])
{
    if (FP8) {
        uint4 v = *(const uint4 *)row;
        const uint32_t *c = (const uint32_t *)&v;
#pragma unroll
        for (int i = 0; i < 4; i++)
            w[2 * i] = nb_f16x2_from_e4m3x2(c[i] & 0xffffu), w[2 * i + 1] = nb_f16x2_from_e4m3x2(c[i] >> 16);
    } else {
        *(uint4 *)w = *(const uint4 *)row, *(uint4 *)(w + 4) = *(const uint4 *)(row + 16);
    }
}

__device__ __forceinline__ uint32_t transpose_8x8(uint32_t v)
{
    uint32_t t;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(v));
    return t;
}

template <bool FP8> __device__ __forceinline__ uint32_t pack_pair(float low, float high)
{
    if (!FP8) return nb_pack_bf16x2(low, high);
    __half2 v = __floats2half2_rn(low, high);
    return *(uint32_t *)&v;
}

// Maximum and sum over the 8 lanes that share a column.
__device__ __forceinline__ float column_max(float v)
{
    for (int o = 4; o < 32; o *= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

__device__ __forceinline__ float column_sum(float v)
{
    for (int o = 4; o < 32; o *= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

template <int D> struct column_state { // of one warp: running maximum, sum and O^T of its columns 2 t and 2 t + 1
    float top[2], sum[2], o[D / 16][4];
};

// Adds one page. q: B fragments of all d. limit: tokens of the page that column 2 t + c may see.
template <int D, bool FP8>
__device__ __forceinline__ void add_page(column_state<D> *st, const uint8_t *k, const uint8_t *v, const uint32_t q[D / 64][8],
                                         const int limit[2], float scale)
{
    constexpr int size = FP8 ? 1 : 2;
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    float s[4][4] = {};
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            uint32_t low[8], high[8];
            int tok = 16 * (g >> 1) + 4 * m + (g & 1);
            load_16<FP8>(k + (int64_t)(tok * D + kt * 64 + t * 16) * size, low);
            load_16<FP8>(k + (int64_t)((tok + 2) * D + kt * 64 + t * 16) * size, high);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t a[4] = {low[2 * i], high[2 * i], low[2 * i + 1], high[2 * i + 1]};
                nb_mma<FP8>(s[m], a, q[kt][2 * i], q[kt][2 * i + 1]);
            }
        }
    float top[2] = {st->top[0], st->top[1]}, sum[2] = {};
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int tok = 16 * (g >> 1) + 4 * m + 2 * (c >> 1) + (g & 1);
            s[m][c] = tok < limit[c & 1] ? s[m][c] * scale : -INFINITY;
            top[c & 1] = fmaxf(top[c & 1], s[m][c]);
        }
    float factor[2];
#pragma unroll
    for (int c = 0; c < 2; c++) {
        top[c] = column_max(top[c]);
        factor[c] = top[c] == -INFINITY ? 1.0f : exp2f(st->top[c] - top[c]);
        st->top[c] = top[c];
    }
    uint32_t b[8];
#pragma unroll
    for (int m = 0; m < 4; m++) {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            s[m][c] = s[m][c] == -INFINITY ? 0.0f : exp2f(s[m][c] - top[c & 1]);
            sum[c & 1] += s[m][c];
        }
        b[2 * m] = transpose_8x8(pack_pair<FP8>(s[m][0], s[m][1]));
        b[2 * m + 1] = transpose_8x8(pack_pair<FP8>(s[m][2], s[m][3]));
    }
#pragma unroll
    for (int c = 0; c < 2; c++) st->sum[c] = st->sum[c] * factor[c] + sum[c];
#pragma unroll
    for (int m = 0; m < D / 16; m++) {
        uint32_t low[8], high[8];
        load_16<FP8>(v + (int64_t)((m * 16 + g) * NB_PAGE_TOKENS + t * 16) * size, low);
        load_16<FP8>(v + (int64_t)((m * 16 + g + 8) * NB_PAGE_TOKENS + t * 16) * size, high);
#pragma unroll
        for (int c = 0; c < 4; c++) st->o[m][c] *= factor[c & 1];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t a[4] = {low[2 * i], high[2 * i], low[2 * i + 1], high[2 * i + 1]};
            nb_mma<FP8>(st->o[m], a, b[2 * i], b[2 * i + 1]);
        }
    }
}

template <int D> __device__ static void store_out(const nb_cuda_attention &p, const nb_attention_seq &s, int kv, int column, int i, float y)
{
    int group = p.n_head / p.n_kv_head, tok = s.tok_first + column / group, head = kv * group + column % group;
    if (p.gated) y *= nb_sigmoid(p.projected[(int64_t)tok * p.projected_stride + head * 2 * D + D + i]);
    p.out[((int64_t)tok * p.n_head + head) * D + i] = nb_bf16_from_f32(y);
}

// Sum of the splits: max and sum per column in ms, O in part.
template <int D>
__device__ static void add_splits(const nb_cuda_attention &p, const nb_attention_seq &s, int kv, int first, int n_column,
                                  int n_split, const float *part, const float2 *ms)
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
    for (int i = threadIdx.x; i < n_column * D; i += THREADS) {
        float y = 0;
#pragma unroll 8
        for (int j = 0; j < n_split; j++) y += factor[j][i / D] * __ldcg(&part[(int64_t)j * COLUMNS * D + i]);
        store_out<D>(p, s, kv, first + i / D, i % D, y * p.v_scale);
    }
}

template <int D, bool FP8> __global__ void __launch_bounds__(THREADS) attend_kernel(const __grid_constant__ nb_cuda_attention p)
{
    extern __shared__ float o_all[]; // [WARPS][8][D]
    __shared__ float2 ms_all[WARPS][COLUMNS];
    int split = blockIdx.x, kv = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    nb_grid_release();
    nb_grid_wait();
    nb_attention_tile tile = p.tile[blockIdx.z];
    nb_attention_seq s = p.seq[tile.seq];
    int group = p.n_head / p.n_kv_head, n_column = min(COLUMNS, s.n_new * group - tile.first);
    int last_pos = s.n_past + (tile.first + n_column - 1) / group, n_page = last_pos / NB_PAGE_TOKENS + 1;
    int per = (n_page + p.n_split - 1) / p.n_split, n_active = (n_page + per - 1) / per;
    if (split >= n_active) return;
    uint32_t q[D / 64][8] = {};
    int limit[2];
    for (int c = 0; c < 2; c++) limit[c] = s.n_past + (tile.first + min(2 * t + c, n_column - 1)) / group + 1;
    if (g < n_column) {
        int column = tile.first + g;
        const uint16_t *row = p.q + ((int64_t)(s.tok_first + column / group) * p.n_head + kv * group + column % group) * D;
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            *(uint4 *)q[kt] = *(const uint4 *)(row + kt * 64 + t * 16);
            *(uint4 *)(q[kt] + 4) = *(const uint4 *)(row + kt * 64 + t * 16 + 8);
        }
    }
    column_state<D> st = {};
    st.top[0] = st.top[1] = -INFINITY;
    float scale = rsqrtf((float)D) * 1.44269504f * p.k_scale; // scores in powers of two
    int64_t k_bytes = (int64_t)NB_PAGE_TOKENS * D * (FP8 ? 1 : 2);
    for (int i = split * per + warp; i < min(n_page, (split + 1) * per); i += WARPS) {
        const uint8_t *page = p.cache + (int64_t)p.page[s.page_first + i] * p.page_bytes;
        int left[2] = {limit[0] - i * NB_PAGE_TOKENS, limit[1] - i * NB_PAGE_TOKENS};
        add_page<D, FP8>(&st, page + kv * k_bytes, page + (p.n_kv_head + kv) * k_bytes, q, left, scale);
    }
#pragma unroll
    for (int c = 0; c < 2; c++) {
        float sum = column_sum(st.sum[c]);
        if (g == 0) ms_all[warp][2 * t + c] = make_float2(st.top[c], sum);
    }
#pragma unroll
    for (int m = 0; m < D / 16; m++)
#pragma unroll
        for (int c = 0; c < 4; c++) o_all[(warp * COLUMNS + 2 * t + (c & 1)) * D + m * 16 + g + 8 * (c >> 1)] = st.o[m][c];
    __syncthreads();
    int64_t at = ((int64_t)blockIdx.z * p.n_kv_head + kv) * p.n_split + split;
    for (int i = threadIdx.x; i < n_column * D; i += THREADS) {
        int column = i / D;
        float top = -INFINITY, sum = 0, y = 0;
        for (int w = 0; w < WARPS; w++) top = fmaxf(top, ms_all[w][column].x);
        for (int w = 0; w < WARPS; w++) {
            float f = ms_all[w][column].x == -INFINITY ? 0.0f : exp2f(ms_all[w][column].x - top);
            sum += f * ms_all[w][column].y;
            y += f * o_all[w * COLUMNS * D + i];
        }
        if (n_active == 1) store_out<D>(p, s, kv, tile.first + column, i % D, y / sum * p.v_scale);
        else {
            p.part[at * COLUMNS * D + i] = y;
            if (i % D == 0) p.part_sum[at * COLUMNS + column] = make_float2(top, sum);
        }
    }
    if (n_active == 1) return;
    int64_t slot = (int64_t)blockIdx.z * p.n_kv_head + kv;
    if (!nb_last_block(p.counter + slot, n_active)) return;
    add_splits<D>(p, s, kv, tile.first, n_column, n_active, p.part + slot * p.n_split * COLUMNS * D,
                  p.part_sum + slot * p.n_split * COLUMNS);
}

template <int D> static int attend(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    dim3 grid(p->n_split, p->n_kv_head, p->n_tile);
    size_t smem = (size_t)WARPS * COLUMNS * D * 4;
    return nb_cuda_start(at, p->fp8 ? attend_kernel<D, true> : attend_kernel<D, false>, grid, THREADS, smem, err, *p);
}

int nb_cuda_attention_run(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    enum { WARPS_PREPARE = PREPARE_THREADS / 32 };
    dim3 grid(p->n_tok, p->n_tok < at->n_sm ? nb_ceil_div(p->n_head + 2 * p->n_kv_head, WARPS_PREPARE) : 1);
    NB_TRY(nb_cuda_start(at, prepare_qkv_kernel, grid, PREPARE_THREADS, 0, err, *p));
    if (p->d_head == 64) return attend<64>(at, p, err);
    if (p->d_head == 128) return attend<128>(at, p, err);
    return attend<256>(at, p, err);
}
