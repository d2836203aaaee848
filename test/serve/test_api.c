// The OpenAI API with the demo model: what a client sends and gets.
#include "support/check.h"
#include "support/api_server.h"
#include "support/http_client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"

#define QUESTION "\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 plus 7?\"}], \"temperature\": 0"
#define WEATHER_TOOLS                                                                                         \
    "\"messages\": [{\"role\": \"user\", \"content\": \"Book a table for 17 people under the name Ben.\"}], " \
    "\"temperature\": 0, \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"book_table\", "      \
    "\"description\": \"Book a table\", \"parameters\": {\"type\": \"object\", \"properties\": {\"name\": "   \
    "{\"type\": \"string\"}, \"people\": {\"type\": \"integer\"}}, \"required\": [\"name\", \"people\"]}}}]"

static json_t *post(const char *path, const char *body)
{
    json_t *reply = NULL;
    int status = api_post(path, body, &reply);
    if (status != 200) print_error("%s\n%d %s\n", body, status, reply ? api_text_at(reply, "error.message") : "");
    assert_int_equal(status, 200);
    assert_non_null(reply);
    return reply;
}

static void refused(const char *path, const char *body, int status, const char *param, const char *part)
{
    json_t *reply = NULL;
    assert_int_equal(api_post(path, body, &reply), status);
    if (param) assert_string_equal(api_text_at(reply, "error.param"), param);
    if (!strstr(api_text_at(reply, "error.message"), part)) fail_msg("%s", api_text_at(reply, "error.message"));
    json_decref(reply);
}

// All strings at `path` of a stream's events, in order.
static nb_buf joined(const json_t *events, const char *path)
{
    nb_buf text = {0};
    const json_t *event;
    size_t i;
    nb_buf_add_c(&text, "");
    json_array_foreach(events, i, event)
    {
        const json_t *piece = api_at(event, path);
        if (json_is_string(piece)) nb_buf_add_c(&text, json_string_value(piece));
    }
    return text;
}

static const json_t *last_choice(const json_t *events)
{
    for (size_t i = json_array_size(events); i-- > 0;)
        if (api_at(json_array_get(events, i), "choices.0")) return json_array_get(events, i);
    return NULL;
}

// ---- Chat

static void chat_answers_with_reasoning_and_usage(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{\"model\": \"demo\", " QUESTION "}");
    assert_string_equal(api_text_at(r, "object"), "chat.completion");
    assert_string_equal(api_text_at(r, "model"), "demo");
    assert_string_equal(api_text_at(r, "choices.0.message.role"), "assistant");
    assert_non_null(strstr(api_text_at(r, "choices.0.message.content"), "19"));
    assert_string_equal(api_text_at(r, "choices.0.message.reasoning_content"),
                        api_text_at(r, "choices.0.message.reasoning"));
    assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "stop");
    assert_int_equal(api_int_at(r, "usage.total_tokens"),
                     api_int_at(r, "usage.prompt_tokens") + api_int_at(r, "usage.completion_tokens"));
    assert_true(api_int_at(r, "usage.completion_tokens") > 0);
    assert_true(!strncmp(api_text_at(r, "id"), "chatcmpl-", 9));
    json_decref(r);
}

static void streamed_chat_is_the_same_text(void **state)
{
    (void)state;
    json_t *whole = post(CHAT, "{" QUESTION "}");
    json_t *events =
        api_stream(CHAT, "{" QUESTION ", \"stream\": true, \"stream_options\": {\"include_usage\": true}}");
    nb_buf content = joined(events, "choices.0.delta.content"),
           reasoning = joined(events, "choices.0.delta.reasoning_content");
    assert_string_equal(content.ptr, api_text_at(whole, "choices.0.message.content"));
    assert_string_equal(reasoning.ptr, api_text_at(whole, "choices.0.message.reasoning_content"));
    assert_string_equal(api_text_at(json_array_get(events, 0), "choices.0.delta.role"), "assistant");
    assert_string_equal(api_text_at(last_choice(events), "choices.0.finish_reason"), "stop");
    const json_t *usage = json_array_get(events, json_array_size(events) - 1);
    assert_int_equal(json_array_size(api_at(usage, "choices")), 0);
    assert_int_equal(api_int_at(usage, "usage.completion_tokens"), api_int_at(whole, "usage.completion_tokens"));
    nb_buf_drop(&content);
    nb_buf_drop(&reasoning);
    json_decref(events);
    json_decref(whole);
}

