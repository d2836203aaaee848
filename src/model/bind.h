// Binding: tensor names become the fields of nb_model once, by one table of rows {name pattern, shape in symbols,
// field, condition}. The same rows drive loading, checks, `inspect`, the quantizer's walk and the byte counts of
// `plan`. A missing tensor, an unknown one, a wrong dtype or shape, a scale that is absent, zero, negative or not
// finite: an error that names the tensor and its file.
#ifndef NB_BIND_H
#define NB_BIND_H

#include "model/weights.h"

// What a tensor is for: classes of `inspect` and `plan`, and what a quantization recipe speaks of.
typedef enum nb_role {
    NB_ROLE_EMBED,
    NB_ROLE_LM_HEAD,
    NB_ROLE_NORM,          // all norms, conv1d, A_log, dt_bias
    NB_ROLE_ATTENTION,     // q, k, v, o
    NB_ROLE_DELTANET,      // in_proj_qkv, in_proj_z, out_proj
    NB_ROLE_DELTANET_GATE, // in_proj_a, in_proj_b
    NB_ROLE_ROUTER,        // mlp.gate, shared_expert_gate
    NB_ROLE_EXPERT,        // routed experts
    NB_ROLE_SHARED_EXPERT,
    NB_ROLE_MTP,    // everything under mtp.
    NB_ROLE_VISION, // recognised and left alone
    NB_ROLE_COUNT,
} nb_role;
const char *nb_role_name(nb_role role);

// Binds all tensors of `ckpt`, whose lifetime must cover the model's.
int nb_model_bind(const nb_checkpoint *ckpt, nb_model **out, nb_error *err);
void nb_model_close(nb_model *model);

// The walk: calls `visit` for every matrix or vector that the configuration asks for, in the order of the layers.
// Experts are visited one by one (gate_proj, up_proj, down_proj of expert e), stacked or not. `name` is the module's
// name as the checkpoints spell it, without ".weight" ("model.language_model.layers.3.mlp.experts.7.gate_proj").
// `linear` is NULL for vectors. With a model that is only a configuration (no tensors), `linear` has its shape and no
// data.
typedef struct nb_bound {
    const char *name;
    nb_role role;
    int layer;  // -1 outside the layers; num_hidden_layers: the MTP layer
    int expert; // -1 outside the routed experts
    const nb_linear *linear;
    const nb_tensor *tensor; // the checkpoint's tensor that holds it (shared by all slices of a stacked one), or NULL
    int64_t shape[NB_TENSOR_DIM_MAX];
    int n_dim;
} nb_bound;
typedef int (*nb_bind_visit)(void *user, const nb_bound *bound, nb_error *err);
int nb_model_walk(const nb_model *model, nb_bind_visit visit, void *user, nb_error *err);
bool nb_bind_is_vision(nb_str name); // a tensor of the vision tower

// What became of every tensor, and what is missing, for `inspect`: binding that goes on after a problem.
typedef enum nb_note_kind {
    NB_NOTE_BOUND,
    NB_NOTE_IGNORED,    // recognised and not used: vision
    NB_NOTE_MISSING,    // config.json asks for it
    NB_NOTE_UNEXPECTED, // nothing asks for it
    NB_NOTE_WRONG,      // dtype, shape or values; it is noted as bound, too
} nb_note_kind;
typedef struct nb_bind_note {
    nb_note_kind kind;
    nb_str name;
    const nb_tensor *tensor; // NULL when it is missing
    nb_role role;            // NB_ROLE_COUNT where unknown
    const char *detail;      // "" for bound ones
} nb_bind_note;
typedef void (*nb_bind_report)(void *user, const nb_bind_note *note);

// The model holds what could be bound; matrices that could not have n_out = 0. For nb_model_walk and nb_model_close
// only.
void nb_model_report(const nb_checkpoint *ckpt, nb_bind_report report, void *user, nb_model **out);

#endif
