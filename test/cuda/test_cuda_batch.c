// The CUDA device against itself: a sequence decoded alone gives the logits that it gives beside others, for every mix
// of weight formats. Alone and in a batch are different kernels, so this holds each kernel to the others. Dummy
// weights; skipped where there is no GPU.
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_device.h"
#include "model/bind.h"
#include "model/synth.h"

enum { VOCAB = 512, N_TOK = 40, MAX_SEQ = 72, MAX_PAGE = 80 };

static const char config_text[] =
    "{\"model_type\": \"qwen3_5_moe\", \"text_config\": {\"hidden_size\": 512, \"num_hidden_layers\": 4,"
    "\"layer_types\": [\"linear_attention\", \"linear_attention\", \"linear_attention\", \"full_attention\"],"
    "\"vocab_size\": 512, \"max_position_embeddings\": 4096, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    "\"head_dim\": 128, \"attn_output_gate\": true, \"linear_num_key_heads\": 2, \"linear_num_value_heads\": 4,"
    "\"linear_key_head_dim\": 128, \"linear_value_head_dim\": 128, \"linear_conv_kernel_dim\": 4, \"num_experts\": 24,"
    "\"num_experts_per_tok\": 3, \"moe_intermediate_size\": 256, \"shared_expert_intermediate_size\": 256,"
    "\"mtp_num_hidden_layers\": 0, \"eos_token_id\": 1, \"rope_parameters\": {\"rope_theta\": 10000,"
    "\"partial_rotary_factor\": 0.5, \"mrope_section\": [8, 12, 12], \"mrope_interleaved\": true}}}";

typedef struct fixture {
    nb_device *device;
    nb_model *model;
    nb_config *config;
} fixture;

static bool open_fixture(fixture *f, nb_mix mix, nb_kv_format kv)
{
    nb_error err;
    nb_cuda_options o = {.ordinal = 0, .gpu_memory_utilization = 0.5};
    if (nb_cuda_open(&o, &f->device, &err)) return false;
    f->config = nb_alloc(sizeof *f->config);
    nb_test_ok(nb_config_parse(nb_str_from(config_text), NB_STR(""), NB_STR(""), f->config, &err), &err);
    nb_test_ok(nb_synth_model(f->config, mix, 7, 0, &f->model, &err), &err);
    nb_test_ok(f->device->ops->load(f->device, f->model, &err), &err);
    nb_reserve r = {
        .kv = kv, .n_slot = MAX_SEQ, .n_page = MAX_PAGE, .max_tok = 256, .max_seq = MAX_SEQ, .max_row = MAX_SEQ};
    nb_test_ok(f->device->ops->reserve(f->device, &r, &err), &err);
    return true;
}

static void close_fixture(fixture *f)
{
    f->device->ops->close(f->device);
    nb_model_close(f->model);
    free(f->config);
}

// Token t of sequence i; the last sequence is the one that is looked at.
static int32_t token_of(int i, int n_seq, int t)
{
    return i == n_seq - 1 ? (t * 37 + t / 5) % VOCAB : (i * 101 + t * 53) % VOCAB;
}

// N_TOK steps of n_seq sequences; the logits of the last sequence at each step: out[N_TOK][VOCAB].
static void decode(const fixture *f, int n_seq, float *out)
{
    int32_t tok[MAX_SEQ], page[MAX_SEQ];
    nb_seq seq[MAX_SEQ];
    nb_row row[MAX_SEQ];
    nb_error err;
    nb_result r;
    for (int t = 0; t < N_TOK; t++) {
        for (int i = 0; i < n_seq; i++) {
            tok[i] = token_of(i, n_seq, t), page[i] = i;
            seq[i] = (nb_seq){.slot = i, .n_past = t, .n_new = 1, .tok_first = i, .page_first = i, .n_page = 1};
            row[i] = (nb_row){.tok = i,
                              .seq = i,
                              .flags = NB_ROW_SAMPLE | (i == n_seq - 1 ? NB_ROW_LOGITS : 0),
                              .target = -1,
                              .mask_first = -1,
                              .sampling = {.top_p = 1, .repetition_penalty = 1}};
        }
        nb_batch b = {.n_tok = n_seq,
                      .n_seq = n_seq,
                      .n_page = n_seq,
                      .n_row = n_seq,
                      .tok = tok,
                      .seq = seq,
                      .page = page,
                      .row = row};
        nb_test_ok(f->device->ops->submit(f->device, &b, &err), &err);
        nb_test_ok(f->device->ops->wait(f->device, &r, &err), &err);
        memcpy(out + t * VOCAB, r.row[n_seq - 1].logits, VOCAB * sizeof *out);
    }
}

static int by_value(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

// The median over the steps of what the logits differ by, relative to their norm: a rounding that sends a token to
// another expert changes single steps by much.
static double difference(const float *a, const float *b, double *most)
{
    double step[N_TOK];
    for (int t = 0; t < N_TOK; t++) {
        double sum = 0, error = 0;
        for (int i = t * VOCAB; i < (t + 1) * VOCAB; i++)
            sum += (double)a[i] * a[i], error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        step[t] = isnan(error) ? INFINITY : sqrt(error / sum);
    }
    qsort(step, N_TOK, sizeof *step, by_value);
    *most = step[N_TOK - 1];
    return step[N_TOK / 2];
}

static void same_in_any_batch(nb_mix mix, nb_kv_format kv)
{
    static const int n_seq[] = {2, 8, 9, 16, 20, 33, 72};
    static float alone[N_TOK * VOCAB], batched[N_TOK * VOCAB];
    fixture f;
    if (!open_fixture(&f, mix, kv)) skip();
    decode(&f, 1, alone);
    double worst = 0;
    for (size_t i = 0; i < sizeof n_seq / sizeof *n_seq; i++) {
        decode(&f, n_seq[i], batched);
        double most, d = difference(alone, batched, &most);
        print_message("mix %d, %d sequences: logits differ by %.2e of their norm, %.2e at most\n", mix, n_seq[i], d,
                      most);
        worst = d > worst ? d : worst;
    }
    close_fixture(&f);
    assert_true(worst < 3e-2); // roundings to bf16 and e4m3 that fall the other way
}

static void bf16_is_the_same_in_any_batch(void **state)
{
    (void)state, same_in_any_batch(NB_MIX_BF16, NB_KV_BF16);
}
static void published_mix_is_the_same_in_any_batch(void **state)
{
    (void)state, same_in_any_batch(NB_MIX_PUBLISHED, NB_KV_FP8);
}
static void nvfp4_experts_are_the_same_in_any_batch(void **state)
{
    (void)state, same_in_any_batch(NB_MIX_EXPERTS, NB_KV_BF16);
}
static void nvfp4_linears_are_the_same_in_any_batch(void **state)
{
    (void)state, same_in_any_batch(NB_MIX_LINEARS, NB_KV_BF16);
}
static void fp8_blocks_are_the_same_in_any_batch(void **state)
{
    (void)state, same_in_any_batch(NB_MIX_FP8_BLOCK, NB_KV_FP8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_is_the_same_in_any_batch),
        cmocka_unit_test(published_mix_is_the_same_in_any_batch),
        cmocka_unit_test(nvfp4_experts_are_the_same_in_any_batch),
        cmocka_unit_test(nvfp4_linears_are_the_same_in_any_batch),
        cmocka_unit_test(fp8_blocks_are_the_same_in_any_batch),
    };
    return nb_test_run("cuda_batch", tests);
}
