// Gated DeltaNet of one new token a sequence. The blocks fill the card once and walk over items: W columns of one value
// head of one sequence. An item's state, journal, convolution inputs and weights are copied to shared memory while the
// item before is computed, so that the reads of S never stop.
//
// Bytes of an item: its part of S and of the journal once; S written back once in NB_JOURNAL_ROWS steps.
#include "cuda/cuda_deltanet_item.cuh"

enum { THREADS = NB_GDN_THREADS, DIM = NB_GDN_DIM };

template <int W>
__global__ void __launch_bounds__(THREADS, 2) delta_decode_kernel(const __grid_constant__ nb_cuda_gdn p)
{
    extern __shared__ __align__(16) uint8_t smem[];
    __shared__ __align__(16) nb_gdn_workspace x;
    nb_gdn_stage<W> *st = (nb_gdn_stage<W> *)smem;
    int item = blockIdx.x, n_item = p.n_seq * p.n_value_head * (DIM / W), parity = 0;
    nb_grid_release();
    nb_touch(p);
    nb_gdn_item now = nb_gdn_open<W>(p, item), next = now;
    nb_gdn_fetch_state<W>(p, now, st);
    nb_grid_wait();
    nb_gdn_fetch_input<W>(p, &now, st);
    asm volatile("cp.async.commit_group;");
    for (; item < n_item; item += gridDim.x, parity ^= 1, now = next) {
        if (item + (int)gridDim.x < n_item) {
            next = nb_gdn_open<W>(p, item + gridDim.x);
            nb_gdn_fetch_state<W>(p, next, st + (parity ^ 1)), nb_gdn_fetch_input<W>(p, &next, st + (parity ^ 1));
            asm volatile("cp.async.commit_group;");
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        nb_gdn_run_item<W>(p, now, st + parity, &x);
        __syncthreads();
    }
}

template <int W> static int start(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    int n_item = p->n_seq * p->n_value_head * (DIM / W), wave = 2 * at->n_sm, n_stage = n_item > wave ? 2 : 1;
    return nb_cuda_start(at, delta_decode_kernel<W>, n_item < wave ? n_item : wave, THREADS,
                         n_stage * sizeof(nb_gdn_stage<W>), err, *p);
}

int nb_cuda_gdn_decode_run(const nb_cuda_launch *at, const nb_cuda_gdn *p, nb_error *err)
{
    bool few = p->n_seq * p->n_value_head * 2 <= at->n_sm; // narrower items spread over the card
    bool wide = nb_cuda_shared_fits(2 * sizeof(nb_gdn_stage<64>) + sizeof(nb_gdn_workspace));
    return few || !wide ? start<32>(at, p, err) : start<64>(at, p, err);
}
