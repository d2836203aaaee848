// Part of cuda_single.cu: full attention of the one token, by two teams of four warps a block, and the sum of its
// splits.
#ifndef NB_CUDA_SINGLE_ATTENTION_CUH
#define NB_CUDA_SINGLE_ATTENTION_CUH

#include "cuda/cuda_single.cuh"

static_assert((int)NB_SINGLE_SPLIT_MAX == (int)THREADS, "a thread for each split");

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__device__ static nb_cuda_attention attention_of(const nb_single_args &p, const nb_cuda_layer &l)
{
    nb_cuda_attention a = p.attention;
    a.q_norm = l.q_norm, a.k_norm = l.k_norm, a.cache += l.i_attention * p.layer_cache;
    if (a.fp8) a.k_scale = l.k_scale, a.v_scale = l.v_scale;
    return a;
}

// A lane's eight values of a head, lane * 8 .. + 7 (D = 128: of the first 16 lanes).
typedef struct head_values {
    float v[8];
} head_values;

__device__ __forceinline__ static head_values load_head(const float *x, bool in)
{
    head_values h;
    float4 none = make_float4(0, 0, 0, 0);
    *(float4 *)h.v = in ? __ldcg((const float4 *)x) : none,
             *(float4 *)(h.v + 4) = in ? __ldcg((const float4 *)(x + 4)) : none;
    return h;
}

// RMS norm and rotation. rope: [n_rot / 2] cosine and sine.
template <int D>
__device__ __forceinline__ static void norm_rotate(const nb_cuda_attention &a, head_values *h, const head_values &w,
                                                   const float2 *rope)
{
    int lane = threadIdx.x & 31, step = a.n_rot / 16, other = lane < step ? lane + step : lane - step;
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

template <bool FP8> __device__ __forceinline__ static uint32_t query_pair(float low, float high)
{
    uint32_t b = nb_pack_bf16x2(low, high);
    return FP8 ? nb_pack_pair<true>(nb_f32_from_bits(b << 16), nb_f32_from_bits(b & 0xffff0000u)) : b;
}

// A row of the cache, `step` elements from value to value.
template <bool FP8>
__device__ __forceinline__ static void store_cache(uint8_t *page, int64_t at, int step, const head_values &h,
                                                   float scale)
{
    float inverse = FP8 ? 1.0f / scale : 1.0f;
#pragma unroll
    for (int e = 0; e < 8; e++)
        if (FP8)
            page[at + e * step] = (uint8_t)nb_e4m3x2_from_f32(h.v[e] * inverse, 0);
        else
            ((uint16_t *)page)[at + e * step] = nb_bf16_from_f32(h.v[e]);
}

// The query heads of a KV head into the team's shared memory; the token's K and V into the cache, by the team that has
// its page: `page`, else NULL.
template <int D, bool FP8>
__device__ static void prepare_heads(const nb_cuda_attention &a, nb_single_team *team, const float2 *rope, int kv,
                                     int pos, uint8_t *page)
{
    int group = a.n_head / a.n_kv_head, q_rows = D * (1 + a.gated), warp = nb_team_warp(), lane = threadIdx.x & 31;
    int n_job = group + (page ? 2 : 0), row = pos % NB_PAGE_TOKENS; // jobs: the queries, K, V
    const float *key = a.projected + a.n_head * q_rows + kv * D;
    bool in = lane < D / 8;
    auto load = [&](int j) {
        const float *x = j < group ? a.projected + (kv * group + j) * q_rows : j == group ? key : key + a.n_kv_head * D;
        return load_head(x + lane * 8, in && j < n_job);
    };
    head_values q_norm = load_head(a.q_norm + lane * 8, in), k_norm = load_head(a.k_norm + lane * 8, in),
                next = load(warp);
#pragma unroll 1
    for (int j = warp; j < n_job; j += NB_TEAM_WARPS) {
        head_values h = next, w = q_norm;
        next = load(j + NB_TEAM_WARPS);
        if (j == group) w = k_norm;
        if (j <= group) norm_rotate<D>(a, &h, w, rope);
        if (!in) continue;
        if (j < group)
            *(uint4 *)&team->q[j][lane * 8] =
                make_uint4(query_pair<FP8>(h.v[0], h.v[1]), query_pair<FP8>(h.v[2], h.v[3]),
                           query_pair<FP8>(h.v[4], h.v[5]), query_pair<FP8>(h.v[6], h.v[7]));
        else if (j == group)
            store_cache<FP8>(page, ((int64_t)kv * NB_PAGE_TOKENS + row) * D + lane * 8, 1, h, a.k_scale);
        else
            store_cache<FP8>(page, ((int64_t)(a.n_kv_head + kv) * D + lane * 8) * NB_PAGE_TOKENS + row, NB_PAGE_TOKENS,
                             h, a.v_scale);
    }
    __threadfence_block();
    nb_team_sync();
}

// A team's pages of one KV head; sums to part.
template <int D, bool FP8>
__device__ static void attend(const nb_cuda_attention &a, nb_single_team *teams, const float2 *rope)
{
    int i_team = threadIdx.x / NB_TEAM_THREADS, id = blockIdx.x * 2 + i_team, kv = id % a.n_kv_head,
        split = id / a.n_kv_head;
    nb_single_team *team = teams + i_team;
    nb_attention_seq s = a.seq[0];
    int n_page = s.n_past / NB_PAGE_TOKENS + 1, per = (n_page + a.n_split - 1) / a.n_split;
    int first = split * per, end = min(n_page, first + per), group = a.n_head / a.n_kv_head;
    if (split >= a.n_split || first >= n_page) return;
    int warp = nb_team_warp(), lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    uint8_t *page = a.cache + (int64_t)a.page[s.page_first + n_page - 1] * a.page_bytes;
    prepare_heads<D, FP8>(a, team, rope, kv, s.n_past, end == n_page ? page : NULL);
    uint32_t q[D / 64][8] = {};
    if (g < group)
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            *(uint4 *)q[kt] = *(const uint4 *)&team->q[g][kt * 64 + t * 16];
            *(uint4 *)(q[kt] + 4) = *(const uint4 *)&team->q[g][kt * 64 + t * 16 + 8];
        }
    int limit[2] = {s.n_past + 1, s.n_past + 1};
    nb_column_state<D> st;
    nb_attend_pages<D, FP8>(a, a.page + s.page_first, kv, first, end, q, limit, &team->exchange, &st);
    int64_t at = (int64_t)(kv * a.n_split + split) * NB_ATTENTION_COLUMNS;
#pragma unroll
    for (int c = 0; c < 4; c++) {
        int column = 2 * t + (c & 1);
        if (column >= group) continue;
        const float(*sum)[NB_ATTENTION_COLUMNS] = team->exchange.sum;
        if (warp == 0 && g == 0 && c < 2)
            a.part_sum[at + column] =
                make_float2(st.top[c & 1], sum[0][column] + sum[1][column] + sum[2][column] + sum[3][column]);
#pragma unroll
        for (int m = 0; m < D / 64; m++)
            a.part[(at + column) * D + warp * (D / NB_TEAM_WARPS) + m * 16 + g + 8 * (c >> 1)] = st.o[m][c];
    }
}

