// Steps of all kinds in random order over all slots of a device: starts, chunks, decodes, drafts kept and dropped,
// proposals, copies of slots. For tests of memory, long runs, and sanitizers; what comes out is not looked at.
#ifndef NB_TEST_RANDOM_STEPS_H
#define NB_TEST_RANDOM_STEPS_H

#include "support/drive.h"

typedef struct nb_random_steps {
    nb_drive *drive; // of a device with NB_DRIVE_SEQS slots and NB_DRIVE_PAGES pages for each
    nb_drive_seq seq[NB_DRIVE_SEQS];
    int vocab;
    uint64_t counter;
} nb_random_steps;

// What the device must have reserved.
nb_reserve nb_random_steps_reserve(nb_kv_format kv);

void nb_random_steps_open(nb_random_steps *r, nb_device *device, int vocab);
void nb_random_steps_run(nb_random_steps *r, int n);
void nb_random_steps_close(nb_random_steps *r); // not the device

// Resident memory of this process, in bytes.
int64_t nb_random_steps_resident(void);

#endif
