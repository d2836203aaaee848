// Constrained output over HTTP with the demo model at a high temperature: whatever it draws has the form asked for.
#include "support/check.h"
#include "support/api_server.h"
#include "support/json_validator.h"
#include "support/random_schema.h"

#include <stdlib.h>
#include <string.h>

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"

#define HOT \
    "\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 plus 7?\"}], \"temperature\": 1.5, \"seed\": 5"
#define QUICK HOT ", \"enable_thinking\": false"

#define PERSON                                                                                                        \
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 12}, \"age\": "          \
    "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 120}, \"tags\": {\"type\": \"array\", \"items\": "          \
    "{\"enum\": [\"a\", \"b\"]}, \"maxItems\": 3}, \"note\": {\"type\": [\"string\", \"null\"], \"maxLength\": 8}}, " \
    "\"required\": [\"name\", \"age\"], \"additionalProperties\": false}"

static json_t *post(const char *path, const char *body)
{
    json_t *reply = NULL;
    int status = api_post(path, body, &reply);
    if (status != 200) fail_msg("%s\n%d %s\n", body, status, reply ? api_text_at(reply, "error.message") : "");
    return reply;
}

static void refused(const char *body, const char *param, const char *part)
{
    json_t *reply = NULL;
    assert_int_equal(api_post(CHAT, body, &reply), 400);
    assert_string_equal(api_text_at(reply, "error.param"), param);
    if (!strstr(api_text_at(reply, "error.message"), part)) fail_msg("%s", api_text_at(reply, "error.message"));
    json_decref(reply);
}

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    nb_error err = {0};
    if (nb_json_parse(nb_str_from(text), "text", &value, &err) != NB_OK) fail_msg("%s: %s", err.text, text);
    return value;
}

static void validates(const char *schema_text, const char *text)
{
    char why[200];
    json_t *schema = parse(schema_text), *value = parse(text);
    if (!json_validates(schema, schema, value, why)) fail_msg("%s: %s", why, text);
    json_decref(schema);
    json_decref(value);
}

static const char *content_of(const json_t *reply, int i)
{
    return json_string_value(json_object_get(
        json_object_get(json_array_get(json_object_get(reply, "choices"), (size_t)i), "message"), "content"));
}

// ---- Each kind

static void a_choice_is_one_of_the_strings(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{" QUICK ", \"n\": 8, \"structured_outputs\": {\"choice\": [\"yes\", \"no\", \"no way\"]}}",
        "{" QUICK ", \"n\": 8, \"guided_choice\": [\"yes\", \"no\", \"no way\"]}",
    };
    for (int k = 0; k < 2; k++) {
        json_t *r = post(CHAT, bodies[k]);
        for (int i = 0; i < 8; i++) {
            const char *text = content_of(r, i);
            assert_true(!strcmp(text, "yes") || !strcmp(text, "no") || !strcmp(text, "no way"));
            assert_string_equal(json_string_value(json_object_get(
                                    json_array_get(json_object_get(r, "choices"), (size_t)i), "finish_reason")),
                                "stop");
        }
        json_decref(r);
    }
}

static void a_regular_expression_holds_for_plain_completions(void **state)
{
    (void)state;
    json_t *r = post(TEXT, "{\"prompt\": \"Hello\", \"max_tokens\": 60, \"temperature\": 2, \"n\": 6, \"seed\": 1, "
                           "\"structured_outputs\": {\"regex\": \"[0-9]{3}-(cat|dog) [a-f]{2,4}\\\\.\"}}");
    for (int i = 0; i < 6; i++) {
        const char *text =
            json_string_value(json_object_get(json_array_get(json_object_get(r, "choices"), (size_t)i), "text"));
        assert_int_equal(strspn(text, "0123456789"), 3);
        assert_true(!strncmp(text + 3, "-cat ", 5) || !strncmp(text + 3, "-dog ", 5));
        size_t n = strspn(text + 8, "abcdef");
        assert_true(n >= 2 && n <= 4);
        assert_string_equal(text + 8 + n, ".");
    }
    json_decref(r);
}

