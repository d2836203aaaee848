// The engine on the checking device (support/fake_device.h): what a request gets never depends on its neighbours, on
// the prefix cache, on preemption or on chunks; and each feature of a request does what engine.h says.
#include "engine/engine.h"
#include "support/check.h"
#include "support/fake_device.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VOCAB = 61, OUT_MAX = 2048, N_CLIENT = 64 };

typedef struct client {
    int32_t tok[OUT_MAX];
    nb_row_result detail[OUT_MAX];
    nb_row_result *prompt_detail;
    int n_tok, n_detail, n_prompt_detail, n_event, n_finish;
    nb_event last;
    char message[256];
    uint64_t id;
} client;

typedef struct bench { // one engine on one device
    nb_model model;
    nb_fake_options fake;
    nb_engine_options options;
    nb_device *device;
    nb_engine *engine;
} bench;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void on_event(void *user, const nb_event *event)
{
    client *c = user;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < event->n_tok; i++) {
        if (event->detail) c->detail[c->n_detail++] = event->detail[i];
        c->tok[c->n_tok++] = event->tok[i];
    }
    if (event->n_prompt_detail > 0) {
        size_t n_byte = sizeof(nb_row_result) * (size_t)event->n_prompt_detail;
        c->n_prompt_detail = event->n_prompt_detail;
        c->prompt_detail = memcpy(nb_alloc(n_byte), event->prompt_detail, n_byte);
    }
    c->n_event++;
    if (event->finish != NB_FINISH_NONE) c->n_finish++;
    if (event->message) strncpy(c->message, event->message, sizeof(c->message) - 1);
    c->last = *event;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_for(client *c, int n_tok)
{
    pthread_mutex_lock(&mutex);
    while (c->n_finish == 0 && c->n_tok < n_tok) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
}

static void wait_end(client *c)
{
    wait_for(c, OUT_MAX + 1);
}

static int n_draft; // of the engines that follow

static bench bench_of(int n_deltanet)
{
    bench b = {
        .fake = {
            .vocab_size = VOCAB, .n_page = 512, .verify = true, .needs_state = n_deltanet > 0, .drafts = n_draft > 0}};
    b.model.config.vocab_size = VOCAB;
    b.model.n_deltanet = n_deltanet;
    b.options = (nb_engine_options){.max_model_len = 2000,
                                    .n_draft = n_draft,
                                    .max_num_seqs = 80,
                                    .max_num_batched_tokens = 512,
                                    .max_waiting = 100,
                                    .n_snapshot = 64,
                                    .snapshot_grid = 256,
                                    .enable_prefix_caching = true};
    return b;
}

static void bench_open(bench *b)
{
    nb_error err;
    b->device = nb_fake_open(&b->fake);
    nb_test_ok(nb_engine_open(b->device, &b->model, &b->options, &b->engine, &err), &err);
}

static void bench_close(bench *b)
{
    nb_engine_close(b->engine, true);
    assert_string_equal(nb_fake_stats_of(b->device)->violation, "");
    b->device->ops->close(b->device);
}

static nb_engine_stats stats_of(bench *b)
{
    nb_engine_stats stats;
    nb_engine_stats_read(b->engine, &stats);
    return stats;
}

// Everything back in the pools. The last event comes before the step's statistics are published.
static void assert_idle(bench *b)
{
    nb_engine_stats s = stats_of(b);
    for (int i = 0; i < 2000 && s.n_page_free + s.n_page_indexed != s.n_page; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
        s = stats_of(b);
    }
    assert_int_equal(s.n_page_free + s.n_page_indexed, s.n_page);
}

typedef struct prompt {
    int32_t tok[OUT_MAX];
    int n;
} prompt;

static prompt prompt_of(int n, int seed)
{
    prompt p = {.n = n};
    for (int i = 0; i < n; i++) p.tok[i] = (int32_t)(((unsigned)(i * 7919 + seed * 104729) >> 3) % VOCAB);
    return p;
}

