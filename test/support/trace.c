// See trace.h. Router logits are made here, from the tapped input of each router and its weights: devices do not give
// them.
#include "support/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"

// A step rounds to bf16 (unit roundoff 2^-9, 8e-4 in the root mean square) about six times a layer on the way of the
// residual stream: the inputs of the mixer's products, what the mixer gives, the experts' inputs, what is between their
// products, their results. Two runs whose roundings had nothing in common would differ by
// 8e-4 * sqrt(2 * (6 * 8 layers + 1)) = 8e-3 of a row's norm: half of the rows keep that, single ones four times that.
// A router's logits hang on few directions of its input and differ by more of their spread (0.02 between the CPU's two
// orders of the delta rule); a flip's margin is less (0.003 there), because few pairs are both near and moved far. With
// e4m3 keys and values (unit roundoff 2^-4) only those few change that bf16's difference carries over a border: twice
// of all that. Behind a flip rows differ by up to 0.13, two logits by as much of their spread each, and more where they
// hang on what moved: 0.4 (a wrong page of one token reaches 0.51). lead: docs/numerics.md.
const nb_trace_bounds nb_trace_bounds_bf16 = {
    .clean_median = 0.008, .clean_most = 0.032, .router = 0.08, .margin = 0.04, .margin_behind = 0.4, .lead = 2};
const nb_trace_bounds nb_trace_bounds_fp8 = {
    .clean_median = 0.016, .clean_most = 0.064, .router = 0.16, .margin = 0.08, .margin_behind = 0.4, .lead = 2};

nb_trace *nb_trace_open(const nb_model *model, int n_row)
{
    const nb_config *c = &model->config;
    nb_trace *t = nb_alloc(sizeof *t);
    *t = (nb_trace){.model = model,
                    .n_row = n_row,
                    .n_layer = c->num_hidden_layers,
                    .n_expert = c->num_experts,
                    .top_k = c->num_experts_per_tok,
                    .vocab = c->vocab_size};
    size_t n = (size_t)n_row * (size_t)t->n_layer;
    t->logits = nb_alloc(sizeof *t->logits * (size_t)n_row * (size_t)t->vocab);
    t->router = nb_alloc(sizeof *t->router * n * (size_t)t->n_expert);
    t->expert = nb_alloc(sizeof *t->expert * n * (size_t)t->top_k);
    memset(t->expert, 0xff, sizeof *t->expert * n * (size_t)t->top_k); // -1: not seen
    return t;
}

void nb_trace_close(nb_trace *t)
{
    free(t->logits), free(t->router), free(t->expert), free(t);
}

static float *router_of(const nb_trace *t, int row, int layer)
{
    return t->router + ((int64_t)row * t->n_layer + layer) * t->n_expert;
}

static int32_t *experts_of(const nb_trace *t, int row, int layer)
{
    return t->expert + ((int64_t)row * t->n_layer + layer) * t->top_k;
}

// -1: the token's row is not kept.
static int row_of_token(const nb_trace *t, int tok)
{
    for (int i = 0; i < t->batch->n_seq; i++) {
        const nb_seq *s = &t->batch->seq[i];
        if (tok >= s->tok_first && tok < s->tok_first + s->n_new)
            return t->first[i] < 0 ? -1 : t->first[i] + tok - s->tok_first;
    }
    return -1;
}

static void keep_router(nb_trace *t, const nb_tap *tap, int layer)
{
    const nb_linear *gate = &t->model->layer[layer].moe.gate;
    float *w = nb_alloc(sizeof *w * (size_t)gate->n_in);
    for (int e = 0; e < gate->n_out; e++) {
        nb_linear_decode_row(gate, e, w);
        for (int tok = 0; tok < tap->n_row; tok++) {
            const float *x = tap->data + (int64_t)tok * tap->n_col;
            int row = row_of_token(t, tok);
            double sum = 0;
            for (int i = 0; i < gate->n_in && row >= 0; i++) sum += (double)w[i] * x[i];
            if (row >= 0) router_of(t, row, layer)[e] = (float)sum;
        }
    }
    free(w);
}

static void keep_tap(void *user, const nb_tap *tap)
{
    nb_trace *t = user;
    for (int layer = 0; tap->site == NB_TAP_LINEAR_INPUT && layer < t->n_layer; layer++)
        if (tap->linear == &t->model->layer[layer].moe.gate) keep_router(t, tap, layer);
    for (int tok = 0; tap->site == NB_TAP_ROUTER && tok < tap->n_row; tok++) {
        int row = row_of_token(t, tok);
        if (row >= 0)
            memcpy(experts_of(t, row, tap->layer), tap->index + (int64_t)tok * t->top_k,
                   sizeof *t->expert * (size_t)t->top_k);
    }
}

