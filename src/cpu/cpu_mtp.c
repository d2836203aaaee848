// The MTP module (multi-token prediction): one attention layer with a mixture of experts that predicts the token after
// the next. Its row for position p takes the hidden state h_p behind the final norm and the embedding of x_{p+1}, and
// gives d_p = norm(layer(fc [embedding, hidden])); lm_head d_p predicts x_{p+2}.
//
// Absorbing: in every step the module takes in the step's tokens. Its KV of index i belongs to the row that embeds
// token i (position i - 1; index 0 holds nothing): a page's content depends on that page's and earlier tokens only, so
// shared pages serve it as they serve the model. The hidden state before the step's first token comes from the slot.
// Only keys and values are needed of absorbed rows.
//
// Proposing: starts behind the last confirmed token, where a draft is confirmed if the row before it drew it. The first
// proposal's row embeds the drawn token; each further one embeds the last proposal and takes the last d as its hidden
// state. The keys of these rows live in the cache's tail and are forgotten.
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_device_internal.h"

static const nb_mtp_weights *mtp_of(const nb_cpu *cpu)
{
    return &cpu->model->mtp;
}

static void norm_halves(void *user, int from, int to, int i_thread)
{
    (void)i_thread;
    nb_cpu *cpu = user;
    int d_model = cpu->model->config.hidden_size;
    float eps = (float)cpu->model->config.rms_norm_eps;
    for (int row = from; row < to; row++) {
        float *half = cpu->scratch.concat + (int64_t)row * 2 * d_model;
        cpu->kernels->rmsnorm(half, mtp_of(cpu)->pre_fc_norm_embedding, eps, d_model, half);
        cpu->kernels->rmsnorm(half + d_model, mtp_of(cpu)->pre_fc_norm_hidden, eps, d_model, half + d_model);
    }
}

// pass->x = fc [norm(embedding), norm(hidden)], from scratch.concat which holds the two before their norms.
static void mix(nb_cpu *cpu, const nb_cpu_pass *pass)
{
    int d_model = cpu->model->config.hidden_size;
    nb_cpu_split(cpu, norm_halves, cpu, pass->n_row, 4 * d_model);
    nb_cpu_linear_add(cpu, &mtp_of(cpu)->fc, cpu->scratch.concat, pass->n_row, pass->x, false);
    nb_cpu_linear_run(cpu);
}

static void set_row(nb_cpu *cpu, int row, int32_t tok, const float *hidden)
{
    int d_model = cpu->model->config.hidden_size;
    float *to = cpu->scratch.concat + (int64_t)row * 2 * d_model;
    nb_linear_decode_row(&cpu->model->embed_tokens, tok, to);
    memcpy(to + d_model, hidden, sizeof(float) * (size_t)d_model);
}

static const float *hidden_row(const nb_cpu *cpu, int row)
{
    return cpu->scratch.hidden + (int64_t)row * cpu->model->config.hidden_size;
}

static nb_cpu_span *add_span(nb_cpu_pass *pass, int i_seq, int n_row, int64_t index)
{
    nb_cpu_span *span = &pass->span[pass->n_span++];
    *span = (nb_cpu_span){
        .i_seq = i_seq, .first = pass->n_row, .n_row = n_row, .position = index - 1, .index = index, .kv_from = 1};
    pass->n_row += n_row;
    return span;
}

// Spans and inputs of the rows that absorb this step's tokens.
static void lay_absorbed(nb_cpu *cpu, nb_cpu_pass *pass)
{
    const nb_batch *batch = &cpu->now->batch;
    int d_model = cpu->model->config.hidden_size;
    pass->n_row = pass->n_span = 0;
    for (int i = 0; i < batch->n_seq; i++) {
        const nb_seq *seq = &batch->seq[i];
        const nb_cpu_seq_plan *plan = &cpu->now->plan[i];
        int skip = seq->n_past == 0; // the first token of all has no row
        if (!plan->mtp || seq->n_new == skip) continue;
        const float *before = nb_cpu_slot_hidden(&cpu->slots, seq->slot) + plan->n_keep * d_model;
        nb_cpu_span *span = add_span(pass, i, seq->n_new - skip, seq->n_past + skip);
        span->view = (nb_cpu_kv_view){.page = batch->page + seq->page_first, .n_paged = seq->n_past + seq->n_new};
        for (int k = 0; k < span->n_row; k++) {
            int row = seq->tok_first + skip + k;
            set_row(cpu, span->first + k, cpu->scratch.tok[row],
                    row == seq->tok_first ? before : hidden_row(cpu, row - 1));
        }
    }
}

static void tap_absorbed(nb_cpu *cpu, const nb_cpu_pass *pass)
{
    const nb_config *c = &cpu->model->config;
    size_t n_logit = (size_t)pass->n_row * (size_t)c->vocab_size;
    float *logits = nb_alloc(sizeof(float) * n_logit);
    float *d = nb_alloc(sizeof(float) * (size_t)pass->n_row * (size_t)c->hidden_size);
    nb_cpu_norm(cpu, pass->x, mtp_of(cpu)->norm, pass->n_row, d);
    nb_cpu_linear_add(cpu, &cpu->model->lm_head, d, pass->n_row, logits, false);
    nb_cpu_linear_run(cpu);
    nb_cpu_tap_rows(cpu, NB_TAP_MTP_HIDDEN, -1, d, pass->n_row, c->hidden_size);
    nb_cpu_tap_rows(cpu, NB_TAP_MTP_LOGITS, -1, logits, pass->n_row, c->vocab_size);
    free(logits);
    free(d);
}

