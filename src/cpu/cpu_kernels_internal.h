// What the files of the CPU kernels share: the sets, and the kernels that are the same in all of them.
#ifndef NB_CPU_KERNELS_INTERNAL_H
#define NB_CPU_KERNELS_INTERNAL_H

#include "cpu/cpu_kernels.h"

extern const nb_cpu_kernel_set nb_cpu_kernels_scalar;

void nb_cpu_matmul_scalar(const nb_cpu_matmul *matmul, int out_from, int out_to);

#if defined(__x86_64__)
extern const nb_cpu_kernel_set nb_cpu_kernels_avx2, nb_cpu_kernels_avx512;

void nb_cpu_matmul_avx2(const nb_cpu_matmul *matmul, int out_from, int out_to);
void nb_cpu_matmul_avx512(const nb_cpu_matmul *matmul, int out_from, int out_to);
#endif

#endif
