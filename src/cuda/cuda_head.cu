// The kernels of cuda_head.h. A row is read by NB_HEAD_PARTS blocks once (raw maximum and sum, shaped argmax), unless
// the head's product left that; the rest is one block a row: done for greedy rows, else thresholds by radix selection
// and a draw by prefix sums in id order.
//
// Bytes: a greedy row once at most; a sampled one about ten times, from L2.
#include "cuda/cuda_head.h"

#include "cuda/cuda_embedding.cuh"
#include "cuda/cuda_part.cuh"
#include "cuda/cuda_prepared.cuh"
#include "cuda/cuda_route.cuh"
#include "cuda/cuda_source.cuh"
#include "numeric/random.h"

enum { EMBED_THREADS = 256, PART_THREADS = 256, DRAW_THREADS = 1024, RADIX = 256 };
enum { PART_LOADS = 16 }; // logits that a thread has on their way at a time

__device__ __forceinline__ static float4 load_columns(const uint16_t *row, int c)
{
    uint2 v = __ldg((const uint2 *)(row + c));
    return make_float4(nb_f32_from_bits(v.x << 16), nb_f32_from_bits(v.x & 0xffff0000u), nb_f32_from_bits(v.y << 16),
                       nb_f32_from_bits(v.y & 0xffff0000u));
}

// A block: one token's row, and the first layer's input from it.
__global__ void __launch_bounds__(EMBED_THREADS) embed_kernel(const __grid_constant__ nb_cuda_embed p)
{
    __shared__ float sums[32];
    nb_touch(p);
    nb_grid_wait();
    nb_grid_release(); // not before: kernels behind read metadata at once
    int i = blockIdx.x, id = nb_embedding_id(p.from, i), d_model = p.from.d_model, first = threadIdx.x * 4,
        step = EMBED_THREADS * 4;
    if (threadIdx.x == 0) p.from.resolved[i] = id;
    const uint16_t *row = p.from.table + (int64_t)id * d_model;
    float square = 0;
#pragma unroll 4
    for (int c = first; c < d_model; c += step) {
        float4 v = load_columns(row, c);
        *(float4 *)(p.out + (int64_t)i * d_model + c) = v, square += nb_square_sum(v);
    }
    if (!p.next_norm) return;
    float scale = rsqrtf(nb_block_sum(square, sums) / (float)d_model + p.eps);
#pragma unroll 4
    for (int c = first; c < p.next.stride; c += step) {
        float4 v = {}, w = {}; // zeros behind d_model
        if (c < d_model) v = load_columns(row, c), w = __ldg((const float4 *)(p.next_norm + c));
        v = make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w);
        nb_store_prepared(p.next, i, c, v);
    }
}

int nb_cuda_embed_run(const nb_cuda_launch *at, const nb_cuda_embed *p, int n_tok, nb_error *err)
{
    return nb_cuda_start(at, embed_kernel, n_tok, EMBED_THREADS, 0, err, *p);
}

__global__ void mask_kernel(const __grid_constant__ nb_cuda_head p)
{
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    const nb_row &r = p.row[blockIdx.y];
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.vocab; i += gridDim.x * blockDim.x) {
        bool allowed = r.mask_first < 0 || (p.mask[r.mask_first + (i >> 5)] >> (i & 31) & 1u);
        p.z[(int64_t)blockIdx.y * p.vocab + i] = allowed ? p.logits[(int64_t)blockIdx.y * p.vocab + i] : -INFINITY;
    }
}

__device__ static float penalize(float z, const nb_sampling &s, int n_output)
{
    z = z > 0 ? z / s.repetition_penalty : z * s.repetition_penalty;
    z -= s.frequency_penalty * (float)n_output;
    return n_output > 0 ? z - s.presence_penalty : z;
}

// History and bias of a row. A token that was given as NB_TOKEN_LAST is one more of the output.
__global__ void shape_kernel(const __grid_constant__ nb_cuda_head p)
{
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    const nb_row &r = p.row[blockIdx.x];
    float *z = p.z + (int64_t)blockIdx.x * p.vocab;
    const nb_seq &s = p.seq[r.seq];
    int extra = p.tok[s.tok_first] == NB_TOKEN_LAST ? p.last_tok[s.slot] : -1;
    bool penalties =
        r.sampling.repetition_penalty != 1 || r.sampling.presence_penalty != 0 || r.sampling.frequency_penalty != 0;
    __shared__ int found;
    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    for (int i = threadIdx.x; penalties && i < r.n_history; i += blockDim.x) {
        nb_history h = p.history[r.history_first + i];
        if (h.tok == extra) found = 1;
        z[h.tok] = penalize(z[h.tok], r.sampling, h.n_output + (h.tok == extra));
    }
    __syncthreads();
    if (threadIdx.x == 0 && penalties && extra >= 0 && !found) z[extra] = penalize(z[extra], r.sampling, 1);
    __syncthreads();
    for (int i = threadIdx.x; i < r.n_bias; i += blockDim.x)
        z[p.bias[r.bias_first + i].tok] += p.bias[r.bias_first + i].bias;
}

