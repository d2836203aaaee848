// The attention block, gated (qwen3_5_moe) or plain (qwen3_moe): projections, per-head norms, RoPE, cache, softmax,
// gate.
#include <math.h>
#include <string.h>

#include "cpu/cpu_device_internal.h"

typedef struct nb_attention_run {
    nb_cpu *cpu;
    const nb_cpu_pass *pass;
    const nb_layer *layer;
    int n_head, n_kv_head, d_head, query_stride; // query_stride: floats from head to head of q_proj's output
} nb_attention_run;

static nb_attention_run make_run(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer)
{
    const nb_config *c = &cpu->model->config;
    return (nb_attention_run){cpu,
                              pass,
                              layer,
                              c->num_attention_heads,
                              c->num_key_value_heads,
                              c->head_dim,
                              c->head_dim * (c->attn_output_gate ? 2 : 1)};
}

static float *query_at(const nb_attention_run *run, int row, int head)
{
    return run->cpu->scratch.attention.query + ((int64_t)row * run->n_head + head) * run->query_stride;
}

static void norm_and_rotate(const nb_attention_run *run, const float *weight, int row, float *head)
{
    const nb_config *c = &run->cpu->model->config;
    int half = c->rope.n_rot / 2;
    const float *cos = run->pass->cos + (int64_t)row * half, *sin = run->pass->sin + (int64_t)row * half;
    run->cpu->kernels->rmsnorm(head, weight, (float)c->rms_norm_eps, run->d_head, head);
    nb_cpu_rope_rotate(cos, sin, c->rope.n_rot, head);
}

static nb_cpu_kv_view layer_view(const nb_attention_run *run, const nb_cpu_span *span)
{
    nb_cpu_kv_view view = span->view;
    view.i_layer = run->layer->i_attention;
    return view;
}

// Stored = value / scale; the scale belongs to fp8 caches alone.
static void store_head(const nb_attention_run *run, nb_cpu_cache_part part, int row, int head, float *x)
{
    const nb_cpu_cache *cache = &run->cpu->cache;
    const nb_cpu_span *span = &run->pass->span[run->pass->span_of_row[row]];
    const nb_attention_weights *w = &run->layer->attention;
    nb_cpu_kv_view view = layer_view(run, span);
    if (cache->format == NB_KV_FP8) {
        float scale = part == NB_CPU_KEY ? w->k_scale : w->v_scale;
        for (int i = 0; i < run->d_head; i++) x[i] /= scale;
    }
    void *to = nb_cpu_cache_row(cache, &view, part, head, span->index + row - span->first);
    run->cpu->kernels->store[cache->format](x, run->d_head, to);
}

static void write_keys(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_attention_run *run = user;
    for (int row = from; row < to; row++) {
        for (int head = 0; head < run->n_kv_head; head++) {
            int64_t at = ((int64_t)row * run->n_kv_head + head) * run->d_head;
            float *key = run->cpu->scratch.attention.key + at;
            norm_and_rotate(run, run->layer->attention.k_norm, row, key);
            store_head(run, NB_CPU_KEY, row, head, key);
            store_head(run, NB_CPU_VALUE, row, head, run->cpu->scratch.attention.value + at);
        }
    }
}

// One query head of one row: norm, RoPE, attention, gate.
static void attend(const nb_attention_run *run, int row, int head, float *score)
{
    nb_cpu *cpu = run->cpu;
    const nb_cpu_span *span = &run->pass->span[run->pass->span_of_row[row]];
    const nb_attention_weights *w = &run->layer->attention;
    nb_cpu_kv_view view = layer_view(run, span);
    bool fp8 = cpu->cache.format == NB_KV_FP8;
    nb_cpu_attention_head h = {.kernels = cpu->kernels,
                               .cache = &cpu->cache,
                               .view = &view,
                               .kv_head = head / (run->n_head / run->n_kv_head),
                               .kv_from = span->kv_from,
                               .kv_to = span->index + row - span->first + 1,
                               .key_scale = (fp8 ? w->k_scale : 1) / sqrtf((float)run->d_head),
                               .value_scale = fp8 ? w->v_scale : 1};
    float *query = query_at(run, row, head);
    float *out = cpu->scratch.attention.out + ((int64_t)row * run->n_head + head) * run->d_head;
    norm_and_rotate(run, w->q_norm, row, query);
    nb_cpu_attention_head_run(&h, query, score, out);
    if (run->query_stride > run->d_head) cpu->kernels->sigmoid_mul(out, query + run->d_head, run->d_head, out);
}

