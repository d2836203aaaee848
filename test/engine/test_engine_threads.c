// Many threads submit, cancel and read statistics while the engine runs: every request ends exactly once, nothing is
// lost. Meant for the thread sanitizer above all.
#include "engine/engine.h"
#include "numeric/random.h"
#include "support/check.h"
#include "support/fake_device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { N_THREAD = 8, N_REQUEST = 60, VOCAB = 97 };

typedef struct shared {
    nb_engine *engine;
    _Atomic int n_end, n_refused, n_tok;
} shared;

typedef struct worker {
    shared *all;
    int index;
    _Atomic int n_end[N_REQUEST];
    pthread_t thread;
} worker;

typedef struct ticket {
    worker *worker;
    int index;
} ticket;

static void on_event(void *user, const nb_event *event)
{
    ticket *t = user;
    atomic_fetch_add(&t->worker->all->n_tok, event->n_tok);
    if (event->finish == NB_FINISH_NONE) return;
    atomic_fetch_add(&t->worker->n_end[t->index], 1);
    atomic_fetch_add(&t->worker->all->n_end, 1);
    free(t);
}

static void one_request(worker *w, int i)
{
    nb_random4 r = nb_random_philox(3, (uint64_t)(w->index * N_REQUEST + i), 0);
    int32_t tok[300];
    int n = 1 + (int)(r.v[0] % 300);
    for (int k = 0; k < n; k++) tok[k] = (int32_t)((unsigned)(k * 31 + (int)(r.v[1] % 3)) % VOCAB);
    ticket *t = malloc(sizeof(*t));
    *t = (ticket){w, i};
    nb_request request = {.prompt = tok,
                          .n_prompt = n,
                          .max_new = 1 + (int32_t)(r.v[2] % 100),
                          .sampling = {.top_p = 1, .repetition_penalty = 1},
                          .n_top = -1,
                          .n_prompt_top = -1,
                          .priority = (int32_t)(r.v[3] % 3),
                          .on_event = on_event,
                          .user = t};
    uint64_t id;
    nb_error err;
    if (nb_engine_submit(w->all->engine, &request, &id, &err) != NB_OK) {
        assert_int_equal(err.code, NB_ERR_LIMIT);
        atomic_fetch_add(&w->all->n_refused, 1);
        atomic_fetch_add(&w->n_end[i], 1);
        free(t);
    } else if (r.v[3] % 4 == 0) {
        nb_engine_cancel(w->all->engine, id);
    }
}

static void *work(void *user)
{
    worker *w = user;
    for (int i = 0; i < N_REQUEST; i++) {
        nb_engine_stats stats;
        one_request(w, i);
        nb_engine_stats_read(w->all->engine, &stats);
        assert_true(stats.n_page_free + stats.n_page_indexed <= stats.n_page);
    }
    return NULL;
}

static void every_request_of_every_thread_ends_once(void **state)
{
    (void)state;
    nb_fake_options fake = {.vocab_size = VOCAB, .verify = true, .needs_state = true};
    nb_model model = {.n_deltanet = 1};
    model.config.vocab_size = VOCAB;
    nb_engine_options options = {.max_model_len = 500,
                                 .max_num_seqs = 16,
                                 .max_num_batched_tokens = 256,
                                 .max_waiting = 60,
                                 .n_page = 40,
                                 .n_snapshot = 12,
                                 .snapshot_grid = 128,
                                 .enable_prefix_caching = true};
    nb_device *device = nb_fake_open(&fake);
    shared all = {0};
    nb_error err;
    nb_test_ok(nb_engine_open(device, &model, &options, &all.engine, &err), &err);
    worker *w = calloc(N_THREAD, sizeof(*w));
    for (int i = 0; i < N_THREAD; i++) {
        w[i].all = &all;
        w[i].index = i;
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < N_THREAD; i++) pthread_join(w[i].thread, NULL);
    nb_engine_close(all.engine, true);
    assert_string_equal(nb_fake_stats_of(device)->violation, "");
    assert_int_equal(all.n_end + all.n_refused, N_THREAD * N_REQUEST);
    for (int i = 0; i < N_THREAD; i++)
        for (int k = 0; k < N_REQUEST; k++) assert_int_equal(w[i].n_end[k], 1);
    free(w);
    device->ops->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_request_of_every_thread_ends_once)};
    return nb_test_run("engine threads", tests);
}
