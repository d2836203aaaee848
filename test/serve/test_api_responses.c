// /v1/responses with the demo model: what a client sends and gets.
#include "support/api_server.h"
#include "support/check.h"

#include <string.h>

#include "serve/responses_tools.h"

#define RESPONSES "/v1/responses"
#define QUESTION  "\"input\": \"What is 12 plus 7?\", \"temperature\": 0"
#define BOOK_TABLE                                                                                           \
    "{\"type\": \"function\", \"name\": \"book_table\", \"description\": \"Book a table\", \"parameters\": " \
    "{\"type\": "                                                                                            \
    "\"object\", \"properties\": {\"name\": {\"type\": \"string\"}, \"people\": {\"type\": \"integer\"}}, "  \
    "\"required\": "                                                                                         \
    "[\"name\", \"people\"]}}"
#define TOOLS     "\"temperature\": 0, \"tools\": [" BOOK_TABLE "]"
#define BOOKING   "Book a table for 17 people under the name Ben."
#define ARGUMENTS "{\"name\": \"Ben\", \"people\": 17}"

static json_t *post(const char *body)
{
    json_t *reply = NULL;
    int status = api_post(RESPONSES, body, &reply);
    if (status != 200) print_error("%s\n%d %s\n", body, status, reply ? api_text_at(reply, "error.message") : "");
    assert_int_equal(status, 200);
    return reply;
}

static void refused(const char *body, const char *param, const char *part)
{
    json_t *reply = NULL;
    assert_int_equal(api_post(RESPONSES, body, &reply), 400);
    if (strcmp(api_text_at(reply, "error.param"), param) || !strstr(api_text_at(reply, "error.message"), part))
        fail_msg("%s\n%s: %s", body, api_text_at(reply, "error.param"), api_text_at(reply, "error.message"));
    json_decref(reply);
}

static void response_has_reasoning_a_message_and_usage(void **state)
{
    (void)state;
    json_t *r = post("{\"model\": \"demo\", " QUESTION ", \"store\": true, \"metadata\": {\"a\": \"b\"}}");
    assert_string_equal(api_text_at(r, "object"), "response");
    assert_string_equal(api_text_at(r, "status"), "completed");
    assert_string_equal(api_text_at(r, "output.0.type"), "reasoning");
    assert_true(strlen(api_text_at(r, "output.0.content.0.text")) > 0);
    assert_string_equal(api_text_at(r, "output.1.type"), "message");
    assert_string_equal(api_text_at(r, "output.1.content.0.type"), "output_text");
    assert_non_null(strstr(api_text_at(r, "output.1.content.0.text"), "19"));
    assert_string_equal(api_text_at(r, "metadata.a"), "b");
    assert_true(json_is_false(api_at(r, "store"))); // nothing is kept, whatever was asked for
    assert_true(json_is_null(api_at(r, "error")) && json_is_null(api_at(r, "incomplete_details")));
    json_int_t output = api_int_at(r, "usage.output_tokens"),
               reasoning = api_int_at(r, "usage.output_tokens_details.reasoning_tokens");
    assert_true(0 < reasoning && reasoning < output);
    assert_int_equal(api_int_at(r, "usage.total_tokens"), api_int_at(r, "usage.input_tokens") + output);
    assert_true(!strncmp(api_text_at(r, "id"), "resp_", 5));
    json_decref(r);
}

static void effort_none_turns_reasoning_off(void **state)
{
    (void)state;
    json_t *r = post("{" QUESTION ", \"reasoning\": {\"effort\": \"none\"}}");
    assert_string_equal(api_text_at(r, "output.0.type"), "message");
    assert_int_equal(api_int_at(r, "usage.output_tokens_details.reasoning_tokens"), 0);
    json_decref(r);
}

static void cut_answer_is_incomplete(void **state)
{
    (void)state;
    json_t *r = post("{" QUESTION ", \"max_output_tokens\": 5}");
    assert_string_equal(api_text_at(r, "status"), "incomplete");
    assert_string_equal(api_text_at(r, "incomplete_details.reason"), "max_output_tokens");
    assert_string_equal(api_text_at(r, "output.0.status"), "incomplete");
    assert_int_equal(api_int_at(r, "usage.output_tokens"), 5);
    json_decref(r);
    json_t *events = api_named_stream(RESPONSES, "{" QUESTION ", \"max_output_tokens\": 5, \"stream\": true}");
    const json_t *last = json_array_get(events, json_array_size(events) - 1);
    assert_string_equal(api_text_at(last, "type"), "response.incomplete");
    assert_string_equal(api_text_at(last, "response.incomplete_details.reason"), "max_output_tokens");
    json_decref(events);
}

