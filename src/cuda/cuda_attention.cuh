// Device code that the kernels of attention share. Four warps, a team, work on one page of one KV head; a block may
// hold several teams.
#ifndef NB_CUDA_ATTENTION_CUH
#define NB_CUDA_ATTENTION_CUH

#include "cuda/cuda_attention.h"
#include "cuda/cuda_source.cuh"

enum { NB_TEAM_WARPS = 4, NB_TEAM_THREADS = NB_TEAM_WARPS * 32 };

__device__ __forceinline__ int nb_team_warp(void)
{
    return threadIdx.x >> 5 & (NB_TEAM_WARPS - 1);
}

__device__ __forceinline__ void nb_team_sync(void)
{
    static_assert(NB_TEAM_THREADS == 128, "the barrier's count");
    asm volatile("bar.sync %0, 128;" ::"r"(1 + (threadIdx.x >> 7)) : "memory");
}

// Norm and rotation of one head by one warp; x: [d] in global memory, y: [d] shared.
__device__ inline void nb_norm_rotate(const nb_cuda_attention &p, const float *x, const float *weight, int pos,
                                      float *y)
{
    int lane = threadIdx.x & 31, d = p.d_head, half = p.n_rot / 2;
    float sum = 0;
    for (int i = lane; i < d; i += 32) sum += __ldcg(x + i) * __ldcg(x + i);
    float scale = rsqrtf(nb_warp_sum(sum) / (float)d + p.eps);
    for (int i = lane; i < d; i += 32) y[i] = __ldcg(x + i) * scale * weight[i];
    __syncwarp();
    for (int i = lane; i < half; i += 32) {
        float c, s, a = y[i], b = y[i + half];
        sincosf((float)pos * p.inv_freq[i], &s, &c);
        c *= p.rope_factor, s *= p.rope_factor;
        y[i] = a * c - b * s, y[i + half] = b * c + a * s;
    }
    __syncwarp();
}

// 16 values of a row as they lie in the cache: one or two uint4.
template <bool FP8> struct nb_raw_16 {
    uint4 v[FP8 ? 1 : 2];
};

template <bool FP8> __device__ __forceinline__ void nb_load_16(nb_raw_16<FP8> *r, const uint8_t *row)
{
    r->v[0] = *(const uint4 *)row;
    if (!FP8) r->v[FP8 ? 0 : 1] = *(const uint4 *)(row + 16);
}

// The two words of step i of an A fragment's row.
template <bool FP8>
__device__ __forceinline__ void nb_step_of(const nb_raw_16<FP8> &r, int i, uint32_t *first, uint32_t *second)
{
    const uint32_t *w = (const uint32_t *)r.v;
    if (FP8)
        *first = nb_f16x2_from_e4m3x2(w[i] & 0xffffu), *second = nb_f16x2_from_e4m3x2(w[i] >> 16);
    else
        *first = w[2 * i], *second = w[2 * i + 1];
}

__device__ __forceinline__ uint32_t nb_transpose_8x8(uint32_t v)
{
    uint32_t t;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(v));
    return t;
}

template <bool FP8> __device__ __forceinline__ uint32_t nb_pack_pair(float low, float high)
{
    if (!FP8) return nb_pack_bf16x2(low, high);
    __half2 v = __floats2half2_rn(low, high);
    return *(uint32_t *)&v;
}

