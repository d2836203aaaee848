// Matrices from the checkpoint's row-major layout into tiles (cuda_common.h), on the GPU; and dummy values made there.
#ifndef NB_CUDA_REPACK_H
#define NB_CUDA_REPACK_H

#include "cuda/cuda_linear.h"

// What a matrix needs in GPU memory.
int64_t nb_repack_data_bytes(const nb_cuda_matrix *m);
int64_t nb_repack_scale_bytes(const nb_cuda_matrix *m); // NVFP4, else 0

// Fills kind and shape (n_row_tile, n_k_tile) for `linear`; paired: gate and up, both of linear's shape.
void nb_repack_shape(nb_cuda_matrix *m, const nb_linear *linear, int paired);

// low, high: row-major data of the rows that become a tile's rows 0..7 and 8..15: the same pointer, or gate and up.
// Row tiles [tile_first, tile_first + n_tile); the sources start at the first row of tile_first.
typedef struct nb_repack_source {
    const uint8_t *low, *high;             // data
    const uint8_t *low_scale, *high_scale; // NVFP4
} nb_repack_source;
int nb_repack_run(cudaStream_t stream, const nb_cuda_matrix *m, const nb_repack_source *source, int tile_first,
                  int n_tile, nb_error *err);

// The bytes of a dummy matrix's data (or scales) from row `row_first` on, n_byte of them.
int nb_repack_dummy(cudaStream_t stream, const nb_linear *linear, int is_scale, int64_t byte_first, int64_t n_byte,
                    uint8_t *out, nb_error *err);

#endif
