// The formats, one function each. What a matrix is, is decided by the tensors in the file and not by the quantization
// section of config.json, which published checkpoints state wrongly:
//
//   weight BF16, F16, F32                                                           plain
//   weight U8 [out, in/2], weight_scale F8 [out, in/16], weight_scale_2             NVFP4 of ModelOpt (multiplier)
//   weight_packed U8, weight_scale F8, weight_global_scale                          NVFP4 of compressed-tensors
//   (divisor) weight F8, weight_scale [] or [1], input_scale or none                          FP8 per tensor weight F8,
//   weight_scale [out] or [out, 1]                                       FP8 per row (compressed-tensors) weight F8,
//   weight_scale_inv (or weight_scale) [ceil(out/128), ceil(in/128)]     FP8 per block (multiplier despite its name)
//
// NVFP4 layers run with unquantized inputs, so their input scales are taken and not used.
#include "model/bind_format.h"
#include "numeric/nvfp4.h"

enum { FP8_BLOCK = 128 };

int nb_bind_plain(nb_binder *b, const nb_tensor *tensor, int64_t first, int64_t n_out, int64_t n_in, nb_linear *out,
                  nb_error *err)
{
    nb_format format = tensor->dtype == NB_DTYPE_BF16  ? NB_FORMAT_BF16
                       : tensor->dtype == NB_DTYPE_F16 ? NB_FORMAT_F16
                       : tensor->dtype == NB_DTYPE_F32 ? NB_FORMAT_F32
                                                       : NB_FORMAT_COUNT;
    if (format == NB_FORMAT_COUNT)
        return nb_binder_wrong(b, tensor, err, "is %s, which is not a format of weights", nb_dtype_name(tensor->dtype));
    size_t element_bytes = nb_dtype_bytes(tensor->dtype);
    if ((uintptr_t)tensor->data % element_bytes)
        return nb_binder_wrong(b, tensor, err,
                               "is not aligned to its %zu-byte elements; write the file again with a "
                               "current safetensors library",
                               element_bytes);
    *out = (nb_linear){
        .format = format, .n_out = (int)n_out, .n_in = (int)n_in, .data = tensor->data + (size_t)first * element_bytes};
    return NB_OK;
}

static int expect(nb_binder *b, const nb_tensor *tensor, nb_dtype dtype, int64_t n_out, int64_t n_in, nb_error *err)
{
    if (tensor->dtype != dtype)
        return nb_binder_wrong(b, tensor, err, "is %s; %s was expected", nb_dtype_name(tensor->dtype),
                               nb_dtype_name(dtype));
    return nb_binder_check_shape(b, tensor, (int64_t[]){n_out, n_in}, 2, err);
}

// Packed nibbles and block scales: the same bytes in both dialects.
static int bind_nvfp4(nb_binder *b, const nb_tensor *packed, const char *module, int64_t n_out, int64_t n_in,
                      nb_linear *out, nb_error *err)
{
    if (n_in % NB_NVFP4_BLOCK)
        return nb_binder_wrong(b, packed, err, "is NVFP4 with %lld inputs, which is no multiple of 16",
                               (long long)n_in);
    NB_TRY(expect(b, packed, NB_DTYPE_U8, n_out, n_in / 2, err));
    const nb_tensor *scale = nb_binder_take(b, module, ".weight_scale");
    if (!scale) return nb_binder_missing(b, module, ".weight_scale", err);
    NB_TRY(expect(b, scale, NB_DTYPE_F8_E4M3, n_out, n_in / NB_NVFP4_BLOCK, err));
    *out = (nb_linear){
        .format = NB_FORMAT_NVFP4, .n_out = (int)n_out, .n_in = (int)n_in, .data = packed->data, .scale = scale->data};
    return NB_OK;
}

static int bind_modelopt_nvfp4(nb_binder *b, const nb_tensor *packed, const char *module, int64_t n_out, int64_t n_in,
                               nb_linear *out, nb_error *err)
{
    nb_linear linear = {0};
    NB_TRY(bind_nvfp4(b, packed, module, n_out, n_in, &linear, err));
    const nb_tensor *scale_2 = nb_binder_take(b, module, ".weight_scale_2");
    if (!scale_2) return nb_binder_missing(b, module, ".weight_scale_2", err);
    NB_TRY(nb_binder_scalar(b, scale_2, &linear.scale_2, err));
    nb_binder_take(b, module, ".input_scale");
    *out = linear;
    return NB_OK;
}

