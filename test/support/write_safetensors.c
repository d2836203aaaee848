// The list of tensors and its file format. Written independently of the reader that it tests.
#include "support/write_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"

static size_t dtype_bytes(const char *dtype)
{
    if (!strcmp(dtype, "F64") || !strcmp(dtype, "I64")) return 8;
    if (!strcmp(dtype, "F32") || !strcmp(dtype, "I32")) return 4;
    if (!strcmp(dtype, "BF16") || !strcmp(dtype, "F16")) return 2;
    return 1;
}

nb_test_tensor *nb_test_file_add(nb_test_file *file, const char *name, const char *dtype, int n_dim, const int64_t *dim)
{
    if (file->n == file->cap) {
        file->cap = file->cap ? 2 * file->cap : 64;
        file->tensor = realloc(file->tensor, (size_t)file->cap * sizeof *file->tensor);
        assert_non_null(file->tensor);
    }
    nb_test_tensor *t = &file->tensor[file->n++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    t->n_dim = n_dim;
    t->n_byte = dtype_bytes(dtype);
    for (int i = 0; i < n_dim; i++) t->n_byte *= (size_t)(t->dim[i] = dim[i]);
    t->data = calloc(1, t->n_byte + 1);
    assert_non_null(t->data);
    return t;
}

static int index_of(const nb_test_file *file, const char *name)
{
    for (int i = 0; i < file->n; i++)
        if (!strcmp(file->tensor[i].name, name)) return i;
    fail_msg("the test's file has no tensor %s", name);
    return -1;
}

nb_test_tensor *nb_test_file_find(nb_test_file *file, const char *name)
{
    return &file->tensor[index_of(file, name)];
}

void nb_test_file_remove(nb_test_file *file, const char *name)
{
    int i = index_of(file, name);
    free(file->tensor[i].data);
    memmove(&file->tensor[i], &file->tensor[i + 1], (size_t)(--file->n - i) * sizeof *file->tensor);
}

void nb_test_file_drop(nb_test_file *file)
{
    for (int i = 0; i < file->n; i++) free(file->tensor[i].data);
    free(file->tensor);
    *file = (nb_test_file){0};
}

static void write_header(const nb_test_file *file, nb_buf *out)
{
    size_t at = 0;
    nb_buf_add_c(out, "{");
    for (int i = 0; i < file->n; i++) {
        const nb_test_tensor *t = &file->tensor[i];
        nb_buf_printf(out, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", t->name, t->dtype);
        for (int d = 0; d < t->n_dim; d++) nb_buf_printf(out, "%s%lld", d ? "," : "", (long long)t->dim[d]);
        nb_buf_printf(out, "],\"data_offsets\":[%zu,%zu]}", at, at + t->n_byte);
        at += t->n_byte;
    }
    nb_buf_add_c(out, "}");
    while (out->len % 8) nb_buf_add_char(out, ' ');
}

void nb_test_file_write(const nb_test_file *file, const char *path)
{
    nb_buf header = {0};
    write_header(file, &header);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.len >> 8 * i);
    fwrite(length, 1, sizeof length, f);
    fwrite(header.ptr, 1, header.len, f);
    for (int i = 0; i < file->n; i++) fwrite(file->tensor[i].data, 1, file->tensor[i].n_byte, f);
    assert_int_equal(fclose(f), 0);
    nb_buf_drop(&header);
}

void nb_test_write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}
