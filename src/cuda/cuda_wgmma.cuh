// Hopper's own instructions (sm_90a): wgmma, mbarriers, bulk and asynchronous copies into shared memory, registers
// moved between warpgroups. For other targets NB_HAVE_WGMMA is 0 and only the places in panels are defined: kernels
// built from the rest have an empty body there, and nb_product_usable keeps them from being launched.
//
// Operands in shared memory are K-major panels: 128 bytes (64 values of 16 bits) of each row, rows behind each other,
// 16-byte chunks swizzled by the row (nb_swizzle); a panel begins at a multiple of 1024 bytes.
#ifndef NB_CUDA_WGMMA_CUH
#define NB_CUDA_WGMMA_CUH

#include "cuda/cuda_tile.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define NB_HAVE_WGMMA 1
#else
#define NB_HAVE_WGMMA 0
#endif

enum { NB_PANEL_ROW = 128, NB_PANEL_K = 64, NB_WARPGROUP = 128 }; // bytes of a row, its 16-bit values; threads

// Registers of a thread at the launch of one block of n_thread to an SM; warpgroups that ask for more than others give
// back wait forever.
constexpr int nb_registers_launched(int n_thread)
{
    return 65536 / n_thread / 8 * 8;
}

// Byte of chunk `chunk` (0..7) of row `row` in a panel.
__device__ __forceinline__ uint32_t nb_swizzle(int row, int chunk)
{
    return (uint32_t)(row * NB_PANEL_ROW + ((chunk ^ row) & 7) * 16);
}

__device__ __forceinline__ void nb_copy_16(uint32_t to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;" ::"r"(to), "l"(from));
}

// This thread's copies so far are done.
__device__ __forceinline__ void nb_barrier_init(uint64_t *b, int n_arrive)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(nb_shared_at(b)), "r"(n_arrive));
}

__device__ __forceinline__ void nb_barrier_init_done(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void nb_barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(nb_shared_at(b)) : "memory");
}

__device__ __forceinline__ void nb_barrier_expect(uint64_t *b, int n_byte)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(nb_shared_at(b)), "r"(n_byte)
                 : "memory");
}

__device__ __forceinline__ void nb_barrier_wait(uint64_t *b, uint32_t parity)
{
    asm volatile(
        "{\n.reg .pred done;\n"
        "again:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra again;\n}" ::"r"(nb_shared_at(b)),
        "r"(parity)
        : "memory");
}

// Whether a barrier's phase is over, without waiting.
__device__ __forceinline__ bool nb_barrier_passed(uint64_t *b, uint32_t parity)
{
    uint32_t done;
    asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p,[%1],%2; selp.u32 %0,1,0,p;}"
                 : "=r"(done)
                 : "r"(nb_shared_at(b)), "r"(parity)
                 : "memory");
    return done;
}

// Makes ordinary accesses to shared memory so far come before what wgmma and bulk copies do to it.
__device__ __forceinline__ void nb_fence_async(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// n_byte (a multiple of 16) of global memory into L2, on Hopper and later.
__device__ __forceinline__ void nb_prefetch_bulk(const void *from, int n_byte)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0],%1;" ::"l"(from), "r"(n_byte) : "memory");
}

#if NB_HAVE_WGMMA
// This thread's cp.async so far arrive at the barrier when they are done, as one of its expected arrivals.
__device__ __forceinline__ void nb_barrier_arrive_copies(uint64_t *b)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(nb_shared_at(b)) : "memory");
}

// n_byte (a multiple of 16) from global memory in one go; the barrier counts the bytes.
__device__ __forceinline__ void nb_copy_bulk(uint32_t to, const void *from, int n_byte, uint64_t *b)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(to),
                 "l"(from), "r"(n_byte), "r"(nb_shared_at(b))
                 : "memory");
}

