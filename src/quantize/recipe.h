// Recipes: which kind of tensor gets which format, and how scales are chosen. The table in recipe.c is the whole list.
#ifndef NB_RECIPE_H
#define NB_RECIPE_H

#include "model/bind.h"
#include "numeric/nvfp4.h"

typedef enum nb_target {
    NB_TARGET_KEEP,  // copied as it is
    NB_TARGET_NVFP4, // weights only (W4A16)
    NB_TARGET_FP8,   // per tensor, with a static input scale (W8A8)
} nb_target;

typedef struct nb_recipe {
    const char *name;
    const char *summary;
    nb_target target[NB_ROLE_COUNT];
    nb_nvfp4_method method;
} nb_recipe;

// "nvfp4": NVFP4 for routed experts, shared experts and lm_head; FP8 for attention and DeltaNet projections; the rest
// as it is. The same mix as nvidia/Qwen3.6-35B-A3B-NVFP4 (its hf_quant_config.json). `method`: "max" or "sweep".
int nb_recipe_find(const char *name, const char *method, nb_recipe *out, nb_error *err);

#endif
