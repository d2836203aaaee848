// Scratch memory of the CPU device: one block, laid out twice, once without memory to learn its size.
#include "cpu/cpu_deltanet.h"
#include "cpu/cpu_device_internal.h"

typedef struct nb_carver {
    uint8_t *base; // NULL: only counts
    size_t used;
} nb_carver;

static void *carve(nb_carver *c, int64_t n, size_t element_bytes)
{
    size_t at = c->used;
    c->used += ((size_t)n * element_bytes + 63) / 64 * 64;
    return c->base ? c->base + at : NULL;
}

#define CARVE(c, field, n) ((field) = carve((c), (n), sizeof *(field)))

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void lay_attention(nb_cpu *cpu, nb_carver *c, int64_t rows)
{
    const nb_config *g = &cpu->model->config;
    int64_t n_query = (int64_t)g->num_attention_heads * g->head_dim,
            n_kv = (int64_t)g->num_key_value_heads * g->head_dim;
    cpu->scratch.attention.max_context = (int64_t)cpu->limits.n_page * NB_PAGE_TOKENS + NB_DRAFT_MAX;
    CARVE(c, cpu->scratch.attention.query, rows * n_query * (g->attn_output_gate ? 2 : 1));
    CARVE(c, cpu->scratch.attention.key, rows * n_kv);
    CARVE(c, cpu->scratch.attention.value, rows * n_kv);
    CARVE(c, cpu->scratch.attention.out, rows * n_query);
    CARVE(c, cpu->scratch.attention.score, nb_threads_count(cpu->team) * cpu->scratch.attention.max_context);
}

static void lay_deltanet(nb_cpu *cpu, nb_carver *c, int64_t rows)
{
    nb_cpu_slot_layout at = nb_cpu_slot_layout_make(cpu->model);
    int64_t n_value = (int64_t)at.n_value_head * at.d_value, state = (int64_t)at.d_key * at.d_value;
    cpu->scratch.deltanet.work_floats = max_i64(state, nb_cpu_delta_chunk_floats(at.d_key, at.d_value));
    CARVE(c, cpu->scratch.deltanet.raw, rows * at.n_channel);
    CARVE(c, cpu->scratch.deltanet.conv, rows * at.n_channel);
    CARVE(c, cpu->scratch.deltanet.z, rows * n_value);
    CARVE(c, cpu->scratch.deltanet.out, rows * n_value);
    CARVE(c, cpu->scratch.deltanet.a, rows * at.n_value_head);
    CARVE(c, cpu->scratch.deltanet.b, rows * at.n_value_head);
    CARVE(c, cpu->scratch.deltanet.work, nb_threads_count(cpu->team) * cpu->scratch.deltanet.work_floats);
}

static void lay_moe(nb_cpu *cpu, nb_carver *c, int64_t rows)
{
    const nb_config *g = &cpu->model->config;
    nb_cpu_moe_scratch *s = &cpu->scratch.moe;
    int64_t grouped = rows * g->num_experts_per_tok;
    CARVE(c, s->logits, rows * g->num_experts);
    CARVE(c, s->weight, grouped);
    CARVE(c, s->id, grouped);
    CARVE(c, s->place, grouped);
    CARVE(c, s->first, g->num_experts + 1);
    CARVE(c, s->x, grouped * g->hidden_size);
    CARVE(c, s->gate, grouped * g->moe_intermediate_size);
    CARVE(c, s->up, grouped * g->moe_intermediate_size);
    CARVE(c, s->y, grouped * g->hidden_size);
    CARVE(c, s->shared_gate, rows * g->shared_expert_intermediate_size);
    CARVE(c, s->shared_up, rows * g->shared_expert_intermediate_size);
    CARVE(c, s->shared_y, rows * g->hidden_size);
    CARVE(c, s->shared_weight, rows);
}

