// The kernels of cuda_repack.h. One thread makes one 16-byte chunk of a lane (and an NVFP4 lane's four scale codes).
#include "cuda/cuda_repack.h"

#include "model/synth_values.h"

enum { THREADS = 256, E4M3_NAN = 0x7f };

static int chunks_of(int kind)
{
    return kind == NB_KIND_BF16 ? 4 : kind == NB_KIND_NVFP4 ? 1 : 2;
}

int64_t nb_repack_data_bytes(const nb_cuda_matrix *m)
{
    return (int64_t)m->n_row_tile * m->n_k_tile * chunks_of(m->kind) * 512;
}

int64_t nb_repack_scale_bytes(const nb_cuda_matrix *m)
{
    return m->kind == NB_KIND_NVFP4 ? (int64_t)m->n_row_tile * m->n_k_tile * 64 : 0;
}

void nb_repack_shape(nb_cuda_matrix *m, const nb_linear *linear, int paired)
{
    m->paired = paired;
    m->n_out = linear->n_out * (paired ? 2 : 1), m->n_in = linear->n_in;
    m->n_row_tile = nb_ceil_div(linear->n_out, paired ? 8 : NB_CUDA_ROW_TILE);
    m->n_k_tile = nb_ceil_div(linear->n_in, 2 * NB_CUDA_K_TILE) * 2; // NVFP4 loads tiles by pairs
    m->kind = linear->format == NB_FORMAT_NVFP4 ? NB_KIND_NVFP4
              : linear->format != NB_FORMAT_FP8 ? NB_KIND_BF16
              : linear->input_scale > 0         ? NB_KIND_FP8_A8
                                                : NB_KIND_FP8_A16;
    m->input_scale = linear->input_scale;
    m->scale_low = m->scale_high = 1;
}

// Where a tile's row comes from; NULL beyond the matrix. stride: bytes of a row.
__device__ static const uint8_t *row_of(const nb_cuda_matrix &m, const uint8_t *low, const uint8_t *high,
                                        int tile_first, int tile, int row, int64_t stride)
{
    int rows = m.paired ? 8 : 16, in_tile = m.paired ? row & 7 : row, n = m.paired ? m.n_out / 2 : m.n_out;
    if (tile * rows + in_tile >= n) return NULL;
    return (row < 8 ? low : high) + ((int64_t)(tile - tile_first) * rows + in_tile) * stride;
}

// E4M3 to the code of nb_decode_scale: exponent + 10 in 5 bits, mantissa in 3; subnormals become normal.
__device__ static uint32_t scale_code(uint8_t e4m3)
{
    uint32_t e = (e4m3 >> 3) & 15u, m = e4m3 & 7u;
    if (e) return (e + 3) << 3 | m;
    if (m >= 4) return 3u << 3 | (m - 4) * 2;
    if (m >= 2) return 2u << 3 | (m - 2) * 4;
    return 1u << 3;
}

// One element's bits in its 16-bit half, for the pair's place in the word (see nb_decode_nvfp4).
__device__ static uint32_t place_nibble(int pair, uint32_t code)
{
    uint32_t sign = code >> 3, magnitude = code & 7u;
    if (pair < 3) return sign << (15 - 3 * pair) | magnitude << (6 - 3 * pair);
    return sign << 14 | (magnitude >> 2) << 13 | (magnitude & 3u) << 10;
}

__device__ static uint32_t nvfp4_word(const uint8_t *low, const uint8_t *high, int k, int n_in)
{
    uint32_t w = 0;
    for (int pair = 0; pair < 4; pair++)
        for (int i = 0; i < 2; i++) {
            const uint8_t *row = pair & 1 ? high : low;
            int at = k + (pair >> 1) * 2 + i;
            if (!row || at >= n_in) continue;
            uint32_t code = (row[at >> 1] >> (at & 1 ? 4 : 0)) & 15u;
            w |= place_nibble(pair, code) << (16 * i);
        }
    return w;
}

