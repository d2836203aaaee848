// The engine on the real CPU device with the demo checkpoint: a request gets the same tokens and the same
// log-probabilities, bit for bit, alone, among 63 others, with a prefix hit, after preemption, beside cancelled
// neighbours and with tokens drafted by the MTP module. Greedy and seeded requests alternate. test_engine.c shows the
// same on a device that checks every batch.
#include "engine/engine.h"
#include "support/check.h"
#include "support/demo.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/tokenizer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { N_CLIENT = 24, N_ALONE = 3, OUT_MAX = 140 };
#else
enum { N_CLIENT = 64, N_ALONE = 4, OUT_MAX = 160 };
#endif

enum { PROMPT_MAX = 200, TOP = 3 };

typedef struct client {
    nb_request request;
    uint64_t id;
    int n_tok;
    int32_t tok[OUT_MAX];
    nb_row_result detail[OUT_MAX];
    nb_event last;
    bool ended;
} client;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void on_event(void *user, const nb_event *event)
{
    client *c = user;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < event->n_tok; i++) {
        c->tok[c->n_tok] = event->tok[i];
        c->detail[c->n_tok++] = event->detail[i];
    }
    c->ended = event->finish != NB_FINISH_NONE;
    c->last = *event;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_for(client *c, int n_tok)
{
    pthread_mutex_lock(&mutex);
    while (!c->ended && c->n_tok < n_tok) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
}

static void wait_end(client *c)
{
    wait_for(c, OUT_MAX + 1);
}

// ---- Requests: stretches of a text, of many lengths

static nb_ids text_ids;

static const int32_t *text_at(int i)
{
    nb_error err;
    if (text_ids.n == 0) {
        nb_arena *arena = nb_arena_open(0);
        nb_tokenizer *tokenizer;
        nb_str text;
        nb_test_ok(nb_file_read(nb_test_path("test/data/demo/heldout.txt"), 1 << 20, arena, &text, &err), &err);
        nb_test_ok(nb_tokenizer_open(nb_test_path("models/demo"), &tokenizer, &err), &err);
        nb_test_ok(nb_tokenizer_encode(tokenizer, text, true, &text_ids, &err), &err);
        nb_tokenizer_close(tokenizer);
        nb_arena_close(arena);
    }
    assert_true(i * 101 + PROMPT_MAX <= text_ids.n);
    return text_ids.id + i * 101;
}

// Those that are compared are long: they cross page borders while they decode.
static bool has_reference(int i)
{
    return i % (N_CLIENT / N_ALONE) < 2;
}

static client *make_client(int i)
{
    client *c = nb_alloc(sizeof(*c));
    c->request = (nb_request){.prompt = text_at(i),
                              .n_prompt = 5 + i * 67 % (PROMPT_MAX - 5),
                              .max_new = has_reference(i) ? OUT_MAX - i % 32 : 10 + i % 20,
                              .sampling = {.top_p = 1, .repetition_penalty = 1},
                              .n_top = TOP,
                              .n_prompt_top = -1,
                              .on_event = on_event,
                              .user = c};
    if (i % 2)
        c->request.sampling = (nb_sampling){.temperature = 0.9f,
                                            .top_p = 0.95f,
                                            .top_k = 50,
                                            .repetition_penalty = i % 4 == 1 ? 1.1f : 1,
                                            .seed = (uint64_t)i};
    return c;
}

// ---- Engines

typedef struct bench {
    nb_engine_options options;
    nb_device *device;
    nb_engine *engine;
} bench;

static bench open_bench(nb_kv_format kv, int n_page, int n_draft, bool prefix_caching)
{
    nb_error err;
    bench b = {.options = {.kv = kv,
                           .max_model_len = PROMPT_MAX + OUT_MAX,
                           .max_num_seqs = N_CLIENT,
                           .max_num_batched_tokens = 256,
                           .max_waiting = N_CLIENT,
                           .n_draft = n_draft,
                           .n_page = n_page,
                           .n_snapshot = N_CLIENT,
                           .snapshot_grid = NB_PAGE_TOKENS,
                           .enable_prefix_caching = prefix_caching}};
    nb_test_ok(nb_cpu_open(&(nb_cpu_options){.n_thread = 2}, &b.device, &err), &err);
    nb_test_ok(b.device->ops->load(b.device, nb_demo_get()->model, &err), &err);
    nb_test_ok(nb_engine_open(b.device, nb_demo_get()->model, &b.options, &b.engine, &err), &err);
    return b;
}

static void close_bench(bench *b)
{
    nb_engine_close(b->engine, true);
    b->device->ops->close(b->device);
}

static void submit(bench *b, client *c)
{
    nb_error err;
    nb_test_ok(nb_engine_submit(b->engine, &c->request, &c->id, &err), &err);
}

static client *run_alone(bench *b, int i)
{
    client *c = make_client(i);
    submit(b, c);
    wait_end(c);
    assert_int_equal(c->n_tok, c->request.max_new);
    return c;
}

