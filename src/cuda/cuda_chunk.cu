// The kernels of cuda_chunk.h. What prepare_kernel leaves for the walk lies in memory as the walk's shared memory holds
// it: panels of cuda_wgmma.cuh and accumulators in a lane's order, so that a chunk is copied in three pieces.
//
// The walk keeps S^T, 64 columns of v by all of k, in the registers of a warpgroup, a warp 16 columns of v.
// Accumulators of one product are the left side of the next without leaving their lane:
//   n^T = U^T - S^T W^T;  o^T = e^G S^T q^T + n^T (q k^T)^T;  S^T <- e^(G_last) S^T + (decayed n)^T k
// so nothing but the right sides (q, k, W, their products) is read from shared memory and no warp waits for another.
//
// Bytes of a chunk and value head: 32 KiB of q and k (of a key head), 40.5 KiB of W, U, products and decays, written
// and read once; 32 KiB of outputs. Operations of the walk: 64 * 128 * (3 * 128 + 64) * 2.
#include "cuda/cuda_chunk.h"

#include "cuda/cuda_source.cuh"
#include "cuda/cuda_wgmma.cuh"

enum {
    THREADS = 256, // of prepare_kernel
    DIM = NB_GDN_DIM,
    CHUNK = NB_GDN_CHUNK,
    HALF = CHUNK / 2,
    TAPS = NB_GDN_KERNEL - 1, // tokens before a chunk that its convolution reads
    SLICE = 64,               // columns of v that a block of walk_kernel owns
    STAGES = 3,               // of its ring
    CHUNKS_AHEAD = 6,         // chunks that are brought into L2 before they are copied
    LD_HALF = DIM + 8,        // rows in shared memory: padded so that fragments meet no bank twice
    LD_ROW = DIM + 4,
    LD_A = CHUNK + 4,
    WALK_THREADS = NB_WARPGROUP + 32,
    N_PANEL = DIM / NB_PANEL_K,         // panels of a row of DIM values
    PANEL_BYTES = CHUNK * NB_PANEL_ROW, // of CHUNK rows
};

// What the walk reads of a chunk. Right sides of products are rows of F16 along k in panels.
typedef struct key_part {
    uint8_t q[N_PANEL][PANEL_BYTES]; // [CHUNK][DIM]
    uint8_t k[DIM * NB_PANEL_ROW];   // [DIM][CHUNK]: transposed
} key_part;

typedef struct value_part {
    uint8_t w[N_PANEL][PANEL_BYTES]; // [CHUNK][DIM]: -W
    uint8_t qk[PANEL_BYTES];         // [CHUNK][CHUNK]: (q_i . k_j) e^(G_i - G_j)
    float until[CHUNK], from[CHUNK]; // e^(G_i), e^(G_last - G_i)
} value_part;

// U^T of a warp of the walk as F16: 16 columns of v by CHUNK tokens, a lane's accumulators four words at a time.
typedef struct u_part {
    uint4 piece[CHUNK / 16][32];
} u_part;

typedef struct scratch { // [n_chunk] each
    key_part *key;       // [n_key_head]
    value_part *value;   // [n_value_head]
    u_part *u;           // [n_value_head][DIM / 16]
} scratch;

static int chunks_max(int n_tok)
{
    return 2 * nb_ceil_div(n_tok, CHUNK) + 1; // NB_GDN_CHUNKED_MIN is half a chunk
}

static scratch carve(void *at, int n_chunk, int n_key_head, int n_value_head)
{
    scratch s;
    s.key = (key_part *)at, s.value = (value_part *)(s.key + (int64_t)n_chunk * n_key_head);
    s.u = (u_part *)(s.value + (int64_t)n_chunk * n_value_head);
    return s;
}

int64_t nb_gdn_chunk_bytes(int n_tok, int n_key_head, int n_value_head)
{
    int64_t key = sizeof(key_part), value = sizeof(value_part) + DIM / 16 * sizeof(u_part);
    return chunks_max(n_tok) * (n_key_head * key + n_value_head * value);
}

// e^x and x / (1 + e^-x) by the fewest instructions.
__device__ __forceinline__ static float fast_exp(float x)
{
    return nb_exp2(x * 1.44269504f);
}

__device__ __forceinline__ static float fast_silu(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0f + fast_exp(-x)));
    return x * y;
}

__device__ __forceinline__ static uint32_t pack_f16(float low, float high)
{
    __half2 v = __floats2half2_rn(low, high);
    return *(uint32_t *)&v;
}

// Four 8 x 8 matrices of 16 bits; lane l gives the address of row l % 8 of matrix l / 8.
template <bool TRANSPOSED> __device__ __forceinline__ static void load_matrices(uint32_t r[4], const __half *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at));
}

