// Tokens per second of the CPU device on a checkpoint (models/demo by default): prefill, decode of one sequence, decode
// of eight together. One line per case: kernels, threads, case, tokens/s.
//
//   bench_cpu [FOLDER [THREADS [scalar|avx2|avx512]]]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu_device.h"
#include "model/bind.h"
#include "support/check.h"
#include "support/drive.h"

enum { PREFILL = 512, DECODE = 64, BATCH = 8, REPEAT = 3 };

static double prefill(nb_drive *d, nb_drive_seq *seq, int vocab)
{
    int32_t tok[PREFILL];
    for (int i = 0; i < PREFILL; i++) tok[i] = (i * 131 + i / 7) % 2000;
    *seq = nb_drive_seq_make(seq->slot, seq->page[0], 1);
    int64_t start_us = nb_clock_us();
    nb_drive_prefill(d, seq, tok, PREFILL, PREFILL, vocab, NULL);
    return PREFILL * 1e6 / (double)(nb_clock_us() - start_us);
}

static double decode(nb_drive *d, nb_drive_seq *seq, int n_seq)
{
    int64_t start_us = nb_clock_us();
    for (int i = 0; i < DECODE; i++) {
        int32_t tok = 5 + i;
        nb_drive_begin(d);
        for (int s = 0; s < n_seq; s++) nb_drive_add(d, &seq[s], &tok, 1, NB_DRIVE_LAST);
        nb_drive_run(d);
    }
    return (double)DECODE * n_seq * 1e6 / (double)(nb_clock_us() - start_us);
}

static void bench(const nb_model *model, nb_cpu_kernels kernels, int n_thread, const char *name)
{
    nb_error err;
    nb_device *device;
    nb_drive_seq seq[BATCH];
    double best[3] = {0};
    if (nb_cpu_open(&(nb_cpu_options){.kernels = kernels, .n_thread = n_thread}, &device, &err) != NB_OK) return;
    nb_reserve r = {.kv = NB_KV_BF16,
                    .n_slot = BATCH,
                    .n_page = BATCH * 10,
                    .max_tok = PREFILL,
                    .max_seq = BATCH,
                    .max_row = BATCH};
    nb_test_ok(device->ops->load(device, model, &err), &err);
    nb_test_ok(device->ops->reserve(device, &r, &err), &err);
    nb_drive *d = nb_drive_open(device);
    for (int k = 0; k < REPEAT; k++) {
        for (int s = 0; s < BATCH; s++) {
            seq[s] = nb_drive_seq_make(s, s * 10, 1);
            double rate = prefill(d, &seq[s], model->config.vocab_size);
            if (rate > best[0]) best[0] = rate;
        }
        double one = decode(d, seq, 1), eight = decode(d, seq, BATCH);
        if (one > best[1]) best[1] = one;
        if (eight > best[2]) best[2] = eight;
    }
    const char *const what[3] = {"prefill 512", "decode, 1 sequence", "decode, 8 sequences"};
    for (int i = 0; i < 3; i++) printf("%s,%d,%s,%.0f\n", name, n_thread, what[i], best[i]);
    free(d);
    device->ops->close(device);
}

int main(int argc, char **argv)
{
    nb_error err;
    nb_checkpoint *ckpt;
    nb_model *model;
    const char *folder = argc > 1 ? argv[1] : nb_test_path("models/demo");
    int n_thread = argc > 2 ? atoi(argv[2]) : 0;
    if (nb_checkpoint_open(folder, &ckpt, &err) != NB_OK || nb_model_bind(ckpt, &model, &err) != NB_OK) {
        fprintf(stderr, "bench_cpu: %s\n", err.text);
        return 1;
    }
    printf("kernels,threads,case,tokens_per_s\n");
    const char *const name[] = {"scalar", "avx2", "avx512"};
    for (int i = 0; i < 3; i++)
        if (argc < 4 || strcmp(argv[3], name[i]) == 0)
            bench(model, (nb_cpu_kernels)(NB_CPU_SCALAR + i), n_thread, name[i]);
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
    return 0;
}
