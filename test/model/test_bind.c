// Binding: every format, both layouts of experts, and what is told when something does not fit.
#include <math.h>
#include <string.h>

#include "model/bind.h"
#include "numeric/nvfp4.h"
#include "support/check.h"
#include "support/write_safetensors.h"

#define LAYER0 "model.language_model.layers.0."
#define LAYER1 "model.language_model.layers.1."

typedef struct opened {
    nb_checkpoint *ckpt;
    nb_model *model;
} opened;

static opened bind_folder(const char *folder)
{
    opened o = {0};
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open(folder, &o.ckpt, &err), &err);
    nb_test_ok(nb_model_bind(o.ckpt, &o.model, &err), &err);
    return o;
}

static opened bind_file(nb_test_file *file)
{
    opened o = bind_folder(nb_test_mini_write(file));
    nb_test_file_drop(file);
    return o;
}

static void close_all(opened o)
{
    nb_model_close(o.model);
    nb_checkpoint_close(o.ckpt);
}

static void expect_refused(nb_test_file *file, const char *part)
{
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open(nb_test_mini_write(file), &ckpt, &err), &err);
    nb_test_fails(nb_model_bind(ckpt, &model, &err), &err, part);
    assert_null(model);
    nb_checkpoint_close(ckpt);
    nb_test_file_drop(file);
}

static void demo_checkpoint_binds(void **state)
{
    (void)state;
    opened o = bind_folder(nb_test_path("models/demo"));
    assert_int_equal(o.model->n_attention, 3); // layers 3 and 7, and the MTP layer
    assert_int_equal(o.model->n_deltanet, 6);
    assert_true(o.model->has_mtp);
    assert_int_equal(o.model->lm_head.n_out, 2048);
    assert_int_equal(o.model->layer[3].attention.q_proj.n_out, 2 * 2 * 256);
    assert_int_equal(o.model->layer[0].deltanet.in_proj_qkv.n_out, 2 * 2 * 128 + 4 * 128);
    assert_int_equal(o.model->mtp.layer.moe.expert[11].down_proj.n_in, 64);
    assert_int_equal(o.model->mtp.layer.i_attention, 2);
    close_all(o);
}

static void stacked_experts_are_cut_gate_rows_first(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    uint16_t wanted[3];
    const nb_test_tensor *gate_up = nb_test_file_find(&file, LAYER0 "mlp.experts.gate_up_proj");
    memcpy(&wanted[0], gate_up->data + 2 * (3 * 32 * 32), 2);           // expert 3, row 0
    memcpy(&wanted[1], gate_up->data + 2 * (3 * 32 * 32 + 16 * 32), 2); // expert 3, row 16
    memcpy(&wanted[2], nb_test_file_find(&file, LAYER0 "mlp.experts.down_proj")->data + 2 * (3 * 32 * 16), 2);
    opened o = bind_file(&file);
    const nb_expert *expert = &o.model->layer[0].moe.expert[3];
    assert_int_equal(*(const uint16_t *)expert->gate_proj.data, wanted[0]);
    assert_int_equal(*(const uint16_t *)expert->up_proj.data, wanted[1]);
    assert_int_equal(*(const uint16_t *)expert->down_proj.data, wanted[2]);
    close_all(o);
}

static void experts_one_by_one_equal_stacked_ones(void **state)
{
    (void)state;
    nb_test_file stacked = {0}, split = {0};
    nb_test_mini_model(&stacked);
    nb_test_mini_model(&split);
    nb_test_unstack(&split, LAYER0);
    nb_test_unstack(&split, "mtp.layers.0.");
    opened a = bind_file(&stacked), b = bind_file(&split);
    for (int e = 0; e < 4; e++) {
        const nb_expert *x = &a.model->layer[0].moe.expert[e], *y = &b.model->layer[0].moe.expert[e];
        assert_memory_equal(x->gate_proj.data, y->gate_proj.data, 2 * 16 * 32);
        assert_memory_equal(x->up_proj.data, y->up_proj.data, 2 * 16 * 32);
        assert_memory_equal(x->down_proj.data, y->down_proj.data, 2 * 32 * 16);
    }
    close_all(a);
    close_all(b);
}

static void zero_centred_norms_have_one_added_and_the_deltanet_norm_not(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    uint16_t stored[2];
    memcpy(&stored[0], nb_test_file_find(&file, LAYER1 "self_attn.q_norm.weight")->data, 2);
    memcpy(&stored[1], nb_test_file_find(&file, LAYER0 "linear_attn.norm.weight")->data, 2);
    opened o = bind_file(&file);
    assert_true(o.model->layer[1].attention.q_norm[0] == nb_bf16_to_f32(stored[0]) + 1);
    assert_true(o.model->layer[0].deltanet.norm[0] == nb_bf16_to_f32(stored[1]));
    close_all(o);
}

