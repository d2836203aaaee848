// Text and tokenizer.json from outside. The first byte chooses: a whole tokenizer.json; a small one whose expression is
// the input's first line, applied to the rest; or text for a fixed one, whose ids must decode to the same text.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

static int count_piece(void *user, nb_str piece, nb_error *err)
{
    (void)err;
    *(size_t *)user += piece.len;
    return piece.len > 0 ? NB_OK : -100;
}

static void fuzz_file(nb_str input)
{
    nb_error err;
    nb_tokenizer *t;
    if (nb_tokenizer_parse(input, (nb_str){0}, &t, &err) != NB_OK) return;
    nb_ids ids = {0};
    nb_buf text = {0};
    nb_tokenizer_encode(t, input, true, &ids, &err);
    nb_tokenizer_decode(t, ids.id, ids.n, true, &text);
    nb_buf_drop(&text);
    nb_ids_drop(&ids);
    nb_tokenizer_close(t);
}

static void fuzz_pattern(nb_str input)
{
    int64_t end = nb_str_find(input, NB_STR("\n"), 0);
    if (end < 0) return;
    nb_str pattern = nb_str_slice(input, 0, (size_t)end), text = nb_str_slice(input, (size_t)end + 1, input.len);
    json_t *regex = json_stringn(pattern.ptr, pattern.len);
    if (!regex) return;
    json_t *json = json_pack("{s:s, s:[{s:s, s:{s:o}, s:s}, {s:s, s:b, s:b}]}", "type", "Sequence", "pretokenizers",
                             "type", "Split", "pattern", "Regex", regex, "behavior", "Isolated", "type", "ByteLevel",
                             "add_prefix_space", 0, "use_regex", 0);
    nb_error err;
    nb_pretokenizer *p;
    size_t n = 0;
    if (nb_pretokenize_open(json, &p, &err) == NB_OK) {
        if (nb_utf8_valid(text) && nb_pretokenize(p, text, count_piece, &n, &err) == NB_OK && n != text.len) abort();
        nb_pretokenize_close(p);
    }
    json_decref(json);
}

// Every byte a token, two merges, one added token of each kind.
static nb_tokenizer *fixed(void)
{
    static const char head[] =
        "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":"
        "false},\"added_tokens\":[{\"id\":300,\"content\":\"<a>\",\"lstrip\":true,\"rstrip\":true},{\"id\":"
        "301,\"content\":\"e\\u0301>\",\"normalized\":true,\"single_word\":true}],\"model\":{\"merges\":["
        "\"a b\",\"ab c\"],\"vocab\":{\"ab\":256,\"abc\":257";
    nb_buf json = {0};
    nb_buf_add_c(&json, head);
    for (int byte = 0, next = 256; byte < 256; byte++) {
        bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        nb_buf_printf(&json, ",\"\\u%04x\":%d", plain ? byte : next, byte);
        next += !plain;
    }
    nb_buf_add_c(&json, "}}}");
    nb_tokenizer *t = NULL;
    nb_error err;
    if (nb_tokenizer_parse(nb_buf_str(&json), (nb_str){0}, &t, &err) != NB_OK) abort();
    nb_buf_drop(&json);
    return t;
}

static void fuzz_text(nb_str input)
{
    static nb_tokenizer *t;
    if (!t) t = fixed();
    nb_error err;
    nb_ids ids = {0};
    nb_buf once = {0}, twice = {0};
    for (int parse_added = 0; parse_added < 2; parse_added++) {
        ids.n = 0;
        nb_buf_clear(&once);
        nb_buf_clear(&twice);
        if (nb_tokenizer_encode(t, input, parse_added, &ids, &err) != NB_OK) abort();
        nb_tokenizer_decode(t, ids.id, ids.n, false, &once);
        if (!nb_utf8_valid(nb_buf_str(&once))) abort();
        if (parse_added) continue; // white space beside <a> is gone
        // Text that is valid and in NFC comes back as it was.
        ids.n = 0;
        if (nb_tokenizer_encode(t, nb_buf_str(&once), false, &ids, &err) != NB_OK) abort();
        nb_tokenizer_decode(t, ids.id, ids.n, false, &twice);
        if (!nb_str_equal(nb_buf_str(&once), nb_buf_str(&twice))) abort();
    }
    nb_buf_drop(&once);
    nb_buf_drop(&twice);
    nb_ids_drop(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kind[])(nb_str) = {fuzz_file, fuzz_pattern, fuzz_text};
    if (size == 0) return 0;
    char *copy = malloc(size); // exactly as long as it is, so that reading behind it is seen
    if (!copy) abort();
    memcpy(copy, data + 1, size - 1);
    kind[data[0] % 3]((nb_str){copy, size - 1});
    free(copy);
    return 0;
}
