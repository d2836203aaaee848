// The kernel of cuda_product.h: out^T = W x^T, persistent, one block an SM. A block takes 256 weight rows and up to 128
// tokens; the tokens' inputs and the weights come through a ring of stages of 128 columns (BF16: 64), filled by one
// warpgroup: weight tiles by bulk copies, experts' in NVFP4 as boxes of tensor maps; inputs as boxes or, where rows may
// be gathered, by 16-byte copies. Two warpgroups multiply half of the rows each: weights are decoded in registers,
// which is wgmma's A, inputs are its B. They share the ring but do not wait for each other, so one stores its results
// while the other multiplies.
//
// Where weights and inputs are e4m3, they are multiplied as they are, at twice the rate. Such a wgmma adds with less
// than binary32's precision, so the sums of each stage go to sums in binary32. W8A8 of decodes has its inputs in f16.
//
// Bytes of a block and stage: 32 KiB of inputs, 18 (NVFP4) or 32 KiB (FP8) of weights, from L2; 8.4 MFLOP. Of e4m3: 16
// and 32 KiB; 8.4 MFLOP. Of BF16: 16 and 32 KiB; 4.2 MFLOP. Where that gives few blocks, W8A8 has blocks of half of the
// rows, in decodes of half of the tokens too. L2 gives an SM about 21 bytes a cycle when all read. That leaves SMs to
// the small BF16 matrices of the same launch (cuda_side.cuh), whose blocks have y = 1.
#include "cuda/cuda_product.h"

#include <cuda.h>

#include "cuda/cuda_side.cuh"
#include "cuda/cuda_source.cuh"
#include "cuda/cuda_wgmma.cuh"

enum {
    COLUMNS = NB_PRODUCT_COLUMNS,
    RING_BYTES = 200 * 1024,
    CONSUMERS = 2, // warpgroups
    THREADS = (CONSUMERS + 1) * NB_WARPGROUP,
    REGISTERS_CONSUMER = 240,
    REGISTERS_PRODUCER = 24,
    PREPARE_THREADS = 256,
    BOX_ROWS = COLUMNS * 32 / NB_WARPGROUP, // of inputs: a warp's
};
static_assert(REGISTERS_PRODUCER + CONSUMERS * REGISTERS_CONSUMER <= (CONSUMERS + 1) * nb_registers_launched(THREADS),
              "setmaxnreg waits");

// What is multiplied: a kind with 16-bit inputs, or e4m3 with e4m3. Narrow: in blocks of half as many rows, of W8A8
// with inputs in f16 or e4m3. Experts: in NVFP4, whose weights come as boxes.
enum { FORM_F16_NARROW = NB_KIND_NVFP4 + 1, FORM_E4M3, FORM_E4M3_NARROW, FORM_EXPERTS };

template <int FORM> struct shape {
    static constexpr bool e4m3 = FORM == FORM_E4M3 || FORM == FORM_E4M3_NARROW;
    static constexpr bool narrow = FORM == FORM_F16_NARROW || FORM == FORM_E4M3_NARROW;
    static constexpr int kind = FORM == FORM_EXPERTS ? NB_KIND_NVFP4 : FORM >= FORM_F16_NARROW ? NB_KIND_FP8_A8 : FORM;
    static constexpr int row_tiles = narrow ? 8 : 16, warp_tiles = row_tiles / 8; // of a block, of a consumer's warp
    static constexpr int k_tiles = FORM == NB_KIND_BF16 ? 1 : 2; // of a stage: four stages are better than two
    static constexpr int value_bytes = e4m3 ? 1 : 2, row_bytes = k_tiles * NB_CUDA_K_TILE * value_bytes;
    static constexpr int input_bytes = COLUMNS * row_bytes;
    static constexpr int tile_data = nb_unit<kind>::n_chunk * k_tiles * 512; // of a row tile in a stage
    static constexpr int tile_scales = kind == NB_KIND_NVFP4 ? 128 : 0, tile_bytes = tile_data + tile_scales;
    static constexpr int data_at = input_bytes, scales_at = data_at + row_tiles * tile_data; // in a stage
    static constexpr int stage_bytes = scales_at + row_tiles * tile_scales, n_stage = RING_BYTES / stage_bytes;
    static constexpr int copy_tiles = row_tiles / 4;  // of a warp that copies
    static constexpr int leave_lanes = e4m3 ? 1 : 32; // of a warp, that say that a stage was read
};

// Tensor maps: inputs; of FORM_EXPERTS weights and scales of the experts and of the shared one.
typedef struct maps {
    CUtensorMap inputs, data[2], scales[2];
} maps;

enum { WORD = 8 }; // bytes of an element in the maps of weights

#if NB_HAVE_WGMMA
typedef struct task { // a block's piece of work: row tiles from row_first on of all matrices, `count` tokens
    int row_first, n_row_tile, expert, first, count;
    bool shared;
} task;

typedef struct division { // of a launch into tasks
    int n_row_block, n_task;
    int columns; // dense: tokens of a task
} division;

