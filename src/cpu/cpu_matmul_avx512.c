// The matrix product of the avx512 set; see cpu_matmul_vec.h.
#if defined(__x86_64__)
#include "cpu/cpu_kernels_vec_avx512.h"

enum { TILE = 4 }; // rows whose sums are held in registers together
#define NB_MATMUL_PAIRS
#include "cpu/cpu_matmul_vec.h"

void nb_cpu_matmul_avx512(const nb_cpu_matmul *matmul, int out_from, int out_to)
{
    matmul_vec(matmul, out_from, out_to);
}
#endif
