// Responses: what responses_api.c (execution) and openai_responses.c (JSON) share.
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

void nb_openai_responses_reply(nb_api_job *job, nb_buf *out); // the whole answer

#endif
