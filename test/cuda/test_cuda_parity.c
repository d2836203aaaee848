// The CUDA device against the CPU device at every tap: the demo in BF16 and quantized, and four layers of the full
// shape with dummy weights in every format, made by each device for itself. Lengths of all kinds, mixtures of prefill
// and decode, drafts that are dropped, copied slots, both KV formats, long contexts, the MTP module. Skipped where
// there is no GPU.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_device.h"
#include "model/synth.h"
#include "quantize/quantize.h"
#include "support/check.h"
#include "support/demo.h"
#include "support/drive.h"
#include "support/parity.h"

enum { N_PAGE = 256, ROWS = 64, LENGTHS = 6, TOP_K = 8 }; // top-k: of the full shape

static const char full_shape[] =
    "{\"model_type\": \"qwen3_5_moe\", \"tie_word_embeddings\": false, \"text_config\": {"
    "\"hidden_size\": 2048, \"num_hidden_layers\": 4, \"full_attention_interval\": 4, \"vocab_size\": 4096,"
    "\"max_position_embeddings\": 262144, \"num_attention_heads\": 16, \"num_key_value_heads\": 2, \"head_dim\": 256,"
    "\"linear_num_key_heads\": 16, \"linear_num_value_heads\": 32, \"linear_key_head_dim\": 128,"
    "\"linear_value_head_dim\": 128, \"linear_conv_kernel_dim\": 4, \"num_experts\": %d, \"num_experts_per_tok\": 8,"
    "\"moe_intermediate_size\": 512, \"shared_expert_intermediate_size\": 512, \"mtp_num_hidden_layers\": %d,"
    "\"eos_token_id\": 1, \"rope_parameters\": {\"rope_theta\": 10000000, \"partial_rotary_factor\": 0.25}}}";

static const char plain_shape[] =
    "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 2048, \"num_hidden_layers\": 2, \"vocab_size\": 4096,"
    "\"max_position_embeddings\": 40960, \"num_attention_heads\": 32, \"num_key_value_heads\": 4, \"head_dim\": 128,"
    "\"num_experts\": %d, \"num_experts_per_tok\": 8, \"moe_intermediate_size\": 768, \"norm_topk_prob\": true,"
    "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"eos_token_id\": 1, \"rms_norm_eps\": 1e-6,"
    "\"rope_theta\": 1000000, \"tie_word_embeddings\": false}";

// One layer of each kind, thin, for long contexts: the reference has to compute them too.
static const char long_shape[] =
    "{\"model_type\": \"qwen3_5_moe\", \"tie_word_embeddings\": false, \"text_config\": {"
    "\"hidden_size\": 256, \"num_hidden_layers\": 2, \"full_attention_interval\": 2, \"vocab_size\": 512,"
    "\"max_position_embeddings\": 262144, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"head_dim\": 256,"
    "\"linear_num_key_heads\": 1, \"linear_num_value_heads\": 1, \"linear_key_head_dim\": 128,"
    "\"linear_value_head_dim\": 128, \"linear_conv_kernel_dim\": 4, \"num_experts\": %d, \"num_experts_per_tok\": 2,"
    "\"moe_intermediate_size\": 64, \"shared_expert_intermediate_size\": 64, \"mtp_num_hidden_layers\": 0,"
    "\"eos_token_id\": 1, \"rope_parameters\": {\"rope_theta\": 10000000, \"partial_rotary_factor\": 0.25}}}";

// Inputs of matrices, keys and values are bf16 on both devices; the GPU also rounds what goes between its kernels. Two
// kernel sets of the CPU, one with chunked Gated DeltaNet, differ by means of up to 2e-2 (logits of the full shape).
static const nb_parity_tolerance tolerance = {.median = {[NB_TAP_RESIDUAL] = 2e-2,
                                                         [NB_TAP_MIXER] = 2e-2,
                                                         [NB_TAP_LINEAR_INPUT] = 2e-2,
                                                         [NB_TAP_ROUTER] = 2e-2,
                                                         [NB_TAP_GDN_STATE] = 2e-2,
                                                         [NB_TAP_CONV_STATE] = 2e-2,
                                                         [NB_TAP_FINAL_NORM] = 2e-2,
                                                         [NB_TAP_LOGITS] = 2e-2,
                                                         [NB_TAP_MTP_HIDDEN] = 2e-2,
                                                         [NB_TAP_MTP_LOGITS] = 2e-2},
                                              .mean = {[NB_TAP_RESIDUAL] = 3e-2,
                                                       [NB_TAP_MIXER] = 4e-2,
                                                       [NB_TAP_LINEAR_INPUT] = 4e-2,
                                                       [NB_TAP_ROUTER] = 3e-2,
                                                       [NB_TAP_GDN_STATE] = 2e-2,
                                                       [NB_TAP_CONV_STATE] = 2e-2,
                                                       [NB_TAP_FINAL_NORM] = 8e-2,
                                                       [NB_TAP_LOGITS] = 8e-2,
                                                       [NB_TAP_MTP_HIDDEN] = 5e-2,
                                                       [NB_TAP_MTP_LOGITS] = 5e-2},
                                              .n_off = 0.01,
                                              .n_flip = 0.6,
                                              .margin = 0.25};

