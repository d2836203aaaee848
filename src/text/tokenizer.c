// Opening tokenizers, looking tokens up, and the order of the steps of encoding. See tokenizer.h.
#include "text/tokenizer_internal.h"

#include <stdlib.h>

#include "base/file.h"

int nb_tokenizer_parse(nb_str tokenizer_json, nb_str tokenizer_config_json, nb_tokenizer **out, nb_error *err)
{
    json_t *root = NULL, *config = NULL;
    nb_tokenizer *t = nb_alloc(sizeof *t);
    t->arena = nb_arena_open(0);
    nb_tokenizer_json parts;
    nb_tokenizer_json_split(tokenizer_json, &parts);
    int code = nb_json_parse(nb_buf_str(&parts.rest), "tokenizer.json", &root, err);
    if (code == NB_OK && tokenizer_config_json.len > 0)
        code = nb_json_parse(tokenizer_config_json, "tokenizer_config.json", &config, err);
    if (code == NB_OK) code = nb_tokenizer_load(t, root, &parts, config, err);
    nb_buf_drop(&parts.rest);
    json_decref(root);
    json_decref(config);
    if (code != NB_OK) {
        nb_tokenizer_close(t);
        return code;
    }
    *out = t;
    return NB_OK;
}

int nb_tokenizer_open(const char *path, nb_tokenizer **out, nb_error *err)
{
    nb_arena *arena = nb_arena_open(0);
    const char *file = path, *config_file = NULL;
    if (nb_file_is_dir(path)) {
        file = nb_path_join(arena, path, "tokenizer.json");
        config_file = nb_path_join(arena, path, "tokenizer_config.json");
    }
    nb_str text = {0}, config = {0};
    int code = nb_file_read(file, NB_TOKENIZER_FILE_MAX, arena, &text, err);
    if (code == NB_OK && config_file && nb_file_exists(config_file))
        code = nb_file_read(config_file, NB_TOKENIZER_FILE_MAX, arena, &config, err);
    if (code == NB_OK) {
        code = nb_tokenizer_parse(text, config, out, err);
        if (code != NB_OK) nb_error_wrap(err, "%s: ", file);
    }
    nb_arena_close(arena);
    return code;
}

void nb_tokenizer_close(nb_tokenizer *t)
{
    if (!t) return;
    nb_added_drop(&t->raw);
    nb_added_drop(&t->normalized);
    nb_pretokenize_close(t->pretokenizer);
    nb_bpe_close(t->bpe);
    free(t->by_id);
    nb_arena_close(t->arena);
    free(t);
}

int nb_tokenizer_vocab_size(const nb_tokenizer *t)
{
    return t->n_id;
}

nb_str nb_tokenizer_token(const nb_tokenizer *t, int32_t id)
{
    if (id < 0 || id >= t->n_id) return (nb_str){0};
    return t->by_id[id] ? t->by_id[id]->text : nb_bpe_token(t->bpe, id);
}

bool nb_tokenizer_is_added(const nb_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_id && t->by_id[id];
}

bool nb_tokenizer_is_special(const nb_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_id && t->by_id[id] && t->by_id[id]->special;
}

int32_t nb_tokenizer_find(const nb_tokenizer *t, nb_str token)
{
    for (int32_t i = 0; i < t->n_added; i++) {
        if (nb_str_equal(t->added[i].text, token)) return t->added[i].id;
    }
    return nb_bpe_find(t->bpe, token);
}

void nb_ids_add(nb_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        ids->cap = ids->cap ? 2 * ids->cap : 64;
        ids->id = nb_realloc(ids->id, (size_t)ids->cap * sizeof *ids->id);
    }
    ids->id[ids->n++] = id;
}

void nb_ids_drop(nb_ids *ids)
{
    free(ids->id);
    *ids = (nb_ids){0};
}

// One call of nb_tokenizer_encode.
typedef struct encoder {
    const nb_tokenizer *tokenizer;
    nb_bpe_scratch scratch;
    nb_buf normalized;
    nb_ids *out;
    bool parse_added;
} encoder;

static int encode_piece(void *user, nb_str piece, nb_error *err)
{
    (void)err;
    encoder *e = user;
    nb_bpe_encode(e->tokenizer->bpe, &e->scratch, piece, e->out);
    return NB_OK;
}

static int encode_pieces(encoder *e, nb_str text, nb_error *err)
{
    return nb_pretokenize(e->tokenizer->pretokenizer, text, encode_piece, e, err);
}

static int encode_normalized(encoder *e, nb_str text, nb_error *err);

typedef int (*plain_fn)(encoder *e, nb_str text, nb_error *err);

// Tokens of `set` become ids; what lies between them goes to `plain`.
static int cut(encoder *e, const nb_added_set *set, nb_str text, plain_fn plain, nb_error *err)
{
    const nb_tokenizer *t = e->tokenizer;
    size_t from = 0, begin, end;
    const nb_added_token *token;
    while (e->parse_added && (token = nb_added_next(set, t->added, text, from, &begin, &end))) {
        NB_TRY(plain(e, nb_str_slice(text, from, begin), err));
        nb_ids_add(e->out, token->id);
        from = end;
    }
    return plain(e, nb_str_slice(text, from, text.len), err);
}

static int encode_normalized(encoder *e, nb_str text, nb_error *err)
{
    nb_str normal = nb_normalize(&e->tokenizer->normalizer, text, &e->normalized);
    return cut(e, &e->tokenizer->normalized, normal, encode_pieces, err);
}

// A copy with every invalid part replaced by U+FFFD.
static nb_str repair(nb_str text, nb_buf *out)
{
    for (size_t at = 0; at < text.len;) {
        char bytes[4];
        nb_buf_add(out, bytes, (size_t)nb_utf8_encode(nb_utf8_decode(text, &at), bytes));
    }
    return nb_buf_str(out);
}

int nb_tokenizer_encode(const nb_tokenizer *t, nb_str text, bool parse_added, nb_ids *out, nb_error *err)
{
    if (text.len > NB_TOKENIZER_TEXT_MAX / 3) // a replaced byte takes three
        return nb_error_set(err, NB_ERR_LIMIT, "the text has %zu bytes, more than %d", text.len,
                            NB_TOKENIZER_TEXT_MAX / 3);
    encoder e = {.tokenizer = t, .out = out, .parse_added = parse_added};
    nb_buf repaired = {0};
    if (!nb_utf8_valid(text)) text = repair(text, &repaired);
    int code = cut(&e, &t->raw, text, encode_normalized, err);
    nb_buf_drop(&repaired);
    nb_buf_drop(&e.normalized);
    nb_bpe_scratch_drop(&e.scratch);
    return code;
}
