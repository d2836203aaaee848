// Opens a checkpoint: config, shards, and the table of names over all of them.
#include "checkpoint/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "checkpoint/folder.h"
#include "checkpoint/tensor_table.h"

enum {
    NB_CONFIG_BYTES_MAX = 16 << 20, // hf_quant_config.json of a large model lists every layer
    NB_INDEX_BYTES_MAX = 256 << 20,
    NB_SHARD_MAX = 4096,
};
#define INDEX_NAME "model.safetensors.index.json"

typedef struct shard {
    const char *name;
    nb_map map;
    nb_safetensors content;
} shard;

struct nb_checkpoint {
    nb_arena *arena;
    const char *folder;
    nb_config config;
    shard *shard;
    int n_shard;
    nb_tensor *tensor; // [n_tensor] of all shards, one after the other
    int64_t n_tensor;
    nb_tensor_table table;
};

static int read_text(nb_checkpoint *ckpt, const char *name, bool required, nb_str *out, nb_error *err)
{
    const char *path = nb_path_join(ckpt->arena, ckpt->folder, name);
    *out = (nb_str){0};
    if (!required && !nb_file_exists(path)) return NB_OK;
    return nb_file_read(path, NB_CONFIG_BYTES_MAX, ckpt->arena, out, err);
}

static int read_config(nb_checkpoint *ckpt, nb_error *err)
{
    nb_str config, generation, quant;
    NB_TRY(read_text(ckpt, "config.json", true, &config, err));
    NB_TRY(read_text(ckpt, "generation_config.json", false, &generation, err));
    NB_TRY(read_text(ckpt, "hf_quant_config.json", false, &quant, err));
    if (nb_config_parse(config, generation, quant, &ckpt->config, err)) return nb_error_wrap(err, "%s/", ckpt->folder);
    return NB_OK;
}

static int add_shard(nb_checkpoint *ckpt, const char *name, nb_error *err)
{
    if (ckpt->n_shard == NB_SHARD_MAX)
        return nb_error_set(err, NB_ERR_LIMIT, "%s: more than %d shards", ckpt->folder, NB_SHARD_MAX);
    ckpt->shard[ckpt->n_shard++].name = name;
    return NB_OK;
}

static int compare_shards(const void *a, const void *b)
{
    return strcmp(((const shard *)a)->name, ((const shard *)b)->name);
}

// A shard must be a file of the checkpoint's own folder: a hostile index could name any other.
static int check_shard_name(const nb_checkpoint *ckpt, const char *tensor, const json_t *value, nb_error *err)
{
    const char *name = json_string_value(value);
    if (name && *name && strlen(name) == json_string_length(value) && !strchr(name, '/') && name[0] != '.')
        return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT,
                        "%s/" INDEX_NAME ": weight_map[\"%s\"] must be the name of a file in the same folder",
                        ckpt->folder, tensor);
}

// The names of `map`'s values, each once, become the shards. `seen` is the set of those met so far.
static int collect_shards(nb_checkpoint *ckpt, json_t *map, json_t *seen, nb_error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        NB_TRY(check_shard_name(ckpt, tensor, value, err));
        const char *name = json_string_value(value);
        if (json_object_get(seen, name)) continue;
        json_object_set_new(seen, name, json_true());
        NB_TRY(add_shard(ckpt, nb_arena_printf(ckpt->arena, "%s", name), err));
    }
    return NB_OK;
}

static int list_index_shards(nb_checkpoint *ckpt, json_t *map, nb_error *err)
{
    json_t *seen = json_object();
    int code = collect_shards(ckpt, map, seen, err);
    json_decref(seen);
    qsort(ckpt->shard, (size_t)ckpt->n_shard, sizeof *ckpt->shard, compare_shards);
    return code;
}

static int list_folder_shards(nb_checkpoint *ckpt, nb_error *err)
{
    const char **name;
    int n;
    NB_TRY(nb_folder_list(ckpt->folder, ".safetensors", ckpt->arena, &name, &n, err));
    if (!n) return nb_error_set(err, NB_ERR_INPUT, "%s: no .safetensors files in this folder", ckpt->folder);
    for (int i = 0; i < n; i++) NB_TRY(add_shard(ckpt, name[i], err));
    return NB_OK;
}

static int open_shard(nb_checkpoint *ckpt, int i, nb_error *err)
{
    shard *s = &ckpt->shard[i];
    const char *path = nb_path_join(ckpt->arena, ckpt->folder, s->name);
    if (!nb_file_exists(path))
        return nb_error_set(err, NB_ERR_IO, "%s: missing, but " INDEX_NAME " names it; is the download complete?",
                            path);
    NB_TRY(nb_map_open(path, &s->map, err));
    if (nb_safetensors_parse(s->map.ptr, s->map.n_byte, i, ckpt->arena, &s->content, err))
        return nb_error_wrap(err, "%s: ", path);
    ckpt->n_tensor += s->content.n_tensor;
    return NB_OK;
}

static int gather_tensors(nb_checkpoint *ckpt, nb_error *err)
{
    ckpt->tensor = NB_ARENA_ARRAY(ckpt->arena, nb_tensor, ckpt->n_tensor + 1);
    nb_tensor_table_open(&ckpt->table, ckpt->n_tensor);
    nb_tensor *next = ckpt->tensor;
    for (int i = 0; i < ckpt->n_shard; i++) {
        const nb_safetensors *content = &ckpt->shard[i].content;
        for (int64_t t = 0; t < content->n_tensor; t++, next++) {
            *next = content->tensor[t];
            const nb_tensor *other = nb_tensor_table_add(&ckpt->table, next);
            if (other)
                return nb_error_set(err, NB_ERR_INPUT, "%s/%s: tensor \"%s\" is in %s too", ckpt->folder,
                                    ckpt->shard[i].name, next->name.ptr, ckpt->shard[other->shard].name);
        }
    }
    return NB_OK;
}