static nb_request request_of(const prompt *p, int max_new, client *c)
{
    memset(c, 0, sizeof(*c));
    return (nb_request){.prompt = p->tok,
                        .n_prompt = p->n,
                        .max_new = max_new,
                        .sampling = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 5},
                        .n_top = -1,
                        .n_prompt_top = -1,
                        .on_event = on_event,
                        .user = c};
}

static void submit(bench *b, const nb_request *request, client *c)
{
    nb_error err;
    nb_test_ok(nb_engine_submit(b->engine, request, &c->id, &err), &err);
}

static void run_one(bench *b, const nb_request *request, client *c)
{
    submit(b, request, c);
    wait_end(c);
}

static client alone(int n_deltanet, nb_request request)
{
    client c = {0};
    bench b = bench_of(n_deltanet);
    b.options.n_draft = 0;
    b.options.enable_prefix_caching = false;
    bench_open(&b);
    request.user = &c;
    run_one(&b, &request, &c);
    bench_close(&b);
    return c;
}

static void assert_same(const client *a, const client *b)
{
    assert_int_equal(a->n_tok, b->n_tok);
    assert_memory_equal(a->tok, b->tok, sizeof(int32_t) * (size_t)a->n_tok);
    assert_int_equal(a->last.finish, b->last.finish);
    assert_int_equal(b->n_finish, 1);
}

static void alone_equals_with_63_others(void **state)
{
    (void)state;
    static client c[N_CLIENT];
    for (int n_deltanet = 0; n_deltanet < 2; n_deltanet++) {
        prompt p[N_CLIENT];
        bench b = bench_of(n_deltanet);
        b.fake.hold = true;
        bench_open(&b);
        for (int i = 0; i < N_CLIENT; i++) {
            p[i] = prompt_of(1 + i * 13, i % 9);
            nb_request request = request_of(&p[i], 40 + i, &c[i]);
            request.sampling.frequency_penalty = i % 3 == 0;
            submit(&b, &request, &c[i]);
        }
        nb_fake_release(b.device);
        for (int i = 0; i < N_CLIENT; i++) wait_end(&c[i]);
        assert_idle(&b);
        nb_engine_close(b.engine, true);
        const nb_fake_stats *stats = nb_fake_stats_of(b.device);
        assert_string_equal(stats->violation, "");
        assert_true(stats->most_seq > 32);
        if (n_draft == 0) assert_true(stats->most_in_flight == 2 && stats->n_ahead > 1000);
        if (n_draft > 0) assert_true(stats->n_draft > 1000);
        b.device->ops->close(b.device);
        for (int i = 0; i < N_CLIENT; i += 7) {
            client one;
            nb_request request = request_of(&p[i], 40 + i, &one);
            request.sampling.frequency_penalty = i % 3 == 0;
            one = alone(n_deltanet, request);
            assert_same(&one, &c[i]);
        }
    }
}

static void right_drafts_save_steps(void **state)
{
    (void)state;
    static client c;
    prompt p = prompt_of(100, 4);
    bench b = bench_of(1);
    b.options.n_draft = 3;
    b.fake.drafts = true;
    bench_open(&b);
    nb_request request = request_of(&p, 400, &c);
    run_one(&b, &request, &c);
    client one = alone(1, request);
    assert_same(&one, &c);
    nb_engine_stats stats = stats_of(&b);
    uint64_t n_accepted = stats.n_accepted[0] + stats.n_accepted[1] + stats.n_accepted[2];
    assert_true(n_accepted > 150 && n_accepted < stats.n_draft_tok && stats.n_draft_tok <= 3 * stats.n_draft_step);
    assert_true(stats.n_accepted[0] > stats.n_accepted[1] && stats.n_accepted[1] > stats.n_accepted[2]);
    assert_true(stats.n_step < 270 && c.n_event < 270);
    bench_close(&b);
}

