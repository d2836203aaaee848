// Grouped products of decode: few columns an expert, so the experts' weights are all that counts. A grid of two blocks
// an SM walks over items (tile, row block); a warp owns a part of K, keeps its inputs in registers over the row tiles
// of an item, and streams its weights through a ring in shared memory that runs ahead over the ends of items. No
// barrier but the one before an item's partial sums are added. Where its outputs are added up by token, the last blocks
// to be done share the tokens.
//
// Bytes: weights once a tile (an expert with more tokens than columns is read again from L2); inputs 16 KiB * NT of
// each 8 (NT = 1) or 4 row tiles from L2.
#include "cuda/cuda_combine.cuh"
#include "cuda/cuda_route.cuh"
#include "cuda/cuda_tiles.cuh"

enum {
    WARPS = 8,
    THREADS = WARPS * 32,
    RING_BYTES = 9 * 1024 + 256, // of a warp; two blocks an SM
    K_TILES_WARP = 4,            // k tiles of a warp: what its registers hold of the input
};

template <int KIND> static constexpr int ring_depth = RING_BYTES / nb_ring<KIND>::bytes;
template <int NT> static constexpr int rows_of = 8 / NT; // row tiles of a warp and item

typedef struct item_view { // the weights of an item
    nb_cuda_tile tile;
    const uint4 *data;
    const uint32_t *scale;
    int row_first, n_row_tile, n_unit;
    bool shared;
} item_view;

template <int KIND> __device__ static item_view open_item(const nb_tiles_args &t, int item, int rows)
{
    item_view v;
    v.tile = t.tile[item / t.n_row_block];
    v.shared = v.tile.expert == t.n_expert;
    const nb_cuda_matrix &m = v.shared ? t.shared : t.matrix[0];
    int64_t e = v.shared ? 0 : v.tile.expert;
    v.data = m.data + e * t.data_stride, v.scale = m.scale + e * t.scale_stride;
    v.row_first = item % t.n_row_block * rows, v.n_row_tile = m.n_row_tile,
    v.n_unit = m.n_k_tile / nb_unit<KIND>::n_tile;
    return v;
}

// The matrix of an item with its expert's multipliers; the data's place is the item's.
__device__ static nb_cuda_matrix matrix_of(const nb_tiles_args &t, const item_view &v)
{
    return v.shared ? t.shared
                    : nb_expert_matrix(t.matrix[0], v.tile.expert, 0, 0, t.multiplier_low, t.multiplier_high);
}

// One row tile and column tile: the sums of the warps that share it. red: of the first, `step` floats apart.
template <bool PAIRED>
__device__ static void finish(const nb_tiles_args &t, const nb_cuda_matrix &m, const item_view &v, int row_tile, int nt,
                              const float *red, int step)
{
    int lane = threadIdx.x & 31;
    float y[4] = {};
    for (int s = 0; s < t.n_split; s++) {
        float4 p = *(const float4 *)(red + s * step + lane * 4);
        y[0] += p.x, y[1] += p.y, y[2] += p.z, y[3] += p.w;
    }
#pragma unroll
    for (int c = 0; c < 4; c++) {
        int n = nt * 8 + 2 * (lane & 3) + (c & 1), out = v.tile.first + n + (v.shared ? t.n_pair : 0);
        int row = row_tile * 16 + (lane >> 2) + 8 * (c >> 1), ff = row_tile * 8 + (lane >> 2);
        if (n >= v.tile.count) continue;
        if (!PAIRED && row < m.n_out)
            nb_store_dense(t.output[0], m, c < 2 ? m.scale_low : m.scale_high, out, row, y[c]);
        if (PAIRED && c < 2 && ff < m.n_out / 2)
            nb_store_gated(t, m, m.scale_low, m.scale_high, out, ff, y[c], y[(c + 2) & 3]);
    }
}

