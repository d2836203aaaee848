// Small tokenizers for tests: the 256 bytes as ids 0 to 255, then one token for each merge, then added tokens.
#ifndef NB_TEST_TOKENIZER_FIXTURE_H
#define NB_TEST_TOKENIZER_FIXTURE_H

#include "support/check.h"
#include "text/tokenizer.h"

// A byte in GPT-2's alphabet, as UTF-8 with a NUL behind it; static memory of the last two calls.
const char *fixture_byte(int byte);

// tokenizer.json with these merges ("a b" each, NULL at the end) and NFC, cut by the GPT-2 expression. The caller may
// change it before fixture_open.
json_t *fixture_json(const char *const *merges);

// Appends {"content": text} with the next free id, and returns it for more flags.
json_t *fixture_add(json_t *root, const char *text);

// Parses and takes the reference to `root`. fixture_open fails the test if the tokenizer is refused.
int fixture_parse(json_t *root, nb_tokenizer **out, nb_error *err);
nb_tokenizer *fixture_open(json_t *root);

// Ids of a text with added tokens parsed, compared with `n` expected ones.
void fixture_expect(const nb_tokenizer *tokenizer, nb_str text, const int32_t *want, int64_t n);
#define FIXTURE_EXPECT(tokenizer, text, ...)                                  \
    fixture_expect((tokenizer), NB_STR(text), (const int32_t[]){__VA_ARGS__}, \
                   sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

#endif