// With e4m3 inputs a rounding that falls the other way changes an input by up to an eighth, so differences of bf16's
// size become several times larger at each projection (the CPU's own kernel sets then differ by up to 5e-2), and with
// 256 nearly equal experts most tokens go elsewhere in some layer.
static const nb_parity_tolerance tolerance_a8 = {.median = {[NB_TAP_RESIDUAL] = 4e-2,
                                                            [NB_TAP_MIXER] = 4e-2,
                                                            [NB_TAP_LINEAR_INPUT] = 6e-2,
                                                            [NB_TAP_ROUTER] = 4e-2,
                                                            [NB_TAP_GDN_STATE] = 4e-2,
                                                            [NB_TAP_CONV_STATE] = 4e-2,
                                                            [NB_TAP_FINAL_NORM] = 5e-2,
                                                            [NB_TAP_LOGITS] = 5e-2},
                                                 .mean = {[NB_TAP_RESIDUAL] = 8e-2,
                                                          [NB_TAP_MIXER] = 0.15,
                                                          [NB_TAP_LINEAR_INPUT] = 0.12,
                                                          [NB_TAP_ROUTER] = 0.1,
                                                          [NB_TAP_GDN_STATE] = 5e-2,
                                                          [NB_TAP_CONV_STATE] = 5e-2,
                                                          [NB_TAP_FINAL_NORM] = 0.4,
                                                          [NB_TAP_LOGITS] = 0.4},
                                                 .n_off = 0.02,
                                                 .n_flip = 1,
                                                 .margin = 1};

// Where no expert can flip, all that is left is rounding: two kernel sets of the CPU differ by means of 5e-3, and the
// GPU, which rounds between kernels too, by about three times that.
static const nb_parity_tolerance tolerance_sure = {.median = {[NB_TAP_RESIDUAL] = 5e-3,
                                                              [NB_TAP_MIXER] = 5e-3,
                                                              [NB_TAP_LINEAR_INPUT] = 5e-3,
                                                              [NB_TAP_ROUTER] = 5e-3,
                                                              [NB_TAP_GDN_STATE] = 5e-3,
                                                              [NB_TAP_CONV_STATE] = 5e-3,
                                                              [NB_TAP_FINAL_NORM] = 5e-3,
                                                              [NB_TAP_LOGITS] = 5e-3,
                                                              [NB_TAP_MTP_HIDDEN] = 5e-3,
                                                              [NB_TAP_MTP_LOGITS] = 5e-3},
                                                   .mean = {[NB_TAP_RESIDUAL] = 1.5e-2,
                                                            [NB_TAP_MIXER] = 2e-2,
                                                            [NB_TAP_LINEAR_INPUT] = 2e-2,
                                                            [NB_TAP_ROUTER] = 1.5e-2,
                                                            [NB_TAP_GDN_STATE] = 1.5e-2,
                                                            [NB_TAP_CONV_STATE] = 1.5e-2,
                                                            [NB_TAP_FINAL_NORM] = 2e-2,
                                                            [NB_TAP_LOGITS] = 2e-2,
                                                            [NB_TAP_MTP_HIDDEN] = 2e-2,
                                                            [NB_TAP_MTP_LOGITS] = 2e-2},
                                                   .n_off = 0.001,
                                                   .margin = 0.25};

