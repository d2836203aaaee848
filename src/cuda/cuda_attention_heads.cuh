// A token's heads of one KV head, from its projections to the operands of attention, by a team: where one token comes,
// the blocks that read its pages prepare its queries themselves, and K and V the one that has their page.
#ifndef NB_CUDA_ATTENTION_HEADS_CUH
#define NB_CUDA_ATTENTION_HEADS_CUH

#include "cuda/cuda_attention.cuh"

enum { NB_HEAD_ROTATED = 16 }; // rotated values come in multiples of: eight of a lane and their partners

// rope: [n_rot / 2] cosine and sine at `pos`. By the block; a barrier comes before its use.
__device__ __forceinline__ void nb_fill_rope(const nb_cuda_attention &a, int pos, float2 *rope)
{
    for (int i = threadIdx.x; i < a.n_rot / 2; i += blockDim.x) {
        float c, s;
        sincosf((float)pos * __ldg(a.inv_freq + i), &s, &c);
        rope[i] = make_float2(c * a.rope_factor, s * a.rope_factor);
    }
}

// A lane's eight values of a head, lane * 8 .. + 7 (D = 128: of the first 16 lanes).
typedef struct nb_head {
    float v[8];
} nb_head;

__device__ __forceinline__ nb_head nb_load_head(const float *x, bool in)
{
    nb_head h;
    float4 none = make_float4(0, 0, 0, 0);
    *(float4 *)h.v = in ? __ldcg((const float4 *)x) : none,
             *(float4 *)(h.v + 4) = in ? __ldcg((const float4 *)(x + 4)) : none;
    return h;
}

// RMS norm and rotation. rope: [n_rot / 2] cosine and sine.
template <int D>
__device__ __forceinline__ void nb_head_rotate(const nb_cuda_attention &a, nb_head *h, const nb_head &w,
                                               const float2 *rope)
{
    int lane = threadIdx.x & 31, step = a.n_rot / NB_HEAD_ROTATED, other = lane < step ? lane + step : lane - step;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; j++) sum += h->v[j] * h->v[j];
    float scale = rsqrtf(nb_warp_sum(sum) / (float)D + a.eps);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        h->v[j] *= scale * w.v[j];
        float y = __shfl_sync(0xffffffffu, h->v[j], other & 31);
        if (lane >= 2 * step) continue;
        float2 r = rope[(lane < step ? lane : other) * 8 + j];
        h->v[j] = h->v[j] * r.x + (lane < step ? -y : y) * r.y;
    }
}

template <bool FP8> __device__ __forceinline__ uint32_t nb_query_pair(float low, float high)
{
    uint32_t b = nb_pack_bf16x2(low, high);
    return FP8 ? nb_pack_pair<true>(nb_f32_from_bits(b << 16), nb_f32_from_bits(b & 0xffff0000u)) : b;
}

// A row of the cache, `step` elements from value to value.
template <bool FP8>
__device__ __forceinline__ void nb_store_cache(uint8_t *page, int64_t at, int step, const nb_head &h, float scale)
{
    float inverse = FP8 ? 1.0f / scale : 1.0f;
#pragma unroll
    for (int e = 0; e < 8; e++)
        if (FP8)
            page[at + e * step] = (uint8_t)nb_e4m3x2_from_f32(h.v[e] * inverse, 0);
        else
            ((uint16_t *)page)[at + e * step] = nb_bf16_from_f32(h.v[e]);
}

// The query heads of a KV head of the token whose row of projections is `projected`, into the team's shared memory, q:
// [8][D]; the token's K and V into the cache, by the team that has its page: `page`, else NULL.
template <int D, bool FP8>
__device__ inline void nb_prepare_heads(const nb_cuda_attention &a, const float *projected, const float2 *rope, int kv,
                                        int pos, uint8_t *page, uint16_t *q)
{
    int group = a.n_head / a.n_kv_head, q_rows = D * (1 + a.gated), warp = nb_team_warp(), lane = threadIdx.x & 31;
    int n_job = group + (page ? 2 : 0), row = pos % NB_PAGE_TOKENS; // jobs: the queries, K, V
    const float *key = projected + a.n_head * q_rows + kv * D;
    bool in = lane < D / 8;
    auto load = [&](int j) {
        const float *x = j < group ? projected + (kv * group + j) * q_rows : j == group ? key : key + a.n_kv_head * D;
        return nb_load_head(x + lane * 8, in && j < n_job);
    };
    nb_head q_norm = nb_load_head(a.q_norm + lane * 8, in), k_norm = nb_load_head(a.k_norm + lane * 8, in),
            next = load(warp);
#pragma unroll 1
    for (int j = warp; j < n_job; j += NB_TEAM_WARPS) {
        nb_head h = next, w = q_norm;
        next = load(j + NB_TEAM_WARPS);
        if (j == group) w = k_norm;
        if (j <= group) nb_head_rotate<D>(a, &h, w, rope);
        if (!in) continue;
        if (j < group)
            *(uint4 *)(q + j * D + lane * 8) =
                make_uint4(nb_query_pair<FP8>(h.v[0], h.v[1]), nb_query_pair<FP8>(h.v[2], h.v[3]),
                           nb_query_pair<FP8>(h.v[4], h.v[5]), nb_query_pair<FP8>(h.v[6], h.v[7]));
        else if (j == group)
            nb_store_cache<FP8>(page, ((int64_t)kv * NB_PAGE_TOKENS + row) * D + lane * 8, 1, h, a.k_scale);
        else
            nb_store_cache<FP8>(page, ((int64_t)(a.n_kv_head + kv) * D + lane * 8) * NB_PAGE_TOKENS + row,
                                NB_PAGE_TOKENS, h, a.v_scale);
    }
    __threadfence_block();
    nb_team_sync();
}

// The B fragments of a query row.
template <int D> __device__ __forceinline__ void nb_load_query(uint32_t q[D / 64][8], const uint16_t *row)
{
    int t = threadIdx.x & 3;
#pragma unroll
    for (int kt = 0; kt < D / 64; kt++) {
        *(uint4 *)q[kt] = *(const uint4 *)(row + kt * 64 + t * 16);
        *(uint4 *)(q[kt] + 4) = *(const uint4 *)(row + kt * 64 + t * 16 + 8);
    }
}

#endif
