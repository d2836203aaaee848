// The rules of cpu_sample.h, without sorting the vocabulary: truncation selects by a heap of k, or by a heap that is
// emptied only as far as top-p needs.
#include "cpu/cpu_sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "numeric/random.h"

// Falling z, lower id first.
static bool before(nb_sample_candidate a, nb_sample_candidate b)
{
    return a.z > b.z || (a.z == b.z && a.id < b.id);
}

static bool is_allowed(const nb_sample_input *in, int32_t tok)
{
    if (in->row->mask_first < 0) return true;
    const uint32_t *mask = in->batch->mask + in->row->mask_first;
    return mask[tok / 32] >> (tok % 32) & 1;
}

static void penalize(const nb_sampling *s, nb_sample_candidate *c, int32_t n_output)
{
    c->z = c->z > 0 ? c->z / s->repetition_penalty : c->z * s->repetition_penalty;
    c->z -= s->frequency_penalty * (float)n_output;
    if (n_output > 0) c->z -= s->presence_penalty;
}

static bool has_penalties(const nb_sampling *s)
{
    return s->repetition_penalty != 1 || s->frequency_penalty != 0 || s->presence_penalty != 0;
}

// How often `tok` is among the tokens that the history does not hold yet, from place `from` on.
static int32_t count_extra(const nb_sample_input *in, int32_t tok, int from)
{
    int32_t n = 0;
    for (int i = from; i < in->n_extra; i++) n += in->extra[i] == tok;
    return n;
}

static bool in_history(const nb_sample_input *in, int32_t tok)
{
    for (int i = 0; i < in->row->n_history; i++)
        if (in->batch->history[in->row->history_first + i].tok == tok) return true;
    return false;
}

static void apply_penalties(const nb_sample_input *in, nb_sample_candidate *c)
{
    if (!has_penalties(&in->row->sampling)) return;
    for (int i = 0; i < in->row->n_history; i++) {
        const nb_history *history = &in->batch->history[in->row->history_first + i];
        penalize(&in->row->sampling, &c[history->tok], history->n_output + count_extra(in, history->tok, 0));
    }
    for (int i = 0; i < in->n_extra; i++) {
        int32_t tok = in->extra[i];
        bool first = count_extra(in, tok, 0) == count_extra(in, tok, i);
        if (first && !in_history(in, tok)) penalize(&in->row->sampling, &c[tok], count_extra(in, tok, 0));
    }
}

static void adjust(const nb_sample_input *in, nb_sample_candidate *c)
{
    for (int32_t i = 0; i < in->vocab; i++) c[i] = (nb_sample_candidate){in->logits[i], i};
    apply_penalties(in, c);
    for (int i = 0; i < in->row->n_bias; i++) {
        const nb_bias *bias = &in->batch->bias[in->row->bias_first + i];
        c[bias->tok].z += bias->bias;
    }
    for (int32_t i = 0; i < in->vocab; i++)
        if (!is_allowed(in, i)) c[i].z = -INFINITY;
}

// The likeliest candidate; -1 if there is none (all masked, or a NaN).
static int32_t likeliest(const nb_sample_candidate *c, int32_t n)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        if (isnan(c[i].z)) return -1;
        if (c[i].z > -INFINITY && (best < 0 || before(c[i], c[best]))) best = i;
    }
    return best;
}

// Binary heap with the first of the order (sign 1) or the last (sign -1) on top.
static bool above(nb_sample_candidate a, nb_sample_candidate b, int sign)
{
    return sign > 0 ? before(a, b) : before(b, a);
}

static void sift_down(nb_sample_candidate *heap, int32_t n, int32_t at, int sign)
{
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && above(heap[child + 1], heap[child], sign)) child++;
        if (!above(heap[child], heap[at], sign)) return;
        nb_sample_candidate swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

static void make_heap(nb_sample_candidate *heap, int32_t n, int sign)
{
    for (int32_t i = n / 2 - 1; i >= 0; i--) sift_down(heap, n, i, sign);
}

// Moves the first k of the order to the front, in heap order.
static int32_t keep_top_k(nb_sample_candidate *c, int32_t n, int32_t k)
{
    if (k <= 0 || k >= n) return n;
    make_heap(c, k, -1);
    for (int32_t i = k; i < n; i++) {
        if (!before(c[i], c[0])) continue;
        c[0] = c[i];
        sift_down(c, k, 0, -1);
    }
    return k;
}

static double weight_of(nb_sample_candidate c, float z_max)
{
    return exp((double)c.z - z_max);
}