// Maximum and sum over the 8 lanes that share a column.
__device__ __forceinline__ float nb_column_max(float v)
{
    for (int o = 4; o < 32; o *= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

__device__ __forceinline__ float nb_column_sum(float v)
{
    for (int o = 4; o < 32; o *= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

typedef struct nb_exchange { // between the warps of a block, by page parity
    float top[2][NB_TEAM_WARPS][NB_ATTENTION_COLUMNS];
    uint32_t p[2][NB_TEAM_WARPS][2]
              [NB_CUDA_WARP]; // B fragments of the probabilities: a warp's 16 tokens are one mma step
    float sum[NB_TEAM_WARPS][NB_ATTENTION_COLUMNS];
} nb_exchange;

// What a warp takes of a page of one KV head: 16 tokens of K, a quarter of V's rows.
template <int D, bool FP8> struct nb_page_part {
    nb_raw_16<FP8> k[D / 64][2], v[D / 64][2];
};

// A lane's first row of K, the second is 2 behind it: rows 16 * (g / 2) + 4 * warp + g % 2, so that lane t of the
// transposed scores holds tokens 16 t + 4 * warp .. + 3.
__device__ __forceinline__ int nb_k_row(void)
{
    int g = threadIdx.x >> 2 & 7;
    return 16 * (g >> 1) + 4 * nb_team_warp() + (g & 1);
}

// A lane's row of V of step m, half h.
template <int D> __device__ __forceinline__ int nb_v_row(int m, int h)
{
    return nb_team_warp() * (D / NB_TEAM_WARPS) + (threadIdx.x >> 2 & 7) + m * 16 + 8 * h;
}

template <int D, bool FP8> constexpr int nb_head_bytes(void) // of K or V of a page and KV head
{
    return NB_PAGE_TOKENS * D * (FP8 ? 1 : 2);
}

// K of a page and KV head; V is n_kv_head heads behind it.
template <int D, bool FP8>
__device__ __forceinline__ const uint8_t *nb_page_of(const nb_cuda_attention &p, int32_t page, int kv)
{
    return p.cache + (int64_t)page * p.page_bytes + kv * nb_head_bytes<D, FP8>();
}

template <int D, bool FP8> __device__ __forceinline__ void nb_load_k(nb_page_part<D, FP8> *part, const uint8_t *page)
{
    constexpr int size = FP8 ? 1 : 2;
    const uint8_t *from = page + (nb_k_row() * D + (threadIdx.x & 3) * 16) * size;
#pragma unroll
    for (int kt = 0; kt < D / 64; kt++)
#pragma unroll
        for (int h = 0; h < 2; h++) nb_load_16<FP8>(&part->k[kt][h], from + (2 * h * D + kt * 64) * size);
}

template <int D, bool FP8>
__device__ __forceinline__ void nb_load_v(nb_page_part<D, FP8> *part, const nb_cuda_attention &p, const uint8_t *page)
{
    constexpr int size = FP8 ? 1 : 2;
    const uint8_t *from = page + p.n_kv_head * nb_head_bytes<D, FP8>() +
                          (nb_v_row<D>(0, 0) * NB_PAGE_TOKENS + (threadIdx.x & 3) * 16) * size;
#pragma unroll
    for (int m = 0; m < D / 64; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) nb_load_16<FP8>(&part->v[m][h], from + (m * 16 + 8 * h) * NB_PAGE_TOKENS * size);
}

template <int D>
struct nb_column_state { // columns 2 t and 2 t + 1: maximum, the warp's own sum, and its quarter of O^T
    float top[2], sum[2], o[D / 64][4];
};

// Scores of the warp's 16 tokens, scaled and masked; their maxima go to `top`. Each step sums for itself, so that none
// waits for the one before it.
template <int D, bool FP8>
__device__ __forceinline__ void nb_score(float s[4], const nb_raw_16<FP8> k[D / 64][2], const uint32_t q[D / 64][8],
                                         const int limit[2], int from, float scale, float top[NB_ATTENTION_COLUMNS])
{
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    float sum[D / 64][4] = {};
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            uint32_t a[4];
            nb_step_of<FP8>(k[kt][0], i, &a[0], &a[2]);
            nb_step_of<FP8>(k[kt][1], i, &a[1], &a[3]);
            nb_mma<FP8>(sum[kt], a, q[kt][2 * i], q[kt][2 * i + 1]);
        }
#pragma unroll
    for (int c = 0; c < 4; c++) {
        s[c] = 0;
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) s[c] += sum[kt][c];
    }
    float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int c = 0; c < 4; c++) {
        int tok = nb_k_row() + 2 * (c >> 1);
        s[c] = tok >= from && tok < limit[c & 1] ? s[c] * scale : -INFINITY;
        most[c & 1] = fmaxf(most[c & 1], s[c]);
    }
#pragma unroll
    for (int c = 0; c < 2; c++) {
        most[c] = nb_column_max(most[c]);
        if (g == 0) top[2 * t + c] = most[c];
    }
}

// Adds one page whose K is in k and whose V is in v.
template <int D, bool FP8>
__device__ __forceinline__ void nb_add_page(nb_column_state<D> *st, float s[4], const nb_raw_16<FP8> v[D / 64][2],
                                            nb_exchange *x, int parity)
{
    int warp = nb_team_warp(), lane = threadIdx.x & 31, t = lane & 3;
    float factor[2];
    nb_team_sync();
#pragma unroll
    for (int c = 0; c < 2; c++) {
        float top = st->top[c];
        for (int w = 0; w < NB_TEAM_WARPS; w++) top = fmaxf(top, x->top[parity][w][2 * t + c]);
        factor[c] = top == -INFINITY ? 1.0f : exp2f(st->top[c] - top);
        st->top[c] = top, st->sum[c] *= factor[c];
    }
#pragma unroll
    for (int c = 0; c < 4; c++) {
        s[c] = s[c] == -INFINITY ? 0.0f : exp2f(s[c] - st->top[c & 1]);
        st->sum[c & 1] += s[c];
    }
    x->p[parity][warp][0][lane] = nb_transpose_8x8(nb_pack_pair<FP8>(s[0], s[1]));
    x->p[parity][warp][1][lane] = nb_transpose_8x8(nb_pack_pair<FP8>(s[2], s[3]));
    nb_team_sync();
#pragma unroll
    for (int m = 0; m < D / 64; m++) {
#pragma unroll
        for (int c = 0; c < 4; c++) st->o[m][c] *= factor[c & 1];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t a[4];
            nb_step_of<FP8>(v[m][0], i, &a[0], &a[2]);
            nb_step_of<FP8>(v[m][1], i, &a[1], &a[3]);
            nb_mma<FP8>(st->o[m], a, x->p[parity][i][0][lane], x->p[parity][i][1][lane]);
        }
    }
}