// Rounded inputs of the linears that run together, at most (nb_cpu_linear_run's callers), in elements.
static int64_t rounded_words(const nb_cpu *cpu, int64_t rows)
{
    const nb_config *g = &cpu->model->config;
    int64_t d = g->hidden_size, grouped = rows * g->num_experts_per_tok, n = rows * 4 * d;
    n = max_i64(n, rows * g->num_attention_heads * g->head_dim);
    n = max_i64(n, rows * g->linear_num_value_heads * g->linear_value_head_dim);
    n = max_i64(n, 2 * (grouped + rows) * d);
    n = max_i64(n, grouped * g->moe_intermediate_size + rows * g->shared_expert_intermediate_size);
    n = max_i64(n, cpu->limits.max_row * d);
    return n + 32 * (int64_t)cpu->linears.cap_job; // each input starts on a cache line
}

static void lay_step(nb_cpu *cpu, nb_carver *c, int64_t rows)
{
    const nb_config *g = &cpu->model->config;
    const nb_reserve *r = &cpu->limits;
    int64_t vocab = g->vocab_size, d_model = g->hidden_size;
    CARVE(c, cpu->pass.span, r->max_seq);
    CARVE(c, cpu->pass.span_of_row, rows);
    CARVE(c, cpu->pass.x, rows * d_model);
    CARVE(c, cpu->pass.cos, rows * (g->rope.n_rot / 2));
    CARVE(c, cpu->pass.sin, rows * (g->rope.n_rot / 2));
    CARVE(c, cpu->scratch.normed, rows * d_model);
    CARVE(c, cpu->scratch.hidden, rows * d_model);
    CARVE(c, cpu->scratch.wanted, r->max_row * d_model);
    CARVE(c, cpu->scratch.tok, r->max_tok);
    CARVE(c, cpu->scratch.candidate, nb_threads_count(cpu->team) * vocab);
    CARVE(c, cpu->linears.job, cpu->linears.cap_job);
    CARVE(c, cpu->linears.word, cpu->linears.cap_word);
    if (!cpu->model->has_mtp) return;
    CARVE(c, cpu->scratch.concat, rows * 2 * d_model);
    CARVE(c, cpu->scratch.draft, r->max_seq * d_model);
    CARVE(c, cpu->scratch.mtp_logits, r->max_seq * vocab);
    CARVE(c, cpu->scratch.anchor, r->max_seq);
}

static void lay_blocks(nb_cpu *cpu, nb_carver *c, int64_t rows)
{
    size_t start = c->used, end = start;
    void (*const lay[])(nb_cpu *, nb_carver *, int64_t) = {lay_attention, lay_deltanet, lay_moe};
    for (int i = 0; i < 3; i++) {
        c->used = start;
        lay[i](cpu, c, rows);
        if (c->used > end) end = c->used;
    }
    c->used = end;
}

static size_t lay_all(nb_cpu *cpu, uint8_t *memory)
{
    nb_carver c = {memory, 0};
    int64_t rows = cpu->limits.max_tok;
    cpu->linears.cap_job = 2 * cpu->model->config.num_experts + 8;
    cpu->linears.cap_word = rounded_words(cpu, rows);
    lay_step(cpu, &c, rows);
    lay_blocks(cpu, &c, rows);
    return c.used;
}

int64_t nb_cpu_scratch_estimate(nb_cpu *cpu)
{
    return (int64_t)lay_all(cpu, NULL);
}

int nb_cpu_scratch_open(nb_cpu *cpu, nb_error *err)
{
    nb_cpu_scratch *s = &cpu->scratch;
    s->n_byte = lay_all(cpu, NULL);
    s->memory = nb_alloc_large(s->n_byte);
    if (!s->memory)
        return nb_error_set(err, NB_ERR_MEMORY,
                            "no memory for %zu bytes of scratch; allow fewer tokens a batch than %d", s->n_byte,
                            cpu->limits.max_tok);
    lay_all(cpu, s->memory);
    return NB_OK;
}

void nb_cpu_scratch_close(nb_cpu *cpu)
{
    nb_free_large(cpu->scratch.memory, cpu->scratch.n_byte);
    cpu->scratch.memory = NULL;
}
