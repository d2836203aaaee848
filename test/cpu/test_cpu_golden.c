// The CPU device against the goldens of the demo checkpoint: PyTorch, fp32, equal to the official implementation within
// 2.4e-5. Scalar kernels and an fp32 cache must be close to them everywhere; the other settings are held to what they
// change.
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/demo.h"
#include "support/drive.h"

enum { GREEDY = 32 };

static const char *const prompts[] = {"short", "tool", "recall"};

static const char *name_of(const char *prompt, const char *what)
{
    static char name[64];
    snprintf(name, sizeof name, "%s.%s", prompt, what);
    return name;
}

// Largest difference from the stored logits (the last rows of the prompt), and how many greedy ids agree.
typedef struct outcome {
    double logit_diff;
    int n_same;
} outcome;

static outcome run_prompt(nb_device *device, const char *prompt)
{
    int n, n_row = (int)nb_demo_golden(name_of(prompt, "logits"))->dim[0], vocab = nb_demo_get()->vocab;
    const int32_t *ids = nb_demo_i32(name_of(prompt, "ids"), &n),
                  *greedy = nb_demo_i32(name_of(prompt, "greedy"), NULL);
    const float *want = nb_demo_f32(name_of(prompt, "logits"));
    float *got = nb_alloc(sizeof(float) * (size_t)n_row * (size_t)vocab);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(0, 0, 1);
    int32_t drawn[GREEDY];
    if (n > n_row) nb_drive_prefill(d, &seq, ids, n - n_row, NB_DRIVE_TOKENS, vocab, NULL);
    int32_t first = nb_drive_prefill(d, &seq, ids + n - n_row, n_row, NB_DRIVE_TOKENS, vocab, got);
    nb_drive_decode(d, &seq, first, GREEDY, drawn);
    outcome o = {0};
    for (int64_t i = 0; i < (int64_t)n_row * vocab; i++) o.logit_diff = fmax(o.logit_diff, fabs(got[i] - want[i]));
    while (o.n_same < GREEDY && drawn[o.n_same] == greedy[o.n_same]) o.n_same++;
    printf("[ ] %-6s logits differ by %.2e, %d of %d greedy ids equal\n", prompt, o.logit_diff, o.n_same, GREEDY);
    free(got);
    free(d);
    return o;
}

static void check_prompts(nb_cpu_options options, nb_kv_format kv, double tolerance)
{
    nb_device *device = nb_demo_cpu(&options, kv);
    for (int i = 0; i < 3; i++) {
        outcome o = run_prompt(device, prompts[i]);
        assert_true(o.logit_diff <= tolerance);
        assert_int_equal(o.n_same, GREEDY);
    }
    device->ops->close(device);
}

static void test_scalar_fp32_equals_the_reference(void **state)
{
    (void)state;
    check_prompts((nb_cpu_options){.kernels = NB_CPU_SCALAR}, NB_KV_F32, 1e-3);
}

static void test_vector_kernels_equal_the_reference(void **state)
{
    (void)state;
    check_prompts((nb_cpu_options){.kernels = NB_CPU_AUTO}, NB_KV_F32, 1e-3);
}

static void test_chunked_deltanet_equals_the_reference(void **state)
{
    (void)state;
    check_prompts((nb_cpu_options){.kernels = NB_CPU_AUTO, .gdn_chunked = true}, NB_KV_F32, 1e-3);
}

// What rounding costs on these prompts; measured and held.
static void test_bf16_cache_changes_logits_within_its_precision(void **state)
{
    (void)state;
    check_prompts((nb_cpu_options){.kernels = NB_CPU_AUTO}, NB_KV_BF16, 0.1);
}

static void test_bf16_activations_change_logits_within_their_precision(void **state)
{
    (void)state;
    check_prompts((nb_cpu_options){.kernels = NB_CPU_AUTO, .bf16_activations = true}, NB_KV_BF16, 0.5);
}

typedef struct sites { // how often each kind of tap was compared
    int n_residual, n_norm, n_state, n_conv, n_router, n_mtp;
} sites;

