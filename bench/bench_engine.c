// What the engine itself costs: `bench_engine [SEQUENCES [TOKENS]]` runs that many sequences on a device that returns
// at once and prints the time of a step (best of five runs), the fake device's own share (drawing by hashing) included.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "support/fake_device.h"

enum { VOCAB = 50000, N_PROMPT = 500, N_RUN = 5 };

typedef struct counter { // of finished requests
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int n_finished;
} counter;

static void on_event(void *user, const nb_event *event)
{
    if (event->finish == NB_FINISH_NONE) return;
    counter *c = user;
    pthread_mutex_lock(&c->mutex);
    c->n_finished++;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

static int submit_all(nb_engine *engine, counter *c, int n_seq, int n_tok, nb_error *err)
{
    int32_t prompt[N_PROMPT];
    for (int s = 0; s < n_seq; s++) {
        for (int i = 0; i < N_PROMPT; i++) prompt[i] = (s * 131 + i * 7) % VOCAB;
        nb_request request = {.prompt = prompt,
                              .n_prompt = N_PROMPT,
                              .max_new = n_tok,
                              .sampling = {.top_p = 1, .repetition_penalty = 1},
                              .n_top = -1,
                              .n_prompt_top = -1,
                              .on_event = on_event,
                              .user = c};
        uint64_t id;
        NB_TRY(nb_engine_submit(engine, &request, &id, err));
    }
    return NB_OK;
}

static int run(int n_seq, int n_tok, double *step_us, nb_error *err)
{
    nb_fake_options fake = {.vocab_size = VOCAB, .needs_state = true, .hold = true};
    static nb_model model = {.n_deltanet = 1};
    model.config.vocab_size = VOCAB;
    nb_engine_options options = {.max_model_len = N_PROMPT + n_tok + 1,
                                 .max_num_seqs = n_seq,
                                 .max_num_batched_tokens = 8192,
                                 .max_waiting = n_seq,
                                 .n_page = n_seq * ((N_PROMPT + n_tok) / NB_PAGE_TOKENS + 2),
                                 .n_snapshot = 2 * n_seq,
                                 .snapshot_grid = 2048,
                                 .enable_prefix_caching = true};
    counter c = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    nb_device *device = nb_fake_open(&fake);
    nb_engine *engine;
    NB_TRY(nb_engine_open(device, &model, &options, &engine, err));
    NB_TRY(submit_all(engine, &c, n_seq, n_tok, err));
    int64_t start_us = nb_clock_us();
    nb_fake_release(device);
    pthread_mutex_lock(&c.mutex);
    while (c.n_finished < n_seq) pthread_cond_wait(&c.changed, &c.mutex);
    pthread_mutex_unlock(&c.mutex);
    int64_t us = nb_clock_us() - start_us;
    nb_engine_close(engine, true);
    *step_us = (double)us / (double)nb_fake_stats_of(device)->n_step;
    device->ops->close(device);
    return NB_OK;
}

int main(int argc, char **argv)
{
    int n_seq = argc > 1 ? atoi(argv[1]) : 64, n_tok = argc > 2 ? atoi(argv[2]) : 4000;
    double least_us = 0;
    if (n_seq < 1 || n_tok < 1) {
        fprintf(stderr, "usage: bench_engine [SEQUENCES [TOKENS]]\n");
        return 2;
    }
    for (int i = 0; i < N_RUN; i++) {
        nb_error err;
        double step_us;
        if (run(n_seq, n_tok, &step_us, &err) != NB_OK) {
            fprintf(stderr, "bench_engine: %s\n", err.text);
            return 1;
        }
        if (i == 0 || step_us < least_us) least_us = step_us;
    }
    printf("sequences %d tokens %d us_per_step %.2f tokens_per_s %.0f\n", n_seq, n_tok, least_us,
           n_seq / least_us * 1e6);
    return 0;
}
