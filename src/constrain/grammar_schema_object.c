// Objects: the named properties in their order, then others where the schema allows them in so many words. An object is
// a graph whose states are how many named properties are behind and how many members were written.
#include <stdlib.h>
#include <string.h>

#include "constrain/automaton.h"
#include "constrain/grammar_regex.h"
#include "constrain/grammar_schema_internal.h"
#include "constrain/matcher.h"

enum {
    STATES_MAX = 20000,
    PATTERNS_MAX = 4, // of patternProperties: each set of them is a case of its own
};

typedef struct pattern {
    const char *text;
    const json_t *schema;
    nb_expr key;             // contents of keys that match, plain form
    nb_automaton *automaton; // of bare names
} pattern;

typedef struct property {
    const char *name;
    nb_expr key, value;
    bool required;
} property;

typedef struct maker {
    nb_schema *s;
    json_t *required;                       // a set
    const json_t *flat, *properties, *rest; // rest: of properties that nothing else speaks of; NULL: there are none
    const char *path;
    pattern pattern[PATTERNS_MAX];
    int n_pattern;
    property *property; // [n_property]
    int n_property, n_required;
    nb_expr others; // members beyond the named ones, NOTHING if there are none
    bool has_others;
    int64_t least, most; // members; most may be -1
} maker;

// ---- Patterns

static int compile_pattern(maker *m, pattern *p)
{
    nb_error err = {0};
    nb_grammar bare;
    nb_expr x;
    nb_regex_options options = {.search = true, .chars = nb_grammar_json_char};
    int code = nb_grammar_regex(m->s->g, nb_str_from(p->text), &options, &p->key, &err);
    nb_grammar_open(&bare);
    bare.root = nb_grammar_rule(&bare, NB_STR("name"));
    options.chars = NULL;
    if (code == NB_OK) code = nb_grammar_regex(&bare, nb_str_from(p->text), &options, &x, &err);
    if (code == NB_OK) nb_grammar_define(&bare, bare.root, x);
    if (code == NB_OK) code = nb_automaton_compile(&bare, &p->automaton, &err);
    nb_grammar_close(&bare);
    if (code == NB_OK) return NB_OK;
    return nb_schema_refuse(m->s, m->path, "patternProperties", "has a pattern that cannot be used: %s", err.text);
}

static int read_patterns(maker *m)
{
    const json_t *patterns = json_object_get(m->flat, "patternProperties");
    const char *text;
    json_t *schema;
    if (json_object_size(patterns) > PATTERNS_MAX)
        return nb_schema_refuse(m->s, m->path, "patternProperties", "has more than %d patterns", PATTERNS_MAX);
    json_object_foreach((json_t *)patterns, text, schema)
    {
        m->pattern[m->n_pattern] = (pattern){.text = text, .schema = schema};
        NB_TRY(compile_pattern(m, &m->pattern[m->n_pattern++]));
    }
    return NB_OK;
}

static bool matches(const pattern *p, const char *name)
{
    nb_matcher *matcher = nb_matcher_open(p->automaton);
    bool ok = nb_matcher_read(matcher, nb_str_from(name)) && nb_matcher_can_end(matcher);
    nb_matcher_close(matcher);
    return ok;
}

// ---- Named properties

// What the schema says of a name: its own schema and those of all patterns that match, else the rest's.
static json_t *schema_of(const maker *m, const char *name)
{
    const json_t *own = json_object_get(m->properties, name);
    json_t *out = own ? json_incref((json_t *)own) : NULL;
    for (int i = 0; i < m->n_pattern; i++) {
        if (!matches(&m->pattern[i], name)) continue;
        json_t *both = nb_schema_both(out, m->pattern[i].schema);
        json_decref(out);
        out = both;
    }
    const json_t *rest = json_object_get(m->flat, "additionalProperties");
    if (!out) out = rest ? json_incref((json_t *)rest) : json_true();
    return out;
}

static void add_property(maker *m, const char *name, bool required)
{
    nb_schema *s = m->s;
    json_t *schema = schema_of(m, name);
    if (required || !json_is_false(schema))
        m->property[m->n_property++] = (property){
            .name = name,
            .key = nb_grammar_json_quoted(s->g, nb_grammar_json_text(s->g, nb_str_from(name))),
            .value = nb_schema_call(s, schema, nb_schema_path(s, m->path, "properties", name)),
            .required = required,
        };
    m->n_required += required;
    json_decref(schema);
}

static int read_properties(maker *m)
{
    const json_t *required = json_object_get(m->flat, "required"), *name;
    const char *key;
    json_t *value;
    size_t i;
    json_array_foreach(required, i, name)
    {
        if (!json_is_string(name)) return nb_schema_refuse(m->s, m->path, "required", "must hold strings");
    }
    m->required = nb_schema_set(required);
    size_t room = json_object_size(m->properties) + json_object_size(m->required) + 1;
    m->property = nb_arena_alloc(m->s->arena, sizeof(*m->property) * room);
    json_object_foreach((json_t *)m->properties, key, value)
        add_property(m, key, json_object_get(m->required, key) != NULL);
    json_object_foreach(m->required, key, value)
    {
        if (!json_object_get(m->properties, key)) add_property(m, key, true);
    }
    return NB_OK;
}

