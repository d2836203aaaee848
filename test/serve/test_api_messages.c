// /v1/messages and /v1/messages/count_tokens with the demo model: what a client of Anthropic's API sends and gets.
#include "support/api_server.h"
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#define MESSAGES "/v1/messages"
#define COUNT    "/v1/messages/count_tokens"
#define QUESTION                                                                                                   \
    "\"max_tokens\": 200, \"temperature\": 0, \"messages\": [{\"role\": \"user\", \"content\": \"What is 12 plus " \
    "7?\"}]"
#define THINKING "\"thinking\": {\"type\": \"enabled\", \"budget_tokens\": 1024}"
#define BOOKING  "{\"role\": \"user\", \"content\": \"Book a table for 17 people under the name Ben.\"}"
#define TOOLS    "\"max_tokens\": 200, " THINKING ", " TOOL
#define TOOL                                                                                                  \
    "\"temperature\": 0, \"tools\": [{\"name\": \"book_table\", "                                             \
    "\"description\": \"Book a table\", \"input_schema\": {\"type\": \"object\", \"properties\": {\"name\": " \
    "{\"type\": \"string\"}, \"people\": {\"type\": \"integer\"}}, \"required\": [\"name\", \"people\"]}}]"

static json_t *post(const char *path, const char *body)
{
    json_t *reply = NULL;
    int status = api_post(path, body, &reply);
    if (status != 200) print_error("%s\n%d %s\n", body, status, reply ? api_text_at(reply, "error.message") : "");
    assert_int_equal(status, 200);
    return reply;
}

// Anthropic's errors have no place for the field: the message names it.
static void refused(const char *body, int status, const char *type, const char *message)
{
    json_t *reply = NULL;
    assert_int_equal(api_post(MESSAGES, body, &reply), status);
    assert_string_equal(api_text_at(reply, "type"), "error");
    assert_string_equal(api_text_at(reply, "error.type"), type);
    if (!strstr(api_text_at(reply, "error.message"), message))
        fail_msg("%s\n%s", body, api_text_at(reply, "error.message"));
    json_decref(reply);
}

static void message_is_text_unless_thinking_is_asked_for(void **state)
{
    (void)state;
    json_t *r = post(MESSAGES, "{\"model\": \"demo\", " QUESTION "}");
    assert_string_equal(api_text_at(r, "type"), "message");
    assert_string_equal(api_text_at(r, "role"), "assistant");
    assert_int_equal(json_array_size(api_at(r, "content")), 1);
    assert_string_equal(api_text_at(r, "content.0.type"), "text");
    assert_non_null(strstr(api_text_at(r, "content.0.text"), "19"));
    assert_string_equal(api_text_at(r, "stop_reason"), "end_turn");
    assert_true(json_is_null(api_at(r, "stop_sequence")));
    assert_true(api_int_at(r, "usage.output_tokens") > 0);
    json_decref(r);
    static const char *const asked[] = {
        "{" QUESTION ", " THINKING "}",
        "{" QUESTION ", \"thinking\": {\"type\": \"adaptive\"}}",
        "{" QUESTION ", \"enable_thinking\": true}",
    };
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        r = post(MESSAGES, asked[i]);
        assert_string_equal(api_text_at(r, "content.0.type"), "thinking");
        assert_true(strlen(api_text_at(r, "content.0.thinking")) > 0);
        assert_true(strlen(api_text_at(r, "content.0.signature")) > 0);
        assert_string_equal(api_text_at(r, "content.1.type"), "text");
        json_decref(r);
    }
}

