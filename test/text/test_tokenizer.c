// text/tokenizer: merging, added tokens and their flags, what is refused, streams of bytes, long and strange texts.
#include "support/tokenizer_fixture.h"

#include <string.h>

#include "base/threads.h"

static const char *const no_merges[] = {NULL};

static void the_lowest_rank_is_merged_first_and_the_leftmost_of_equals(void **state)
{
    (void)state;
    // 256 bc, 257 ab, 258 abc, 259 aa
    nb_tokenizer *t = fixture_open(fixture_json((const char *const[]){"b c", "a b", "ab c", "a a", NULL}));
    FIXTURE_EXPECT(t, "abc", 'a', 256); // "b c" comes before "a b", and then nothing makes abc
    FIXTURE_EXPECT(t, "ab", 257);
    FIXTURE_EXPECT(t, "aaa", 259, 'a');
    FIXTURE_EXPECT(t, "aaaa", 259, 259);
    fixture_expect(t, NB_STR(""), NULL, 0);
    nb_tokenizer_close(t);
}

static void ignore_merges_takes_a_whole_piece_that_is_a_token(void **state)
{
    (void)state;
    json_t *root = fixture_json((const char *const[]){"b c", "a b", "ab c", NULL});
    json_object_set_new(json_object_get(root, "model"), "ignore_merges", json_true());
    nb_tokenizer *t = fixture_open(root);
    FIXTURE_EXPECT(t, "abc", 258);
    FIXTURE_EXPECT(t, "abcb", 'a', 256, 'b');
    nb_tokenizer_close(t);
}

static void merges_may_be_pairs(void **state)
{
    (void)state;
    json_t *root = fixture_json((const char *const[]){"a b", NULL});
    json_object_set_new(json_object_get(root, "model"), "merges", json_pack("[[s, s]]", "a", "b"));
    nb_tokenizer *t = fixture_open(root);
    FIXTURE_EXPECT(t, "ab", 256);
    nb_tokenizer_close(t);
}

static void every_byte_has_its_token_and_comes_back(void **state)
{
    (void)state;
    nb_tokenizer *t = fixture_open(fixture_json(no_merges));
    for (int byte = 0; byte < 256; byte++) {
        nb_str token = nb_tokenizer_token(t, byte);
        assert_int_equal(token.len, 1);
        assert_int_equal((uint8_t)token.ptr[0], byte);
    }
    assert_int_equal(nb_tokenizer_vocab_size(t), 256);
    assert_int_equal(nb_tokenizer_token(t, 256).len, 0);
    assert_int_equal(nb_tokenizer_token(t, -1).len, 0);
    FIXTURE_EXPECT(t, "\xff", 0xEF, 0xBF, 0xBD); // not UTF-8: U+FFFD
    FIXTURE_EXPECT(t, "a\0b", 'a', 0, 'b');
    nb_tokenizer_close(t);
}

static void nfc_is_applied_and_only_where_asked_for(void **state)
{
    (void)state;
    nb_tokenizer *t = fixture_open(fixture_json(no_merges));
    FIXTURE_EXPECT(t, "e\xCC\x81", 0xC3, 0xA9);
    nb_tokenizer_close(t);
    json_t *root = fixture_json(no_merges);
    json_object_set_new(root, "normalizer", json_null());
    t = fixture_open(root);
    FIXTURE_EXPECT(t, "e\xCC\x81", 'e', 0xCC, 0x81);
    nb_tokenizer_close(t);
    root = fixture_json(no_merges);
    json_object_set_new(root, "normalizer",
                        json_pack("{s:s, s:[{s:s}]}", "type", "Sequence", "normalizers", "type", "NFKC"));
    t = fixture_open(root);
    FIXTURE_EXPECT(t, "\xEF\xAC\x81", 'f', 'i'); // the ligature
    nb_tokenizer_close(t);
}

static void added_tokens_are_cut_out_the_longest_first(void **state)
{
    (void)state;
    json_t *root = fixture_json((const char *const[]){"x y", NULL});
    fixture_add(root, "<x>");   // 257
    fixture_add(root, "<x>>>"); // 258
    nb_tokenizer *t = fixture_open(root);
    FIXTURE_EXPECT(t, "a<x>>>b<x>>", 'a', 258, 'b', 257, '>');
    FIXTURE_EXPECT(t, "xy<x>", 256, 257);
    nb_ids ids = {0};
    nb_error err = {0};
    nb_test_ok(nb_tokenizer_encode(t, NB_STR("<x>"), false, &ids, &err), &err);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.id[0], '<');
    assert_int_equal(nb_tokenizer_find(t, NB_STR("<x>")), 257);
    assert_int_equal(nb_tokenizer_find(t, NB_STR("xy")), 256);
    assert_int_equal(nb_tokenizer_find(t, NB_STR("none")), -1);
    nb_ids_drop(&ids);
    nb_tokenizer_close(t);
}

