// Random texts of an automaton, byte by byte, and whether it accepts a text.
#ifndef NB_TEST_WALKER_H
#define NB_TEST_WALKER_H

#include "constrain/matcher.h"

uint32_t walk_random(uint64_t *seed); // the next number of a sequence

// A text that the automaton accepts, drawn uniformly from the bytes that are possible; where it may end it does with
// one chance in `reluctance`. False: it did not end within max_bytes.
bool walk_text(const nb_automaton *automaton, uint64_t *seed, size_t max_bytes, uint32_t reluctance, nb_buf *out);

bool walk_accepts(const nb_automaton *automaton, nb_str text);

#endif
