// The kernel of cuda_flash.h. Two warpgroups take 64 rows each: S = Q K^T from shared memory, softmax in registers,
// where S becomes the A of O += P V. A third fills the panels: 64 tokens of K, and of V, which lies transposed in the
// cache as the product wants it. A page in e4m3 is widened to f16 on the way.
//
// Bytes of a block: its context once, from L2; 4 * 128 * d_head operations for each token of it.
#include "cuda/cuda_flash.h"

#include "cuda/cuda_wgmma.cuh"

enum {
    ROWS = NB_FLASH_ROWS,
    PAGE = NB_PAGE_TOKENS,
    STAGES = 2,
    THREADS = 3 * NB_WARPGROUP,
    REGISTERS_CONSUMER = 208,
    REGISTERS_PRODUCER = 88,
};
static_assert(REGISTERS_PRODUCER + 2 * REGISTERS_CONSUMER <= 3 * nb_registers_launched(THREADS), "setmaxnreg waits");

template <int D> static constexpr int q_bytes = ROWS *D * 2;
template <int D> static constexpr int page_bytes = PAGE *D * 2; // of K, and of V
template <int D> static constexpr int shared_bytes = q_bytes<D> + STAGES * 2 * page_bytes<D> + 1024;

#if NB_HAVE_WGMMA
typedef struct barriers {
    uint64_t q, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
} barriers;

typedef struct task { // a tile's place
    nb_attention_seq s;
    int first, n_row, group, kv, n_page;
} task;

__device__ static task open_task(const nb_cuda_attention &p)
{
    nb_attention_tile tile = p.flash[blockIdx.x];
    task k = {p.seq[tile.seq], tile.first, 0, p.n_head / p.n_kv_head, (int)blockIdx.y, 0};
    k.n_row = min(ROWS, k.s.n_new * k.group - k.first);
    k.n_page = (k.s.n_past + (k.first + k.n_row - 1) / k.group) / PAGE + 1;
    return k;
}

// Token and query head of a row; rows behind the last repeat it.
__device__ __forceinline__ static int64_t query_of(const nb_cuda_attention &p, const task &k, int row)
{
    int at = k.first + min(row, k.n_row - 1);
    return (int64_t)(k.s.tok_first + at / k.group) * p.n_head + k.kv * k.group + at % k.group;
}

// Byte of chunk `chunk` (8 values) of row `row` in panels of n_row rows.
__device__ __forceinline__ static uint32_t panel_at(int row, int chunk, int n_row)
{
    return (uint32_t)(chunk / 8 * n_row * NB_PANEL_ROW) + nb_swizzle(row, chunk % 8);
}

template <int D> __device__ static void copy_queries(const nb_cuda_attention &p, const task &k, uint32_t to)
{
    for (int i = threadIdx.x; i < ROWS * D / 8; i += NB_WARPGROUP) {
        int row = i / (D / 8), chunk = i % (D / 8);
        nb_copy_16(to + panel_at(row, chunk, ROWS), p.q + query_of(p, k, row) * D + chunk * 8);
    }
}

__device__ __forceinline__ static void store_16(uint32_t to, const uint32_t v[4])
{
    asm volatile("st.shared.v4.b32 [%0],{%1,%2,%3,%4};" ::"r"(to), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                 : "memory");
}

// A thread's pieces of an e4m3 page are 16 values in one column of every `step`th row. Eight lanes take eight rows, so
// that their stores meet different banks.
template <int N_COL> struct pieces {
    static constexpr int columns = N_COL / 16, step = NB_WARPGROUP / columns;
    int row, column;

    __device__ __forceinline__ pieces()
    {
        int block = threadIdx.x / 8 % (NB_WARPGROUP / 8);
        row = block / columns * 8 + threadIdx.x % 8, column = block % columns;
    }
};