// Every name of the index must be in the shard it states: else a tensor is missing, or an old shard was left behind.
static int check_index(const nb_checkpoint *ckpt, json_t *map, nb_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value)
    {
        const nb_tensor *tensor = nb_checkpoint_find(ckpt, nb_str_from(name));
        const char *stated = json_string_value(value);
        if (!tensor || strcmp(stated, ckpt->shard[tensor->shard].name))
            return nb_error_set(err, NB_ERR_INPUT, "%s/%s: tensor \"%s\" is not in it, though " INDEX_NAME " says so",
                                ckpt->folder, stated, name);
    }
    return NB_OK;
}

static int open_shards(nb_checkpoint *ckpt, const json_t *index, nb_error *err)
{
    json_t *map = json_object_get(index, "weight_map");
    if (index && (!json_is_object(map) || !json_object_size(map)))
        return nb_error_set(err, NB_ERR_INPUT,
                            "%s/" INDEX_NAME ": weight_map must be an object that gives each tensor's file",
                            ckpt->folder);
    ckpt->shard = NB_ARENA_ARRAY(ckpt->arena, shard, NB_SHARD_MAX);
    NB_TRY(map ? list_index_shards(ckpt, map, err) : list_folder_shards(ckpt, err));
    for (int i = 0; i < ckpt->n_shard; i++) NB_TRY(open_shard(ckpt, i, err));
    NB_TRY(gather_tensors(ckpt, err));
    return map ? check_index(ckpt, map, err) : NB_OK;
}

static int read_index(nb_checkpoint *ckpt, json_t **index, nb_error *err)
{
    *index = NULL;
    const char *path = nb_path_join(ckpt->arena, ckpt->folder, INDEX_NAME);
    if (!nb_file_exists(path)) return NB_OK;
    nb_arena *arena = nb_arena_open(0); // the text is large and is not needed any more once it is parsed
    nb_str text;
    int code = nb_file_read(path, NB_INDEX_BYTES_MAX, arena, &text, err);
    if (!code) code = nb_json_parse(text, path, index, err);
    nb_arena_close(arena);
    return code;
}

static int open_tensors(nb_checkpoint *ckpt, nb_error *err)
{
    json_t *index;
    NB_TRY(read_index(ckpt, &index, err));
    int code = open_shards(ckpt, index, err);
    json_decref(index);
    return code;
}

static nb_checkpoint *new_checkpoint(const char *path)
{
    nb_arena *arena = nb_arena_open(1 << 20);
    nb_checkpoint *ckpt = NB_ARENA_ARRAY(arena, nb_checkpoint, 1);
    ckpt->arena = arena;
    nb_str folder = nb_str_from(path);
    if (nb_str_ends(folder, NB_STR(".safetensors")) && !nb_file_is_dir(path)) {
        const char *slash = strrchr(path, '/');
        folder = slash ? nb_str_slice(folder, 0, (size_t)(slash - path)) : NB_STR(".");
    }
    ckpt->folder = nb_arena_str(arena, folder).ptr;
    return ckpt;
}

static int open_checkpoint(const char *path, bool with_tensors, nb_checkpoint **out, nb_error *err)
{
    *out = NULL;
    nb_checkpoint *ckpt = new_checkpoint(path);
    int code = nb_file_is_dir(ckpt->folder) ? NB_OK : nb_error_set(err, NB_ERR_IO, "%s: no such folder", ckpt->folder);
    if (!code) code = read_config(ckpt, err);
    if (!code && with_tensors) code = open_tensors(ckpt, err);
    if (code)
        nb_checkpoint_close(ckpt);
    else
        *out = ckpt;
    return code;
}

int nb_checkpoint_open(const char *folder, nb_checkpoint **out, nb_error *err)
{
    return open_checkpoint(folder, true, out, err);
}

int nb_checkpoint_open_config(const char *folder, nb_checkpoint **out, nb_error *err)
{
    return open_checkpoint(folder, false, out, err);
}

bool nb_checkpoint_has_weights(const char *folder)
{
    nb_arena *arena = nb_arena_open(0);
    const char **name;
    int n = 0;
    bool has = nb_file_exists(nb_path_join(arena, folder, INDEX_NAME)) ||
               (!nb_folder_list(folder, ".safetensors", arena, &name, &n, NULL) && n > 0);
    nb_arena_close(arena);
    return has;
}

void nb_checkpoint_close(nb_checkpoint *ckpt)
{
    if (!ckpt) return;
    for (int i = 0; i < ckpt->n_shard; i++) nb_map_close(&ckpt->shard[i].map);
    nb_tensor_table_close(&ckpt->table);
    nb_arena_close(ckpt->arena);
}

const nb_config *nb_checkpoint_config(const nb_checkpoint *ckpt)
{
    return &ckpt->config;
}

const char *nb_checkpoint_folder(const nb_checkpoint *ckpt)
{
    return ckpt->folder;
}

int64_t nb_checkpoint_count(const nb_checkpoint *ckpt)
{
    return ckpt->n_tensor;
}

const nb_tensor *nb_checkpoint_at(const nb_checkpoint *ckpt, int64_t i)
{
    return &ckpt->tensor[i];
}

const nb_tensor *nb_checkpoint_find(const nb_checkpoint *ckpt, nb_str name)
{
    return nb_tensor_table_find(&ckpt->table, name);
}

const char *nb_checkpoint_shard_name(const nb_checkpoint *ckpt, int i)
{
    return ckpt->shard[i].name;
}

int nb_checkpoint_shard_count(const nb_checkpoint *ckpt)
{
    return ckpt->n_shard;
}
