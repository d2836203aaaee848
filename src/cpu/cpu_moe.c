// Route, group by expert, three products, combine by rank. See cpu_moe.h.
#include "cpu/cpu_moe.h"

#include <math.h>
#include <string.h>

#include "cpu/cpu_device_internal.h"

typedef struct nb_moe_run {
    nb_cpu *cpu;
    const nb_moe_weights *moe;
    const nb_cpu_moe_scratch *s;
    const float *normed;
    int n_row, n_expert, top_k, d_model;
    bool has_shared;
    float *x;
} nb_moe_run;

void nb_cpu_moe_route(const nb_cpu *cpu, float *logits, int n_expert, int top_k, bool renormalise, float *weight,
                      int32_t *id)
{
    cpu->kernels->softmax(logits, n_expert);
    float sum = 0;
    for (int k = 0; k < top_k; k++) {
        int best = -1;
        for (int e = 0; e < n_expert; e++) {
            bool taken = false;
            for (int j = 0; j < k; j++) taken = taken || id[j] == e;
            if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
        }
        id[k] = best;
        weight[k] = logits[best];
        sum += weight[k];
    }
    for (int k = 0; renormalise && k < top_k; k++) weight[k] /= sum;
}

static void route_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_moe_run *run = user;
    for (int row = from; row < to; row++)
        nb_cpu_moe_route(run->cpu, run->s->logits + (int64_t)row * run->n_expert, run->n_expert, run->top_k,
                         run->cpu->model->config.norm_topk_prob, run->s->weight + row * run->top_k,
                         run->s->id + row * run->top_k);
}

// Counting sort of the (row, rank) pairs by expert.
static void group_rows(const nb_moe_run *run)
{
    const nb_cpu_moe_scratch *s = run->s;
    int n = run->n_row * run->top_k;
    memset(s->first, 0, sizeof(int32_t) * (size_t)(run->n_expert + 1));
    for (int i = 0; i < n; i++) s->first[s->id[i] + 1]++;
    for (int e = 0; e < run->n_expert; e++) s->first[e + 1] += s->first[e];
    for (int i = 0; i < n; i++) s->place[i] = s->first[s->id[i]]++;
    for (int e = run->n_expert; e > 0; e--) s->first[e] = s->first[e - 1]; // back from ends to starts
    s->first[0] = 0;
}

static void gather_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_moe_run *run = user;
    for (int i = from; i < to; i++)
        memcpy(run->s->x + (int64_t)run->s->place[i] * run->d_model,
               run->normed + (int64_t)(i / run->top_k) * run->d_model, sizeof(float) * (size_t)run->d_model);
}

static void add_gate_up(const nb_moe_run *run)
{
    const nb_cpu_moe_scratch *s = run->s;
    for (int e = 0; e < run->n_expert; e++) {
        const nb_expert *expert = &run->moe->expert[e];
        int64_t first = s->first[e], d_ff = expert->gate_proj.n_out;
        int n = s->first[e + 1] - s->first[e];
        nb_cpu_linear_add(run->cpu, &expert->gate_proj, s->x + first * run->d_model, n, s->gate + first * d_ff, false);
        nb_cpu_linear_add(run->cpu, &expert->up_proj, s->x + first * run->d_model, n, s->up + first * d_ff, false);
    }
}

static void add_down(const nb_moe_run *run)
{
    const nb_cpu_moe_scratch *s = run->s;
    for (int e = 0; e < run->n_expert; e++) {
        const nb_expert *expert = &run->moe->expert[e];
        int64_t first = s->first[e], d_ff = expert->down_proj.n_in;
        nb_cpu_linear_add(run->cpu, &expert->down_proj, s->gate + first * d_ff, s->first[e + 1] - s->first[e],
                          s->y + first * run->d_model, false);
    }
}

typedef struct nb_activation {
    nb_cpu *cpu;
    float *gate;
    const float *up;
    int64_t d_ff;
} nb_activation;

static void activate_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_activation *a = user;
    int64_t at = from * a->d_ff;
    a->cpu->kernels->silu_mul(a->gate + at, a->up + at, (to - from) * a->d_ff, a->gate + at);
}

