// Histograms and the text of /metrics. See metrics.h.
#include "serve/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/process_metrics.h"

enum { BOUNDS_MAX = 48, LABELS_MAX = 512 };

typedef enum histogram_id {
    FIRST_TOKEN,
    INTER_TOKEN,
    PER_TOKEN,
    END_TO_END,
    QUEUE,
    INFERENCE,
    PREFILL,
    DECODE,
    PROMPT_TOKENS,
    COMPUTED_TOKENS,
    OUTPUT_TOKENS,
    LONGEST_OUTPUT,
    MAX_TOKENS,
    CHOICES,
    N_HISTOGRAM,
} histogram_id;

// Boundaries as vLLM has them. TOKENS stands for 1, 2, 5, 10, 20, 50, ... up to the longest context.
static const double first_token_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                            1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double token_bounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                      0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double latency_bounds[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                        30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
static const double choice_bounds[] = {1, 2, 5, 10, 20};
#define BOUNDS(array) (array), (int)(sizeof(array) / sizeof *(array))
#define TOKENS        NULL, 0

static const struct {
    const char *name, *help;
    const double *bound;
    int n_bound;
} descriptions[N_HISTOGRAM] = {
    [FIRST_TOKEN] = {"time_to_first_token_seconds", "Time to first token in seconds.", BOUNDS(first_token_bounds)},
    [INTER_TOKEN] = {"inter_token_latency_seconds", "Time between tokens in seconds.", BOUNDS(token_bounds)},
    [PER_TOKEN] = {"request_time_per_output_token_seconds", "Mean time per output token of a request in seconds.",
                   BOUNDS(token_bounds)},
    [END_TO_END] = {"e2e_request_latency_seconds", "Time from arrival to end in seconds.", BOUNDS(latency_bounds)},
    [QUEUE] = {"request_queue_time_seconds", "Time spent waiting in seconds.", BOUNDS(latency_bounds)},
    [INFERENCE] = {"request_inference_time_seconds", "Time spent running in seconds.", BOUNDS(latency_bounds)},
    [PREFILL] = {"request_prefill_time_seconds", "Time spent on the prompt in seconds.", BOUNDS(latency_bounds)},
    [DECODE] = {"request_decode_time_seconds", "Time from the first token to the last in seconds.",
                BOUNDS(latency_bounds)},
    [PROMPT_TOKENS] = {"request_prompt_tokens", "Prompt tokens of a request.", TOKENS},
    [OUTPUT_TOKENS] = {"request_generation_tokens", "Output tokens of a request.", TOKENS},
    [COMPUTED_TOKENS] = {"request_prefill_kv_computed_tokens",
                         "Prompt tokens of a request that the prefix cache did not have.", TOKENS},
    [LONGEST_OUTPUT] = {"request_max_num_generation_tokens", "Output tokens of the longest choice of a prompt.",
                        TOKENS},
    [MAX_TOKENS] = {"request_params_max_tokens", "The max_tokens of a request.", TOKENS},
    [CHOICES] = {"request_params_n", "The n of a request.", BOUNDS(choice_bounds)},
};

typedef struct histogram {
    double bound[BOUNDS_MAX];
    int n_bound;
    uint64_t count[BOUNDS_MAX + 1]; // of values up to bound[i] and above bound[i - 1]; the last: above all
    double sum;
} histogram;

struct nb_metrics {
    pthread_mutex_t lock; // for what is counted here
    char labels[LABELS_MAX];
    uint64_t finished[NB_FINISH_ERROR + 1];
    histogram histogram[N_HISTOGRAM];
};

// ---- Filling ----

static void make_token_bounds(histogram *h, int64_t most)
{
    for (double scale = 1; h->n_bound + 3 <= BOUNDS_MAX; scale *= 10) {
        for (int i = 0; i < 3; i++) {
            double bound = scale * (const double[]){1, 2, 5}[i];
            if (bound > (double)most) return;
            h->bound[h->n_bound++] = bound;
        }
    }
}

// Label values have \, " and line breaks escaped.
static void make_labels(char *out, const char *model_name)
{
    nb_buf text = {0};
    nb_buf_add_c(&text, "engine=\"0\",model_name=\"");
    for (const char *p = model_name; *p && text.len < LABELS_MAX - 4; p++) {
        if (*p == '\\' || *p == '"') nb_buf_add_char(&text, '\\');
        nb_buf_add_char(&text, *p >= ' ' ? *p : '_');
    }
    nb_buf_add_c(&text, "\"");
    memcpy(out, text.ptr, text.len + 1);
    nb_buf_drop(&text);
}

nb_metrics *nb_metrics_open(const char *model_name, int64_t max_model_len)
{
    nb_metrics *m = nb_alloc(sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    make_labels(m->labels, model_name);
    for (int i = 0; i < N_HISTOGRAM; i++) {
        histogram *h = &m->histogram[i];
        h->n_bound = descriptions[i].n_bound;
        if (h->n_bound > 0) memcpy(h->bound, descriptions[i].bound, (size_t)h->n_bound * sizeof *h->bound);
        if (h->n_bound == 0) make_token_bounds(h, max_model_len);
    }
    return m;
}

void nb_metrics_close(nb_metrics *m)
{
    if (!m) return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void observe(nb_metrics *m, histogram_id id, double value)
{
    histogram *h = &m->histogram[id];
    int i = 0;
    while (i < h->n_bound && value > h->bound[i]) i++;
    pthread_mutex_lock(&m->lock);
    h->count[i]++;
    h->sum += value;
    pthread_mutex_unlock(&m->lock);
}

// Nothing is observed when either end never happened.
static void observe_span(nb_metrics *m, histogram_id id, int64_t from_us, int64_t to_us)
{
    if (from_us > 0 && to_us > 0) observe(m, id, 1e-6 * (double)(to_us - from_us));
}

void nb_metrics_first_token(nb_metrics *m, int64_t since_us)
{
    observe(m, FIRST_TOKEN, 1e-6 * (double)since_us);
}

void nb_metrics_next_tokens(nb_metrics *m, int64_t since_us)
{
    observe(m, INTER_TOKEN, 1e-6 * (double)since_us);
}

void nb_metrics_finish(nb_metrics *m, const nb_metrics_request *r)
{
    pthread_mutex_lock(&m->lock);
    m->finished[r->finish]++;
    pthread_mutex_unlock(&m->lock);
    observe_span(m, END_TO_END, r->queued_us, r->now_us);
    observe_span(m, QUEUE, r->queued_us, r->scheduled_us);
    observe_span(m, PREFILL, r->scheduled_us, r->first_us);
    observe_span(m, INFERENCE, r->scheduled_us, r->now_us);
    observe_span(m, DECODE, r->first_us, r->now_us);
    if (r->first_us > 0 && r->n_output > 1)
        observe(m, PER_TOKEN, 1e-6 * (double)(r->now_us - r->first_us) / (r->n_output - 1));
    observe(m, PROMPT_TOKENS, r->n_prompt);
    if (r->first_us > 0) observe(m, COMPUTED_TOKENS, r->n_prompt - r->n_cached);
    observe(m, OUTPUT_TOKENS, r->n_output);
    observe(m, MAX_TOKENS, r->max_new);
}

void nb_metrics_prompt(nb_metrics *m, int64_t n_choice, int64_t n_output_max)
{
    observe(m, CHOICES, (double)n_choice);
    observe(m, LONGEST_OUTPUT, (double)n_output_max);
}

// ---- Writing ----

static void head(nb_buf *out, const char *name, const char *type, const char *help)
{
    nb_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(const nb_metrics *m, nb_buf *out, const char *name, const char *help, double value)
{
    head(out, name, "gauge", help);
    nb_buf_printf(out, "%s{%s} %.17g\n", name, m->labels, value);
}

static void counter(const nb_metrics *m, nb_buf *out, const char *name, const char *help, uint64_t value)
{
    head(out, name, "counter", help);
    nb_buf_printf(out, "%s{%s} %llu\n", name, m->labels, (unsigned long long)value);
}

// A boundary as Prometheus' own clients write it: 0.5, 1.0, 2560.0.
static const char *bound_text(double bound, char out[32])
{
    snprintf(out, 32, "%.15g", bound);
    if (!strchr(out, '.')) strcat(out, ".0");
    return out;
}

static void write_histogram(const nb_metrics *m, const char *what, const char *help, const histogram *h, nb_buf *out)
{
    char name[80], text[32];
    snprintf(name, sizeof name, "vllm:%s", what);
    head(out, name, "histogram", help);
    uint64_t n = 0;
    for (int i = 0; i <= h->n_bound; i++) {
        n += h->count[i];
        nb_buf_printf(out, "%s_bucket{%s,le=\"%s\"} %llu\n", name, m->labels,
                      i < h->n_bound ? bound_text(h->bound[i], text) : "+Inf", (unsigned long long)n);
    }
    nb_buf_printf(out, "%s_count{%s} %llu\n", name, m->labels, (unsigned long long)n);
    nb_buf_printf(out, "%s_sum{%s} %.17g\n", name, m->labels, h->sum);
}

static void write_finished(const nb_metrics *m, nb_buf *out)
{
    static const struct {
        nb_finish finish;
        const char *reason;
    } reasons[] = {{NB_FINISH_STOP, "stop"},
                   {NB_FINISH_LENGTH, "length"},
                   {NB_FINISH_CANCELLED, "abort"},
                   {NB_FINISH_ERROR, "error"}};
    static const char name[] = "vllm:request_success_total";
    head(out, name, "counter", "Requests that ended, by reason.");
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        nb_buf_printf(out, "%s{%s,finished_reason=\"%s\"} %llu\n", name, m->labels, reasons[i].reason,
                      (unsigned long long)m->finished[reasons[i].finish]);
    }
}

// The engine counts steps by powers of two; vLLM's boundaries are some of them.
static void write_steps(const nb_metrics *m, const nb_engine_stats *e, nb_buf *out)
{
    static const int power[] = {0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    histogram h = {.n_bound = sizeof power / sizeof *power, .sum = (double)e->n_step_tok};
    int size = 0;
    for (int i = 0; i <= h.n_bound; i++) {
        if (i < h.n_bound) h.bound[i] = 1 << power[i];
        for (; size <= (i < h.n_bound ? power[i] : NB_STEP_SIZES - 1); size++) h.count[i] += e->step_by_tok[size];
    }
    write_histogram(m, "iteration_tokens_total", "Tokens that an engine step computed.", &h, out);
}

static void write_sources(const nb_metrics *m, const nb_engine_stats *e, nb_buf *out)
{
    static const char name[] = "vllm:prompt_tokens_by_source_total";
    head(out, name, "counter", "Prompt tokens by where their keys and values came from.");
    nb_buf_printf(out, "%s{%s,source=\"local_compute\"} %llu\n", name, m->labels,
                  (unsigned long long)(e->n_prompt_tok - e->n_cached_tok));
    nb_buf_printf(out, "%s{%s,source=\"local_cache_hit\"} %llu\n", name, m->labels,
                  (unsigned long long)e->n_cached_tok);
}

static void write_slots(const nb_metrics *m, const nb_engine_stats *e, nb_buf *out)
{
    static const char name[] = "nibble:state_slots";
    head(out, name, "gauge", "Slots for recurrent states: of running sequences, saved for the prefix cache, free.");
    nb_buf_printf(out, "%s{%s,state=\"running\"} %d\n", name, m->labels, e->n_slot - e->n_slot_free - e->n_slot_saved);
    nb_buf_printf(out, "%s{%s,state=\"saved\"} %d\n", name, m->labels, e->n_slot_saved);
    nb_buf_printf(out, "%s{%s,state=\"free\"} %d\n", name, m->labels, e->n_slot_free);
    gauge(m, out, "nibble:saved_states_limit", "Slots beyond those that running sequences may take.",
          e->n_slot_saved_most);
}

static void write_drafts(const nb_metrics *m, const nb_engine_stats *e, nb_buf *out)
{
    static const char name[] = "vllm:spec_decode_num_accepted_tokens_per_pos_total";
    uint64_t n_accepted = 0;
    if (e->n_draft == 0) return;
    for (int i = 0; i < e->n_draft; i++) n_accepted += e->n_accepted[i];
    counter(m, out, "vllm:spec_decode_num_drafts_total", "Steps of a request with drafts.", e->n_draft_step);
    counter(m, out, "vllm:spec_decode_num_draft_tokens_total", "Tokens drafted.", e->n_draft_tok);
    counter(m, out, "vllm:spec_decode_num_accepted_tokens_total", "Drafts that were right.", n_accepted);
    head(out, name, "counter", "Drafts that were right, by their place behind the last token.");
    for (int i = 0; i < e->n_draft; i++)
        nb_buf_printf(out, "%s{%s,position=\"%d\"} %llu\n", name, m->labels, i, (unsigned long long)e->n_accepted[i]);
}

static void write_engine(const nb_metrics *m, const nb_engine_stats *e, nb_buf *out)
{
    // Pages that only the prefix index holds can be had at any time: they count as free, as in vLLM.
    int n_used = e->n_page - e->n_page_free - e->n_page_indexed;
    gauge(m, out, "vllm:num_requests_running", "Requests that are running.", e->n_running);
    gauge(m, out, "vllm:num_requests_waiting", "Requests that wait.", e->n_waiting);
    gauge(m, out, "vllm:kv_cache_usage_perc", "Share of the KV cache in use, 1 is all.",
          e->n_page > 0 ? (double)n_used / e->n_page : 0);
    counter(m, out, "vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
            e->prefix_queries_tok);
    counter(m, out, "vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", e->prefix_hits_tok);
    counter(m, out, "vllm:num_preemptions_total", "Preemptions.", e->n_preempted);
    counter(m, out, "vllm:prompt_tokens_total", "Tokens of prompts that are done.", e->n_prompt_tok);
    counter(m, out, "vllm:prompt_tokens_cached_total", "Of these, how many the prefix cache had.", e->n_cached_tok);
    write_sources(m, e, out);
    counter(m, out, "vllm:generation_tokens_total", "Tokens generated.", e->n_output_tok);
    head(out, "vllm:cache_config_info", "gauge", "Sizes of the KV cache.");
    nb_buf_printf(out,
                  "vllm:cache_config_info{%s,block_size=\"%d\",num_gpu_blocks=\"%d\",enable_prefix_caching=\"%s\"} 1\n",
                  m->labels, NB_PAGE_TOKENS, e->n_page, e->prefix_caching ? "True" : "False");
    write_steps(m, e, out);
    write_slots(m, e, out);
    write_drafts(m, e, out);
}

static void write_http(const nb_metrics *m, const nb_http_stats *h, nb_buf *out)
{
    gauge(m, out, "nibble:http_connections", "Open connections.", h->n_connection);
    counter(m, out, "nibble:http_requests_total", "HTTP requests.", h->n_request);
    counter(m, out, "nibble:http_clients_gone_total", "Clients that left before their answer was complete.", h->n_gone);
    counter(m, out, "nibble:http_slow_readers_total", "Streams ended because their client read too slowly.", h->n_slow);
}

void nb_metrics_write(nb_metrics *m, const nb_engine_stats *engine, const nb_http_stats *http, nb_buf *out)
{
    write_engine(m, engine, out);
    pthread_mutex_lock(&m->lock);
    write_finished(m, out);
    for (int i = 0; i < N_HISTOGRAM; i++)
        write_histogram(m, descriptions[i].name, descriptions[i].help, &m->histogram[i], out);
    pthread_mutex_unlock(&m->lock);
    if (http) write_http(m, http, out);
    nb_process_metrics_write(out);
}
