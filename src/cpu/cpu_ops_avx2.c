// The avx2 set of kernels; see cpu_ops_vec.h.
#if defined(__x86_64__)
#include "cpu/cpu_kernels_vec_avx2.h"
#include "cpu/cpu_ops_vec.h"

const nb_cpu_kernel_set nb_cpu_kernels_avx2 = {.name = "avx2", .matmul = nb_cpu_matmul_avx2, NB_CPU_OPS_VEC};
#endif
