// The kernels of cuda_deltanet.h. A block owns W columns of one value head of one sequence; 256 threads hold its part
// of S in registers (read before the dependency is waited for: nothing in the step but this kernel touches it).
//
// Bytes of a decode: S once (64 KiB a head), journal rows (1 KiB each), one row written; S written once in
// NB_JOURNAL_ROWS steps. Formulas: docs/numerics.md; q and k are L2-normalised, q scaled by d_key^-0.5, g = -exp(A_log)
// softplus(a + dt_bias),
//   S <- e^g S; u = beta (v - k S); S <- S + k u^T; o = q S
// and with the journal, G_j = e^(g_{j+1} + .. + g): k S = G_base k S_base + sum_j G_j (k . k_j) u_j.
#include "cuda/cuda_chunk.h"

#include "cuda/cuda_deltanet.cuh"

enum { THREADS = NB_GDN_THREADS, WARPS = THREADS / 32, DIM = NB_GDN_DIM };

// One channel's convolution: the last three raw inputs and the weights, in registers.
typedef struct channel {
    float x[NB_GDN_KERNEL - 1], w[NB_GDN_KERNEL];
    int index;
} channel;

// Everything but the step's own inputs: may run before the dependency is waited for.
__device__ __forceinline__ static channel open_channel(const nb_cuda_gdn &p, const nb_gdn_seq &s, int index,
                                                       int n_channel)
{
    channel c;
    const uint16_t *ring = p.ring + s.slot * p.slot_halfs;
    float4 w = __ldg((const float4 *)(p.conv1d + index * NB_GDN_KERNEL));
    c.index = index, c.w[0] = w.x, c.w[1] = w.y, c.w[2] = w.z, c.w[3] = w.w;
#pragma unroll
    for (int j = 0; j < NB_GDN_KERNEL - 1; j++) {
        int pos = s.n_past - (NB_GDN_KERNEL - 1) + j;
        c.x[j] = pos < 0 ? 0.0f : nb_bf16_to_f32(ring[(int64_t)(pos % NB_GDN_RING) * n_channel + index]);
    }
    return c;
}

__device__ __forceinline__ static float conv_silu(channel *c, float x)
{
    float y = c->w[0] * c->x[0] + c->w[1] * c->x[1] + c->w[2] * c->x[2] + c->w[3] * x;
    c->x[0] = c->x[1], c->x[1] = c->x[2], c->x[2] = x;
    return nb_silu(y);
}

// The journal's n_row rows, their columns of u alone, to shared memory.
template <int W>
__device__ __forceinline__ static void load_journal(const float *journal, int column, int n_row, float (*rows_k)[DIM],
                                                    float (*rows_u)[W], float *rows_g)
{
    int tid = threadIdx.x;
#pragma unroll 4
    for (int i = tid; i < n_row * DIM / 4; i += THREADS)
        *(float4 *)&rows_k[0][4 * i] = *(const float4 *)(journal + 4 * i / DIM * NB_GDN_JOURNAL_FLOATS + 4 * i % DIM);
    for (int i = tid; i < n_row * W / 4; i += THREADS)
        *(float4 *)&rows_u[0][4 * i] =
            *(const float4 *)(journal + 4 * i / W * NB_GDN_JOURNAL_FLOATS + DIM + column + 4 * i % W);
    if (tid < n_row) rows_g[tid] = journal[tid * NB_GDN_JOURNAL_FLOATS + 2 * DIM];
}

// A token as one more row: to shared memory, and to the journal in global memory, which k and g reach by the head's
// first block alone.
template <int W>
__device__ __forceinline__ static void append_row(float *row, int column, const nb_gdn_scalars &c, const float *k,
                                                  const float *u, float *row_k, float *row_u, float *row_g)
{
    int tid = threadIdx.x;
    if (tid < DIM) {
        float scaled = c.k_scale * k[tid];
        row_k[tid] = scaled;
        if (column == 0) row[tid] = scaled;
    } else if (tid - DIM < W) {
        row_u[tid - DIM] = u[tid - DIM];
        row[DIM + column + tid - DIM] = u[tid - DIM];
    }
    if (tid == 0) {
        *row_g = c.g;
        if (column == 0) row[2 * DIM] = c.g;
    }
}

template <int W>
__global__ void __launch_bounds__(THREADS, W > 32 ? 2 : 4) delta_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    __shared__ __align__(16) nb_gdn_vectors t;
    __shared__ __align__(16) float rows_k[NB_JOURNAL_ROWS][DIM], rows_u[NB_JOURNAL_ROWS][W], rows_g[NB_JOURNAL_ROWS];
    __shared__ float red[WARPS * 2 * W], kk[NB_JOURNAL_ROWS], kq[NB_JOURNAL_ROWS], decay[NB_JOURNAL_ROWS + 1];
    __shared__ __align__(16) float u_now[W];
    constexpr int slices = DIM / W;
    int head = blockIdx.x / slices, column = blockIdx.x % slices * W, tid = threadIdx.x, warp = tid >> 5;
    nb_grid_release();
    nb_touch(p);
    nb_gdn_seq s = p.seq[blockIdx.y];
    if (p.n_walk && nb_gdn_is_chunked(&s)) return;
    float *state = p.state + s.slot * p.slot_floats + (int64_t)head * DIM * DIM + column;
    float *journal = p.journal + s.slot * p.slot_floats + (int64_t)head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
    int c4 = tid % nb_gdn_part<W>::n_c4, row0 = tid / nb_gdn_part<W>::n_c4, n_row = s.n_keep;
    int n_key = p.n_key_head * DIM, n_channel = 2 * n_key + p.n_value_head * DIM, ratio = p.n_value_head / p.n_key_head;
    channel key = open_channel(p, s, (tid < DIM ? 0 : n_key) + head / ratio * DIM + (tid & (DIM - 1)), n_channel);
    channel value = open_channel(p, s, 2 * n_key + head * DIM + column + (tid & (W - 1)), n_channel);
    float rate = expf(__ldg(p.A_log + head)), dt_bias = __ldg(p.dt_bias + head);
    nb_gdn_part<W> S;
