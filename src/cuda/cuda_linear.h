// Dense matrices on the GPU: y[n_tok][n_out] = x W^T for up to four matrices of one input in one launch, the
// preparation of that input fused for small batches. Called by the blocks of cuda_step.cu.
#ifndef NB_CUDA_LINEAR_H
#define NB_CUDA_LINEAR_H

#include "cuda/cuda_common.h"

typedef enum nb_cuda_source_kind {
    NB_SOURCE_NORM, // RMS norm of the residual stream
    NB_SOURCE_GDN,  // gated norm of Gated DeltaNet's output, per value head
    NB_SOURCE_BF16, // as it is
} nb_cuda_source_kind;

// Where the input of a matrix comes from, before it is rounded to what the matrix takes.
typedef struct nb_cuda_source {
    int kind;
    const float *value;   // NORM: residual [n_tok][n_in]; GDN: o [n_tok][n_in]
    const uint16_t *gate; // GDN: z [n_tok][gate_stride] bf16
    const uint16_t *bf16; // BF16: [n_tok][stride]
    const float *weight;  // NORM: [n_in]; GDN: [d_value]
    const int32_t *index; // row of token i, or NULL: i
    float eps;
    int n_in, stride, gate_stride;
} nb_cuda_source;

typedef enum nb_cuda_output_kind { NB_OUT_F32, NB_OUT_BF16, NB_OUT_ADD } nb_cuda_output_kind;

typedef struct nb_cuda_output {
    int kind;          // ADD: out += y, for the residual stream
    void *out;         // [n_tok][stride]
    int stride, first; // y's row r goes to column first + r
} nb_cuda_output;

// A product's input as its kernel reads it, rounded from f32. NULL: not wanted.
typedef struct nb_cuda_prepared {
    uint16_t
        *fp8; // [n_tok][stride] e4m3(x * inverse) in f16; or `codes`, a byte each, in nb_product_place_e4m3's order
    uint16_t *bf16; // [n_tok][stride]
    float inverse;
    int stride, codes, fp8_placed, bf16_placed; // placed: in nb_product_place's order
} nb_cuda_prepared;

typedef struct nb_head_part { // of one piece of a row of logits
    float raw_top, raw_sum;   // largest raw logit, sum of exp(logit - raw_top)
    float top;                // largest shaped logit ..
    int32_t top_tok;          // .. and its lowest token
} nb_head_part;

struct nb_cuda_route; // cuda_moe.h

typedef struct nb_cuda_dense {
    int n_tok, n_matrix;
    nb_cuda_matrix matrix[NB_CUDA_MATRIX_MAX];
    nb_cuda_output output[NB_CUDA_MATRIX_MAX];
    nb_cuda_source source;
    int block_first[NB_CUDA_MATRIX_MAX + 1]; // filled at the launch
    uint16_t *input; // scratch of batches over NB_CUDA_SMALL_MAX: [n_tok][n_k_tile * 64] e4m3 values in f16
    uint16_t *keep;  // [n_tok][n_k_tile * 64] the prepared input in bf16: scratch, and kept for later kernels; small
                     // batches: only if the first matrix takes bf16
    bool ready;      // larger batches: the kernel before left the input as nb_cuda_dense_input says
    const struct nb_cuda_route *route; // the last block routes the tokens (small batches), or NULL
    nb_head_part *part; // small batches: [n_tok][n_part] each block's share of each output row, if it is long; or NULL
    int n_part;         // filled at the launch; 0: not left. At most NB_CUDA_LONG_BLOCKS an SM
} nb_cuda_dense;

enum { NB_CUDA_LONG_BLOCKS = 2 }; // of an SM, for a long product of a small batch

enum { NB_CUDA_TIMES_MAX = 2048 };

typedef struct nb_cuda_times { // when each kernel of a step was done; event 0 is the step's begin
    cudaEvent_t event[NB_CUDA_TIMES_MAX + 1];
    const char *name[NB_CUDA_TIMES_MAX + 1];
    int part[NB_CUDA_TIMES_MAX + 1]; // nb_plan_part
    int n, now;                      // now: the part that is being launched
} nb_cuda_times;

// Records that `kernel` was launched, inside a graph that is being captured.
int nb_cuda_times_mark(nb_cuda_times *times, cudaStream_t stream, const void *kernel, nb_error *err);

typedef struct nb_cuda_launch { // where and how kernels are launched
    cudaStream_t stream;
    int n_sm;
    int pdl;              // programmatic dependent launch
    int wgmma;            // large batches: every product by cuda_product.h, their inputs in its order
    int products;         // cuda_product.h serves: dense products of middle batches go by it too
    nb_cuda_times *times; // NULL: not timed
} nb_cuda_launch;

// Whether a block may have this much shared memory, static and dynamic, on the present card.
bool nb_cuda_shared_fits(size_t n_byte);

int nb_cuda_dense_run(const nb_cuda_launch *at, nb_cuda_dense *dense, nb_error *err);

// What a batch of more than NB_CUDA_SMALL_MAX tokens reads; false where its matrices want different ones.
bool nb_cuda_dense_input(const nb_cuda_launch *at, const nb_cuda_dense *dense, nb_cuda_prepared *input);

// The input alone, for kernels that read it from memory: [n_tok][stride] e4m3 values in f16 and bf16; either may be
// NULL.
int nb_cuda_prepare_run(const nb_cuda_launch *at, const nb_cuda_source *source, int n_tok, float input_scale,
                        uint16_t *f16, uint16_t *bf16, int stride, nb_error *err);

// Launches `kernel` with the attribute of dependent launch.
template <class... P, class... A>
static int nb_cuda_start(const nb_cuda_launch *at, void (*kernel)(P...), dim3 grid, dim3 block, size_t smem,
                         nb_error *err, A... args)
{
    cudaLaunchConfig_t c = {};
    cudaLaunchAttribute attr = {};
    enum { DYNAMIC_FREE_BYTES = 16 * 1024 }; // static and dynamic shared memory together may take 48 KiB without asking
    if (smem > DYNAMIC_FREE_BYTES)
        NB_CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)smem), err);
    attr.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid, c.blockDim = block, c.dynamicSmemBytes = smem, c.stream = at->stream;
    c.attrs = &attr, c.numAttrs = at->pdl ? 1 : 0;
    NB_CUDA_TRY(cudaLaunchKernelEx(&c, kernel, (P)args...), err);
    return at->times ? nb_cuda_times_mark(at->times, at->stream, (const void *)kernel, err) : NB_OK;
}

#endif
