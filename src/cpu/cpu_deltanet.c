// The Gated DeltaNet block over the sequences' state slots and their journals (see cpu_slots.h).
#include "cpu/cpu_deltanet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_device_internal.h"

enum { CONV_BLOCK = 256 }; // channels of one task

typedef struct nb_deltanet_run {
    nb_cpu *cpu;
    const nb_cpu_pass *pass;
    const nb_layer *layer;
    const nb_cpu_slot_layout *at;
    nb_cpu_conv conv;
    int n_block; // of channels
} nb_deltanet_run;

static float *slot_of(const nb_deltanet_run *run, const nb_cpu_span *span)
{
    int slot = run->cpu->now->batch.seq[span->i_seq].slot;
    return nb_cpu_slot_layer(&run->cpu->slots, slot, run->layer->i_deltanet);
}

static int n_draft_of(const nb_deltanet_run *run, const nb_cpu_span *span)
{
    return run->cpu->now->batch.seq[span->i_seq].n_draft;
}

static int n_keep_of(const nb_deltanet_run *run, const nb_cpu_span *span)
{
    return run->cpu->now->plan[span->i_seq].n_keep;
}

// Gives head `h` of `state` the first n_keep rows of the journal in `slot`. out: [d_value] scratch.
static void fold_head(const nb_deltanet_run *run, const float *slot, int h, int n_keep, float *state, float *out)
{
    const nb_cpu_slot_layout *at = run->at;
    int k_head = h / (at->n_value_head / at->n_key_head);
    for (int i = 0; i < n_keep; i++) {
        const float *k = slot + at->journal_key + (i * at->n_key_head + k_head) * at->d_key;
        const float *v = slot + at->journal_value + (i * at->n_value_head + h) * at->d_value;
        const float *gate = slot + at->journal_gate + i * 2 * at->n_value_head + h;
        run->cpu->kernels->delta_step(state, k, k, v, gate[0], gate[at->n_value_head], at->d_key, at->d_value, out);
    }
}

static int64_t state_floats(const nb_cpu_slot_layout *at)
{
    return (int64_t)at->d_key * at->d_value;
}

static float *work_of(const nb_deltanet_run *run, int i_thread)
{
    return run->cpu->scratch.deltanet.work + i_thread * run->cpu->scratch.deltanet.work_floats;
}

static void fold_range(void *user, int from, int to, int i_thread)
{
    const nb_deltanet_run *run = user;
    for (int i = from; i < to; i++) {
        const nb_cpu_span *span = &run->pass->span[i / run->at->n_value_head];
        int h = i % run->at->n_value_head;
        float *slot = slot_of(run, span), *state = slot + run->at->state + h * state_floats(run->at);
        fold_head(run, slot, h, n_keep_of(run, span), state, work_of(run, i_thread));
    }
}

static void fold_journals(nb_deltanet_run *run)
{
    int n_keep = 0;
    for (int i = 0; i < run->pass->n_span; i++) n_keep += n_keep_of(run, &run->pass->span[i]);
    if (n_keep == 0) return;
    int n = run->pass->n_span * run->at->n_value_head;
    nb_cpu_split(run->cpu, fold_range, run, n, 4 * state_floats(run->at) * n_keep / run->pass->n_span);
}

// Channels of one span: takes kept journal rows into the past, convolves, moves the past on, journals the drafts.
static void conv_span(const nb_deltanet_run *run, const nb_cpu_span *span, int from, int to)
{
    float *slot = slot_of(run, span), *past = slot + run->at->conv, *journal = slot + run->at->journal_raw;
    int64_t n_channel = run->at->n_channel, first = span->first * n_channel;
    const float *raw = run->cpu->scratch.deltanet.raw + first;
    int n_draft = n_draft_of(run, span), n_sure = span->n_row - n_draft;
    nb_cpu_conv_shift(&run->conv, journal, n_keep_of(run, span), from, to, past);
    nb_cpu_conv_run(run->cpu->kernels, &run->conv, past, raw, span->n_row, from, to,
                    run->cpu->scratch.deltanet.conv + first);
    nb_cpu_conv_shift(&run->conv, raw, n_sure, from, to, past);
    for (int i = 0; i < n_draft; i++)
        memcpy(journal + i * n_channel + from, raw + (n_sure + i) * n_channel + from,
               sizeof(float) * (size_t)(to - from));
}

static void conv_range(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_deltanet_run *run = user;
    for (int i = from; i < to; i++) {
        int first = i % run->n_block * CONV_BLOCK, last = first + CONV_BLOCK;
        if (last > run->at->n_channel) last = run->at->n_channel;
        conv_span(run, &run->pass->span[i / run->n_block], first, last);
    }
}

