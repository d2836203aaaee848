// What a model needs and what a step costs at least: bytes of weights by role, of KV pages and state slots, the largest
// batch and context that fit a memory size, and the fewest bytes and operations of a step (the roof that `bench` is
// held against). Formulas: docs/performance.md.
#ifndef NB_PLAN_H
#define NB_PLAN_H

#include "model/bind.h"
#include "model/device.h"

typedef struct nb_plan {
    int64_t weight_bytes[NB_ROLE_COUNT];
    int64_t weight_bytes_total; // without vision
    int64_t matrix_elements[NB_ROLE_COUNT];
    int64_t kv_bytes_per_token; // all attention layers, MTP's included
    int64_t page_bytes;
    int64_t slot_bytes; // recurrent states, convolution states and journal of one sequence
} nb_plan;

int nb_plan_make(const nb_model *model, nb_kv_format kv, nb_plan *out, nb_error *err);

typedef struct nb_plan_fit {
    int64_t needed_bytes; // weights, states and KV for the asked load
    bool fits;
    int64_t max_sequences; // with the asked context
    int64_t max_context;   // with the asked number of sequences
} nb_plan_fit;
void nb_plan_fit_make(const nb_plan *plan, const nb_model *model, int64_t device_bytes, int64_t scratch_bytes,
                      int64_t context, int64_t n_seq, nb_plan_fit *out);

// State slots for the prefix cache where nobody asks for a number. `room` is what weights, scratch and the slots of
// n_seq running sequences leave; KV pages take the rest of it. At least 1 in a model with states (slot_bytes > 0).
int nb_plan_saved_states(int64_t room, int64_t slot_bytes, int64_t n_seq);

typedef struct nb_plan_serving { // what a server reserves for n_seq running sequences
    int64_t saved_states, kv_tok;
} nb_plan_serving;
void nb_plan_serving_make(const nb_plan *plan, int64_t usable_bytes, int64_t scratch_bytes, int64_t n_seq,
                          nb_plan_serving *out);

// The parts of a step that are timed apart (`nibble bench --kernels`).
typedef enum nb_plan_part {
    NB_PART_EMBED,             // embedding, norms
    NB_PART_ATTENTION_LINEARS, // q, k, v, o
    NB_PART_ATTENTION,         // keys and values
    NB_PART_DELTANET_LINEARS,
    NB_PART_DELTANET, // states and journals
    NB_PART_ROUTER,
    NB_PART_EXPERTS, // routed and shared
    NB_PART_HEAD,
    NB_PART_SAMPLE,
    NB_PART_COUNT,
} nb_plan_part;
const char *nb_plan_part_name(nb_plan_part part);

typedef struct nb_plan_step { // of one step with n_seq sequences of n_new tokens each, `context` tokens before them
    double weight_bytes;      // routed experts: the expected number touched under uniform routing; without MTP
    double state_bytes, kv_bytes;
    double flop;
    double part_bytes[NB_PART_COUNT], part_flop[NB_PART_COUNT]; // the same by part
} nb_plan_step;
void nb_plan_step_make(const nb_plan *plan, const nb_model *model, nb_kv_format kv, int64_t n_seq, int64_t n_new,
                       int64_t context, nb_plan_step *out);

#endif
