// Life of a model, and the iteration over the table: which rows hold where, and under which names.
#include <stdio.h>

#include "model/bind_internal.h"

static const char *const role_names[NB_ROLE_COUNT] = {
    [NB_ROLE_EMBED] = "embed_tokens",
    [NB_ROLE_LM_HEAD] = "lm_head",
    [NB_ROLE_NORM] = "norms",
    [NB_ROLE_ATTENTION] = "attention",
    [NB_ROLE_DELTANET] = "deltanet",
    [NB_ROLE_DELTANET_GATE] = "deltanet_gates",
    [NB_ROLE_ROUTER] = "routers",
    [NB_ROLE_EXPERT] = "routed_experts",
    [NB_ROLE_SHARED_EXPERT] = "shared_experts",
    [NB_ROLE_MTP] = "mtp",
    [NB_ROLE_VISION] = "vision",
};

const char *nb_role_name(nb_role role)
{
    return role_names[role];
}

static void open_layer(nb_model *model, nb_layer *layer, nb_layer_kind kind)
{
    bool full = kind == NB_LAYER_FULL_ATTENTION;
    layer->kind = kind;
    layer->i_attention = full ? model->n_attention++ : -1;
    layer->i_deltanet = full ? -1 : model->n_deltanet++;
    layer->attention.k_scale = layer->attention.v_scale = 1;
    layer->moe.expert = NB_ARENA_ARRAY(model->arena, nb_expert, model->config.num_experts);
}

nb_model *nb_weights_open(const nb_config *config, bool has_mtp)
{
    nb_arena *arena = nb_arena_open(1 << 20);
    nb_model *model = NB_ARENA_ARRAY(arena, nb_model, 1);
    model->arena = arena;
    model->config = *config;
    model->has_mtp = has_mtp;
    model->layer = NB_ARENA_ARRAY(arena, nb_layer, config->num_hidden_layers);
    for (int i = 0; i < config->num_hidden_layers; i++) open_layer(model, &model->layer[i], config->layer_type[i]);
    if (has_mtp) open_layer(model, &model->mtp.layer, NB_LAYER_FULL_ATTENTION);
    return model;
}

void nb_model_close(nb_model *model)
{
    if (!model) return;
    nb_free_large(model->owned, model->owned_bytes);
    nb_arena_close(model->arena);
}

typedef struct iteration {
    nb_model *model;
    nb_bind_site_fn fn;
    void *user;
    nb_error *err;
    bool in_mtp;
    nb_bind_site site;
} iteration;

static bool holds(const nb_model *model, nb_bind_when when, const nb_layer *layer)
{
    switch (when) {
    case NB_BIND_ALWAYS: break;
    case NB_BIND_UNTIED: return !model->config.tie_word_embeddings;
    case NB_BIND_ATTENTION: return layer->kind == NB_LAYER_FULL_ATTENTION;
    case NB_BIND_DELTANET: return layer->kind == NB_LAYER_LINEAR_ATTENTION;
    case NB_BIND_SHARED: return model->config.shared_expert_intermediate_size > 0;
    }
    return true;
}

static int visit_row(iteration *it, const nb_bind_row *row, const char *name, void *base)
{
    nb_bind_site *site = &it->site;
    site->row = row;
    site->name = name;
    site->field = (char *)base + row->field;
    site->role = it->in_mtp ? NB_ROLE_MTP : row->role;
    for (site->n_dim = 0; site->n_dim < 3 && row->dim[site->n_dim] != NB_DIM_NONE; site->n_dim++)
        site->shape[site->n_dim] = nb_bind_size(&it->model->config, row->dim[site->n_dim]);
    return it->fn(it->user, site, it->err);
}

static int visit_experts(iteration *it, nb_expert *expert)
{
    char name[NB_BIND_NAME_MAX];
    for (int e = 0; e < it->model->config.num_experts; e++) {
        it->site.expert = e;
        for (int i = 0; i < nb_bind_table_rows; i++) {
            const nb_bind_row *row = &nb_bind_table[i];
            if (row->scope != NB_BIND_EXPERT) continue;
            snprintf(name, sizeof name, "%smlp.experts.%d.%s", it->site.prefix, e, row->name);
            NB_TRY(visit_row(it, row, name, &expert[e]));
        }
    }
    it->site.expert = -1;
    return NB_OK;
}

static int visit_layer(iteration *it, const char *prefix, int i_layer, nb_layer *layer)
{
    char name[NB_BIND_NAME_MAX];
    it->site.prefix = prefix;
    it->site.layer = i_layer;
    for (int i = 0; i < nb_bind_table_rows; i++) {
        const nb_bind_row *row = &nb_bind_table[i];
        if (row->scope != NB_BIND_LAYER || !holds(it->model, row->when, layer)) continue;
        snprintf(name, sizeof name, "%s%s", prefix, row->name);
        NB_TRY(visit_row(it, row, name, layer));
    }
    NB_TRY(visit_experts(it, layer->moe.expert));
    it->site.layer = -1;
    return NB_OK;
}

// Rows of the model's own fields: those in the table in front of the first layer's row, or those behind.
static int visit_scope(iteration *it, nb_bind_scope scope, const char *prefix, bool behind_layers)
{
    char name[NB_BIND_NAME_MAX];
    bool behind = false;
    it->site.prefix = prefix;
    for (int i = 0; i < nb_bind_table_rows; i++) {
        const nb_bind_row *row = &nb_bind_table[i];
        behind = behind || row->scope == NB_BIND_LAYER;
        if (row->scope != scope || behind != behind_layers || !holds(it->model, row->when, NULL)) continue;
        snprintf(name, sizeof name, "%s%s", prefix, row->name);
        NB_TRY(visit_row(it, row, name, it->model));
    }
    return NB_OK;
}

static int visit_layers(iteration *it, const char *trunk)
{
    char prefix[NB_BIND_NAME_MAX];
    for (int i = 0; i < it->model->config.num_hidden_layers; i++) {
        snprintf(prefix, sizeof prefix, "%slayers.%d.", trunk, i);
        NB_TRY(visit_layer(it, prefix, i, &it->model->layer[i]));
    }
    return NB_OK;
}

// The trunk's names depend on how the checkpoint was saved: with its vision tower, or as a language model alone.
static const char *trunk_of(const nb_model *model)
{
    bool nested = model->config.family == NB_FAMILY_QWEN3_5_MOE;
    if (model->ckpt && nb_checkpoint_find(model->ckpt, NB_STR("model.norm.weight"))) nested = false;
    return nested ? "model.language_model." : "model.";
}

int nb_bind_each(nb_model *model, nb_bind_site_fn fn, void *user, nb_error *err)
{
    iteration it = {.model = model, .fn = fn, .user = user, .err = err, .site = {.layer = -1, .expert = -1}};
    const char *trunk = trunk_of(model);
    NB_TRY(visit_scope(&it, NB_BIND_TRUNK, trunk, false));
    NB_TRY(visit_layers(&it, trunk));
    NB_TRY(visit_scope(&it, NB_BIND_TRUNK, trunk, true));
    NB_TRY(visit_scope(&it, NB_BIND_TOP, "", true));
    if (!model->has_mtp) return NB_OK;
    it.in_mtp = true;
    NB_TRY(visit_scope(&it, NB_BIND_MTP, "mtp.", true));
    return visit_layer(&it, "mtp.layers.0.", model->config.num_hidden_layers, &model->mtp.layer);
}
