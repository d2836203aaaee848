// include/nibble.h as a program uses it: text, conversations, threads, cancelling, errors, and structs of older and
// newer headers.
#include "support/check.h"

#include <nibble.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static nibble *model;
static nibble_error error;

static void expect_ok(int code)
{
    if (code != NIBBLE_OK) fail_msg("%d: %s", code, error.message);
}

static void expect_error(int code, int wanted, const char *part)
{
    assert_int_equal(code, wanted);
    assert_int_equal(error.code, wanted);
    if (!strstr(error.message, part)) fail_msg("no \"%s\" in: %s", part, error.message);
}

static int open_model(void **state)
{
    (void)state;
    nibble_options options = {.size = sizeof options, .device = "cpu", .max_num_seqs = 4, .max_model_len = 1024};
    return nibble_open(nb_test_path("models/demo"), &options, &model, &error);
}

static int close_model(void **state)
{
    (void)state;
    nibble_close(model);
    return 0;
}

typedef struct sink {
    nb_buf part[NIBBLE_TOOL_END + 1];
    int n_call, n_tool, stop_at;
} sink;

static int collect(void *user, int part, const char *text, size_t n_byte)
{
    sink *s = user;
    nb_buf_add(&s->part[part], text, n_byte);
    if (n_byte) s->n_call++;
    if (part == NIBBLE_TOOL_END) s->n_tool++;
    return s->stop_at && s->n_call >= s->stop_at;
}

static void drop(sink *s)
{
    for (int i = 0; i <= NIBBLE_TOOL_END; i++) nb_buf_drop(&s->part[i]);
}

static nibble_request ask(const char *prompt, sink *s)
{
    nibble_request q;
    nibble_request_init(&q, sizeof q);
    q.prompt = prompt;
    q.temperature = 0;
    q.max_tokens = 20;
    q.ignore_eos = 1;
    q.on_text = collect;
    q.user = s;
    return q;
}

static void a_prompt_gives_the_same_text_as_its_tokens(void **state)
{
    (void)state;
    const char *prompt = "In the beginning";
    int32_t token[16];
    sink a = {0}, b = {0};
    nibble_result result = {.size = sizeof result};
    nibble_request q = ask(prompt, &a);
    expect_ok(nibble_generate(model, &q, &result, &error));
    assert_int_equal(result.n_output, 20);
    assert_int_equal(result.finish, NIBBLE_FINISH_LENGTH);
    assert_true(result.prefill_us > 0 && result.decode_us > 0 && result.step_bytes > 0);
    assert_true(result.logits_hash == 0); // not asked for
    q = ask(NULL, &b);
    q.token = token;
    q.n_token = (size_t)nibble_tokenize(model, prompt, strlen(prompt), token, 16, &error);
    assert_int_equal(q.n_token, result.n_prompt);
    q.want_logits_hash = 1;
    expect_ok(nibble_generate(model, &q, &result, &error));
    assert_true(result.logits_hash != 0);
    assert_string_equal(a.part[NIBBLE_CONTENT].ptr, b.part[NIBBLE_CONTENT].ptr);
    drop(&a);
    drop(&b);
}

static void a_conversation_is_answered_with_its_thinking_apart(void **state)
{
    (void)state;
    sink s = {0};
    nibble_request q = ask(NULL, &s);
    q.messages = "[{\"role\": \"user\", \"content\": \"On which continent is Ghana?\\nA. South America\\nB. Europe\\n"
                 "C. Asia\\nD. Africa\"}]";
    q.max_tokens = 200;
    q.ignore_eos = 0;
    nibble_result result = {.size = sizeof result};
    expect_ok(nibble_generate(model, &q, &result, &error));
    assert_int_equal(result.finish, NIBBLE_FINISH_STOP);
    assert_non_null(strstr(s.part[NIBBLE_CONTENT].ptr, "Answer: D"));
    assert_true(s.part[NIBBLE_REASONING].len > 0);
    assert_null(strstr(s.part[NIBBLE_REASONING].ptr, "think>"));
    assert_null(strstr(s.part[NIBBLE_CONTENT].ptr, "think>"));
    drop(&s);
}

