// tokenizer.json, with the added_tokens_decoder of tokenizer_config.json, becomes a tokenizer.
#include "text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static int parse_added(const json_t *json, const char *where, int64_t id, nb_added_token *out, nb_error *err)
{
    *out = (nb_added_token){0};
    if (!json_is_object(json)) return nb_error_set(err, NB_ERR_INPUT, "%s must be an object", where);
    NB_TRY(nb_json_str(json, where, "content", NB_JSON_REQUIRED, &out->text, err));
    NB_TRY(nb_json_bool(json, where, "lstrip", NB_JSON_OPTIONAL, &out->lstrip, err));
    NB_TRY(nb_json_bool(json, where, "rstrip", NB_JSON_OPTIONAL, &out->rstrip, err));
    NB_TRY(nb_json_bool(json, where, "single_word", NB_JSON_OPTIONAL, &out->single_word, err));
    NB_TRY(nb_json_bool(json, where, "special", NB_JSON_OPTIONAL, &out->special, err));
    out->normalized = !out->special;
    NB_TRY(nb_json_bool(json, where, "normalized", NB_JSON_OPTIONAL, &out->normalized, err));
    if (id < 0 || id >= NB_BPE_ID_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "%s: the id must be an integer from 0 to %d", where, NB_BPE_ID_MAX - 1);
    if (out->text.len > NB_ADDED_TEXT_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "%s has %zu bytes, more than %d", where, out->text.len,
                            NB_ADDED_TEXT_MAX);
    out->id = (int32_t)id;
    return NB_OK;
}

// Makes room in the table of added tokens for this id.
static void reserve_id(nb_tokenizer *t, int32_t id)
{
    if (id >= t->n_id) t->n_id = id + 1;
    if (t->n_id <= t->n_by_id) return;
    t->by_id = nb_realloc(t->by_id, (size_t)t->n_id * sizeof *t->by_id);
    memset(t->by_id + t->n_by_id, 0, (size_t)(t->n_id - t->n_by_id) * sizeof *t->by_id);
    t->n_by_id = t->n_id;
}

// The token that the vocabulary or an earlier added token has under this id must be the same text.
static int add(nb_tokenizer *t, const char *where, const nb_added_token *token, nb_error *err)
{
    reserve_id(t, token->id);
    const nb_added_token *same = t->by_id[token->id];
    nb_str known = same ? same->text : nb_bpe_token(t->bpe, token->id);
    if (known.len > 0 && !nb_str_equal(known, token->text))
        return nb_error_set(err, NB_ERR_INPUT, "%s: id %d is \"%.60s\" here but \"%.60s\" elsewhere", where, token->id,
                            token->text.ptr, known.ptr);
    if (same || token->text.len == 0) return NB_OK;
    if (t->n_added == NB_ADDED_MAX) return nb_error_set(err, NB_ERR_INPUT, "more than %d added tokens", NB_ADDED_MAX);
    nb_added_token *mine = &t->added[t->n_added++];
    *mine = *token;
    mine->text = nb_arena_str(t->arena, token->text);
    t->by_id[mine->id] = mine;
    return NB_OK;
}

static int load_list(nb_tokenizer *t, const json_t *list, nb_error *err)
{
    if (list && !json_is_array(list)) return nb_error_set(err, NB_ERR_INPUT, "added_tokens must be an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        char where[40];
        snprintf(where, sizeof where, "added_tokens[%zu]", i);
        const json_t *json = json_array_get(list, i);
        const json_t *id = json_object_get(json, "id");
        nb_added_token token;
        NB_TRY(parse_added(json, where, json_is_integer(id) ? json_integer_value(id) : -1, &token, err));
        NB_TRY(add(t, where, &token, err));
    }
    return NB_OK;
}

static int load_config(nb_tokenizer *t, json_t *decoder, nb_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(decoder, key, value)
    {
        char where[80], *end;
        snprintf(where, sizeof where, "added_tokens_decoder.%.40s", key);
        long long id = strtoll(key, &end, 10);
        nb_added_token token;
        NB_TRY(parse_added(value, where, *end == 0 && end != key ? id : -1, &token, err));
        NB_TRY(add(t, where, &token, err));
    }
    return NB_OK;
}

static void make_sets(nb_tokenizer *t)
{
    nb_buf work = {0};
    for (int32_t i = 0; i < t->n_added; i++) {
        const nb_added_token *token = &t->added[i];
        if (token->normalized) {
            nb_added_put(&t->normalized, nb_normalize(&t->normalizer, token->text, &work), i);
        } else {
            nb_added_put(&t->raw, token->text, i);
        }
    }
    nb_buf_drop(&work);
}

static int load_added(nb_tokenizer *t, const json_t *root, const json_t *config, nb_error *err)
{
    const json_t *list = json_object_get(root, "added_tokens");
    json_t *decoder = json_object_get(config, "added_tokens_decoder");
    size_t n_max = json_array_size(list) + json_object_size(decoder);
    t->added = NB_ARENA_ARRAY(t->arena, nb_added_token, n_max);
    if (t->n_id > 0) reserve_id(t, t->n_id - 1);
    NB_TRY(load_list(t, list, err));
    NB_TRY(load_config(t, decoder, err));
    make_sets(t);
    return NB_OK;
}

static int check_decoder(const json_t *decoder, nb_error *err)
{
    const char *type = json_string_value(json_object_get(decoder, "type"));
    if (!decoder || json_is_null(decoder) || (type && nb_str_equal_c(nb_str_from(type), "ByteLevel"))) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT, "decoder: type \"%.40s\" is not supported; ByteLevel is", type ? type : "");
}

int nb_tokenizer_load(nb_tokenizer *t, const json_t *root, const nb_tokenizer_json *large, const json_t *config,
                      nb_error *err)
{
    if (!json_is_object(root)) return nb_error_set(err, NB_ERR_INPUT, "not a JSON object");
    if (config && !json_is_object(config))
        return nb_error_set(err, NB_ERR_INPUT, "tokenizer_config.json is not a JSON object");
    NB_TRY(nb_normalize_parse(json_object_get(root, "normalizer"), &t->normalizer, err));
    NB_TRY(nb_pretokenize_open(json_object_get(root, "pre_tokenizer"), &t->pretokenizer, err));
    NB_TRY(check_decoder(json_object_get(root, "decoder"), err));
    nb_bpe_source model = {.model = json_object_get(root, "model"), .vocab = large->vocab, .merges = large->merges};
    NB_TRY(nb_bpe_open(&model, &t->bpe, err));
    t->n_id = nb_bpe_size(t->bpe);
    return load_added(t, root, config, err);
}