template <int N_COL> __device__ __forceinline__ uint4 load_piece(const uint8_t *from, int i)
{
    pieces<N_COL> p;
    return __ldcg((const uint4 *)(from + p.row * N_COL + p.column * 16 + i * p.step * N_COL));
}

template <int N_ROW, int N_COL> __device__ __forceinline__ void store_piece(uint32_t to, int i, const uint4 &raw)
{
    pieces<N_COL> p;
    uint32_t v[8];
    const uint32_t *w = (const uint32_t *)&raw;
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = nb_f16x2_from_e4m3x2(j & 1 ? w[j / 2] >> 16 : w[j / 2] & 0xffffu);
    to += i * p.step * NB_PANEL_ROW;
    store_16(to + panel_at(p.row, 2 * p.column, N_ROW), v);
    store_16(to + panel_at(p.row, 2 * p.column + 1, N_ROW), v + 4);
}

// Fills panels of N_ROW rows and N_COL columns. e4m3: from raw, which is loaded anew with what comes next, a page half
// whose rows have NEXT values; so a load has the time of a fill.
template <int N_ROW, int N_COL, int NEXT, bool FP8>
__device__ __forceinline__ void fill(uint4 *raw, const uint8_t *from, const uint8_t *next, uint32_t to, uint64_t *full)
{
    if (FP8) {
#pragma unroll
        for (int j = 0; j < N_ROW * N_COL / 16 / NB_WARPGROUP; j++) {
            store_piece<N_ROW, N_COL>(to, j, raw[j]);
            raw[j] = load_piece<NEXT>(next, j);
        }
        nb_fence_async();
        nb_barrier_arrive(full);
    } else {
#pragma unroll 4
        for (int j = threadIdx.x; j < N_ROW * N_COL / 8; j += NB_WARPGROUP)
            nb_copy_16(to + panel_at(j / (N_COL / 8), j % (N_COL / 8), N_ROW), from + j * 16);
        nb_barrier_arrive_copies(full);
    }
}

template <int D, bool FP8>
__device__ static void produce(const nb_cuda_attention &p, const task &k, uint32_t smem, barriers *b)
{
    constexpr int64_t head_bytes = (int64_t)PAGE * D * (FP8 ? 1 : 2);
    const uint8_t *head = p.cache + k.kv * head_bytes;
    auto at = [&](int i) { return head + (int64_t)__ldg(p.page + k.s.page_first + i) * p.page_bytes; };
    uint32_t k_at = smem + q_bytes<D>, v_at = k_at + STAGES * page_bytes<D>;
    const uint8_t *page = at(0);
    uint4 raw[PAGE * D / 16 / NB_WARPGROUP];
    if (FP8)
#pragma unroll
        for (int j = 0; j < PAGE * D / 16 / NB_WARPGROUP; j++) raw[j] = load_piece<D>(page, j);
    copy_queries<D>(p, k, smem);
    nb_barrier_arrive_copies(&b->q);
    for (int i = 0; i < k.n_page; i++) {
        int slot = i % STAGES;
        uint32_t parity = i / STAGES % 2 ^ 1;
        const uint8_t *next = at(min(i + 1, k.n_page - 1)), *values = page + p.n_kv_head * head_bytes;
        nb_barrier_wait(&b->k_empty[slot], parity);
        fill<PAGE, D, PAGE, FP8>(raw, page, values, k_at + slot * page_bytes<D>, &b->k_full[slot]);
        nb_barrier_wait(&b->v_empty[slot], parity);
        fill<D, PAGE, D, FP8>(raw, values, next, v_at + slot * page_bytes<D>, &b->v_full[slot]);
        page = next;
    }
}

// A warpgroup's 64 rows; a lane has two: g and g + 8 of its warp's 16.
template <int D> struct rows {
    float o[D / 2], top[2], sum[2];
    int limit[2]; // tokens that the row sees
};

