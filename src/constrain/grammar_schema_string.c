// Strings under minLength, maxLength, pattern and format.
#include <stdio.h>
#include <string.h>

#include "constrain/grammar_regex.h"
#include "constrain/grammar_schema_internal.h"

enum { FOREVER = -1 };

// ---- Lengths alone: a chain of rules, "k characters more", that all strings of the schema share

static int32_t chain_rule(nb_schema *s, int64_t lo, int64_t hi, bool *fresh)
{
    char key[64];
    snprintf(key, sizeof(key), "length %lld %lld", (long long)lo, (long long)hi);
    const json_t *known = json_object_get(s->rules, key);
    *fresh = !known;
    if (known) return (int32_t)json_integer_value(known);
    int32_t rule = nb_grammar_rule(s->g, NB_STR("string"));
    json_object_set_new_nocheck(s->rules, key, json_integer(rule));
    return rule;
}

// From `lo` to `hi` characters and the closing quotation mark.
static int32_t length_rule(nb_schema *s, int64_t lo, int64_t hi)
{
    nb_grammar *g = s->g;
    nb_expr any = nb_grammar_json_any_char(g), quote = nb_grammar_text(g, "\"");
    bool fresh;
    int32_t first = chain_rule(s, lo, hi, &fresh), rule = first;
    while (fresh && !g->overflow) {
        if (lo == 0 && hi == FOREVER) {
            nb_grammar_define(g, rule, nb_grammar_seq2(g, nb_grammar_repeat(g, any, 0, NB_REPEAT_FOREVER), quote));
            break;
        }
        if (hi == 0) {
            nb_grammar_define(g, rule, quote);
            break;
        }
        int64_t next_lo = lo > 0 ? lo - 1 : 0, next_hi = hi == FOREVER ? hi : hi - 1;
        int32_t next = chain_rule(s, next_lo, next_hi, &fresh);
        nb_expr more = nb_grammar_seq2(g, any, nb_grammar_call(g, next));
        nb_grammar_define(g, rule, lo > 0 ? more : nb_grammar_any2(g, quote, more));
        rule = next, lo = next_lo, hi = next_hi;
    }
    return first;
}

// ---- Content without calls

typedef struct content { // all parts hold
    nb_expr x;
    bool any;
} content;

static void add_part(nb_schema *s, content *c, nb_expr x)
{
    c->x = c->any ? nb_grammar_both(s->g, c->x, x) : x;
    c->any = true;
}

static int add_pattern(nb_schema *s, const json_t *pattern, const char *path, content *c)
{
    nb_expr x;
    nb_error err = {0};
    nb_regex_options options = {.search = true, .chars = s->raw ? NULL : nb_grammar_json_char};
    if (!json_is_string(pattern)) return nb_schema_refuse(s, path, "pattern", "must be a string");
    nb_str text = {json_string_value(pattern), json_string_length(pattern)};
    if (nb_grammar_regex(s->g, text, &options, &x, &err) != NB_OK)
        return nb_schema_refuse(s, path, "pattern", "cannot be used: %s", err.text);
    add_part(s, c, x);
    return NB_OK;
}

static int add_format(nb_schema *s, const json_t *format, const char *path, content *c)
{
    nb_expr x;
    if (!json_is_string(format)) return nb_schema_refuse(s, path, "format", "must be a string");
    bool idle;
    NB_TRY(nb_schema_format(s, json_string_value(format), path, &idle, &x));
    if (!idle) add_part(s, c, x);
    return NB_OK;
}

// A keyword's value, or the array that merging made of several.
static int add_all(nb_schema *s, const json_t *value, const char *path, content *c,
                   int (*add)(nb_schema *, const json_t *, const char *, content *))
{
    if (!json_is_array(value)) return value ? add(s, value, path, c) : NB_OK;
    if (json_array_size(value) > NB_SCHEMA_PATTERNS_MAX)
        return nb_schema_refuse(s, path, "", "combines too many patterns or formats");
    for (size_t i = 0; i < json_array_size(value); i++) NB_TRY(add(s, json_array_get(value, i), path, c));
    return NB_OK;
}

static int read_lengths(nb_schema *s, const json_t *flat, const char *path, int64_t *lo, int64_t *hi)
{
    NB_TRY(nb_schema_count(s, flat, path, "minLength", 0, lo));
    NB_TRY(nb_schema_count(s, flat, path, "maxLength", FOREVER, hi));
    if (*lo > NB_SCHEMA_LENGTH_MAX)
        return nb_schema_refuse(s, path, "minLength", "is too large: at most %d is supported", NB_SCHEMA_LENGTH_MAX);
    if (*hi > NB_SCHEMA_LENGTH_MAX)
        return nb_schema_refuse(s, path, "maxLength", "is too large: at most %d is supported", NB_SCHEMA_LENGTH_MAX);
    return NB_OK;
}

int nb_schema_content(nb_schema *s, const json_t *flat, const char *path, bool *free, nb_expr *out)
{
    int64_t lo, hi;
    content c = {0};
    NB_TRY(add_all(s, json_object_get(flat, "pattern"), path, &c, add_pattern));
    NB_TRY(add_all(s, json_object_get(flat, "format"), path, &c, add_format));
    NB_TRY(read_lengths(s, flat, path, &lo, &hi));
    nb_expr any = s->raw ? nb_grammar_any_char(s->g) : nb_grammar_json_any_char(s->g);
    if (lo > 0 || hi != FOREVER) add_part(s, &c, nb_grammar_repeat(s->g, any, lo, hi));
    *free = !c.any;
    *out = c.x;
    return NB_OK;
}

int nb_schema_string(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    bool unsaid;
    int64_t lo, hi;
    nb_grammar *g = s->g;
    NB_TRY(read_lengths(s, flat, path, &lo, &hi));
    if (!json_object_get(flat, "pattern") && !json_object_get(flat, "format")) {
        *out = nb_grammar_call(g, s->json->string);
        if (lo == 0 && hi == FOREVER) return NB_OK;
        *out = hi != FOREVER && hi < lo
                   ? nb_grammar_nothing(g)
                   : nb_grammar_seq2(g, nb_grammar_text(g, "\""), nb_grammar_call(g, length_rule(s, lo, hi)));
        return NB_OK;
    }
    NB_TRY(nb_schema_content(s, flat, path, &unsaid, out));
    *out = unsaid ? nb_grammar_call(g, s->json->string) : nb_grammar_json_quoted(g, *out);
    return NB_OK;
}
