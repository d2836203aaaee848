// What the APIs of conversations (chat completions, responses, messages) share: a request becomes a prompt, and the
// model's text becomes items in the order in which it wrote them: reasoning, content, calls. An API says by a table how
// items are streamed, and reads them when the answer is given whole. Everything but nb_chat_prompt runs on the engine's
// thread.
#ifndef NB_CHAT_ANSWER_H
#define NB_CHAT_ANSWER_H

#include "serve/api_job.h"

typedef struct nb_chat_item {
    nb_part_kind kind; // NB_PART_REASONING, NB_PART_CONTENT or NB_PART_TOOL_BEGIN: a call
    int index, i_call; // among the answer's items, and among its calls
    nb_str name;       // of a call's function
    nb_buf text;       // or a call's arguments; empty when it was streamed and is not kept
} nb_chat_item;

typedef struct nb_chat_stream {
    bool keeps_text; // the items' text is wanted at the end of a stream, too
    void (*begin)(nb_choice *choice, const nb_chat_item *item);
    void (*text)(nb_choice *choice, const nb_chat_item *item, nb_str piece);
    void (*end)(nb_choice *choice, const nb_chat_item *item);
} nb_chat_stream;

typedef struct nb_chat_answer { // nb_choice.own
    const nb_chat_request *request;
    const nb_chat_stream *stream;
    nb_output_parser *parser;
    nb_chat_item *item; // [n_item]; the last one is open while more of it may come
    int n_item, item_cap, n_call;
    bool is_open;
    int64_t n_reasoning_tok; // tokens up to the end of the reasoning, if there is one
} nb_chat_answer;

// The prompt of a request: checks the model's name and the tools, renders the chat template, encodes.
int nb_chat_prompt(const nb_api *api, const nb_chat_request *request, const char *param, nb_ids *out,
                   nb_request_error *error);

void nb_chat_answer_open(nb_choice *choice, const nb_chat_request *request, const nb_chat_stream *stream);
void nb_chat_answer_text(nb_choice *choice, nb_str piece);
// All text was given. An answer with calls that ended by itself finishes with "tool_calls".
void nb_chat_answer_end(nb_choice *choice);
void nb_chat_answer_drop(nb_choice *choice); // also one that was never opened

enum { NB_CHAT_ID_BYTES = 40 };
// The prefix ("call_", "msg_", ...) and a word that no other item has, of any answer.
void nb_chat_item_id(const nb_choice *choice, const nb_chat_item *item, const char *prefix, char out[NB_CHAT_ID_BYTES]);

#endif
