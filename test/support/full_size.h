// The file set of the published 35B NVFP4 checkpoint in full size and with holes for its bytes: 3 shards, 124,468
// tensors, 23.4 GB that take no room. For tests and benchmarks of opening.
#ifndef NB_TEST_FULL_SIZE_H
#define NB_TEST_FULL_SIZE_H

enum { NB_TEST_FULL_SIZE_TENSORS = 124468 };

// Writes config.json, the index and the shards into the existing folder.
void nb_test_full_size_write(const char *folder);

// The same for the model of another config.json, without a vision tower: experts, shared experts and head in NVFP4,
// projections in FP8, the rest in BF16.
void nb_test_published_mix_write(const char *folder, const char *config_text);

#endif
