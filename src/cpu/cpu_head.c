// The head: final norm of every row, lm_head of the wanted rows, and their results. Also the logits of MTP rows.
#include <string.h>

#include "cpu/cpu_device_internal.h"

static void gather_wanted(const nb_cpu *cpu, const nb_batch *batch)
{
    int64_t d_model = cpu->model->config.hidden_size;
    for (int64_t i = 0; i < batch->n_row; i++)
        memcpy(cpu->scratch.wanted + i * d_model, cpu->scratch.hidden + batch->row[i].tok * d_model,
               sizeof(float) * (size_t)d_model);
}

static void sample_row(nb_cpu *cpu, int i_row, int i_thread)
{
    nb_cpu_step *step = cpu->now;
    int vocab = cpu->model->config.vocab_size;
    const nb_row *row = &step->batch.row[i_row];
    const nb_seq *seq = &step->batch.seq[row->seq];
    const float *logits = step->logits + (int64_t)i_row * vocab;
    nb_sample_input input = {.logits = logits,
                             .vocab = vocab,
                             .batch = &step->batch,
                             .row = row,
                             .position = (int64_t)seq->n_past + (row->tok - seq->tok_first) + 1,
                             .extra = cpu->scratch.tok + seq->tok_first,
                             .n_extra = step->batch.tok[seq->tok_first] == NB_TOKEN_LAST ? 1 : 0};
    nb_cpu_sample_row(&input, cpu->scratch.candidate + (int64_t)i_thread * vocab, &step->row_result[i_row]);
    step->row_result[i_row].logits = row->flags & NB_ROW_LOGITS ? logits : NULL;
}

static void sample_rows(void *user, int from, int to, int i_thread)
{
    for (int i = from; i < to; i++) sample_row(user, i, i_thread);
}

static void remember_last(nb_cpu *cpu)
{
    const nb_cpu_step *step = cpu->now;
    for (int i = 0; i < step->batch.n_row; i++) {
        const nb_row *row = &step->batch.row[i];
        if (row->flags & NB_ROW_SAMPLE) cpu->slots.last_tok[step->batch.seq[row->seq].slot] = step->row_result[i].tok;
    }
}

void nb_cpu_head_block(nb_cpu *cpu, const nb_cpu_pass *pass)
{
    nb_cpu_step *step = cpu->now;
    const nb_config *c = &cpu->model->config;
    int n_row = step->batch.n_row;
    nb_cpu_norm(cpu, pass->x, cpu->model->norm, pass->n_row, cpu->scratch.hidden);
    nb_cpu_tap_rows(cpu, NB_TAP_FINAL_NORM, c->num_hidden_layers, cpu->scratch.hidden, pass->n_row, c->hidden_size);
    if (n_row == 0) return;
    gather_wanted(cpu, &step->batch);
    nb_cpu_linear_add(cpu, &cpu->model->lm_head, cpu->scratch.wanted, n_row, step->logits, false);
    nb_cpu_linear_run(cpu);
    nb_cpu_tap_rows(cpu, NB_TAP_LOGITS, c->num_hidden_layers, step->logits, n_row, c->vocab_size);
    nb_cpu_split(cpu, sample_rows, cpu, n_row, (int64_t)c->vocab_size * 16);
    remember_last(cpu);
}