template <int ROW_TILES> __device__ static bool open_task(const nb_tiles_args &t, const division &d, int i, task *k)
{
    if (i >= d.n_task) return false;
    int column = i / d.n_row_block;
    k->row_first = i % d.n_row_block * ROW_TILES, k->expert = -1, k->shared = false;
    k->first = column * d.columns, k->count = min(d.columns, t.n_row - k->first);
    k->n_row_tile = t.block_first[t.n_matrix];
    if (!t.n_tile) return true;
    nb_cuda_tile tile = t.tile[column];
    k->expert = tile.expert, k->first = tile.first, k->count = tile.count, k->shared = tile.expert == t.n_expert;
    k->n_row_tile = k->shared ? t.shared.n_row_tile : t.matrix[0].n_row_tile;
    return true;
}

__device__ __forceinline__ static int matrix_of(const nb_tiles_args &t, int row_tile)
{
    int i = 0;
    while (i + 1 < t.n_matrix && row_tile >= t.block_first[i + 1]) i++;
    return i;
}

template <int FORM> __device__ __forceinline__ static int steps_of(const nb_tiles_args &t, const task &k)
{
    return (t.n_tile && k.shared ? t.shared : t.matrix[0]).n_k_tile / shape<FORM>::k_tiles;
}

typedef struct ring {
    uint8_t *stage;
    uint64_t *full, *empty;
    int slot;
    uint32_t phase;
} ring;

__device__ __forceinline__ static void advance(ring *r, int n)
{
    if (++r->slot == n) r->slot = 0, r->phase ^= 1;
}

// One lane's copies of the weights of a stage: of a warp's row tiles, the first lanes the data, the next the scales.
typedef struct weight_source {
    const uint8_t *from;
    uint32_t to; // in the stage
    int n_byte;  // of a stage; 0: nothing to copy
} weight_source;

template <int FORM> __device__ static weight_source open_weights(const nb_tiles_args &t, const task &k)
{
    enum { TILES = shape<FORM>::copy_tiles };
    int lane = threadIdx.x & 31, slot = threadIdx.x / 32 * TILES + lane % TILES, tile = k.row_first + slot;
    weight_source s = {NULL, 0, 0};
    if (tile >= k.n_row_tile || lane >= (FORM == NB_KIND_NVFP4 ? 2 * TILES : TILES)) return s;
    int i = t.n_tile ? 0 : matrix_of(t, tile);
    const nb_cuda_matrix &m = k.shared ? t.shared : t.matrix[i];
    int64_t expert = k.expert >= 0 && !k.shared ? k.expert : 0, row = t.n_tile ? tile : tile - t.block_first[i],
            n = m.n_k_tile / shape<FORM>::k_tiles;
    bool scales = lane >= TILES;
    s.n_byte = scales ? shape<FORM>::tile_scales : shape<FORM>::tile_data;
    s.to = (scales ? shape<FORM>::scales_at : shape<FORM>::data_at) + slot * s.n_byte;
    s.from = scales ? (const uint8_t *)(m.scale + expert * t.scale_stride)
                    : (const uint8_t *)(m.data + expert * t.data_stride);
    s.from += row * n * s.n_byte;
    return s;
}

// A stage's weights. FORM_EXPERTS: a warp's row tiles in two boxes by one lane; behind the last expert there are zeros.
template <int FORM> struct weights {
    typedef shape<FORM> form;
    weight_source w;
    const CUtensorMap *data, *scales;
    int row, step;

    __device__ __forceinline__ weights(const nb_tiles_args &t, const maps &m, const task &k)
    {
        if constexpr (FORM == FORM_EXPERTS) {
            data = &m.data[k.shared], scales = &m.scales[k.shared], step = 0;
            row = (k.shared ? 0 : k.expert * k.n_row_tile) + k.row_first + threadIdx.x / 32 * form::copy_tiles;
        } else {
            w = open_weights<FORM>(t, k);
        }
    }

    __device__ __forceinline__ int stage_bytes() const
    {
        return FORM == FORM_EXPERTS ? form::copy_tiles * form::tile_bytes : __reduce_add_sync(0xffffffffu, w.n_byte);
    }

    __device__ __forceinline__ void copy(uint32_t stage, uint64_t *full)
    {
        if constexpr (FORM == FORM_EXPERTS) {
            uint32_t first = threadIdx.x / 32 * form::copy_tiles;
            if (threadIdx.x % 32 == 0) {
                nb_copy_box(stage + form::data_at + first * form::tile_data, data, step * (form::tile_data / WORD), row,
                            full);
                nb_copy_box(stage + form::scales_at + first * form::tile_scales, scales,
                            step * (form::tile_scales / WORD), row, full);
            }
            step++;
        } else {
            if (w.n_byte) nb_copy_bulk(stage + w.to, w.from, w.n_byte, full);
            w.from += w.n_byte;
        }
    }
};

