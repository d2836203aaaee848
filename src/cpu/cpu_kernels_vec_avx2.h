// Vectors of 8 binary32 values by AVX2, FMA and F16C: the layer under cpu_matmul_vec.h and cpu_ops_vec.h. "_part" takes
// the first n <= VF values, the rest reads as 0 and is not written.
#ifndef NB_CPU_KERNELS_VEC_AVX2_H
#define NB_CPU_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vf;
enum { VF = 8 };

#define NB_VEC static inline __attribute__((always_inline))

NB_VEC __m256i vf_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

NB_VEC vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
NB_VEC vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
NB_VEC vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
NB_VEC vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
NB_VEC vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
NB_VEC vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
NB_VEC vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
} // b if either is NaN
NB_VEC vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
} // b if either is NaN
NB_VEC vf vf_round(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
NB_VEC vf vf_zero_below(vf x, float least, vf y) // y, but 0 where x < least
{
    return _mm256_andnot_ps(_mm256_cmp_ps(x, vf_set(least), _CMP_LT_OQ), y);
}
NB_VEC vf vf_power_of_2(vf n) // 2^n for whole n in [-126, 127]
{
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
NB_VEC float vf_sum(vf x)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}
NB_VEC float vf_largest(vf x)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

NB_VEC vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
NB_VEC vf vf_load_part(const float *p, int n)
{
    return _mm256_maskload_ps(p, vf_mask(n));
}
NB_VEC vf vf_blend_part(vf a, vf b, int n) // first n of a, then b
{
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(vf_mask(n)));
}
NB_VEC void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}
NB_VEC void vf_store_part(float *p, vf x, int n)
{
    _mm256_maskstore_ps(p, vf_mask(n), x);
}

NB_VEC __m128i words_part(const uint16_t *p, int n)
{
    uint16_t word[8] = {0};
    memcpy(word, p, sizeof *word * (size_t)n);
    return _mm_loadu_si128((const __m128i *)word);
}

NB_VEC vf vf_of_bf16(__m128i word)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(word), 16));
}
NB_VEC vf vf_load_bf16(const uint16_t *p)
{
    return vf_of_bf16(_mm_loadu_si128((const __m128i *)p));
}
NB_VEC vf vf_load_bf16_part(const uint16_t *p, int n)
{
    return vf_of_bf16(words_part(p, n));
}
NB_VEC vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
NB_VEC vf vf_load_f16_part(const uint16_t *p, int n)
{
    return _mm256_cvtph_ps(words_part(p, n));
}

// The seven low bits of an E4M3 code, moved to where binary32 has exponent and mantissa, are the value times 2^-120,
// subnormal codes included.
NB_VEC vf vf_of_e4m3(__m128i code)
{
    __m256i bits = _mm256_slli_epi32(_mm256_cvtepi8_epi32(code), 20);
    bits = _mm256_and_si256(bits, _mm256_set1_epi32((int)0x87f00000u));
    return _mm256_mul_ps(_mm256_castsi256_ps(bits), vf_set(0x1p120f));
}
NB_VEC vf vf_load_e4m3(const uint8_t *p)
{
    return vf_of_e4m3(_mm_loadl_epi64((const __m128i *)p));
}
NB_VEC vf vf_load_e4m3_part(const uint8_t *p, int n)
{
    uint64_t bytes = 0;
    memcpy(&bytes, p, (size_t)n);
    return vf_of_e4m3(_mm_cvtsi64_si128((long long)bytes));
}

// 8 packed E2M1 codes. The table holds the magnitudes; the sign is bit 3 of a code.
NB_VEC vf vf_load_e2m1(const uint8_t *p)
{
    const __m256 magnitude = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
    int word;
    memcpy(&word, p, sizeof word);
    __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    __m256i sign = _mm256_and_si256(_mm256_slli_epi32(code, 28), _mm256_set1_epi32((int)0x80000000u));
    return _mm256_xor_ps(_mm256_permutevar8x32_ps(magnitude, code), _mm256_castsi256_ps(sign));
}

#endif
