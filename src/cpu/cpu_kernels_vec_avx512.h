// Vectors of 16 binary32 values by AVX-512: the layer under cpu_matmul_vec.h and cpu_ops_vec.h. "_part" takes the first
// n <= VF values, the rest reads as 0 and is not written.
#ifndef NB_CPU_KERNELS_VEC_AVX512_H
#define NB_CPU_KERNELS_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 vf;
enum { VF = 16 };

#define NB_VEC static inline __attribute__((always_inline))

NB_VEC __mmask16 vf_mask(int n)
{
    return (__mmask16)((1u << n) - 1);
}

NB_VEC vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
NB_VEC vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
NB_VEC vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
NB_VEC vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
NB_VEC vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
NB_VEC vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
NB_VEC vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
} // b if either is NaN
NB_VEC vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
} // b if either is NaN
NB_VEC vf vf_round(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
NB_VEC vf vf_zero_below(vf x, float least, vf y) // y, but 0 where x < least
{
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, vf_set(least), _CMP_LT_OQ), _mm512_setzero_ps());
}
NB_VEC vf vf_power_of_2(vf n) // 2^n for whole n in [-126, 127]
{
    __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
NB_VEC float vf_sum(vf x)
{
    return _mm512_reduce_add_ps(x);
}
NB_VEC float vf_largest(vf x)
{
    return _mm512_reduce_max_ps(x);
}

NB_VEC vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
NB_VEC vf vf_load_part(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vf_mask(n), p);
}
NB_VEC vf vf_blend_part(vf a, vf b, int n)
{
    return _mm512_mask_mov_ps(b, vf_mask(n), a);
} // first n of a, then b
NB_VEC void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
NB_VEC void vf_store_part(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, vf_mask(n), x);
}

NB_VEC vf vf_of_bf16(__m256i word)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(word), 16));
}
NB_VEC vf vf_load_bf16(const uint16_t *p)
{
    return vf_of_bf16(_mm256_loadu_si256((const __m256i *)p));
}
NB_VEC vf vf_load_bf16_part(const uint16_t *p, int n)
{
    return vf_of_bf16(_mm256_maskz_loadu_epi16(vf_mask(n), p));
}
NB_VEC vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
NB_VEC vf vf_load_f16_part(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vf_mask(n), p));
}

// The seven low bits of an E4M3 code, moved to where binary32 has exponent and mantissa, are the value times 2^-120,
// subnormal codes included.
NB_VEC vf vf_of_e4m3(__m128i code)
{
    __m512i bits = _mm512_slli_epi32(_mm512_cvtepi8_epi32(code), 20);
    bits = _mm512_and_si512(bits, _mm512_set1_epi32((int)0x87f00000u));
    return _mm512_mul_ps(_mm512_castsi512_ps(bits), vf_set(0x1p120f));
}
NB_VEC vf vf_load_e4m3(const uint8_t *p)
{
    return vf_of_e4m3(_mm_loadu_si128((const __m128i *)p));
}
NB_VEC vf vf_load_e4m3_part(const uint8_t *p, int n)
{
    return vf_of_e4m3(_mm_maskz_loadu_epi8(vf_mask(n), p));
}

// 16 packed E2M1 codes.
NB_VEC vf vf_load_e2m1(const uint8_t *p)
{
    const __m512 value = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    const __m512i shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512i word = _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i *)p));
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_permutexvar_epi32(half, word), shift), value);
}

#endif
