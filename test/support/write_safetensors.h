// Makes small checkpoints for tests: a list of tensors that can be changed at will and written as a safetensors file,
// and a whole model of the qwen3_5_moe family in miniature.
#ifndef NB_TEST_WRITE_SAFETENSORS_H
#define NB_TEST_WRITE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

typedef struct nb_test_tensor {
    char name[160];
    char dtype[16]; // as safetensors spells it
    int n_dim;
    int64_t dim[5];
    uint8_t *data; // [n_byte], malloc'ed
    size_t n_byte;
} nb_test_tensor;

typedef struct nb_test_file {
    nb_test_tensor *tensor;
    int n, cap;
} nb_test_file;

// Appends a tensor of zeros; the pointer is valid until the next one is added. dim: n_dim numbers.
nb_test_tensor *nb_test_file_add(nb_test_file *file, const char *name, const char *dtype, int n_dim,
                                 const int64_t *dim);
nb_test_tensor *nb_test_file_find(nb_test_file *file, const char *name); // fails the test if there is none
void nb_test_file_remove(nb_test_file *file, const char *name);
void nb_test_file_write(const nb_test_file *file, const char *path); // in the order of the list, without gaps
void nb_test_file_drop(nb_test_file *file);
void nb_test_write_text(const char *path, const char *text);

// The miniature: 2 layers (Gated DeltaNet, gated attention), 4 experts stacked, a shared expert and the MTP layer;
// BF16; values are a fixed function of name and index. d_model 32, d_head 16, d_ff 16, vocab 64.
extern const char nb_test_mini_config[]; // config.json
void nb_test_mini_model(nb_test_file *file);
// Writes config.json and model.safetensors into a fresh folder and returns its path.
const char *nb_test_mini_write(const nb_test_file *file);

// Replaces "<module>.weight" by another format with the same names as the published checkpoints have.
void nb_test_to_nvfp4(nb_test_file *file, const char *module);            // ModelOpt
void nb_test_to_compressed_nvfp4(nb_test_file *file, const char *module); // compressed-tensors
void nb_test_to_fp8(nb_test_file *file, const char *module, const char *scale_suffix, const char *scale_dtype,
                    int n_dim, const int64_t *scale_dim);
// Replaces the stacked experts of a layer ("model.language_model.layers.0.") by one tensor per expert.
void nb_test_unstack(nb_test_file *file, const char *layer);

#endif