static void a_tool_is_called_with_typed_arguments(void **state)
{
    (void)state;
    sink s = {0}, plain = {0};
    nibble_request q = ask(NULL, &s);
    q.messages = "[{\"role\": \"user\", \"content\": \"Book a table for 17 people under the name Ben.\"}]";
    q.tools = "[{\"type\": \"function\", \"function\": {\"name\": \"book_table\", \"description\": \"Book a table\", "
              "\"parameters\": {\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}, \"people\": "
              "{\"type\": \"integer\"}}, \"required\": [\"name\", \"people\"]}}}]";
    q.tool_parser = "qwen3_xml";
    q.max_tokens = 200;
    q.ignore_eos = 0;
    expect_ok(nibble_generate(model, &q, NULL, &error));
    assert_int_equal(s.n_tool, 1);
    assert_string_equal(s.part[NIBBLE_TOOL_NAME].ptr, "book_table");
    assert_string_equal(s.part[NIBBLE_TOOL_ARGUMENTS].ptr, "{\"name\": \"Ben\", \"people\": 17}");
    q.tool_parser = NULL;
    q.user = &plain;
    expect_ok(nibble_generate(model, &q, NULL, &error));
    assert_non_null(strstr(plain.part[NIBBLE_CONTENT].ptr, "<tool_call>"));
    q.tool_parser = "morse";
    expect_error(nibble_generate(model, &q, NULL, &error), NIBBLE_ERROR_INPUT, "morse");
    drop(&s);
    drop(&plain);
}

static void an_answer_fits_what_was_asked_for(void **state)
{
    (void)state;
    sink s = {0}, t = {0}, u = {0};
    nb_error err;
    json_t *json;
    nibble_request q = ask("The weather: ", &s);
    q.ignore_eos = 0;
    q.temperature = 1;
    q.max_tokens = 200;
    q.regex = "(sun|rain), -?[0-9]{1,2} degrees";
    expect_ok(nibble_generate(model, &q, NULL, &error));
    assert_true(strstr(s.part[NIBBLE_CONTENT].ptr, " degrees") != NULL);
    assert_true(strncmp(s.part[NIBBLE_CONTENT].ptr, "sun, ", 5) == 0 ||
                strncmp(s.part[NIBBLE_CONTENT].ptr, "rain, ", 6) == 0);
    q.regex = NULL;
    q.user = &t;
    q.prompt = NULL;
    q.messages = "[{\"role\": \"user\", \"content\": \"Is Ghana in Africa?\\nA. yes\\nB. no\"}]";
    q.json_schema = "{\"type\": \"object\", \"properties\": {\"yes\": {\"type\": \"boolean\"}}, \"required\": "
                    "[\"yes\"], \"additionalProperties\": false}";
    expect_ok(nibble_generate(model, &q, NULL, &error));
    nb_test_ok(nb_json_parse(nb_buf_str(&t.part[NIBBLE_CONTENT]), "answer", &json, &err), &err);
    assert_true(json_is_boolean(json_object_get(json, "yes")));
    json_decref(json);
    q.json_schema = NULL;
    q.user = &u;
    q.choice = "[\"perhaps\", \"never\"]";
    expect_ok(nibble_generate(model, &q, NULL, &error));
    assert_true(!strcmp(u.part[NIBBLE_CONTENT].ptr, "perhaps") || !strcmp(u.part[NIBBLE_CONTENT].ptr, "never"));
    q.choice = "{}";
    expect_error(nibble_generate(model, &q, NULL, &error), NIBBLE_ERROR_INPUT, "choice");
    q.choice = NULL;
    q.regex = "(";
    assert_true(nibble_generate(model, &q, NULL, &error) != NIBBLE_OK);
    q.grammar = "root ::= \"a\"";
    expect_error(nibble_generate(model, &q, NULL, &error), NIBBLE_ERROR_USAGE, "one of");
    drop(&s);
    drop(&t);
    drop(&u);
}

