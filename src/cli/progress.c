// The progress bar: redrawn in place at most ten times a second, and gone when the work is done.
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"

enum { BAR_CELLS = 30, REDRAW_US = 100000 };

void nb_progress_open(nb_progress *progress, const char *label)
{
    *progress = (nb_progress){.label = label, .on = isatty(STDERR_FILENO)};
}

void nb_progress_show(void *user, int64_t n_done, int64_t n_total)
{
    nb_progress *progress = user;
    if (!progress->on || n_total <= 0) return;
    int64_t now_us = nb_clock_us();
    if (now_us - progress->last_us < REDRAW_US) return;
    progress->last_us = now_us;
    double share = n_done < n_total ? (double)n_done / (double)n_total : 1;
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
