// Jobs of the template engine: compile once, render any number of times. See jinja_internal.h for how the files divide
// the work. A compiled template is only read by rendering, so threads may share it.
#include "text/jinja_internal.h"

#include <string.h>

struct nb_template {
    nb_arena *arena;
    const nb_node *body;
};

void nb_jinja_fail(nb_jinja *j, const char *format, ...)
{
    char message[512];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof(message), format, list);
    va_end(list);
    nb_error_set(j->err, NB_ERR_INPUT, "chat template line %d: %s", j->line, message);
    longjmp(j->failed, 1);
}

void nb_jinja_raise(nb_jinja *j, nb_str message)
{
    nb_error_set(j->err, NB_ERR_INPUT, "%.*s", (int)message.len, message.ptr);
    longjmp(j->failed, 1);
}

void *nb_jinja_alloc(nb_jinja *j, size_t n_byte)
{
    if (n_byte > NB_JINJA_MEMORY_MAX - j->n_byte)
        nb_jinja_fail(j, "it needs more than %d MiB", NB_JINJA_MEMORY_MAX >> 20);
    j->n_byte += n_byte;
    return nb_arena_alloc(j->arena, n_byte);
}

void nb_jinja_charge(nb_jinja *j, size_t n_step)
{
    j->n_step += (int64_t)n_step;
    if (j->n_step > NB_JINJA_STEPS_MAX) nb_jinja_fail(j, "it takes more than %d steps", NB_JINJA_STEPS_MAX);
}

void nb_jinja_enter(nb_jinja *j)
{
    if (++j->depth > NB_JINJA_DEPTH_MAX) nb_jinja_fail(j, "it is nested deeper than %d levels", NB_JINJA_DEPTH_MAX);
}

void nb_jinja_leave(nb_jinja *j)
{
    j->depth--;
}

static int compile(nb_template *template, nb_str source, nb_error *err)
{
    nb_jinja j = {.err = err, .arena = template->arena, .line = 1};
    if (setjmp(j.failed)) return NB_ERR_INPUT;
    template->body = nb_jinja_parse(&j, source);
    return NB_OK;
}

int nb_template_open(nb_str source, nb_template **out, nb_error *err)
{
    if (source.len > NB_JINJA_SOURCE_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "the chat template has more than %d bytes", NB_JINJA_SOURCE_MAX);
    if (!nb_utf8_valid(source)) return nb_error_set(err, NB_ERR_INPUT, "the chat template is not valid UTF-8");
    nb_template *template = nb_alloc(sizeof(*template));
    template->arena = nb_arena_open(0);
    int code = compile(template, source, err);
    if (code == NB_OK)
        *out = template;
    else
        nb_template_close(template);
    return code;
}

void nb_template_close(nb_template *template)
{
    if (!template) return;
    nb_arena_close(template->arena);
    free(template);
}

static void define_context(nb_jinja *j, const json_t *context)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)context, key, item) nb_jinja_define(j, nb_str_from(key), nb_value_from_json(j, item));
}

static int render(nb_jinja *j, const nb_template *template, const json_t *context, nb_buf *out)
{
    if (setjmp(j->failed)) return NB_ERR_INPUT;
    nb_text text = {0};
    nb_scope globals = {0};
    j->out = &text;
    j->scope = &globals;
    define_context(j, context);
    nb_jinja_exec(j, template->body);
    nb_buf_add_str(out, nb_text_str(&text));
    return NB_OK;
}

int nb_template_render(const nb_template *template, const json_t *context, int64_t now, nb_buf *out, nb_error *err)
{
    nb_jinja j = {.err = err, .arena = nb_arena_open(0), .now = now, .line = 1};
    int code = render(&j, template, context, out);
    nb_arena_close(j.arena);
    return code;
}
