// The quantizer: streams a checkpoint's tensors through the encoders and writes a folder that programs which read
// ModelOpt checkpoints load: one tensor an expert, gate and up of an expert with one weight_scale_2, config.json and
// hf_quant_config.json saying what was done. Nothing is held in memory but the tensor at hand.
//
//   NVFP4  weight U8 [out, in/2], weight_scale F8_E4M3 [out, in/16], weight_scale_2 F32 [], input_scale F32 [] = 1
//          (weights only: readers ignore it, and some of them insist that it is there)
//   FP8    weight F8_E4M3 [out, in], weight_scale F32 [] = amax / 448, input_scale F32 [] = amax of the inputs / 448
#ifndef NB_QUANTIZE_H
#define NB_QUANTIZE_H

#include "base/threads.h"
#include "quantize/calibrate.h"

typedef struct nb_quantize_options {
    const nb_recipe *recipe;
    const nb_calibration *calibration; // NULL: no input_scale for FP8, which readers then run as W8A16
    int64_t shard_bytes;
    nb_threads *threads;
    nb_progress_fn progress; // bytes written; may be NULL
    void *user;
} nb_quantize_options;

typedef struct nb_quantize_report {
    int64_t in_bytes, out_bytes;
    int64_t n_nvfp4, n_fp8; // modules
    double nvfp4_error;     // sum of squared errors / sum of squared weights, over all NVFP4 modules
    double fp8_error;
} nb_quantize_report;

// `folder` must not exist. A run that fails or is killed leaves no folder of that name.
int nb_quantize(const nb_model *model, const char *folder, const nb_quantize_options *options,
                nb_quantize_report *report, nb_error *err);

#endif