static void a_prefix_hit_changes_nothing_but_the_work(void **state)
{
    (void)state;
    for (int n_deltanet = 0; n_deltanet < 2; n_deltanet++) {
        static client first, again;
        prompt p = prompt_of(1000, 3);
        bench b = bench_of(n_deltanet);
        bench_open(&b);
        nb_request request = request_of(&p, 100, &first);
        run_one(&b, &request, &first);
        assert_int_equal(first.last.n_cached, 0);
        request = request_of(&p, 100, &again);
        run_one(&b, &request, &again);
        assert_int_equal(again.last.n_cached, 960); // (1000 - NB_PROMPT_TAIL) down to a page end
        assert_same(&first, &again);
        nb_engine_stats stats = stats_of(&b);
        assert_true(stats.prefix_queries_tok == 2000 && stats.prefix_hits_tok == 960);
        assert_true(stats.n_prompt_tok == 2000 && stats.n_cached_tok == 960);
        bench_close(&b);
    }
}

// The second turn's prompt is the first one, the reply, and something new: only the last is computed.
static void a_second_turn_computes_only_what_is_new(void **state)
{
    (void)state;
    for (int n_deltanet = 0; n_deltanet < 2; n_deltanet++) {
        static client first, second, cold;
        prompt p = prompt_of(150, 4);
        bench b = bench_of(n_deltanet);
        bench_open(&b);
        nb_request request = request_of(&p, 300, &first);
        run_one(&b, &request, &first);
        assert_int_equal(first.n_tok, 300);
        prompt next = p;
        memcpy(next.tok + p.n, first.tok, sizeof(int32_t) * 300);
        next.n = p.n + 300 + 20;
        for (int i = 0; i < 20; i++) next.tok[450 + i] = i;
        request = request_of(&next, 50, &second);
        run_one(&b, &request, &second);
        assert_int_equal(second.last.n_cached, 448); // of 450, the last page end
        bench_close(&b);
        request = request_of(&next, 50, &cold);
        cold = alone(n_deltanet, request);
        assert_same(&cold, &second);
    }
}

static void a_reply_that_stops_is_cached_as_well(void **state)
{
    (void)state;
    static client first, second;
    prompt p = prompt_of(70, 5);
    bench b = bench_of(1);
    bench_open(&b);
    nb_request request = request_of(&p, 500, &first);
    run_one(&b, &request, &first);
    int32_t stop = first.tok[200];
    request = request_of(&p, 500, &second);
    request.n_stop = 1;
    request.stop_tok[0] = stop;
    run_one(&b, &request, &second);
    assert_int_equal(second.last.finish, NB_FINISH_STOP);
    assert_int_equal(second.last.stop_tok, stop);
    for (int i = 0; i < second.n_tok; i++) assert_int_equal(second.tok[i], first.tok[i]);
    for (int i = 0; i < second.n_tok; i++) assert_true(second.tok[i] != stop);
    assert_int_equal(first.tok[second.n_tok], stop);
    bench_close(&b);
}

