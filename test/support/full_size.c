// Names, formats and shapes come from the walk over a dummy model of the published mix, twice: the first walk counts
// the tensors, the second shares them out. The vision tower's 333 names are made up, since the program only has to
// recognise their prefix.
#include "support/full_size.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/bind.h"
#include "model/synth.h"
#include "support/check.h"
#include "support/write_safetensors.h"

enum { SHARDS = 3, VISION_TENSORS = 333 };

static const char config[] =
    "{\"model_type\": \"qwen3_5_moe\", \"tie_word_embeddings\": false, \"text_config\": {"
    "\"hidden_size\": 2048, \"num_hidden_layers\": 40, \"full_attention_interval\": 4, \"vocab_size\": 248320,"
    "\"max_position_embeddings\": 262144, \"num_attention_heads\": 16, \"num_key_value_heads\": 2, \"head_dim\": 256,"
    "\"linear_num_key_heads\": 16, \"linear_num_value_heads\": 32, \"linear_key_head_dim\": 128,"
    "\"linear_value_head_dim\": 128, \"linear_conv_kernel_dim\": 4, \"num_experts\": 256, \"num_experts_per_tok\": 8,"
    "\"moe_intermediate_size\": 512, \"shared_expert_intermediate_size\": 512, \"mtp_num_hidden_layers\": 1,"
    "\"eos_token_id\": 248044, \"rope_parameters\": {\"rope_theta\": 10000000, \"partial_rotary_factor\": 0.25}}}\n";

typedef struct writer {
    const char *folder;
    int64_t n_expert;
    nb_buf header[SHARDS];
    size_t n_data[SHARDS];
    nb_buf index;
    int n_tensor, n_total; // n_total 0: they are only counted
} writer;

static void add(writer *w, const char *module, const char *suffix, const char *dtype, size_t element_bytes, int n_dim,
                const int64_t *dim)
{
    int shard = w->n_tensor++ * SHARDS / (w->n_total ? w->n_total : INT_MAX);
    if (!w->n_total) return;
    nb_buf *header = &w->header[shard];
    size_t n_byte = element_bytes;
    nb_buf_printf(header, "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[", header->len ? "," : "{", module, suffix, dtype);
    for (int i = 0; i < n_dim; i++) {
        nb_buf_printf(header, "%s%lld", i ? "," : "", (long long)dim[i]);
        n_byte *= (size_t)dim[i];
    }
    nb_buf_printf(header, "],\"data_offsets\":[%zu,%zu]}", w->n_data[shard], w->n_data[shard] + n_byte);
    w->n_data[shard] += n_byte;
    nb_buf_printf(&w->index, "%s\"%s%s\": \"model-%05d-of-%05d.safetensors\"", w->n_tensor > 1 ? ",\n" : "", module,
                  suffix, shard + 1, SHARDS);
}

static void add_nvfp4(writer *w, const nb_bound *b)
{
    add(w, b->name, ".weight", "U8", 1, 2, (int64_t[]){b->shape[0], b->shape[1] / 2});
    add(w, b->name, ".weight_scale", "F8_E4M3", 1, 2, (int64_t[]){b->shape[0], b->shape[1] / 16});
    add(w, b->name, ".weight_scale_2", "F32", 4, 0, NULL);
    add(w, b->name, ".input_scale", "F32", 4, 0, NULL);
}

static void add_fp8(writer *w, const nb_bound *b)
{
    add(w, b->name, ".weight", "F8_E4M3", 1, 2, b->shape);
    add(w, b->name, ".weight_scale", "F32", 4, 0, NULL);
    add(w, b->name, ".input_scale", "F32", 4, 0, NULL);
}

// Stacked; `gate` is [d_ff][d_model].
static void add_mtp_experts(writer *w, const nb_bound *gate)
{
    int64_t n = w->n_expert, d_ff = gate->shape[0], d_model = gate->shape[1];
    add(w, "mtp.layers.0.mlp.experts.gate_up_proj", "", "BF16", 2, 3, (int64_t[]){n, 2 * d_ff, d_model});
    add(w, "mtp.layers.0.mlp.experts.down_proj", "", "BF16", 2, 3, (int64_t[]){n, d_model, d_ff});
}

static int add_bound(void *user, const nb_bound *b, nb_error *err)
{
    (void)err;
    writer *w = user;
    bool bare = strstr(b->name, "A_log") || strstr(b->name, "dt_bias");
    if (b->role == NB_ROLE_MTP && b->expert == 0 && strstr(b->name, "gate_proj")) add_mtp_experts(w, b);
    if (b->role == NB_ROLE_MTP && b->expert >= 0) return NB_OK;
    if (b->linear && b->linear->format == NB_FORMAT_NVFP4)
        add_nvfp4(w, b);
    else if (b->linear && b->linear->format == NB_FORMAT_FP8)
        add_fp8(w, b);
    else
        add(w, b->name, bare ? "" : ".weight", "BF16", 2, b->n_dim, b->shape);
    return NB_OK;
}

static void write_shard(const writer *w, int shard)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", w->folder, shard + 1, SHARDS);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < 8; i++) fputc((int)(w->header[shard].len >> 8 * i & 255), f);
    fwrite(w->header[shard].ptr, 1, w->header[shard].len, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, (off_t)(8 + w->header[shard].len + w->n_data[shard])), 0);
}

static void write_text_in(const char *folder, const char *name, const char *text)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    nb_test_write_text(path, text);
}

static void write_files(writer *w)
{
    for (int i = 0; i < SHARDS; i++) {
        nb_buf_add_char(&w->header[i], '}');
        while (w->header[i].len % 8) nb_buf_add_char(&w->header[i], ' ');
        write_shard(w, i);
        nb_buf_drop(&w->header[i]);
    }
    nb_buf_add_c(&w->index, "}}\n");
    write_text_in(w->folder, "model.safetensors.index.json", w->index.ptr);
    nb_buf_drop(&w->index);
}

static void add_all(writer *w, const nb_model *model, int n_vision)
{
    nb_error err = {0};
    w->n_tensor = 0;
    nb_test_ok(nb_model_walk(model, add_bound, w, &err), &err);
    for (int i = 0; i < n_vision; i++) {
        char name[64];
        snprintf(name, sizeof name, "model.visual.part.%d", i);
        add(w, name, ".weight", "BF16", 2, 1, (int64_t[]){1341054});
    }
}

static int write_checkpoint(const char *folder, const char *config_text, int n_vision)
{
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_error err = {0};
    write_text_in(folder, "config.json", config_text);
    nb_test_ok(nb_checkpoint_open_config(folder, &ckpt, &err), &err);
    nb_test_ok(nb_synth_model(nb_checkpoint_config(ckpt), NB_MIX_PUBLISHED, 0, 0, &model, &err), &err);
    writer w = {.folder = folder, .n_expert = model->config.num_experts};
    add_all(&w, model, n_vision);
    w.n_total = w.n_tensor;
    nb_buf_add_c(&w.index, "{\"metadata\": {}, \"weight_map\": {");
    add_all(&w, model, n_vision);
    write_files(&w);
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
    return w.n_total;
}

void nb_test_full_size_write(const char *folder)
{
    assert_int_equal(write_checkpoint(folder, config, VISION_TENSORS), NB_TEST_FULL_SIZE_TENSORS);
}

void nb_test_published_mix_write(const char *folder, const char *config_text)
{
    write_checkpoint(folder, config_text, 0);
}
