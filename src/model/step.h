// The inner seam: the one layer loop. It calls the blocks in order; a block reads and writes the device's residual
// stream [n_tok][d_model] and may fuse whatever it likes inside.
#ifndef NB_STEP_H
#define NB_STEP_H

#include "model/batch.h"
#include "model/weights.h"

typedef struct nb_blocks {
    int (*embed)(void *device, const nb_batch *batch);
    int (*attention)(void *device, const nb_batch *batch, const nb_layer *layer, int i_layer); // norm .. + residual
    int (*deltanet)(void *device, const nb_batch *batch, const nb_layer *layer, int i_layer);
    int (*moe)(void *device, const nb_batch *batch, const nb_layer *layer, int i_layer);
    int (*head)(void *device, const nb_batch *batch);    // final norm, lm_head of the wanted rows, sampling
    int (*propose)(void *device, const nb_batch *batch); // MTP drafts; called only if a sequence wants some
} nb_blocks;

// Runs embed, every layer's mixer and MoE, head, and propose. Stops at the first code that is not 0 and returns it.
int nb_step_run(const nb_blocks *blocks, void *device, const nb_model *model, const nb_batch *batch);

#endif
