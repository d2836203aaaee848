// Responses: what responses_api.c (execution), openai_responses.c (JSON) and openai_responses_stream.c (events) share.
#ifndef NB_RESPONSES_API_H
#define NB_RESPONSES_API_H

#include "serve/chat_answer.h"

typedef struct nb_responses_job { // nb_api_job.own
    nb_responses_request request;
    int64_t n_event; // sent; the next one's sequence_number
} nb_responses_job;

// Events, put into job->chunk and sent.
void nb_openai_responses_begin(nb_choice *choice); // the response was made and is being worked on
void nb_openai_responses_item_begin(nb_choice *choice, const nb_chat_item *item);
void nb_openai_responses_item_text(nb_choice *choice, const nb_chat_item *item, nb_str piece);
void nb_openai_responses_item_end(nb_choice *choice, const nb_chat_item *item);
void nb_openai_responses_end(nb_api_job *job); // completed, incomplete or failed

// The whole answer, and its parts for the events.
void nb_openai_responses_reply(nb_api_job *job, nb_buf *out);
const char *nb_openai_responses_status(const nb_api_job *job); // at its end
void nb_openai_responses_add(nb_buf *out, const nb_api_job *job, const char *status);
// `begun`: in progress, its text has not come yet.
void nb_openai_responses_add_item(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, bool begun);
void nb_openai_responses_item_id(const nb_choice *choice, const nb_chat_item *item, char out[NB_CHAT_ID_BYTES]);
void nb_openai_responses_call_name(const nb_choice *choice, const nb_chat_item *item, nb_str *space, nb_str *name);

// The text of a message or of reasoning is its only part.
typedef struct nb_responses_part {
    const char *type, *index;                     // "output_text"; "content_index"
    const char *added, *delta, *text_done, *done; // names of events
} nb_responses_part;
const nb_responses_part *nb_openai_responses_part(const nb_choice *choice, const nb_chat_item *item); // a call: NULL
void nb_openai_responses_add_part(nb_buf *out, const nb_choice *choice, const nb_chat_item *item, nb_str text);

#endif