// Raw input of `channel` at token i of the sequence: before its new tokens from the ring, before its first zero.
__device__ __forceinline__ static const uint16_t *raw_input(const nb_cuda_gdn &p, const nb_gdn_seq &s, int i,
                                                            int n_channel)
{
    if (i >= 0) return p.qkv + (int64_t)(s.tok_first + i) * n_channel;
    int pos = s.n_past + i;
    return pos < 0 ? NULL : p.ring + s.slot * p.slot_halfs + (int64_t)(pos % NB_GDN_RING) * n_channel;
}

// Convolution and silu of two channels for N tokens from `first` on of a chunk of n, to keep(i, two values). What comes
// out behind the chunk counts nowhere, since beta is zero there.
template <int N, class F>
__device__ __forceinline__ static void convolve_pair(const nb_cuda_gdn &p, const nb_gdn_seq &s, int chunk_first, int n,
                                                     int first, int channel, int n_channel, F keep)
{
    float4 w0 = __ldg((const float4 *)(p.conv1d + channel * NB_GDN_KERNEL)),
           w1 = __ldg((const float4 *)(p.conv1d + (channel + 1) * NB_GDN_KERNEL));
    const uint16_t *in = p.qkv + (int64_t)(s.tok_first + chunk_first + first) * n_channel + channel;
    uint32_t raw[N + TAPS];
#pragma unroll
    for (int i = 0; i < N + TAPS; i++) {
        bool before = i < TAPS && chunk_first + first + i < TAPS;
        raw[i] = !before && first + i - TAPS < n ? *(const uint32_t *)(in + (int64_t)(i - TAPS) * n_channel) : 0;
    }
    for (int i = 0; chunk_first + first + i < TAPS; i++) {
        const uint16_t *row = raw_input(p, s, i - TAPS, n_channel);
        uint32_t v = row ? *(const uint32_t *)(row + channel) : 0;
        i == 0 ? raw[0] = v : i == 1 ? raw[1] = v : raw[2] = v;
    }
    float2 x[N + TAPS];
#pragma unroll
    for (int i = 0; i < N + TAPS; i++)
        x[i] = make_float2(nb_f32_from_bits(raw[i] << 16), nb_f32_from_bits(raw[i] & 0xffff0000u));
#pragma unroll
    for (int i = 0; i < N; i++) {
        float2 y = make_float2(w0.x * x[i].x + w0.y * x[i + 1].x + w0.z * x[i + 2].x + w0.w * x[i + 3].x,
                               w1.x * x[i].y + w1.y * x[i + 1].y + w1.z * x[i + 2].y + w1.w * x[i + 3].y);
        keep(i, make_float2(fast_silu(y.x), fast_silu(y.y)));
    }
}

__device__ __forceinline__ static void prefetch(const void *line)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(line));
}

// Brings a chunk's k and v, which are convolved after q, into L2, 64 channels of a token a line: without it each
// convolution would wait for memory.
__device__ static void prefetch_inputs(const nb_cuda_gdn &p, int tok_first, int n, int head, int ratio, int n_channel)
{
    enum { LINE = 64, LINES = DIM / LINE };
    int n_key = p.n_key_head * DIM, n_line = LINES * (1 + ratio);
    for (int j = threadIdx.x; j < n * n_line; j += THREADS) {
        int line = j % n_line, key = n_key + head * DIM, value = 2 * n_key + head * ratio * DIM;
        int channel = line < LINES ? key + line * LINE : value + (line - LINES) * LINE;
        prefetch(p.qkv + (int64_t)(tok_first + j / n_line) * n_channel + channel);
    }
}

// One vector a row, L2-normalised and scaled, to F16: shared memory and, if given, panels.
__device__ static void normalise(const float *rows, float scale, __half *to, uint8_t (*panels)[PANEL_BYTES])
{
    enum { WARPS = THREADS / 32, ROWS = CHUNK / WARPS };
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    float4 v[ROWS];
    float sum[ROWS];
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        v[j] = *(const float4 *)(rows + (warp + j * WARPS) * LD_ROW + lane * 4);
        sum[j] = nb_square_sum(v[j]);
    }
#pragma unroll
    for (int o = 16; o; o >>= 1)
#pragma unroll
        for (int j = 0; j < ROWS; j++) sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], o);
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
        int i = warp + j * WARPS;
        float f = rsqrtf(sum[j] + 1e-6f) * scale;
        uint2 h = make_uint2(pack_f16(v[j].x * f, v[j].y * f), pack_f16(v[j].z * f, v[j].w * f));
        *(uint2 *)(to + i * LD_HALF + lane * 4) = h;
        if (panels) *(uint2 *)(panels[lane / 16] + nb_swizzle(i, lane % 16 / 2) + lane % 2 * 8) = h;
    }
}