static void tap_router(const nb_tap *tap)
{
    const int32_t *id = nb_demo_i32("short.layer0.router_topk", NULL);
    for (int64_t i = 0; i < tap->n_row * tap->n_col; i++) assert_int_equal(tap->index[i], id[i]);
    nb_test_close("router weights", tap->data, nb_demo_f32("short.layer0.router_weights"), tap->n_row * tap->n_col,
                  1e-5);
}

static void compare_tap(void *user, const nb_tap *tap)
{
    sites *s = user;
    int64_t n = tap->n_row * tap->n_col;
    char name[64];
    switch (tap->site) {
    case NB_TAP_RESIDUAL:
        snprintf(name, sizeof name, "short.residual.%d", tap->layer);
        nb_test_close(name, tap->data, nb_demo_f32(name), n, 5e-4); // values reach 129
        s->n_residual++;
        break;
    case NB_TAP_FINAL_NORM:
        nb_test_close("final norm", tap->data, nb_demo_f32("short.final_norm"), n, 1e-4);
        s->n_norm++;
        break;
    case NB_TAP_GDN_STATE:
        if (tap->layer != 0) break;
        nb_test_close("gdn state", tap->data, nb_demo_f32("short.layer0.gdn_state"), n, 1e-4);
        s->n_state++;
        break;
    case NB_TAP_CONV_STATE:
        if (tap->layer != 0) break;
        nb_test_close("conv state", tap->data, nb_demo_f32("short.layer0.conv_state"), n, 1e-4);
        s->n_conv++;
        break;
    case NB_TAP_ROUTER:
        if (tap->layer == 0) tap_router(tap), s->n_router++;
        break;
    case NB_TAP_MTP_HIDDEN:
        nb_test_close("mtp hidden", tap->data, nb_demo_f32("short.mtp.hidden"), n, 1e-4);
        s->n_mtp++;
        break;
    case NB_TAP_MTP_LOGITS:
        nb_test_close("mtp logits", tap->data, nb_demo_f32("short.mtp.logits"), n, 1e-3);
        s->n_mtp++;
        break;
    default: break;
    }
}

// 2 * layers: a prompt in one step, so every site is seen once (with drafts too: the state is tapped with them folded
// in).
static void check_taps(nb_cpu_options options, int n_draft)
{
    nb_device *device = nb_demo_cpu(&options, NB_KV_F32);
    nb_drive *d = nb_drive_open(device);
    nb_drive_seq seq = nb_drive_seq_make(3, 5, 1);
    sites s = {0};
    int n;
    const int32_t *ids = nb_demo_i32("short.ids", &n);
    seq.n_propose = 1;
    seq.n_draft = n_draft;
    device->ops->tap(device, compare_tap, &s);
    nb_drive_begin(d);
    nb_drive_add(d, &seq, ids, n, NB_DRIVE_ALL);
    nb_drive_run(d);
    assert_int_equal(s.n_residual, nb_demo_get()->model->config.num_hidden_layers + 1);
    assert_true(s.n_norm == 1 && s.n_state == 1 && s.n_conv == 1 && s.n_router == 1 && s.n_mtp == 2);
    device->ops->close(device);
    free(d);
}

static void test_every_tap_equals_the_reference(void **state)
{
    (void)state;
    check_taps((nb_cpu_options){.kernels = NB_CPU_SCALAR}, 0);
    check_taps((nb_cpu_options){.kernels = NB_CPU_AUTO, .n_thread = 3}, 0);
}

static void test_taps_with_drafts_show_the_state_with_them(void **state)
{
    (void)state;
    check_taps((nb_cpu_options){.kernels = NB_CPU_AUTO}, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar_fp32_equals_the_reference),
        cmocka_unit_test(test_vector_kernels_equal_the_reference),
        cmocka_unit_test(test_chunked_deltanet_equals_the_reference),
        cmocka_unit_test(test_bf16_cache_changes_logits_within_its_precision),
        cmocka_unit_test(test_bf16_activations_change_logits_within_their_precision),
        cmocka_unit_test(test_every_tap_equals_the_reference),
        cmocka_unit_test(test_taps_with_drafts_show_the_state_with_them),
    };
    return nb_test_run("cpu_golden", tests);
}
