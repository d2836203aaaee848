// Binding a checkpoint: the rows of the table one by one, then the tensors that no row took, then the block scales.
#include "model/bind.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/bind_format.h"

// All experts of a layer in one tensor [n_expert][stack_n * n_out][n_in], without ".weight".
static int bind_stacked(nb_binder *b, const nb_bind_site *site, const nb_tensor *stack, nb_error *err)
{
    int64_t n_out = site->shape[0], n_in = site->shape[1], n_row = site->row->stack_n * n_out;
    NB_TRY(nb_binder_check_shape(b, stack, (int64_t[]){b->model->config.num_experts, n_row, n_in}, 3, err));
    int64_t first = (site->expert * n_row + site->row->stack_part * n_out) * n_in;
    return nb_bind_plain(b, stack, first, n_out, n_in, site->field, err);
}

const nb_tensor *nb_bind_stack(const nb_checkpoint *ckpt, const nb_bind_site *site)
{
    char name[NB_BIND_NAME_MAX];
    if (!site->row->stack) return NULL;
    int n = snprintf(name, sizeof name, "%smlp.experts.%s", site->prefix, site->row->stack);
    return nb_checkpoint_find(ckpt, (nb_str){name, (size_t)n});
}

static int bind_matrix(nb_binder *b, const nb_bind_site *site, nb_error *err)
{
    const nb_tensor *stack = nb_bind_stack(b->ckpt, site);
    if (!stack) return nb_bind_matrix(b, site->name, site->shape[0], site->shape[1], site->field, err);
    nb_binder_mark(b, stack);
    return bind_stacked(b, site, stack, err);
}

static int bind_vector(nb_binder *b, const nb_bind_site *site, nb_error *err)
{
    const nb_tensor *tensor = nb_binder_take(b, site->name, "");
    if (!tensor) return nb_binder_missing(b, site->name, "", err);
    NB_TRY(nb_binder_check_shape(b, tensor, site->shape, site->n_dim, err));
    float *value;
    NB_TRY(nb_binder_widen(b, tensor, &value, err));
    if (site->row->kind == NB_BIND_NORM && b->model->config.zero_centered_norm)
        for (int64_t i = 0; i < site->shape[0]; i++) value[i] += 1;
    *(const float **)site->field = value;
    return NB_OK;
}

static int bind_scale(nb_binder *b, const nb_bind_site *site, nb_error *err)
{
    const nb_tensor *tensor = nb_binder_take(b, site->name, "");
    return tensor ? nb_binder_scalar(b, tensor, site->field, err) : NB_OK;
}

static int bind_site(void *user, const nb_bind_site *site, nb_error *err)
{
    nb_binder *b = user;
    b->role = site->role;
    int code = site->row->kind == NB_BIND_MATRIX  ? bind_matrix(b, site, err)
               : site->row->kind == NB_BIND_SCALE ? bind_scale(b, site, err)
                                                  : bind_vector(b, site, err);
    return b->report ? NB_OK : code;
}

bool nb_bind_is_vision(nb_str name)
{
    return nb_str_starts(name, NB_STR("model.visual.")) || nb_str_starts(name, NB_STR("visual."));
}

// Why a tensor that no row took may stay in the file; NULL if it may not.
static const char *ignored_because(const nb_model *model, nb_str name)
{
    if (nb_bind_is_vision(name)) return "vision tower: not used";
    if (!model->has_mtp && nb_str_starts(name, NB_STR("mtp."))) return "config.json states no MTP layer";
    if (model->config.tie_word_embeddings && nb_str_starts(name, NB_STR("lm_head."))) return "tied to embed_tokens";
    return NULL;
}

static void report_tensor(nb_binder *b, int64_t i, const char *ignored)
{
    const nb_tensor *tensor = nb_checkpoint_at(b->ckpt, i);
    nb_bind_note note = {.name = tensor->name, .tensor = tensor};
    note.kind = b->used[i] ? NB_NOTE_BOUND : ignored ? NB_NOTE_IGNORED : NB_NOTE_UNEXPECTED;
    note.role = b->used[i] ? b->used[i] - 1u : nb_bind_is_vision(tensor->name) ? NB_ROLE_VISION : NB_ROLE_COUNT;
    note.detail = b->used[i] ? "" : ignored ? ignored : "nothing in config.json asks for it";
    b->report(b->report_user, &note);
}

// The tensors that no row took.
static int check_unused(nb_binder *b, nb_error *err)
{
    for (int64_t i = 0; i < nb_checkpoint_count(b->ckpt); i++) {
        const nb_tensor *tensor = nb_checkpoint_at(b->ckpt, i);
        const char *ignored = b->used[i] ? NULL : ignored_because(b->model, tensor->name);
        if (b->report)
            report_tensor(b, i, ignored);
        else if (!b->used[i] && !ignored)
            return nb_binder_wrong(
                b, tensor, err,
                "is unexpected: nothing in config.json asks for it, or it belongs to a format that is "
                "not supported");
    }
    return NB_OK;
}

static bool has_mtp(const nb_checkpoint *ckpt)
{
    // Some quantized releases drop the MTP layer and leave its count in config.json.
    if (!nb_checkpoint_config(ckpt)->mtp_num_hidden_layers) return false;
    for (int64_t i = 0; i < nb_checkpoint_count(ckpt); i++)
        if (nb_str_starts(nb_checkpoint_at(ckpt, i)->name, NB_STR("mtp."))) return true;
    return false;
}

static int bind_all(nb_binder *b, nb_error *err)
{
    NB_TRY(nb_bind_each(b->model, bind_site, b, err));
    if (b->model->config.tie_word_embeddings) b->model->lm_head = b->model->embed_tokens;
    NB_TRY(check_unused(b, err));
    return nb_bind_check_block_scales(b, err);
}

static int run_binder(const nb_checkpoint *ckpt, nb_bind_report report, void *user, nb_model **out, nb_error *err)
{
    nb_model *model = nb_weights_open(nb_checkpoint_config(ckpt), has_mtp(ckpt));
    model->ckpt = ckpt;
    nb_binder b = {.ckpt = ckpt, .model = model, .report = report, .report_user = user};
    b.used = nb_alloc((size_t)nb_checkpoint_count(ckpt) + 1);
    int code = bind_all(&b, err);
    free(b.used);
    if (code)
        nb_model_close(model);
    else
        *out = model;
    return code;
}

int nb_model_bind(const nb_checkpoint *ckpt, nb_model **out, nb_error *err)
{
    *out = NULL;
    return run_binder(ckpt, NULL, NULL, out, err);
}

void nb_model_report(const nb_checkpoint *ckpt, nb_bind_report report, void *user, nb_model **out)
{
    run_binder(ckpt, report, user, out, NULL); // every problem goes to `report`
}
