// The kernels of cuda_deltanet.h. A block owns W columns of one value head of one sequence; 256 threads hold its part
// of S in registers (read before the dependency is waited for: nothing in the step but this kernel touches it).
//
// Bytes of a decode: S once (64 KiB a head), journal rows (1 KiB each), one row written; S written once in
// NB_JOURNAL_ROWS steps. Formulas: docs/numerics.md; q and k are L2-normalised, q scaled by d_key^-0.5, g = -exp(A_log)
// softplus(a + dt_bias),
//   S <- e^g S; u = beta (v - k S); S <- S + k u^T; o = q S
// and with the journal, G_j = e^(g_{j+1} + .. + g): k S = G_base k S_base + sum_j G_j (k . k_j) u_j.
#include "cuda/cuda_deltanet.h"

#include "cuda/cuda_source.cuh"

enum { THREADS = 256, WARPS = THREADS / 32, DIM = NB_GDN_DIM };

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

typedef struct token_vectors { // of the token in hand, in shared memory; q and k before their norms
    float q[DIM], k[DIM], v[DIM];
} token_vectors;

typedef struct token_scalars {           // the same in every thread
    float g, beta, q_scale, k_scale, qk; // qk: of the normalised vectors
} token_scalars;

// Sums over q and k, by every warp for itself.
__device__ __forceinline__ static void norms(const token_vectors *t, token_scalars *c)
{
    int lane = threadIdx.x & 31;
    float4 q = *(const float4 *)(t->q + lane * 4), k = *(const float4 *)(t->k + lane * 4);
    float qq = nb_warp_sum(nb_square_sum(q)), kk = nb_warp_sum(nb_square_sum(k));
    float qk = nb_warp_sum(q.x * k.x + q.y * k.y + q.z * k.z + q.w * k.w);
    c->q_scale = rsqrtf(qq + 1e-6f) * rsqrtf((float)DIM), c->k_scale = rsqrtf(kk + 1e-6f);
    c->qk = qk * c->q_scale * c->k_scale;
}

// One thread's part of S: float4 column `c4` of rows row0, row0 + STEP, ...
template <int W> struct part {
    static constexpr int n_c4 = W / 4, step = THREADS / n_c4, n_row = DIM / step;
    float4 s[n_row];
};

// The warps' column sums of k S and q S. red: [WARPS][2][W] shared.
template <int W> __device__ static void project(const part<W> &p, const token_vectors *t, float *red)
{
    int c4 = threadIdx.x % part<W>::n_c4, row0 = threadIdx.x / part<W>::n_c4, warp = threadIdx.x >> 5;
    float y[8] = {};
#pragma unroll
    for (int i = 0; i < part<W>::n_row; i++) {
        float k = t->k[row0 + i * part<W>::step], q = t->q[row0 + i * part<W>::step];
        y[0] += k * p.s[i].x, y[1] += k * p.s[i].y, y[2] += k * p.s[i].z, y[3] += k * p.s[i].w;
        y[4] += q * p.s[i].x, y[5] += q * p.s[i].y, y[6] += q * p.s[i].z, y[7] += q * p.s[i].w;
    }
    for (int o = part<W>::n_c4; o < 32; o *= 2)
#pragma unroll
        for (int j = 0; j < 8; j++) y[j] += __shfl_xor_sync(0xffffffffu, y[j], o);
    if ((int)(threadIdx.x & 31) < part<W>::n_c4)
#pragma unroll
        for (int j = 0; j < 8; j++) red[(warp * 2 + (j >> 2)) * W + c4 * 4 + (j & 3)] = y[j];
}

