// Layout of a slot, and the ledger that turns n_past into what a step does with it. See cpu_slots.h.
#include "cpu/cpu_slots.h"

#include <stdlib.h>
#include <string.h>

static int64_t take_floats(int64_t *used, int64_t n)
{
    int64_t at = *used;
    *used += (n + 15) / 16 * 16; // whole cache lines
    return at;
}

nb_cpu_slot_layout nb_cpu_slot_layout_make(const nb_model *model)
{
    const nb_config *c = &model->config;
    nb_cpu_slot_layout l = {.d_key = c->linear_key_head_dim,
                            .d_value = c->linear_value_head_dim,
                            .n_key_head = c->linear_num_key_heads,
                            .n_value_head = c->linear_num_value_heads};
    if (model->n_deltanet > 0) {
        int n_key = l.n_key_head * l.d_key, n_value = l.n_value_head * l.d_value;
        l.n_channel = 2 * n_key + n_value;
        l.n_conv = c->linear_conv_kernel_dim - 1;
        l.state = take_floats(&l.layer_floats, (int64_t)n_value * l.d_key);
        l.conv = take_floats(&l.layer_floats, (int64_t)l.n_conv * l.n_channel);
        l.journal_raw = take_floats(&l.layer_floats, (int64_t)NB_JOURNAL_ROWS * l.n_channel);
        l.journal_key = take_floats(&l.layer_floats, (int64_t)NB_JOURNAL_ROWS * n_key);
        l.journal_value = take_floats(&l.layer_floats, (int64_t)NB_JOURNAL_ROWS * n_value);
        l.journal_gate = take_floats(&l.layer_floats, (int64_t)NB_JOURNAL_ROWS * 2 * l.n_value_head);
    }
    l.slot_floats = l.layer_floats * model->n_deltanet;
    l.hidden = take_floats(&l.slot_floats, model->has_mtp ? (int64_t)NB_JOURNAL_ROWS * c->hidden_size : 0);
    return l;
}

int64_t nb_cpu_slots_bytes(const nb_cpu_slots *slots)
{
    return slots->n_slot * slots->layout.slot_floats * (int64_t)sizeof(float);
}

int nb_cpu_slots_open(nb_cpu_slots *slots, const nb_model *model, int n_slot, nb_error *err)
{
    slots->layout = nb_cpu_slot_layout_make(model);
    slots->n_slot = n_slot;
    slots->data = nb_alloc_large((size_t)nb_cpu_slots_bytes(slots) + 1);
    if (!slots->data)
        return nb_error_set(err, NB_ERR_MEMORY, "no memory for %d state slots of %lld bytes; ask for fewer", n_slot,
                            (long long)(slots->layout.slot_floats * 4));
    slots->last_tok = nb_alloc(sizeof(int32_t) * (size_t)n_slot);
    slots->ledger = nb_alloc(sizeof(nb_cpu_ledger_entry) * (size_t)n_slot);
    slots->staged = nb_alloc(sizeof(nb_cpu_ledger_entry) * (size_t)n_slot);
    return NB_OK;
}

void nb_cpu_slots_close(nb_cpu_slots *slots)
{
    nb_free_large(slots->data, (size_t)nb_cpu_slots_bytes(slots) + 1);
    free(slots->last_tok);
    free(slots->ledger);
    free(slots->staged);
    *slots = (nb_cpu_slots){0};
}

static int plan_seq(nb_cpu_ledger_entry *entry, const nb_batch *batch, int i_seq, nb_cpu_seq_plan *plan, nb_error *err)
{
    const nb_seq *seq = &batch->seq[i_seq];
    bool fresh = seq->n_past == 0;
    if (fresh) *entry = (nb_cpu_ledger_entry){.mtp = true};
    int n_keep = seq->n_past - entry->n_folded;
    if (n_keep < 0 || n_keep > entry->n_journal)
        return nb_error_set(err, NB_ERR_INPUT,
                            "batch: sequence %d has n_past %d, but slot %d holds %d tokens and %d drafts behind them",
                            i_seq, seq->n_past, seq->slot, entry->n_folded, entry->n_journal);
    if (batch->tok[seq->tok_first] == NB_TOKEN_LAST && !entry->has_last)
        return nb_error_set(err, NB_ERR_INPUT,
                            "batch: sequence %d starts with NB_TOKEN_LAST, but slot %d sampled nothing", i_seq,
                            seq->slot);
    entry->mtp = entry->mtp && seq->n_propose > 0;
    entry->n_folded = seq->n_past + seq->n_new - seq->n_draft;
    entry->n_journal = seq->n_draft;
    *plan = (nb_cpu_seq_plan){.fresh = fresh, .n_keep = n_keep, .mtp = entry->mtp};
    return NB_OK;
}

int nb_cpu_slots_plan(nb_cpu_slots *slots, const nb_batch *batch, nb_cpu_seq_plan *plan, nb_error *err)
{
    nb_cpu_ledger_entry *next = slots->staged;
    memcpy(next, slots->ledger, sizeof *next * (size_t)slots->n_slot);
    for (int i = 0; i < batch->n_copy; i++) next[batch->copy[i].to] = next[batch->copy[i].from];
    for (int i = 0; i < batch->n_seq; i++) NB_TRY(plan_seq(&next[batch->seq[i].slot], batch, i, &plan[i], err));
    for (int i = 0; i < batch->n_row; i++)
        if (batch->row[i].flags & NB_ROW_SAMPLE) next[batch->seq[batch->row[i].seq].slot].has_last = true;
    slots->staged = slots->ledger;
    slots->ledger = next;
    return NB_OK;
}

float *nb_cpu_slot_layer(const nb_cpu_slots *slots, int slot, int i_deltanet)
{
    return slots->data + slot * slots->layout.slot_floats + i_deltanet * slots->layout.layer_floats;
}

float *nb_cpu_slot_hidden(const nb_cpu_slots *slots, int slot)
{
    return slots->data + slot * slots->layout.slot_floats + slots->layout.hidden;
}

void nb_cpu_slots_begin(nb_cpu_slots *slots, const nb_batch *batch, const nb_cpu_seq_plan *plan)
{
    size_t slot_bytes = (size_t)slots->layout.slot_floats * sizeof(float);
    for (int i = 0; i < batch->n_copy; i++) {
        int from = batch->copy[i].from, to = batch->copy[i].to;
        if (from != to) memcpy(nb_cpu_slot_layer(slots, to, 0), nb_cpu_slot_layer(slots, from, 0), slot_bytes);
        slots->last_tok[to] = slots->last_tok[from];
    }
    for (int i = 0; i < batch->n_seq; i++)
        if (plan[i].fresh) memset(nb_cpu_slot_layer(slots, batch->seq[i].slot, 0), 0, slot_bytes);
}