// Twice what a stand-in for the GPU differs by, a CPU device that rounds as the GPU does: q, k, v and z to bf16, the
// operands of chunked Gated DeltaNet to f16, e4m3 products of long prefills with noise of 2.3e-4. An input that differs
// by d of its size makes the share d / 0.09 of e4m3 roundings fall the other way, by 0.09 of the value each, so a
// product differs by 0.09 sqrt(d / 0.09): 0.002 becomes 0.013. The first mixer tells most, because nothing has grown
// yet: inputs that are rounded to e4m3 without bf16 between make 0.036 of the stand-in's 0.015 there.
static const nb_parity_tolerance tolerance_a8_sure = {.median = {[NB_TAP_RESIDUAL] = 2.1e-2,
                                                                 [NB_TAP_MIXER] = 2e-2,
                                                                 [NB_TAP_LINEAR_INPUT] = 3.4e-2,
                                                                 [NB_TAP_ROUTER] = 1.6e-2,
                                                                 [NB_TAP_GDN_STATE] = 2.5e-2,
                                                                 [NB_TAP_CONV_STATE] = 1.7e-2,
                                                                 [NB_TAP_FINAL_NORM] = 2.1e-2,
                                                                 [NB_TAP_LOGITS] = 2.3e-2,
                                                                 [NB_TAP_MTP_HIDDEN] = 1.6e-2,
                                                                 [NB_TAP_MTP_LOGITS] = 1.6e-2},
                                                      .mean = {[NB_TAP_RESIDUAL] = 0.1,
                                                               [NB_TAP_MIXER] = 0.12,
                                                               [NB_TAP_LINEAR_INPUT] = 0.13,
                                                               [NB_TAP_ROUTER] = 8.4e-2,
                                                               [NB_TAP_GDN_STATE] = 0.14,
                                                               [NB_TAP_CONV_STATE] = 6.6e-2,
                                                               [NB_TAP_FINAL_NORM] = 0.2,
                                                               [NB_TAP_LOGITS] = 0.2,
                                                               [NB_TAP_MTP_HIDDEN] = 0.16,
                                                               [NB_TAP_MTP_LOGITS] = 0.16},
                                                      .first_mixer = 3e-2,
                                                      .n_off = 0.01,
                                                      .margin = 1};

typedef struct twins {
    nb_model *model[2]; // of the CPU, of the GPU: the same, or two of the same seed
    nb_device *device[2];
} twins;

static nb_device *open_gpu(bool mtp)
{
    nb_error err;
    nb_device *device;
    nb_cuda_options o = {.gpu_memory_utilization = 0.9, .mtp = mtp};
    if (nb_cuda_open(&o, &device, &err)) skip();
    return device;
}

static void open_devices(twins *p, nb_kv_format kv, bool mtp, int n_page, int max_tok)
{
    nb_error err;
    p->device[1] = open_gpu(mtp);
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){.bf16_activations = true}, &p->device[0], &err), &err);
    nb_reserve r = {.kv = kv,
                    .n_slot = NB_DRIVE_SEQS,
                    .n_page = n_page,
                    .max_tok = max_tok,
                    .max_seq = NB_DRIVE_SEQS,
                    .max_row = NB_DRIVE_TOKENS};
    for (int i = 0; i < 2; i++) {
        nb_test_ok(p->device[i]->ops->load(p->device[i], p->model[i], &err), &err);
        nb_test_ok(p->device[i]->ops->reserve(p->device[i], &r, &err), &err);
    }
}

static void close_devices(twins *p)
{
    for (int i = 0; i < 2; i++) p->device[i]->ops->close(p->device[i]);
}

static nb_model *dummy(const char *shape, int n_expert, int n_mtp, nb_mix mix, bool fill)
{
    char text[2048];
    nb_error err;
    nb_model *model;
    nb_config *config = nb_alloc(sizeof *config);
    snprintf(text, sizeof text, shape, n_expert, n_mtp); // not every shape states the second
    nb_test_ok(nb_config_parse(nb_str_from(text), NB_STR(""), NB_STR(""), config, &err), &err);
    nb_test_ok(nb_synth_model(config, mix, 5, 0, &model, &err), &err);
    if (fill) nb_test_ok(nb_synth_materialize(model, &err), &err);
    free(config);
    return model;
}

static int32_t any_token(int i, int vocab)
{
    return (int32_t)((i * INT64_C(7919) + i / 7 * INT64_C(104729) + 3) % vocab);
}

