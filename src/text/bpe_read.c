// model.vocab and model.merges, read from their JSON text one string after the other, become the tables of
// bpe_internal.h. Tokens are written there in the alphabet of GPT-2, which gives every byte a printable character; here
// they become plain bytes once and for all.
#include "text/bpe_internal.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_json.h"

typedef struct reading {
    nb_json_cursor cursor;
    nb_buf left, right; // strings with escapes, decoded
    nb_buf bytes;       // what they spell
} reading;

static void drop(reading *r)
{
    nb_buf_drop(&r->left);
    nb_buf_drop(&r->right);
    nb_buf_drop(&r->bytes);
}

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

// Makes room for ids up to this one.
static void reserve_id(nb_bpe *bpe, int32_t id, int32_t *n_max)
{
    if (id >= *n_max) {
        int32_t n = 2 * id + 1024;
        bpe->token = nb_realloc(bpe->token, (size_t)n * sizeof *bpe->token);
        bpe->whole = nb_realloc(bpe->whole, (size_t)n * sizeof *bpe->whole);
        memset(bpe->token + *n_max, 0, (size_t)(n - *n_max) * sizeof *bpe->token);
        memset(bpe->whole + *n_max, 0, (size_t)(n - *n_max) * sizeof *bpe->whole);
        *n_max = n;
    }
    if (id >= bpe->n_id) bpe->n_id = id + 1;
}

// A token outside the alphabet can be neither merged nor matched, but decoding an added token may show it.
static int keep_token(nb_bpe *bpe, nb_str text, int32_t id, nb_buf *bytes, nb_error *err)
{
    nb_buf_clear(bytes);
    bool spelt = spell(text, bytes);
    if (bpe->token[id].ptr)
        return nb_error_set(err, NB_ERR_INPUT, "model.vocab: id %d is given to two tokens, one is \"%.*s\"", id,
                            NB_BPE_SHOWN(text));
    if (!spelt && !nb_utf8_valid(text))
        return nb_error_set(err, NB_ERR_INPUT, "model.vocab: the token of id %d is not UTF-8", id);
    bpe->token[id] = nb_arena_str(bpe->arena, spelt ? nb_buf_str(bytes) : text);
    bpe->whole[id] = spelt && bytes->len > 0;
    return NB_OK;
}

// One `"token": id`.
static int read_token(nb_bpe *bpe, reading *r, int32_t *n_max, nb_error *err)
{
    nb_str text;
    int64_t id;
    if (!nb_json_cursor_str(&r->cursor, &r->left, &text) || !nb_json_cursor_take(&r->cursor, ':') ||
        !nb_json_cursor_int(&r->cursor, &id))
        return nb_json_cursor_fail(&r->cursor, "model.vocab", err);
    if (id < 0 || id >= NB_BPE_ID_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "model.vocab: the id of \"%.*s\" must be an integer from 0 to %d",
                            NB_BPE_SHOWN(text), NB_BPE_ID_MAX - 1);
    reserve_id(bpe, (int32_t)id, n_max);
    return keep_token(bpe, text, (int32_t)id, &r->bytes, err);
}

static int read_tokens(nb_bpe *bpe, reading *r, size_t *n_token, nb_error *err)
{
    int32_t n_max = 0;
    if (!nb_json_cursor_take(&r->cursor, '{')) return nb_json_cursor_fail(&r->cursor, "model.vocab", err);
    do {
        NB_TRY(read_token(bpe, r, &n_max, err));
        ++*n_token;
    } while (nb_json_cursor_take(&r->cursor, ','));
    if (!nb_json_cursor_take(&r->cursor, '}') || !nb_json_cursor_is_done(&r->cursor))
        return nb_json_cursor_fail(&r->cursor, "model.vocab", err);
    return NB_OK;
}

