// Shared by load.c, which runs the loop, and load_request.c, which knows one request.
#ifndef NB_LOAD_INTERNAL_H
#define NB_LOAD_INTERNAL_H

#include "loadgen/load.h"
#include "loadgen/sse_reader.h"

typedef struct nb_load_request {
    const nb_load_options *options;
    const nb_prompt *prompt;
    nb_load_result *result;
    int64_t begin_us; // clock at the start of the run
    CURL *easy;
    struct curl_slist *header;
    nb_buf body;
    nb_sse_reader sse;
    nb_buf reply; // of an error
    nb_buf text;
    int cap_gap;
    int64_t choice_us; // the last event that had a choice, token or not
    bool finished;     // a finish reason or [DONE] came
    bool counted;      // the server said how many tokens the answer has
    nb_error err;      // set when the stream could not be read
} nb_load_request;

// Makes the request number i, ready to be added to a multi handle.
nb_load_request *nb_load_request_open(const nb_load_options *options, int i, int64_t begin_us, nb_load_result *result);

// Fills in the result once the transfer is over.
void nb_load_request_end(nb_load_request *request, CURLcode code);
void nb_load_request_close(nb_load_request *request);

#endif
