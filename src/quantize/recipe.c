// The list of recipes. See recipe.h.
#include "quantize/recipe.h"

#include <string.h>

static const nb_recipe recipes[] = {
    {.name = "nvfp4",
     .summary = "NVFP4 experts, shared experts and lm_head; FP8 attention and DeltaNet projections",
     .target = {[NB_ROLE_EXPERT] = NB_TARGET_NVFP4,
                [NB_ROLE_SHARED_EXPERT] = NB_TARGET_NVFP4,
                [NB_ROLE_LM_HEAD] = NB_TARGET_NVFP4,
                [NB_ROLE_ATTENTION] = NB_TARGET_FP8,
                [NB_ROLE_DELTANET] = NB_TARGET_FP8}},
};

static int method_find(const char *name, nb_nvfp4_method *out, nb_error *err)
{
    if (strcmp(name, "max") == 0)
        *out = NB_NVFP4_MAX;
    else if (strcmp(name, "sweep") == 0)
        *out = NB_NVFP4_SWEEP;
    else
        return nb_error_set(err, NB_ERR_USAGE, "there is no method \"%s\"; the methods are max and sweep", name);
    return NB_OK;
}

int nb_recipe_find(const char *name, const char *method, nb_recipe *out, nb_error *err)
{
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        if (strcmp(name, recipes[i].name) != 0) continue;
        *out = recipes[i];
        return method_find(method, &out->method, err);
    }
    return nb_error_set(err, NB_ERR_USAGE, "there is no recipe \"%s\"; the recipes are: nvfp4", name);
}