template <int D, bool FP8> __device__ __forceinline__ void score(float s[32], uint32_t q, uint32_t k)
{
    nb_wgmma_fence();
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        nb_wgmma_64<FP8>(s, nb_panel(q + i / 4 * ROWS * NB_PANEL_ROW) + 2 * (i % 4),
                         nb_panel(k + i / 4 * PAGE * NB_PANEL_ROW) + 2 * (i % 4), i);
    nb_wgmma_commit();
    nb_wgmma_wait<0>();
}

// Over the four lanes that share a row.
__device__ __forceinline__ static float row_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

__device__ __forceinline__ static float row_sum(float v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

__device__ __forceinline__ static void mask(float s[32], const int limit[2], int page)
{
    int column = page * PAGE + 2 * (threadIdx.x & 3);
#pragma unroll
    for (int j = 0; j < 32; j++)
        if (column + j / 4 * 8 + (j & 1) >= limit[j >> 1 & 1]) s[j] = -INFINITY;
}

// Scores to probabilities, as the A fragments of P V; O and the sums so far are scaled to the new maxima. Every row
// sees the first token, so no maximum stays infinite.
template <int D, bool FP8>
__device__ __forceinline__ void soften(rows<D> *r, float s[32], float scale, uint32_t a[4][4])
{
    float factor[2], top[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float most = s[2 * h];
#pragma unroll
        for (int j = 0; j < 16; j++) most = fmaxf(most, s[j / 2 * 4 + 2 * h + (j & 1)]);
        most = fmaxf(r->top[h], row_max(most));
        factor[h] = exp2f((r->top[h] - most) * scale);
        r->top[h] = most, top[h] = most * scale;
        r->sum[h] *= factor[h];
    }
#pragma unroll
    for (int j = 0; j < 32; j++) {
        s[j] = exp2f(s[j] * scale - top[j >> 1 & 1]);
        r->sum[j >> 1 & 1] += s[j];
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *v = s + (2 * i + (j >> 1)) * 4 + (j & 1) * 2;
            __half2 h = __floats2half2_rn(v[0], v[1]);
            a[i][j] = FP8 ? *(uint32_t *)&h : nb_pack_bf16x2(v[0], v[1]);
        }
    if (__all_sync(0xffffffffu, factor[0] == 1.0f && factor[1] == 1.0f)) return;
#pragma unroll
    for (int j = 0; j < D / 2; j++) r->o[j] *= factor[j >> 1 & 1];
}

template <int D>
__device__ static void store_rows(const nb_cuda_attention &p, const task &k, int row, const rows<D> &r, float v_scale)
{
    int column = 2 * (threadIdx.x & 3);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float scale = v_scale / row_sum(r.sum[h]);
        if (row + 8 * h >= k.n_row) continue;
        int64_t query = query_of(p, k, row + 8 * h), tok = query / p.n_head, head = query % p.n_head;
        const float *gate = p.projected + tok * p.projected_stride + head * 2 * D + D + column;
        uint16_t *out = p.out + query * D + column;
#pragma unroll
        for (int j = 0; j < D / 8; j++) {
            float2 z = p.gated ? *(const float2 *)(gate + j * 8) : make_float2(0, 0);
            float y0 = r.o[4 * j + 2 * h] * scale, y1 = r.o[4 * j + 2 * h + 1] * scale;
            if (p.gated) y0 *= nb_sigmoid(z.x), y1 *= nb_sigmoid(z.y);
            *(uint32_t *)(out + j * 8) = nb_pack_bf16x2(y0, y1);
        }
    }
}

