// The header parser: what it reads, and that everything else is refused with the tensor's name.
#include <stdlib.h>
#include <string.h>

#include "checkpoint/safetensors.h"
#include "support/check.h"

// A file of this header and n_data zero bytes behind it.
static int parse(const char *header, size_t n_data, nb_arena *arena, nb_safetensors *out, nb_error *err)
{
    size_t n_header = strlen(header), n_byte = 8 + n_header + n_data;
    uint8_t *file = calloc(1, n_byte); // exactly as long, so that the address sanitizer sees a read behind the end
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n_header >> 8 * i);
    memcpy(file + 8, header, n_header);
    int code = nb_safetensors_parse(file, n_byte, 3, arena, out, err);
    for (int64_t i = 0; i < out->n_tensor; i++) out->tensor[i].data = (const uint8_t *)(out->tensor[i].data - file);
    free(file);
    return code;
}

static void tensors_are_read_in_the_order_of_the_header(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    nb_safetensors file;
    nb_error err = {0};
    const char *header = " { \"__metadata__\" : {\"format\":\"pt\"},\n"
                         "\"b\":{\"shape\":[2,3],\"dtype\":\"BF16\",\"data_offsets\":[4,16]},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                         "\"empty\":{\"dtype\":\"U8\",\"shape\":[0,7],\"data_offsets\":[16,16]}}   ";
    nb_test_ok(parse(header, 16, arena, &file, &err), &err);
    assert_int_equal(file.n_tensor, 3);
    assert_string_equal(file.tensor[0].name.ptr, "b");
    assert_true(file.tensor[0].dtype == NB_DTYPE_BF16 && file.tensor[0].n_dim == 2 && file.tensor[0].dim[1] == 3);
    assert_int_equal((uintptr_t)file.tensor[0].data, 8 + strlen(header) + 4);
    assert_true(file.tensor[1].n_dim == 0 && file.tensor[1].n_byte == 4 && file.tensor[1].shard == 3);
    assert_int_equal(file.tensor[2].n_byte, 0);
    nb_arena_close(arena);
}

static void escapes_in_names_are_decoded(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    nb_safetensors file;
    nb_error err = {0};
    nb_test_ok(
        parse("{\"a\\\"\\\\\\/\\u00e9\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1,
              arena, &file, &err),
        &err);
    assert_string_equal(file.tensor[0].name.ptr, "a\"\\/\xc3\xa9\xf0\x9f\x98\x80\n");
    nb_arena_close(arena);
}

static void headers_that_do_not_hold_are_refused(void **state)
{
    (void)state;
#define T(name, dtype, shape, from, to) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"
    static const struct {
        const char *header;
        size_t n_data;
        const char *part;
    } cases[] = {
        {"", 0, "expected \"{\""},
        {"[]", 0, "expected \"{\""},
        {"{", 0, "expected \"\"\""},
        {"{} x", 0, "text after the end"},
        {"{" T("a", "BF16", "[2]", 0, 4), 4, "expected \"}\""},
        {"{" T("a", "BF16", "[2]", 0, 4) ",}", 4, "expected \"\"\""},
        {"{" T("a", "F4", "[2]", 0, 4) "}", 4, "\"a\": dtype \"F4\" is not supported"},
        {"{" T("a", "BF16", "[3]", 0, 4) "}", 4, "\"a\": its offsets do not hold the bytes"},
        {"{" T("a", "BF16", "[-2]", 0, 4) "}", 4, "not negative"},
        {"{" T("a", "BF16", "[2.0]", 0, 4) "}", 4, "expected \"]\""},
        {"{" T("a", "BF16", "[1,1,1,1,1,2]", 0, 4) "}", 4, "\"a\": too many dimensions"},
        {"{" T("a", "BF16", "[99999999999999999999]", 0, 4) "}", 4, "too large"},
        {"{" T("a", "BF16", "[4611686018427387904,4]", 0, 0) "}", 0, "\"a\": its offsets do not hold"},
        {"{" T("a", "BF16", "[2]", 4, 0) "}", 4, "\"a\": its offsets lie beyond"},
        {"{" T("a", "BF16", "[2]", 0, 4) "}", 3, "\"a\": its offsets lie beyond"},
        {"{" T("a", "BF16", "[2]", 0, 4) "," T("b", "BF16", "[2]", 2, 6) "}", 6, "\"b\": its bytes overlap"},
        {"{" T("a", "BF16", "[2]", 0, 4) "," T("b", "BF16", "[2]", 6, 10) "}", 10, "\"b\": bytes in front"},
        {"{" T("a", "BF16", "[2]", 0, 4) "}", 5, "1 bytes at the end"},
        {"{" T("a", "BF16", "[2]", 0, 4) "," T("a", "BF16", "[2]", 4, 8) "}", 8, "\"a\": there are two"},
        {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2]}}", 4, "\"a\": dtype, shape or data_offsets is missing"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "\"a\": data_offsets must be two"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 1, "\"a\": a field is given twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"other\":1}}", 1, "\"a\": a field other than"},
        {"{\"a\":3}", 0, "expected \"{\""},
        {"{\"a\\u0000b\":{}}", 0, "holds a NUL"},
        {"{\"a\\ud800\":{}}", 0, "surrogate"},
        {"{\"a\\x\":{}}", 0, "unknown escape"},
        {"{\"\xff\":{}}", 0, "not valid UTF-8"},
        {"{\"a\nb\":{}}", 0, "control character"},
        {"{\"a", 0, "ends inside a string"},
        {"{\"a\\", 0, "ends inside a string"},
        {"{\"__metadata__\":{\"x\":1}}", 0, "expected \"\"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_arena *arena = nb_arena_open(0);
        nb_safetensors file;
        nb_error err = {0};
        nb_test_fails(parse(cases[i].header, cases[i].n_data, arena, &file, &err), &err, cases[i].part);
        assert_int_equal(file.n_tensor, 0);
        nb_arena_close(arena);
    }
}

static void header_lengths_beyond_file_or_format_are_refused(void **state)
{
    (void)state;
    nb_arena *arena = nb_arena_open(0);
    nb_safetensors file;
    nb_error err = {0};
    const uint8_t terabyte[16] = {0, 0, 0, 0, 0, 1}, beyond[16] = {100},
                  all[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    nb_test_fails(nb_safetensors_parse(terabyte, 16, 0, arena, &file, &err), &err, "1099511627776 bytes is beyond");
    nb_test_fails(nb_safetensors_parse(beyond, 16, 0, arena, &file, &err), &err, "cut short");
    nb_test_fails(nb_safetensors_parse(all, 8, 0, arena, &file, &err), &err, "beyond");
    nb_test_fails(nb_safetensors_parse(all, 7, 0, arena, &file, &err), &err, "too short");
    nb_test_fails(nb_safetensors_parse(NULL, 0, 0, arena, &file, &err), &err, "too short");
    nb_arena_close(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_read_in_the_order_of_the_header),
        cmocka_unit_test(escapes_in_names_are_decoded),
        cmocka_unit_test(headers_that_do_not_hold_are_refused),
        cmocka_unit_test(header_lengths_beyond_file_or_format_are_refused),
    };
    return nb_test_run("checkpoint/safetensors", tests);
}
