// The persistent kernel of cuda_single.h.
//
// Bytes of a step: all static matrices, the experts that are used, the states and the KV cache once. Every block makes
// the whole input of a product for itself (norms are cheaper than a barrier); reads of what other blocks wrote go to
// L2.
//
// A layer: projections into the mixer | the mixer | the projection out of it, whose rows go as packets to the router,
// whose logits go as packets to everybody's choice of experts; gate and up | down, whose rows go as packets to the next
// layer. Attention has packets where DeltaNet has the second barrier: a split's to those who add it, and their sums to
// all. The bars are grid barriers. They also keep a block from writing what another still reads: between two writes of
// a buffer or packet lies a barrier that all its readers reach behind their reading.
#include "cuda/cuda_embedding.cuh"
#include "cuda/cuda_single_attention.cuh"
#include "cuda/cuda_single_experts.cuh"
#include "cuda/cuda_single_rows.cuh"
#include "cuda/cuda_single_thin.cuh"

enum { X_PER_THREAD = NB_SINGLE_X_MAX / THREADS / 4 };

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900 // bulk copies that count on barriers
typedef struct norm_ahead {                         // a norm's weights, loaded before the rows are there
    float4 w[X_PER_THREAD];
} norm_ahead;

__device__ static norm_ahead load_norm(const nb_single_args &p, const float *weight)
{
    norm_ahead a;
#pragma unroll
    for (int i = 0; i < X_PER_THREAD; i++) {
        int at = (threadIdx.x + i * THREADS) * 4;
        a.w[i] = at < p.d_model ? __ldg((const float4 *)(weight + at)) : make_float4(0, 0, 0, 0);
    }
    return a;
}

// Four values of the input, in both formats.
__device__ __forceinline__ static void store_input(nb_single_shared *sh, int at, float4 v, float inverse)
{
    uint2 b = {nb_pack_bf16x2(v.x, v.y), nb_pack_bf16x2(v.z, v.w)};
    *(uint2 *)&sh->x[1][at] = b;
    *(uint32_t *)&sh->x[0][at / 2] = nb_input_codes(b.x, inverse) | nb_input_codes(b.y, inverse) << 16;
}

// RMS norm of the residual stream; zeros up to the next full pair of k tiles.
__device__ static void norm_input(const nb_single_args &p, nb_single_shared *sh, const nb_packet *residual,
                                  uint32_t epoch, const norm_ahead &a, float inverse)
{
    float4 v[X_PER_THREAD];
    float sum = 0, all = 0;
    nb_packet_load_all<X_PER_THREAD>(v, residual, p.d_model, epoch);
#pragma unroll
    for (int i = 0; i < X_PER_THREAD; i++) sum += nb_square_sum(v[i]);
    sum = nb_warp_sum(sum);
    if ((threadIdx.x & 31) == 0) sh->sums[threadIdx.x >> 5] = sum;
    nb_single_sync();
#pragma unroll
    for (int i = 0; i < WARPS; i++) all += sh->sums[i];
    float scale = rsqrtf(all / (float)p.d_model + p.eps);
#pragma unroll
    for (int i = 0; i < X_PER_THREAD; i++) {
        int at = (threadIdx.x + i * THREADS) * 4;
        if (at >= (p.d_model + 2 * NB_CUDA_K_TILE - 1) / (2 * NB_CUDA_K_TILE) * 2 * NB_CUDA_K_TILE) break;
        v[i].x *= scale * a.w[i].x, v[i].y *= scale * a.w[i].y, v[i].z *= scale * a.w[i].z, v[i].w *= scale * a.w[i].w;
        store_input(sh, at, v[i], inverse);
    }
    nb_single_sync();
}

__device__ __forceinline__ static float inverse_of(const nb_cuda_matrix &m)
{
    return m.kind == NB_KIND_FP8_A8 ? 1.0f / m.input_scale : 1.0f;
}

