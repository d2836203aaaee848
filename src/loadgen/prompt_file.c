// Prompts from files: JSON lines, and ShareGPT's JSON.
#include <string.h>

#include "loadgen/prompt_set.h"

enum {
    OUTPUT_DEFAULT = 256,
    ORDER_STREAM = 3,
    SHAREGPT_TOKENS_MIN = 4,
    SHAREGPT_INPUT_TOKENS_MAX = 1024,
    SHAREGPT_TOKENS_MAX = 2048,
};

static nb_str json_text(const json_t *value, nb_arena *arena)
{
    nb_buf text = {0};
    nb_json_write(value, &text);
    nb_str copy = nb_arena_str(arena, nb_buf_str(&text));
    nb_buf_drop(&text);
    return copy;
}

static int read_row(const json_t *row, const char *what, const nb_prompt_options *o, nb_arena *arena, nb_prompt *out,
                    nb_error *err)
{
    nb_str prompt = {0};
    int64_t n_output = OUTPUT_DEFAULT;
    const json_t *messages = json_object_get(row, "messages");
    NB_TRY(nb_json_str(row, what, "prompt", messages ? NB_JSON_OPTIONAL : NB_JSON_REQUIRED, &prompt, err));
    NB_TRY(nb_json_int(row, what, "output_tokens", NB_JSON_OPTIONAL, &n_output, err));
    if (messages && !json_is_array(messages))
        return nb_error_set(err, NB_ERR_INPUT, "%s.messages must be a list", what);
    if (o->output_len) n_output = o->output_len;
    if (n_output < 1 || n_output > NB_PROMPT_TOKENS_MAX)
        return nb_error_set(err, NB_ERR_INPUT, "%s.output_tokens must be from 1 to %d", what, NB_PROMPT_TOKENS_MAX);
    *out = (nb_prompt){.n_output = (int)n_output};
    if (messages) {
        out->messages = json_text(messages, arena);
    } else {
        out->text = nb_arena_str(arena, prompt);
    }
    return NB_OK;
}

static int read_line(nb_str line, int number, const nb_prompt_options *o, nb_arena *arena, nb_prompt *out,
                     nb_error *err)
{
    char what[32];
    json_t *row = NULL;
    snprintf(what, sizeof what, "line %d", number);
    int code = nb_json_parse(line, what, &row, err);
    if (code == NB_OK && !json_is_object(row))
        code = nb_error_set(err, NB_ERR_INPUT, "%s of the dataset is not a JSON object", what);
    if (code == NB_OK) code = read_row(row, what, o, arena, out, err);
    json_decref(row);
    return code;
}

int nb_prompt_jsonl(nb_str file, const nb_prompt_options *o, nb_arena *arena, nb_prompt_set *out, nb_error *err)
{
    *out = (nb_prompt_set){NB_ARENA_ARRAY(arena, nb_prompt, o->n), 0};
    int number = 0;
    for (size_t at = 0; at < file.len && out->n < o->n;) {
        int64_t end = nb_str_find(file, NB_STR("\n"), at);
        nb_str line = nb_str_slice(file, at, end < 0 ? file.len : (size_t)end);
        at += line.len + 1;
        number++;
        if (line.len == 0 || nb_str_equal_c(line, "\r")) continue;
        NB_TRY(read_line(line, number, o, arena, &out->prompt[out->n], err));
        out->n++;
    }
    if (out->n == 0) return nb_error_set(err, NB_ERR_INPUT, "the dataset has no prompts");
    for (int n_read = out->n; out->n < o->n; out->n++) out->prompt[out->n] = out->prompt[out->n % n_read];
    return NB_OK;
}

// A conversation's first two turns; false when it has no such turns.
static bool read_turns(const json_t *row, nb_str *prompt, nb_str *answer)
{
    const json_t *turns = json_object_get(row, "conversations");
    const json_t *first = json_object_get(json_array_get(turns, 0), "value");
    const json_t *second = json_object_get(json_array_get(turns, 1), "value");
    if (!json_is_string(first) || !json_is_string(second) || json_string_length(first) == 0) return false;
    *prompt = (nb_str){json_string_value(first), json_string_length(first)};
    *answer = (nb_str){json_string_value(second), json_string_length(second)};
    return true;
}

// Counts both turns and says whether the conversation has a usual size.
static int count(const nb_endpoint *endpoint, nb_str answer, int64_t output_len, nb_arena *scratch, nb_prompt *p,
                 bool *usual, nb_error *err)
{
    int32_t *id;
    NB_TRY(nb_endpoint_tokenize(endpoint, p->text, scratch, &id, &p->n_input, err));
    if (!output_len) NB_TRY(nb_endpoint_tokenize(endpoint, answer, scratch, &id, &p->n_output, err));
    nb_arena_reset(scratch);
    bool long_enough = p->n_input >= SHAREGPT_TOKENS_MIN && (output_len || p->n_output >= SHAREGPT_TOKENS_MIN);
    *usual = long_enough && p->n_input <= SHAREGPT_INPUT_TOKENS_MAX && p->n_input + p->n_output <= SHAREGPT_TOKENS_MAX;
    return NB_OK;
}

static int pick(const nb_endpoint *endpoint, const json_t *rows, const size_t *order, const nb_prompt_options *o,
                nb_arena *arena, nb_arena *scratch, nb_prompt_set *out, nb_error *err)
{
    for (size_t i = 0; i < json_array_size(rows) && out->n < o->n; i++) {
        nb_prompt *p = &out->prompt[out->n];
        nb_str prompt, answer;
        bool usual = true;
        if (!read_turns(json_array_get(rows, order[i]), &prompt, &answer)) continue;
        *p = (nb_prompt){.text = nb_arena_str(arena, prompt), .n_output = (int)o->output_len};
        if (endpoint->tokenizer_path) NB_TRY(count(endpoint, answer, o->output_len, scratch, p, &usual, err));
        out->n += usual;
        if (o->progress) o->progress(o->user, out->n, o->n);
    }
    return NB_OK;
}

// Fisher and Yates.
static size_t *shuffled(size_t n, uint64_t seed, nb_arena *arena)
{
    size_t *order = NB_ARENA_ARRAY(arena, size_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        size_t j = (size_t)nb_prompt_draw(seed, ORDER_STREAM, i, (int64_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

int nb_prompt_sharegpt(const nb_endpoint *endpoint, nb_str file, const nb_prompt_options *o, nb_arena *arena,
                       nb_prompt_set *out, nb_error *err)
{
    json_t *rows = NULL;
    *out = (nb_prompt_set){NB_ARENA_ARRAY(arena, nb_prompt, o->n), 0};
    if (!o->output_len && !endpoint->tokenizer_path)
        return nb_error_set(err, NB_ERR_USAGE, "the server cannot count tokens; give --output-len");
    NB_TRY(nb_json_parse(file, "the dataset", &rows, err));
    nb_arena *scratch = nb_arena_open(0);
    int code = pick(endpoint, rows, shuffled(json_array_size(rows), o->seed, arena), o, arena, scratch, out, err);
    nb_arena_close(scratch);
    json_decref(rows);
    if (code == NB_OK && out->n == 0) code = nb_error_set(err, NB_ERR_INPUT, "the dataset has no usable conversation");
    for (int n_read = out->n; code == NB_OK && out->n < o->n; out->n++)
        out->prompt[out->n] = out->prompt[out->n % n_read];
    return code;
}
