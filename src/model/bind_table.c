// The table: every tensor that the program uses, once. Names: Hugging Face's modeling_qwen3_5_moe.py and
// modeling_qwen3_moe.py; stacked experts are the transformers 5 layout (gate rows first, then up).
#include "model/bind_internal.h"

#include <stddef.h>

#define TOP_FIELD(f)    offsetof(nb_model, f)
#define LAYER_FIELD(f)  offsetof(nb_layer, f)
#define EXPERT_FIELD(f) offsetof(nb_expert, f)

// clang-format off
const nb_bind_row nb_bind_table[] = {
    // name, scope, when, kind, role, field, dim, stack
    {"embed_tokens", NB_BIND_TRUNK, NB_BIND_ALWAYS, NB_BIND_MATRIX, NB_ROLE_EMBED, TOP_FIELD(embed_tokens), {NB_DIM_VOCAB, NB_DIM_MODEL}, 0, 0, 0},

    {"input_layernorm.weight", NB_BIND_LAYER, NB_BIND_ALWAYS, NB_BIND_NORM, NB_ROLE_NORM, LAYER_FIELD(input_layernorm), {NB_DIM_MODEL}, 0, 0, 0},

    {"self_attn.q_proj", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_MATRIX, NB_ROLE_ATTENTION, LAYER_FIELD(attention.q_proj), {NB_DIM_QUERY_GATE, NB_DIM_MODEL}, 0, 0, 0},
    {"self_attn.k_proj", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_MATRIX, NB_ROLE_ATTENTION, LAYER_FIELD(attention.k_proj), {NB_DIM_KV, NB_DIM_MODEL}, 0, 0, 0},
    {"self_attn.v_proj", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_MATRIX, NB_ROLE_ATTENTION, LAYER_FIELD(attention.v_proj), {NB_DIM_KV, NB_DIM_MODEL}, 0, 0, 0},
    {"self_attn.o_proj", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_MATRIX, NB_ROLE_ATTENTION, LAYER_FIELD(attention.o_proj), {NB_DIM_MODEL, NB_DIM_QUERY}, 0, 0, 0},
    {"self_attn.q_norm.weight", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_NORM, NB_ROLE_NORM, LAYER_FIELD(attention.q_norm), {NB_DIM_HEAD}, 0, 0, 0},
    {"self_attn.k_norm.weight", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_NORM, NB_ROLE_NORM, LAYER_FIELD(attention.k_norm), {NB_DIM_HEAD}, 0, 0, 0},
    {"self_attn.k_proj.k_scale", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_SCALE, NB_ROLE_ATTENTION, LAYER_FIELD(attention.k_scale), {NB_DIM_NONE}, 0, 0, 0}, // ModelOpt
    {"self_attn.v_proj.v_scale", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_SCALE, NB_ROLE_ATTENTION, LAYER_FIELD(attention.v_scale), {NB_DIM_NONE}, 0, 0, 0},
    {"self_attn.k_scale", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_SCALE, NB_ROLE_ATTENTION, LAYER_FIELD(attention.k_scale), {NB_DIM_NONE}, 0, 0, 0}, // compressed-tensors
    {"self_attn.v_scale", NB_BIND_LAYER, NB_BIND_ATTENTION, NB_BIND_SCALE, NB_ROLE_ATTENTION, LAYER_FIELD(attention.v_scale), {NB_DIM_NONE}, 0, 0, 0},

    {"linear_attn.in_proj_qkv", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_MATRIX, NB_ROLE_DELTANET, LAYER_FIELD(deltanet.in_proj_qkv), {NB_DIM_CHANNEL, NB_DIM_MODEL}, 0, 0, 0},
    {"linear_attn.in_proj_z", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_MATRIX, NB_ROLE_DELTANET, LAYER_FIELD(deltanet.in_proj_z), {NB_DIM_VALUE, NB_DIM_MODEL}, 0, 0, 0},
    {"linear_attn.in_proj_b", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_MATRIX, NB_ROLE_DELTANET_GATE, LAYER_FIELD(deltanet.in_proj_b), {NB_DIM_VALUE_HEADS, NB_DIM_MODEL}, 0, 0, 0},
    {"linear_attn.in_proj_a", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_MATRIX, NB_ROLE_DELTANET_GATE, LAYER_FIELD(deltanet.in_proj_a), {NB_DIM_VALUE_HEADS, NB_DIM_MODEL}, 0, 0, 0},
    {"linear_attn.conv1d.weight", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_VECTOR, NB_ROLE_NORM, LAYER_FIELD(deltanet.conv1d), {NB_DIM_CHANNEL, NB_DIM_ONE, NB_DIM_KERNEL}, 0, 0, 0},
    {"linear_attn.A_log", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_VECTOR, NB_ROLE_NORM, LAYER_FIELD(deltanet.A_log), {NB_DIM_VALUE_HEADS}, 0, 0, 0},
    {"linear_attn.dt_bias", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_VECTOR, NB_ROLE_NORM, LAYER_FIELD(deltanet.dt_bias), {NB_DIM_VALUE_HEADS}, 0, 0, 0},
    {"linear_attn.norm.weight", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_VECTOR, NB_ROLE_NORM, LAYER_FIELD(deltanet.norm), {NB_DIM_VALUE_HEAD}, 0, 0, 0},
    {"linear_attn.out_proj", NB_BIND_LAYER, NB_BIND_DELTANET, NB_BIND_MATRIX, NB_ROLE_DELTANET, LAYER_FIELD(deltanet.out_proj), {NB_DIM_MODEL, NB_DIM_VALUE}, 0, 0, 0},

    {"post_attention_layernorm.weight", NB_BIND_LAYER, NB_BIND_ALWAYS, NB_BIND_NORM, NB_ROLE_NORM, LAYER_FIELD(post_attention_layernorm), {NB_DIM_MODEL}, 0, 0, 0},
    {"mlp.gate", NB_BIND_LAYER, NB_BIND_ALWAYS, NB_BIND_MATRIX, NB_ROLE_ROUTER, LAYER_FIELD(moe.gate), {NB_DIM_EXPERTS, NB_DIM_MODEL}, 0, 0, 0},
    {"mlp.shared_expert_gate", NB_BIND_LAYER, NB_BIND_SHARED, NB_BIND_MATRIX, NB_ROLE_ROUTER, LAYER_FIELD(moe.shared_expert_gate), {NB_DIM_ONE, NB_DIM_MODEL}, 0, 0, 0},
    {"mlp.shared_expert.gate_proj", NB_BIND_LAYER, NB_BIND_SHARED, NB_BIND_MATRIX, NB_ROLE_SHARED_EXPERT, LAYER_FIELD(moe.shared_expert.gate_proj), {NB_DIM_SHARED_FF, NB_DIM_MODEL}, 0, 0, 0},
    {"mlp.shared_expert.up_proj", NB_BIND_LAYER, NB_BIND_SHARED, NB_BIND_MATRIX, NB_ROLE_SHARED_EXPERT, LAYER_FIELD(moe.shared_expert.up_proj), {NB_DIM_SHARED_FF, NB_DIM_MODEL}, 0, 0, 0},
    {"mlp.shared_expert.down_proj", NB_BIND_LAYER, NB_BIND_SHARED, NB_BIND_MATRIX, NB_ROLE_SHARED_EXPERT, LAYER_FIELD(moe.shared_expert.down_proj), {NB_DIM_MODEL, NB_DIM_SHARED_FF}, 0, 0, 0},

    {"gate_proj", NB_BIND_EXPERT, NB_BIND_ALWAYS, NB_BIND_MATRIX, NB_ROLE_EXPERT, EXPERT_FIELD(gate_proj), {NB_DIM_FF, NB_DIM_MODEL}, "gate_up_proj", 0, 2},
    {"up_proj", NB_BIND_EXPERT, NB_BIND_ALWAYS, NB_BIND_MATRIX, NB_ROLE_EXPERT, EXPERT_FIELD(up_proj), {NB_DIM_FF, NB_DIM_MODEL}, "gate_up_proj", 1, 2},
    {"down_proj", NB_BIND_EXPERT, NB_BIND_ALWAYS, NB_BIND_MATRIX, NB_ROLE_EXPERT, EXPERT_FIELD(down_proj), {NB_DIM_MODEL, NB_DIM_FF}, "down_proj", 0, 1},

    {"norm.weight", NB_BIND_TRUNK, NB_BIND_ALWAYS, NB_BIND_NORM, NB_ROLE_NORM, TOP_FIELD(norm), {NB_DIM_MODEL}, 0, 0, 0},
    {"lm_head", NB_BIND_TOP, NB_BIND_UNTIED, NB_BIND_MATRIX, NB_ROLE_LM_HEAD, TOP_FIELD(lm_head), {NB_DIM_VOCAB, NB_DIM_MODEL}, 0, 0, 0},

    {"pre_fc_norm_embedding.weight", NB_BIND_MTP, NB_BIND_ALWAYS, NB_BIND_NORM, NB_ROLE_MTP, TOP_FIELD(mtp.pre_fc_norm_embedding), {NB_DIM_MODEL}, 0, 0, 0},
    {"pre_fc_norm_hidden.weight", NB_BIND_MTP, NB_BIND_ALWAYS, NB_BIND_NORM, NB_ROLE_MTP, TOP_FIELD(mtp.pre_fc_norm_hidden), {NB_DIM_MODEL}, 0, 0, 0},
    {"fc", NB_BIND_MTP, NB_BIND_ALWAYS, NB_BIND_MATRIX, NB_ROLE_MTP, TOP_FIELD(mtp.fc), {NB_DIM_MODEL, NB_DIM_MODEL_TWICE}, 0, 0, 0},
    {"norm.weight", NB_BIND_MTP, NB_BIND_ALWAYS, NB_BIND_NORM, NB_ROLE_MTP, TOP_FIELD(mtp.norm), {NB_DIM_MODEL}, 0, 0, 0},
};
// clang-format on

