// The tables of the byte pair encoder, shared by the files bpe_*.c.
//
// Both tables are open addressing with a power of two of slots, at most half full. `tokens` finds an id by its bytes;
// `merges` finds what a pair of ids becomes. A token is `whole` when merging its own bytes gives just that token: then
// a piece equal to it needs no merging, which is the case for most words.
#ifndef NB_BPE_INTERNAL_H
#define NB_BPE_INTERNAL_H

#include "text/bpe.h"

typedef struct nb_bpe_token_slot {
    uint32_t hash;
    int32_t id; // -1: empty
} nb_bpe_token_slot;

typedef struct nb_bpe_merge {
    uint64_t pair; // left id << 32 | right id; NB_BPE_NO_PAIR: empty
    int32_t rank;
    int32_t id; // what the pair becomes
} nb_bpe_merge;
#define NB_BPE_NO_PAIR UINT64_MAX

// The beginning of a slice as an argument of "%.*s".
#define NB_BPE_SHOWN(s) (int)((s).len < 60 ? (s).len : 60), (s).ptr

struct nb_bpe {
    nb_arena *arena; // all that lives as long as this, except the next two
    nb_str *token;   // [n_id] bytes, empty where there is none
    bool *whole;     // [n_id]
    int32_t n_id;
    int32_t byte_id[256]; // -1: no token for this byte
    nb_bpe_token_slot *token_slot;
    nb_bpe_merge *merge_slot;
    uint32_t token_mask, merge_mask; // slots - 1
};

// One symbol of a piece that is being merged; symbols are a doubly linked list in place.
struct nb_bpe_symbol {
    int32_t id;
    int32_t prev, next; // -1 at the ends
    int32_t rank;       // of the pair with the next symbol; -1: that pair has none, or the symbol is gone
    int32_t merged;     // the id this pair becomes
};

void nb_bpe_token_table_open(nb_bpe *bpe, size_t n_token); // empty, with room for that many
void nb_bpe_merge_table_open(nb_bpe *bpe, size_t n_merge);
bool nb_bpe_token_put(nb_bpe *bpe, int32_t id);                // of bpe->token[id]; false: those bytes are taken
void nb_bpe_merge_put(nb_bpe *bpe, const nb_bpe_merge *merge); // the last rank of a pair counts
const nb_bpe_merge *nb_bpe_merge_find(const nb_bpe *bpe, int32_t left, int32_t right); // NULL: none

int nb_bpe_read_vocab(nb_bpe *bpe, nb_str json, nb_error *err);
int nb_bpe_read_merges(nb_bpe *bpe, nb_str json, nb_error *err); // after the vocabulary

// Merges without looking the piece up first.
void nb_bpe_merge_piece(const nb_bpe *bpe, nb_bpe_scratch *scratch, nb_str piece, nb_ids *out);

#endif
