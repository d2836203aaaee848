// nibble run: one answer, or a conversation when standard input is a terminal. Written on the library.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/run_internal.h"
#include "cli/session_options.h"

enum { CONTEXT_DEFAULT = 4096, MAX_TOKENS_DEFAULT = 512 };
#define PROMPT_MAX ((size_t)16 << 20)

static nb_session_options session_options = NB_SESSION_DEFAULTS;
static const char *system_text;
static bool chat, no_thinking, ignore_eos, special, json;
static int64_t context = CONTEXT_DEFAULT, max_tokens, top_k = -1, seed;
static double temperature = -1, top_p = -1, min_p = -1, repetition_penalty = -1, presence_penalty, frequency_penalty;

static const nb_option options[] = {
    {"chat", 'c', NB_OPTION_FLAG, &chat, NULL, "put the prompt through the chat template as a user's message"},
    {"system", 's', NB_OPTION_STRING, &system_text, "TEXT", "system message (implies --chat)"},
    {"no-thinking", 0, NB_OPTION_FLAG, &no_thinking, NULL, "answer without a think block (implies --chat)"},
    {"max-tokens", 'n', NB_OPTION_INT, &max_tokens, "N", "tokens to write at most (default 512)"},
    {"max-model-len", 0, NB_OPTION_INT, &context, "N", "context: prompt and answer together"},
    {"temperature", 0, NB_OPTION_DOUBLE, &temperature, "T", "0 takes the likeliest token; default: the checkpoint's"},
    {"top-k", 0, NB_OPTION_INT, &top_k, "N", "draw from the N likeliest; 0: all"},
    {"top-p", 0, NB_OPTION_DOUBLE, &top_p, "P", "draw from the smallest set with this probability"},
    {"min-p", 0, NB_OPTION_DOUBLE, &min_p, "P", "leave out what is less likely than P times the likeliest"},
    {"repetition-penalty", 0, NB_OPTION_DOUBLE, &repetition_penalty, "R", "over prompt and answer; 1: none"},
    {"presence-penalty", 0, NB_OPTION_DOUBLE, &presence_penalty, "A", "for tokens already written"},
    {"frequency-penalty", 0, NB_OPTION_DOUBLE, &frequency_penalty, "A", "for each time a token was written"},
    {"seed", 0, NB_OPTION_INT, &seed, "N", "of the random draws"},
    {"ignore-eos", 0, NB_OPTION_FLAG, &ignore_eos, NULL, "write on past the end tokens"},
    {"special", 0, NB_OPTION_FLAG, &special, NULL, "show special tokens"},
    {"json", 0, NB_OPTION_FLAG, &json, NULL, "print one JSON object at the end instead of streaming text"},
    NB_SESSION_LOAD_ROWS(session_options),
    NB_SESSION_OPTION_ROWS(session_options),
    {0},
};

const nb_command nb_command_run = {
    .name = "run",
    .arguments = "CKPT [PROMPT]",
    .summary = "answer a prompt, or chat on the terminal",
    .example = "nibble run models/demo --chat \"What is the capital of Norway?\\nA. Oslo\\nB. Rome\"",
    .option = options,
    .n_argument_min = 1,
    .n_argument_max = 2,
};

static nibble *running; // what Ctrl-C cancels

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    nibble_cancel(running);
}

static int lift(const nibble_error *from, nb_error *err)
{
    return nb_error_set(err, from->code, "%s", from->message);
}

int nb_run_generate(nibble *model, const nibble_request *request, nibble_result *result, nb_error *err)
{
    nibble_error error;
    struct sigaction cancel = {.sa_handler = on_interrupt}, before;
    running = model;
    sigaction(SIGINT, &cancel, &before);
    int code = nibble_generate(model, request, result, &error);
    sigaction(SIGINT, &before, NULL);
    return code == NIBBLE_OK ? NB_OK : lift(&error, err);
}

static int open_model(const char *name, nibble **out, nb_error *err)
{
    const char *folder, *tokenizer = session_options.tokenizer;
    nibble_error error;
    NB_TRY(nb_command_checkpoint(name, &folder, err));
    if (tokenizer) NB_TRY(nb_command_checkpoint(tokenizer, &tokenizer, err));
    nibble_options o = {.size = sizeof o,
                        .device = session_options.device,
                        .kernels = session_options.kernels,
                        .activations = session_options.activations,
                        .kv_cache_dtype = session_options.kv,
                        .load_format = session_options.load_format,
                        .tokenizer = tokenizer,
                        .gpu_memory_utilization = session_options.gpu_memory_utilization,
                        .max_model_len = context,
                        .n_thread = (int32_t)session_options.n_thread};
    return nibble_open(folder, &o, out, &error) == NIBBLE_OK ? NB_OK : lift(&error, err);
}

static nibble_request make_request(void)
{
    nibble_request q;
    nibble_request_init(&q, sizeof q);
    q.max_tokens = (int32_t)max_tokens;
    q.temperature = temperature;
    q.top_k = (int32_t)top_k;
    q.top_p = top_p;
    q.min_p = min_p;
    q.repetition_penalty = repetition_penalty;
    q.presence_penalty = presence_penalty;
    q.frequency_penalty = frequency_penalty;
    q.seed = (uint64_t)seed;
    q.ignore_eos = ignore_eos;
    q.keep_special = special;
    return q;
}

static const char *template_variables(void)
{
    return no_thinking ? "{\"enable_thinking\": false}" : NULL;
}

