// What the files of the binding share: the table's rows, and the iteration that gives every row of a model its name,
// its shape in numbers and its field. bind.c fills the fields from a checkpoint, synth.c with dummies, walk.c reads
// them.
#ifndef NB_BIND_INTERNAL_H
#define NB_BIND_INTERNAL_H

#include "model/bind.h"

enum { NB_BIND_NAME_MAX = 256 }; // bytes of a name that the table makes

typedef enum nb_bind_kind {
    NB_BIND_MATRIX, // nb_linear
    NB_BIND_NORM,   // const float *: a norm's weight, 1 added where the family stores it zero-centred
    NB_BIND_VECTOR, // const float *: as it is
    NB_BIND_SCALE,  // float: optional, 1 unless given
} nb_bind_kind;

typedef enum nb_bind_scope { // which struct `field` is an offset into, and what the name is appended to
    NB_BIND_TOP,             // nb_model, ""
    NB_BIND_TRUNK,           // nb_model, "model.language_model." or "model."
    NB_BIND_MTP,             // nb_model, "mtp."
    NB_BIND_LAYER,           // nb_layer, "<trunk>layers.<n>." or "mtp.layers.0."
    NB_BIND_EXPERT,          // nb_expert, "<layer>mlp.experts.<e>."
} nb_bind_scope;

typedef enum nb_bind_when {
    NB_BIND_ALWAYS,
    NB_BIND_UNTIED,    // not tie_word_embeddings
    NB_BIND_ATTENTION, // full-attention layers
    NB_BIND_DELTANET,  // linear-attention layers
    NB_BIND_SHARED,    // families with a shared expert
} nb_bind_when;

typedef enum nb_bind_dim { // sizes by name; nb_bind_size gives the number
    NB_DIM_NONE,
    NB_DIM_ONE,
    NB_DIM_VOCAB,
    NB_DIM_MODEL, // d_model
    NB_DIM_MODEL_TWICE,
    NB_DIM_QUERY_GATE, // n_head * d_head * (1 + attn_output_gate)
    NB_DIM_QUERY,      // n_head * d_head
    NB_DIM_KV,         // n_kv_head * d_head
    NB_DIM_HEAD,       // d_head
    NB_DIM_CHANNEL,    // 2 * n_key_head * d_key + n_value_head * d_value
    NB_DIM_KERNEL,
    NB_DIM_VALUE,       // n_value_head * d_value
    NB_DIM_VALUE_HEADS, // n_value_head
    NB_DIM_VALUE_HEAD,  // d_value
    NB_DIM_EXPERTS,
    NB_DIM_FF,
    NB_DIM_SHARED_FF,
} nb_bind_dim;

typedef struct nb_bind_row {
    const char *name; // of the module (matrices) or the tensor (all others)
    nb_bind_scope scope;
    nb_bind_when when;
    nb_bind_kind kind;
    nb_role role;
    size_t field;
    nb_bind_dim dim[3];      // [out][in] of matrices; NB_DIM_NONE behind the last
    const char *stack;       // EXPERT: "<layer>mlp.experts.<stack>" may hold the matrices of all experts
    int stack_part, stack_n; // this matrix is rows [part, part + 1) * out of the stack_n * out rows of an expert
} nb_bind_row;

extern const nb_bind_row nb_bind_table[];
extern const int nb_bind_table_rows;

int64_t nb_bind_size(const nb_config *config, nb_bind_dim dim);

// One row applied to one place of a model.
typedef struct nb_bind_site {
    const nb_bind_row *row;
    const char *name;   // full
    const char *prefix; // what row->name was appended to; for experts that of the layer
    void *field;        // nb_linear *, const float ** or float *, by row->kind
    int layer, expert;  // as nb_bound
    nb_role role;
    int64_t shape[NB_TENSOR_DIM_MAX];
    int n_dim;
} nb_bind_site;
typedef int (*nb_bind_site_fn)(void *user, const nb_bind_site *site, nb_error *err);

// Calls `fn` for every row that holds for the model, in the order of nb_model_walk. Stops at the first failure.
int nb_bind_each(nb_model *model, nb_bind_site_fn fn, void *user, nb_error *err);

// The checkpoint's tensor that holds this matrix for all experts of the layer, or NULL.
const nb_tensor *nb_bind_stack(const nb_checkpoint *ckpt, const nb_bind_site *site);

// A model with all its tables and no weights: layer kinds, counts, expert arrays.
nb_model *nb_weights_open(const nb_config *config, bool has_mtp);

#endif
