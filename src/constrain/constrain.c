// Programs and their cache: see constrain.h.
#include "constrain/constrain.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "constrain/grammar_gbnf.h"
#include "constrain/grammar_regex.h"
#include "constrain/grammar_schema.h"

struct nb_program {
    nb_automaton *automaton;
    atomic_int n_ref;
    nb_buf key;
    struct nb_program *newer, *older; // in the constrainer's list, under its mutex
};

struct nb_constrainer {
    nb_vocabulary_trie trie;
    nb_mask_cache *masks;
    pthread_mutex_t mutex; // the list
    nb_program *newest, *oldest;
    int64_t n_byte;
    int n_program;
};

// ---- Compiling

static nb_expr choice_expr(nb_grammar *g, const json_t *choices)
{
    nb_expr_list items = {0};
    const json_t *choice;
    size_t i;
    json_array_foreach(choices, i, choice)
    {
        nb_str text = {json_string_value(choice), json_string_length(choice)};
        nb_expr_list_add(&items, nb_grammar_bytes(g, text));
    }
    return nb_grammar_any(g, &items);
}

// The text of a schema, or the schema.
static int schema_expr(nb_grammar *g, const nb_constrain_spec *spec, nb_expr *out, nb_error *err)
{
    nb_grammar_json json;
    json_t *parsed = NULL;
    nb_grammar_json_open(&json, g, spec->compact);
    if (spec->kind == NB_CONSTRAIN_OBJECT) {
        *out = nb_grammar_call(g, json.object);
        return NB_OK;
    }
    if (!spec->value) NB_TRY(nb_json_parse(spec->text, "the schema", &parsed, err));
    int code = nb_grammar_schema(&json, parsed ? parsed : spec->value, out, err);
    json_decref(parsed);
    return code;
}

static int tools_expr(nb_grammar *g, const nb_constrain_spec *spec, nb_expr *out, nb_error *err)
{
    nb_grammar_json json;
    nb_grammar_json_open(&json, g, spec->compact);
    return nb_grammar_tools(&json, spec->value, &spec->tools, out, err);
}

static int translate(nb_grammar *g, const nb_constrain_spec *spec, nb_error *err)
{
    nb_expr x = nb_grammar_nothing(g);
    g->root = nb_grammar_rule(g, NB_STR("root"));
    switch (spec->kind) {
    case NB_CONSTRAIN_REGEX: NB_TRY(nb_grammar_regex(g, spec->text, &(nb_regex_options){0}, &x, err)); break;
    case NB_CONSTRAIN_OBJECT:
    case NB_CONSTRAIN_SCHEMA: NB_TRY(schema_expr(g, spec, &x, err)); break;
    case NB_CONSTRAIN_GRAMMAR: NB_TRY(nb_grammar_gbnf(g, spec->text, &x, err)); break;
    case NB_CONSTRAIN_TOOLS: NB_TRY(tools_expr(g, spec, &x, err)); break;
    case NB_CONSTRAIN_CHOICE: x = choice_expr(g, spec->value); break;
    case NB_CONSTRAIN_NONE: break;
    }
    nb_grammar_define(g, g->root, x);
    return NB_OK;
}

int nb_constrain_compile(const nb_constrain_spec *spec, nb_automaton **out, nb_error *err)
{
    nb_grammar g;
    nb_grammar_open(&g);
    int code = translate(&g, spec, err);
    if (code == NB_OK) code = nb_automaton_compile(&g, out, err);
    nb_grammar_close(&g);
    return code;
}

// ---- Programs

nb_program *nb_program_take(nb_program *program)
{
    atomic_fetch_add(&program->n_ref, 1);
    return program;
}

void nb_program_drop(nb_program *program)
{
    if (!program || atomic_fetch_sub(&program->n_ref, 1) > 1) return;
    nb_automaton_close(program->automaton);
    nb_buf_drop(&program->key);
    free(program);
}

const nb_automaton *nb_program_automaton(const nb_program *program)
{
    return program->automaton;
}