static void modelopt_and_compressed_nvfp4_are_the_same_matrix(void **state)
{
    (void)state;
    nb_test_file a = {0}, b = {0};
    nb_test_mini_model(&a);
    nb_test_mini_model(&b);
    nb_test_to_nvfp4(&a, LAYER1 "self_attn.o_proj");
    nb_test_to_compressed_nvfp4(&b, LAYER1 "self_attn.o_proj");
    opened x = bind_file(&a), y = bind_file(&b);
    const nb_linear *p = &x.model->layer[1].attention.o_proj, *q = &y.model->layer[1].attention.o_proj;
    float w[32], v[32];
    for (int i = 0; i < 32; i++) {
        nb_linear_decode_row(p, i, w);
        nb_linear_decode_row(q, i, v);
        assert_memory_equal(w, v, sizeof w);
    }
    // Row 0: byte 0 is 0x0b, so nibbles b (-1.5) and 0; scale code 0x30 is 0.5, scale_2 is 1/32.
    nb_linear_decode_row(p, 0, w);
    assert_true(w[0] == -1.5f * 0.5f / 32 && w[1] == 0);
    assert_int_equal(p->format, NB_FORMAT_NVFP4);
    assert_true(p->input_scale == 0);
    close_all(x);
    close_all(y);
}

static void fp8_scales_may_be_of_tensor_row_or_block(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    nb_test_to_fp8(&file, LAYER1 "self_attn.q_proj", ".weight_scale", "F32", 0, NULL);
    nb_test_to_fp8(&file, LAYER1 "self_attn.k_proj", ".weight_scale", "BF16", 2, (int64_t[]){16, 1});
    nb_test_to_fp8(&file, LAYER1 "self_attn.v_proj", ".weight_scale", "F32", 1, (int64_t[]){16});
    nb_test_to_fp8(&file, LAYER1 "self_attn.o_proj", ".weight_scale_inv", "BF16", 2, (int64_t[]){1, 1});
    nb_test_to_fp8(&file, LAYER0 "linear_attn.out_proj", ".weight_scale", "F32", 1, (int64_t[]){1});
    float input = 0.125f;
    memcpy(nb_test_file_add(&file, LAYER1 "self_attn.q_proj.input_scale", "F32", 0, NULL)->data, &input, 4);
    opened o = bind_file(&file);
    const nb_attention_weights *a = &o.model->layer[1].attention;
    assert_true(a->q_proj.block_out == 64 && a->q_proj.block_in == 32 && a->q_proj.input_scale == 0.125f);
    assert_true(a->k_proj.block_out == 1 && a->k_proj.block_in == 32 && a->k_proj.input_scale == 0);
    assert_true(a->v_proj.block_out == 1 && a->v_proj.block_scale[15] == 0.25f);
    assert_true(a->o_proj.block_out == 128 && a->o_proj.block_in == 128);
    assert_int_equal(o.model->layer[0].deltanet.out_proj.block_out, 32);
    float w[32];
    nb_linear_decode_row(&a->q_proj, 0, w);
    assert_true(w[2] == nb_e4m3_to_f32(58) * 0.25f);
    close_all(o);
}

static void kv_scales_are_taken_from_either_place(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    float k = 0.5f, v = 2;
    memcpy(nb_test_file_add(&file, LAYER1 "self_attn.k_proj.k_scale", "F32", 0, NULL)->data, &k, 4);
    memcpy(nb_test_file_add(&file, LAYER1 "self_attn.v_scale", "F32", 1, (int64_t[]){1})->data, &v, 4);
    opened o = bind_file(&file);
    assert_true(o.model->layer[1].attention.k_scale == k && o.model->layer[1].attention.v_scale == v);
    assert_true(o.model->mtp.layer.attention.k_scale == 1);
    close_all(o);
}

static void missing_and_unexpected_tensors_are_named(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    nb_test_file_remove(&file, LAYER0 "linear_attn.A_log");
    expect_refused(&file, "\"" LAYER0 "linear_attn.A_log\" is missing");
    nb_test_mini_model(&file);
    nb_test_file_add(&file, LAYER0 "mlp.extra.weight", "BF16", 1, (int64_t[]){4});
    expect_refused(&file, "model.safetensors: tensor \"" LAYER0 "mlp.extra.weight\" is unexpected");
}

static void vision_is_ignored_and_mtp_may_be_absent(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    for (int i = file.n; i-- > 0;)
        if (!strncmp(file.tensor[i].name, "mtp.", 4)) nb_test_file_remove(&file, file.tensor[i].name);
    nb_test_file_add(&file, "model.visual.patch_embed.proj.weight", "BF16", 5, (int64_t[]){2, 3, 2, 4, 4});
    opened o = bind_file(&file);
    assert_false(o.model->has_mtp);
    assert_int_equal(o.model->n_attention, 1);
    close_all(o);
}