// S <- decay S + k u^T. u: [W] shared, k: [DIM] shared.
template <int W> __device__ static void update(part<W> *p, float decay, const float *k, float k_scale, const float *u)
{
    int c4 = threadIdx.x % part<W>::n_c4, row0 = threadIdx.x / part<W>::n_c4;
    float4 v = *(const float4 *)(u + c4 * 4);
#pragma unroll
    for (int i = 0; i < part<W>::n_row; i++) {
        float kk = k_scale * k[row0 + i * part<W>::step];
        p->s[i].x = decay * p->s[i].x + kk * v.x, p->s[i].y = decay * p->s[i].y + kk * v.y;
        p->s[i].z = decay * p->s[i].z + kk * v.z, p->s[i].w = decay * p->s[i].w + kk * v.w;
    }
}

template <int W>
__global__ void __launch_bounds__(THREADS, W > 32 ? 2 : 4) delta_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    __shared__ __align__(16) token_vectors t;
    __shared__ __align__(16) float rows_k[NB_JOURNAL_ROWS][DIM], rows_u[NB_JOURNAL_ROWS][W], rows_g[NB_JOURNAL_ROWS];
    __shared__ float red[WARPS * 2 * W], kk[NB_JOURNAL_ROWS], kq[NB_JOURNAL_ROWS], decay[NB_JOURNAL_ROWS + 1];
    __shared__ __align__(16) float u_now[W];
    constexpr int slices = DIM / W;
    int head = blockIdx.x / slices, column = blockIdx.x % slices * W, tid = threadIdx.x, warp = tid >> 5,
        lane = tid & 31;
    nb_grid_release();
    nb_touch(p);
    nb_gdn_seq s = p.seq[blockIdx.y];
    float *state = p.state + s.slot * p.slot_floats + (int64_t)head * DIM * DIM + column;
    float *journal = p.journal + s.slot * p.slot_floats + (int64_t)head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
    int c4 = tid % part<W>::n_c4, row0 = tid / part<W>::n_c4, n_row = s.n_keep;
    int n_key = p.n_key_head * DIM, n_channel = 2 * n_key + p.n_value_head * DIM, ratio = p.n_value_head / p.n_key_head;
    channel key = open_channel(p, s, (tid < DIM ? 0 : n_key) + head / ratio * DIM + (tid & (DIM - 1)), n_channel);
    channel value = open_channel(p, s, 2 * n_key + head * DIM + column + (tid & (W - 1)), n_channel);
    float rate = expf(__ldg(p.A_log + head)), dt_bias = __ldg(p.dt_bias + head);
    part<W> S;
#pragma unroll
    for (int i = 0; i < part<W>::n_row; i++)
        S.s[i] = s.n_past == s.n_keep ? make_float4(0, 0, 0, 0)
                                      : __ldcs((const float4 *)(state + (row0 + i * part<W>::step) * DIM + c4 * 4));