// k [CHUNK][LD_HALF] transposed to its panel: 16 rows a warp.
__device__ static void store_transposed(const __half *k, uint8_t *panel)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        int row = warp * 16 + j / 2 * 8, tok = j % 2 * 32;
        uint32_t v[4];
        load_matrices<true>(v, k + (tok + lane) * LD_HALF + row);
        nb_transpose_quad(v);
        *(uint4 *)(panel + nb_swizzle(row + (lane >> 2), tok / 8 + (lane & 3))) = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

// A warp's 16 x 64 sums as F16 to rows row .. of a panel.
__device__ __forceinline__ static void store_rows(const float c[8][4], int row, uint8_t *panel)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t v[4];
#pragma unroll
            for (int q = 0; q < 4; q++) v[q] = pack_f16(c[4 * half + q][2 * h], c[4 * half + q][2 * h + 1]);
            nb_transpose_quad(v);
            *(uint4 *)(panel + nb_swizzle(row + 8 * h + (lane >> 2), 4 * half + (lane & 3))) =
                make_uint4(v[0], v[1], v[2], v[3]);
        }
}

typedef struct gates {                            // of a value head
    float sum[CHUNK], beta[CHUNK], weight[CHUNK]; // G, beta, -beta e^G
} gates;

// By one warp, two tokens a lane.
__device__ static void make_gates(const nb_cuda_gdn &p, int head, int tok_first, int n, gates *gate, value_part *out)
{
    int lane = threadIdx.x & 31;
    float rate = expf(__ldg(p.A_log + head)), dt_bias = __ldg(p.dt_bias + head), g[2], beta[2];
#pragma unroll
    for (int j = 0; j < 2; j++) {
        int i = 2 * lane + j;
        const float *ba = p.ba + (int64_t)(tok_first + min(i, n - 1)) * 2 * p.n_value_head + head;
        float a = ba[p.n_value_head] + dt_bias;
        g[j] = i < n ? -rate * (a > 20.0f ? a : log1pf(expf(a))) : 0.0f;
        beta[j] = i < n ? 1.0f / (1.0f + expf(-ba[0])) : 0.0f;
    }
    float sum = g[0] + g[1];
    for (int o = 1; o < 32; o *= 2) {
        float before = __shfl_up_sync(0xffffffffu, sum, o);
        if (lane >= o) sum += before;
    }
    float last = __shfl_sync(0xffffffffu, sum, 31), first = sum - g[1];
    float2 until = make_float2(expf(first), expf(sum));
    ((float2 *)gate->sum)[lane] = make_float2(first, sum);
    ((float2 *)gate->beta)[lane] = make_float2(beta[0], beta[1]);
    ((float2 *)gate->weight)[lane] = make_float2(-beta[0] * until.x, -beta[1] * until.y);
    ((float2 *)out->until)[lane] = until;
    ((float2 *)out->from)[lane] = make_float2(expf(last - first), expf(last - sum));
}

// Column `column` of (I + A)^-1 for a diagonal half, A strictly lower triangular, in its place: x_i = [i = column] -
// sum_{j < i} A_ij x_j. By one warp.
__device__ static void invert_half(float *a, int column)
{
    float x[HALF];
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        float y[4] = {i == column ? 1.0f : 0.0f, 0, 0, 0};
#pragma unroll
        for (int j = 0; j < i; j += 4) {
            float4 v = *(const float4 *)(a + i * LD_A + j); // zero from the diagonal on
            y[0] -= v.x * x[j];
            if (j + 1 < i) y[1] -= v.y * x[j + 1];
            if (j + 2 < i) y[2] -= v.z * x[j + 2];
            if (j + 3 < i) y[3] -= v.w * x[j + 3];
        }
        x[i] = (y[0] + y[1]) + (y[2] + y[3]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < HALF; i++) a[i * LD_A + column] = x[i];
}

// y[8] = row `row` of a times 8 columns of b, both HALF x HALF, over k_first .. k_end - 1.
__device__ __forceinline__ static void multiply_half(const float *a, const float *b, int row, int column, int k_first,
                                                     int k_end, float y[8])
{
#pragma unroll 2
    for (int k = k_first; k < k_end; k += 4) {
        float4 four = *(const float4 *)(a + row * LD_A + k);
        const float v[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float4 *right = (const float4 *)(b + (k + i) * LD_A + column);
            float4 low = right[0], high = right[1];
            y[0] += v[i] * low.x, y[1] += v[i] * low.y, y[2] += v[i] * low.z, y[3] += v[i] * low.w;
            y[4] += v[i] * high.x, y[5] += v[i] * high.y, y[6] += v[i] * high.z, y[7] += v[i] * high.w;
        }
    }
}