typedef struct tally {
    int n[5];
} tally;

static void count_kind(void *user, const nb_bind_note *note)
{
    tally *t = user;
    t->n[note->kind]++;
    assert_true(note->name.len > 0);
    assert_true((note->kind == NB_NOTE_BOUND) == !*note->detail);
    assert_true((note->kind == NB_NOTE_MISSING) == !note->tensor);
}

static void report_tells_all_problems_at_once(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    nb_test_file_remove(&file, "model.language_model.norm.weight");
    nb_test_file_remove(&file, "mtp.norm.weight");
    nb_test_file_add(&file, "model.visual.x", "BF16", 1, (int64_t[]){4});
    nb_test_file_add(&file, "what.is.this", "BF16", 1, (int64_t[]){4});
    nb_test_file_find(&file, LAYER0 "mlp.gate.weight")->dim[0] = 2;
    nb_test_file_find(&file, LAYER0 "mlp.gate.weight")->dim[1] = 64;
    nb_checkpoint *ckpt;
    nb_error err = {0};
    nb_test_ok(nb_checkpoint_open(nb_test_mini_write(&file), &ckpt, &err), &err);
    tally t = {0};
    nb_model *model;
    nb_model_report(ckpt, count_kind, &t, &model);
    assert_int_equal(t.n[NB_NOTE_MISSING], 2);
    assert_int_equal(t.n[NB_NOTE_UNEXPECTED], 1);
    assert_int_equal(t.n[NB_NOTE_IGNORED], 1);
    assert_int_equal(t.n[NB_NOTE_WRONG], 1);
    assert_int_equal(t.n[NB_NOTE_BOUND], nb_checkpoint_count(ckpt) - 2);
    assert_int_equal(model->layer[0].moe.gate.n_out, 0);
    assert_int_equal(model->layer[1].moe.gate.n_out, 4);
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
    nb_test_file_drop(&file);
}

typedef struct walked {
    int n_matrix, n_vector, n_expert, n_mtp;
    char first[256], last[256];
} walked;

static int note(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    walked *w = user;
    if (!w->first[0]) snprintf(w->first, sizeof w->first, "%s", bound->name);
    snprintf(w->last, sizeof w->last, "%s", bound->name);
    if (bound->linear) {
        w->n_matrix++;
        assert_int_equal(bound->shape[0], bound->linear->n_out);
        assert_non_null(bound->tensor);
    } else {
        w->n_vector++;
    }
    w->n_expert += bound->role == NB_ROLE_EXPERT;
    w->n_mtp += bound->role == NB_ROLE_MTP;
    assert_true(bound->expert < 4);
    return NB_OK;
}

static void walk_visits_everything_once(void **state)
{
    (void)state;
    nb_test_file file = {0};
    nb_test_mini_model(&file);
    opened o = bind_file(&file);
    walked w = {0};
    nb_error err = {0};
    nb_test_ok(nb_model_walk(o.model, note, &w, &err), &err);
    // embed, lm_head, fc; 5 DeltaNet, 2 x 4 attention, 3 x (router, gate, 3 shared, 12 experts)
    assert_int_equal(w.n_matrix, 3 + 5 + 8 + 3 * 17);
    assert_int_equal(w.n_vector, 4 + 3 * 2 + 2 * 2 + 4);
    assert_int_equal(w.n_expert, 2 * 12);
    assert_int_equal(w.n_mtp, 4 + 2 + 2 + 4 + 17);
    assert_string_equal(w.first, "model.language_model.embed_tokens");
    assert_string_equal(w.last, "mtp.layers.0.mlp.experts.3.down_proj");
    close_all(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_checkpoint_binds),
        cmocka_unit_test(stacked_experts_are_cut_gate_rows_first),
        cmocka_unit_test(experts_one_by_one_equal_stacked_ones),
        cmocka_unit_test(zero_centred_norms_have_one_added_and_the_deltanet_norm_not),
        cmocka_unit_test(modelopt_and_compressed_nvfp4_are_the_same_matrix),
        cmocka_unit_test(fp8_scales_may_be_of_tensor_row_or_block),
        cmocka_unit_test(kv_scales_are_taken_from_either_place),
        cmocka_unit_test(missing_and_unexpected_tensors_are_named),
        cmocka_unit_test(vision_is_ignored_and_mtp_may_be_absent),
        cmocka_unit_test(report_tells_all_problems_at_once),
        cmocka_unit_test(walk_visits_everything_once),
    };
    return nb_test_run("model/bind", tests);
}
