// Names of the device interface.
#include "model/device.h"

const char *nb_kv_format_name(nb_kv_format kv)
{
    switch (kv) {
    case NB_KV_BF16: return "bf16";
    case NB_KV_FP8: return "fp8";
    case NB_KV_F32: return "f32";
    }
    return "?";
}