static void tools_are_used_and_their_results_go_back(void **state)
{
    (void)state;
    json_t *r = post(MESSAGES, "{\"messages\": [" BOOKING "], " TOOLS "}");
    assert_string_equal(api_text_at(r, "stop_reason"), "tool_use");
    assert_string_equal(api_text_at(r, "content.1.type"), "tool_use");
    assert_string_equal(api_text_at(r, "content.1.name"), "book_table");
    assert_string_equal(api_text_at(r, "content.1.input.name"), "Ben");
    assert_int_equal(api_int_at(r, "content.1.input.people"), 17);
    char *blocks = json_dumps(api_at(r, "content"), 0); // a client sends back what it got
    nb_buf body = {0};
    nb_buf_printf(&body,
                  "{\"messages\": [" BOOKING ", {\"role\": \"assistant\", \"content\": %s}, {\"role\": \"user\", "
                  "\"content\": [{\"type\": \"tool_result\", \"tool_use_id\": \"%s\", \"content\": [{\"type\": "
                  "\"text\", \"text\": \"{\\\"table\\\": 21}\"}]}]}], " TOOLS "}",
                  blocks, api_text_at(r, "content.1.id"));
    json_t *second = post(MESSAGES, body.ptr);
    const json_t *answer = json_array_get(api_at(second, "content"), json_array_size(api_at(second, "content")) - 1);
    assert_non_null(strstr(api_text_at(answer, "text"), "21"));
    assert_string_equal(api_text_at(second, "stop_reason"), "end_turn");
    free(blocks);
    nb_buf_drop(&body);
    json_decref(second);
    json_decref(r);
}

static void tool_use_can_be_forced(void **state)
{
    (void)state;
    static const char *const choices[] = {"{\"type\": \"any\"}", "{\"type\": \"tool\", \"name\": \"book_table\"}"};
    for (size_t i = 0; i < 2; i++) {
        char body[1000];
        snprintf(body, sizeof(body),
                 "{\"max_tokens\": 300, \"messages\": [{\"role\": \"user\", \"content\": \"Nice weather today!\"}], "
                 "\"tool_choice\": "
                 "%s, " TOOL "}",
                 choices[i]);
        json_t *r = post(MESSAGES, body);
        assert_string_equal(api_text_at(r, "content.0.type"), "tool_use");
        assert_string_equal(api_text_at(r, "content.0.name"), "book_table");
        assert_string_equal(api_text_at(r, "stop_reason"), "tool_use");
        json_decref(r);
    }
}

static void ends_are_told_apart(void **state)
{
    (void)state;
    json_t *r = post(MESSAGES, "{\"max_tokens\": 3, \"messages\": [" BOOKING "]}");
    assert_string_equal(api_text_at(r, "stop_reason"), "max_tokens");
    assert_int_equal(api_int_at(r, "usage.output_tokens"), 3);
    json_decref(r);
    r = post(MESSAGES, "{" QUESTION ", \"stop_sequences\": [\"never\", \"9\"]}");
    assert_string_equal(api_text_at(r, "stop_reason"), "stop_sequence");
    assert_string_equal(api_text_at(r, "stop_sequence"), "9");
    assert_null(strstr(api_text_at(r, "content.0.text"), "9"));
    json_decref(r);
    char body[1400], text[1200];
    memset(text, 'a', sizeof(text) - 1);
    for (size_t i = 3; i < sizeof(text); i += 4) text[i] = ' ';
    text[sizeof(text) - 1] = 0;
    snprintf(
        body, sizeof(body),
        "{\"max_tokens\": 1000000, \"ignore_eos\": true, \"messages\": [{\"role\": \"user\", \"content\": \"%s\"}]}",
        text);
    r = post(MESSAGES, body);
    assert_string_equal(api_text_at(r, "stop_reason"), "model_context_window_exceeded");
    json_int_t n_output = api_int_at(r, "usage.output_tokens");
    assert_int_equal(n_output + api_int_at(r, "usage.input_tokens"), 1024);
    assert_true(n_output < 200); // the prompt left no more
    json_decref(r);
}

// ---- Streams