static void added_tokens_take_white_space_along_if_they_say_so(void **state)
{
    (void)state;
    json_t *root = fixture_json(no_merges);
    json_object_set_new(fixture_add(root, "<l>"), "lstrip", json_true()); // 256
    json_object_set_new(fixture_add(root, "<r>"), "rstrip", json_true()); // 257
    nb_tokenizer *t = fixture_open(root);
    FIXTURE_EXPECT(t, "a \xC2\x85\xE3\x80\x80<l> b", 'a', 256, ' ', 'b');
    FIXTURE_EXPECT(t, "a <r> \n\tb", 'a', ' ', 257, 'b');
    FIXTURE_EXPECT(t, "<r>  <l>  <l>", 257, 256, 256);
    nb_tokenizer_close(t);
}

static void single_words_stand_alone(void **state)
{
    (void)state;
    json_t *root = fixture_json(no_merges);
    json_object_set_new(fixture_add(root, "up"), "single_word", json_true());
    nb_tokenizer *t = fixture_open(root);
    FIXTURE_EXPECT(t, "up,up", 256, ',', 256);
    FIXTURE_EXPECT(t, "cup", 'c', 'u', 'p');
    FIXTURE_EXPECT(t, "up_", 'u', 'p', '_');
    FIXTURE_EXPECT(t, "\xC3\xA9up", 0xC3, 0xA9, 'u', 'p');
    nb_tokenizer_close(t);
}

static void normalized_tokens_are_found_in_normalized_text(void **state)
{
    (void)state;
    json_t *root = fixture_json(no_merges);
    json_object_set_new(fixture_add(root, "<e\xCC\x81>"), "normalized", json_true()); // 256
    fixture_add(root, "<o\xCC\x81>");                                                 // 257
    nb_tokenizer *t = fixture_open(root);
    FIXTURE_EXPECT(t, "<e\xCC\x81><\xC3\xA9>", 256, 256);
    FIXTURE_EXPECT(t, "<o\xCC\x81><\xC3\xB3>", 257, '<', 0xC3, 0xB3, '>');
    nb_tokenizer_close(t);
}

static int parse_with_config(json_t *root, const char *config, nb_tokenizer **t, nb_error *err)
{
    char *text = json_dumps(root, 0);
    int code = nb_tokenizer_parse(nb_str_from(text), nb_str_from(config), t, err);
    free(text);
    json_decref(root);
    return code;
}

static void the_config_s_added_tokens_are_merged_in(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_tokenizer *t;
    json_t *root = fixture_json(no_merges);
    fixture_add(root, "<x>");
    nb_test_ok(parse_with_config(root,
                                 "{\"added_tokens_decoder\": {\"256\": {\"content\": \"<x>\", \"special\": true},"
                                 "\"300\": {\"content\": \"<late>\", \"special\": true, \"normalized\": false}}}",
                                 &t, &err),
               &err);
    FIXTURE_EXPECT(t, "<x><late>", 256, 300);
    assert_int_equal(nb_tokenizer_vocab_size(t), 301);
    assert_true(nb_tokenizer_is_special(t, 300));
    assert_false(nb_tokenizer_is_special(t, 256)); // tokenizer.json knew it first
    assert_false(nb_tokenizer_is_special(t, 299));
    assert_int_equal(nb_tokenizer_token(t, 299).len, 0);
    nb_buf out = {0};
    nb_tokenizer_decode(t, (const int32_t[]){'a', 300, 299, 256, 'b', -5, 9999}, 7, true, &out);
    assert_string_equal(out.ptr, "a<x>b");
    nb_buf_drop(&out);
    nb_tokenizer_close(t);
    root = fixture_json(no_merges);
    fixture_add(root, "<x>");
    nb_test_fails(parse_with_config(root, "{\"added_tokens_decoder\": {\"256\": {\"content\": \"<y>\"}}}", &t, &err),
                  &err, "id 256");
    nb_test_fails(parse_with_config(fixture_json(no_merges),
                                    "{\"added_tokens_decoder\": {\"7x\": {\"content\": \"<y>\"}}}", &t, &err),
                  &err, "added_tokens_decoder.7x");
}