// All "delta" of one type of event.
static nb_buf joined(const json_t *events, const char *type)
{
    nb_buf text = {0};
    const json_t *event;
    size_t i;
    nb_buf_add_c(&text, "");
    json_array_foreach(events, i, event)
    {
        if (!strcmp(api_text_at(event, "type"), type)) nb_buf_add_c(&text, api_text_at(event, "delta"));
    }
    return text;
}

// What does not depend on the time and the number of a request.
static json_t *without_ids(const json_t *output)
{
    json_t *copy = json_deep_copy(output), *item;
    size_t i;
    json_array_foreach(copy, i, item)
    {
        json_object_del(item, "id");
        json_object_del(item, "call_id");
    }
    return copy;
}

static void check_stream(const char *whole_body, const char *stream_body)
{
    json_t *whole = post(whole_body), *events = api_named_stream(RESPONSES, stream_body);
    const json_t *last = json_array_get(events, json_array_size(events) - 1), *event;
    size_t i, n_item = 0;
    json_array_foreach(events, i, event) assert_int_equal(api_int_at(event, "sequence_number"), i);
    assert_string_equal(api_text_at(json_array_get(events, 0), "type"), "response.created");
    assert_string_equal(api_text_at(json_array_get(events, 1), "type"), "response.in_progress");
    assert_string_equal(api_text_at(last, "type"), "response.completed");
    json_array_foreach(events, i, event)
    {
        if (strcmp(api_text_at(event, "type"), "response.output_item.done")) continue;
        assert_int_equal(api_int_at(event, "output_index"), n_item);
        assert_true(json_equal(api_at(event, "item"), json_array_get(api_at(last, "response.output"), n_item++)));
    }
    json_t *a = without_ids(api_at(whole, "output")), *b = without_ids(api_at(last, "response.output"));
    assert_int_equal(n_item, json_array_size(a));
    assert_true(json_equal(a, b));
    assert_int_equal(api_int_at(last, "response.usage.output_tokens"), api_int_at(whole, "usage.output_tokens"));
    nb_buf reasoning = joined(events, "response.reasoning_text.delta");
    assert_string_equal(reasoning.ptr, api_text_at(whole, "output.0.content.0.text"));
    nb_buf_drop(&reasoning);
    json_decref(a);
    json_decref(b);
    json_decref(events);
    json_decref(whole);
}

static void streamed_response_is_the_same(void **state)
{
    (void)state;
    check_stream("{" QUESTION "}", "{" QUESTION ", \"stream\": true}");
    check_stream("{\"input\": \"" BOOKING "\", " TOOLS "}",
                 "{\"input\": \"" BOOKING "\", " TOOLS ", \"stream\": true}");
}

static json_int_t input_tokens(const char *reasoning)
{
    nb_buf body = {0};
    nb_buf_printf(&body,
                  "{\"max_output_tokens\": 1, \"input\": [{\"role\": \"user\", \"content\": \"Go.\"}, {\"type\": "
                  "\"reasoning\", %s}, {\"type\": \"function_call\", \"call_id\": \"c\", \"name\": \"f\"}]}",
                  reasoning);
    json_t *r = post(body.ptr);
    json_int_t n = api_int_at(r, "usage.input_tokens");
    json_decref(r);
    nb_buf_drop(&body);
    return n;
}

