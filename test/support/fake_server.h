// The server with the demo's tokenizer and chat template over the fake device: as fast as the host can go, and failing
// when it is told to. For tests of faults and load, and for benchmarks.
#ifndef NB_TEST_FAKE_SERVER_H
#define NB_TEST_FAKE_SERVER_H

#include "serve/api.h"
#include "serve/metrics.h"
#include "support/fake_device.h"

typedef struct fake_server_options { // zero: a default
    nb_fake_options fake;            // vocabulary and pages are filled in
    int max_num_seqs, max_waiting;
    int64_t max_model_len;
    int64_t stream_buffer_max_bytes;
    int n_thread; // of HTTP
} fake_server_options;

typedef struct fake_server {
    nb_model model;
    nb_device *device;
    nb_engine *engine; // NULL once a test has closed it
    nb_tokenizer *tokenizer;
    nb_chat *chat;
    nb_metrics *metrics;
    nb_api *api;
    nb_http *http;
    int port;
} fake_server;

fake_server *fake_server_open(const fake_server_options *options); // aborts when it cannot
void fake_server_close(fake_server *server);

#endif
