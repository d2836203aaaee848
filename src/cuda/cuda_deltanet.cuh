// The arithmetic that the kernels of Gated DeltaNet share: a block of NB_GDN_THREADS threads holds W columns of one
// value head's S in registers.
#ifndef NB_CUDA_DELTANET_CUH
#define NB_CUDA_DELTANET_CUH

#include "cuda/cuda_deltanet.h"
#include "cuda/cuda_source.cuh"

enum { NB_GDN_THREADS = 256 };

typedef struct nb_gdn_vectors { // of the token in hand, in shared memory; q and k before their norms
    float q[NB_GDN_DIM], k[NB_GDN_DIM], v[NB_GDN_DIM];
} nb_gdn_vectors;

typedef struct nb_gdn_scalars {          // the same in every thread
    float g, beta, q_scale, k_scale, qk; // qk: of the normalised vectors
} nb_gdn_scalars;

// Sums over q and k, by every warp for itself.
__device__ __forceinline__ void nb_gdn_norms(const nb_gdn_vectors *t, nb_gdn_scalars *c)
{
    int lane = threadIdx.x & 31;
    float4 q = *(const float4 *)(t->q + lane * 4), k = *(const float4 *)(t->k + lane * 4);
    float qq = nb_warp_sum(nb_square_sum(q)), kk = nb_warp_sum(nb_square_sum(k));
    float qk = nb_warp_sum(q.x * k.x + q.y * k.y + q.z * k.z + q.w * k.w);
    c->q_scale = rsqrtf(qq + 1e-6f) * rsqrtf((float)NB_GDN_DIM), c->k_scale = rsqrtf(kk + 1e-6f);
    c->qk = qk * c->q_scale * c->k_scale;
}

// One thread's part of S: float4 column `c4` of rows row0, row0 + STEP, ...
template <int W> struct nb_gdn_part {
    static constexpr int n_c4 = W / 4, step = NB_GDN_THREADS / n_c4, n_row = NB_GDN_DIM / step;
    float4 s[n_row];
};

// The warps' column sums of k S and q S. red: [warp][2][W] shared.
template <int W>
__device__ __forceinline__ void nb_gdn_project(const nb_gdn_part<W> &p, const nb_gdn_vectors *t, float *red)
{
    int c4 = threadIdx.x % nb_gdn_part<W>::n_c4, row0 = threadIdx.x / nb_gdn_part<W>::n_c4, warp = threadIdx.x >> 5;
    float y[8] = {};
#pragma unroll
    for (int i = 0; i < nb_gdn_part<W>::n_row; i++) {
        float k = t->k[row0 + i * nb_gdn_part<W>::step], q = t->q[row0 + i * nb_gdn_part<W>::step];
        y[0] += k * p.s[i].x, y[1] += k * p.s[i].y, y[2] += k * p.s[i].z, y[3] += k * p.s[i].w;
        y[4] += q * p.s[i].x, y[5] += q * p.s[i].y, y[6] += q * p.s[i].z, y[7] += q * p.s[i].w;
    }
    for (int o = nb_gdn_part<W>::n_c4; o < 32; o *= 2)
#pragma unroll
        for (int j = 0; j < 8; j++) y[j] += __shfl_xor_sync(0xffffffffu, y[j], o);
    if ((int)(threadIdx.x & 31) < nb_gdn_part<W>::n_c4)
#pragma unroll
        for (int j = 0; j < 8; j++) red[(warp * 2 + (j >> 2)) * W + c4 * 4 + (j & 3)] = y[j];
}

// S <- decay S + k u^T. u: [W] shared, k: [NB_GDN_DIM] shared.
template <int W>
__device__ __forceinline__ void nb_gdn_update(nb_gdn_part<W> *p, float decay, const float *k, float k_scale,
                                              const float *u)
{
    int c4 = threadIdx.x % nb_gdn_part<W>::n_c4, row0 = threadIdx.x / nb_gdn_part<W>::n_c4;
    float4 v = *(const float4 *)(u + c4 * 4);
#pragma unroll
    for (int i = 0; i < nb_gdn_part<W>::n_row; i++) {
        float kk = k_scale * k[row0 + i * nb_gdn_part<W>::step];
        p->s[i].x = decay * p->s[i].x + kk * v.x, p->s[i].y = decay * p->s[i].y + kk * v.y;
        p->s[i].z = decay * p->s[i].z + kk * v.z, p->s[i].w = decay * p->s[i].w + kk * v.w;
    }
}

// tid < W: the token's u and o, from the warps' sums in red and the journal. decay[0]: of S, [r + 1]: of row r; kk, kq:
// rows times k and q.
template <int W>
__device__ __forceinline__ float nb_gdn_finish(const nb_gdn_scalars &c, float v, const float *red, const float *decay,
                                               const float *kk, const float *kq, const float (*rows_u)[W], int n_row,
                                               float *out)
{
    int tid = threadIdx.x;
    float ks = 0, qs = 0;
#pragma unroll
    for (int w = 0; w < NB_GDN_THREADS / 32; w++) ks += red[2 * w * W + tid], qs += red[(2 * w + 1) * W + tid];
    ks *= decay[0] * c.k_scale, qs *= decay[0] * c.q_scale;
#pragma unroll 2
    for (int r = 0; r < n_row; r++) {
        ks += decay[r + 1] * kk[r] * rows_u[r][tid];
        qs += decay[r + 1] * kq[r] * rows_u[r][tid];
    }
    float u = c.beta * (v - ks);
    *out = qs + c.qk * u;
    return u;
}

// The journal's rows times the token's k and q, a row a warp.
__device__ __forceinline__ void nb_gdn_match(const nb_gdn_vectors &t, const nb_gdn_scalars &c,
                                             const float (*rows_k)[NB_GDN_DIM], int n_row, float *kk, float *kq)
{
    int lane = threadIdx.x & 31;
    float4 k = *(const float4 *)(t.k + lane * 4), q = *(const float4 *)(t.q + lane * 4);
#pragma unroll 1
    for (int r = threadIdx.x >> 5; r < n_row; r += NB_GDN_THREADS / 32) {
        float4 row = *(const float4 *)&rows_k[r][lane * 4];
        float with_k = nb_warp_sum(row.x * k.x + row.y * k.y + row.z * k.z + row.w * k.w);
        float with_q = nb_warp_sum(row.x * q.x + row.y * q.y + row.z * q.z + row.w * q.w);
        if (lane == 0) kk[r] = with_k * c.k_scale, kq[r] = with_q * c.q_scale;
    }
}

// What S and the journal's rows have decayed by at the token; by one warp.
__device__ __forceinline__ void nb_gdn_decays(const nb_gdn_scalars &c, const float *rows_g, int n_row, float *decay)
{
    static_assert(NB_JOURNAL_ROWS < 32, "a lane a row");
    int lane = threadIdx.x & 31;
    float g = lane < n_row ? rows_g[lane] : 0.0f;
    for (int o = 1; o < 32; o *= 2) { // sums over the rows behind
        float behind = __shfl_down_sync(0xffffffffu, g, o);
        if (lane + o < 32) g += behind;
    }
    if (lane <= n_row) decay[lane] = expf(c.g + g);
}

#endif
