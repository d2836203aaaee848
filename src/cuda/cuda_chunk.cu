// The kernels of cuda_chunk.h.
//
// A TF32 product takes its k in the order 0 2 4 6 1 3 5 7 of each eight: then a lane's two values of A are neighbours,
// as they are in an F16 fragment, and so are its two of B, which lies in shared memory in pairs of rows (at_pair).
#include "cuda/cuda_chunk.h"

#include "cuda/cuda_source.cuh"
#include "cuda/cuda_wgmma.cuh"

enum {
    THREADS = 256,      // of prepare_kernel
    WALK_THREADS = 512, // a warp owns 16 x 16 of every product
    DIM = NB_GDN_DIM,
    CHUNK = NB_GDN_CHUNK,
    HALF = CHUNK / 2,
    TAPS = NB_GDN_KERNEL - 1, // tokens before a chunk that its convolution reads
    SLICE = 32,               // columns of S that a block of walk_kernel owns
    LD_HALF = DIM + 8,        // rows in shared memory: padded so that fragments meet no bank twice
    LD_PRODUCT = CHUNK + 8,
    LD_ROW = DIM + 4,
    LD_A = CHUNK + 4,
    LD_PAIR = 2 * SLICE + 8,
};

// Where the first kernel leaves its results: [n_chunk] each.
typedef struct scratch {
    __half *q, *k;  // [n_key_head][CHUNK][DIM]
    float *inverse; // [n_value_head][CHUNK][CHUNK]: T
    __half *qk;     // [n_value_head][CHUNK][CHUNK]: (q_i . k_j) e^(G_i - G_j)
    float2 *gate;   // [n_value_head][CHUNK]: G and beta
} scratch;

static int chunks_max(int n_tok)
{
    return 2 * nb_ceil_div(n_tok, CHUNK) + 1; // NB_GDN_CHUNKED_MIN is half a chunk
}

static scratch carve(void *at, int n_chunk, int n_key_head, int n_value_head)
{
    scratch s;
    int64_t key = (int64_t)n_chunk * n_key_head * CHUNK * DIM, value = (int64_t)n_chunk * n_value_head * CHUNK * CHUNK;
    s.q = (__half *)at, s.k = s.q + key, s.inverse = (float *)(s.k + key), s.qk = (__half *)(s.inverse + value);
    s.gate = (float2 *)(s.qk + value);
    return s;
}

int64_t nb_gdn_chunk_bytes(int n_tok, int n_key_head, int n_value_head)
{
    int64_t key = CHUNK * DIM * 2 * sizeof(__half),
            value = CHUNK * CHUNK * (sizeof(float) + sizeof(__half)) + CHUNK * sizeof(float2);
    return chunks_max(n_tok) * (n_key_head * key + n_value_head * value);
}

__device__ __forceinline__ static float tf32(float x)
{
    uint32_t v;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(v) : "f"(x));
    return nb_f32_from_bits(v);
}

__device__ __forceinline__ static void mma_tf32(float c[4], const float a[4], float2 b)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(nb_f32_bits(a[0])), "r"(nb_f32_bits(a[1])), "r"(nb_f32_bits(a[2])), "r"(nb_f32_bits(a[3])),
                   "r"(nb_f32_bits(b.x)), "r"(nb_f32_bits(b.y)));
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

// An F16 fragment of 16 x 16 as TF32 fragments of its first and second eight columns.
__device__ __forceinline__ static void widen(const uint32_t r[4], float a[2][4])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float2 low = __half22float2(*(const __half2 *)&r[2 * i]),
               high = __half22float2(*(const __half2 *)&r[2 * i + 1]);
        a[i][0] = low.x, a[i][1] = high.x, a[i][2] = low.y, a[i][3] = high.y;
    }
}

__device__ __forceinline__ static void copy_16(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
}

// Element (k, n) of a product's B.
__device__ __forceinline__ static int at_pair(int k, int n)
{
    return (k >> 1) * LD_PAIR + 2 * n + (k & 1);
}

// Raw input of `channel` at token i of the sequence: before its new tokens from the ring, before its first zero.
__device__ __forceinline__ static const uint16_t *raw_input(const nb_cuda_gdn &p, const nb_gdn_seq &s, int i,
                                                            int n_channel)
{
    if (i >= 0) return p.qkv + (int64_t)(s.tok_first + i) * n_channel;
    int pos = s.n_past + i;
    return pos < 0 ? NULL : p.ring + s.slot * p.slot_halfs + (int64_t)(pos % NB_GDN_RING) * n_channel;
}

