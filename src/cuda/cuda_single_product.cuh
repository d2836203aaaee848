// Part of cuda_single.cu: pieces of a row tile in registers, times the input; a row tile of any kind by all warps.
#ifndef NB_CUDA_SINGLE_PRODUCT_CUH
#define NB_CUDA_SINGLE_PRODUCT_CUH

#include "cuda/cuda_single_feed.cuh"

// Slots that a warp multiplies at a time, so that their latencies hide behind each other: what the registers hold.
constexpr int nb_single_at_once(int kind)
{
    return kind == NB_KIND_BF16 || kind == NB_KIND_FP8_A8 ? NB_SINGLE_AT_ONCE : NB_SINGLE_AT_ONCE / 2;
}

// What a warp multiplies at a time, in registers: a unit, or half a BF16 tile, with its columns of x.
template <int KIND> struct nb_single_piece {
    static constexpr int n_input = KIND == NB_KIND_BF16 || KIND == NB_KIND_FP8_A8 ? 1 : 2 * nb_unit<KIND>::n_tile;
    uint4 chunk[2], b[n_input];
    uint32_t scale;
};

// data, scale: of the slot. u: the slot of the row tile. Without `in` all is zero.
template <int KIND>
__device__ __forceinline__ void nb_single_read(nb_single_piece<KIND> *p, const uint8_t *data, const uint8_t *scale,
                                               const uint16_t *x, int u, bool in)
{
    int lane = threadIdx.x & 31, step = KIND == NB_KIND_BF16 ? 1024 : 512;
    p->chunk[0] = p->chunk[1] = make_uint4(0, 0, 0, 0), p->scale = 0;
    if (in) {
        p->chunk[0] = *(const uint4 *)(data + lane * 16), p->chunk[1] = *(const uint4 *)(data + step + lane * 16);
        if (KIND == NB_KIND_NVFP4) p->scale = *(const uint32_t *)(scale + lane * 4);
    }
    const uint16_t *at = KIND == NB_KIND_BF16     ? x + (u >> 1) * NB_CUDA_K_TILE + lane * 16 + (u & 1) * 8
                         : KIND == NB_KIND_FP8_A8 ? x + (u * NB_CUDA_K_TILE + lane * 16) / 2
                                                  : x + u * nb_unit<KIND>::n_tile * NB_CUDA_K_TILE + lane * 16;
#pragma unroll
    for (int i = 0; i < nb_single_piece<KIND>::n_input; i++) {
        p->b[i] = make_uint4(0, 0, 0, 0);
        if (in && lane < 4) p->b[i] = *(const uint4 *)(at + (i >> 1) * NB_CUDA_K_TILE + (i & 1) * 8);
    }
}