template <int D, bool FP8>
__device__ static void consume(const nb_cuda_attention &p, const task &k, uint32_t smem, barriers *b)
{
    int group = threadIdx.x / NB_WARPGROUP - 1, lane = threadIdx.x & 31,
        row = group * 64 + threadIdx.x / 32 % 4 * 16 + (lane >> 2);
    uint32_t q_at = smem + group * 64 * NB_PANEL_ROW, k_at = smem + q_bytes<D>, v_at = k_at + STAGES * page_bytes<D>;
    float scale = rsqrtf((float)D) * 1.44269504f * p.k_scale; // scores in powers of two
    rows<D> r = {};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        r.top[h] = -INFINITY;
        r.limit[h] = k.s.n_past + (k.first + min(row + 8 * h, k.n_row - 1)) / k.group + 1;
    }
    int unmasked = (k.s.n_past + k.first / k.group + 1) / PAGE; // pages that all rows see whole
    nb_barrier_wait(&b->q, 0);
    nb_fence_async();
    for (int i = 0; i < k.n_page; i++) {
        int slot = i % STAGES;
        uint32_t parity = i / STAGES % 2, a[4][4];
        float s[32];
        nb_barrier_wait(&b->k_full[slot], parity);
        if (!FP8) nb_fence_async();
        score<D, FP8>(s, q_at, k_at + slot * page_bytes<D>);
        if (lane == 0) nb_barrier_arrive(&b->k_empty[slot]);
        if (i >= unmasked) mask(s, r.limit, i);
        soften<D, FP8>(&r, s, scale, a);
        nb_barrier_wait(&b->v_full[slot], parity);
        if (!FP8) nb_fence_async();
        nb_wgmma_fence();
#pragma unroll
        for (int j = 0; j < 4; j++) nb_wgmma<D, FP8>(r.o, a[j], nb_panel(v_at + slot * page_bytes<D>) + 2 * j, 1);
        nb_wgmma_commit();
        nb_wgmma_wait<0>();
        if (lane == 0) nb_barrier_arrive(&b->v_empty[slot]);
    }
    store_rows<D>(p, k, row, r, p.v_scale);
}
#endif

template <int D, bool FP8>
__global__ void __launch_bounds__(THREADS, 1) flash_kernel(const __grid_constant__ nb_cuda_attention p)
{
#if NB_HAVE_WGMMA
    extern __shared__ uint8_t dynamic[];
    __shared__ barriers b;
    uint32_t smem = (nb_shared_at(dynamic) + 1023) / 1024 * 1024;
    if (threadIdx.x == 0) {
        nb_barrier_init(&b.q, NB_WARPGROUP);
        for (int i = 0; i < STAGES; i++) {
            nb_barrier_init(&b.k_full[i], NB_WARPGROUP), nb_barrier_init(&b.v_full[i], NB_WARPGROUP);
            nb_barrier_init(&b.k_empty[i], 8), nb_barrier_init(&b.v_empty[i], 8);
        }
        nb_barrier_init_done();
    }
    __syncthreads();
    nb_grid_release();
    nb_grid_wait();
    task k = open_task(p);
    if (threadIdx.x < NB_WARPGROUP) {
        nb_registers_fewer<REGISTERS_PRODUCER>();
        produce<D, FP8>(p, k, smem, &b);
    } else {
        nb_registers_more<REGISTERS_CONSUMER>();
        consume<D, FP8>(p, k, smem, &b);
    }
#endif
}

template <int D> static int start(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    dim3 grid(p->n_flash, p->n_kv_head);
    auto kernel = p->fp8 ? flash_kernel<D, true> : flash_kernel<D, false>;
    return nb_cuda_start(at, kernel, grid, THREADS, shared_bytes<D>, err, *p);
}

int nb_flash_run(const nb_cuda_launch *at, const nb_cuda_attention *p, nb_error *err)
{
    if (p->d_head == 64) return start<64>(at, p, err);
    if (p->d_head == 128) return start<128>(at, p, err);
    return start<256>(at, p, err);
}

// Elsewhere the kernel has no body, and so no barriers in static shared memory.
bool nb_flash_usable(int d_head)
{
    cudaFuncAttributes a;
    if (d_head != 64 && d_head != 128 && d_head != 256) return false;
    if (cudaFuncGetAttributes(&a, flash_kernel<256, true>) == cudaSuccess) return a.sharedSizeBytes > 0;
    cudaGetLastError();
    return false;
}