// Fills the ring, a warp with its rows of the inputs, as far as there are tokens.
template <int FORM>
__device__ static void produce_boxes(const nb_tiles_args &t, const maps &m, const division &d, ring r)
{
    typedef shape<FORM> form;
    int lane = threadIdx.x & 31, first = threadIdx.x / 32 * BOX_ROWS;
    task k;
    nb_fence_async_global();
    for (int i = blockIdx.x; open_task<form::row_tiles>(t, d, i, &k); i += gridDim.x) {
        if (k.row_first >= k.n_row_tile) continue;
        int row = k.first + first + (k.shared ? t.n_pair : 0), n_step = steps_of<FORM>(t, k), column = 0;
        int n_box = first < k.count ? form::row_bytes / NB_PANEL_ROW : 0;
        weights<FORM> w(t, m, k);
        int n_byte = w.stage_bytes() + n_box * BOX_ROWS * NB_PANEL_ROW;
        for (int step = 0; step < n_step; step++, column += form::row_bytes) {
            uint64_t *full = r.full + r.slot;
            uint32_t stage = nb_shared_at(r.stage) + r.slot * form::stage_bytes, to = stage + first * NB_PANEL_ROW;
            nb_barrier_wait(r.empty + r.slot, r.phase ^ 1);
            if (lane == 0) {
                nb_barrier_expect(full, n_byte);
                for (int j = 0; j < n_box; j++)
                    nb_copy_box(to + j * COLUMNS * NB_PANEL_ROW, &m.inputs, column + j * NB_PANEL_ROW, row, full);
            }
            __syncwarp();
            w.copy(stage, full);
            advance(&r, form::n_stage);
        }
    }
}

// The same where rows may be gathered. A thread copies one 16-byte chunk of the rows row0, row0 + STEP, ..: as many as
// a row has chunks. So the lanes that copy a row hold the places of their rows in the input, one each.
template <int FORM> __device__ static void produce(const nb_tiles_args &t, const maps &m, const division &d, ring r)
{
    typedef shape<FORM> form;
    enum { CHUNKS = form::row_bytes / 16, STEP = NB_WARPGROUP / CHUNKS, ROWS = COLUMNS / STEP };
    static_assert(CHUNKS == ROWS, "a lane for each row");
    int lane = threadIdx.x & 31, chunk = threadIdx.x % CHUNKS, row0 = threadIdx.x / CHUNKS;
    uint32_t to = nb_shared_at(r.stage) + (chunk / 8) * COLUMNS * NB_PANEL_ROW + nb_swizzle(row0, chunk & 7);
    task k;
    for (int i = blockIdx.x; open_task<form::row_tiles>(t, d, i, &k); i += gridDim.x) {
        if (k.row_first >= k.n_row_tile) continue;
        int row = k.first + min(row0 + chunk * STEP, k.count - 1), n_row = (k.count - row0 + STEP - 1) / STEP;
        if (t.pair_token && !k.shared) row = __ldg(t.pair_token + row);
        if (!t.pair_token && k.shared) row += t.n_pair;
        uint32_t place = (uint32_t)row * (uint32_t)t.input_stride * form::value_bytes, column = chunk * 16;
        weights<FORM> w(t, m, k);
        int n_byte = w.stage_bytes();
        int n_step = steps_of<FORM>(t, k);
        for (int step = 0; step < n_step; step++) {
            uint64_t *full = r.full + r.slot;
            uint32_t stage = r.slot * form::stage_bytes;
            nb_barrier_wait(r.empty + r.slot, r.phase ^ 1);
            if (lane == 0) nb_barrier_expect(full, n_byte);
            __syncwarp();
            w.copy(nb_shared_at(r.stage) + stage, full);
#pragma unroll 8 // more would take registers that a producer has not got
            for (int j = 0; j < ROWS; j++) {
                uint32_t at = __shfl_sync(0xffffffffu, place, (lane & (32 - CHUNKS)) | j) + column;
                if (j < n_row) nb_copy_16(to + stage + j * STEP * NB_PANEL_ROW, (const uint8_t *)t.input + at);
            }
            column += form::row_bytes;
            nb_barrier_arrive_copies(full);
            advance(&r, form::n_stage);
        }
    }
}

// The A fragments of mma steps 2 * half and + 1 of k tile i of the stage, of the warp's row tile at `tile`.
template <int KIND>
__device__ __forceinline__ void read_weights(const uint8_t *tile, const uint8_t *scales, int i, int half,
                                             uint32_t a[2][4])
{
    constexpr int n = nb_unit<KIND>::n_chunk;
    int lane = threadIdx.x & 31, at = KIND == NB_KIND_NVFP4 ? i : 0;
    nb_unit<KIND> u = {};
    uint32_t all[4][4];
#pragma unroll
    for (int c = 0; c < n; c++) u.chunk[at * n + c] = *(const uint4 *)(tile + (i * n + c) * 512 + lane * 16);
    if (KIND == NB_KIND_NVFP4) u.scale = *(const uint32_t *)(scales + lane * 4);
    nb_unit_decode<KIND>(u, at, all);
#pragma unroll
    for (int j = 0; j < 4; j++) a[0][j] = all[2 * half][j], a[1][j] = all[2 * half + 1][j];
}

// The warp has read a stage. Where no product is in flight, one lane says so for all, which keeps shared memory less
// busy; elsewhere a barrier of the warp would make products wait for each other, so each lane says what it has read.
template <int FORM> __device__ __forceinline__ void leave_stage(uint64_t *empty)
{
    if (shape<FORM>::leave_lanes == 1) __syncwarp();
    if (threadIdx.x % 32 < shape<FORM>::leave_lanes) nb_barrier_arrive(empty);
}

