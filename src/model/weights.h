// The weights of a model by name, in the layout of the checkpoint. Matrices point into the mapped files; small vectors
// (norms, gates) are widened to binary32 once. A layer's vectors that are stored zero-centred already have the 1 added.
// Axes: d_model = hidden_size, d_head = head_dim, n_head, n_kv_head, d_ff = moe_intermediate_size.
#ifndef NB_WEIGHTS_H
#define NB_WEIGHTS_H

#include "base/arena.h"
#include "checkpoint/checkpoint.h"
#include "model/linear.h"

typedef struct nb_attention_weights {
    nb_linear q_proj;       // [n_head * d_head * (1 + attn_output_gate)][d_model]; per head: query rows, then gate rows
    nb_linear k_proj;       // [n_kv_head * d_head][d_model]
    nb_linear v_proj;       // [n_kv_head * d_head][d_model]
    nb_linear o_proj;       // [d_model][n_head * d_head]
    const float *q_norm;    // [d_head]
    const float *k_norm;    // [d_head]
    float k_scale, v_scale; // of an fp8 KV cache: stored = value / scale; 1 unless given
} nb_attention_weights;

typedef struct nb_deltanet_weights {
    nb_linear in_proj_qkv; // [2 * n_key_head * d_key + n_value_head * d_value][d_model]: q, k, v rows
    nb_linear in_proj_z;   // [n_value_head * d_value][d_model]
    nb_linear in_proj_b;   // [n_value_head][d_model]
    nb_linear in_proj_a;   // [n_value_head][d_model]
    nb_linear out_proj;    // [d_model][n_value_head * d_value]
    const float *conv1d;   // [n_channel][kernel], the last tap is the current token
    const float *A_log;    // [n_value_head]
    const float *dt_bias;  // [n_value_head]
    const float *norm;     // [d_value], used as it is
} nb_deltanet_weights;

typedef struct nb_expert {
    nb_linear gate_proj; // [d_ff][d_model]
    nb_linear up_proj;   // [d_ff][d_model]
    nb_linear down_proj; // [d_model][d_ff]
} nb_expert;

typedef struct nb_moe_weights {
    nb_linear gate;               // router, [n_expert][d_model]
    nb_expert *expert;            // [n_expert]
    nb_expert shared_expert;      // n_out = 0 where the family has none
    nb_linear shared_expert_gate; // [1][d_model]
} nb_moe_weights;

typedef struct nb_layer {
    nb_layer_kind kind;
    const float *input_layernorm;          // [d_model]
    const float *post_attention_layernorm; // [d_model]
    nb_attention_weights attention;        // kind FULL_ATTENTION
    nb_deltanet_weights deltanet;          // kind LINEAR_ATTENTION
    nb_moe_weights moe;
    int i_attention; // which of the layers with a KV cache this is, or -1
    int i_deltanet;  // which of the layers with a recurrent state this is, or -1
} nb_layer;

typedef struct nb_mtp_weights {
    nb_linear fc;                       // [d_model][2 * d_model]: embedding first, then hidden
    const float *pre_fc_norm_embedding; // [d_model]
    const float *pre_fc_norm_hidden;    // [d_model]
    const float *norm;                  // [d_model]
    nb_layer layer;                     // full attention
} nb_mtp_weights;

typedef struct nb_model {
    nb_config config;
    nb_linear embed_tokens; // [vocab][d_model], read by row
    nb_linear lm_head;      // [vocab][d_model]
    const float *norm;      // [d_model]
    nb_layer *layer;        // [num_hidden_layers]
    bool has_mtp;
    nb_mtp_weights mtp;
    int n_attention;           // layers with a KV cache, MTP's included (the last one)
    int n_deltanet;            // layers with a recurrent state
    nb_arena *arena;           // owns the tables and the widened vectors
    const nb_checkpoint *ckpt; // NULL: a model of dummies
    void *owned;               // the values of dummies that nb_synth_materialize made, or NULL
    size_t owned_bytes;
} nb_model;

#endif
