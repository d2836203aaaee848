// Bytes and operations, added up over the walk. Formulas: docs/performance.md.
#include "model/plan.h"

#include <math.h>

// The shapes of what one sequence keeps of each Gated DeltaNet layer.
typedef struct state_bytes {
    int64_t recurrent;   // n_value_head * d_key * d_value, binary32
    int64_t conv;        // the last kernel - 1 raw inputs of the convolution, binary32
    int64_t journal_row; // of a token: key, value and gates (decay, beta), which a step reads again,
    int64_t journal_raw; // and its raw input of the convolution, read only when drafts are dropped
} state_bytes;

static state_bytes state_bytes_of(const nb_config *c)
{
    int64_t n_key = (int64_t)c->linear_num_key_heads * c->linear_key_head_dim;
    int64_t n_value = (int64_t)c->linear_num_value_heads * c->linear_value_head_dim;
    int64_t n_channel = 2 * n_key + n_value, f32 = sizeof(float);
    return (state_bytes){
        .recurrent = n_value * c->linear_key_head_dim * f32,
        .conv = (c->linear_conv_kernel_dim - 1) * n_channel * f32,
        .journal_row = (n_key + n_value + 2 * c->linear_num_value_heads) * f32,
        .journal_raw = n_channel * f32,
    };
}

static int64_t kv_element_bytes(nb_kv_format kv)
{
    return kv == NB_KV_FP8 ? 1 : kv == NB_KV_BF16 ? 2 : 4;
}

// Keys and values of one token in one attention layer.
static int64_t kv_layer_bytes(const nb_config *c, nb_kv_format kv)
{
    return 2 * (int64_t)c->num_key_value_heads * c->head_dim * kv_element_bytes(kv);
}

// Vectors count as BF16, as they are stored: the widened copies are a matter of the device.
static int64_t bound_bytes(const nb_bound *bound)
{
    int64_t n = 2;
    for (int i = 0; i < bound->n_dim; i++) n *= bound->shape[i];
    return bound->linear ? nb_linear_bytes(bound->linear) : n;
}

static int add_weight(void *user, const nb_bound *bound, nb_error *err)
{
    (void)err;
    nb_plan *plan = user;
    plan->weight_bytes[bound->role] += bound_bytes(bound);
    if (bound->linear) plan->matrix_elements[bound->role] += (int64_t)bound->linear->n_out * bound->linear->n_in;
    return NB_OK;
}

static int64_t vision_bytes(const nb_checkpoint *ckpt)
{
    int64_t n_byte = 0;
    for (int64_t i = 0; ckpt && i < nb_checkpoint_count(ckpt); i++) {
        const nb_tensor *tensor = nb_checkpoint_at(ckpt, i);
        if (nb_bind_is_vision(tensor->name)) n_byte += (int64_t)tensor->n_byte;
    }
    return n_byte;
}

int nb_plan_make(const nb_model *model, nb_kv_format kv, nb_plan *out, nb_error *err)
{
    *out = (nb_plan){0};
    NB_TRY(nb_model_walk(model, add_weight, out, err));
    for (int i = 0; i < NB_ROLE_COUNT; i++) out->weight_bytes_total += out->weight_bytes[i];
    out->weight_bytes[NB_ROLE_VISION] = vision_bytes(model->ckpt);
    out->kv_bytes_per_token = model->n_attention * kv_layer_bytes(&model->config, kv);
    out->page_bytes = NB_PAGE_TOKENS * out->kv_bytes_per_token;
    if (!model->n_deltanet) return NB_OK;
    state_bytes s = state_bytes_of(&model->config);
    out->slot_bytes = model->n_deltanet * (s.recurrent + s.conv + NB_JOURNAL_ROWS * (s.journal_row + s.journal_raw));
    return NB_OK;
}

