// See random_steps.h.
#include "support/random_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "numeric/random.h"

nb_reserve nb_random_steps_reserve(nb_kv_format kv)
{
    return (nb_reserve){.kv = kv,
                        .n_slot = NB_DRIVE_SEQS,
                        .n_page = NB_DRIVE_SEQS * NB_DRIVE_PAGES,
                        .max_tok = NB_DRIVE_TOKENS,
                        .max_seq = NB_DRIVE_SEQS,
                        .max_row = NB_DRIVE_TOKENS};
}

void nb_random_steps_open(nb_random_steps *r, nb_device *device, int vocab)
{
    *r = (nb_random_steps){.drive = nb_drive_open(device), .vocab = vocab};
    for (int i = 0; i < NB_DRIVE_SEQS; i++) r->seq[i] = nb_drive_seq_make(i, i * NB_DRIVE_PAGES, 1);
}

void nb_random_steps_close(nb_random_steps *r)
{
    free(r->drive);
}

static int any(nb_random_steps *r, int n)
{
    return (int)(nb_random_philox(3, r->counter++, 0).v[0] % (uint32_t)n);
}

enum { CHUNK_MAX = 90, DRAFTS = 8 };

// A chunk where the step or the sequence is new, else one token, sometimes with drafts.
static void add_sequence(nb_random_steps *r, nb_drive_seq *s, bool decode)
{
    int32_t tok[CHUNK_MAX + DRAFTS];
    if (s->n_past + CHUNK_MAX + DRAFTS > NB_DRIVE_PAGES * NB_PAGE_TOKENS) s->n_past = 0;
    int n = s->n_past == 0 || !decode ? 1 + any(r, CHUNK_MAX) : 1;
    s->n_draft = n == 1 && s->n_past && any(r, 4) == 0 ? any(r, DRAFTS) : 0;
    s->n_propose = any(r, 3);
    n += s->n_draft;
    for (int k = 0; k < n; k++) tok[k] = any(r, r->vocab);
    int dropped = s->n_draft ? any(r, s->n_draft + 1) : 0;
    nb_drive_add(r->drive, s, tok, n, any(r, 2) ? NB_DRIVE_ALL : NB_DRIVE_LAST);
    s->n_past -= dropped;
}

// The copy goes on with pages of its own, which hold what an earlier sequence left there: as good as any.
static void copy_slot(nb_random_steps *r, int from, int to)
{
    nb_drive_copy(r->drive, from, to);
    r->seq[to].n_past = r->seq[from].n_past;
}

void nb_random_steps_run(nb_random_steps *r, int n)
{
    for (int i = 0; i < n; i++) {
        int n_seq = 1 + any(r, NB_DRIVE_SEQS / 2), first = any(r, NB_DRIVE_SEQS);
        bool decode = any(r, 3) > 0;
        nb_drive_begin(r->drive);
        if (any(r, 10) == 0) copy_slot(r, any(r, NB_DRIVE_SEQS), first);
        for (int k = 0; k < n_seq; k++) add_sequence(r, &r->seq[(first + k) % NB_DRIVE_SEQS], decode);
        nb_drive_run(r->drive);
    }
}

int64_t nb_random_steps_resident(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &total, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}
