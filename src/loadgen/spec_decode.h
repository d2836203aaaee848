// What speculative decoding achieved during a run, from the counters of the server's /metrics (vLLM's names). A server
// without them has simply none.
#ifndef NB_SPEC_DECODE_H
#define NB_SPEC_DECODE_H

#include "loadgen/endpoint.h"

enum { NB_SPEC_DECODE_POSITIONS_MAX = 32 };

typedef struct nb_spec_decode {
    bool known;
    double n_draft, n_draft_tok, n_accepted;
    double accepted_at[NB_SPEC_DECODE_POSITIONS_MAX]; // by position in a draft
    int n_position;
} nb_spec_decode;

void nb_spec_decode_read(const nb_endpoint *endpoint, nb_spec_decode *out);
void nb_spec_decode_parse(nb_str metrics, nb_spec_decode *out);

// Counts between two readings; not known unless something was drafted.
nb_spec_decode nb_spec_decode_since(const nb_spec_decode *before, const nb_spec_decode *after);

double nb_spec_decode_rate(const nb_spec_decode *s);   // accepted by drafted tokens, in percent
double nb_spec_decode_length(const nb_spec_decode *s); // tokens of a step, the one that is always drawn included

#endif
