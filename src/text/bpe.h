// Byte pair encoding over bytes: the vocabulary as byte strings, and the merges by rank. Built once from the "model"
// part of tokenizer.json, immutable after that, used by any number of threads. Called by the tokenizer only.
#ifndef NB_BPE_H
#define NB_BPE_H

#include "base/json.h"
#include "text/tokenizer.h"

enum {
    NB_BPE_ID_MAX = 1 << 22,    // ids of a vocabulary; bounds what a file can make us allocate
    NB_BPE_PIECE_MAX = 1 << 30, // bytes of one piece
};

typedef struct nb_bpe nb_bpe;

// The "model" object of tokenizer.json. Refuses what is not byte-level BPE: dropout, byte fallback, affixes.
typedef struct nb_bpe_source {
    const json_t *model;  // without its two large members
    nb_str vocab, merges; // their JSON text
} nb_bpe_source;
int nb_bpe_open(const nb_bpe_source *source, nb_bpe **out, nb_error *err);
void nb_bpe_close(nb_bpe *bpe);

int32_t nb_bpe_size(const nb_bpe *bpe);               // largest id + 1
nb_str nb_bpe_token(const nb_bpe *bpe, int32_t id);   // its bytes; empty for ids without a token
int32_t nb_bpe_find(const nb_bpe *bpe, nb_str bytes); // or -1

// Working memory of one caller. Zero-initialise.
typedef struct nb_bpe_scratch {
    struct nb_bpe_symbol *symbol;
    uint64_t *heap;
    size_t n_symbol_max, n_heap_max;
} nb_bpe_scratch;
void nb_bpe_scratch_drop(nb_bpe_scratch *scratch);

// Appends the ids of one piece of at most NB_BPE_PIECE_MAX bytes: the pair of the lowest rank is merged first, the
// leftmost of equals, until no pair has a rank. O(n log n). Bytes that the vocabulary lacks give nothing.
void nb_bpe_encode(const nb_bpe *bpe, nb_bpe_scratch *scratch, nb_str piece, nb_ids *out);

#endif