static void the_device_decides_how_many_states_are_saved_unless_it_is_said(void **state)
{
    (void)state;
    static const struct {
        int n_deltanet, n_snapshot, n_slot;
        bool caches;
    } cases[] = {{1, -1, 80 + 7, true}, {1, 12, 80 + 12, true}, {1, 0, 80, false}, {0, -1, 80, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b = bench_of(cases[i].n_deltanet);
        b.fake.n_saved = 7;
        b.options.n_snapshot = cases[i].n_snapshot;
        bench_open(&b);
        nb_engine_stats s = stats_of(&b);
        assert_int_equal(s.n_slot, cases[i].n_slot);
        assert_int_equal(s.n_slot_saved_most, cases[i].n_slot - 80);
        assert_int_equal(s.prefix_caching, cases[i].caches);
        bench_close(&b);
    }
    bench b = bench_of(1);
    b.fake.n_saved = 7;
    b.options.n_snapshot = -1;
    b.options.enable_prefix_caching = false;
    bench_open(&b);
    assert_int_equal(stats_of(&b).n_slot, 80);
    bench_close(&b);
}

static void preemption_changes_nothing(void **state)
{
    (void)state;
    static client c[16];
    for (int n_deltanet = 0; n_deltanet < 2; n_deltanet++) {
        prompt p[16];
        bench b = bench_of(n_deltanet);
        b.options.n_page = 24;
        b.options.n_snapshot = 4;
        b.fake.hold = true;
        bench_open(&b);
        for (int i = 0; i < 16; i++) {
            p[i] = prompt_of(30 + i * 11, i);
            nb_request request = request_of(&p[i], 250, &c[i]);
            request.sampling.repetition_penalty = i % 2 ? 1.1f : 1;
            submit(&b, &request, &c[i]);
        }
        nb_fake_release(b.device);
        int n_preempted = 0;
        for (int i = 0; i < 16; i++) {
            wait_end(&c[i]);
            n_preempted += c[i].last.n_preempted;
        }
        assert_true(n_preempted > 3);
        assert_idle(&b);
        bench_close(&b);
        for (int i = 0; i < 16; i += 3) {
            client one;
            nb_request request = request_of(&p[i], 250, &one);
            request.sampling.repetition_penalty = i % 2 ? 1.1f : 1;
            one = alone(n_deltanet, request);
            assert_same(&one, &c[i]);
        }
    }
}

static void cancelled_neighbours_change_nothing(void **state)
{
    (void)state;
    static client kept, gone[20];
    prompt p = prompt_of(200, 1);
    bench b = bench_of(1);
    b.options.n_page = 60;
    bench_open(&b);
    prompt q[20];
    for (int i = 0; i < 20; i++) {
        q[i] = prompt_of(100 + i * 20, i);
        nb_request request = request_of(&q[i], 1000, &gone[i]);
        submit(&b, &request, &gone[i]);
        if (i == 10) {
            request = request_of(&p, 300, &kept);
            submit(&b, &request, &kept);
        }
    }
    for (int i = 0; i < 20; i++) {
        wait_for(&gone[i], i < 3 ? 5 : 0);
        nb_engine_cancel(b.engine, gone[i].id);
    }
    wait_end(&kept);
    for (int i = 0; i < 20; i++) {
        wait_end(&gone[i]);
        assert_int_equal(gone[i].n_finish, 1);
    }
    assert_idle(&b);
    bench_close(&b);
    client one;
    nb_request request = request_of(&p, 300, &one);
    one = alone(1, request);
    assert_same(&one, &kept);
}

static void events_say_when_waiting_ended(void **state)
{
    (void)state;
    static client c[3];
    prompt p = prompt_of(100, 2);
    bench b = bench_of(1);
    b.options.max_num_seqs = 1;
    b.fake.hold = true;
    bench_open(&b);
    for (int i = 0; i < 3; i++) {
        nb_request request = request_of(&p, 20, &c[i]);
        submit(&b, &request, &c[i]);
    }
    nb_engine_cancel(b.engine, c[2].id);
    nb_fake_release(b.device);
    for (int i = 0; i < 3; i++) wait_end(&c[i]);
    for (int i = 0; i < 2; i++) {
        const nb_event *last = &c[i].last;
        assert_true(last->queued_us <= last->scheduled_us && last->scheduled_us <= last->first_us);
        assert_true(last->first_us <= last->now_us);
    }
    assert_true(c[1].last.queued_us < c[0].last.first_us && c[1].last.scheduled_us >= c[0].last.first_us);
    assert_true(c[2].last.scheduled_us == 0 && c[2].last.first_us == 0);
    nb_engine_stats stats = stats_of(&b);
    uint64_t n_step = 0;
    for (int i = 0; i < NB_STEP_SIZES; i++) n_step += stats.step_by_tok[i];
    assert_true(n_step == stats.n_step && stats.n_step_tok >= stats.n_prompt_tok - stats.n_cached_tok + 38);
    bench_close(&b);
}

static void min_new_holds_stop_tokens_back(void **state)
{
    (void)state;
    static client c;
    prompt p = prompt_of(10, 2);
    bench b = bench_of(1);
    bench_open(&b);
    nb_request request = request_of(&p, 400, &c);
    request.min_new = 150;
    for (int i = 0; i < NB_STOP_TOKEN_MAX; i++) request.stop_tok[i] = i;
    request.n_stop = NB_STOP_TOKEN_MAX;
    run_one(&b, &request, &c);
    assert_int_equal(c.last.finish, NB_FINISH_STOP);
    assert_true(c.n_tok >= 150 && c.n_tok < 250);
    for (int i = 0; i < c.n_tok; i++) assert_true(c.tok[i] >= NB_STOP_TOKEN_MAX);
    bench_close(&b);
}

static void a_full_context_ends_with_length(void **state)
{
    (void)state;
    static client c;
    prompt p = prompt_of(100, 2);
    bench b = bench_of(1);
    b.options.max_model_len = 130;
    bench_open(&b);
    nb_request request = request_of(&p, 400, &c);
    run_one(&b, &request, &c);
    assert_int_equal(c.last.finish, NB_FINISH_LENGTH);
    assert_int_equal(c.n_tok, 30);
    bench_close(&b);
}

static void the_pages_bound_the_context_too(void **state)
{
    (void)state;
    static client c[4];
    prompt p = prompt_of(100, 2);
    bench b = bench_of(1);
    b.options.n_page = 3;
    b.fake.hold = true;
    bench_open(&b);
    assert_int_equal(stats_of(&b).max_model_len, 192);
    for (int i = 0; i < 4; i++) {
        nb_request request = request_of(&p, 400, &c[i]);
        submit(&b, &request, &c[i]);
    }
    nb_fake_release(b.device);
    for (int i = 0; i < 4; i++) {
        wait_end(&c[i]);
        assert_int_equal(c[i].n_tok, 92);
        assert_same(&c[0], &c[i]);
    }
    bench_close(&b);
}

typedef struct automaton { // allows only tokens of the parity opposite to the last one
    int32_t last;
    int n_accept;
    int end_at; // the verdict then; 0: never
    nb_verdict verdict;
} automaton;

static nb_verdict automaton_accept(void *user, int32_t tok, const char **message)
{
    automaton *a = user;
    a->last = tok;
    a->n_accept++;
    if (a->n_accept != a->end_at) return NB_VERDICT_GO_ON;
    *message = "nothing fits";
    return a->verdict;
}

static bool automaton_mask(void *user, uint32_t *mask)
{
    const automaton *a = user;
    for (int tok = 0; tok < VOCAB; tok++)
        if (tok % 2 == a->last % 2) mask[tok / 32] &= ~(1u << (tok % 32));
    return a->n_accept != 10; // one position is free
}

static void a_constraint_sees_each_token_before_the_next(void **state)
{
    (void)state;
    static client c[8];
    automaton a[8] = {0};
    prompt p = prompt_of(77, 6);
    bench b = bench_of(1);
    b.options.n_page = 16; // with preemption
    b.fake.hold = true;
    bench_open(&b);
    for (int i = 0; i < 8; i++) {
        nb_constraint constraint = {&a[i], automaton_accept, automaton_mask};
        nb_request request = request_of(&p, 120, &c[i]);
        if (i % 2 == 0) request.constraint = &constraint;
        submit(&b, &request, &c[i]);
    }
    nb_fake_release(b.device);
    for (int i = 0; i < 8; i++) wait_end(&c[i]);
    for (int i = 0; i < 8; i += 2) {
        assert_int_equal(a[i].n_accept, 120);
        for (int k = 1; k < 120; k++)
            if (k != 10) assert_true(c[i].tok[k] % 2 != c[i].tok[k - 1] % 2);
        assert_same(&c[0], &c[i]);
        assert_same(&c[1], &c[i + 1]);
    }
    bench_close(&b);
}

static void a_constrained_sequence_takes_part_in_every_step(void **state)
{
    (void)state;
    static client c[2];
    automaton a = {0};
    prompt p = prompt_of(20, 8);
    bench b = bench_of(1);
    b.fake.hold = true;
    bench_open(&b);
    nb_constraint constraint = {&a, automaton_accept, automaton_mask};
    for (int i = 0; i < 2; i++) {
        nb_request request = request_of(&p, 100, &c[i]);
        if (i == 0) request.constraint = &constraint;
        submit(&b, &request, &c[i]);
    }
    nb_fake_release(b.device);
    for (int i = 0; i < 2; i++) wait_end(&c[i]);
    assert_int_equal(c[0].n_tok, 100);
    assert_true(stats_of(&b).n_step < 120);
    bench_close(&b);
}

static void a_constraint_ends_its_request(void **state)
{
    (void)state;
    static client c;
    prompt p = prompt_of(20, 9);
    for (int i = 0; i < 2; i++) {
        automaton a = {.end_at = 7, .verdict = i ? NB_VERDICT_FAILED : NB_VERDICT_COMPLETE};
        nb_constraint constraint = {&a, automaton_accept, automaton_mask};
        bench b = bench_of(1);
        bench_open(&b);
        nb_request request = request_of(&p, 30, &c);
        request.constraint = &constraint;
        run_one(&b, &request, &c);
        assert_int_equal(c.last.finish, i ? NB_FINISH_ERROR : NB_FINISH_STOP);
        assert_int_equal(c.n_tok, 7);
        bench_close(&b);
    }
}

static void log_probabilities_come_with_each_token(void **state)
{
    (void)state;
    static client c;
    prompt p = prompt_of(20, 7);
    bench b = bench_of(1);
    bench_open(&b);
    nb_request request = request_of(&p, 30, &c);
    request.n_top = 3;
    run_one(&b, &request, &c);
    assert_int_equal(c.n_detail, 30);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(c.detail[i].tok, c.tok[i]);
        assert_int_equal(c.detail[i].n_top, 3);
    }
    bench_close(&b);
}

