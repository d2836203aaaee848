// The two hash tables of the byte pair encoder. See bpe_internal.h.
#include "text/bpe_internal.h"

#include <string.h>

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint32_t hash_bytes(nb_str s)
{
    uint64_t h = s.len;
    for (; s.len >= 8; s.ptr += 8, s.len -= 8) {
        uint64_t word;
        memcpy(&word, s.ptr, 8);
        h = mix(h ^ word) * 0xff51afd7ed558ccdu;
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < s.len; i++) tail = tail << 8 | (uint8_t)s.ptr[i];
    return (uint32_t)mix(mix(h ^ tail));
}

// A power of two that leaves at least half of the slots empty.
static uint32_t slots_for(size_t n)
{
    uint32_t n_slot = 16;
    while (n_slot < 2 * n) n_slot *= 2;
    return n_slot;
}

void nb_bpe_token_table_open(nb_bpe *bpe, size_t n_token)
{
    uint32_t n_slot = slots_for(n_token);
    bpe->token_slot = NB_ARENA_ARRAY(bpe->arena, nb_bpe_token_slot, n_slot);
    bpe->token_mask = n_slot - 1;
    for (uint32_t i = 0; i < n_slot; i++) bpe->token_slot[i].id = -1;
}

void nb_bpe_merge_table_open(nb_bpe *bpe, size_t n_merge)
{
    uint32_t n_slot = slots_for(n_merge);
    bpe->merge_slot = NB_ARENA_ARRAY(bpe->arena, nb_bpe_merge, n_slot);
    bpe->merge_mask = n_slot - 1;
    for (uint32_t i = 0; i < n_slot; i++) bpe->merge_slot[i].pair = NB_BPE_NO_PAIR;
}

// The slot that holds these bytes, or the empty one where they would go.
static nb_bpe_token_slot *token_slot(const nb_bpe *bpe, nb_str bytes, uint32_t hash)
{
    uint32_t i = hash & bpe->token_mask;
    for (;; i = (i + 1) & bpe->token_mask) {
        nb_bpe_token_slot *slot = &bpe->token_slot[i];
        if (slot->id < 0) return slot;
        if (slot->hash == hash && nb_str_equal(bpe->token[slot->id], bytes)) return slot;
    }
}

bool nb_bpe_token_put(nb_bpe *bpe, int32_t id)
{
    uint32_t hash = hash_bytes(bpe->token[id]);
    nb_bpe_token_slot *slot = token_slot(bpe, bpe->token[id], hash);
    if (slot->id >= 0) return false;
    *slot = (nb_bpe_token_slot){.hash = hash, .id = id};
    return true;
}

int32_t nb_bpe_find(const nb_bpe *bpe, nb_str bytes)
{
    return token_slot(bpe, bytes, hash_bytes(bytes))->id;
}

static nb_bpe_merge *merge_slot(const nb_bpe *bpe, uint64_t pair)
{
    uint32_t i = (uint32_t)mix(pair * 0xff51afd7ed558ccdu) & bpe->merge_mask;
    while (bpe->merge_slot[i].pair != pair && bpe->merge_slot[i].pair != NB_BPE_NO_PAIR) i = (i + 1) & bpe->merge_mask;
    return &bpe->merge_slot[i];
}

void nb_bpe_merge_put(nb_bpe *bpe, const nb_bpe_merge *merge)
{
    *merge_slot(bpe, merge->pair) = *merge;
}

const nb_bpe_merge *nb_bpe_merge_find(const nb_bpe *bpe, int32_t left, int32_t right)
{
    const nb_bpe_merge *merge = merge_slot(bpe, (uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    return merge->pair == NB_BPE_NO_PAIR ? NULL : merge;
}
