#include "support/tokenizer_fixture.h"

#include <string.h>

const char *fixture_byte(int byte)
{
    static char text[2][8];
    static int turn;
    bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    uint32_t c = (uint32_t)byte;
    if (!printable) {
        c = 256;
        for (int i = 0; i < byte; i++) c += !((i >= 33 && i <= 126) || (i >= 161 && i != 173));
    }
    turn = !turn;
    text[turn][nb_utf8_encode(c, text[turn])] = 0;
    return text[turn];
}

json_t *fixture_json(const char *const *merges)
{
    json_t *vocab = json_object(), *list = json_array();
    for (int i = 0; i < 256; i++) json_object_set_new(vocab, fixture_byte(i), json_integer(i));
    for (; *merges; merges++) {
        const char *space = strchr(*merges, ' ');
        char *token = NULL;
        assert_true(asprintf(&token, "%.*s%s", (int)(space - *merges), *merges, space + 1) > 0);
        if (!json_object_get(vocab, token))
            json_object_set_new(vocab, token, json_integer((json_int_t)json_object_size(vocab)));
        json_array_append_new(list, json_string(*merges));
        free(token);
    }
    return json_pack("{s:{s:s}, s:{s:s, s:b, s:b}, s:[], s:{s:s, s:o, s:o}}", "normalizer", "type", "NFC",
                     "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1, "added_tokens",
                     "model", "type", "BPE", "vocab", vocab, "merges", list);
}

json_t *fixture_add(json_t *root, const char *text)
{
    json_t *list = json_object_get(root, "added_tokens");
    size_t id = json_object_size(json_object_get(json_object_get(root, "model"), "vocab")) + json_array_size(list);
    json_t *token = json_pack("{s:s, s:I, s:b}", "content", text, "id", (json_int_t)id, "normalized", 0);
    json_array_append_new(list, token);
    return token;
}

int fixture_parse(json_t *root, nb_tokenizer **out, nb_error *err)
{
    char *text = json_dumps(root, JSON_COMPACT);
    int code = nb_tokenizer_parse(nb_str_from(text), (nb_str){0}, out, err);
    free(text);
    json_decref(root);
    return code;
}

nb_tokenizer *fixture_open(json_t *root)
{
    nb_error err = {0};
    nb_tokenizer *tokenizer = NULL;
    nb_test_ok(fixture_parse(root, &tokenizer, &err), &err);
    return tokenizer;
}

void fixture_expect(const nb_tokenizer *tokenizer, nb_str text, const int32_t *want, int64_t n)
{
    nb_error err = {0};
    nb_ids ids = {0};
    nb_test_ok(nb_tokenizer_encode(tokenizer, text, true, &ids, &err), &err);
    bool same = ids.n == n && (n == 0 || memcmp(ids.id, want, (size_t)n * sizeof *want) == 0);
    if (!same) {
        print_error("\"%.*s\" gave:", (int)text.len, text.ptr);
        for (int64_t i = 0; i < ids.n; i++) print_error(" %d", ids.id[i]);
        print_error("\n");
    }
    nb_ids_drop(&ids);
    assert_true(same);
}