static int index_tokens(nb_bpe *bpe, size_t n_token, nb_error *err)
{
    memset(bpe->byte_id, -1, sizeof bpe->byte_id);
    nb_bpe_token_table_open(bpe, n_token);
    for (int32_t id = 0; id < bpe->n_id; id++) {
        if (!bpe->whole[id]) continue;
        if (!nb_bpe_token_put(bpe, id))
            return nb_error_set(err, NB_ERR_INPUT, "model.vocab: the token of id %d is there twice", id);
        if (bpe->token[id].len == 1) bpe->byte_id[(uint8_t)bpe->token[id].ptr[0]] = id;
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

int nb_bpe_read_vocab(nb_bpe *bpe, nb_str json, nb_error *err)
{
    reading r = {.cursor = {.text = json}};
    size_t n_token = 0;
    int code = read_tokens(bpe, &r, &n_token, err);
    drop(&r);
    NB_TRY(code);
    NB_TRY(index_tokens(bpe, n_token, err));
    return check_bytes(bpe, err);
}

// Both spellings of a merge: "a b", and ["a", "b"].
static bool read_pair(reading *r, nb_str *left, nb_str *right)
{
    if (nb_json_cursor_str(&r->cursor, &r->left, left)) {
        int64_t space = nb_str_find(*left, NB_STR(" "), 0);
        if (space < 0) return false;
        *right = nb_str_slice(*left, (size_t)space + 1, left->len);
        left->len = (size_t)space;
        return true;
    }
    return nb_json_cursor_take(&r->cursor, '[') && nb_json_cursor_str(&r->cursor, &r->left, left) &&
           nb_json_cursor_take(&r->cursor, ',') && nb_json_cursor_str(&r->cursor, &r->right, right) &&
           nb_json_cursor_take(&r->cursor, ']');
}

static int read_merge(const nb_bpe *bpe, reading *r, size_t rank, nb_bpe_merge *out, nb_error *err)
{
    nb_str left, right;
    if (!read_pair(r, &left, &right))
        return nb_error_set(err, NB_ERR_INPUT, "model.merges[%zu] must be \"a b\" or [\"a\", \"b\"]", rank);
    nb_buf_clear(&r->bytes);
    bool spelt = spell(left, &r->bytes);
    size_t n_left = r->bytes.len;
    spelt = spelt && spell(right, &r->bytes);
    nb_str both = nb_buf_str(&r->bytes);
    int32_t a = spelt ? nb_bpe_find(bpe, nb_str_slice(both, 0, n_left)) : -1;
    int32_t b = spelt ? nb_bpe_find(bpe, nb_str_slice(both, n_left, both.len)) : -1;
    int32_t ab = spelt ? nb_bpe_find(bpe, both) : -1;
    if (a < 0 || b < 0 || ab < 0)
        return nb_error_set(err, NB_ERR_INPUT,
                            "model.merges[%zu]: \"%.*s\", \"%.*s\" or both together are not in model.vocab", rank,
                            NB_BPE_SHOWN(left), NB_BPE_SHOWN(right));
    *out = (nb_bpe_merge){.pair = (uint64_t)a << 32 | (uint32_t)b, .rank = (int32_t)rank, .id = ab};
    return NB_OK;
}

static int read_merges(const nb_bpe *bpe, reading *r, nb_bpe_merge **list, size_t *n, nb_error *err)
{
    size_t n_max = 0;
    if (!nb_json_cursor_take(&r->cursor, '[')) return nb_json_cursor_fail(&r->cursor, "model.merges", err);
    if (nb_json_cursor_take(&r->cursor, ']')) return NB_OK;
    do {
        if (*n == n_max) {
            n_max = 2 * n_max + 1024;
            *list = nb_realloc(*list, n_max * sizeof **list);
        }
        NB_TRY(read_merge(bpe, r, *n, &(*list)[*n], err));
        ++*n;
    } while (nb_json_cursor_take(&r->cursor, ','));
    if (!nb_json_cursor_take(&r->cursor, ']') || !nb_json_cursor_is_done(&r->cursor))
        return nb_json_cursor_fail(&r->cursor, "model.merges", err);
    return NB_OK;
}

int nb_bpe_read_merges(nb_bpe *bpe, nb_str json, nb_error *err)
{
    reading r = {.cursor = {.text = json}};
    nb_bpe_merge *list = NULL;
    size_t n = 0;
    int code = read_merges(bpe, &r, &list, &n, err);
    if (code == NB_OK) {
        nb_bpe_merge_table_open(bpe, n);
        for (size_t i = 0; i < n; i++) nb_bpe_merge_put(bpe, &list[i]);
    }
    free(list);
    drop(&r);
    return code;
}