// y = W x for the matrices of a stage, x in shared memory. A block's row tiles are gridDim.x apart; what is added to
// the residual stream is the block's own row tile, and goes out as packets.
__device__ static void product(nb_single_place *at, nb_single_shared *sh, const nb_cuda_matrix *m, int n_matrix,
                               const nb_cuda_output *output, uint32_t epoch)
{
    int n = 0;
    if (fills_stages(m, n_matrix)) {
        for (int i = 0; i < n_matrix; i++) n += m[i].n_row_tile;
        n = (n - (int)blockIdx.x + (int)gridDim.x - 1) / (int)gridDim.x;
        fp8_rows(at, sh, n, m[0].n_k_tile / NB_SINGLE_SLOTS);
    } else {
        n = any_rows(at, sh, m, n_matrix);
    }
    nb_single_sync();
    if ((int)threadIdx.x >= n * 16) return; // NB_SINGLE_ROWS_MAX * 16 are fewer than the threads
    int j = threadIdx.x >> 4, r = threadIdx.x & 15, i = 0, row_tile = blockIdx.x + j * gridDim.x, first = 0;
    float y = 0;
#pragma unroll
    for (int k = 0; k < WARPS; k++) y += sh->red[j][k][r];
    while (row_tile >= first + m[i].n_row_tile) first += m[i++].n_row_tile;
    int row = (row_tile - first) * 16 + r;
    const nb_cuda_output &o = output[i];
    if (row >= m[i].n_out) return;
    y *= m[i].scale_low * (m[i].row_scale ? __ldg(m[i].row_scale + row) : 1.0f);
    if (o.kind == NB_OUT_F32) ((float *)o.out)[o.first + row] = y;
    if (o.kind == NB_OUT_BF16) ((uint16_t *)o.out)[o.first + row] = nb_bf16_from_f32(y);
    if (o.kind == NB_OUT_ADD) nb_packet_store((nb_packet *)o.out + row, sh->own[r] += y, epoch);
}

__device__ static nb_cuda_gdn gdn_of(const nb_single_args &p, const nb_cuda_layer &l, const nb_gdn_seq *seq)
{
    nb_cuda_gdn g = p.gdn;
    g.seq = seq;
    g.conv1d = l.conv1d, g.A_log = l.A_log, g.dt_bias = l.dt_bias, g.norm = l.norm;
    g.state += l.i_deltanet * p.layer_floats, g.journal += l.i_deltanet * p.layer_floats;
    g.ring += l.i_deltanet * p.layer_halfs;
    return g;
}

__device__ static void delta(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l,
                             nb_single_barrier *barrier)
{
    nb_cuda_gdn g = gdn_of(p, l, &sh->gdn_seq);
    bool idle = (int)blockIdx.x >= g.n_value_head * (NB_GDN_DIM / 32);
    nb_gdn_item item = nb_gdn_open<32>(g, idle ? 0 : blockIdx.x); // what does not come from the barrier's other side
    nb_single_wait(barrier);
    if (idle) return;
    int n_channel = (2 * g.n_key_head + g.n_value_head) * NB_GDN_DIM, c = threadIdx.x * 8;
    nb_gdn_gate<32>(g, &item);
    item.b = __ldcg(g.ba + item.head), item.a = __ldcg(g.ba + g.n_value_head + item.head);
    if (c < nb_gdn_stage<32>::n_channel)
        *(uint4 *)&sh->annex.mixer.delta.stage.now[c] =
            __ldcg((const uint4 *)(g.qkv + (int64_t)item.seq.tok_first * n_channel + nb_gdn_channel<32>(g, item, c)));
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    nb_single_sync();
    nb_gdn_run_item<32>(g, item, &sh->annex.mixer.delta.stage, &sh->annex.mixer.delta.work);
}

// The output projection's input: what delta() left, by the heads' scales.
__device__ static void gated_input(const nb_single_args &p, nb_single_shared *sh, float inverse)
{
    int n = p.gdn.n_value_head * NB_GDN_DIM;
    float4 v[X_PER_THREAD], s[X_PER_THREAD];
#pragma unroll
    for (int i = 0; i < X_PER_THREAD; i++) {
        int at = min((int)(threadIdx.x + i * THREADS) * 4, n - 4);
        v[i] = __ldcg((const float4 *)(p.gdn.out + at)),
        s[i] = __ldcg((const float4 *)(p.gdn.square + at / NB_GDN_DIM * 4));
    }
#pragma unroll
    for (int i = 0; i < X_PER_THREAD; i++) {
        int at = (threadIdx.x + i * THREADS) * 4;
        float k = rsqrtf((s[i].x + s[i].y + s[i].z + s[i].w) / (float)NB_GDN_DIM + p.eps);
        if (at < n) store_input(sh, at, make_float4(v[i].x * k, v[i].y * k, v[i].z * k, v[i].w * k), inverse);
    }
    nb_single_sync();
}