static void thinking_can_be_turned_off(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{" QUESTION ", \"chat_template_kwargs\": {\"enable_thinking\": false}}",
        "{" QUESTION ", \"enable_thinking\": false}",
        "{" QUESTION ", \"reasoning_effort\": \"none\"}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        json_t *r = post(CHAT, bodies[i]);
        assert_true(json_is_null(api_at(r, "choices.0.message.reasoning_content")));
        assert_non_null(strstr(api_text_at(r, "choices.0.message.content"), "19"));
        json_decref(r);
    }
    json_t *r = post(CHAT, "{" QUESTION ", \"include_reasoning\": false}");
    assert_true(json_is_null(api_at(r, "choices.0.message.reasoning_content")));
    json_decref(r);
}

static void tools_are_called_with_typed_arguments(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" WEATHER_TOOLS "}");
    assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "tool_calls");
    assert_string_equal(api_text_at(r, "choices.0.message.tool_calls.0.function.name"), "book_table");
    assert_string_equal(api_text_at(r, "choices.0.message.tool_calls.0.function.arguments"),
                        "{\"name\": \"Ben\", \"people\": 17}");
    json_t *events = api_stream(CHAT, "{" WEATHER_TOOLS ", \"stream\": true}");
    nb_buf arguments = joined(events, "choices.0.delta.tool_calls.0.function.arguments");
    nb_buf name = joined(events, "choices.0.delta.tool_calls.0.function.name");
    assert_string_equal(arguments.ptr, "{\"name\": \"Ben\", \"people\": 17}");
    assert_string_equal(name.ptr, "book_table");
    assert_string_equal(api_text_at(last_choice(events), "choices.0.finish_reason"), "tool_calls");
    nb_buf_drop(&arguments);
    nb_buf_drop(&name);
    json_decref(events);
    json_decref(r);
    r = post(CHAT, "{" WEATHER_TOOLS ", \"tool_choice\": \"none\"}");
    assert_null(api_at(r, "choices.0.message.tool_calls"));
    assert_non_null(strstr(api_text_at(r, "choices.0.message.content"), "<tool_call>"));
    json_decref(r);
}

static void tool_results_go_back(void **state)
{
    (void)state;
    json_t *r =
        post(CHAT, "{\"temperature\": 0, \"messages\": [{\"role\": \"user\", \"content\": \"Book a table for 17 people "
                   "under the name "
                   "Ben.\"}, {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"call_1\", "
                   "\"type\": \"function\", "
                   "\"function\": {\"name\": \"book_table\", \"arguments\": \"{\\\"name\\\": \\\"Ben\\\", "
                   "\\\"people\\\": 17}\"}}]}, "
                   "{\"role\": \"tool\", \"tool_call_id\": \"call_1\", \"content\": \"{\\\"table\\\": 21}\"}]}");
    assert_non_null(strstr(api_text_at(r, "choices.0.message.content"), "21"));
    json_decref(r);
}

static void several_choices_are_drawn_apart(void **state)
{
    (void)state;
    const char *body = "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me something.\"}], \"n\": 3, "
                       "\"seed\": 7, \"temperature\": "
                       "1.5, \"max_tokens\": 12}";
    json_t *a = post(CHAT, body), *b = post(CHAT, body);
    assert_int_equal(json_array_size(api_at(a, "choices")), 3);
    assert_true(json_equal(api_at(a, "choices"), api_at(b, "choices")));
    assert_false(json_equal(api_at(a, "choices.0.message"), api_at(a, "choices.2.message")));
    assert_int_equal(api_int_at(a, "choices.2.index"), 2);
    assert_string_equal(api_text_at(a, "choices.0.finish_reason"), "length");
    assert_int_equal(api_int_at(a, "usage.completion_tokens"), 36);
    json_decref(a);
    json_decref(b);
}

// "aaa aaa aaa ...": about 700 tokens.
static const char *long_text(void)
{
    static char text[900];
    memset(text, 'a', sizeof(text) - 1);
    for (size_t i = 3; i < sizeof(text) - 1; i += 4) text[i] = ' ';
    return text;
}

