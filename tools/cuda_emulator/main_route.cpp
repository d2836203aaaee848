#include "cuda/cuda_moe.cu"
#include <vector>
#include <set>
extern "C" int nb_error_set(nb_error*,int,const char*,...){return 1;}
int nb_cuda_fail(cudaError_t,const char*,nb_error*){return 1;}
int nb_product_grouped(const nb_cuda_launch*,nb_tiles_args*,int,nb_error*){return 0;} int nb_product_dense(const nb_cuda_launch*,nb_tiles_args*,nb_error*){return 0;} int nb_tiles_dense(const nb_cuda_launch*,nb_tiles_args*,nb_error*){return 0;} int nb_tiles_grouped(const nb_cuda_launch*,nb_tiles_args*,int,int,nb_error*){return 0;} bool nb_grouped_serves(const nb_tiles_args*,int){return 0;} int nb_grouped_run(const nb_cuda_launch*,nb_tiles_args*,int,int,nb_error*){return 0;}
static uint32_t rs=777; static float rnd(){rs=rs*1664525u+1013904223u;return ((rs>>8)/8388608.0f)-1.0f;}
int main(){ int T=300,E=40,K=8; std::vector<float> lg(T*(E+1));for(auto&x:lg)x=rnd()*3; std::vector<int32_t> ec(E,0),ef(E,-1);
 for(int spread=0;spread<3;spread++){ nb_cuda_route r={}; r.n_tok=T;r.n_expert=E;r.top_k=K;r.has_shared=1;r.tile_shared=1;r.normalise=1;r.tile_columns=32;r.spread=spread>0; r.logits=lg.data(); std::vector<int32_t> ti(T*K,-1),pt(T*K,-1),pa(T*K,-1);std::vector<float> tw(T*K),sw(T); unsigned cnt=0; int32_t nt=-1; std::vector<nb_cuda_tile> tile(2000);
  r.top_index=ti.data();r.top_weight=tw.data();r.shared_weight=sw.data();r.counter=&cnt;r.pair_token=pt.data();r.pair_at=pa.data();r.n_tile=&nt;r.tile=tile.data();r.expert_count=ec.data();r.expert_first=ef.data();
  nb_cuda_launch at={};nb_error err;nb_cuda_route_run(&at,&r,&err);
  // check: pair_at a permutation; pairs of a tile belong to its expert; all covered
  std::vector<int> who(T*K,-1);bool ok=true;for(int p=0;p<T*K;p++){if(pa[p]<0||pa[p]>=T*K||who[pa[p]]>=0)ok=false;else who[pa[p]]=p;} std::vector<int> cover(T*K,0);int sh=0;
  for(int i=0;i<nt;i++){auto t=tile[i];if(t.count<=0||t.count>32)ok=false;for(int j=0;j<t.count;j++){if(t.expert==E){sh++;continue;}int pos=t.first+j;cover[pos]++;if(ti[who[pos]]!=t.expert||pt[pos]!=who[pos]/K)ok=false;}} for(int c:cover)if(c!=1)ok=false; if(sh!=T)ok=false; for(int c:ec)if(c)ok=false;
  printf("spread %d: %s, %d tiles\n",spread,ok?"ok":"WRONG",nt); } }
