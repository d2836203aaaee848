// The "model" part of tokenizer.json becomes an encoder: what is refused, and the order of loading.
#include "text/bpe_internal.h"

#include <stdlib.h>
#include <string.h>

static int check_field(const json_t *model, const char *key, bool is_off, nb_error *err)
{
    if (is_off) return NB_OK;
    char *value = json_dumps(json_object_get(model, key), JSON_ENCODE_ANY | JSON_COMPACT);
    int code =
        nb_error_set(err, NB_ERR_INPUT, "model.%s is %.100s; only plain byte-level BPE is supported", key, value);
    free(value);
    return code;
}

static bool is_empty(const json_t *value)
{
    return !value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
}

static int check_kind(const json_t *model, nb_error *err)
{
    if (!json_is_object(model)) return nb_error_set(err, NB_ERR_INPUT, "\"model\" is missing or not an object");
    const json_t *type = json_object_get(model, "type");
    const json_t *dropout = json_object_get(model, "dropout");
    NB_TRY(check_field(model, "type", !type || (json_is_string(type) && strcmp(json_string_value(type), "BPE") == 0),
                       err));
    NB_TRY(check_field(model, "dropout", is_empty(dropout) || json_number_value(dropout) == 0, err));
    NB_TRY(check_field(model, "byte_fallback", !json_is_true(json_object_get(model, "byte_fallback")), err));
    NB_TRY(check_field(model, "continuing_subword_prefix",
                       is_empty(json_object_get(model, "continuing_subword_prefix")), err));
    return check_field(model, "end_of_word_suffix", is_empty(json_object_get(model, "end_of_word_suffix")), err);
}

// Until here `whole` means "spelt in the alphabet".
static void find_whole(nb_bpe *bpe, bool ignore_merges)
{
    nb_bpe_scratch scratch = {0};
    nb_ids ids = {0};
    for (int32_t id = 0; id < bpe->n_id && !ignore_merges; id++) {
        if (!bpe->whole[id]) continue;
        ids.n = 0;
        nb_bpe_merge_piece(bpe, &scratch, bpe->token[id], &ids);
        bpe->whole[id] = ids.n == 1 && ids.id[0] == id;
    }
    nb_ids_drop(&ids);
    nb_bpe_scratch_drop(&scratch);
}

static int load(nb_bpe *bpe, const nb_bpe_source *source, nb_error *err)
{
    NB_TRY(check_kind(source->model, err));
    NB_TRY(nb_bpe_read_vocab(bpe, source->vocab, err));
    NB_TRY(nb_bpe_read_merges(bpe, source->merges, err));
    find_whole(bpe, json_is_true(json_object_get(source->model, "ignore_merges")));
    return NB_OK;
}

int nb_bpe_open(const nb_bpe_source *source, nb_bpe **out, nb_error *err)
{
    nb_arena *arena = nb_arena_open(1 << 20);
    nb_bpe *bpe = nb_arena_alloc(arena, sizeof *bpe);
    bpe->arena = arena;
    int code = load(bpe, source, err);
    if (code != NB_OK) {
        nb_bpe_close(bpe);
        return code;
    }
    *out = bpe;
    return NB_OK;
}

void nb_bpe_close(nb_bpe *bpe)
{
    if (!bpe) return;
    free(bpe->token);
    free(bpe->whole);
    nb_arena_close(bpe->arena);
}

int32_t nb_bpe_size(const nb_bpe *bpe)
{
    return bpe->n_id;
}

nb_str nb_bpe_token(const nb_bpe *bpe, int32_t id)
{
    return id >= 0 && id < bpe->n_id ? bpe->token[id] : (nb_str){0};
}