// Makes the message of the events as a client does.
static json_t *assembled(const json_t *events)
{
    json_t *message = json_deep_copy(api_at(json_array_get(events, 0), "message")), *content, *partial = json_object();
    const json_t *event;
    size_t i;
    content = json_object_get(message, "content");
    json_array_foreach(events, i, event)
    {
        const char *type = api_text_at(event, "type");
        size_t index = json_array_size(content) - 1;
        json_t *block = json_array_get(content, index);
        if (!strcmp(type, "content_block_start")) {
            assert_int_equal(api_int_at(event, "index"), json_array_size(content));
            json_array_append(content, (json_t *)api_at(event, "content_block"));
        } else if (!strcmp(type, "content_block_delta")) {
            static const char *const keys[] = {"text", "thinking", "signature", "partial_json"};
            assert_int_equal(api_int_at(event, "index"), index);
            for (size_t k = 0; k < 4; k++) {
                const json_t *piece = json_object_get(api_at(event, "delta"), keys[k]);
                if (!piece) continue;
                json_t *into = k == 3 ? partial : block;
                const char *before = json_string_value(json_object_get(into, keys[k]));
                json_object_set_new(into, keys[k],
                                    json_sprintf("%s%s", before ? before : "", json_string_value(piece)));
            }
        } else if (!strcmp(type, "content_block_stop") && json_object_get(partial, "partial_json")) {
            json_object_set_new(block, "input", json_loads(api_text_at(partial, "partial_json"), 0, NULL));
            json_object_clear(partial);
        } else if (!strcmp(type, "message_delta")) {
            json_object_update(message, (json_t *)api_at(event, "delta"));
            json_object_set(message, "usage", (json_t *)api_at(event, "usage"));
        }
    }
    json_decref(partial);
    return message;
}

static json_t *without_ids(json_t *message)
{
    json_t *block;
    size_t i;
    json_array_foreach(json_object_get(message, "content"), i, block)
    {
        json_object_del(block, "id");
        json_object_del(block, "signature");
    }
    json_object_del(message, "id");
    json_object_del(message, "usage");
    return message;
}

static void check_stream(const char *fields)
{
    nb_buf body = {0};
    nb_buf_printf(&body, "{%s, \"stream\": true}", fields);
    json_t *events = api_named_stream(MESSAGES, body.ptr), *streamed = assembled(events);
    nb_buf_clear(&body);
    nb_buf_printf(&body, "{%s}", fields);
    json_t *whole = post(MESSAGES, body.ptr);
    size_t n = json_array_size(events);
    assert_string_equal(api_text_at(json_array_get(events, 0), "type"), "message_start");
    assert_string_equal(api_text_at(json_array_get(events, 1), "type"), "ping");
    assert_string_equal(api_text_at(json_array_get(events, n - 2), "type"), "message_delta");
    assert_string_equal(api_text_at(json_array_get(events, n - 1), "type"), "message_stop");
    assert_int_equal(api_int_at(streamed, "usage.output_tokens"), api_int_at(whole, "usage.output_tokens"));
    if (!json_equal(without_ids(streamed), without_ids(whole)))
        fail_msg("%s\n%s", json_dumps(streamed, 0), json_dumps(whole, 0));
    nb_buf_drop(&body);
    json_decref(events);
    json_decref(streamed);
    json_decref(whole);
}

static void streamed_message_is_the_same(void **state)
{
    (void)state;
    check_stream(QUESTION);
    check_stream(QUESTION ", " THINKING);
    check_stream("\"messages\": [" BOOKING "], " TOOLS);
    check_stream(QUESTION ", \"stop_sequences\": [\"9\"]");
}

// A limit cuts the answer off anywhere: what is left is JSON, and streamed the same.
static void cut_tool_use_is_still_json(void **state)
{
    (void)state;
    for (int n = 20; n < 50; n += 2) {
        char fields[1000];
        snprintf(fields, sizeof(fields), "\"messages\": [" BOOKING "], \"max_tokens\": %d, " THINKING ", " TOOL, n);
        check_stream(fields);
    }
}

// ---- The prompt

static void count_is_what_a_message_reports(void **state)
{
    (void)state;
    json_t *counted = post(COUNT, "{\"messages\": [" BOOKING "], \"system\": \"Be kind.\", " TOOLS "}");
    json_t *r = post(MESSAGES, "{\"messages\": [" BOOKING "], \"system\": \"Be kind.\", " TOOLS "}");
    assert_int_equal(api_int_at(counted, "input_tokens"),
                     api_int_at(r, "usage.input_tokens") + api_int_at(r, "usage.cache_read_input_tokens"));
    json_decref(r);
    json_decref(counted);
}

