// The safetensors format: 8 bytes of header length, a JSON header, then the bytes of the tensors without gaps.
// Reading is split from opening, so that the parser takes (pointer, length) and can be fuzzed.
// Format: https://github.com/huggingface/safetensors (README, "Format").
#ifndef NB_SAFETENSORS_H
#define NB_SAFETENSORS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "checkpoint/dtype.h"

enum {
    NB_TENSOR_DIM_MAX = 5,     // patch_embed.proj.weight has five
    NB_TENSOR_NAME_MAX = 1024, // bytes
};
#define NB_SAFETENSORS_HEADER_MAX (100u << 20) // the format's own limit: 100 MB

typedef struct nb_tensor {
    nb_str name;
    nb_dtype dtype;
    int n_dim; // 0: a scalar
    int64_t dim[NB_TENSOR_DIM_MAX];
    const uint8_t *data; // inside the mapped file
    size_t n_byte;       // = product of dim * size of dtype: checked
    int shard;           // which file of the checkpoint
} nb_tensor;

typedef struct nb_safetensors {
    nb_tensor *tensor; // [n_tensor] in the order of the header
    int64_t n_tensor;
} nb_safetensors;

// Parses the file at `file` of n_byte bytes. `shard` goes into every tensor; names are copied into `arena`.
// Linear in the size of the header; reads nothing of the tensors' own bytes. Refuses: header beyond the file or the
// limit, not JSON, unknown dtype, dimensions that do not multiply to the bytes, offsets out of range, overlapping or
// leaving gaps, duplicate names. The message names the tensor.
int nb_safetensors_parse(const uint8_t *file, size_t n_byte, int shard, nb_arena *arena, nb_safetensors *out,
                         nb_error *err);

#endif
