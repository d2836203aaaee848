// Part of cuda_single.cu: full attention of the one token, by two teams of four warps a block, and the sum of its
// splits.
#ifndef NB_CUDA_SINGLE_ATTENTION_CUH
#define NB_CUDA_SINGLE_ATTENTION_CUH

#include "cuda/cuda_attention_heads.cuh"
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

// A team's pages of one KV head; sums to part.
template <int D, bool FP8>
__device__ static void attend_as(const nb_cuda_attention &a, nb_single_team *teams, const float2 *rope)
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
    nb_prepare_heads<D, FP8>(a, a.projected, rope, kv, s.n_past, end == n_page ? page : NULL, team->q);
    uint32_t q[D / 64][8] = {};
    if (g < group) nb_load_query<D>(q, team->q + g * D);
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

__device__ static void attend(const nb_cuda_attention &a, nb_single_shared *sh)
{
    switch (a.d_head + a.fp8) {
    case 128: attend_as<128, false>(a, sh->team, sh->rope); break;
    case 129: attend_as<128, true>(a, sh->team, sh->rope); break;
    case 256: attend_as<256, false>(a, sh->team, sh->rope); break;
    default: attend_as<256, true>(a, sh->team, sh->rope); break;
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
__device__ static void attention(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l,
                                 nb_single_barrier *barrier)
{
    nb_cuda_attention a = attention_of(p, l);
    a.seq = &sh->attention_seq;
    attend(a, sh);
    nb_single_arrive(barrier), nb_single_wait(barrier);
    add_splits(a, sh);
}
#endif

#endif
