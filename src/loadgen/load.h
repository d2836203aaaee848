// A load run: sends prompts at their times, at most so many at once, and notes when everything came back. One thread,
// an epoll loop over libcurl's sockets; the clock is read where bytes arrive.
#ifndef NB_LOAD_H
#define NB_LOAD_H

#include <signal.h>

#include "loadgen/prompt_set.h"

typedef enum nb_load_state {
    NB_LOAD_UNSENT, // the run was interrupted before
    NB_LOAD_OK,
    NB_LOAD_FAILED,
    NB_LOAD_CANCELLED, // the run was interrupted while it ran
} nb_load_state;

typedef struct nb_load_result {
    nb_load_state state;
    int status;       // of HTTP; 0: no answer
    int64_t due_us;   // since the start of the run, as all times here
    int64_t start_us; // when it was sent: later than due_us when too many others ran
    int64_t first_us; // first token
    int64_t last_us;  // last token, or the end of a failed request
    int32_t *gap_us;  // between arrivals of tokens
    int n_gap;        // one less than arrivals: a server may send several tokens in one event
    int n_input;      // tokens of the prompt, as the server counted them; else as we did
    int n_output;     // tokens of the answer, as the server counted them; else the arrivals
    char *text;       // of the answer; NULL unless wanted
    char *error;      // why it failed
} nb_load_result;

typedef struct nb_load_options {
    const nb_endpoint *endpoint;
    const nb_prompt *prompt;
    const int64_t *at_us; // one for each prompt, ascending
    int n;
    int max_concurrency;   // 0: no limit
    nb_str fields;         // further fields of each request's body, with a comma before each: ",\"top_p\":0.9"
    const char *id_prefix; // of X-Request-Id
    bool keep_text;
    const volatile sig_atomic_t *interrupted;                      // polled; may be NULL
    void (*progress)(void *user, int64_t n_done, int64_t n_total); // may be NULL
    void *user;
} nb_load_options;

// `result` has n zeroed elements. Failed requests are results, not errors; an error is that the run could not be made.
int nb_load_run(const nb_load_options *options, nb_load_result *result, int64_t *duration_us, nb_error *err);
void nb_load_results_drop(nb_load_result *result, int n);

#endif