static void add(nb_drive *d, nb_drive_seq *seq, int vocab, int n_new, nb_drive_rows rows)
{
    int32_t tok[NB_DRIVE_TOKENS];
    for (int i = 0; i < n_new; i++) tok[i] = any_token(seq->n_past + i + 1009 * seq->slot, vocab);
    nb_drive_add(d, seq, tok, n_new, rows);
}

static void step(nb_parity *p, nb_drive *d)
{
    nb_parity_step(p, &d->batch);
}

// Prompts of all awkward lengths at once, decodes of 1, 7 and more, chunks beside decodes, drafts kept and dropped with
// and without room in the journal, a copied slot.
static void run_script(nb_parity *p, int vocab)
{
    static const int length[LENGTHS] = {1, 2, 63, 64, 65, 127};
    nb_drive *d = nb_drive_open(NULL);
    nb_drive_seq seq[LENGTHS + 2];
    for (int i = 0; i < LENGTHS + 2; i++) seq[i] = nb_drive_seq_make(i, i * NB_DRIVE_PAGES, 1);

    nb_drive_begin(d);
    for (int i = 0; i < LENGTHS; i++) add(d, &seq[i], vocab, length[i], NB_DRIVE_LAST);
    step(p, d);
    nb_drive_begin(d);
    for (int i = 0; i < LENGTHS; i++) add(d, &seq[i], vocab, 1, NB_DRIVE_LAST);
    add(d, &seq[6], vocab, 1000, NB_DRIVE_LAST);
    step(p, d);
    for (int n = 1; n <= 7; n += 6) { // the paths of one token, and of a few
        nb_drive_begin(d);
        for (int i = 0; i < n; i++) add(d, &seq[6 - i], vocab, 1, NB_DRIVE_LAST);
        step(p, d);
    }
    seq[7] = seq[3]; // 66 or 67 tokens: one full page to share
    seq[7].slot = 7, seq[7].page[1] = 7 * NB_DRIVE_PAGES;
    seq[7].n_past = seq[3].n_past = 64;
    nb_drive_seq fresh = nb_drive_seq_make(8, 3 * NB_DRIVE_PAGES, 1);
    nb_drive_begin(d);
    add(d, &fresh, vocab, 64, NB_DRIVE_NONE);
    step(p, d);
    nb_drive_begin(d);
    nb_drive_copy(d, 8, 7);
    add(d, &seq[7], vocab, 3, NB_DRIVE_ALL);
    add(d, &seq[6], vocab, 65, NB_DRIVE_LAST);
    add(d, &fresh, vocab, 1, NB_DRIVE_LAST);
    step(p, d);
    static const int drafts[4] = {3, 15, 8, 1}, dropped[4] = {2, 15, 0, 1};
    for (int round = 0; round < 2; round++) {
        nb_drive_begin(d);
        for (int i = 0; i < 4; i++) {
            seq[i == 3 ? 4 : i].n_draft = drafts[i];
            add(d, &seq[i == 3 ? 4 : i], vocab, drafts[i] + 1, NB_DRIVE_ALL);
        }
        step(p, d);
        for (int i = 0; i < 4; i++) seq[i == 3 ? 4 : i].n_past -= dropped[i];
    }
    nb_drive_begin(d);
    for (int i = 0; i < 8; i++)
        if (i != 3) add(d, &seq[i], vocab, 1 + i % 3, NB_DRIVE_LAST);
    step(p, d);
    free(d);
}

static void check_pair(twins *pair, nb_kv_format kv, const nb_parity_tolerance *allowed, const char *what)
{
    open_devices(pair, kv, false, N_PAGE + NB_DRIVE_PAGES, NB_DRIVE_TOKENS);
    nb_parity *p = nb_parity_open(pair->device[0], pair->model[0], pair->device[1], pair->model[1], allowed);
    run_script(p, pair->model[0]->config.vocab_size);
    close_devices(pair);
    nb_parity_close(p, what);
}

static void check_dummy(const char *shape, int n_expert, nb_mix mix, nb_kv_format kv,
                        const nb_parity_tolerance *allowed, const char *what)
{
    nb_device *gpu = open_gpu(false); // skips before the CPU works for nothing
    gpu->ops->close(gpu);
    twins pair = {.model = {dummy(shape, n_expert, 0, mix, true), dummy(shape, n_expert, 0, mix, false)}};
    check_pair(&pair, kv, allowed, what);
    for (int i = 0; i < 2; i++) nb_model_close(pair.model[i]);
}

