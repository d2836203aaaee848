#include "emu.h"
namespace emu {
fiber *cur; ucontext_t sched; dim3 bid,bdim,gdim; int nthr; coll warp[64],block;
static std::vector<fiber> fs; static std::function<void()> body; static int at;
void yield(){ fiber*me=cur; swapcontext(&me->c,&sched); }
static void entry(){ body(); cur->done=true; swapcontext(&cur->c,&sched); }
void run(dim3 grid,dim3 blk,std::function<void()> f){
  body=f; bdim=blk; gdim=grid; nthr=blk.x; fs.resize(nthr);
  for(auto &x:fs) if(!x.stack) x.stack=(char*)malloc(256*1024);
  for(unsigned z=0;z<grid.z;z++)for(unsigned y=0;y<grid.y;y++)for(unsigned x=0;x<grid.x;x++){
    bid=dim3(x,y,z); for(int i=0;i<64;i++)warp[i]=coll(); block=coll();
    for(int i=0;i<nthr;i++){auto&t=fs[i];t.tid=dim3(i,0,0);t.lin=i;t.done=false;getcontext(&t.c);t.c.uc_stack.ss_sp=t.stack;t.c.uc_stack.ss_size=256*1024;t.c.uc_link=&sched;makecontext(&t.c,entry,0);}
    int left=nthr; uint64_t rounds=0; while(left){ for(int i=0;i<nthr;i++){ if(fs[i].done)continue; cur=&fs[i]; swapcontext(&sched,&fs[i].c); if(fs[i].done)left--; } if(++rounds>2000000){printf("DEADLOCK\n");exit(1);} }
  } }
}
uint8_t emu_arena[512*1024] __attribute__((aligned(4096)));
#include "emu_ops.h"
emu::coll emu_wg[8];
static std::map<int,void*> st; static size_t st_at; 
void emu_static_reset(){st.clear();st_at=300*1024;}
void *emu_static(size_t n,int key){auto it=st.find(key);if(it!=st.end())return it->second;st_at=(st_at+15)/16*16;void*p=emu_arena+st_at;st_at+=n;if(st_at>sizeof emu_arena){printf("static overflow\n");exit(1);}st[key]=p;return p;}
static std::map<void*,emu_barrier> bars; emu_barrier *emu_bar(void*p){return &bars[p];}