// The box of a map's two dimensions (bytes of a row, rows) at `column` and `row`; the barrier counts its bytes.
__device__ __forceinline__ void nb_copy_box(uint32_t to, const void *map, int column, int row, uint64_t *b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0],[%1,{%2,%3}],[%4];" ::"r"(to),
                 "l"(map), "r"(column), "r"(row), "r"(nb_shared_at(b))
                 : "memory");
}

// Makes what ordinary writes left in global memory, once it is visible, visible to this thread's bulk copies.
__device__ __forceinline__ void nb_fence_async_global(void)
{
    asm volatile("fence.proxy.async.global;" ::: "memory");
}

template <int N> __device__ __forceinline__ void nb_registers_more(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> __device__ __forceinline__ void nb_registers_fewer(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

// Descriptor of a panel at `at`: 128-byte swizzle, 1024 bytes from 8 rows to the next. 16 values on: + 2.
__device__ __forceinline__ uint64_t nb_panel(uint32_t at)
{
    return (uint64_t)(at >> 4) | (uint64_t)1 << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

__device__ __forceinline__ void nb_wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void nb_wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int N> __device__ __forceinline__ void nb_wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

#define NB_REG_0   "%0,%1,%2,%3,%4,%5,%6,%7"
#define NB_REG_8   "%8,%9,%10,%11,%12,%13,%14,%15"
#define NB_REG_16  "%16,%17,%18,%19,%20,%21,%22,%23"
#define NB_REG_24  "%24,%25,%26,%27,%28,%29,%30,%31"
#define NB_REG_32  "%32,%33,%34,%35,%36,%37,%38,%39"
#define NB_REG_40  "%40,%41,%42,%43,%44,%45,%46,%47"
#define NB_REG_48  "%48,%49,%50,%51,%52,%53,%54,%55"
#define NB_REG_56  "%56,%57,%58,%59,%60,%61,%62,%63"
#define NB_REG_64  "%64,%65,%66,%67,%68,%69,%70,%71"
#define NB_REG_72  "%72,%73,%74,%75,%76,%77,%78,%79"
#define NB_REG_80  "%80,%81,%82,%83,%84,%85,%86,%87"
#define NB_REG_88  "%88,%89,%90,%91,%92,%93,%94,%95"
#define NB_REG_96  "%96,%97,%98,%99,%100,%101,%102,%103"
#define NB_REG_104 "%104,%105,%106,%107,%108,%109,%110,%111"
#define NB_REG_112 "%112,%113,%114,%115,%116,%117,%118,%119"
#define NB_REG_120 "%120,%121,%122,%123,%124,%125,%126,%127"
#define NB_REGS_16 NB_REG_0 "," NB_REG_8
#define NB_REGS_32 NB_REGS_16 "," NB_REG_16 "," NB_REG_24
#define NB_REGS_48 NB_REGS_32 "," NB_REG_32 "," NB_REG_40
#define NB_REGS_64 NB_REGS_48 "," NB_REG_48 "," NB_REG_56
#define NB_REGS_128                                                                                                \
    NB_REGS_64 "," NB_REG_64 "," NB_REG_72 "," NB_REG_80 "," NB_REG_88 "," NB_REG_96 "," NB_REG_104 "," NB_REG_112 \
               "," NB_REG_120
#define NB_OUT_8(d, i)                                                                                          \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define NB_OUT_16(d, i)  NB_OUT_8(d, i), NB_OUT_8(d, i + 8)
#define NB_OUT_32(d, i)  NB_OUT_16(d, i), NB_OUT_16(d, i + 16)
#define NB_OUT_48(d, i)  NB_OUT_32(d, i), NB_OUT_16(d, i + 32)
#define NB_OUT_64(d, i)  NB_OUT_32(d, i), NB_OUT_32(d, i + 32)
#define NB_OUT_128(d, i) NB_OUT_64(d, i), NB_OUT_64(d, i + 64)

// One wgmma with A from registers. n: columns; regs: n / 2; a0..p: the numbers of the operands behind them.
#define NB_WGMMA_RS(n, regs, out, a0, a1, a2, a3, b, p, type)                                                   \
    asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %" #p ", 0;\n"                                         \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" regs "}, {%" #a0 ",%" #a1 \
                 ",%" #a2 ",%" #a3 "}, %" #b ", keep, 1, 1, 0;\n}"                                              \
                 : out                                                                                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(panel), "r"(keep))

// d[64][N] (+)= a[64][16] b[N][16]^T, in flight until waited for; keep 0: d is overwritten. d: as c of nb_mma, 8
// columns behind the other; a: as a of nb_mma, a warp's 16 rows.
template <int N, bool F16>
__device__ __forceinline__ void nb_wgmma(float *d, const uint32_t a[4], uint64_t panel, int keep)
{
    static_assert(N == 32 || N == 64 || N == 96 || N == 128 || N == 256, "columns of a product");
    if constexpr (N == 32 && F16) NB_WGMMA_RS(32, NB_REGS_16, NB_OUT_16(d, 0), 16, 17, 18, 19, 20, 21, "f16");
    if constexpr (N == 32 && !F16) NB_WGMMA_RS(32, NB_REGS_16, NB_OUT_16(d, 0), 16, 17, 18, 19, 20, 21, "bf16");
    if constexpr (N == 64 && F16) NB_WGMMA_RS(64, NB_REGS_32, NB_OUT_32(d, 0), 32, 33, 34, 35, 36, 37, "f16");
    if constexpr (N == 64 && !F16) NB_WGMMA_RS(64, NB_REGS_32, NB_OUT_32(d, 0), 32, 33, 34, 35, 36, 37, "bf16");
    if constexpr (N == 96 && F16) NB_WGMMA_RS(96, NB_REGS_48, NB_OUT_48(d, 0), 48, 49, 50, 51, 52, 53, "f16");
    if constexpr (N == 96 && !F16) NB_WGMMA_RS(96, NB_REGS_48, NB_OUT_48(d, 0), 48, 49, 50, 51, 52, 53, "bf16");
    if constexpr (N == 128 && F16) NB_WGMMA_RS(128, NB_REGS_64, NB_OUT_64(d, 0), 64, 65, 66, 67, 68, 69, "f16");
    if constexpr (N == 128 && !F16) NB_WGMMA_RS(128, NB_REGS_64, NB_OUT_64(d, 0), 64, 65, 66, 67, 68, 69, "bf16");
    if constexpr (N == 256 && F16) NB_WGMMA_RS(256, NB_REGS_128, NB_OUT_128(d, 0), 128, 129, 130, 131, 132, 133, "f16");
    if constexpr (N == 256 && !F16)
        NB_WGMMA_RS(256, NB_REGS_128, NB_OUT_128(d, 0), 128, 129, 130, 131, 132, 133, "bf16");
}

// The same with A, 64 rows, in a panel too; 64 columns.
#define NB_WGMMA_SS_64(type)                                                                 \
    asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %34, 0;\n"                          \
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" NB_REGS_32 \
                 "}, %32, %33, keep, 1, 1, 0, "                                              \
                 "0;\n}"                                                                     \
                 : NB_OUT_32(d, 0)                                                           \
                 : "l"(left), "l"(right), "r"(keep))

template <bool F16> __device__ __forceinline__ void nb_wgmma_64(float d[32], uint64_t left, uint64_t right, int keep)
{
    if constexpr (F16)
        NB_WGMMA_SS_64("f16");
    else
        NB_WGMMA_SS_64("bf16");
}

// d[64][128] (+)= a[64][32] b[128][32]^T of e4m3 codes. a: four codes of a row in each register, in the places of the
// two 16-bit values of nb_mma. Sums have fewer bits than binary32.
__device__ __forceinline__ void nb_wgmma_e4m3(float d[64], const uint32_t a[4], uint64_t panel, int keep)
{
    asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" NB_REGS_64
                 "}, {%64,%65,%66,%67}, %68, keep, 1, "
                 "1;\n}"
                 : NB_OUT_64(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(panel), "r"(keep));
}
#endif

#endif
