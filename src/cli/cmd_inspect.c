// nibble inspect: what a checkpoint holds, by class and format, and what does not fit.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/byte_text.h"
#include "cli/commands.h"
#include "model/bind.h"

static bool json, tensors;

static const nb_option options[] = {
    {"tensors", 't', NB_OPTION_FLAG, &tensors, NULL, "list every tensor: class, dtype, shape, bytes, file"},
    {"json", 0, NB_OPTION_FLAG, &json, NULL, "print one JSON object"},
    {0},
};

const nb_command nb_command_inspect = {
    .name = "inspect",
    .arguments = "CKPT",
    .summary = "show tensors, formats and bytes of a checkpoint, and what is missing or unexpected",
    .example = "nibble inspect models/demo\n"
               "nibble inspect nvidia/Qwen3.6-35B-A3B-NVFP4 --tensors | grep layers.0.",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 1,
};

enum { SHOWN_MAX = 20 }; // problems of one kind that are printed; --json has all

typedef struct class_sum {
    int64_t n_tensor, n_byte;
    int64_t n_matrix[NB_FORMAT_COUNT];
} class_sum;

typedef struct inspection {
    const nb_checkpoint *ckpt;
    nb_model *model;
    class_sum sum[NB_ROLE_COUNT + 1]; // the last: unknown
    nb_bind_note *note;               // [n_note] all that are not bound
    int64_t n_note, cap_note;
    int64_t n_kind[NB_NOTE_WRONG + 1];
    nb_role *role; // [count of tensors]
    nb_arena *arena;
} inspection;

static const char *const kind_names[] = {"bound", "ignored", "missing", "unexpected", "wrong"};

static const char *class_name(nb_role role)
{
    return role == NB_ROLE_COUNT ? "unknown" : nb_role_name(role);
}

static void keep_note(inspection *in, const nb_bind_note *note)
{
    if (in->n_note == in->cap_note) {
        in->cap_note = in->cap_note ? 2 * in->cap_note : 64;
        in->note = nb_realloc(in->note, (size_t)in->cap_note * sizeof *in->note);
    }
    nb_bind_note *kept = &in->note[in->n_note++];
    *kept = *note;
    kept->name = nb_arena_str(in->arena, note->name);
    kept->detail = nb_arena_str(in->arena, nb_str_from(note->detail)).ptr;
}

static void take_note(void *user, const nb_bind_note *note)
{
    inspection *in = user;
    in->n_kind[note->kind]++;
    if (note->kind != NB_NOTE_BOUND) keep_note(in, note);
    if (note->kind == NB_NOTE_MISSING || note->kind == NB_NOTE_WRONG)
        return; // a wrong tensor is noted as bound as well
    in->sum[note->role].n_tensor++;
    in->sum[note->role].n_byte += (int64_t)note->tensor->n_byte;
    in->role[note->tensor - nb_checkpoint_at(in->ckpt, 0)] = note->role;
}

static int count_format(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    inspection *in = user;
    if (bound->linear && bound->linear->n_out) in->sum[bound->role].n_matrix[bound->linear->format]++;
    return NB_OK;
}

static int64_t n_problem(const inspection *in)
{
    return in->n_kind[NB_NOTE_MISSING] + in->n_kind[NB_NOTE_UNEXPECTED] + in->n_kind[NB_NOTE_WRONG];
}

static int64_t total_bytes(const inspection *in)
{
    int64_t n_byte = 0;
    for (int64_t i = 0; i < nb_checkpoint_count(in->ckpt); i++)
        n_byte += (int64_t)nb_checkpoint_at(in->ckpt, i)->n_byte;
    return n_byte;
}

static const char *family_name(const nb_config *c)
{
    return c->family == NB_FAMILY_QWEN3_MOE ? "qwen3_moe" : "qwen3_5_moe";
}

static void print_head(const inspection *in)
{
    const nb_config *c = &in->model->config;
    printf("%s: %s, d_model %d, %d layers (%d Gated DeltaNet, %d attention), %d experts of d_ff %d, %d a token%s%s\n",
           nb_checkpoint_folder(in->ckpt), family_name(c), c->hidden_size, c->num_hidden_layers, in->model->n_deltanet,
           in->model->n_attention - in->model->has_mtp, c->num_experts, c->moe_intermediate_size,
           c->num_experts_per_tok, c->shared_expert_intermediate_size ? " and a shared one" : "",
           in->model->has_mtp ? ", MTP" : "");
    printf("%d files, %" PRId64 " tensors, %s; vocabulary %d; KV cache %s\n\n", nb_checkpoint_shard_count(in->ckpt),
           nb_checkpoint_count(in->ckpt), nb_byte_text_of((double)total_bytes(in)).c_str, c->vocab_size,
           c->kv_cache_fp8 ? "fp8" : "bf16");
}

static void print_classes(const inspection *in)
{
    printf("%-22s %9s %11s   matrices\n", "class", "tensors", "bytes");
    for (nb_role role = 0; role <= NB_ROLE_COUNT; role++) {
        const class_sum *sum = &in->sum[role];
        if (!sum->n_tensor) continue;
        printf("%-22s %9" PRId64 " %11s  ", class_name(role), sum->n_tensor,
               nb_byte_text_of((double)sum->n_byte).c_str);
        for (nb_format f = 0; f < NB_FORMAT_COUNT; f++)
            if (sum->n_matrix[f]) printf(" %" PRId64 " %s", sum->n_matrix[f], nb_format_name(f));
        printf("\n");
    }
}

