// Device code of one weight tile (16 rows x 64 columns, layout in cuda_common.h): load, decode in registers, multiply
// with mma.sync. Every matrix kernel is built from these. Runs on sm_80 and later; sm_89 and later convert e4m3 by
// hardware.
#ifndef NB_CUDA_TILE_CUH
#define NB_CUDA_TILE_CUH

#include "cuda/cuda_common.h"

__device__ __forceinline__ uint32_t nb_shared_at(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void nb_copy_16(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
}

__device__ __forceinline__ void nb_copies_wait(void)
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

// Programmatic dependent launch: let the next kernel start early; wait until the previous one is complete and visible.
__device__ __forceinline__ void nb_grid_release(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void nb_grid_wait(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Brings a kernel's parameters into the constant cache. Each launch has its own copy of them in memory, so the first
// use of each 64 bytes waits for it; here all are fetched at once, before the dependency is waited for.
template <class T> __device__ __forceinline__ void nb_touch(const T &params)
{
    constexpr int line_words = 16;
#pragma unroll
    for (int i = 0; i < (int)(sizeof(T) / sizeof(int)); i += line_words)
        asm volatile("" ::"r"(((const int *)&params)[i]));
}

// Weights are read once per step: they stay out of L1 and leave L2 first, so that activations and code remain there.
__device__ __forceinline__ uint64_t nb_stream_policy(void)
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

__device__ __forceinline__ uint4 nb_load_weight(const uint4 *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3},[%4],%5;"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p), "l"(nb_stream_policy()));
    return v;
}

// c[16][8] += a[16][16] b[16][8]; c[0..1]: row lane / 4, columns 2 * (lane % 4) and + 1; c[2..3]: row lane / 4 + 8.
template <bool F16> __device__ __forceinline__ void nb_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    if (F16)
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t nb_mul_bf16x2(uint32_t a, uint32_t b)
{
    __nv_bfloat162 x = *(__nv_bfloat162 *)&a, y = *(__nv_bfloat162 *)&b, z = __hmul2(x, y);
    return *(uint32_t *)&z;
}

__device__ __forceinline__ uint32_t nb_pack_bf16x2(float low, float high)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&v;
}

// Two e4m3 codes to two f16 or two bf16, exactly. bf16: the bits land at the exponent's bottom, which is 2^-120 too
// small.
__device__ __forceinline__ uint32_t nb_f16x2_from_e4m3x2(uint32_t pair)
{
#if __CUDA_ARCH__ >= 890
    uint32_t v;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(v) : "h"((uint16_t)pair));
    return v;
#else
    uint32_t t = __byte_perm(pair, 0, 0x1404), v = (t & 0x80008000u) | ((t >> 1) & 0x3f803f80u);
    __half2 x = *(__half2 *)&v, y = __hmul2(x, __float2half2_rn(256.0f));
    return *(uint32_t *)&y;
#endif
}

__device__ __forceinline__ uint32_t nb_bf16x2_from_e4m3x2(uint32_t pair)
{
    uint32_t t = __byte_perm(pair, 0, 0x1404), v = (t & 0x80008000u) | ((t >> 4) & 0x07f007f0u);
    return nb_mul_bf16x2(v, 0x7b807b80u); // 2^120
}

// NVFP4 words are stored so that decoding is cheap (nb_repack_nvfp4_word): of each 16-bit half, pair 0 has its sign at
// bit 15 and its magnitude at 8..6, where bf16 has the last exponent bits and the first of the mantissa: value *
// 2^-126. Pair 1 is 3 bits lower, pair 2 is 6 bits lower; pair 3 has the sign at 14 and its magnitude at 13, 11, 10.
__device__ __forceinline__ void nb_decode_nvfp4(uint32_t w, uint32_t a[4])
{
    const uint32_t sign_magnitude = 0x81c081c0u;
    a[0] = w & sign_magnitude;
    a[1] = (w << 3) & sign_magnitude;
    a[2] = (w << 6) & sign_magnitude;
    a[3] = ((w << 1) & 0x80008000u) | ((w >> 5) & 0x01000100u) | ((w >> 4) & 0x00c000c0u);
}

// A block scale as 5 exponent bits and 3 of mantissa (nb_repack_scale) to a pair of bf16: scale * 2^119, so that the
// product with a decoded element is value * 2^-7.
__device__ __forceinline__ uint32_t nb_decode_scale(uint32_t codes, int i)
{
    return __byte_perm(codes, 0, 0x4040 + 0x0101 * i) * 16u + 0x76007600u;
}

#define NB_NVFP4_UNIT_SCALE 128.0f // what the 2^-7 above leaves for the matrix's own multiplier

