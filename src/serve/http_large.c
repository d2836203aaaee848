// The thread for requests with large bodies. Reading megabytes of JSON and cutting them into tokens takes seconds, in
// which an HTTP thread could serve nobody else; so their handlers run here, one after the other.
#include "serve/http_internal.h"

#include <string.h>

void nb_http_large_add(nb_http *http, nb_http_exchange *e)
{
    nb_http_large *large = &http->large;
    pthread_mutex_lock(&large->lock);
    *large->last = e;
    large->last = &e->next_large;
    pthread_cond_signal(&large->changed);
    pthread_mutex_unlock(&large->lock);
}

// NULL: no more will come.
static nb_http_exchange *next_of(nb_http_large *large)
{
    pthread_mutex_lock(&large->lock);
    while (!large->first && !large->stopping) pthread_cond_wait(&large->changed, &large->lock);
    nb_http_exchange *e = large->first;
    if (e) {
        large->first = e->next_large;
        if (!large->first) large->last = &large->first;
    }
    pthread_mutex_unlock(&large->lock);
    return e;
}

static void *run(void *user)
{
    nb_http *http = user;
    for (nb_http_exchange *e; (e = next_of(&http->large));) e->route->fn(e->route->user, e);
    return NULL;
}

int nb_http_large_open(nb_http *http, nb_error *err)
{
    nb_http_large *large = &http->large;
    large->last = &large->first;
    pthread_mutex_init(&large->lock, NULL);
    pthread_cond_init(&large->changed, NULL);
    int failed = pthread_create(&large->thread, NULL, run, http);
    if (failed) return nb_error_set(err, NB_ERR_MEMORY, "cannot start a thread: %s", strerror(failed));
    return NB_OK;
}

void nb_http_large_close(nb_http *http)
{
    nb_http_large *large = &http->large;
    pthread_mutex_lock(&large->lock);
    large->stopping = true;
    pthread_cond_signal(&large->changed);
    pthread_mutex_unlock(&large->lock);
    pthread_join(large->thread, NULL);
    pthread_mutex_destroy(&large->lock);
    pthread_cond_destroy(&large->changed);
}