static void score_six_times(bool caching)
{
    static client c[6], scored;
    prompt p = prompt_of(333, 8);
    bench b = bench_of(1);
    b.options.n_page = 17;
    b.options.enable_prefix_caching = caching;
    b.fake.hold = true;
    bench_open(&b);
    nb_request request;
    int n_preempted = 0;
    for (int i = 0; i < 6; i++) {
        request = request_of(&p, 200, &c[i]);
        request.n_prompt_top = 2;
        submit(&b, &request, &c[i]);
    }
    nb_fake_release(b.device);
    for (int i = 0; i < 6; i++) {
        wait_end(&c[i]);
        n_preempted += c[i].last.n_preempted;
        assert_int_equal(c[i].n_prompt_detail, 332);
        assert_int_equal(c[i].last.n_cached, 0); // although its twins have the pages
        for (int k = 0; k < 332; k++) {
            assert_int_equal(c[i].prompt_detail[k].n_top, 2);
            assert_true(c[i].prompt_detail[k].target_logprob == c[0].prompt_detail[k].target_logprob);
        }
        assert_same(&c[0], &c[i]);
    }
    assert_true(caching || n_preempted > 0); // with it, twins share pages and all fit
    request = request_of(&p, 0, &scored);    // scoring: no output at all
    request.n_prompt_top = 2;
    run_one(&b, &request, &scored);
    assert_int_equal(scored.last.finish, NB_FINISH_LENGTH);
    assert_int_equal(scored.n_tok, 0);
    assert_int_equal(scored.n_prompt_detail, 332);
    for (int i = 0; i < 6; i++) free(c[i].prompt_detail);
    free(scored.prompt_detail);
    bench_close(&b);
}

