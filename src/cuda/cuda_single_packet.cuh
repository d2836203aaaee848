// Part of cuda_single.cu: how blocks hear of each other, by packets that carry their epoch and by the grid barrier.
#ifndef NB_CUDA_SINGLE_PACKET_CUH
#define NB_CUDA_SINGLE_PACKET_CUH

#include "cuda/cuda_single.cuh"

__device__ __forceinline__ void nb_packet_store(nb_packet *to, float value, uint32_t epoch)
{
    nb_packet v = (nb_packet)epoch << 32 | nb_f32_bits(value);
    asm volatile("st.relaxed.gpu.global.u64 [%0],%1;" ::"l"(to), "l"(v) : "memory");
}

// A packet, whatever epoch it is of.
__device__ __forceinline__ nb_packet nb_packet_any(const nb_packet *from)
{
    nb_packet v;
    asm volatile("ld.relaxed.gpu.global.u64 %0,[%1];" : "=l"(v) : "l"(from) : "memory");
    return v;
}

__device__ __forceinline__ float nb_packet_load(const nb_packet *from, uint32_t epoch)
{
    nb_packet v;
    do v = nb_packet_any(from);
    while ((uint32_t)(v >> 32) != epoch);
    return nb_f32_from_bits((uint32_t)v);
}

__device__ __forceinline__ void nb_packet_store_pair(nb_packet *to, float first, float second, uint32_t epoch)
{
    nb_packet a = (nb_packet)epoch << 32 | nb_f32_bits(first), b = (nb_packet)epoch << 32 | nb_f32_bits(second);
    asm volatile("st.relaxed.gpu.global.v2.u64 [%0],{%1,%2};" ::"l"(to), "l"(a), "l"(b) : "memory");
}

// Two packets, whatever epoch they are of.
__device__ __forceinline__ ulonglong2 nb_packet_pair(const nb_packet *from)
{
    ulonglong2 v;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0,%1},[%2];" : "=l"(v.x), "=l"(v.y) : "l"(from) : "memory");
    return v;
}

// N times four values of [n], a thread's THREADS * 4 apart; beyond n zero. All loads are on their way together.
template <int N>
__device__ __forceinline__ void nb_packet_load_all(float4 v[N], const nb_packet *from, int n, uint32_t epoch)
{
    ulonglong2 low[N], high[N];
    bool here[N], ready;
#pragma unroll
    for (int i = 0; i < N; i++) {
        here[i] = (int)(threadIdx.x + i * NB_SINGLE_THREADS) * 4 >= n;
        low[i] = high[i] = make_ulonglong2(0, 0);
    }
    do { // what is there is not asked for again: all blocks wait at once
        ready = true;
#pragma unroll
        for (int i = 0; i < N; i++) {
            const nb_packet *at = from + (threadIdx.x + i * NB_SINGLE_THREADS) * 4;
            if (!here[i]) low[i] = nb_packet_pair(at), high[i] = nb_packet_pair(at + 2);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            here[i] = here[i] || (low[i].x >> 32 == epoch && low[i].y >> 32 == epoch && high[i].x >> 32 == epoch &&
                                  high[i].y >> 32 == epoch);
            ready = ready && here[i];
        }
    } while (!ready);
#pragma unroll
    for (int i = 0; i < N; i++)
        v[i] = make_float4(nb_f32_from_bits((uint32_t)low[i].x), nb_f32_from_bits((uint32_t)low[i].y),
                           nb_f32_from_bits((uint32_t)high[i].x), nb_f32_from_bits((uint32_t)high[i].y));
}

// A grid barrier in two halves: what is behind the first may overlap with the others' arrival. The counter only grows.
typedef struct nb_single_barrier {
    unsigned long long *counter, target;
} nb_single_barrier;

__device__ __forceinline__ unsigned long long nb_single_count(const unsigned long long *counter)
{
    unsigned long long v;
    asm volatile("ld.acquire.gpu.global.u64 %0,[%1];" : "=l"(v) : "l"(counter) : "memory");
    return v;
}

// Returns how many barriers there have been.
__device__ __forceinline__ unsigned long long nb_single_barrier_open(nb_single_barrier *b, unsigned long long *counter)
{
    b->counter = counter,
    b->target = nb_single_count(counter); // fewer than gridDim.x have come to the first barrier yet
    b->target -= b->target % gridDim.x;
    return b->target / gridDim.x;
}

__device__ __forceinline__ void nb_single_arrive(nb_single_barrier *b)
{
    b->target += gridDim.x;
    nb_single_sync();
    if (threadIdx.x == 0)
        asm volatile("red.release.gpu.global.add.u64 [%0],%1;" ::"l"(b->counter), "l"(1ull) : "memory");
}

__device__ __forceinline__ void nb_single_wait(const nb_single_barrier *b)
{
    if (threadIdx.x == 0)
        while (nb_single_count(b->counter) < b->target) {
        }
    nb_single_sync();
}

#endif