static void a_grammar_holds(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" QUICK ", \"n\": 4, \"max_tokens\": 200, \"guided_grammar\": \"root ::= pair\\npair ::= "
                           "\\\"(\\\" (pair | [0-9]) \\\")\\\"\"}");
    for (int i = 0; i < 4; i++) {
        const char *text = content_of(r, i);
        size_t n = strspn(text, "(");
        if (strlen(text) != 2 * n + 1) continue; // cut by max_tokens
        assert_int_equal(strspn(text + n, "0123456789"), 1);
        assert_int_equal(strspn(text + n + 1, ")"), n);
    }
    json_decref(r);
}

static void a_schema_holds_in_all_spellings(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{" QUICK ", \"n\": 4, \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"p\", "
        "\"strict\": true, \"schema\": " PERSON "}}}",
        "{" QUICK ", \"n\": 4, \"structured_outputs\": {\"json\": " PERSON "}}",
        "{" QUICK ", \"n\": 4, \"guided_json\": " PERSON "}",
        "{" QUICK ", \"n\": 4, \"structured_outputs\": {\"json\": " PERSON ", \"disable_any_whitespace\": true}}",
    };
    for (size_t k = 0; k < sizeof(bodies) / sizeof(bodies[0]); k++) {
        json_t *r = post(CHAT, bodies[k]);
        for (int i = 0; i < 4; i++) validates(PERSON, content_of(r, i));
        if (k == 3) assert_null(strchr(content_of(r, 0), '\n'));
        json_decref(r);
    }
    // A schema as text.
    json_t *body = json_pack("{s:[{s:s,s:s}],s:f,s:i,s:b,s:s}", "messages", "role", "user", "content", "Hi",
                             "temperature", 1.5, "seed", 3, "enable_thinking", 0, "guided_json", PERSON);
    nb_buf text = {0};
    nb_json_write(body, &text);
    json_t *r = post(CHAT, text.ptr);
    validates(PERSON, content_of(r, 0));
    json_decref(r);
    json_decref(body);
    nb_buf_drop(&text);
}

static void a_json_object_is_one(void **state)
{
    (void)state;
    json_t *r =
        post(CHAT, "{" QUICK ", \"n\": 3, \"max_tokens\": 150, \"response_format\": {\"type\": \"json_object\"}}");
    for (int i = 0; i < 3; i++) {
        const char *finish = json_string_value(
            json_object_get(json_array_get(json_object_get(r, "choices"), (size_t)i), "finish_reason"));
        assert_int_equal(content_of(r, i)[0], '{');
        if (!strcmp(finish, "stop")) json_decref(parse(content_of(r, i)));
    }
    json_decref(r);
}

static void random_schemas_hold(void **state)
{
    (void)state;
    uint64_t seed = 31;
    int n_ended = 0;
    for (int i = 0; i < 40; i++) {
        json_t *schema = random_schema(&seed), *r = NULL;
        json_t *body = json_pack("{s:[{s:s,s:s}],s:f,s:i,s:i,s:b,s:{s:O}}", "messages", "role", "user", "content", "Hi",
                                 "temperature", 1.3, "seed", i, "max_tokens", 150, "enable_thinking", 0,
                                 "structured_outputs", "json", schema);
        nb_buf text = {0};
        nb_json_write(body, &text);
        int status = api_post(CHAT, text.ptr, &r);
        assert_true(status == 200 || status == 400);
        if (status == 200 && !strcmp(api_text_at(r, "choices.0.finish_reason"), "stop")) {
            char why[200];
            json_t *value = NULL;
            nb_error err = {0};
            nb_test_ok(nb_json_parse_last(nb_str_from(content_of(r, 0)), "text", &value, &err), &err);
            if (!json_validates(schema, schema, value, why)) fail_msg("%s: %s", why, content_of(r, 0));
            json_decref(value);
            n_ended++;
        }
        json_decref(r);
        json_decref(body);
        json_decref(schema);
        nb_buf_drop(&text);
    }
    assert_true(n_ended > 10);
}

// ---- Reasoning, streams, limits