static void prompt_log_probabilities_are_complete_chunked_and_preempted(void **state)
{
    (void)state;
    score_six_times(true);
    score_six_times(false);
}

static void what_could_never_run_is_refused(void **state)
{
    (void)state;
    static client c;
    nb_error err;
    uint64_t id;
    prompt p = prompt_of(100, 1);
    bench b = bench_of(1);
    b.options.max_model_len = 100;
    bench_open(&b);
    nb_request good = request_of(&p, 5, &c), bad = good;
    nb_test_fails(nb_engine_submit(b.engine, &bad, &id, &err), &err, "room for 100");
    good.n_prompt = bad.n_prompt = 99;
    bad.n_prompt = 0;
    nb_test_fails(nb_engine_submit(b.engine, &bad, &id, &err), &err, "empty");
    bad = good;
    p.tok[3] = VOCAB;
    nb_test_fails(nb_engine_submit(b.engine, &bad, &id, &err), &err, "token id 61");
    p.tok[3] = 1;
    bad.sampling.top_p = 0;
    nb_test_fails(nb_engine_submit(b.engine, &bad, &id, &err), &err, "top_p");
    bad = good;
    bad.n_bias = 1;
    bad.bias = &(nb_bias){-1, 0};
    nb_test_fails(nb_engine_submit(b.engine, &bad, &id, &err), &err, "logit_bias");
    bad = good;
    bad.n_stop = NB_STOP_TOKEN_MAX + 1;
    nb_test_fails(nb_engine_submit(b.engine, &bad, &id, &err), &err, "stop tokens");
    run_one(&b, &good, &c);
    assert_int_equal(c.n_tok, 1);
    bench_close(&b);
}

