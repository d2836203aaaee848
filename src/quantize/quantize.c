// Collect what the recipe names, declare every tensor of the output, then write them in the same order. See quantize.h.
#include "quantize/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/quantize_internal.h"

typedef struct run {
    const nb_model *model;
    const nb_quantize_options *options;
    nb_items items;
    const nb_tensor **consumed; // [items.n] sorted by address: tensors that are replaced
    nb_shard_writer *writer;
    nb_encoded encoded;
    nb_quantize_report report;
    double nvfp4_energy, fp8_energy;
    int64_t written_bytes;
} run;

static int check_source(const nb_bound *bound, nb_target target, nb_error *err)
{
    const nb_linear *l = bound->linear;
    if (l->format == NB_FORMAT_FP8 || l->format == NB_FORMAT_NVFP4)
        return nb_error_set(err, NB_ERR_INPUT,
                            "%s is quantized already (%s); give the BF16 checkpoint it was made from", bound->name,
                            nb_format_name(l->format));
    if (target == NB_TARGET_NVFP4 && l->n_in % NB_NVFP4_BLOCK != 0)
        return nb_error_set(err, NB_ERR_INPUT, "%s has %d inputs; NVFP4 needs a multiple of %d", bound->name, l->n_in,
                            NB_NVFP4_BLOCK);
    return NB_OK;
}

static int collect(void *user, const nb_bound *bound, nb_error *err)
{
    nb_items *items = user;
    nb_target target = bound->linear ? items->recipe->target[bound->role] : NB_TARGET_KEEP;
    if (target == NB_TARGET_KEEP) return NB_OK;
    NB_TRY(check_source(bound, target, err));
    if (items->n == items->cap) {
        items->cap = items->cap ? items->cap * 2 : 1024;
        items->item = nb_realloc(items->item, (size_t)items->cap * sizeof *items->item);
    }
    items->item[items->n++] = (nb_item){.name = nb_arena_printf(items->arena, "%s", bound->name),
                                        .role = bound->role,
                                        .target = target,
                                        .linear = bound->linear,
                                        .tensor = bound->tensor,
                                        .partner = -1,
                                        .amax = -1};
    return NB_OK;
}

// gate_proj and up_proj of one module stand beside each other in the walk.
static void pair_gate_and_up(nb_items *items)
{
    for (int64_t i = 0; i + 1 < items->n; i++) {
        nb_str gate = nb_str_from(items->item[i].name), up = nb_str_from(items->item[i + 1].name);
        if (!nb_str_ends(gate, NB_STR(".gate_proj")) || !nb_str_ends(up, NB_STR(".up_proj"))) continue;
        if (!nb_str_equal(nb_str_slice(gate, 0, gate.len - 10), nb_str_slice(up, 0, up.len - 8))) continue;
        items->item[i].partner = i + 1;
        items->item[i + 1].partner = i;
    }
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (const nb_tensor *const *)a, y = (uintptr_t) * (const nb_tensor *const *)b;
    return (x > y) - (x < y);
}

static void sort_consumed(run *r)
{
    r->consumed = nb_alloc(sizeof *r->consumed * (size_t)(r->items.n + 1));
    for (int64_t i = 0; i < r->items.n; i++) r->consumed[i] = r->items.item[i].tensor;
    qsort(r->consumed, (size_t)r->items.n, sizeof *r->consumed, by_address);
}

static bool is_kept(const run *r, const nb_tensor *tensor)
{
    return !bsearch(&tensor, r->consumed, (size_t)r->items.n, sizeof *r->consumed, by_address);
}

static void declare(run *r, const nb_item *item, const char *suffix, nb_dtype dtype, int n_dim, int64_t d0, int64_t d1)
{
    char name[512];
    snprintf(name, sizeof name, "%s.%s", item->name, suffix);
    nb_shard_writer_declare(r->writer, name, dtype, n_dim, (int64_t[]){d0, d1});
}

static void declare_item(run *r, const nb_item *item)
{
    int64_t n_out = item->linear->n_out, n_in = item->linear->n_in;
    if (item->target == NB_TARGET_NVFP4) {
        declare(r, item, "weight", NB_DTYPE_U8, 2, n_out, n_in / 2);
        declare(r, item, "weight_scale", NB_DTYPE_F8_E4M3, 2, n_out, n_in / NB_NVFP4_BLOCK);
        declare(r, item, "weight_scale_2", NB_DTYPE_F32, 0, 0, 0);
        declare(r, item, "input_scale", NB_DTYPE_F32, 0, 0, 0);
    } else {
        declare(r, item, "weight", NB_DTYPE_F8_E4M3, 2, n_out, n_in);
        declare(r, item, "weight_scale", NB_DTYPE_F32, 0, 0, 0);
        if (r->options->calibration) declare(r, item, "input_scale", NB_DTYPE_F32, 0, 0, 0);
    }
}

static void declare_kept(run *r, const nb_tensor *t)
{
    char name[512];
    snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.ptr);
    nb_shard_writer_declare(r->writer, name, t->dtype, t->n_dim, t->dim);
}

