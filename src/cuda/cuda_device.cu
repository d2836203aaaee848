// The CUDA device: the table of model/device.h. A step is kernels alone (a graph for plain decodes in a bucket's size,
// launched one by one otherwise): the first takes over the metadata, the last write results into the host's memory. So
// the stream passes to no copy engine and back between two steps. The host waits only in `wait`.
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_internal.h"

// Decodes are padded up to one of these: each size to 8, then steps of about an eighth.
static int bucket_of(int n)
{
    int step = n <= 8 ? 1 : n <= 64 ? 8 : n <= 128 ? 16 : 32;
    return (n + step - 1) / step * step;
}

// Every sequence has one new token and one row that draws.
static bool is_plain_decode(const nb_cuda *d, const nb_batch *b)
{
    if (b->n_tok != b->n_seq || b->n_row != b->n_seq || b->n_seq > NB_CUDA_BUCKET_MAX || d->tap) return false;
    for (int i = 0; i < b->n_seq && d->weights.has_mtp; i++)
        if (b->seq[i].n_propose) return false;
    int n = bucket_of(b->n_seq);
    if (n > d->reserve.max_seq || n > d->reserve.max_tok || n > d->reserve.max_row) return false;
    for (int i = 0; i < b->n_row; i++) {
        const nb_row *r = &b->row[i];
        const nb_sampling *s = &r->sampling;
        if (r->seq != i || r->n_bias || r->mask_first >= 0 || s->repetition_penalty != 1 || s->presence_penalty != 0 ||
            s->frequency_penalty != 0)
            return false;
    }
    return true;
}

static int capture(nb_cuda *d, nb_cuda_graph *g, const nb_cuda_flight *f, const nb_cuda_meta *m, nb_error *err)
{
    size_t n_root = 1; // all other kernels of a step depend on the one that takes the metadata
    NB_CUDA_TRY(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), err);
    int code = nb_cuda_step_run(d, f, m, 1, err);
    cudaError_t ended = cudaStreamEndCapture(d->stream, &g->graph);
    if (code != NB_OK) return code;
    NB_CUDA_TRY(ended, err);
    NB_CUDA_TRY(cudaGraphGetRootNodes(g->graph, &g->take, &n_root), err);
    NB_CUDA_TRY(cudaGraphInstantiate(&g->exec, g->graph, 0), err);
    return NB_OK;
}

static int run_graph(nb_cuda *d, int bucket, const nb_cuda_flight *f, const nb_cuda_meta *m, nb_error *err)
{
    nb_cuda_graph *g = &d->graph[bucket];
    if (!g->warm) {
        g->warm = true;
        return nb_cuda_step_run(d, f, m, 1, err);
    }
    if (g->exec)
        NB_TRY(nb_cuda_meta_retake(g->exec, g->take, d, f, m, err));
    else
        NB_TRY(capture(d, g, f, m, err));
    NB_CUDA_TRY(cudaGraphLaunch(g->exec, d->stream), err);
    return NB_OK;
}

static int copy_slots(nb_cuda *d, const nb_batch *b, nb_error *err)
{
    for (int i = 0; i < b->n_copy; i++) {
        int64_t from = b->copy[i].from, to = b->copy[i].to;
        if (from == to) continue;
        size_t floats = (size_t)d->slot_floats * 4, halfs = (size_t)d->slot_halfs * 2;
        NB_CUDA_TRY(cudaMemcpyAsync(d->state + to * d->slot_floats, d->state + from * d->slot_floats, floats,
                                    cudaMemcpyDeviceToDevice, d->stream),
                    err);
        NB_CUDA_TRY(cudaMemcpyAsync(d->ring + to * d->slot_halfs, d->ring + from * d->slot_halfs, halfs,
                                    cudaMemcpyDeviceToDevice, d->stream),
                    err);
        NB_CUDA_TRY(cudaMemcpyAsync(d->last_tok + to, d->last_tok + from, 4, cudaMemcpyDeviceToDevice, d->stream), err);
        int64_t hidden = nb_cuda_hidden_halfs(d);
        if (hidden)
            NB_CUDA_TRY(cudaMemcpyAsync(d->hidden + to * hidden, d->hidden + from * hidden, (size_t)hidden * 2,
                                        cudaMemcpyDeviceToDevice, d->stream),
                        err);
    }
    return NB_OK;
}

// What the host knows of the results before the kernels write theirs.
static void begin_flight(nb_cuda_flight *f, const nb_batch *b)
{
    f->n_row = b->n_row, f->n_seq = b->n_seq, f->logits_wanted = false;
    for (int i = 0; i < b->n_row; i++) {
        f->row_logits[i] = (b->row[i].flags & NB_ROW_LOGITS) != 0;
        f->logits_wanted |= f->row_logits[i];
    }
    memset(f->proposal, 0xff, (size_t)f->n_seq * sizeof *f->proposal); // -1: none
}

static int fetch_logits(nb_cuda *d, nb_cuda_flight *f, nb_error *err)
{
    if (!f->logits_wanted) return NB_OK;
    size_t row = (size_t)d->model->config.vocab_size * sizeof(float);
    if (!f->logits) f->logits = (float *)malloc(row * (size_t)d->reserve.max_row);
    if (!f->logits) return nb_error_set(err, NB_ERR_MEMORY, "no memory for %d rows of logits", d->reserve.max_row);
    NB_CUDA_TRY(
        cudaMemcpyAsync(f->logits, d->scratch.logits, row * (size_t)f->n_row, cudaMemcpyDeviceToHost, d->stream), err);
    return NB_OK;
}

