// Malformed requests: each field with each wrong kind of value, on each route that takes it. Every one gets a 400 (or
// what the table says) that names the field; the engine never sees one, and the server still answers afterwards.
#include "support/api_server.h"
#include "support/check.h"

#include <string.h>
#include <unistd.h>

static int n_case;

// Sends `base` with `key` set to the JSON text `value`.
static void send_case(const char *path, const char *base, const char *key, const char *value, int status,
                      const char *param)
{
    char body[20000];
    json_t *reply = NULL;
    snprintf(body, sizeof(body), "{%s%s\"%s\": %s}", base, *base ? ", " : "", key, value);
    int got = api_post(path, body, &reply);
    const json_t *named = api_at(reply, "error.param"), *message = api_at(reply, "error.message");
    bool right = got == status && json_is_string(message) && json_string_length(message) > 0;
    if (param && right) right = json_is_string(named) && !strncmp(json_string_value(named), param, strlen(param));
    if (!right) fail_msg("%s %.300s\ngave %d, %s", path, body, got, reply ? json_dumps(reply, 0) : "no JSON");
    json_decref(reply);
    n_case++;
}

typedef struct field {
    const char *name;
    const char *wrong[12]; // values that are refused, NULL at the end
} field;

#define NOT_INTEGER "\"1\"", "1.5", "true", "[]", "{}", "123456789012345678901234567890"
#define NOT_NUMBER  "\"1\"", "true", "[1]", "{}"
#define NOT_BOOL    "\"true\"", "1", "0.5", "[]", "{}"
#define NOT_STRING  "1", "1.5", "false", "[]", "{}", "99999999999999999999"
#define NOT_ARRAY   "\"a\"", "1", "true", "{}"
#define NOT_OBJECT  "\"a\"", "1", "true", "[]"