static void demo_in_bf16(void **state)
{
    (void)state;
    twins pair = {.model = {nb_demo_get()->model, nb_demo_get()->model}};
    check_pair(&pair, NB_KV_BF16, &tolerance, "demo, BF16, KV bf16");
}

static void quantize_demo(nb_checkpoint **ckpt, nb_model **model)
{
    nb_error err;
    nb_recipe recipe;
    nb_quantize_report report;
    char folder[512];
    snprintf(folder, sizeof folder, "%s/nvfp4", nb_test_tmp());
    nb_test_ok(nb_recipe_find("nvfp4", "max", &recipe, &err), &err);
    nb_quantize_options o = {.recipe = &recipe, .shard_bytes = 1 << 30, .threads = nb_threads_open(0)};
    nb_test_ok(nb_quantize(nb_demo_get()->model, folder, &o, &report, &err), &err);
    nb_threads_close(o.threads);
    nb_test_ok(nb_checkpoint_open(folder, ckpt, &err), &err);
    nb_test_ok(nb_model_bind(*ckpt, model, &err), &err);
}

static void demo_in_nvfp4(void **state)
{
    (void)state;
    nb_checkpoint *ckpt;
    nb_model *model;
    nb_device *gpu = open_gpu(false);
    gpu->ops->close(gpu);
    quantize_demo(&ckpt, &model);
    twins pair = {.model = {model, model}};
    check_pair(&pair, NB_KV_FP8, &tolerance, "demo, NVFP4, KV fp8");
    nb_model_close(model);
    nb_checkpoint_close(ckpt);
}

static void full_shape_published(void **state)
{
    (void)state;
    check_dummy(full_shape, 256, NB_MIX_PUBLISHED, NB_KV_FP8, &tolerance_a8, "full shape, published mix, KV fp8");
}

// Every token goes to all experts: nothing can flip, so every row of every layer is compared, and no state holds what a
// flip made.
static void full_shape_published_without_a_choice(void **state)
{
    (void)state;
    check_dummy(full_shape, TOP_K, NB_MIX_PUBLISHED, NB_KV_FP8, &tolerance_a8_sure,
                "full shape, published mix, 8 of 8 experts, KV fp8");
}

static void full_shape_bf16_without_a_choice(void **state)
{
    (void)state;
    check_dummy(full_shape, TOP_K, NB_MIX_BF16, NB_KV_BF16, &tolerance_sure,
                "full shape, BF16, 8 of 8 experts, KV bf16");
}

static void full_shape_bf16(void **state)
{
    (void)state;
    check_dummy(full_shape, 64, NB_MIX_BF16, NB_KV_BF16, &tolerance, "full shape, BF16, KV bf16");
}

static void full_shape_fp8_blocks(void **state)
{
    (void)state;
    check_dummy(full_shape, 64, NB_MIX_FP8_BLOCK, NB_KV_BF16, &tolerance, "full shape, FP8 in blocks, KV bf16");
}

static void full_shape_experts(void **state)
{
    (void)state;
    check_dummy(full_shape, 64, NB_MIX_EXPERTS, NB_KV_FP8, &tolerance, "full shape, NVFP4 experts beside BF16, KV fp8");
}

static void plain_family_nvfp4(void **state)
{
    (void)state;
    check_dummy(plain_shape, 128, NB_MIX_LINEARS, NB_KV_FP8, &tolerance, "plain family, NVFP4 linears, KV fp8");
}

static void plain_family_fp8_blocks(void **state)
{
    (void)state;
    check_dummy(plain_shape, 32, NB_MIX_FP8_BLOCK, NB_KV_BF16, &tolerance, "plain family, FP8 in blocks, KV bf16");
}

