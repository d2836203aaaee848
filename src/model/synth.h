// Dummy weights: a model of a config.json's true shape with random values, so that speed and memory can be tested at
// full size without a download. Values are a function of (seed of the linear, index) in synth_values.h, so the CPU and
// a GPU that fill their own memory hold equal weights. Magnitudes keep activations finite and routing near uniform.
#ifndef NB_SYNTH_H
#define NB_SYNTH_H

#include "model/weights.h"

// A model whose matrices have a format, a shape and a dummy_seed, but no data: for a device that fills its own memory.
// n_layer > 0 keeps only the first n_layer layers.
int nb_synth_model(const nb_config *config, nb_mix mix, uint64_t seed, int n_layer, nb_model **out, nb_error *err);

// Fills the same values into host memory that the model then owns: for the CPU and for parity tests.
int nb_synth_materialize(nb_model *model, nb_error *err);

#endif
