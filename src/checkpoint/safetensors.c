// The reader of safetensors headers: a strict parser of just the JSON that the format allows, because a general one
// would build a tree of a million nodes for the 124,468 tensors of a full-size checkpoint. One pass fills the tensors;
// then their ranges must cover the data without gaps, and their names must differ.
#include "checkpoint/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/header_reader.h"
#include "checkpoint/tensor_table.h"

typedef struct list { // grows while the header is read, then is copied to the arena at its final size
    nb_tensor *tensor;
    int64_t n, cap;
} list;

typedef struct entry { // of the header: offsets count from the end of the header
    bool has_dtype, has_shape, has_offsets;
    uint64_t begin, end;
} entry;

static int refuse(nb_header_reader *r, const nb_tensor *tensor, const char *what)
{
    return nb_error_set(r->err, NB_ERR_INPUT, "tensor \"%.*s\": %s", (int)tensor->name.len, tensor->name.ptr, what);
}

static int read_dtype(nb_header_reader *r, nb_tensor *tensor)
{
    nb_str name;
    NB_TRY(nb_header_string(r, &name));
    if (nb_dtype_parse(name, &tensor->dtype)) return NB_OK;
    return nb_error_set(r->err, NB_ERR_INPUT, "tensor \"%.*s\": dtype \"%.*s\" is not supported", (int)tensor->name.len,
                        tensor->name.ptr, (int)(name.len < 32 ? name.len : 32), name.ptr);
}

// An array of at most `max` numbers.
static int read_numbers(nb_header_reader *r, const nb_tensor *tensor, uint64_t *number, int max, int *n)
{
    *n = 0;
    NB_TRY(nb_header_expect(r, '['));
    if (nb_header_take(r, ']')) return NB_OK;
    do {
        if (*n == max) return refuse(r, tensor, "too many dimensions or offsets");
        NB_TRY(nb_header_number(r, &number[(*n)++]));
    } while (nb_header_take(r, ','));
    return nb_header_expect(r, ']');
}

static int read_shape(nb_header_reader *r, nb_tensor *tensor)
{
    uint64_t dim[NB_TENSOR_DIM_MAX];
    NB_TRY(read_numbers(r, tensor, dim, NB_TENSOR_DIM_MAX, &tensor->n_dim));
    for (int i = 0; i < tensor->n_dim; i++) tensor->dim[i] = (int64_t)dim[i];
    return NB_OK;
}

static int read_offsets(nb_header_reader *r, const nb_tensor *tensor, entry *e)
{
    uint64_t offset[2];
    int n;
    NB_TRY(read_numbers(r, tensor, offset, 2, &n));
    if (n != 2) return refuse(r, tensor, "data_offsets must be two numbers");
    e->begin = offset[0];
    e->end = offset[1];
    return NB_OK;
}

static int read_field(nb_header_reader *r, nb_tensor *tensor, entry *e)
{
    nb_str key;
    NB_TRY(nb_header_string(r, &key));
    NB_TRY(nb_header_expect(r, ':'));
    bool *seen = nb_str_equal_c(key, "dtype")          ? &e->has_dtype
                 : nb_str_equal_c(key, "shape")        ? &e->has_shape
                 : nb_str_equal_c(key, "data_offsets") ? &e->has_offsets
                                                       : NULL;
    if (!seen) return refuse(r, tensor, "a field other than dtype, shape and data_offsets");
    if (*seen) return refuse(r, tensor, "a field is given twice");
    *seen = true;
    if (seen == &e->has_dtype) return read_dtype(r, tensor);
    if (seen == &e->has_shape) return read_shape(r, tensor);
    return read_offsets(r, tensor, e);
}

// Bytes that dtype and shape ask for; false if they exceed what a size can hold.
static bool wanted_bytes(const nb_tensor *tensor, uint64_t *n_byte)
{
    *n_byte = nb_dtype_bytes(tensor->dtype);
    for (int i = 0; i < tensor->n_dim; i++)
        if (__builtin_mul_overflow(*n_byte, (uint64_t)tensor->dim[i], n_byte)) return false;
    return true;
}

static int read_tensor(nb_header_reader *r, nb_tensor *tensor)
{
    entry e = {0};
    NB_TRY(nb_header_expect(r, '{'));
    do NB_TRY(read_field(r, tensor, &e));
    while (nb_header_take(r, ','));
    NB_TRY(nb_header_expect(r, '}'));
    if (!e.has_dtype || !e.has_shape || !e.has_offsets)
        return refuse(r, tensor, "dtype, shape or data_offsets is missing");
    if (e.begin > e.end || e.end > r->n_data)
        return refuse(r, tensor, "its offsets lie beyond the end of the file (cut short?)");
    uint64_t n_byte;
    if (!wanted_bytes(tensor, &n_byte) || n_byte != e.end - e.begin)
        return refuse(r, tensor, "its offsets do not hold the bytes that dtype and shape ask for");
    tensor->data = r->data + e.begin;
    tensor->n_byte = (size_t)n_byte;
    return NB_OK;
}

static int read_metadata(nb_header_reader *r)
{
    NB_TRY(nb_header_expect(r, '{'));
    if (nb_header_take(r, '}')) return NB_OK;
    do {
        nb_str ignored;
        NB_TRY(nb_header_string(r, &ignored));
        NB_TRY(nb_header_expect(r, ':'));
        NB_TRY(nb_header_string(r, &ignored));
    } while (nb_header_take(r, ','));
    return nb_header_expect(r, '}');
}

