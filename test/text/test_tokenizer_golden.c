// text/tokenizer: ids equal those of the published vectors. The demo's tokenizer is part of the project; the vectors of
// larger vocabularies need the files beside it, and some the Qwen3 vocabulary that tools/fetch_qwen3_tokenizer gets.
#include "support/tokenizer_fixture.h"

#include <string.h>

#include "base/file.h"

#define QWEN3_FOLDER "build/cache/tokenizer-qwen3/package/models"
#define QWEN35_PATTERN                                                                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static nb_str text_of(const json_t *object, const char *key)
{
    const json_t *s = json_object_get(object, key);
    return (nb_str){json_string_value(s), json_string_length(s)};
}

static void expect_ids(const nb_tokenizer *t, nb_str text, const json_t *want)
{
    int64_t n = (int64_t)json_array_size(want);
    int32_t *id = nb_alloc((size_t)(n + 1) * sizeof *id);
    for (int64_t i = 0; i < n; i++) id[i] = (int32_t)json_integer_value(json_array_get(want, (size_t)i));
    fixture_expect(t, text, id, n);
    free(id);
}

static void expect_decoded(const nb_tokenizer *t, const json_t *ids, nb_str want)
{
    nb_buf out = {0};
    nb_token_stream stream;
    nb_token_stream_open(&stream, t, false);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        nb_token_stream_add(&stream, (int32_t)json_integer_value(json_array_get(ids, i)), &out);
        assert_true(nb_utf8_valid(nb_buf_str(&out)));
    }
    nb_token_stream_end(&stream, &out);
    if (!nb_str_equal(nb_buf_str(&out), want)) fail_msg("decoded \"%s\", expected \"%s\"", out.ptr, want.ptr);
    nb_buf_drop(&out);
}

static void demo_strings_have_the_published_ids_and_text(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_tokenizer *t = NULL;
    nb_test_ok(nb_tokenizer_open(nb_test_path("models/demo"), &t, &err), &err);
    json_t *cases = nb_test_json(nb_test_path("test/data/demo/tokenizer_golden.json"));
    assert_int_equal(json_array_size(cases), 335);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        expect_ids(t, text_of(one, "text"), json_object_get(one, "ids"));
        expect_decoded(t, json_object_get(one, "ids"), text_of(one, "decoded"));
    }
    json_decref(cases);
    nb_tokenizer_close(t);
}

// The Qwen3 tokenizer with another expression or without NFC; NULL when it is not there.
static nb_tokenizer *open_qwen3(const char *pattern, bool nfc)
{
    const char *path = nb_test_path(QWEN3_FOLDER "/tokenizer.json");
    if (!nb_file_exists(path)) return NULL;
    json_t *root = nb_test_json(path);
    json_t *splits = json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    if (pattern) {
        json_t *regex = json_object_get(json_array_get(splits, 0), "pattern");
        json_object_set_new(regex, "Regex", json_string(pattern));
    }
    if (!nfc) json_object_set_new(root, "normalizer", json_null());
    return fixture_open(root);
}

static void check_qwen3(const char *pattern, bool nfc, const char *ids_key)
{
    const char *path = nb_test_shared("golden/tokenizer/qwen3/encodings.json");
    nb_tokenizer *t = path ? open_qwen3(pattern, nfc) : NULL;
    if (!t) skip();
    json_t *cases = nb_test_json(path);
    assert_true(json_array_size(cases) > 500);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        const json_t *ids = json_object_get(one, ids_key);
        expect_ids(t, text_of(one, "text"), ids ? ids : json_object_get(one, "ids"));
    }
    json_decref(cases);
    nb_tokenizer_close(t);
}

static void qwen3_strings_have_the_published_ids(void **state)
{
    (void)state;
    check_qwen3(NULL, true, "ids");
}

static void qwen3_strings_under_the_qwen35_expression(void **state)
{
    (void)state;
    check_qwen3(QWEN35_PATTERN, true, "ids_qwen35");
}

static void qwen3_strings_without_a_normalizer(void **state)
{
    (void)state;
    check_qwen3(NULL, false, "ids_no_nfc");
}

// Cases of `.inp` are parted by a line; each has one line of ids in `.out`.
static void check_llama_cpp(const char *name, const char *pattern, int n_case)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char input_path[256], ids_path[256];
    snprintf(input_path, sizeof input_path, "golden/tokenizer/llama.cpp/%s.gguf.inp", name);
    snprintf(ids_path, sizeof ids_path, "golden/tokenizer/llama.cpp/%s.gguf.out", name);
    nb_tokenizer *t = nb_test_shared(input_path) ? open_qwen3(pattern, false) : NULL;
    if (!t) skip();
    nb_arena *arena = nb_arena_open(0);
    nb_error err = {0};
    nb_str input, ids;
    nb_test_ok(nb_file_read(nb_test_shared(input_path), 1 << 20, arena, &input, &err), &err);
    nb_test_ok(nb_file_read(nb_test_shared(ids_path), 1 << 20, arena, &ids, &err), &err);
    int n = 0;
    for (size_t from = 0, line = 0; from <= input.len; n++) {
        int64_t end = nb_str_find(input, NB_STR(mark), from);
        int64_t line_end = nb_str_find(ids, NB_STR("\n"), line);
        if (line_end < 0) line_end = (int64_t)ids.len;
        size_t to = end < 0 ? input.len : (size_t)end;
        json_t *want = json_array();
        for (char *p = (char *)ids.ptr + line, *stop; p < ids.ptr + line_end; p = stop) {
            long id = strtol(p, &stop, 10);
            if (stop == p || stop > ids.ptr + line_end) break;
            json_array_append_new(want, json_integer(id));
        }
        expect_ids(t, nb_str_slice(input, from, to), want);
        json_decref(want);
        from = to + strlen(mark);
        line = (size_t)line_end + 1;
    }
    assert_int_equal(n, n_case);
    nb_arena_close(arena);
    nb_tokenizer_close(t);
}

