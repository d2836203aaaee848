// host emulation of CUDA blocks by fibers (scratch tool)
#pragma once
#include <ucontext.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <vector>
#include <functional>
#include <algorithm>
static inline int min(int a,int b){return a<b?a:b;} static inline int max(int a,int b){return a>b?a:b;} static inline unsigned max(unsigned a,unsigned b){return a>b?a:b;} static inline uint64_t max(uint64_t a,uint64_t b){return a>b?a:b;} static inline uint64_t min(uint64_t a,uint64_t b){return a<b?a:b;} static inline unsigned min(unsigned a,unsigned b){return a<b?a:b;}
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
struct dim3 { unsigned x,y,z; dim3(unsigned a=1,unsigned b=1,unsigned c=1):x(a),y(b),z(c){} };
struct float2{float x,y;}; struct alignas(16) float4{float x,y,z,w;}; struct uint2{uint32_t x,y;}; struct alignas(16) uint4{uint32_t x,y,z,w;};
static inline float2 make_float2(float a,float b){return {a,b};} static inline float4 make_float4(float a,float b,float c,float d){return {a,b,c,d};}
static inline uint2 make_uint2(uint32_t a,uint32_t b){return {a,b};} static inline uint4 make_uint4(uint32_t a,uint32_t b,uint32_t c,uint32_t d){return {a,b,c,d};}
namespace emu {
struct fiber { ucontext_t c; dim3 tid; int lin; bool done; char *stack; };
struct coll { int n=0; uint64_t gen=0; uint64_t val[128]; uint64_t out[128]; };
extern fiber *cur; extern ucontext_t sched; extern dim3 bid, bdim, gdim; extern int nthr;
extern coll warp[64], block;
void yield();
void run(dim3 grid, dim3 blk, std::function<void()> f);
// all n members deposit v; returns index of generation's result array
template<class F> inline uint64_t collective(coll &c,int me,int n,uint64_t v,F f){ // f(vals,outs) run by last
  uint64_t g=c.gen; c.val[me]=v; if(++c.n==n){ f(c.val,c.out); c.n=0; c.gen++; } else while(c.gen==g) yield();
  uint64_t r=c.out[me];
  // second phase so that out is not overwritten
  uint64_t g2=c.gen; if(++c.n==n){ c.n=0; c.gen++; } else while(c.gen==g2) yield();
  return r; }
}
#define threadIdx (emu::cur->tid)
#define blockIdx (emu::bid)
#define blockDim (emu::bdim)
#define gridDim (emu::gdim)
static inline int emu_lane(){return emu::cur->lin&31;} static inline emu::coll &emu_warp(){return emu::warp[emu::cur->lin>>5];}
static inline int emu_wn(){ return 32; }
static inline void __syncthreads(){ emu::collective(emu::block,0,emu::nthr,0,[](uint64_t*,uint64_t*){}); }
static inline void __syncwarp(unsigned=0xffffffffu){ emu::collective(emu_warp(),emu_lane(),32,0,[](uint64_t*,uint64_t*){}); }
template<class T> static inline T emu_shfl(T v,int src){ uint64_t b=0; memcpy(&b,&v,sizeof v); struct S{uint64_t v;int s;}; 
  uint64_t pack=(b&0xffffffffull)|((uint64_t)(src&31)<<32);
  uint64_t r=emu::collective(emu_warp(),emu_lane(),32,pack,[](uint64_t*a,uint64_t*o){for(int i=0;i<32;i++)o[i]=a[(a[i]>>32)&31]&0xffffffffull;}); T t; memcpy(&t,&r,sizeof t); return t; }