void nb_trace_step(nb_trace *t, nb_drive *d, const int *first, bool tapped)
{
    t->batch = &d->batch, t->first = first;
    if (tapped) d->device->ops->tap(d->device, keep_tap, t);
    nb_drive_run(d);
    if (tapped) d->device->ops->tap(d->device, NULL, NULL);
    for (int i = 0; i < d->batch.n_row; i++) {
        int row = row_of_token(t, d->row[i].tok);
        if (row >= 0)
            memcpy(t->logits + (int64_t)row * t->vocab, d->result.row[i].logits, sizeof(float) * (size_t)t->vocab);
    }
}

// What comparing adds up.
typedef struct tally {
    const char *what;
    const nb_trace *want, *got;
    const nb_trace_bounds *bounds;
    double *clean, *all; // differences of rows
    int n_clean, n_all, n_first_flip, n_flip, n_other_token, n_wrong;
    double router, first_margin, margin, other_lead, most_logit;
} tally;

static void complain(tally *y, int row, const char *what, double is, double bound)
{
    enum { MESSAGES_MAX = 5 };
    if (y->n_wrong++ < MESSAGES_MAX) print_message("%s: row %d: %s %.4f, over %.4f\n", y->what, row, what, is, bound);
}

static bool holds(const int32_t *set, int n, int32_t e)
{
    for (int i = 0; i < n; i++)
        if (set[i] == e) return true;
    return false;
}

static double spread_of(const float *x, int n)
{
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++) sum += x[i], square += (double)x[i] * x[i];
    return sqrt(fmax(square / n - (sum / n) * (sum / n), 1e-30));
}

// How far apart the logits `z` hold the experts on which two sets differ: the best that is only in `a` over the worst
// that is only in `b`, over the spread. 0: the sets are the same.
static double exchange_margin(const nb_trace *t, const float *z, const int32_t *a, const int32_t *b)
{
    double best = -INFINITY, worst = INFINITY;
    for (int i = 0; i < t->top_k; i++) {
        if (!holds(b, t->top_k, a[i])) best = fmax(best, (double)z[a[i]]);
        if (!holds(a, t->top_k, b[i])) worst = fmin(worst, (double)z[b[i]]);
    }
    return best > -INFINITY ? fabs(best - worst) / spread_of(z, t->n_expert) : 0;
}

// Between the last expert that was chosen and the first that was not, over the spread; below 0 if the choice is not
// that of these logits.
static double choice_margin(const nb_trace *t, int row, int layer)
{
    const float *z = router_of(t, row, layer);
    const int32_t *chosen = experts_of(t, row, layer);
    double last = INFINITY, refused = -INFINITY;
    for (int e = 0; e < t->n_expert; e++) {
        if (holds(chosen, t->top_k, e))
            last = fmin(last, (double)z[e]);
        else
            refused = fmax(refused, (double)z[e]);
    }
    return (last - refused) / spread_of(z, t->n_expert);
}

// How far apart the router logits of a row are that are clean in both traces, over their spread.
static void check_router(tally *y, int row, int layer)
{
    const float *a = router_of(y->want, row, layer), *b = router_of(y->got, row, layer);
    double most = 0;
    for (int e = 0; e < y->want->n_expert; e++) most = fmax(most, isnan(b[e]) ? INFINITY : fabs((double)a[e] - b[e]));
    most /= spread_of(a, y->want->n_expert);
    y->router = fmax(y->router, most);
    if (!(most < y->bounds->router))
        complain(y, row, "before any flip router logits differ by", most, y->bounds->router);
}

// A device's choice is that of its own logits, but for roundings.
static void check_choice(tally *y, const nb_trace *t, int row, int layer)
{
    double margin = choice_margin(t, row, layer);
    if (!(margin > -y->bounds->router))
        complain(y, row, "an expert was chosen that is behind by", -margin, y->bounds->router);
}

static bool has_near_tie(const tally *y, int row)
{
    for (int layer = 0; layer < y->want->n_layer; layer++)
        if (choice_margin(y->want, row, layer) < y->bounds->margin) return true;
    return false;
}

static bool is_seen(const nb_trace *t, int row)
{
    return experts_of(t, row, 0)[0] >= 0;
}

// Whether the traces' experts have parted at this row, or had before.
static bool check_flips(tally *y, int row, bool parted)
{
    for (int layer = 0; layer < y->want->n_layer; layer++) {
        check_choice(y, y->want, row, layer), check_choice(y, y->got, row, layer);
        double margin = exchange_margin(y->want, router_of(y->want, row, layer), experts_of(y->want, row, layer),
                                        experts_of(y->got, row, layer));
        double bound = parted ? y->bounds->margin_behind : y->bounds->margin;
        if (!parted) check_router(y, row, layer);
        if (margin > 0 && !parted) y->n_first_flip++, y->first_margin = fmax(y->first_margin, margin);
        y->n_flip += margin > 0, y->margin = fmax(y->margin, margin);
        if (!(margin < bound))
            complain(y, row, parted ? "a later flip at a margin of" : "a flip at a margin of", margin, bound);
        parted = parted || margin > 0;
    }
    return parted;
}