// acc: rows of this warp's row tiles by N tokens. Fragments are decoded while the ones before are multiplied.
template <int FORM, bool PAIRED, int N> __device__ __forceinline__ void consume(float acc[][N / 2], ring *r, int n_step)
{
    typedef shape<FORM> form;
    enum { TILES = form::warp_tiles };
    int warp = threadIdx.x / 32 % 4, group = threadIdx.x / NB_WARPGROUP - 1, last = 0;
    uint32_t a[2][TILES][2][4]; // [parity][row tile][mma step]
    for (int step = 0; step < n_step; step++) {
        const uint8_t *stage = r->stage + r->slot * form::stage_bytes;
        const uint8_t *tile = stage + form::data_at + (group * 4 + warp) * TILES * form::tile_data;
        const uint8_t *scales = stage + form::scales_at + (group * 4 + warp) * TILES * form::tile_scales;
        nb_barrier_wait(r->full + r->slot, r->phase);
        if (PAIRED) nb_fence_async(); // behind copies by threads
#pragma unroll
        for (int part = 0; part < 2 * form::k_tiles; part++) { // half a k tile each
            int i = part / 2, half = part % 2;
            uint64_t panel = nb_panel(nb_shared_at(stage) + i * COLUMNS * NB_PANEL_ROW) + 4 * half;
#pragma unroll
            for (int b = 0; b < TILES; b++)
                read_weights<form::kind>(tile + b * form::tile_data, scales + b * form::tile_scales, i, half,
                                         a[half][b]);
            nb_wgmma_fence();
#pragma unroll
            for (int s = 0; s < 2; s++)
#pragma unroll
                for (int b = 0; b < TILES; b++)
                    nb_wgmma<N, nb_unit<form::kind>::f16>(acc[b], a[half][b][s], panel + 2 * s, 1);
            nb_wgmma_commit();
            nb_wgmma_wait<1>(); // the part before is done
            if (part == 0 && step) leave_stage<FORM>(r->empty + last);
        }
        last = r->slot;
        advance(r, form::n_stage);
    }
    nb_wgmma_wait<0>();
    leave_stage<FORM>(r->empty + last);
}

// The same of e4m3, one row tile after the other: while one's sums are added, the other warpgroup multiplies.
template <int FORM> __device__ __forceinline__ void consume_e4m3(float sum[][COLUMNS / 2], ring *r, int n_step)
{
    typedef shape<FORM> form;
    enum { TILES = form::warp_tiles };
    int warp = threadIdx.x / 32 % 4, lane = threadIdx.x & 31, group = threadIdx.x / NB_WARPGROUP - 1;
    float part[COLUMNS / 2] = {};
    for (int step = 0; step < n_step; step++) {
        const uint8_t *stage = r->stage + r->slot * form::stage_bytes;
        const uint8_t *tile = stage + form::data_at + (group * 4 + warp) * TILES * form::tile_data + lane * 16;
        uint64_t panel = nb_panel(nb_shared_at(stage));
        nb_barrier_wait(r->full + r->slot, r->phase);
#pragma unroll
        for (int b = 0; b < TILES; b++, tile += form::tile_data) {
            uint4 low[2] = {*(const uint4 *)tile, *(const uint4 *)(tile + 1024)},
                  high[2] = {*(const uint4 *)(tile + 512), *(const uint4 *)(tile + 1536)};
            uint32_t a[4][4] = {{low[0].x, high[0].x, low[0].y, high[0].y},
                                {low[0].z, high[0].z, low[0].w, high[0].w},
                                {low[1].x, high[1].x, low[1].y, high[1].y},
                                {low[1].z, high[1].z, low[1].w, high[1].w}};
            nb_wgmma_fence();
#pragma unroll
            for (int s = 0; s < 4; s++) nb_wgmma_e4m3(part, a[s], panel + 2 * s, s);
            nb_wgmma_commit();
            nb_wgmma_wait<0>();
            if (b == TILES - 1) leave_stage<FORM>(r->empty + r->slot);
#pragma unroll
            for (int i = 0; i < COLUMNS / 2; i++) sum[b][i] += part[i];
        }
        advance(r, form::n_stage);
    }
}

__device__ __forceinline__ uint32_t transpose_8x8(uint32_t v)
{
    uint32_t t;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(v));
    return t;
}

typedef struct row_tile { // where a warp's results go
    const nb_cuda_matrix *m;
    nb_cuda_output o;
    int tile, first, count; // row tile of the matrix; output row of the task's first token
    float low, high;
    int64_t row_scale; // offset of the expert's
} row_tile;

__device__ static row_tile open_row_tile(const nb_tiles_args &t, const task &k, int tile)
{
    int i = t.n_tile ? 0 : matrix_of(t, tile);
    bool routed = t.n_tile && !k.shared;
    row_tile r = {k.shared ? &t.shared : &t.matrix[i], t.output[i], t.n_tile ? tile : tile - t.block_first[i]};
    r.first = k.first + (k.shared ? t.n_pair : 0), r.count = k.count;
    r.low = r.m->scale_low, r.high = r.m->scale_high;
    if (routed && t.multiplier_low) r.low = t.multiplier_low[k.expert], r.high = t.multiplier_high[k.expert];
    r.row_scale = routed ? (int64_t)k.expert * r.m->n_out : 0;
    return r;
}

__device__ __forceinline__ static float row_multiplier(const row_tile &r, float multiplier, int row)
{
    return multiplier * (r.m->row_scale && row < r.m->n_out ? __ldg(r.m->row_scale + r.row_scale + row) : 1.0f);
}

