#pragma once
#include "emu.h"
#include <map>
void *emu_static(size_t n,int key); void emu_static_reset();
template<class... P,class... A> void emu_launch(void(*k)(P...),dim3 g,dim3 b,size_t smem,A... a){ (void)smem; emu_static_reset(); memset(emu_arena,0xff,sizeof emu_arena); emu::run(g,b,[&]{ k((P)a...); }); }
// 16x8x16
static inline void emu_mma16(float c[4],const uint32_t a[4],uint32_t b0,uint32_t b1,bool f16){
  struct R{uint32_t a[4],b[2];float *c;}; R r; memcpy(r.a,a,16); r.b[0]=b0;r.b[1]=b1;r.c=c;
  emu::collective(emu_warp(),emu_lane(),32,(uint64_t)&r,[f16](uint64_t*v,uint64_t*){
    float A[16][16],B[16][8]; auto cv=[f16](uint16_t u){return f16?emu_h2f(u):emu_b2f(u);};
    for(int l=0;l<32;l++){R*q=(R*)v[l];int g=l/4,t=l%4;for(int i=0;i<2;i++){ for(int j=0;j<4;j++) A[g+8*(j&1)][2*t+i+8*(j>>1)]=cv((uint16_t)(q->a[j]>>(16*i))); for(int j=0;j<2;j++) B[2*t+i+8*j][g]=cv((uint16_t)(q->b[j]>>(16*i))); }}
    for(int l=0;l<32;l++){R*q=(R*)v[l];int g=l/4,t=l%4;for(int j=0;j<4;j++){int row=g+8*(j>>1),col=2*t+(j&1);float s=q->c[j];for(int k=0;k<16;k++)s+=A[row][k]*B[k][col];q->c[j]=s;}}
  }); }
static inline void emu_mma_tf32(float c[4],const float a[4],float2 b){
  struct R{float a[4],b[2];float*c;}; R r; memcpy(r.a,a,16); r.b[0]=b.x;r.b[1]=b.y;r.c=c;
  emu::collective(emu_warp(),emu_lane(),32,(uint64_t)&r,[](uint64_t*v,uint64_t*){
    float A[16][8],B[8][8]; for(int l=0;l<32;l++){R*q=(R*)v[l];int g=l/4,t=l%4;A[g][t]=q->a[0];A[g+8][t]=q->a[1];A[g][t+4]=q->a[2];A[g+8][t+4]=q->a[3];B[t][g]=q->b[0];B[t+4][g]=q->b[1];}
    for(int l=0;l<32;l++){R*q=(R*)v[l];int g=l/4,t=l%4;for(int j=0;j<4;j++){int row=g+8*(j>>1),col=2*t+(j&1);float s=q->c[j];for(int k=0;k<8;k++)s+=A[row][k]*B[k][col];q->c[j]=s;}}
  }); }
static inline void emu_ldmatrix(uint32_t r[4],const void*row,bool tr){
  struct R{const uint16_t*p;uint32_t*r;}; R q={(const uint16_t*)row,r};
  emu::collective(emu_warp(),emu_lane(),32,(uint64_t)&q,[tr](uint64_t*v,uint64_t*){
    uint32_t out[32][4]; for(int l=0;l<32;l++)for(int m=0;m<4;m++){int g=l/4,t=l%4;uint32_t w=0;for(int i=0;i<2;i++){int rr=tr?2*t+i:g,cc=tr?g:2*t+i;w|=(uint32_t)((R*)v[m*8+rr])->p[cc]<<(16*i);}out[l][m]=w;}
    for(int l=0;l<32;l++)memcpy(((R*)v[l])->r,out[l],16); }); }