static json_t *post_json(const char *path, const json_t *request)
{
    char *body = json_dumps(request, 0);
    json_t *reply = post(path, body);
    free(body);
    return reply;
}

static json_int_t n_cached_of(const json_t *reply)
{
    return api_int_at(reply, "usage.prompt_tokens_details.cached_tokens");
}

// All of the first turn's prompt is found again, to the page end before the last few tokens: there its state was saved.
static void a_second_turn_computes_only_what_is_new(void **state)
{
    (void)state;
    json_t *request = json_pack("{s:[{s:s, s:s}], s:i, s:f}", "messages", "role", "user", "content", long_text(),
                                "max_tokens", 150, "temperature", 0.0);
    json_t *messages = json_object_get(request, "messages"), *first = post_json(CHAT, request);
    assert_int_equal(n_cached_of(first), 0);
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "content",
                                              api_text_at(first, "choices.0.message.content")));
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", "And then?"));
    json_t *second = post_json(CHAT, request), *again = post_json(CHAT, request);
    json_int_t n_prompt = api_int_at(first, "usage.prompt_tokens"),
               n_second = api_int_at(second, "usage.prompt_tokens");
    assert_true(n_cached_of(second) >= (n_prompt - 8) / NB_PAGE_TOKENS * NB_PAGE_TOKENS);
    assert_true(n_cached_of(again) >= (n_second - 8) / NB_PAGE_TOKENS * NB_PAGE_TOKENS);
    assert_true(json_equal(api_at(second, "choices"), api_at(again, "choices")));
    json_decref(request);
    json_decref(first);
    json_decref(second);
    json_decref(again);
}

// ---- Where and how it stops

static void stop_strings_end_the_text_wherever_they_fall(void **state)
{
    (void)state;
    json_t *whole = post(TEXT, "{\"prompt\": \"In the beginning\", \"max_tokens\": 24, \"temperature\": 0}");
    const char *text = api_text_at(whole, "choices.0.text");
    size_t n = strlen(text);
    for (size_t at = 1; at + 3 < n;
         at += 5) { // any three characters of the text stop it there, inside tokens and across
        json_t *request = json_pack("{s:s, s:i, s:f, s:s%}", "prompt", "In the beginning", "max_tokens", 24,
                                    "temperature", 0.0, "stop", text + at, 3);
        char *body = json_dumps(request, 0);
        json_t *r = post(TEXT, body);
        size_t first = (size_t)(strstr(text, json_string_value(json_object_get(request, "stop"))) - text);
        assert_int_equal(strlen(api_text_at(r, "choices.0.text")), first);
        assert_memory_equal(api_text_at(r, "choices.0.text"), text, first);
        assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "stop");
        assert_string_equal(api_text_at(r, "choices.0.stop_reason"),
                            json_string_value(json_object_get(request, "stop")));
        json_object_set_new(request, "stream", json_true());
        free(body);
        body = json_dumps(request, 0);
        json_t *events = api_stream(TEXT, body);
        nb_buf streamed = joined(events, "choices.0.text");
        assert_string_equal(streamed.ptr, api_text_at(r, "choices.0.text"));
        nb_buf_drop(&streamed);
        json_decref(events);
        free(body);
        json_decref(request);
        json_decref(r);
    }
    json_decref(whole);
}

static void stop_strings_may_stay(void **state)
{
    (void)state;
    json_t *r = post(
        CHAT,
        "{" QUESTION
        ", \"stop\": [\"nothing like it\", \"19\"], \"include_stop_str_in_output\": true, \"enable_thinking\": false}");
    const char *content = api_text_at(r, "choices.0.message.content");
    assert_string_equal(content + strlen(content) - 2, "19");
    json_decref(r);
}