static int add(run *r, const void *bytes, size_t n_byte, nb_error *err)
{
    NB_TRY(nb_shard_writer_add(r->writer, bytes, n_byte, err));
    r->written_bytes += (int64_t)n_byte;
    if (r->options->progress) r->options->progress(r->options->user, r->written_bytes, r->report.out_bytes);
    return NB_OK;
}

static float item_amax(run *r, int64_t i)
{
    nb_item *item = &r->items.item[i];
    if (item->amax < 0) item->amax = nb_encode_amax(r->options->threads, item->linear);
    return item->amax;
}

static int write_nvfp4(run *r, int64_t i, nb_error *err)
{
    const nb_item *item = &r->items.item[i];
    float amax = item_amax(r, i), one = 1.0f;
    if (item->partner >= 0) amax = fmaxf(amax, item_amax(r, item->partner));
    float scale_2 = nb_nvfp4_scale_2(amax);
    nb_encode_nvfp4(r->options->threads, item->linear, scale_2, r->items.recipe->method, &r->encoded);
    NB_TRY(add(r, r->encoded.weight.ptr, r->encoded.weight.len, err));
    NB_TRY(add(r, r->encoded.scale.ptr, r->encoded.scale.len, err));
    NB_TRY(add(r, &scale_2, sizeof scale_2, err));
    NB_TRY(add(r, &one, sizeof one, err));
    r->report.n_nvfp4++;
    r->report.nvfp4_error += r->encoded.error;
    r->nvfp4_energy += r->encoded.energy;
    return NB_OK;
}

static int write_fp8(run *r, int64_t i, nb_error *err)
{
    const nb_item *item = &r->items.item[i];
    float amax = item_amax(r, i), weight_scale = amax > 0 ? amax / NB_E4M3_MAX : 1.0f;
    nb_encode_fp8(r->options->threads, item->linear, weight_scale, &r->encoded);
    NB_TRY(add(r, r->encoded.weight.ptr, r->encoded.weight.len, err));
    NB_TRY(add(r, &weight_scale, sizeof weight_scale, err));
    if (r->options->calibration) {
        float input_amax = nb_calibration_amax(r->options->calibration, item->linear);
        if (!(input_amax > 0) || !isfinite(input_amax))
            return nb_error_set(err, NB_ERR_INPUT, "%s saw no input while calibrating; use a longer text", item->name);
        float input_scale = input_amax / NB_E4M3_MAX;
        NB_TRY(add(r, &input_scale, sizeof input_scale, err));
    }
    r->report.n_fp8++;
    r->report.fp8_error += r->encoded.error;
    r->fp8_energy += r->encoded.energy;
    return NB_OK;
}

static void declare_all(run *r)
{
    const nb_checkpoint *ckpt = r->model->ckpt;
    for (int64_t i = 0; i < r->items.n; i++) declare_item(r, &r->items.item[i]);
    for (int64_t i = 0; i < nb_checkpoint_count(ckpt); i++) {
        const nb_tensor *t = nb_checkpoint_at(ckpt, i);
        r->report.in_bytes += (int64_t)t->n_byte;
        if (is_kept(r, t)) declare_kept(r, t);
    }
    r->report.out_bytes = nb_shard_writer_total(r->writer);
}

static int write_all(run *r, nb_error *err)
{
    const nb_checkpoint *ckpt = r->model->ckpt;
    for (int64_t i = 0; i < r->items.n; i++)
        NB_TRY(r->items.item[i].target == NB_TARGET_NVFP4 ? write_nvfp4(r, i, err) : write_fp8(r, i, err));
    for (int64_t i = 0; i < nb_checkpoint_count(ckpt); i++) {
        const nb_tensor *t = nb_checkpoint_at(ckpt, i);
        if (is_kept(r, t)) NB_TRY(add(r, t->data, t->n_byte, err));
    }
    NB_TRY(nb_quant_metadata_write(&r->items, nb_checkpoint_folder(ckpt), r->writer, err));
    return nb_shard_writer_finish(r->writer, err);
}

int nb_quantize(const nb_model *model, const char *folder, const nb_quantize_options *options,
                nb_quantize_report *report, nb_error *err)
{
    run r = {.model = model, .options = options};
    r.items = (nb_items){.arena = nb_arena_open(0), .recipe = options->recipe};
    int code = nb_model_walk(model, collect, &r.items, err);
    if (code == NB_OK) code = nb_shard_writer_open(folder, options->shard_bytes, &r.writer, err);
    if (code == NB_OK) {
        pair_gate_and_up(&r.items);
        sort_consumed(&r);
        declare_all(&r);
        code = write_all(&r, err);
    }
    if (r.nvfp4_energy > 0) r.report.nvfp4_error /= r.nvfp4_energy;
    if (r.fp8_energy > 0) r.report.fp8_error /= r.fp8_energy;
    *report = r.report;
    nb_shard_writer_close(r.writer);
    nb_buf_drop(&r.encoded.weight);
    nb_buf_drop(&r.encoded.scale);
    free(r.consumed);
    free(r.items.item);
    nb_arena_close(r.items.arena);
    return code;
}
