#include "cuda/cuda_chunk.cu"
#include <vector>
extern "C" int nb_error_set(nb_error*,int,const char*,...){return 1;}
int nb_cuda_fail(cudaError_t,const char*,nb_error*){return 1;}
static uint32_t rs=777; static float rnd(){rs=rs*1664525u+1013904223u;return ((rs>>8)/8388608.0f)-1.0f;}
template<class T> static T*al(size_t n){void*p;posix_memalign(&p,64,n*sizeof(T)+64);return (T*)p;}
int main(){
  const int K=1,V=2,C=(2*K+V)*128; struct L{int past,keep,nw;} m[]={{0,0,63},{3,3,65},{100,5,127},{64,0,32},{200,16,64}}; const int N=5;
  nb_cuda_gdn p={}; std::vector<nb_gdn_seq> seq; std::vector<nb_gdn_chunk> ch; std::vector<nb_gdn_walk> wk; int nt=0;
  for(int i=0;i<N;i++){seq.push_back({i,m[i].past,m[i].nw,nt,m[i].keep,m[i].nw});nt+=m[i].nw;wk.push_back({i,(int)ch.size()});for(int f=0;f<m[i].nw;f+=64)ch.push_back({i,f});}
  p.n_tok=nt;p.n_seq=N;p.n_key_head=K;p.n_value_head=V;p.seq=seq.data();p.chunk=ch.data();p.walk=wk.data();p.n_chunk=ch.size();p.n_walk=N;
  uint16_t*qkv=al<uint16_t>((size_t)nt*C);for(int64_t i=0;i<(int64_t)nt*C;i++)qkv[i]=nb_bf16_from_f32(2*rnd()); float*ba=al<float>((size_t)nt*2*V);for(int i=0;i<nt*2*V;i++)ba[i]=2*rnd();
  float*conv=al<float>(C*4);for(int i=0;i<C*4;i++)conv[i]=0.7f*rnd(); float A[V],dt[V];for(int i=0;i<V;i++)A[i]=2*rnd()-1,dt[i]=rnd();
  p.qkv=qkv;p.ba=ba;p.conv1d=conv;p.A_log=A;p.dt_bias=dt;p.slot_floats=V*(128*128+NB_JOURNAL_ROWS*NB_GDN_JOURNAL_FLOATS);p.slot_halfs=NB_GDN_RING*C;
  float*st=al<float>(N*p.slot_floats);for(int64_t i=0;i<N*p.slot_floats;i++)st[i]=0.3f*rnd(); std::vector<float> st0(st,st+N*p.slot_floats);
  p.state=st;p.journal=st+V*128*128; uint16_t*ring=al<uint16_t>(N*p.slot_halfs);for(int64_t i=0;i<N*p.slot_halfs;i++)ring[i]=nb_bf16_from_f32(2*rnd());p.ring=ring;
  p.out=al<float>((size_t)nt*V*128);memset(p.out,0xff,(size_t)nt*V*128*4);p.scratch=al<uint8_t>(nb_gdn_chunk_bytes(nt,K,V));memset(p.scratch,0xff,nb_gdn_chunk_bytes(nt,K,V));
  nb_cuda_launch at={};at.wgmma=getenv("WG")!=NULL;nb_error err;nb_gdn_chunks_run(&at,&p,&err);
  for(int s=0;s<N;s++)for(int h=0;h<V;h++){ std::vector<double> S(128*128,0.0); double base=0; const float*s0=&st0[s*p.slot_floats+h*128*128]; if(m[s].past!=m[s].keep)for(int i=0;i<16384;i++)S[i]=s0[i];
    const float*j=&st0[s*p.slot_floats+V*16384+(int64_t)h*NB_JOURNAL_ROWS*NB_GDN_JOURNAL_FLOATS]; for(int r=0;r<m[s].keep;r++,j+=NB_GDN_JOURNAL_FLOATS)for(int a=0;a<128;a++)for(int b=0;b<128;b++)S[a*128+b]=exp(j[256])*S[a*128+b]+(double)j[a]*j[128+b];
    double se=0,ss=0; for(int t=0;t<m[s].nw;t++){ auto cv=[&](int c){double y=0;for(int k=0;k<4;k++){int i=t-3+k;double x; if(i>=0)x=nb_bf16_to_f32(qkv[(int64_t)(seq[s].tok_first+i)*C+c]);else{int pos=m[s].past+i;x=pos<0?0:nb_bf16_to_f32(ring[s*p.slot_halfs+(int64_t)(pos%NB_GDN_RING)*C+c]);}y+=conv[c*4+k]*x;}return y/(1+exp(-y));};
      double q[128],k[128],v[128],qq=0,kk=0;for(int i=0;i<128;i++){q[i]=cv((h/(V/K))*128+i);k[i]=cv(K*128+(h/(V/K))*128+i);v[i]=cv(2*K*128+h*128+i);qq+=q[i]*q[i];kk+=k[i]*k[i];}
      for(int i=0;i<128;i++){q[i]*=1/sqrt(qq+1e-6)/sqrt(128.);k[i]*=1/sqrt(kk+1e-6);} double a=ba[(seq[s].tok_first+t)*2*V+V+h]+dt[h],g=-exp(A[h])*log1p(exp(a)),be=1/(1+exp(-ba[(seq[s].tok_first+t)*2*V+h]));
      for(auto&x:S)x*=exp(g); double u[128];for(int b=0;b<128;b++){double y=0;for(int i=0;i<128;i++)y+=k[i]*S[i*128+b];u[b]=be*(v[b]-y);} for(int i=0;i<128;i++)for(int b=0;b<128;b++)S[i*128+b]+=k[i]*u[b];
      for(int b=0;b<128;b++){double y=0;for(int i=0;i<128;i++)y+=q[i]*S[i*128+b];double z=p.out[((int64_t)(seq[s].tok_first+t)*V+h)*128+b];se+=(y-z)*(y-z);ss+=y*y;} }
    double e2=0,s2=0;for(int i=0;i<16384;i++){double z=st[s*p.slot_floats+h*16384+i];e2+=(z-S[i])*(z-S[i]);s2+=S[i]*S[i];}
    printf("seq %d head %d: out %.2e state %.2e\n",s,h,sqrt(se/ss),sqrt(e2/s2)); }
}