static void attend_range(void *user, int from, int to, int i_thread)
{
    const nb_attention_run *run = user;
    float *score = run->cpu->scratch.attention.score + i_thread * run->cpu->scratch.attention.max_context;
    for (int i = from; i < to; i++) attend(run, i / run->n_head, i % run->n_head, score);
}

static int64_t mean_context(const nb_cpu_pass *pass)
{
    int64_t sum = 0;
    for (int i = 0; i < pass->n_span; i++) sum += (pass->span[i].index + pass->span[i].n_row) * pass->span[i].n_row;
    return sum / pass->n_row + 1;
}

void nb_cpu_attention_absorb(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer)
{
    nb_attention_run run = make_run(cpu, pass, layer);
    const nb_attention_weights *w = &layer->attention;
    nb_cpu_norm(cpu, pass->x, layer->input_layernorm, pass->n_row, cpu->scratch.normed);
    nb_cpu_linear_add(cpu, &w->k_proj, cpu->scratch.normed, pass->n_row, cpu->scratch.attention.key, false);
    nb_cpu_linear_add(cpu, &w->v_proj, cpu->scratch.normed, pass->n_row, cpu->scratch.attention.value, false);
    nb_cpu_linear_run(cpu);
    nb_cpu_split(cpu, write_keys, &run, pass->n_row, (int64_t)run.n_kv_head * run.d_head * 16);
}

void nb_cpu_attention_core(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer)
{
    nb_attention_run run = make_run(cpu, pass, layer);
    nb_cpu_split(cpu, write_keys, &run, pass->n_row, (int64_t)run.n_kv_head * run.d_head * 16);
    nb_cpu_split(cpu, attend_range, &run, pass->n_row * run.n_head, 2 * mean_context(pass) * run.d_head);
}

void nb_cpu_attention_block(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer)
{
    const nb_attention_weights *w = &layer->attention;
    const float *normed = cpu->scratch.normed;
    nb_cpu_norm(cpu, pass->x, layer->input_layernorm, pass->n_row, cpu->scratch.normed);
    nb_cpu_linear_add(cpu, &w->q_proj, normed, pass->n_row, cpu->scratch.attention.query, false);
    nb_cpu_linear_add(cpu, &w->k_proj, normed, pass->n_row, cpu->scratch.attention.key, false);
    nb_cpu_linear_add(cpu, &w->v_proj, normed, pass->n_row, cpu->scratch.attention.value, false);
    nb_cpu_linear_run(cpu);
    nb_cpu_attention_core(cpu, pass, layer);
    nb_cpu_linear_add(cpu, &w->o_proj, cpu->scratch.attention.out, pass->n_row, pass->x, true);
    nb_cpu_linear_run(cpu);
}

void nb_cpu_attention_head_run(const nb_cpu_attention_head *head, const float *query, float *score, float *out)
{
    const nb_cpu_cache *cache = head->cache;
    int64_t n = head->kv_to - head->kv_from;
    for (int64_t i = 0; i < n; i++) {
        const void *key = nb_cpu_cache_row(cache, head->view, NB_CPU_KEY, head->kv_head, head->kv_from + i);
        score[i] = head->key_scale * head->kernels->dot[cache->format](query, key, cache->d_head);
    }
    head->kernels->softmax(score, n);
    memset(out, 0, sizeof(float) * (size_t)cache->d_head);
    for (int64_t i = 0; i < n; i++) {
        const void *value = nb_cpu_cache_row(cache, head->view, NB_CPU_VALUE, head->kv_head, head->kv_from + i);
        head->kernels->axpy[cache->format](score[i] * head->value_scale, value, cache->d_head, out);
    }
}
