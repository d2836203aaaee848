// See parity.h. Taps are matched by site, layer, sequence, matrix and how often that came before in the step.
#include "support/parity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/bind.h"
#include "support/check.h"

enum { MESSAGES_MAX = 12, LAYERS_MAX = 64 };

typedef struct record {
    nb_tap_site site;
    int layer, seq, linear, occurrence;
    int64_t n_row, n_col;
    float *data;
    int32_t *index;
    bool met;
} record;

typedef struct name_table { // matrices of a model in the order of its walk
    const nb_linear **linear;
    char (*name)[128];
    int n, cap;
} name_table;

typedef struct site_error {
    double worst, sum;
    int64_t n_row, n_off;
} site_error;

struct nb_parity {
    nb_device *device[2];
    name_table names[2];
    nb_parity_tolerance tolerance;
    record *record;
    int n_record, cap_record;
    const nb_batch *batch;
    nb_result result[2];
    bool *flipped; // [n_tok] of this step: the token's experts differ in some layer
    site_error site[NB_PARITY_SITES];
    site_error layer[LAYERS_MAX]; // the mixer's, by layer: where it begins to grow
    int64_t n_tok, n_flip, n_drawn, n_other_tok;
    int n_step, n_wrong;
};

static const char *const site_names[NB_PARITY_SITES] = {"residual",   "mixer",      "linear input", "router",
                                                        "gdn state",  "conv state", "final norm",   "logits",
                                                        "mtp hidden", "mtp logits"};

static int add_name(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    name_table *t = user;
    if (!bound->linear) return NB_OK;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 256;
        t->linear = nb_realloc(t->linear, sizeof *t->linear * (size_t)t->cap);
        t->name = nb_realloc(t->name, sizeof *t->name * (size_t)t->cap);
    }
    t->linear[t->n] = bound->linear;
    snprintf(t->name[t->n++], sizeof *t->name, "%s", bound->name);
    return NB_OK;
}

// -1: none, or a head that shares the embedding's matrix.
static int index_of(const name_table *t, const nb_linear *linear)
{
    for (int i = 0; linear && i < t->n; i++)
        if (t->linear[i] == linear) return i;
    return -1;
}

nb_parity *nb_parity_open(nb_device *reference, const nb_model *reference_model, nb_device *device,
                          const nb_model *model, const nb_parity_tolerance *tolerance)
{
    nb_error err;
    nb_parity *p = nb_alloc(sizeof *p);
    p->device[0] = reference, p->device[1] = device, p->tolerance = *tolerance;
    nb_test_ok(nb_model_walk(reference_model, add_name, &p->names[0], &err), &err);
    nb_test_ok(nb_model_walk(model, add_name, &p->names[1], &err), &err);
    assert_int_equal(p->names[0].n, p->names[1].n);
    return p;
}

static bool same_site(const record *a, const record *b)
{
    return a->site == b->site && a->layer == b->layer && a->seq == b->seq && a->linear == b->linear;
}

static void *copy_of(const void *from, int64_t n)
{
    void *to = nb_alloc((size_t)(4 * n) + 4);
    if (n) memcpy(to, from, (size_t)(4 * n));
    return to;
}

static record record_of(const nb_tap *tap, const name_table *names)
{
    return (record){.site = tap->site,
                    .layer = tap->layer,
                    .seq = tap->seq,
                    .linear = index_of(names, tap->linear),
                    .n_row = tap->n_row,
                    .n_col = tap->n_col};
}

static void keep(void *user, const nb_tap *tap)
{
    nb_parity *p = user;
    if (p->n_record == p->cap_record) {
        p->cap_record = p->cap_record ? 2 * p->cap_record : 1024;
        p->record = nb_realloc(p->record, sizeof *p->record * (size_t)p->cap_record);
    }
    record r = record_of(tap, &p->names[0]);
    for (int i = 0; i < p->n_record; i++) r.occurrence += same_site(&p->record[i], &r);
    r.data = copy_of(tap->data, r.n_row * r.n_col);
    if (tap->index) r.index = copy_of(tap->index, r.n_row * r.n_col);
    p->record[p->n_record++] = r;
}

static void describe(const nb_parity *p, const record *r, char *out, size_t n)
{
    int at = snprintf(out, n, "step %d, %s", p->n_step, site_names[r->site]);
    if (r->layer >= 0) at += snprintf(out + at, n - (size_t)at, " of layer %d", r->layer);
    if (r->seq >= 0) at += snprintf(out + at, n - (size_t)at, " of sequence %d", r->seq);
    if (r->linear >= 0) snprintf(out + at, n - (size_t)at, " of %s", p->names[0].name[r->linear]);
}

static void complain(nb_parity *p, const record *r, const char *what)
{
    char site[256];
    describe(p, r, site, sizeof site);
    if (p->n_wrong++ < MESSAGES_MAX) print_message("%s: %s\n", site, what);
}

