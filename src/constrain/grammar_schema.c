// The queue of schemas, and how one flat schema becomes alternatives: see grammar_schema_internal.h.
#include "constrain/grammar_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/grammar_schema_internal.h"

int nb_schema_refuse(nb_schema *s, const char *path, const char *keyword, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return nb_error_set(s->err, NB_ERR_INPUT, "the schema's %.200s%s%s %s", path, *keyword ? "/" : "", keyword, text);
}

const char *nb_schema_path(nb_schema *s, const char *path, const char *keyword, const char *key)
{
    if (key) return nb_arena_printf(s->arena, "%.300s/%s/%.100s", path, keyword, key);
    return nb_arena_printf(s->arena, "%.300s/%s", path, keyword);
}

int nb_schema_count(nb_schema *s, const json_t *flat, const char *path, const char *keyword, int64_t fallback,
                    int64_t *out)
{
    const json_t *value = json_object_get(flat, keyword);
    *out = fallback;
    if (!value) return NB_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 0 || number != (double)(int64_t)number)
        return nb_schema_refuse(s, path, keyword, "must be a whole number, 0 or more");
    *out = (int64_t)number;
    return NB_OK;
}

// ---- Rules

static int32_t rule_of(nb_schema *s, json_t *schema, const char *path)
{
    nb_buf text = {0};
    nb_json_write(schema, &text);
    const json_t *known = json_object_getn(s->rules, text.ptr, text.len);
    int32_t rule = known ? (int32_t)json_integer_value(known) : nb_grammar_rule(s->g, nb_str_from("schema"));
    s->n_byte += (int64_t)text.len;
    if (known || s->n_task >= NB_SCHEMA_RULES_MAX || s->n_byte > NB_SCHEMA_BYTES_MAX) {
        s->g->overflow |= !known;
        json_decref(schema);
    } else {
        json_object_setn_new_nocheck(s->rules, text.ptr, text.len, json_integer(rule));
        if (s->n_task == s->cap_task) {
            s->cap_task = s->cap_task ? 2 * s->cap_task : 64;
            s->task = nb_realloc(s->task, sizeof(*s->task) * (size_t)s->cap_task);
        }
        s->task[s->n_task++] = (nb_schema_task){schema, path, rule};
    }
    nb_buf_drop(&text);
    return rule;
}

static nb_expr call_taking(nb_schema *s, json_t *schema, const char *path)
{
    return nb_grammar_call(s->g, rule_of(s, schema, path));
}

nb_expr nb_schema_call(nb_schema *s, const json_t *schema, const char *path)
{
    return call_taking(s, json_incref((json_t *)schema), path);
}

json_t *nb_schema_both(const json_t *a, const json_t *b)
{
    if (!a || json_is_true(a)) return json_incref((json_t *)b);
    if (!b || json_is_true(b)) return json_incref((json_t *)a);
    return json_pack("{s:[OO]}", "allOf", a, b);
}

nb_expr nb_schema_call_both(nb_schema *s, const json_t *a, const json_t *b, const char *path)
{
    return call_taking(s, nb_schema_both(a, b), path);
}

// ---- Alternatives

// Each branch together with what stands beside the alternatives.
static int compile_branches(nb_schema *s, const json_t *flat, const char *path, const char *keyword, nb_expr *out)
{
    json_t *rest = json_copy((json_t *)flat);
    const json_t *branches = json_object_get(flat, keyword), *branch;
    nb_expr_list forms = {0};
    size_t i;
    json_object_del(rest, keyword);
    json_array_foreach(branches, i, branch)
    {
        char number[24];
        snprintf(number, sizeof(number), "%zu", i);
        nb_expr_list_add(&forms, nb_schema_call_both(s, json_object_size(rest) ? rest : NULL, branch,
                                                     nb_schema_path(s, path, keyword, number)));
    }
    json_decref(rest);
    *out = nb_grammar_any(s->g, &forms);
    return NB_OK;
}

