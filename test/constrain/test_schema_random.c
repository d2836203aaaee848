// Random schemas, and tokens drawn uniformly from what is allowed: every text that ends is JSON that validates. With an
// argument, the pairs of schema and text are appended to that file, for another validator.
#include "support/check.h"
#include "support/json_validator.h"
#include "support/random_schema.h"
#include "support/walker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/constrain.h"
#include "text/tokenizer.h"

enum { N_SCHEMA = 2000, N_TEXT = 2, TOKENS_MAX = 600 };

static nb_tokenizer *tokenizer;
static nb_constrainer *constrainer;
static FILE *pairs;

static int open_vocabulary(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_test_ok(nb_tokenizer_open(nb_test_path("models/demo"), &tokenizer, &err), &err);
    constrainer = nb_constrainer_open(tokenizer, nb_tokenizer_vocab_size(tokenizer));
    return 0;
}

static int close_vocabulary(void **state)
{
    (void)state;
    nb_constrainer_close(constrainer);
    nb_tokenizer_close(tokenizer);
    return 0;
}

static bool closes(nb_str token)
{
    return token.len > 0 && strchr("\"}]", token.ptr[token.len - 1]);
}

// Uniform; half of the time only among tokens that close something, where there are any, so that texts end.
static int32_t draw(const uint32_t *mask, int32_t n_word, uint64_t *seed)
{
    static int32_t all[1 << 16], closing[1 << 16];
    uint32_t n = 0, n_closing = 0;
    for (int32_t tok = 0; tok < 32 * n_word; tok++) {
        if (!(mask[tok / 32] >> (tok % 32) & 1)) continue;
        all[n++] = tok;
        if (closes(nb_tokenizer_token(tokenizer, tok))) closing[n_closing++] = tok;
    }
    assert_true(n > 0);
    if (n_closing > 0 && walk_random(seed) % 2) return closing[walk_random(seed) % n_closing];
    return all[walk_random(seed) % n];
}

static bool sample(const nb_automaton *a, uint64_t *seed, nb_buf *out)
{
    nb_error err = {0};
    int32_t n_word = nb_constrainer_words(constrainer);
    uint32_t *mask = nb_alloc(sizeof(*mask) * (size_t)n_word);
    nb_matcher *m = nb_matcher_open(a);
    nb_buf_clear(out);
    bool ended = false;
    for (int i = 0; i < TOKENS_MAX && !ended; i++) {
        memset(mask, 0, sizeof(*mask) * (size_t)n_word);
        nb_test_ok(nb_matcher_mask(m, nb_constrainer_masks(constrainer), mask, &err), &err);
        nb_str token = nb_tokenizer_token(tokenizer, draw(mask, n_word, seed));
        nb_buf_add_str(out, token);
        assert_true(nb_matcher_read(m, token));
        ended = nb_matcher_must_end(m) || (nb_matcher_can_end(m) && walk_random(seed) % 4 == 0);
    }
    nb_matcher_close(m);
    free(mask);
    return ended;
}

static void check_text(const json_t *schema, nb_str text)
{
    char why[200] = "";
    json_t *value = NULL;
    nb_error err = {0};
    // Members beyond the named ones may come twice; the last counts, as for most readers.
    int code = nb_json_parse_last(text, "the text", &value, &err);
    bool ok = code == NB_OK && json_validates(schema, schema, value, why);
    if (!ok) {
        nb_buf shown = {0};
        nb_json_write(schema, &shown);
        fail_msg("schema %s\ntext %s\n%s", shown.ptr, text.ptr, code == NB_OK ? why : err.text);
    }
    json_decref(value);
}

static void write_pair(const json_t *schema, nb_str text)
{
    nb_buf line = {0};
    nb_json_write(schema, &line);
    fprintf(pairs, "%s\n", line.ptr);
    nb_buf_clear(&line);
    json_t *string = json_stringn(text.ptr, text.len);
    nb_json_write(string, &line);
    fprintf(pairs, "%s\n", line.ptr);
    json_decref(string);
    nb_buf_drop(&line);
}

static void every_text_of_a_random_schema_validates(void **state)
{
    (void)state;
    uint64_t seed = 7;
    int n_refused = 0, n_ended = 0;
    nb_buf text = {0};
    for (int i = 0; i < N_SCHEMA; i++) {
        json_t *schema = random_schema(&seed);
        nb_constrain_spec spec = {.kind = NB_CONSTRAIN_SCHEMA, .value = schema};
        nb_automaton *a = NULL;
        nb_error err = {0};
        int code = nb_constrain_compile(&spec, &a, &err);
        if (code != NB_OK && getenv("VERBOSE")) printf("%s\n", err.text);
        n_refused += code != NB_OK;
        for (int k = 0; k < N_TEXT && code == NB_OK; k++) {
            if (!sample(a, &seed, &text)) continue;
            n_ended++;
            check_text(schema, nb_buf_str(&text));
            if (pairs) write_pair(schema, nb_buf_str(&text));
        }
        nb_automaton_close(a);
        json_decref(schema);
    }
    nb_buf_drop(&text);
    print_message("%d schemas, %d refused, %d texts\n", N_SCHEMA, n_refused, n_ended);
    assert_true(n_refused < N_SCHEMA / 5);
    assert_true(n_ended > N_SCHEMA);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_text_of_a_random_schema_validates, open_vocabulary, close_vocabulary),
    };
    if (argc > 1) pairs = fopen(argv[1], "w");
    int code = nb_test_run("schema_random", tests);
    if (pairs) fclose(pairs);
    return code;
}
