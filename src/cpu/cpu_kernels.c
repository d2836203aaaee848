// Which set of kernels this machine can run: the only place that asks the processor.
#include "cpu/cpu_kernels_internal.h"

#if defined(__x86_64__)
#include <cpuid.h>

static bool has_f16c(void) // clang 14's __builtin_cpu_supports does not know its name
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

// Zen 4, Cooper Lake, Sapphire Rapids and newer: older AVX-512 processors use the AVX2 set.
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16");
}
#endif

// NULL: not on this machine.
static const nb_cpu_kernel_set *set_of(nb_cpu_kernels which)
{
    switch (which) {
    case NB_CPU_SCALAR: return &nb_cpu_kernels_scalar;
#if defined(__x86_64__)
    case NB_CPU_AVX2: return has_avx2() ? &nb_cpu_kernels_avx2 : NULL;
    case NB_CPU_AVX512: return has_avx512() ? &nb_cpu_kernels_avx512 : NULL;
#endif
    default: return NULL;
    }
}

int nb_cpu_kernels_find(nb_cpu_kernels which, const nb_cpu_kernel_set **out, nb_error *err)
{
    static const char *const name[] = {"auto", "scalar", "avx2", "avx512"};
    *out = set_of(which);
    if (which == NB_CPU_AUTO) {
        for (nb_cpu_kernels best = NB_CPU_AVX512; !*out; best--) *out = set_of(best);
    }
    if (*out) return NB_OK;
    return nb_error_set(err, NB_ERR_INPUT, "this machine cannot run the %s kernels: use auto or scalar",
                        (unsigned)which < sizeof name / sizeof *name ? name[which] : "unknown");
}
