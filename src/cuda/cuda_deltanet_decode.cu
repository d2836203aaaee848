// Gated DeltaNet of one new token a sequence. The blocks fill the card once and walk over items: W columns of one value
// head of one sequence. An item's state, journal, convolution inputs and weights are copied to shared memory while the
// item before is computed, so that the reads of S never stop.
//
// Bytes of an item: its part of S and of the journal once; S written back once in NB_JOURNAL_ROWS steps.
#include "cuda/cuda_deltanet.cuh"

enum { THREADS = NB_GDN_THREADS, WARPS = THREADS / 32, DIM = NB_GDN_DIM, PAST = NB_GDN_KERNEL - 1 };

template <int W> struct stage { // of one item; channels: q, k of its key head, then its v
    static constexpr int n_channel = 2 * DIM + W;
    float s[DIM][W];
    float rows_k[NB_JOURNAL_ROWS][DIM], rows_u[NB_JOURNAL_ROWS][W], rows_g[NB_JOURNAL_ROWS];
    float4 conv[n_channel];
    uint16_t past[PAST][n_channel], now[n_channel];
};

typedef struct item_place {
    nb_gdn_seq seq;
    int head, column;
    float b, a, A_log, dt_bias;
} item_place;

__device__ __forceinline__ static void copy_16(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
}