static const field both[] = {
    {"n", {NOT_INTEGER, "0", "-1", "129"}},
    {"max_tokens", {NOT_INTEGER, "-1", "2147483648"}},
    {"min_tokens", {NOT_INTEGER, "-1", "100000"}},
    {"top_k", {NOT_INTEGER, "-2", "2147483648"}},
    {"seed", {NOT_INTEGER}},
    {"priority", {NOT_INTEGER, "2147483648"}},
    {"prompt_logprobs", {NOT_INTEGER, "-1", "21"}},
    {"truncate_prompt_tokens", {NOT_INTEGER, "-2", "100000"}},
    {"temperature", {NOT_NUMBER, "-0.1", "101"}},
    {"top_p", {NOT_NUMBER, "0", "-1", "1.01"}},
    {"min_p", {NOT_NUMBER, "-0.1", "1.1"}},
    {"repetition_penalty", {NOT_NUMBER, "0", "-1"}},
    {"presence_penalty", {NOT_NUMBER, "-2.1", "2.1"}},
    {"frequency_penalty", {NOT_NUMBER, "-2.1", "2.1"}},
    {"stream", {NOT_BOOL}},
    {"ignore_eos", {NOT_BOOL}},
    {"include_stop_str_in_output", {NOT_BOOL}},
    {"skip_special_tokens", {NOT_BOOL}},
    {"echo", {NOT_BOOL}},
    {"model", {NOT_STRING}},
    {"stop",
     {"1", "true", "{}", "[1]", "[\"a\", null]", "\"\"", "[\"\"]", "[[]]",
      "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"}},
    {"stop_token_ids",
     {NOT_ARRAY, "[-1]", "[100000]", "[\"1\"]", "[1.5]", "[null]", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"}},
    {"logit_bias",
     {NOT_OBJECT, "{\"a\": 1}", "{\"-1\": 1}", "{\"100000\": 1}", "{\"1\": \"1\"}", "{\"1\": 101}", "{\"1\": null}",
      "{\"\": 1}"}},
    {"stream_options", {NOT_OBJECT, "{}", "{\"include_usage\": true}"}},
    {"response_format",
     {NOT_OBJECT, "{}", "{\"type\": 1}", "{\"type\": \"xml\"}", "{\"type\": \"json_schema\"}",
      "{\"type\": \"json_schema\", \"json_schema\": {}}",
      "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": 1}}"}},
    {"suffix", {"\"x\"", "1", "{}"}},
    {"bad_words", {"[\"x\"]", "\"x\"", "{}"}},
    {"guided_json", {"1", "[]", "\"x\"", "false", "{\"type\": \"x\"}", "{\"$ref\": \"#/a\"}", "{\"properties\": []}"}},
    {"guided_regex", {NOT_STRING, "\"(\"", "\"a{2,1}\""}},
    {"guided_choice", {NOT_ARRAY, "[]", "[1]", "[null]"}},
    {"guided_grammar", {NOT_STRING, "\"\"", "\"x\"", "\"root ::= a\""}},
    {"structured_outputs",
     {"{\"json\": 1}", "true", "[]", "{\"regex\": 1}", "{\"choice\": \"a\"}", "{\"grammar\": []}",
      "{\"json_object\": 1}", "{\"disable_any_whitespace\": 1}", "{\"regex\": \"a\", \"choice\": [\"a\"]}",
      "{\"structural_tag\": \"x\"}"}},
    {"use_beam_search", {"true", "2"}},
    {"best_of", {"\"2\"", "0", "2"}},
    {NULL, {NULL}},
};

static const field chat_only[] = {
    {"messages", {NOT_ARRAY, "[]", "null", "[1]", "[null]", "[\"hi\"]", "[[]]", "[{}]"}},
    {"tools",
     {NOT_ARRAY, "[1]", "[{}]", "[{\"type\": \"x\"}]", "[{\"type\": \"function\"}]", "[{\"function\": 1}]",
      "[{\"function\": {}}]", "[{\"function\": {\"name\": 1}}]"}},
    {"tools",
     {"[{\"function\": {\"name\": \"\"}}]", "[{\"function\": {\"name\": \"f\", \"parameters\": 1}}]",
      "[{\"function\": {\"name\": \"f\", \"parameters\": []}}]", "[{\"type\": 1, \"function\": {\"name\": \"f\"}}]"}},
    {"tool_choice",
     {"1", "true", "[]", "\"x\"", "\"required\"", "{\"type\": \"function\", \"function\": {\"name\": \"f\"}}"}},
    {"max_completion_tokens", {NOT_INTEGER, "0", "-1"}},
    {"logprobs", {NOT_BOOL}},
    {"top_logprobs", {NOT_INTEGER, "-1", "21", "1"}},
    {"parallel_tool_calls", {NOT_BOOL}},
    {"include_reasoning", {NOT_BOOL}},
    {"add_generation_prompt", {NOT_BOOL}},
    {"continue_final_message", {NOT_BOOL}},
    {"enable_thinking", {NOT_BOOL}},
    {"reasoning_effort", {NOT_STRING, "\"huge\"", "\"\""}},
    {"chat_template_kwargs", {NOT_OBJECT}},
    {"documents", {NOT_ARRAY}},
    {"chat_template", {"\"{{ 1 }}\"", "{}"}},
    {"functions", {"[{}]"}},
    {NULL, {NULL}},
};

static const field text_only[] = {
    {"prompt", {"1", "true", "{}", "null", "[]", "[[]]", "[1, \"a\"]", "[\"a\", 1]", "[-1]", "[100000]", "[1.5]"}},
    {"prompt", {"[[1], \"a\", 2]", "[[\"a\"]]", "[true]", "[{}]", "\"\"", "[\"\"]", "99999999999999999999", "[null]"}},
    {"logprobs", {NOT_INTEGER, "-1", "21"}},
    {NULL, {NULL}},
};

#define MESSAGES "\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"

static void send_all(const char *path, const field *fields, const char *base, const char *own)
{
    for (; fields->name; fields++)
        for (int i = 0; i < 12 && fields->wrong[i]; i++) {
            bool replaces = !strcmp(fields->name, own);
            send_case(path, replaces ? "" : base, fields->name, fields->wrong[i], 400, fields->name);
        }
}

static void fields_of_wrong_type_are_named(void **state)
{
    (void)state;
    send_all("/v1/chat/completions", both, MESSAGES, "messages");
    send_all("/v1/chat/completions", chat_only, MESSAGES, "messages");
    send_all("/v1/completions", both, "\"prompt\": \"hi\"", "prompt");
    send_all("/v1/completions", text_only, "\"prompt\": \"hi\"", "prompt");
}

static void messages_of_wrong_shape_are_named(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"[{\"content\": \"a\"}]", "messages[0].role"},
        {"[{\"role\": 1}]", "messages[0].role"},
        {"[{\"role\": \"\"}]", "messages[0].role"},
        {"[{\"role\": null}]", "messages[0].role"},
        {"[{\"role\": \"user\", \"content\": 1}]", "messages[0].content"},
        {"[{\"role\": \"user\", \"content\": {}}]", "messages[0].content"},
        {"[{\"role\": \"user\", \"content\": true}]", "messages[0].content"},
        {"[{\"role\": \"user\", \"content\": [1]}]", "messages[0].content[0]"},
        {"[{\"role\": \"user\", \"content\": [{}]}]", "messages[0].content[0]"},
        {"[{\"role\": \"user\", \"content\": [{\"type\": 1}]}]", "messages[0].content[0]"},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]", "messages[0].content[0]"},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": 1}]}]", "messages[0].content[0]"},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"image_url\"}]}]",
         "messages[0].content[1]"},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"input_audio\"}]}]", "messages[0].content[0]"},
        {"[{\"role\": \"user\", \"content\": \"a\"}, 5]", "messages[1]"},
        {"[{\"role\": \"assistant\", \"tool_calls\": 1}]", "messages[0].tool_calls"},
        {"[{\"role\": \"assistant\", \"tool_calls\": [1]}]", "messages[0].tool_calls[0]"},
        {"[{\"role\": \"assistant\", \"tool_calls\": [{}]}]", "messages[0].tool_calls[0]"},
        {"[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {}}]}]", "messages[0].tool_calls[0]"},
        {"[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": 1}}]}]",
         "messages[0].tool_calls[0]"},
        {"[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"tool_calls\": [{\"function\": "
         "{\"name\": \"f\", "
         "\"arguments\": \"{\"}}]}]",
         "messages"},
        {"[{\"role\": \"narrator\", \"content\": \"a\"}]", "messages"},
        {"[{\"role\": \"system\", \"content\": \"a\"}]", "messages"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        send_case("/v1/chat/completions", "", "messages", wrong[i][0], 400, wrong[i][1]);
        send_case("/tokenize", "", "messages", wrong[i][0], 400, wrong[i][1]);
    }
}