// Pages first .. end - 1 of a sequence by one team: the columns' maxima (times log2 e), the warp's own sums and its
// quarter of O^T to *st. part: the first page; q: B fragments; limit: how many tokens columns 2 t and 2 t + 1 see.
template <int D, bool FP8>
__device__ __forceinline__ void nb_attend_pages(const nb_cuda_attention &p, const int32_t *pages, int kv, int first,
                                                int end, const uint32_t q[D / 64][8], const int limit[2],
                                                nb_exchange *x, nb_page_part<D, FP8> *part, nb_column_state<D> *st)
{
    int warp = nb_team_warp();
    float scale = rsqrtf((float)D) * 1.44269504f * p.k_scale; // scores in powers of two
    *st = {};
    st->top[0] = st->top[1] = -INFINITY;
#pragma unroll 1
    for (int i = first; i < end; i++) {
        int left[2] = {limit[0] - i * NB_PAGE_TOKENS, limit[1] - i * NB_PAGE_TOKENS}, parity = i & 1;
        int32_t next = 0;
        float scores[4];
        if (i + 1 < end) next = pages[i + 1];
        nb_score<D, FP8>(scores, part->k, q, left, p.kv_first - i * NB_PAGE_TOKENS, scale, x->top[parity][warp]);
        if (i + 1 < end) nb_load_k<D, FP8>(part, nb_page_of<D, FP8>(p, next, kv));
        nb_add_page<D, FP8>(st, scores, part->v, x, parity);
        if (i + 1 < end) nb_load_v<D, FP8>(part, p, nb_page_of<D, FP8>(p, next, kv));
    }
}

// The columns' sums of all warps to x->sum.
template <int D> __device__ __forceinline__ void nb_exchange_sums(const nb_column_state<D> &st, nb_exchange *x)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int c = 0; c < 2; c++) {
        float sum = nb_column_sum(st.sum[c]);
        if (lane < 4) x->sum[nb_team_warp()][2 * lane + c] = sum;
    }
    nb_team_sync();
}

#endif
