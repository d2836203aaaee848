// The same batches on two devices, compared at every tap of model/device.h: the first site that differs is printed with
// its layer, matrix and row. The reference runs first and its taps are kept; the other device's are compared as they
// come.
//
// A row's error is the norm of its difference over the norm of the reference's row. Rounding alone makes a few rows
// differ much, where a norm divides by something small or a state nearly cancels, so the median and the mean are held
// to a tolerance, and the share of rows that are off by more than half. Where two experts are nearly equal for a token,
// rounding may choose either: such tokens are counted, and rows they touch are left out in that step.
#ifndef NB_TEST_PARITY_H
#define NB_TEST_PARITY_H

#include "model/device.h"

enum { NB_PARITY_SITES = NB_TAP_MTP_LOGITS + 1 };

typedef struct nb_parity_tolerance {
    double median[NB_PARITY_SITES]; // of the rows of one tap: ten times this is an error at once
    double mean[NB_PARITY_SITES];   // over all taps of a site
    double first_mixer;             // mean over the first layer's mixer, where nothing has grown yet; 0: not judged
    double n_off;                   // share of rows that may be off by more than half of their norm, by site
    double n_flip;                  // share of tokens that may go to other experts in some layer
    double margin;                  // of two logits: drawn tokens may differ where the first two are nearer than this
} nb_parity_tolerance;

typedef struct nb_parity nb_parity;

// Both devices are loaded and reserved alike; each has its own model, or both the same.
nb_parity *nb_parity_open(nb_device *reference, const nb_model *reference_model, nb_device *device,
                          const nb_model *model, const nb_parity_tolerance *tolerance);

// Runs the batch on both. The results of the reference and of the device are valid until the next step.
void nb_parity_step(nb_parity *p, const nb_batch *batch);
const nb_result *nb_parity_reference(const nb_parity *p);
const nb_result *nb_parity_result(const nb_parity *p);

// Prints the largest error of each site, and fails the test if a site was over its tolerance or a tap was missing.
void nb_parity_close(nb_parity *p, const char *what);

#endif
