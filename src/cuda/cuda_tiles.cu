// The kernel of cuda_tiles.cuh and its launches.
#include "cuda/cuda_tiles.cuh"

template <int KIND> static constexpr int units_of = KIND == NB_KIND_BF16 ? 1 : 2; // units of a warp per stage
enum {
    STAGES = 2,
    WARPS_MAX = 16,
    WARPS_GROUPED = 8,
    ROWS_MAX = 8,
    STAGE_BYTES = 104 * 1024,      // of inputs: two stages fit beside each other ..
    STAGE_BYTES_SMALL = 48 * 1024, // .. on cards with 99 KiB a block too
};

template <int KIND> static constexpr int stage_tiles = units_of<KIND> *nb_unit<KIND>::n_tile;

__device__ __forceinline__ void copy_async(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
}

// How a block's warps are arranged, and what they read.
typedef struct block_shape {
    int n_row_warp, n_split;
    const uint16_t *input;
} block_shape;

template <int NT, bool PAIRED>
__device__ __forceinline__ static void store_tile(const nb_tiles_args &t, int i_matrix, const nb_cuda_matrix &m,
                                                  int row_tile, int out_first, int count, const float acc[NT][4])
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int n = nt * 8 + 2 * (lane & 3) + (c & 1), row = row_tile * 16 + (lane >> 2) + 8 * (c >> 1);
            if (n >= count) continue;
            if (!PAIRED) {
                if (row < m.n_out)
                    nb_store_dense(t.output[i_matrix], m, c < 2 ? m.scale_low : m.scale_high, out_first + n, row,
                                   acc[nt][c]);
            } else if (c < 2) {
                int ff = row_tile * 8 + (lane >> 2);
                if (ff < m.n_out / 2)
                    nb_store_gated(t, m, m.scale_low, m.scale_high, out_first + n, ff, acc[nt][c],
                                   acc[nt][(c + 2) & 3]);
            }
        }
}

template <int KIND, int NT, bool PAIRED>
__device__ __forceinline__ static void run_block(const nb_tiles_args &t, const block_shape &b, int i_matrix,
                                                 uint16_t *x)
{
    constexpr int U = units_of<KIND>, n_tile = nb_unit<KIND>::n_tile, TS = stage_tiles<KIND>;
    constexpr int unit_words = nb_unit<KIND>::n_chunk * n_tile * 32;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, r = warp % b.n_row_warp, s = warp / b.n_row_warp;
    int row_block = blockIdx.x - t.block_first[i_matrix];
    int expert = -1, first = blockIdx.y * NT * 8, count = min(NT * 8, t.n_row - first);
    if (t.n_tile) {
        nb_grid_wait();
        if ((int)blockIdx.y >= *t.n_tile) return;
        nb_cuda_tile tile = t.tile[blockIdx.y];
        expert = tile.expert, first = tile.first, count = tile.count;
    }
    bool shared = expert == t.n_expert && t.n_tile;
    const nb_cuda_matrix &m = shared ? t.shared : t.matrix[i_matrix];
    nb_cuda_matrix mine = expert >= 0 && !shared ? nb_expert_matrix(m, expert, t.data_stride, t.scale_stride,
                                                                    t.multiplier_low, t.multiplier_high)
                                                 : m;
    int row_tile = row_block * b.n_row_warp + r, n_unit = m.n_k_tile / n_tile;
    if (row_block * b.n_row_warp >= m.n_row_tile) return;
    bool active = row_tile < m.n_row_tile && s < b.n_split;
    int n_stage = (m.n_k_tile + b.n_split * TS - 1) / (b.n_split * TS), columns = b.n_split * TS * NB_CUDA_K_TILE;
    int x_stride = columns + 8, k_end = m.n_k_tile * NB_CUDA_K_TILE;
    const uint4 *data = mine.data + (int64_t)row_tile * n_unit * unit_words;
    const uint32_t *scales = mine.scale + (int64_t)row_tile * n_unit * 32;
    nb_unit<KIND> now[U], next[U];
    float acc[NT][4] = {};
    auto load = [&](nb_unit<KIND> *u, int stage) {
#pragma unroll
        for (int i = 0; i < U; i++)
            nb_unit_load<KIND>(&u[i], data, scales, (stage * b.n_split + s) * U + i, active ? n_unit : 0);
    };
    auto copy = [&](int stage) {
        uint16_t *to = x + (stage & 1) * NT * 8 * x_stride;
        int piece = columns / 8, k_first = stage * columns;
        for (int i = threadIdx.x; i < count * piece; i += blockDim.x) {
            int n = i / piece, k = (i % piece) * 8;
            if (k_first + k >= k_end) continue;
            int row = t.pair_token && !shared ? __ldg(t.pair_token + first + n) : first + n;
            if (t.n_tile && !t.pair_token && shared) row += t.n_pair;
            copy_async(to + n * x_stride + k, b.input + (int64_t)row * t.input_stride + k_first + k);
        }
        asm volatile("cp.async.commit_group;");
    };
    load(now, 0);
    if (!t.n_tile) nb_grid_wait();
    copy(0);
    for (int stage = 0; stage < n_stage; stage++) {
        if (stage + 1 < n_stage)
            copy(stage + 1), load(next, stage + 1);
        else
            asm volatile("cp.async.commit_group;");
        asm volatile("cp.async.wait_group 1;");
        __syncthreads();
        const uint16_t *from = x + (stage & 1) * NT * 8 * x_stride;
#pragma unroll
        for (int i = 0; i < U; i++) {
            int u = (stage * b.n_split + s) * U + i;
            if (active && u < n_unit)
                nb_unit_mma<KIND, NT>(acc, now[i], mine, row_tile, u, from, stage * b.n_split * TS, x_stride, count);
        }
#pragma unroll
        for (int i = 0; i < U; i++) now[i] = next[i];
        __syncthreads();
    }
    if (b.n_split > 1) { // the other warps of the row tile hand their sums to the first
        float *red = (float *)x;
#pragma unroll
        for (int nt = 0; nt < NT; nt++) *(float4 *)&red[(warp * NT + nt) * 128 + lane * 4] = *(float4 *)acc[nt];
        __syncthreads();
        if (s > 0) return;
        for (int o = 1; o < b.n_split; o++)
#pragma unroll
            for (int nt = 0; nt < NT; nt++)
#pragma unroll
                for (int c = 0; c < 4; c++) acc[nt][c] += red[((o * b.n_row_warp + r) * NT + nt) * 128 + lane * 4 + c];
    }
    if (active) store_tile<NT, PAIRED>(t, i_matrix, mine, row_tile, first + (shared ? t.n_pair : 0), count, acc);
}

