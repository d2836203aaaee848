// Text without the model: tokens and templates. Everything here is immutable after opening, so that threads need no
// lock.
#include <stdlib.h>
#include <string.h>

#include "library/nibble_internal.h"

// As many of n elements as fit into cap; returns n.
static int64_t give(void *out, size_t cap, const void *from, size_t n, size_t element)
{
    size_t n_fit = n < cap ? n : cap;
    if (n_fit) memcpy(out, from, n_fit * element);
    return (int64_t)n;
}

int64_t nibble_tokenize(const nibble *model, const char *text, size_t n_byte, int32_t *token, size_t cap,
                        nibble_error *error)
{
    nb_error err;
    nb_ids ids = {0};
    int code = nb_tokenizer_encode(model->session.tokenizer, (nb_str){text, n_byte}, true, &ids, &err);
    int64_t n = code == NB_OK ? give(token, cap, ids.id, (size_t)ids.n, sizeof *token) : nb_nibble_fail(&err, error);
    nb_ids_drop(&ids);
    return n;
}

int64_t nibble_detokenize(const nibble *model, const int32_t *token, size_t n_token, char *text, size_t cap,
                          nibble_error *error)
{
    nb_error err;
    int vocab_size = nb_tokenizer_vocab_size(model->session.tokenizer);
    for (size_t i = 0; i < n_token; i++) {
        if (token[i] >= 0 && token[i] < vocab_size) continue;
        nb_error_set(&err, NB_ERR_INPUT, "token %zu is %d; the vocabulary has %d", i, token[i], vocab_size);
        return nb_nibble_fail(&err, error);
    }
    nb_buf out = {0};
    nb_tokenizer_decode(model->session.tokenizer, token, (int64_t)n_token, false, &out);
    int64_t n = give(text, cap, out.ptr, out.len, 1);
    nb_buf_drop(&out);
    return n;
}

static int parse(const char *text, const char *what, int type, const char *wanted, json_t **out, nb_error *err)
{
    *out = NULL;
    if (!text) return NB_OK;
    NB_TRY(nb_json_parse(nb_str_from(text), what, out, err));
    if ((int)json_typeof(*out) == type) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT, "%s must be %s", what, wanted);
}

int nb_nibble_render(const nibble *model, const char *messages, const char *tools, const char *variables, nb_buf *out,
                     nb_error *err)
{
    json_t *m = NULL, *t = NULL, *v = NULL;
    if (!model->chat) {
        *err = model->no_chat;
        return err->code;
    }
    int code = parse(messages, "messages", JSON_ARRAY, "a JSON array", &m, err);
    if (code == NB_OK) code = parse(tools, "tools", JSON_ARRAY, "a JSON array", &t, err);
    if (code == NB_OK) code = parse(variables, "variables", JSON_OBJECT, "a JSON object", &v, err);
    nb_chat_input input = {.messages = m, .tools = t, .variables = v, .add_generation_prompt = true};
    if (code == NB_OK) code = nb_chat_render(model->chat, &input, out, err);
    json_decref(m);
    json_decref(t);
    json_decref(v);
    return code;
}

int64_t nibble_render(const nibble *model, const char *messages, const char *tools, const char *variables, char *text,
                      size_t cap, nibble_error *error)
{
    nb_error err;
    nb_buf out = {0};
    int code = nb_nibble_render(model, messages, tools, variables, &out, &err);
    int64_t n = code == NB_OK ? give(text, cap, out.ptr, out.len, 1) : nb_nibble_fail(&err, error);
    nb_buf_drop(&out);
    return n;
}
