// Opening a checkpoint of full size (3 shards, 124,468 tensors, holes for the bytes): `bench_open FOLDER` makes it in
// the existing folder if it is not there, then prints the time to open it, the time of a million look-ups, and the peak
// of resident memory.
#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "checkpoint/checkpoint.h"
#include "support/full_size.h"

enum { LOOK_UPS = 1000000 };

static double find_all(const nb_checkpoint *ckpt)
{
    int64_t n = nb_checkpoint_count(ckpt), start_us = nb_clock_us(), n_found = 0;
    for (int64_t i = 0; i < LOOK_UPS; i++)
        n_found += nb_checkpoint_find(ckpt, nb_checkpoint_at(ckpt, i * 7919 % n)->name) != NULL;
    return n_found == LOOK_UPS ? (double)(nb_clock_us() - start_us) * 1e-6 : -1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: bench_open FOLDER\n");
        return 2;
    }
    if (!nb_checkpoint_has_weights(argv[1])) nb_test_full_size_write(argv[1]);
    nb_error err = {0};
    nb_checkpoint *ckpt;
    int64_t start_us = nb_clock_us();
    if (nb_checkpoint_open(argv[1], &ckpt, &err)) {
        fprintf(stderr, "bench_open: %s\n", err.text);
        return 1;
    }
    double open_s = (double)(nb_clock_us() - start_us) * 1e-6;
    double find_s = find_all(ckpt);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%lld tensors: open %.3f s, %.0f ns a look-up, peak %.0f MiB\n", (long long)nb_checkpoint_count(ckpt),
           open_s, find_s * 1e9 / LOOK_UPS, (double)usage.ru_maxrss / 1024);
    nb_checkpoint_close(ckpt);
    return 0;
}
