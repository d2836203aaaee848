// A device without arithmetic, for tests of whoever writes batches. Its "keys and values" are the token ids and a hash
// of everything before them, its "recurrent state" is that hash, and what it draws is a function of the hash and of all
// that a row says about sampling. So any wrong page, slot, n_past, copy or token changes what it draws or breaks a rule
// that it checks: a broken rule is printed and fails the step with NB_ERR_DEVICE.
//
// Checked, beside indices and ranges: all pages of a sequence hold its own past, written by earlier steps; the slot has
// absorbed exactly n_past tokens, the same ones, after dropping at most the last step's drafts; nobody writes what
// another sequence of the step writes; NB_TOKEN_LAST only directly after the step that drew; non-final order of tokens,
// rows and copies as model/batch.h says.
#ifndef NB_FAKE_DEVICE_H
#define NB_FAKE_DEVICE_H

#include "model/device.h"

typedef struct nb_fake_options {
    int vocab_size;
    int n_page;       // given when the engine asks for as many as possible
    int n_saved;      // states given when the engine leaves their number to the device
    bool verify;      // off: only enough is done to draw tokens, for benchmarks
    bool needs_state; // off: like a model without DeltaNet layers, slots hold the last token only
    bool drafts;      // proposes drafts where they are asked for; two of three are what it will draw
    int fail_submit;  // the n-th submit fails, counted from 1; 0: none
    int fail_wait;    // the n-th wait fails
    int bad_token_at; // the n-th submit draws an id outside of the vocabulary
    bool hold;        // the first submit waits for nb_fake_release, so that a test can fill the queue before
} nb_fake_options;

typedef struct nb_fake_stats {
    int64_t n_step, n_tok, n_seq, n_copy;
    int most_in_flight;
    int most_seq;
    int64_t n_ahead;     // tokens given as NB_TOKEN_LAST
    int64_t n_draft;     // tokens given as drafts
    char violation[256]; // the first broken rule, "" if none
} nb_fake_stats;

nb_device *nb_fake_open(const nb_fake_options *options);
void nb_fake_release(nb_device *device);
const nb_fake_stats *nb_fake_stats_of(const nb_device *device); // read it when the engine is closed

#endif
