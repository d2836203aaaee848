// Corrupted checkpoints: each row spoils one thing of a miniature that holds every weight format, and the program must
// refuse it with one line that names the file and the tensor or field. Run under the address sanitizer, this also shows
// that nothing is read outside the files.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/bind.h"
#include "support/check.h"
#include "support/write_safetensors.h"

#define L0 "model.language_model.layers.0."
#define L1 "model.language_model.layers.1."

// ModelOpt NVFP4 (lm_head), compressed-tensors NVFP4, FP8 per tensor, row and block, experts stacked and one by one.
static void make_victim(nb_test_file *file)
{
    nb_test_mini_model(file);
    nb_test_to_nvfp4(file, "lm_head");
    nb_test_to_compressed_nvfp4(file, L1 "self_attn.o_proj");
    nb_test_to_fp8(file, L1 "self_attn.q_proj", ".weight_scale", "F32", 0, NULL);
    nb_test_to_fp8(file, L1 "self_attn.k_proj", ".weight_scale_inv", "BF16", 2, (int64_t[]){1, 1});
    nb_test_to_fp8(file, L1 "self_attn.v_proj", ".weight_scale", "BF16", 2, (int64_t[]){16, 1});
    nb_test_unstack(file, L1);
    nb_test_file_add(file, L1 "self_attn.q_proj.input_scale", "F32", 0, NULL)->data[3] = 0x3f; // 0.5
    nb_test_file_add(file, L1 "self_attn.k_proj.k_scale", "F32", 0, NULL)->data[3] = 0x3f;
}

// Before the file is written: a tensor is spoiled.
typedef void (*spoil_tensor)(nb_test_file *file, const char *name, const char *value);

static void drop_tensor(nb_test_file *file, const char *name, const char *value)
{
    (void)value;
    nb_test_file_remove(file, name);
}

static void set_dtype(nb_test_file *file, const char *name, const char *value)
{
    nb_test_tensor *t = nb_test_file_find(file, name);
    snprintf(t->dtype, sizeof t->dtype, "%s", value);
}

static void set_shape(nb_test_file *file, const char *name, const char *value) // "4,8"; the bytes stay
{
    nb_test_tensor *t = nb_test_file_find(file, name);
    t->n_dim = 0;
    for (char *end = (char *)value; *end; end += *end == ',') t->dim[t->n_dim++] = strtoll(end, &end, 10);
}

static void set_data(nb_test_file *file, const char *name, const char *value) // hexadecimal, over the first bytes
{
    nb_test_tensor *t = nb_test_file_find(file, name);
    for (size_t i = 0; value[2 * i]; i++) {
        unsigned byte;
        assert_int_equal(sscanf(value + 2 * i, "%2x", &byte), 1);
        assert_true(i < t->n_byte);
        t->data[i] = (uint8_t)byte;
    }
}

static void rename_tensor(nb_test_file *file, const char *name, const char *value)
{
    nb_test_tensor *t = nb_test_file_find(file, name);
    snprintf(t->name, sizeof t->name, "%s", value);
}

static void add_tensor(nb_test_file *file, const char *name, const char *value)
{
    nb_test_file_add(file, name, value, 1, (int64_t[]){4});
}

// After it is written: the bytes of a file are spoiled.
typedef void (*spoil_file)(const char *path, const char *from, const char *to);

static void cut(const char *path, const char *from, const char *to) // keeps `from` bytes, or cuts off `to`
{
    nb_map map;
    nb_error err;
    nb_test_ok(nb_map_open(path, &map, &err), &err);
    long n = from ? atol(from) : (long)map.n_byte - atol(to);
    nb_map_close(&map);
    assert_int_equal(truncate(path, n), 0);
}

static void append(const char *path, const char *from, const char *to)
{
    (void)from;
    FILE *f = fopen(path, "ab");
    fputs(to, f);
    fclose(f);
}

static void write_all(const char *path, const char *from, const char *to)
{
    (void)from;
    nb_test_write_text(path, to);
}

static void delete_file(const char *path, const char *from, const char *to)
{
    (void)from;
    (void)to;
    assert_int_equal(unlink(path), 0);
}

