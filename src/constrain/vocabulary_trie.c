// Building the trie: entries are sorted by group and bytes, then each becomes the nodes that the one before it lacks.
#include "constrain/vocabulary_trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

// Bytes that begin `s` and are whole plain characters, and the number of these.
static size_t plain_prefix(nb_str s, int *n_char)
{
    size_t whole = nb_utf8_complete(s);
    *n_char = 0;
    for (size_t i = 0; i < whole;) {
        unsigned char c = (unsigned char)s.ptr[i];
        size_t next = i;
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7F) return i;
        if (nb_utf8_decode(s, &next) == 0xFFFD && memcmp(s.ptr + i, "\xEF\xBF\xBD", next - i) != 0) return i;
        i = next;
        ++*n_char;
    }
    return whole;
}

typedef struct entry {
    nb_str bytes;
    int32_t tok;
    int32_t group;
} entry;

static int compare_bytes(nb_str a, nb_str b)
{
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare(const void *x, const void *y)
{
    const entry *a = x, *b = y;
    if (a->group != b->group) return a->group - b->group;
    int order = compare_bytes(a->bytes, b->bytes);
    return order ? order : (a->tok > b->tok) - (a->tok < b->tok);
}

// A token's entries: one if it is plain, else its whole and its tail.
static int32_t add_token(nb_str bytes, int32_t tok, entry *out)
{
    int n_char, group = 0;
    size_t prefix = plain_prefix(bytes, &n_char);
    if (prefix == bytes.len) {
        while (n_char > nb_trie_plain_chars[group]) group++;
        out[0] = (entry){bytes, tok, group};
        return 1;
    }
    out[0] = (entry){bytes, tok, NB_TRIE_REST};
    out[1] = n_char > NB_TRIE_PREFIX_MAX ? (entry){bytes, tok, NB_TRIE_LONG}
                                         : (entry){nb_str_slice(bytes, prefix, bytes.len), tok, NB_TRIE_TAILS + n_char};
    return 2;
}

static int32_t collect(const nb_vocabulary_trie *trie, const nb_str *token, entry *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < trie->n_tok; i++)
        if (token[i].len > 0 && token[i].len <= NB_TRIE_TOKEN_BYTES_MAX) n += add_token(token[i], i, out + n);
    qsort(out, (size_t)n, sizeof(*out), compare);
    return n;
}

static size_t common(nb_str a, nb_str b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.ptr[n] == b.ptr[n]) n++;
    return n;
}

// Nodes of one group, whose first entry is number `first` of all; open[d] is the node at depth d of the entry before.
static int32_t add_group(nb_vocabulary_trie *trie, const entry *e, int32_t n, int32_t first, int32_t n_node)
{
    int32_t open[NB_TRIE_TOKEN_BYTES_MAX + 1];
    size_t n_open = 0;
    for (int32_t i = 0; i < n; i++) {
        size_t keep = i ? common(e[i].bytes, e[i - 1].bytes) : 0;
        while (n_open > keep) trie->node[open[n_open--]].end = n_node;
        while (n_open < e[i].bytes.len) {
            trie->node[n_node] =
                (nb_trie_node){.list = -1, .byte = (uint8_t)e[i].bytes.ptr[n_open], .depth = (uint8_t)(n_open + 1)};
            open[++n_open] = n_node++;
        }
        nb_trie_node *last = &trie->node[open[n_open]];
        if (last->list < 0) last->list = first + i;
        bool more = i + 1 < n && compare_bytes(e[i].bytes, e[i + 1].bytes) == 0;
        trie->list[first + i] = more ? e[i].tok : ~e[i].tok;
        if (e[i].group < NB_TRIE_PLAIN_GROUPS) trie->mask[e[i].group][e[i].tok / 32] |= 1u << (e[i].tok % 32);
    }
    while (n_open > 0) trie->node[open[n_open--]].end = n_node;
    return n_node;
}

void nb_vocabulary_trie_make(nb_vocabulary_trie *trie, const nb_str *token, int32_t n_tok)
{
    *trie = (nb_vocabulary_trie){.n_tok = n_tok, .n_word = (n_tok + 31) / 32};
    entry *all = nb_alloc(sizeof(*all) * 2 * (size_t)(n_tok + 1));
    int32_t n = collect(trie, token, all), n_node = 0, at = 0;
    size_t n_byte = 0;
    for (int32_t i = 0; i < n; i++) n_byte += all[i].bytes.len;
    trie->node = nb_alloc(sizeof(*trie->node) * (n_byte + 1));
    trie->list = nb_alloc(sizeof(*trie->list) * (size_t)(n + 1));
    for (int k = 0; k < NB_TRIE_PLAIN_GROUPS; k++)
        trie->mask[k] = nb_alloc(sizeof(**trie->mask) * (size_t)(trie->n_word + 1));
    for (int k = 0; k < NB_TRIE_GROUPS; k++) {
        int32_t from = at;
        while (at < n && all[at].group == k) at++;
        trie->group[k] = n_node;
        n_node = add_group(trie, all + from, at - from, from, n_node);
    }
    trie->group[NB_TRIE_GROUPS] = n_node;
    trie->node = nb_realloc(trie->node, sizeof(*trie->node) * (size_t)(n_node + 1));
    free(all);
}

static bool is_usable(const nb_tokenizer *tokenizer, int32_t tok)
{
    nb_str text = nb_tokenizer_token(tokenizer, tok);
    if (!nb_tokenizer_is_added(tokenizer, tok)) return true;
    return nb_str_equal_c(text, "<tool_call>") || nb_str_equal_c(text, "</tool_call>");
}

void nb_vocabulary_trie_open(nb_vocabulary_trie *trie, const nb_tokenizer *tokenizer, int32_t n_tok)
{
    int known = nb_tokenizer_vocab_size(tokenizer);
    nb_str *token = nb_alloc(sizeof(*token) * (size_t)(n_tok + 1));
    for (int32_t i = 0; i < n_tok && i < known; i++)
        if (is_usable(tokenizer, i)) token[i] = nb_tokenizer_token(tokenizer, i);
    nb_vocabulary_trie_make(trie, token, n_tok);
    free(token);
}

void nb_vocabulary_trie_close(nb_vocabulary_trie *trie)
{
    free(trie->node);
    free(trie->list);
    for (int k = 0; k < NB_TRIE_PLAIN_GROUPS; k++) free(trie->mask[k]);
    *trie = (nb_vocabulary_trie){0};
}