// The token of the batch that a row belongs to; -1: not one token's (states, the MTP module's rows).
static int token_of(const nb_parity *p, const record *r, int64_t row)
{
    bool wanted = r->site == NB_TAP_LOGITS || (r->site == NB_TAP_LINEAR_INPUT && r->linear >= 0 &&
                                               strcmp(p->names[0].name[r->linear], "lm_head") == 0);
    if (r->site == NB_TAP_GDN_STATE || r->site == NB_TAP_CONV_STATE || r->site >= NB_TAP_MTP_HIDDEN) return -1;
    if (wanted && r->n_row == p->batch->n_row) return p->batch->row[row].tok;
    return r->n_row == p->batch->n_tok ? (int)row : -1;
}

static bool any_flip(const nb_parity *p)
{
    for (int i = 0; i < p->batch->n_tok; i++)
        if (p->flipped[i]) return true;
    return false;
}

static double norm(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double row_error(const record *want, const float *got, int64_t row, double least)
{
    double sum = 0, size = norm(want->data + row * want->n_col, want->n_col);
    for (int64_t i = row * want->n_col; i < (row + 1) * want->n_col; i++)
        sum += ((double)got[i] - want->data[i]) * ((double)got[i] - want->data[i]);
    return sqrt(sum) / (size > least ? size : least);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Rows that are much smaller than the others are held against a tenth of the mean.
static void compare_rows(nb_parity *p, const record *want, const float *got)
{
    site_error *e = &p->site[want->site];
    double least = 0.1 * norm(want->data, want->n_row * want->n_col) / sqrt((double)want->n_row) + 1e-20;
    bool unsure = any_flip(p);
    double *error = nb_alloc(sizeof *error * (size_t)want->n_row);
    int64_t n = 0;
    for (int64_t row = 0; row < want->n_row; row++) {
        int tok = token_of(p, want, row);
        if (tok >= 0 ? p->flipped[tok] : unsure) continue;
        error[n] = row_error(want, got, row, least);
        e->sum += error[n], e->n_off += !(error[n] <= 0.5);
        if (!(error[n] <= e->worst)) e->worst = error[n];
        n++;
    }
    e->n_row += n;
    for (int64_t i = 0; i < n && want->site == NB_TAP_MIXER && want->layer < LAYERS_MAX; i++)
        p->layer[want->layer].sum += error[i], p->layer[want->layer].n_row++;
    qsort(error, (size_t)n, sizeof *error, by_size);
    if (n && !(error[n / 2] <= 10 * p->tolerance.median[want->site])) {
        char what[128];
        snprintf(what, sizeof what, "half of %lld rows differ by %.2e of their norm or more", (long long)n,
                 error[n / 2]);
        complain(p, want, what);
    }
    free(error);
}

static bool same_experts(const int32_t *a, const int32_t *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        bool found = false;
        for (int64_t j = 0; j < n; j++) found = found || a[i] == b[j];
        if (!found) return false;
    }
    return true;
}

// Weights by expert: the order among nearly equal ones is of no meaning.
static void compare_routing(nb_parity *p, const record *want, const nb_tap *tap)
{
    int64_t k = want->n_col;
    float *got = nb_alloc(sizeof(float) * (size_t)(want->n_row * k));
    for (int64_t row = 0; row < want->n_row; row++) {
        const int32_t *a = want->index + row * k, *b = tap->index + row * k;
        if (!same_experts(a, b, k)) {
            p->n_flip += !p->flipped[row], p->flipped[row] = true;
            continue;
        }
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++)
                if (a[i] == b[j]) got[row * k + i] = tap->data[row * k + j];
    }
    compare_rows(p, want, got);
    free(got);
}

// Not an expert's input once tokens have gone elsewhere: its rows may be other tokens'. Not the inputs of proposals,
// which follow from the tokens proposed before.
static bool is_comparable(const nb_parity *p, const record *r)
{
    if (r->linear < 0) return true;
    const char *name = p->names[0].name[r->linear];
    bool expert = strstr(name, ".experts."), mtp = strncmp(name, "mtp.", 4) == 0, head = strcmp(name, "lm_head") == 0;
    if (expert && (mtp || any_flip(p))) return false;
    return r->occurrence == 0 || !(mtp || head);
}

static void meet(void *user, const nb_tap *tap)
{
    nb_parity *p = user;
    record key = record_of(tap, &p->names[1]), *want = NULL;
    for (int i = 0; i < p->n_record && !want; i++)
        if (!p->record[i].met && same_site(&p->record[i], &key)) want = &p->record[i];
    if (want) want->met = true;
    if (!is_comparable(p, want ? want : &key)) return;
    if (!want) {
        complain(p, &key, "the reference has no such tap");
    } else if (want->n_row != key.n_row || want->n_col != key.n_col) {
        complain(p, want, "the shapes differ");
    } else if (key.site == NB_TAP_ROUTER) {
        compare_routing(p, want, tap);
    } else {
        compare_rows(p, want, tap->data);
    }
}

