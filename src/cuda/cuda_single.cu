// The persistent kernel of cuda_single.h.
//
// Bytes of a step: all static matrices, the experts that are used, the states and the KV cache once. Every block makes
// the whole input of a product for itself (norms are cheaper than a barrier); reads of what other blocks wrote go to
// L2.
#include "cuda/cuda_single.cuh"

enum { WARPS = NB_SINGLE_WARPS, THREADS = NB_SINGLE_THREADS, X_PER_THREAD = NB_SINGLE_X_MAX / THREADS / 4 };

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900 // bulk copies that count on barriers
typedef struct norm_ahead {                         // a norm's weights, loaded before the barrier is waited for
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
    uint2 f = {nb_input_pair<true>(v.x, v.y, inverse), nb_input_pair<true>(v.z, v.w, inverse)};
    uint2 b = {nb_pack_bf16x2(v.x, v.y), nb_pack_bf16x2(v.z, v.w)};
    *(uint2 *)&sh->x[0][at] = f, *(uint2 *)&sh->x[1][at] = b;
}

// RMS norm of the residual stream; zeros up to the next full pair of k tiles.
__device__ static void norm_input(const nb_single_args &p, nb_single_shared *sh, const norm_ahead &a, float inverse)
{
    float4 v[X_PER_THREAD];
    float sum = 0, all = 0;
#pragma unroll
    for (int i = 0; i < X_PER_THREAD; i++) {
        int at = (threadIdx.x + i * THREADS) * 4;
        v[i] = at < p.d_model ? __ldcg((const float4 *)(p.residual + at)) : make_float4(0, 0, 0, 0);
        sum += nb_square_sum(v[i]);
    }
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

// Another matrix wants e4m3 values of another scale.
__device__ static void rescale_input(nb_single_shared *sh, float inverse)
{
    nb_single_sync();
#pragma unroll 1
    for (int i = threadIdx.x; i < NB_SINGLE_X_MAX / 2; i += THREADS) {
        uint32_t v = ((const uint32_t *)sh->x[1])[i];
        ((uint32_t *)sh->x[0])[i] =
            nb_input_pair<true>(nb_f32_from_bits(v << 16), nb_f32_from_bits(v & 0xffff0000u), inverse);
    }
    nb_single_sync();
}

__device__ __forceinline__ static float inverse_of(const nb_cuda_matrix &m)
{
    return m.kind == NB_KIND_FP8_A8 ? 1.0f / m.input_scale : 1.0f;
}

// y = W x for the matrices of a stage, x in shared memory. A block's row tiles are gridDim.x apart.
__device__ static void product(const nb_single_args &p, nb_single_place *at, nb_single_shared *sh,
                               const nb_cuda_matrix *m, int n_matrix, const nb_cuda_output *output)
{
    int row_tile = blockIdx.x, first = 0, n = 0, warp = threadIdx.x >> 5;
    float scale = m[0].input_scale, old = 0; // old: what is added to, where a block has one row tile
    if (output[0].kind == NB_OUT_ADD && threadIdx.x < 16 && row_tile < m[0].n_row_tile)
        old = __ldcg((const float *)output[0].out + row_tile * 16 + threadIdx.x);
#pragma unroll 1
    for (int i = 0; i < n_matrix; first += m[i++].n_row_tile)
#pragma unroll 1
        for (; row_tile < first + m[i].n_row_tile; row_tile += gridDim.x, n++) {
            float *red = sh->red[n][warp];
            if (m[i].kind == NB_KIND_FP8_A8 && m[i].input_scale != scale)
                scale = m[i].input_scale, rescale_input(sh, 1.0f / scale);
            nb_single_row_tile(at, sh, m[i], row_tile - first, red);
        }
    nb_single_sync();
    if ((int)threadIdx.x >= n * 16) return; // NB_SINGLE_ROWS_MAX * 16 are fewer than the threads
    int j = threadIdx.x >> 4, r = threadIdx.x & 15, i = 0;
    float y = 0;
#pragma unroll
    for (int k = 0; k < WARPS; k++) y += sh->red[j][k][r];
    for (row_tile = blockIdx.x + j * gridDim.x, first = 0; row_tile >= first + m[i].n_row_tile;)
        first += m[i++].n_row_tile;
    int row = (row_tile - first) * 16 + r;
    const nb_cuda_output &o = output[i];
    if (row >= m[i].n_out) return;
    y *= m[i].scale_low * (m[i].row_scale ? __ldg(m[i].row_scale + row) : 1.0f);
    if (o.kind == NB_OUT_F32) ((float *)o.out)[o.first + row] = y;
    if (o.kind == NB_OUT_BF16) ((uint16_t *)o.out)[o.first + row] = nb_bf16_from_f32(y);
    if (o.kind == NB_OUT_ADD) ((float *)o.out)[row] = old + y;
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

__device__ static void delta(const nb_single_args &p, nb_single_shared *sh)
{
    nb_cuda_gdn g = gdn_of(p, sh->layer, &sh->gdn_seq);
    if ((int)blockIdx.x >= g.n_value_head * (NB_GDN_DIM / 32)) return;
    nb_gdn_item item = nb_gdn_open<32>(g, blockIdx.x);
    int n_channel = (2 * g.n_key_head + g.n_value_head) * NB_GDN_DIM, c = threadIdx.x * 8;
    nb_gdn_gate<32>(g, &item);
    item.b = __ldcg(g.ba + item.head), item.a = __ldcg(g.ba + g.n_value_head + item.head);
    if (c < nb_gdn_stage<32>::n_channel)
        *(uint4 *)&sh->delta.stage.now[c] =
            __ldcg((const uint4 *)(g.qkv + (int64_t)item.seq.tok_first * n_channel + nb_gdn_channel<32>(g, item, c)));
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    nb_single_sync();
    nb_gdn_run_item<32>(g, item, &sh->delta.stage, &sh->delta.work);
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

__device__ static void attended_input(const nb_single_args &p, nb_single_shared *sh, float inverse)
{
    int n = p.attention.n_head * p.attention.d_head;
#pragma unroll 1
    for (int at = threadIdx.x * 4; at < n; at += THREADS * 4) {
        uint2 v = __ldcg((const uint2 *)(p.attention.out + at));
        store_input(sh, at,
                    make_float4(nb_f32_from_bits(v.x << 16), nb_f32_from_bits(v.x & 0xffff0000u),
                                nb_f32_from_bits(v.y << 16), nb_f32_from_bits(v.y & 0xffff0000u)),
                    inverse);
    }
    nb_single_sync();
}

__device__ static nb_cuda_attention attention_of(const nb_single_args &p, const nb_cuda_layer &l)
{
    nb_cuda_attention a = p.attention;
    a.q_norm = l.q_norm, a.k_norm = l.k_norm, a.cache += l.i_attention * p.layer_cache;
    if (a.fp8) a.k_scale = l.k_scale, a.v_scale = l.v_scale;
    return a;
}

// A lane's eight values of a head, lane * 8 .. + 7 (D = 128: of the first 16 lanes).
typedef struct head_values {
    float v[8];
} head_values;

__device__ __forceinline__ static head_values load_head(const float *x, bool in)
{
    head_values h;
    float4 none = make_float4(0, 0, 0, 0);
    *(float4 *)h.v = in ? __ldcg((const float4 *)x) : none,
             *(float4 *)(h.v + 4) = in ? __ldcg((const float4 *)(x + 4)) : none;
    return h;
}

// RMS norm and rotation. rope: [n_rot / 2] cosine and sine.
template <int D>
__device__ __forceinline__ static void norm_rotate(const nb_cuda_attention &a, head_values *h, const head_values &w,
                                                   const float2 *rope)
{
    int lane = threadIdx.x & 31, step = a.n_rot / 16, other = lane < step ? lane + step : lane - step;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; j++) sum += h->v[j] * h->v[j];
    float scale = rsqrtf(nb_warp_sum(sum) / (float)D + a.eps);
#pragma unroll
    for (int j = 0; j < 8; j++) {
        h->v[j] *= scale * w.v[j];
        float y = __shfl_sync(0xffffffffu, h->v[j], other & 31);
        if (lane >= 2 * step) continue;
        float2 r = rope[(lane < step ? lane : other) * 8 + j];
        h->v[j] = h->v[j] * r.x + (lane < step ? -y : y) * r.y;
    }
}

template <bool FP8> __device__ __forceinline__ static uint32_t query_pair(float low, float high)
{
    uint32_t b = nb_pack_bf16x2(low, high);
    return FP8 ? nb_pack_pair<true>(nb_f32_from_bits(b << 16), nb_f32_from_bits(b & 0xffff0000u)) : b;
}

// A row of the cache, `step` elements from value to value.
template <bool FP8>
__device__ __forceinline__ static void store_cache(uint8_t *page, int64_t at, int step, const head_values &h,
                                                   float scale)
{
    float inverse = FP8 ? 1.0f / scale : 1.0f;
#pragma unroll
    for (int e = 0; e < 8; e++)
        if (FP8)
            page[at + e * step] = (uint8_t)nb_e4m3x2_from_f32(h.v[e] * inverse, 0);
        else
            ((uint16_t *)page)[at + e * step] = nb_bf16_from_f32(h.v[e]);
}

// The query heads of a KV head into the team's shared memory; the token's K and V into the cache, by the team that has
// its page: `page`, else NULL.
template <int D, bool FP8>
__device__ static void prepare_heads(const nb_cuda_attention &a, nb_single_team *team, const float2 *rope, int kv,
                                     int pos, uint8_t *page)
{
    int group = a.n_head / a.n_kv_head, q_rows = D * (1 + a.gated), warp = nb_team_warp(), lane = threadIdx.x & 31;
    int n_job = group + (page ? 2 : 0), row = pos % NB_PAGE_TOKENS; // jobs: the queries, K, V
    const float *key = a.projected + a.n_head * q_rows + kv * D;
    bool in = lane < D / 8;
    auto load = [&](int j) {
        const float *x = j < group ? a.projected + (kv * group + j) * q_rows : j == group ? key : key + a.n_kv_head * D;
        return load_head(x + lane * 8, in && j < n_job);
    };
    head_values q_norm = load_head(a.q_norm + lane * 8, in), k_norm = load_head(a.k_norm + lane * 8, in),
                next = load(warp);
#pragma unroll 1
    for (int j = warp; j < n_job; j += NB_TEAM_WARPS) {
        head_values h = next, w = q_norm;
        next = load(j + NB_TEAM_WARPS);
        if (j == group) w = k_norm;
        if (j <= group) norm_rotate<D>(a, &h, w, rope);
        if (!in) continue;
        if (j < group)
            *(uint4 *)&team->q[j][lane * 8] =
                make_uint4(query_pair<FP8>(h.v[0], h.v[1]), query_pair<FP8>(h.v[2], h.v[3]),
                           query_pair<FP8>(h.v[4], h.v[5]), query_pair<FP8>(h.v[6], h.v[7]));
        else if (j == group)
            store_cache<FP8>(page, ((int64_t)kv * NB_PAGE_TOKENS + row) * D + lane * 8, 1, h, a.k_scale);
        else
            store_cache<FP8>(page, ((int64_t)(a.n_kv_head + kv) * D + lane * 8) * NB_PAGE_TOKENS + row, NB_PAGE_TOKENS,
                             h, a.v_scale);
    }
    __threadfence_block();
    nb_team_sync();
}

// A team's pages of one KV head; sums to part.
template <int D, bool FP8>
__device__ static void attend_as(const nb_cuda_attention &a, nb_single_team *teams, const float2 *rope)
{
    int i_team = threadIdx.x / NB_TEAM_THREADS, id = blockIdx.x * 2 + i_team, kv = id % a.n_kv_head,
        split = id / a.n_kv_head;
    nb_single_team *team = teams + i_team;
    nb_attention_seq s = a.seq[0];
    int n_page = s.n_past / NB_PAGE_TOKENS + 1, per = (n_page + a.n_split - 1) / a.n_split;
    int first = split * per, end = min(n_page, first + per), group = a.n_head / a.n_kv_head;
    if (split >= a.n_split || first >= n_page) return;
    int warp = nb_team_warp(), lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    uint8_t *page = a.cache + (int64_t)a.page[s.page_first + n_page - 1] * a.page_bytes;
    prepare_heads<D, FP8>(a, team, rope, kv, s.n_past, end == n_page ? page : NULL);
    uint32_t q[D / 64][8] = {};
    if (g < group)
#pragma unroll
        for (int kt = 0; kt < D / 64; kt++) {
            *(uint4 *)q[kt] = *(const uint4 *)&team->q[g][kt * 64 + t * 16];
            *(uint4 *)(q[kt] + 4) = *(const uint4 *)&team->q[g][kt * 64 + t * 16 + 8];
        }
    int limit[2] = {s.n_past + 1, s.n_past + 1};
    nb_column_state<D> st;
    nb_attend_pages<D, FP8>(a, a.page + s.page_first, kv, first, end, q, limit, &team->exchange, &st);
    int64_t at = (int64_t)(kv * a.n_split + split) * NB_ATTENTION_COLUMNS;
#pragma unroll
    for (int c = 0; c < 4; c++) {
        int column = 2 * t + (c & 1);
        if (column >= group) continue;
        const float(*sum)[NB_ATTENTION_COLUMNS] = team->exchange.sum;
        if (warp == 0 && g == 0 && c < 2)
            a.part_sum[at + column] =
                make_float2(st.top[c & 1], sum[0][column] + sum[1][column] + sum[2][column] + sum[3][column]);
#pragma unroll
        for (int m = 0; m < D / 64; m++)
            a.part[(at + column) * D + warp * (D / NB_TEAM_WARPS) + m * 16 + g + 8 * (c >> 1)] = st.o[m][c];
    }
}

__device__ static void attend(const nb_cuda_attention &a, nb_single_shared *sh)
{
    switch (a.d_head + a.fp8) {
    case 128: attend_as<128, false>(a, sh->team, sh->rope); break;
    case 129: attend_as<128, true>(a, sh->team, sh->rope); break;
    case 256: attend_as<256, false>(a, sh->team, sh->rope); break;
    default: attend_as<256, true>(a, sh->team, sh->rope); break;
    }
}

// Sum of the splits: 32 values of a head by a block, its warps sharing the splits.
__device__ static void add_splits(const nb_cuda_attention &a, nb_single_shared *sh)
{
    int n_page = a.seq[0].n_past / NB_PAGE_TOKENS + 1, per = (n_page + a.n_split - 1) / a.n_split,
        n = (n_page + per - 1) / per;
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, group = a.n_head / a.n_kv_head;
#pragma unroll 1
    for (int piece = blockIdx.x; piece < a.n_head * a.d_head / 32; piece += gridDim.x) {
        int head = piece * 32 / a.d_head, i = piece * 32 % a.d_head + lane, column = head % group;
        int64_t first = (int64_t)(head / group) * a.n_split;
        const float2 *ms = a.part_sum + first * NB_ATTENTION_COLUMNS + column;
        float top = -INFINITY, sum = 0, y = 0;
#pragma unroll 1
        for (int j = lane; j < n; j += 32) top = fmaxf(top, __ldcg(ms + j * NB_ATTENTION_COLUMNS).x);
        top = nb_warp_max(top);
#pragma unroll 1
        for (int j = lane; j < n; j += 32) {
            float2 m = __ldcg(ms + j * NB_ATTENTION_COLUMNS);
            sum += exp2f(m.x - top) * m.y;
        }
        sum = nb_warp_sum(sum);
#pragma unroll 4
        for (int j = warp; j < n; j += WARPS)
            y += exp2f(__ldcg(ms + j * NB_ATTENTION_COLUMNS).x - top) *
                 __ldcg(a.part + ((first + j) * NB_ATTENTION_COLUMNS + column) * a.d_head + i);
        float *red = &sh->red[0][0][0];
        red[warp * 32 + lane] = y;
        nb_single_sync();
        if (warp == 0) {
            y = 0;
#pragma unroll
            for (int k = 0; k < WARPS; k++) y += red[k * 32 + lane];
            y *= a.v_scale / sum;
            if (a.gated) y *= nb_sigmoid(__ldcg(a.projected + head * 2 * a.d_head + a.d_head + i));
            a.out[head * a.d_head + i] = nb_bf16_from_f32(y);
        }
        nb_single_sync();
    }
}

// The experts of the token, the shared one first, and their weights with down's multipliers.
__device__ static void route(const nb_single_args &p, nb_single_shared *sh)
{
    const nb_cuda_experts &x = sh->layer.experts;
    int shared = p.route.has_shared, i = threadIdx.x, e;
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); // what was here before the experts' weights
    float gate = shared ? __ldcg(p.route.logits + p.route.n_expert) : 0.0f;
    if (i < 32) {
        nb_route_token_of<NB_SINGLE_EXPERT_MAX / 32>(p.route, 0, sh->index + shared, sh->weight + shared, false);
        if (i == 0 && shared) sh->index[0] = p.route.n_expert, sh->weight[0] = nb_sigmoid(gate);
    }
    nb_single_sync();
    if (i >= p.route.top_k + shared) return;
    e = sh->index[i];
    sh->weight[i] *= e == p.route.n_expert ? sh->layer.shared_down.scale_low
                     : x.down_multiplier   ? __ldg(x.down_multiplier + e)
                                           : x.down.scale_low;
}

// One row tile of a group's matrix into shared memory: the data, then the scales.
template <int KIND>
__device__ __forceinline__ static void copy_tile(uint8_t *to, const nb_cuda_matrix &m, int64_t data, int64_t scale,
                                                 int row_tile, uint64_t *full)
{
    int n_unit = m.n_k_tile / nb_unit<KIND>::n_tile, n_data = n_unit * nb_ring<KIND>::n * 512;
    nb_bulk_copy(to, m.data + data + (int64_t)row_tile * n_data / 16, n_data, full);
    if (KIND == NB_KIND_NVFP4)
        nb_bulk_copy(to + n_data, m.scale + scale + (int64_t)row_tile * n_unit * 32, n_unit * 128, full);
}

template <int KIND> __device__ __forceinline__ static int tile_bytes(const nb_cuda_matrix &m)
{
    return m.n_k_tile / nb_unit<KIND>::n_tile * nb_ring<KIND>::bytes;
}

// Begins the copies of the chosen experts' weights: a thread a row tile.
template <int KIND> __device__ static void copy_experts(const nb_single_args &p, nb_single_shared *sh)
{
    const nb_cuda_experts &x = sh->layer.experts;
    int n_group = p.route.top_k + p.route.has_shared, n_tile = x.gate_up.n_row_tile, i = threadIdx.x, group = i - 32;
    int q = blockIdx.x + i * gridDim.x;
    if (i < NB_SINGLE_GATE_MAX && q < n_group * n_tile) {
        int64_t e = sh->index[q / n_tile];
        bool shared = e == p.route.n_expert;
        nb_mbar_expect(&sh->gate_full[i], tile_bytes<KIND>(x.gate_up));
        copy_tile<KIND>(sh->gate[i], shared ? sh->layer.shared_gate_up : x.gate_up, shared ? 0 : e * x.gate_up_data,
                        shared ? 0 : e * x.gate_up_scale, q % n_tile, &sh->gate_full[i]);
    }
    if (group < 0 || group >= n_group || (int)blockIdx.x >= x.down.n_row_tile) return;
    int64_t e = sh->index[group];
    bool shared = e == p.route.n_expert;
    nb_mbar_expect(&sh->down_full, tile_bytes<KIND>(x.down));
    copy_tile<KIND>(sh->down + group * tile_bytes<KIND>(x.down), shared ? sh->layer.shared_down : x.down,
                    shared ? 0 : e * x.down_data, shared ? 0 : e * x.down_scale, blockIdx.x, &sh->down_full);
}

// y0 += unit u0 of a row tile in shared memory times its columns of x0; y1 += the same of another, if `two`.
template <int KIND>
__device__ __forceinline__ static void unit_pair(float y0[2][4], float y1[2][4], const nb_cuda_matrix &m,
                                                 const uint8_t *tile0, int u0, const uint16_t *x0, const uint8_t *tile1,
                                                 int u1, const uint16_t *x1, bool two)
{
    constexpr int n_half = KIND == NB_KIND_BF16 ? 2 : 1; // pieces of a unit
    int n_data = m.n_k_tile * nb_unit<KIND>::n_chunk * 512;
#pragma unroll
    for (int i = 0; i < n_half; i++) {
        nb_single_piece<KIND> p0, p1;
        nb_single_read<KIND>(&p0, tile0 + u0 * nb_ring<KIND>::n * 512 + i * 512, tile0 + n_data + u0 * 128, x0,
                             u0 * n_half + i, true);
        nb_single_read<KIND>(&p1, tile1 + u1 * nb_ring<KIND>::n * 512 + i * 512, tile1 + n_data + u1 * 128, x1,
                             u1 * n_half + i, two);
        nb_single_multiply<KIND>(y0, p0), nb_single_multiply<KIND>(y1, p1);
    }
}

// Gate and up: a block's row tiles over all groups, a warp's part of K.
template <int KIND> __device__ static void gate_up(const nb_single_args &p, nb_single_shared *sh, int parity)
{
    const nb_cuda_experts &x = sh->layer.experts;
    int warp = threadIdx.x >> 5, n_all = (p.route.top_k + p.route.has_shared) * x.gate_up.n_row_tile;
    int n_tile = x.gate_up.n_row_tile, n_unit = x.gate_up.n_k_tile / nb_unit<KIND>::n_tile;
#pragma unroll 1
    for (int i = 0; i < NB_SINGLE_GATE_MAX && (int)blockIdx.x + i * (int)gridDim.x < n_all; i++) {
        float y0[2][4] = {}, y1[2][4] = {};
        nb_mbar_wait(&sh->gate_full[i], parity);
#pragma unroll 1
        for (int u = warp; u < n_unit; u += 2 * WARPS) {
            bool two = u + WARPS < n_unit;
            unit_pair<KIND>(y0, y1, x.gate_up, sh->gate[i], u, sh->x[1], sh->gate[i], two ? u + WARPS : u, sh->x[1],
                            two);
        }
#pragma unroll
        for (int c = 0; c < 4; c++) y0[0][c] += y1[0][c], y0[1][c] += y1[1][c];
        nb_single_store(sh->red[i][warp], y0);
    }
    nb_single_sync();
    int i = threadIdx.x >> 3, r = threadIdx.x & 7, q = blockIdx.x + i * gridDim.x;
    if (i >= NB_SINGLE_GATE_MAX || q >= n_all) return;
    int e = sh->index[q / n_tile], ff = q % n_tile * 8 + r;
    bool shared = e == p.route.n_expert;
    const nb_cuda_matrix &m = shared ? sh->layer.shared_gate_up : x.gate_up;
    float gate = 0, up = 0, gate_scale = m.scale_low, up_scale = m.scale_high;
    if (!shared && x.gate_multiplier) gate_scale = __ldg(x.gate_multiplier + e), up_scale = __ldg(x.up_multiplier + e);
#pragma unroll
    for (int k = 0; k < WARPS; k++) gate += sh->red[i][k][r], up += sh->red[i][k][r + 8];
    gate *= gate_scale, up *= up_scale;
    if (ff < m.n_out / 2) p.inter[q / n_tile * p.inter_stride + ff] = nb_bf16_from_f32(nb_silu(gate) * up);
}

// Down, of all groups, added to the residual stream: 16 rows a block.
template <int KIND> __device__ static void down(const nb_single_args &p, nb_single_shared *sh, int parity)
{
    const nb_cuda_experts &x = sh->layer.experts;
    int warp = threadIdx.x >> 5, n_group = p.route.top_k + p.route.has_shared, row = blockIdx.x * 16 + threadIdx.x;
    int n_unit = x.down.n_k_tile / nb_unit<KIND>::n_tile;
    if ((int)blockIdx.x >= x.down.n_row_tile) return;
    uint16_t *inter = sh->x[0];
    float old = threadIdx.x < 16 && row < p.d_model ? __ldcg(p.residual + row) : 0.0f;
    for (int i = threadIdx.x; i < n_group * p.inter_stride / 8; i += THREADS)
        ((uint4 *)inter)[i] = __ldcg((const uint4 *)p.inter + i);
    nb_mbar_wait(&sh->down_full, parity);
    nb_single_sync();
    float total[2][4] = {};
    int n_all = n_group * n_unit;
#pragma unroll 1
    for (int q = warp; q < n_all; q += 2 * WARPS) { // of two groups at a time
        bool two = q + WARPS < n_all;
        int q1 = two ? q + WARPS : q, g0 = q / n_unit, g1 = q1 / n_unit, bytes = tile_bytes<KIND>(x.down);
        float y0[2][4] = {}, y1[2][4] = {};
        unit_pair<KIND>(y0, y1, x.down, sh->down + g0 * bytes, q % n_unit, inter + g0 * p.inter_stride,
                        sh->down + g1 * bytes, q1 % n_unit, inter + g1 * p.inter_stride, two);
#pragma unroll
        for (int c = 0; c < 4; c++)
            total[0][c] += sh->weight[g0] * (y0[0][c] + y0[1][c]),
                total[1][c] += sh->weight[g1] * (y1[0][c] + y1[1][c]);
    }
    nb_single_store(sh->red[0][warp], total);
    nb_single_sync();
    if (threadIdx.x >= 16 || row >= p.d_model) return;
#pragma unroll
    for (int k = 0; k < WARPS; k++) old += sh->red[0][k][threadIdx.x];
    p.residual[row] = old;
}

// Stages of full attention between its projections, with a barrier of their own.
__device__ static void attention(const nb_single_args &p, nb_single_shared *sh, nb_single_barrier *barrier)
{
    nb_cuda_attention a = attention_of(p, sh->layer);
    a.seq = &sh->attention_seq;
    attend(a, sh);
    nb_single_arrive(barrier), nb_single_wait(barrier);
    add_splits(a, sh);
}

__device__ static void mixer_input(const nb_single_args &p, nb_single_shared *sh, bool gdn, float inverse)
{
    if (gdn)
        gated_input(p, sh, inverse);
    else
        attended_input(p, sh, inverse);
}

// Before the state is wanted, and while the projections before it are computed.
__device__ static void fetch_state(const nb_single_args &p, nb_single_shared *sh)
{
    if ((int)blockIdx.x >= p.gdn.n_value_head * (NB_GDN_DIM / 32)) return;
    nb_cuda_gdn g = gdn_of(p, sh->layer, &sh->gdn_seq);
    nb_gdn_fetch_state<32>(g, nb_gdn_open<32>(g, blockIdx.x), &sh->delta.stage);
    asm volatile("cp.async.commit_group;");
}

// Barriers, and what is the same in every layer.
__device__ static void open_shared(const nb_single_args &p, nb_single_shared *sh)
{
    if ((int)threadIdx.x < p.attention.n_rot / 2) {
        float c, s;
        sincosf((float)p.attention.seq[0].n_past * __ldg(p.attention.inv_freq + threadIdx.x), &s, &c);
        sh->rope[threadIdx.x] = make_float2(c * p.attention.rope_factor, s * p.attention.rope_factor);
    }
    if (threadIdx.x == 0) {
        for (int i = 0; i < NB_SINGLE_DEPTH; i++) nb_mbar_init(&sh->full[i], 1), nb_mbar_init(&sh->empty[i], WARPS);
        for (int i = 0; i < NB_SINGLE_GATE_MAX; i++) nb_mbar_init(&sh->gate_full[i], 1);
        nb_mbar_init(&sh->down_full, p.route.top_k + p.route.has_shared);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        sh->gdn_seq = p.gdn.seq[0], sh->attention_seq = p.attention.seq[0];
    }
    __syncthreads();
}

#endif

template <int KIND>
__global__ void __launch_bounds__(THREADS + 32, 1) single_kernel(const __grid_constant__ nb_single_args p)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    extern __shared__ __align__(128) uint8_t smem[];
    nb_single_shared *sh = (nb_single_shared *)smem;
    nb_single_place at = {0, 0};
    nb_single_barrier barrier;
    nb_touch(p);
    open_shared(p, sh);
    if (threadIdx.x >= THREADS) {
        if (threadIdx.x == THREADS) nb_single_feed(p, sh);
        return;
    }
    nb_single_barrier_open(&barrier, p.barrier);
    nb_grid_wait();
    nb_grid_release();
    nb_single_arrive(&barrier);
#pragma unroll 1
    for (int i = 0; i < p.n_layer; i++) {
        const nb_cuda_layer &next = p.layer[i], &l = sh->layer;
        bool gdn = next.kind != NB_LAYER_FULL_ATTENTION;
#pragma unroll 1
        for (int j = threadIdx.x; j < (int)sizeof(nb_cuda_layer) / 4; j += THREADS)
            ((uint32_t *)&sh->layer)[j] = __ldg((const uint32_t *)&next + j);
#pragma unroll 1
        for (int stage = 0; stage < 3; stage++) { // into the mixer, out of it, router
            const nb_cuda_matrix *m = stage == 0   ? (gdn ? &l.qkv : &l.q)
                                      : stage == 1 ? (gdn ? &l.out : &l.o)
                                                   : &l.router;
            norm_ahead ahead = {};
            if (stage != 1) ahead = load_norm(p, stage ? next.post_attention_layernorm : next.input_layernorm);
            nb_single_wait(&barrier);
            if (stage == 1) {
                if (gdn)
                    delta(p, sh);
                else
                    attention(p, sh, &barrier);
                nb_single_arrive(&barrier), nb_single_wait(&barrier);
                mixer_input(p, sh, gdn, inverse_of(*m));
            } else {
                norm_input(p, sh, ahead, inverse_of(*m));
            }
            int n = stage == 0 ? (gdn ? 4 : 3) : stage == 1 ? 1 : 1 + l.has_shared;
            if (stage == 0 && gdn) fetch_state(p, sh);
            product(p, &at, sh, m, n, p.output[stage == 0 ? !gdn : stage + 1]);
            nb_single_arrive(&barrier);
        }
        nb_single_wait(&barrier);
        route(p, sh);
        copy_experts<KIND>(p, sh);
        gate_up<KIND>(p, sh, i & 1);
        nb_single_arrive(&barrier), nb_single_wait(&barrier);
        down<KIND>(p, sh, i & 1);
        nb_single_arrive(&barrier);
    }
#endif
}

int nb_cuda_single_run(const nb_cuda_launch *at, const nb_single_args *p, int kind, nb_error *err)
{
    auto kernel = kind == NB_KIND_NVFP4 ? single_kernel<NB_KIND_NVFP4> : single_kernel<NB_KIND_BF16>;
    return nb_cuda_start(at, kernel, at->n_sm, THREADS + 32, sizeof(nb_single_shared), err, *p);
}

size_t nb_cuda_single_shared_bytes(void)
{
    return sizeof(nb_single_shared);
}