static int submit(nb_device *device, const nb_batch *b, nb_error *err)
{
    nb_cuda *d = (nb_cuda *)device;
    nb_cuda_flight *f = &d->flight[d->n_submitted % NB_CUDA_FLIGHTS];
    nb_cuda_meta m;
    if (d->n_submitted - d->n_waited >= NB_IN_FLIGHT)
        return nb_error_set(err, NB_ERR_LIMIT, "%d steps are under way; wait for one first", NB_IN_FLIGHT);
    NB_TRY(nb_cuda_meta_check(d, b, err));
    int bucket = is_plain_decode(d, b) ? bucket_of(b->n_seq) : 0;
    NB_TRY(nb_cuda_meta_write(d, b, bucket, f, &m, err));
    begin_flight(f, b);
    NB_CUDA_TRY(cudaEventRecord(f->begin, d->stream), err);
    NB_TRY(copy_slots(d, b, err));
    if (d->time)
        NB_TRY(nb_cuda_times_run(d, f, &m, err));
    else
        NB_TRY(bucket ? run_graph(d, bucket, f, &m, err) : nb_cuda_step_run(d, f, &m, d->tap == NULL, err));
    NB_TRY(fetch_logits(d, f, err));
    NB_CUDA_TRY(cudaEventRecord(f->end, d->stream), err);
    d->n_submitted++;
    return NB_OK;
}

static int wait(nb_device *device, nb_result *result, nb_error *err)
{
    nb_cuda *d = (nb_cuda *)device;
    nb_cuda_flight *f = &d->flight[d->n_waited % NB_CUDA_FLIGHTS];
    float ms = 0;
    if (d->n_waited == d->n_submitted) return nb_error_set(err, NB_ERR_INPUT, "no step is under way");
    NB_CUDA_TRY(cudaEventSynchronize(f->end), err);
    NB_CUDA_TRY(cudaEventElapsedTime(&ms, f->begin, f->end), err);
    for (int i = 0; i < f->n_row; i++)
        f->result[i].logits = f->row_logits[i] ? f->logits + (int64_t)i * d->model->config.vocab_size : NULL;
    result->n_row = f->n_row, result->n_seq = f->n_seq, result->row = f->result, result->proposal = f->proposal;
    result->device_us = (int64_t)(ms * 1000);
    d->n_waited++;
    return NB_OK;
}

static int load(nb_device *device, const nb_model *model, nb_error *err)
{
    return nb_cuda_load((nb_cuda *)device, model, err);
}

static int reserve(nb_device *device, const nb_reserve *r, nb_error *err)
{
    return nb_cuda_reserve((nb_cuda *)device, r, err);
}

static void tap(nb_device *device, nb_tap_fn fn, void *user)
{
    ((nb_cuda *)device)->tap = fn, ((nb_cuda *)device)->tap_user = user;
}

static void memory(const nb_device *device, nb_memory *out)
{
    const nb_cuda *d = (const nb_cuda *)device;
    size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    memset(out, 0, sizeof *out);
    out->total_bytes = (int64_t)total, out->free_bytes = (int64_t)free_bytes;
    out->weight_bytes = d->weights.total, out->kv_bytes = d->kv_bytes, out->state_bytes = d->state_bytes,
    out->scratch_bytes = d->scratch.bytes;
    out->page_bytes = d->layer_page_bytes * d->n_attention, out->slot_bytes = nb_cuda_slot_bytes(d);
    out->n_page = d->reserve.n_page, out->n_slot = d->reserve.n_slot;
}

static void close_device(nb_device *device)
{
    nb_cuda *d = (nb_cuda *)device;
    if (d->stream) cudaStreamSynchronize(d->stream);
    nb_cuda_release(d);
    nb_cuda_times_close(d->times);
    nb_cuda_unload(d);
    if (d->stream) cudaStreamDestroy(d->stream);
    free(d);
}

static const nb_device_ops cuda_ops = {"cuda", load, reserve, submit, wait, tap, memory, close_device};

int nb_cuda_open(const nb_cuda_options *options, nb_device **out, nb_error *err)
{
    int count = 0, major = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || options->ordinal >= count || options->ordinal < 0)
        return nb_error_set(err, NB_ERR_DEVICE, "there is no GPU %d: CUDA sees %d", options->ordinal, count);
    NB_CUDA_TRY(cudaSetDevice(options->ordinal), err);
    NB_CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, options->ordinal), err);
    if (major < 8)
        return nb_error_set(err, NB_ERR_DEVICE, "GPU %d has compute capability %d; 8.0 or later is needed",
                            options->ordinal, major);
    nb_cuda *d = (nb_cuda *)calloc(1, sizeof *d);
    if (!d) return nb_error_set(err, NB_ERR_MEMORY, "no memory for the device");
    d->base.ops = &cuda_ops, d->options = *options;
    cudaError_t code = cudaDeviceGetAttribute(&d->n_sm, cudaDevAttrMultiProcessorCount, options->ordinal);
    if (code == cudaSuccess) code = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    if (code != cudaSuccess) {
        close_device(&d->base);
        return nb_cuda_fail(code, "a stream", err);
    }
    *out = &d->base;
    return NB_OK;
}
