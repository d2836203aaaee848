// The part of cpu_matmul_vec.h that works on pairs of bf16 (AVX512_BF16): 32 inputs a step.
enum { PAIRS = 32 };

NB_VEC __mmask32 pairs_mask(int n)
{
    return n >= PAIRS ? 0xffffffffu : (1u << n) - 1;
}

NB_VEC __m512i load_words(const uint16_t *p, int n)
{
    return n == PAIRS ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16(pairs_mask(n), p);
}

// E4M3 to bf16: exponent and mantissa move into place and the exponent's bias grows by 120; the 8 subnormal codes are
// looked up, as the dot product takes subnormal bf16 for 0.
NB_VEC __m512i words_of_e4m3(const uint8_t *p, int n)
{
    const __m512i subnormal =
        _mm512_castsi128_si512(_mm_setr_epi16(0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
    __m256i code = n == PAIRS ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskz_loadu_epi8(pairs_mask(n), p);
    __m512i word = _mm512_cvtepu8_epi16(code);
    __m512i magnitude = _mm512_and_si512(word, _mm512_set1_epi16(0x7f));
    __m512i value = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(0x3c00));
    __mmask32 small = _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(8));
    value = _mm512_mask_permutexvar_epi16(value, small, magnitude, subnormal);
    enum { A_OR_B_AND_C = 0xf8 };
    return _mm512_ternarylogic_epi32(value, _mm512_slli_epi16(word, 8), _mm512_set1_epi16((short)0x8000), A_OR_B_AND_C);
}

// 32 packed E2M1 codes times their two block scales (the second one is not there if n is 16): one lookup in the table
// of both blocks' products, which is made on the spot.
NB_VEC __m512i words_of_nvfp4(const uint8_t *p, const float *scale, int n)
{
    const __m512 value = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    __m512 first = _mm512_mul_ps(value, _mm512_set1_ps(scale[0]));
    __m512 second = n == PAIRS ? _mm512_mul_ps(value, _mm512_set1_ps(scale[1])) : first;
    __m512i table = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    __m128i byte = n == PAIRS ? _mm_loadu_si128((const __m128i *)p) : _mm_loadl_epi64((const __m128i *)p);
    __m512i word = _mm512_cvtepu8_epi32(byte);
    enum { A_OR_B_THEN_AND_C = 0xa8 };
    word =
        _mm512_ternarylogic_epi32(word, _mm512_slli_epi32(word, 12), _mm512_set1_epi32(0x000f000f), A_OR_B_THEN_AND_C);
    const __m512i block = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(16), 1);
    return _mm512_permutexvar_epi16(_mm512_or_si512(word, block), table);
}

NB_VEC __m512i load_weight_pairs(nb_format format, const weights *w, int out, int i, int n)
{
    const uint8_t *p = w->data[out];
    switch (format) {
    case NB_FORMAT_FP8: return words_of_e4m3(p + i, n);
    case NB_FORMAT_NVFP4: return words_of_nvfp4(p + i / 2, w->block_scale[out] + i / NB_NVFP4_BLOCK, n);
    default: return load_words((const uint16_t *)p + i, n);
    }
}

NB_VEC void tile_step_pairs(nb_format format, const weights *w, const rows *x, int row, int n_row, int i, int n,
                            vf sum[TILE][OUTS])
{
    __m512i weight[OUTS];
    for (int o = 0; o < OUTS; o++) weight[o] = load_weight_pairs(format, w, o, i, n);
    for (int r = 0; r < n_row; r++) {
        __m512i in = load_words((const uint16_t *)x->x + (row + r) * x->stride + i, n);
        for (int o = 0; o < OUTS; o++) sum[r][o] = _mm512_dpbf16_ps(sum[r][o], (__m512bh)weight[o], (__m512bh)in);
    }
}

// All steps of a tile; returns the inputs that are done: all of them.
NB_VEC int tile_pairs(nb_format format, const weights *w, const rows *x, int row, int n_row, vf sum[TILE][OUTS])
{
    int i = 0;
    for (; i + PAIRS <= x->n; i += PAIRS) tile_step_pairs(format, w, x, row, n_row, i, PAIRS, sum);
    if (i < x->n) tile_step_pairs(format, w, x, row, n_row, i, x->n - i, sum);
    return x->n;
}

// Decodes the segment into buffer[OUTS][SEGMENT], from where it is used as BF16: the same values, so the same sums.
NB_VEC void decode_pairs(nb_format format, weights *w, int n, uint16_t *buffer)
{
    for (int o = 0; o < OUTS; o++) {
        uint16_t *to = buffer + o * SEGMENT;
        int i = 0;
        for (; i + PAIRS <= n; i += PAIRS) _mm512_storeu_si512(to + i, load_weight_pairs(format, w, o, i, PAIRS));
        if (i < n) _mm512_storeu_si512(to + i, load_weight_pairs(format, w, o, i, n - i));
        w->data[o] = to;
    }
}