// T = (I + A)^-1 in the place of A: the halves of the diagonal, T11 and T22, then T21 = -T22 (A21 T11). Of the first
// product a warp takes 8 columns, of the second 8 rows, so that it can leave out what is zero in T11 and T22. By 128
// threads, t: which; all threads of the block come here for the barriers. a: [CHUNK][LD_A].
__device__ static void invert(float *a, int t, bool active)
{
    int row = t / 4, column = t % 4 * 8, warp = t / 32;
    float *a21 = a + HALF * LD_A, y[8] = {}, z[8] = {};
    if (active && t < CHUNK) invert_half(a + t / HALF * HALF * (LD_A + 1), t % HALF);
    __syncthreads();
    if (active) multiply_half(a21, a, t % 32, warp * 8, warp * 8, HALF, y);
    __syncthreads();
    if (active)
#pragma unroll
        for (int i = 0; i < 8; i++) a21[t % 32 * LD_A + warp * 8 + i] = y[i];
    __syncthreads();
    if (active) multiply_half(a21 + HALF, a21, row, column, 0, warp * 8 + 8, z);
    __syncthreads();
    if (active)
#pragma unroll
        for (int i = 0; i < 8; i++) a21[row * LD_A + column + i] = -z[i];
}

typedef struct prepare_shared {
    __half q[CHUNK * LD_HALF], k[CHUNK * LD_HALF]; // q, then beta v of the first of two heads
    __half v[CHUNK * LD_HALF];                     // of the second
    float rows[2 * CHUNK * LD_A];                  // convolved rows [CHUNK][LD_ROW], then A and T of two heads
    gates gate[2];
} prepare_shared;

// Rows 16 * (warp % 4) .. of k k^T (warps 0..3) or q k^T (4..7); c: 8 column tiles.
__device__ static void key_products(const prepare_shared *x, float c[8][4])
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, row = warp % 4 * 16;
    const __half *left = warp < 4 ? x->k : x->q;
#pragma unroll
    for (int s = 0; s < DIM / 16; s++) {
        uint32_t a[4];
        load_matrices<false>(a, left + (row + (lane & 15)) * LD_HALF + s * 16 + (lane >> 4) * 8);
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
            uint32_t b[4];
            load_matrices<false>(b, x->k + (n * 8 + (lane >> 4) * 8 + (lane & 7)) * LD_HALF + s * 16 +
                                        (lane >> 3 & 1) * 8);
            nb_mma<true>(c[n], a, b[0], b[1]);
            nb_mma<true>(c[n + 1], a, b[2], b[3]);
        }
    }
}

// Of one value head: A to shared memory (warps 0..3), the decayed products of q and k to their panel (4..7).
__device__ static void decay_products(const float c[8][4], const gates *gate, float *a, uint8_t *qk)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    float y[8][4];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = warp % 4 * 16 + 8 * h + g;
        float sum = gate->sum[i], beta = gate->beta[i];
#pragma unroll
        for (int n = 0; n < 8; n++) {
            int j = n * 8 + 2 * t;
            float2 before = *(const float2 *)(gate->sum + j);
            y[n][2 * h] = j <= i ? c[n][2 * h] * fast_exp(sum - before.x) : 0.0f;
            y[n][2 * h + 1] = j + 1 <= i ? c[n][2 * h + 1] * fast_exp(sum - before.y) : 0.0f;
            if (warp < 4)
                *(float2 *)(a + i * LD_A + j) =
                    make_float2(j < i ? beta * y[n][2 * h] : 0.0f, j + 1 < i ? beta * y[n][2 * h + 1] : 0.0f);
        }
    }
    if (warp >= 4) store_rows(y, warp % 4 * 16, qk);
}

// U^T = (beta v)^T T^T: 16 columns of v a warp. T is lower triangular.
__device__ static void store_u(const __half *v, const float *inverse, u_part *out)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    float c[8][4] = {};
#pragma unroll
    for (int s = 0; s < CHUNK / 16; s++) {
        uint32_t a[4];
        load_matrices<true>(a, v + (s * 16 + (lane >> 4) * 8 + (lane & 7)) * LD_HALF + warp * 16 + (lane >> 3 & 1) * 8);
#pragma unroll
        for (int n = 2 * s; n < 8; n++) {
            const float *row = inverse + (n * 8 + g) * LD_A + s * 16 + 2 * t;
            float2 low = *(const float2 *)row, high = *(const float2 *)(row + 8);
            nb_mma<true>(c[n], a, pack_f16(low.x, low.y), pack_f16(high.x, high.y));
        }
    }
