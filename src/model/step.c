// The one layer loop that both devices run.
#include "model/step.h"

static bool wants_proposals(const nb_batch *batch)
{
    for (int i = 0; i < batch->n_seq; i++)
        if (batch->seq[i].n_propose > 0) return true;
    return false;
}

int nb_step_run(const nb_blocks *blocks, void *device, const nb_model *model, const nb_batch *batch)
{
    int code = blocks->embed(device, batch);
    for (int i = 0; i < model->config.num_hidden_layers && code == 0; i++) {
        const nb_layer *layer = &model->layer[i];
        code = layer->kind == NB_LAYER_FULL_ATTENTION ? blocks->attention(device, batch, layer, i)
                                                      : blocks->deltanet(device, batch, layer, i);
        if (code == 0) code = blocks->moe(device, batch, layer, i);
    }
    if (code == 0) code = blocks->head(device, batch);
    if (code == 0 && model->has_mtp && wants_proposals(batch)) code = blocks->propose(device, batch);
    return code;
}
