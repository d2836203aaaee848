// nibble run: one answer, or a conversation when standard input is a terminal.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/run_internal.h"
#include "model/plan.h"

enum { CONTEXT_DEFAULT = 4096, MAX_TOKENS_DEFAULT = 512 };
#define PROMPT_MAX ((size_t)16 << 20)

static nb_session_options session_options = NB_SESSION_DEFAULTS;
static nb_run_options run_options;
static bool chat, raw, json;
static int64_t context = CONTEXT_DEFAULT, top_k = -1, seed;
static double temperature = -1, top_p = -1, min_p = -1, repetition_penalty = -1, presence_penalty, frequency_penalty;

static const nb_option options[] = {
    {"chat", 'c', NB_OPTION_FLAG, &chat, NULL, "put the prompt through the chat template as a user's message"},
    {"system", 's', NB_OPTION_STRING, &run_options.system, "TEXT", "system message (implies --chat)"},
    {"no-thinking", 0, NB_OPTION_FLAG, &run_options.no_thinking, NULL, "answer without a think block (implies --chat)"},
    {"max-tokens", 'n', NB_OPTION_INT, &run_options.max_tokens, "N", "tokens to write at most (default 512)"},
    {"max-model-len", 0, NB_OPTION_INT, &context, "N", "context: prompt and answer together"},
    {"temperature", 0, NB_OPTION_DOUBLE, &temperature, "T", "0 takes the likeliest token; default: the checkpoint's"},
    {"top-k", 0, NB_OPTION_INT, &top_k, "N", "draw from the N likeliest; 0: all"},
    {"top-p", 0, NB_OPTION_DOUBLE, &top_p, "P", "draw from the smallest set with this probability"},
    {"min-p", 0, NB_OPTION_DOUBLE, &min_p, "P", "leave out what is less likely than P times the likeliest"},
    {"repetition-penalty", 0, NB_OPTION_DOUBLE, &repetition_penalty, "R", "over prompt and answer; 1: none"},
    {"presence-penalty", 0, NB_OPTION_DOUBLE, &presence_penalty, "A", "for tokens already written"},
    {"frequency-penalty", 0, NB_OPTION_DOUBLE, &frequency_penalty, "A", "for each time a token was written"},
    {"seed", 0, NB_OPTION_INT, &seed, "N", "of the random draws"},
    {"ignore-eos", 0, NB_OPTION_FLAG, &run_options.ignore_eos, NULL, "write on past the end tokens"},
    {"special", 0, NB_OPTION_FLAG, &raw, NULL, "show special tokens"},
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

volatile bool nb_run_interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    nb_run_interrupted = true;
}

void nb_run_catch_interrupt(bool on)
{
    nb_run_interrupted = false;
    struct sigaction action = {.sa_handler = on ? on_interrupt : SIG_DFL};
    sigaction(SIGINT, &action, NULL);
}

// What the command line leaves open comes from generation_config.json, then from neutral values.
static double first_of(double given, double checkpoint, double neutral)
{
    return given >= 0 ? given : checkpoint >= 0 ? checkpoint : neutral;
}

static void fill_sampling(const nb_config *c, nb_sampling *s)
{
    s->temperature = (float)first_of(temperature, c->temperature, 1);
    s->top_k = (int32_t)first_of((double)top_k, c->top_k, 0);
    s->top_p = (float)first_of(top_p, c->top_p, 1);
    s->min_p = (float)first_of(min_p, c->min_p, 0);
    s->repetition_penalty = (float)first_of(repetition_penalty, c->repetition_penalty, 1);
    s->presence_penalty = (float)presence_penalty;
    s->frequency_penalty = (float)frequency_penalty;
    s->seed = (uint64_t)seed;
}

nb_request nb_run_request(const nb_run_options *o, const nb_session *s, const nb_ids *prompt, int64_t context_tokens)
{
    const nb_config *c = &s->model->config;
    nb_request request = {.prompt = prompt->id,
                          .n_prompt = (int32_t)prompt->n,
                          .max_new = (int32_t)(o->max_tokens ? o->max_tokens : context_tokens),
                          .sampling = o->sampling,
                          .n_top = 0,
                          .n_prompt_top = -1,
                          .want_logits = true};
    for (int i = 0; i < c->n_eos && !o->ignore_eos; i++) request.stop_tok[request.n_stop++] = c->eos_token_id[i];
    return request;
}

int nb_run_render(const nb_chat *template, const nb_run_options *o, json_t *messages, nb_buf *out, nb_error *err)
{
    json_t *variables = o->no_thinking ? json_pack("{s:b}", "enable_thinking", 0) : NULL;
    nb_chat_input input = {.messages = messages, .variables = variables, .add_generation_prompt = true};
    int code = nb_chat_render(template, &input, out, err);
    json_decref(variables);
    return code;
}