static int compile_type(nb_schema *s, const json_t *flat, const char *path, unsigned type, nb_expr *out)
{
    switch (type) {
    case NB_TYPE_STRING: return nb_schema_string(s, flat, path, out);
    case NB_TYPE_INTEGER: return nb_schema_number(s, flat, path, true, out);
    case NB_TYPE_NUMBER: return nb_schema_number(s, flat, path, false, out);
    case NB_TYPE_OBJECT: return nb_schema_object(s, flat, path, out);
    case NB_TYPE_ARRAY: return nb_schema_array(s, flat, path, out);
    case NB_TYPE_BOOLEAN:
        *out = nb_grammar_any2(s->g, nb_grammar_text(s->g, "true"), nb_grammar_text(s->g, "false"));
        break;
    default: *out = nb_grammar_text(s->g, "null"); break;
    }
    return NB_OK;
}

static int compile_flat(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    *out = nb_grammar_nothing(s->g);
    if (json_object_get(flat, NB_SCHEMA_NEVER)) return NB_OK;
    if (json_object_size(flat) == 0) {
        *out = nb_grammar_call(s->g, s->json->value);
        return NB_OK;
    }
    if (json_object_get(flat, "anyOf")) return compile_branches(s, flat, path, "anyOf", out);
    if (json_object_get(flat, "oneOf")) {
        json_t *apart = NULL;
        int one = nb_schema_one_of(s, flat, path, &apart);
        if (one == NB_OK) one = compile_branches(s, apart, path, "oneOf", out);
        json_decref(apart);
        return one;
    }
    if (json_object_get(flat, "enum")) return nb_schema_enum(s, flat, path, out);
    unsigned types = nb_schema_types(flat);
    if (types & NB_TYPE_NUMBER) types &= ~(unsigned)NB_TYPE_INTEGER;
    nb_expr_list forms = {0};
    int code = NB_OK;
    for (unsigned type = 1; type <= types && code == NB_OK; type *= 2) {
        nb_expr x = 0;
        if (!(types & type)) continue;
        code = compile_type(s, flat, path, type, &x);
        nb_expr_list_add(&forms, x);
    }
    *out = nb_grammar_any(s->g, &forms);
    return code;
}

static int compile_task(nb_schema *s, const nb_schema_task *task)
{
    json_t *flat = NULL;
    nb_expr x = nb_grammar_nothing(s->g);
    int code = nb_schema_flatten(s, task->schema, task->path, 0, &flat);
    if (code == NB_OK) code = compile_flat(s, flat, task->path, &x);
    nb_grammar_define(s->g, task->rule, x);
    json_decref(flat);
    return code;
}

json_t *nb_schema_set(const json_t *names)
{
    json_t *set = json_object();
    const json_t *name;
    size_t i;
    json_array_foreach(names, i, name)
    {
        if (json_is_string(name)) json_object_set_new_nocheck(set, json_string_value(name), json_true());
    }
    return set;
}

// ---- The queue

void nb_schema_open(nb_schema *s, nb_grammar_json *json, const json_t *root, nb_error *err)
{
    *s = (nb_schema){
        .json = json, .g = json->g, .root = root, .rules = json_object(), .arena = nb_arena_open(0), .err = err};
}

void nb_schema_close(nb_schema *s)
{
    for (int32_t i = 0; i < s->n_task; i++) json_decref(s->task[i].schema);
    free(s->task);
    json_decref(s->rules);
    nb_arena_close(s->arena);
}

int nb_schema_run(nb_schema *s)
{
    for (int32_t i = 0; i < s->n_task; i++) {
        nb_schema_task task = s->task[i]; // the array may move
        NB_TRY(compile_task(s, &task));
    }
    return NB_OK;
}

int nb_grammar_schema(nb_grammar_json *json, const json_t *schema, nb_expr *out, nb_error *err)
{
    nb_schema s;
    nb_schema_open(&s, json, schema, err);
    *out = nb_schema_call(&s, schema, "#");
    int code = s.n_byte > NB_SCHEMA_TEXT_MAX
                   ? nb_error_set(err, NB_ERR_INPUT, "the schema has more than %d bytes", NB_SCHEMA_TEXT_MAX)
                   : nb_schema_run(&s);
    nb_schema_close(&s);
    return code;
}
