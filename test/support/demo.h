// models/demo bound, and its goldens (test/data/demo/golden.md says how they were made).
#ifndef NB_TEST_DEMO_H
#define NB_TEST_DEMO_H

#include "checkpoint/safetensors.h"
#include "cpu/cpu_device.h"
#include "model/bind.h"

typedef struct nb_demo {
    nb_checkpoint *ckpt;
    nb_model *model;
    int vocab, d_model;
} nb_demo;

const nb_demo *nb_demo_get(void); // bound once, closed at exit

// A tensor of golden.safetensors; fails the test if it is missing.
const nb_tensor *nb_demo_golden(const char *name);
const float *nb_demo_f32(const char *name);
const int32_t *nb_demo_i32(const char *name, int *n);

// A CPU device with the demo loaded and room for NB_DRIVE_SEQS sequences.
nb_device *nb_demo_cpu(const nb_cpu_options *options, nb_kv_format kv);

#endif