__device__ static uint32_t nvfp4_scales(const nb_cuda_matrix &m, const nb_repack_source &s, int tile_first, int tile,
                                        int pair, int lane)
{
    uint32_t codes = 0;
    int stride = m.n_in / NB_NVFP4_BLOCK;
    for (int i = 0; i < 4; i++) {
        const uint8_t *row = row_of(m, s.low_scale, s.high_scale, tile_first, tile, (lane >> 2) + 8 * (i & 1), stride);
        int block = (pair * 2 + (i >> 1)) * 4 + (lane & 3);
        if (row && block < stride) codes |= scale_code(row[block]) << (8 * i);
    }
    return codes;
}

__global__ void repack_kernel(nb_cuda_matrix m, nb_repack_source s, int tile_first, int64_t n, int n_chunk)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int lane = i & 31, chunk = (int)(i / 32 % n_chunk), k_tile = (int)(i / (32 * n_chunk) % m.n_k_tile);
    int tile = tile_first + (int)(i / (32 * n_chunk) / m.n_k_tile), k = k_tile * NB_CUDA_K_TILE + (lane & 3) * 16;
    uint4 *out =
        (uint4 *)m.data + ((int64_t)tile * m.n_k_tile * n_chunk + (int64_t)k_tile * n_chunk + chunk) * 32 + lane;
    uint32_t w[4] = {};
    if (m.kind == NB_KIND_NVFP4) {
        const uint8_t *low = row_of(m, s.low, s.high, tile_first, tile, lane >> 2, m.n_in / 2);
        const uint8_t *high = row_of(m, s.low, s.high, tile_first, tile, (lane >> 2) + 8, m.n_in / 2);
        for (int j = 0; j < 4; j++) w[j] = nvfp4_word(low, high, k + 4 * j, m.n_in);
        if (k_tile % 2 == 0)
            ((uint32_t *)m.scale)[((int64_t)tile * m.n_k_tile / 2 + k_tile / 2) * 32 + lane] =
                nvfp4_scales(m, s, tile_first, tile, k_tile / 2, lane);
    } else {
        int size = m.kind == NB_KIND_BF16 ? 2 : 1, half = n_chunk / 2;
        const uint8_t *row =
            row_of(m, s.low, s.high, tile_first, tile, (lane >> 2) + (chunk >= half ? 8 : 0), (int64_t)m.n_in * size);
        int first = k * size + (chunk % half) * 16;
        for (int j = 0; j < 16; j++)
            if (row && first + j < m.n_in * size) w[j >> 2] |= (uint32_t)row[first + j] << (8 * (j & 3));
    }
    *out = make_uint4(w[0], w[1], w[2], w[3]);
}

int nb_repack_run(cudaStream_t stream, const nb_cuda_matrix *m, const nb_repack_source *source, int tile_first,
                  int n_tile, nb_error *err)
{
    int n_chunk = chunks_of(m->kind);
    int64_t n = (int64_t)n_tile * m->n_k_tile * n_chunk * 32;
    repack_kernel<<<nb_ceil_div(n, THREADS), THREADS, 0, stream>>>(*m, *source, tile_first, n, n_chunk);
    NB_CUDA_TRY(cudaGetLastError(), err);
    return NB_OK;
}

__global__ void dummy_kernel(nb_format format, uint64_t seed, int n_in, int is_scale, int64_t first, int64_t n_byte,
                             uint8_t *out)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i * 16 >= n_byte) return;
    uint64_t index = (uint64_t)(first / 16 + i);
    nb_synth_bytes b = is_scale ? nb_synth_scale_16_bytes(seed, index) : nb_synth_16_bytes(format, seed, index, n_in);
    for (int j = 0; j < 16 && i * 16 + j < n_byte; j++) out[i * 16 + j] = b.v[j];
}

int nb_repack_dummy(cudaStream_t stream, const nb_linear *linear, int is_scale, int64_t byte_first, int64_t n_byte,
                    uint8_t *out, nb_error *err)
{
    int blocks = nb_ceil_div(nb_ceil_div(n_byte, 16), THREADS);
    dummy_kernel<<<blocks, THREADS, 0, stream>>>(linear->format, linear->dummy_seed, linear->n_in, is_scale, byte_first,
                                                 n_byte, out);
    NB_CUDA_TRY(cudaGetLastError(), err);
    return NB_OK;
}
