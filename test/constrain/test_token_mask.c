// A mask is exact: the tokens in it are those that the automaton can read, found by trying each of them. An argument is
// another tokenizer than the demo's.
#include "support/check.h"
#include "support/random_schema.h"
#include "support/walker.h"

#include <stdlib.h>
#include <string.h>

#include "constrain/constrain.h"
#include "text/tokenizer.h"

static nb_tokenizer *tokenizer;
static nb_vocabulary_trie trie;

static void open_vocabulary(const char *path)
{
    nb_error err = {0};
    nb_test_ok(nb_tokenizer_open(path, &tokenizer, &err), &err);
    nb_vocabulary_trie_open(&trie, tokenizer, nb_tokenizer_vocab_size(tokenizer) + 40); // a padded vocabulary
}

static void close_vocabulary(void)
{
    nb_vocabulary_trie_close(&trie);
    nb_tokenizer_close(tokenizer);
}

static bool is_usable(int32_t tok)
{
    nb_str text = nb_tokenizer_token(tokenizer, tok);
    bool tag = nb_str_equal_c(text, "<tool_call>") || nb_str_equal_c(text, "</tool_call>");
    return tok < nb_tokenizer_vocab_size(tokenizer) && text.len > 0 && (tag || !nb_tokenizer_is_added(tokenizer, tok));
}

static bool reads(const nb_automaton *a, nb_str text, nb_str token)
{
    nb_matcher *m = nb_matcher_open(a);
    bool ok = nb_matcher_read(m, text) && nb_matcher_read(m, token);
    nb_matcher_close(m);
    return ok;
}

static void check_mask(const nb_automaton *a, nb_str text, const uint32_t *mask)
{
    for (int32_t tok = 0; tok < trie.n_tok; tok++) {
        bool got = mask[tok / 32] >> (tok % 32) & 1;
        bool wanted = is_usable(tok) && reads(a, text, nb_tokenizer_token(tokenizer, tok));
        if (got == wanted) continue;
        fail_msg("behind \"%.*s\" token %d \"%.*s\" is %s", (int)text.len, text.ptr ? text.ptr : "", tok,
                 (int)nb_tokenizer_token(tokenizer, tok).len, nb_tokenizer_token(tokenizer, tok).ptr,
                 got ? "allowed" : "missing");
    }
}

static int32_t draw(const uint32_t *mask, uint64_t *seed)
{
    for (uint32_t i = 0, from = walk_random(seed); i < (uint32_t)trie.n_tok; i++) {
        uint32_t tok = (from + i) % (uint32_t)trie.n_tok;
        if (mask[tok / 32] >> (tok % 32) & 1) return (int32_t)tok;
    }
    return -1;
}

// A walk of a few tokens; the mask is checked at some of them.
static void walk(const nb_automaton *a, nb_mask_cache *cache, int n_tok, uint32_t rarity, uint64_t *seed)
{
    nb_error err = {0};
    nb_buf text = {0};
    uint32_t *mask = nb_alloc(sizeof(*mask) * (size_t)trie.n_word);
    nb_matcher *m = nb_matcher_open(a);
    for (int i = 0; i < n_tok && !nb_matcher_must_end(m); i++) {
        memset(mask, 0, sizeof(*mask) * (size_t)trie.n_word);
        nb_test_ok(nb_matcher_mask(m, cache, mask, &err), &err);
        if (walk_random(seed) % rarity == 0) check_mask(a, nb_buf_str(&text), mask);
        nb_str token = nb_tokenizer_token(tokenizer, draw(mask, seed));
        nb_buf_add_str(&text, token);
        assert_true(nb_matcher_read(m, token));
    }
    nb_matcher_close(m);
    free(mask);
    nb_buf_drop(&text);
}

static void run(const nb_constrain_spec *spec, nb_mask_cache *cache, int n_tok, uint32_t rarity, uint64_t *seed)
{
    nb_automaton *a;
    nb_error err = {0};
    if (nb_constrain_compile(spec, &a, &err) != NB_OK) return;
    walk(a, cache, n_tok, rarity, seed);
    nb_automaton_close(a);
}

static void masks_of_random_schemas_are_exact(void **state)
{
    (void)state;
    uint64_t seed = 11;
    nb_mask_cache *cache = nb_mask_cache_open(&trie, NB_MASK_CACHE_BYTES);
    for (int i = 0; i < 150; i++) {
        json_t *schema = random_schema(&seed);
        run(&(nb_constrain_spec){.kind = NB_CONSTRAIN_SCHEMA, .value = schema}, cache, 24, 8, &seed);
        json_decref(schema);
    }
    nb_mask_cache_close(cache);
}

