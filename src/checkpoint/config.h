// config.json of the supported families, read once into plain numbers under Hugging Face's names. Everything here was
// checked: positive, consistent with each other, and supported. Families:
//   qwen3_5_moe  Qwen3.5/3.6-35B-A3B, 122B-A10B, 397B-A17B: Gated DeltaNet and gated attention, shared expert, MTP
//   qwen3_moe    Qwen3-30B-A3B, 235B-A22B: plain attention in every layer
// Anything else is refused with a sentence that says what it is and what is supported.
#ifndef NB_CONFIG_H
#define NB_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

typedef enum nb_family { NB_FAMILY_QWEN3_5_MOE, NB_FAMILY_QWEN3_MOE } nb_family;
typedef enum nb_layer_kind { NB_LAYER_FULL_ATTENTION, NB_LAYER_LINEAR_ATTENTION } nb_layer_kind;

// Mixtures of weight formats that published checkpoints have. What a tensor is, is decided by the tensor itself; this
// is for models without weights (plan, synth).
typedef enum nb_mix {
    NB_MIX_BF16,      // everything BF16
    NB_MIX_PUBLISHED, // NVFP4 experts, shared experts and lm_head; FP8 attention and DeltaNet projections; rest BF16
    NB_MIX_EXPERTS,   // NVFP4 routed experts; rest BF16 (nvidia/Qwen3.5-122B-A10B-NVFP4)
    NB_MIX_LINEARS,   // NVFP4 attention and experts; rest BF16 (nvidia/Qwen3-235B-A22B-NVFP4)
    NB_MIX_FP8_BLOCK, // FP8 128x128: attention, DeltaNet projections and experts, MTP's too; rest BF16 (Qwen's -FP8)
    NB_MIX_COUNT,
} nb_mix;

enum {
    NB_LAYER_MAX = 256,
    NB_EXPERT_MAX = 1024,
    NB_TOP_K_EXPERT_MAX = 16,
    NB_EOS_MAX = 8,
};

typedef struct nb_rope {
    double rope_theta;
    int n_rot; // rotated dimensions of a head: head_dim * partial_rotary_factor
    bool yarn; // rope_type "yarn"
    double yarn_factor;
    double yarn_beta_fast, yarn_beta_slow;
    int64_t original_max_position_embeddings;
    double attention_factor; // multiplies cos and sin; 1 without YaRN
    int mrope_section[3];    // frequencies that follow the t, h, w position; zeros: plain RoPE
    bool mrope_interleaved;
} nb_rope;

typedef struct nb_config {
    nb_family family;
    int hidden_size; // d_model
    int num_hidden_layers;
    nb_layer_kind layer_type[NB_LAYER_MAX];
    int vocab_size;
    int64_t max_position_embeddings;
    double rms_norm_eps;
    bool zero_centered_norm; // weight is stored as w - 1 (qwen3_5_moe; not linear_attn.norm)
    bool tie_word_embeddings;

    int num_attention_heads; // query heads
    int num_key_value_heads;
    int head_dim;
    bool attn_output_gate; // q_proj gives query and gate, interleaved per head
    nb_rope rope;

    int linear_num_key_heads; // Gated DeltaNet; all 0 where no layer has it
    int linear_num_value_heads;
    int linear_key_head_dim;
    int linear_value_head_dim;
    int linear_conv_kernel_dim;

    int num_experts;
    int num_experts_per_tok;
    bool norm_topk_prob;
    int moe_intermediate_size;
    int shared_expert_intermediate_size; // 0: no shared expert
    int mtp_num_hidden_layers;           // 0 or 1

    int eos_token_id[NB_EOS_MAX]; // config.json's and generation_config.json's together
    int n_eos;
    bool kv_cache_fp8; // the checkpoint asks for FP8 KV (hf_quant_config.json or kv_cache_scheme)
    nb_mix mix;        // what the quantization sections say about the weights

    // generation_config.json; negative where it says nothing
    double temperature, top_p, min_p, repetition_penalty;
    int top_k;
} nb_config;

// Parses the three texts (the latter two may be empty). The message names the file and the field.
int nb_config_parse(nb_str config_json, nb_str generation_config_json, nb_str hf_quant_config_json, nb_config *out,
                    nb_error *err);

#endif
