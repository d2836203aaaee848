// The kernels of cuda_attention.h.
//
// attend_kernel: S^T = K Q^T and O^T = V^T P^T, so that tokens and d_head fill the 16 rows of an mma and the 8 query
// heads of a KV head its 8 columns. The tokens of a page are dealt to the rows such that S^T, transposed 8 x 8 by
// movmatrix, is the next product's operand and V is read in 16 tokens per lane. The four warps of a block share a page:
// each takes 16 tokens of K, then, the probabilities exchanged in shared memory, a quarter of V's d_head rows. Blocks
// (splits) add up through global memory, by the last one to come. The next page's K and this page's V are loaded before
// they are needed.
//
// Bytes: K and V of the context once per column tile; 2 * d_head * 2 operations per byte and query head.
#include "cuda/cuda_flash.h"

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
            norm_rotate(p, x + h * q_rows, p.q_norm, pos, y);
            uint16_t *q = p.q + ((int64_t)tok * p.n_head + h) * d;
            for (int i = lane; i < d; i += 32)
                q[i] = p.fp8 ? __half_as_ushort(__float2half_rn(nb_bf16_to_f32(nb_bf16_from_f32(y[i]))))
                             : nb_bf16_from_f32(y[i]);
        } else if (h < p.n_head + p.n_kv_head) {
            int kv = h - p.n_head;
            norm_rotate(p, x + p.n_head * q_rows + kv * d, p.k_norm, pos, y);
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

// 16 values of a row as they lie in the cache: one or two uint4.
template <bool FP8> struct raw_16 {
    uint4 v[FP8 ? 1 : 2];
};

template <bool FP8> __device__ __forceinline__ void load_16(raw_16<FP8> *r, const uint8_t *row)
{
    r->v[0] = *(const uint4 *)row;
    if (!FP8) r->v[FP8 ? 0 : 1] = *(const uint4 *)(row + 16);
}

// The two words of step i of an A fragment's row.
template <bool FP8>
__device__ __forceinline__ void step_of(const raw_16<FP8> &r, int i, uint32_t *first, uint32_t *second)
{
    const uint32_t *w = (const uint32_t *)r.v;
    if (FP8)
        *first = nb_f16x2_from_e4m3x2(w[i] & 0xffffu), *second = nb_f16x2_from_e4m3x2(w[i] >> 16);
    else
        *first = w[2 * i], *second = w[2 * i + 1];
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

typedef struct exchange { // between the warps of a block, by page parity
    float top[2][WARPS][COLUMNS];
    uint32_t p[2][WARPS][2][NB_CUDA_WARP]; // B fragments of the probabilities: a warp's 16 tokens are one mma step
    float sum[WARPS][COLUMNS];
} exchange;

// A warp's 16 tokens of K: rows 16 * (g / 2) + 4 * warp + g % 2 and 2 behind, so that lane t of the transposed scores
// holds tokens 16 t + 4 * warp .. + 3.
template <int D, bool FP8> __device__ __forceinline__ void load_k(raw_16<FP8> k[D / 64][2], const uint8_t *page)
{
    constexpr int size = FP8 ? 1 : 2;
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, tok = 16 * (g >> 1) + 4 * (threadIdx.x >> 5) + (g & 1);
#pragma unroll
    for (int kt = 0; kt < D / 64; kt++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            load_16<FP8>(&k[kt][h], page + (int64_t)((tok + 2 * h) * D + kt * 64 + t * 16) * size);
}

template <int D, bool FP8> __device__ __forceinline__ void load_v(raw_16<FP8> v[D / 64][2], const uint8_t *page)
{
    constexpr int size = FP8 ? 1 : 2;
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, row = (threadIdx.x >> 5) * (D / WARPS) + g;
#pragma unroll
    for (int m = 0; m < D / 64; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            load_16<FP8>(&v[m][h], page + (int64_t)((row + m * 16 + 8 * h) * NB_PAGE_TOKENS + t * 16) * size);
}

template <int D> struct column_state { // columns 2 t and 2 t + 1: maximum, the warp's own sum, and its quarter of O^T
    float top[2], sum[2], o[D / 64][4];
};

// Scores of the warp's 16 tokens, scaled and masked; their maxima go to x->top.
template <int D, bool FP8>
__device__ __forceinline__ void score(float s[4], const raw_16<FP8> k[D / 64][2], const uint32_t q[D / 64][8],
                                      const int limit[2], int from, float scale, float top[COLUMNS])
{
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int kt = 0; kt < D / 64; kt++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t a[4];
            step_of<FP8>(k[kt][0], i, &a[0], &a[2]);
            step_of<FP8>(k[kt][1], i, &a[1], &a[3]);
            nb_mma<FP8>(s, a, q[kt][2 * i], q[kt][2 * i + 1]);
        }
    float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int c = 0; c < 4; c++) {
        int tok = 16 * (g >> 1) + 4 * (threadIdx.x >> 5) + 2 * (c >> 1) + (g & 1);
        s[c] = tok >= from && tok < limit[c & 1] ? s[c] * scale : -INFINITY;
        most[c & 1] = fmaxf(most[c & 1], s[c]);
    }
#pragma unroll
    for (int c = 0; c < 2; c++) {
        most[c] = column_max(most[c]);
        if (g == 0) top[2 * t + c] = most[c];
    }
}

// Adds one page whose K is in k and whose V is in v.
template <int D, bool FP8>
__device__ __forceinline__ void add_page(column_state<D> *st, float s[4], const raw_16<FP8> v[D / 64][2], exchange *x,
                                         int parity)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, t = lane & 3;
    float factor[2];
    __syncthreads();
#pragma unroll
    for (int c = 0; c < 2; c++) {
        float top = st->top[c];
        for (int w = 0; w < WARPS; w++) top = fmaxf(top, x->top[parity][w][2 * t + c]);
        factor[c] = top == -INFINITY ? 1.0f : exp2f(st->top[c] - top);
        st->top[c] = top, st->sum[c] *= factor[c];
    }
#pragma unroll
    for (int c = 0; c < 4; c++) {
        s[c] = s[c] == -INFINITY ? 0.0f : exp2f(s[c] - st->top[c & 1]);
        st->sum[c & 1] += s[c];
    }
    x->p[parity][warp][0][lane] = transpose_8x8(pack_pair<FP8>(s[0], s[1]));
    x->p[parity][warp][1][lane] = transpose_8x8(pack_pair<FP8>(s[2], s[3]));
    __syncthreads();
#pragma unroll
    for (int m = 0; m < D / 64; m++) {
#pragma unroll
        for (int c = 0; c < 4; c++) st->o[m][c] *= factor[c & 1];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t a[4];
            step_of<FP8>(v[m][0], i, &a[0], &a[2]);
            step_of<FP8>(v[m][1], i, &a[1], &a[3]);
            nb_mma<FP8>(st->o[m], a, x->p[parity][i][0][lane], x->p[parity][i][1][lane]);
        }
    }
}

