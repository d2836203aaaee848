// The "pre_tokenizer" value of tokenizer.json becomes a chain of compiled splits.
#include "text/pretokenize_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

// What ByteLevel cuts by when it says use_regex (GPT-2's expression).
#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static int compile(nb_str pattern, uint32_t options, pcre2_code **out, nb_error *err)
{
    int code;
    size_t offset;
    *out = pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options, &code, &offset, NULL);
    if (!*out) {
        char text[160];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return nb_error_set(err, NB_ERR_INPUT, "the expression \"%.200s\" does not compile: %s", pattern.ptr, text);
    }
    // Without JIT (a platform that has none) the interpreter does the same, only slower.
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return NB_OK;
}

static int add_step(nb_pretokenizer *p, nb_str pattern, bool literal, nb_split_behavior behavior, bool invert,
                    nb_error *err)
{
    if (p->byte_level) return nb_error_set(err, NB_ERR_INPUT, "a split behind ByteLevel is not supported");
    if (p->n_step == NB_PRETOKENIZE_STEPS_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "more than %d splits", NB_PRETOKENIZE_STEPS_MAX);
    if (pattern.len == 0 || pattern.len > NB_PRETOKENIZE_PATTERN_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "an expression has %zu bytes; 1 to %d are supported", pattern.len,
                            NB_PRETOKENIZE_PATTERN_MAX);
    nb_split_step *step = &p->step[p->n_step];
    *step = (nb_split_step){.behavior = behavior, .invert = invert};
    if (literal) {
        NB_TRY(compile(pattern, PCRE2_UTF | PCRE2_LITERAL, &step->code, err));
    } else {
        nb_buf translated = {0};
        int code = nb_pretokenize_translate(pattern, &translated, err);
        uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
        if (code == NB_OK) code = compile(nb_buf_str(&translated), options, &step->code, err);
        nb_buf_drop(&translated);
        NB_TRY(code);
    }
    p->n_step++;
    return NB_OK;
}

static int parse_behavior(nb_str name, nb_split_behavior *out, nb_error *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        if (!nb_str_equal_c(name, names[i])) continue;
        *out = (nb_split_behavior)i;
        return NB_OK;
    }
    return nb_error_set(err, NB_ERR_INPUT, "Split.behavior \"%.40s\" is not known", name.ptr);
}

static int load_split(nb_pretokenizer *p, const json_t *json, nb_error *err)
{
    nb_str name = {0}, regex = {0}, literal = {0};
    bool invert = false;
    nb_split_behavior behavior = NB_SPLIT_ISOLATED;
    const json_t *pattern = json_object_get(json, "pattern");
    if (!json_is_object(pattern)) return nb_error_set(err, NB_ERR_INPUT, "Split.pattern must be an object");
    NB_TRY(nb_json_str(json, "Split", "behavior", NB_JSON_REQUIRED, &name, err));
    NB_TRY(nb_json_bool(json, "Split", "invert", NB_JSON_OPTIONAL, &invert, err));
    NB_TRY(nb_json_str(pattern, "Split.pattern", "String", NB_JSON_OPTIONAL, &literal, err));
    NB_TRY(
        nb_json_str(pattern, "Split.pattern", "Regex", literal.ptr ? NB_JSON_OPTIONAL : NB_JSON_REQUIRED, &regex, err));
    NB_TRY(parse_behavior(name, &behavior, err));
    return add_step(p, regex.ptr ? regex : literal, !regex.ptr, behavior, invert, err);
}

static int load_digits(nb_pretokenizer *p, const json_t *json, nb_error *err)
{
    bool individual = false;
    NB_TRY(nb_json_bool(json, "Digits", "individual_digits", NB_JSON_OPTIONAL, &individual, err));
    return add_step(p, individual ? NB_STR("\\p{N}") : NB_STR("\\p{N}+"), false, NB_SPLIT_ISOLATED, false, err);
}

static int load_byte_level(nb_pretokenizer *p, const json_t *json, nb_error *err)
{
    bool prefix_space = true, use_regex = true;
    NB_TRY(nb_json_bool(json, "ByteLevel", "add_prefix_space", NB_JSON_OPTIONAL, &prefix_space, err));
    NB_TRY(nb_json_bool(json, "ByteLevel", "use_regex", NB_JSON_OPTIONAL, &use_regex, err));
    if (prefix_space) return nb_error_set(err, NB_ERR_INPUT, "ByteLevel.add_prefix_space is not supported");
    if (use_regex) NB_TRY(add_step(p, NB_STR(GPT2_PATTERN), false, NB_SPLIT_ISOLATED, false, err));
    if (p->byte_level) return nb_error_set(err, NB_ERR_INPUT, "ByteLevel is given twice");
    p->byte_level = true;
    return NB_OK;
}

static int load_one(nb_pretokenizer *p, const json_t *json, nb_error *err)
{
    nb_str type = {0};
    NB_TRY(nb_json_str(json, "", "type", NB_JSON_REQUIRED, &type, err));
    if (nb_str_equal_c(type, "Split")) return load_split(p, json, err);
    if (nb_str_equal_c(type, "Digits")) return load_digits(p, json, err);
    if (nb_str_equal_c(type, "ByteLevel")) return load_byte_level(p, json, err);
    return nb_error_set(err, NB_ERR_INPUT, "type \"%.40s\" is not supported; Split, Digits and ByteLevel are",
                        type.ptr);
}

static int load(nb_pretokenizer *p, const json_t *json, nb_error *err)
{
    nb_str type = {0};
    if (json_is_object(json)) NB_TRY(nb_json_str(json, "", "type", NB_JSON_REQUIRED, &type, err));
    if (nb_str_equal_c(type, "Sequence")) {
        const json_t *list = json_object_get(json, "pretokenizers");
        if (!json_is_array(list)) return nb_error_set(err, NB_ERR_INPUT, "Sequence.pretokenizers must be an array");
        for (size_t i = 0; i < json_array_size(list); i++) NB_TRY(load_one(p, json_array_get(list, i), err));
    } else if (json_is_object(json)) {
        NB_TRY(load_one(p, json, err));
    }
    if (!p->byte_level) return nb_error_set(err, NB_ERR_INPUT, "no ByteLevel: this is not a byte-level tokenizer");
    return NB_OK;
}

int nb_pretokenize_open(const json_t *json, nb_pretokenizer **out, nb_error *err)
{
    nb_pretokenizer *p = nb_alloc(sizeof *p);
    p->context = pcre2_match_context_create(NULL);
    if (!p->context) abort(); // a hundred bytes: as nb_alloc does
    pcre2_set_match_limit(p->context, NB_PRETOKENIZE_MATCH_MAX);
    pcre2_set_heap_limit(p->context, NB_PRETOKENIZE_HEAP_MAX_KB);
    int code = load(p, json, err);
    if (code != NB_OK) {
        nb_pretokenize_close(p);
        return nb_error_wrap(err, "pre_tokenizer: ");
    }
    *out = p;
    return NB_OK;
}

void nb_pretokenize_close(nb_pretokenizer *p)
{
    if (!p) return;
    for (int i = 0; i < p->n_step; i++) pcre2_code_free(p->step[i].code);
    pcre2_match_context_free(p->context);
    free(p);
}
