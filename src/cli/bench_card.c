// The card of a device. The GPU measures itself (cuda_card.cu); here is the host: the best of a few reads of a block
// that no cache holds, by all threads.
#include "cli/bench_card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/threads.h"
#include "cuda/cuda_device.h"

enum { BLOCK_BYTES = 512 << 20, PART_BYTES = 1 << 20, N_READ = 4 };

typedef struct reading {
    const uint64_t *block;
    uint64_t sum[BLOCK_BYTES / PART_BYTES];
} reading;

static void read_part(void *user, int i_task, int i_thread)
{
    (void)i_thread;
    reading *r = user;
    const uint64_t *word = r->block + (size_t)i_task * (PART_BYTES / sizeof *word);
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < PART_BYTES / sizeof *word; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += word[i + (size_t)k];
    for (int k = 0; k < 8; k++) r->sum[i_task] += sum[k];
}

static int host_read_rate(int n_thread, double *rate, nb_error *err)
{
    uint64_t *block = nb_alloc_large(BLOCK_BYTES);
    if (!block) return nb_error_set(err, NB_ERR_MEMORY, "no memory to measure its speed: %d MiB", BLOCK_BYTES >> 20);
    memset(block, 1, BLOCK_BYTES);
    reading *r = nb_alloc(sizeof *r);
    r->block = block;
    nb_threads *team = nb_threads_open(n_thread);
    *rate = 0;
    for (int i = 0; i < N_READ; i++) {
        int64_t begin = nb_clock_us();
        nb_threads_run(team, read_part, r, BLOCK_BYTES / PART_BYTES);
        double now = BLOCK_BYTES / ((double)(nb_clock_us() - begin) * 1e-6);
        *rate = now > *rate ? now : *rate;
    }
    nb_threads_close(team);
    free(r);
    nb_free_large(block, BLOCK_BYTES);
    return NB_OK;
}

// "model name : AMD EPYC 9R14" of /proc/cpuinfo.
static void host_name(char *out, size_t n)
{
    char line[256];
    snprintf(out, n, "CPU");
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, n, "%s", colon + 2);
        break;
    }
    if (f) fclose(f);
}

int nb_bench_card_read(nb_device *device, int n_thread, double known_rate, nb_bench_card *out, nb_error *err)
{
    *out = (nb_bench_card){0};
    if (strcmp(device->ops->name, "cuda") == 0) {
        nb_cuda_card card;
        NB_TRY(nb_cuda_card_read(device, &card, err));
        snprintf(out->name, sizeof out->name, "%s", card.name);
        out->read_rate = known_rate > 0 ? known_rate : card.read_rate, out->flop_rate = card.flop_rate;
        return NB_OK;
    }
    host_name(out->name, sizeof out->name);
    out->read_rate = known_rate;
    return known_rate > 0 ? NB_OK : host_read_rate(n_thread, &out->read_rate, err);
}
