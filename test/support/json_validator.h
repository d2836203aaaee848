// A validator of JSON Schema, written from the specification and independent of src/constrain: it says whether a value
// satisfies a schema, for the keywords that the tests use.
#ifndef NB_TEST_JSON_VALIDATOR_H
#define NB_TEST_JSON_VALIDATOR_H

#include "base/json.h"

// `why` [>= 200] gets the keyword that failed. `root` is where references begin.
bool json_validates(const json_t *root, const json_t *schema, const json_t *value, char *why);

#endif
