// The avx512 set of kernels; see cpu_ops_vec.h.
#if defined(__x86_64__)
#include "cpu/cpu_kernels_vec_avx512.h"
#include "cpu/cpu_ops_vec.h"

const nb_cpu_kernel_set nb_cpu_kernels_avx512 = {.name = "avx512", .matmul = nb_cpu_matmul_avx512, NB_CPU_OPS_VEC};
#endif