__global__ void __launch_bounds__(PART_THREADS) part_kernel(const __grid_constant__ nb_cuda_head p)
{
    __shared__ nb_head_part joined[PART_THREADS / 32];
    nb_grid_release();
    nb_touch(p);
    nb_grid_wait();
    int row = blockIdx.y, per = (p.vocab + NB_HEAD_PARTS - 1) / NB_HEAD_PARTS, first = blockIdx.x * per;
    const float *raw = p.logits + (int64_t)row * p.vocab, *z = p.shaped ? p.z + (int64_t)row * p.vocab : raw;
    nb_head_part part = nb_part_none(p.vocab);
    int end = min(first + per, p.vocab);
    for (int i = first + threadIdx.x; i < end; i += PART_LOADS * PART_THREADS) {
        float v[PART_LOADS], s[PART_LOADS], last = part.raw_top;
#pragma unroll
        for (int k = 0; k < PART_LOADS; k++) {
            int j = i + k * PART_THREADS;
            v[k] = j < end ? raw[j] : -INFINITY, s[k] = j < end ? z[j] : -INFINITY;
        }
#pragma unroll
        for (int k = 0; k < PART_LOADS; k++) {
            part.raw_top = fmaxf(part.raw_top, v[k]);
            if (s[k] > part.top) part.top = s[k], part.top_tok = i + k * PART_THREADS;
        }
        part.raw_sum *= __expf(last - part.raw_top);
#pragma unroll
        for (int k = 0; k < PART_LOADS; k++) part.raw_sum += __expf(v[k] - part.raw_top);
    }
    part = nb_part_join_lanes(part, 1);
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    if (lane == 0) joined[warp] = part;
    __syncthreads();
    if (warp > 0) return;
    part = nb_part_join_lanes(lane < PART_THREADS / 32 ? joined[lane] : nb_part_none(p.vocab), 1);
    if (lane == 0) p.part[row * NB_HEAD_PARTS + blockIdx.x] = part;
}

typedef struct draw_state { // of one row, in shared memory
    double bin[RADIX];      // mass of a radix digit
    double scan[DRAW_THREADS / 32];
    double left;
    uint32_t prefix;
    int best, count;
} draw_state;

__device__ static double block_sum(double v, draw_state *d)
{
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) d->scan[threadIdx.x >> 5] = v;
    __syncthreads();
    double sum = 0;
    for (int i = 0; i < DRAW_THREADS / 32; i++) sum += d->scan[i];
    return sum;
}

// The smallest key such that the mass of the keys above it is < want; *left = what of its own mass is still wanted.
// mass(i) of token i is >= 0; tokens with key below `least` do not count.
template <class M>
__device__ static uint32_t select_key(const float *z, int vocab, uint32_t least, double want, M mass, draw_state *d,
                                      double *left)
{
    if (threadIdx.x == 0) d->prefix = 0, d->left = want;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = threadIdx.x; i < RADIX; i += DRAW_THREADS) d->bin[i] = 0;
        __syncthreads();
        uint32_t prefix = d->prefix, mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
        for (int i = threadIdx.x; i < vocab; i += DRAW_THREADS) {
            uint32_t key = nb_ordered(z[i]);
            if (key >= least && (key & mask) == prefix) atomicAdd(&d->bin[(key >> shift) & 255u], mass(i));
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int b = RADIX - 1, last = -1;
            for (; b >= 0; b--) {
                if (d->bin[b] > 0) last = b;
                if (d->bin[b] >= d->left) break;
                d->left -= d->bin[b];
            }
            if (b < 0) b = last < 0 ? 0 : last, d->left = d->bin[b]; // rounding ate the rest: the lowest key there is
            d->prefix |= (uint32_t)b << shift;
        }
        __syncthreads();
    }
    *left = d->left;
    uint32_t key = d->prefix;
    __syncthreads();
    return key;
}