static void replace(const char *path, const char *from, const char *to) // the first `from`; sizes may differ
{
    nb_arena *arena = nb_arena_open(0);
    nb_str text;
    nb_error err;
    nb_test_ok(nb_file_read(path, 1 << 24, arena, &text, &err), &err);
    int64_t at = nb_str_find(text, nb_str_from(from), 0);
    if (at < 0) fail_msg("%s is not in %s", from, path);
    FILE *f = fopen(path, "wb");
    fwrite(text.ptr, 1, (size_t)at, f);
    fputs(to, f);
    fwrite(text.ptr + at + strlen(from), 1, text.len - (size_t)at - strlen(from), f);
    fclose(f);
    nb_arena_close(arena);
}

static void set_length(const char *path, const char *from, const char *to) // the first 8 bytes, little endian
{
    (void)to;
    FILE *f = fopen(path, "r+b");
    uint64_t n = strtoull(from, NULL, 10);
    for (int i = 0; i < 8; i++) fputc((int)(n >> 8 * i & 255), f);
    fclose(f);
}

static void nest(const char *path, const char *from, const char *to) // 100,000 opening brackets
{
    (void)from;
    FILE *f = fopen(path, "wb");
    fputs(to, f);
    for (int i = 0; i < 100000; i++) fputc('[', f);
    fclose(f);
}

typedef struct corruption {
    spoil_tensor tensor; // of the model, or NULL
    spoil_file file;     // of `name`, or NULL
    const char *name, *a, *b;
    const char *part, *also; // what the message must contain
} corruption;

#define WEIGHTS "model.safetensors"
#define INDEX   "model.safetensors.index.json"
#define CONFIG  "config.json"

