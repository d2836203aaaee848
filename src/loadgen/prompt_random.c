// Random prompts are made of common English words. How many tokens a word costs is learned from the server: a sample is
// counted first, and each next guess goes by what the last text cost.
#include <math.h>
#include <string.h>

#include "loadgen/prompt_set.h"
#include "numeric/random.h"

enum {
    TRIES = 8,
    SAMPLE_WORDS = 64,
    PREFIX_STREAM = 1,
    LENGTH_STREAM = 2,
    WORD_STREAM = 16
}; // prompt i draws from WORD_STREAM + i

static const char *const words[] = {
    "the",    "of",     "and",    "to",     "in",     "is",      "you",    "that",   "it",    "he",     "was",
    "for",    "on",     "are",    "as",     "with",   "his",     "they",   "at",     "be",    "this",   "have",
    "from",   "or",     "one",    "had",    "by",     "word",    "but",    "not",    "what",  "all",    "were",
    "we",     "when",   "your",   "can",    "said",   "there",   "use",    "an",     "each",  "which",  "she",
    "do",     "how",    "their",  "if",     "will",   "up",      "other",  "about",  "out",   "many",   "then",
    "them",   "these",  "so",     "some",   "her",    "would",   "make",   "like",   "him",   "into",   "time",
    "has",    "look",   "two",    "more",   "write",  "go",      "see",    "number", "no",    "way",    "could",
    "people", "my",     "than",   "first",  "water",  "been",    "call",   "who",    "oil",   "its",    "now",
    "find",   "long",   "down",   "day",    "did",    "get",     "come",   "made",   "may",   "part",   "river",
    "house",  "light",  "stone",  "green",  "night",  "small",   "great",  "hand",   "table", "city",   "road",
    "winter", "music",  "garden", "north",  "letter", "summer",  "field",  "window", "story", "market", "bridge",
    "island", "forest", "paper",  "engine", "king",   "morning", "silver",
};
enum { N_WORD = sizeof words / sizeof words[0] };

int64_t nb_prompt_draw(uint64_t seed, uint64_t stream, uint64_t index, int64_t n)
{
    nb_random4 r = nb_random_philox(seed, index, stream);
    return (int64_t)((((uint64_t)r.v[0] << 32 | r.v[1]) >> 1) % (uint64_t)n);
}

// Words from..to of a stream, each with a space before it unless the text is empty.
static void add_words(uint64_t seed, uint64_t stream, int64_t from, int64_t to, nb_buf *out)
{
    for (int64_t i = from; i < to; i++) {
        if (out->len) nb_buf_add_char(out, ' ');
        nb_buf_add_c(out, words[nb_prompt_draw(seed, stream, (uint64_t)i, N_WORD)]);
    }
}

typedef struct maker {
    const nb_endpoint *endpoint;
    const nb_prompt_options *o;
    nb_arena *arena;
    double tokens_per_word; // learned
    int64_t n_prefix_word;  // of the text that all prompts share
} maker;

typedef struct lengths {
    int64_t prefix, input, output;
} lengths;

static int64_t ranged(const maker *m, int i, int which, int64_t len)
{
    int64_t low = (int64_t)floor((double)len * (1 - m->o->range_ratio));
    int64_t high = (int64_t)ceil((double)len * (1 + m->o->range_ratio));
    int64_t draw = low + nb_prompt_draw(m->o->seed, LENGTH_STREAM, 2 * (uint64_t)i + (uint64_t)which, high - low + 1);
    return draw < 1 ? 1 : draw;
}

// The text of prompt i with so many words of its own behind those of the shared prefix.
static void make_text(const maker *m, int i, int64_t n_word, nb_buf *text)
{
    nb_buf_clear(text);
    add_words(m->o->seed, PREFIX_STREAM, 0, m->n_prefix_word, text);
    add_words(m->o->seed, WORD_STREAM + (uint64_t)i, 0, n_word, text);
}

static int64_t words_for(const maker *m, int64_t n_tok)
{
    return (int64_t)llround((double)n_tok / m->tokens_per_word);
}

// Ids cut from more words than are needed: every word costs a token at least.
static int make_ids(maker *m, uint64_t stream, int64_t n_tok, int32_t *out, nb_error *err)
{
    nb_buf text = {0};
    int32_t *id;
    int n_id = 0;
    add_words(m->o->seed, stream, 0, n_tok, &text);
    int code = nb_endpoint_tokenize(m->endpoint, nb_buf_str(&text), m->arena, &id, &n_id, err);
    nb_buf_drop(&text);
    NB_TRY(code);
    if (n_id < n_tok)
        return nb_error_set(err, NB_ERR_INPUT, "/tokenize: %lld words gave %d ids", (long long)n_tok, n_id);
    memcpy(out, id, sizeof *out * (size_t)n_tok);
    return NB_OK;
}

