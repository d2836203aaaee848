// An item of decode: one new token, W columns of one value head of one sequence. Its state, journal, convolution inputs
// and weights come to shared memory by asynchronous copies, so that they can be on their way while other work is done.
#ifndef NB_CUDA_DELTANET_ITEM_CUH
#define NB_CUDA_DELTANET_ITEM_CUH

#include "cuda/cuda_deltanet.cuh"

enum { NB_GDN_PAST = NB_GDN_KERNEL - 1 };

// The block's barrier; of these threads alone where the block has others.
__device__ __forceinline__ void nb_gdn_sync(void)
{
    static_assert(NB_GDN_THREADS == 256, "the barrier's count");
    asm volatile("bar.sync 0, 256;" ::: "memory");
}

template <int W> struct nb_gdn_stage { // of one item; channels: q, k of its key head, then its v
    static constexpr int n_channel = 2 * NB_GDN_DIM + W;
    float s[NB_GDN_DIM][W];
    float rows_k[NB_JOURNAL_ROWS][NB_GDN_DIM], rows_u[NB_JOURNAL_ROWS][W], rows_g[NB_JOURNAL_ROWS];
    float4 conv[n_channel];
    uint16_t past[NB_GDN_PAST][n_channel], now[n_channel];
};

typedef struct nb_gdn_item {
    nb_gdn_seq seq;
    int head, column, key; // key: the first channel of its key head
    float b, a, A_log, dt_bias;
    float factor; // of o[threadIdx.x], where the output is gated
} nb_gdn_item;