static void absorb(nb_cpu *cpu, nb_cpu_pass *pass)
{
    lay_absorbed(cpu, pass);
    if (pass->n_row == 0) return;
    nb_cpu_pass_begin(cpu, pass);
    mix(cpu, pass);
    if (!cpu->tap) {
        nb_cpu_attention_absorb(cpu, pass, &mtp_of(cpu)->layer);
        return;
    }
    nb_cpu_attention_block(cpu, pass, &mtp_of(cpu)->layer);
    nb_cpu_moe_block(cpu, pass, &mtp_of(cpu)->layer, -1);
    tap_absorbed(cpu, pass);
}

// What the next step's first row needs: the hidden states of the last definitive token and of the drafts behind it.
static void keep_hidden(nb_cpu *cpu)
{
    const nb_batch *batch = &cpu->now->batch;
    size_t row_bytes = sizeof(float) * (size_t)cpu->model->config.hidden_size;
    for (int i = 0; i < batch->n_seq; i++) {
        const nb_seq *seq = &batch->seq[i];
        int first = seq->tok_first + seq->n_new - seq->n_draft - 1;
        if (cpu->now->plan[i].mtp)
            memcpy(nb_cpu_slot_hidden(&cpu->slots, seq->slot), hidden_row(cpu, first),
                   row_bytes * (size_t)(seq->n_draft + 1));
    }
}

// The token drawn behind `row` of the batch, or -1.
static int32_t drawn_behind(const nb_cpu_step *step, int i_seq, int row)
{
    int32_t tok = -1;
    for (int i = 0; i < step->batch.n_row; i++) {
        const nb_row *r = &step->batch.row[i];
        if (r->seq == i_seq && r->tok == row && (r->flags & NB_ROW_SAMPLE)) tok = step->row_result[i].tok;
    }
    return tok;
}

static bool find_anchor(const nb_cpu *cpu, int i_seq, nb_cpu_mtp_draft *draft)
{
    const nb_seq *seq = &cpu->now->batch.seq[i_seq];
    int last = seq->tok_first + seq->n_new - 1, row = last - seq->n_draft;
    int32_t tok = drawn_behind(cpu->now, i_seq, row);
    while (row < last && tok >= 0 && tok == cpu->scratch.tok[row + 1]) tok = drawn_behind(cpu->now, i_seq, ++row);
    *draft = (nb_cpu_mtp_draft){i_seq, row, tok, seq->n_propose};
    return tok >= 0;
}

static int32_t argmax(const float *x, int n)
{
    int32_t best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

// Proposal number `round` of every sequence that wants so many. The rows' d go to scratch.draft.
static void propose_round(nb_cpu *cpu, nb_cpu_pass *pass, nb_cpu_mtp_draft *draft, int n_draft, int round)
{
    const nb_batch *batch = &cpu->now->batch;
    const nb_config *c = &cpu->model->config;
    pass->n_row = pass->n_span = 0;
    for (int i = 0; i < n_draft; i++) {
        const nb_seq *seq = &batch->seq[draft[i].i_seq];
        int64_t behind = (int64_t)seq->n_past + draft[i].row - seq->tok_first + 1;
        nb_cpu_span *span = add_span(pass, draft[i].i_seq, 1, behind + round);
        span->view =
            (nb_cpu_kv_view){.page = batch->page + seq->page_first, .n_paged = behind, .i_tail = draft[i].i_seq};
        set_row(cpu, i, draft[i].tok,
                round == 0 ? hidden_row(cpu, draft[i].row) : cpu->scratch.draft + (int64_t)i * c->hidden_size);
    }
    nb_cpu_pass_begin(cpu, pass);
    mix(cpu, pass);
    nb_cpu_attention_block(cpu, pass, &mtp_of(cpu)->layer);
    nb_cpu_moe_block(cpu, pass, &mtp_of(cpu)->layer, -1);
    nb_cpu_norm(cpu, pass->x, mtp_of(cpu)->norm, pass->n_row, cpu->scratch.draft);
    nb_cpu_linear_add(cpu, &cpu->model->lm_head, cpu->scratch.draft, pass->n_row, cpu->scratch.mtp_logits, false);
    nb_cpu_linear_run(cpu);
    for (int i = 0; i < n_draft; i++) {
        draft[i].tok = argmax(cpu->scratch.mtp_logits + (int64_t)i * c->vocab_size, c->vocab_size);
        cpu->now->proposal[draft[i].i_seq][round] = draft[i].tok;
    }
}

// By falling n_propose, so that the sequences still at work in a round are the first ones.
static int find_anchors(nb_cpu *cpu, nb_cpu_mtp_draft *draft)
{
    int n = 0;
    for (int n_propose = NB_DRAFT_MAX; n_propose > 0; n_propose--)
        for (int i = 0; i < cpu->now->batch.n_seq; i++)
            if (cpu->now->plan[i].mtp && cpu->now->batch.seq[i].n_propose == n_propose &&
                find_anchor(cpu, i, &draft[n]))
                n++;
    return n;
}

void nb_cpu_mtp_block(nb_cpu *cpu)
{
    nb_cpu_mtp_draft *draft = cpu->scratch.anchor;
    absorb(cpu, &cpu->pass);
    keep_hidden(cpu);
    int n_draft = find_anchors(cpu, draft);
    for (int round = 0; n_draft > 0; round++) {
        propose_round(cpu, &cpu->pass, draft, n_draft, round);
        while (n_draft > 0 && draft[n_draft - 1].n_propose == round + 1) n_draft--;
    }
}
