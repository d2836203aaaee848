// Random JSON schemas of the keywords that constrained output supports.
#ifndef NB_TEST_RANDOM_SCHEMA_H
#define NB_TEST_RANDOM_SCHEMA_H

#include "base/json.h"

json_t *random_schema(uint64_t *seed); // with $defs; the caller drops it

#endif
