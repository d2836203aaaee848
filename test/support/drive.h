// Drives any nb_device by hand: sequences with their slot and pages, batches collected sequence by sequence. For
// parity, golden and metamorphic tests.
//
//   nb_drive_begin(&d); nb_drive_add(&d, &seq, tok, n, NB_DRIVE_LAST); nb_drive_run(&d);      d.result holds the rows
#ifndef NB_TEST_DRIVE_H
#define NB_TEST_DRIVE_H

#include "model/device.h"

enum { NB_DRIVE_TOKENS = 1024, NB_DRIVE_SEQS = 16, NB_DRIVE_PAGES = 32 }; // of a batch; pages: of a sequence

typedef struct nb_drive_seq {
    int slot;
    int32_t page[NB_DRIVE_PAGES];
    int32_t n_past;
    int n_draft;   // of the next step; the caller takes rejected ones off n_past afterwards
    int n_propose; // of every step
} nb_drive_seq;

typedef enum nb_drive_rows { NB_DRIVE_NONE, NB_DRIVE_LAST, NB_DRIVE_ALL } nb_drive_rows;

typedef struct nb_drive {
    nb_device *device;
    nb_sampling sampling; // of every row; greedy at first
    nb_batch batch;
    int32_t tok[NB_DRIVE_TOKENS];
    nb_seq seq[NB_DRIVE_SEQS];
    int32_t page[NB_DRIVE_SEQS * NB_DRIVE_PAGES];
    nb_row row[NB_DRIVE_TOKENS];
    nb_slot_copy copy[NB_DRIVE_SEQS];
    nb_result result;
} nb_drive;

nb_drive *nb_drive_open(nb_device *device); // the device is loaded and reserved; close with free()

// A sequence whose pages are first_page, first_page + step, ...
nb_drive_seq nb_drive_seq_make(int slot, int first_page, int step);

void nb_drive_begin(nb_drive *d);
void nb_drive_copy(nb_drive *d, int from, int to);
void nb_drive_add(nb_drive *d, nb_drive_seq *seq, const int32_t *tok, int n_new, nb_drive_rows rows);
void nb_drive_submit(nb_drive *d); // advances n_past of the sequences that were added
void nb_drive_wait(nb_drive *d);
void nb_drive_run(nb_drive *d); // both

// The whole prompt in chunks of `chunk`; returns the token drawn behind it. logits: [n][vocab] of every token, or NULL.
int32_t nb_drive_prefill(nb_drive *d, nb_drive_seq *seq, const int32_t *tok, int n, int chunk, int vocab,
                         float *logits);

// n steps of one token each, from `tok` on: drawn[0] = tok, drawn[i + 1] is drawn behind drawn[i]; drawn: [n].
void nb_drive_decode(nb_drive *d, nb_drive_seq *seq, int32_t tok, int n, int32_t *drawn);

#endif