// Replaces the value at "a.b" of the fixture by `json` and expects a refusal that contains `part`.
static void expect_refused(const char *path, const char *json, const char *part)
{
    nb_error err = {0};
    nb_tokenizer *t = NULL;
    json_t *root = fixture_json((const char *const[]){"a b", NULL});
    const char *dot = strchr(path, '.');
    json_t *object = dot ? json_object_get(root, "model") : root;
    json_object_set_new(object, dot ? dot + 1 : path, json_loads(json, JSON_DECODE_ANY, NULL));
    nb_test_fails(fixture_parse(root, &t, &err), &err, part);
}

static void what_is_not_byte_level_bpe_is_refused_by_name(void **state)
{
    (void)state;
    expect_refused("normalizer", "{\"type\": \"Lowercase\"}", "Lowercase");
    expect_refused("normalizer", "7", "normalizer");
    expect_refused("normalizer",
                   "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"NFD\"}]}", "one");
    expect_refused("pre_tokenizer", "null", "ByteLevel");
    expect_refused("pre_tokenizer", "{\"type\": \"Metaspace\"}", "Metaspace");
    expect_refused("pre_tokenizer", "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", "add_prefix_space");
    expect_refused("decoder", "{\"type\": \"WordPiece\"}", "WordPiece");
    expect_refused("model", "[]", "model");
    expect_refused("model.type", "\"Unigram\"", "Unigram");
    expect_refused("model.byte_fallback", "true", "byte_fallback");
    expect_refused("model.dropout", "0.1", "dropout");
    expect_refused("model.end_of_word_suffix", "\"</w>\"", "end_of_word_suffix");
    expect_refused("model.vocab", "{\"a\": 0}", "byte");
    expect_refused("model.vocab", "{\"a\": -1}", "model.vocab");
    expect_refused("model.vocab", "{\"a\": 999999999}", "model.vocab");
    expect_refused("model.vocab", "{\"a\": 1, \"b\": 1}", "two tokens");
    expect_refused("model.vocab", "[]", "model.vocab");
    expect_refused("model.vocab", "{\"a\": 1.5}", "model.vocab");
    expect_refused("model.vocab", "null", "model.vocab");
    expect_refused("model.merges", "{}", "model.merges");
    expect_refused("model.merges", "[\"a\"]", "merges[0]");
    expect_refused("model.merges", "[[\"a\", 1]]", "merges[0]");
    expect_refused("model.merges", "[\"x y\"]", "model.vocab");
    expect_refused("added_tokens", "[{\"id\": 1, \"content\": \"wrong\"}]", "id 1");
    expect_refused("added_tokens", "[{\"id\": -1, \"content\": \"x\"}]", "added_tokens[0]");
    expect_refused("added_tokens", "[{\"id\": 300}]", "content");
}

static void files_with_escapes_mean_the_same(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_tokenizer *t;
    json_t *root = fixture_json((const char *const[]){"a b", NULL});
    json_object_set_new(json_object_get(root, "model"), "type", json_string("BPE"));
    fixture_add(root, "<\xF0\x9F\x98\x80>");
    char *text = json_dumps(root, JSON_ENSURE_ASCII | JSON_INDENT(2));
    json_decref(root);
    nb_test_ok(nb_tokenizer_parse(nb_str_from(text), (nb_str){0}, &t, &err), &err);
    FIXTURE_EXPECT(t, "ab \xC3\xA9 <\xF0\x9F\x98\x80>", 256, ' ', 0xC3, 0xA9, ' ', 257);
    nb_tokenizer_close(t);
    free(text);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    json_t *root = fixture_json((const char *const[]){"a b", "ab c", NULL});
    fixture_add(root, "<x>");
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        nb_error err = {0};
        nb_tokenizer *t;
        char *cut = nb_alloc(i + 1);
        memcpy(cut, text, i);
        int code = nb_tokenizer_parse((nb_str){cut, i}, (nb_str){0}, &t, &err);
        free(cut);
        assert_int_equal(code, NB_ERR_INPUT);
    }
    free(text);
}

