#include "cuda/cuda_flash.cu"
#include <vector>
extern "C" int nb_error_set(nb_error*,int,const char*,...){return 1;}
int nb_cuda_fail(cudaError_t,const char*,nb_error*){return 1;}
static uint32_t rs=12345; static float rnd(){rs=rs*1664525u+1013904223u;return ((rs>>8)/8388608.0f)-1.0f;}
template<int D> static double test(bool fp8,int group,bool gated,int n_past,int n_new){
  nb_cuda_attention p={}; int KV=2; p.n_head=KV*group;p.n_kv_head=KV;p.d_head=D;p.fp8=fp8;p.gated=gated;p.n_tok=n_new;p.k_scale=fp8?0.7f:1;p.v_scale=fp8?1.3f:1;
  nb_attention_seq seq={n_past,n_new,0,0}; p.seq=&seq; int np=(n_past+n_new+63)/64; std::vector<int32_t> page(np); for(int i=0;i<np;i++)page[i]=np-1-i; p.page=page.data();
  std::vector<nb_attention_tile> t; for(int c=(n_new*group-1)/128*128;c>=0;c-=128)t.push_back({0,c}); p.flash=t.data();p.n_flash=t.size();
  p.page_bytes=(int64_t)2*KV*64*D*(fp8?1:2); std::vector<uint8_t> cache(p.page_bytes*np+64); uint8_t*cb=(uint8_t*)(((uintptr_t)cache.data()+15)/16*16);
  for(int64_t i=0;i<p.page_bytes*np/2;i++){float a=rnd(),b=rnd(); if(fp8){cb[2*i]=nb_e4m3_from_f32(a);cb[2*i+1]=nb_e4m3_from_f32(b);}else ((uint16_t*)cb)[i]=nb_bf16_from_f32(a);} p.cache=cb;
  std::vector<uint16_t> q((size_t)n_new*p.n_head*D+16); uint16_t*qb=(uint16_t*)(((uintptr_t)q.data()+15)/16*16); for(int64_t i=0;i<(int64_t)n_new*p.n_head*D;i++){float a=rnd()*2;qb[i]=fp8?emu_f2h(nb_bf16_to_f32(nb_bf16_from_f32(a))):nb_bf16_from_f32(a);} p.q=qb;
  p.projected_stride=(p.n_head*(1+gated)+2*KV)*D; std::vector<float> pr((size_t)n_new*p.projected_stride); for(auto&x:pr)x=rnd(); p.projected=pr.data();
  std::vector<uint16_t> out((size_t)n_new*p.n_head*D,0xffff); p.out=out.data();
  nb_cuda_launch at={}; nb_error err; if(nb_flash_run(&at,&p,&err))return 1e9;
  auto kv=[&](int pos,int h,int d,bool v){ uint8_t*pg=cb+(int64_t)page[pos/64]*p.page_bytes; int64_t hb=64*D; int64_t at=v?(int64_t)KV*hb+h*hb+(int64_t)d*64+pos%64:h*hb+(int64_t)(pos%64)*D+d; return fp8?emu_e4m3(pg[at])*(v?p.v_scale:p.k_scale):emu_b2f(((uint16_t*)pg)[at]); };
  double se=0,ss=0; for(int tok=0;tok<n_new;tok++)for(int h=0;h<p.n_head;h++){ int n=n_past+tok+1; std::vector<double> s(n); double mx=-1e30; for(int j=0;j<n;j++){double a=0;for(int d=0;d<D;d++){uint16_t u=qb[((int64_t)tok*p.n_head+h)*D+d];a+=(fp8?emu_h2f(u):emu_b2f(u))*kv(j,h/group,d,false);}s[j]=a/sqrt(D);mx=std::max(mx,s[j]);} double z=0;for(auto&x:s){x=exp(x-mx);z+=x;}
    for(int d=0;d<D;d++){double o=0;for(int j=0;j<n;j++)o+=s[j]*kv(j,h/group,d,true);o/=z; if(gated)o*=1/(1+exp(-pr[(size_t)tok*p.projected_stride+h*2*D+D+d])); double y=nb_bf16_to_f32(out[((int64_t)tok*p.n_head+h)*D+d]); se+=(y-o)*(y-o);ss+=o*o; } }
  return sqrt(se/ss); }
int main(){ printf("256 fp8 gated 20 after 150: %.2e\n",test<256>(true,8,true,150,20)); printf("256 fp8 70 after 0: %.2e\n",test<256>(true,4,false,0,70)); printf("256 bf16 33 after 60 : %.2e\n",test<256>(false,8,true,60,33)); printf("128 fp8 40 after 130: %.2e\n",test<128>(true,4,false,130,40)); printf("64 fp8 90 after 200: %.2e\n",test<64>(true,3,true,200,90)); printf("64 bf16 90 after 10: %.2e\n",test<64>(false,2,true,10,90)); }