// Clients differ in what they show and in what they send back: all of them have the text.
static void reasoning_comes_in_the_form_that_was_asked_for(void **state)
{
    (void)state;
    json_t *plain = post("{" QUESTION "}");
    json_t *asked = post("{" QUESTION ", \"reasoning\": {\"summary\": \"auto\"}, \"include\": "
                         "[\"reasoning.encrypted_content\"]}");
    const char *text = api_text_at(plain, "output.0.content.0.text");
    assert_null(api_at(plain, "output.0.encrypted_content"));
    assert_string_equal(api_text_at(asked, "output.0.summary.0.type"), "summary_text");
    assert_string_equal(api_text_at(asked, "output.0.summary.0.text"), text);
    assert_int_equal(json_array_size(api_at(asked, "output.0.content")), 0);
    assert_true(strlen(api_text_at(asked, "output.0.encrypted_content")) > strlen(text));
    json_t *events =
        api_named_stream(RESPONSES, "{" QUESTION ", \"reasoning\": {\"summary\": \"auto\"}, \"stream\": true}");
    nb_buf streamed = joined(events, "response.reasoning_summary_text.delta");
    assert_string_equal(streamed.ptr, text);
    nb_buf_drop(&streamed);
    json_decref(events);
    json_decref(plain);
    json_decref(asked);
    json_int_t n = input_tokens("\"content\": [{\"type\": \"reasoning_text\", \"text\": \"I go to the shop.\"}]");
    assert_int_equal(input_tokens("\"summary\": [{\"type\": \"summary_text\", \"text\": \"I go to the shop.\"}]"), n);
    assert_int_equal(input_tokens("\"summary\": [], \"encrypted_content\": \"nibble:I go to the shop.\""), n);
    assert_true(input_tokens("\"summary\": [], \"encrypted_content\": \"of another server\"") < n);
}

static void stream_names_each_step_of_an_item(void **state)
{
    (void)state;
    static const char *const order[] = {
        "response.created",           "response.in_progress",
        "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done",
        "response.content_part.done", "response.output_item.done",
        "response.completed",
    };
    json_t *events =
        api_named_stream(RESPONSES, "{" QUESTION ", \"reasoning\": {\"effort\": \"none\"}, \"stream\": true}");
    const json_t *event;
    size_t i, at = 0;
    json_array_foreach(events, i, event)
    {
        const char *type = api_text_at(event, "type");
        if (at > 0 && !strcmp(type, order[at - 1])) continue; // a delta behind a delta
        assert_string_equal(type, order[at++]);
    }
    assert_int_equal(at, sizeof(order) / sizeof(order[0]));
    json_decref(events);
}

static void functions_are_called_and_their_output_goes_back(void **state)
{
    (void)state;
    json_t *r = post("{\"input\": [{\"role\": \"user\", \"content\": \"" BOOKING "\"}], " TOOLS "}");
    assert_string_equal(api_text_at(r, "output.0.type"), "reasoning");
    assert_string_equal(api_text_at(r, "output.1.type"), "function_call");
    assert_string_equal(api_text_at(r, "output.1.name"), "book_table");
    assert_string_equal(api_text_at(r, "output.1.arguments"), ARGUMENTS);
    json_t *input = json_deep_copy(api_at(r, "output")); // a client sends back what it got
    json_array_insert_new(input, 0, json_pack("{s:s, s:s}", "role", "user", "content", BOOKING));
    json_array_append_new(input, json_pack("{s:s, s:s, s:s}", "type", "function_call_output", "call_id",
                                           api_text_at(r, "output.1.call_id"), "output", "{\"table\": 21}"));
    char *items = json_dumps(input, 0);
    nb_buf body = {0};
    nb_buf_printf(&body, "{\"input\": %s, " TOOLS "}", items);
    json_t *second = post(body.ptr);
    const json_t *answer = json_array_get(api_at(second, "output"), json_array_size(api_at(second, "output")) - 1);
    assert_non_null(strstr(api_text_at(answer, "content.0.text"), "21"));
    free(items);
    nb_buf_drop(&body);
    json_decref(input);
    json_decref(second);
    json_decref(r);
}

static void calls_can_be_forced(void **state)
{
    (void)state;
    static const char *const choices[] = {"\"required\"", "{\"type\": \"function\", \"name\": \"book_table\"}"};
    for (size_t i = 0; i < 2; i++) {
        nb_buf body = {0};
        nb_buf_printf(&body,
                      "{\"input\": \"Good morning, nice weather today!\", " TOOLS
                      ", \"max_output_tokens\": 300, \"reasoning\": {\"effort\": \"none\"}, \"tool_choice\": %s}",
                      choices[i]);
        json_t *r = post(body.ptr);
        assert_string_equal(api_text_at(r, "output.0.type"), "function_call");
        assert_string_equal(api_text_at(r, "output.0.name"), "book_table");
        json_decref(r);
        nb_buf_drop(&body);
    }
}