static double sum_of(const nb_sample_candidate *c, int32_t n, float z_max)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += weight_of(c[i], z_max);
    return sum;
}

// Takes candidates off a heap until their weights reach the share top_p. They gather at the back, then move to the
// front.
static int32_t keep_top_p(nb_sample_candidate *c, int32_t n, float top_p, float z_max)
{
    if (top_p >= 1) return n;
    double wanted = top_p * sum_of(c, n, z_max), sum = 0;
    make_heap(c, n, 1);
    int32_t n_kept = 0, n_heap = n;
    while (n_heap > 0 && (n_kept == 0 || sum < wanted)) {
        nb_sample_candidate top = c[0];
        c[0] = c[--n_heap];
        sift_down(c, n_heap, 0, 1);
        c[n_heap] = top;
        sum += weight_of(top, z_max);
        n_kept++;
    }
    memmove(c, c + n - n_kept, sizeof *c * (size_t)n_kept);
    return n_kept;
}

static int32_t keep_min_p(nb_sample_candidate *c, int32_t n, float min_p, float z_max)
{
    int32_t n_kept = 0;
    for (int32_t i = 0; i < n; i++)
        if (weight_of(c[i], z_max) >= min_p) c[n_kept++] = c[i];
    return n_kept;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const nb_sample_candidate *)a)->id, y = ((const nb_sample_candidate *)b)->id;
    return (x > y) - (x < y);
}

static int32_t draw(const nb_sample_input *in, nb_sample_candidate *c)
{
    const nb_sampling *s = &in->row->sampling;
    int32_t best = likeliest(c, in->vocab);
    if (best < 0 || s->temperature == 0) return best;
    for (int32_t i = 0; i < in->vocab; i++) c[i].z /= s->temperature;
    float z_max = c[best].z;
    int32_t n = keep_top_k(c, in->vocab, s->top_k);
    n = keep_top_p(c, n, s->top_p, z_max);
    n = keep_min_p(c, n, s->min_p, z_max);
    if (n < in->vocab) qsort(c, (size_t)n, sizeof *c, by_id);
    double u = nb_random_unit(nb_random_philox(s->seed, (uint64_t)in->position, 0).v[0]);
    double wanted = u * sum_of(c, n, z_max), sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weight_of(c[i], z_max);
        if (sum > wanted) return c[i].id;
    }
    return best; // only if the weights are NaN: a temperature so small that z became infinite
}

static double log_sum_exp(const float *logits, int32_t n)
{
    float max = -INFINITY;
    for (int32_t i = 0; i < n; i++) max = fmaxf(max, logits[i]);
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return max + log(sum);
}

static int32_t rank_of(const nb_sample_input *in, int32_t tok)
{
    int32_t rank = 1;
    nb_sample_candidate of = {in->logits[tok], tok};
    for (int32_t i = 0; i < in->vocab; i++) rank += before((nb_sample_candidate){in->logits[i], i}, of);
    return rank;
}

static void list_top(const nb_sample_input *in, double lse, nb_sample_candidate *c, nb_row_result *out)
{
    for (int32_t i = 0; i < in->vocab; i++) c[i] = (nb_sample_candidate){in->logits[i], i};
    int32_t n = keep_top_k(c, in->vocab, in->row->n_top);
    if (n == in->vocab) make_heap(c, n, -1);
    out->n_top = n < in->row->n_top ? n : in->row->n_top;
    for (int32_t end = n - 1; end >= 0; end--) { // the last of the order comes off first
        nb_sample_candidate last = c[0];
        c[0] = c[end];
        sift_down(c, end, 0, -1);
        if (end >= out->n_top) continue;
        out->top_tok[end] = last.id;
        out->top_logprob[end] = (float)(last.z - lse);
    }
}

void nb_cpu_sample_row(const nb_sample_input *in, nb_sample_candidate *scratch, nb_row_result *out)
{
    const nb_row *row = in->row;
    out->tok = -1;
    out->n_top = out->rank = out->target_rank = 0;
    out->logprob = out->target_logprob = 0;
    if (row->flags & NB_ROW_SAMPLE) {
        adjust(in, scratch);
        out->tok = draw(in, scratch);
    }
    double lse = log_sum_exp(in->logits, in->vocab);
    if (out->tok >= 0) {
        out->logprob = (float)(in->logits[out->tok] - lse);
        out->rank = rank_of(in, out->tok);
    }
    if (row->target >= 0) {
        out->target_logprob = (float)(in->logits[row->target] - lse);
        out->target_rank = rank_of(in, row->target);
    }
    if (row->n_top > 0) list_top(in, lse, scratch, out);
}
