// Part of cuda_single.cu: full attention of the one token, by two teams of four warps a block, and the sum of its
// splits. No barrier lies between them: a split's packets say that it is there.
#ifndef NB_CUDA_SINGLE_ATTENTION_CUH
#define NB_CUDA_SINGLE_ATTENTION_CUH

#include "cuda/cuda_single_packet.cuh"

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

// The token's K and V into a page that was loaded without them.
template <int D>
__device__ __forceinline__ static void patch_page(nb_page_part<D, true> *part, const nb_heads *heads, int row)
{
    int t = threadIdx.x & 3, shift = row % 4 * 8;
    const uint8_t *k = (const uint8_t *)heads->row[0], *v = (const uint8_t *)heads->row[1];
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

// Pages first .. end - 1 of a KV head into L2, at most one a thread.
template <int D, bool FP8>
__device__ __forceinline__ static void prefetch_pages(const nb_cuda_attention &a, const int32_t *pages, int kv,
                                                      int first, int end)
{
    int i = first + threadIdx.x % NB_TEAM_THREADS;
    if (i >= end) return;
    const uint8_t *page = nb_page_of<D, FP8>(a, pages[i], kv);
    nb_prefetch_bulk(page, nb_head_bytes<D, FP8>());
    nb_prefetch_bulk(page + a.n_kv_head * nb_head_bytes<D, FP8>(), nb_head_bytes<D, FP8>());
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
    int g = threadIdx.x >> 2 & 7;
    nb_single_team *team = &sh->annex.mixer.team[i_team];
    const int32_t *pages = a.page + sh->attention_seq.page_first;
    bool busy = first < end, last = end == n_past / NB_PAGE_TOKENS + 1;
    nb_page_part<D, FP8> part;
    if (busy) {
        if constexpr (FP8) load_first<D, FP8>(&part, a, pages[first], kv); // bf16 has no registers for it
        nb_fetch_norms<D>(a, &team->heads);
        prefetch_pages<D, FP8>(a, pages, kv, first + FP8, min(end, first + 1 + NB_SINGLE_PAGES_AHEAD));
        nb_copies_wait();
    }
    nb_single_wait(barrier);
    if (!busy) return;
    nb_prepare_heads<D, FP8>(a, &team->heads, a.projected, sh->rope, kv, last);
    if (last) nb_store_token<D, FP8>(a, &team->heads, (uint8_t *)nb_page_of<D, FP8>(a, pages[end - 1], kv), row);
    if constexpr (FP8)
        if (last && first + 1 == end) patch_page<D>(&part, &team->heads, row);
    if (last && first + FP8 < end) __threadfence_block(), nb_team_sync(); // the team loads it from the cache
    if constexpr (!FP8) load_first<D, FP8>(&part, a, pages[first], kv);
    uint32_t q[D / 64][8] = {};
    if (g < a.n_head / a.n_kv_head) nb_load_query<D>(q, team->heads.q[g]);
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
