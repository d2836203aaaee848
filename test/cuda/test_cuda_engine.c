// The engine on the CUDA device with the demo checkpoint: a request gets the same tokens alone and among others, with a
// prefix hit, and with tokens drafted by the MTP module, as far as rounding lets: where two answers part, their first
// two tokens were within MARGIN of each other. Skipped where there is no GPU.
#include "support/check.h"

#include <pthread.h>
#include <stdlib.h>

#include "cuda/cuda_device.h"
#include "engine/engine.h"
#include "support/demo.h"

enum { N_CLIENT = 12, N_PROMPT = 150, N_OUT = 96 };
static const float MARGIN = 0.05f; // of log-probabilities

typedef struct client {
    nb_request request;
    uint64_t id;
    int n_tok;
    int32_t tok[N_OUT];
    float margin[N_OUT]; // between the first and the second token
    int32_t n_cached;
    bool ended;
} client;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void on_event(void *user, const nb_event *event)
{
    client *c = user;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < event->n_tok; i++) {
        c->margin[c->n_tok] = event->detail[i].top_logprob[0] - event->detail[i].top_logprob[1];
        c->tok[c->n_tok++] = event->tok[i];
    }
    c->n_cached = event->n_cached;
    c->ended = event->finish != NB_FINISH_NONE;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void submit(nb_engine *engine, client *c, int i)
{
    nb_error err;
    const int32_t *text = nb_demo_i32("recall.ids", NULL);
    *c = (client){.request = {.prompt = text + i,
                              .n_prompt = N_PROMPT - 7 * i,
                              .max_new = N_OUT,
                              .sampling = {.top_p = 1, .repetition_penalty = 1},
                              .n_top = 2,
                              .n_prompt_top = -1,
                              .on_event = on_event,
                              .user = c}};
    nb_test_ok(nb_engine_submit(engine, &c->request, &c->id, &err), &err);
}

static void wait_end(client *c)
{
    pthread_mutex_lock(&mutex);
    while (!c->ended) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    assert_int_equal(c->n_tok, N_OUT);
}

static nb_device *device;

static nb_engine *open_engine(int n_draft)
{
    nb_error err;
    nb_engine *engine;
    nb_cuda_options cuda = {.gpu_memory_utilization = 0.5, .mtp = n_draft > 0};
    nb_engine_options options = {.kv = NB_KV_BF16,
                                 .max_model_len = 512,
                                 .max_num_seqs = N_CLIENT,
                                 .max_num_batched_tokens = 512,
                                 .max_waiting = N_CLIENT,
                                 .n_draft = n_draft,
                                 .n_page = 128,
                                 .n_snapshot = 2 * N_CLIENT,
                                 .snapshot_grid = NB_PAGE_TOKENS,
                                 .enable_prefix_caching = true};
    if (nb_cuda_open(&cuda, &device, &err) != NB_OK) skip();
    nb_test_ok(device->ops->load(device, nb_demo_get()->model, &err), &err);
    nb_test_ok(nb_engine_open(device, nb_demo_get()->model, &options, &engine, &err), &err);
    return engine;
}

static void close_engine(nb_engine *engine)
{
    nb_engine_close(engine, true);
    device->ops->close(device);
}

static void assert_same(const client *a, const client *b)
{
    int i = 0;
    while (i < N_OUT && a->tok[i] == b->tok[i]) i++;
    if (i == N_OUT) return;
    print_message("apart after %d tokens, with margins %.4f and %.4f\n", i, (double)a->margin[i], (double)b->margin[i]);
    assert_true(a->margin[i] < MARGIN && b->margin[i] < MARGIN);
}

// Each alone, then all at once, on one engine: the second time with prefix hits.
static void run_all(nb_engine *engine, client *alone, client *together)
{
    for (int i = 0; i < N_CLIENT; i++) {
        submit(engine, &alone[i], i);
        wait_end(&alone[i]);
    }
    for (int i = 0; i < N_CLIENT; i++) submit(engine, &together[i], i);
    for (int i = 0; i < N_CLIENT; i++) wait_end(&together[i]);
}

static client plain[2][N_CLIENT];

static void neighbours_and_prefix_hits_change_nothing(void **state)
{
    (void)state;
    nb_engine *engine = open_engine(0);
    run_all(engine, plain[0], plain[1]);
    int n_hit = 0;
    for (int i = 0; i < N_CLIENT; i++) {
        assert_same(&plain[0][i], &plain[1][i]);
        n_hit += plain[1][i].n_cached > 0;
    }
    assert_true(n_hit > N_CLIENT / 2);
    close_engine(engine);
}

static void speculation_changes_nothing(void **state)
{
    (void)state;
    static client drafted[2][N_CLIENT];
    nb_engine *engine = open_engine(3);
    run_all(engine, drafted[0], drafted[1]);
    nb_engine_stats stats;
    nb_engine_stats_read(engine, &stats);
    print_message("%d steps with drafts, accepted %d %d %d\n", (int)stats.n_draft_step, (int)stats.n_accepted[0],
                  (int)stats.n_accepted[1], (int)stats.n_accepted[2]);
    for (int i = 0; i < N_CLIENT; i++) {
        assert_same(&plain[0][i], &drafted[0][i]);
        assert_same(&plain[0][i], &drafted[1][i]);
    }
    assert_true(stats.n_accepted[0] > stats.n_draft_step / 4 && stats.n_accepted[2] > 0);
    close_engine(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_and_prefix_hits_change_nothing),
        cmocka_unit_test(speculation_changes_nothing),
    };
    return nb_test_run("cuda/engine", tests);
}