// Expert `e`'s matrix from expert 0's: data and scale lie `data` and `scale` behind each other, FP8 block and row
// scales too. low, high: multipliers by expert, or NULL.
__device__ __forceinline__ nb_cuda_matrix nb_expert_matrix(const nb_cuda_matrix &m, int e, int64_t data, int64_t scale,
                                                           const float *low, const float *high)
{
    nb_cuda_matrix mine = m;
    int rows = m.paired ? m.n_out / 2 : m.n_out;
    mine.data += e * data, mine.scale += e * scale;
    if (low) mine.scale_low = __ldg(low + e), mine.scale_high = __ldg(high + e);
    if (m.row_scale) mine.row_scale += (int64_t)e * m.n_out;
    if (m.block_scale[0]) {
        int64_t n = (int64_t)((rows + m.block_out - 1) / m.block_out) * m.n_in_block * (m.paired ? 2 : 1);
        mine.block_scale[0] += e * n, mine.block_scale[1] += e * n;
    }
    return mine;
}

// What a warp loads at a time: one tile, or two for NVFP4, whose scales come by pairs of tiles.
template <int KIND> struct nb_unit {
    static constexpr int n_chunk = KIND == NB_KIND_BF16 ? 4 : KIND == NB_KIND_NVFP4 ? 1 : 2; // uint4 of a tile and lane
    static constexpr int n_tile = KIND == NB_KIND_NVFP4 ? 2 : 1;
    static constexpr bool f16 = KIND == NB_KIND_FP8_A8;
    uint4 chunk[n_chunk * n_tile];
    uint32_t scale;
};

// data, scale: of the row tile. Beyond the last unit the registers are zero, which adds nothing.
template <int KIND>
__device__ __forceinline__ void nb_unit_load(nb_unit<KIND> *u, const uint4 *data, const uint32_t *scale, int i_unit,
                                             int n_unit)
{
    int lane = threadIdx.x & 31;
    constexpr int n = nb_unit<KIND>::n_chunk * nb_unit<KIND>::n_tile;
#pragma unroll
    for (int c = 0; c < n; c++)
        u->chunk[c] =
            i_unit < n_unit ? nb_load_weight(data + (int64_t)(i_unit * n + c) * 32 + lane) : make_uint4(0, 0, 0, 0);
    u->scale = 0;
    if (KIND == NB_KIND_NVFP4 && i_unit < n_unit) u->scale = __ldg(scale + (int64_t)i_unit * 32 + lane);
}

// The same through shared memory: a warp's ring of `depth` units. A lane reads back only what it copied itself, so the
// ring needs no barrier. ring: of this warp, [depth][bytes].
template <int KIND> struct nb_ring {
    static constexpr int n = nb_unit<KIND>::n_chunk * nb_unit<KIND>::n_tile;
    static constexpr int bytes = n * 512 + (KIND == NB_KIND_NVFP4 ? 128 : 0);
};

template <int KIND>
__device__ __forceinline__ void nb_ring_copy(uint8_t *slot, const uint4 *data, const uint32_t *scale, int i_unit)
{
    int lane = threadIdx.x & 31;
    uint32_t to = (uint32_t)__cvta_generic_to_shared(slot);
#pragma unroll
    for (int c = 0; c < nb_ring<KIND>::n; c++)
        asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0],[%1],16,%2;" ::"r"(to + c * 512 + lane * 16),
                     "l"(data + (int64_t)(i_unit * nb_ring<KIND>::n + c) * 32 + lane), "l"(nb_stream_policy()));
    if (KIND == NB_KIND_NVFP4)
        asm volatile("cp.async.ca.shared.global [%0],[%1],4;" ::"r"(to + nb_ring<KIND>::n * 512 + lane * 4),
                     "l"(scale + (int64_t)i_unit * 32 + lane));
}

template <int KIND> __device__ __forceinline__ void nb_ring_read(nb_unit<KIND> *u, const uint8_t *slot)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int c = 0; c < nb_ring<KIND>::n; c++) u->chunk[c] = *(const uint4 *)(slot + c * 512 + lane * 16);
    u->scale = KIND == NB_KIND_NVFP4 ? *(const uint32_t *)(slot + nb_ring<KIND>::n * 512 + lane * 4) : 0;
}