static void held_bytes_come_out_when_the_character_is_complete(void **state)
{
    (void)state;
    nb_tokenizer *t = fixture_open(fixture_json(no_merges));
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"\xF0\x9F\x98\x80!", "\xF0\x9F\x98\x80!"},
        {"\xF0\x9F\x98"
         "A",
         "\xEF\xBF\xBD"
         "A"},
        {"\xF0\xF0\x9F\x98\x80", "\xEF\xBF\xBD\xF0\x9F\x98\x80"},
        {"\xE2\x82", "\xEF\xBF\xBD"},
        {"\xC3\xC3\xA9\xA9", "\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_buf out = {0};
        nb_token_stream stream;
        nb_token_stream_open(&stream, t, true);
        for (const char *p = cases[i].bytes; *p; p++) {
            nb_token_stream_add(&stream, (uint8_t)*p, &out);
            assert_true(nb_utf8_valid(nb_buf_str(&out)));
        }
        nb_token_stream_end(&stream, &out);
        assert_string_equal(out.ptr, cases[i].text);
        nb_buf_drop(&out);
    }
    nb_tokenizer_close(t);
}

static void long_pieces_take_no_quadratic_time(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    nb_tokenizer *t = fixture_open(fixture_json((const char *const[]){"a a", "aa aa", "b a", NULL}));
    char *text = nb_alloc(4 * N + 1);
    nb_ids ids = {0};
    nb_error err = {0};
    memset(text, 'a', N);
    nb_test_ok(nb_tokenizer_encode(t, (nb_str){text, N}, true, &ids, &err), &err);
    assert_int_equal(ids.n, N / 4);
    for (size_t i = 0; i < N; i++)
        memcpy(text + 4 * i,
               i % 2 ? "\xCC\x81"
                       "\xCC\x96"
                     : "\xCC\x96\xCC\x81",
               4);
    ids.n = 0;
    nb_test_ok(nb_tokenizer_encode(t, (nb_str){text, 4 * N}, true, &ids, &err), &err);
    assert_int_equal(ids.n, 4 * N);
    assert_int_equal(ids.id[1], 0x96); // all of class 220 before all of class 230
    assert_int_equal(ids.id[2 * N - 1], 0x96);
    assert_int_equal(ids.id[2 * N + 1], 0x81);
    memset(text, ' ', N);
    ids.n = 0;
    nb_test_ok(nb_tokenizer_encode(t, (nb_str){text, N}, true, &ids, &err), &err);
    assert_int_equal(ids.n, N);
    nb_ids_drop(&ids);
    free(text);
    nb_tokenizer_close(t);
}

enum { N_TASK = 64 };
typedef struct shared_use {
    const nb_tokenizer *tokenizer;
    nb_ids ids[N_TASK];
} shared_use;

static void encode_task(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    shared_use *use = user;
    for (int i = 0; i < 50; i++) {
        use->ids[i_task].n = 0;
        nb_tokenizer_encode(use->tokenizer, NB_STR("abab e\xCC\x81 <x> aab"), true, &use->ids[i_task], NULL);
    }
}

static void one_tokenizer_serves_many_threads(void **state)
{
    (void)state;
    json_t *root = fixture_json((const char *const[]){"a b", "ab ab", NULL});
    fixture_add(root, "<x>");
    shared_use use = {.tokenizer = fixture_open(root)};
    nb_threads *team = nb_threads_open(4);
    nb_threads_run(team, encode_task, &use, N_TASK);
    nb_threads_close(team);
    for (int i = 0; i < N_TASK; i++) {
        assert_int_equal(use.ids[i].n, use.ids[0].n);
        assert_memory_equal(use.ids[i].id, use.ids[0].id, (size_t)use.ids[0].n * sizeof(int32_t));
    }
    for (int i = 0; i < N_TASK; i++) nb_ids_drop(&use.ids[i]);
    nb_tokenizer_close((nb_tokenizer *)(uintptr_t)use.tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_rank_is_merged_first_and_the_leftmost_of_equals),
        cmocka_unit_test(ignore_merges_takes_a_whole_piece_that_is_a_token),
        cmocka_unit_test(merges_may_be_pairs),
        cmocka_unit_test(every_byte_has_its_token_and_comes_back),
        cmocka_unit_test(nfc_is_applied_and_only_where_asked_for),
        cmocka_unit_test(added_tokens_are_cut_out_the_longest_first),
        cmocka_unit_test(added_tokens_take_white_space_along_if_they_say_so),
        cmocka_unit_test(single_words_stand_alone),
        cmocka_unit_test(normalized_tokens_are_found_in_normalized_text),
        cmocka_unit_test(the_config_s_added_tokens_are_merged_in),
        cmocka_unit_test(what_is_not_byte_level_bpe_is_refused_by_name),
        cmocka_unit_test(files_with_escapes_mean_the_same),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(held_bytes_come_out_when_the_character_is_complete),
        cmocka_unit_test(long_pieces_take_no_quadratic_time),
        cmocka_unit_test(one_tokenizer_serves_many_threads),
    };
    return nb_test_run("text/tokenizer", tests);
}