static json_int_t chat_count(const char *messages)
{
    json_t *r = NULL;
    nb_buf body = {0};
    nb_buf_printf(&body, "{\"enable_thinking\": false, \"messages\": %s}", messages);
    assert_int_equal(api_post("/tokenize", body.ptr, &r), 200);
    json_int_t n = api_int_at(r, "count");
    nb_buf_drop(&body);
    json_decref(r);
    return n;
}

static json_int_t message_count(const char *fields)
{
    nb_buf body = {0};
    nb_buf_printf(&body, "{%s}", fields);
    json_t *r = post(COUNT, body.ptr);
    json_int_t n = api_int_at(r, "input_tokens");
    nb_buf_drop(&body);
    json_decref(r);
    return n;
}

static void blocks_become_the_messages_of_a_chat(void **state)
{
    (void)state;
    assert_int_equal(
        message_count("\"system\": [{\"type\": \"text\", \"text\": \"x-anthropic-billing-header: cch=1\"}, {\"type\": "
                      "\"text\", \"text\": \"Be kind.\", \"cache_control\": {\"type\": \"ephemeral\"}}], \"messages\": "
                      "[{\"role\": \"user\", \"content\": \"Go.\"}, {\"role\": \"assistant\", \"content\": [{\"type\": "
                      "\"thinking\", \"thinking\": \"I go.\", \"signature\": \"s\"}, {\"type\": \"redacted_thinking\", "
                      "\"data\": \"x\"}, {\"type\": \"text\", \"text\": \"Going.\"}, {\"type\": \"tool_use\", \"id\": "
                      "\"a\", \"name\": \"f\", \"input\": {\"x\": 1}}, {\"type\": \"tool_use\", \"id\": \"b\", "
                      "\"name\": \"g\", \"input\": {}}]}, {\"role\": \"user\", \"content\": [{\"type\": "
                      "\"tool_result\", \"tool_use_id\": \"a\", \"content\": \"one\"}, {\"type\": \"tool_result\", "
                      "\"tool_use_id\": \"b\"}, {\"type\": \"text\", \"text\": \"And now?\"}]}]"),
        chat_count("[{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"Go.\"}, "
                   "{\"role\": \"assistant\", \"reasoning_content\": \"I go.\", \"content\": \"Going.\", "
                   "\"tool_calls\": [{\"id\": \"a\", \"type\": \"function\", \"function\": {\"name\": \"f\", "
                   "\"arguments\": \"{\\\"x\\\": 1}\"}}, {\"id\": \"b\", \"type\": \"function\", \"function\": "
                   "{\"name\": \"g\", \"arguments\": \"{}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": \"a\", "
                   "\"content\": \"one\"}, {\"role\": \"tool\", \"tool_call_id\": \"b\", \"content\": \"\"}, "
                   "{\"role\": \"user\", \"content\": \"And now?\"}]"));
}

static void begun_answer_is_continued(void **state)
{
    (void)state;
    json_t *r = post(MESSAGES, "{\"max_tokens\": 20, \"temperature\": 0, \"messages\": [{\"role\": \"user\", "
                               "\"content\": \"What is 12 plus 7?\"}, {\"role\": \"assistant\", \"content\": \"1\"}]}");
    assert_string_equal(api_text_at(r, "content.0.text"), "9");
    json_decref(r);
}

static void output_format_constrains_the_text(void **state)
{
    (void)state;
    json_t *r = post(MESSAGES, "{" QUESTION
                               ", \"output_config\": {\"format\": {\"type\": \"json_schema\", \"schema\": {\"type\": "
                               "\"object\", \"properties\": {\"sum\": {\"enum\": [18, 19]}}, \"required\": [\"sum\"], "
                               "\"additionalProperties\": false}}}}");
    json_t *value = json_loads(api_text_at(r, "content.0.text"), 0, NULL);
    assert_true(json_is_integer(json_object_get(value, "sum")));
    json_decref(value);
    json_decref(r);
    refused("{" QUESTION
            ", \"output_config\": {\"format\": {\"type\": \"json_schema\", \"schema\": {\"type\": \"tree\"}}}}",
            400, "invalid_request_error", "output_config.format");
}