static void a_full_queue_is_refused_and_recovers(void **state)
{
    (void)state;
    static client c[4];
    nb_error err;
    uint64_t id;
    prompt p = prompt_of(50, 1);
    bench b = bench_of(1);
    b.options.max_num_seqs = 2;
    b.options.max_waiting = 1;
    b.fake.hold = true;
    bench_open(&b);
    for (int i = 0; i < 3; i++) {
        nb_request request = request_of(&p, 1900, &c[i]);
        submit(&b, &request, &c[i]);
    }
    nb_request request = request_of(&p, 3, &c[3]);
    int code = nb_engine_submit(b.engine, &request, &id, &err);
    assert_int_equal(code, NB_ERR_LIMIT);
    for (int i = 0; i < 3; i++) nb_engine_cancel(b.engine, c[i].id);
    nb_fake_release(b.device);
    for (int i = 0; i < 3; i++) wait_end(&c[i]);
    assert_idle(&b);
    run_one(&b, &request, &c[3]);
    assert_int_equal(c[3].n_tok, 3);
    bench_close(&b);
}

static void there_is_room_again_once_the_end_is_told(void **state)
{
    (void)state;
    client c;
    prompt p = prompt_of(3, 1);
    bench b = bench_of(1);
    b.options.max_num_seqs = 1;
    b.options.max_waiting = 0;
    bench_open(&b);
    for (int i = 0; i < 300; i++) {
        nb_request request = request_of(&p, 2, &c);
        run_one(&b, &request, &c);
    }
    bench_close(&b);
}

static void a_lost_device_ends_every_request_with_an_error(void **state)
{
    (void)state;
    static client c[10];
    for (int how = 0; how < 3; how++) {
        prompt p = prompt_of(50, 1);
        bench b = bench_of(1);
        b.fake.fail_submit = how == 0 ? 20 : 0;
        b.fake.fail_wait = how == 1 ? 20 : 0;
        b.fake.bad_token_at = how == 2 ? 20 : 0;
        b.fake.hold = true;
        bench_open(&b);
        for (int i = 0; i < 10; i++) {
            nb_request request = request_of(&p, 1000, &c[i]);
            submit(&b, &request, &c[i]);
        }
        nb_fake_release(b.device);
        for (int i = 0; i < 10; i++) {
            wait_end(&c[i]);
            assert_int_equal(c[i].last.finish, NB_FINISH_ERROR);
            assert_true(strlen(c[i].message) > 0);
            assert_int_equal(c[i].n_finish, 1);
        }
        assert_idle(&b);
        assert_true(stats_of(&b).failed);
        nb_error err;
        uint64_t id;
        nb_request request = request_of(&p, 1, &c[0]);
        assert_int_equal(nb_engine_submit(b.engine, &request, &id, &err), NB_ERR_DEVICE);
        nb_engine_close(b.engine, true);
        b.device->ops->close(b.device);
    }
}

