// A linear layer's weight as it lies in the checkpoint. Kernels dispatch on the format; nothing else in the program
// knows it. y[o] = sum_i w[o][i] * x[i], w row-major [n_out][n_in].
#ifndef NB_LINEAR_H
#define NB_LINEAR_H

#include <stdint.h>

typedef enum nb_format {
    NB_FORMAT_BF16,
    NB_FORMAT_F16,
    NB_FORMAT_F32,
    NB_FORMAT_FP8,   // E4M3 with scales per block of block_out x block_in: the tensor, rows, or 128x128
    NB_FORMAT_NVFP4, // packed E2M1, E4M3 scale per 16 inputs, scale_2
    NB_FORMAT_COUNT,
} nb_format;

typedef struct nb_linear {
    nb_format format;
    int n_out, n_in;
    const void *data;         // [n_out][n_in] elements; NVFP4: [n_out][n_in / 2] bytes. NULL: a dummy (see synth.h)
    const uint8_t *scale;     // NVFP4: [n_out][n_in / 16] E4M3
    float scale_2;            // NVFP4: multiplier of the whole tensor
    const float *block_scale; // FP8: [ceil(n_out / block_out)][ceil(n_in / block_in)], multiplier
    int block_out, block_in;  // FP8
    float input_scale;        // FP8: inputs are rounded to e4m3(x / input_scale) (W8A8); 0: they are not (W8A16)
    uint64_t dummy_seed;      // dummies: the stream of their values
} nb_linear;

const char *nb_format_name(nb_format format);
int64_t nb_linear_bytes(const nb_linear *linear); // data and scales

// Decodes row `i_out` to binary32: the oracle of every kernel. w: [n_in]. The part: inputs [from, from + n), w: [n].
void nb_linear_decode_row(const nb_linear *linear, int64_t i_out, float *w);
void nb_linear_decode_part(const nb_linear *linear, int64_t i_out, int64_t from, int64_t n, float *w);

#endif