static int render(const nibble *model, const char *messages, nb_buf *out, nb_error *err)
{
    nibble_error error;
    int64_t n = nibble_render(model, messages, NULL, template_variables(), NULL, 0, &error);
    if (n < 0) return lift(&error, err);
    nb_buf_reserve(out, (size_t)n);
    out->len = (size_t)nibble_render(model, messages, NULL, template_variables(), out->ptr, (size_t)n, &error);
    return NB_OK;
}

// The prompt as a user's message through the chat template.
static int render_one(const nibble *model, nb_str prompt, nb_buf *out, nb_error *err)
{
    json_t *text = json_stringn(prompt.ptr, prompt.len);
    if (!text) return nb_error_set(err, NB_ERR_INPUT, "the prompt is not valid UTF-8");
    json_t *messages = json_array();
    nb_buf json_text = {0};
    if (system_text) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system_text));
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", text));
    nb_json_write(messages, &json_text);
    int code = render(model, json_text.ptr, out, err);
    nb_buf_drop(&json_text);
    json_decref(messages);
    return code;
}

static int read_prompt(const char *argument, nb_buf *out, nb_error *err)
{
    if (argument) {
        nb_buf_add_c(out, argument);
        return NB_OK;
    }
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, stdin)) > 0;) {
        if (out->len + n > PROMPT_MAX) return nb_error_set(err, NB_ERR_LIMIT, "the prompt is longer than 16 MiB");
        nb_buf_add(out, block, n);
    }
    return NB_OK;
}

static int make_prompt(const nibble *model, const char *argument, nb_buf *out, nb_error *err)
{
    nb_buf text = {0};
    int code = read_prompt(argument, &text, err);
    if (code == NB_OK && (chat || system_text || no_thinking)) {
        code = render_one(model, nb_buf_str(&text), out, err);
        nb_buf_drop(&text);
    } else {
        *out = text;
    }
    return code;
}

static double rate(double amount, int64_t us)
{
    return us > 0 ? amount * 1e6 / (double)us : 0;
}

static double decode_gb_per_s(const nibble_result *r)
{
    return rate(r->step_bytes * (r->n_output - 1), r->decode_us) / 1e9;
}

static const char *finish_name(int finish)
{
    return finish == NIBBLE_FINISH_STOP ? "stop" : finish == NIBBLE_FINISH_LENGTH ? "length" : "cancelled";
}

static void print_json(const nibble_result *r, const nb_buf *text)
{
    json_t *object = json_pack(
        "{s:o, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:o}", "text", json_stringn(text->ptr ? text->ptr : "", text->len),
        "finish_reason", finish_name(r->finish), "prompt_tokens", (int)r->n_prompt, "cached_tokens", (int)r->n_cached,
        "completion_tokens", (int)r->n_output, "prefill_tokens_per_s", rate(r->n_prompt, r->prefill_us),
        "decode_tokens_per_s", rate(r->n_output - 1, r->decode_us), "decode_gb_per_s", decode_gb_per_s(r),
        "logits_hash", json_sprintf("%016llx", (unsigned long long)r->logits_hash));
    nb_buf out = {0};
    nb_json_write(object, &out);
    puts(out.ptr);
    nb_buf_drop(&out);
    json_decref(object);
}

static void print_summary(const nibble_result *r)
{
    fflush(stdout);
    fprintf(stderr, "\n[%d prompt tokens, %.1f tokens/s; %d tokens, %.1f tokens/s, %.2f GB/s; %s; logits %016llx]\n",
            r->n_prompt, rate(r->n_prompt, r->prefill_us), r->n_output, rate(r->n_output - 1, r->decode_us),
            decode_gb_per_s(r), finish_name(r->finish), (unsigned long long)r->logits_hash);
}

static int stream_text(void *user, int part, const char *text, size_t n_byte)
{
    (void)part;
    nb_buf_add(user, text, n_byte);
    if (json || n_byte == 0) return 0;
    fwrite(text, 1, n_byte, stdout);
    fflush(stdout);
    return 0;
}

static int answer(nibble *model, const char *argument, nb_error *err)
{
    nb_buf prompt = {0}, text = {0};
    nibble_result result = {.size = sizeof result};
    nibble_request q = make_request();
    if (max_tokens == 0) q.max_tokens = MAX_TOKENS_DEFAULT;
    int code = make_prompt(model, argument, &prompt, err);
    q.prompt = prompt.ptr ? prompt.ptr : "";
    q.n_prompt_byte = prompt.len;
    q.want_logits_hash = 1;
    q.on_text = stream_text;
    q.user = &text;
    if (code == NB_OK) code = nb_run_generate(model, &q, &result, err);
    if (code == NB_OK && json) print_json(&result, &text);
    if (code == NB_OK && !json) print_summary(&result);
    nb_buf_drop(&prompt);
    nb_buf_drop(&text);
    return code;
}

static int run(const char **argument, int n_argument, nb_error *err)
{
    nibble *model;
    NB_TRY(open_model(argument[0], &model, err));
    nibble_request q = make_request();
    bool interactive = n_argument == 1 && isatty(STDIN_FILENO);
    int code = interactive ? nb_run_chat(model, &q, system_text, template_variables(), err)
                           : answer(model, n_argument == 2 ? argument[1] : NULL, err);
    nibble_close(model);
    return code;
}

int nb_cmd_run(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[2];
    int n_argument, code = nb_command_parse(&nb_command_run, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    if (code == NB_OK) code = run(argument, n_argument, &err);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
