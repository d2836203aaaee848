// Dummy models: formats by role and mix, one seed per matrix; small vectors are made at once.
#include "model/synth.h"

#include <math.h>
#include <string.h>

#include "model/bind_internal.h"
#include "model/synth_values.h"
#include "numeric/nvfp4.h"

enum { FP8_BLOCK = 128 };

typedef struct maker {
    nb_model *model;
    nb_mix mix;
    uint64_t seed;
    uint64_t n_site; // gives every matrix and vector its own seed
} maker;

static const nb_format format_by_mix[NB_MIX_COUNT][NB_ROLE_COUNT] = {
    // NB_FORMAT_BF16 where nothing is said
    [NB_MIX_PUBLISHED] = {[NB_ROLE_EXPERT] = NB_FORMAT_NVFP4,
                          [NB_ROLE_SHARED_EXPERT] = NB_FORMAT_NVFP4,
                          [NB_ROLE_LM_HEAD] = NB_FORMAT_NVFP4,
                          [NB_ROLE_ATTENTION] = NB_FORMAT_FP8,
                          [NB_ROLE_DELTANET] = NB_FORMAT_FP8},
    [NB_MIX_EXPERTS] = {[NB_ROLE_EXPERT] = NB_FORMAT_NVFP4},
    [NB_MIX_LINEARS] = {[NB_ROLE_EXPERT] = NB_FORMAT_NVFP4, [NB_ROLE_ATTENTION] = NB_FORMAT_NVFP4},
    [NB_MIX_FP8_BLOCK] = {[NB_ROLE_EXPERT] = NB_FORMAT_FP8,
                          [NB_ROLE_SHARED_EXPERT] = NB_FORMAT_FP8,
                          [NB_ROLE_ATTENTION] = NB_FORMAT_FP8,
                          [NB_ROLE_DELTANET] = NB_FORMAT_FP8},
};

static uint64_t seed_of(const maker *m)
{
    nb_random4 r = nb_random_philox(m->seed, m->n_site, 0);
    return (uint64_t)r.v[1] << 32 | r.v[0];
}

static const float *equal_scales(nb_arena *arena, int64_t n, float value)
{
    float *scale = NB_ARENA_ARRAY(arena, float, n);
    for (int64_t i = 0; i < n; i++) scale[i] = value;
    return scale;
}

static int64_t blocks(int64_t n, int64_t block)
{
    return (n + block - 1) / block;
}

static void make_matrix(maker *m, const nb_bind_site *site)
{
    // Of the quantized releases only Qwen's FP8 has a quantized MTP layer.
    nb_role role = m->mix == NB_MIX_FP8_BLOCK ? site->row->role : site->role;
    nb_linear *linear = site->field;
    *linear = (nb_linear){.format = format_by_mix[m->mix][role],
                          .n_out = (int)site->shape[0],
                          .n_in = (int)site->shape[1],
                          .dummy_seed = seed_of(m)};
    float std = nb_synth_std(linear->n_in);
    if (linear->format == NB_FORMAT_NVFP4 && linear->n_in % NB_NVFP4_BLOCK) linear->format = NB_FORMAT_BF16;
    if (linear->format == NB_FORMAT_NVFP4) linear->scale_2 = std / NB_SYNTH_NVFP4_STD;
    if (linear->format != NB_FORMAT_FP8) return;
    bool whole = m->mix != NB_MIX_FP8_BLOCK;
    linear->block_out = whole ? linear->n_out : FP8_BLOCK;
    linear->block_in = whole ? linear->n_in : FP8_BLOCK;
    linear->input_scale = whole ? 16 / NB_E4M3_MAX : 0; // inputs are of the order 1
    int64_t n_scale = blocks(linear->n_out, linear->block_out) * blocks(linear->n_in, linear->block_in);
    linear->block_scale = equal_scales(m->model->arena, n_scale, std / NB_SYNTH_FP8_STD);
}

// Norms near 1; decay rates between 1 and 16, and steps softplus(dt_bias) between 0.001 and 0.1, as models are
// initialised.
static float vector_value(const nb_bind_site *site, float unit)
{
    if (site->row->kind == NB_BIND_NORM) return 0.9f + 0.2f * unit;
    if (strstr(site->name, ".A_log")) return logf(1 + 15 * unit);
    if (strstr(site->name, ".dt_bias")) return logf(expm1f(0.001f + 0.099f * unit));
    if (strstr(site->name, ".conv1d")) return unit - 0.5f;
    return 0.9f + 0.2f * unit;
}

static void make_vector(maker *m, const nb_bind_site *site)
{
    int64_t n = 1;
    for (int i = 0; i < site->n_dim; i++) n *= site->shape[i];
    float *value = NB_ARENA_ARRAY(m->model->arena, float, n);
    uint64_t seed = seed_of(m);
    for (int64_t i = 0; i < n; i++) {
        nb_random4 r = nb_random_philox(seed, (uint64_t)i / 4, 0);
        value[i] = vector_value(site, nb_random_unit(r.v[i % 4]));
    }
    *(const float **)site->field = value;
}

static int make_site(void *user, const nb_bind_site *site, nb_error *err)
{
    (void)err;
    maker *m = user;
    m->n_site++;
    if (site->row->kind == NB_BIND_MATRIX)
        make_matrix(m, site);
    else if (site->row->kind != NB_BIND_SCALE)
        make_vector(m, site);
    return NB_OK;
}

int nb_synth_model(const nb_config *config, nb_mix mix, uint64_t seed, int n_layer, nb_model **out, nb_error *err)
{
    nb_config wanted = *config;
    if (n_layer > 0 && n_layer < wanted.num_hidden_layers) wanted.num_hidden_layers = n_layer;
    nb_model *model = nb_weights_open(&wanted, wanted.mtp_num_hidden_layers > 0);
    maker m = {.model = model, .mix = mix, .seed = seed};
    int code = nb_bind_each(model, make_site, &m, err);
    if (wanted.tie_word_embeddings) model->lm_head = model->embed_tokens;
    *out = model;
    return code;
}