// ---- Other members

static nb_expr any_content(nb_grammar *g)
{
    return nb_grammar_repeat(g, nb_grammar_json_any_char(g), 0, NB_REPEAT_FOREVER);
}

// Keys that no property has, of the form that propertyNames states.
static int other_keys(maker *m, nb_expr *out)
{
    nb_schema *s = m->s;
    const json_t *names = json_object_get(m->flat, "propertyNames");
    nb_expr_list taken = {0};
    *out = any_content(s->g);
    if (names) {
        json_t *flat = NULL;
        bool unsaid = true;
        nb_expr form = 0;
        NB_TRY(nb_schema_flatten(s, names, nb_schema_path(s, m->path, "propertyNames", NULL), 0, &flat));
        bool plain = !json_object_get(flat, "enum") && !json_object_get(flat, "anyOf") &&
                     !json_object_get(flat, "oneOf") && !json_object_get(flat, NB_SCHEMA_NEVER);
        int code = plain ? nb_schema_content(s, flat, m->path, &unsaid, &form)
                         : nb_schema_refuse(s, m->path, "propertyNames", "may only have pattern, format and lengths");
        json_decref(flat);
        NB_TRY(code);
        if (!unsaid) *out = nb_grammar_both(s->g, *out, form);
    }
    for (int i = 0; i < m->n_property; i++)
        nb_expr_list_add(&taken, nb_grammar_json_text(s->g, nb_str_from(m->property[i].name)));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)m->properties, key, value) if (json_is_false(value))
        nb_expr_list_add(&taken, nb_grammar_json_text(s->g, nb_str_from(key)));
    if (taken.n > 0) *out = nb_grammar_minus(s->g, *out, nb_grammar_any(s->g, &taken));
    return NB_OK;
}

static nb_expr member(const maker *m, nb_expr key, nb_expr value)
{
    nb_expr_list seq = {0};
    nb_expr_list_add(&seq, key);
    nb_expr_list_add(&seq, nb_grammar_json_colon(m->s->json));
    nb_expr_list_add(&seq, value);
    return nb_grammar_seq(m->s->g, &seq);
}

// Keys that match exactly the patterns of a set, with what all of these say; the rest's for the empty set.
static void add_case(maker *m, unsigned set, nb_expr keys, nb_expr_list *forms)
{
    nb_schema *s = m->s;
    json_t *schema = NULL;
    for (int i = 0; i < m->n_pattern; i++) {
        bool in = set >> i & 1;
        keys = in ? nb_grammar_both(s->g, keys, m->pattern[i].key) : nb_grammar_minus(s->g, keys, m->pattern[i].key);
        if (!in) continue;
        json_t *both = nb_schema_both(schema, m->pattern[i].schema);
        json_decref(schema);
        schema = both;
    }
    if (set == 0) schema = json_incref((json_t *)m->rest);
    if (schema && !json_is_false(schema)) {
        nb_expr value = nb_schema_call(
            s, schema, nb_schema_path(s, m->path, set ? "patternProperties" : "additionalProperties", NULL));
        nb_expr_list_add(forms, member(m, nb_grammar_json_quoted(s->g, keys), value));
    }
    json_decref(schema);
}

static int read_others(maker *m)
{
    nb_expr_list forms = {0};
    nb_expr keys;
    m->others = nb_grammar_nothing(m->s->g);
    if (m->n_pattern == 0 && (!m->rest || json_is_false(m->rest))) return NB_OK;
    NB_TRY(other_keys(m, &keys));
    for (unsigned set = 0; set < 1u << m->n_pattern; set++) add_case(m, set, keys, &forms);
    m->has_others = forms.n > 0;
    m->others = nb_grammar_any(m->s->g, &forms);
    return NB_OK;
}

// ---- Counting

// A limit that cannot be missed is none. Keys beyond the named ones may come twice, so only the first of them counts as
// surely one more.
static int read_counts(maker *m)
{
    nb_schema *s = m->s;
    NB_TRY(nb_schema_count(s, m->flat, m->path, "minProperties", 0, &m->least));
    NB_TRY(nb_schema_count(s, m->flat, m->path, "maxProperties", -1, &m->most));
    if (m->least <= m->n_required) m->least = 0;
    if (m->most >= m->n_property && !m->has_others) m->most = -1;
    bool sure = m->has_others && (m->most < 0 || m->least <= 1);
    if (m->least > m->n_property + sure)
        return nb_schema_refuse(s, m->path, "minProperties",
                                m->has_others
                                    ? "counts properties that have no name in the schema, which is not supported"
                                    : "is more than there can be");
    int64_t count = (m->most > m->least ? m->most : m->least) + 2;
    if (count > STATES_MAX || count * (m->n_property + 2) > STATES_MAX)
        return nb_schema_refuse(s, m->path, m->most > m->least ? "maxProperties" : "minProperties", "is too large");
    return NB_OK;
}