// Convolution and silu of two channels for tokens first .. first + 15 of a chunk of n; rows behind it are zero.
__device__ static void convolve_pair(const nb_cuda_gdn &p, const nb_gdn_seq &s, int chunk_first, int n, int first,
                                     int channel, int n_channel, float *out)
{
    float4 w0 = __ldg((const float4 *)(p.conv1d + channel * NB_GDN_KERNEL)),
           w1 = __ldg((const float4 *)(p.conv1d + (channel + 1) * NB_GDN_KERNEL));
    const uint16_t *in = p.qkv + (int64_t)(s.tok_first + chunk_first + first) * n_channel + channel;
    uint32_t raw[16 + TAPS];
#pragma unroll
    for (int i = 0; i < 16 + TAPS; i++) {
        bool before = i < TAPS && chunk_first + first + i < TAPS;
        raw[i] = !before && first + i - TAPS < n ? *(const uint32_t *)(in + (int64_t)(i - TAPS) * n_channel) : 0;
    }
    for (int i = 0; chunk_first + first + i < TAPS; i++) {
        const uint16_t *row = raw_input(p, s, i - TAPS, n_channel);
        uint32_t v = row ? *(const uint32_t *)(row + channel) : 0;
        i == 0 ? raw[0] = v : i == 1 ? raw[1] = v : raw[2] = v;
    }
    float2 x[16 + TAPS];
#pragma unroll
    for (int i = 0; i < 16 + TAPS; i++)
        x[i] = make_float2(nb_f32_from_bits(raw[i] << 16), nb_f32_from_bits(raw[i] & 0xffff0000u));
#pragma unroll
    for (int i = 0; i < 16; i++) {
        float2 y = make_float2(w0.x * x[i].x + w0.y * x[i + 1].x + w0.z * x[i + 2].x + w0.w * x[i + 3].x,
                               w1.x * x[i].y + w1.y * x[i + 1].y + w1.z * x[i + 2].y + w1.w * x[i + 3].y);
        bool within = first + i < n;
        *(float2 *)(out + i * LD_ROW) = make_float2(within ? nb_silu(y.x) : 0.0f, within ? nb_silu(y.y) : 0.0f);
    }
}

// One vector a row, L2-normalised and scaled, to F16: shared and global memory.
__device__ static void normalise(const float *rows, float scale, __half *to, __half *out)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    for (int i = warp; i < CHUNK; i += THREADS / 32) {
        float4 v = *(const float4 *)(rows + i * LD_ROW + lane * 4);
        float f = rsqrtf(nb_warp_sum(nb_square_sum(v)) + 1e-6f) * scale;
        __half2 h[2] = {__floats2half2_rn(v.x * f, v.y * f), __floats2half2_rn(v.z * f, v.w * f)};
        *(uint2 *)(to + i * LD_HALF + lane * 4) = *(uint2 *)h;
        *(uint2 *)(out + i * DIM + lane * 4) = *(uint2 *)h;
    }
}

// G and beta of a chunk's tokens for one value head, by one warp, two tokens a lane.
__device__ static void make_gates(const nb_cuda_gdn &p, int head, int tok_first, int n, float2 *gate, float2 *out)
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
    float4 v = make_float4(sum - g[1], beta[0], sum, beta[1]);
    *(float4 *)(gate + 2 * lane) = v, *(float4 *)(out + 2 * lane) = v;
}

// Column `column` of (I + A)^-1 for a diagonal half, A strictly lower triangular, in its place: x_i = [i = column] -
// sum_{j < i} A_ij x_j. By one warp.
__device__ static void invert_half(float *a, int column, float *out)
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
    for (int i = 0; i < HALF; i++) a[i * LD_A + column] = x[i], out[i * CHUNK + column] = tf32(x[i]);
}

// y[8] = row `row` of a times 8 columns of b, both HALF x HALF.
__device__ static void multiply_half(const float *a, const float *b, int row, int column, float y[8])
{
#pragma unroll 8
    for (int k = 0; k < HALF; k++) {
        float v = a[row * LD_A + k];
        float4 low = *(const float4 *)(b + k * LD_A + column), high = *(const float4 *)(b + k * LD_A + column + 4);
        y[0] += v * low.x, y[1] += v * low.y, y[2] += v * low.z, y[3] += v * low.w;
        y[4] += v * high.x, y[5] += v * high.y, y[6] += v * high.z, y[7] += v * high.w;
    }
}

