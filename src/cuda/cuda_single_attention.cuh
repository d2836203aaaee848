// Part of cuda_single.cu: full attention of the one token, by two teams of four warps a block, and the sum of its
// splits. No barrier lies between them: a split's packets say that it is there.
#ifndef NB_CUDA_SINGLE_ATTENTION_CUH
#define NB_CUDA_SINGLE_ATTENTION_CUH

#include <type_traits>

#include "cuda/cuda_single.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__device__ static nb_cuda_attention attention_of(const nb_single_args &p, const nb_cuda_layer &l)
{
    nb_cuda_attention a = p.attention;
    a.q_norm = l.q_norm, a.k_norm = l.k_norm, a.cache += l.i_attention * p.layer_cache;
    if (a.fp8) a.k_scale = l.k_scale, a.v_scale = l.v_scale;
    return a;
}

// Few pages go to as many blocks, the last blocks first: they have fewer row tiles, so they come first.
__device__ static void share_pages(const nb_cuda_attention &a, nb_single_shared *sh)
{
    int n_page = sh->attention_seq.n_past / NB_PAGE_TOKENS + 1, per = (n_page + a.n_split - 1) / a.n_split;
    sh->n_split = (n_page + per - 1) / per;
    for (int i = 0; i < 2; i++) {
        nb_single_pages s;
        int id = (i + 1) * gridDim.x - 1 - blockIdx.x;
        s.kv = id % a.n_kv_head, s.split = id / a.n_kv_head;
        s.first = s.split * per, s.end = s.split < sh->n_split ? min(n_page, s.first + per) : s.first;
        sh->pages[i] = s;
    }
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

// RMS norm and rotation. weight: [D]; rope: [n_rot / 2] cosine and sine, both in shared memory.
template <int D>
__device__ __forceinline__ static void norm_rotate(const nb_cuda_attention &a, head_values *h, const float *weight,
                                                   const float2 *rope)
{
    int lane = threadIdx.x & 31, step = a.n_rot / 16, other = lane < step ? lane + step : lane - step;
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

template <bool FP8> __device__ __forceinline__ static uint32_t query_pair(float low, float high)
{
    uint32_t b = nb_pack_bf16x2(low, high);
    return FP8 ? nb_pack_pair<true>(nb_f32_from_bits(b << 16), nb_f32_from_bits(b & 0xffff0000u)) : b;
}

// Eight values as the cache holds them.
template <bool FP8> __device__ __forceinline__ static void store_row(uint16_t *row, const head_values &h, float scale)
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

// The query heads of a KV head into the team's shared memory, and, by the team that has its page, the token's K and V.
template <int D, bool FP8>
__device__ __forceinline__ static void prepare_heads(const nb_cuda_attention &a, nb_single_team *team,
                                                     const float2 *rope, int kv, bool last)
{
    int group = a.n_head / a.n_kv_head, q_rows = D * (1 + a.gated), warp = nb_team_warp(), lane = threadIdx.x & 31;
    int n_job = group + (last ? 2 : 0); // the queries, K, V: at most three a warp
    const float *query = a.projected + kv * group * q_rows + lane * 8,
                *key = a.projected + a.n_head * q_rows + kv * D + lane * 8;
    bool in = lane < D / 8;
    auto load = [&](int j) {
        return load_head(j < group ? query + j * q_rows : key + (j - group) * a.n_kv_head * D, in && j < n_job);
    };
    head_values h = load(warp), second = load(warp + NB_TEAM_WARPS), third = load(warp + 2 * NB_TEAM_WARPS);
    static_assert(NB_ATTENTION_COLUMNS + 2 <= 3 * NB_TEAM_WARPS, "three jobs a warp");
#pragma unroll 1
    for (int j = warp; j < n_job; j += NB_TEAM_WARPS) {
        if (j <= group) norm_rotate<D>(a, &h, team->norm[j == group], rope);
        if (in && j < group)
            *(uint4 *)&team->q[j][lane * 8] =
                make_uint4(query_pair<FP8>(h.v[0], h.v[1]), query_pair<FP8>(h.v[2], h.v[3]),
                           query_pair<FP8>(h.v[4], h.v[5]), query_pair<FP8>(h.v[6], h.v[7]));
        else if (in)
            store_row<FP8>(team->row[j - group], h, j == group ? a.k_scale : a.v_scale);
        h = second, second = third;
    }
    nb_team_sync();
}

// The token's K and V into the cache. page: K of the KV head.
template <int D, bool FP8>
__device__ __forceinline__ static void store_token(const nb_cuda_attention &a, const nb_single_team *team,
                                                   uint8_t *page, int row)
{
    typedef typename std::conditional<FP8, uint8_t, uint16_t>::type code;
    code *k = (code *)page + row * D, *v = (code *)(page + a.n_kv_head * nb_head_bytes<D, FP8>()) + row;
#pragma unroll
    for (int i = threadIdx.x % NB_TEAM_THREADS; i < D; i += NB_TEAM_THREADS)
        k[i] = ((const code *)team->row[0])[i], v[i * NB_PAGE_TOKENS] = ((const code *)team->row[1])[i];
}

// The token's K and V into a page that was loaded without them.
template <int D>
__device__ __forceinline__ static void patch_page(nb_page_part<D, true> *part, const nb_single_team *team, int row)
{
    int t = threadIdx.x & 3, shift = row % 4 * 8;
    const uint8_t *k = (const uint8_t *)team->row[0], *v = (const uint8_t *)team->row[1];
#pragma unroll
    for (int h = 0; h < 2; h++)
        if (nb_k_row() + 2 * h == row)
#pragma unroll
            for (int kt = 0; kt < D / 64; kt++) nb_load_16<true>(&part->k[kt][h], k + kt * 64 + t * 16);
    if (row / 16 != t) return;
    uint32_t mask[4]; // of the token in the words of 16
#pragma unroll
    for (int w = 0; w < 4; w++) mask[w] = w == row % 16 / 4 ? 0xffu << shift : 0;
#pragma unroll
    for (int m = 0; m < D / 64; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t code = (uint32_t)v[nb_v_row<D>(m, h)] << shift;
            uint4 *word = part->v[m][h].v;
            word->x = (word->x & ~mask[0]) | (code & mask[0]), word->y = (word->y & ~mask[1]) | (code & mask[1]);
            word->z = (word->z & ~mask[2]) | (code & mask[2]), word->w = (word->w & ~mask[3]) | (code & mask[3]);
        }
}

// What a team leaves: packets [n_kv_head][n_split][D][columns] of O^T, and [..][columns] of maximum and sum, last.
template <int D>
__device__ __forceinline__ static void store_split(const nb_single_args &p, nb_exchange *x,
                                                   const nb_column_state<D> &st, int split, uint32_t epoch)
{
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    nb_packet *part = p.part + (split * D + nb_v_row<D>(0, 0)) * NB_ATTENTION_COLUMNS + 2 * t;
#pragma unroll
    for (int m = 0; m < D / 64; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            nb_packet_store_pair(part + (m * 16 + 8 * h) * NB_ATTENTION_COLUMNS, st.o[m][2 * h], st.o[m][2 * h + 1],
                                 epoch);
    nb_exchange_sums<D>(st, x);
    if (nb_team_warp() != 0 || g != 0) return;
#pragma unroll
    for (int c = 0; c < 2; c++) {
        int column = 2 * t + c;
        nb_packet_store_pair(p.part_sum + (split * NB_ATTENTION_COLUMNS + column) * 2, st.top[c],
                             x->sum[0][column] + x->sum[1][column] + x->sum[2][column] + x->sum[3][column], epoch);
    }
}

template <int D> __device__ __forceinline__ static void fetch_norms(const nb_cuda_attention &a, nb_single_team *team)
{
    int i = threadIdx.x % NB_TEAM_THREADS * 4, of_k = i >= D;
    if (i < 2 * D) nb_copy_16(&team->norm[of_k][i - of_k * D], (of_k ? a.k_norm : a.q_norm) + i - of_k * D);
}

// Pages first .. end - 1 of a KV head into L2, at most one a thread.
template <int D, bool FP8>
__device__ __forceinline__ static void prefetch_pages(const nb_cuda_attention &a, const int32_t *pages, int kv,
                                                      int first, int end)
{
    int i = first + threadIdx.x % NB_TEAM_THREADS;
    if (i >= end) return;
    const uint8_t *page = nb_page_of<D, FP8>(a, pages[i], kv);
    nb_prefetch(page, nb_head_bytes<D, FP8>());
    nb_prefetch(page + a.n_kv_head * nb_head_bytes<D, FP8>(), nb_head_bytes<D, FP8>());
}

template <int D, bool FP8>
__device__ __forceinline__ static void load_first(nb_page_part<D, FP8> *part, const nb_cuda_attention &a, int32_t page,
                                                  int kv)
{
    const uint8_t *from = nb_page_of<D, FP8>(a, page, kv);
    nb_load_k<D, FP8>(part, from), nb_load_v<D, FP8>(part, a, from);
}

// A team's pages of one KV head. All that does not come from the barrier's other side leaves memory before it: the
// first page into registers, the next ones into L2.
template <int D, bool FP8>
__device__ static void attend(const nb_single_args &p, const nb_cuda_attention &a, nb_single_shared *sh,
                              const nb_single_barrier *barrier, uint32_t epoch)
{
    int i_team = threadIdx.x / NB_TEAM_THREADS, kv = sh->pages[i_team].kv, first = sh->pages[i_team].first,
        end = sh->pages[i_team].end, n_past = sh->attention_seq.n_past, row = n_past % NB_PAGE_TOKENS;
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    nb_single_team *team = &sh->annex.mixer.team[i_team];
    const int32_t *pages = a.page + sh->attention_seq.page_first;
    bool busy = first < end, last = end == n_past / NB_PAGE_TOKENS + 1;
    nb_page_part<D, FP8> part;
    if (busy) {
        if constexpr (FP8) load_first<D, FP8>(&part, a, pages[first], kv); // bf16 has no registers for it
        fetch_norms<D>(a, team);
        prefetch_pages<D, FP8>(a, pages, kv, first + FP8, min(end, first + 1 + NB_SINGLE_PAGES_AHEAD));
        nb_copies_wait();
    }
    nb_single_wait(barrier);
    if (!busy) return;
    prepare_heads<D, FP8>(a, team, sh->rope, kv, last);
    if (last) store_token<D, FP8>(a, team, (uint8_t *)nb_page_of<D, FP8>(a, pages[end - 1], kv), row);
    if constexpr (FP8)
        if (last && first + 1 == end) patch_page<D>(&part, team, row);
    if (last && first + FP8 < end) __threadfence_block(), nb_team_sync(); // the team loads it from the cache
    if constexpr (!FP8) load_first<D, FP8>(&part, a, pages[first], kv);
    uint32_t q[D / 64][8] = {};
    if (g < a.n_head / a.n_kv_head)
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            *(uint4 *)q[kt] = *(const uint4 *)&team->q[g][kt * 64 + t * 16];
            *(uint4 *)(q[kt] + 4) = *(const uint4 *)&team->q[g][kt * 64 + t * 16 + 8];
        }
    int limit[2] = {n_past + 1, n_past + 1};
    nb_column_state<D> st;
    nb_attend_pages<D, FP8>(a, pages, kv, first, end, q, limit, &team->exchange, &part, &st);
    store_split<D>(p, &team->exchange, st, kv * a.n_split + sh->pages[i_team].split, epoch);
}

// Splits that were added up: their maximum, the sum of probabilities and of values under it.
typedef struct split_sum {
    float top, sum, y;
} split_sum;

// Adds splits 0, WARPS ..: AT_ONCE of them, as far as there are n, all loads on their way together. part, sums: the
// lane's value and column of split 0.
template <int AT_ONCE, int STRIDE>
__device__ __forceinline__ static void take_splits(split_sum *s, const nb_packet *part, const nb_packet *sums, int n,
                                                   uint32_t epoch)
{
    nb_packet value[AT_ONCE];
    ulonglong2 sum[AT_ONCE]; // a maximum and a sum
    bool ready;
    asm("" : "+l"(part), "+l"(sums)); // two addresses, not two a split that the compiler keeps from turn to turn
    do {
        ready = true;
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            int j = k * WARPS;
            value[k] = sum[k].y = (nb_packet)epoch << 32, sum[k].x = value[k] | nb_f32_bits(-INFINITY);
            if (j >= n) continue;
            value[k] = nb_packet_any(part + j * STRIDE), sum[k] = nb_packet_pair(sums + j * 2 * NB_ATTENTION_COLUMNS);
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            ready &= (value[k] >> 32 == epoch) & (sum[k].x >> 32 == epoch) & (sum[k].y >> 32 == epoch);
    } while (!ready);
    float top = s->top;
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) top = fmaxf(top, nb_f32_from_bits((uint32_t)sum[k].x));
    float before = nb_exp2(s->top - top);
    s->top = top, s->sum *= before, s->y *= before;
#pragma unroll
    for (int k = 0; k < AT_ONCE; k++) {
        float factor = nb_exp2(nb_f32_from_bits((uint32_t)sum[k].x) - top);
        s->sum += factor * nb_f32_from_bits((uint32_t)sum[k].y), s->y += factor * nb_f32_from_bits((uint32_t)value[k]);
    }
}

// Sum of the splits: four values of all heads of a KV head by a block, one a lane, its warps sharing the splits. Two
// bf16 a packet to p.attended.
template <int D>
__device__ static void add_splits(const nb_single_args &p, const nb_cuda_attention &a, nb_single_shared *sh,
                                  uint32_t epoch)
{
    enum { AT_ONCE = 8, VALUES = 32 / NB_ATTENTION_COLUMNS };
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, group = a.n_head / a.n_kv_head,
        column = lane % NB_ATTENTION_COLUMNS;
    split_sum(*all)[32] = (split_sum(*)[32]) & sh->red[0][0][0];
    static_assert(sizeof(split_sum) * THREADS <= sizeof sh->red, "place for the warps' sums");
    nb_single_sync(); // a team without pages asks for nothing while the other one works
#pragma unroll 1
    for (int piece = blockIdx.x; piece < a.n_kv_head * D / VALUES; piece += gridDim.x) {
        int kv = piece * VALUES / D, i = piece * VALUES % D + lane / NB_ATTENTION_COLUMNS;
        int at = (kv * group + min(column, group - 1)) * D + i; // of the mixer's output
        constexpr int stride = D * NB_ATTENTION_COLUMNS;        // of a split
        const nb_packet *part = p.part + kv * a.n_split * stride + i * NB_ATTENTION_COLUMNS + column,
                        *sums = p.part_sum + (kv * a.n_split * NB_ATTENTION_COLUMNS + column) * 2;
        float gate = a.gated && warp == 0 ? __ldcg(a.projected + at + (at - i) + D) : 0;
        split_sum s = {-INFINITY, 0, 0};
#pragma unroll 1
        for (int j = warp; j < sh->n_split; j += AT_ONCE * WARPS)
            take_splits<AT_ONCE, stride>(&s, part + j * stride, sums + j * 2 * NB_ATTENTION_COLUMNS, sh->n_split - j,
                                         epoch);
        all[warp][lane] = s;
        nb_single_sync();
        if (warp == 0) {
            float y = 0, sum = 0, top = -INFINITY;
#pragma unroll
            for (int w = 0; w < WARPS; w++) top = fmaxf(top, all[w][lane].top);
#pragma unroll
            for (int w = 0; w < WARPS; w++) {
                float factor = nb_exp2(all[w][lane].top - top);
                y += factor * all[w][lane].y, sum += factor * all[w][lane].sum;
            }
            y *= a.v_scale / sum;
            if (a.gated) y *= nb_sigmoid(gate);
            float behind = __shfl_down_sync(0xffffffffu, y, NB_ATTENTION_COLUMNS);
            if (i % 2 == 0 && column < group)
                nb_packet_store(p.attended + at / 2, nb_f32_from_bits(nb_pack_bf16x2(y, behind)), epoch);
        }
        nb_single_sync();
    }
}

// Full attention between its projections, from the barrier behind the first on. Its splits and its result go as
// packets.
template <int D, bool FP8>
__device__ static void attention(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l,
                                 const nb_single_barrier *barrier, uint32_t epoch)
{
    nb_cuda_attention a = attention_of(p, l);
    attend<D, FP8>(p, a, sh, barrier, epoch);
    add_splits<D>(p, a, sh, epoch);
}
#endif

#endif
