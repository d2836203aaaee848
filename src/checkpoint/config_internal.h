// What the files of the configuration reader share.
#ifndef NB_CONFIG_INTERNAL_H
#define NB_CONFIG_INTERNAL_H

#include "base/json.h"
#include "checkpoint/config.h"

// config.json is either flat, or has the language model's fields in text_config. `text` is the object that holds them,
// `path` its name in messages ("text_config", or "" when flat).
typedef struct nb_config_source {
    const json_t *top, *text;
    const char *path;
} nb_config_source;

// A whole number of `object` within [least, most]; absent: *out stays unless `need` is REQUIRED.
int nb_config_int(const json_t *object, const char *path, const char *key, nb_json_need need, int64_t least,
                  int64_t most, int *out, nb_error *err);
int nb_config_double(const json_t *object, const char *path, const char *key, double least, double most, double *out,
                     nb_error *err);

int nb_config_read_rope(const nb_config_source *source, nb_config *out, nb_error *err);
int nb_config_read_layer_types(const nb_config_source *source, nb_config *out, nb_error *err);
int nb_config_read_generation(const json_t *generation, nb_config *out, nb_error *err);
void nb_config_read_quantization(const json_t *config, const json_t *hf_quant, nb_config *out);
int nb_config_read_eos(const json_t *object, const char *path, nb_config *out, nb_error *err);

#endif
