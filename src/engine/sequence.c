// The order of sequences and the sorted queue: see sequence.h.
#include "engine/sequence.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "model/batch.h"

int64_t nb_sequence_rank_us(int64_t accepted_us, int32_t priority)
{
    return accepted_us + (int64_t)priority * NB_AGING_US;
}

bool nb_sequence_before(const nb_sequence *a, const nb_sequence *b)
{
    return a->rank_us != b->rank_us ? a->rank_us < b->rank_us : a->id < b->id;
}

int32_t nb_sequence_page_count(int64_t n_tok)
{
    return (int32_t)((n_tok + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS);
}

void nb_queue_open(nb_queue *queue, int cap)
{
    *queue = (nb_queue){.cap = cap};
    queue->at = nb_alloc(sizeof(queue->at[0]) * (size_t)cap);
}

void nb_queue_close(nb_queue *queue)
{
    free(queue->at);
}

// Index of the first sequence that does not come before `seq`.
static int place_of(const nb_queue *queue, const nb_sequence *seq)
{
    int low = 0, high = queue->n;
    while (low < high) {
        int mid = (low + high) / 2;
        if (nb_sequence_before(queue->at[mid], seq))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void nb_queue_add(nb_queue *queue, nb_sequence *seq)
{
    assert(queue->n < queue->cap);
    int i = place_of(queue, seq);
    memmove(queue->at + i + 1, queue->at + i, sizeof(queue->at[0]) * (size_t)(queue->n - i));
    queue->at[i] = seq;
    queue->n++;
}

void nb_queue_remove(nb_queue *queue, const nb_sequence *seq)
{
    int i = place_of(queue, seq);
    assert(i < queue->n && queue->at[i] == seq);
    queue->n--;
    memmove(queue->at + i, queue->at + i + 1, sizeof(queue->at[0]) * (size_t)(queue->n - i));
}

nb_sequence *nb_queue_last(const nb_queue *queue)
{
    return queue->n > 0 ? queue->at[queue->n - 1] : NULL;
}