static void activate(const nb_moe_run *run)
{
    const nb_cpu_moe_scratch *s = run->s;
    nb_activation routed = {run->cpu, s->gate, s->up, run->moe->expert[0].gate_proj.n_out};
    nb_cpu_split(run->cpu, activate_rows, &routed, run->n_row * run->top_k, routed.d_ff * 16);
    if (!run->has_shared) return;
    nb_activation shared = {run->cpu, s->shared_gate, s->shared_up, run->moe->shared_expert.gate_proj.n_out};
    nb_cpu_split(run->cpu, activate_rows, &shared, run->n_row, shared.d_ff * 16);
}

static void combine_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_moe_run *run = user;
    const nb_cpu_moe_scratch *s = run->s;
    int64_t d = run->d_model;
    for (int64_t row = from; row < to; row++) {
        float *sum = s->shared_y + row * d; // without a shared expert it is just memory
        float gate = run->has_shared ? 1 / (1 + expf(-s->shared_weight[row])) : 0;
        for (int64_t c = 0; c < d; c++) {
            float routed = 0;
            for (int k = 0; k < run->top_k; k++)
                routed += s->weight[row * run->top_k + k] * s->y[s->place[row * run->top_k + k] * d + c];
            sum[c] = run->has_shared ? routed + gate * sum[c] : routed;
        }
        for (int64_t c = 0; c < d; c++) run->x[row * d + c] += sum[c];
    }
}

static void tap_router(const nb_moe_run *run, int i_layer)
{
    nb_tap tap = {.site = NB_TAP_ROUTER,
                  .layer = i_layer,
                  .seq = -1,
                  .n_row = run->n_row,
                  .n_col = run->top_k,
                  .data = run->s->weight,
                  .index = run->s->id};
    run->cpu->tap(run->cpu->tap_user, &tap);
}

void nb_cpu_moe_apply(nb_cpu *cpu, const nb_moe_weights *moe, const float *normed, int n_row, int i_layer, float *x)
{
    const nb_cpu_moe_scratch *s = &cpu->scratch.moe;
    nb_moe_run run = {.cpu = cpu,
                      .moe = moe,
                      .s = s,
                      .normed = normed,
                      .n_row = n_row,
                      .n_expert = moe->gate.n_out,
                      .top_k = cpu->model->config.num_experts_per_tok,
                      .d_model = moe->gate.n_in,
                      .has_shared = moe->shared_expert.gate_proj.n_out > 0,
                      .x = x};
    nb_cpu_linear_add(cpu, &moe->gate, normed, n_row, s->logits, false);
    if (run.has_shared) nb_cpu_linear_add(cpu, &moe->shared_expert_gate, normed, n_row, s->shared_weight, false);
    nb_cpu_linear_run(cpu);
    nb_cpu_split(cpu, route_rows, &run, n_row, (int64_t)run.n_expert * (run.top_k * run.top_k + 16));
    if (cpu->tap && i_layer >= 0) tap_router(&run, i_layer);
    group_rows(&run);
    nb_cpu_split(cpu, gather_rows, &run, n_row * run.top_k, run.d_model);

    add_gate_up(&run);
    nb_cpu_linear_add(cpu, &moe->shared_expert.gate_proj, normed, n_row, s->shared_gate, false);
    nb_cpu_linear_add(cpu, &moe->shared_expert.up_proj, normed, n_row, s->shared_up, false);
    nb_cpu_linear_run(cpu);
    activate(&run);
    add_down(&run);
    nb_cpu_linear_add(cpu, &moe->shared_expert.down_proj, s->shared_gate, n_row, s->shared_y, false);
    nb_cpu_linear_run(cpu);
    nb_cpu_split(cpu, combine_rows, &run, n_row, (int64_t)run.d_model * (run.top_k + 2));
}

void nb_cpu_moe_block(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer, int i_layer)
{
    nb_cpu_norm(cpu, pass->x, layer->post_attention_layernorm, pass->n_row, cpu->scratch.normed);
    nb_cpu_moe_apply(cpu, &layer->moe, cpu->scratch.normed, pass->n_row, i_layer, pass->x);
}
