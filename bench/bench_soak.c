// Random steps of all kinds on a device, for long runs and for tools that watch it (compute-sanitizer): memory of the
// GPU and of the process before and after.
//
//   bench_soak [CKPT] [--device cpu|cuda] [--steps N] [--seconds S] [--kv bf16|fp8]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/cpu_device.h"
#include "cuda/cuda_device.h"
#include "model/bind.h"
#include "support/check.h"
#include "support/random_steps.h"

typedef struct soak {
    const char *folder, *device;
    int n_step;
    double seconds;
    nb_kv_format kv;
} soak;

static void die(const nb_error *err)
{
    fprintf(stderr, "bench_soak: %s\n", err->text);
    exit(1);
}

static nb_device *open_device(const soak *s, const nb_model *model)
{
    nb_error err;
    nb_device *device;
    nb_reserve r = nb_random_steps_reserve(s->kv);
    int code = strcmp(s->device, "cpu") == 0
                   ? nb_cpu_open(&(nb_cpu_options){0}, &device, &err)
                   : nb_cuda_open(&(nb_cuda_options){.gpu_memory_utilization = 0.5, .mtp = true}, &device, &err);
    if (code || device->ops->load(device, model, &err) || device->ops->reserve(device, &r, &err)) die(&err);
    return device;
}

static void run(const soak *s, const nb_model *model)
{
    enum { WARM = 20, BLOCK = 50 };
    nb_device *device = open_device(s, model);
    nb_random_steps r;
    nb_memory before, after;
    nb_random_steps_open(&r, device, model->config.vocab_size);
    nb_random_steps_run(&r, s->n_step < WARM ? s->n_step : WARM);
    device->ops->memory(device, &before);
    int64_t resident = nb_random_steps_resident(), begin = nb_clock_us(), n = 0;
    while (n < s->n_step && (double)(nb_clock_us() - begin) < s->seconds * 1e6) {
        int block = s->n_step - n < BLOCK ? (int)(s->n_step - n) : BLOCK;
        nb_random_steps_run(&r, block);
        n += block;
    }
    device->ops->memory(device, &after);
    printf("%lld steps in %.1f s on %s; free bytes of the device %lld, then %lld; of the process %lld, then %lld\n",
           (long long)n, (double)(nb_clock_us() - begin) / 1e6, device->ops->name, (long long)before.free_bytes,
           (long long)after.free_bytes, (long long)resident, (long long)nb_random_steps_resident());
    nb_random_steps_close(&r);
    device->ops->close(device);
}

int main(int argc, char **argv)
{
    soak s = {
        .folder = nb_test_path("models/demo"), .device = "cuda", .n_step = 1 << 30, .seconds = 1e9, .kv = NB_KV_FP8};
    nb_error err;
    nb_checkpoint *ckpt;
    nb_model *model;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (argv[i][0] != '-') {
            s.folder = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--device") == 0) s.device = value;
        if (strcmp(argv[i], "--steps") == 0) s.n_step = atoi(value);
        if (strcmp(argv[i], "--seconds") == 0) s.seconds = atof(value);
        if (strcmp(argv[i], "--kv") == 0) s.kv = strcmp(value, "bf16") == 0 ? NB_KV_BF16 : NB_KV_FP8;
        i++;
    }
    if (nb_checkpoint_open(s.folder, &ckpt, &err) || nb_model_bind(ckpt, &model, &err)) die(&err);
    run(&s, model);
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
    return 0;
}
