import re,os,glob,sys
# usage: gen.py SOURCE_FOLDER/ OUTPUT_FOLDER/
src,dst=sys.argv[1:3]
def body(s,name_pat,new):
    # replace the body of the function whose signature matches
    m=re.search(name_pat,s); assert m,name_pat
    i=s.index('{\n',m.end()-1) if s[m.end()-1]!='{' else m.end()-1
    d=0;j=i
    while True:
        if s[j]=='{':d+=1
        if s[j]=='}':
            d-=1
            if d==0:break
        j+=1
    return s[:i]+'{'+new+'}'+s[j+1:]
for f in glob.glob(src+'*.h')+glob.glob(src+'*.cuh')+[src+x for x in ('cuda_chunk.cu','cuda_flash.cu','cuda_product.cu','cuda_moe.cu')]:
    s=open(f).read(); n=os.path.basename(f)
    # shared memory lives in the arena
    s=re.sub(r'extern __shared__ (?:__align__\(\d+\) )?(\w+) (\w+)\[\];',r'\1 *\2 = (\1 *)emu_arena;',s)
    # static shared: placed at arena end by name via macro
    cnt=[0]
    s=re.sub(r'__shared__ (?:__align__\(\d+\) )?','static __attribute__((section(".emu_shared"))) ',s) if False else s
    def sh(m):
        decls=m.group(2); t=m.group(1); out=''
        for d in re.split(r',(?![^\[]*\])',decls):
            d=d.strip(); mm=re.match(r'(\w+)((?:\[[^\]]*\])*)$',d); nm,dim=mm.group(1),mm.group(2)
            if dim:
                dims=re.findall(r'\[([^\]]*)\]',dim)
                out+='%s (&%s)%s = *(%s (*)%s)emu_static(sizeof(%s%s), (int)sizeof(__FILE__) * 100000 + __LINE__ * 8 + %d); '%(t,nm,dim,t,dim,t,dim,cnt[0]%8)
            else:
                out+='%s &%s = *(%s *)emu_static(sizeof(%s), (int)sizeof(__FILE__) * 100000 + __LINE__ * 8 + %d); '%(t,nm,t,t,cnt[0]%8)
            cnt[0]+=1
        return out
    s=re.sub(r'__shared__ (?:__align__\(\d+\) )?([\w:]+) ([^;]*);',sh,s)
    if n=='cuda_tile.cuh':
        for fn in ('nb_grid_release','nb_grid_wait'): s=body(s,r'void %s\(void\)\n'%fn,'')
        s=body(s,r'void nb_touch\(const T &params\)\n','(void)params;')
        s=body(s,r'uint64_t nb_stream_policy\(void\)\n','return 0;')
        s=body(s,r'uint4 nb_load_weight\(const uint4 \*p\)\n','return *p;')
        s=body(s,r'void nb_mma\(float c\[4\][^\n]*\n','emu_mma16(c,a,b0,b1,F16);')
        s=body(s,r'void nb_ring_copy\([^)]*\)\n','')
        s=s.replace('#include "cuda/cuda_common.h"','#include "cuda/cuda_common.h"\n#include "emu_ops.h"')
    if n=='cuda_wgmma.cuh':
        s=s.replace('#if defined(__CUDA_ARCH_FEAT_SM90_ALL)','#if 1')
        E={'nb_barrier_init':'emu_bar(b)->init(n_arrive);','nb_barrier_init_done':'','nb_barrier_arrive':'emu_bar(b)->arrive(1);','nb_barrier_expect':'emu_bar(b)->expect(n_byte);',
           'nb_barrier_wait':'while(!emu_bar(b)->passed(parity)) emu::yield();','nb_barrier_arrive_copies':'emu_bar(b)->arrive(1);','nb_copy_16':'memcpy(emu_at(to),from,16);',
           'nb_copy_bulk':'memcpy(emu_at(to),from,n_byte); emu_bar(b)->complete(n_byte);','nb_fence_async':'','nb_registers_more':'','nb_registers_fewer':'','nb_wgmma_fence':'','nb_wgmma_commit':'','nb_wgmma_wait':''}
        for k,v in E.items(): s=body(s,r'void %s\([^)]*\)\n'%k,v)
        s=body(s,r'void nb_wgmma\(float \*d[^\n]*\n','emu_wgmma(d,N,a,0,panel,keep,F16?1:0);')
        s=body(s,r'void nb_wgmma_64\(float d[^\n]*\n','emu_wgmma(d,64,NULL,left,right,keep,F16?1:0);')
        if 'nb_wgmma_tf32' in s: s=body(s,r'void nb_wgmma_tf32\(float d[^\n]*\n','emu_wgmma(d,32,(const uint32_t*)a,0,panel,1,3);'); s=body(s,r'void nb_group_barrier\(void\)\n','emu::collective(emu_wg[emu::cur->lin/128],emu::cur->lin%128,128,0,[](uint64_t*,uint64_t*){});')
        if 'nb_wgmma_e4m3' in s: s=body(s,r'void nb_wgmma_e4m3\(float d[^\n]*\n','emu_wgmma(d,128,a,0,panel,keep,2);')
    s=s.replace('asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(v));','t=emu_movmatrix(v);')
    if n=='cuda_chunk.cu':
        s=body(s,r'static float tf32\(float x\)\n','uint32_t v;memcpy(&v,&x,4);v=(v+0x1000)&0xffffe000u;float r;memcpy(&r,&v,4);return r;')
        s=body(s,r'static void mma_tf32\([^)]*\)\n','emu_mma_tf32(c,a,b);')
        s=body(s,r'static void load_matrices\([^)]*\)\n','emu_ldmatrix(r,row,TRANSPOSED);')
        s=body(s,r'static void copy_16\([^)]*\)\n','memcpy(to,from,16);')
        s=re.sub(r'asm volatile\("cp.async[^\n]*','',s)
    if n=='cuda_flash.cu':
        s=body(s,r'static void store_16\([^)]*\)\n','memcpy(emu_at(to),v,16);')
    if n=='cuda_linear.h':
        i=s.index('// Launches `kernel` with the attribute'); s=s[:i]+'''
template <class... P, class... A>
static int nb_cuda_start(const nb_cuda_launch *at, void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, nb_error *err, A... args)
{ emu_launch(kernel, grid, block, smem, args...); return 0; }
#endif
'''
        s=s.replace('#include "cuda/cuda_common.h"','#include "cuda/cuda_common.h"\n#include "emu_ops.h"')
    open(dst+n,'w').write(s)
