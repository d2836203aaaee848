// Shared by quantize.c, encode.c and quant_metadata.c: the list of what will be encoded.
#ifndef NB_QUANTIZE_INTERNAL_H
#define NB_QUANTIZE_INTERNAL_H

#include "quantize/quantize.h"
#include "quantize/shard_writer.h"

typedef struct nb_item { // a linear that gets a new format
    const char *name;    // module name, without ".weight"
    nb_role role;
    nb_target target;
    const nb_linear *linear;
    const nb_tensor *tensor; // where it comes from
    int64_t partner;         // the item that must share weight_scale_2 (gate and up of an expert), or -1
    float amax;              // largest magnitude; negative: not measured yet
} nb_item;

typedef struct nb_items {
    nb_arena *arena;
    const nb_recipe *recipe;
    nb_item *item;
    int64_t n, cap;
} nb_items;

// encode.c: all in parallel over rows.
typedef struct nb_encoded { // buffers are kept from one tensor to the next
    nb_buf weight, scale;
    double error, energy; // sums of squared errors and of squared weights
} nb_encoded;
float nb_encode_amax(nb_threads *threads, const nb_linear *linear);
void nb_encode_nvfp4(nb_threads *threads, const nb_linear *linear, float scale_2, nb_nvfp4_method method,
                     nb_encoded *out);
void nb_encode_fp8(nb_threads *threads, const nb_linear *linear, float weight_scale, nb_encoded *out);

// quant_metadata.c: writes config.json and hf_quant_config.json and copies the folder's other files.
int nb_quant_metadata_write(const nb_items *items, const char *source_folder, nb_shard_writer *writer, nb_error *err);

#endif
