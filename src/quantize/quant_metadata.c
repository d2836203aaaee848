// What the output says about itself, in ModelOpt's words: config.json's quantization_config and hf_quant_config.json.
// Readers decide by "producer.name" whether they know the format, so it is "modelopt"; the version says who wrote it.
// Schema: NVIDIA ModelOpt, modelopt/torch/export/convert_hf_config.py and unified_export_hf.py.
#include <dirent.h>
#include <string.h>

#include "base/file.h"
#include "quantize/quantize_internal.h"

#define PRODUCER_VERSION  "nibble"
#define METADATA_FILE_MAX (256u << 20) // tokenizer.json of a large vocabulary is 12 MB

// "...mlp.experts.7.gate_proj" -> "...mlp.experts": all routed experts of a layer are one entry.
static nb_str layer_entry(const nb_item *item)
{
    nb_str name = nb_str_from(item->name);
    if (item->role != NB_ROLE_EXPERT) return name;
    int64_t at = nb_str_find(name, NB_STR(".experts."), 0);
    return at < 0 ? name : nb_str_slice(name, 0, (size_t)at + 8);
}

static json_t *algorithm(nb_target target)
{
    return target == NB_TARGET_NVFP4
               ? json_pack("{s:s, s:i}", "quant_algo", "W4A16_NVFP4", "group_size", NB_NVFP4_BLOCK)
               : json_pack("{s:s}", "quant_algo", "FP8");
}

static json_t *quantized_layers(const nb_items *items)
{
    json_t *layers = json_object();
    for (int64_t i = 0; i < items->n; i++) {
        nb_str entry = layer_entry(&items->item[i]);
        char key[512];
        snprintf(key, sizeof key, "%.*s", (int)entry.len, entry.ptr);
        if (!json_object_get(layers, key)) json_object_set_new(layers, key, algorithm(items->item[i].target));
    }
    return layers;
}

static json_t *targets(json_t *layers, const char *algo)
{
    json_t *list = json_array(), *value;
    const char *key;
    json_object_foreach(layers, key, value)
    {
        if (strcmp(json_string_value(json_object_get(value, "quant_algo")), algo) == 0)
            json_array_append_new(list, json_string(key));
    }
    return list;
}

static json_t *config_groups(json_t *layers)
{
    json_t *fp8 = json_pack("{s:b, s:i, s:s}", "dynamic", 0, "num_bits", 8, "type", "float");
    json_t *fp4 =
        json_pack("{s:b, s:i, s:s, s:i}", "dynamic", 0, "num_bits", 4, "type", "float", "group_size", NB_NVFP4_BLOCK);
    json_t *groups =
        json_pack("{s:{s:O, s:O, s:o}, s:{s:O, s:o}}", "group_0", "weights", fp8, "input_activations", fp8, "targets",
                  targets(layers, "FP8"), "group_1", "weights", fp4, "targets", targets(layers, "W4A16_NVFP4"));
    json_decref(fp8);
    json_decref(fp4);
    return groups;
}

static json_t *producer(void)
{
    return json_pack("{s:s, s:s}", "name", "modelopt", "version", PRODUCER_VERSION);
}

static int write_json(nb_shard_writer *writer, const char *name, const json_t *value, nb_error *err)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    int code = nb_shard_writer_file(writer, name, nb_str_from(text), err);
    free(text);
    return code;
}

static int write_config(json_t *layers, const char *source, nb_shard_writer *writer, nb_error *err)
{
    nb_arena *arena = nb_arena_open(0);
    nb_str text;
    json_t *config = NULL;
    int code = nb_file_read(nb_path_join(arena, source, "config.json"), METADATA_FILE_MAX, arena, &text, err);
    if (code == NB_OK) code = nb_json_parse(text, "config.json", &config, err);
    if (code == NB_OK) {
        json_object_set_new(config, "quantization_config",
                            json_pack("{s:s, s:s, s:o, s:[s, s], s:o, s:O}", "quant_method", "modelopt", "quant_algo",
                                      "MIXED_PRECISION", "producer", producer(), "ignore", "mtp.layers.0*", "mtp*",
                                      "config_groups", config_groups(layers), "quantized_layers", layers));
        code = write_json(writer, "config.json", config, err);
    }
    json_decref(config);
    nb_arena_close(arena);
    return code;
}

static int write_hf_quant_config(json_t *layers, nb_shard_writer *writer, nb_error *err)
{
    json_t *value = json_pack("{s:o, s:{s:s, s:s, s:[s, s], s:O}}", "producer", producer(), "quantization",
                              "quant_algo", "MIXED_PRECISION", "kv_cache_quant_algo", "FP8", "exclude_modules",
                              "mtp.layers.0*", "mtp*", "quantized_layers", layers);
    int code = write_json(writer, "hf_quant_config.json", value, err);
    json_decref(value);
    return code;
}

// Everything that is neither weights nor written here; the model card is about other weights and stays behind.
static bool is_companion(const char *name)
{
    static const char *const not_copied[] = {"config.json", "hf_quant_config.json", "README.md",
                                             "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof not_copied / sizeof not_copied[0]; i++)
        if (strcmp(name, not_copied[i]) == 0) return false;
    return name[0] != '.' && !nb_str_ends(nb_str_from(name), NB_STR(".safetensors"));
}

static int copy_companion(const char *folder, const char *name, nb_shard_writer *writer, nb_error *err)
{
    nb_arena *arena = nb_arena_open(0);
    nb_str content;
    const char *path = nb_path_join(arena, folder, name);
    int code = nb_file_is_dir(path) ? NB_OK : nb_file_read(path, METADATA_FILE_MAX, arena, &content, err);
    if (code == NB_OK && !nb_file_is_dir(path)) code = nb_shard_writer_file(writer, name, content, err);
    nb_arena_close(arena);
    return code;
}

static int copy_companions(const char *folder, nb_shard_writer *writer, nb_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir) return nb_error_set(err, NB_ERR_IO, "%s: cannot list the folder", folder);
    int code = NB_OK;
    for (struct dirent *entry; code == NB_OK && (entry = readdir(dir));)
        if (is_companion(entry->d_name)) code = copy_companion(folder, entry->d_name, writer, err);
    closedir(dir);
    return code;
}

int nb_quant_metadata_write(const nb_items *items, const char *source_folder, nb_shard_writer *writer, nb_error *err)
{
    json_t *layers = quantized_layers(items);
    int code = write_config(layers, source_folder, writer, err);
    if (code == NB_OK) code = write_hf_quant_config(layers, writer, err);
    if (code == NB_OK) code = copy_companions(source_folder, writer, err);
    json_decref(layers);
    return code;
}