#pragma unroll
    for (int i = 0; i < nb_gdn_part<W>::n_row; i++)
        S.s[i] = s.n_past == s.n_keep
                     ? make_float4(0, 0, 0, 0)
                     : __ldcs((const float4 *)(state + (row0 + i * nb_gdn_part<W>::step) * DIM + c4 * 4));
    load_journal<W>(journal, column, n_row, rows_k, rows_u, rows_g);
    __syncthreads();
    bool fold = s.n_commit >= 0;
    if (fold) { // the journal goes into S first
        for (int r = 0; r < n_row; r++) nb_gdn_update<W>(&S, expf(rows_g[r]), rows_k[r], 1.0f, rows_u[r]);
        n_row = 0;
    }
    nb_grid_wait();
    for (int i_tok = 0; i_tok < s.n_new; i_tok++) {
        nb_gdn_scalars c;
        const uint16_t *raw = p.qkv + (int64_t)(s.tok_first + i_tok) * n_channel;
        const float *ba = p.ba + (int64_t)(s.tok_first + i_tok) * 2 * p.n_value_head;
        float x = nb_bf16_to_f32(raw[key.index]), v = nb_bf16_to_f32(raw[value.index]), b = ba[head],
              a = ba[p.n_value_head + head] + dt_bias;
        (tid < DIM ? t.q : t.k)[tid & (DIM - 1)] = conv_silu(&key, x);
        v = conv_silu(&value, v);
        c.g = -rate * (a > 20.0f ? a : log1pf(expf(a))), c.beta = 1.0f / (1.0f + expf(-b));
        __syncthreads();
        nb_gdn_norms(&t, &c);
        nb_gdn_match(t, c, rows_k, n_row, kk, kq);
        if (warp == WARPS - 1) nb_gdn_decays(c, rows_g, n_row, decay);
        nb_gdn_project<W>(S, &t, red);
        __syncthreads();
        if (tid < W) {
            float o, u = nb_gdn_finish<W>(c, v, red, decay, kk, kq, rows_u, n_row, &o);
            u_now[tid] = u;
            p.out[((int64_t)(s.tok_first + i_tok) * p.n_value_head + head) * DIM + column + tid] = o;
        }
        __syncthreads();
        if (fold && i_tok < s.n_commit) {
            nb_gdn_update<W>(&S, expf(c.g), t.k, c.k_scale, u_now);
            __syncthreads();
            continue;
        }
        append_row<W>(journal + n_row * NB_GDN_JOURNAL_FLOATS, column, c, t.k, u_now, rows_k[n_row], rows_u[n_row],
                      &rows_g[n_row]);
        n_row++;
        __syncthreads();
    }
    if (fold)
#pragma unroll
        for (int i = 0; i < nb_gdn_part<W>::n_row; i++)
            __stcs((float4 *)(state + (row0 + i * nb_gdn_part<W>::step) * DIM + c4 * 4), S.s[i]);
    if (p.long_rows) return; // keep_kernel writes the ring
    uint16_t *ring = p.ring + s.slot * p.slot_halfs;
    for (int i_tok = 0; i_tok < s.n_new; i_tok++) {
        int64_t from = (int64_t)(s.tok_first + i_tok) * n_channel,
                to = (int64_t)((s.n_past + i_tok) % NB_GDN_RING) * n_channel;
        if (tid < W) ring[to + value.index] = p.qkv[from + value.index];
        if (column == 0 && head % ratio == 0) ring[to + key.index] = p.qkv[from + key.index];
    }
}

// The last raw inputs of each sequence into the ring: apart from delta_kernel, whose blocks still read the ring.
__global__ void keep_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    nb_gdn_seq s = p.seq[blockIdx.y];
    int n_channel = (2 * p.n_key_head + p.n_value_head) * DIM, channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= n_channel) return;
    for (int i = max(0, s.n_new - NB_GDN_RING); i < s.n_new; i++)
        p.ring[s.slot * p.slot_halfs + (int64_t)((s.n_past + i) % NB_GDN_RING) * n_channel + channel] =
            p.qkv[(int64_t)(s.tok_first + i) * n_channel + channel];
}

int nb_cuda_gdn_run(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    enum { NARROW = 32, WIDE = 64 };
    if (p->n_tok == p->n_seq) return nb_cuda_gdn_decode_run(at, p, NULL, err);
    bool narrow = p->n_seq * p->n_value_head < 4 * at->n_sm; // few blocks: smaller ones spread over the card
    dim3 grid(p->n_value_head * (narrow ? DIM / NARROW : DIM / WIDE), p->n_seq);
    if (p->n_walk < p->n_seq)
        NB_TRY(nb_cuda_start(at, narrow ? delta_kernel<NARROW> : delta_kernel<WIDE>, grid, THREADS, 0, err, *p));
    if (p->n_walk) NB_TRY(nb_gdn_chunks_run(at, p, err));
    if (!p->long_rows) return NB_OK;
    dim3 keep(nb_ceil_div((2 * p->n_key_head + p->n_value_head) * DIM, THREADS), p->n_seq);
    return nb_cuda_start(at, keep_kernel, keep, THREADS, 0, err, *p);
}
