// Gated DeltaNet of one new token a sequence. The blocks fill the card once and walk over items: W columns of one value
// head of one sequence. An item's state, journal, convolution inputs and weights are copied to shared memory while the
// item before is computed, so that the reads of S never stop. Where the output projection's input is wanted, a block
// takes all items of a head one after the other and normalises the head itself.
//
// Bytes of an item: its part of S and of the journal once; S written back once in NB_JOURNAL_ROWS steps.
#include "cuda/cuda_deltanet_item.cuh"
#include "cuda/cuda_prepared.cuh"

enum { THREADS = NB_GDN_THREADS, DIM = NB_GDN_DIM, GATING_WARP = THREADS / NB_CUDA_WARP - 1 };

// A head's o as the output projection's input, four columns a lane. By one warp.
__device__ __forceinline__ static void store_gated(const nb_cuda_gdn &p, const nb_gdn_gated &g, const nb_gdn_item &i,
                                                   const float *head, float4 w, uint2 z)
{
    int at = (threadIdx.x & 31) * 4;
    float4 o = *(const float4 *)(head + at);
    float scale = rsqrtf(nb_warp_sum(nb_square_sum(o)) / (float)DIM + g.eps);
    o.x *= nb_silu(nb_f32_from_bits(z.x << 16)), o.y *= nb_silu(nb_f32_from_bits(z.x & 0xffff0000u));
    o.z *= nb_silu(nb_f32_from_bits(z.y << 16)), o.w *= nb_silu(nb_f32_from_bits(z.y & 0xffff0000u));
    float4 v = {o.x * scale * w.x, o.y * scale * w.y, o.z * scale * w.z, o.w * scale * w.w};
    nb_store_prepared(g.to, i.seq.tok_first, i.head * DIM + at, v);
}

// The item behind `item` of a block that takes `n_run` neighbours at a time.
__device__ __forceinline__ static int next_item(int item, int n_run)
{
    return (item + 1) % n_run ? item + 1 : item + 1 + ((int)gridDim.x - 1) * n_run;
}

template <int W, bool GATED>
__global__ void __launch_bounds__(THREADS, 2)
    delta_decode_kernel(const __grid_constant__ nb_cuda_gdn p, const __grid_constant__ nb_gdn_gated g)
{
    constexpr int slices = DIM / W, n_run = GATED ? slices : 1;
    extern __shared__ __align__(16) uint8_t smem[];
    __shared__ __align__(16) nb_gdn_workspace x;
    __shared__ __align__(16) float head[DIM];
    nb_gdn_stage<W> *st = (nb_gdn_stage<W> *)smem;
    int item = blockIdx.x * n_run, n_item = p.n_seq * p.n_value_head * slices, parity = 0, at = (threadIdx.x & 31) * 4;
    nb_grid_release();
    nb_touch(p);
    nb_touch(g);
    nb_gdn_item now = nb_gdn_open<W>(p, item), next = now;
    nb_gdn_fetch_state<W>(p, now, st, threadIdx.x);
    float4 w = GATED ? __ldg((const float4 *)(g.norm + at)) : make_float4(0, 0, 0, 0);
    nb_grid_wait();
    nb_gdn_fetch_input<W>(p, &now, st);
    asm volatile("cp.async.commit_group;");
    for (int following; item < n_item; item = following, parity ^= 1, now = next) {
        following = next_item(item, n_run);
        if (following < n_item) {
            next = nb_gdn_open<W>(p, following);
            nb_gdn_fetch_state<W>(p, next, st + (parity ^ 1), threadIdx.x),
                nb_gdn_fetch_input<W>(p, &next, st + (parity ^ 1));
            asm volatile("cp.async.commit_group;");
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        bool last = GATED && item % slices == slices - 1 && threadIdx.x / NB_CUDA_WARP == GATING_WARP;
        uint2 z = {};
        if (last) // needed behind the item's products
            z = __ldcg((const uint2 *)(g.z + ((int64_t)now.seq.tok_first * p.n_value_head + now.head) * DIM + at));
        __syncthreads();
        nb_gdn_run_item<W>(p, now, st + parity, &x, GATED ? head : NULL);
        if (last) store_gated(p, g, now, head, w, z);
        __syncthreads();
    }
}

template <int W>
static int start(const nb_cuda_launch *at, const nb_cuda_gdn *p, const nb_gdn_gated *gated, nb_error *err)
{
    static const nb_gdn_gated none = {};
    int slices = DIM / W, n_run = gated ? slices : 1, n_group = p->n_seq * p->n_value_head * slices / n_run,
        wave = 2 * at->n_sm, n_stage = n_run > 1 || n_group > wave ? 2 : 1;
    auto kernel = gated ? delta_decode_kernel<W, true> : delta_decode_kernel<W, false>;
    return nb_cuda_start(at, kernel, n_group < wave ? n_group : wave, THREADS, n_stage * sizeof(nb_gdn_stage<W>), err,
                         *p, gated ? *gated : none);
}

int nb_cuda_gdn_decode_run(const nb_cuda_launch *at, const nb_cuda_gdn *p, const nb_gdn_gated *gated, nb_error *err)
{
    bool few = p->n_seq * p->n_value_head * 2 <= at->n_sm; // narrower items spread over the card
    bool wide = nb_cuda_shared_fits(2 * sizeof(nb_gdn_stage<64>) + sizeof(nb_gdn_workspace) + DIM * sizeof(float));
    return few || !wide ? start<32>(at, p, gated, err) : start<64>(at, p, gated, err);
}