#pragma unroll 4
    for (int i = tid; i < n_row * DIM / 4; i += THREADS)
        *(float4 *)&rows_k[0][4 * i] = *(const float4 *)(journal + 4 * i / DIM * NB_GDN_JOURNAL_FLOATS + 4 * i % DIM);
    for (int i = tid; i < n_row * W / 4; i += THREADS)
        *(float4 *)&rows_u[0][4 * i] =
            *(const float4 *)(journal + 4 * i / W * NB_GDN_JOURNAL_FLOATS + DIM + column + 4 * i % W);
    if (tid < n_row) rows_g[tid] = journal[tid * NB_GDN_JOURNAL_FLOATS + 2 * DIM];
    __syncthreads();
    bool fold = s.n_commit >= 0;
    if (fold) { // the journal goes into S first
        for (int r = 0; r < n_row; r++) update<W>(&S, expf(rows_g[r]), rows_k[r], 1.0f, rows_u[r]);
        n_row = 0;
    }
    nb_grid_wait();
    for (int i_tok = 0; i_tok < s.n_new; i_tok++) {
        token_scalars c;
        const uint16_t *raw = p.qkv + (int64_t)(s.tok_first + i_tok) * n_channel;
        const float *ba = p.ba + (int64_t)(s.tok_first + i_tok) * 2 * p.n_value_head;
        float x = nb_bf16_to_f32(raw[key.index]), v = nb_bf16_to_f32(raw[value.index]), b = ba[head],
              a = ba[p.n_value_head + head] + dt_bias;
        (tid < DIM ? t.q : t.k)[tid & (DIM - 1)] = conv_silu(&key, x);
        v = conv_silu(&value, v);
        c.g = -rate * (a > 20.0f ? a : log1pf(expf(a))), c.beta = 1.0f / (1.0f + expf(-b));
        __syncthreads();
        norms(&t, &c);
        for (int r = warp; r < n_row; r += WARPS) {
            float4 row = *(const float4 *)&rows_k[r][lane * 4], k = *(const float4 *)(t.k + lane * 4),
                   q = *(const float4 *)(t.q + lane * 4);
            float with_k = nb_warp_sum(row.x * k.x + row.y * k.y + row.z * k.z + row.w * k.w);
            float with_q = nb_warp_sum(row.x * q.x + row.y * q.y + row.z * q.z + row.w * q.w);
            if (lane == 0) kk[r] = with_k * c.k_scale, kq[r] = with_q * c.q_scale;
        }
        if (tid == THREADS - 1) {
            float g = c.g;
            for (int r = n_row - 1; r >= 0; r--) decay[r + 1] = expf(g), g += rows_g[r];
            decay[0] = expf(g);
        }
        project<W>(S, &t, red);
        __syncthreads();
        if (tid < W) {
            float ks = 0, qs = 0;
#pragma unroll
            for (int w = 0; w < WARPS; w++) ks += red[2 * w * W + tid], qs += red[(2 * w + 1) * W + tid];
            ks *= decay[0] * c.k_scale, qs *= decay[0] * c.q_scale;
            for (int r = 0; r < n_row; r++) {
                ks += decay[r + 1] * kk[r] * rows_u[r][tid];
                qs += decay[r + 1] * kq[r] * rows_u[r][tid];
            }
            float u = c.beta * (v - ks);
            u_now[tid] = u;
            p.out[((int64_t)(s.tok_first + i_tok) * p.n_value_head + head) * DIM + column + tid] = qs + c.qk * u;
        }
        __syncthreads();
        if (fold && i_tok < s.n_commit) {
            update<W>(&S, expf(c.g), t.k, c.k_scale, u_now);
            __syncthreads();
            continue;
        }
        float *row = journal + n_row * NB_GDN_JOURNAL_FLOATS;
        if (tid < DIM) {
            float k = c.k_scale * t.k[tid];
            rows_k[n_row][tid] = k;
            if (column == 0) row[tid] = k;
        } else if (tid - DIM < W) {
            rows_u[n_row][tid - DIM] = u_now[tid - DIM];
            row[DIM + column + tid - DIM] = u_now[tid - DIM];
        }
        if (tid == 0) {
            rows_g[n_row] = c.g;
            if (column == 0) row[2 * DIM] = c.g;
        }
        n_row++;
        __syncthreads();
    }
    if (fold)
#pragma unroll
        for (int i = 0; i < part<W>::n_row; i++)
            __stcs((float4 *)(state + (row0 + i * part<W>::step) * DIM + c4 * 4), S.s[i]);
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
    bool narrow = p->n_seq * p->n_value_head < 4 * at->n_sm; // few blocks: smaller ones spread over the card
    dim3 grid(p->n_value_head * (narrow ? DIM / NARROW : DIM / WIDE), p->n_seq);
    NB_TRY(nb_cuda_start(at, narrow ? delta_kernel<NARROW> : delta_kernel<WIDE>, grid, THREADS, 0, err, *p));
    if (!p->long_rows) return NB_OK;
    dim3 keep(nb_ceil_div((2 * p->n_key_head + p->n_value_head) * DIM, THREADS), p->n_seq);
    return nb_cuda_start(at, keep_kernel, keep, THREADS, 0, err, *p);
}
