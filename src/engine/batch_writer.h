// Turns a plan into a batch. The arrays belong to the writer and are reused from step to step: the device copies what
// it needs during submit.
#ifndef NB_BATCH_WRITER_H
#define NB_BATCH_WRITER_H

#include "engine/job.h"
#include "engine/scheduler.h"

typedef struct nb_batch_writer {
    int vocab_size;
    nb_batch batch;
    int32_t *tok; // room for the token budget
    nb_seq *seq;
    nb_row *row;
    int32_t *page; // these four grow to the largest step seen
    nb_history *history;
    nb_bias *bias;
    uint32_t *mask;
    int64_t cap_page, cap_history, cap_bias, cap_mask;
} nb_batch_writer;

void nb_batch_writer_open(nb_batch_writer *writer, int vocab_size, int max_tok, int max_seq, int max_row);
void nb_batch_writer_close(nb_batch_writer *writer);

// Rows stand in the order of the plan's items: first an item's prompt rows, then its drawn tokens. The plan's sequences
// must be jobs.
const nb_batch *nb_batch_write(nb_batch_writer *writer, const nb_plan *plan);

#endif
