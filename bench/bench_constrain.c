// What constrained output costs: `bench_constrain FOLDER|tokenizer.json [TOKENS]` compiles constraints, reads a text
// that fits, and finds the mask of each of its tokens: once with nothing known but the wide states ("first"), and once
// more ("again", as a second request with the same schema). The vocabulary is filled up to TOKENS (248320, as of
// Qwen3.5) with pairs of its own tokens. One core.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "constrain/constrain.h"

enum { N_PROPERTY = 100, PAIR_BYTES_MAX = 16 };

static nb_tokenizer *tokenizer;
static nb_vocabulary_trie trie;

static int fail(const nb_error *err)
{
    fprintf(stderr, "bench_constrain: %s\n", err->text);
    return 1;
}

// Of this thread: others may use the core in between.
static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static double us_since(double start_us)
{
    return cpu_us() - start_us;
}

// ---- The vocabulary

static void make_vocabulary(int32_t n_tok)
{
    nb_arena *arena = nb_arena_open(0);
    nb_str *token = nb_alloc(sizeof(*token) * (size_t)n_tok);
    int32_t n = nb_tokenizer_vocab_size(tokenizer);
    uint32_t x = 1;
    for (int32_t i = 0; i < n && i < n_tok; i++)
        if (!nb_tokenizer_is_special(tokenizer, i)) token[i] = nb_tokenizer_token(tokenizer, i);
    for (int32_t i = n; i < n_tok;) {
        nb_str a = token[(x = x * 1664525 + 1013904223) % (uint32_t)n],
               b = token[(x = x * 1664525 + 1013904223) % (uint32_t)n];
        if (a.len + b.len > PAIR_BYTES_MAX || a.len == 0 || b.len == 0) continue;
        char *pair = nb_arena_alloc(arena, a.len + b.len);
        memcpy(pair, a.ptr, a.len);
        memcpy(pair + a.len, b.ptr, b.len);
        token[i++] = (nb_str){pair, a.len + b.len};
    }
    double start_us = cpu_us();
    nb_vocabulary_trie_make(&trie, token, n_tok);
    printf("vocabulary of %d tokens: trie of %d nodes in %.0f ms\n", n_tok, trie.group[NB_TRIE_GROUPS],
           us_since(start_us) / 1e3);
    free(token);
    nb_arena_close(arena);
}

// ---- A case: a constraint and a text that fits it

static void read_tokens(const nb_automaton *a, nb_mask_cache *cache, const nb_ids *ids, const char *name,
                        const char *when)
{
    nb_error err = {0};
    uint32_t *mask = nb_alloc(sizeof(*mask) * (size_t)trie.n_word);
    nb_matcher *m = nb_matcher_open(a);
    double total_us = 0, longest_us = 0;
    for (int64_t i = 0; i < ids->n; i++) {
        double start_us = cpu_us();
        memset(mask, 0, sizeof(*mask) * (size_t)trie.n_word);
        if (nb_matcher_mask(m, cache, mask, &err) != NB_OK) exit(fail(&err));
        if (!(mask[ids->id[i] / 32] >> (ids->id[i] % 32) & 1) ||
            !nb_matcher_read(m, nb_tokenizer_token(tokenizer, ids->id[i]))) {
            fprintf(stderr, "bench_constrain: %s: token %lld does not fit\n", name, (long long)i);
            exit(1);
        }
        double us = us_since(start_us);
        total_us += us;
        if (us > longest_us) longest_us = us;
    }
    printf("%-24s %-6s %5lld tokens %8.2f us/token, longest %7.0f us\n", name, when, (long long)ids->n,
           total_us / (double)ids->n, longest_us);
    nb_matcher_close(m);
    free(mask);
}

