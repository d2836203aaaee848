// A token's heads of one KV head, from its projections to the operands of attention, by a team: where one token comes,
// the blocks that read its pages prepare its queries themselves, and K and V the one that has their page.
#ifndef NB_CUDA_ATTENTION_HEADS_CUH
#define NB_CUDA_ATTENTION_HEADS_CUH

#include <type_traits>

#include "cuda/cuda_attention.cuh"

enum {
    NB_HEAD_ROTATED = 16, // rotated values come in multiples of: eight of a lane and their partners
    NB_HEAD_MAX = 256,    // values of a head
};

typedef struct nb_heads { // in a team's shared memory
    __align__(16) uint16_t q[NB_ATTENTION_COLUMNS][NB_HEAD_MAX];
    __align__(16) uint16_t row[2][NB_HEAD_MAX]; // the token's K and V as the cache holds them
    __align__(16) float norm[2][NB_HEAD_MAX];   // weights of q's and k's
} nb_heads;

// rope: [n_rot / 2] cosine and sine at `pos`, on 16 bytes. By thread i of n; a barrier comes before its use.
__device__ __forceinline__ void nb_fill_rope(const nb_cuda_attention &a, int pos, float2 *rope, int i, int n)
{
    for (; i < a.n_rot / 2; i += n) {
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

// In flight when it returns.
template <int D> __device__ __forceinline__ void nb_fetch_norms(const nb_cuda_attention &a, nb_heads *heads)
{
    int i = threadIdx.x % NB_TEAM_THREADS * 4, of_k = i >= D;
    if (i < 2 * D) nb_copy_16(&heads->norm[of_k][i - of_k * D], (of_k ? a.k_norm : a.q_norm) + i - of_k * D);
}

// RMS norm and rotation. weight: [D]; rope: [n_rot / 2] cosine and sine, both in shared memory.
template <int D>
__device__ __forceinline__ void nb_head_rotate(const nb_cuda_attention &a, nb_head *h, const float *weight,
                                               const float2 *rope)
{
    int lane = threadIdx.x & 31, step = a.n_rot / NB_HEAD_ROTATED, other = lane < step ? lane + step : lane - step;
    float sum = 0, w[8], y[8];
    *(float4 *)w = *(const float4 *)(weight + lane % (D / 8) * 8);
    *(float4 *)(w + 4) = *(const float4 *)(weight + lane % (D / 8) * 8 + 4);
#pragma unroll
    for (int j = 0; j < 8; j++) sum += h->v[j] * h->v[j];
    float scale = rsqrtf(nb_warp_sum(sum) / (float)D + a.eps);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        h->v[j] *= scale * w[j];
        y[j] = __shfl_sync(0xffffffffu, h->v[j], other & 31);
    }
    if (lane >= 2 * step) return;
    const float4 *turn = (const float4 *)(rope + (lane < step ? lane : other) * 8); // of two values
    float sign = lane < step ? -1.0f : 1.0f;
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
        float4 r = turn[j / 2];
        h->v[j] = h->v[j] * r.x + sign * y[j] * r.y, h->v[j + 1] = h->v[j + 1] * r.z + sign * y[j + 1] * r.w;
    }
}

template <bool FP8> __device__ __forceinline__ uint32_t nb_query_pair(float low, float high)
{
    uint32_t b = nb_pack_bf16x2(low, high);
    return FP8 ? nb_pack_pair<true>(nb_f32_from_bits(b << 16), nb_f32_from_bits(b & 0xffff0000u)) : b;
}

// Eight values as the cache holds them.
template <bool FP8> __device__ __forceinline__ void nb_store_row(uint16_t *row, const nb_head &h, float scale)
{
    int lane = threadIdx.x & 31;
    if (FP8) {
        float inverse = 1.0f / scale;
        uint32_t pair[4];
#pragma unroll
        for (int e = 0; e < 4; e++) pair[e] = nb_e4m3x2_from_f32(h.v[2 * e] * inverse, h.v[2 * e + 1] * inverse);
        ((uint2 *)row)[lane] = make_uint2(pair[0] | pair[1] << 16, pair[2] | pair[3] << 16);
    } else {
        ((uint4 *)row)[lane] = make_uint4(nb_pack_bf16x2(h.v[0], h.v[1]), nb_pack_bf16x2(h.v[2], h.v[3]),
                                          nb_pack_bf16x2(h.v[4], h.v[5]), nb_pack_bf16x2(h.v[6], h.v[7]));
    }
}

// The query heads of a KV head of the token whose row of projections is `projected`; by the team that has the token's
// page, its K and V. heads->norm is there.
template <int D, bool FP8>
__device__ __forceinline__ void nb_prepare_heads(const nb_cuda_attention &a, nb_heads *heads, const float *projected,
                                                 const float2 *rope, int kv, bool last)
{
    int group = a.n_head / a.n_kv_head, q_rows = D * (1 + a.gated), warp = nb_team_warp(), lane = threadIdx.x & 31;
    int n_job = group + (last ? 2 : 0); // the queries, K, V: at most three a warp
    const float *query = projected + kv * group * q_rows + lane * 8,
                *key = projected + a.n_head * q_rows + kv * D + lane * 8;
    bool in = lane < D / 8;
    auto load = [&](int j) {
        return nb_load_head(j < group ? query + j * q_rows : key + (j - group) * a.n_kv_head * D, in && j < n_job);
    };
    nb_head h = load(warp), second = load(warp + NB_TEAM_WARPS), third = load(warp + 2 * NB_TEAM_WARPS);
    static_assert(NB_ATTENTION_COLUMNS + 2 <= 3 * NB_TEAM_WARPS, "three jobs a warp");
#pragma unroll 1
    for (int j = warp; j < n_job; j += NB_TEAM_WARPS) {
        if (j <= group) nb_head_rotate<D>(a, &h, heads->norm[j == group], rope);
        if (in && j < group)
            *(uint4 *)&heads->q[j][lane * 8] =
                make_uint4(nb_query_pair<FP8>(h.v[0], h.v[1]), nb_query_pair<FP8>(h.v[2], h.v[3]),
                           nb_query_pair<FP8>(h.v[4], h.v[5]), nb_query_pair<FP8>(h.v[6], h.v[7]));
        else if (in)
            nb_store_row<FP8>(heads->row[j - group], h, j == group ? a.k_scale : a.v_scale);
        h = second, second = third;
    }
    nb_team_sync();
}

// The token's K and V into the cache. page: K of the KV head; row: the token's place.
template <int D, bool FP8>
__device__ __forceinline__ void nb_store_token(const nb_cuda_attention &a, const nb_heads *heads, uint8_t *page,
                                               int row)
{
    typedef typename std::conditional<FP8, uint8_t, uint16_t>::type code;
    code *k = (code *)page + row * D, *v = (code *)(page + a.n_kv_head * nb_head_bytes<D, FP8>()) + row;
#pragma unroll
    for (int i = threadIdx.x % NB_TEAM_THREADS; i < D; i += NB_TEAM_THREADS)
        k[i] = ((const code *)heads->row[0])[i], v[i * NB_PAGE_TOKENS] = ((const code *)heads->row[1])[i];
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