// T = (I + A)^-1 to global memory: the halves of the diagonal, T11 and T22, then T21 = -T22 (A21 T11). By 128 threads,
// t: which; all threads of the block come here for the barriers. a: [CHUNK][LD_A], overwritten.
__device__ static void invert(float *a, int t, bool active, float *out)
{
    int row = t / 4, column = t % 4 * 8;
    float *a21 = a + HALF * LD_A, y[8] = {}, z[8] = {};
    if (active && t < CHUNK)
        invert_half(a + t / HALF * HALF * (LD_A + 1), t % HALF, out + t / HALF * HALF * (CHUNK + 1));
    __syncthreads();
    if (active) multiply_half(a21, a, row, column, y);
    __syncthreads();
    if (active)
#pragma unroll
        for (int i = 0; i < 8; i++) a21[row * LD_A + column + i] = y[i];
    __syncthreads();
    if (!active) return;
    multiply_half(a21 + HALF, a21, row, column, z);
#pragma unroll
    for (int i = 0; i < 8; i++) out[(HALF + row) * CHUNK + column + i] = tf32(-z[i]);
}

typedef struct prepare_shared {
    __half q[CHUNK * LD_HALF], k[CHUNK * LD_HALF];
    float rows[2 * CHUNK * LD_A]; // convolved rows [CHUNK][LD_ROW], then A of two heads
    float2 gate[2][CHUNK];
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

// Of one value head: A to shared memory (warps 0..3), the decayed products of q and k to global (4..7).
__device__ static void decay_products(const float c[8][4], const float2 *gate, float *a, __half *qk)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = warp % 4 * 16 + 8 * h + g;
        float2 at = gate[i];
#pragma unroll
        for (int n = 0; n < 8; n++) {
            int j = n * 8 + 2 * t;
            float y[2];
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float decay = j + e <= i ? expf(at.x - gate[j + e].x) : 0.0f;
                y[e] = c[n][2 * h + e] * decay;
                if (warp < 4) y[e] = j + e < i ? y[e] * at.y : 0.0f;
            }
            if (warp < 4)
                *(float2 *)(a + i * LD_A + j) = make_float2(y[0], y[1]);
            else
                *(__half2 *)(qk + i * CHUNK + j) = __floats2half2_rn(y[0], y[1]);
        }
    }
}

// Block (chunk, key head).
__global__ void __launch_bounds__(THREADS, 2) prepare_kernel(const __grid_constant__ nb_cuda_gdn p, scratch to)
{
    extern __shared__ __align__(16) uint8_t smem[];
    prepare_shared *x = (prepare_shared *)smem;
    nb_grid_release();
    nb_grid_wait();
    nb_gdn_chunk chunk = p.chunk[blockIdx.x];
    nb_gdn_seq s = p.seq[chunk.seq];
    int head = blockIdx.y, n_key = p.n_key_head * DIM, n_channel = 2 * n_key + p.n_value_head * DIM;
    int ratio = p.n_value_head / p.n_key_head, n = min(CHUNK, s.n_new - chunk.first), warp = threadIdx.x >> 5;
    int64_t key_at = ((int64_t)blockIdx.x * p.n_key_head + head) * CHUNK * DIM;
    for (int which = 0; which < 2; which++) {
        int channel = which * n_key + head * DIM + (threadIdx.x & 63) * 2, first = (threadIdx.x >> 6) * 16;
        convolve_pair(p, s, chunk.first, n, first, channel, n_channel,
                      x->rows + first * LD_ROW + (threadIdx.x & 63) * 2);
        __syncthreads();
        normalise(x->rows, which ? 1.0f : rsqrtf((float)DIM), which ? x->k : x->q, (which ? to.k : to.q) + key_at);
        __syncthreads();
    }
    float c[8][4] = {};
    key_products(x, c);
    for (int r = 0; r < ratio; r += 2) {
        int n_head = min(2, ratio - r);
        int64_t value_head = (int64_t)blockIdx.x * p.n_value_head + head * ratio + r;
        if (warp < n_head)
            make_gates(p, head * ratio + r + warp, s.tok_first + chunk.first, n, x->gate[warp],
                       to.gate + (value_head + warp) * CHUNK);
        __syncthreads();
        for (int h = 0; h < n_head; h++)
            decay_products(c, x->gate[h], x->rows + h * CHUNK * LD_A, to.qk + (value_head + h) * CHUNK * CHUNK);
        __syncthreads();
        int half = threadIdx.x / (THREADS / 2);
        invert(x->rows + half * CHUNK * LD_A, threadIdx.x % (THREADS / 2), half < n_head,
               to.inverse + (value_head + half) * CHUNK * CHUNK);
        __syncthreads();
    }
}