static void masks_of_expressions_and_grammars_are_exact(void **state)
{
    (void)state;
    static const char *const regex[] = {".{0,9}",   "[\\w.-]+@\\w+", "(a|b|ab)*c", "[^\"]*\"x",
                                        "(.|\\n)*", "[ -~]{3,40}\n", "é*.{30}"};
    static const char *const grammar[] = {
        "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \" \" | \"the \" root",
        "root ::= x | y\nx ::= [a-z]+ \" \" x | \"1\"\ny ::= [a-m]+ \" \" y | \"2\"",
        "root ::= (word \" \"?)*\nword ::= [a-z]+ | \"<\" root \">\"",
    };
    uint64_t seed = 12;
    nb_mask_cache *cache = nb_mask_cache_open(&trie, NB_MASK_CACHE_BYTES);
    for (int k = 0; k < 3; k++) {
        for (size_t i = 0; i < sizeof(regex) / sizeof(regex[0]); i++)
            run(&(nb_constrain_spec){.kind = NB_CONSTRAIN_REGEX, .text = nb_str_from(regex[i])}, cache, 12, 3, &seed);
        for (size_t i = 0; i < sizeof(grammar) / sizeof(grammar[0]); i++)
            run(&(nb_constrain_spec){.kind = NB_CONSTRAIN_GRAMMAR, .text = nb_str_from(grammar[i])}, cache, 12, 3,
                &seed);
    }
    nb_mask_cache_close(cache);
}

static void a_full_cache_forgets_and_stays_exact(void **state)
{
    (void)state;
    uint64_t seed = 13;
    nb_mask_cache *cache = nb_mask_cache_open(&trie, 4000);
    for (int i = 0; i < 60; i++) {
        json_t *schema = random_schema(&seed);
        run(&(nb_constrain_spec){.kind = NB_CONSTRAIN_SCHEMA, .value = schema}, cache, 24, 12, &seed);
        json_decref(schema);
    }
    nb_mask_cache_stats stats = nb_mask_cache_read(cache);
    assert_true(stats.n_miss > stats.n_entry + 100);
    assert_true(stats.n_byte < 20000);
    nb_mask_cache_close(cache);
}

static void a_mask_is_found_once(void **state)
{
    (void)state;
    nb_automaton *a;
    nb_error err = {0};
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_OBJECT};
    nb_test_ok(nb_constrain_compile(&spec, &a, &err), &err);
    nb_mask_cache *cache = nb_mask_cache_open(&trie, NB_MASK_CACHE_BYTES);
    uint64_t seed = 14, again = 14;
    walk(a, cache, 40, 1000, &seed);
    int64_t n_miss = nb_mask_cache_read(cache).n_miss;
    walk(a, cache, 40, 1000, &again);
    assert_int_equal(nb_mask_cache_read(cache).n_miss, n_miss);
    nb_mask_cache_close(cache);
    nb_automaton_close(a);
}

static void tokens_of_the_same_bytes_are_allowed_together(void **state)
{
    (void)state;
    const nb_str token[] = {NB_STR("a"), NB_STR("b"), NB_STR("a"), {0}, NB_STR("\"x"), NB_STR("\"x"), NB_STR("ab")};
    nb_vocabulary_trie small;
    nb_automaton *a;
    nb_error err = {0};
    uint32_t mask = 0;
    nb_vocabulary_trie_make(&small, token, 7);
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_REGEX, .text = NB_STR("a|\"x")};
    nb_test_ok(nb_constrain_compile(&spec, &a, &err), &err);
    nb_mask_cache *cache = nb_mask_cache_open(&small, NB_MASK_CACHE_BYTES);
    nb_matcher *m = nb_matcher_open(a);
    nb_test_ok(nb_matcher_mask(m, cache, &mask, &err), &err);
    assert_int_equal(mask, 1u << 0 | 1u << 2 | 1u << 4 | 1u << 5);
    nb_matcher_close(m);
    nb_mask_cache_close(cache);
    nb_automaton_close(a);
    nb_vocabulary_trie_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_of_random_schemas_are_exact),
        cmocka_unit_test(masks_of_expressions_and_grammars_are_exact),
        cmocka_unit_test(a_full_cache_forgets_and_stays_exact),
        cmocka_unit_test(a_mask_is_found_once),
        cmocka_unit_test(tokens_of_the_same_bytes_are_allowed_together),
    };
    open_vocabulary(argc > 1 ? argv[1] : nb_test_path("models/demo"));
    int code = nb_test_run("token_mask", tests);
    close_vocabulary();
    return code;
}
