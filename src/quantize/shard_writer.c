// States: declaring -> (first add fixes the split) writing -> finished. Shard i + 1 is opened when shard i is full, so
// one file is open at a time. See shard_writer.h.
#include "quantize/shard_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

typedef struct declared {
    const char *name;
    nb_dtype dtype;
    int n_dim;
    int64_t dim[NB_TENSOR_DIM_MAX];
    int64_t n_byte;
    int shard;
} declared;

struct nb_shard_writer {
    nb_arena *arena;
    const char *folder, *partial; // final name, and where everything is written
    int64_t shard_bytes, total_bytes;
    declared *tensor;            // [n_tensor]
    int64_t n_tensor, cap, next; // next: the tensor whose bytes are expected
    int n_shard;                 // 0 while declaring
    FILE *file;                  // of the tensor before `next`
    bool finished;
};

static int fail_io(nb_error *err, const char *path)
{
    return nb_error_set(err, NB_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
}

static void remove_files(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

int nb_shard_writer_open(const char *folder, int64_t shard_bytes, nb_shard_writer **out, nb_error *err)
{
    if (nb_file_exists(folder))
        return nb_error_set(err, NB_ERR_IO, "%s: is there already; give a new name or remove it", folder);
    nb_arena *arena = nb_arena_open(0);
    nb_shard_writer *w = nb_arena_alloc(arena, sizeof *w);
    *w = (nb_shard_writer){.arena = arena, .shard_bytes = shard_bytes};
    w->folder = nb_arena_printf(arena, "%s", folder);
    w->partial = nb_arena_printf(arena, "%s.partial", folder);
    if (mkdir(w->partial, 0777) != 0 && errno != EEXIST) {
        int code = nb_error_set(err, NB_ERR_IO, "%s: cannot make the folder: %s", w->partial, strerror(errno));
        nb_arena_close(arena);
        return code;
    }
    remove_files(w->partial);
    *out = w;
    return NB_OK;
}

void nb_shard_writer_declare(nb_shard_writer *w, const char *name, nb_dtype dtype, int n_dim, const int64_t *dim)
{
    if (w->n_tensor == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 1024;
        w->tensor = nb_realloc(w->tensor, (size_t)w->cap * sizeof *w->tensor);
    }
    declared *t = &w->tensor[w->n_tensor++];
    *t = (declared){.name = nb_arena_printf(w->arena, "%s", name), .dtype = dtype, .n_dim = n_dim};
    t->n_byte = (int64_t)nb_dtype_bytes(dtype);
    for (int i = 0; i < n_dim; i++) {
        t->dim[i] = dim[i];
        t->n_byte *= dim[i];
    }
    w->total_bytes += t->n_byte;
}

int64_t nb_shard_writer_total(const nb_shard_writer *w)
{
    return w->total_bytes;
}

static void split_into_shards(nb_shard_writer *w)
{
    int64_t filled = 0;
    int shard = 0;
    for (int64_t i = 0; i < w->n_tensor; i++) {
        if (filled > 0 && filled + w->tensor[i].n_byte > w->shard_bytes) {
            shard++;
            filled = 0;
        }
        w->tensor[i].shard = shard;
        filled += w->tensor[i].n_byte;
    }
    w->n_shard = shard + 1;
}

static const char *shard_name(nb_shard_writer *w, int shard)
{
    if (w->n_shard == 1) return "model.safetensors";
    return nb_arena_printf(w->arena, "model-%05d-of-%05d.safetensors", shard + 1, w->n_shard);
}

static json_t *describe(const declared *t, int64_t offset)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dim; i++) json_array_append_new(shape, json_integer(t->dim[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", nb_dtype_name(t->dtype), "shape", shape, "data_offsets",
                     (json_int_t)offset, (json_int_t)(offset + t->n_byte));
}

// The header, padded with spaces so that the data begins on a multiple of 64 bytes.
static void header_of(const nb_shard_writer *w, int shard, nb_buf *out)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t offset = 0;
    for (int64_t i = 0; i < w->n_tensor; i++) {
        if (w->tensor[i].shard != shard) continue;
        json_object_set_new(header, w->tensor[i].name, describe(&w->tensor[i], offset));
        offset += w->tensor[i].n_byte;
    }
    nb_buf_add(out, (uint8_t[8]){0}, 8);
    nb_json_write(header, out);
    json_decref(header);
    while (out->len % 64 != 0) nb_buf_add_char(out, ' ');
    uint64_t n = out->len - 8;
    for (int i = 0; i < 8; i++) out->ptr[i] = (char)(n >> (8 * i));
}

static int close_shard(nb_shard_writer *w, nb_error *err)
{
    if (!w->file) return NB_OK;
    bool good = fflush(w->file) == 0 && fsync(fileno(w->file)) == 0;
    good = fclose(w->file) == 0 && good;
    w->file = NULL;
    return good ? NB_OK : fail_io(err, w->partial);
}

static int open_shard(nb_shard_writer *w, int shard, nb_error *err)
{
    NB_TRY(close_shard(w, err));
    const char *path = nb_path_join(w->arena, w->partial, shard_name(w, shard));
    w->file = fopen(path, "wb");
    if (!w->file) return fail_io(err, path);
    nb_buf header = {0};
    header_of(w, shard, &header);
    bool good = fwrite(header.ptr, 1, header.len, w->file) == header.len;
    nb_buf_drop(&header);
    return good ? NB_OK : fail_io(err, path);
}

int nb_shard_writer_add(nb_shard_writer *w, const void *bytes, size_t n_byte, nb_error *err)
{
    if (w->n_shard == 0) split_into_shards(w);
    const declared *t = &w->tensor[w->next];
    if (w->next == w->n_tensor || (int64_t)n_byte != t->n_byte)
        return nb_error_set(err, NB_ERR_INPUT, "%s: wrote %zu bytes where others were declared",
                            w->next == w->n_tensor ? w->folder : t->name, n_byte);
    if (w->next == 0 || t->shard != t[-1].shard) NB_TRY(open_shard(w, t->shard, err));
    w->next++;
    return fwrite(bytes, 1, n_byte, w->file) == n_byte ? NB_OK : fail_io(err, w->partial);
}

int nb_shard_writer_file(nb_shard_writer *w, const char *name, nb_str content, nb_error *err)
{
    return nb_file_replace(nb_path_join(w->arena, w->partial, name), content, err);
}

static int write_index(nb_shard_writer *w, nb_error *err)
{
    json_t *map = json_object();
    for (int64_t i = 0; i < w->n_tensor; i++)
        json_object_set_new(map, w->tensor[i].name, json_string(shard_name(w, w->tensor[i].shard)));
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->total_bytes, "weight_map", map);
    nb_buf text = {0};
    nb_json_write(index, &text);
    json_decref(index);
    int code = nb_shard_writer_file(w, "model.safetensors.index.json", nb_buf_str(&text), err);
    nb_buf_drop(&text);
    return code;
}

int nb_shard_writer_finish(nb_shard_writer *w, nb_error *err)
{
    if (w->next != w->n_tensor)
        return nb_error_set(err, NB_ERR_INPUT, "%s: tensor %s was never written", w->folder, w->tensor[w->next].name);
    NB_TRY(close_shard(w, err));
    if (w->n_shard > 1) NB_TRY(write_index(w, err));
    if (rename(w->partial, w->folder) != 0)
        return nb_error_set(err, NB_ERR_IO, "%s: cannot rename %s to it: %s", w->folder, w->partial, strerror(errno));
    w->finished = true;
    return NB_OK;
}

void nb_shard_writer_close(nb_shard_writer *w)
{
    if (!w) return;
    if (w->file) fclose(w->file);
    if (!w->finished) {
        remove_files(w->partial);
        rmdir(w->partial);
    }
    free(w->tensor);
    nb_arena_close(w->arena);
}