template <int KIND, int NT, bool PAIRED>
__global__ void __launch_bounds__(WARPS_MAX * 32) tiles_kernel(const __grid_constant__ nb_tiles_args t)
{
    extern __shared__ __align__(16) uint16_t x[];
    nb_grid_release();
    nb_touch(t);
    int i_matrix = 0;
    while ((int)blockIdx.x >= t.block_first[i_matrix + 1]) i_matrix++;
    if (KIND != NB_KIND_BF16 && !PAIRED && i_matrix >= t.n_matrix - t.n_side)
        run_block<NB_KIND_BF16, NT, false>(t, {1, t.side_split, t.side_input}, i_matrix, x);
    else
        run_block<KIND, NT, PAIRED>(t, {t.n_row_warp, t.n_split, t.input}, i_matrix, x);
}

static size_t input_bytes(int nt, int n_k_tile)
{
    return (size_t)STAGES * nt * 8 * (n_k_tile * NB_CUDA_K_TILE + 8) * 2;
}

template <int KIND, int NT, bool PAIRED>
static int start(const nb_cuda_launch *at, const nb_tiles_args *t, int n_block, int n_column_tile, nb_error *err)
{
    int warps = t->n_row_warp * t->n_split;
    size_t smem = input_bytes(NT, t->n_split * stage_tiles<KIND>), side = input_bytes(NT, t->side_split),
           red = (size_t)warps * NT * 128 * 4;
    if (t->n_side && smem < side) smem = side;
    dim3 grid(n_block, n_column_tile);
    return nb_cuda_start(at, tiles_kernel<KIND, NT, PAIRED>, grid, warps * 32, smem > red ? smem : red, err, *t);
}

template <int NT, bool PAIRED>
static int start_kind(const nb_cuda_launch *at, const nb_tiles_args *t, int n_block, int n_column_tile, nb_error *err)
{
    switch (t->matrix[0].kind) {
    case NB_KIND_BF16: return start<NB_KIND_BF16, NT, PAIRED>(at, t, n_block, n_column_tile, err);
    case NB_KIND_FP8_A8: return start<NB_KIND_FP8_A8, NT, PAIRED>(at, t, n_block, n_column_tile, err);
    case NB_KIND_FP8_A16: return start<NB_KIND_FP8_A16, NT, PAIRED>(at, t, n_block, n_column_tile, err);
    default: return start<NB_KIND_NVFP4, NT, PAIRED>(at, t, n_block, n_column_tile, err);
    }
}