// Bytes of a sequence of `context` tokens, at least one.
static int64_t sequence_bytes(const nb_plan *plan, int64_t context)
{
    int64_t n_page = context < 1 ? 1 : (context + NB_PAGE_TOKENS - 1) / NB_PAGE_TOKENS;
    return plan->slot_bytes + n_page * plan->page_bytes;
}

// The longest context of each of n_seq sequences that share `room`.
static int64_t longest_context(const nb_plan *plan, const nb_model *model, int64_t room, int64_t n_seq)
{
    int64_t most = model->config.max_position_embeddings;
    int64_t each = n_seq > 0 ? room / n_seq - plan->slot_bytes : 0;
    if (each < plan->page_bytes || each <= 0) return 0;
    if (!plan->page_bytes) return most;
    int64_t fitting = each / plan->page_bytes * NB_PAGE_TOKENS;
    return fitting < most ? fitting : most;
}

void nb_plan_fit_make(const nb_plan *plan, const nb_model *model, int64_t device_bytes, int64_t scratch_bytes,
                      int64_t context, int64_t n_seq, nb_plan_fit *out)
{
    int64_t room = device_bytes - scratch_bytes - plan->weight_bytes_total;
    int64_t each = sequence_bytes(plan, context);
    *out = (nb_plan_fit){.needed_bytes = plan->weight_bytes_total + scratch_bytes + n_seq * each};
    out->fits = out->needed_bytes <= device_bytes;
    out->max_sequences = room > 0 && each > 0 ? room / each : 0;
    out->max_context = longest_context(plan, model, room, n_seq);
}

// One state for the prompt of each running sequence and some for conversations that pause, but rather keys and values
// than states: a quarter of the room at most. Even where that is less than SAVED_USEFUL, which lets a few conversations
// find their past, pages keep half of it.
int nb_plan_saved_states(int64_t room, int64_t slot_bytes, int64_t n_seq)
{
    enum { SAVED_SPARE = 32, SAVED_USEFUL = 16 };
    if (slot_bytes == 0) return 0;
    int64_t most = n_seq + SAVED_SPARE, n = room / 4 / slot_bytes, half = room / 2 / slot_bytes;
    if (n < SAVED_USEFUL) n = half < SAVED_USEFUL ? half : SAVED_USEFUL;
    return (int)(n < 1 ? 1 : n < most ? n : most);
}

void nb_plan_serving_make(const nb_plan *plan, int64_t usable_bytes, int64_t scratch_bytes, int64_t n_seq,
                          nb_plan_serving *out)
{
    int64_t room = usable_bytes - scratch_bytes - plan->weight_bytes_total - n_seq * plan->slot_bytes;
    *out = (nb_plan_serving){.saved_states = nb_plan_saved_states(room, plan->slot_bytes, n_seq)};
    room -= out->saved_states * plan->slot_bytes;
    if (room > 0 && plan->page_bytes > 0) out->kv_tok = room / plan->page_bytes * NB_PAGE_TOKENS;
}

static const char *const part_names[NB_PART_COUNT] = {"embedding and norms",
                                                      "attention's linears",
                                                      "attention",
                                                      "DeltaNet's linears",
                                                      "DeltaNet",
                                                      "router",
                                                      "experts",
                                                      "head",
                                                      "sampling"};

const char *nb_plan_part_name(nb_plan_part part)
{
    return part < NB_PART_COUNT ? part_names[part] : "?";
}

static const nb_plan_part part_of_role[NB_ROLE_COUNT] = {
    [NB_ROLE_EMBED] = NB_PART_EMBED,
    [NB_ROLE_LM_HEAD] = NB_PART_HEAD,
    [NB_ROLE_NORM] = NB_PART_EMBED,
    [NB_ROLE_ATTENTION] = NB_PART_ATTENTION_LINEARS,
    [NB_ROLE_DELTANET] = NB_PART_DELTANET_LINEARS,
    [NB_ROLE_DELTANET_GATE] = NB_PART_DELTANET_LINEARS,
    [NB_ROLE_ROUTER] = NB_PART_ROUTER,
    [NB_ROLE_EXPERT] = NB_PART_EXPERTS,
    [NB_ROLE_SHARED_EXPERT] = NB_PART_EXPERTS,
};