static int read_entry(nb_header_reader *r, list *l, int shard, nb_arena *arena)
{
    nb_str name;
    NB_TRY(nb_header_string(r, &name));
    NB_TRY(nb_header_expect(r, ':'));
    if (nb_str_equal_c(name, "__metadata__")) return read_metadata(r);
    if (name.len > NB_TENSOR_NAME_MAX || memchr(name.ptr, 0, name.len))
        return nb_error_set(r->err, NB_ERR_INPUT, "a tensor name is longer than %d bytes or holds a NUL",
                            NB_TENSOR_NAME_MAX);
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 256;
        l->tensor = nb_realloc(l->tensor, (size_t)l->cap * sizeof *l->tensor);
    }
    nb_tensor *tensor = &l->tensor[l->n++];
    *tensor = (nb_tensor){.name = nb_arena_str(arena, name), .shard = shard};
    return read_tensor(r, tensor);
}

static int read_header(nb_header_reader *r, list *l, int shard, nb_arena *arena)
{
    NB_TRY(nb_header_expect(r, '{'));
    if (!nb_header_take(r, '}')) {
        do NB_TRY(read_entry(r, l, shard, arena));
        while (nb_header_take(r, ','));
        NB_TRY(nb_header_expect(r, '}'));
    }
    return nb_header_end(r);
}

static int compare_data(const void *a, const void *b)
{
    const nb_tensor *x = *(nb_tensor *const *)a, *y = *(nb_tensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->n_byte < y->n_byte ? -1 : x->n_byte > y->n_byte;
}

static int check_cover(nb_header_reader *r, nb_tensor **by_data, int64_t n)
{
    const uint8_t *at = r->data;
    for (int64_t i = 0; i < n; i++) {
        if (by_data[i]->data < at) return refuse(r, by_data[i], "its bytes overlap those of another tensor");
        if (by_data[i]->data > at) return refuse(r, by_data[i], "bytes in front of it belong to no tensor");
        at += by_data[i]->n_byte;
    }
    if (at == r->data + r->n_data) return NB_OK;
    return nb_error_set(r->err, NB_ERR_INPUT, "%zu bytes at the end belong to no tensor",
                        (size_t)(r->data + r->n_data - at));
}

static int check_ranges(nb_header_reader *r, nb_tensor *tensor, int64_t n)
{
    nb_tensor **by_data = nb_alloc(((size_t)n + 1) * sizeof *by_data);
    bool sorted = true;
    for (int64_t i = 0; i < n; i++) {
        by_data[i] = &tensor[i];
        sorted = sorted && (i == 0 || compare_data(&by_data[i - 1], &by_data[i]) <= 0);
    }
    if (!sorted) qsort(by_data, (size_t)n, sizeof *by_data, compare_data);
    int code = check_cover(r, by_data, n);
    free(by_data);
    return code;
}

static int check_names(nb_header_reader *r, const nb_tensor *tensor, int64_t n)
{
    nb_tensor_table table;
    nb_tensor_table_open(&table, n);
    int code = NB_OK;
    for (int64_t i = 0; i < n && !code; i++)
        if (nb_tensor_table_add(&table, &tensor[i])) code = refuse(r, &tensor[i], "there are two tensors of this name");
    nb_tensor_table_close(&table);
    return code;
}

static int open_header(nb_header_reader *r, const uint8_t *file, size_t n_byte)
{
    if (n_byte < 8) return nb_error_set(r->err, NB_ERR_INPUT, "%zu bytes: too short for a safetensors file", n_byte);
    uint64_t n_header = 0;
    for (int i = 7; i >= 0; i--) n_header = n_header << 8 | file[i];
    if (n_header > NB_SAFETENSORS_HEADER_MAX)
        return nb_error_set(r->err, NB_ERR_INPUT,
                            "a header of %llu bytes is beyond the format's 100 MB: not a safetensors file?",
                            (unsigned long long)n_header);
    if (n_header > n_byte - 8)
        return nb_error_set(r->err, NB_ERR_INPUT, "a header of %llu bytes in a file of %zu: the file was cut short",
                            (unsigned long long)n_header, n_byte);
    r->begin = r->at = (const char *)file + 8;
    r->end = r->at + n_header;
    r->data = file + 8 + n_header;
    r->n_data = n_byte - 8 - (size_t)n_header;
    return NB_OK;
}

int nb_safetensors_parse(const uint8_t *file, size_t n_byte, int shard, nb_arena *arena, nb_safetensors *out,
                         nb_error *err)
{
    *out = (nb_safetensors){0};
    nb_header_reader r = {.err = err};
    NB_TRY(open_header(&r, file, n_byte));
    list l = {0};
    int code = read_header(&r, &l, shard, arena);
    if (!code) code = check_ranges(&r, l.tensor, l.n);
    if (!code) code = check_names(&r, l.tensor, l.n);
    if (!code) {
        out->tensor = nb_arena_copy(arena, l.tensor, (size_t)l.n * sizeof *l.tensor);
        out->n_tensor = l.n;
    }
    free(l.tensor);
    nb_buf_drop(&r.scratch);
    return code;
}