template <int D>
__device__ static void store_out(const nb_cuda_attention &p, const nb_attention_seq &s, int kv, int column, int i,
                                 float y)
{
    int group = p.n_head / p.n_kv_head, tok = s.tok_first + column / group, head = kv * group + column % group;
    if (p.gated) y *= nb_sigmoid(p.projected[(int64_t)tok * p.projected_stride + head * 2 * D + D + i]);
    p.out[((int64_t)tok * p.n_head + head) * D + i] = nb_bf16_from_f32(y);
}

// Sum of the splits: max and sum per column in ms, O in part.
template <int D>
__device__ static void add_splits(const nb_cuda_attention &p, const nb_attention_seq &s, int kv, int first,
                                  int n_column, int n_split, const float *part, const float2 *ms)
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
        store_out<D>(p, s, kv, column, at, y.x), store_out<D>(p, s, kv, column, at + 1, y.y);
        store_out<D>(p, s, kv, column, at + 2, y.z), store_out<D>(p, s, kv, column, at + 3, y.w);
    }
}

template <int D, bool FP8>
__global__ void __launch_bounds__(THREADS) attend_kernel(const __grid_constant__ nb_cuda_attention p)
{
    __shared__ exchange x;
    int split = blockIdx.x, kv = blockIdx.y, warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2,
        t = lane & 3;
    nb_grid_release();
    nb_touch(p);
    nb_attention_tile tile = p.tile[blockIdx.z];
    nb_attention_seq s = p.seq[tile.seq];
    int group = p.n_head / p.n_kv_head, n_column = min(COLUMNS, s.n_new * group - tile.first);
    int last_pos = s.n_past + (tile.first + n_column - 1) / group, n_page = last_pos / NB_PAGE_TOKENS + 1;
    int per = (n_page + p.n_split - 1) / p.n_split, n_active = (n_page + per - 1) / per;
    nb_grid_wait();
    if (split >= n_active) return;
    int64_t k_bytes = (int64_t)NB_PAGE_TOKENS * D * (FP8 ? 1 : 2);
    const int32_t *pages = p.page + s.page_first;
    auto at_page = [&](int i) { return p.cache + (int64_t)pages[i] * p.page_bytes + kv * k_bytes; };
    raw_16<FP8> k[D / 64][2], v[D / 64][2];
    int first = split * per, end = min(n_page, first + per);
    load_k<D, FP8>(k, at_page(first));
    uint32_t q[D / 64][8] = {};
    int limit[2];
    for (int c = 0; c < 2; c++) limit[c] = s.n_past + (tile.first + min(2 * t + c, n_column - 1)) / group + 1;
    if (g < n_column) {
        int column = tile.first + g;
        const uint16_t *row =
            p.q + ((int64_t)(s.tok_first + column / group) * p.n_head + kv * group + column % group) * D;
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            *(uint4 *)q[kt] = *(const uint4 *)(row + kt * 64 + t * 16);
            *(uint4 *)(q[kt] + 4) = *(const uint4 *)(row + kt * 64 + t * 16 + 8);
        }
    }
    column_state<D> st = {};
    st.top[0] = st.top[1] = -INFINITY;
    float scale = rsqrtf((float)D) * 1.44269504f * p.k_scale; // scores in powers of two
    for (int i = first; i < end; i++) {
        const uint8_t *page = at_page(i);
        int left[2] = {limit[0] - i * NB_PAGE_TOKENS, limit[1] - i * NB_PAGE_TOKENS}, parity = i & 1;
        float scores[4] = {};
        load_v<D, FP8>(v, page + p.n_kv_head * k_bytes);
        score<D, FP8>(scores, k, q, left, p.kv_first - i * NB_PAGE_TOKENS, scale, x.top[parity][warp]);
        if (i + 1 < end) load_k<D, FP8>(k, at_page(i + 1));
        add_page<D, FP8>(&st, scores, v, &x, parity);
    }