// Of the tokens whose key is `key`, the id behind the first n ones.
__device__ static int tie_end(const float *z, int vocab, uint32_t key, int n, draw_state *d)
{
    int per = (vocab + DRAW_THREADS - 1) / DRAW_THREADS, first = threadIdx.x * per, mine = 0;
    for (int i = first; i < min(first + per, vocab); i++) mine += nb_ordered(z[i]) == key;
    __shared__ int counts[DRAW_THREADS];
    counts[threadIdx.x] = mine;
    if (threadIdx.x == 0) d->count = vocab;
    __syncthreads();
    int before = 0;
    for (int i = 0; i < (int)threadIdx.x; i++) before += counts[i];
    if (before < n && before + mine >= n)
        for (int i = first; i < min(first + per, vocab); i++)
            if (nb_ordered(z[i]) == key && ++before == n) d->count = i + 1;
    __syncthreads();
    int end = d->count;
    __syncthreads();
    return end;
}

__device__ static int draw_token(const nb_cuda_head &p, const nb_row &r, const float *z, float top, draw_state *d)
{
    const nb_sampling &s = r.sampling;
    float t = s.temperature;
    uint32_t key = 0;
    int tie = p.vocab; // tokens with this key count up to this id
    double left;
    auto weight = [&](int i) { return (double)expf((z[i] - top) / t); };
    auto kept = [&](int i, uint32_t k, int e) {
        uint32_t o = nb_ordered(z[i]);
        return o > k || (o == k && i < e);
    };
    if (s.top_k > 0 && s.top_k < p.vocab) {
        key = select_key(
            z, p.vocab, 0, (double)s.top_k, [](int) { return 1.0; }, d, &left);
        tie = tie_end(z, p.vocab, key, (int)left, d);
    }
    if (s.top_p < 1) {
        double sum = 0;
        for (int i = threadIdx.x; i < p.vocab; i += DRAW_THREADS) sum += kept(i, key, tie) ? weight(i) : 0;
        double want = s.top_p * block_sum(sum, d);
        uint32_t k = key;
        int e = tie;
        uint32_t found = select_key(
            z, p.vocab, key, want, [&](int i) { return kept(i, k, e) ? weight(i) : 0.0; }, d, &left);
        double one = (double)expf((nb_unordered(found) - top) / t); // ties: as many of them as fill what is left
        int n = one > 0 ? (int)ceil(left / one - 1e-12) : 1;
        int end = tie_end(z, p.vocab, found, n < 1 ? 1 : n, d);
        tie = found == key && end > tie ? tie : end, key = found;
    }
    float least = s.min_p > 0 ? s.min_p : 0;
    int per = (p.vocab + DRAW_THREADS - 1) / DRAW_THREADS, first = threadIdx.x * per;
    double mine = 0;
    for (int i = first; i < min(first + per, p.vocab); i++)
        if (kept(i, key, tie) && z[i] > -INFINITY && weight(i) >= least) mine += weight(i);
    __shared__ double sums[DRAW_THREADS];
    sums[threadIdx.x] = mine;
    if (threadIdx.x == 0) d->best = -1;
    __syncthreads();
    double before = 0, all = 0;
    for (int i = 0; i < DRAW_THREADS; i++) {
        if (i < (int)threadIdx.x) before += sums[i];
        all += sums[i];
    }
    const nb_seq &q = p.seq[r.seq];
    uint64_t position = (uint64_t)(q.n_past + r.tok - q.tok_first + 1);
    double u = (double)nb_random_unit(nb_random_philox(s.seed, position, 0).v[0]) * all;
    if (mine > 0 && before <= u && before + mine > u)
        for (int i = first; i < min(first + per, p.vocab); i++) {
            if (!(kept(i, key, tie) && z[i] > -INFINITY && weight(i) >= least)) continue;
            before += weight(i);
            if (before > u) {
                d->best = i;
                break;
            }
        }
    __syncthreads();
    return d->best;
}

__device__ static int rank_of(const float *raw, int vocab, int tok, draw_state *d)
{
    double n = 0;
    for (int i = threadIdx.x; i < vocab; i += DRAW_THREADS) n += raw[i] > raw[tok] || (raw[i] == raw[tok] && i < tok);
    return 1 + (int)block_sum(n, d);
}

