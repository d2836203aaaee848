// What the prefix cache saves in a conversation: `bench_second_turn [PROMPT [REPLY [NEW]]]` asks the demo checkpoint on
// the CPU twice, the second time with the first prompt, its reply and NEW tokens more, with the cache and without it.
// Prints the times to the first token of the second turn.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "cpu/cpu_device.h"
#include "engine/engine.h"
#include "support/check.h"
#include "support/demo.h"

enum { LONGEST = 200000 };

typedef struct turn {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int32_t *tok; // prompt, then reply
    int n_tok, n_cached;
    int64_t first_us; // from the request to its first token
    bool ended;
} turn;

static void on_event(void *user, const nb_event *event)
{
    turn *t = user;
    pthread_mutex_lock(&t->mutex);
    for (int i = 0; i < event->n_tok; i++) t->tok[t->n_tok++] = event->tok[i];
    t->first_us = event->first_us - event->queued_us;
    t->n_cached = event->n_cached;
    t->ended = event->finish != NB_FINISH_NONE;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

static void ask(nb_engine *engine, turn *t, int n_reply)
{
    uint64_t id;
    nb_error err;
    nb_request request = {.prompt = t->tok,
                          .n_prompt = t->n_tok,
                          .max_new = n_reply,
                          .sampling = {.top_p = 1, .repetition_penalty = 1},
                          .n_top = -1,
                          .n_prompt_top = -1,
                          .on_event = on_event,
                          .user = t};
    t->ended = false;
    nb_test_ok(nb_engine_submit(engine, &request, &id, &err), &err);
    pthread_mutex_lock(&t->mutex);
    while (!t->ended) pthread_cond_wait(&t->changed, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
}

// Milliseconds to the second turn's first token.
static double run(bool prefix_caching, int n_prompt, int n_reply, int n_new, int *n_cached)
{
    nb_error err;
    nb_device *device;
    nb_engine *engine;
    turn t = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int n_all = n_prompt + 2 * n_reply + n_new, vocab = nb_demo_get()->vocab;
    nb_engine_options options = {.kv = NB_KV_BF16,
                                 .max_model_len = n_all + 1,
                                 .max_num_seqs = 1,
                                 .max_num_batched_tokens = 2048,
                                 .max_waiting = 1,
                                 .n_page = n_all / NB_PAGE_TOKENS + 2,
                                 .n_snapshot = 8,
                                 .snapshot_grid = 32 * NB_PAGE_TOKENS,
                                 .enable_prefix_caching = prefix_caching};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){0}, &device, &err), &err);
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(nb_engine_open(device, nb_demo_get()->model, &options, &engine, &err), &err);
    t.tok = nb_alloc(sizeof(int32_t) * (size_t)n_all);
    for (; t.n_tok < n_prompt; t.n_tok++) t.tok[t.n_tok] = t.n_tok * 7919 % vocab;
    ask(engine, &t, n_reply);
    for (int i = 0; i < n_new; i++) t.tok[t.n_tok++] = i * 31 % vocab;
    ask(engine, &t, 1);
    nb_engine_close(engine, true);
    device->ops->close(device);
    free(t.tok);
    *n_cached = t.n_cached;
    return 1e-3 * (double)t.first_us;
}

int main(int argc, char **argv)
{
    int n_prompt = argc > 1 ? atoi(argv[1]) : 4000, n_reply = argc > 2 ? atoi(argv[2]) : 200,
        n_new = argc > 3 ? atoi(argv[3]) : 50, n_cached, n_none;
    if (n_prompt < 1 || n_reply < 1 || n_new < 1 || n_prompt + n_reply + n_new > LONGEST) {
        fprintf(stderr, "usage: bench_second_turn [PROMPT [REPLY [NEW]]]\n");
        return 2;
    }
    double without_ms = run(false, n_prompt, n_reply, n_new, &n_none);
    double with_ms = run(true, n_prompt, n_reply, n_new, &n_cached);
    printf("prompt %d reply %d new %d cached %d ms_to_first_token %.1f without_cache_ms %.1f ratio %.1f\n", n_prompt,
           n_reply, n_new, n_cached, with_ms, without_ms, without_ms / with_ms);
    return 0;
}