// ---- The graph. State 0 is the start, 1 the end

typedef struct counter {
    nb_graph graph;
    int64_t n_count; // counts 0 to n_count - 1; the last stands for all above it where there is no limit
} counter;

static int32_t state_of(const counter *c, int64_t row, int64_t count)
{
    return (int32_t)(2 + row * c->n_count + count);
}

static nb_expr next_member(const maker *m, nb_expr x, bool first)
{
    nb_grammar *g = m->s->g;
    nb_expr line = nb_grammar_json_line(m->s->json);
    nb_expr_list seq = {0};
    if (!first) nb_expr_list_add(&seq, nb_grammar_text(g, ","));
    nb_expr_list_add(&seq, line);
    nb_expr_list_add(&seq, x);
    return nb_grammar_seq(g, &seq);
}

// One member more: from count to count + 1, as far as there may be more.
static void add_member(const maker *m, counter *c, nb_expr x, int64_t row, int64_t to_row)
{
    nb_expr first = next_member(m, x, true), later = next_member(m, x, false);
    for (int64_t count = 0; count < c->n_count; count++) {
        bool last = count == c->n_count - 1;
        if (last && m->most >= 0) continue;
        nb_graph_add(&c->graph, state_of(c, row, count), count ? later : first,
                     state_of(c, to_row, last ? count : count + 1));
    }
}

static void add_others(const maker *m, counter *c)
{
    int64_t row = m->n_property;
    add_member(m, c, m->others, row, row + 1);
    if (m->most >= 0) {
        add_member(m, c, m->others, row + 1, row + 1);
        return;
    }
    nb_expr later = next_member(m, m->others, false);
    for (int64_t count = 1; count < c->n_count; count++)
        nb_graph_add(&c->graph, state_of(c, row + 1, count), later, state_of(c, row + 1, count));
}

static nb_expr make_graph(const maker *m)
{
    nb_grammar *g = m->s->g;
    counter c = {.n_count = m->most >= 0 ? m->most + 1 : (m->least > 1 ? m->least : 1) + 1};
    nb_expr close = nb_grammar_seq2(g, nb_grammar_json_line(m->s->json), nb_grammar_text(g, "}"));
    nb_graph_add(&c.graph, 0, nb_grammar_text(g, "{"), state_of(&c, 0, 0));
    for (int i = 0; i < m->n_property; i++) {
        const property *p = &m->property[i];
        add_member(m, &c, member(m, p->key, p->value), i, i + 1);
        for (int64_t count = 0; count < c.n_count && !p->required; count++)
            nb_graph_add(&c.graph, state_of(&c, i, count), nb_grammar_empty(g), state_of(&c, i + 1, count));
    }
    if (m->has_others) add_others(m, &c);
    for (int64_t count = m->least; count < c.n_count; count++)
        for (int64_t row = m->n_property; row <= m->n_property + m->has_others; row++)
            nb_graph_add(&c.graph, state_of(&c, row, count), close, 1);
    return nb_grammar_graph(g, &c.graph);
}

static bool says_anything(const json_t *flat)
{
    static const char *const keys[] = {
        "properties",        "required",      "additionalProperties", "unevaluatedProperties",
        "patternProperties", "propertyNames", "minProperties",        "maxProperties"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const json_t *value = json_object_get(flat, keys[i]);
        if (value && !json_is_true(value)) return true;
    }
    return false;
}

static int read_all(maker *m)
{
    const json_t *rest = json_object_get(m->flat, "additionalProperties");
    if (!rest) rest = json_object_get(m->flat, "unevaluatedProperties");
    bool named = m->properties || json_object_get(m->flat, "patternProperties");
    m->rest = rest ? rest : named ? NULL : json_true();
    NB_TRY(read_patterns(m));
    NB_TRY(read_properties(m));
    NB_TRY(read_others(m));
    return read_counts(m);
}

int nb_schema_object(nb_schema *s, const json_t *flat, const char *path, nb_expr *out)
{
    maker m = {.s = s, .flat = flat, .path = path, .properties = json_object_get(flat, "properties")};
    if (!says_anything(flat)) {
        *out = nb_grammar_call(s->g, s->json->object);
        return NB_OK;
    }
    int code = read_all(&m);
    if (code == NB_OK) *out = make_graph(&m);
    json_decref(m.required);
    for (int i = 0; i < m.n_pattern; i++) nb_automaton_close(m.pattern[i].automaton);
    return code;
}