__device__ static void top_tokens(const float *raw, int vocab, int n_top, float lse, nb_row_result *out)
{
    __shared__ float value[32];
    __shared__ int index[32];
    float bound = INFINITY;
    int bound_tok = -1;
    for (int k = 0; k < n_top; k++) {
        float v = -INFINITY;
        int at = vocab;
        for (int i = threadIdx.x; i < vocab; i += DRAW_THREADS)
            if ((raw[i] < bound || (raw[i] == bound && i > bound_tok)) && raw[i] > v) v = raw[i], at = i;
        nb_warp_argmax(&v, &at);
        __syncthreads();
        if ((threadIdx.x & 31) == 0) value[threadIdx.x >> 5] = v, index[threadIdx.x >> 5] = at;
        __syncthreads();
        v = value[threadIdx.x & 31], at = index[threadIdx.x & 31];
        nb_warp_argmax(&v, &at);
        bound = v, bound_tok = at;
        if (threadIdx.x == 0) out->top_tok[k] = at, out->top_logprob[k] = v - lse;
    }
}

// By the whole block, so that few writes cross the bus.
__device__ static void deliver(const nb_row_result &from, nb_row_result *to, nb_row_result *home)
{
    for (int i = threadIdx.x; i < (int)(sizeof from / sizeof(uint32_t)); i += DRAW_THREADS)
        ((uint32_t *)to)[i] = ((uint32_t *)home)[i] = ((const uint32_t *)&from)[i];
}

// By the whole block, for each thread.
__device__ static nb_head_part join_parts(const nb_head_part *part, int n_part, int vocab)
{
    __shared__ nb_head_part joined[DRAW_THREADS / 32];
    nb_head_part all = nb_part_none(vocab);
    for (int i = threadIdx.x; i < n_part; i += DRAW_THREADS) all = nb_part_join(all, part[i]);
    all = nb_part_join_lanes(all, 1);
    if ((threadIdx.x & 31) == 0) joined[threadIdx.x >> 5] = all;
    __syncthreads();
    return nb_part_join_lanes(joined[threadIdx.x & 31], 1);
}

__global__ void __launch_bounds__(DRAW_THREADS) draw_kernel(const __grid_constant__ nb_cuda_head p)
{
    __shared__ draw_state d;
    __shared__ nb_row_result out;
    nb_grid_release();
    nb_touch(p);
    int row = blockIdx.x;
    const nb_row r = p.row[row];
    nb_row_result *home = p.home->result + row;
    nb_grid_wait();
    const float *raw = p.logits + (int64_t)row * p.vocab, *z = p.shaped ? p.z + (int64_t)row * p.vocab : raw;
    nb_head_part part = join_parts(p.part + (int64_t)row * p.n_part, p.n_part, p.vocab);
    float lse = part.raw_top + logf(part.raw_sum);
    int tok = part.top_tok;
    bool plain = r.sampling.temperature == 0 && !p.shaped;
    if (tok >= p.vocab || isnan(part.raw_sum)) // nothing is allowed, or a logit is NaN
        tok = -1;
    else if (r.sampling.temperature > 0 && (r.flags & NB_ROW_SAMPLE))
        tok = draw_token(p, r, z, part.top, &d);
    if (!(r.flags & NB_ROW_SAMPLE)) tok = -1;
    int rank = tok < 0 ? 0 : plain ? 1 : rank_of(raw, p.vocab, tok, &d);
    int target_rank = r.target < 0 ? 0 : rank_of(raw, p.vocab, r.target, &d);
    if (r.n_top > 0) top_tokens(raw, p.vocab, min(r.n_top, (int)NB_TOP_LOGPROBS_MAX), lse, &out);
    if (threadIdx.x == 0) {
        out.tok = tok, out.rank = rank, out.target_rank = target_rank, out.n_top = r.n_top;
        out.logprob = tok < 0 ? 0.0f : raw[tok] - lse;
        out.target_logprob = r.target < 0 ? 0.0f : raw[r.target] - lse;
        if (tok >= 0) p.last_tok[p.seq[r.seq].slot] = tok;
    }
    __syncthreads();
    deliver(out, p.result + row, home);
}

int nb_cuda_head_run(const nb_cuda_launch *at, const nb_cuda_head *p, nb_error *err)
{
    dim3 grid(NB_HEAD_PARTS, p->n_row);
    nb_cuda_head parted = *p;
    if (p->shaped) {
        NB_TRY(nb_cuda_start(at, mask_kernel, grid, PART_THREADS, 0, err, *p));
        NB_TRY(nb_cuda_start(at, shape_kernel, p->n_row, PART_THREADS, 0, err, *p));
    }
    if (p->n_part == 0) {
        NB_TRY(nb_cuda_start(at, part_kernel, grid, PART_THREADS, 0, err, *p));
        parted.n_part = NB_HEAD_PARTS;
    }
    return nb_cuda_start(at, draw_kernel, p->n_row, DRAW_THREADS, 0, err, parted);
}