__device__ __forceinline__ static void copy_4(void *to, const void *from)
{
    asm volatile("cp.async.ca.shared.global [%0],[%1],4;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
}

template <int W> __device__ __forceinline__ static item_place open_item(const nb_cuda_gdn &p, int item)
{
    constexpr int slices = DIM / W;
    item_place i;
    i.seq = p.seq[item / slices / p.n_value_head];
    i.head = item / slices % p.n_value_head, i.column = item % slices * W;
    i.A_log = __ldg(p.A_log + i.head), i.dt_bias = __ldg(p.dt_bias + i.head);
    return i;
}

// The model's channel of an item's channel c.
template <int W> __device__ __forceinline__ static int channel_of(const nb_cuda_gdn &p, const item_place &i, int c)
{
    int n_key = p.n_key_head * DIM, key = i.head / (p.n_value_head / p.n_key_head) * DIM;
    return c < DIM ? key + c : c < 2 * DIM ? n_key + key + c - DIM : 2 * n_key + i.head * DIM + i.column + c - 2 * DIM;
}

__device__ __forceinline__ static float *journal_of(const nb_cuda_gdn &p, const item_place &i)
{
    return p.journal + i.seq.slot * p.slot_floats + (int64_t)i.head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
}

// Everything but the step's own inputs: may run before the dependency is waited for.
template <int W> __device__ static void fetch_state(const nb_cuda_gdn &p, const item_place &i, stage<W> *st)
{
    constexpr int row = W / 4, channels = stage<W>::n_channel;
    const float *state = p.state + i.seq.slot * p.slot_floats + (int64_t)i.head * DIM * DIM + i.column;
    const float *journal = journal_of(p, i);
    const uint16_t *ring = p.ring + i.seq.slot * p.slot_halfs;
    int n_channel = (2 * p.n_key_head + p.n_value_head) * DIM, n_row = i.seq.n_keep;
    bool empty = i.seq.n_past == i.seq.n_keep;
#pragma unroll
    for (int j = threadIdx.x; j < DIM * row; j += THREADS) {
        float *to = &st->s[j / row][j % row * 4];
        if (empty)
            *(float4 *)to = make_float4(0, 0, 0, 0);
        else
            copy_16(to, state + j / row * DIM + j % row * 4);
    }
    for (int j = threadIdx.x; j < n_row * DIM / 4; j += THREADS)
        copy_16(&st->rows_k[0][j * 4], journal + j / (DIM / 4) * NB_GDN_JOURNAL_FLOATS + j % (DIM / 4) * 4);
    for (int j = threadIdx.x; j < n_row * row; j += THREADS)
        copy_16(&st->rows_u[0][j * 4], journal + j / row * NB_GDN_JOURNAL_FLOATS + DIM + i.column + j % row * 4);
    if ((int)threadIdx.x < n_row)
        copy_4(&st->rows_g[threadIdx.x], journal + threadIdx.x * NB_GDN_JOURNAL_FLOATS + 2 * DIM);
    for (int c = threadIdx.x; c < channels; c += THREADS)
        copy_16(&st->conv[c], p.conv1d + channel_of<W>(p, i, c) * NB_GDN_KERNEL);
    if (threadIdx.x < PAST * channels / 8) {
        int j = threadIdx.x / (channels / 8), c = threadIdx.x % (channels / 8) * 8, pos = i.seq.n_past - PAST + j;
        if (pos < 0)
            *(uint4 *)&st->past[j][c] = make_uint4(0, 0, 0, 0);
        else
            copy_16(&st->past[j][c], ring + (int64_t)(pos % NB_GDN_RING) * n_channel + channel_of<W>(p, i, c));
    }
}

template <int W> __device__ static void fetch_input(const nb_cuda_gdn &p, item_place *i, stage<W> *st)
{
    int n_channel = (2 * p.n_key_head + p.n_value_head) * DIM, c = threadIdx.x * 8;
    if (c < stage<W>::n_channel)
        copy_16(&st->now[c], p.qkv + (int64_t)i->seq.tok_first * n_channel + channel_of<W>(p, *i, c));
    const float *ba = p.ba + (int64_t)i->seq.tok_first * 2 * p.n_value_head;
    i->b = ba[i->head], i->a = ba[p.n_value_head + i->head];
    asm volatile("cp.async.commit_group;");
}

// The convolution of item channel c; its raw input joins the ring.
template <int W> __device__ __forceinline__ static float convolve(const stage<W> *st, int c)
{
    float4 w = st->conv[c];
    float y = w.x * nb_bf16_to_f32(st->past[0][c]) + w.y * nb_bf16_to_f32(st->past[1][c]) +
              w.z * nb_bf16_to_f32(st->past[2][c]) + w.w * nb_bf16_to_f32(st->now[c]);
    return nb_silu(y);
}

typedef struct workspace { // of the item in hand
    nb_gdn_vectors t;
    float u[64], red[WARPS * 2 * 64]; // u is read as float4
    float kk[NB_JOURNAL_ROWS], kq[NB_JOURNAL_ROWS], decay[NB_JOURNAL_ROWS + 1];
} workspace;

// Stores what later steps need: S with everything folded in, or one more journal row; the raw inputs.
template <int W>
__device__ static void store_state(const nb_cuda_gdn &p, const item_place &i, const stage<W> *st, workspace *x,
                                   nb_gdn_part<W> *S, const nb_gdn_scalars &c)
{
    int tid = threadIdx.x, ratio = p.n_value_head / p.n_key_head, n_channel = (2 * p.n_key_head + p.n_value_head) * DIM;
    uint16_t *ring = p.ring + i.seq.slot * p.slot_halfs + (int64_t)(i.seq.n_past % NB_GDN_RING) * n_channel;
    if (tid < W) ring[channel_of<W>(p, i, 2 * DIM + tid)] = st->now[2 * DIM + tid];
    if (i.column == 0 && i.head % ratio == 0) ring[channel_of<W>(p, i, tid)] = st->now[tid];
    if (i.seq.n_commit < 0) {
        float *row = journal_of(p, i) + i.seq.n_keep * NB_GDN_JOURNAL_FLOATS;
        if (tid < DIM && i.column == 0) row[tid] = c.k_scale * x->t.k[tid];
        if (tid >= DIM && tid - DIM < W) row[DIM + i.column + tid - DIM] = x->u[tid - DIM];
        if (tid == THREADS - 1 && i.column == 0) row[2 * DIM] = c.g;
        return;
    }
    float *state = p.state + i.seq.slot * p.slot_floats + (int64_t)i.head * DIM * DIM + i.column;
    int c4 = tid % nb_gdn_part<W>::n_c4, row0 = tid / nb_gdn_part<W>::n_c4;
    nb_gdn_update<W>(S, expf(c.g), x->t.k, c.k_scale, x->u);
#pragma unroll
    for (int r = 0; r < nb_gdn_part<W>::n_row; r++)
        __stcs((float4 *)(state + (row0 + r * nb_gdn_part<W>::step) * DIM + c4 * 4), S->s[r]);
}

template <int W>
__device__ static void run_item(const nb_cuda_gdn &p, const item_place &i, const stage<W> *st, workspace *x)
{
    int tid = threadIdx.x, n_row = i.seq.n_keep;
    int c4 = tid % nb_gdn_part<W>::n_c4, row0 = tid / nb_gdn_part<W>::n_c4;
    nb_gdn_scalars c;
    float a = i.a + i.dt_bias, v = tid < W ? convolve(st, 2 * DIM + tid) : 0.0f;
    (tid < DIM ? x->t.q : x->t.k)[tid & (DIM - 1)] = convolve(st, tid);
    c.g = -expf(i.A_log) * (a > 20.0f ? a : log1pf(expf(a))), c.beta = 1.0f / (1.0f + expf(-i.b));
    nb_gdn_part<W> S;
#pragma unroll
    for (int r = 0; r < nb_gdn_part<W>::n_row; r++)
        S.s[r] = *(const float4 *)&st->s[row0 + r * nb_gdn_part<W>::step][c4 * 4];
    if (i.seq.n_commit >= 0) { // the journal goes into S first
        for (int r = 0; r < n_row; r++) nb_gdn_update<W>(&S, expf(st->rows_g[r]), st->rows_k[r], 1.0f, st->rows_u[r]);
        n_row = 0;
    }
    __syncthreads();
    nb_gdn_norms(&x->t, &c);
    nb_gdn_match(x->t, c, st->rows_k, n_row, x->kk, x->kq);
    if (tid >= THREADS - 32) nb_gdn_decays(c, st->rows_g, n_row, x->decay);
    nb_gdn_project<W>(S, &x->t, x->red);
    __syncthreads();
    if (tid < W)
        x->u[tid] =
            nb_gdn_finish<W>(c, v, x->red, x->decay, x->kk, x->kq, st->rows_u, n_row,
                             p.out + ((int64_t)i.seq.tok_first * p.n_value_head + i.head) * DIM + i.column + tid);
    __syncthreads();
    store_state<W>(p, i, st, x, &S, c);
}

template <int W>
__global__ void __launch_bounds__(THREADS, 2) delta_decode_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    extern __shared__ __align__(16) uint8_t smem[];
    __shared__ __align__(16) workspace x;
    stage<W> *st = (stage<W> *)smem;
    int item = blockIdx.x, n_item = p.n_seq * p.n_value_head * (DIM / W), parity = 0;
    nb_grid_release();
    nb_touch(p);
    item_place now = open_item<W>(p, item), next = now;
    fetch_state<W>(p, now, st);
    nb_grid_wait();
    fetch_input<W>(p, &now, st);
    for (; item < n_item; item += gridDim.x, parity ^= 1, now = next) {
        if (item + (int)gridDim.x < n_item) {
            next = open_item<W>(p, item + gridDim.x);
            fetch_state<W>(p, next, st + (parity ^ 1)), fetch_input<W>(p, &next, st + (parity ^ 1));
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        run_item<W>(p, now, st + parity, &x);
        __syncthreads();
    }
}

template <int W> static int start(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    int n_item = p->n_seq * p->n_value_head * (DIM / W), wave = 2 * at->n_sm, n_stage = n_item > wave ? 2 : 1;
    return nb_cuda_start(at, delta_decode_kernel<W>, n_item < wave ? n_item : wave, THREADS, n_stage * sizeof(stage<W>),
                         err, *p);
}

int nb_cuda_gdn_decode_run(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    return p->n_seq * p->n_value_head * 2 <= at->n_sm ? start<32>(at, p, err) : start<64>(at, p, err);
}