// What client i gets on an engine of its own kind, alone and without a prefix cache. Computed once.
static const client *reference(nb_kv_format kv, int i)
{
    static client *known[NB_KV_F32 + 1][N_CLIENT];
    assert_true(has_reference(i));
    if (!known[kv][i]) {
        bench b = open_bench(kv, 64, 0, false);
        for (int k = 0; k < N_CLIENT; k += N_CLIENT / N_ALONE) {
            known[kv][k] = run_alone(&b, k);
            known[kv][k + 1] = run_alone(&b, k + 1);
        }
        close_bench(&b);
    }
    return known[kv][i];
}

static void assert_same(const client *a, const client *b)
{
    assert_int_equal(a->n_tok, b->n_tok);
    for (int i = 0; i < a->n_tok; i++) {
        const nb_row_result *x = &a->detail[i], *y = &b->detail[i];
        assert_int_equal(a->tok[i], b->tok[i]);
        assert_memory_equal(&x->logprob, &y->logprob, sizeof(x->logprob));
        assert_int_equal(x->n_top, TOP);
        assert_memory_equal(x->top_tok, y->top_tok, sizeof(int32_t) * TOP);
        assert_memory_equal(x->top_logprob, y->top_logprob, sizeof(float) * TOP);
    }
}

// At once all of them, or only those that are long and compared; returns how often they were preempted.
static int run_together(bench b, bool all)
{
    client *c[N_CLIENT] = {0};
    int n_preempted = 0;
    for (int i = 0; i < N_CLIENT; i++) {
        if (!all && !has_reference(i)) continue;
        c[i] = make_client(i);
        submit(&b, c[i]);
    }
    for (int i = 0; i < N_CLIENT; i++) {
        if (!c[i]) continue;
        wait_end(c[i]);
        n_preempted += c[i]->last.n_preempted;
        if (has_reference(i)) assert_same(reference(b.options.kv, i), c[i]);
        free(c[i]);
    }
    close_bench(&b);
    return n_preempted;
}

// ---- Tests

static void sixty_three_neighbours_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_together(open_bench(NB_KV_BF16, 512, 0, true), true), 0);
}

// Seven pages: three sequences begin, and grow to need twelve.
static void preemption_changes_nothing(void **state)
{
    (void)state;
    assert_true(run_together(open_bench(NB_KV_BF16, 7, 0, true), false) > 0);
    assert_true(run_together(open_bench(NB_KV_FP8, 7, 0, true), false) > 0);
}

static void a_prefix_hit_changes_nothing(void **state)
{
    (void)state;
    bench b = open_bench(NB_KV_BF16, 256, 0, true);
    int n_hit = 0;
    for (int i = 0; i < N_CLIENT; i++) {
        if (!has_reference(i)) continue;
        client *cold = run_alone(&b, i), *warm = run_alone(&b, i);
        assert_int_equal(cold->last.n_cached, 0);
        assert_same(reference(NB_KV_BF16, i), cold);
        assert_same(cold, warm);
        n_hit += warm->last.n_cached > 0;
        free(cold);
        free(warm);
    }
    assert_true(n_hit >= N_ALONE);
    close_bench(&b);
}

static void cancelled_neighbours_change_nothing(void **state)
{
    (void)state;
    bench b = open_bench(NB_KV_BF16, 32, 0, true);
    client *gone[16], *kept[2];
    for (int i = 0; i < 16; i++) {
        gone[i] = make_client(20 + i);
        submit(&b, gone[i]);
        if (i % 8 != 4) continue;
        kept[i / 8] = make_client(16 + i / 8);
        submit(&b, kept[i / 8]);
    }
    for (int i = 0; i < 16; i++) {
        wait_for(gone[i], i % 4);
        nb_engine_cancel(b.engine, gone[i]->id);
    }
    for (int i = 0; i < 2; i++) {
        wait_end(kept[i]);
        assert_same(reference(NB_KV_BF16, 16 + i), kept[i]);
        free(kept[i]);
    }
    int n_cancelled = 0;
    for (int i = 0; i < 16; i++) {
        wait_end(gone[i]);
        n_cancelled += gone[i]->last.finish == NB_FINISH_CANCELLED;
        free(gone[i]);
    }
    assert_true(n_cancelled > 8);
    close_bench(&b);
}

// Among others, with preemption, and with a prefix hit. Drafts must be right often enough to be of use.
static void speculation_changes_nothing(void **state)
{
    (void)state;
    assert_true(run_together(open_bench(NB_KV_BF16, 7, 3, true), false) > 0);
    bench b = open_bench(NB_KV_BF16, 64, 3, true);
    for (int i = 0; i < N_CLIENT; i++) {
        if (!has_reference(i)) continue;
        client *cold = run_alone(&b, i), *warm = run_alone(&b, i);
        assert_same(reference(NB_KV_BF16, i), cold);
        assert_same(cold, warm);
        free(cold);
        free(warm);
    }
    nb_engine_stats stats;
    nb_engine_stats_read(b.engine, &stats);
    assert_true(stats.n_accepted[0] > stats.n_draft_step / 4 && stats.n_accepted[2] > 0);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixty_three_neighbours_change_nothing), cmocka_unit_test(preemption_changes_nothing),
        cmocka_unit_test(a_prefix_hit_changes_nothing),          cmocka_unit_test(cancelled_neighbours_change_nothing),
        cmocka_unit_test(speculation_changes_nothing),
    };
    return nb_test_run("engine/demo", tests);
}