static void llama_cpp_vectors_of_qwen2(void **state)
{
    (void)state;
    check_llama_cpp("ggml-vocab-qwen2", NULL, 47);
}

static void llama_cpp_vectors_of_qwen35(void **state)
{
    (void)state;
    check_llama_cpp("ggml-vocab-qwen35", QWEN35_PATTERN, 51);
}

static void put_token(json_t *vocab, const char *text, int64_t id)
{
    if (!json_object_get(vocab, text)) json_object_set_new(vocab, text, json_integer(id));
}

static const char *hex_text(const char *hex)
{
    static char text[256];
    size_t n = strlen(hex) / 2;
    assert_true(n < sizeof text);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        text[i] = (char)byte;
    }
    text[n] = 0;
    return text;
}

// A tokenizer from the part of the Qwen3.6 vocabulary that the vectors use. Tokens that only occur on the way to them
// get ids behind the real ones. Merges arrive sorted by their true rank.
static json_t *partial_qwen36(const json_t *golden)
{
    json_t *root = fixture_json((const char *const[]){NULL});
    json_t *model = json_object_get(root, "model"), *vocab = json_object(), *merges = json_array();
    const char *id_text;
    json_t *hex, *merge;
    json_object_foreach(json_object_get(golden, "tokens"), id_text, hex)
    {
        const char *text = hex_text(json_string_value(hex));
        nb_buf spelt = {0};
        for (const char *p = text; *p; p++) nb_buf_add_c(&spelt, fixture_byte((uint8_t)*p));
        if (atoi(id_text) < 248044) {
            put_token(vocab, spelt.ptr, atoi(id_text));
        } else {
            json_object_set_new(fixture_add(root, text), "id", json_integer(atoi(id_text)));
        }
        nb_buf_drop(&spelt);
    }
    int64_t next = 300000;
    for (int i = 0; i < 256; i++) put_token(vocab, fixture_byte(i), next++);
    size_t i;
    json_array_foreach(json_object_get(golden, "merges"), i, merge)
    {
        char text[256];
        const char *left = json_string_value(json_array_get(merge, 0)),
                   *right = json_string_value(json_array_get(merge, 1));
        snprintf(text, sizeof text, "%s%s", left, right);
        put_token(vocab, left, next++);
        put_token(vocab, right, next++);
        put_token(vocab, text, next++);
        json_array_append_new(merges, json_pack("[s, s]", left, right));
    }
    json_object_set_new(model, "vocab", vocab);
    json_object_set_new(model, "merges", merges);
    json_object_set_new(root, "pre_tokenizer",
                        json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence",
                                  "pretokenizers", "type", "Split", "pattern", "Regex", QWEN35_PATTERN, "behavior",
                                  "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0));
    return root;
}

static void qwen36_texts_and_chats_have_the_published_ids(void **state)
{
    (void)state;
    const char *path = nb_test_shared("golden/ds4/qwen36_tokenizer_chat_golden.json");
    if (!path) skip();
    json_t *golden = nb_test_json(path);
    int64_t rank_before = -1;
    size_t i;
    json_t *merge, *one;
    json_array_foreach(json_object_get(golden, "merges"), i, merge)
    {
        assert_true(json_integer_value(json_array_get(merge, 2)) > rank_before);
        rank_before = json_integer_value(json_array_get(merge, 2));
    }
    nb_tokenizer *t = fixture_open(partial_qwen36(golden));
    json_array_foreach(json_object_get(golden, "text_vectors"), i, one)
    {
        expect_ids(t, text_of(one, "text"), json_object_get(one, "token_ids"));
    }
    json_array_foreach(json_object_get(golden, "chat_vectors"), i, one)
    {
        expect_ids(t, text_of(one, "rendered"), json_object_get(one, "token_ids"));
        expect_decoded(t, json_object_get(one, "token_ids"), text_of(one, "rendered"));
    }
    nb_tokenizer_close(t);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_strings_have_the_published_ids_and_text),
        cmocka_unit_test(qwen36_texts_and_chats_have_the_published_ids),
        cmocka_unit_test(qwen3_strings_have_the_published_ids),
        cmocka_unit_test(qwen3_strings_under_the_qwen35_expression),
        cmocka_unit_test(qwen3_strings_without_a_normalizer),
        cmocka_unit_test(llama_cpp_vectors_of_qwen2),
        cmocka_unit_test(llama_cpp_vectors_of_qwen35),
    };
    return nb_test_run("text/tokenizer_golden", tests);
}