template <int NT>
static int start_paired(const nb_cuda_launch *at, const nb_tiles_args *t, int n_block, int n_column_tile, nb_error *err)
{
    if (t->matrix[0].paired) return start_kind<NT, true>(at, t, n_block, n_column_tile, err);
    return start_kind<NT, false>(at, t, n_block, n_column_tile, err);
}

// Blocks of each matrix, n_row_warp row tiles each; returns their number.
static int spread_blocks(nb_tiles_args *t, int n_row_tile_of_first)
{
    int n = 0;
    for (int i = 0; i <= NB_CUDA_MATRIX_MAX; i++) {
        t->block_first[i] = n;
        if (i >= t->n_matrix) continue;
        n += nb_ceil_div(i ? t->matrix[i].n_row_tile : n_row_tile_of_first,
                         i < t->n_matrix - t->n_side ? t->n_row_warp : 1);
    }
    return n;
}

// Warps that may share the columns of a row tile: their inputs of a stage lie in shared memory.
static int most_splits(int nt, int kind)
{
    static const int tiles[] = {stage_tiles<0>, stage_tiles<1>, stage_tiles<2>, stage_tiles<3>}; // by kind
    int bytes = nb_cuda_shared_fits(STAGES * STAGE_BYTES) ? STAGE_BYTES : STAGE_BYTES_SMALL;
    return bytes / (nt * 8 * 2 * (tiles[kind] * NB_CUDA_K_TILE + 8));
}

static int lesser(int a, int b)
{
    return a < b ? a : b;
}

// Row tiles of a block so that the grid fills the card once; the remaining warps split the columns.
static int shape_blocks(const nb_cuda_launch *at, nb_tiles_args *t, int nt, int n_column_tile)
{
    int total = 0, side = 0;
    for (int i = 0; i < t->n_matrix; i++) *(i < t->n_matrix - t->n_side ? &total : &side) += t->matrix[i].n_row_tile;
    int room = at->n_sm - side * n_column_tile;
    int n = nb_ceil_div((int64_t)total * n_column_tile, room > 0 ? room : at->n_sm);
    t->n_row_warp = lesser(n, ROWS_MAX);
    t->n_split = lesser(WARPS_MAX / t->n_row_warp, most_splits(nt, t->matrix[0].kind));
    t->side_split = lesser(t->n_row_warp * t->n_split, most_splits(nt, NB_KIND_BF16));
    return spread_blocks(t, t->matrix[0].n_row_tile);
}

int nb_tiles_dense(const nb_cuda_launch *at, nb_tiles_args *t, nb_error *err)
{
    int nt = t->n_row <= 16 ? 2 : t->n_row <= 32 ? 4 : 8, n_row_tile = 0;
    for (int i = 0; i < t->n_matrix; i++) n_row_tile += t->matrix[i].n_row_tile;
    while (nt > 2 && n_row_tile * nb_ceil_div(t->n_row, nt * 8) < at->n_sm) nt /= 2; // few rows: more blocks
    int tiles = nb_ceil_div(t->n_row, nt * 8);
    int n_block = shape_blocks(at, t, nt, tiles);
    if (nt == 2) return start_paired<2>(at, t, n_block, tiles, err);
    if (nt == 4) return start_paired<4>(at, t, n_block, tiles, err);
    return start_paired<8>(at, t, n_block, tiles, err);
}

int nb_tiles_grouped(const nb_cuda_launch *at, nb_tiles_args *t, int columns, int max_tile, nb_error *err)
{
    int n_row_tile = t->shared.n_row_tile > t->matrix[0].n_row_tile ? t->shared.n_row_tile : t->matrix[0].n_row_tile;
    t->n_row_warp = lesser(n_row_tile, WARPS_GROUPED);
    t->n_split = lesser(WARPS_GROUPED / t->n_row_warp, most_splits(columns / 8, t->matrix[0].kind));
    int n_block = spread_blocks(t, n_row_tile);
    if (columns == 8) return start_paired<1>(at, t, n_block, max_tile, err);
    if (columns == 16) return start_paired<2>(at, t, n_block, max_tile, err);
    if (columns == 32) return start_paired<4>(at, t, n_block, max_tile, err);
    return start_paired<8>(at, t, n_block, max_tile, err);
}