static void what_no_client_runs_is_left_out_beside_functions(void **state)
{
    (void)state;
    json_t *r = post("{\"input\": \"" BOOKING "\", " TOOLS "}");
    json_t *beside = post("{\"input\": \"" BOOKING
                          "\", \"temperature\": 0, \"tools\": [{\"type\": \"web_search\"}, " BOOK_TABLE "]}");
    assert_int_equal(api_int_at(r, "usage.input_tokens"), api_int_at(beside, "usage.input_tokens"));
    assert_string_equal(api_text_at(beside, "output.1.type"), "function_call");
    json_decref(beside);
    json_decref(r);
}

// The model knows one name; the client knows two.
static void functions_of_namespaces_are_called_by_both_names(void **state)
{
    (void)state;
    nb_str space, name;
    json_t *body = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "tools", "type", "namespace", "name", "crm", "type",
                             "function", "name", "a__b");
    nb_responses_split_name(body, NB_STR("crm__list"), &space, &name);
    assert_true(nb_str_equal_c(space, "crm") && nb_str_equal_c(name, "list"));
    nb_responses_split_name(body, NB_STR("a__b"), &space, &name);
    assert_true(space.len == 0 && nb_str_equal_c(name, "a__b"));
    json_decref(body);
    json_t *flat =
        post("{\"max_output_tokens\": 1, \"input\": [{\"role\": \"user\", \"content\": \"Go.\"}, {\"type\": "
             "\"function_call\", \"call_id\": \"c\", \"name\": \"crm__list\", \"arguments\": \"\"}], \"tools\": "
             "[{\"type\": \"function\", \"name\": \"crm__list\"}]}");
    json_t *spaced =
        post("{\"max_output_tokens\": 1, \"input\": [{\"role\": \"user\", \"content\": \"Go.\"}, {\"type\": "
             "\"function_call\", \"call_id\": \"c\", \"name\": \"list\", \"namespace\": \"crm\", "
             "\"arguments\": \"\"}], \"tools\": [{\"type\": \"namespace\", \"name\": \"crm\", \"tools\": "
             "[{\"type\": \"function\", \"name\": \"list\"}]}]}");
    assert_int_equal(api_int_at(flat, "usage.input_tokens"), api_int_at(spaced, "usage.input_tokens"));
    json_decref(flat);
    json_decref(spaced);
}

// The prompt is what the same conversation gives as a chat.
static void items_become_the_messages_of_a_chat(void **state)
{
    (void)state;
    json_t *chat = NULL;
    json_t *r = post("{\"instructions\": \"Be kind.\", \"input\": [{\"role\": \"developer\", \"content\": \"Be "
                     "short.\"}, {\"type\": \"message\", \"role\": \"user\", \"content\": [{\"type\": \"input_text\", "
                     "\"text\": \"Hello\"}]}, {\"type\": \"reasoning\", \"summary\": [], \"content\": [{\"type\": "
                     "\"reasoning_text\", \"text\": \"A greeting.\"}]}, {\"role\": \"assistant\", \"content\": "
                     "[{\"type\": \"output_text\", \"text\": \"Hello!\", \"annotations\": []}]}, {\"type\": "
                     "\"function_call\", \"call_id\": \"c\", \"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}, "
                     "{\"type\": \"function_call_output\", \"call_id\": \"c\", \"output\": \"two\"}], "
                     "\"max_output_tokens\": 1}");
    assert_int_equal(
        api_post("/tokenize",
                 "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\\n\\nBe short.\"}, {\"role\": "
                 "\"user\", \"content\": \"Hello\"}, {\"role\": \"assistant\", \"reasoning_content\": \"A "
                 "greeting.\", \"content\": \"Hello!\", \"tool_calls\": [{\"id\": \"c\", \"type\": \"function\", "
                 "\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}}]}, {\"role\": \"tool\", "
                 "\"tool_call_id\": \"c\", \"content\": \"two\"}]}",
                 &chat),
        200);
    assert_int_equal(api_int_at(r, "usage.input_tokens"), api_int_at(chat, "count"));
    json_decref(chat);
    json_decref(r);
}

