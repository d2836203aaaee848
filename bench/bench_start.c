// From start to ready with the weights in the page cache. `bench_start FOLDER [CONFIG]` makes the published 35B NVFP4
// checkpoint in full size in a new folder (124,468 tensors, 3 shards, 23.4 GB), or the model of CONFIG/config.json in
// the same mix of formats, and prints how long that took. Files just written lie in the page cache, so what comes next
// starts from there:
//
//   bench_start /tmp/full
//   nibble bench /tmp/full --batch 1 --context 1024 --prefill 0 --steps 20     prints "ready in ... s"
//   rm -r /tmp/full
//
// Names, types and shapes are those of test/support/full_size.c, which writes files with holes for the bytes; here the
// holes are filled at the speed of memory: every type of tensor has one block of random values that is written again
// and again. Values are those of synth_values.h: weights of mean 0 and a deviation that keeps activations finite, block
// scales from 1 to 1.875, no NaN.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/threads.h"
#include "checkpoint/folder.h"
#include "checkpoint/safetensors.h"
#include "model/synth_values.h"
#include "numeric/fp8.h"
#include "support/full_size.h"

enum {
    BLOCK_BYTES = 1 << 20, // stays in a core's cache while it is written
    TYPICAL_INPUTS = 2048, // of a matrix: one deviation for all
    SEED = 1,
    CONFIG_BYTES_MAX = 16 << 20,
};
#define TYPICAL_INPUT_MAX 16.0f // inputs of W8A8 are of the order 1

typedef struct values { // blocks of BLOCK_BYTES
    uint8_t *nibble, *block_scale, *fp8, *bf16;
} values;

typedef struct filling { // the shards of a folder
    const char *folder;
    const char **name; // [n_shard]
    nb_error *err;     // [n_shard]
    int64_t *n_byte;   // [n_shard] written
    values values;
} filling;

static uint8_t *block_of(nb_arena *arena, nb_format format, bool is_scale)
{
    uint8_t *block = nb_arena_alloc(arena, BLOCK_BYTES);
    for (size_t i = 0; i < BLOCK_BYTES / 16; i++) {
        nb_synth_bytes bytes =
            is_scale ? nb_synth_scale_16_bytes(SEED, i) : nb_synth_16_bytes(format, SEED, i, TYPICAL_INPUTS);
        memcpy(block + 16 * i, bytes.v, sizeof bytes.v);
    }
    return block;
}

static bool ends(const nb_tensor *tensor, const char *suffix)
{
    return nb_str_ends(tensor->name, nb_str_from(suffix));
}

static const uint8_t *block_for(const values *v, const nb_tensor *tensor)
{
    if (tensor->dtype == NB_DTYPE_BF16) return v->bf16;
    if (tensor->dtype == NB_DTYPE_U8) return v->nibble;
    return ends(tensor, ".weight_scale") ? v->block_scale : v->fp8;
}

static float scalar_for(const nb_tensor *tensor)
{
    if (ends(tensor, ".input_scale")) return TYPICAL_INPUT_MAX / NB_E4M3_MAX;
    float std_of_codes = ends(tensor, ".weight_scale_2") ? NB_SYNTH_NVFP4_STD : NB_SYNTH_FP8_STD;
    return nb_synth_std(TYPICAL_INPUTS) / std_of_codes;
}

// A place in the file has its place in the block, so that tensors of one type differ; rounded, because values have up
// to 16 bits.
static bool write_block(int fd, off_t at, const uint8_t *block, size_t n_byte)
{
    size_t from = (size_t)at / 16 * 16 % BLOCK_BYTES;
    while (n_byte) {
        size_t n = BLOCK_BYTES - from < n_byte ? BLOCK_BYTES - from : n_byte;
        ssize_t done = pwrite(fd, block + from, n, at);
        if (done <= 0) return false;
        at += done, n_byte -= (size_t)done, from = (from + (size_t)done) % BLOCK_BYTES;
    }
    return true;
}

static bool write_tensor(int fd, off_t at, const values *v, const nb_tensor *tensor)
{
    if (tensor->dtype != NB_DTYPE_F32) return write_block(fd, at, block_for(v, tensor), tensor->n_byte);
    float scalar = scalar_for(tensor);
    return pwrite(fd, &scalar, sizeof scalar, at) == sizeof scalar;
}