// The block's items. smem: rings; red: sums of an item; both shared.
template <int KIND, int NT, bool PAIRED>
__device__ __forceinline__ static void run_items(const nb_tiles_args &t, uint8_t *smem,
                                                 float (*red)[rows_of<NT> * NT][128])
{
    constexpr int R = rows_of<NT>, D = ring_depth<KIND>, n_tile = nb_unit<KIND>::n_tile, J = K_TILES_WARP / n_tile;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, n_group = WARPS / t.n_split, r = warp % n_group,
        s = warp / n_group;
    uint8_t *ring = smem + warp * D * nb_ring<KIND>::bytes;
    if (!t.tiles_known) nb_grid_wait();
    nb_grid_release(); // behind the wait: who starts now sees the list of tiles
    int n_item = *t.n_tile * t.n_row_block, item = blockIdx.x;
    if (item >= n_item) return;
    item_view ahead = open_item<KIND>(t, item, R * n_group), now = ahead;
    int ahead_item = item, ahead_i = 0, ahead_j = 0, slot = 0, to = D - 1;
    auto copy = [&](int at) { // the next unit of the warp, if it has one
        int row_tile = ahead.row_first + ahead_i * n_group + r, unit = ahead_j * t.n_split + s;
        if (ahead_item < n_item && row_tile < ahead.n_row_tile && unit < ahead.n_unit)
            nb_ring_copy<KIND>(ring + at * nb_ring<KIND>::bytes,
                               ahead.data + (int64_t)row_tile * ahead.n_unit * nb_ring<KIND>::n * 32,
                               ahead.scale + (int64_t)row_tile * ahead.n_unit * 32, unit);
        asm volatile("cp.async.commit_group;");
        if (++ahead_j < t.n_round) return;
        ahead_j = 0;
        if (++ahead_i < R) return;
        ahead_i = 0, ahead_item += gridDim.x;
        if (ahead_item < n_item) ahead = open_item<KIND>(t, ahead_item, R * n_group);
    };
    for (int i = 0; i < D - 1; i++) copy(i);
    if (t.tiles_known) nb_grid_wait();
    for (; item < n_item; item += gridDim.x, now = open_item<KIND>(t, min(item, n_item - 1), R * n_group)) {
        uint32_t b[J][n_tile][NT][8];
        int n_nt = (now.tile.count + 7) / 8;
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            int n = min(nt * 8 + (lane >> 2), now.tile.count - 1), row = now.tile.first + n;
            if (t.pair_token && !now.shared) row = __ldg(t.pair_token + row);
            if (!t.pair_token && now.shared) row += t.n_pair;
            const uint16_t *x = t.input + (int64_t)row * t.input_stride + (lane & 3) * 16;
#pragma unroll
            for (int j = 0; j < J; j++)
#pragma unroll
                for (int k = 0; k < n_tile; k++) {
                    int unit = j * t.n_split + s;
                    bool in = j < t.n_round && unit < now.n_unit && nt * 8 + (lane >> 2) < now.tile.count;
                    const uint4 *p = (const uint4 *)(x + (unit * n_tile + k) * NB_CUDA_K_TILE), none = {};
                    *(uint4 *)&b[j][k][nt][0] = in ? p[0] : none, *(uint4 *)&b[j][k][nt][4] = in ? p[1] : none;
                }
        }
        __syncthreads(); // the sums of the item before are read
#pragma unroll 1
        for (int i = 0; i < R; i++) {
            int row_tile = now.row_first + i * n_group + r;
            float acc[NT][4] = {};
#pragma unroll
            for (int j = 0; j < J; j++) {
                if (j >= t.n_round) break;
                nb_unit<KIND> unit;
                asm volatile("cp.async.wait_group %0;" ::"n"(D - 2) : "memory");
                nb_ring_read<KIND>(&unit, ring + slot * nb_ring<KIND>::bytes);
                copy(to);
                slot = slot + 1 == D ? 0 : slot + 1, to = to + 1 == D ? 0 : to + 1;
                if (row_tile < now.n_row_tile && j * t.n_split + s < now.n_unit)
                    nb_unit_mma_kept<KIND, NT>(acc, unit, matrix_of(t, now), row_tile, j * t.n_split + s, b[j], n_nt);
            }
#pragma unroll
            for (int nt = 0; nt < NT; nt++) *(float4 *)&red[warp][i * NT + nt][lane * 4] = *(float4 *)acc[nt];
        }
        __syncthreads();
        nb_cuda_matrix m = matrix_of(t, now);
        for (int p = warp; p < n_group * R * NT; p += WARPS) { // (row tile, column tile)
            int i = p / NT / n_group, g = p / NT % n_group, nt = p % NT, row_tile = now.row_first + i * n_group + g;
            if (row_tile < now.n_row_tile && nt < n_nt)
                finish<PAIRED>(t, m, now, row_tile, nt, red[g][i * NT + nt], n_group * R * NT * 128);
        }
    }
}