static void run_case(const char *name, const nb_constrain_spec *spec, nb_str text)
{
    nb_error err = {0};
    nb_automaton *a;
    nb_ids ids = {0};
    double start_us = cpu_us();
    if (nb_constrain_compile(spec, &a, &err) != NB_OK) exit(fail(&err));
    double compile_ms = us_since(start_us) / 1e3;
    nb_mask_cache *cache = nb_mask_cache_open(&trie, NB_MASK_CACHE_BYTES);
    start_us = cpu_us();
    nb_mask_cache_warm(cache, a);
    double warm_ms = us_since(start_us) / 1e3;
    if (nb_tokenizer_encode(tokenizer, text, false, &ids, &err) != NB_OK) exit(fail(&err));
    printf("%-24s compiled in %.2f ms, masks of wide states in %.2f ms: %d states, %d edges\n", name, compile_ms,
           warm_ms, a->n_state, a->n_edge);
    read_tokens(a, cache, &ids, name, "first");
    read_tokens(a, cache, &ids, name, "again");
    nb_mask_cache_close(cache);
    nb_automaton_close(a);
    nb_ids_drop(&ids);
}

// ---- The cases

// Every fifth property is another kind of value.
static void make_schema(nb_buf *schema, nb_buf *text, bool required)
{
    static const char *const kind[] = {
        "{\"type\":\"string\"}", "{\"type\":\"integer\",\"minimum\":0,\"maximum\":100000}", "{\"type\":\"number\"}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":10}",
        "{\"enum\":[\"low\",\"medium\",\"high\"]}"};
    static const char *const value[] = {"\"The quick brown fox jumps over the lazy dog.\"", "4711", "3.14159",
                                        "[\"alpha\", \"beta\", \"gamma delta\"]", "\"medium\""};
    nb_buf_add_c(schema, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    nb_buf_add_c(text, "{");
    for (int i = 0; i < N_PROPERTY; i++) {
        nb_buf_printf(schema, "%s\"property_%d\":%s", i ? "," : "", i, kind[i % 5]);
        nb_buf_printf(text, "%s\"property_%d\": %s", i ? ", " : "", i, value[i % 5]);
    }
    nb_buf_add_c(text, "}");
    nb_buf_add_c(schema, "},\"required\":[");
    for (int i = 0; i < N_PROPERTY && required; i++) nb_buf_printf(schema, "%s\"property_%d\"", i ? "," : "", i);
    nb_buf_add_c(schema, "]}");
}

static void run_schema(const char *name, bool required)
{
    nb_buf schema = {0}, text = {0};
    make_schema(&schema, &text, required);
    run_case(name, &(nb_constrain_spec){.kind = NB_CONSTRAIN_SCHEMA, .text = nb_buf_str(&schema)}, nb_buf_str(&text));
    if (required) run_case("any JSON object", &(nb_constrain_spec){.kind = NB_CONSTRAIN_OBJECT}, nb_buf_str(&text));
    nb_buf_drop(&schema);
    nb_buf_drop(&text);
}

int main(int argc, char **argv)
{
    nb_error err = {0};
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: bench_constrain FOLDER|tokenizer.json [TOKENS]\n");
        return 2;
    }
    if (nb_tokenizer_open(argv[1], &tokenizer, &err) != NB_OK) return fail(&err);
    make_vocabulary(argc > 2 ? atoi(argv[2]) : 248320);
    run_schema("100 required properties", true);
    run_schema("100 optional properties", false);
    run_case(
        "strings with maxLength",
        &(nb_constrain_spec){.kind = NB_CONSTRAIN_SCHEMA,
                             .text = NB_STR("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":500}}")},
        NB_STR("[\"The quick brown fox jumps over the lazy dog, and nobody minds.\", \"Again and again it jumps.\"]"));
    run_case("regular expression",
             &(nb_constrain_spec){.kind = NB_CONSTRAIN_REGEX,
                                  .text = NB_STR("[\\w.+-]+@[\\w-]+(\\.[a-z]+)+( [A-Z][a-z]+){2,3}")},
             NB_STR("john.smith+news@mail.example.com John Quincy Smith"));
    nb_vocabulary_trie_close(&trie);
    nb_tokenizer_close(tokenizer);
    return 0;
}