static int write_tensors(const char *path, const nb_map *map, const values *v, nb_arena *arena, nb_error *err)
{
    nb_safetensors content;
    NB_TRY(nb_safetensors_parse(map->ptr, map->n_byte, 0, arena, &content, err));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0;
    for (int64_t i = 0; ok && i < content.n_tensor; i++)
        ok = write_tensor(fd, content.tensor[i].data - map->ptr, v, &content.tensor[i]);
    if (fd >= 0) ok = close(fd) == 0 && ok;
    return ok ? NB_OK : nb_error_set(err, NB_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
}

// One thread a shard: writers of the same file would wait for each other.
static void fill_shard(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    filling *f = user;
    nb_map map;
    nb_arena *arena = nb_arena_open(1 << 20);
    const char *path = nb_path_join(arena, f->folder, f->name[i_task]);
    int code = nb_map_open(path, &map, &f->err[i_task]);
    if (code == NB_OK) code = write_tensors(path, &map, &f->values, arena, &f->err[i_task]);
    f->n_byte[i_task] = code == NB_OK ? (int64_t)map.n_byte : 0;
    nb_map_close(&map);
    nb_arena_close(arena);
}

static int fill(const char *folder, nb_arena *arena, int64_t *n_byte, nb_error *err)
{
    int n_shard;
    filling f = {.folder = folder,
                 .values = {.nibble = block_of(arena, NB_FORMAT_NVFP4, false),
                            .block_scale = block_of(arena, NB_FORMAT_NVFP4, true),
                            .fp8 = block_of(arena, NB_FORMAT_FP8, false),
                            .bf16 = block_of(arena, NB_FORMAT_BF16, false)}};
    NB_TRY(nb_folder_list(folder, ".safetensors", arena, &f.name, &n_shard, err));
    f.err = NB_ARENA_ARRAY(arena, nb_error, n_shard);
    f.n_byte = NB_ARENA_ARRAY(arena, int64_t, n_shard);
    nb_threads *team = nb_threads_open(n_shard);
    nb_threads_run(team, fill_shard, &f, n_shard);
    nb_threads_close(team);
    *n_byte = 0;
    for (int i = 0; i < n_shard; i++) {
        if (!f.n_byte[i]) return *err = f.err[i], NB_ERR_IO;
        *n_byte += f.n_byte[i];
    }
    return NB_OK;
}

// CONFIG's hf_quant_config.json, if it has one, says in which format the KV cache is.
static int write_holes(const char *folder, const char *source, nb_arena *arena, nb_error *err)
{
    nb_str config, quant;
    if (mkdir(folder, 0777) != 0) return nb_error_set(err, NB_ERR_IO, "%s: %s", folder, strerror(errno));
    if (!source) return nb_test_full_size_write(folder), NB_OK;
    const char *quant_name = nb_path_join(arena, source, "hf_quant_config.json");
    NB_TRY(nb_file_read(nb_path_join(arena, source, "config.json"), CONFIG_BYTES_MAX, arena, &config, err));
    nb_test_published_mix_write(folder, config.ptr);
    if (!nb_file_exists(quant_name)) return NB_OK;
    NB_TRY(nb_file_read(quant_name, CONFIG_BYTES_MAX, arena, &quant, err));
    return nb_file_replace(nb_path_join(arena, folder, "hf_quant_config.json"), quant, err);
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: bench_start FOLDER [CONFIG]\n");
        return 2;
    }
    nb_error err = {0};
    nb_arena *arena = nb_arena_open(0);
    int64_t n_byte, begin_us = nb_clock_us();
    int code = write_holes(argv[1], argc == 3 ? argv[2] : NULL, arena, &err);
    if (code == NB_OK) code = fill(argv[1], arena, &n_byte, &err);
    if (code == NB_OK)
        printf("%s: %.1f GB written in %.1f s\n", argv[1], (double)n_byte / 1e9,
               (double)(nb_clock_us() - begin_us) / 1e6);
    else
        fprintf(stderr, "bench_start: %s\n", err.text);
    nb_arena_close(arena);
    return code == NB_OK ? 0 : 1;
}