static void text_becomes_tokens_and_text_again(void **state)
{
    (void)state;
    const char text[] = "Hello, w\xc3\xb6rld!\n";
    int32_t token[64];
    char back[64] = {0};
    int64_t n = nibble_tokenize(model, text, strlen(text), NULL, 0, &error);
    assert_true(n > 3 && n < 64);
    assert_int_equal(nibble_tokenize(model, text, strlen(text), token, 64, &error), n);
    assert_int_equal(nibble_detokenize(model, token, (size_t)n, NULL, 0, &error), strlen(text));
    assert_int_equal(nibble_detokenize(model, token, (size_t)n, back, 5, &error), strlen(text));
    assert_string_equal(back, "Hello"); // only what fits
    nibble_detokenize(model, token, (size_t)n, back, sizeof back, &error);
    assert_string_equal(back, text);
    token[0] = -1;
    expect_error((int)nibble_detokenize(model, token, 1, back, sizeof back, &error), NIBBLE_ERROR_INPUT, "vocabulary");
}

static void a_conversation_is_rendered(void **state)
{
    (void)state;
    char text[4096] = {0};
    int64_t n = nibble_render(model, "[{\"role\": \"user\", \"content\": \"hi\"}]", NULL,
                              "{\"enable_thinking\": false}", text, sizeof text, &error);
    assert_true(n > 0 && n < (int64_t)sizeof text);
    assert_non_null(strstr(text, "hi"));
    expect_error((int)nibble_render(model, "{}", NULL, NULL, text, 0, &error), NIBBLE_ERROR_INPUT, "array");
    expect_error((int)nibble_render(model, "[", NULL, NULL, text, 0, &error), NIBBLE_ERROR_INPUT, "messages");
}

static void a_callback_can_stop_its_request(void **state)
{
    (void)state;
    sink s = {.stop_at = 3};
    nibble_request q = ask("In the beginning", &s);
    q.max_tokens = 900;
    nibble_result result = {.size = sizeof result};
    expect_ok(nibble_generate(model, &q, &result, &error));
    assert_int_equal(result.finish, NIBBLE_FINISH_CANCELLED);
    assert_int_equal(s.n_call, 3); // nothing comes after it
    drop(&s);
}

static void *cancel(void *user)
{
    sink *s = user;
    while (__atomic_load_n(&s->n_call, __ATOMIC_RELAXED) == 0) sched_yield();
    nibble_cancel(model);
    return NULL;
}

static int count(void *user, int part, const char *text, size_t n_byte)
{
    (void)part, (void)text;
    if (n_byte) __atomic_fetch_add(&((sink *)user)->n_call, 1, __ATOMIC_RELAXED);
    return 0;
}

static void cancel_ends_what_runs_and_nothing_later(void **state)
{
    (void)state;
    sink s = {0};
    pthread_t thread;
    nibble_request q = ask("In the beginning", &s);
    q.max_tokens = 1000;
    q.on_text = count;
    nibble_result result = {.size = sizeof result};
    pthread_create(&thread, NULL, cancel, &s);
    expect_ok(nibble_generate(model, &q, &result, &error));
    pthread_join(thread, NULL);
    assert_int_equal(result.finish, NIBBLE_FINISH_CANCELLED);
    q.max_tokens = 5;
    expect_ok(nibble_generate(model, &q, &result, &error));
    assert_int_equal(result.finish, NIBBLE_FINISH_LENGTH);
}

static const char *const prompts[] = {"In the beginning", "And God said", "The sun is",
                                      "A dog is",         "Moses went",   "1 2 3"};
enum { N_PROMPT = sizeof prompts / sizeof prompts[0] };

static void *generate_one(void *user)
{
    sink *s = user;
    nibble_request q = ask(prompts[s->stop_at], s);
    s->stop_at = 0;
    nibble_error own;
    return nibble_generate(model, &q, NULL, &own) == NIBBLE_OK ? s : NULL;
}

