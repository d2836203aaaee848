// State slots: what a sequence carries from step to step beside its KV pages. Of each Gated DeltaNet layer: the
// recurrent state, the last raw inputs of the convolution, and a journal of the draft rows of the last step; of the MTP
// module: the hidden state its next row starts from; and the last sampled token.
//
// The ledger says on the submitting side what each slot will have absorbed once all submitted steps are done. It turns
// n_past into "start afresh" or "keep n journal rows" before the step runs, so that a wrong n_past is refused at
// submit.
//
// Folding a journal row is the very delta_step call that the token would have been given without speculation: states
// are bit for bit those of a sequence that never saw the rejected drafts.
#ifndef NB_CPU_SLOTS_H
#define NB_CPU_SLOTS_H

#include "model/device.h"

// Offsets of one layer's part of a slot, in floats. Rows of the journal: [NB_JOURNAL_ROWS][...].
typedef struct nb_cpu_slot_layout {
    int d_key, d_value, n_key_head, n_value_head, n_channel, n_conv; // n_conv = kernel - 1
    int64_t state;                                                   // [n_value_head][d_key][d_value]
    int64_t conv;                                                    // [n_conv][n_channel] raw inputs, oldest first
    int64_t journal_raw;                                             // [n_channel]
    int64_t journal_key;                                             // [n_key_head][d_key], normalised
    int64_t journal_value;                                           // [n_value_head][d_value]
    int64_t journal_gate;                                            // [2][n_value_head]: decay, then beta
    int64_t layer_floats;                                            // of one layer
    int64_t hidden; // [NB_JOURNAL_ROWS][d_model] behind the layers: after the last definitive token and its drafts
    int64_t slot_floats;
} nb_cpu_slot_layout;

typedef struct nb_cpu_ledger_entry {
    int32_t n_folded;  // tokens in the states
    int32_t n_journal; // draft tokens behind them
    bool has_last;     // a token was sampled
    bool mtp;          // the MTP module has absorbed every token
} nb_cpu_ledger_entry;

typedef struct nb_cpu_slots {
    nb_cpu_slot_layout layout;
    int n_slot;
    float *data;                 // [n_slot][slot_floats]
    int32_t *last_tok;           // [n_slot], the worker's
    nb_cpu_ledger_entry *ledger; // [n_slot], the submitter's
    nb_cpu_ledger_entry *staged; // [n_slot], the next ledger while a batch is being checked
} nb_cpu_slots;

// What a step does with a sequence's slot.
typedef struct nb_cpu_seq_plan {
    bool fresh; // zero the states first
    int n_keep; // journal rows to fold first
    bool mtp;   // the MTP module absorbs this step's tokens
} nb_cpu_seq_plan;

nb_cpu_slot_layout nb_cpu_slot_layout_make(const nb_model *model);
int nb_cpu_slots_open(nb_cpu_slots *slots, const nb_model *model, int n_slot, nb_error *err);
void nb_cpu_slots_close(nb_cpu_slots *slots);
int64_t nb_cpu_slots_bytes(const nb_cpu_slots *slots);

// Advances the ledger over `batch` (checked) and fills plan[n_seq]; a refused batch leaves the ledger as it was.
int nb_cpu_slots_plan(nb_cpu_slots *slots, const nb_batch *batch, nb_cpu_seq_plan *plan, nb_error *err);

// The worker's part before the blocks run: copies, and fresh starts.
void nb_cpu_slots_begin(nb_cpu_slots *slots, const nb_batch *batch, const nb_cpu_seq_plan *plan);

float *nb_cpu_slot_layer(const nb_cpu_slots *slots, int slot, int i_deltanet); // start of a layer's part
float *nb_cpu_slot_hidden(const nb_cpu_slots *slots, int slot);

#endif
