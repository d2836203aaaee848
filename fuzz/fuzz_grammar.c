// Constraints from outside: any regular expression, grammar, schema, choice or tool is compiled or refused with a
// message, and what was compiled reads any text and gives masks. The first byte chooses the kind; a text to read
// follows a byte FF.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/constrain.h"

static nb_vocabulary_trie trie;

// Bytes, and a few longer tokens.
static void open_vocabulary(void)
{
    static const char *const word[] = {"{\"", "\":", ", ",       "\"}", "null", "true",
                                       "12",  "ab",  "\xc3\xa9", "</",  "\n  ", "abcdefgh"};
    static char byte[256];
    nb_str token[256 + sizeof(word) / sizeof(word[0])];
    size_t n = 0;
    for (; n < 256; n++) byte[n] = (char)n, token[n] = (nb_str){&byte[n], 1};
    for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++) token[n++] = nb_str_from(word[i]);
    nb_vocabulary_trie_make(&trie, token, (int32_t)n);
}

static void read(const nb_automaton *automaton, nb_str text)
{
    nb_error err = {0};
    uint32_t mask[32] = {0};
    nb_mask_cache *cache = nb_mask_cache_open(&trie, 1 << 16);
    nb_matcher *matcher = nb_matcher_open(automaton);
    for (size_t i = 0; i < text.len; i++) {
        memset(mask, 0, sizeof(mask));
        if (nb_matcher_mask(matcher, cache, mask, &err) != NB_OK) break;
        unsigned char c = (unsigned char)text.ptr[i];
        bool allowed = mask[c / 32] >> (c % 32) & 1;
        if (nb_matcher_read(matcher, nb_str_slice(text, i, i + 1)) != allowed) {
            nb_matcher_close(matcher); // a limit was passed, which masks say one token later
            matcher = NULL;
            break;
        }
        if (!allowed) break;
    }
    nb_matcher_close(matcher);
    nb_mask_cache_close(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    nb_automaton *automaton = NULL;
    nb_error err = {0};
    json_t *value = NULL;
    if (n == 0) return 0;
    if (!trie.node) open_vocabulary();
    const uint8_t *cut = memchr(data + 1, 0xFF, n - 1);
    nb_str spec_text = {(const char *)data + 1, cut ? (size_t)(cut - data) - 1 : n - 1};
    nb_str text = cut ? (nb_str){(const char *)cut + 1, n - (size_t)(cut - data) - 1} : (nb_str){0};
    nb_constrain_spec spec = {.kind = 1 + data[0] % NB_CONSTRAIN_TOOLS, .text = spec_text, .compact = data[0] & 0x40};
    if (spec.kind == NB_CONSTRAIN_CHOICE || spec.kind == NB_CONSTRAIN_TOOLS) {
        if (nb_json_parse(spec_text, "value", &value, &err) != NB_OK) return 0;
        spec.value = value;
        spec.tools = (nb_tool_rules){.format = data[0] & 0x80 ? NB_TOOL_HERMES : NB_TOOL_QWEN3_XML,
                                     .several = data[0] & 0x20,
                                     .free_text = data[0] & 0x10};
    }
    if (nb_constrain_compile(&spec, &automaton, &err) == NB_OK) {
        read(automaton, text);
        nb_automaton_close(automaton);
    } else if (!err.text[0]) {
        abort();
    }
    json_decref(value);
    return 0;
}