static void add_part(nb_plan_step *out, nb_plan_part part, double n_byte, double flop)
{
    out->part_bytes[part] += n_byte;
    out->part_flop[part] += flop;
    out->flop += flop;
}

// Of the routed experts, a step reads those that at least one token chose; of embed_tokens, one row a token. The head
// multiplies one row of each sequence.
static void add_weights(const nb_plan *plan, const nb_config *c, double n_seq, double n_tok, nb_plan_step *out)
{
    double chosen = (double)c->num_experts_per_tok / c->num_experts;
    for (nb_role role = 0; role < NB_ROLE_COUNT; role++) {
        double n_byte = (double)plan->weight_bytes[role], flop = 2.0 * (double)plan->matrix_elements[role] * n_tok;
        if (role == NB_ROLE_MTP || role == NB_ROLE_VISION) continue;
        if (role == NB_ROLE_EMBED) n_byte *= n_tok / c->vocab_size, flop = 0;
        if (role == NB_ROLE_EXPERT) n_byte *= 1 - pow(1 - chosen, n_tok), flop *= chosen;
        if (role == NB_ROLE_LM_HEAD) flop *= n_seq / n_tok;
        out->weight_bytes += n_byte;
        add_part(out, part_of_role[role], n_byte, flop);
    }
    if (!c->tie_word_embeddings) return;
    double head = (double)plan->weight_bytes[NB_ROLE_EMBED]; // read whole as the head
    out->weight_bytes += head;
    add_part(out, NB_PART_HEAD, head, 2.0 * (double)plan->matrix_elements[NB_ROLE_EMBED] * n_seq);
}

// Attention reads the keys and values before each sequence once and multiplies every new token with those before it.
static void add_attention(const nb_model *model, nb_kv_format kv, double n_seq, double n_new, double context,
                          nb_plan_step *out)
{
    const nb_config *c = &model->config;
    double n_layer = model->n_attention - model->has_mtp;
    double mean_length = context + (n_new + 1) / 2;
    out->kv_bytes = n_seq * n_layer * (double)kv_layer_bytes(c, kv) * (context + n_new);
    add_part(out, NB_PART_ATTENTION, out->kv_bytes,
             n_seq * n_new * n_layer * 4 * c->num_attention_heads * (double)c->head_dim * mean_length);
}

// The recurrent state is read every step and written back once in NB_JOURNAL_ROWS tokens, when the journal is full;
// until then a step reads the rows that are there, half of them on average, and adds its own.
static void add_states(const nb_model *model, double n_seq, double n_new, nb_plan_step *out)
{
    if (!model->n_deltanet) return;
    const nb_config *c = &model->config;
    state_bytes s = state_bytes_of(c);
    double state = (double)s.recurrent * (1 + fmin(1, n_new / NB_JOURNAL_ROWS));
    double journal = (double)s.journal_row * (NB_JOURNAL_ROWS / 2.0 + n_new) + (double)s.journal_raw * n_new;
    double n_state = (double)s.recurrent / sizeof(float);
    out->state_bytes = n_seq * model->n_deltanet * (state + journal + (double)s.conv);
    add_part(out, NB_PART_DELTANET, out->state_bytes,
             n_seq * n_new * model->n_deltanet * 8 * n_state); // decay, read, update, output: 2 operations each
}

void nb_plan_step_make(const nb_plan *plan, const nb_model *model, nb_kv_format kv, int64_t n_seq, int64_t n_new,
                       int64_t context, nb_plan_step *out)
{
    *out = (nb_plan_step){0};
    add_weights(plan, &model->config, (double)n_seq, (double)(n_seq * n_new), out);
    add_attention(model, kv, (double)n_seq, (double)n_new, (double)context, out);
    add_states(model, (double)n_seq, (double)n_new, out);
}