typedef struct walk_stage { // one chunk's share of a block
    __half q[CHUNK * LD_HALF], k[CHUNK * LD_HALF];
    float inverse[CHUNK * LD_PRODUCT];
    __half qk[CHUNK * LD_PRODUCT];
    float2 gate[CHUNK];
    uint16_t value[(CHUNK + TAPS) * SLICE]; // raw, from TAPS tokens before the chunk
} walk_stage;

typedef struct walk_shared {
    walk_stage stage[2];
    float s[DIM / 2 * LD_PAIR]; // S, as at_pair
    float r[CHUNK / 2 * LD_PAIR], n[CHUNK / 2 * LD_PAIR],
        d[CHUNK / 2 * LD_PAIR]; // beta (v - ..), N, N decayed to the end
    float v[CHUNK * (SLICE + 1)];
} walk_shared;

typedef struct walk {
    nb_gdn_seq s;
    int head, column, key_head, n_channel, value_channel;
    int64_t chunk_first;
} walk;

// Copies chunk i of the sequence by THREADS_ threads; in flight when it returns.
template <int THREADS_>
__device__ static void copy_chunk(const nb_cuda_gdn &p, const scratch &from, const walk &w, int i, walk_stage *to)
{
    int64_t key = ((w.chunk_first + i) * p.n_key_head + w.key_head) * CHUNK * DIM,
            value = (w.chunk_first + i) * p.n_value_head + w.head;
    int tid = threadIdx.x;
#pragma unroll
    for (int j = tid; j < CHUNK * DIM / 8; j += THREADS_) {
        int row = j / (DIM / 8), c = j % (DIM / 8) * 8;
        copy_16(to->q + row * LD_HALF + c, from.q + key + j * 8);
        copy_16(to->k + row * LD_HALF + c, from.k + key + j * 8);
    }
#pragma unroll
    for (int j = tid; j < CHUNK * CHUNK / 4; j += THREADS_)
        copy_16(to->inverse + j / (CHUNK / 4) * LD_PRODUCT + j % (CHUNK / 4) * 4,
                from.inverse + value * CHUNK * CHUNK + j * 4);
#pragma unroll
    for (int j = tid; j < CHUNK * CHUNK / 8; j += THREADS_)
        copy_16(to->qk + j / (CHUNK / 8) * LD_PRODUCT + j % (CHUNK / 8) * 8, from.qk + value * CHUNK * CHUNK + j * 8);
    if (tid < CHUNK / 2) copy_16(to->gate + tid * 2, from.gate + value * CHUNK + tid * 2);
    for (int j = tid; j < (CHUNK + TAPS) * SLICE / 8; j += THREADS_) {
        int row = j / (SLICE / 8), tok = i * CHUNK + row - TAPS;
        const uint16_t *raw = tok < w.s.n_new ? raw_input(p, w.s, tok, w.n_channel) : NULL;
        uint16_t *at = to->value + row * SLICE + j % (SLICE / 8) * 8;
        if (raw)
            copy_16(at, raw + w.value_channel + j % (SLICE / 8) * 8);
        else
            *(uint4 *)at = make_uint4(0, 0, 0, 0);
    }
    asm volatile("cp.async.commit_group;");
}

// Convolution and silu of the block's columns of v: one column and a few tokens a thread.
template <int THREADS_> __device__ static void convolve_values(const walk_stage *x, float4 weight, float *v)
{
    enum { N = CHUNK * SLICE / THREADS_ };
    int column = threadIdx.x % SLICE, first = threadIdx.x / SLICE * N;
    float in[N + TAPS];
#pragma unroll
    for (int i = 0; i < N + TAPS; i++) in[i] = nb_bf16_to_f32(x->value[(first + i) * SLICE + column]);
#pragma unroll
    for (int i = 0; i < N; i++)
        v[(first + i) * (SLICE + 1) + column] =
            nb_silu(weight.x * in[i] + weight.y * in[i + 1] + weight.z * in[i + 2] + weight.w * in[i + 3]);
}

typedef struct place { // of a lane: in its fragments, and its warp's column half of the slice
    int warp, lane, g, t, column;
} place;

__device__ __forceinline__ static place my_place(void)
{
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    return {warp, lane, lane >> 2, lane & 3, warp / 8 * 16};
}

// c += 16 rows of F16 values, 16 * n of each, times a B of pairs; row: the lane's address for load_matrices.
template <int N, bool TRANSPOSED>
__device__ __forceinline__ static void multiply(float c[2][4], const __half *row, int stride, const float *right,
                                                const place &o)
{
#pragma unroll
    for (int s = 0; s < N; s++) {
        uint32_t r[4];
        float a[2][4];
        load_matrices<TRANSPOSED>(r, row + s * stride);
        widen(r, a);
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int n = 0; n < 2; n++)
                mma_tf32(c[n], a[half],
                         *(const float2 *)(right + at_pair(s * 16 + half * 8 + 2 * o.t, o.column + n * 8 + o.g)));
    }
}