static void other_mistakes_have_their_status(void **state)
{
    (void)state;
    send_case("/v1/chat/completions", MESSAGES, "model", "\"other\"", 404, "model");
    send_case("/v1/completions", "\"prompt\": \"a\"", "model", "\"other\"", 404, "model");
    send_case("/tokenize", "\"prompt\": \"a\"", "model", "\"\"", 404, "model");
    send_case("/v1/chat/completions", MESSAGES, "max_tokens", "0", 400, "max_tokens");
    send_case("/v1/chat/completions", MESSAGES, "max_tokens", "5000", 400, "messages");
    send_case("/v1/completions", "\"prompt\": \"a\"", "max_tokens", "5000", 400, "prompt");
    send_case("/v1/completions", "\"prompt\": \"a\"", "max_tokens", "0", 400, "max_tokens");
    send_case("/v1/completions", "\"prompt\": \"a\"", "min_tokens", "17", 400, "min_tokens"); // of 16
    send_case("/v1/chat/completions", MESSAGES ", \"max_tokens\": 2", "min_tokens", "3", 400, "min_tokens");
    send_case("/v1/completions", "\"n\": 100, \"prompt\": [\"a\", \"b\", \"c\"]", "stream", "false", 400, "n");
    send_case("/v1/chat/completions", MESSAGES ", \"add_generation_prompt\": true", "continue_final_message", "true",
              400, "continue");
    send_case("/v1/chat/completions", MESSAGES ", \"stream\": true", "prompt_logprobs", "1", 400, "prompt_logprobs");
    static const field options[] = {
        {"stream_options",
         {"{\"include_usage\": 1}", "{\"include_usage\": \"a\"}", "{\"continuous_usage_stats\": []}"}},
        {0}};
    for (int i = 0; i < 3; i++)
        send_case("/v1/chat/completions", MESSAGES ", \"stream\": true", "stream_options", options[0].wrong[i], 400,
                  NULL);
}

static void bodies_that_are_no_json_are_refused(void **state)
{
    (void)state;
    static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"};
    static const char *const bodies[] = {"",
                                         "{",
                                         "[",
                                         "\"",
                                         "[]",
                                         "1",
                                         "null",
                                         "{\"a\": }",
                                         "{\"a\": 1,}",
                                         "{'a': 1}",
                                         "{\"a\": \"\xff\"}",
                                         "{\"a\": \"\\ud800\"}",
                                         "{\"a\": 01}",
                                         "{\"a\": NaN}",
                                         "{\"a\": 1e999}",
                                         "{} x"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        for (size_t k = 0; k < sizeof(bodies) / sizeof(bodies[0]); k++) {
            json_t *reply = NULL;
            assert_int_equal(api_post(paths[i], bodies[k], &reply), 400);
            assert_string_equal(api_text_at(reply, "error.code"), "invalid_json");
            json_decref(reply);
            n_case++;
        }
    nb_buf deep = {0};
    for (int i = 0; i < 100000; i++) nb_buf_add_c(&deep, "{\"a\":");
    assert_int_equal(api_post(paths[0], deep.ptr, NULL), 400);
    nb_buf_drop(&deep);
}

static void unknown_fields_are_accepted(void **state)
{
    (void)state;
    json_t *reply = NULL;
    assert_int_equal(api_post("/v1/chat/completions",
                              "{" MESSAGES
                              ", \"max_tokens\": 1, \"user\": \"u\", \"store\": true, \"unheard\": [1, {}], "
                              "\"temperature\": null, \"stop\": null, \"tools\": [], \"metadata\": {\"a\": \"b\"}}",
                              &reply),
                     200);
    json_decref(reply);
}

static void the_engine_saw_none_of_them(void **state)
{
    (void)state;
    nb_engine_stats stats = {0};
    for (int i = 0; i < 1000 && stats.n_output_tok == 0; i++) { // the engine counts a token after it has given it out
        nb_engine_stats_read(api_server_get()->engine, &stats);
        usleep(1000);
    }
    assert_int_equal(stats.n_output_tok, 1); // the one request that was right
    assert_true(n_case >= 500);
    print_message("%d malformed requests\n", n_case);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_wrong_type_are_named),   cmocka_unit_test(messages_of_wrong_shape_are_named),
        cmocka_unit_test(other_mistakes_have_their_status), cmocka_unit_test(bodies_that_are_no_json_are_refused),
        cmocka_unit_test(unknown_fields_are_accepted),      cmocka_unit_test(the_engine_saw_none_of_them),
    };
    return nb_test_run("api_malformed", tests);
}
