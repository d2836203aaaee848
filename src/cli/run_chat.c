// A conversation on the terminal: a line in, an answer streamed, the think block dimmed. Ctrl-C stops an answer, Ctrl-D
// ends. Earlier turns come from the prefix cache, so a turn computes only what is new.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/run_internal.h"
#include "text/output_parser.h"

#define DIM   "\033[2m"
#define PLAIN "\033[0m"

typedef struct turn {
    nb_output_parser *parser;
    nb_buf reasoning, content;
    bool color, dimmed;
} turn;

static void print_part(void *user, const nb_part *part)
{
    turn *t = user;
    bool dim = part->kind == NB_PART_REASONING;
    nb_buf_add_str(dim ? &t->reasoning : &t->content, part->text);
    if (t->dimmed && !dim) fputs("\n\n", stdout); // the answer stands apart from the thinking
    if (t->color && dim != t->dimmed) fputs(dim ? DIM : PLAIN, stdout);
    t->dimmed = dim;
    fwrite(part->text.ptr, 1, part->text.len, stdout);
    fflush(stdout);
}

static void on_text(void *user, nb_str text)
{
    turn *t = user;
    nb_output_parser_feed(t->parser, text, print_part, t);
}

static void open_turn(turn *t, nb_str prompt)
{
    nb_output_parser_options options = {.reasoning = NB_REASONING_QWEN3,
                                        .starts_in_reasoning = nb_str_ends(prompt, NB_STR("<think>\n"))};
    *t = (turn){.parser = nb_output_parser_open(&options), .color = isatty(STDOUT_FILENO)};
}

// Ends the answer on the screen and puts it into the conversation.
static void close_turn(turn *t, json_t *messages)
{
    nb_output_parser_end(t->parser, print_part, t);
    if (t->color && t->dimmed) fputs(PLAIN, stdout);
    puts("\n");
    json_array_append_new(
        messages, json_pack("{s:s, s:o, s:o}", "role", "assistant", "content",
                            json_stringn(t->content.ptr ? t->content.ptr : "", t->content.len), "reasoning_content",
                            json_stringn(t->reasoning.ptr ? t->reasoning.ptr : "", t->reasoning.len)));
    nb_output_parser_close(t->parser);
    nb_buf_drop(&t->reasoning);
    nb_buf_drop(&t->content);
}

static int answer(nb_engine *engine, const nb_session *s, const nb_run_options *o, const nb_chat *chat, int64_t context,
                  json_t *messages, nb_error *err)
{
    nb_buf prompt = {0};
    nb_ids ids = {0};
    int code = nb_run_render(chat, o, messages, &prompt, err);
    if (code == NB_OK) code = nb_tokenizer_encode(s->tokenizer, nb_buf_str(&prompt), true, &ids, err);
    if (code == NB_OK) {
        turn t;
        nb_generated result;
        nb_request request = nb_run_request(o, s, &ids, context);
        open_turn(&t, nb_buf_str(&prompt));
        nb_run_catch_interrupt(true);
        code = nb_generate(engine, s, &request, true, &nb_run_interrupted, on_text, &t, &result, err);
        nb_run_catch_interrupt(false);
        close_turn(&t, messages);
    }
    nb_buf_drop(&prompt);
    nb_ids_drop(&ids);
    return code;
}

static void begin(json_t *messages, const char *system)
{
    json_array_clear(messages);
    if (system) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
}

int nb_run_chat(nb_engine *engine, const nb_session *session, const nb_run_options *options, int64_t context,
                nb_error *err)
{
    nb_chat *chat;
    NB_TRY(nb_chat_open(session->folder, NULL, &chat, err));
    json_t *messages = json_array();
    begin(messages, options->system);
    puts("Ctrl-C stops an answer, /new begins a new conversation, Ctrl-D ends.");
    char *line = NULL;
    size_t cap = 0;
    int code = NB_OK;
    for (ssize_t n; code == NB_OK && (fputs("> ", stdout), fflush(stdout), n = getline(&line, &cap, stdin)) > 0;) {
        if (line[n - 1] == '\n') line[--n] = 0;
        if (n == 0) continue;
        if (strcmp(line, "/new") == 0) {
            begin(messages, options->system);
            continue;
        }
        json_t *text = json_string(line);
        if (!text) continue; // not UTF-8: nothing a tokenizer could read
        json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", text));
        code = answer(engine, session, options, chat, context, messages, err);
    }
    putchar('\n');
    free(line);
    json_decref(messages);
    nb_chat_close(chat);
    return code;
}
