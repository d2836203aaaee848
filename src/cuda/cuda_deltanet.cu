// The kernels of cuda_deltanet.h. A block owns W columns of one value head of one sequence; 256 threads hold its part of S in
// registers (read before the dependency is waited for: nothing in the step but this kernel touches it).
//
// Bytes of a decode: S once (64 KiB a head), journal rows (1 KiB each), one row written; S written once in NB_JOURNAL_ROWS steps.
// Formulas: docs/numerics.md; q and k are L2-normalised, q scaled by d_key^-0.5, g = -exp(A_log) softplus(a + dt_bias),
//   S <- e^g S; u = beta (v - k S); S <- S + k u^T; o = q S
// and with the journal, G_j = e^(g_{j+1} + .. + g): k S = G_base k S_base + sum_j G_j (k . k_j) u_j.
#include "cuda/cuda_deltanet.h"

#include "cuda/cuda_source.cuh"

enum { THREADS = 256, WARPS = THREADS / 32, DIM = NB_GDN_DIM };

typedef struct token_vectors { // of the token in hand, in shared memory
    float q[DIM], k[DIM], v[DIM];
    float g, beta, qk;
} token_vectors;

__device__ static float conv_silu(const nb_cuda_gdn &p, const nb_gdn_seq &s, int i_tok, int channel, int n_channel)
{
    float y = 0;
    const uint16_t *ring = p.ring + s.slot * p.slot_halfs;
    for (int j = 0; j < p.kernel; j++) {
        int pos = s.n_past + i_tok - (p.kernel - 1) + j;
        uint16_t x = 0;
        if (pos >= s.n_past) x = p.qkv[(int64_t)(s.tok_first + pos - s.n_past) * n_channel + channel];
        else if (pos >= 0) x = ring[(pos % NB_GDN_RING) * n_channel + channel];
        y += __ldg(p.conv1d + channel * p.kernel + j) * nb_bf16_to_f32(x);
    }
    return nb_silu(y);
}

// Convolution, norms and gates of token i_tok. sums: [WARPS] shared.
template <int W>
__device__ static void prepare_token(const nb_cuda_gdn &p, const nb_gdn_seq &s, int i_tok, int head, int column, token_vectors *t,
                                     float *sums)
{
    int n_key = p.n_key_head * DIM, n_channel = 2 * n_key + p.n_value_head * DIM, tid = threadIdx.x;
    int key_head = head / (p.n_value_head / p.n_key_head), i = tid & (DIM - 1);
    float x = conv_silu(p, s, i_tok, (tid < DIM ? 0 : n_key) + key_head * DIM + i, n_channel);
    if (tid < W) t->v[tid] = conv_silu(p, s, i_tok, 2 * n_key + head * DIM + column + tid, n_channel);
    float sum = nb_warp_sum(x * x);
    if ((tid & 31) == 0) sums[tid >> 5] = sum;
    __syncthreads();
    const float *part = sums + (tid < DIM ? 0 : WARPS / 2);
    x *= rsqrtf(part[0] + part[1] + part[2] + part[3] + 1e-6f);
    if (tid < DIM) t->q[i] = x * rsqrtf((float)DIM);
    else t->k[i] = x;
    if (tid == 0) {
        const float *ba = p.ba + (int64_t)(s.tok_first + i_tok) * 2 * p.n_value_head;
        float a = ba[p.n_value_head + head] + p.dt_bias[head];
        t->g = -expf(p.A_log[head]) * (a > 20.0f ? a : log1pf(expf(a)));
        t->beta = 1.0f / (1.0f + expf(-ba[head]));
    }
    __syncthreads();
    if (tid < 32) {
        float qk = 0;
        for (int j = tid; j < DIM; j += 32) qk += t->q[j] * t->k[j];
        qk = nb_warp_sum(qk);
        if (tid == 0) t->qk = qk;
    }
}

// One thread's part of S: float4 column `c4` of rows row0, row0 + STEP, ...
template <int W> struct part {
    static constexpr int n_c4 = W / 4, step = THREADS / n_c4, n_row = DIM / step;
    float4 s[n_row];
};

// Column sums of k S and q S over the block. out: [2][W] shared; red: [WARPS][2][W] shared.
template <int W> __device__ static void project(const part<W> &p, const token_vectors *t, float *red, float *out)
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
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * W; i += THREADS) {
        float sum = 0;
        for (int w = 0; w < WARPS; w++) sum += red[w * 2 * W + i];
        out[i] = sum;
    }
    __syncthreads();
}

// S <- decay S + k u^T. u: [W] shared, k: [DIM] shared.
template <int W> __device__ static void update(part<W> *p, float decay, const float *k, const float *u)
{
    int c4 = threadIdx.x % part<W>::n_c4, row0 = threadIdx.x / part<W>::n_c4;
    float4 v = *(const float4 *)(u + c4 * 4);
#pragma unroll
    for (int i = 0; i < part<W>::n_row; i++) {
        float kk = k[row0 + i * part<W>::step];
        p->s[i].x = decay * p->s[i].x + kk * v.x, p->s[i].y = decay * p->s[i].y + kk * v.y;
        p->s[i].z = decay * p->s[i].z + kk * v.z, p->s[i].w = decay * p->s[i].w + kk * v.w;
    }
}

