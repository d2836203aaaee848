// Templates from outside: any bytes compile or fail, and render within the limits. The first line, if it is JSON, is
// the context.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "text/jinja.h"

static json_t *context_of(nb_str *source)
{
    int64_t end = nb_str_find(*source, NB_STR("\n"), 0);
    json_t *context = NULL;
    nb_error err;
    if (end > 0 && nb_json_parse(nb_str_slice(*source, 0, (size_t)end), "context", &context, &err) == NB_OK)
        *source = nb_str_slice(*source, (size_t)end + 1, source->len);
    if (json_is_object(context)) return context;
    json_decref(context);
    return json_pack("{s:[{s:s, s:s}], s:{s:i, s:f}, s:s, s:b}", "messages", "role", "user", "content", "Hi, é!", "d",
                     "a", 1, "b", 2.5, "s", " text ", "t", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    nb_str source = {(const char *)data, n};
    nb_template *template;
    nb_error err;
    json_t *context = context_of(&source);
    if (nb_template_open(source, &template, &err) == NB_OK) {
        nb_buf out = {0};
        nb_template_render(template, context, 1785069296, &out, &err);
        nb_buf_drop(&out);
        nb_template_close(template);
    }
    json_decref(context);
    return 0;
}