#pragma unroll
    for (int i = 0; i < CHUNK / 16; i++)
        out[warp].piece[i][lane] =
            make_uint4(pack_f16(c[2 * i][0], c[2 * i][1]), pack_f16(c[2 * i][2], c[2 * i][3]),
                       pack_f16(c[2 * i + 1][0], c[2 * i + 1][1]), pack_f16(c[2 * i + 1][2], c[2 * i + 1][3]));
}

// -W = T diag(-beta e^G) k: 16 rows and half of the columns a warp.
__device__ static void store_w(const __half *k, const float *inverse, const float *weight,
                               uint8_t (*panels)[PANEL_BYTES])
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, row = warp % 4 * 16;
    float c[8][4] = {};
#pragma unroll 1
    for (int s = 0; s <= warp % 4; s++) {
        uint32_t a[4];
        const __half *rows = k + (s * 16 + (lane & 15)) * LD_HALF + warp / 4 * NB_PANEL_K + (lane >> 4) * 8;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int j = s * 16 + (i >> 1) * 8 + 2 * t;
            float2 x = *(const float2 *)(inverse + (row + (i & 1) * 8 + g) * LD_A + j),
                   f = *(const float2 *)(weight + j);
            a[i] = pack_f16(x.x * f.x, x.y * f.y);
        }
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
            uint32_t b[4];
            load_matrices<true>(b, rows + n * 8);
            nb_mma<true>(c[n], a, b[0], b[1]);
            nb_mma<true>(c[n + 1], a, b[2], b[3]);
        }
    }
    store_rows(c, row, panels[warp / 4]);
}

// Block (key head, chunk).
__global__ void __launch_bounds__(THREADS, 2) prepare_kernel(const __grid_constant__ nb_cuda_gdn p, scratch to)
{
    extern __shared__ __align__(16) uint8_t smem[];
    prepare_shared *x = (prepare_shared *)smem;
    nb_grid_release();
    nb_grid_wait();
    nb_gdn_chunk chunk = p.chunk[blockIdx.y];
    nb_gdn_seq s = p.seq[chunk.seq];
    int head = blockIdx.x, n_key = p.n_key_head * DIM, n_channel = 2 * n_key + p.n_value_head * DIM;
    int ratio = p.n_value_head / p.n_key_head, n = min(CHUNK, s.n_new - chunk.first), warp = threadIdx.x >> 5;
    int column = (threadIdx.x & 63) * 2, first = (threadIdx.x >> 6) * 16; // a thread's part of a convolution
    key_part *key = to.key + (int64_t)blockIdx.y * p.n_key_head + head;
    prefetch_inputs(p, s.tok_first + chunk.first, n, head, ratio, n_channel);
    for (int which = 0; which < 2; which++) {
        convolve_pair<16>(p, s, chunk.first, n, first, which * n_key + head * DIM + column, n_channel,
                          [&](int i, float2 y) { *(float2 *)(x->rows + (first + i) * LD_ROW + column) = y; });
        __syncthreads();
        normalise(x->rows, which ? 1.0f : rsqrtf((float)DIM), which ? x->k : x->q, which ? NULL : key->q);
        __syncthreads();
    }
    store_transposed(x->k, key->k);
    float c[8][4] = {};
    key_products(x, c);
    for (int r = 0; r < ratio; r += 2) {
        int n_head = min(2, ratio - r), half = threadIdx.x / (THREADS / 2), value_head = head * ratio + r;
        int64_t at = (int64_t)blockIdx.y * p.n_value_head + value_head;
        if (warp < n_head)
            make_gates(p, value_head + warp, s.tok_first + chunk.first, n, &x->gate[warp], to.value + at + warp);
        __syncthreads();
        for (int h = 0; h < n_head; h++) {
            __half *v = h ? x->v : x->q;
#pragma unroll 1
            for (int i0 = first; i0 < first + 16; i0 += 8)
                convolve_pair<8>(p, s, chunk.first, n, i0, 2 * n_key + (value_head + h) * DIM + column, n_channel,
                                 [&](int i, float2 y) {
                                     float beta = x->gate[h].beta[i0 + i];
                                     *(uint32_t *)(v + (i0 + i) * LD_HALF + column) = pack_f16(beta * y.x, beta * y.y);
                                 });
            decay_products(c, &x->gate[h], x->rows + h * CHUNK * LD_A, to.value[at + h].qk);
        }
        __syncthreads();
        invert(x->rows + half * CHUNK * LD_A, threadIdx.x % (THREADS / 2), half < n_head);
        __syncthreads();
        for (int h = 0; h < n_head; h++) {
            const float *inverse = x->rows + h * CHUNK * LD_A;
            store_u(h ? x->v : x->q, inverse, to.u + (at + h) * (DIM / 16));
            store_w(x->k, inverse, x->gate[h].weight, to.value[at + h].w);
        }
        __syncthreads();
    }
}