static void nothing_is_constrained_while_the_model_thinks(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 plus 7?\"}], "
                           "\"temperature\": 0, \"guided_regex\": \"<[0-9]{1,4}>\"}");
    const char *thought = api_text_at(r, "choices.0.message.reasoning_content"), *text = content_of(r, 0);
    assert_true(strlen(thought) > 5 && !strchr(thought, '<'));
    assert_int_equal(text[0], '<');
    assert_int_equal(text[strlen(text) - 1], '>');
    json_decref(r);
}

static void a_stream_gives_the_same_text(void **state)
{
    (void)state;
    json_t *whole = post(CHAT, "{" QUICK ", \"guided_json\": " PERSON "}");
    json_t *events = api_stream(CHAT, "{" QUICK ", \"stream\": true, \"guided_json\": " PERSON "}"), *event;
    nb_buf text = {0};
    size_t i;
    json_array_foreach(events, i, event)
    {
        const json_t *piece = api_at(event, "choices.0.delta.content");
        if (json_is_string(piece)) nb_buf_add_c(&text, json_string_value(piece));
    }
    assert_string_equal(text.ptr, content_of(whole, 0));
    validates(PERSON, text.ptr);
    nb_buf_drop(&text);
    json_decref(events);
    json_decref(whole);
}

static void end_tokens_wait_for_the_end(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" QUICK ", \"ignore_eos\": true, \"max_tokens\": 30, \"guided_regex\": \"ab*c\"}");
    const char *text = content_of(r, 0);
    assert_int_equal(text[0], 'a');
    assert_int_equal(text[strlen(text) - 1], 'c');
    assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "stop");
    json_decref(r);
    r = post(CHAT, "{" QUICK ", \"max_tokens\": 3, \"guided_regex\": \"a{50}\"}");
    assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "length");
    assert_int_equal(strspn(content_of(r, 0), "a"), strlen(content_of(r, 0)));
    json_decref(r);
    r = post(CHAT, "{" QUICK ", \"min_tokens\": 5, \"guided_regex\": \"x*\", \"max_tokens\": 40}");
    assert_true(api_int_at(r, "usage.completion_tokens") >= 5);
    json_decref(r);
}

// ---- Tools

#define BOOK                                                                                                          \
    "{\"type\": \"function\", \"function\": {\"name\": \"book_table\", \"strict\": true, \"parameters\": {\"type\": " \
    "\"object\", \"properties\": {\"people\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 20}, \"name\": "   \
    "{\"type\": \"string\", \"pattern\": \"^[A-Z][a-z]{1,8}$\"}, \"day\": {\"enum\": [\"monday\", \"sunday\"]}, "     \
    "\"extras\": {\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, \"maxItems\": 2}}, \"required\": "         \
    "[\"people\", \"name\", \"day\"], \"additionalProperties\": false}}}"
#define PING "{\"type\": \"function\", \"function\": {\"name\": \"ping\"}}"

static const json_t *function_of(const json_t *reply, int i_choice, size_t i_call)
{
    const json_t *message =
        json_object_get(json_array_get(json_object_get(reply, "choices"), (size_t)i_choice), "message");
    return json_object_get(json_array_get(json_object_get(message, "tool_calls"), i_call), "function");
}

static void check_booking(const json_t *function)
{
    json_t *tool = parse(BOOK);
    char *schema = json_dumps(json_object_get(json_object_get(tool, "function"), "parameters"), 0);
    assert_string_equal(json_string_value(json_object_get(function, "name")), "book_table");
    validates(schema, json_string_value(json_object_get(function, "arguments")));
    free(schema);
    json_decref(tool);
}

static void a_named_function_is_called_with_valid_arguments(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" QUICK ", \"n\": 6, \"tools\": [" PING ", " BOOK
                           "], \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"book_table\"}}}");
    for (int i = 0; i < 6; i++) {
        check_booking(function_of(r, i, 0));
        assert_null(function_of(r, i, 1));
    }
    assert_string_equal(api_text_at(r, "choices.0.finish_reason"), "tool_calls");
    json_decref(r);
}

