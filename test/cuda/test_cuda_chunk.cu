// The delta rule in chunks, by mma.sync and by wgmma, against the rule token by token, on the same random inputs,
// states and journals. Outputs are poisoned before each run. Skipped where there is no GPU.
#include "support_cuda.h"

#include "cuda/cuda_chunk.h"
#include "cuda/cuda_product.h"

enum { BY_TOKEN, BY_MMA, BY_WGMMA, N_WAY };
enum { SLOTS = 10, KEY_HEADS = 2, VALUE_HEADS = 4, CHANNELS = (2 * KEY_HEADS + VALUE_HEADS) * NB_GDN_DIM };

typedef struct lengths {
    int n_past, n_keep, n_new, n_draft;
} lengths;

// Odd numbers of new tokens, journals of any length, the beginning of a sequence, drafts (which are never chunked).
static const lengths mixture[] = {{0, 0, 63, 0}, {200, 0, 64, 0}, {3, 3, 65, 0},  {100, 16, 127, 0}, {0, 0, 1000, 0},
                                  {70, 5, 1, 0}, {9, 2, 2, 0},    {64, 0, 32, 0}, {500, 9, 300, 0},  {33, 1, 40, 3}};

static nb_error err;

static void open_gdn(nb_cuda_gdn *p, nb_gdn_seq *seq, int n_seq)
{
    nb_gdn_chunk chunk[64];
    nb_gdn_walk walk[SLOTS];
    int n_tok = 0;
    for (int i = 0; i < n_seq; i++) {
        const lengths *l = &mixture[i];
        bool room = l->n_keep + l->n_new <= NB_JOURNAL_ROWS;
        seq[i] = (nb_gdn_seq){i, l->n_past, l->n_new, n_tok, l->n_keep, room ? -1 : l->n_new - l->n_draft};
        n_tok += l->n_new;
        if (l->n_new > NB_JOURNAL_ROWS) p->long_rows = 1;
        if (!nb_gdn_is_chunked(&seq[i])) continue;
        walk[p->n_walk++] = (nb_gdn_walk){i, p->n_chunk};
        for (int first = 0; first < l->n_new; first += NB_GDN_CHUNK) chunk[p->n_chunk++] = (nb_gdn_chunk){i, first};
    }
    p->n_seq = n_seq, p->n_key_head = KEY_HEADS, p->n_value_head = VALUE_HEADS;
    p->seq = (nb_gdn_seq *)nb_test_to_gpu(seq, (size_t)n_seq * sizeof seq[0]);
    p->chunk = (nb_gdn_chunk *)nb_test_to_gpu(chunk, sizeof chunk),
    p->walk = (nb_gdn_walk *)nb_test_to_gpu(walk, sizeof walk);
    p->qkv = nb_test_bf16((int64_t)n_tok * CHANNELS, 2), p->ba = nb_test_floats((int64_t)n_tok * 2 * VALUE_HEADS, 2, 0);
    p->conv1d = nb_test_floats(CHANNELS * NB_GDN_KERNEL, 0.7f, 0), p->A_log = nb_test_floats(VALUE_HEADS, 2, -1);
    p->dt_bias = nb_test_floats(VALUE_HEADS, 1, 0);
    p->slot_floats = VALUE_HEADS * (NB_GDN_DIM * NB_GDN_DIM + NB_JOURNAL_ROWS * NB_GDN_JOURNAL_FLOATS);
    p->slot_halfs = NB_GDN_RING * CHANNELS;
    p->scratch = nb_test_gpu((size_t)nb_gdn_chunk_bytes(n_tok, KEY_HEADS, VALUE_HEADS));
}

static void chunks_equal_single_tokens(void **state)
{
    (void)state;
    if (!nb_test_has_gpu()) skip();
    enum { N = sizeof mixture / sizeof mixture[0] };
    nb_cuda_gdn p = {};
    nb_gdn_seq seq[N];
    open_gdn(&p, seq, N);
    int n_tok = seq[N - 1].tok_first + seq[N - 1].n_new, n_out = VALUE_HEADS * NB_GDN_DIM;
    float *state0 = nb_test_floats(N * p.slot_floats, 0.3f, 0), *out[N_WAY], *states[N_WAY];
    uint16_t *ring0 = nb_test_bf16(N * p.slot_halfs, 2);
    int n_way = nb_product_usable() ? N_WAY : BY_WGMMA;
    for (int way = 0; way < n_way; way++) {
        nb_cuda_gdn mine = p;
        nb_cuda_launch at = nb_test_at;
        at.wgmma = way == BY_WGMMA;
        if (way == BY_TOKEN) mine.n_walk = mine.n_chunk = 0;
        out[way] = (float *)nb_test_gpu((size_t)n_tok * n_out * 4);
        states[way] = (float *)nb_test_gpu((size_t)(N * p.slot_floats) * 4);
        cudaMemcpy(states[way], state0, (size_t)(N * p.slot_floats) * 4, cudaMemcpyDeviceToDevice);
        mine.state = states[way], mine.journal = mine.state + VALUE_HEADS * NB_GDN_DIM * NB_GDN_DIM;
        mine.ring = (uint16_t *)nb_test_gpu((size_t)(N * p.slot_halfs) * 2), mine.out = out[way];
        cudaMemcpy(mine.ring, ring0, (size_t)(N * p.slot_halfs) * 2, cudaMemcpyDeviceToDevice);
        nb_test_ok(nb_cuda_gdn_run(&at, &mine, &err), &err);
        assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    }
    for (int i = 0; i < N * (n_way - 1); i++) {
        char what[64];
        const nb_gdn_seq *q = &seq[i % N];
        int way = BY_MMA + i / N;
        const char *name = way == BY_MMA ? "mma" : "wgmma";
        int64_t tok = q->tok_first, slot = i % N * p.slot_floats;
        snprintf(what, sizeof what, "%s: outputs, %d tokens after %d", name, q->n_new, q->n_past);
        nb_test_rows_close(what, out[BY_TOKEN] + tok * n_out, out[way] + tok * n_out, q->n_new, n_out, n_out, false,
                           NULL, 1e-3);
        snprintf(what, sizeof what, "%s: state, %d tokens after %d", name, q->n_new, q->n_past);
        nb_test_rows_close(what, states[BY_TOKEN] + slot, states[way] + slot, VALUE_HEADS * NB_GDN_DIM, NB_GDN_DIM,
                           NB_GDN_DIM, false, NULL, 1e-3);
    }
}

int main(void)
{
    nb_test_begin();
    const struct CMUnitTest tests[] = {cmocka_unit_test(chunks_equal_single_tokens)};
    return nb_test_run("cuda_chunk", tests);
}