typedef struct __align__(1024) walk_stage
{ // one chunk's share of a block
    key_part key;
    value_part value;
    u_part u[SLICE / 16];
}
walk_stage;

typedef struct walk {
    nb_gdn_seq s;
    int head, column, n_chunk;
    const key_part *key;     // of its first chunk
    const value_part *value; // likewise
    const u_part *u;
} walk;

// Block (value head and slice, chunked sequence).
__device__ static walk open_walk(const nb_cuda_gdn &p, const scratch &from)
{
    nb_gdn_walk which = p.walk[blockIdx.y];
    walk w;
    w.s = p.seq[which.seq], w.n_chunk = (w.s.n_new + CHUNK - 1) / CHUNK;
    w.head = blockIdx.x / (DIM / SLICE), w.column = blockIdx.x % (DIM / SLICE) * SLICE;
    w.key = from.key + (int64_t)which.chunk_first * p.n_key_head + w.head / (p.n_value_head / p.n_key_head);
    int64_t value = (int64_t)which.chunk_first * p.n_value_head + w.head;
    w.value = from.value + value, w.u = from.u + value * (DIM / 16) + w.column / 16;
    return w;
}

// The pieces of chunk i: f(place in a stage, source, bytes).
template <class F> __device__ __forceinline__ static void each_piece(const nb_cuda_gdn &p, const walk &w, int i, F f)
{
    f(offsetof(walk_stage, key), w.key + (int64_t)i * p.n_key_head, (int)sizeof(key_part));
    f(offsetof(walk_stage, value), w.value + (int64_t)i * p.n_value_head, (int)sizeof(value_part));
    f(offsetof(walk_stage, u), w.u + (int64_t)i * p.n_value_head * (DIM / 16), (int)sizeof(u_part) * SLICE / 16);
}

#if NB_HAVE_WGMMA
// By one lane. A chunk is brought into L2 long before there is room for it.
__device__ static void fill_ring(const nb_cuda_gdn &p, const walk &w, walk_stage *stage, uint64_t *full,
                                 uint64_t *empty)
{
    nb_fence_async_global();
    for (int i = 0; i < w.n_chunk; i++) {
        int slot = i % STAGES;
        nb_barrier_wait(&empty[slot], i / STAGES & 1 ^ 1);
        nb_barrier_expect(&full[slot], sizeof(key_part) + sizeof(value_part) + sizeof(u_part) * SLICE / 16);
        each_piece(p, w, i, [&](uint32_t at, const void *piece, int n_byte) {
            nb_copy_bulk(nb_shared_at(&stage[slot]) + at, piece, n_byte, &full[slot]);
        });
        if (i + CHUNKS_AHEAD < w.n_chunk)
            each_piece(p, w, i + CHUNKS_AHEAD,
                       [](uint32_t, const void *piece, int n_byte) { nb_prefetch_bulk(piece, n_byte); });
    }
}
#endif

// Sums of a product with N columns as the left side of the next: two of its columns a register.
template <int N> __device__ __forceinline__ static void pack_left(uint32_t a[N / 16][4], const float c[N / 2])
{
#pragma unroll
    for (int i = 0; i < N / 16; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *v = c + (2 * i + (j >> 1)) * 4 + (j & 1) * 2;
            a[i][j] = pack_f16(v[0], v[1]);
        }
}

// c[64][N] (+)= a[64][K] panels[N][K]^T, a warp 16 rows. WGMMA: in flight when it returns.
template <bool WGMMA, int N, int K>
__device__ __forceinline__ static void multiply(float c[N / 2], const uint32_t a[K / 16][4], const uint8_t *panels,
                                                bool add)
{
    int lane = threadIdx.x & 31;
#if NB_HAVE_WGMMA
    if constexpr (WGMMA) {
        nb_wgmma_fence();
#pragma unroll
        for (int s = 0; s < K / 16; s++)
            nb_wgmma<N, true>(c, a[s], nb_panel(nb_shared_at(panels + s / 4 * N * NB_PANEL_ROW)) + s % 4 * 2, add || s);
        nb_wgmma_commit();
        return;
    }
#endif
    if (!add)
#pragma unroll
        for (int j = 0; j < N / 2; j++) c[j] = 0;
#pragma unroll
    for (int s = 0; s < K / 16; s++)
#pragma unroll
        for (int n = 0; n < N / 8; n += 2) {
            uint32_t b[4];
            int row = n * 8 + (lane >> 4) * 8 + (lane & 7), chunk = s % 4 * 2 + (lane >> 3 & 1);
            load_matrices<false>(b, (const __half *)(panels + s / 4 * N * NB_PANEL_ROW + nb_swizzle(row, chunk)));
            nb_mma<true>(c + 4 * n, a[s], b[0], b[1]);
            nb_mma<true>(c + 4 * n + 4, a[s], b[2], b[3]);
        }
}