// Gate rows times up rows, of 8 outputs and N tokens; the next product's input, so in its order.
template <int N> __device__ static void store_gated(const nb_tiles_args &t, const row_tile &r, const float *acc)
{
    int lane = threadIdx.x & 31, g = lane >> 2, half = r.m->n_out / 2, ff = r.tile * 8;
    float low = row_multiplier(r, r.low, ff + g), high = row_multiplier(r, r.high, half + ff + g);
    int column = ff + 2 * (lane & 3), at = nb_product_place(column);
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
        float y[2];
#pragma unroll
        for (int c = 0; c < 2; c++) y[c] = nb_silu(acc[4 * j + c] * low) * (acc[4 * j + 2 + c] * high);
        uint32_t pair = t.inter_f16 ? nb_input_pair<true>(y[0], y[1], t.inter_inverse) : nb_pack_bf16x2(y[0], y[1]);
        pair = transpose_8x8(pair);
        if (8 * j + g < r.count && column < half)
            *(uint32_t *)((uint16_t *)r.o.out + (int64_t)(r.first + 8 * j + g) * r.o.stride + at) = pair;
    }
}

template <int N> __device__ static void store_bf16(const row_tile &r, const float *acc)
{
    int lane = threadIdx.x & 31, g = lane >> 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = r.tile * 16 + 8 * h;
        float multiplier = row_multiplier(r, h ? r.high : r.low, row + g);
        row += 2 * (lane & 3);
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            const float *y = acc + 4 * j + 2 * h;
            uint32_t pair = transpose_8x8(nb_pack_bf16x2(y[0] * multiplier, y[1] * multiplier));
            uint16_t *to = (uint16_t *)r.o.out + (int64_t)(r.first + 8 * j + g) * r.o.stride + r.o.first + row;
            if (8 * j + g < r.count && row < r.m->n_out) *(uint32_t *)to = pair;
        }
    }
}

// Whether the row tile and the next can be stored by store_wide: bf16, both whole in one matrix, on 16 bytes.
__device__ static bool is_wide(const row_tile &r)
{
    return r.o.kind == NB_OUT_BF16 && (r.tile + 2) * 16 <= r.m->n_out && r.o.stride % 8 == 0 && r.o.first % 8 == 0;
}

// Two row tiles together: 16 bytes a lane, 64 of a token in a row.
template <int N> __device__ static void store_wide(const row_tile &r, const float acc[2][N / 2])
{
    int lane = threadIdx.x & 31, g = lane >> 2, row = r.tile * 16;
    float multiplier[4];
#pragma unroll
    for (int q = 0; q < 4; q++) multiplier[q] = row_multiplier(r, q & 1 ? r.high : r.low, row + 8 * q + g);
    uint16_t *to = (uint16_t *)r.o.out + (int64_t)(r.first + g) * r.o.stride + r.o.first + row + 8 * (lane & 3);
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
        uint32_t v[4];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const float *y = acc[q >> 1] + 4 * j + 2 * (q & 1);
            v[q] = transpose_8x8(nb_pack_bf16x2(y[0] * multiplier[q], y[1] * multiplier[q]));
        }
        nb_transpose_quad(v);
        if (8 * j + g < r.count) *(uint4 *)(to + (int64_t)8 * j * r.o.stride) = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

// What is added to is loaded `AHEAD` values at a time: one by one each would wait for the store before it.
template <int N> __device__ static void store_f32(const row_tile &r, const float *acc)
{
    enum { AHEAD = 16 };
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = r.tile * 16 + 8 * h + g;
        float multiplier = row_multiplier(r, h ? r.high : r.low, row);
        if (row >= r.m->n_out) continue;
        float *to = (float *)r.o.out + (int64_t)(r.first + 2 * t) * r.o.stride + r.o.first + row;
#pragma unroll
        for (int first = 0; first < N / 4; first += AHEAD) {
            float y[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD && first + i < N / 4; i++) {
                int j = first + i, n = j / 2 * 8 + (j & 1);
                bool add = r.o.kind == NB_OUT_ADD && n + 2 * t < r.count;
                y[i] = add ? to[(int64_t)n * r.o.stride] : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < AHEAD && first + i < N / 4; i++) {
                int j = first + i, n = j / 2 * 8 + (j & 1);
                if (n + 2 * t < r.count)
                    to[(int64_t)n * r.o.stride] = y[i] + acc[j / 2 * 4 + 2 * h + (j & 1)] * multiplier;
            }
        }
    }
}

template <bool PAIRED, int N>
__device__ static void store_tile(const nb_tiles_args &t, const task &k, int tile, const float *acc)
{
    if (tile >= k.n_row_tile) return;
    row_tile to = open_row_tile(t, k, tile);
    if (PAIRED)
        store_gated<N>(t, to, acc);
    else if (to.o.kind == NB_OUT_BF16)
        store_bf16<N>(to, acc);
    else
        store_f32<N>(to, acc);
}

template <int FORM, bool PAIRED, int N> __device__ static void run_task(const nb_tiles_args &t, const task &k, ring *r)
{
    enum { TILES = shape<FORM>::warp_tiles };
    int warp = threadIdx.x / 32 % 4, group = threadIdx.x / NB_WARPGROUP - 1, n_step = steps_of<FORM>(t, k);
    float acc[TILES][N / 2] = {};
    if constexpr (shape<FORM>::e4m3)
        consume_e4m3<FORM>(acc, r, n_step);
    else
        consume<FORM, PAIRED, N>(acc, r, n_step);
    int tile = k.row_first + (group * 4 + warp) * TILES;
    if constexpr (TILES == 2 && !PAIRED) {
        if (tile + 1 < k.n_row_tile) {
            row_tile to = open_row_tile(t, k, tile);
            if (is_wide(to)) return store_wide<N>(to, acc);
        }
    }
#pragma unroll
    for (int b = 0; b < TILES; b++) store_tile<PAIRED, N>(t, k, tile + b, acc[b]);
}