static void wrong_requests_say_what_is_wrong(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{\"messages\": [" BOOKING "]}", "max_tokens is missing"},
        {"{\"max_tokens\": 1}", "messages must hold at least one"},
        {"{\"max_tokens\": 1, \"messages\": [1]}", "messages[0] must be an object"},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"bot\"}]}", "messages[0].role"},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\"}]}", "messages[0].content must be a string or an"},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}",
         "messages[0].content[0] has the type \"image\"; this server reads text only"},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"tool_result\"}]}]}",
         "messages[0].content[0].tool_use_id is missing"},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"tool_result\", "
         "\"tool_use_id\": \"a\", \"content\": [{\"type\": \"image\"}]}]}]}",
         "messages[0].content[0].content[0] has the type \"image\""},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"assistant\", \"content\": [{\"type\": \"tool_use\", "
         "\"id\": \"a\", \"name\": \"f\", \"input\": \"{}\"}]}]}",
         "messages[0].content[0].input must be an object, not a string"},
        {"{" QUESTION ", \"system\": 1}", "system must be a string or an array"},
        {"{" QUESTION ", \"stop_sequences\": \"a\"}", "stop_sequences must be an array"},
        {"{" QUESTION ", \"stop_sequences\": [1]}", "stop_sequences must be"},
        {"{" QUESTION ", \"stop_token_ids\": 1}", "stop_token_ids must be an array"},
        {"{" QUESTION ", \"tools\": [{\"type\": \"web_search_20250305\", \"name\": \"w\"}]}", "tools[0] has the type"},
        {"{" QUESTION ", \"tools\": [{\"type\": \"x\"}, {\"name\": \"w\"}]}",
         "tools[1].input_schema must be an object"},
        {"{" QUESTION ", \"tools\": [{\"name\": \"w\"}]}", "tools[0].input_schema must be an object"},
        {"{" QUESTION ", \"tool_choice\": \"auto\"}", "tool_choice must be an object"},
        {"{" QUESTION ", \"tool_choice\": {\"type\": \"x\"}}", "tool_choice.type must be"},
        {"{" QUESTION ", \"thinking\": {\"type\": \"x\"}}", "thinking.type must be"},
        {"{" QUESTION ", \"thinking\": true}", "thinking must be an object"},
        {"{" QUESTION ", \"output_config\": {\"effort\": \"x\"}}", "output_config.effort must be one of"},
        {"{" QUESTION ", \"output_config\": {\"format\": {\"type\": \"x\"}}}", "output_config.format must be"},
        {"{" QUESTION ", \"temperature\": \"x\"}", "temperature must be a number"},
        {"{" QUESTION ", \"metadata\": 1}", "metadata must be an object"},
        {"{" QUESTION ", \"thread\": {\"type\": \"create\"}}", "thread is not supported"},
        {"[]", "must be a JSON object"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(bad[i][0], 400, "invalid_request_error", bad[i][1]);
    refused("{\"model\": \"other\", " QUESTION "}", 404, "not_found_error", "does not exist");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_text_unless_thinking_is_asked_for),
        cmocka_unit_test(tools_are_used_and_their_results_go_back),
        cmocka_unit_test(tool_use_can_be_forced),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(streamed_message_is_the_same),
        cmocka_unit_test(cut_tool_use_is_still_json),
        cmocka_unit_test(count_is_what_a_message_reports),
        cmocka_unit_test(blocks_become_the_messages_of_a_chat),
        cmocka_unit_test(begun_answer_is_continued),
        cmocka_unit_test(output_format_constrains_the_text),
        cmocka_unit_test(wrong_requests_say_what_is_wrong),
    };
    return nb_test_run("api_messages", tests);
}