// All products but the last N are done.
template <bool WGMMA, int N> __device__ __forceinline__ static void settle(void)
{
#if NB_HAVE_WGMMA
    if constexpr (WGMMA) nb_wgmma_wait<N>();
#endif
}

// c[j] *= factor of its column.
__device__ __forceinline__ static void scale_columns(float c[CHUNK / 2], const float *factor)
{
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        float2 f = *(const float2 *)(factor + n * 8 + 2 * (threadIdx.x & 3));
        c[4 * n] *= f.x, c[4 * n + 1] *= f.y, c[4 * n + 2] *= f.x, c[4 * n + 3] *= f.y;
    }
}

// o^T = c * factor of its column + d, of chunk i. Eight lanes store 32 bytes of a token.
__device__ __forceinline__ static void store_outputs(const nb_cuda_gdn &p, const walk &w, int i, int column,
                                                     const float c[CHUNK / 2], const float *factor,
                                                     const float d[CHUNK / 2])
{
    int first = i * CHUNK + 2 * (threadIdx.x & 3), left = w.s.n_new - first;
    int64_t stride = (int64_t)p.n_value_head * DIM;
    float *out = p.out + (w.s.tok_first + first) * stride + w.head * DIM + column;
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++, out += 8 * stride) {
        float2 f = *(const float2 *)(factor + first - i * CHUNK + n * 8);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (n * 8 + (j & 1) < left)
                out[(j & 1) * stride + 8 * (j >> 1)] = c[4 * n + j] * (j & 1 ? f.y : f.x) + d[4 * n + j];
    }
}

__device__ __forceinline__ static void load_u(float n[CHUNK / 2], const u_part *u)
{
    int warp = threadIdx.x >> 5 & 3, lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < CHUNK / 16; i++) {
        uint4 raw = u[warp].piece[i][lane];
        const uint32_t *v = (const uint32_t *)&raw;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float2 y = __half22float2(*(const __half2 *)&v[j]);
            n[8 * i + 2 * j] = y.x, n[8 * i + 2 * j + 1] = y.y;
        }
    }
}

// A lane's part of S: columns `column` and + 8 of v, of k 2 * (lane % 4) and + 1 of each eight. The journal goes in.
__device__ static void load_state(const nb_cuda_gdn &p, const walk &w, const float *state, int column, float s[DIM / 2])
{
    int row = 2 * (threadIdx.x & 3);
    const float *journal =
        p.journal + w.s.slot * p.slot_floats + (int64_t)w.head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
#pragma unroll
    for (int j = 0; j < DIM / 2; j++)
        s[j] = w.s.n_past == w.s.n_keep ? 0.0f : state[(j / 4 * 8 + row + (j & 1)) * DIM + column + 8 * (j >> 1 & 1)];
    for (int r = 0; r < w.s.n_keep; r++, journal += NB_GDN_JOURNAL_FLOATS) {
        float decay = expf(journal[2 * DIM]), u[2] = {journal[DIM + column], journal[DIM + column + 8]};
#pragma unroll
        for (int j = 0; j < DIM / 2; j++) s[j] = decay * s[j] + journal[j / 4 * 8 + row + (j & 1)] * u[j >> 1 & 1];
    }
}

__device__ static void store_state(float *state, int column, const float s[DIM / 2])
{
    int row = 2 * (threadIdx.x & 3);
#pragma unroll
    for (int j = 0; j < DIM / 2; j++) state[(j / 4 * 8 + row + (j & 1)) * DIM + column + 8 * (j >> 1 & 1)] = s[j];
}

__device__ __forceinline__ static void decay_state(float s[DIM / 2], float decay)
{
#pragma unroll
    for (int j = 0; j < DIM / 2; j++) s[j] *= decay;
}