// A warpgroup without rows in the task lets its stages pass.
template <int FORM> __device__ static void pass(ring *r, int n_step)
{
    for (int step = 0; step < n_step; step++) {
        nb_barrier_wait(r->full + r->slot, r->phase);
        leave_stage<FORM>(r->empty + r->slot); // no lane waits for a phase that is long over
        advance(r, shape<FORM>::n_stage);
    }
}

template <int FORM, bool PAIRED> __device__ static void run_any(const nb_tiles_args &t, const task &k, ring *r)
{
    int group = threadIdx.x / NB_WARPGROUP - 1;
    if (k.row_first + group * shape<FORM>::row_tiles / CONSUMERS >= k.n_row_tile)
        return pass<FORM>(r, steps_of<FORM>(t, k));
    if (shape<FORM>::e4m3 || k.count > 96)
        run_task<FORM, PAIRED, 128>(t, k, r);
    else if constexpr (!shape<FORM>::e4m3) {
        if (k.count > 64)
            run_task<FORM, PAIRED, 96>(t, k, r);
        else if (k.count > 32)
            run_task<FORM, PAIRED, 64>(t, k, r);
        else
            run_task<FORM, PAIRED, 32>(t, k, r);
    }
}
#endif

template <int FORM, bool PAIRED>
__global__ void __launch_bounds__(THREADS, 1)
    product_kernel(const __grid_constant__ nb_tiles_args t, const __grid_constant__ maps m, int n_row_block,
                   int n_column, int columns)
{
#if NB_HAVE_WGMMA
    typedef shape<FORM> form;
    extern __shared__ uint8_t smem[];
    __shared__ uint64_t full[form::n_stage], empty[form::n_stage];
    ring r = {smem + (1024 - nb_shared_at(smem) % 1024) % 1024, full, empty, 0, 0};
    if (!PAIRED && blockIdx.y) {
        nb_grid_release();
        for (int i = blockIdx.x; i < nb_side_pieces(t); i += gridDim.x) nb_side_run(t, i, (nb_side_sums *)r.stage);
        return;
    }
    if (threadIdx.x == 0) {
        for (int i = 0; i < form::n_stage; i++) {
            nb_barrier_init(&full[i], NB_WARPGROUP / 32 + (PAIRED ? NB_WARPGROUP : 0));
            nb_barrier_init(&empty[i], CONSUMERS * NB_WARPGROUP / 32 * form::leave_lanes);
        }
        nb_barrier_init_done();
    }
    __syncthreads();
    nb_grid_release();
    nb_grid_wait();
    division d = {n_row_block, n_row_block * (t.n_tile ? *t.n_tile : n_column), columns};
    if (threadIdx.x < NB_WARPGROUP) {
        nb_registers_fewer<REGISTERS_PRODUCER>();
        if constexpr (PAIRED)
            produce<FORM>(t, m, d, r);
        else
            produce_boxes<FORM>(t, m, d, r);
    } else {
        nb_registers_more<REGISTERS_CONSUMER>();
        task k;
        for (int i = blockIdx.x; open_task<form::row_tiles>(t, d, i, &k); i += gridDim.x)
            if (k.row_first < k.n_row_tile) run_any<FORM, PAIRED>(t, k, &r);
    }
#endif
}

// Four e4m3 values in f16 to their codes.
__device__ __forceinline__ uint32_t codes_of(uint2 four)
{
    float2 low = __half22float2(*(__half2 *)&four.x), high = __half22float2(*(__half2 *)&four.y);
    return nb_e4m3x2_from_f32(low.x, low.y) | nb_e4m3x2_from_f32(high.x, high.y) << 16;
}

// A token's row by a block: natural order in shared memory, then out in 16-byte chunks. CODES: one byte each; a chunk
// is an mma step's half of the columns of four lanes, as with 16 bits.
template <bool FP8, bool CODES>
__device__ static void prepare_row(const nb_cuda_source &s, const nb_source_ahead &ahead, float inverse, uint16_t *row,
                                   void *out, int stride, float *sums)
{
    uint4 *to = (uint4 *)out + (int64_t)blockIdx.x * stride / (CODES ? 16 : 8);
    nb_source_rows<FP8>(s, ahead, blockIdx.x, 1, inverse, row, stride, stride, sums);
    __syncthreads();
    for (int i = threadIdx.x; i < stride / (CODES ? 16 : 8); i += blockDim.x) {
        if (CODES) {
            const uint2 *four = (const uint2 *)row + i / 4 * 16 + i % 4;
            to[i] = make_uint4(codes_of(four[0]), codes_of(four[4]), codes_of(four[8]), codes_of(four[12]));
        } else {
            const uint32_t *word = (const uint32_t *)row + i / 8 * 32 + i % 8;
            to[i] = make_uint4(word[0], word[8], word[16], word[24]);
        }
    }
    __syncthreads();
}

