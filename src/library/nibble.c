// Opening and closing of include/nibble.h. The codes of the public header are those of base/error.h.
#include <stdlib.h>
#include <string.h>

#include "library/nibble_internal.h"

enum { CONTEXT_DEFAULT = 4096, SEQUENCES_MAX = 4096 };

_Static_assert((int)NIBBLE_ERROR_INPUT == NB_ERR_INPUT && (int)NIBBLE_ERROR_IO == NB_ERR_IO &&
                   (int)NIBBLE_ERROR_MEMORY == NB_ERR_MEMORY && (int)NIBBLE_ERROR_LIMIT == NB_ERR_LIMIT &&
                   (int)NIBBLE_ERROR_DEVICE == NB_ERR_DEVICE && (int)NIBBLE_ERROR_USAGE == NB_ERR_USAGE,
               "one set of codes");
_Static_assert(sizeof(((nibble_error *)0)->message) == sizeof(((nb_error *)0)->text), "messages fit");

const char *nibble_version(void)
{
    return NIBBLE_VERSION;
}

int nb_nibble_fail(const nb_error *err, nibble_error *out)
{
    if (out) {
        out->code = err->code;
        memcpy(out->message, err->text, sizeof out->message);
    }
    return err->code;
}

int nb_nibble_read_struct(void *known, size_t n_known, const void *given, size_t n_given, const char *what,
                          nb_error *err)
{
    const char *bytes = given;
    if (n_given < sizeof(size_t)) return nb_error_set(err, NB_ERR_USAGE, "%s.size is not set", what);
    for (size_t i = n_known; i < n_given; i++) {
        if (bytes[i]) return nb_error_set(err, NB_ERR_USAGE, "%s has a field that needs a newer libnibble", what);
    }
    memcpy(known, given, n_given < n_known ? n_given : n_known);
    return NB_OK;
}

// One of the names in `set` ("auto|cpu|cuda"), the first for NULL.
static int choose(const char *field, const char *set, const char **name, nb_error *err)
{
    nb_str rest = nb_str_from(set);
    if (!*name) *name = "auto";
    while (rest.len) {
        int64_t bar = nb_str_find(rest, NB_STR("|"), 0);
        nb_str one = nb_str_slice(rest, 0, bar < 0 ? rest.len : (size_t)bar);
        if (nb_str_equal_c(one, *name)) return NB_OK;
        rest = nb_str_slice(rest, one.len + 1, rest.len);
    }
    return nb_error_set(err, NB_ERR_USAGE, "options.%s: '%s' is not one of %s", field, *name, set);
}

static int check_options(nibble_options *o, nb_error *err)
{
    if (!o->activations) o->activations = "f32";
    NB_TRY(choose("device", "auto|cpu|cuda", &o->device, err));
    NB_TRY(choose("kernels", "auto|scalar|avx2|avx512", &o->kernels, err));
    NB_TRY(choose("activations", "f32|bf16", &o->activations, err));
    NB_TRY(choose("kv_cache_dtype", "auto|bf16|fp8|fp8_e4m3|f32", &o->kv_cache_dtype, err));
    if (!o->load_format) o->load_format = "auto";
    if (o->gpu_memory_utilization == 0) o->gpu_memory_utilization = 0.9;
    if (o->max_num_seqs == 0) o->max_num_seqs = 1;
    if (o->max_num_seqs < 1 || o->max_num_seqs > SEQUENCES_MAX)
        return nb_error_set(err, NB_ERR_USAGE, "options.max_num_seqs must be from 1 to %d", SEQUENCES_MAX);
    if (o->n_thread < 0) return nb_error_set(err, NB_ERR_USAGE, "options.n_thread must not be negative");
    return NB_OK;
}

static int open_engine(nibble *model, const nibble_options *o, nb_error *err)
{
    int64_t longest = model->session.model->config.max_position_embeddings;
    int64_t context = o->max_model_len ? o->max_model_len : longest < CONTEXT_DEFAULT ? longest : CONTEXT_DEFAULT;
    if (context < 2 || context > longest)
        return nb_error_set(err, NB_ERR_USAGE, "max-model-len must be from 2 to the checkpoint's %lld",
                            (long long)longest);
    return nb_generate_open(&model->session, context, o->max_num_seqs, &model->engine, err);
}

static int open_model(const char *folder, nibble_options *o, nibble *model, nb_error *err)
{
    NB_TRY(check_options(o, err));
    model->folder = strdup(folder);
    if (o->tokenizer) model->tokenizer = strdup(o->tokenizer);
    nb_session_options session = {.device = o->device,
                                  .kernels = o->kernels,
                                  .activations = o->activations,
                                  .kv = o->kv_cache_dtype,
                                  .load_format = o->load_format,
                                  .tokenizer = model->tokenizer,
                                  .n_thread = o->n_thread,
                                  .gpu_memory_utilization = o->gpu_memory_utilization};
    NB_TRY(nb_session_open(model->folder, &session, &model->session, err));
    const char *text = model->tokenizer ? model->tokenizer : model->folder;
    if (nb_chat_open(text, NULL, &model->chat, &model->no_chat) != NB_OK) model->chat = NULL;
    return open_engine(model, o, err);
}

int nibble_open(const char *folder, const nibble_options *options, nibble **out, nibble_error *error)
{
    nb_error err = {0};
    nibble_options o = {.size = sizeof o};
    int code = options ? nb_nibble_read_struct(&o, sizeof o, options, options->size, "options", &err) : NB_OK;
    *out = nb_alloc(sizeof **out);
    pthread_mutex_init(&(*out)->lock, NULL);
    if (code == NB_OK) code = open_model(folder, &o, *out, &err);
    if (code == NB_OK) return NB_OK;
    nibble_close(*out);
    *out = NULL;
    return nb_nibble_fail(&err, error);
}

void nibble_close(nibble *model)
{
    if (!model) return;
    if (model->engine) nb_engine_close(model->engine, false);
    if (model->chat) nb_chat_close(model->chat);
    if (model->constrainer) nb_constrainer_close(model->constrainer);
    pthread_mutex_destroy(&model->lock);
    nb_session_close(&model->session);
    free(model->folder);
    free(model->tokenizer);
    free(model);
}

void nibble_cancel(nibble *model)
{
    atomic_fetch_add(&model->n_cancel, 1);
}