static void text_format_constrains_the_text(void **state)
{
    (void)state;
    json_t *r =
        post("{" QUESTION ", \"max_output_tokens\": 200, \"text\": {\"format\": {\"type\": \"json_schema\", \"name\": "
             "\"sum\", \"strict\": true, \"schema\": {\"type\": \"object\", \"properties\": {\"sum\": {\"enum\": "
             "[18, 19]}}, \"required\": [\"sum\"], \"additionalProperties\": false}}}}");
    const json_t *output = api_at(r, "output");
    json_t *value =
        json_loads(api_text_at(json_array_get(output, json_array_size(output) - 1), "content.0.text"), 0, NULL);
    assert_true(json_is_integer(json_object_get(value, "sum")));
    json_decref(value);
    json_decref(r);
    refused("{" QUESTION ", \"text\": {\"format\": {\"type\": \"json_schema\", \"name\": \"n\", \"schema\": {\"type\": "
            "\"tree\"}}}}",
            "text.format", "text.format");
}

// More than the buffer that a slow reader may leave unread.
static void a_long_request_is_repeated_whole_in_the_stream(void **state)
{
    (void)state;
    nb_buf body = {0};
    nb_buf_add_c(&body, "{" QUESTION ", \"max_output_tokens\": 3, \"stream\": true, \"metadata\": {\"long\": \"");
    for (int i = 0; i < 200000; i++) nb_buf_add_c(&body, "metadata");
    nb_buf_add_c(&body, "\"}}");
    json_t *events = api_named_stream(RESPONSES, body.ptr);
    const json_t *last = json_array_get(events, json_array_size(events) - 1);
    assert_string_equal(api_text_at(last, "type"), "response.incomplete");
    assert_int_equal(strlen(api_text_at(last, "response.metadata.long")), 1600000);
    json_decref(events);
    nb_buf_drop(&body);
}

static void thousands_of_pieces_become_one_text(void **state)
{
    (void)state;
    nb_buf body = {0};
    json_t *reply = NULL;
    nb_buf_add_c(&body, "{\"input\": [");
    for (int i = 0; i < 16000; i++) {
        nb_buf_add_c(&body, i ? ",{\"type\": \"reasoning\", \"content\": [{\"type\": \"reasoning_text\", \"text\": \""
                              : "{\"role\": \"user\", \"content\": [{\"type\": \"input_text\", \"text\": \"");
        for (int k = 0; k < 100; k++) nb_buf_add_c(&body, "ten bytes ");
        nb_buf_add_c(&body, "\"}]}");
    }
    nb_buf_add_c(&body, "]}");
    assert_int_equal(api_post(RESPONSES, body.ptr, &reply), 400);
    assert_string_equal(api_text_at(reply, "error.code"), "context_length_exceeded");
    json_decref(reply);
    nb_buf_drop(&body);
}