static inline uint32_t emu_movmatrix(uint32_t v){ return (uint32_t)emu::collective(emu_warp(),emu_lane(),32,v,[](uint64_t*a,uint64_t*o){ uint16_t M[8][8];for(int l=0;l<32;l++)for(int i=0;i<2;i++)M[l/4][2*(l%4)+i]=(uint16_t)(a[l]>>(16*i));for(int l=0;l<32;l++)o[l]=(uint32_t)M[2*(l%4)][l/4]|(uint32_t)M[2*(l%4)+1][l/4]<<16;}); }
struct emu_barrier { int count,pending,tx; uint32_t phase; void init(int n){count=pending=n;tx=0;phase=0;} void check(){ if(pending==0&&tx==0){phase^=1;pending=count;} } void arrive(int n){pending-=n;if(pending<0){printf("barrier over-arrived\n");exit(1);}check();} void expect(int n){tx+=n;pending-=1;check();} void complete(int n){tx-=n;check();} bool passed(uint32_t par){return phase!=par;} };
emu_barrier *emu_bar(void *p);
extern emu::coll emu_wg[8];
static inline float emu_e4m3(uint8_t u){int e=(u>>3)&15,m=u&7;float f=e?ldexpf(1+m/8.0f,e-7):ldexpf(m/8.0f,-6);if((u&127)==127)f=NAN;return u&128?-f:f;}
// type: 0 bf16, 1 f16, 2 e4m3 (k32)
static inline void emu_wgmma(float*d,int N,const uint32_t*a,uint64_t left,uint64_t right,int keep,int type){
  struct R{float*d;uint32_t a[4];bool rs;uint64_t l,r;int keep;}; R q; q.d=d;q.rs=a!=NULL; if(a)memcpy(q.a,a,16); q.l=left;q.r=right;q.keep=keep;
  int wg=emu::cur->lin/128, me=emu::cur->lin%128;
  emu::collective(emu_wg[wg],me,128,(uint64_t)&q,[N,type](uint64_t*v,uint64_t*){
    int K=type==2?32:type==3?8:16; static float A[64][32],B[256][32];
    auto rd=[&](uint64_t desc,int row,int k)->float{ uint32_t start=(uint32_t)(desc&0x3fff)<<4, sbo=(uint32_t)((desc>>32)&0x3fff)<<4; if((desc>>62)!=1){printf("bad desc\n");exit(1);}
      int byte=type==2?k:type==3?4*k:2*k; uint32_t addr=start+(row/8)*sbo+(row%8)*128+byte; addr^=((addr>>7)&7)<<4; 
      uint8_t*p=emu_at(addr); if(type==2)return emu_e4m3(*p); if(type==3){float f;memcpy(&f,p,4);return f;} uint16_t u;memcpy(&u,p,2); return type==1?emu_h2f(u):emu_b2f(u); };
    R*z=(R*)v[0];
    for(int n=0;n<N;n++)for(int k=0;k<K;k++)B[n][k]=rd(z->r,n,k);
    if(z->rs){ for(int l=0;l<128;l++){R*q=(R*)v[l];int w=l/32,g=l%32/4,t=l%4;for(int j=0;j<4;j++){int row=16*w+g+8*(j&1); if(type==3){float f;memcpy(&f,&q->a[j],4);A[row][t+4*(j>>1)]=f;} else if(type==2)for(int i=0;i<4;i++)A[row][4*t+i+16*(j>>1)]=emu_e4m3((uint8_t)(q->a[j]>>(8*i))); else for(int i=0;i<2;i++){uint16_t u=(uint16_t)(q->a[j]>>(16*i));A[row][2*t+i+8*(j>>1)]=type==1?emu_h2f(u):emu_b2f(u);} }} }
    else for(int m=0;m<64;m++)for(int k=0;k<K;k++)A[m][k]=rd(z->l,m,k);
    for(int l=0;l<128;l++){R*q=(R*)v[l];int w=l/32,g=l%32/4,t=l%4; if(q->r!=z->r||q->l!=z->l||q->keep!=z->keep){printf("wgmma not uniform\n");exit(1);} for(int j=0;j<N/2;j++){int row=16*w+g+8*((j>>1)&1),col=j/4*8+2*t+(j&1);float s=q->keep?q->d[j]:0;for(int k=0;k<K;k++)s+=A[row][k]*B[col][k];q->d[j]=s;}}
  }); }