static int make_id_prompt(maker *m, const int32_t *prefix_id, int i, const lengths *len, nb_prompt *out, nb_error *err)
{
    int32_t *id = NB_ARENA_ARRAY(m->arena, int32_t, len->prefix + len->input);
    if (len->prefix) memcpy(id, prefix_id, sizeof *id * (size_t)len->prefix);
    out->id = id;
    out->n_id = out->n_input = (int)(len->prefix + len->input);
    return make_ids(m, WORD_STREAM + (uint64_t)i, len->input, id + len->prefix, err);
}

// Corrects the number of words until the count is right or TRIES are spent, and keeps the nearest.
static int make_text_prompt(maker *m, int i, const lengths *len, nb_prompt *out, nb_error *err)
{
    nb_buf text = {0};
    nb_arena *scratch = nb_arena_open(0);
    int64_t wanted = len->prefix + len->input, best = INT64_MAX;
    int64_t n_word = words_for(m, len->input);
    int code = NB_OK;
    for (int try = 0; try < TRIES && best != 0 && code == NB_OK; try++) {
        int32_t *id;
        int n_id = 0;
        make_text(m, i, n_word, &text);
        code = nb_endpoint_tokenize(m->endpoint, nb_buf_str(&text), scratch, &id, &n_id, err);
        if (code != NB_OK || n_id == 0) break;
        if (llabs(n_id - wanted) < best) {
            best = llabs(n_id - wanted);
            out->text = nb_arena_str(m->arena, nb_buf_str(&text));
            out->n_input = n_id;
        }
        m->tokens_per_word = (double)n_id / (double)(m->n_prefix_word + n_word);
        int64_t step = words_for(m, wanted - n_id);
        n_word += step ? step : n_id < wanted ? 1 : -1;
        if (n_word < 1) n_word = 1;
        nb_arena_reset(scratch);
    }
    nb_arena_close(scratch);
    nb_buf_drop(&text);
    return code;
}

// What a word costs, from a sample; then how many words the shared prefix has.
static int learn(maker *m, nb_error *err)
{
    nb_buf text = {0};
    int32_t *id;
    int n_id = 0;
    add_words(m->o->seed, PREFIX_STREAM, 0, SAMPLE_WORDS, &text);
    int code = nb_endpoint_tokenize(m->endpoint, nb_buf_str(&text), m->arena, &id, &n_id, err);
    nb_buf_drop(&text);
    if (n_id > 0) m->tokens_per_word = (double)n_id / SAMPLE_WORDS;
    m->n_prefix_word = words_for(m, m->o->prefix_len);
    return code;
}

static void make_uncounted(maker *m, int i, const lengths *len, nb_prompt *out)
{
    nb_buf text = {0};
    make_text(m, i, len->input, &text);
    out->text = nb_arena_str(m->arena, nb_buf_str(&text));
    nb_buf_drop(&text);
}

int nb_prompt_random(const nb_endpoint *endpoint, const nb_prompt_options *o, nb_arena *arena, nb_prompt_set *out,
                     nb_error *err)
{
    maker m = {endpoint, o, arena, 1, o->prefix_len};
    bool counts = endpoint->tokenizer_path, ids = counts && !endpoint->chat;
    int32_t *prefix_id = NB_ARENA_ARRAY(arena, int32_t, o->prefix_len + 1);
    if (ids && o->prefix_len) NB_TRY(make_ids(&m, PREFIX_STREAM, o->prefix_len, prefix_id, err));
    if (counts && !ids) NB_TRY(learn(&m, err));
    *out = (nb_prompt_set){NB_ARENA_ARRAY(arena, nb_prompt, o->n), o->n};
    for (int i = 0; i < o->n; i++) {
        nb_prompt *p = &out->prompt[i];
        lengths len = {o->prefix_len, ranged(&m, i, 0, o->input_len), ranged(&m, i, 1, o->output_len)};
        p->n_output = (int)len.output;
        if (ids) {
            NB_TRY(make_id_prompt(&m, prefix_id, i, &len, p, err));
        } else if (counts) {
            NB_TRY(make_text_prompt(&m, i, &len, p, err));
        } else {
            make_uncounted(&m, i, &len, p);
        }
        if (o->progress) o->progress(o->user, i + 1, o->n);
    }
    return NB_OK;
}