// L2 norms of the query and key heads, gates of the value heads.
static void prepare_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_deltanet_run *run = user;
    const nb_cpu_slot_layout *at = run->at;
    const nb_deltanet_weights *w = &run->layer->deltanet;
    for (int row = from; row < to; row++) {
        float *q = run->cpu->scratch.deltanet.conv + (int64_t)row * at->n_channel, *k = q + at->n_key_head * at->d_key;
        for (int h = 0; h < at->n_key_head; h++, q += at->d_key, k += at->d_key) {
            run->cpu->kernels->l2norm(q, 1e-6f, 1 / sqrtf((float)at->d_key), at->d_key, q);
            run->cpu->kernels->l2norm(k, 1e-6f, 1, at->d_key, k);
        }
        int64_t gate = (int64_t)row * at->n_value_head;
        nb_cpu_delta_gates(w->A_log, w->dt_bias, at->n_value_head, run->cpu->scratch.deltanet.a + gate,
                           run->cpu->scratch.deltanet.b + gate);
    }
}

static nb_cpu_delta_head head_of(const nb_deltanet_run *run, const nb_cpu_span *span, int h)
{
    const nb_cpu_slot_layout *at = run->at;
    const nb_cpu_scratch *s = &run->cpu->scratch;
    const float *conv = s->deltanet.conv + (int64_t)span->first * at->n_channel;
    int n_key = at->n_key_head * at->d_key, k_head = h / (at->n_value_head / at->n_key_head);
    int64_t gate = (int64_t)span->first * at->n_value_head + h;
    return (nb_cpu_delta_head){.q = conv + k_head * at->d_key,
                               .k = conv + n_key + k_head * at->d_key,
                               .v = conv + 2 * n_key + h * at->d_value,
                               .g = s->deltanet.a + gate,
                               .beta = s->deltanet.b + gate,
                               .out = s->deltanet.out + gate * at->d_value,
                               .qkv_stride = at->n_channel,
                               .gate_stride = at->n_value_head,
                               .out_stride = (int64_t)at->n_value_head * at->d_value,
                               .d_key = at->d_key,
                               .d_value = at->d_value};
}

// Whole chunks on the grid of token positions go through the chunked form, everything else token by token: so the split
// of a prompt into steps changes nothing as long as its inner borders lie on the grid.
static void run_sure(const nb_deltanet_run *run, const nb_cpu_span *span, const nb_cpu_delta_head *head, int n_sure,
                     float *work, float *state)
{
    if (!run->cpu->options.gdn_chunked) {
        nb_cpu_delta_steps(run->cpu->kernels, head, 0, n_sure, state);
        return;
    }
    for (int t = 0; t < n_sure;) {
        bool whole = (span->index + t) % NB_DELTA_CHUNK == 0 && t + NB_DELTA_CHUNK <= n_sure;
        int n = whole ? NB_DELTA_CHUNK : 1;
        if (whole)
            nb_cpu_delta_chunk(run->cpu->kernels, head, t, n, work, state);
        else
            nb_cpu_delta_steps(run->cpu->kernels, head, t, t + 1, state);
        t += n;
    }
}

static void journal_row(const nb_deltanet_run *run, const nb_cpu_delta_head *head, int h, int t, int i, float *slot)
{
    const nb_cpu_slot_layout *at = run->at;
    int group = at->n_value_head / at->n_key_head;
    float *k = slot + at->journal_key + (i * at->n_key_head + h / group) * at->d_key;
    float *v = slot + at->journal_value + (i * at->n_value_head + h) * at->d_value;
    float *gate = slot + at->journal_gate + i * 2 * at->n_value_head + h;
    if (h % group == 0) memcpy(k, head->k + t * head->qkv_stride, sizeof(float) * (size_t)at->d_key);
    memcpy(v, head->v + t * head->qkv_stride, sizeof(float) * (size_t)at->d_value);
    gate[0] = expf(head->g[t * head->gate_stride]);
    gate[at->n_value_head] = head->beta[t * head->gate_stride];
}

// One value head of one sequence: definitive tokens change the slot's state, drafts a copy of it.
static void rule_head(const nb_deltanet_run *run, const nb_cpu_span *span, int h, float *work)
{
    nb_cpu *cpu = run->cpu;
    float *slot = slot_of(run, span), *state = slot + run->at->state + h * state_floats(run->at);
    nb_cpu_delta_head head = head_of(run, span, h);
    int n_draft = n_draft_of(run, span), n_sure = span->n_row - n_draft;
    run_sure(run, span, &head, n_sure, work, state);
    if (n_draft > 0) {
        memcpy(work, state, sizeof(float) * (size_t)state_floats(run->at));
        nb_cpu_delta_steps(cpu->kernels, &head, n_sure, span->n_row, work);
        for (int i = 0; i < n_draft; i++) journal_row(run, &head, h, n_sure + i, i, slot);
    }
    const float *z = cpu->scratch.deltanet.z + (head.out - cpu->scratch.deltanet.out);
    for (int t = 0; t < span->n_row; t++) {
        float *out = head.out + t * head.out_stride;
        cpu->kernels->rmsnorm_gated(out, run->layer->deltanet.norm, z + t * head.out_stride,
                                    (float)cpu->model->config.rms_norm_eps, head.d_value, out);
    }
}