static int bind_compressed_nvfp4(nb_binder *b, const nb_tensor *packed, const char *module, int64_t n_out, int64_t n_in,
                                 nb_linear *out, nb_error *err)
{
    nb_linear linear = {0};
    float divisor;
    NB_TRY(bind_nvfp4(b, packed, module, n_out, n_in, &linear, err));
    const nb_tensor *global = nb_binder_take(b, module, ".weight_global_scale");
    if (!global) return nb_binder_missing(b, module, ".weight_global_scale", err);
    NB_TRY(nb_binder_scalar(b, global, &divisor, err));
    linear.scale_2 = 1.0f / divisor;
    nb_binder_take(b, module, ".input_global_scale");
    *out = linear;
    return NB_OK;
}

// Which part of an n_out x n_in matrix one of the scales belongs to.
static int fp8_blocks(nb_binder *b, const nb_tensor *scale, nb_linear *out, nb_error *err)
{
    int64_t rows = (out->n_out + FP8_BLOCK - 1) / FP8_BLOCK, columns = (out->n_in + FP8_BLOCK - 1) / FP8_BLOCK;
    bool is_column = scale->n_dim == 1 || (scale->n_dim == 2 && scale->dim[1] == 1);
    if (scale->n_dim == 0 || (scale->n_dim == 1 && scale->dim[0] == 1)) {
        out->block_out = out->n_out;
        out->block_in = out->n_in;
        return NB_OK;
    }
    if (is_column && scale->dim[0] == out->n_out) {
        out->block_out = 1;
        out->block_in = out->n_in;
        return NB_OK;
    }
    out->block_out = out->block_in = FP8_BLOCK;
    return nb_binder_check_shape(b, scale, (int64_t[]){rows, columns}, 2, err);
}

static int bind_fp8(nb_binder *b, const nb_tensor *weight, const char *module, int64_t n_out, int64_t n_in,
                    nb_linear *out, nb_error *err)
{
    nb_linear linear = {.format = NB_FORMAT_FP8, .n_out = (int)n_out, .n_in = (int)n_in, .data = weight->data};
    NB_TRY(nb_binder_check_shape(b, weight, (int64_t[]){n_out, n_in}, 2, err));
    const nb_tensor *scale = nb_binder_take(b, module, ".weight_scale_inv");
    if (!scale) scale = nb_binder_take(b, module, ".weight_scale");
    if (!scale) return nb_binder_missing(b, module, ".weight_scale", err);
    NB_TRY(fp8_blocks(b, scale, &linear, err));
    NB_TRY(nb_binder_scales(b, scale, &linear.block_scale, err));
    const nb_tensor *input = nb_binder_take(b, module, ".input_scale");
    if (input) NB_TRY(nb_binder_scalar(b, input, &linear.input_scale, err));
    *out = linear;
    return NB_OK;
}

int nb_bind_matrix(nb_binder *b, const char *module, int64_t n_out, int64_t n_in, nb_linear *out, nb_error *err)
{
    const nb_tensor *weight = nb_binder_take(b, module, ".weight");
    if (!weight) {
        const nb_tensor *packed = nb_binder_take(b, module, ".weight_packed");
        if (!packed) return nb_binder_missing(b, module, ".weight", err);
        return bind_compressed_nvfp4(b, packed, module, n_out, n_in, out, err);
    }
    if (weight->dtype == NB_DTYPE_U8) return bind_modelopt_nvfp4(b, weight, module, n_out, n_in, out, err);
    if (weight->dtype == NB_DTYPE_F8_E4M3) return bind_fp8(b, weight, module, n_out, n_in, out, err);
    NB_TRY(nb_binder_check_shape(b, weight, (int64_t[]){n_out, n_in}, 2, err));
    return nb_bind_plain(b, weight, 0, n_out, n_in, out, err);
}