template <int KIND, int NT, bool PAIRED>
__global__ void __launch_bounds__(THREADS, 2)
    grouped_kernel(const __grid_constant__ nb_tiles_args t, const __grid_constant__ nb_cuda_combine sum)
{
    extern __shared__ __align__(128) uint8_t smem[];
    __shared__ float red[WARPS][rows_of<NT> * NT][128];
    __shared__ nb_combine_shared x;
    nb_touch(t);
    if (!PAIRED) nb_touch(sum);
    run_items<KIND, NT, PAIRED>(t, smem, red);
    if (PAIRED || sum.n_tok == 0) return;
    nb_combine_norm norm = nb_combine_ahead(sum);
    nb_grid_wait(); // a block without items has not
    int place = nb_meet_last(sum.meet, sum.n_block);
    for (int tok = place; tok >= 0 && tok < sum.n_tok; tok += sum.n_block) nb_combine_token<false>(sum, tok, norm, &x);
}

static int lesser(int a, int b)
{
    return a < b ? a : b;
}

template <int KIND, int NT, bool PAIRED>
static int start(const nb_cuda_launch *at, nb_tiles_args *t, int max_tile, nb_cuda_combine sum, nb_error *err)
{
    int tiles = t->matrix[0].n_k_tile > t->shared.n_k_tile ? t->matrix[0].n_k_tile : t->shared.n_k_tile;
    int n_unit = tiles / nb_unit<KIND>::n_tile;
    int rows = t->shared.n_row_tile > t->matrix[0].n_row_tile ? t->shared.n_row_tile : t->matrix[0].n_row_tile;
    for (t->n_split = WARPS; t->n_split > n_unit;) t->n_split /= 2;
    t->n_round = nb_ceil_div(n_unit, t->n_split);
    t->n_row_block = nb_ceil_div(rows, rows_of<NT> * WARPS / t->n_split);
    int64_t n_item = (int64_t)max_tile * t->n_row_block;
    size_t smem = (size_t)WARPS * ring_depth<KIND> * nb_ring<KIND>::bytes;
    int grid = n_item < 2 * at->n_sm ? (int)n_item : 2 * at->n_sm;
    sum.n_block = lesser(sum.n_tok, lesser(grid, at->n_sm));
    return nb_cuda_start(at, grouped_kernel<KIND, NT, PAIRED>, grid, THREADS, smem, err, *t, sum);
}

template <int NT, bool PAIRED>
static int start_kind(const nb_cuda_launch *at, nb_tiles_args *t, int max_tile, const nb_cuda_combine &sum,
                      nb_error *err)
{
    switch (t->matrix[0].kind) {
    case NB_KIND_BF16: return start<NB_KIND_BF16, NT, PAIRED>(at, t, max_tile, sum, err);
    case NB_KIND_FP8_A8: return start<NB_KIND_FP8_A8, NT, PAIRED>(at, t, max_tile, sum, err);
    case NB_KIND_FP8_A16: return start<NB_KIND_FP8_A16, NT, PAIRED>(at, t, max_tile, sum, err);
    default: return start<NB_KIND_NVFP4, NT, PAIRED>(at, t, max_tile, sum, err);
    }
}

bool nb_grouped_serves(const nb_tiles_args *t, int columns)
{
    return columns <= 16 && t->matrix[0].n_k_tile <= K_TILES_WARP * WARPS &&
           t->shared.n_k_tile <= K_TILES_WARP * WARPS &&
           nb_cuda_shared_fits(WARPS * (RING_BYTES + 8 * 128 * sizeof(float))); // rings and sums
}

template <int NT>
static int start_paired(const nb_cuda_launch *at, nb_tiles_args *t, int max_tile, const nb_cuda_combine &sum,
                        nb_error *err)
{
    if (t->matrix[0].paired) return start_kind<NT, true>(at, t, max_tile, sum, err);
    return start_kind<NT, false>(at, t, max_tile, sum, err);
}

int nb_grouped_run(const nb_cuda_launch *at, nb_tiles_args *t, int columns, int max_tile, const nb_cuda_combine *sum,
                   nb_error *err)
{
    static const nb_cuda_combine none = {};
    const nb_cuda_combine &all = sum ? *sum : none;
    return columns == 8 ? start_paired<1>(at, t, max_tile, all, err) : start_paired<2>(at, t, max_tile, all, err);
}