static void threads_get_the_answers_they_would_get_alone(void **state)
{
    (void)state;
    sink alone[N_PROMPT], together[N_PROMPT];
    pthread_t thread[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++) {
        alone[i] = together[i] = (sink){.stop_at = i};
        assert_non_null(generate_one(&alone[i]));
    }
    for (int i = 0; i < N_PROMPT; i++) pthread_create(&thread[i], NULL, generate_one, &together[i]);
    for (int i = 0; i < N_PROMPT; i++) {
        void *result;
        pthread_join(thread[i], &result);
        assert_non_null(result);
        assert_string_equal(together[i].part[NIBBLE_CONTENT].ptr, alone[i].part[NIBBLE_CONTENT].ptr);
        drop(&alone[i]);
        drop(&together[i]);
    }
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    nibble *other;
    nibble_options options = {.size = sizeof options, .device = "abacus"};
    expect_error(nibble_open("models/demo", &options, &other, &error), NIBBLE_ERROR_USAGE, "abacus");
    assert_null(other);
    expect_error(nibble_open("/nowhere", NULL, &other, &error), NIBBLE_ERROR_IO, "/nowhere");
    options = (nibble_options){.size = sizeof options, .device = "cpu", .max_model_len = 1 << 30};
    expect_error(nibble_open(nb_test_path("models/demo"), &options, &other, &error), NIBBLE_ERROR_USAGE,
                 "max-model-len");
    assert_true(nibble_open("/nowhere", NULL, &other, NULL) != NIBBLE_OK);
    nibble_request q = ask("a", NULL);
    q.on_text = NULL;
    q.messages = "[]";
    expect_error(nibble_generate(model, &q, NULL, &error), NIBBLE_ERROR_USAGE, "one of");
    q = ask("", NULL);
    assert_true(nibble_generate(model, &q, NULL, &error) != NIBBLE_OK);
    q = ask("a", NULL);
    q.max_tokens = -1;
    expect_error(nibble_generate(model, &q, NULL, &error), NIBBLE_ERROR_USAGE, "max_tokens");
    q = ask("a", NULL);
    q.repetition_penalty = 0;
    assert_true(nibble_generate(model, &q, NULL, &error) != NIBBLE_OK);
    nibble_close(NULL);
}

// A later header has more fields, an earlier one fewer.
static void structs_of_other_versions_are_read(void **state)
{
    (void)state;
    struct {
        nibble_request request;
        int64_t later;
    } newer;
    sink s = {0};
    nibble_request_init(&newer.request, sizeof newer);
    newer.request.prompt = "In the beginning";
    newer.request.max_tokens = 4;
    newer.request.on_text = collect;
    newer.request.user = &s;
    expect_ok(nibble_generate(model, &newer.request, NULL, &error)); // the unknown field is zero
    newer.later = 1;
    expect_error(nibble_generate(model, &newer.request, NULL, &error), NIBBLE_ERROR_USAGE, "newer");
    nibble_request older = newer.request;
    older.size = offsetof(nibble_request, on_text);
    expect_ok(nibble_generate(model, &older, NULL, &error)); // its fields end before the callback
    nibble_result result = {.size = offsetof(nibble_result, n_output), .n_output = 77};
    expect_ok(nibble_generate(model, &older, &result, &error));
    assert_true(result.n_prompt > 0 && result.n_output == 77);
    older.size = 0;
    expect_error(nibble_generate(model, &older, NULL, &error), NIBBLE_ERROR_USAGE, "size");
    assert_string_equal(nibble_version(), NIBBLE_VERSION);
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_gives_the_same_text_as_its_tokens),
        cmocka_unit_test(a_conversation_is_answered_with_its_thinking_apart),
        cmocka_unit_test(a_tool_is_called_with_typed_arguments),
        cmocka_unit_test(an_answer_fits_what_was_asked_for),
        cmocka_unit_test(text_becomes_tokens_and_text_again),
        cmocka_unit_test(a_conversation_is_rendered),
        cmocka_unit_test(a_callback_can_stop_its_request),
        cmocka_unit_test(cancel_ends_what_runs_and_nothing_later),
        cmocka_unit_test(threads_get_the_answers_they_would_get_alone),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(structs_of_other_versions_are_read),
    };
    if (open_model(NULL) != 0) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    int code = nb_test_run("library/nibble", tests);
    close_model(NULL);
    return code;
}