static void print_kind(const inspection *in, nb_note_kind kind)
{
    int64_t n = in->n_kind[kind], n_shown = 0;
    if (!n) return;
    printf("\n%s: %" PRId64 "\n", kind_names[kind], n);
    for (int64_t i = 0; i < in->n_note && n_shown < SHOWN_MAX; i++) {
        const nb_bind_note *note = &in->note[i];
        if (note->kind != kind) continue;
        printf("  %s: %s\n", note->name.ptr, note->detail);
        n_shown++;
    }
    if (n > n_shown) printf("  and %" PRId64 " more; --json lists all\n", n - n_shown);
}

static void print_tensors(const inspection *in)
{
    printf("\n");
    for (int64_t i = 0; i < nb_checkpoint_count(in->ckpt); i++) {
        const nb_tensor *t = nb_checkpoint_at(in->ckpt, i);
        printf("%s\t%s\t%s\t[", t->name.ptr, class_name(in->role[i]), nb_dtype_name(t->dtype));
        for (int d = 0; d < t->n_dim; d++) printf("%s%" PRId64, d ? "," : "", t->dim[d]);
        printf("]\t%zu\t%s\n", t->n_byte, nb_checkpoint_shard_name(in->ckpt, t->shard));
    }
}

static json_t *classes_json(const inspection *in)
{
    json_t *classes = json_object();
    for (nb_role role = 0; role <= NB_ROLE_COUNT; role++) {
        const class_sum *sum = &in->sum[role];
        if (!sum->n_tensor) continue;
        json_t *matrices = json_object();
        for (nb_format f = 0; f < NB_FORMAT_COUNT; f++)
            if (sum->n_matrix[f]) json_object_set_new(matrices, nb_format_name(f), json_integer(sum->n_matrix[f]));
        json_object_set_new(classes, class_name(role),
                            json_pack("{s:I, s:I, s:o}", "tensors", (json_int_t)sum->n_tensor, "bytes",
                                      (json_int_t)sum->n_byte, "matrices", matrices));
    }
    return classes;
}

static json_t *notes_json(const inspection *in)
{
    json_t *notes = json_array();
    for (int64_t i = 0; i < in->n_note; i++)
        json_array_append_new(notes, json_pack("{s:s, s:s, s:s}", "kind", kind_names[in->note[i].kind], "name",
                                               in->note[i].name.ptr, "detail", in->note[i].detail));
    return notes;
}

static json_t *tensors_json(const inspection *in)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < nb_checkpoint_count(in->ckpt); i++) {
        const nb_tensor *t = nb_checkpoint_at(in->ckpt, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dim; d++) json_array_append_new(shape, json_integer(t->dim[d]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:I, s:s}", "name", t->name.ptr, "class",
                                              class_name(in->role[i]), "dtype", nb_dtype_name(t->dtype), "shape", shape,
                                              "bytes", (json_int_t)t->n_byte, "file",
                                              nb_checkpoint_shard_name(in->ckpt, t->shard)));
    }
    return list;
}

static void print_json(const inspection *in)
{
    const nb_config *c = &in->model->config;
    json_t *top =
        json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:i, s:I, s:I, s:o, s:o}", "folder",
                  nb_checkpoint_folder(in->ckpt), "family", family_name(c), "hidden_size", c->hidden_size,
                  "num_hidden_layers", c->num_hidden_layers, "num_experts", c->num_experts, "vocab_size", c->vocab_size,
                  "mtp", in->model->has_mtp, "kv_cache_fp8", c->kv_cache_fp8, "files",
                  nb_checkpoint_shard_count(in->ckpt), "tensor_count", (json_int_t)nb_checkpoint_count(in->ckpt),
                  "bytes", (json_int_t)total_bytes(in), "classes", classes_json(in), "notes", notes_json(in));
    if (tensors) json_object_set_new(top, "tensors", tensors_json(in));
    nb_buf text = {0};
    nb_json_write(top, &text);
    puts(text.ptr);
    nb_buf_drop(&text);
    json_decref(top);
}

static void print_text(const inspection *in)
{
    print_head(in);
    print_classes(in);
    for (nb_note_kind kind = NB_NOTE_IGNORED; kind <= NB_NOTE_WRONG; kind++) {
        if (kind == NB_NOTE_IGNORED && in->n_kind[kind])
            printf("\nignored: %" PRId64 "\n", in->n_kind[kind]);
        else
            print_kind(in, kind);
    }
    if (tensors) print_tensors(in);
}

static int inspect(const char *name, nb_error *err)
{
    const char *folder;
    nb_checkpoint *ckpt;
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    NB_TRY(nb_checkpoint_open(folder, &ckpt, err));
    inspection in = {.ckpt = ckpt, .arena = nb_arena_open(0)};
    in.role = nb_alloc(((size_t)nb_checkpoint_count(ckpt) + 1) * sizeof *in.role);
    nb_model_report(ckpt, take_note, &in, &in.model);
    nb_model_walk(in.model, count_format, &in, NULL);
    (json ? print_json : print_text)(&in);
    int code = NB_OK;
    if (n_problem(&in))
        code = nb_error_set(err, NB_ERR_INPUT, "%s: %" PRId64 " problems; it cannot be run", folder, n_problem(&in));
    nb_model_close(in.model);
    nb_checkpoint_close(ckpt);
    nb_arena_close(in.arena);
    free(in.note);
    free(in.role);
    return code;
}

int nb_cmd_inspect(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[1];
    int n_argument, code = nb_command_parse(&nb_command_inspect, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    if (code == NB_OK) code = inspect(argument[0], &err);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