static void stop_tokens_are_told(void **state)
{
    (void)state;
    json_t *r =
        post(TEXT, "{\"prompt\": \"In the beginning\", \"max_tokens\": 8, \"temperature\": 0, \"logprobs\": 0}");
    json_t *ids = NULL;
    json_t *request = json_pack("{s:s}", "prompt", api_text_at(r, "choices.0.logprobs.tokens.3"));
    char *body = json_dumps(request, 0), stop[200];
    assert_int_equal(api_post("/tokenize", body, &ids), 200);
    json_int_t id = api_int_at(ids, "tokens.0");
    snprintf(stop, sizeof(stop),
             "{\"prompt\": \"In the beginning\", \"max_tokens\": 8, \"temperature\": 0, \"stop_token_ids\": [%d]}",
             (int)id);
    json_t *stopped = post(TEXT, stop);
    assert_string_equal(api_text_at(stopped, "choices.0.finish_reason"), "stop");
    assert_int_equal(api_int_at(stopped, "choices.0.stop_reason"), id);
    free(body);
    json_decref(request);
    json_decref(ids);
    json_decref(stopped);
    json_decref(r);
}

static void end_tokens_can_be_ignored(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" QUESTION ", \"ignore_eos\": true, \"max_tokens\": 100, \"enable_thinking\": false}");
    assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "length");
    assert_int_equal(api_int_at(r, "usage.completion_tokens"), 100);
    json_decref(r);
}

// ---- Log-probabilities, bias

static void logprobs_come_with_their_tokens(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" QUESTION ", \"logprobs\": true, \"top_logprobs\": 3, \"enable_thinking\": false}");
    const json_t *list = api_at(r, "choices.0.logprobs.content"), *entry;
    assert_int_equal(json_array_size(list), api_int_at(r, "usage.completion_tokens"));
    size_t i;
    nb_buf text = {0};
    json_array_foreach(list, i, entry)
    {
        nb_buf_add_c(&text, api_text_at(entry, "token"));
        assert_int_equal(json_array_size(api_at(entry, "top_logprobs")), 3);
        assert_string_equal(api_text_at(entry, "top_logprobs.0.token"), api_text_at(entry, "token")); // greedy
        assert_true(json_number_value(api_at(entry, "logprob")) <= 0);
    }
    assert_string_equal(text.ptr, api_text_at(r, "choices.0.message.content"));
    json_t *events =
        api_stream(CHAT, "{" QUESTION ", \"logprobs\": true, \"stream\": true, \"enable_thinking\": false}");
    size_t n = 0;
    json_array_foreach(events, i, entry) n += json_array_size(api_at(entry, "choices.0.logprobs.content"));
    assert_int_equal(n, json_array_size(list));
    nb_buf_drop(&text);
    json_decref(events);
    json_decref(r);
}

// Each token with its text, its log-probability and those of its rivals.
static json_t *all_logprobs(const json_t *events)
{
    json_t *all = json_array();
    const json_t *event;
    size_t i;
    json_array_foreach(events, i, event)
    {
        json_t *list = (json_t *)api_at(event, "choices.0.logprobs.content");
        if (json_is_array(list)) json_array_extend(all, list);
    }
    return all;
}

static void streamed_tokens_are_the_same_to_the_bit(void **state)
{
    (void)state;
    static const char *const sampling[] = {
        "\"temperature\": 0",
        "\"temperature\": 1, \"seed\": 11",
        "\"temperature\": 0.8, \"seed\": 3, \"top_p\": 0.9, \"top_k\": 40, \"frequency_penalty\": 0.5",
    };
    for (size_t i = 0; i < sizeof(sampling) / sizeof(sampling[0]); i++) {
        char body[400];
        snprintf(body, sizeof(body),
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me a story.\"}], \"max_tokens\": 60, "
                 "\"logprobs\": true, \"top_logprobs\": 4, %s",
                 sampling[i]);
        size_t n = strlen(body);
        strcpy(body + n, "}");
        json_t *whole = post(CHAT, body);
        strcpy(body + n, ", \"stream\": true}");
        json_t *events = api_stream(CHAT, body), *streamed = all_logprobs(events);
        assert_true(json_array_size(streamed) > 5);
        assert_true(json_equal(streamed, api_at(whole, "choices.0.logprobs.content")));
        json_decref(streamed);
        json_decref(events);
        json_decref(whole);
    }
}