// The same from packets of attention, a thread's eight values 8 * THREADS apart.
__device__ static void attended_input(const nb_single_args &p, nb_single_shared *sh, float inverse, uint32_t epoch)
{
    int n_packet = p.attention.n_head * p.attention.d_head / 2; // of two bf16
    float4 v[X_PER_THREAD / 2];
    nb_packet_load_all<X_PER_THREAD / 2>(v, p.attended, n_packet, epoch);
#pragma unroll
    for (int i = 0; i < X_PER_THREAD / 2; i++) {
        int at = (threadIdx.x + i * THREADS) * 4;
        if (at >= n_packet) break;
        uint4 b = {nb_f32_bits(v[i].x), nb_f32_bits(v[i].y), nb_f32_bits(v[i].z), nb_f32_bits(v[i].w)};
        *(uint4 *)&sh->x[1][at * 2] = b;
        *(uint2 *)&sh->x[0][at] = make_uint2(nb_input_codes(b.x, inverse) | nb_input_codes(b.y, inverse) << 16,
                                             nb_input_codes(b.z, inverse) | nb_input_codes(b.w, inverse) << 16);
    }
    nb_single_sync();
}

// The state that the layer wants, long before it does: the experts of the layer before it have left its place.
__device__ static void fetch_state(const nb_single_args &p, nb_single_shared *sh, const nb_cuda_layer &l)
{
    if (l.kind == NB_LAYER_FULL_ATTENTION || (int)blockIdx.x >= p.gdn.n_value_head * (NB_GDN_DIM / 32)) return;
    nb_cuda_gdn g = gdn_of(p, l, &sh->gdn_seq);
    int thread = threadIdx.x;
    asm volatile("" : "+r"(thread)); // where it copies is not kept in registers from layer to layer
    nb_gdn_fetch_state<32>(g, nb_gdn_open<32>(g, blockIdx.x), &sh->annex.mixer.delta.stage, thread);
    asm volatile("cp.async.commit_group;");
}

// What a layer reads before its products and without the ring comes into L2 while the blocks wait for each other.
__device__ static void prefetch_norm(const nb_single_args &p, const float *weight)
{
    if (blockIdx.x == 0 && threadIdx.x == 0) nb_prefetch_bulk(weight, p.d_model * (int)sizeof *weight);
}

__device__ static void prefetch_router(const nb_single_args &p, const nb_cuda_layer &l)
{
    prefetch_norm(p, l.post_attention_layernorm);
    thin_prefetch<4>(&l.router, &l.shared_gate, l.has_shared, blockIdx.x);
}

__device__ static void prefetch_gates(const nb_single_args &p, const nb_cuda_layer &l)
{
    prefetch_norm(p, l.input_layernorm);
    if (l.kind != NB_LAYER_FULL_ATTENTION) thin_prefetch<2>(&l.b, &l.a, l.a.n_out, gridDim.x - 1 - blockIdx.x);
}

// The residual stream begins: the block's rows of the token's embedding.
__device__ static void embed(const nb_single_args &p, nb_single_shared *sh, uint32_t epoch)
{
    int row = blockIdx.x * 16 + threadIdx.x;
    if (threadIdx.x >= 16 || row >= p.d_model) return;
    int id = nb_embedding_id(p.embedding, 0);
    if (row == 0) p.embedding.resolved[0] = id;
    sh->own[threadIdx.x] = nb_bf16_to_f32(__ldg(p.embedding.table + (int64_t)id * p.d_model + row));
    nb_packet_store(p.added + row, sh->own[threadIdx.x], epoch);
}

// What is the same in every layer: the sequence, rotations by its position. By the last warps: the first one embeds.
__device__ static void take_sequence(const nb_single_args &p, nb_single_shared *sh)
{
    int i = THREADS - 1 - (int)threadIdx.x;
    if (i == 0) {
        sh->gdn_seq = p.gdn.seq[0], sh->attention_seq = p.attention.seq[0];
        share_pages(p.attention, sh);
    }
    nb_fill_rope(p.attention, p.attention.seq[0].n_past, sh->rope, i, THREADS);
    nb_single_sync();
}

__device__ static void open_barriers(const nb_single_args &p, nb_single_shared *sh)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < NB_SINGLE_DEPTH + NB_SINGLE_ANNEX; i++) nb_barrier_init(&sh->full[i], 1);
        for (int i = 0; i < NB_SINGLE_DEPTH; i++) nb_barrier_init(&sh->empty[i], WARPS);
        nb_barrier_init(&sh->piece, 1), nb_barrier_init(&sh->gate_read, WARPS), nb_barrier_init(&sh->down_read, WARPS);
        nb_barrier_init(&sh->annex_read, 1);
        for (int i = 0; i < NB_SINGLE_GATE_MAX; i++) nb_barrier_init(&sh->gate_full[i], 1);
        nb_barrier_init(&sh->down_full, p.route.top_k + p.route.has_shared);
        nb_barrier_init_done();
    }
    __syncthreads();
}