static int render_one(const nb_session *s, nb_str prompt, nb_buf *out, nb_error *err)
{
    nb_chat *template;
    NB_TRY(nb_chat_open(s->folder, NULL, &template, err));
    json_t *messages = json_array();
    if (run_options.system)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", run_options.system));
    json_t *text = json_stringn(prompt.ptr, prompt.len);
    int code = text ? NB_OK : nb_error_set(err, NB_ERR_INPUT, "the prompt is not valid UTF-8");
    if (text) json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", text));
    if (code == NB_OK) code = nb_run_render(template, &run_options, messages, out, err);
    json_decref(messages);
    nb_chat_close(template);
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

static int prompt_ids(const nb_session *s, const char *argument, nb_ids *ids, nb_error *err)
{
    nb_buf text = {0}, rendered = {0};
    int code = read_prompt(argument, &text, err);
    bool templated = chat || run_options.system || run_options.no_thinking;
    if (code == NB_OK && templated) code = render_one(s, nb_buf_str(&text), &rendered, err);
    if (code == NB_OK)
        code = nb_tokenizer_encode(s->tokenizer, nb_buf_str(templated ? &rendered : &text), true, ids, err);
    nb_buf_drop(&text);
    nb_buf_drop(&rendered);
    return code;
}

static double rate(double amount, int64_t us)
{
    return us > 0 ? amount * 1e6 / (double)us : 0;
}

// Bytes a decode step of one sequence moves at least.
static double step_bytes(const nb_session *s, int64_t n_past)
{
    nb_plan plan;
    nb_plan_step step;
    nb_error err;
    if (nb_plan_make(s->model, s->kv, &plan, &err) != NB_OK) return 0;
    nb_plan_step_make(&plan, s->model, s->kv, 1, 1, n_past, &step);
    return step.weight_bytes + step.state_bytes + step.kv_bytes;
}

static const char *finish_name(nb_finish finish)
{
    return finish == NB_FINISH_STOP ? "stop" : finish == NB_FINISH_LENGTH ? "length" : "cancelled";
}

static void print_json(const nb_generated *r, const nb_buf *text, double gb_per_s)
{
    json_t *object = json_pack(
        "{s:o, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:o}", "text", json_stringn(text->ptr ? text->ptr : "", text->len),
        "finish_reason", finish_name(r->finish), "prompt_tokens", (int)r->n_prompt, "cached_tokens", (int)r->n_cached,
        "completion_tokens", (int)r->n_output, "prefill_tokens_per_s", rate(r->n_prompt, r->prefill_us),
        "decode_tokens_per_s", rate(r->n_output - 1, r->decode_us), "decode_gb_per_s", gb_per_s, "logits_hash",
        json_sprintf("%016llx", (unsigned long long)r->logits_hash));
    nb_buf out = {0};
    nb_json_write(object, &out);
    puts(out.ptr);
    nb_buf_drop(&out);
    json_decref(object);
}

static void print_summary(const nb_generated *r, double gb_per_s)
{
    fflush(stdout);
    fprintf(stderr, "\n[%d prompt tokens, %.1f tokens/s; %d tokens, %.1f tokens/s, %.2f GB/s; %s; logits %016llx]\n",
            r->n_prompt, rate(r->n_prompt, r->prefill_us), r->n_output, rate(r->n_output - 1, r->decode_us), gb_per_s,
            finish_name(r->finish), (unsigned long long)r->logits_hash);
}

static void stream_text(void *user, nb_str text)
{
    nb_buf_add_str(user, text);
    if (json) return;
    fwrite(text.ptr, 1, text.len, stdout);
    fflush(stdout);
}

static int answer(nb_engine *engine, const nb_session *s, const char *argument, nb_error *err)
{
    nb_ids ids = {0};
    nb_buf text = {0};
    nb_generated result;
    int code = prompt_ids(s, argument, &ids, err);
    if (code == NB_OK) {
        nb_request request = nb_run_request(&run_options, s, &ids, context);
        nb_run_catch_interrupt(true);
        code = nb_generate(engine, s, &request, raw, &nb_run_interrupted, stream_text, &text, &result, err);
        nb_run_catch_interrupt(false);
    }
    if (code == NB_OK) {
        double gb_per_s = rate(step_bytes(s, result.n_prompt) * (result.n_output - 1), result.decode_us) / 1e9;
        if (json)
            print_json(&result, &text, gb_per_s);
        else
            print_summary(&result, gb_per_s);
    }
    nb_buf_drop(&text);
    nb_ids_drop(&ids);
    return code;
}

static int run(const char **argument, int n_argument, nb_session *s, nb_error *err)
{
    NB_TRY(nb_session_open(argument[0], &session_options, s, err));
    if (context < 2 || context > s->model->config.max_position_embeddings)
        return nb_error_set(err, NB_ERR_USAGE, "--max-model-len must be from 2 to the checkpoint's %lld",
                            (long long)s->model->config.max_position_embeddings);
    fill_sampling(&s->model->config, &run_options.sampling);
    bool interactive = n_argument == 1 && isatty(STDIN_FILENO);
    if (run_options.max_tokens == 0 && !interactive) run_options.max_tokens = MAX_TOKENS_DEFAULT;
    nb_engine *engine;
    NB_TRY(nb_generate_open(s, context, 1, &engine, err));
    int code = interactive ? nb_run_chat(engine, s, &run_options, context, err)
                           : answer(engine, s, n_argument == 2 ? argument[1] : NULL, err);
    nb_engine_close(engine, false);
    return code;
}

int nb_cmd_run(int argc, char **argv)
{
    nb_error err = {0};
    const char *argument[2];
    int n_argument, code = nb_command_parse(&nb_command_run, argc, argv, argument, &n_argument, &err);
    if (code == 1) return NB_EXIT_OK;
    nb_session s = {0};
    if (code == NB_OK) code = run(argument, n_argument, &s, &err);
    nb_session_close(&s);
    return code == NB_OK ? NB_EXIT_OK : nb_command_fail(&err);
}