__global__ void product_prepare_kernel(const __grid_constant__ nb_cuda_source s, float inverse, uint16_t *fp8,
                                       bool codes, uint16_t *bf16, int stride)
{
    extern __shared__ __align__(16) uint16_t row[];
    __shared__ float sums[32];
    nb_grid_release();
    nb_source_ahead ahead;
    nb_source_preload(s, &ahead);
    nb_grid_wait();
    if (fp8 && codes) prepare_row<true, true>(s, ahead, inverse, row, fp8, stride, sums);
    if (fp8 && !codes) prepare_row<true, false>(s, ahead, inverse, row, fp8, stride, sums);
    if (bf16) prepare_row<false, false>(s, ahead, 1.0f, row, bf16, stride, sums);
}

// `rows` rows of `row_bytes` at `at` as boxes. There are none behind the last row: zeros come.
static int open_map(CUtensorMap *map, CUtensorMapDataType type, CUtensorMapSwizzle swizzle, const void *at,
                    int64_t row_elements, int64_t row_bytes, int64_t rows, int box_elements, int box_rows,
                    nb_error *err)
{
    enum { DRIVER = 12000 }; // the version that brought the function
    static decltype(&cuTensorMapEncodeTiled) encode;
    if (!encode) {
        cudaDriverEntryPointQueryResult found;
        NB_CUDA_TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", (void **)&encode, DRIVER,
                                                     cudaEnableDefault, &found),
                    err);
    }
    cuuint64_t stride = (cuuint64_t)row_bytes, size[] = {(cuuint64_t)row_elements, (cuuint64_t)rows};
    cuuint32_t box[] = {(cuuint32_t)box_elements, (cuuint32_t)box_rows}, step[] = {1, 1};
    CUresult code = encode ? encode(map, type, 2, (void *)at, size, &stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                    swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
                           : CUDA_ERROR_NOT_FOUND;
    return code == CUDA_SUCCESS ? NB_OK
                                : nb_error_set(err, NB_ERR_DEVICE,
                                               "cuTensorMapEncodeTiled failed with %d: update the driver", (int)code);
}

// Inputs: BOX_ROWS rows and a panel's columns, swizzled as nb_swizzle does.
static int open_inputs(const nb_tiles_args *t, int value_bytes, CUtensorMap *map, nb_error *err)
{
    int64_t row_bytes = (int64_t)t->input_stride * value_bytes;
    return open_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, CU_TENSOR_MAP_SWIZZLE_128B, t->input, row_bytes, row_bytes,
                    (t->n_tile ? t->n_pair : 0) + t->n_row, NB_PANEL_ROW, BOX_ROWS, err);
}

// Row tiles of `m` and of the n_expert - 1 behind it: a stage's part of each is n_byte, a warp's are a box.
static int open_tiles(const nb_cuda_matrix *m, const void *at, int n_expert, int n_byte, CUtensorMap *map,
                      nb_error *err)
{
    typedef shape<FORM_EXPERTS> form;
    int64_t row_bytes = (int64_t)m->n_k_tile / form::k_tiles * n_byte;
    return open_map(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT64, CU_TENSOR_MAP_SWIZZLE_NONE, at, row_bytes / WORD, row_bytes,
                    (int64_t)m->n_row_tile * n_expert, n_byte / WORD, form::copy_tiles, err);
}

static int open_experts(const nb_tiles_args *t, maps *m, nb_error *err)
{
    typedef shape<FORM_EXPERTS> form;
    for (int i = 0; i < 2; i++) {
        const nb_cuda_matrix *first = i ? &t->shared : &t->matrix[0];
        int n = i ? 1 : t->n_expert;
        if (first->kind != NB_KIND_NVFP4) break; // the shared expert's product is apart
        NB_TRY(open_tiles(first, first->data, n, form::tile_data, &m->data[i], err));
        NB_TRY(open_tiles(first, first->scale, n, form::tile_scales, &m->scales[i], err));
    }
    return NB_OK;
}

template <int FORM, bool PAIRED>
static int start(const nb_cuda_launch *at, const nb_tiles_args *t, int n_row_tile, int n_column, int columns,
                 nb_error *err)
{
    int n_row_block = nb_ceil_div(n_row_tile, shape<FORM>::row_tiles), n_task = n_row_block * n_column;
    dim3 grid(n_task < at->n_sm ? n_task : at->n_sm, t->n_side ? 2 : 1);
    maps m = {};
    if (!PAIRED) NB_TRY(open_inputs(t, shape<FORM>::value_bytes, &m.inputs, err));
    if (FORM == FORM_EXPERTS) NB_TRY(open_experts(t, &m, err));
    return nb_cuda_start(at, product_kernel<FORM, PAIRED>, grid, THREADS,
                         shape<FORM>::n_stage * shape<FORM>::stage_bytes + 1024, err, *t, m, n_row_block, n_column,
                         columns);
}