static int first_token(const float *x, int n, double *lead)
{
    int best = 0;
    double second = -INFINITY;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    for (int i = 0; i < n; i++)
        if (i != best) second = fmax(second, (double)x[i]);
    *lead = x[best] - second;
    return best;
}

// Relative to the norm of the row; NaN is infinitely far.
static double difference(tally *y, int row)
{
    const float *a = y->want->logits + (int64_t)row * y->want->vocab,
                *b = y->got->logits + (int64_t)row * y->got->vocab;
    double sum = 0, error = 0;
    for (int i = 0; i < y->want->vocab; i++) {
        double d = isnan(b[i]) ? INFINITY : fabs((double)a[i] - b[i]);
        sum += (double)a[i] * a[i], error += d * d;
        y->most_logit = fmax(y->most_logit, d);
    }
    return sqrt(error / sum);
}

static void check_token(tally *y, int row)
{
    int n = y->want->vocab;
    double lead, unused;
    if (first_token(y->want->logits + (int64_t)row * n, n, &lead) ==
        first_token(y->got->logits + (int64_t)row * n, n, &unused))
        return;
    y->n_other_token++, y->other_lead = fmax(y->other_lead, lead);
    if (!(lead < y->bounds->lead))
        complain(y, row, "it has another first token, which leads by", lead, y->bounds->lead);
}

// Flips that were not seen: the sequence parts at the first row that roundings do not explain.
static void check_sequence(tally *y, const nb_trace_rows *seq)
{
    bool parted = false, near_tie = false;
    for (int row = seq->first; row < seq->first + seq->n; row++) {
        bool seen = is_seen(y->got, row), with_logits = row >= seq->logits_at;
        if (seen) parted = check_flips(y, row, parted);
        near_tie = near_tie || has_near_tie(y, row);
        if (!with_logits) continue;
        double d = difference(y, row), bound = y->bounds->clean_most;
        if (!parted && !(d < bound)) {
            if (seen || !near_tie) complain(y, row, "before any flip it differs by", d, bound);
            parted = true;
        }
        y->all[y->n_all++] = d;
        if (!parted) y->clean[y->n_clean++] = d;
        check_token(y, row);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n, double *most)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    *most = n ? x[n - 1] : 0;
    return n ? x[n / 2] : 0;
}

static void check_medians(tally *y, bool seen)
{
    enum { FEW = 100 }; // rows behind one flip have no median that says anything
    double clean_most, most, clean = median(y->clean, y->n_clean, &clean_most), all = median(y->all, y->n_all, &most);
    print_message(
        "%s: %d rows before %s differ by %.2e of their norm in the median, %.2e at most; all %d by %.2e, %.2e\n",
        y->what, y->n_clean, seen ? "a flip" : "a larger difference", clean, clean_most, y->n_all, all, most);
    if (!(clean < y->bounds->clean_median))
        complain(y, -1, "half of the rows before any flip differ by", clean, y->bounds->clean_median);
    if (y->n_all >= FEW && !(all < y->bounds->clean_median))
        complain(y, -1, "half of all rows differ by", all, y->bounds->clean_median);
}

int nb_trace_count_wrong(const char *what, const nb_trace *want, const nb_trace *got, const nb_trace_rows *seq,
                         int n_seq, const nb_trace_bounds *bounds)
{
    tally y = {.what = what, .want = want, .got = got, .bounds = bounds};
    y.clean = nb_alloc(sizeof *y.clean * (size_t)want->n_row), y.all = nb_alloc(sizeof *y.all * (size_t)want->n_row);
    for (int i = 0; i < n_seq; i++) check_sequence(&y, &seq[i]);
    bool seen = is_seen(got, seq[0].first);
    check_medians(&y, seen);
    if (seen)
        print_message("    router logits before a flip differ by %.4f of their spread at most; %d first flips, margin "
                      "%.4f at most; %d flips in all, %.4f\n",
                      y.router, y.n_first_flip, y.first_margin, y.n_flip, y.margin);
    print_message("    %d of %d first tokens differ, lead %.2f at most; a logit differs by %.3f at most\n",
                  y.n_other_token, y.n_all, y.other_lead, y.most_logit);
    free(y.clean), free(y.all);
    return y.n_wrong;
}

void nb_trace_compare(const char *what, const nb_trace *want, const nb_trace *got, const nb_trace_rows *seq, int n_seq,
                      const nb_trace_bounds *bounds)
{
    int n_wrong = nb_trace_count_wrong(what, want, got, seq, n_seq, bounds);
    if (n_wrong) fail_msg("%s: %d bounds were not kept", what, n_wrong);
}
