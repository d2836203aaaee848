// What a device is and how fast it could be: the roof that `nibble bench` holds steps against.
#ifndef NB_BENCH_CARD_H
#define NB_BENCH_CARD_H

#include "model/device.h"

typedef struct nb_bench_card {
    char name[128];   // of the GPU or of the processor
    double read_rate; // bytes/s of a streaming read, measured
    double flop_rate; // operations/s of bf16 products where it is known, else 0
} nb_bench_card;

// Measures for some milliseconds; not on a CPU whose read rate is known (> 0). The device must hold a model.
int nb_bench_card_read(nb_device *device, int n_thread, double known_rate, nb_bench_card *out, nb_error *err);

#endif
