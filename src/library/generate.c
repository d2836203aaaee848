// The engine's thread appends tokens to a mailbox; the caller's thread takes them out and decodes, so that a slow
// reader never holds the engine up. See generate.h.
#include "library/generate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

#include "base/arena.h"

enum { POLL_MS = 50, BATCHED_TOKENS = 512, WAITING_MAX = 1024 };

typedef struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t news;
    nb_ids ids; // tokens not yet taken
    int vocab_size;
    bool done;
    nb_generated result;
    char message[512];
} mailbox;

static void add_tokens(mailbox *box, const nb_event *event)
{
    if (box->ids.n + event->n_tok > box->ids.cap) {
        box->ids.cap = 2 * (box->ids.n + event->n_tok);
        box->ids.id = nb_realloc(box->ids.id, sizeof(int32_t) * (size_t)box->ids.cap);
    }
    for (int i = 0; i < event->n_tok; i++) box->ids.id[box->ids.n++] = event->tok[i];
}

static void on_event(void *user, const nb_event *event)
{
    mailbox *box = user;
    pthread_mutex_lock(&box->lock);
    add_tokens(box, event);
    nb_generated *r = &box->result;
    r->n_output += event->n_tok;
    r->n_prompt = event->n_prompt;
    r->n_cached = event->n_cached;
    if (event->first_us) {
        r->prefill_us = event->first_us - event->queued_us;
        r->decode_us = event->now_us - event->first_us;
    }
    const nb_row_result *last = event->detail && event->n_tok ? &event->detail[event->n_tok - 1] : NULL;
    if (last && last->logits) r->logits_hash = XXH64(last->logits, sizeof(float) * (size_t)box->vocab_size, 0);
    if (event->finish != NB_FINISH_NONE) {
        r->finish = event->finish;
        if (event->message) snprintf(box->message, sizeof box->message, "%s", event->message);
        box->done = true;
    }
    pthread_cond_signal(&box->news);
    pthread_mutex_unlock(&box->lock);
}

// Waits for news, at most POLL_MS; moves the tokens that came into `taken`. True when the request is over.
static bool take(mailbox *box, nb_ids *taken)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += POLL_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&box->lock);
    if (!box->done && box->ids.n == 0) pthread_cond_timedwait(&box->news, &box->lock, &until);
    nb_ids swap = *taken;
    *taken = box->ids;
    box->ids = swap;
    box->ids.n = 0;
    bool done = box->done;
    pthread_mutex_unlock(&box->lock);
    return done;
}

typedef struct reader {
    nb_token_stream stream;
    nb_buf text;
    nb_generate_text on_text;
    void *user;
    bool stopped; // on_text said so
} reader;

// Hands over what the tokens say; true when the reader stops the request with that.
static bool give(reader *r, const nb_ids *ids, bool done)
{
    if (r->stopped) return false;
    nb_buf_clear(&r->text);
    for (int64_t i = 0; i < ids->n; i++) nb_token_stream_add(&r->stream, ids->id[i], &r->text);
    if (done) nb_token_stream_end(&r->stream, &r->text);
    r->stopped = !r->on_text(r->user, nb_buf_str(&r->text));
    return r->stopped;
}

static void pump(mailbox *box, nb_engine *engine, uint64_t id, reader *r)
{
    nb_ids taken = {0};
    for (bool done = false; !done;) {
        done = take(box, &taken);
        if (give(r, &taken, done)) nb_engine_cancel(engine, id);
    }
    nb_buf_drop(&r->text);
    nb_ids_drop(&taken);
}

int nb_generate_open(const nb_session *session, int64_t context, int n_seq, nb_engine **out, nb_error *err)
{
    nb_engine_options options = {.kv = session->kv,
                                 .max_model_len = context,
                                 .max_num_seqs = n_seq,
                                 .max_num_batched_tokens = BATCHED_TOKENS,
                                 .max_waiting = WAITING_MAX,
                                 .n_page = (int)((context / NB_PAGE_TOKENS + 2) * n_seq),
                                 .n_snapshot = 2,
                                 .snapshot_grid = 16 * NB_PAGE_TOKENS,
                                 .enable_prefix_caching = true};
    return nb_engine_open(session->device, session->model, &options, out, err);
}

int nb_generate(nb_engine *engine, const nb_session *session, const nb_request *request, bool keep_special,
                nb_generate_text on_text, void *user, nb_generated *out, nb_error *err)
{
    mailbox box = {.vocab_size = session->model->config.vocab_size};
    reader r = {.on_text = on_text, .user = user};
    nb_request with_sink = *request;
    with_sink.on_event = on_event;
    with_sink.user = &box;
    uint64_t id;
    pthread_mutex_init(&box.lock, NULL);
    pthread_cond_init(&box.news, NULL);
    nb_token_stream_open(&r.stream, session->tokenizer, !keep_special);
    int code = nb_engine_submit(engine, &with_sink, &id, err);
    if (code == NB_OK) {
        pump(&box, engine, id, &r);
        *out = box.result;
        if (box.result.finish == NB_FINISH_ERROR) code = nb_error_set(err, NB_ERR_DEVICE, "%s", box.message);
    }
    nb_ids_drop(&box.ids);
    pthread_mutex_destroy(&box.lock);
    pthread_cond_destroy(&box.news);
    return code;
}
