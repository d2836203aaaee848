// Slices and the growable buffer. UTF-8 is in utf8.c.
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

nb_str nb_str_from(const char *c_string)
{
    return c_string ? (nb_str){c_string, strlen(c_string)} : (nb_str){"", 0};
}

bool nb_str_equal(nb_str a, nb_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool nb_str_equal_c(nb_str a, const char *b)
{
    return nb_str_equal(a, nb_str_from(b));
}

bool nb_str_starts(nb_str s, nb_str prefix)
{
    return s.len >= prefix.len && nb_str_equal(nb_str_slice(s, 0, prefix.len), prefix);
}

bool nb_str_ends(nb_str s, nb_str suffix)
{
    return s.len >= suffix.len && nb_str_equal(nb_str_slice(s, s.len - suffix.len, s.len), suffix);
}

int64_t nb_str_find(nb_str s, nb_str needle, size_t from)
{
    if (from > s.len) return -1;
    if (needle.len == 0) return (int64_t)from;
    if (needle.len > s.len - from) return -1; // also the slice without bytes, whose pointer may be NULL
    const char *hit = memmem(s.ptr + from, s.len - from, needle.ptr, needle.len);
    return hit ? hit - s.ptr : -1;
}

nb_str nb_str_slice(nb_str s, size_t from, size_t to)
{
    if (to > s.len) to = s.len;
    if (from > to) from = to;
    return s.ptr ? (nb_str){s.ptr + from, to - from} : (nb_str){"", 0};
}

void nb_buf_reserve(nb_buf *b, size_t n_more)
{
    if (n_more > SIZE_MAX / 2 - b->len - 1) {
        fprintf(stderr, "nibble: a text of %zu more bytes was asked for\n", n_more);
        abort();
    }
    size_t need = b->len + n_more + 1;
    if (need <= b->cap) return;
    size_t cap = b->cap ? b->cap * 2 : 64;
    b->cap = cap > need ? cap : need;
    b->ptr = nb_realloc(b->ptr, b->cap);
    b->ptr[b->len] = 0;
}

void nb_buf_add(nb_buf *b, const void *bytes, size_t n)
{
    nb_buf_reserve(b, n);
    if (n) memcpy(b->ptr + b->len, bytes, n);
    b->len += n;
    b->ptr[b->len] = 0;
}

void nb_buf_add_str(nb_buf *b, nb_str s)
{
    nb_buf_add(b, s.ptr, s.len);
}

void nb_buf_add_c(nb_buf *b, const char *c_string)
{
    nb_buf_add_str(b, nb_str_from(c_string));
}

void nb_buf_add_char(nb_buf *b, char c)
{
    nb_buf_add(b, &c, 1);
}

void nb_buf_printf(nb_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0) {
        nb_buf_reserve(b, (size_t)n);
        vsnprintf(b->ptr + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

nb_str nb_buf_str(const nb_buf *b)
{
    return b->ptr ? (nb_str){b->ptr, b->len} : (nb_str){"", 0};
}

void nb_buf_clear(nb_buf *b)
{
    b->len = 0;
    if (b->ptr) b->ptr[0] = 0;
}

void nb_buf_drop(nb_buf *b)
{
    free(b->ptr);
    *b = (nb_buf){0};
}