static void rule_range(void *user, int from, int to, int i_thread)
{
    const nb_deltanet_run *run = user;
    for (int i = from; i < to; i++) {
        const nb_cpu_span *span = &run->pass->span[i / run->at->n_value_head];
        rule_head(run, span, i % run->at->n_value_head, work_of(run, i_thread));
    }
}

static void tap_state(const nb_deltanet_run *run, const nb_cpu_span *span, int i_layer)
{
    const nb_cpu_slot_layout *at = run->at;
    nb_cpu *cpu = run->cpu;
    const float *slot = slot_of(run, span);
    int n_draft = n_draft_of(run, span);
    int64_t n_state = at->n_value_head * state_floats(at), n_past = (int64_t)at->n_conv * at->n_channel;
    float *state = nb_alloc(sizeof(float) * (size_t)(n_state + n_past)), *past = state + n_state;
    memcpy(state, slot + at->state, sizeof(float) * (size_t)n_state);
    memcpy(past, slot + at->conv, sizeof(float) * (size_t)n_past);
    for (int h = 0; h < at->n_value_head; h++)
        fold_head(run, slot, h, n_draft, state + h * state_floats(at), work_of(run, 0));
    nb_cpu_conv_shift(&run->conv, slot + at->journal_raw, n_draft, 0, at->n_channel, past);
    nb_tap tap = {.site = NB_TAP_GDN_STATE, .layer = i_layer, .seq = span->i_seq, .data = state};
    tap.n_row = (int64_t)at->n_value_head * at->d_key;
    tap.n_col = at->d_value;
    cpu->tap(cpu->tap_user, &tap);
    tap = (nb_tap){NB_TAP_CONV_STATE, i_layer, span->i_seq, NULL, at->n_conv, at->n_channel, past, NULL};
    cpu->tap(cpu->tap_user, &tap);
    free(state);
}

static void project(const nb_deltanet_run *run)
{
    nb_cpu *cpu = run->cpu;
    const nb_deltanet_weights *w = &run->layer->deltanet;
    const float *x = cpu->scratch.normed;
    int n_row = run->pass->n_row;
    nb_cpu_norm(cpu, run->pass->x, run->layer->input_layernorm, n_row, cpu->scratch.normed);
    nb_cpu_linear_add(cpu, &w->in_proj_qkv, x, n_row, cpu->scratch.deltanet.raw, false);
    nb_cpu_linear_add(cpu, &w->in_proj_z, x, n_row, cpu->scratch.deltanet.z, false);
    nb_cpu_linear_add(cpu, &w->in_proj_b, x, n_row, cpu->scratch.deltanet.b, false);
    nb_cpu_linear_add(cpu, &w->in_proj_a, x, n_row, cpu->scratch.deltanet.a, false);
    nb_cpu_linear_run(cpu);
}

void nb_cpu_deltanet_block(nb_cpu *cpu, const nb_cpu_pass *pass, const nb_layer *layer, int i_layer)
{
    const nb_cpu_slot_layout *at = &cpu->slots.layout;
    nb_deltanet_run run = {cpu,
                           pass,
                           layer,
                           at,
                           {layer->deltanet.conv1d, at->n_channel, at->n_conv + 1},
                           (at->n_channel + CONV_BLOCK - 1) / CONV_BLOCK};
    int rows_each = pass->n_row / pass->n_span + 1;
    project(&run);
    fold_journals(&run);
    nb_cpu_split(cpu, conv_range, &run, pass->n_span * run.n_block, (int64_t)rows_each * CONV_BLOCK * 12);
    nb_cpu_split(cpu, prepare_rows, &run, pass->n_row, (int64_t)at->n_key_head * at->d_key * 4);
    nb_cpu_split(cpu, rule_range, &run, pass->n_span * at->n_value_head, 4 * state_floats(at) * rows_each);
    nb_cpu_linear_add(cpu, &layer->deltanet.out_proj, cpu->scratch.deltanet.out, pass->n_row, pass->x, true);
    nb_cpu_linear_run(cpu);
    for (int i = 0; cpu->tap && i < pass->n_span; i++) tap_state(&run, &pass->span[i], i_layer);
}