static void required_means_at_least_one_call(void **state)
{
    (void)state;
    json_t *r = post(CHAT, "{" HOT ", \"n\": 6, \"tools\": [" PING ", " BOOK
                           "], \"tool_choice\": \"required\", \"parallel_tool_calls\": false}");
    for (int i = 0; i < 6; i++) {
        const json_t *function = function_of(r, i, 0);
        assert_non_null(function);
        assert_null(function_of(r, i, 1));
        if (strcmp(json_string_value(json_object_get(function, "name")), "ping") != 0) check_booking(function);
    }
    json_decref(r);
}

static void strict_tools_have_valid_arguments_when_they_are_called(void **state)
{
    (void)state;
    json_t *r = post(
        CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"Book a table for 17 people under the name Ben.\"}], "
              "\"temperature\": 0.9, \"seed\": 1, \"n\": 6, \"max_tokens\": 300, \"tools\": [" BOOK "]}");
    int n_call = 0;
    for (int i = 0; i < 6; i++) {
        const json_t *function = function_of(r, i, 0);
        if (!function) continue;
        n_call++;
        if (json_object_get(function, "arguments")) check_booking(function);
    }
    assert_true(n_call > 0);
    json_decref(r);
}

// ---- Refusals

static void what_cannot_be_kept_is_refused_by_name_and_place(void **state)
{
    (void)state;
    refused("{" QUICK ", \"guided_json\": {\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"array\", "
            "\"uniqueItems\": true}}}}",
            "guided_json", "#/properties/a/uniqueItems is only supported");
    refused("{" QUICK ", \"guided_regex\": \"a(?=b)\"}", "guided_regex", "look-ahead");
    refused("{" QUICK ", \"guided_grammar\": \"root ::= root\"}", "guided_grammar", "no text");
    refused("{" QUICK ", \"guided_choice\": []}", "guided_choice", "1 to");
    refused("{" QUICK ", \"guided_choice\": [1]}", "guided_choice", "guided_choice[0] must be a string");
    refused("{" QUICK ", \"guided_json\": {\"not\": {}}}", "guided_json", "#/not is not supported");
    refused("{" QUICK ", \"guided_json\": 7}", "guided_json", "must be a JSON schema");
    refused("{" QUICK ", \"guided_json\": \"{\"}", "guided_json", "not valid JSON");
    refused("{" QUICK ", \"guided_regex\": \"a\", \"guided_choice\": [\"b\"]}", "guided_choice", "exclude each other");
    refused("{" QUICK ", \"response_format\": {\"type\": \"json_schema\"}}", "response_format", "schema is missing");
    refused("{" QUICK ", \"response_format\": {\"type\": \"xml\"}}", "response_format", "json_object");
    refused("{" QUICK ", \"tool_choice\": \"required\"}", "tool_choice", "needs tools");
    refused("{" QUICK ", \"tools\": [" PING
            "], \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"pong\"}}}",
            "tool_choice", "\"pong\", which is not in tools");
    refused("{" QUICK ", \"tools\": [" PING "], \"tool_choice\": \"always\"}", "tool_choice", "must be");
    refused("{" QUICK ", \"tools\": [" PING "], \"tool_choice\": \"required\", \"guided_regex\": \"a\"}", "tool_choice",
            "exclude");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_choice_is_one_of_the_strings),
        cmocka_unit_test(a_regular_expression_holds_for_plain_completions),
        cmocka_unit_test(a_grammar_holds),
        cmocka_unit_test(a_schema_holds_in_all_spellings),
        cmocka_unit_test(a_json_object_is_one),
        cmocka_unit_test(random_schemas_hold),
        cmocka_unit_test(nothing_is_constrained_while_the_model_thinks),
        cmocka_unit_test(a_stream_gives_the_same_text),
        cmocka_unit_test(end_tokens_wait_for_the_end),
        cmocka_unit_test(a_named_function_is_called_with_valid_arguments),
        cmocka_unit_test(required_means_at_least_one_call),
        cmocka_unit_test(strict_tools_have_valid_arguments_when_they_are_called),
        cmocka_unit_test(what_cannot_be_kept_is_refused_by_name_and_place),
    };
    return nb_test_run("constrained", tests);
}
