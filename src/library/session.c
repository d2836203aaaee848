// Opens in the order checkpoint, model, tokenizer, device; closes in the opposite one. See session.h.
#include "library/session.h"

#include <string.h>

#include "cpu/cpu_device.h"
#include "cuda/cuda_device.h"
#include "model/bind.h"
#include "model/synth.h"

enum { DUMMY_SEED = 1 };

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static int open_cpu(const nb_session_options *o, nb_device **out, nb_error *err)
{
    nb_cpu_options options = {.n_thread = (int)o->n_thread, .bf16_activations = is(o->activations, "bf16")};
    if (is(o->kernels, "scalar")) options.kernels = NB_CPU_SCALAR;
    if (is(o->kernels, "avx2")) options.kernels = NB_CPU_AVX2;
    if (is(o->kernels, "avx512")) options.kernels = NB_CPU_AVX512;
    return nb_cpu_open(&options, out, err);
}

static int open_device(const nb_session_options *o, nb_device **out, nb_error *err)
{
    nb_cuda_options cuda = {
        .gpu_memory_utilization = o->gpu_memory_utilization, .mtp = o->mtp, .portable = o->portable};
    if (is(o->device, "cuda")) return nb_cuda_open(&cuda, out, err);
    if (is(o->device, "auto") && nb_cuda_open(&cuda, out, err) == NB_OK) return NB_OK;
    return open_cpu(o, out, err);
}

static nb_kv_format kv_format(const char *name, const nb_config *config)
{
    if (is(name, "auto")) return config->kv_cache_fp8 ? NB_KV_FP8 : NB_KV_BF16;
    if (is(name, "f32")) return NB_KV_F32;
    return is(name, "bf16") ? NB_KV_BF16 : NB_KV_FP8;
}

static int open_weights(const nb_session_options *o, nb_session *s, nb_error *err)
{
    if (!is(o->load_format, "dummy")) {
        NB_TRY(nb_checkpoint_open(s->folder, &s->ckpt, err));
        return nb_model_bind(s->ckpt, &s->model, err);
    }
    NB_TRY(nb_checkpoint_open_config(s->folder, &s->ckpt, err));
    const nb_config *config = nb_checkpoint_config(s->ckpt);
    return nb_synth_model(config, config->mix, DUMMY_SEED, (int)o->n_layer, &s->model, err);
}

static int load_device(const nb_session_options *o, nb_session *s, nb_error *err)
{
    NB_TRY(open_device(o, &s->device, err));
    s->kv = kv_format(o->kv, &s->model->config);
    bool on_host = is(s->device->ops->name, "cpu");
    if (on_host && !s->model->embed_tokens.data) NB_TRY(nb_synth_materialize(s->model, err));
    return s->device->ops->load(s->device, s->model, err);
}

int nb_session_open_model(const char *folder, const nb_session_options *options, nb_session *s, nb_error *err)
{
    *s = (nb_session){.folder = folder};
    NB_TRY(open_weights(options, s, err));
    return load_device(options, s, err);
}

int nb_session_open(const char *folder, const nb_session_options *options, nb_session *s, nb_error *err)
{
    *s = (nb_session){.folder = folder, .text_folder = options->tokenizer ? options->tokenizer : folder};
    NB_TRY(open_weights(options, s, err));
    NB_TRY(nb_tokenizer_open(s->text_folder, &s->tokenizer, err));
    return load_device(options, s, err);
}

void nb_session_close(nb_session *s)
{
    if (s->device) s->device->ops->close(s->device);
    if (s->tokenizer) nb_tokenizer_close(s->tokenizer);
    if (s->model) nb_model_close(s->model);
    if (s->ckpt) nb_checkpoint_close(s->ckpt);
    *s = (nb_session){0};
}

void nb_session_sampling(const nb_session *session, nb_sampling *s)
{
    const nb_config *c = &session->model->config;
    *s = (nb_sampling){.temperature = c->temperature >= 0 ? (float)c->temperature : 1,
                       .top_k = c->top_k >= 0 ? c->top_k : 0,
                       .top_p = c->top_p >= 0 ? (float)c->top_p : 1,
                       .min_p = c->min_p >= 0 ? (float)c->min_p : 0,
                       .repetition_penalty = c->repetition_penalty >= 0 ? (float)c->repetition_penalty : 1};
}
