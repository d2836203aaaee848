// What the files of the template engine share: the job (memory, limits, errors), values, the syntax tree, native
// functions. Others use jinja.h.
//
// source -> jinja_lex.c -> tokens -> jinja_parse.c, jinja_parse_expr.c -> nb_node tree
//        -> jinja_exec.c (statements), jinja_eval.c (expressions) -> text
//
// Everything a job makes lives in its arena, and values never change once made (namespaces apart, as in Jinja). So an
// error needs no unwinding: nb_jinja_fail writes the message and jumps to where the job began.
#ifndef NB_JINJA_INTERNAL_H
#define NB_JINJA_INTERNAL_H

#include <setjmp.h>

#include "text/jinja.h"

enum {
    NB_JINJA_MEMORY_MAX = 256 << 20, // bytes of everything a job makes
    NB_JINJA_RANGE_MAX = 100000,     // items of range(), as in Jinja's sandbox
    NB_JINJA_PARAM_MAX = 8,          // parameters of a native function
    NB_JINJA_WIDTH_MAX = 1 << 20,    // field widths in formats
};

typedef struct nb_jinja nb_jinja;
typedef struct nb_node nb_node;
typedef struct nb_scope nb_scope;
typedef struct nb_native nb_native;
typedef struct nb_loop nb_loop;

// ---- Values, with Python's meaning

typedef enum nb_value_kind {
    NB_V_ABSENT,    // an optional argument that was not given; never seen by a template
    NB_V_UNDEFINED, // text: the message for when it is used
    NB_V_NONE,
    NB_V_BOOL,
    NB_V_INT,
    NB_V_BIGINT, // text: the digits of an integer that does not fit 64 bits; it can be printed and compared
    NB_V_FLOAT,
    NB_V_STR, // text: valid UTF-8
    NB_V_LIST,
    NB_V_TUPLE,
    NB_V_RANGE,
    NB_V_VIEW,     // keys(), values(), items()
    NB_V_ITERATOR, // what lazy filters give: it can be looped over and has no length
    NB_V_DICT,
    NB_V_NAMESPACE,
    NB_V_LOOP,
    NB_V_MACRO,
    NB_V_FUNCTION, // native, a global
    NB_V_METHOD,   // native, bound to a value
} nb_value_kind;

typedef struct nb_value nb_value;
typedef struct nb_seq nb_seq;     // LIST to ITERATOR
typedef struct nb_dict nb_dict;   // DICT, NAMESPACE
typedef struct nb_macro nb_macro; // MACRO
typedef struct nb_bound nb_bound; // METHOD

struct nb_value {
    nb_value_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        nb_str text;
        const nb_seq *seq;
        nb_dict *dict;
        nb_loop *loop;
        const nb_macro *macro;
        const nb_native *native;
        const nb_bound *bound;
    };
};

struct nb_seq {
    const nb_value *item;
    int64_t n;
    nb_str shown;  // RANGE: its repr. VIEW: the name of its type
    bool is_group; // TUPLE: an item of groupby, with the attributes grouper and list
};

struct nb_dict {
    nb_value *key, *item;
    int64_t n, cap;
};

struct nb_macro {
    const nb_node *node; // NB_N_MACRO or NB_N_CALL_BLOCK
    nb_scope *scope;     // where it was defined
};

struct nb_bound {
    nb_value self;
    const nb_native *native;
};

typedef struct nb_named {
    nb_str name;
    nb_value value;
} nb_named;

typedef struct nb_args {
    const nb_value *item;
    int64_t n;
    const nb_named *named;
    int64_t n_named;
} nb_args;

// A filter, test, method or global function. `params` are the names of its parameters, "?" before optional ones; the
// function then gets exactly those in args->item, NB_V_ABSENT where none was given. NULL: it gets the arguments as they
// are.
struct nb_native {
    const char *name;
    const char *params;
    nb_value (*fn)(nb_jinja *j, nb_value self, const nb_args *args);
};

// ---- The job

typedef struct nb_text { // text being built, in the job's arena
    char *ptr;
    size_t len, cap;
} nb_text;

typedef enum nb_jump { NB_JUMP_NONE, NB_JUMP_BREAK, NB_JUMP_CONTINUE } nb_jump;

struct nb_jinja {
    jmp_buf failed; // where nb_jinja_fail goes
    nb_error *err;
    nb_arena *arena;
    size_t n_byte;  // allocated so far
    int64_t n_step; // work done so far
    int depth;      // nesting now
    int line;       // of the node at work
    // rendering only
    int64_t now;
    nb_scope *scope;
    nb_text *out; // where output goes now
    nb_jump jump; // a break or continue on its way to its loop
};