// Sum of the splits, at most one a thread: 32 values of a head by a block, its warps sharing the splits.
__device__ static void add_splits(const nb_cuda_attention &a, nb_single_shared *sh)
{
    int n_page = a.seq[0].n_past / NB_PAGE_TOKENS + 1, per = (n_page + a.n_split - 1) / a.n_split,
        n = (n_page + per - 1) / per;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, group = a.n_head / a.n_kv_head;
    float *factor = &sh->red[0][0][0], *red = factor + THREADS, *tops = red + THREADS, *sums = tops + WARPS;
#pragma unroll 1
    for (int piece = blockIdx.x; piece < a.n_head * a.d_head / 32; piece += gridDim.x) {
        int head = piece * 32 / a.d_head, i = piece * 32 % a.d_head + lane, column = head % group;
        int64_t first = (int64_t)(head / group) * a.n_split;
        float2 m = make_float2(-INFINITY, 0);
        float v[THREADS / WARPS], top, gate = 0, sum, y = 0;
        if ((int)threadIdx.x < n) m = __ldcg(a.part_sum + (first + threadIdx.x) * NB_ATTENTION_COLUMNS + column);
        if (a.gated) gate = __ldcg(a.projected + head * 2 * a.d_head + a.d_head + i);
#pragma unroll
        for (int k = 0; k < THREADS / WARPS; k++) {
            int j = warp + k * WARPS;
            v[k] = j < n ? __ldcg(a.part + ((first + j) * NB_ATTENTION_COLUMNS + column) * a.d_head + i) : 0.0f;
        }
        top = nb_warp_max(m.x);
        if (lane == 0) tops[warp] = top;
        nb_single_sync();
#pragma unroll
        for (int w = 0; w < WARPS; w++) top = fmaxf(top, tops[w]);
        float mine = (int)threadIdx.x < n ? exp2f(m.x - top) : 0.0f;
        factor[threadIdx.x] = mine, sum = nb_warp_sum(mine * m.y);
        if (lane == 0) sums[warp] = sum;
        nb_single_sync();
#pragma unroll
        for (int k = 0; k < THREADS / WARPS; k++) y += factor[warp + k * WARPS] * v[k];
        red[threadIdx.x] = y;
        nb_single_sync();
        if (warp == 0) {
            y = sum = 0;
#pragma unroll
            for (int w = 0; w < WARPS; w++) y += red[w * 32 + lane], sum += sums[w];
            y *= a.v_scale / sum;
            if (a.gated) y *= nb_sigmoid(gate);
            a.out[head * a.d_head + i] = nb_bf16_from_f32(y);
        }
        nb_single_sync();
    }
}

// Stages of full attention between its projections, with a barrier of their own.
template <int D, bool FP8>
__device__ static void attention(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l,
                                 nb_single_barrier *barrier)
{
    nb_cuda_attention a = attention_of(p, l);
    a.seq = &sh->attention_seq;
    attend<D, FP8>(a, sh->annex.mixer.team, sh->rope);
    nb_single_arrive(barrier), nb_single_wait(barrier);
    add_splits(a, sh);
}
#endif

#endif