#pragma unroll
    for (int c = 0; c < 2; c++) {
        float sum = column_sum(st.sum[c]);
        if (g == 0) x.sum[warp][2 * t + c] = sum;
    }
    __syncthreads();
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
                store_out<D>(p, s, kv, tile.first + column, i, st.o[m][c] / sum * p.v_scale);
            else
                p.part[(at * COLUMNS + column) * D + i] = st.o[m][c];
        }
    }
    if (n_active == 1) return;
    if (!nb_last_block(p.counter + slot, n_active)) return;
    add_splits<D>(p, s, kv, tile.first, n_column, n_active, p.part + slot * p.n_split * COLUMNS * D,
                  p.part_sum + slot * p.n_split * COLUMNS);
}

template <int D> static int attend(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    dim3 grid(p->n_split, p->n_kv_head, p->n_tile);
    return nb_cuda_start(at, p->fp8 ? attend_kernel<D, true> : attend_kernel<D, false>, grid, THREADS, 0, err, *p);
}

int nb_cuda_attention_store(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    return nb_cuda_start(at, prepare_qkv_kernel, p->n_tok, PREPARE_THREADS, 0, err, *p, p->n_head);
}

int nb_cuda_attention_run(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    enum { WARPS_PREPARE = PREPARE_THREADS / 32 };
    dim3 grid(p->n_tok, p->n_tok < at->n_sm ? nb_ceil_div(p->n_head + 2 * p->n_kv_head, WARPS_PREPARE) : 1);
    NB_TRY(nb_cuda_start(at, prepare_qkv_kernel, grid, PREPARE_THREADS, 0, err, *p, 0));
    if (p->n_flash) NB_TRY(nb_flash_run(at, p, err));
    if (p->n_tile == 0) return NB_OK;
    if (p->d_head == 64) return attend<64>(at, p, err);
    if (p->d_head == 128) return attend<128>(at, p, err);
    return attend<256>(at, p, err);
}