// c[16][8] += a[16][32] b[32][8], e4m3. The unit's own sums keep fewer bits than binary32, so c is of few columns.
__device__ __forceinline__ void nb_mma_e4m3(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <int KIND> __device__ __forceinline__ void nb_single_multiply(float acc[2][4], const nb_single_piece<KIND> &p)
{
    if (KIND == NB_KIND_BF16) {
        const uint4 &low = p.chunk[0], &high = p.chunk[1];
        uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
        nb_mma<false>(acc[0], a0, p.b[0].x, p.b[0].y), nb_mma<false>(acc[1], a1, p.b[0].z, p.b[0].w);
        return;
    }
    if (KIND == NB_KIND_FP8_A8) {
        const uint4 &low = p.chunk[0], &high = p.chunk[1];
        uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
        nb_mma_e4m3(acc[0], a0, p.b[0].x, p.b[0].y), nb_mma_e4m3(acc[1], a1, p.b[0].z, p.b[0].w);
        return;
    }
    nb_unit<KIND> unit;
    unit.chunk[0] = p.chunk[0], unit.chunk[1] = p.chunk[1], unit.scale = p.scale;
#pragma unroll
    for (int i = 0; i < nb_unit<KIND>::n_tile; i++) {
        uint32_t a[4][4];
        const uint32_t *b = (const uint32_t *)&p.b[KIND == NB_KIND_BF16 ? 0 : 2 * i];
        nb_unit_decode<KIND>(unit, i, a);
#pragma unroll
        for (int k = 0; k < 4; k++) nb_mma<nb_unit<KIND>::f16>(acc[k & 1], a[k], b[2 * k], b[2 * k + 1]);
    }
}

// acc += all pieces; those without `in` count as zero. u: the slot of the first, the others are NB_SINGLE_WARPS apart.
template <int KIND>
__device__ __forceinline__ void nb_single_multiply_all(float acc[2][4], const nb_cuda_matrix &m, int row_tile, int u,
                                                       const nb_single_piece<KIND> *p, int n_slot)
{
    if (nb_has_block_scale<KIND>(m)) { // an FP8 slot is one tile
#pragma unroll
        for (int i = 0; i < nb_single_at_once(KIND); i++) {
            float one[2][4] = {};
            float2 scale = nb_block_scale(m, row_tile, min(u + i * (int)NB_SINGLE_WARPS, n_slot - 1));
            nb_single_multiply<KIND>(one, p[i]);
            nb_add_scaled(acc[0], one[0], scale), nb_add_scaled(acc[1], one[1], scale);
        }
        return;
    }
    float part[nb_single_at_once(KIND)][2][4] = {};
#pragma unroll
    for (int i = 0; i < nb_single_at_once(KIND); i++) nb_single_multiply<KIND>(part[i], p[i]);
#pragma unroll
    for (int i = 0; i < nb_single_at_once(KIND); i++)
#pragma unroll
        for (int c = 0; c < 4; c++) acc[0][c] += part[i][0][c], acc[1][c] += part[i][1][c];
}

__device__ __forceinline__ void nb_single_store(float *red, const float acc[2][4])
{
    int lane = threadIdx.x & 31;
    if (lane % 4 == 0) red[lane / 4] = acc[0][0] + acc[1][0], red[lane / 4 + 8] = acc[0][2] + acc[1][2];
}

// A warp's slots of a stage, `n` slots of the row tile from `first` on. The stage is free again as soon as the warp has
// the last of them in registers.
template <int KIND>
__device__ __forceinline__ void nb_single_slots(float acc[2][4], const nb_cuda_matrix &m, int row_tile, int first,
                                                int n_slot, nb_single_shared *sh, int stage, const uint16_t *x)
{
    constexpr int at_once = nb_single_at_once(KIND), step = at_once * NB_SINGLE_WARPS;
    int warp = threadIdx.x >> 5, n = min((int)NB_SINGLE_SLOTS, n_slot - first);
    const uint8_t *from = nb_single_stage(sh, stage),
                  *scale = from + NB_SINGLE_SCALES_AT + warp * NB_SINGLE_SCALE_BYTES,
                  *data = from + (KIND == NB_KIND_BF16 ? (warp >> 1) * 2048 + (warp & 1) * 512 : warp * 1024);
    nb_single_piece<KIND> p[at_once];
#pragma unroll 1
    for (int i = 0; i < n; i += step) {
        auto read = [&](int k, bool in) {
            int slot = i + k * NB_SINGLE_WARPS;
            nb_single_read<KIND>(&p[k], data + slot * NB_SINGLE_SLOT_BYTES, scale + slot * NB_SINGLE_SCALE_BYTES, x,
                                 first + slot + warp, in);
        };
        if (i + step <= n) // loads under no condition of their own
#pragma unroll
            for (int k = 0; k < at_once; k++) read(k, true);
        else
#pragma unroll
            for (int k = 0; k < at_once; k++) read(k, i + k * NB_SINGLE_WARPS + warp < n);
        __syncwarp();
        if (i + step >= n && (threadIdx.x & 31) == 0 && !nb_single_in_annex(stage))
            nb_barrier_arrive(&sh->empty[stage]);
        nb_single_multiply_all<KIND>(acc, m, row_tile, first + i + warp, p, n_slot);
    }
}

// A warp's part of a row tile, a stage at a time; rows lane / 4 and + 8 of column 0 to red[16]. One loop for all kinds:
// the kernel's code must stay in the instruction cache.
__device__ __forceinline__ void nb_single_row_tile(nb_single_place *at, nb_single_shared *sh, const nb_cuda_matrix &m,
                                                   int row_tile, float *red)
{
    int kind = m.kind, n_slot = nb_single_slot_count(m);
    float acc[2][4] = {};
#pragma unroll 1
    for (int first = 0; first < n_slot; first += NB_SINGLE_SLOTS) {
        int parity, stage = nb_single_next(at, &parity);
        nb_barrier_wait(&sh->full[stage], parity);
        switch (kind) {
        case NB_KIND_BF16: nb_single_slots<NB_KIND_BF16>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[1]); break;
        case NB_KIND_FP8_A8:
            nb_single_slots<NB_KIND_FP8_A8>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[0]);
            break;
        case NB_KIND_FP8_A16:
            nb_single_slots<NB_KIND_FP8_A16>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[1]);
            break;
        default: nb_single_slots<NB_KIND_NVFP4>(acc, m, row_tile, first, n_slot, sh, stage, sh->x[1]); break;
        }
    }
    nb_single_store(red, acc);
}

#endif
