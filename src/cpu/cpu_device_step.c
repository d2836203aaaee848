// One step on the worker thread: embed, the layer loop's blocks, and the helpers that blocks share.
#include "cpu/cpu_device_internal.h"
#include "model/step.h"

enum { RANGES_PER_THREAD = 4 };

typedef struct nb_split {
    nb_cpu_range_fn fn;
    void *user;
    int n, n_range;
} nb_split;

static void split_task(void *user, int i_task, int i_thread)
{
    const nb_split *s = user;
    int from = (int)((int64_t)s->n * i_task / s->n_range), to = (int)((int64_t)s->n * (i_task + 1) / s->n_range);
    s->fn(s->user, from, to, i_thread);
}

void nb_cpu_split(nb_cpu *cpu, nb_cpu_range_fn fn, void *user, int n, int64_t cost)
{
    int n_thread = nb_threads_count(cpu->team),
        n_range = n < n_thread * RANGES_PER_THREAD ? n : n_thread * RANGES_PER_THREAD;
    if (n_range < 2 || n_thread == 1 || n * cost < NB_CPU_TEAM_COST) {
        fn(user, 0, n, 0);
        return;
    }
    nb_split split = {fn, user, n, n_range};
    nb_threads_run(cpu->team, split_task, &split, split.n_range);
}

typedef struct nb_norm_run {
    const nb_cpu *cpu;
    const float *x, *weight;
    float *y;
} nb_norm_run;

static void norm_rows(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    const nb_norm_run *run = user;
    int64_t d = run->cpu->model->config.hidden_size;
    for (int row = from; row < to; row++)
        run->cpu->kernels->rmsnorm(run->x + row * d, run->weight, (float)run->cpu->model->config.rms_norm_eps, d,
                                   run->y + row * d);
}

void nb_cpu_norm(nb_cpu *cpu, const float *x, const float *weight, int n_row, float *y)
{
    nb_norm_run run = {cpu, x, weight, y};
    nb_cpu_split(cpu, norm_rows, &run, n_row, 4 * cpu->model->config.hidden_size);
}

void nb_cpu_tap_rows(nb_cpu *cpu, nb_tap_site site, int layer, const float *data, int64_t n_row, int64_t n_col)
{
    if (!cpu->tap) return;
    nb_tap tap = {.site = site, .layer = layer, .seq = -1, .n_row = n_row, .n_col = n_col, .data = data};
    cpu->tap(cpu->tap_user, &tap);
}

void nb_cpu_pass_begin(nb_cpu *cpu, nb_cpu_pass *pass)
{
    const nb_rope *rope = &cpu->model->config.rope;
    for (int i = 0; i < pass->n_span; i++) {
        const nb_cpu_span *span = &pass->span[i];
        for (int k = 0; k < span->n_row; k++) {
            int64_t position = span->position + k, at = (int64_t)(span->first + k) * (rope->n_rot / 2);
            pass->span_of_row[span->first + k] = i;
            nb_cpu_rope_angles(rope, cpu->inv_freq, (int64_t[3]){position, position, position}, pass->cos + at,
                               pass->sin + at);
        }
    }
}

static void tap_residual(nb_cpu *cpu, nb_tap_site site, int layer)
{
    nb_cpu_tap_rows(cpu, site, layer, cpu->pass.x, cpu->pass.n_row, cpu->model->config.hidden_size);
}

// A slot whose last draw failed goes on with token 0: the host learns of the failure before it could use what follows.
static int32_t resolve_token(const nb_cpu *cpu, const nb_batch *batch, const nb_seq *seq, int i)
{
    int32_t tok = batch->tok[seq->tok_first + i];
    if (tok == NB_TOKEN_LAST) tok = cpu->slots.last_tok[seq->slot];
    return tok < 0 ? 0 : tok;
}

static int embed(void *device, const nb_batch *batch)
{
    nb_cpu *cpu = device;
    nb_cpu_pass *pass = &cpu->pass;
    pass->n_row = batch->n_tok;
    pass->n_span = batch->n_seq;
    for (int i = 0; i < batch->n_seq; i++) {
        const nb_seq *seq = &batch->seq[i];
        pass->span[i] = (nb_cpu_span){
            .i_seq = i,
            .first = seq->tok_first,
            .n_row = seq->n_new,
            .position = seq->n_past,
            .index = seq->n_past,
            .view = {.page = batch->page + seq->page_first, .n_paged = (int64_t)seq->n_past + seq->n_new}};
        for (int k = 0; k < seq->n_new; k++) {
            int row = seq->tok_first + k;
            cpu->scratch.tok[row] = resolve_token(cpu, batch, seq, k);
            nb_linear_decode_row(&cpu->model->embed_tokens, cpu->scratch.tok[row],
                                 pass->x + (int64_t)row * cpu->model->config.hidden_size);
        }
    }
    nb_cpu_pass_begin(cpu, pass);
    tap_residual(cpu, NB_TAP_RESIDUAL, 0);
    return NB_OK;
}

static int attention(void *device, const nb_batch *batch, const nb_layer *layer, int i_layer)
{
    (void)batch;
    nb_cpu *cpu = device;
    nb_cpu_attention_block(cpu, &cpu->pass, layer);
    tap_residual(cpu, NB_TAP_MIXER, i_layer);
    return NB_OK;
}

static int deltanet(void *device, const nb_batch *batch, const nb_layer *layer, int i_layer)
{
    (void)batch;
    nb_cpu *cpu = device;
    nb_cpu_deltanet_block(cpu, &cpu->pass, layer, i_layer);
    tap_residual(cpu, NB_TAP_MIXER, i_layer);
    return NB_OK;
}

static int moe(void *device, const nb_batch *batch, const nb_layer *layer, int i_layer)
{
    (void)batch;
    nb_cpu *cpu = device;
    nb_cpu_moe_block(cpu, &cpu->pass, layer, i_layer);
    tap_residual(cpu, NB_TAP_RESIDUAL, i_layer + 1);
    return NB_OK;
}

static int head(void *device, const nb_batch *batch)
{
    (void)batch;
    nb_cpu *cpu = device;
    nb_cpu_head_block(cpu, &cpu->pass);
    return NB_OK;
}

static int propose(void *device, const nb_batch *batch)
{
    (void)batch;
    nb_cpu_mtp_block(device);
    return NB_OK;
}

int nb_cpu_step_run(nb_cpu *cpu, nb_cpu_step *step)
{
    static const nb_blocks blocks = {embed, attention, deltanet, moe, head, propose};
    cpu->now = step;
    nb_cpu_slots_begin(&cpu->slots, &step->batch, step->plan);
    for (int i = 0; i < step->batch.n_seq; i++)
        for (int k = 0; k < NB_DRAFT_MAX; k++) step->proposal[i][k] = -1;
    return nb_step_run(&blocks, cpu, cpu->model, &step->batch);
}
