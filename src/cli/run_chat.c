// A conversation on the terminal: a line in, an answer streamed, the think block dimmed. Ctrl-C stops an answer, Ctrl-D
// ends. Earlier turns come from the prefix cache, so a turn computes only what is new.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/run_internal.h"

#define DIM   "\033[2m"
#define PLAIN "\033[0m"

typedef struct turn {
    nb_buf reasoning, content;
    bool color, dimmed;
} turn;

static int print_part(void *user, int part, const char *text, size_t n_byte)
{
    turn *t = user;
    if (n_byte == 0) return 0;
    bool dim = part == NIBBLE_REASONING;
    nb_buf_add(dim ? &t->reasoning : &t->content, text, n_byte);
    if (t->dimmed && !dim) fputs("\n\n", stdout); // the answer stands apart from the thinking
    if (t->color && dim != t->dimmed) fputs(dim ? DIM : PLAIN, stdout);
    t->dimmed = dim;
    fwrite(text, 1, n_byte, stdout);
    fflush(stdout);
    return 0;
}

// Ends the answer on the screen and puts it into the conversation.
static void close_turn(turn *t, json_t *messages)
{
    if (t->color && t->dimmed) fputs(PLAIN, stdout);
    puts("\n");
    json_array_append_new(
        messages, json_pack("{s:s, s:o, s:o}", "role", "assistant", "content",
                            json_stringn(t->content.ptr ? t->content.ptr : "", t->content.len), "reasoning_content",
                            json_stringn(t->reasoning.ptr ? t->reasoning.ptr : "", t->reasoning.len)));
    nb_buf_drop(&t->reasoning);
    nb_buf_drop(&t->content);
}

static int answer(nibble *model, const nibble_request *request, json_t *messages, nb_error *err)
{
    nb_buf text = {0};
    turn t = {.color = isatty(STDOUT_FILENO)};
    nibble_request q = *request;
    nb_json_write(messages, &text);
    q.messages = text.ptr;
    q.on_text = print_part;
    q.user = &t;
    int code = nb_run_generate(model, &q, NULL, err);
    close_turn(&t, messages);
    nb_buf_drop(&text);
    return code;
}

static void begin(json_t *messages, const char *system)
{
    json_array_clear(messages);
    if (system) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
}

int nb_run_chat(nibble *model, const nibble_request *request, const char *system, const char *variables, nb_error *err)
{
    nibble_request q = *request;
    json_t *messages = json_array();
    q.variables = variables;
    begin(messages, system);
    puts("Ctrl-C stops an answer, /new begins a new conversation, Ctrl-D ends.");
    char *line = NULL;
    size_t cap = 0;
    int code = NB_OK;
    for (ssize_t n; code == NB_OK && (fputs("> ", stdout), fflush(stdout), n = getline(&line, &cap, stdin)) > 0;) {
        if (line[n - 1] == '\n') line[--n] = 0;
        if (n == 0) continue;
        if (strcmp(line, "/new") == 0) {
            begin(messages, system);
            continue;
        }
        json_t *text = json_string(line);
        if (!text) continue; // not UTF-8: nothing a tokenizer could read
        json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", text));
        code = answer(model, &q, messages, err);
    }
    putchar('\n');
    free(line);
    json_decref(messages);
    return code;
}
