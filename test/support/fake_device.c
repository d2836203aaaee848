// The device that checks instead of computing: see fake_device.h.
#include "support/fake_device.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_RESULT = NB_IN_FLIGHT + 1 };

typedef struct cell { // one token of one page
    int32_t tok;
    int64_t step;  // that wrote it
    uint64_t hash; // of the sequence up to and with this token
} cell;

typedef struct slot {
    int32_t n_absorbed; // -1: never used
    int32_t last_tok;
    int32_t n_draft; // of n_absorbed, those that may be dropped
    int64_t drawn_step;
    uint64_t hash[NB_DRAFT_MAX + 1]; // [n_draft + 1] without the last i drafts
    bool drafts;                     // every step of the sequence asked for drafts
} slot;

typedef struct fake {
    nb_device device;
    nb_fake_options options;
    nb_fake_stats stats;
    nb_reserve reserve;
    cell (*page)[NB_PAGE_TOKENS];
    slot *slot;
    uint64_t *seq_hash; // [max_tok] after each token of the step
    nb_row_result *row[N_RESULT];
    int32_t (*proposal[N_RESULT])[NB_DRAFT_MAX];
    int n_row[N_RESULT], n_seq[N_RESULT];
    int64_t n_submit, n_wait;
    pthread_mutex_t mutex; // of `hold`
    pthread_cond_t released;
    bool hold;
} fake;

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ (b + 0x9E3779B97F4A7C15u)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 29)) * 0x94D049BB133111EBu;
    return h ^ (h >> 32);
}

__attribute__((format(printf, 3, 4))) static int broken(fake *f, nb_error *err, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!f->stats.violation[0]) memcpy(f->stats.violation, text, sizeof(text));
    fprintf(stderr, "fake device, step %lld: %s\n", (long long)f->n_submit, text);
    return nb_error_set(err, NB_ERR_DEVICE, "fake device: %s", text);
}

static int copy_slots(fake *f, const nb_batch *b, nb_error *err)
{
    for (int i = 0; i < b->n_copy; i++) {
        nb_slot_copy c = b->copy[i];
        if (c.from < 0 || c.from >= f->reserve.n_slot || c.to < 0 || c.to >= f->reserve.n_slot || c.from == c.to)
            return broken(f, err, "copy %d from slot %d to %d", i, c.from, c.to);
        if (f->slot[c.from].n_absorbed < 0) return broken(f, err, "copy from slot %d, which was never used", c.from);
        f->slot[c.to] = f->slot[c.from];
        f->slot[c.to].drawn_step = -1;
    }
    f->stats.n_copy += b->n_copy;
    return NB_OK;
}

static cell *cell_at(fake *f, const nb_batch *b, const nb_seq *seq, int32_t position)
{
    return &f->page[b->page[seq->page_first + position / NB_PAGE_TOKENS]][position % NB_PAGE_TOKENS];
}

// The pages hold one unbroken past, written before this step; gives its hash.
static int check_past(fake *f, const nb_batch *b, const nb_seq *seq, uint64_t *hash, nb_error *err)
{
    *hash = 0;
    for (int32_t i = 0; i < seq->n_past; i++) {
        const cell *c = cell_at(f, b, seq, i);
        *hash = mix(*hash, (uint64_t)c->tok);
        if (c->step == f->n_submit) return broken(f, err, "position %d is read in the step that writes it", i);
        if (c->hash != *hash)
            return broken(f, err, "slot %d: page %d holds another sequence's past at position %d of %d", seq->slot,
                          b->page[seq->page_first + i / NB_PAGE_TOKENS], i, seq->n_past);
    }
    return NB_OK;
}