static void close_drains_or_cancels(void **state)
{
    (void)state;
    static client c[30];
    for (int drain = 0; drain < 2; drain++) {
        prompt p = prompt_of(50, 1);
        bench b = bench_of(1);
        b.options.max_num_seqs = 10;
        bench_open(&b);
        for (int i = 0; i < 30; i++) {
            nb_request request = request_of(&p, 1800, &c[i]);
            submit(&b, &request, &c[i]);
        }
        nb_engine_close(b.engine, drain);
        for (int i = 0; i < 30; i++) {
            assert_int_equal(c[i].n_finish, 1);
            if (drain) assert_int_equal(c[i].n_tok, 1800);
            assert_true(c[i].n_tok == 1800 || c[i].last.finish == NB_FINISH_CANCELLED);
        }
        assert_string_equal(nb_fake_stats_of(b.device)->violation, "");
        b.device->ops->close(b.device);
    }
}

// The same promises hold, and the same answers come, where tokens are drafted.
static int begin_drafting(void **state)
{
    (void)state;
    n_draft = 3;
    return 0;
}

#define SPECULATING(test)                                       \
    {                                                           \
        "speculating: " #test, test, begin_drafting, NULL, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_equals_with_63_others),
        cmocka_unit_test(a_prefix_hit_changes_nothing_but_the_work),
        cmocka_unit_test(a_second_turn_computes_only_what_is_new),
        cmocka_unit_test(a_reply_that_stops_is_cached_as_well),
        cmocka_unit_test(the_device_decides_how_many_states_are_saved_unless_it_is_said),
        cmocka_unit_test(preemption_changes_nothing),
        cmocka_unit_test(cancelled_neighbours_change_nothing),
        cmocka_unit_test(events_say_when_waiting_ended),
        cmocka_unit_test(min_new_holds_stop_tokens_back),
        cmocka_unit_test(a_full_context_ends_with_length),
        cmocka_unit_test(the_pages_bound_the_context_too),
        cmocka_unit_test(a_constraint_sees_each_token_before_the_next),
        cmocka_unit_test(a_constrained_sequence_takes_part_in_every_step),
        cmocka_unit_test(a_constraint_ends_its_request),
        cmocka_unit_test(log_probabilities_come_with_each_token),
        cmocka_unit_test(prompt_log_probabilities_are_complete_chunked_and_preempted),
        cmocka_unit_test(what_could_never_run_is_refused),
        cmocka_unit_test(a_full_queue_is_refused_and_recovers),
        cmocka_unit_test(there_is_room_again_once_the_end_is_told),
        cmocka_unit_test(a_lost_device_ends_every_request_with_an_error),
        cmocka_unit_test(close_drains_or_cancels),
        cmocka_unit_test(right_drafts_save_steps),
        SPECULATING(alone_equals_with_63_others),
        SPECULATING(a_prefix_hit_changes_nothing_but_the_work),
        SPECULATING(a_second_turn_computes_only_what_is_new),
        SPECULATING(a_reply_that_stops_is_cached_as_well),
        SPECULATING(preemption_changes_nothing),
        SPECULATING(cancelled_neighbours_change_nothing),
        SPECULATING(events_say_when_waiting_ended),
        SPECULATING(min_new_holds_stop_tokens_back),
        SPECULATING(a_full_context_ends_with_length),
        SPECULATING(the_pages_bound_the_context_too),
        SPECULATING(a_constraint_sees_each_token_before_the_next),
        SPECULATING(a_constraint_ends_its_request),
        SPECULATING(log_probabilities_come_with_each_token),
        SPECULATING(prompt_log_probabilities_are_complete_chunked_and_preempted),
        SPECULATING(a_lost_device_ends_every_request_with_an_error),
    };
    return nb_test_run("engine", tests);
}
