#include "cuda/cuda_product.cu"
#include <vector>
extern "C" int nb_error_set(nb_error*,int,const char*,...){return 1;}
int nb_cuda_fail(cudaError_t,const char*,nb_error*){return 1;}
static uint32_t rs=777; static float rnd(){rs=rs*1664525u+1013904223u;return ((rs>>8)/8388608.0f)-1.0f;}
template<class T> static T*al(size_t n){void*p;posix_memalign(&p,64,n*sizeof(T)+64);return (T*)p;}
int main(){ int T=130,K=192,rows[3]={96,16,40}; int kt=4,stride=256; nb_cuda_launch at={};at.n_sm=3;nb_error err;
  for(int v=0;v<3;v++){int e4=v==1,bf=v==2; nb_tiles_args t={}; std::vector<std::vector<uint8_t>> W; 
  for(int i=0;i<3;i++){ nb_cuda_matrix m={};m.kind=NB_KIND_FP8_A8;m.n_out=rows[i];m.n_in=K;m.n_row_tile=(rows[i]+15)/16;m.n_k_tile=kt;m.scale_low=m.scale_high=0.5f;m.input_scale=0.02f; uint8_t*d=al<uint8_t>(m.n_row_tile*kt*1024);memset(d,0,m.n_row_tile*kt*1024);
    std::vector<uint8_t> w(rows[i]*K);for(auto&x:w)x=nb_e4m3_from_f32(rnd()*3);
    for(int r=0;r<rows[i];r++)for(int c=0;c<K;c++){int tile=r/16,k=c/64,lane=(r%8)*4+(c%64)/16,ch=(r%16)/8;d[(((int64_t)tile*kt+k)*2+ch)*512+lane*16+c%16]=w[r*K+c];}
    m.data=(uint4*)d;W.push_back(w);t.matrix[t.n_matrix++]=m;}
  uint16_t*x=al<uint16_t>(T*K);for(int i=0;i<T*K;i++)x[i]=nb_bf16_from_f32(rnd()*3); nb_cuda_source s={};s.kind=NB_SOURCE_BF16;s.bf16=x;s.stride=s.n_in=K;
  uint16_t*in=al<uint16_t>(T*stride); memset(in,0x7f,T*stride*2);
  if(e4) nb_product_prepare(&at,&s,T,0.02f,in,NULL,stride,&err); else
  { for(int r=0;r<T;r++)for(int c=0;c<stride;c++){uint8_t code=c<K?nb_e4m3_from_f32(nb_bf16_to_f32(x[r*K+c])/0.02f):0;in[r*stride+nb_product_place(c)]=emu_f2h(emu_e4m3(code));} }
  int no=152; float*o=al<float>(T*no);memset(o,0xff,T*no*4); int f=0;for(int i=0;i<3;i++){t.output[i]={bf?NB_OUT_BF16:NB_OUT_F32,o,no,f};f+=rows[i];} t.input=in;t.input_stride=stride;t.n_row=T; t.e4m3=e4; 
  nb_product_dense(&at,&t,&err); double se=0,ss=0; for(int r=0;r<T;r++){int ff=0;for(int i=0;i<3;i++){for(int q=0;q<rows[i];q++){double a=0;for(int c=0;c<K;c++)a+=emu_e4m3(W[i][q*K+c])*emu_e4m3(nb_e4m3_from_f32(nb_bf16_to_f32(x[r*K+c])*(1.0f/0.02f)));a*=0.5;double y=bf?nb_bf16_to_f32(((uint16_t*)o)[r*no+ff+q]):o[r*no+ff+q];se+=(a-y)*(a-y);ss+=a*a;}ff+=rows[i];}}
  printf("e4m3 %d bf16 %d: %.2e\n",e4,bf,sqrt(se/ss)); }
}
