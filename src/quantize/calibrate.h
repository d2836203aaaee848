// Calibration: the largest input that each FP8 linear sees while a text runs through the unquantized model. That is all
// that the method "max" needs from data: weights are measured from the weights themselves.
// Source: NVIDIA ModelOpt, modelopt/torch/quantization/model_calib.py (max_calibrate).
#ifndef NB_CALIBRATE_H
#define NB_CALIBRATE_H

#include "model/window.h"
#include "quantize/recipe.h"

typedef struct nb_calibration nb_calibration;

// Runs `id` through `device` (loaded with `model`, not reserved) in windows of `window` tokens. `progress` may be NULL.
int nb_calibrate(nb_device *device, const nb_model *model, const nb_recipe *recipe, const int32_t *id, int64_t n_id,
                 int64_t window, nb_progress_fn progress, void *user, nb_calibration **out, nb_error *err);
void nb_calibration_close(nb_calibration *calibration); // NULL is fine

// Largest magnitude seen at the input of `linear`; 0 if it saw nothing.
float nb_calibration_amax(const nb_calibration *calibration, const nb_linear *linear);

#endif