// The four A fragments of tile `i` of the unit.
template <int KIND> __device__ __forceinline__ void nb_unit_decode(const nb_unit<KIND> &u, int i, uint32_t a[4][4])
{
    constexpr int n = nb_unit<KIND>::n_chunk;
    const uint32_t *low = (const uint32_t *)&u.chunk[i * n], *high = (const uint32_t *)&u.chunk[i * n + n / 2];
#pragma unroll
    for (int s = 0; s < 4; s++) {
        if (KIND == NB_KIND_BF16) {
            a[s][0] = low[2 * s], a[s][1] = high[2 * s], a[s][2] = low[2 * s + 1], a[s][3] = high[2 * s + 1];
        } else if (KIND == NB_KIND_FP8_A8) {
            a[s][0] = nb_f16x2_from_e4m3x2(low[s] & 0xffffu), a[s][2] = nb_f16x2_from_e4m3x2(low[s] >> 16);
            a[s][1] = nb_f16x2_from_e4m3x2(high[s] & 0xffffu), a[s][3] = nb_f16x2_from_e4m3x2(high[s] >> 16);
        } else if (KIND == NB_KIND_FP8_A16) {
            a[s][0] = nb_bf16x2_from_e4m3x2(low[s] & 0xffffu), a[s][2] = nb_bf16x2_from_e4m3x2(low[s] >> 16);
            a[s][1] = nb_bf16x2_from_e4m3x2(high[s] & 0xffffu), a[s][3] = nb_bf16x2_from_e4m3x2(high[s] >> 16);
        } else {
            uint32_t row_low = nb_decode_scale(u.scale, 2 * i), row_high = nb_decode_scale(u.scale, 2 * i + 1);
            nb_decode_nvfp4(low[s], a[s]);
            a[s][0] = nb_mul_bf16x2(a[s][0], row_low), a[s][2] = nb_mul_bf16x2(a[s][2], row_low);
            a[s][1] = nb_mul_bf16x2(a[s][1], row_high), a[s][3] = nb_mul_bf16x2(a[s][3], row_high);
        }
    }
}

// FP8 with scales per block of inputs: the multipliers of rows lane / 4 and lane / 4 + 8 of a row tile for one k tile.
__device__ __forceinline__ float2 nb_block_scale(const nb_cuda_matrix &m, int row_tile, int k_tile)
{
    int k = min(k_tile * NB_CUDA_K_TILE / m.block_in, m.n_in_block - 1);
    int rows = m.paired ? 8 : 16;
    int low = row_tile * rows / m.block_out * m.n_in_block + k;
    int high = (m.paired ? row_tile * rows : row_tile * rows + 8) / m.block_out * m.n_in_block + k;
    return make_float2(__ldg(m.block_scale[0] + low), __ldg(m.block_scale[1] + high));
}

// The B fragments of one tile and 8 columns: x points at the tile's first column of row 0, [8][stride] 16-bit values in
// shared or global memory; rows >= n_x are zero.
__device__ __forceinline__ void nb_tile_input(uint32_t b[8], const uint16_t *x, int stride, int n_x)
{
    int lane = threadIdx.x & 31, row = lane >> 2;
    uint4 v[2] = {};
    if (row < n_x) {
        const uint4 *p = (const uint4 *)(x + (int64_t)row * stride + (lane & 3) * 16);
        v[0] = p[0], v[1] = p[1];
    }
    *(uint4 *)b = v[0], *(uint4 *)(b + 4) = v[1];
}

// acc[nt] += tile * x for NT column tiles. x: [8 * NT rows][stride] at the tile's first column; rows >= n_x are taken
// as zero.
template <int KIND, int NT>
__device__ __forceinline__ void nb_tile_mma(float acc[NT][4], const uint32_t a[4][4], const uint16_t *x, int stride,
                                            int n_x)
{
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        if (NT > 1 && nt * 8 >= n_x) break;
        uint32_t b[8];
        nb_tile_input(b, x + (int64_t)nt * 8 * stride, stride, n_x - nt * 8);
#pragma unroll
        for (int s = 0; s < 4; s++) nb_mma<nb_unit<KIND>::f16>(acc[nt], a[s], b[2 * s], b[2 * s + 1]);
    }
}

// acc += part of a k tile, by the block scales where the matrix has them.
__device__ __forceinline__ void nb_add_scaled(float acc[4], const float part[4], float2 s)
{
    acc[0] += part[0] * s.x, acc[1] += part[1] * s.x, acc[2] += part[2] * s.y, acc[3] += part[3] * s.y;
}

template <int KIND> __device__ __forceinline__ bool nb_has_block_scale(const nb_cuda_matrix &m)
{
    return (KIND == NB_KIND_FP8_A8 || KIND == NB_KIND_FP8_A16) && m.block_scale[0];
}