// All chunks by one warpgroup. take(i) waits for a chunk and gives it (behind the last: that one again), give(i) says
// that the chunk was read. While a product runs, what the one before left is made ready for the next.
template <bool WGMMA, class TAKE, class GIVE>
__device__ __forceinline__ static void walk_chunks(const nb_cuda_gdn &p, const walk &w, TAKE take, GIVE give)
{
    int column = w.column + (threadIdx.x >> 5 & 3) * 16 + ((threadIdx.x & 31) >> 2);
    float *state = p.state + w.s.slot * p.slot_floats + (int64_t)w.head * DIM * DIM;
    float s[DIM / 2], n[CHUNK / 2], of_state[CHUNK / 2], of_chunk[CHUNK / 2];
    uint32_t left[DIM / 16][4], left_n[CHUNK / 16][4], left_decayed[CHUNK / 16][4];
    load_state(p, w, state, column, s);
    const walk_stage *x = take(0);
    load_u(n, x->u);
    for (int i = 0; i < w.n_chunk; i++) {
        pack_left<DIM>(left, s);
        decay_state(s, x->value.until[CHUNK - 1]);
        multiply<WGMMA, CHUNK, DIM>(n, left, x->value.w[0], true);
        settle<WGMMA, 0>();
        multiply<WGMMA, CHUNK, DIM>(of_state, left, x->key.q[0], false);
        pack_left<CHUNK>(left_n, n);
        multiply<WGMMA, CHUNK, CHUNK>(of_chunk, left_n, x->value.qk, false);
        scale_columns(n, x->value.from);
        pack_left<CHUNK>(left_decayed, n);
        multiply<WGMMA, DIM, CHUNK>(s, left_decayed, x->key.k, true);
        settle<WGMMA, 1>(); // all but s
        store_outputs(p, w, i, column, of_state, x->value.until, of_chunk);
        x = take(i + 1);
        load_u(n, x->u);
        settle<WGMMA, 0>();
        give(i);
    }
    store_state(state, column, s);
}

// A warpgroup and a warp that fills its ring.
__global__ void __launch_bounds__(WALK_THREADS, 1)
    walk_wgmma_kernel(const __grid_constant__ nb_cuda_gdn p, scratch from)
{
#if NB_HAVE_WGMMA
    extern __shared__ uint8_t smem[];
    __shared__ uint64_t full[STAGES], empty[STAGES];
    walk_stage *stage = (walk_stage *)(smem + (1024 - nb_shared_at(smem) % 1024) % 1024);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) nb_barrier_init(&full[i], 1), nb_barrier_init(&empty[i], NB_WARPGROUP / 32);
        nb_barrier_init_done();
    }
    __syncthreads();
    nb_grid_release();
    nb_grid_wait();
    walk w = open_walk(p, from);
    int lane = threadIdx.x & 31;
    if (threadIdx.x < NB_WARPGROUP) {
        auto take = [&](int i) {
            i = min(i, w.n_chunk - 1);
            nb_barrier_wait(&full[i % STAGES], i / STAGES & 1);
            return (const walk_stage *)&stage[i % STAGES];
        };
        auto give = [&](int i) { // a warp's products are done, so all of its lanes have read
            if (lane == 0) nb_barrier_arrive(&empty[i % STAGES]);
        };
        walk_chunks<true>(p, w, take, give);
    } else if (lane == 0) {
        fill_ring(p, w, stage, full, empty);
    }
#endif
}

// The same by mma.sync, a chunk copied when the one before was read.
__global__ void __launch_bounds__(NB_WARPGROUP, 1) walk_kernel(const __grid_constant__ nb_cuda_gdn p, scratch from)
{
    extern __shared__ __align__(16) uint8_t smem[];
    walk_stage *stage = (walk_stage *)smem;
    nb_grid_release();
    nb_grid_wait();
    walk w = open_walk(p, from);
    auto take = [&](int i) {
        if (i < w.n_chunk) {
            __syncthreads();
            each_piece(p, w, i, [&](uint32_t at, const void *piece, int n_byte) {
                for (int j = threadIdx.x * 16; j < n_byte; j += NB_WARPGROUP * 16)
                    nb_copy_16(nb_shared_at(stage) + at + j, (const uint8_t *)piece + j);
            });
            nb_copies_wait();
        }
        __syncthreads();
        return (const walk_stage *)stage;
    };
    walk_chunks<false>(p, w, take, [](int) {});
}

int nb_gdn_chunks_run(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    scratch s = carve(p->scratch, p->n_chunk, p->n_key_head, p->n_value_head);
    dim3 chunks(p->n_key_head, p->n_chunk), walks(p->n_value_head * (DIM / SLICE), p->n_walk);
    NB_TRY(nb_cuda_start(at, prepare_kernel, chunks, THREADS, sizeof(prepare_shared), err, *p, s));
    if (at->wgmma)
        return nb_cuda_start(at, walk_wgmma_kernel, walks, WALK_THREADS, STAGES * sizeof(walk_stage) + 1024, err, *p,
                             s);
    return nb_cuda_start(at, walk_kernel, walks, NB_WARPGROUP, sizeof(walk_stage), err, *p, s);
}