template <int W> __global__ void __launch_bounds__(THREADS, W > 32 ? 2 : 4) delta_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    __shared__ token_vectors t;
    __shared__ __align__(16) float rows_k[NB_JOURNAL_ROWS][DIM], rows_u[NB_JOURNAL_ROWS][W], rows_g[NB_JOURNAL_ROWS];
    __shared__ float red[WARPS * 2 * W], sums[WARPS], kk[NB_JOURNAL_ROWS], kq[NB_JOURNAL_ROWS], decay[NB_JOURNAL_ROWS + 1];
    __shared__ __align__(16) float col[2 * W], u_now[W];
    constexpr int slices = DIM / W;
    int head = blockIdx.x / slices, column = blockIdx.x % slices * W, tid = threadIdx.x, warp = tid >> 5, lane = tid & 31;
    nb_grid_release();
    nb_gdn_seq s = p.seq[blockIdx.y];
    float *state = p.state + s.slot * p.slot_floats + (int64_t)head * DIM * DIM + column;
    float *journal = p.journal + s.slot * p.slot_floats + (int64_t)head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
    int c4 = tid % part<W>::n_c4, row0 = tid / part<W>::n_c4, n_row = s.n_keep, done = 0;
    part<W> S;
#pragma unroll
    for (int i = 0; i < part<W>::n_row; i++)
        S.s[i] = s.n_past == s.n_keep ? make_float4(0, 0, 0, 0)
                               : __ldcs((const float4 *)(state + (row0 + i * part<W>::step) * DIM + c4 * 4));
#pragma unroll 4
    for (int i = tid; i < n_row * DIM / 4; i += THREADS)
        *(float4 *)&rows_k[0][4 * i] = *(const float4 *)(journal + 4 * i / DIM * NB_GDN_JOURNAL_FLOATS + 4 * i % DIM);
    for (int i = tid; i < n_row * W / 4; i += THREADS)
        *(float4 *)&rows_u[0][4 * i] = *(const float4 *)(journal + 4 * i / W * NB_GDN_JOURNAL_FLOATS + DIM + column + 4 * i % W);
    if (tid < n_row) rows_g[tid] = journal[tid * NB_GDN_JOURNAL_FLOATS + 2 * DIM];
    __syncthreads();
    bool fold = s.n_commit >= 0;
    if (fold) { // the journal goes into S first
        for (int r = 0; r < n_row; r++) update<W>(&S, expf(rows_g[r]), rows_k[r], rows_u[r]);
        n_row = 0;
    }
    nb_grid_wait();
    for (int i_tok = 0; i_tok < s.n_new; i_tok++) {
        __syncthreads();
        prepare_token<W>(p, s, i_tok, head, column, &t, sums);
        for (int r = warp; r < n_row; r += WARPS) {
            float a = 0, b = 0;
            for (int j = lane; j < DIM; j += 32) a += rows_k[r][j] * t.k[j], b += rows_k[r][j] * t.q[j];
            a = nb_warp_sum(a), b = nb_warp_sum(b);
            if (lane == 0) kk[r] = a, kq[r] = b;
        }
        if (tid == THREADS - 1) {
            float g = t.g;
            for (int r = n_row - 1; r >= 0; r--) decay[r + 1] = expf(g), g += rows_g[r];
            decay[0] = expf(g);
        }
        project<W>(S, &t, red, col);
        if (tid < W) {
            float ks = decay[0] * col[tid], qs = decay[0] * col[W + tid];
            for (int r = 0; r < n_row; r++) {
                ks += decay[r + 1] * kk[r] * rows_u[r][tid];
                qs += decay[r + 1] * kq[r] * rows_u[r][tid];
            }
            float u = t.beta * (t.v[tid] - ks);
            u_now[tid] = u;
            p.out[((int64_t)(s.tok_first + i_tok) * p.n_value_head + head) * DIM + column + tid] = qs + t.qk * u;
        }
        __syncthreads();
        if (fold && i_tok < s.n_commit) {
            update<W>(&S, expf(t.g), t.k, u_now);
            done++;
            continue;
        }
        float *row = journal + n_row * NB_GDN_JOURNAL_FLOATS;
        if (tid < DIM) {
            rows_k[n_row][tid] = t.k[tid];
            if (column == 0) row[tid] = t.k[tid];
        } else if (tid - DIM < W) {
            rows_u[n_row][tid - DIM] = u_now[tid - DIM];
            row[DIM + column + tid - DIM] = u_now[tid - DIM];
        }
        if (tid == 0) {
            rows_g[n_row] = t.g;
            if (column == 0) row[2 * DIM] = t.g;
        }
        n_row++;
    }
    if (fold)
#pragma unroll
        for (int i = 0; i < part<W>::n_row; i++)
            __stcs((float4 *)(state + (row0 + i * part<W>::step) * DIM + c4 * 4), S.s[i]);
    if (p.long_rows) return; // keep_kernel writes the ring
    int n_key = p.n_key_head * DIM, n_channel = 2 * n_key + p.n_value_head * DIM, ratio = p.n_value_head / p.n_key_head;
    uint16_t *ring = p.ring + s.slot * p.slot_halfs;
    for (int i_tok = 0; i_tok < s.n_new; i_tok++) {
        int64_t from = (int64_t)(s.tok_first + i_tok) * n_channel, to = (int64_t)((s.n_past + i_tok) % NB_GDN_RING) * n_channel;
        int channel = 2 * n_key + head * DIM + column + tid, key = (tid < DIM ? 0 : n_key) + head / ratio * DIM + (tid & (DIM - 1));
        if (tid < W) ring[to + channel] = p.qkv[from + channel];
        if (column == 0 && head % ratio == 0) ring[to + key] = p.qkv[from + key];
    }
}

// The last raw inputs of each sequence into the ring: apart from delta_kernel, whose blocks still read the ring.
__global__ void keep_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    nb_grid_release();
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