// c = rows 16 * (warp % 8) .. of [k; q] times S.
__device__ static void read_state(const walk_shared *x, const walk_stage *stage, const place &o, float c[2][4])
{
    const __half *rows = (o.warp % 8 < 4 ? stage->k : stage->q) + o.warp % 4 * 16 * LD_HALF;
    multiply<DIM / 16, false>(c, rows + (o.lane & 15) * LD_HALF + (o.lane >> 4) * 8, 16, x->s, o);
}

// r = beta (v - e^G k S) by the warps that hold k S.
__device__ static void write_rest(walk_shared *x, const walk_stage *stage, const place &o, const float c[2][4])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = o.warp % 4 * 16 + 8 * h + o.g;
        float2 gate = stage->gate[i];
        float decay = expf(gate.x);
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                int column = o.column + n * 8 + 2 * o.t + e;
                x->r[at_pair(i, column)] = tf32(gate.y * (x->v[i * (SLICE + 1) + column] - decay * c[n][2 * h + e]));
            }
    }
}

// n = T r: rows 16 * (warp % 4) .. and 8 columns; T is lower triangular.
__device__ static void solve(walk_shared *x, const walk_stage *stage, const place &o)
{
    int row = o.warp % 4 * 16, column = o.warp / 4 * 8;
    float c[4] = {}, last = stage->gate[CHUNK - 1].x;
    const float *left = stage->inverse + (row + o.g) * LD_PRODUCT + 2 * o.t;
#pragma unroll 2
    for (int s = 0; s < row / 8 + 2; s++) {
        float2 low = *(const float2 *)(left + s * 8), high = *(const float2 *)(left + 8 * LD_PRODUCT + s * 8);
        float a[4] = {low.x, high.x, low.y, high.y};
        mma_tf32(c, a, *(const float2 *)(x->r + at_pair(s * 8 + 2 * o.t, column + o.g)));
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = row + 8 * h + o.g;
        float decay = expf(last - stage->gate[i].x);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int at = at_pair(i, column + 2 * o.t + e);
            x->n[at] = tf32(c[2 * h + e]), x->d[at] = tf32(c[2 * h + e] * decay);
        }
    }
}

// o = e^G q S + (products of q and k) N, by the warps that hold q S.
__device__ static void write_out(const nb_cuda_gdn &p, const walk &w, const walk_shared *x, const walk_stage *stage,
                                 const place &o, int i_chunk, float c[2][4])
{
    int row = o.warp % 4 * 16;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float decay = expf(stage->gate[row + 8 * h + o.g].x);
#pragma unroll
        for (int n = 0; n < 2; n++) c[n][2 * h] *= decay, c[n][2 * h + 1] *= decay;
    }
    multiply<CHUNK / 16, false>(c, stage->qk + (row + (o.lane & 15)) * LD_PRODUCT + (o.lane >> 4) * 8, 16, x->n, o);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int tok = i_chunk * CHUNK + row + 8 * h + o.g;
        if (tok >= w.s.n_new) continue;
        float *out = p.out + ((int64_t)(w.s.tok_first + tok) * p.n_value_head + w.head) * DIM + w.column + o.column;
#pragma unroll
        for (int n = 0; n < 2; n++) *(float2 *)(out + n * 8 + 2 * o.t) = make_float2(c[n][2 * h], c[n][2 * h + 1]);
    }
}

// S <- e^(G_last) S + k^T (decayed N): rows 16 * (warp % 8) ...
__device__ static void update_state(const walk_shared *x, const walk_stage *stage, const place &o, float s[2][4])
{
    float decay = expf(stage->gate[CHUNK - 1].x);
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int c = 0; c < 4; c++) s[n][c] *= decay;
    const __half *rows =
        stage->k + ((o.lane >> 4) * 8 + (o.lane & 7)) * LD_HALF + o.warp % 8 * 16 + (o.lane >> 3 & 1) * 8;
    multiply<CHUNK / 16, true>(s, rows, 16 * LD_HALF, x->d, o);
}

__device__ static void share_state(walk_shared *x, const place &o, const float s[2][4])
{
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            x->s[at_pair(o.warp % 8 * 16 + o.g + 8 * (c >> 1), o.column + n * 8 + 2 * o.t + (c & 1))] = tf32(s[n][c]);
}

