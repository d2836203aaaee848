// Reader of .npy files, version 1.0: the arrays of published test vectors (format: numpy's "NPY format" page).
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { MAGIC_BYTES = 10 }; // "\x93NUMPY", version, length of the header

static size_t item_bytes(const char *dtype)
{
    if (strcmp(dtype, "f4") == 0 || strcmp(dtype, "i4") == 0) return 4;
    if (strcmp(dtype, "i8") == 0) return 8;
    return strcmp(dtype, "u2") == 0 ? 2 : 0;
}

// "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
static void read_header(const char *header, const char *path, nb_npy *array)
{
    const char *descr = strstr(header, "'descr': '<"), *shape = strstr(header, "'shape': (");
    if (!descr || !shape || !strstr(header, "'fortran_order': False")) fail_msg("%s: header %s", path, header);
    memcpy(array->dtype, descr + strlen("'descr': '<"), 2);
    array->n = 1;
    char *at = (char *)shape + strlen("'shape': (");
    while (*at && *at != ')') {
        if (array->n_dim == 8) fail_msg("%s: more than 8 axes", path);
        char *end;
        array->dim[array->n_dim] = strtoll(at, &end, 10);
        if (end == at) fail_msg("%s: header %s", path, header);
        array->n *= array->dim[array->n_dim++];
        at = end + strspn(end, ", ");
    }
}

nb_npy nb_test_npy(const char *path)
{
    nb_map map;
    nb_error err = {0};
    nb_npy array = {0};
    nb_test_ok(nb_map_open(path, &map, &err), &err);
    if (map.n_byte < MAGIC_BYTES || memcmp(map.ptr, "\x93NUMPY\x01", 7) != 0) fail_msg("%s: not .npy 1.0", path);
    size_t header_bytes = map.ptr[8] | (size_t)map.ptr[9] << 8;
    if (map.n_byte < MAGIC_BYTES + header_bytes) fail_msg("%s: truncated", path);
    char *header = strndup((const char *)map.ptr + MAGIC_BYTES, header_bytes);
    read_header(header, path, &array);
    free(header);
    size_t n_byte = (size_t)array.n * item_bytes(array.dtype);
    if (!item_bytes(array.dtype)) fail_msg("%s: dtype %s", path, array.dtype);
    if (map.n_byte != MAGIC_BYTES + header_bytes + n_byte) fail_msg("%s: size does not fit its shape", path);
    array.data = nb_alloc(n_byte);
    memcpy(array.data, map.ptr + MAGIC_BYTES + header_bytes, n_byte);
    nb_map_close(&map);
    return array;
}

float *nb_test_npy_f32(const nb_npy *array)
{
    float *out = nb_alloc((size_t)array->n * sizeof *out);
    for (int64_t i = 0; i < array->n; i++) {
        if (strcmp(array->dtype, "f4") == 0) {
            out[i] = ((const float *)array->data)[i];
        } else if (strcmp(array->dtype, "u2") == 0) {
            uint32_t bits = (uint32_t)((const uint16_t *)array->data)[i] << 16;
            memcpy(&out[i], &bits, sizeof bits);
        } else if (strcmp(array->dtype, "i4") == 0) {
            out[i] = (float)((const int32_t *)array->data)[i];
        } else {
            out[i] = (float)((const int64_t *)array->data)[i];
        }
    }
    return out;
}