// One unit: decode, multiply, with the block scales where the matrix has them. x: at column 0.
template <int KIND, int NT>
__device__ __forceinline__ void nb_unit_mma(float acc[NT][4], const nb_unit<KIND> &u, const nb_cuda_matrix &m,
                                            int row_tile, int i_unit, const uint16_t *x, int x_first_tile, int stride,
                                            int n_x)
{
#pragma unroll
    for (int i = 0; i < nb_unit<KIND>::n_tile; i++) {
        uint32_t a[4][4];
        int k_tile = i_unit * nb_unit<KIND>::n_tile + i;
        const uint16_t *at = x + (k_tile - x_first_tile) * NB_CUDA_K_TILE;
        nb_unit_decode<KIND>(u, i, a);
        if (nb_has_block_scale<KIND>(m)) {
            float part[NT][4] = {};
            nb_tile_mma<KIND, NT>(part, a, at, stride, n_x);
            float2 s = nb_block_scale(m, row_tile, k_tile);
#pragma unroll
            for (int nt = 0; nt < NT; nt++) nb_add_scaled(acc[nt], part[nt], s);
        } else {
            nb_tile_mma<KIND, NT>(acc, a, at, stride, n_x);
        }
    }
}

// The same with the input already in registers, b[tile][nt]; n_nt column tiles count. Two sums a column tile, so that
// the products do not wait for each other.
template <int KIND, int NT>
__device__ __forceinline__ void nb_unit_mma_kept(float acc[NT][4], const nb_unit<KIND> &u, const nb_cuda_matrix &m,
                                                 int row_tile, int i_unit,
                                                 const uint32_t b[nb_unit<KIND>::n_tile][NT][8], int n_nt)
{
#pragma unroll
    for (int i = 0; i < nb_unit<KIND>::n_tile; i++) {
        uint32_t a[4][4];
        nb_unit_decode<KIND>(u, i, a);
        float2 s = make_float2(1, 1);
        bool scaled = nb_has_block_scale<KIND>(m);
        if (scaled) s = nb_block_scale(m, row_tile, i_unit * nb_unit<KIND>::n_tile + i);
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            if (NT > 1 && nt >= n_nt) break;
            float part[2][4] = {};
#pragma unroll
            for (int k = 0; k < 4; k++)
                nb_mma<nb_unit<KIND>::f16>(part[k & 1], a[k], b[i][nt][2 * k], b[i][nt][2 * k + 1]);
#pragma unroll
            for (int c = 0; c < 4; c++) part[0][c] += part[1][c];
            nb_add_scaled(acc[nt], part[0], s);
        }
    }
}

// E4M3, to nearest even, saturating: nb_e4m3_from_f32 by hardware where there is one.
__device__ __forceinline__ uint32_t nb_e4m3x2_from_f32(float low, float high)
{
#if __CUDA_ARCH__ >= 890
    uint16_t v;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(v) : "f"(high), "f"(low));
    return v;
#else
    return nb_e4m3_from_f32(low) | (uint32_t)nb_e4m3_from_f32(high) << 8;
#endif
}

// Two bf16 to the codes of e4m3(x * inverse_scale).
__device__ __forceinline__ uint32_t nb_input_codes(uint32_t pair, float inverse_scale)
{
    return nb_e4m3x2_from_f32(nb_f32_from_bits(pair << 16) * inverse_scale,
                              nb_f32_from_bits(pair & 0xffff0000u) * inverse_scale);
}

// Two values as inputs of a matrix: bf16, and for W8A8 rounded on to e4m3(x / input_scale), kept as f16.
template <bool F16> __device__ __forceinline__ uint32_t nb_input_pair(float low, float high, float inverse_scale)
{
    uint32_t pair = nb_pack_bf16x2(low, high);
    return F16 ? nb_f16x2_from_e4m3x2(nb_input_codes(pair, inverse_scale)) : pair;
}

template <bool F16> __device__ __forceinline__ uint16_t nb_input_from_f32(float x, float inverse_scale)
{
    return (uint16_t)nb_input_pair<F16>(x, 0.0f, inverse_scale);
}

// v[i] of lane t of a quad goes to v[t] of lane i.
__device__ __forceinline__ void nb_transpose_quad(uint32_t v[4])
{
    int t = threadIdx.x & 3;
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        bool high = t & step;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & step) continue;
            uint32_t other = __shfl_xor_sync(0xffffffffu, high ? v[i] : v[i + step], step);
            high ? v[i] = other : v[i + step] = other;
        }
    }
}

__device__ __forceinline__ float nb_warp_sum(float v)
{
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

__device__ __forceinline__ float nb_warp_max(float v)
{
    for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

// 2^x; results below 2^-126 are zero.
__device__ __forceinline__ float nb_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float nb_sigmoid(float x)
{
    return __fdividef(1.0f, 1.0f + __expf(-x));
}
__device__ __forceinline__ float nb_silu(float x)
{
    return x * nb_sigmoid(x);
}

#endif
