/* Asks a model one question and prints the answer as it comes, the thinking in grey.
 *
 *     cc hello.c $(pkg-config --cflags --libs nibble) -o hello
 *     ./hello models/demo "What is the capital of Norway?"
 */
#include <nibble.h>
#include <stdio.h>
#include <string.h>

static int print(void *user, int part, const char *text, size_t n_byte)
{
    int *last = user;
    if (n_byte == 0) return 0;
    if (part != *last) fputs(part == NIBBLE_REASONING ? "\033[2m" : "\033[0m\n", stdout);
    *last = part;
    fwrite(text, 1, n_byte, stdout);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3 || strpbrk(argv[2], "\"\\\n")) { /* a real program has a JSON library */
        fprintf(stderr, "usage: hello FOLDER QUESTION (one line without quotes)\n");
        return 2;
    }
    char messages[4096];
    int part = NIBBLE_CONTENT;
    snprintf(messages, sizeof messages, "[{\"role\": \"user\", \"content\": \"%.3900s\"}]", argv[2]);

    nibble *model = NULL;
    nibble_error error;
    nibble_result result = {.size = sizeof result};
    nibble_request request;
    nibble_request_init(&request, sizeof request);
    request.messages = messages;
    request.max_tokens = 256;
    request.on_text = print;
    request.user = &part;

    int code = nibble_open(argv[1], NULL, &model, &error);
    if (code == NIBBLE_OK) code = nibble_generate(model, &request, &result, &error);
    if (code == NIBBLE_OK) {
        printf("\n\n%d tokens, %.1f a second\n", (int)result.n_output,
               result.decode_us ? (result.n_output - 1) * 1e6 / (double)result.decode_us : 0);
    } else {
        fprintf(stderr, "hello: %s\n", error.message);
    }
    nibble_close(model);
    return code == NIBBLE_OK ? 0 : 1;
}