static void run(nb_parity *p, int which, nb_tap_fn fn)
{
    nb_error err;
    const nb_device_ops *ops = p->device[which]->ops;
    ops->tap(p->device[which], fn, p);
    nb_test_ok(ops->submit(p->device[which], p->batch, &err), &err);
    nb_test_ok(ops->wait(p->device[which], &p->result[which], &err), &err);
    ops->tap(p->device[which], NULL, NULL);
}

static double margin_of(const float *logits, int n)
{
    float first = -INFINITY, second = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (logits[i] > first)
            second = first, first = logits[i];
        else if (logits[i] > second)
            second = logits[i];
    }
    return (double)first - second;
}

// Greedy draws are the same where the logits leave no doubt.
static void compare_draws(nb_parity *p, int vocab)
{
    for (int i = 0; i < p->batch->n_row; i++) {
        const nb_row_result *a = &p->result[0].row[i], *b = &p->result[1].row[i];
        p->n_drawn++;
        if (a->tok == b->tok) continue;
        p->n_other_tok++;
        if (p->flipped[p->batch->row[i].tok] || !a->logits) continue;
        if (margin_of(a->logits, vocab) < p->tolerance.margin) continue;
        if (p->n_wrong++ < MESSAGES_MAX)
            print_message("step %d, row %d: drew %d instead of %d, which leads by %.3f\n", p->n_step, i, b->tok, a->tok,
                          margin_of(a->logits, vocab));
    }
}

static void check_all_met(nb_parity *p)
{
    for (int i = 0; i < p->n_record; i++) {
        record *r = &p->record[i];
        if (!r->met && is_comparable(p, r)) complain(p, r, "the device has no such tap");
        free(r->data), free(r->index);
    }
    p->n_record = 0;
}

void nb_parity_step(nb_parity *p, const nb_batch *batch)
{
    p->batch = batch;
    p->flipped = nb_alloc(sizeof *p->flipped * (size_t)batch->n_tok);
    run(p, 0, keep);
    run(p, 1, meet);
    int vocab = 0;
    for (int i = 0; i < p->n_record; i++)
        if (p->record[i].site == NB_TAP_LOGITS) vocab = (int)p->record[i].n_col;
    compare_draws(p, vocab);
    check_all_met(p);
    free(p->flipped);
    p->n_step++, p->n_tok += batch->n_tok;
}

const nb_result *nb_parity_reference(const nb_parity *p)
{
    return &p->result[0];
}

const nb_result *nb_parity_result(const nb_parity *p)
{
    return &p->result[1];
}

static void check_site(nb_parity *p, int i)
{
    const site_error *e = &p->site[i];
    if (e->n_row == 0) return;
    double mean = e->sum / (double)e->n_row, off = (double)e->n_off / (double)e->n_row;
    bool wrong = !(mean <= p->tolerance.mean[i]) || off > p->tolerance.n_off;
    print_message("  %-13s %.1e (%.1e) of %lld rows, %lld off by more than half%s\n", site_names[i], e->worst, mean,
                  (long long)e->n_row, (long long)e->n_off, wrong ? ": WRONG" : "");
    p->n_wrong += wrong;
}

static void check_layers(nb_parity *p)
{
    double first = p->layer[0].n_row ? p->layer[0].sum / (double)p->layer[0].n_row : 0;
    bool wrong = p->tolerance.first_mixer > 0 && !(first <= p->tolerance.first_mixer);
    print_message("  mixer by layer");
    for (int i = 0; i < LAYERS_MAX; i++)
        if (p->layer[i].n_row) print_message(" %.1e", p->layer[i].sum / (double)p->layer[i].n_row);
    print_message("%s\n", wrong ? ": the first is WRONG" : "");
    p->n_wrong += wrong;
}

void nb_parity_close(nb_parity *p, const char *what)
{
    print_message(
        "%s: %d steps, %lld of %lld tokens go elsewhere, %lld of %lld draws differ; largest (mean) error of a row:\n",
        what, p->n_step, (long long)p->n_flip, (long long)p->n_tok, (long long)p->n_other_tok, (long long)p->n_drawn);
    for (int i = 0; i < NB_PARITY_SITES; i++) check_site(p, i);
    check_layers(p);
    if ((double)p->n_flip > p->tolerance.n_flip * (double)p->n_tok) p->n_wrong++;
    int n_wrong = p->n_wrong;
    for (int i = 0; i < 2; i++) free(p->names[i].linear), free(p->names[i].name);
    free(p->record);
    free(p);
    if (n_wrong) fail_msg("%s: %d differences", what, n_wrong);
}
