// nibble tokenize: text from stdin becomes ids, or ids become text again, for comparing with other tokenizers.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/commands.h"
#include "text/tokenizer.h"

enum { INPUT_MAX_BYTES = 256 << 20 };

typedef struct tokenize_options {
    bool decode, json, lines, plain, skip_special;
} tokenize_options;

static tokenize_options o; // what the command line said

static int read_stdin(nb_buf *out, nb_error *err)
{
    char bytes[65536];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0) {
        if (out->len + n > INPUT_MAX_BYTES)
            return nb_error_set(err, NB_ERR_LIMIT, "stdin has more than %d bytes", INPUT_MAX_BYTES);
        nb_buf_add(out, bytes, n);
    }
    if (ferror(stdin)) return nb_error_set(err, NB_ERR_IO, "stdin: %s", strerror(errno));
    return NB_OK;
}

static void print_ids(const nb_ids *ids, nb_buf *out)
{
    if (o.json) nb_buf_add_c(out, "{\"ids\": [");
    for (int64_t i = 0; i < ids->n; i++) nb_buf_printf(out, "%s%d", i == 0 ? "" : o.json ? ", " : " ", ids->id[i]);
    nb_buf_add_c(out, o.json ? "]}\n" : "\n");
}

static int encode(const nb_tokenizer *tokenizer, nb_str text, nb_buf *out, nb_error *err)
{
    nb_ids ids = {0};
    int code = nb_tokenizer_encode(tokenizer, text, !o.plain, &ids, err);
    if (code == NB_OK) print_ids(&ids, out);
    nb_ids_drop(&ids);
    return code;
}

// Ids as this command prints them, in either form.
static int parse_ids(nb_str text, int n_vocab, nb_ids *out, nb_error *err)
{
    if (nb_str_starts(text, NB_STR("{\"ids\":"))) text = nb_str_slice(text, 7, text.len);
    const char *end = text.ptr + text.len;
    for (const char *p = text.ptr; p < end;) {
        if (memchr(" \t\r\n,[]}", *p, 8)) {
            p++;
            continue;
        }
        char *behind;
        long id = strtol(p, &behind, 10);
        if (behind == p || id < 0 || id >= n_vocab)
            return nb_error_set(err, NB_ERR_INPUT, "\"%.20s\" is not a token id from 0 to %d", p, n_vocab - 1);
        nb_ids_add(out, (int32_t)id);
        p = behind;
    }
    return NB_OK;
}

static void print_text(nb_str text, nb_buf *out)
{
    if (!o.json) {
        nb_buf_add_str(out, text);
        return;
    }
    json_t *value = json_pack("{s:s%}", "text", text.ptr ? text.ptr : "", text.len);
    nb_json_write(value, out);
    json_decref(value);
    nb_buf_add_char(out, '\n');
}

static int decode(const nb_tokenizer *tokenizer, nb_str text, nb_buf *out, nb_error *err)
{
    nb_ids ids = {0};
    nb_buf decoded = {0};
    int code = parse_ids(text, nb_tokenizer_vocab_size(tokenizer), &ids, err);
    if (code == NB_OK) {
        nb_tokenizer_decode(tokenizer, ids.id, ids.n, o.skip_special, &decoded);
        print_text(nb_buf_str(&decoded), out);
        if (o.lines && !o.json) nb_buf_add_char(out, '\n');
    }
    nb_buf_drop(&decoded);
    nb_ids_drop(&ids);
    return code;
}

static int convert(const nb_tokenizer *tokenizer, nb_str text, nb_buf *out, nb_error *err)
{
    return o.decode ? decode(tokenizer, text, out, err) : encode(tokenizer, text, out, err);
}

// The whole input is one text, or each line is.
static int convert_all(const nb_tokenizer *tokenizer, nb_str text, nb_buf *out, nb_error *err)
{
    if (!o.lines) return convert(tokenizer, text, out, err);
    for (size_t from = 0, n_line = 1; from < text.len; n_line++) {
        int64_t end = nb_str_find(text, NB_STR("\n"), from);
        size_t to = end < 0 ? text.len : (size_t)end;
        if (convert(tokenizer, nb_str_slice(text, from, to), out, err) != NB_OK)
            return nb_error_wrap(err, "line %zu: ", n_line);
        from = to + 1;
    }
    return NB_OK;
}

// NAME is a tokenizer.json, a checkpoint's folder, or ORG/NAME in the hub's cache.
static int open_tokenizer(const char *name, nb_tokenizer **out, nb_error *err)
{
    const char *folder = name;
    if (!nb_file_exists(name) || nb_file_is_dir(name)) NB_TRY(nb_command_checkpoint(name, &folder, err));
    return nb_tokenizer_open(folder, out, err);
}

static int tokenize(const char *name, nb_buf *out, nb_error *err)
{
    nb_tokenizer *tokenizer = NULL;
    nb_buf input = {0};
    int code = open_tokenizer(name, &tokenizer, err);
    if (code == NB_OK) code = read_stdin(&input, err);
    if (code == NB_OK) code = convert_all(tokenizer, nb_buf_str(&input), out, err);
    nb_buf_drop(&input);
    nb_tokenizer_close(tokenizer);
    return code;
}

static const nb_option options[] = {
    {"decode", 'd', NB_OPTION_FLAG, &o.decode, NULL, "stdin has ids, stdout gets text"},
    {"json", 0, NB_OPTION_FLAG, &o.json, NULL, "print {\"ids\": [...]}, or {\"text\": ...} with --decode"},
    {"lines", 'l', NB_OPTION_FLAG, &o.lines, NULL, "each line is a text of its own (its end is not part of it)"},
    {"plain", 0, NB_OPTION_FLAG, &o.plain, NULL, "text that looks like an added token is taken as text"},
    {"skip-special", 0, NB_OPTION_FLAG, &o.skip_special, NULL, "leave special tokens out of decoded text"},
    {0},
};

const nb_command nb_command_tokenize = {
    .name = "tokenize",
    .arguments = "CKPT|FILE",
    .summary = "Turn text from stdin into token ids, or ids back into text",
    .example = "echo -n 'Hello, world!' | nibble tokenize models/demo\n"
               "echo '39 530 78' | nibble tokenize models/demo/tokenizer.json --decode",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 1,
};

int nb_cmd_tokenize(int argc, char **argv)
{
    const char *name = NULL;
    int n_argument = 0;
    nb_error err = {0};
    nb_buf out = {0};
    int code = nb_command_parse(&nb_command_tokenize, argc, argv, &name, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    if (code == NB_OK) code = tokenize(name, &out, &err);
    if (code == NB_OK && out.len > 0) fwrite(out.ptr, 1, out.len, stdout);
    nb_buf_drop(&out);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