static int check_slot(fake *f, const nb_seq *seq, uint64_t hash, nb_error *err)
{
    slot *s = &f->slot[seq->slot];
    if (seq->n_past == 0 || !f->options.needs_state) return NB_OK;
    int32_t n_drop = s->n_absorbed - seq->n_past;
    if (n_drop < 0 || n_drop > s->n_draft)
        return broken(f, err, "slot %d has absorbed %d tokens, %d of them drafts; past %d", seq->slot, s->n_absorbed,
                      s->n_draft, seq->n_past);
    if (s->hash[n_drop] != hash) return broken(f, err, "slot %d has absorbed other tokens than the pages", seq->slot);
    return NB_OK;
}

static int check_seq(fake *f, const nb_batch *b, int i, nb_error *err)
{
    const nb_seq *seq = &b->seq[i];
    int32_t first = i > 0 ? seq[-1].tok_first + seq[-1].n_new : 0;
    if (seq->slot < 0 || seq->slot >= f->reserve.n_slot) return broken(f, err, "slot %d", seq->slot);
    for (int k = 0; k < i; k++)
        if (b->seq[k].slot == seq->slot) return broken(f, err, "slot %d is stepped twice", seq->slot);
    if (seq->n_past < 0 || seq->n_new < 1 || seq->n_draft < 0 || seq->n_draft >= seq->n_new ||
        seq->n_draft > NB_DRAFT_MAX || seq->n_propose < 0 || seq->n_propose > NB_DRAFT_MAX || seq->tok_first != first ||
        first + seq->n_new > b->n_tok)
        return broken(f, err, "tokens of sequence %d: past %d, new %d, first %d", i, seq->n_past, seq->n_new,
                      seq->tok_first);
    if (seq->n_page != (seq->n_past + seq->n_new + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS ||
        seq->page_first + seq->n_page > b->n_page)
        return broken(f, err, "sequence %d has %d pages for %d tokens", i, seq->n_page, seq->n_past + seq->n_new);
    for (int32_t k = 0; k < seq->n_page; k++)
        if (b->page[seq->page_first + k] < 0 || b->page[seq->page_first + k] >= f->reserve.n_page)
            return broken(f, err, "page %d of %d", b->page[seq->page_first + k], f->reserve.n_page);
    return NB_OK;
}

static int token_of(fake *f, const nb_batch *b, const nb_seq *seq, int32_t i, int32_t *tok, nb_error *err)
{
    *tok = b->tok[seq->tok_first + i];
    if (*tok == NB_TOKEN_LAST) {
        f->stats.n_ahead++;
        *tok = f->slot[seq->slot].last_tok;
        if (i > 0 || seq->n_past == 0) return broken(f, err, "NB_TOKEN_LAST is not the first token after a past");
        if (f->slot[seq->slot].drawn_step != f->n_submit - 1)
            return broken(f, err, "NB_TOKEN_LAST, but slot %d drew nothing in the step before", seq->slot);
    }
    if (*tok < 0 || *tok >= f->options.vocab_size) return broken(f, err, "token %d", *tok);
    return NB_OK;
}

static int absorb(fake *f, const nb_batch *b, int i_seq, nb_error *err)
{
    const nb_seq *seq = &b->seq[i_seq];
    slot *s = &f->slot[seq->slot];
    uint64_t hash = seq->n_past > 0 ? s->hash[0] : 0;
    if (f->options.verify) {
        NB_TRY(check_seq(f, b, i_seq, err));
        NB_TRY(check_past(f, b, seq, &hash, err));
        NB_TRY(check_slot(f, seq, hash, err));
    }
    for (int32_t i = 0; i < seq->n_new; i++) {
        int32_t tok;
        NB_TRY(token_of(f, b, seq, i, &tok, err));
        cell *c = cell_at(f, b, seq, seq->n_past + i);
        if (f->options.verify && c->step == f->n_submit)
            return broken(f, err, "two sequences write the same page in one step");
        hash = mix(hash, (uint64_t)tok);
        *c = (cell){tok, f->n_submit, hash};
        f->seq_hash[seq->tok_first + i] = hash;
    }
    s->n_absorbed = seq->n_past + seq->n_new;
    s->n_draft = seq->n_draft;
    s->drawn_step = -1;
    s->drafts = seq->n_propose > 0 && (seq->n_past == 0 || s->drafts);
    for (int32_t i = 0; i <= seq->n_draft; i++) s->hash[i] = f->seq_hash[seq->tok_first + seq->n_new - 1 - i];
    f->stats.n_draft += seq->n_draft;
    return NB_OK;
}

// Order-free digest of what the penalties know, the token that only the device knows included.
static uint64_t history_hash(const fake *f, const nb_batch *b, const nb_row *row)
{
    uint64_t sum = 0;
    bool ahead = b->tok[row->tok] == NB_TOKEN_LAST, found = !ahead || row->n_history == 0;
    int32_t last = f->slot[b->seq[row->seq].slot].last_tok;
    for (int32_t i = 0; i < row->n_history; i++) {
        nb_history h = b->history[row->history_first + i];
        if (ahead && h.tok == last) {
            h.n_output++;
            found = true;
        }
        sum += mix((uint64_t)h.tok, (uint64_t)h.n_output);
    }
    return found ? sum : sum + mix((uint64_t)last, 1);
}

static bool allowed(const nb_batch *b, const nb_row *row, int32_t tok)
{
    if (row->mask_first >= 0 && !(b->mask[row->mask_first + tok / 32] >> (tok % 32) & 1)) return false;
    for (int32_t i = 0; i < row->n_bias; i++)
        if (b->bias[row->bias_first + i].tok == tok && b->bias[row->bias_first + i].bias == -INFINITY) return false;
    return true;
}

static int32_t draw(const fake *f, const nb_batch *b, const nb_row *row, uint64_t hash)
{
    int32_t vocab = f->options.vocab_size;
    uint64_t h = mix(hash, history_hash(f, b, row));
    if (row->sampling.temperature > 0) h = mix(h, row->sampling.seed);
    for (int32_t i = 0; i < row->n_bias; i++)
        if (isfinite(b->bias[row->bias_first + i].bias)) h = mix(h, (uint64_t)b->bias[row->bias_first + i].tok);
    int32_t tok = (int32_t)(h % (uint64_t)vocab);
    for (int32_t i = 0; i < vocab && !allowed(b, row, tok); i++) tok = (tok + 1) % vocab;
    return tok;
}

static float logprob_of(uint64_t hash, int32_t tok)
{
    return -(float)(mix(hash, (uint64_t)tok) % 1000) / 100;
}

static void write_row(fake *f, const nb_batch *b, const nb_row *row, nb_row_result *out)
{
    uint64_t hash = f->seq_hash[row->tok];
    *out = (nb_row_result){.tok = -1, .n_top = row->n_top};
    if (row->flags & NB_ROW_SAMPLE) {
        slot *s = &f->slot[b->seq[row->seq].slot];
        out->tok = draw(f, b, row, hash);
        out->logprob = logprob_of(hash, out->tok);
        s->last_tok = out->tok;
        s->drawn_step = f->n_submit;
        if (f->n_submit == f->options.bad_token_at) out->tok = f->options.vocab_size;
    }
    if (row->target >= 0) out->target_logprob = logprob_of(hash, row->target);
    for (int i = 0; i < row->n_top; i++) {
        out->top_tok[i] = (int32_t)(mix(hash, (uint64_t)i) % (uint64_t)f->options.vocab_size);
        out->top_logprob[i] = logprob_of(hash, out->top_tok[i]);
    }
}

// Follows the confirmed tokens of the step to the last one, then says what will be drawn, but for one of three.
static void propose(const fake *f, const nb_batch *b, int i_seq, const nb_row_result *result, int32_t *out)
{
    const nb_seq *seq = &b->seq[i_seq];
    const nb_row *last = NULL;
    int32_t tok = -1, next = seq->tok_first + seq->n_new - 1 - seq->n_draft;
    for (int k = 0; k < NB_DRAFT_MAX; k++) out[k] = -1;
    for (int i = 0; i < b->n_row; i++) {
        const nb_row *row = &b->row[i];
        if (row->seq != i_seq || row->tok != next || !(row->flags & NB_ROW_SAMPLE)) continue;
        last = row;
        tok = result[i].tok;
        if (++next == seq->tok_first + seq->n_new || b->tok[next] != tok) break;
    }
    if (!last || !f->slot[seq->slot].drafts) return;
    uint64_t hash = f->seq_hash[last->tok];
    for (int k = 0; k < seq->n_propose; k++) {
        hash = mix(hash, (uint64_t)tok);
        tok = draw(f, b, last, hash);
        if (mix(hash, 77) % 3 == 0) tok = (tok + 1) % f->options.vocab_size;
        out[k] = tok;
    }
}

static int check_row(fake *f, const nb_batch *b, int i, nb_error *err)
{
    const nb_row *row = &b->row[i];
    if (row->seq < 0 || row->seq >= b->n_seq || (i > 0 && row->tok <= row[-1].tok))
        return broken(f, err, "row %d: sequence %d, token %d", i, row->seq, row->tok);
    const nb_seq *seq = &b->seq[row->seq];
    if (row->tok < seq->tok_first || row->tok >= seq->tok_first + seq->n_new)
        return broken(f, err, "row %d is of a token of another sequence", i);
    if (row->history_first + row->n_history > b->n_history || row->bias_first + row->n_bias > b->n_bias ||
        row->mask_first + (row->mask_first >= 0 ? (f->options.vocab_size + 31) / 32 : 0) > b->n_mask)
        return broken(f, err, "row %d points behind history, bias or mask", i);
    return NB_OK;
}

static int check_batch(fake *f, const nb_batch *b, nb_error *err)
{
    if (f->n_submit - f->n_wait > NB_IN_FLIGHT) return broken(f, err, "too many steps under way");
    if (b->n_seq < 1 || b->n_seq > f->reserve.max_seq || b->n_tok > f->reserve.max_tok || b->n_row > f->reserve.max_row)
        return broken(f, err, "%d sequences, %d tokens, %d rows are more than reserved", b->n_seq, b->n_tok, b->n_row);
    for (int i = 0; i < b->n_row; i++) NB_TRY(check_row(f, b, i, err));
    return NB_OK;
}

static void count(fake *f, const nb_batch *b)
{
    int in_flight = (int)(f->n_submit - f->n_wait);
    f->stats.n_step++;
    f->stats.n_tok += b->n_tok;
    f->stats.n_seq += b->n_seq;
    if (in_flight > f->stats.most_in_flight) f->stats.most_in_flight = in_flight;
    if (b->n_seq > f->stats.most_seq) f->stats.most_seq = b->n_seq;
}

static void wait_for_release(fake *f)
{
    pthread_mutex_lock(&f->mutex);
    while (f->hold) pthread_cond_wait(&f->released, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
}

void nb_fake_release(nb_device *device)
{
    fake *f = (fake *)device;
    pthread_mutex_lock(&f->mutex);
    f->hold = false;
    pthread_cond_broadcast(&f->released);
    pthread_mutex_unlock(&f->mutex);
}

static int fake_submit(nb_device *device, const nb_batch *b, nb_error *err)
{
    fake *f = (fake *)device;
    f->n_submit++;
    if (f->n_submit == 1) wait_for_release(f);
    if (f->n_submit == f->options.fail_submit) return nb_error_set(err, NB_ERR_DEVICE, "submit failed as ordered");
    NB_TRY(check_batch(f, b, err));
    count(f, b);
    NB_TRY(copy_slots(f, b, err));
    for (int i = 0; i < b->n_seq; i++) NB_TRY(absorb(f, b, i, err));
    int r = (int)(f->n_submit % N_RESULT);
    f->n_row[r] = b->n_row;
    f->n_seq[r] = b->n_seq;
    for (int i = 0; i < b->n_row; i++) write_row(f, b, &b->row[i], &f->row[r][i]);
    for (int i = 0; f->options.drafts && i < b->n_seq; i++) propose(f, b, i, f->row[r], f->proposal[r][i]);
    return NB_OK;
}

static int fake_wait(nb_device *device, nb_result *result, nb_error *err)
{
    fake *f = (fake *)device;
    if (f->n_wait >= f->n_submit) return broken(f, err, "wait without a step under way");
    int r = (int)(++f->n_wait % N_RESULT);
    if (f->n_wait == f->options.fail_wait) return nb_error_set(err, NB_ERR_DEVICE, "wait failed as ordered");
    *result = (nb_result){.n_row = f->n_row[r], .n_seq = f->n_seq[r], .row = f->row[r]};
    if (f->options.drafts) result->proposal = (const int32_t(*)[NB_DRAFT_MAX])f->proposal[r];
    return NB_OK;
}

static int fake_load(nb_device *device, const nb_model *model, nb_error *err)
{
    (void)device, (void)model, (void)err;
    return NB_OK;
}

static void free_arrays(fake *f)
{
    free(f->page);
    free(f->slot);
    free(f->seq_hash);
    for (int i = 0; i < N_RESULT; i++) {
        free(f->row[i]);
        free(f->proposal[i]);
    }
}

static int fake_reserve(nb_device *device, const nb_reserve *reserve, nb_error *err)
{
    (void)err;
    fake *f = (fake *)device;
    free_arrays(f);
    f->reserve = *reserve;
    if (f->reserve.n_page == 0) f->reserve.n_page = f->options.n_page;
    if (f->reserve.fit_saved) f->reserve.n_slot += f->options.n_saved;
    f->page = calloc((size_t)f->reserve.n_page, sizeof(f->page[0]));
    f->slot = calloc((size_t)f->reserve.n_slot, sizeof(slot));
    f->seq_hash = calloc((size_t)reserve->max_tok, sizeof(uint64_t));
    for (int i = 0; i < N_RESULT; i++) {
        f->row[i] = calloc((size_t)reserve->max_row, sizeof(nb_row_result));
        f->proposal[i] = calloc((size_t)reserve->max_seq, sizeof(f->proposal[i][0]));
    }
    for (int i = 0; i < f->reserve.n_slot; i++) f->slot[i] = (slot){.n_absorbed = -1, .drawn_step = -1};
    return NB_OK;
}

static void fake_memory(const nb_device *device, nb_memory *out)
{
    const fake *f = (const fake *)device;
    *out = (nb_memory){.n_page = f->reserve.n_page, .n_slot = f->reserve.n_slot};
}

static void fake_tap(nb_device *device, nb_tap_fn fn, void *user)
{
    (void)device, (void)fn, (void)user;
}

static void fake_close(nb_device *device)
{
    fake *f = (fake *)device;
    free_arrays(f);
    pthread_mutex_destroy(&f->mutex);
    pthread_cond_destroy(&f->released);
    free(f);
}

nb_device *nb_fake_open(const nb_fake_options *options)
{
    static const nb_device_ops ops = {.name = "fake",
                                      .load = fake_load,
                                      .reserve = fake_reserve,
                                      .submit = fake_submit,
                                      .wait = fake_wait,
                                      .tap = fake_tap,
                                      .memory = fake_memory,
                                      .close = fake_close};
    fake *f = calloc(1, sizeof(*f));
    f->device.ops = &ops;
    f->options = *options;
    f->hold = options->hold;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->released, NULL);
    return &f->device;
}

const nb_fake_stats *nb_fake_stats_of(const nb_device *device)
{
    return &((const fake *)device)->stats;
}