const int nb_bind_table_rows = (int)(sizeof nb_bind_table / sizeof *nb_bind_table);

int64_t nb_bind_size(const nb_config *c, nb_bind_dim dim)
{
    int64_t n_query = (int64_t)c->num_attention_heads * c->head_dim;
    int64_t n_value = (int64_t)c->linear_num_value_heads * c->linear_value_head_dim;
    switch (dim) {
    case NB_DIM_NONE: break;
    case NB_DIM_ONE: return 1;
    case NB_DIM_VOCAB: return c->vocab_size;
    case NB_DIM_MODEL: return c->hidden_size;
    case NB_DIM_MODEL_TWICE: return 2 * (int64_t)c->hidden_size;
    case NB_DIM_QUERY_GATE: return n_query * (c->attn_output_gate ? 2 : 1);
    case NB_DIM_QUERY: return n_query;
    case NB_DIM_KV: return (int64_t)c->num_key_value_heads * c->head_dim;
    case NB_DIM_HEAD: return c->head_dim;
    case NB_DIM_CHANNEL: return 2 * (int64_t)c->linear_num_key_heads * c->linear_key_head_dim + n_value;
    case NB_DIM_KERNEL: return c->linear_conv_kernel_dim;
    case NB_DIM_VALUE: return n_value;
    case NB_DIM_VALUE_HEADS: return c->linear_num_value_heads;
    case NB_DIM_VALUE_HEAD: return c->linear_value_head_dim;
    case NB_DIM_EXPERTS: return c->num_experts;
    case NB_DIM_FF: return c->moe_intermediate_size;
    case NB_DIM_SHARED_FF: return c->shared_expert_intermediate_size;
    }
    return 0;
}
