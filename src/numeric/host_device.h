// NB_HD marks a function as usable from host code and from CUDA kernels alike: one definition for both.
#ifndef NB_HOST_DEVICE_H
#define NB_HOST_DEVICE_H

#ifdef __CUDACC__
#define NB_HD static __host__ __device__ __forceinline__
#else
#define NB_HD static inline
#endif

#endif
