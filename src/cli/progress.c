// The progress bar: redrawn in place at most ten times a second, and gone when the work is done.
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"

enum { BAR_CELLS = 30, REDRAW_US = 100000 };

void nb_progress_open(nb_progress *progress, const char *label, int64_t total)
{
    *progress = (nb_progress){.label = label, .total = total, .on = total > 0 && isatty(STDERR_FILENO)};
}

void nb_progress_set(nb_progress *progress, int64_t done)
{
    if (!progress->on) return;
    int64_t now_us = nb_clock_us();
    if (now_us - progress->last_us < REDRAW_US) return;
    progress->last_us = now_us;
    if (done > progress->total) done = progress->total;
    double share = (double)done / (double)progress->total;
    int n_full = (int)(share * BAR_CELLS);
    fprintf(stderr, "\r\x1b[K%s [", progress->label);
    for (int i = 0; i < BAR_CELLS; i++) fputc(i < n_full ? '#' : '.', stderr);
    fprintf(stderr, "] %3.0f %%", share * 100);
    fflush(stderr);
}

void nb_progress_close(nb_progress *progress)
{
    if (progress->on) fputs("\r\x1b[K", stderr);
    progress->on = false;
}