_Noreturn void nb_jinja_fail(nb_jinja *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void nb_jinja_raise(nb_jinja *j, nb_str message); // raise_exception: the message as it is
void *nb_jinja_alloc(nb_jinja *j, size_t n_byte);           // zeroed
#define NB_JINJA_ARRAY(j, type, n) ((type *)nb_jinja_alloc((j), sizeof(type) * (size_t)(n)))
void nb_jinja_charge(nb_jinja *j, size_t n_step); // work that is not one node: items compared, bytes / 64 copied
void nb_jinja_enter(nb_jinja *j);                 // one level deeper; nb_jinja_leave goes back
void nb_jinja_leave(nb_jinja *j);

// ---- The syntax tree. Lists are chained by `next`

typedef enum nb_node_kind {
    // expressions
    NB_N_LITERAL, // value
    NB_N_NAME,    // name
    NB_N_LIST,    // a: items
    NB_N_TUPLE,   // a: items
    NB_N_DICT,    // a: items, each NB_N_PAIR
    NB_N_PAIR,    // a: key, b: value
    NB_N_ATTR,    // a.name
    NB_N_ITEM,    // a[b]
    NB_N_SLICE,   // a[b:c:d], each of b, c, d may be NULL
    NB_N_CALL,    // a(b)
    NB_N_KEYWORD, // in arguments: name = a
    NB_N_SPLAT,   // in arguments: *a
    NB_N_SPLAT2,  // in arguments: **a
    NB_N_FILTER,  // a | name(b); a NULL: the text of a filter block
    NB_N_TEST,    // a is name(b)
    NB_N_NOT,     // not a
    NB_N_NEGATE,  // -a
    NB_N_PLUS,    // +a
    NB_N_AND,     // a and b
    NB_N_OR,      // a or b
    NB_N_BINARY,  // a op b
    NB_N_CONCAT,  // a: operands of ~
    NB_N_COMPARE, // a, then b: a chain of NB_N_OPERAND
    NB_N_OPERAND, // op a
    NB_N_IF_ELSE, // b if a else c, c may be NULL
    // statements
    NB_N_TEXT,           // name: the text
    NB_N_OUTPUT,         // {{ a }}
    NB_N_IF,             // a: condition (NULL: else), b: body, c: the next NB_N_IF of the chain
    NB_N_FOR,            // a: target, b: iterable, c: filter or NULL, d: body, e: else
    NB_N_SET,            // a: target, b: value
    NB_N_SET_BLOCK,      // a: target, b: filter or NULL, c: body
    NB_N_NAMESPACE_ATTR, // as a target: name.attribute; attribute in `a` as NB_N_NAME
    NB_N_MACRO,          // name, b: NB_N_PARAMs, c: body
    NB_N_PARAM,          // name, a: default or NULL
    NB_N_CALL_BLOCK,     // a: call, b: NB_N_PARAMs, c: body
    NB_N_FILTER_BLOCK,   // a: filter, c: body
    NB_N_WITH,           // a: NB_N_SETs, c: body
    NB_N_BREAK,
    NB_N_CONTINUE,
} nb_node_kind;

typedef enum nb_op {
    NB_OP_NONE,
    NB_OP_ADD,
    NB_OP_SUB,
    NB_OP_MUL,
    NB_OP_DIV,
    NB_OP_FLOOR_DIV,
    NB_OP_MOD,
    NB_OP_POW,
    NB_OP_EQ,
    NB_OP_NE,
    NB_OP_LT,
    NB_OP_LE,
    NB_OP_GT,
    NB_OP_GE,
    NB_OP_IN,
    NB_OP_NOT_IN,
} nb_op;

// What a macro's body mentions: only then it takes further arguments.
enum { NB_USES_VARARGS = 1, NB_USES_KWARGS = 2, NB_USES_CALLER = 4 };

struct nb_node {
    nb_node_kind kind;
    nb_op op;
    int line;
    int uses;       // MACRO, CALL_BLOCK: NB_USES_*
    bool recursive; // FOR
    nb_str name;
    nb_value value;
    nb_node *a, *b, *c, *d, *e;
    nb_node *next;
};

// ---- Tokens (jinja_lex.c)

typedef enum nb_token_kind {
    NB_T_END,
    NB_T_TEXT,
    NB_T_BLOCK_BEGIN,
    NB_T_BLOCK_END,
    NB_T_PRINT_BEGIN,
    NB_T_PRINT_END,
    NB_T_NAME,
    NB_T_STRING, // text: decoded
    NB_T_INT,    // text: digits without underscores, with a prefix 0x, 0o, 0b
    NB_T_FLOAT,
    NB_T_OPERATOR,
} nb_token_kind;

typedef struct nb_token {
    nb_token_kind kind;
    int line;
    nb_str text;
} nb_token;

nb_token *nb_jinja_lex(nb_jinja *j, nb_str source); // ends with NB_T_END

// ---- The parser

typedef struct nb_parser {
    nb_jinja *j;
    const nb_token *at;
    int n_loop; // loops around this place, inside the innermost macro
    int uses;   // NB_USES_* seen in the macro at work
} nb_parser;

typedef struct nb_node_list {
    nb_node *first, *last;
} nb_node_list;

nb_node *nb_jinja_parse(nb_jinja *j, nb_str source);
nb_node *nb_jinja_node(nb_parser *p, nb_node_kind kind);
void nb_jinja_append(nb_node_list *list, nb_node *node);
_Noreturn void nb_jinja_unexpected(nb_parser *p, const char *wanted);
bool nb_jinja_is_op(const nb_parser *p, const char *op);
bool nb_jinja_is_name(const nb_parser *p, const char *name);
bool nb_jinja_skip_op(nb_parser *p, const char *op);
bool nb_jinja_skip_name(nb_parser *p, const char *name);
void nb_jinja_expect_op(nb_parser *p, const char *op);

typedef enum nb_tuple_style {
    NB_TUPLE_FULL,   // a, b if c else d
    NB_TUPLE_NO_IF,  // without a conditional: for ... in X if Y
    NB_TUPLE_TARGET, // names and brackets only: what can be assigned to
} nb_tuple_style;
nb_node *nb_jinja_parse_expression(nb_parser *p);
nb_node *nb_jinja_parse_tuple(nb_parser *p, nb_tuple_style style); // one expression, or several with commas
nb_node *nb_jinja_parse_filters(nb_parser *p, nb_node *input);     // name(args) | name(args) ...

// ---- Evaluation

struct nb_scope {
    nb_scope *parent;
    struct nb_variable *first;
};

struct nb_loop {
    const nb_node *node;
    nb_scope *scope; // around the loop
    const nb_value *item;
    int64_t n, index, depth;
    nb_value changed; // last arguments of loop.changed
};

nb_value nb_jinja_eval(nb_jinja *j, const nb_node *node);
nb_value nb_jinja_call(nb_jinja *j, nb_value callee, const nb_args *args);
nb_value nb_jinja_apply(nb_jinja *j, const nb_native *native, nb_value self, const nb_args *args);
nb_value nb_jinja_apply_filter(nb_jinja *j, nb_str name, nb_value input, const nb_args *args);
bool nb_jinja_apply_test(nb_jinja *j, nb_str name, nb_value input, const nb_args *args);
nb_args nb_jinja_eval_args(nb_jinja *j, const nb_node *args);
nb_value nb_jinja_binary(nb_jinja *j, nb_op op, nb_value a, nb_value b);
bool nb_jinja_contains(nb_jinja *j, nb_value container, nb_value item);

void nb_jinja_exec(nb_jinja *j, const nb_node *list);
nb_value nb_jinja_exec_filter_input(nb_jinja *j);
void nb_jinja_define(nb_jinja *j, nb_str name, nb_value value);
nb_value nb_jinja_lookup(nb_jinja *j, nb_str name);
nb_value nb_jinja_call_macro(nb_jinja *j, const nb_macro *macro, const nb_args *args);
nb_value nb_jinja_call_loop(nb_jinja *j, const nb_loop *loop, const nb_args *args);

// ---- Values (jinja_value.c, jinja_access.c)

extern const nb_value NB_NONE;
nb_value nb_value_bool(bool truth);
nb_value nb_value_int(int64_t integer);
nb_value nb_value_float(double real);
nb_value nb_value_str(nb_str text);
nb_value nb_value_undefined(nb_jinja *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
nb_value nb_value_seq(nb_jinja *j, nb_value_kind kind, const nb_value *item, int64_t n);
nb_value nb_value_list(nb_jinja *j, const nb_value *item, int64_t n);
nb_value nb_value_pair(nb_jinja *j, nb_value a, nb_value b); // a tuple
nb_value nb_value_dict(nb_jinja *j, int64_t cap);
nb_value nb_value_from_json(nb_jinja *j, const json_t *json);

const char *nb_value_type(nb_value v); // Python's name of its type
bool nb_value_truth(nb_value v);
bool nb_value_is_int(nb_value v, int64_t *out);   // int or bool
bool nb_value_is_number(nb_value v, double *out); // int, bool or float
bool nb_value_is_seq(nb_value v);                 // has .seq
bool nb_value_equal(nb_jinja *j, nb_value a, nb_value b);
int nb_value_compare(nb_jinja *j, nb_value a, nb_value b, const char *op); // <0, 0, >0; op is for the message
void nb_value_set(nb_jinja *j, nb_dict *dict, nb_value key, nb_value item);
const nb_value *nb_value_get(nb_jinja *j, const nb_dict *dict, nb_value key); // NULL: not there
int64_t nb_value_length(nb_jinja *j, nb_value v);
nb_seq nb_value_items(nb_jinja *j, nb_value v); // what a loop sees; an error when it cannot be looped over
nb_value nb_value_attr(nb_jinja *j, nb_value v, nb_str name);   // v.name
nb_value nb_value_item(nb_jinja *j, nb_value v, nb_value key);  // v[key]
nb_value nb_value_path(nb_jinja *j, nb_value v, nb_value path); // "a.b.0", for attribute= of filters
nb_value nb_value_slice(nb_jinja *j, nb_value v, const nb_value bound[3]);
nb_value nb_value_sorted(nb_jinja *j, nb_seq items, const nb_value *keys, bool reverse); // stable, by keys; a list

// Required arguments of the given type, or an error naming `what`.
nb_str nb_value_need_str(nb_jinja *j, nb_value v, const char *what);
int64_t nb_value_need_int(nb_jinja *j, nb_value v, const char *what);

// ---- Text (jinja_text.c, jinja_print.c, jinja_format.c)

void nb_text_add(nb_jinja *j, nb_text *t, nb_str s);
void nb_text_add_c(nb_jinja *j, nb_text *t, const char *s);
void nb_text_add_code(nb_jinja *j, nb_text *t, uint32_t code_point);
void nb_text_repeat(nb_jinja *j, nb_text *t, nb_str s, int64_t n);
nb_str nb_text_str(const nb_text *t);

bool nb_text_is_space(uint32_t c);
size_t nb_text_count(nb_jinja *j, nb_str s);            // code points
nb_str nb_text_sub(nb_str s, int64_t from, int64_t to); // by code points, from <= to
enum { NB_STRIP_LEFT = 1, NB_STRIP_RIGHT = 2 };
nb_str nb_text_strip(nb_jinja *j, nb_str s, const nb_str *chars, int sides); // chars NULL: white space
typedef enum nb_text_case { NB_CASE_UPPER, NB_CASE_LOWER, NB_CASE_TITLE, NB_CASE_FOLD } nb_text_case;
void nb_text_add_cased(nb_jinja *j, nb_text *t, nb_str s, nb_text_case mode);
nb_str nb_text_cased(nb_jinja *j, nb_str s, nb_text_case mode);
nb_str nb_text_replace(nb_jinja *j, nb_str s, nb_str old, nb_str new, int64_t n_max); // n_max < 0: all
nb_value nb_text_lines(nb_jinja *j, nb_str s);                                        // splitlines()
nb_str nb_text_pad(nb_jinja *j, nb_str s, int64_t width, char align, nb_str fill);    // align: '<', '>' or '^'
nb_str nb_text_escape(nb_jinja *j, nb_str s);                                         // for HTML

void nb_text_add_value(nb_jinja *j, nb_text *t, nb_value v); // as str(v)
void nb_text_add_repr(nb_jinja *j, nb_text *t, nb_value v);  // as repr(v)
nb_str nb_text_of(nb_jinja *j, nb_value v);                  // str(v)
nb_str nb_text_repr(nb_jinja *j, nb_value v);
void nb_text_add_float(nb_jinja *j, nb_text *t, double real); // shortest text that reads back, as Python's repr

typedef struct nb_json_style {
    bool ascii, sort_keys;
    bool lines;    // an indent was given
    nb_str indent; // of one level
    nb_str comma, colon;
} nb_json_style;
void nb_text_add_json(nb_jinja *j, nb_text *t, nb_value v, const nb_json_style *style);

nb_str nb_text_percent(nb_jinja *j, nb_str format, nb_value args);      // format % args
nb_str nb_text_braces(nb_jinja *j, nb_str format, const nb_args *args); // format.format(args)

// ---- Tables of natives; each ends with a zero row

extern const nb_native nb_jinja_filters_text[], nb_jinja_filters_list[], nb_jinja_filters_pick[];
extern const nb_native nb_jinja_filters_number[];
extern const nb_native nb_jinja_tests[], nb_jinja_globals[];
extern const nb_native nb_jinja_methods_str[], nb_jinja_methods_dict[], nb_jinja_methods_list[],
    nb_jinja_methods_loop[];

const nb_native *nb_jinja_find_filter(nb_str name);
const nb_native *nb_jinja_find(const nb_native *table, nb_str name); // NULL: not there
bool nb_jinja_is_unsafe_method(nb_value self, nb_str name); // would change a list or dict: the sandbox hides it

#endif