static void echo_scores_the_prompt(void **state)
{
    (void)state;
    json_t *r = post(TEXT, "{\"prompt\": \"In the beginning God\", \"max_tokens\": 0, \"echo\": true, \"logprobs\": 1, "
                           "\"prompt_logprobs\": 2}");
    assert_string_equal(api_text_at(r, "choices.0.text"), "In the beginning God");
    const json_t *list = api_at(r, "choices.0.logprobs");
    json_int_t n = api_int_at(r, "usage.prompt_tokens");
    assert_int_equal(json_array_size(api_at(list, "tokens")), n);
    assert_true(json_is_null(api_at(list, "token_logprobs.0")));
    assert_true(json_number_value(api_at(list, "token_logprobs.1")) < 0);
    assert_int_equal(api_int_at(list, "text_offset.0"), 0);
    assert_int_equal(json_array_size(api_at(r, "choices.0.prompt_logprobs")), n);
    assert_true(json_is_null(api_at(r, "choices.0.prompt_logprobs.0")));
    assert_int_equal(api_int_at(r, "usage.completion_tokens"), 0);
    json_decref(r);
}

// As in Python, whose servers clients were written against.
static void the_last_of_duplicate_fields_wins(void **state)
{
    (void)state;
    json_t *r = post(TEXT, "{\"max_tokens\": \"many\", \"prompt\": \"a\", \"ignore_eos\": true, \"max_tokens\": 3}");
    assert_int_equal(api_int_at(r, "usage.completion_tokens"), 3);
    json_decref(r);
}

static void bias_decides_the_token(void **state)
{
    (void)state;
    json_t *r = post(TEXT, "{\"prompt\": [10, 20], \"max_tokens\": 4, \"temperature\": 0, \"logit_bias\": {\"65\": "
                           "100}, \"logprobs\": 0}");
    const char *first = api_text_at(r, "choices.0.logprobs.tokens.0");
    assert_string_equal(first, api_text_at(r, "choices.0.logprobs.tokens.3"));
    json_decref(r);
}

static void prompts_come_in_all_shapes(void **state)
{
    (void)state;
    json_t *r = post(TEXT, "{\"prompt\": [\"one\", \"two\"], \"n\": 2, \"max_tokens\": 1, \"temperature\": 0}");
    assert_int_equal(json_array_size(api_at(r, "choices")), 4);
    assert_string_equal(api_text_at(r, "choices.0.text"), api_text_at(r, "choices.1.text"));
    json_decref(r);
    r = post(TEXT, "{\"prompt\": [[1, 2, 3], [4]], \"max_tokens\": 1}");
    assert_int_equal(api_int_at(r, "usage.prompt_tokens"), 4);
    json_decref(r);
    r = post(TEXT, "{\"prompt\": [1, 2, 3], \"max_tokens\": 1, \"truncate_prompt_tokens\": 2}");
    assert_int_equal(api_int_at(r, "usage.prompt_tokens"), 2);
    json_decref(r);
}

// ---- Other routes

static void tokens_go_there_and_back(void **state)
{
    (void)state;
    json_t *r = NULL;
    assert_int_equal(
        api_post("/tokenize", "{\"prompt\": \"h\\u00e9llo w\\u00f6rld\", \"return_token_strs\": true}", &r), 200);
    assert_int_equal(json_array_size(api_at(r, "tokens")), api_int_at(r, "count"));
    assert_int_equal(json_array_size(api_at(r, "token_strs")), api_int_at(r, "count"));
    json_t *request = json_pack("{s:O}", "tokens", api_at(r, "tokens")), *back = NULL;
    char *body = json_dumps(request, 0);
    assert_int_equal(api_post("/detokenize", body, &back), 200);
    assert_string_equal(api_text_at(back, "prompt"), "héllo wörld");
    free(body);
    json_decref(request);
    json_decref(back);
    json_decref(r);
    assert_int_equal(api_post("/tokenize", "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", &r), 200);
    assert_true(api_int_at(r, "count") > 5);
    json_decref(r);
    refused("/tokenize", "{}", 400, "prompt", "missing");
    refused("/tokenize", "{\"prompt\": 1}", 400, "prompt", "must be a string");
    refused("/detokenize", "{\"tokens\": [-1]}", 400, "tokens", "token ids are 0 to");
    refused("/detokenize", "{}", 400, "tokens", "missing");
}