template<class T> static inline T __shfl_sync(unsigned,T v,int s){return emu_shfl(v,s);}
template<class T> static inline T __shfl_xor_sync(unsigned,T v,int m){return emu_shfl(v,emu_lane()^m);}
template<class T> static inline T __shfl_up_sync(unsigned,T v,int d){int l=emu_lane();return emu_shfl(v,l>=d?l-d:l);}
static inline int __all_sync(unsigned,int p){return (int)emu::collective(emu_warp(),emu_lane(),32,p!=0,[](uint64_t*a,uint64_t*o){uint64_t r=1;for(int i=0;i<32;i++)r&=a[i];for(int i=0;i<32;i++)o[i]=r;});}
static inline unsigned __reduce_max_sync(unsigned,unsigned v){return (unsigned)emu::collective(emu_warp(),emu_lane(),32,v,[](uint64_t*a,uint64_t*o){uint64_t r=0;for(int i=0;i<32;i++)r=max(r,a[i]);for(int i=0;i<32;i++)o[i]=r;});}
static inline unsigned __reduce_min_sync(unsigned,unsigned v){return (unsigned)emu::collective(emu_warp(),emu_lane(),32,v,[](uint64_t*a,uint64_t*o){uint64_t r=~0ull;for(int i=0;i<32;i++)r=min(r,a[i]);for(int i=0;i<32;i++)o[i]=r;});}
static inline int __reduce_add_sync(unsigned,int v){return (int)emu::collective(emu_warp(),emu_lane(),32,(uint32_t)v,[](uint64_t*a,uint64_t*o){uint64_t r=0;for(int i=0;i<32;i++)r+=a[i];for(int i=0;i<32;i++)o[i]=r;});}
template<class T> static inline T atomicAdd(T *p,T v){T o=*p;*p=o+v;return o;}
static inline int atomicAdd(int *p,int v){int o=*p;*p=o+v;return o;}
static inline uint32_t atomicOr(uint32_t*p,uint32_t v){uint32_t o=*p;*p|=v;return o;}
static inline void __threadfence(){}
template<class T> static inline T __ldg(const T*p){return *p;} template<class T> static inline T __ldcg(const T*p){return *p;} template<class T> static inline T __ldcs(const T*p){return *p;}
template<class T> static inline void __stcs(T*p,T v){*p=v;}
static inline int __popc(unsigned v){return __builtin_popcount(v);}
static inline float emu_expf(float x){return expf(x);}
#define __expf emu_expf
 static inline float __fdividef(float a,float b){return a/b;} static inline float rsqrtf(float x){return 1.0f/sqrtf(x);}
static inline uint32_t __byte_perm(uint32_t a,uint32_t b,uint32_t s){uint64_t v=((uint64_t)b<<32)|a;uint32_t r=0;for(int i=0;i<4;i++)r|=(uint32_t)((v>>(8*((s>>(4*i))&7)))&255)<<(8*i);return r;}
struct __half{uint16_t u;}; struct __half2{uint16_t x,y;};
static inline float emu_h2f(uint16_t u){_Float16 h;memcpy(&h,&u,2);return (float)h;} static inline uint16_t emu_f2h(float f){_Float16 h=(_Float16)f;uint16_t u;memcpy(&u,&h,2);return u;}
static inline float emu_b2f(uint16_t u){uint32_t v=(uint32_t)u<<16;float f;memcpy(&f,&v,4);return f;}
static inline uint16_t emu_f2b(float f){uint32_t v;memcpy(&v,&f,4);v+=0x7fff+((v>>16)&1);return (uint16_t)(v>>16);}
static inline __half2 __floats2half2_rn(float a,float b){return {emu_f2h(a),emu_f2h(b)};} static inline float2 __half22float2(__half2 h){return {emu_h2f(h.x),emu_h2f(h.y)};}
static inline __half __float2half_rn(float a){return {emu_f2h(a)};} static inline uint16_t __half_as_ushort(__half h){return h.u;} static inline __half2 __float2half2_rn(float a){return {emu_f2h(a),emu_f2h(a)};}
static inline __half2 __hmul2(__half2 a,__half2 b){return {emu_f2h(emu_h2f(a.x)*emu_h2f(b.x)),emu_f2h(emu_h2f(a.y)*emu_h2f(b.y))};}
struct __nv_bfloat162{uint16_t x,y;}; static inline __nv_bfloat162 __floats2bfloat162_rn(float a,float b){return {emu_f2b(a),emu_f2b(b)};}
static inline __nv_bfloat162 __hmul2(__nv_bfloat162 a,__nv_bfloat162 b){return {emu_f2b(emu_b2f(a.x)*emu_b2f(b.x)),emu_f2b(emu_b2f(a.y)*emu_b2f(b.y))};}
// shared memory "addresses": offsets into one arena
extern uint8_t emu_arena[512*1024];
static inline uint32_t __cvta_generic_to_shared(const void*p){return (uint32_t)((const uint8_t*)p-emu_arena);}
static inline uint8_t *emu_at(uint32_t a){return emu_arena+a;}
typedef void *cudaStream_t; typedef int cudaError_t; typedef void*cudaEvent_t; enum{cudaSuccess=0};
struct cudaFuncAttributes{size_t sharedSizeBytes;}; template<class T> static inline int cudaFuncGetAttributes(cudaFuncAttributes*a,T){a->sharedSizeBytes=1;return 0;} static inline int cudaGetLastError(){return 0;}
static inline const char*cudaGetErrorString(int){return "";} enum{cudaErrorMemoryAllocation=2};
