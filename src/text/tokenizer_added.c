// See tokenizer_added.h. Matching costs at most NB_ADDED_TEXT_MAX steps down the tree at each byte that begins a token.
#include "text/tokenizer_added.h"

#include <stdlib.h>

#include <utf8proc.h>

struct nb_added_node {
    uint8_t byte;
    int32_t child, sibling; // 0: none
    int32_t i_token;        // of the text that ends here, -1: none
};

static int32_t new_node(nb_added_set *set, uint8_t byte, int32_t sibling)
{
    if (set->n_node == set->cap) {
        set->cap = set->cap ? 2 * set->cap : 64;
        set->node = nb_realloc(set->node, (size_t)set->cap * sizeof *set->node);
    }
    if (set->n_node == 0) set->n_node = 1;
    set->node[set->n_node] = (struct nb_added_node){.byte = byte, .sibling = sibling, .i_token = -1};
    return set->n_node++;
}

static int32_t child_of(const nb_added_set *set, int32_t node, uint8_t byte)
{
    int32_t child = set->node[node].child;
    while (child && set->node[child].byte != byte) child = set->node[child].sibling;
    return child;
}

void nb_added_put(nb_added_set *set, nb_str text, int32_t i_token)
{
    uint8_t first = (uint8_t)text.ptr[0];
    if (!set->first[first]) set->first[first] = new_node(set, first, 0);
    int32_t node = set->first[first];
    for (size_t i = 1; i < text.len; i++) {
        int32_t child = child_of(set, node, (uint8_t)text.ptr[i]);
        if (!child) {
            child = new_node(set, (uint8_t)text.ptr[i], set->node[node].child);
            set->node[node].child = child;
        }
        node = child;
    }
    if (set->node[node].i_token < 0) set->node[node].i_token = i_token;
}

void nb_added_drop(nb_added_set *set)
{
    free(set->node);
    *set = (nb_added_set){0};
}

// The longest text of the set that begins at `at`: its token, or -1; *end is where it ends.
static int32_t longest_at(const nb_added_set *set, nb_str text, size_t at, size_t *end)
{
    int32_t found = -1, node = set->first[(uint8_t)text.ptr[at]];
    for (; node; node = at < text.len ? child_of(set, node, (uint8_t)text.ptr[at]) : 0) {
        at++;
        if (set->node[node].i_token < 0) continue;
        found = set->node[node].i_token;
        *end = at;
    }
    return found;
}

static size_t before(nb_str text, size_t at)
{
    do at--;
    while (at > 0 && (text.ptr[at] & 0xC0) == 0x80);
    return at;
}

static bool is_space(uint32_t c)
{
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return c == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static bool is_word(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC ||
           c == 0x200C || c == 0x200D;
}

static bool stands_alone(nb_str text, size_t begin, size_t end)
{
    if (end < text.len && is_word(nb_utf8_decode(text, &end))) return false;
    if (begin == 0) return true;
    size_t at = before(text, begin);
    return !is_word(nb_utf8_decode(text, &at));
}

static size_t skip_space_left(nb_str text, size_t from, size_t at)
{
    while (at > from) {
        size_t previous = before(text, at), after = previous;
        if (!is_space(nb_utf8_decode(text, &after))) break;
        at = previous;
    }
    return at;
}

static size_t skip_space_right(nb_str text, size_t at)
{
    while (at < text.len) {
        size_t after = at;
        if (!is_space(nb_utf8_decode(text, &after))) break;
        at = after;
    }
    return at;
}

const nb_added_token *nb_added_next(const nb_added_set *set, const nb_added_token *token, nb_str text, size_t from,
                                    size_t *begin, size_t *end)
{
    if (set->n_node == 0) return NULL;
    for (size_t at = from; at < text.len; at++) {
        int32_t i = set->first[(uint8_t)text.ptr[at]] ? longest_at(set, text, at, end) : -1;
        if (i < 0) continue;
        if (token[i].single_word && !stands_alone(text, at, *end)) {
            at = *end - 1;
            continue;
        }
        *begin = token[i].lstrip ? skip_space_left(text, from, at) : at;
        if (token[i].rstrip) *end = skip_space_right(text, *end);
        return &token[i];
    }
    return NULL;
}
