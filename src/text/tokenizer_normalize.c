// Decomposes and composes with utf8proc's tables, but sorts the marks itself: utf8proc swaps neighbours, which takes
// hours for a megabyte of marks in the wrong order. Here a run of marks is sorted in linear time.
#include "text/tokenizer_normalize.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/arena.h"

enum { NB_DECOMPOSITION_MAX = 18 }; // code points that one becomes at most (U+FDFA under NFKD)

typedef struct code_points {
    int32_t *c;
    size_t n, cap;
} code_points;

static int parse_one(const json_t *json, nb_normalizer *out, nb_error *err)
{
    static const struct {
        const char *name;
        nb_normalizer value;
    } forms[] = {
        // U+0300 is the first code point that NFC can change; its first byte is 0xCC.
        {"NFC", {UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0xCC}},
        {"NFD", {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0x80}},
        {"NFKC", {UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0x80}},
        {"NFKD", {UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0x80}},
    };
    nb_str type = {0};
    NB_TRY(nb_json_str(json, "normalizer", "type", NB_JSON_REQUIRED, &type, err));
    if (out->form) return nb_error_set(err, NB_ERR_INPUT, "normalizer: only one normal form is supported");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!nb_str_equal_c(type, forms[i].name)) continue;
        *out = forms[i].value;
        return NB_OK;
    }
    return nb_error_set(err, NB_ERR_INPUT, "normalizer: type \"%.40s\" is not supported; NFC, NFD, NFKC and NFKD are",
                        type.ptr);
}

int nb_normalize_parse(const json_t *json, nb_normalizer *out, nb_error *err)
{
    *out = (nb_normalizer){0};
    nb_str type = {0};
    if (!json || json_is_null(json)) return NB_OK;
    if (!json_is_object(json)) return nb_error_set(err, NB_ERR_INPUT, "normalizer must be an object or null");
    NB_TRY(nb_json_str(json, "normalizer", "type", NB_JSON_REQUIRED, &type, err));
    if (!nb_str_equal_c(type, "Sequence")) return parse_one(json, out, err);
    const json_t *list = json_object_get(json, "normalizers");
    if (!json_is_array(list)) return nb_error_set(err, NB_ERR_INPUT, "normalizer.normalizers must be an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        if (!json_is_object(one))
            return nb_error_set(err, NB_ERR_INPUT, "normalizer.normalizers[%zu] must be an object", i);
        NB_TRY(parse_one(one, out, err));
    }
    return NB_OK;
}

static bool is_clean(nb_str text, uint8_t clean_byte)
{
    uint8_t largest = 0;
    for (size_t i = 0; i < text.len; i++) largest = (uint8_t)text.ptr[i] > largest ? (uint8_t)text.ptr[i] : largest;
    return largest < clean_byte;
}

static code_points decompose(nb_str text, int form)
{
    code_points out = {0};
    for (size_t at = 0; at < text.len;) {
        if (out.cap - out.n < NB_DECOMPOSITION_MAX) {
            out.cap = 2 * out.cap + text.len + NB_DECOMPOSITION_MAX;
            out.c = nb_realloc(out.c, out.cap * sizeof(int32_t));
        }
        int32_t c = (int32_t)nb_utf8_decode(text, &at);
        int boundary = 0;
        out.n +=
            (size_t)utf8proc_decompose_char(c, out.c + out.n, (utf8proc_ssize_t)(out.cap - out.n), form, &boundary);
    }
    return out;
}

static int mark_class(int32_t c)
{
    return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
}

// Sorts n marks by their class, equal ones in the order they have; `work` has room for n.
static void sort_marks(int32_t *mark, size_t n, int32_t *work)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) start[mark_class(mark[i]) + 1]++;
    for (int i = 1; i < 257; i++) start[i] += start[i - 1];
    for (size_t i = 0; i < n; i++) work[start[mark_class(mark[i])]++] = mark[i];
    memcpy(mark, work, n * sizeof *mark);
}

// Canonical order: between two characters of class 0, marks stand in the order of their class.
static void order_marks(code_points *text)
{
    int32_t *work = NULL;
    size_t begin = 0; // of the run of marks that position i is in
    bool sorted = true;
    int before = 0;
    for (size_t i = 0; i <= text->n; i++) {
        int class = i < text->n ? mark_class(text->c[i]) : 0;
        if (class == 0) {
            if (!sorted && !work) work = nb_alloc(text->n * sizeof *work);
            if (!sorted) sort_marks(text->c + begin, i - begin, work);
            begin = i + 1;
            sorted = true;
        } else if (class < before) {
            sorted = false;
        }
        before = class;
    }
    free(work);
}

nb_str nb_normalize(const nb_normalizer *normalizer, nb_str text, nb_buf *work)
{
    if (normalizer->form == 0 || is_clean(text, normalizer->clean_byte)) return text;
    code_points c = decompose(text, normalizer->form);
    order_marks(&c);
    utf8proc_ssize_t n = utf8proc_normalize_utf32(c.c, (utf8proc_ssize_t)c.n, (utf8proc_option_t)normalizer->form);
    nb_buf_clear(work);
    nb_buf_reserve(work, 4 * (size_t)n + 1);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        char bytes[4];
        nb_buf_add(work, bytes, (size_t)nb_utf8_encode((uint32_t)c.c[i], bytes));
    }
    free(c.c);
    return nb_buf_str(work);
}
