// Calibration on the GPU finds the inputs that it finds on the CPU: the largest input of every matrix that becomes FP8,
// on the demo and its held-out text, within TOLERANCE (inputs are bf16 on the GPU, and sums have another order).
// Skipped where there is no GPU.
#include <math.h>

#include "base/file.h"
#include "cuda/cuda_device.h"
#include "quantize/calibrate.h"
#include "support/check.h"
#include "support/demo.h"
#include "text/tokenizer.h"

static const double TOLERANCE = 0.03;

typedef struct comparison {
    const nb_calibration *a, *b;
    double worst;
    int n;
} comparison;

static int compare(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    comparison *c = user;
    float a = bound->linear ? nb_calibration_amax(c->a, bound->linear) : 0;
    if (a <= 0) return NB_OK;
    c->worst = fmax(c->worst, fabs((double)nb_calibration_amax(c->b, bound->linear) / a - 1));
    c->n++;
    return NB_OK;
}

static nb_calibration *calibrate(nb_device *device, const nb_ids *ids)
{
    nb_error err;
    nb_recipe recipe;
    nb_calibration *c;
    nb_test_ok(nb_recipe_find("nvfp4", "max", &recipe, &err), &err);
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(nb_calibrate(device, nb_demo_get()->model, &recipe, ids->id, ids->n, 256, NULL, NULL, &c, &err), &err);
    device->ops->close(device);
    return c;
}

static void largest_inputs_are_those_of_the_cpu(void **state)
{
    (void)state;
    nb_error err;
    nb_device *gpu, *cpu;
    nb_tokenizer *tokenizer;
    nb_map text;
    nb_ids ids = {0};
    if (nb_cuda_open(&(nb_cuda_options){.gpu_memory_utilization = 0.5}, &gpu, &err)) skip();
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &cpu, &err), &err);
    nb_test_ok(nb_tokenizer_open(nb_test_path("models/demo"), &tokenizer, &err), &err);
    nb_test_ok(nb_map_open(nb_test_path("test/data/demo/heldout.txt"), &text, &err), &err);
    nb_str some = {(const char *)text.ptr, text.n_byte < 6000 ? text.n_byte : 6000};
    nb_test_ok(nb_tokenizer_encode(tokenizer, some, false, &ids, &err), &err);
    comparison c = {.a = calibrate(cpu, &ids), .b = calibrate(gpu, &ids)};
    nb_test_ok(nb_model_walk(nb_demo_get()->model, compare, &c, &err), &err);
    print_message("%d matrices, %lld tokens: largest inputs differ by %.2f %% at most\n", c.n, (long long)ids.n,
                  100 * c.worst);
    assert_true(c.n > 20 && c.worst < TOLERANCE);
    nb_calibration_close((nb_calibration *)c.a);
    nb_calibration_close((nb_calibration *)c.b);
    nb_ids_drop(&ids);
    nb_map_close(&text);
    nb_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_inputs_are_those_of_the_cpu),
    };
    return nb_test_run("cuda_calibrate", tests);
}
