// Stores of what nb_cuda_prepared describes, by kernels whose result is the next product's input.
#ifndef NB_CUDA_PREPARED_CUH
#define NB_CUDA_PREPARED_CUH

#include "cuda/cuda_product.h"
#include "cuda/cuda_tile.cuh"

// 16-bit columns c .. c + 3; placed, the two pairs lie 8 columns apart.
__device__ __forceinline__ void nb_store_pairs(uint16_t *row, int c, bool placed, uint32_t low, uint32_t high)
{
    uint32_t *to = (uint32_t *)(row + (placed ? nb_product_place(c) : c));
    if (placed)
        to[0] = low, to[4] = high;
    else
        *(uint2 *)to = make_uint2(low, high);
}

// Columns c .. c + 3 of a row; c is a multiple of 4.
__device__ __forceinline__ void nb_store_prepared(const nb_cuda_prepared &p, int row, int c, float4 v)
{
    int64_t first = (int64_t)row * p.stride;
    uint32_t low = nb_pack_bf16x2(v.x, v.y), high = nb_pack_bf16x2(v.z, v.w);
    if (p.bf16) nb_store_pairs(p.bf16 + first, c, p.bf16_placed, low, high);
    if (!p.fp8) return;
    uint32_t code[2] = {nb_input_codes(low, p.inverse), nb_input_codes(high, p.inverse)};
    if (p.codes)
        *(uint32_t *)((uint8_t *)p.fp8 + first + nb_product_place_e4m3(c)) = code[0] | code[1] << 16;
    else
        nb_store_pairs(p.fp8 + first, c, p.fp8_placed, nb_f16x2_from_e4m3x2(code[0]), nb_f16x2_from_e4m3x2(code[1]));
}

// Column c alone.
__device__ __forceinline__ void nb_store_prepared_one(const nb_cuda_prepared &p, int row, int c, float v)
{
    int64_t first = (int64_t)row * p.stride;
    uint32_t rounded = nb_pack_bf16x2(v, 0);
    if (p.bf16) p.bf16[first + (p.bf16_placed ? nb_product_place(c) : c)] = (uint16_t)rounded;
    if (!p.fp8) return;
    uint32_t code = nb_input_codes(rounded, p.inverse);
    if (p.codes)
        ((uint8_t *)p.fp8)[first + nb_product_place_e4m3(c)] = (uint8_t)code;
    else
        p.fp8[first + (p.fp8_placed ? nb_product_place(c) : c)] = (uint16_t)nb_f16x2_from_e4m3x2(code);
}

#endif
