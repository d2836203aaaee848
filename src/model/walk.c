// The walk: the rows of the table with what they are bound to, for the quantizer, `inspect` and `plan`.
#include <stdio.h>

#include "model/bind_internal.h"

typedef struct walker {
    const nb_model *model;
    nb_bind_visit visit;
    void *user;
} walker;

static const nb_tensor *find(const nb_model *model, const char *name, const char *suffix)
{
    char full[NB_BIND_NAME_MAX];
    int n = snprintf(full, sizeof full, "%s%s", name, suffix);
    return nb_checkpoint_find(model->ckpt, (nb_str){full, (size_t)n});
}

static const nb_tensor *tensor_of(const nb_model *model, const nb_bind_site *site)
{
    if (!model->ckpt) return NULL;
    if (site->row->kind != NB_BIND_MATRIX) return find(model, site->name, "");
    const nb_tensor *tensor = nb_bind_stack(model->ckpt, site);
    if (!tensor) tensor = find(model, site->name, ".weight");
    return tensor ? tensor : find(model, site->name, ".weight_packed");
}

static int visit_site(void *user, const nb_bind_site *site, nb_error *err)
{
    walker *w = user;
    if (site->row->kind == NB_BIND_SCALE) return NB_OK;
    nb_str name = nb_str_from(site->name);
    char module[NB_BIND_NAME_MAX];
    if (nb_str_ends(name, NB_STR(".weight"))) name.len -= sizeof ".weight" - 1;
    snprintf(module, sizeof module, "%.*s", (int)name.len, name.ptr);
    nb_bound bound = {.name = module,
                      .role = site->role,
                      .layer = site->layer,
                      .expert = site->expert,
                      .linear = site->row->kind == NB_BIND_MATRIX ? site->field : NULL,
                      .tensor = tensor_of(w->model, site),
                      .n_dim = site->n_dim};
    for (int i = 0; i < site->n_dim; i++) bound.shape[i] = site->shape[i];
    return w->visit(w->user, &bound, err);
}

int nb_model_walk(const nb_model *model, nb_bind_visit visit, void *user, nb_error *err)
{
    walker w = {.model = model, .visit = visit, .user = user};
    // The iteration hands out writable fields, which binding needs; the walk only reads them.
    return nb_bind_each((nb_model *)model, visit_site, &w, err);
}