// S before the new tokens, the journal folded in.
__device__ static void load_state(const nb_cuda_gdn &p, const walk &w, const place &o, const float *state,
                                  float s[2][4])
{
    int row = o.warp % 8 * 16 + o.g, column = w.column + o.column + 2 * o.t;
    const float *journal =
        p.journal + w.s.slot * p.slot_floats + (int64_t)w.head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float2 v = w.s.n_past == w.s.n_keep ? make_float2(0, 0)
                                                : *(const float2 *)(state + (row + 8 * h) * DIM + column + n * 8);
            s[n][2 * h] = v.x, s[n][2 * h + 1] = v.y;
        }
    for (int r = 0; r < w.s.n_keep; r++, journal += NB_GDN_JOURNAL_FLOATS) {
        float decay = expf(journal[2 * DIM]), k[2] = {journal[row], journal[row + 8]};
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int c = 0; c < 4; c++) s[n][c] = decay * s[n][c] + k[c >> 1] * journal[DIM + column + n * 8 + (c & 1)];
    }
}

__device__ static void store_state(const walk &w, const place &o, float *state, const float s[2][4])
{
    int row = o.warp % 8 * 16 + o.g, column = w.column + o.column + 2 * o.t;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            *(float2 *)(state + (row + 8 * h) * DIM + column + n * 8) = make_float2(s[n][2 * h], s[n][2 * h + 1]);
}

// Block (value head and slice, chunked sequence).
__device__ static walk open_walk(const nb_cuda_gdn &p)
{
    nb_gdn_walk which = p.walk[blockIdx.y];
    walk w;
    w.s = p.seq[which.seq], w.chunk_first = which.chunk_first;
    w.head = blockIdx.x / (DIM / SLICE), w.column = blockIdx.x % (DIM / SLICE) * SLICE;
    w.key_head = w.head / (p.n_value_head / p.n_key_head), w.n_channel = (2 * p.n_key_head + p.n_value_head) * DIM;
    w.value_channel = 2 * p.n_key_head * DIM + w.head * DIM + w.column;
    return w;
}

// All chunks of a walk, S in registers.
__global__ void __launch_bounds__(WALK_THREADS, 1) walk_kernel(const __grid_constant__ nb_cuda_gdn p, scratch from)
{
    extern __shared__ __align__(16) uint8_t smem[];
    walk_shared *x = (walk_shared *)smem;
    nb_grid_release();
    nb_grid_wait();
    walk w = open_walk(p);
    float *state = p.state + w.s.slot * p.slot_floats + (int64_t)w.head * DIM * DIM, s[2][4];
    int n_chunk = (w.s.n_new + CHUNK - 1) / CHUNK;
    place o = my_place();
    float4 weight = __ldg((const float4 *)(p.conv1d + (w.value_channel + threadIdx.x % SLICE) * NB_GDN_KERNEL));
    copy_chunk<WALK_THREADS>(p, from, w, 0, &x->stage[0]);
    load_state(p, w, o, state, s);
    for (int i = 0; i < n_chunk; i++) {
        const walk_stage *stage = &x->stage[i & 1];
        float c[2][4] = {};
        share_state(x, o, s);
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        if (i + 1 < n_chunk) copy_chunk<WALK_THREADS>(p, from, w, i + 1, &x->stage[(i + 1) & 1]);
        convolve_values<WALK_THREADS>(stage, weight, x->v);
        read_state(x, stage, o, c);
        __syncthreads();
        if (o.warp % 8 < 4) write_rest(x, stage, o, c);
        __syncthreads();
        solve(x, stage, o);
        __syncthreads();
        if (o.warp % 8 >= 4) write_out(p, w, x, stage, o, i, c);
        update_state(x, stage, o, s);
    }
    store_state(w, o, state, s);
}

// The same by wgmma (sm_90a). The first warpgroup takes the rows of k through r and the substitution, the second those
// of q to the output; each owns half of the rows of S. Right sides lie in panels of 32 values of k, transposed: 32
// columns a row. Their k is in the order of widen (k_place). So each operand is read once from shared memory.
enum { TF32_PANEL_K = NB_PANEL_ROW / 4, TF32_PANEL = SLICE * NB_PANEL_ROW };

typedef struct wgmma_shared {
    uint8_t s[DIM / TF32_PANEL_K][TF32_PANEL], r[CHUNK / TF32_PANEL_K][TF32_PANEL], n[CHUNK / TF32_PANEL_K][TF32_PANEL],
        d[CHUNK / TF32_PANEL_K][TF32_PANEL]; // as in walk_shared
    walk_stage stage[2];
    float v[CHUNK * (SLICE + 1)];
} wgmma_shared;