static const corruption corruptions[] = {
    // files cut short or grown
    {NULL, cut, WEIGHTS, "0", NULL, WEIGHTS, "too short"},
    {NULL, cut, WEIGHTS, "7", NULL, WEIGHTS, "too short"},
    {NULL, cut, WEIGHTS, "8", NULL, WEIGHTS, "cut short"},
    {NULL, cut, WEIGHTS, "500", NULL, WEIGHTS, "cut short"},
    {NULL, cut, WEIGHTS, NULL, "1", WEIGHTS, "cut short"},
    {NULL, cut, WEIGHTS, NULL, "3000", WEIGHTS, "cut short"},
    {NULL, append, WEIGHTS, NULL, "x", WEIGHTS, "belong to no tensor"},
    {NULL, delete_file, WEIGHTS, NULL, NULL, WEIGHTS, "missing"},
    // header lengths
    {NULL, set_length, WEIGHTS, "0", NULL, WEIGHTS, "expected"},
    {NULL, set_length, WEIGHTS, "100", NULL, WEIGHTS, "header"},
    {NULL, set_length, WEIGHTS, "1099511627776", NULL, WEIGHTS, "beyond"},
    {NULL, set_length, WEIGHTS, "18446744073709551615", NULL, WEIGHTS, "beyond"},
    // header text
    {NULL, replace, WEIGHTS, "{\"model", "[\"model", WEIGHTS, "expected"},
    {NULL, replace, WEIGHTS, "{\"dtype", "{\"dtypo", WEIGHTS, "embed_tokens.weight"},
    {NULL, replace, WEIGHTS, "\"shape\"", "\"dtype\"", WEIGHTS, "given twice"},
    {NULL, replace, WEIGHTS, "\"BF16\"", "\"BF17\"", "embed_tokens.weight", "BF17"},
    {NULL, replace, WEIGHTS, "[64,32]", "[64,33]", "embed_tokens.weight", "offsets do not hold"},
    {NULL, replace, WEIGHTS, "[64,32]", "[-4,32]", WEIGHTS, "not negative"},
    {NULL, replace, WEIGHTS, "[64,32]", "\"64,32\"", WEIGHTS, "expected"},
    {NULL, replace, WEIGHTS, "[64,32]", "[6.,32]", WEIGHTS, "expected"},
    {NULL, replace, WEIGHTS, "[0,4096]", "[9,4096]", "embed_tokens.weight", "offsets do not hold"},
    {NULL, replace, WEIGHTS, "[0,4096]", "[4096,0]", "embed_tokens.weight", "beyond"},
    {NULL, replace, WEIGHTS, "[4096,8192]", "[4095,8191]", "linear_attn.in_proj_qkv.weight", "overlap"},
    {NULL, replace, WEIGHTS, "[4096,8192]", "[4097,8193]", "linear_attn", "bytes in front"},
    {NULL, replace, WEIGHTS, "[4096,8192]", "[9999999999,8192]", "in_proj_qkv", "beyond"},
    {NULL, replace, WEIGHTS, "in_proj_qkv.weight", "in_proj_\\q.weight ", WEIGHTS, "escape"},
    {NULL, replace, WEIGHTS, "in_proj_qkv.weight", "in_proj_q\x01v.weight", WEIGHTS, "control character"},
    {NULL, nest, WEIGHTS, NULL, "\x80\x86\x01", WEIGHTS, "header"},
    {NULL, write_all, WEIGHTS, NULL, "<!DOCTYPE html><html>404</html>", WEIGHTS, "not a safetensors file"},
    // tensors
    {drop_tensor, NULL, L0 "linear_attn.A_log", NULL, NULL, L0 "linear_attn.A_log", "missing"},
    {drop_tensor, NULL, "model.language_model.embed_tokens.weight", NULL, NULL, "embed_tokens.weight", "missing"},
    {drop_tensor, NULL, L1 "mlp.experts.2.up_proj.weight", NULL, NULL, "experts.2.up_proj.weight", "missing"},
    {drop_tensor, NULL, L0 "mlp.experts.down_proj", NULL, NULL, "experts.0.down_proj.weight", "missing"},
    {drop_tensor, NULL, "mtp.fc.weight", NULL, NULL, "mtp.fc.weight", "missing"},
    {add_tensor, NULL, L0 "mlp.what", "BF16", NULL, WEIGHTS, L0 "mlp.what\" is unexpected"},
    {add_tensor, NULL, "model.language_model.layers.2.input_layernorm.weight", "BF16", NULL, "layers.2.", "unexpected"},
    {add_tensor, NULL, "lm_head.pre_quant_scale", "BF16", NULL, "lm_head.pre_quant_scale", "unexpected"},
    {rename_tensor, NULL, "mtp.norm.weight", "mtp.fc.weight", NULL, "mtp.fc.weight", "two tensors of this name"},
    {set_shape, NULL, L0 "linear_attn.in_proj_z.weight", "64,16", NULL, "in_proj_z.weight", "[64, 16] where"},
    {set_shape, NULL, L0 "linear_attn.in_proj_z.weight", "1024", NULL, "in_proj_z.weight", "[1024] where"},
    {set_shape, NULL, L0 "linear_attn.conv1d.weight", "64,4", NULL, "conv1d.weight", "[64, 1, 4]"},
    {set_shape, NULL, L0 "mlp.experts.gate_up_proj", "4,16,64", NULL, "gate_up_proj", "[4, 32, 32]"},
    {set_shape, NULL, L1 "self_attn.q_norm.weight", "1,16", NULL, "q_norm.weight", "[16]"},
    {set_shape, NULL, "lm_head.weight", "32,32", NULL, "lm_head.weight", "[64, 16]"},
    {set_shape, NULL, "lm_head.weight_scale", "32,4", NULL, "lm_head.weight_scale", "[64, 2]"},
    {set_shape, NULL, L1 "self_attn.v_proj.weight_scale", "8,2", NULL, "v_proj.weight_scale", "[1, 1]"},
    {set_dtype, NULL, L0 "mlp.gate.weight", "I16", NULL, "mlp.gate.weight", "I16"},
    {set_dtype, NULL, "lm_head.weight", "I8", NULL, "lm_head.weight", "[64, 16]"},
    {set_dtype, NULL, "lm_head.weight_scale", "U8", NULL, "lm_head.weight_scale", "F8_E4M3 was expected"},
    {set_dtype, NULL, "lm_head.weight_scale_2", "I32", NULL, "lm_head.weight_scale_2", "must be BF16, F16 or F32"},
    {set_dtype, NULL, L1 "self_attn.q_proj.weight", "BOOL", NULL, "q_proj.weight", "BOOL"},
    {set_data, NULL, "model.language_model.norm.weight", "c07f", NULL, "norm.weight", "nan at element 0"},
    {set_data, NULL, L0 "linear_attn.dt_bias", "807f", NULL, "dt_bias", "inf at element 0"},
    // scales
    {drop_tensor, NULL, "lm_head.weight_scale", NULL, NULL, "lm_head.weight_scale", "missing"},
    {drop_tensor, NULL, "lm_head.weight_scale_2", NULL, NULL, "lm_head.weight_scale_2", "missing"},
    {drop_tensor, NULL, L1 "self_attn.o_proj.weight_global_scale", NULL, NULL, "weight_global_scale", "missing"},
    {drop_tensor, NULL, L1 "self_attn.q_proj.weight_scale", NULL, NULL, "q_proj.weight_scale", "missing"},
    {set_data, NULL, "lm_head.weight_scale_2", "00000000", NULL, "lm_head.weight_scale_2", "scale of 0"},
    {set_data, NULL, "lm_head.weight_scale_2", "000080bf", NULL, "lm_head.weight_scale_2", "scale of -1"},
    {set_data, NULL, "lm_head.weight_scale_2", "0000c07f", NULL, "lm_head.weight_scale_2", "scale of nan"},
    {set_data, NULL, "lm_head.weight_scale_2", "0000807f", NULL, "lm_head.weight_scale_2", "scale of inf"},
    {set_data, NULL, "lm_head.weight_scale", "383800", NULL, "lm_head.weight_scale", "0x00 at byte 2"},
    {set_data, NULL, "lm_head.weight_scale", "387f", NULL, "lm_head.weight_scale", "0x7f at byte 1"},
    {set_data, NULL, "lm_head.weight_scale", "b8", NULL, "lm_head.weight_scale", "0xb8 at byte 0"},
    {set_data, NULL, L1 "self_attn.o_proj.weight_global_scale", "00000000", NULL, "weight_global_scale", "scale of 0"},
    {set_data, NULL, L1 "self_attn.q_proj.weight_scale", "00000000", NULL, "q_proj.weight_scale", "is 0 at element 0"},
    {set_data, NULL, L1 "self_attn.q_proj.input_scale", "000080ff", NULL, "q_proj.input_scale", "scale of -inf"},
    {set_data, NULL, L1 "self_attn.k_proj.weight_scale_inv", "80bf", NULL, "k_proj.weight_scale_inv", "is -1"},
    {set_data, NULL, L1 "self_attn.v_proj.weight_scale", "803f0000", NULL, "v_proj.weight_scale", "is 0 at element 1"},
    {set_data, NULL, L1 "self_attn.k_proj.k_scale", "000000bf", NULL, "k_proj.k_scale", "scale of -0.5"},
    // the index
    {NULL, write_all, INDEX, NULL, "", INDEX, "not valid JSON"},
    {NULL, write_all, INDEX, NULL, "{}", INDEX, "weight_map must be an object"},
    {NULL, write_all, INDEX, NULL, "{\"weight_map\": {\"x\": 3}}", INDEX, "weight_map[\"x\"]"},
    {NULL, write_all, INDEX, NULL, "{\"weight_map\": {\"x\": \"../../etc/passwd\"}}", INDEX, "weight_map[\"x\"]"},
    {NULL, write_all, INDEX, NULL, "{\"weight_map\": {\"x\": \"gone.safetensors\"}}", "gone.safetensors", "missing"},
    {NULL, write_all, INDEX, NULL, "{\"weight_map\": {\"x\": \"model.safetensors\"}}", WEIGHTS, "\"x\" is not in it"},
    {NULL, write_all, INDEX, NULL, "{\"weight_map\": {\"lm_head.weight\": \"config.json\"}}", CONFIG,
     "not a safetensors"},
    {NULL, nest, INDEX, NULL, "{\"weight_map\": ", INDEX, "nested deeper"},
    {NULL, replace, INDEX, "\"weight_map\": {", "\"weight_map\": {\"mtp.fc.weight\": \"model.safetensors\", ", INDEX,
     "duplicate"},
    // config.json
    {NULL, delete_file, CONFIG, NULL, NULL, CONFIG, ""},
    {NULL, write_all, CONFIG, NULL, "", CONFIG, "model_type is missing"},
    {NULL, write_all, CONFIG, NULL, "{", CONFIG, "not valid JSON"},
    {NULL, write_all, CONFIG, NULL, "[]", CONFIG, "must be a JSON object"},
    {NULL, write_all, CONFIG, NULL, "\xff\xfe", CONFIG, "not valid JSON"},
    {NULL, nest, CONFIG, NULL, "{\"a\": ", CONFIG, "nested deeper"},
    {NULL, replace, CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 48", "embed_tokens.weight", "[64, 48]"},
    {NULL, replace, CONFIG, "\"num_experts\": 4", "\"num_experts\": 5", "mlp.gate.weight", "[5, 32]"},
    {NULL, replace, CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", CONFIG, "layer_types"},
    {NULL, replace, CONFIG, "\"vocab_size\": 64", "\"vocab_size\": 1e99", CONFIG, "vocab_size"},
    {NULL, write_all, "hf_quant_config.json", NULL, "{\"quantization\": ", "hf_quant_config.json", "not valid JSON"},
    {NULL, write_all, "generation_config.json", NULL, "{\"top_p\": 7}", "generation_config.json", "top_p is 7"},
};

static void write_index(const nb_test_file *file, const char *folder)
{
    nb_buf text = {0};
    for (int i = 0; i < file->n; i++)
        nb_buf_printf(&text, "%s\"%s\": \"model.safetensors\"", i ? ", " : "{\"weight_map\": {", file->tensor[i].name);
    nb_buf_add_c(&text, "}}");
    char path[4400];
    snprintf(path, sizeof path, "%s/" INDEX, folder);
    nb_test_write_text(path, text.ptr);
    nb_buf_drop(&text);
}

static const char *make_corrupted(const corruption *c)
{
    nb_test_file file = {0};
    make_victim(&file);
    if (c && c->tensor) c->tensor(&file, c->name, c->a);
    const char *folder = nb_test_mini_write(&file);
    bool duplicate = c && c->tensor == rename_tensor; // JSON cannot hold the same name twice
    if (!duplicate) write_index(&file, folder);
    if (c && c->file) {
        char path[4400];
        snprintf(path, sizeof path, "%s/%s", folder, c->name);
        c->file(path, c->a, c->b);
    }
    nb_test_file_drop(&file);
    return folder;
}

static int open_and_bind(const char *folder, nb_error *err)
{
    nb_checkpoint *ckpt;
    nb_model *model;
    NB_TRY(nb_checkpoint_open(folder, &ckpt, err));
    int code = nb_model_bind(ckpt, &model, err);
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
    return code;
}

static void the_victim_itself_is_sound(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_test_ok(open_and_bind(make_corrupted(NULL), &err), &err);
}

static void every_corruption_is_refused_in_one_clear_line(void **state)
{
    (void)state;
    size_t n = sizeof corruptions / sizeof *corruptions;
    int n_wrong = 0;
    assert_true(n >= 60);
    for (size_t i = 0; i < n; i++) {
        nb_error err = {0};
        const char *folder = make_corrupted(&corruptions[i]);
        int code = open_and_bind(folder, &err);
        bool in_one_line = !strchr(err.text, '\n') && !strncmp(err.text, folder, strlen(folder));
        if (code && in_one_line && strstr(err.text, corruptions[i].part) && strstr(err.text, corruptions[i].also))
            continue;
        print_error("row %zu (%s, %s): code %d, \"%s\"; wanted \"%s\" and \"%s\"\n", i, corruptions[i].name,
                    corruptions[i].a ? corruptions[i].a : "", code, err.text, corruptions[i].part, corruptions[i].also);
        n_wrong++;
    }
    assert_int_equal(n_wrong, 0);
}

// What `inspect` does with the same folders: it goes on as far as the files allow, and says at least one problem.
static void count(void *user, const nb_bind_note *note)
{
    *(int *)user += note->kind >= NB_NOTE_MISSING;
}

static void inspection_survives_every_corruption(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof corruptions / sizeof *corruptions; i++) {
        nb_error err = {0};
        nb_checkpoint *ckpt;
        if (nb_checkpoint_open(make_corrupted(&corruptions[i]), &ckpt, &err)) continue;
        nb_model *model;
        int n_problem = 0;
        nb_model_report(ckpt, count, &n_problem, &model);
        assert_true(n_problem > 0);
        nb_model_close(model);
        nb_checkpoint_close(ckpt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_victim_itself_is_sound),
        cmocka_unit_test(every_corruption_is_refused_in_one_clear_line),
        cmocka_unit_test(inspection_survives_every_corruption),
    };
    return nb_test_run("checkpoint/corrupt", tests);
}
