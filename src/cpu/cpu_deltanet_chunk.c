// The delta rule for a whole chunk of tokens. With G_i the sum of g up to token i (inclusive), S the state before it:
//   L_ij = beta_i (k_i . k_j) exp(G_i - G_j), j < i
//   U = (I + L)^-1 (beta_i v_i),  W = (I + L)^-1 (beta_i exp(G_i) k_i)        forward substitution, row by row
//   N_i = U_i - S^T W_i                                                       what each token adds to the state
//   out_i = exp(G_i) S^T q_i + sum_{j <= i} (q_i . k_j) exp(G_i - G_j) N_j
//   S' = exp(G_last) S + sum_j exp(G_last - G_j) k_j N_j^T
// Decays are formed from differences of G: they never exceed 1, whereas exp(-G_j) alone overflows.
#include <math.h>
#include <string.h>

#include "cpu/cpu_deltanet.h"

typedef struct nb_chunk {
    const nb_cpu_delta_head *head;
    float (*dot)(const float *, const void *, int64_t);
    void (*axpy)(float, const void *, int64_t, float *);
    int from, n;
    float *G;   // [n]
    float *u;   // [n][d_value], N in the end
    float *w;   // [n][d_key]
    float *row; // [d_value]
} nb_chunk;

int64_t nb_cpu_delta_chunk_floats(int d_key, int d_value)
{
    return NB_DELTA_CHUNK + (int64_t)NB_DELTA_CHUNK * (d_key + d_value) + d_value;
}

static nb_chunk make_chunk(const nb_cpu_kernel_set *kernels, const nb_cpu_delta_head *head, int from, int n,
                           float *work)
{
    nb_chunk c = {.head = head, .dot = kernels->dot[NB_KV_F32], .axpy = kernels->axpy[NB_KV_F32], .from = from, .n = n};
    c.G = work;
    c.u = c.G + NB_DELTA_CHUNK;
    c.w = c.u + (int64_t)NB_DELTA_CHUNK * head->d_value;
    c.row = c.w + (int64_t)NB_DELTA_CHUNK * head->d_key;
    for (int i = 0; i < n; i++) c.G[i] = (i ? c.G[i - 1] : 0) + head->g[(from + i) * head->gate_stride];
    return c;
}

static const float *key(const nb_chunk *c, int i)
{
    return c->head->k + (c->from + i) * c->head->qkv_stride;
}
static const float *query(const nb_chunk *c, int i)
{
    return c->head->q + (c->from + i) * c->head->qkv_stride;
}
static float *u_row(const nb_chunk *c, int i)
{
    return c->u + (int64_t)i * c->head->d_value;
}
static float *w_row(const nb_chunk *c, int i)
{
    return c->w + (int64_t)i * c->head->d_key;
}

// Rows i of U and W from the rows before them.
static void substitute(const nb_chunk *c, int i)
{
    const nb_cpu_delta_head *h = c->head;
    float beta = h->beta[(c->from + i) * h->gate_stride];
    const float *value = h->v + (c->from + i) * h->qkv_stride;
    for (int d = 0; d < h->d_value; d++) u_row(c, i)[d] = beta * value[d];
    for (int d = 0; d < h->d_key; d++) w_row(c, i)[d] = beta * expf(c->G[i]) * key(c, i)[d];
    for (int j = 0; j < i; j++) {
        float l = beta * c->dot(key(c, i), key(c, j), h->d_key) * expf(c->G[i] - c->G[j]);
        c->axpy(-l, u_row(c, j), h->d_value, u_row(c, i));
        c->axpy(-l, w_row(c, j), h->d_key, w_row(c, i));
    }
}

// y += scale * S^T x
static void add_read(const nb_chunk *c, const float *state, const float *x, float scale, float *y)
{
    for (int k = 0; k < c->head->d_key; k++)
        c->axpy(scale * x[k], state + (int64_t)k * c->head->d_value, c->head->d_value, y);
}

static void write_out(const nb_chunk *c, const float *state, int i)
{
    const nb_cpu_delta_head *h = c->head;
    memset(c->row, 0, sizeof(float) * (size_t)h->d_value);
    add_read(c, state, query(c, i), expf(c->G[i]), c->row);
    for (int j = 0; j <= i; j++)
        c->axpy(c->dot(query(c, i), key(c, j), h->d_key) * expf(c->G[i] - c->G[j]), u_row(c, j), h->d_value, c->row);
    memcpy(h->out + (c->from + i) * h->out_stride, c->row, sizeof(float) * (size_t)h->d_value);
}

static void write_state(const nb_chunk *c, float *state)
{
    int d_value = c->head->d_value;
    float last = c->G[c->n - 1];
    for (int k = 0; k < c->head->d_key; k++) {
        float *s = state + (int64_t)k * d_value;
        for (int d = 0; d < d_value; d++) s[d] *= expf(last);
        for (int j = 0; j < c->n; j++) c->axpy(expf(last - c->G[j]) * key(c, j)[k], u_row(c, j), d_value, s);
    }
}

void nb_cpu_delta_chunk(const nb_cpu_kernel_set *kernels, const nb_cpu_delta_head *head, int from, int n_tok,
                        float *work, float *state)
{
    nb_chunk c = make_chunk(kernels, head, from, n_tok, work);
    for (int i = 0; i < n_tok; i++) substitute(&c, i);
    for (int i = 0; i < n_tok; i++) add_read(&c, state, w_row(&c, i), -1, u_row(&c, i));
    for (int i = 0; i < n_tok; i++) write_out(&c, state, i);
    write_state(&c, state);
}