#if NB_HAVE_WGMMA
// Element (k, column) of a right side.
__device__ __forceinline__ static float *in_panel(uint8_t (*panel)[TF32_PANEL], int k, int column)
{
    int at = (k & ~7) | (k & 1) << 2 | (k >> 1 & 3); // k_place
    return (float *)(panel[at / TF32_PANEL_K] + nb_swizzle(column, at % TF32_PANEL_K / 4)) + at % 4;
}

// c[64][SLICE] += a panels, a: 2 * N fragments of eight columns.
template <int N>
__device__ __forceinline__ static void multiply_panels(float c[SLICE / 2], const float a[N][2][4],
                                                       uint8_t (*panel)[TF32_PANEL])
{
    nb_wgmma_fence();
#pragma unroll
    for (int s = 0; s < N; s++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            nb_wgmma_tf32(c, a[s][half], nb_panel(nb_shared_at(panel[s / 2])) + s % 2 * 4 + half * 2);
    nb_wgmma_commit();
    nb_wgmma_wait<0>();
}

template <int N, bool TRANSPOSED>
__device__ __forceinline__ static void load_fragments(float a[N][2][4], const __half *row, int stride)
{
#pragma unroll
    for (int s = 0; s < N; s++) {
        uint32_t raw[4];
        load_matrices<TRANSPOSED>(raw, row + s * stride);
        widen(raw, a[s]);
    }
}

// r = beta (v - e^G k S), then n = T r and its decayed form; by the first warpgroup.
__device__ static void substitute(wgmma_shared *x, const walk_stage *stage, const float c[SLICE / 2], int row)
{
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    float a[CHUNK / 16][2][4], n[SLICE / 2] = {}, last = stage->gate[CHUNK - 1].x;
#pragma unroll
    for (int j = 0; j < SLICE / 2; j++) {
        int i = row + g + 8 * (j >> 1 & 1), column = j / 4 * 8 + 2 * t + (j & 1);
        float2 gate = stage->gate[i];
        *in_panel(x->r, i, column) = tf32(gate.y * (x->v[i * (SLICE + 1) + column] - expf(gate.x) * c[j]));
    }
    const float *left = stage->inverse + (row + g) * LD_PRODUCT + 2 * t;
#pragma unroll
    for (int s = 0; s < CHUNK / 8; s++) {
        float2 low = *(const float2 *)(left + s * 8), high = *(const float2 *)(left + 8 * LD_PRODUCT + s * 8);
        bool in = s * 8 < row + 16; // T is lower triangular; what is above was never written
        float *f = a[s / 2][s % 2];
        f[0] = in ? low.x : 0, f[1] = in ? high.x : 0, f[2] = in ? low.y : 0, f[3] = in ? high.y : 0;
    }
    nb_fence_async();
    nb_group_barrier();
    multiply_panels<CHUNK / 16>(n, a, x->r);
#pragma unroll
    for (int j = 0; j < SLICE / 2; j++) {
        int i = row + g + 8 * (j >> 1 & 1), column = j / 4 * 8 + 2 * t + (j & 1);
        *in_panel(x->n, i, column) = tf32(n[j]);
        *in_panel(x->d, i, column) = tf32(n[j] * expf(last - stage->gate[i].x));
    }
    nb_fence_async();
}

// o = e^G q S + (products of q and k) N; by the second warpgroup.
__device__ static void write_rows(const nb_cuda_gdn &p, const walk &w, wgmma_shared *x, const walk_stage *stage,
                                  int i_chunk, float c[SLICE / 2], int row)
{
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    float a[CHUNK / 16][2][4], decay[2] = {expf(stage->gate[row + g].x), expf(stage->gate[row + g + 8].x)};
#pragma unroll
    for (int j = 0; j < SLICE / 2; j++) c[j] *= decay[j >> 1 & 1];
    load_fragments<CHUNK / 16, false>(a, stage->qk + (row + (lane & 15)) * LD_PRODUCT + (lane >> 4) * 8, 16);
    multiply_panels<CHUNK / 16>(c, a, x->n);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int tok = i_chunk * CHUNK + row + 8 * h + g;
        if (tok >= w.s.n_new) continue;
        float *out = p.out + ((int64_t)(w.s.tok_first + tok) * p.n_value_head + w.head) * DIM + w.column + 2 * t;
#pragma unroll
        for (int n = 0; n < SLICE / 8; n++)
            *(float2 *)(out + n * 8) = make_float2(c[4 * n + 2 * h], c[4 * n + 2 * h + 1]);
    }
}

