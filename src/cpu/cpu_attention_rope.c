// Rotary embedding: frequencies (with YaRN), angles of a position, rotation of a head. See cpu_attention.h.
#include <math.h>

#include "cpu/cpu_attention.h"

// The dimension at which a frequency turns `n_turn` times over the original context.
static double correction_dim(const nb_rope *rope, double n_turn)
{
    double context = (double)rope->original_max_position_embeddings;
    return rope->n_rot * log(context / (n_turn * 2 * M_PI)) / (2 * log(rope->rope_theta));
}

void nb_cpu_rope_inv_freq(const nb_rope *rope, float *inv_freq)
{
    int n = rope->n_rot / 2;
    double low = 0, high = 0;
    if (rope->yarn) {
        low = fmax(floor(correction_dim(rope, rope->yarn_beta_fast)), 0);
        high = fmin(ceil(correction_dim(rope, rope->yarn_beta_slow)), rope->n_rot - 1);
        if (low == high) high += 0.001;
    }
    for (int i = 0; i < n; i++) {
        // In binary32 as the reference does it: at large positions an angle moves with the last bit of its frequency.
        float freq = 1.0f / powf((float)rope->rope_theta, (float)(2 * i) / (float)rope->n_rot);
        float ramp = rope->yarn ? fminf(fmaxf((float)((i - low) / (high - low)), 0), 1) : 0;
        inv_freq[i] = rope->yarn ? freq / (float)rope->yarn_factor * ramp + freq * (1 - ramp) : freq;
    }
}

// Which of the three positions frequency i follows. Interleaved: h at 1, 4, .., w at 2, 5, .. as long as their sections
// last, else t. Contiguous: t's section, then h's, then w's.
static int position_axis(const nb_rope *rope, int i)
{
    const int *section = rope->mrope_section;
    if (section[0] == 0) return 0;
    if (rope->mrope_interleaved) return i % 3 != 0 && i < 3 * section[i % 3] ? i % 3 : 0;
    return i < section[0] ? 0 : i < section[0] + section[1] ? 1 : 2;
}

void nb_cpu_rope_angles(const nb_rope *rope, const float *inv_freq, const int64_t position[3], float *cos, float *sin)
{
    for (int i = 0; i < rope->n_rot / 2; i++) {
        float angle = (float)position[position_axis(rope, i)] * inv_freq[i];
        cos[i] = cosf(angle) * (float)rope->attention_factor;
        sin[i] = sinf(angle) * (float)rope->attention_factor;
    }
}

void nb_cpu_rope_rotate(const float *cos, const float *sin, int n_rot, float *head)
{
    int half = n_rot / 2;
    for (int i = 0; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = a * cos[i] - b * sin[i];
        head[i + half] = b * cos[i] + a * sin[i];
    }
}