// 32K tokens in chunks without a word, then taps of a decode and of a chunk at the end.
static void long_context(nb_kv_format kv, const char *what)
{
    enum { CONTEXT = 32768, CHUNK = 1024, PAGES = CONTEXT / NB_PAGE_TOKENS + 2 };
    nb_error err;
    nb_device *gpu = open_gpu(false);
    gpu->ops->close(gpu);
    twins pair = {.model = {dummy(long_shape, 4, 0, NB_MIX_BF16, true), dummy(long_shape, 4, 0, NB_MIX_BF16, false)}};
    open_devices(&pair, kv, false, PAGES, CHUNK);
    nb_parity *p = nb_parity_open(pair.device[0], pair.model[0], pair.device[1], pair.model[1], &tolerance);
    int32_t *tok = nb_alloc(sizeof *tok * CHUNK), *page = nb_alloc(sizeof *page * PAGES);
    for (int i = 0; i < PAGES; i++) page[i] = PAGES - 1 - i;
    int past = 0;
    for (int chunk = 0; past <= CONTEXT; past += chunk) {
        bool tapped = past >= CONTEXT - 65;
        chunk = past == CONTEXT - 65          ? 65
                : past == CONTEXT             ? 1
                : past + CHUNK > CONTEXT - 65 ? CONTEXT - 65 - past
                                              : CHUNK;
        for (int i = 0; i < chunk; i++) tok[i] = any_token(past + i, 512);
        nb_seq seq = {.n_past = past, .n_new = chunk, .n_page = (past + chunk + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS};
        nb_row row = {.tok = chunk - 1,
                      .flags = NB_ROW_SAMPLE | NB_ROW_LOGITS,
                      .target = -1,
                      .mask_first = -1,
                      .sampling = {.top_p = 1, .repetition_penalty = 1}};
        nb_batch batch = {.n_tok = chunk,
                          .n_seq = 1,
                          .n_page = seq.n_page,
                          .n_row = 1,
                          .tok = tok,
                          .seq = &seq,
                          .page = page,
                          .row = &row};
        if (tapped) {
            nb_parity_step(p, &batch);
            continue;
        }
        nb_result r;
        for (int i = 0; i < 2; i++) nb_test_ok(pair.device[i]->ops->submit(pair.device[i], &batch, &err), &err);
        for (int i = 0; i < 2; i++) nb_test_ok(pair.device[i]->ops->wait(pair.device[i], &r, &err), &err);
    }
    free(tok), free(page);
    close_devices(&pair);
    for (int i = 0; i < 2; i++) nb_model_close(pair.model[i]);
    nb_parity_close(p, what);
}

static void context_of_32k_fp8(void **state)
{
    (void)state;
    long_context(NB_KV_FP8, "32K tokens, KV fp8");
}

static void context_of_32k_bf16(void **state)
{
    (void)state;
    long_context(NB_KV_BF16, "32K tokens, KV bf16");
}

// The demo speculates on its prompts: the module's taps, and proposals of both devices, of which the reference's become
// the next step's drafts for both.
static void mtp_of_the_demo(void **state)
{
    (void)state;
    static const char *const prompt[] = {"short.ids", "tool.ids", "recall.ids"};
    twins pair = {.model = {nb_demo_get()->model, nb_demo_get()->model}};
    open_devices(&pair, NB_KV_BF16, true, N_PAGE, NB_DRIVE_TOKENS);
    nb_parity *p = nb_parity_open(pair.device[0], pair.model[0], pair.device[1], pair.model[1], &tolerance);
    nb_drive *d = nb_drive_open(NULL);
    nb_drive_seq seq[3];
    int32_t next[3][1 + NB_DRAFT_MAX];
    int n_same = 0, n_all = 0, n_accepted = 0, n_new[3];
    nb_drive_begin(d);
    for (int i = 0; i < 3; i++) {
        int n;
        const int32_t *ids = nb_demo_i32(prompt[i], &n);
        seq[i] = nb_drive_seq_make(i, i * NB_DRIVE_PAGES, 1);
        seq[i].n_propose = 1 + 3 * i;
        n_new[i] = 0;
        nb_drive_add(d, &seq[i], ids, n < 300 ? n : 300, NB_DRIVE_LAST);
    }
    for (int round = 0; round < 12; round++) {
        step(p, d);
        const nb_result *want = nb_parity_reference(p), *got = nb_parity_result(p);
        nb_seq last_seq[3];
        memcpy(last_seq, d->seq, sizeof last_seq);
        int row = 0;
        nb_drive_begin(d);
        for (int i = 0; i < 3; i++) {
            int n_row = round ? last_seq[i].n_new : 1, kept = 0, n_draft = 0;
            while (kept + 1 < n_row && want->row[row + kept].tok == next[i][kept + 1]) kept++;
            seq[i].n_past -= n_row - 1 - kept, n_accepted += kept;
            next[i][0] = want->row[row + kept].tok;
            for (; n_draft < NB_DRAFT_MAX && want->proposal[i][n_draft] >= 0; n_draft++) {
                next[i][1 + n_draft] = want->proposal[i][n_draft];
                n_all++, n_same += got->proposal[i][n_draft] == want->proposal[i][n_draft];
            }
            assert_int_equal(n_draft, seq[i].n_propose);
            for (int k = n_draft; k < NB_DRAFT_MAX; k++) assert_int_equal(got->proposal[i][k], -1);
            row += n_row;
            n_new[i] = 1 + n_draft;
        }
        for (int i = 0; i < 3; i++) {
            seq[i].n_draft = n_new[i] - 1;
            nb_drive_add(d, &seq[i], next[i], n_new[i], NB_DRIVE_ALL);
        }
    }
    free(d);
    close_devices(&pair);
    print_message("%d of %d proposals are the same; %d were accepted\n", n_same, n_all, n_accepted);
    assert_true(n_same >= n_all * 9 / 10 && n_accepted > 0);
    nb_parity_close(p, "demo with its MTP module");
}

// Prompts, then drafts that are dropped in part, with proposals of 1, 4 and 8 tokens. What is proposed is not compared:
// random weights hardly prefer one token.
static void run_mtp_script(nb_parity *p, int vocab)
{
    enum { N = 3, ROUNDS = 4 };
    static const int length[N] = {1, 65, 200}, n_propose[N] = {1, 4, NB_DRAFT_MAX}, n_draft[N] = {1, 3, 8};
    nb_drive *d = nb_drive_open(NULL);
    nb_drive_seq seq[N];
    for (int round = 0; round < ROUNDS; round++) {
        nb_drive_begin(d);
        for (int i = 0; i < N; i++) {
            if (round == 0) seq[i] = nb_drive_seq_make(i, i * NB_DRIVE_PAGES, 1);
            seq[i].n_propose = n_propose[i], seq[i].n_draft = round ? n_draft[i] : 0;
            add(d, &seq[i], vocab, round ? 1 + n_draft[i] : length[i], round ? NB_DRIVE_ALL : NB_DRIVE_LAST);
        }
        step(p, d);
        for (int i = 0; i < N; i++) {
            seq[i].n_past -= round ? (n_draft[i] + round) % (n_draft[i] + 1) : 0;
            for (int k = 0; k < NB_DRAFT_MAX; k++)
                assert_int_equal(nb_parity_result(p)->proposal[i][k] >= 0, k < n_propose[i]);
        }
    }
    free(d);
}

static void mtp_of_the_full_shape(void **state)
{
    (void)state;
    nb_device *gpu = open_gpu(true);
    gpu->ops->close(gpu);
    twins pair = {.model = {dummy(full_shape, TOP_K, 1, NB_MIX_PUBLISHED, true),
                            dummy(full_shape, TOP_K, 1, NB_MIX_PUBLISHED, false)}};
    open_devices(&pair, NB_KV_FP8, true, N_PAGE, NB_DRIVE_TOKENS);
    nb_parity *p = nb_parity_open(pair.device[0], pair.model[0], pair.device[1], pair.model[1], &tolerance_a8_sure);
    run_mtp_script(p, pair.model[0]->config.vocab_size);
    close_devices(&pair);
    nb_parity_close(p, "full shape with its MTP module, published mix, 8 of 8 experts, KV fp8");
    for (int i = 0; i < 2; i++) nb_model_close(pair.model[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_in_bf16),
        cmocka_unit_test(demo_in_nvfp4),
        cmocka_unit_test(mtp_of_the_demo),
        cmocka_unit_test(full_shape_published),
        cmocka_unit_test(full_shape_published_without_a_choice),
        cmocka_unit_test(full_shape_bf16_without_a_choice),
        cmocka_unit_test(mtp_of_the_full_shape),
        cmocka_unit_test(full_shape_bf16),
        cmocka_unit_test(full_shape_fp8_blocks),
        cmocka_unit_test(full_shape_experts),
        cmocka_unit_test(plain_family_nvfp4),
        cmocka_unit_test(plain_family_fp8_blocks),
        cmocka_unit_test(context_of_32k_fp8),
        cmocka_unit_test(context_of_32k_bf16),
    };
    return nb_test_run("cuda_parity", tests);
}