static void wrong_fields_are_named_as_the_client_knows_them(void **state)
{
    (void)state;
    refused("{}", "input", "missing");
    refused("{\"input\": 1}", "input", "must be a string or an array of items");
    refused("{\"input\": [1]}", "input[0]", "must be an object");
    refused("{\"input\": []}", "input", "at least one");
    refused("{\"input\": [{\"role\": \"narrator\", \"content\": \"\"}]}", "input[0].role", "must be user");
    refused("{\"input\": [{\"role\": \"user\", \"content\": 1}]}", "input[0].content", "must be a string or an array");
    refused("{\"input\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_image\"}]}]}", "input[0].content[0]",
            "text only");
    refused("{\"input\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_text\"}]}]}",
            "input[0].content[0].text", "missing");
    refused("{\"input\": [{\"type\": \"item_reference\", \"id\": \"x\"}]}", "input[0]", "item_reference");
    refused("{\"input\": [{\"type\": \"function_call\", \"name\": \"f\"}]}", "input[0].call_id", "missing");
    refused("{\"input\": [{\"type\": \"function_call\", \"call_id\": \"c\", \"name\": \"f\", \"arguments\": \"{\"}]}",
            "input[0].arguments", "not valid JSON");
    refused("{\"input\": [{\"type\": \"function_call\", \"call_id\": \"c\", \"name\": \"f\", \"arguments\": \"1\"}]}",
            "input[0].arguments", "of an object");
    refused("{\"input\": [{\"type\": \"function_call_output\", \"call_id\": 1}]}", "input[0].call_id", "a string");
    refused("{\"input\": [{\"type\": \"reasoning\", \"summary\": 1}]}", "input[0].summary", "must be a string or an");
    refused("{" QUESTION ", \"instructions\": 1}", "instructions", "must be a string");
    refused("{" QUESTION ", \"max_output_tokens\": 0}", "max_output_tokens", "must be 1 to");
    refused("{" QUESTION ", \"max_output_tokens\": 5000}", "input", "maximum context length");
    refused("{" QUESTION ", \"reasoning\": {\"effort\": \"huge\"}}", "reasoning.effort", "must be one of");
    refused("{" QUESTION ", \"reasoning\": 1}", "reasoning", "must be an object");
    refused("{" QUESTION ", \"tools\": [{\"type\": \"web_search\"}]}", "tools", "runs no tools itself");
    refused("{" QUESTION ", \"tools\": [{\"type\": \"namespace\", \"name\": \"a\", \"tools\": 1}]}", "tools[0].tools",
            "must be an array");
    refused("{" QUESTION ", \"tools\": [{\"type\": \"namespace\", \"name\": \"a\", \"tools\": [{\"type\": "
            "\"function\"}]}]}",
            "tools[0].tools[0].name", "missing");
    refused("{" QUESTION ", \"tools\": [{\"type\": \"function\"}]}", "tools[0].name", "missing");
    refused("{" QUESTION ", \"tools\": [{\"type\": \"function\", \"name\": \"f\", \"parameters\": 1}]}", "tools[0]",
            "must be an object");
    refused("{" QUESTION ", \"tool_choice\": {\"type\": \"allowed_tools\"}}", "tool_choice", "allowed_tools");
    refused("{" QUESTION ", \"text\": {\"format\": {\"type\": \"poem\"}}}", "text.format", "text.format");
    refused("{" QUESTION ", \"text\": 1}", "text", "must be an object");
    refused("{" QUESTION ", \"temperature\": \"hot\"}", "temperature", "must be a number");
    refused("{" QUESTION ", \"stream\": 1}", "stream", "must be true or false");
    refused("{" QUESTION ", \"store\": 1}", "store", "must be true or false");
    refused("{" QUESTION ", \"include\": [\"message.output_text.logprobs\"]}", "include", "/v1/chat/completions");
    refused("{" QUESTION ", \"top_logprobs\": 1}", "top_logprobs", "/v1/chat/completions");
    refused("{" QUESTION ", \"background\": true}", "background", "keeps no responses");
    refused("{" QUESTION ", \"previous_response_id\": \"resp_1\"}", "previous_response_id", "keeps no responses");
}

static void unknown_fields_are_accepted(void **state)
{
    (void)state;
    json_t *r =
        post("{" QUESTION ", \"n\": \"many\", \"service_tier\": 7, \"stream_options\": {\"include_obfuscation\": "
             "true}, \"include\": [\"reasoning.encrypted_content\"], \"text\": {\"verbosity\": \"low\"}, "
             "\"max_output_tokens\": 3}");
    assert_string_equal(api_text_at(r, "status"), "incomplete");
    json_decref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(response_has_reasoning_a_message_and_usage),
        cmocka_unit_test(effort_none_turns_reasoning_off),
        cmocka_unit_test(cut_answer_is_incomplete),
        cmocka_unit_test(streamed_response_is_the_same),
        cmocka_unit_test(reasoning_comes_in_the_form_that_was_asked_for),
        cmocka_unit_test(stream_names_each_step_of_an_item),
        cmocka_unit_test(functions_are_called_and_their_output_goes_back),
        cmocka_unit_test(calls_can_be_forced),
        cmocka_unit_test(what_no_client_runs_is_left_out_beside_functions),
        cmocka_unit_test(functions_of_namespaces_are_called_by_both_names),
        cmocka_unit_test(items_become_the_messages_of_a_chat),
        cmocka_unit_test(text_format_constrains_the_text),
        cmocka_unit_test(a_long_request_is_repeated_whole_in_the_stream),
        cmocka_unit_test(thousands_of_pieces_become_one_text),
        cmocka_unit_test(wrong_fields_are_named_as_the_client_knows_them),
        cmocka_unit_test(unknown_fields_are_accepted),
    };
    return nb_test_run("api_responses", tests);
}