static int64_t bytes_of(const nb_program *program)
{
    return nb_automaton_bytes(program->automaton) + (int64_t)program->key.len;
}

// ---- The list of the programs used last

static void unlink_program(nb_constrainer *c, nb_program *p)
{
    *(p->newer ? &p->newer->older : &c->newest) = p->older;
    *(p->older ? &p->older->newer : &c->oldest) = p->newer;
    c->n_byte -= bytes_of(p);
    c->n_program--;
}

static void link_newest(nb_constrainer *c, nb_program *p)
{
    p->newer = NULL;
    p->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = p;
    c->newest = p;
    c->n_byte += bytes_of(p);
    c->n_program++;
}

static nb_program *find(nb_constrainer *c, nb_str key)
{
    nb_program *p = c->newest;
    while (p && !nb_str_equal(nb_buf_str(&p->key), key)) p = p->older;
    if (!p) return NULL;
    unlink_program(c, p);
    link_newest(c, p);
    return nb_program_take(p);
}

static void keep(nb_constrainer *c, nb_program *p)
{
    link_newest(c, nb_program_take(p));
    while ((c->n_byte > NB_CONSTRAIN_PROGRAM_BYTES || c->n_program > NB_CONSTRAIN_PROGRAMS_MAX) && c->oldest != p) {
        nb_program *old = c->oldest;
        unlink_program(c, old);
        nb_program_drop(old);
    }
}

static nb_buf key_of(const nb_constrain_spec *spec)
{
    nb_buf key = {0};
    nb_buf_add_char(&key, (char)(spec->compact ? -spec->kind : spec->kind));
    if (spec->kind == NB_CONSTRAIN_TOOLS)
        nb_buf_printf(&key, "%d %d %d %.*s\n", spec->tools.format, spec->tools.free_text, spec->tools.several,
                      (int)spec->tools.name.len, spec->tools.name.ptr ? spec->tools.name.ptr : "");
    if (spec->value) nb_json_write(spec->value, &key);
    nb_buf_add_str(&key, spec->text);
    return key;
}

int nb_constrainer_compile(nb_constrainer *c, const nb_constrain_spec *spec, nb_program **out, nb_error *err)
{
    nb_buf key = key_of(spec);
    nb_automaton *automaton;
    pthread_mutex_lock(&c->mutex);
    *out = find(c, nb_buf_str(&key));
    pthread_mutex_unlock(&c->mutex);
    int code = *out ? NB_OK : nb_constrain_compile(spec, &automaton, err);
    if (*out || code != NB_OK) {
        nb_buf_drop(&key);
        return code;
    }
    nb_program *p = nb_alloc(sizeof(*p));
    *p = (nb_program){.automaton = automaton, .key = key};
    atomic_init(&p->n_ref, 1);
    nb_mask_cache_warm(c->masks, automaton);
    pthread_mutex_lock(&c->mutex);
    keep(c, p);
    pthread_mutex_unlock(&c->mutex);
    *out = p;
    return NB_OK;
}

// ---- The whole

nb_constrainer *nb_constrainer_open(const nb_tokenizer *tokenizer, int32_t vocab_size)
{
    nb_constrainer *c = nb_alloc(sizeof(*c));
    nb_vocabulary_trie_open(&c->trie, tokenizer, vocab_size);
    c->masks = nb_mask_cache_open(&c->trie, NB_MASK_CACHE_BYTES);
    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

void nb_constrainer_close(nb_constrainer *c)
{
    if (!c) return;
    while (c->oldest) {
        nb_program *old = c->oldest;
        unlink_program(c, old);
        nb_program_drop(old);
    }
    nb_mask_cache_close(c->masks);
    nb_vocabulary_trie_close(&c->trie);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

nb_mask_cache *nb_constrainer_masks(nb_constrainer *c)
{
    return c->masks;
}

int32_t nb_constrainer_words(const nb_constrainer *c)
{
    return c->trie.n_word;
}
