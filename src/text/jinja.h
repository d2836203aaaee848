// The template language of chat templates: the part of Jinja2 that models use, with the behaviour of Python's jinja2
// under transformers' apply_chat_template (trim_blocks, lstrip_blocks, loop controls, tojson as json.dumps with
// ensure_ascii=False, raise_exception, strftime_now). A template is compiled once and may be rendered by many threads.
// Rendering is bounded in steps, depth and output, so a hostile template ends with an error.
#ifndef NB_JINJA_H
#define NB_JINJA_H

#include "base/arena.h"
#include "base/json.h"

enum {
    NB_JINJA_SOURCE_MAX = 1 << 20,  // bytes of a template
    NB_JINJA_STEPS_MAX = 20000000,  // evaluated nodes
    NB_JINJA_DEPTH_MAX = 200,       // nesting of expressions, blocks and calls
    NB_JINJA_OUTPUT_MAX = 64 << 20, // bytes of text
};

typedef struct nb_template nb_template;

int nb_template_open(nb_str source, nb_template **out, nb_error *err);
void nb_template_close(nb_template *template);

// Renders with the keys of `context` (an object) as variables. `now` is the clock of strftime_now, seconds since 1970,
// UTC. A raise_exception("...") gives NB_ERR_INPUT with exactly that text as the message; other failures name the line.
int nb_template_render(const nb_template *template, const json_t *context, int64_t now, nb_buf *out, nb_error *err);

#endif