// A step of all rows takes about 3/2 of the time of one of half of them.
static int start_e4m3(const nb_cuda_launch *at, const nb_tiles_args *t, int n_row_tile, int n_column, nb_error *err)
{
    int wide = nb_ceil_div(n_row_tile, shape<FORM_E4M3>::row_tiles) * n_column,
        narrow = nb_ceil_div(n_row_tile, shape<FORM_E4M3_NARROW>::row_tiles) * n_column;
    if (3 * nb_ceil_div(wide, at->n_sm) < 2 * nb_ceil_div(narrow, at->n_sm))
        return start<FORM_E4M3, false>(at, t, n_row_tile, n_column, COLUMNS, err);
    return start<FORM_E4M3_NARROW, false>(at, t, n_row_tile, n_column, COLUMNS, err);
}

template <int KIND>
static int start_paired(const nb_cuda_launch *at, const nb_tiles_args *t, int n_row_tile, int n_column, nb_error *err)
{
    if (t->matrix[0].paired) return start<KIND, true>(at, t, n_row_tile, n_column, COLUMNS, err);
    return start<KIND, false>(at, t, n_row_tile, n_column, COLUMNS, err);
}

static int start_kind(const nb_cuda_launch *at, const nb_tiles_args *t, int n_row_tile, int n_column, nb_error *err)
{
    if (t->e4m3) return start_e4m3(at, t, n_row_tile, n_column, err);
    switch (t->matrix[0].kind) {
    case NB_KIND_BF16: return start_paired<NB_KIND_BF16>(at, t, n_row_tile, n_column, err);
    case NB_KIND_FP8_A8: return start_paired<NB_KIND_FP8_A8>(at, t, n_row_tile, n_column, err);
    case NB_KIND_FP8_A16: return start_paired<NB_KIND_FP8_A16>(at, t, n_row_tile, n_column, err);
    default:
        return t->n_tile ? start_paired<FORM_EXPERTS>(at, t, n_row_tile, n_column, err)
                         : start_paired<NB_KIND_NVFP4>(at, t, n_row_tile, n_column, err);
    }
}

// What an SM reads of each column of weights and inputs, where blocks are of so many row tiles and tokens.
static int reads_of(const nb_cuda_launch *at, int n_row_tile, int n_tok, int row_tiles, int columns)
{
    int n_block = nb_ceil_div(n_row_tile, row_tiles) * nb_ceil_div(n_tok, columns),
        tokens = n_tok < columns ? n_tok : columns;
    return nb_ceil_div(n_block, at->n_sm) * (row_tiles * 16 + tokens * (int)sizeof(uint16_t));
}

// W8A8 with inputs in f16, in the blocks of which an SM reads least.
static int start_f16(const nb_cuda_launch *at, const nb_tiles_args *t, int n_row_tile, nb_error *err)
{
    enum { WIDE = shape<NB_KIND_FP8_A8>::row_tiles, NARROW = shape<FORM_F16_NARROW>::row_tiles, HALF = COLUMNS / 2 };
    int n_tok = t->n_row, n_column = nb_ceil_div(n_tok, COLUMNS), wide = reads_of(at, n_row_tile, n_tok, WIDE, COLUMNS),
        narrow = reads_of(at, n_row_tile, n_tok, NARROW, COLUMNS), half = reads_of(at, n_row_tile, n_tok, NARROW, HALF);
    if (wide <= narrow && wide <= half) return start<NB_KIND_FP8_A8, false>(at, t, n_row_tile, n_column, COLUMNS, err);
    if (narrow <= half) return start<FORM_F16_NARROW, false>(at, t, n_row_tile, n_column, COLUMNS, err);
    return start<FORM_F16_NARROW, false>(at, t, n_row_tile, nb_ceil_div(n_tok, HALF), HALF, err);
}

int nb_product_dense(const nb_cuda_launch *at, nb_tiles_args *t, nb_error *err)
{
    int n = 0; // row tiles of all matrices in a row
    for (int i = 0; i <= NB_CUDA_MATRIX_MAX; i++) {
        t->block_first[i] = n;
        if (i < t->n_matrix - t->n_side) n += t->matrix[i].n_row_tile;
    }
    const nb_cuda_matrix *m = &t->matrix[0];
    if (m->kind == NB_KIND_FP8_A8 && !m->paired && !t->e4m3) return start_f16(at, t, n, err);
    return start_kind(at, t, n, nb_ceil_div(t->n_row, COLUMNS), err);
}

int nb_product_grouped(const nb_cuda_launch *at, nb_tiles_args *t, int max_tile, nb_error *err)
{
    int routed = t->matrix[0].n_row_tile, shared = t->shared.n_row_tile;
    return start_kind(at, t, routed > shared ? routed : shared, max_tile, err);
}

int nb_product_prepare(const nb_cuda_launch *at, const nb_cuda_source *source, int n_tok, float input_scale,
                       uint16_t *fp8, bool codes, uint16_t *bf16, int stride, nb_error *err)
{
    return nb_cuda_start(at, product_prepare_kernel, n_tok, PREPARE_THREADS, (size_t)stride * sizeof(uint16_t), err,
                         *source, input_scale > 0 ? 1.0f / input_scale : 1.0f, fp8, codes, bf16, stride);
}

bool nb_product_serves(const nb_cuda_matrix *m)
{
    return !m->block_scale[0];
}

// Elsewhere the kernel has no body, and so no barriers in static shared memory.
bool nb_product_usable(void)
{
    cudaFuncAttributes a;
    if (cudaFuncGetAttributes(&a, product_kernel<NB_KIND_NVFP4, true>) == cudaSuccess) return a.sharedSizeBytes > 0;
    cudaGetLastError();
    return false;
}