__device__ __forceinline__ void nb_copy_4(void *to, const void *from)
{
    asm volatile("cp.async.ca.shared.global [%0],[%1],4;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
}

template <int W> __device__ __forceinline__ nb_gdn_item nb_gdn_open(const nb_cuda_gdn &p, int item)
{
    constexpr int slices = NB_GDN_DIM / W;
    nb_gdn_item i;
    int seq = item / slices / p.n_value_head;
    i.seq = p.seq[seq];
    i.head = item / slices - seq * p.n_value_head, i.column = item % slices * W;
    i.key = i.head / (p.n_value_head / p.n_key_head) * NB_GDN_DIM;
    i.A_log = __ldg(p.A_log + i.head), i.dt_bias = __ldg(p.dt_bias + i.head);
    return i;
}

// The model's channel of an item's channel c.
template <int W> __device__ __forceinline__ int nb_gdn_channel(const nb_cuda_gdn &p, const nb_gdn_item &i, int c)
{
    int n_key = p.n_key_head * NB_GDN_DIM;
    return c < NB_GDN_DIM       ? i.key + c
           : c < 2 * NB_GDN_DIM ? n_key + i.key + c - NB_GDN_DIM
                                : 2 * n_key + i.head * NB_GDN_DIM + i.column + c - 2 * NB_GDN_DIM;
}

__device__ __forceinline__ float *nb_gdn_journal(const nb_cuda_gdn &p, const nb_gdn_item &i)
{
    return p.journal + i.seq.slot * p.slot_floats + (int64_t)i.head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
}

// S of an item, by rows of W: a thread's parts lie at constant distances from its first, for this is most of what an
// item copies.
template <int W>
__device__ __forceinline__ void nb_gdn_fetch_s(const nb_cuda_gdn &p, const nb_gdn_item &i, nb_gdn_stage<W> *st,
                                               int thread)
{
    constexpr int row = W / 4, step = NB_GDN_THREADS / row; // threads of a row; rows at a time
    int r = thread / row, c = thread % row * 4;
    const float *from =
        p.state + i.seq.slot * p.slot_floats + ((int64_t)i.head * NB_GDN_DIM + r) * NB_GDN_DIM + i.column + c;
    float *to = &st->s[r][c];
    if (i.seq.n_past == i.seq.n_keep) { // all of it is in the journal
#pragma unroll
        for (int k = 0; k < NB_GDN_DIM / step; k++) *(float4 *)(to + k * step * W) = make_float4(0, 0, 0, 0);
        return;
    }
#pragma unroll
    for (int k = 0; k < NB_GDN_DIM / step; k++) nb_copy_16(to + k * step * W, from + k * step * NB_GDN_DIM);
}

// The journal's rows of k, u and g.
template <int W>
__device__ __forceinline__ void nb_gdn_fetch_journal(const nb_cuda_gdn &p, const nb_gdn_item &i, nb_gdn_stage<W> *st,
                                                     int thread)
{
    constexpr int k_row = NB_GDN_DIM / 4, k_step = NB_GDN_THREADS / k_row, u_row = W / 4;
    static_assert(NB_JOURNAL_ROWS * u_row <= NB_GDN_THREADS && NB_JOURNAL_ROWS % k_step == 0, "a row of u a thread");
    const float *journal = nb_gdn_journal(p, i);
    int r = thread / k_row, c = thread % k_row * 4, n_row = i.seq.n_keep;
#pragma unroll
    for (int k = 0; k < NB_JOURNAL_ROWS; k += k_step)
        if (r + k < n_row) nb_copy_16(&st->rows_k[r + k][c], journal + (r + k) * NB_GDN_JOURNAL_FLOATS + c);
    r = thread / u_row, c = thread % u_row * 4;
    if (r < n_row) nb_copy_16(&st->rows_u[r][c], journal + r * NB_GDN_JOURNAL_FLOATS + NB_GDN_DIM + i.column + c);
    r = thread;
    if (r < n_row) nb_copy_4(&st->rows_g[r], journal + r * NB_GDN_JOURNAL_FLOATS + 2 * NB_GDN_DIM);
}

// Everything but the step's own inputs, by thread `thread` of the block: may run before the dependency is waited for.
template <int W>
__device__ inline void nb_gdn_fetch_state(const nb_cuda_gdn &p, const nb_gdn_item &i, nb_gdn_stage<W> *st, int thread)
{
    constexpr int channels = nb_gdn_stage<W>::n_channel;
    const uint16_t *ring = p.ring + i.seq.slot * p.slot_halfs;
    int n_channel = (2 * p.n_key_head + p.n_value_head) * NB_GDN_DIM;
    nb_gdn_fetch_s(p, i, st, thread);
    nb_gdn_fetch_journal(p, i, st, thread);
#pragma unroll
    for (int c = thread; c < channels; c += NB_GDN_THREADS)
        nb_copy_16(&st->conv[c], p.conv1d + nb_gdn_channel<W>(p, i, c) * NB_GDN_KERNEL);
    if (thread < NB_GDN_PAST * channels / 8) {
        int j = thread / (channels / 8), c = thread % (channels / 8) * 8, pos = i.seq.n_past - NB_GDN_PAST + j;
        if (pos < 0)
            *(uint4 *)&st->past[j][c] = make_uint4(0, 0, 0, 0);
        else
            nb_copy_16(&st->past[j][c], ring + (int64_t)(pos % NB_GDN_RING) * n_channel + nb_gdn_channel<W>(p, i, c));
    }
}

template <int W> __device__ __forceinline__ void nb_gdn_gate(const nb_cuda_gdn &p, nb_gdn_item *i)
{
    int at = i->column + (threadIdx.x & (W - 1));
    int64_t row = ((int64_t)i->seq.tok_first * p.n_value_head + i->head) * NB_GDN_DIM;
    i->factor = p.gate ? __ldg(p.norm + at) * nb_silu(nb_bf16_to_f32(__ldcg(p.gate + row + at))) : 1.0f;
}

template <int W> __device__ inline void nb_gdn_fetch_input(const nb_cuda_gdn &p, nb_gdn_item *i, nb_gdn_stage<W> *st)
{
    int n_channel = (2 * p.n_key_head + p.n_value_head) * NB_GDN_DIM, c = threadIdx.x * 8;
    if (c < nb_gdn_stage<W>::n_channel)
        nb_copy_16(&st->now[c], p.qkv + (int64_t)i->seq.tok_first * n_channel + nb_gdn_channel<W>(p, *i, c));
    const float *ba = p.ba + (int64_t)i->seq.tok_first * 2 * p.n_value_head;
    nb_gdn_gate<W>(p, i);
    i->b = __ldcg(ba + i->head), i->a = __ldcg(ba + p.n_value_head + i->head);
}

// The convolution of item channel c; its raw input joins the ring.
template <int W> __device__ __forceinline__ float nb_gdn_convolve(const nb_gdn_stage<W> *st, int c)
{
    float4 w = st->conv[c];
    float y = w.x * nb_bf16_to_f32(st->past[0][c]) + w.y * nb_bf16_to_f32(st->past[1][c]) +
              w.z * nb_bf16_to_f32(st->past[2][c]) + w.w * nb_bf16_to_f32(st->now[c]);
    return nb_silu(y);
}

typedef struct nb_gdn_workspace { // of the item in hand
    nb_gdn_vectors t;
    float u[64], red[(NB_GDN_THREADS / 32) * 2 * 64]; // u is read as float4
    float kk[NB_JOURNAL_ROWS], kq[NB_JOURNAL_ROWS], decay[NB_JOURNAL_ROWS + 1];
} nb_gdn_workspace;

// Stores what later steps need: S with everything folded in, or one more journal row; the raw inputs.
template <int W>
__device__ inline void nb_gdn_store(const nb_cuda_gdn &p, const nb_gdn_item &i, const nb_gdn_stage<W> *st,
                                    nb_gdn_workspace *x, nb_gdn_part<W> *S, const nb_gdn_scalars &c)
{
    int tid = threadIdx.x, ratio = p.n_value_head / p.n_key_head,
        n_channel = (2 * p.n_key_head + p.n_value_head) * NB_GDN_DIM;
    uint16_t *ring = p.ring + i.seq.slot * p.slot_halfs + (int64_t)(i.seq.n_past % NB_GDN_RING) * n_channel;
    if (tid < W) ring[nb_gdn_channel<W>(p, i, 2 * NB_GDN_DIM + tid)] = st->now[2 * NB_GDN_DIM + tid];
    if (i.column == 0 && i.head % ratio == 0) ring[nb_gdn_channel<W>(p, i, tid)] = st->now[tid];
    if (i.seq.n_commit < 0) {
        float *row = nb_gdn_journal(p, i) + i.seq.n_keep * NB_GDN_JOURNAL_FLOATS;
        if (tid < NB_GDN_DIM && i.column == 0) row[tid] = c.k_scale * x->t.k[tid];
        if (tid >= NB_GDN_DIM && tid - NB_GDN_DIM < W)
            row[NB_GDN_DIM + i.column + tid - NB_GDN_DIM] = x->u[tid - NB_GDN_DIM];
        if (tid == NB_GDN_THREADS - 1 && i.column == 0) row[2 * NB_GDN_DIM] = c.g;
        return;
    }
    float *state = p.state + i.seq.slot * p.slot_floats + (int64_t)i.head * NB_GDN_DIM * NB_GDN_DIM + i.column;
    int c4 = tid % nb_gdn_part<W>::n_c4, row0 = tid / nb_gdn_part<W>::n_c4;
    nb_gdn_update<W>(S, expf(c.g), x->t.k, c.k_scale, x->u);
#pragma unroll
    for (int r = 0; r < nb_gdn_part<W>::n_row; r++)
        __stcs((float4 *)(state + (row0 + r * nb_gdn_part<W>::step) * NB_GDN_DIM + c4 * 4), S->s[r]);
}

// tid < W: o, or, where the output's norm is wanted too, all of it but the head's scale: o * weight * silu(z), and the
// sum of o^2 of each 32 columns.
template <int W> __device__ __forceinline__ void nb_gdn_output(const nb_cuda_gdn &p, const nb_gdn_item &i, float o)
{
    int64_t at = ((int64_t)i.seq.tok_first * p.n_value_head + i.head) * NB_GDN_DIM + i.column + threadIdx.x;
    if (p.gate) {
        float sum = nb_warp_sum(o * o);
        if ((threadIdx.x & 31) == 0) p.square[at / 32] = sum;
        o *= i.factor;
    }
    p.out[at] = o;
}

// head: [d_value] shared, takes o in place of p.out; or NULL.
template <int W>
__device__ inline void nb_gdn_run_item(const nb_cuda_gdn &p, const nb_gdn_item &i, const nb_gdn_stage<W> *st,
                                       nb_gdn_workspace *x, float *head = NULL)
{
    int tid = threadIdx.x, n_row = i.seq.n_keep;
    int c4 = tid % nb_gdn_part<W>::n_c4, row0 = tid / nb_gdn_part<W>::n_c4;
    nb_gdn_scalars c;
    float a = i.a + i.dt_bias, v = tid < W ? nb_gdn_convolve(st, 2 * NB_GDN_DIM + tid) : 0.0f;
    (tid < NB_GDN_DIM ? x->t.q : x->t.k)[tid & (NB_GDN_DIM - 1)] = nb_gdn_convolve(st, tid);
    c.g = -expf(i.A_log) * (a > 20.0f ? a : log1pf(expf(a))), c.beta = 1.0f / (1.0f + expf(-i.b));
    nb_gdn_part<W> S;
#pragma unroll
    for (int r = 0; r < nb_gdn_part<W>::n_row; r++)
        S.s[r] = *(const float4 *)&st->s[row0 + r * nb_gdn_part<W>::step][c4 * 4];
    if (i.seq.n_commit >= 0) { // the journal goes into S first
#pragma unroll 1
        for (int r = 0; r < n_row; r++) nb_gdn_update<W>(&S, expf(st->rows_g[r]), st->rows_k[r], 1.0f, st->rows_u[r]);
        n_row = 0;
    }
    nb_gdn_sync();
    nb_gdn_norms(&x->t, &c);
    nb_gdn_match(x->t, c, st->rows_k, n_row, x->kk, x->kq);
    if (tid >= NB_GDN_THREADS - 32) nb_gdn_decays(c, st->rows_g, n_row, x->decay);
    nb_gdn_project<W>(S, &x->t, x->red);
    nb_gdn_sync();
    if (tid < W) {
        float o, u = nb_gdn_finish<W>(c, v, x->red, x->decay, x->kk, x->kq, st->rows_u, n_row, &o);
        x->u[tid] = u;
        if (head)
            head[i.column + tid] = o;
        else
            nb_gdn_output<W>(p, i, o);
    }
    nb_gdn_sync();
    nb_gdn_store<W>(p, i, st, x, &S, c);
}

#endif
