// The "model" object of tokenizer.json becomes the tables of bpe_internal.h. Tokens are written there in the alphabet
// of GPT-2, which gives every byte a printable character; here they become plain bytes once and for all.
#include "text/bpe_internal.h"

#include <string.h>

// The byte that a character of GPT-2's alphabet stands for, or -1. Printable bytes stand for themselves; the other 68,
// in ascending order, are U+0100 and up.
static int byte_of(uint32_t c)
{
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 255 && c != 173)) return (int)c;
    if (c >= 256 && c < 256 + 33) return (int)c - 256;
    if (c >= 289 && c < 289 + 34) return (int)c - 289 + 127;
    return c == 323 ? 173 : -1;
}

// Appends the bytes that `text` spells; false if a character is not in the alphabet.
static bool spell(nb_str text, nb_buf *out)
{
    for (size_t at = 0; at < text.len;) {
        int byte = byte_of(nb_utf8_decode(text, &at));
        if (byte < 0) return false;
        nb_buf_add_char(out, (char)byte);
    }
    return true;
}

static nb_str json_text(const json_t *string)
{
    return (nb_str){json_string_value(string), json_string_length(string)};
}

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
    NB_TRY(check_field(model, "type", !type || nb_str_equal_c(json_text(type), "BPE"), err));
    NB_TRY(check_field(model, "dropout", is_empty(dropout) || json_number_value(dropout) == 0, err));
    NB_TRY(check_field(model, "byte_fallback", !json_is_true(json_object_get(model, "byte_fallback")), err));
    NB_TRY(check_field(model, "continuing_subword_prefix",
                       is_empty(json_object_get(model, "continuing_subword_prefix")), err));
    return check_field(model, "end_of_word_suffix", is_empty(json_object_get(model, "end_of_word_suffix")), err);
}

static int measure_vocab(json_t *vocab, int32_t *n_id, nb_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(vocab, key, value)
    {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= NB_BPE_ID_MAX)
            return nb_error_set(err, NB_ERR_INPUT, "model.vocab: the id of \"%.60s\" must be an integer from 0 to %d",
                                key, NB_BPE_ID_MAX - 1);
        if (id >= *n_id) *n_id = (int32_t)id + 1;
    }
    return NB_OK;
}

static int load_token(nb_bpe *bpe, nb_str text, int32_t id, nb_buf *bytes, nb_error *err)
{
    if (bpe->token[id].ptr)
        return nb_error_set(err, NB_ERR_INPUT, "model.vocab: id %d is given to two tokens, one is \"%.60s\"", id,
                            text.ptr);
    nb_buf_clear(bytes);
    // A token outside the alphabet can be neither merged nor matched, but decoding an added token may show it.
    bool spelt = spell(text, bytes);
    bpe->token[id] = nb_arena_str(bpe->arena, spelt ? nb_buf_str(bytes) : text);
    if (spelt && bytes->len > 0 && nb_bpe_token_put(bpe, id) && bytes->len == 1) {
        bpe->byte_id[(uint8_t)bytes->ptr[0]] = id;
    }
    return NB_OK;
}

// Bytes that no UTF-8 text contains need no token.
static int check_bytes(const nb_bpe *bpe, nb_error *err)
{
    for (int byte = 0; byte < 0xF5; byte++) {
        if (bpe->byte_id[byte] < 0 && byte != 0xC0 && byte != 0xC1)
            return nb_error_set(err, NB_ERR_INPUT,
                                "model.vocab has no token for the byte 0x%02X: not a byte-level vocabulary", byte);
    }
    return NB_OK;
}

static int load_vocab(nb_bpe *bpe, json_t *vocab, size_t n_merge, nb_error *err)
{
    NB_TRY(measure_vocab(vocab, &bpe->n_id, err));
    bpe->token = NB_ARENA_ARRAY(bpe->arena, nb_str, bpe->n_id);
    bpe->whole = NB_ARENA_ARRAY(bpe->arena, bool, bpe->n_id);
    memset(bpe->byte_id, -1, sizeof bpe->byte_id);
    nb_bpe_tables_open(bpe, json_object_size(vocab), n_merge);
    nb_buf bytes = {0};
    const char *key;
    size_t key_len;
    json_t *value;
    int code = NB_OK;
    json_object_keylen_foreach(vocab, key, key_len, value)
    {
        code = load_token(bpe, (nb_str){key, key_len}, (int32_t)json_integer_value(value), &bytes, err);
        if (code != NB_OK) break;
    }
    nb_buf_drop(&bytes);
    return code == NB_OK ? check_bytes(bpe, err) : code;
}