static void models_are_listed(void **state)
{
    (void)state;
    json_t *r = NULL;
    assert_int_equal(api_get("/v1/models", &r), 200);
    assert_string_equal(api_text_at(r, "data.0.id"), "demo");
    assert_int_equal(api_int_at(r, "data.1.max_model_len"), 1024);
    json_decref(r);
    assert_int_equal(api_get("/v1/models/nibble-demo", &r), 200);
    assert_string_equal(api_text_at(r, "id"), "nibble-demo");
    json_decref(r);
    assert_int_equal(api_get("/v1/models/other", &r), 404);
    json_decref(r);
    assert_int_equal(api_get("/health", NULL), 200);
    assert_int_equal(api_get("/readyz", NULL), 200);
    assert_int_equal(api_get("/version", &r), 200);
    assert_string_equal(api_text_at(r, "version"), "1.2.3");
    json_decref(r);
}

static void wrong_requests_name_their_field(void **state)
{
    (void)state;
    refused(CHAT, "{\"model\": \"x\", " QUESTION "}", 404, "model", "does not exist");
    refused(CHAT, "{" QUESTION ", \"max_tokens\": 2000}", 400, "messages", "maximum context length is 1024");
    refused(CHAT, "{\"messages\": [{\"role\": \"narrator\", \"content\": \"\"}]}", 400, "messages",
            "There is no user message");
    refused(CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", 400,
            "messages[0].content[0]", "text only");
    refused(TEXT, "{\"prompt\": \"\"}", 400, "prompt", "empty");
    refused(TEXT, "{\"prompt\": \"a\", \"stream\": true, \"prompt_logprobs\": 1}", 400, "prompt_logprobs",
            "not available");
    refused(CHAT, "[]", 400, NULL, "must be a JSON object");
    refused(CHAT, "{", 400, NULL, "not valid JSON");
}

// ---- A client that goes away

static void request_of_a_client_that_left_is_cancelled(void **state)
{
    (void)state;
    const api_server *server = api_server_get();
    const char *body = "{\"prompt\": \"a\", \"max_tokens\": 1000, \"ignore_eos\": true, \"stream\": true}";
    char head[200];
    nb_buf seen = {0};
    int fd = client_connect(server->port);
    snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", TEXT, strlen(body));
    assert_true(client_send(fd, nb_str_from(head)) && client_send(fd, nb_str_from(body)));
    assert_true(client_read_until(fd, &seen, "data: ", 10000));
    close(fd);
    nb_engine_stats stats = {.n_running = 1};
    for (int i = 0; i < 1000 && stats.n_running > 0; i++) {
        nb_engine_stats_read(server->engine, &stats);
        usleep(10000);
    }
    assert_int_equal(stats.n_running, 0);
    assert_true(stats.finished[NB_FINISH_CANCELLED] > 0);
    nb_buf_drop(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_answers_with_reasoning_and_usage),
        cmocka_unit_test(streamed_chat_is_the_same_text),
        cmocka_unit_test(thinking_can_be_turned_off),
        cmocka_unit_test(tools_are_called_with_typed_arguments),
        cmocka_unit_test(tool_results_go_back),
        cmocka_unit_test(several_choices_are_drawn_apart),
        cmocka_unit_test(a_second_turn_computes_only_what_is_new),
        cmocka_unit_test(stop_strings_end_the_text_wherever_they_fall),
        cmocka_unit_test(stop_strings_may_stay),
        cmocka_unit_test(stop_tokens_are_told),
        cmocka_unit_test(end_tokens_can_be_ignored),
        cmocka_unit_test(logprobs_come_with_their_tokens),
        cmocka_unit_test(streamed_tokens_are_the_same_to_the_bit),
        cmocka_unit_test(echo_scores_the_prompt),
        cmocka_unit_test(the_last_of_duplicate_fields_wins),
        cmocka_unit_test(bias_decides_the_token),
        cmocka_unit_test(prompts_come_in_all_shapes),
        cmocka_unit_test(tokens_go_there_and_back),
        cmocka_unit_test(models_are_listed),
        cmocka_unit_test(wrong_requests_name_their_field),
        cmocka_unit_test(request_of_a_client_that_left_is_cancelled),
    };
    return nb_test_run("api", tests);
}