// A lane's part of S: rows row and row + 8.
__device__ static void load_rows(const nb_cuda_gdn &p, const walk &w, const float *state, int row, float s[SLICE / 2])
{
    int column = w.column + 2 * (threadIdx.x & 3);
    const float *journal =
        p.journal + w.s.slot * p.slot_floats + (int64_t)w.head * NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS;
#pragma unroll
    for (int j = 0; j < SLICE / 2; j++)
        s[j] = w.s.n_past == w.s.n_keep ? 0.0f : state[(row + 8 * (j >> 1 & 1)) * DIM + column + j / 4 * 8 + (j & 1)];
    for (int r = 0; r < w.s.n_keep; r++, journal += NB_GDN_JOURNAL_FLOATS) {
        float decay = expf(journal[2 * DIM]), k[2] = {journal[row], journal[row + 8]};
#pragma unroll
        for (int j = 0; j < SLICE / 2; j++)
            s[j] = decay * s[j] + k[j >> 1 & 1] * journal[DIM + column + j / 4 * 8 + (j & 1)];
    }
}
#endif

__global__ void __launch_bounds__(THREADS, 1) walk_wgmma_kernel(const __grid_constant__ nb_cuda_gdn p, scratch from)
{
#if NB_HAVE_WGMMA
    extern __shared__ uint8_t smem[];
    wgmma_shared *x = (wgmma_shared *)(smem + (1024 - nb_shared_at(smem) % 1024) % 1024);
    nb_grid_release();
    nb_grid_wait();
    walk w = open_walk(p);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = warp % 4 * 16, mine = warp * 16 + (lane >> 2),
        n_chunk = (w.s.n_new + CHUNK - 1) / CHUNK;
    bool keys = warp < 4;
    float *state = p.state + w.s.slot * p.slot_floats + (int64_t)w.head * DIM * DIM, s[SLICE / 2];
    float4 weight = __ldg((const float4 *)(p.conv1d + (w.value_channel + threadIdx.x % SLICE) * NB_GDN_KERNEL));
    copy_chunk<THREADS>(p, from, w, 0, &x->stage[0]);
    load_rows(p, w, state, mine, s);
    for (int i = 0; i < n_chunk; i++) {
        const walk_stage *stage = &x->stage[i & 1];
        float c[SLICE / 2] = {}, a[DIM / 16][2][4], k[CHUNK / 16][2][4];
#pragma unroll
        for (int j = 0; j < SLICE / 2; j++)
            *in_panel(x->s, mine + 8 * (j >> 1 & 1), j / 4 * 8 + 2 * (lane & 3) + (j & 1)) = tf32(s[j]);
        nb_fence_async();
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        if (i + 1 < n_chunk) copy_chunk<THREADS>(p, from, w, i + 1, &x->stage[(i + 1) & 1]);
        convolve_values<THREADS>(stage, weight, x->v);
        load_fragments<DIM / 16, false>(
            a, (keys ? stage->k : stage->q) + (row + (lane & 15)) * LD_HALF + (lane >> 4) * 8, 16);
        multiply_panels<DIM / 16>(c, a, x->s);
        __syncthreads();
        if (keys) substitute(x, stage, c, row);
        load_fragments<CHUNK / 16, true>(
            k, stage->k + ((lane >> 4) * 8 + (lane & 7)) * LD_HALF + warp * 16 + (lane >> 3 & 1) * 8, 16 * LD_HALF);
        __syncthreads();
        if (!keys) write_rows(p, w, x, stage, i, c, row);
        float decay = expf(stage->gate[CHUNK - 1].x);
#pragma unroll
        for (int j = 0; j < SLICE / 2; j++) s[j] *= decay;
        multiply_panels<CHUNK / 16>(s, k, x->d);
    }
#pragma unroll
    for (int j = 0; j < SLICE / 2; j++)
        state[(mine + 8 * (j >> 1 & 1)) * DIM + w.column + j / 4 * 8 + 2 * (lane & 3) + (j & 1)] = s[j];
#endif
}

int nb_gdn_chunks_run(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    scratch s = carve(p->scratch, p->n_chunk, p->n_key_head, p->n_value_head);
    dim3 chunks(p->n_chunk, p->n_key_head), walks(p->n_value_head * (DIM / SLICE), p->n_walk);
    NB_TRY(nb_cuda_start(at, prepare_kernel, chunks, THREADS, sizeof(prepare_shared), err, *p, s));
    if (at->wgmma) return nb_cuda_start(at, walk_wgmma_kernel, walks, THREADS, sizeof(wgmma_shared) + 1024, err, *p, s);
    return nb_cuda_start(at, walk_kernel, walks, WALK_THREADS, sizeof(walk_shared), err, *p, s);
}