// Both spellings of a merge: "a b", and ["a", "b"].
static bool split_merge(const json_t *merge, nb_str *left, nb_str *right)
{
    if (json_is_string(merge)) {
        nb_str text = json_text(merge);
        int64_t space = nb_str_find(text, NB_STR(" "), 0);
        if (space < 0) return false;
        *left = nb_str_slice(text, 0, (size_t)space);
        *right = nb_str_slice(text, (size_t)space + 1, text.len);
        return true;
    }
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b)) return false;
    *left = json_text(a);
    *right = json_text(b);
    return true;
}

static int load_merge(nb_bpe *bpe, const json_t *merge, size_t rank, nb_buf *bytes, nb_error *err)
{
    nb_str left, right;
    if (!split_merge(merge, &left, &right))
        return nb_error_set(err, NB_ERR_INPUT, "model.merges[%zu] must be \"a b\" or [\"a\", \"b\"]", rank);
    nb_buf_clear(bytes);
    bool spelt = spell(left, bytes);
    size_t n_left = bytes->len;
    spelt = spelt && spell(right, bytes);
    nb_str whole = nb_buf_str(bytes);
    int32_t a = spelt ? nb_bpe_find(bpe, nb_str_slice(whole, 0, n_left)) : -1;
    int32_t b = spelt ? nb_bpe_find(bpe, nb_str_slice(whole, n_left, whole.len)) : -1;
    int32_t ab = spelt ? nb_bpe_find(bpe, whole) : -1;
    if (a < 0 || b < 0 || ab < 0)
        return nb_error_set(err, NB_ERR_INPUT,
                            "model.merges[%zu]: \"%.40s\", \"%.40s\" or both together are not in model.vocab", rank,
                            left.ptr, right.ptr);
    nb_bpe_merge_put(bpe, (uint64_t)a << 32 | (uint32_t)b, (int32_t)rank, ab);
    return NB_OK;
}

static int load_merges(nb_bpe *bpe, const json_t *merges, nb_error *err)
{
    nb_buf bytes = {0};
    int code = NB_OK;
    for (size_t i = 0; i < json_array_size(merges) && code == NB_OK; i++) {
        code = load_merge(bpe, json_array_get(merges, i), i, &bytes, err);
    }
    nb_buf_drop(&bytes);
    return code;
}

static void find_whole(nb_bpe *bpe, bool ignore_merges)
{
    nb_bpe_scratch scratch = {0};
    nb_ids ids = {0};
    for (int32_t id = 0; id < bpe->n_id; id++) {
        if (bpe->token[id].len == 0) continue;
        ids.n = 0;
        if (!ignore_merges) nb_bpe_merge_piece(bpe, &scratch, bpe->token[id], &ids);
        bpe->whole[id] = ignore_merges || (ids.n == 1 && ids.id[0] == id);
    }
    nb_ids_drop(&ids);
    nb_bpe_scratch_drop(&scratch);
}

static int load(nb_bpe *bpe, const json_t *model, nb_error *err)
{
    NB_TRY(check_kind(model, err));
    json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_object(vocab)) return nb_error_set(err, NB_ERR_INPUT, "model.vocab must be an object of token: id");
    if (!json_is_array(merges)) return nb_error_set(err, NB_ERR_INPUT, "model.merges must be an array");
    NB_TRY(load_vocab(bpe, vocab, json_array_size(merges), err));
    NB_TRY(load_merges(bpe, merges, err));
    find_whole(bpe, json_is_true(json_object_get(model, "ignore_merges")));
    return NB_OK;
}

int nb_bpe_open(const json_t *model, nb_bpe **out, nb_error *err)
{
    nb_arena *arena = nb_arena_open(1 << 20);
    nb_bpe *bpe = nb_arena_alloc(arena, sizeof *bpe);
    bpe->arena = arena;
    int code = load(bpe, model, err);
    if (code != NB_OK) {
        nb_bpe_close(bpe);
        return code;
    }
    *out = bpe;
    return NB_OK;
}

void nb_bpe_close(nb_bpe *bpe)
{
    if (bpe) nb_arena_close(bpe->arena);
}

int32_t nb_bpe_size(const nb_bpe *bpe)
{
    return bpe->n_id;
}

nb_str nb_bpe_token(const nb_bpe *bpe, int32_t id)
{
    return id >= 0 && id < bpe->n_id ? bpe->token[id] : (nb_str){0};
}
