// Messages of nb_error. Everybody calls this; it allocates nothing, so it also works when memory ran out.
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// A message is one line whatever names from outside were put into it.
static void flatten(char *text)
{
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = ' ';
    }
}

int nb_error_set(nb_error *err, int code, const char *format, ...)
{
    if (!err) return code;
    // Formatted aside first: an argument may be the old message.
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    flatten(text);
    err->code = code;
    memcpy(err->text, text, sizeof text);
    return code;
}

int nb_error_wrap(nb_error *err, const char *format, ...)
{
    if (!err) return NB_ERR_INPUT;
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) n = 0;
    if ((size_t)n < sizeof text) snprintf(text + n, sizeof text - (size_t)n, "%s", err->text);
    flatten(text);
    memcpy(err->text, text, sizeof text);
    return err->code;
}
