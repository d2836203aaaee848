// Attention's parts that stand alone: rotary embedding, and one head of one row over its keys. The block itself
// (cpu_attention.c) is in cpu_device_internal.h.
#ifndef NB_CPU_ATTENTION_H
#define NB_CPU_ATTENTION_H

#include "cpu/cpu_cache.h"
#include "cpu/cpu_kernels.h"

// inv_freq: [n_rot / 2]. Plain: theta^(-2i / n_rot). YaRN: frequencies below the correction range are divided by the
// factor, those above are kept, with a ramp between (Peng et al., "YaRN", 2023; as vLLM computes it).
void nb_cpu_rope_inv_freq(const nb_rope *rope, float *inv_freq);

// cos, sin: [n_rot / 2] of one row. position: t, h, w; text has three equal ones.
void nb_cpu_rope_angles(const nb_rope *rope, const float *inv_freq, const int64_t position[3], float *cos, float *sin);

// Rotates the first n_rot dimensions of a head in place; dimension i pairs with i + n_rot / 2.
void nb_cpu_rope_rotate(const float *cos, const float *sin, int n_rot, float *head);

// One query head over the keys [kv_from, kv_to): softmax(scale * q k) v, k_scale and v_scale undone. All keys' scores
// are held at once, so the sum does not depend on how the context came about.
typedef struct nb_cpu_attention_head {
    const nb_cpu_kernel_set *kernels;
    const nb_cpu_cache *cache;
    const nb_cpu_kv_view *view;
    int kv_head;
    int64_t kv_from, kv_to;
    float key_scale;   // k_scale / sqrt(d_head)
    float value_scale; // v_scale
} nb_cpu_attention_head;

// query, out: [d_head]; score: [kv_to - kv_from] scratch.
void nb_cpu_attention_head_run(const nb_cpu_attention_head *head, const float *query, float *score, float *out);

#endif
