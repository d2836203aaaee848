// Integers beyond 64 bits: before parsing they become strings with a mark, and after writing integers again. A string
// from outside may carry the mark too; so what follows it is always checked to be an integer, and the worst that such a
// string can do is lose its quotes.
#include "base/json_internal.h"

#include <string.h>

#define MARK_IN_JSON "\"\\u0000integer:" // the quote that opens the string, and NB_JSON_INTEGER_MARK

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

// Length of the integer that s begins with, 0 if it begins with none.
static size_t integer_length(nb_str s)
{
    size_t sign = s.len > 0 && s.ptr[0] == '-', n = sign;
    while (n < s.len && s.ptr[n] >= '0' && s.ptr[n] <= '9') n++;
    return n > sign ? n : 0;
}

static bool is_big_integer(nb_str number)
{
    bool negative = number.len > 0 && number.ptr[0] == '-';
    nb_str digits = nb_str_slice(number, negative, number.len);
    nb_str most = negative ? NB_STR("9223372036854775808") : NB_STR("9223372036854775807");
    if (integer_length(number) != number.len || digits.len < most.len || digits.ptr[0] == '0') return false;
    return digits.len > most.len || memcmp(digits.ptr, most.ptr, most.len) > 0;
}

bool nb_json_mark_big(nb_str text, nb_buf *out)
{
    bool in_string = false;
    size_t copied = 0;
    for (size_t i = 0, end; i < text.len; i = end) {
        char c = text.ptr[i];
        end = i + 1;
        if (c == '"') in_string = !in_string;
        if (in_string && c == '\\') end++;
        if (in_string || !is_number_char(c)) continue;
        while (end < text.len && is_number_char(text.ptr[end])) end++;
        if (!is_big_integer(nb_str_slice(text, i, end))) continue;
        nb_buf_add_str(out, nb_str_slice(text, copied, i));
        nb_buf_printf(out, MARK_IN_JSON "%.*s\"", (int)(end - i), text.ptr + i);
        copied = end;
    }
    if (out->len) nb_buf_add_str(out, nb_str_slice(text, copied, text.len));
    return out->len > 0;
}

void nb_json_unmark_big(nb_str text, nb_buf *out)
{
    nb_str mark = NB_STR(MARK_IN_JSON);
    size_t copied = 0;
    for (int64_t at; (at = nb_str_find(text, mark, copied)) >= 0;) {
        size_t digits = (size_t)at + mark.len, n = integer_length(nb_str_slice(text, digits, text.len));
        bool opens = at == 0 || text.ptr[at - 1] != '\\'; // else the quote is text inside a string
        bool whole = opens && n && text.ptr[digits + n] == '"';
        nb_buf_add_str(out, nb_str_slice(text, copied, whole ? (size_t)at : digits));
        if (whole) nb_buf_add_str(out, nb_str_slice(text, digits, digits + n));
        copied = whole ? digits + n + 1 : digits;
    }
    nb_buf_add_str(out, nb_str_slice(text, copied, text.len));
}

nb_str nb_json_big_integer(const json_t *value)
{
    nb_str s = {json_string_value(value), json_string_length(value)}, mark = NB_STR(NB_JSON_INTEGER_MARK);
    if (!s.ptr || !nb_str_starts(s, mark)) return (nb_str){0};
    nb_str digits = nb_str_slice(s, mark.len, s.len);
    return integer_length(digits) == digits.len ? digits : (nb_str){0};
}