template <int KIND, int D, bool FP8>
__device__ __forceinline__ static void run_layers(const nb_single_args &p, nb_single_shared *sh)
{
    nb_single_place at = {};
    nb_single_barrier barrier;
    uint32_t epoch = 1 + (uint32_t)nb_single_barrier_open(&barrier, p.barrier);
    nb_single_fetch_layer(p, sh, 0);
    nb_copies_wait();
    nb_grid_wait(); // for the metadata
    nb_grid_release();
    embed(p, sh, epoch);
    take_sequence(p, sh);
    fetch_state(p, sh, sh->layer[0]);
#pragma unroll 1
    for (int i = 0; i < p.n_layer; i++, epoch++) {
        nb_single_sync(); // the layer is here
        const nb_cuda_layer &l = sh->layer[i & 1];
        bool gdn = l.kind != NB_LAYER_FULL_ATTENTION;
        nb_single_begin_layer(&at, i);
#pragma unroll 1
        for (int stage = 0; stage < 2; stage++) { // into the mixer, out of it: one copy of product()'s code for both
            const nb_cuda_matrix *m = stage == 0 ? (gdn ? &l.qkv : &l.q) : (gdn ? &l.out : &l.o);
            if (stage == 0) {
                thin<2> gates = {};
                if (gdn) gates = thin_open<2>(&l.b, &l.a, l.a.n_out, gridDim.x - 1 - blockIdx.x);
                norm_input(p, sh, p.added, epoch, load_norm(p, l.input_layernorm), inverse_of(*m));
                if (gdn) thin_product(sh, gates, p.ba, NULL, epoch);
            } else {
                if (gdn) {
                    delta(p, sh, l, &barrier);
                    nb_single_arrive(&barrier), nb_single_wait(&barrier);
                    gated_input(p, sh, inverse_of(*m));
                } else {
                    attention<D, FP8>(p, sh, l, &barrier, epoch);
                    attended_input(p, sh, inverse_of(*m), epoch);
                }
                nb_single_leave_annex(&at);
            }
            product(&at, sh, m, stage ? 1 : gdn ? 2 : 3, p.output[stage ? (int)NB_SINGLE_STAGE_OUT : !gdn], epoch);
            if (stage != 0) continue;
            nb_single_arrive(&barrier);
            if (threadIdx.x == 0) nb_barrier_arrive(&sh->annex_read); // for all warps, which have met since
            prefetch_router(p, l);
        }
        thin<4> router = thin_open<4>(&l.router, &l.shared_gate, l.has_shared, blockIdx.x);
        norm_input(p, sh, p.mixed, epoch, load_norm(p, l.post_attention_layernorm), 1.0f);
        thin_product(sh, router, NULL, p.logits, epoch);
        route(p, sh, l, epoch);
        gate_up<KIND>(p, sh, l, i);
        nb_single_arrive(&barrier);
        if (i + 1 < p.n_layer) fetch_state(p, sh, sh->layer[(i + 1) & 1]), prefetch_gates(p, sh->layer[(i + 1) & 1]);
        nb_single_wait(&barrier);
        down<KIND>(p, sh, l, i, epoch + 1);
    }
}

#endif

// KIND: of the experts; D, FP8: of the KV cache. One of each a kernel, whose code must stay in the instruction cache.
template <int KIND, int D, bool FP8>
__global__ void __launch_bounds__(THREADS + NB_WARPGROUP, 1) single_kernel(const __grid_constant__ nb_single_args p)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    extern __shared__ __align__(128) uint8_t smem[];
    nb_single_shared *sh = (nb_single_shared *)smem;
    nb_touch(p);
    open_barriers(p, sh);
    if (threadIdx.x >= THREADS) {
        nb_single_registers<false>();
        if (threadIdx.x == THREADS) nb_single_feed(p, sh);
    } else {
        nb_single_registers<true>();
        run_layers<KIND, D, FP8>(p, sh);
    }
#endif
}

typedef void (*nb_single_kernel)(const nb_single_args);

template <int KIND> static nb_single_kernel kernel_of(const nb_cuda_attention *a)
{
    if (a->d_head == 128) return a->fp8 ? single_kernel<KIND, 128, true> : single_kernel<KIND, 128, false>;
    return a->fp8 ? single_kernel<KIND, 256, true> : single_kernel<KIND, 256, false>;
}

int nb_cuda_single_run(const nb_cuda_launch *at, const nb_single_args *p, int kind, nb_error *err)
{
    nb_single_kernel kernel =
        kind == NB_KIND_NVFP4 ? kernel_of<NB_KIND_NVFP4>(&p->attention) : kernel_of<NB_KIND_BF16>(&p->attention);
    return nb_cuda_start(at, kernel, at->n_sm, THREADS + NB_WARPGROUP, sizeof(nb_single_shared), err, *p);
}

size_t nb_cuda_single_shared_bytes(void)
{
    return sizeof(nb_single_shared);
}
