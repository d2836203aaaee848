// The engine's mailbox: see mailbox.h.
#include "engine/mailbox.h"

#include <stdlib.h>

#include "base/arena.h"

void nb_mailbox_open(nb_mailbox *box, int max_alive)
{
    *box = (nb_mailbox){.max_alive = max_alive};
    box->last = &box->first;
    pthread_mutex_init(&box->mutex, NULL);
    pthread_cond_init(&box->changed, NULL);
}

void nb_mailbox_close(nb_mailbox *box)
{
    pthread_mutex_destroy(&box->mutex);
    pthread_cond_destroy(&box->changed);
    free(box->cancel);
}

static int refuse(const nb_mailbox *box, int n, nb_error *err)
{
    int n_alive = box->n_new + box->n_inside;
    if (box->stats.failed) return nb_error_set(err, NB_ERR_DEVICE, "the device failed; the server must be restarted");
    if (box->closing) return nb_error_set(err, NB_ERR_LIMIT, "the server is shutting down");
    if (n > box->max_alive)
        return nb_error_set(err, NB_ERR_INPUT, "these are %d sequences; at most %d can run and wait at once", n,
                            box->max_alive);
    if (n_alive + n > box->max_alive)
        return nb_error_set(err, NB_ERR_LIMIT, "the queue is full (%d requests run or wait); try again later", n_alive);
    return NB_OK;
}

int nb_mailbox_put(nb_mailbox *box, nb_job *job, int n, uint64_t *id, nb_error *err)
{
    pthread_mutex_lock(&box->mutex);
    int code = refuse(box, n, err);
    if (code == NB_OK) {
        *box->last = job;
        for (int i = 0; i < n; i++, job = job->next) {
            id[i] = job->seq.id = ++box->n_id;
            box->last = &job->next;
        }
        box->n_new += n;
        pthread_cond_signal(&box->changed);
    }
    pthread_mutex_unlock(&box->mutex);
    return code;
}

void nb_mailbox_cancel(nb_mailbox *box, uint64_t id)
{
    pthread_mutex_lock(&box->mutex);
    if (box->n_cancel == box->cap_cancel) {
        box->cap_cancel = box->cap_cancel ? 2 * box->cap_cancel : 64;
        box->cancel = nb_realloc(box->cancel, sizeof(uint64_t) * (size_t)box->cap_cancel);
    }
    box->cancel[box->n_cancel++] = id;
    pthread_cond_signal(&box->changed);
    pthread_mutex_unlock(&box->mutex);
}

void nb_mailbox_shut(nb_mailbox *box, bool drain)
{
    pthread_mutex_lock(&box->mutex);
    box->closing = true;
    box->drain = drain;
    pthread_cond_signal(&box->changed);
    pthread_mutex_unlock(&box->mutex);
}

void nb_mailbox_read(nb_mailbox *box, nb_engine_stats *out)
{
    pthread_mutex_lock(&box->mutex);
    *out = box->stats;
    out->n_waiting += box->n_new;
    pthread_mutex_unlock(&box->mutex);
}

// The two lists of cancelled ids change places, so neither is ever allocated anew.
static void swap_cancels(nb_mailbox *box, nb_letters *letters)
{
    nb_letters old = *letters;
    letters->cancel = box->cancel;
    letters->n_cancel = box->n_cancel;
    letters->cap_cancel = box->cap_cancel;
    box->cancel = old.cancel;
    box->n_cancel = 0;
    box->cap_cancel = old.cap_cancel;
}

void nb_mailbox_take(nb_mailbox *box, bool block, nb_letters *letters)
{
    pthread_mutex_lock(&box->mutex);
    while (block && !box->first && box->n_cancel == 0 && !box->closing) pthread_cond_wait(&box->changed, &box->mutex);
    letters->job = box->first;
    box->first = NULL;
    box->last = &box->first;
    swap_cancels(box, letters);
    box->n_inside += box->n_new;
    box->stats.n_waiting += box->n_new;
    box->n_new = 0;
    letters->closing = box->closing;
    letters->drain = box->drain;
    pthread_mutex_unlock(&box->mutex);
}

void nb_mailbox_leave(nb_mailbox *box)
{
    pthread_mutex_lock(&box->mutex);
    box->n_inside--;
    pthread_mutex_unlock(&box->mutex);
}

void nb_mailbox_publish(nb_mailbox *box, const nb_engine_stats *stats)
{
    pthread_mutex_lock(&box->mutex);
    box->stats = *stats;
    pthread_mutex_unlock(&box->mutex);
}
