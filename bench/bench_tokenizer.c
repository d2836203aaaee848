// Speed of the tokenizer: `bench_tokenizer FOLDER|tokenizer.json TEXT_FILE` prints the seconds to open it and the MB/s
// of encoding and decoding the file on one core (the best of five runs each).
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "text/tokenizer.h"

enum { RUNS = 5 };

static int fail(const nb_error *err)
{
    fprintf(stderr, "bench_tokenizer: %s\n", err->text);
    return 1;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tokenizer FOLDER|tokenizer.json TEXT_FILE\n");
        return 2;
    }
    nb_error err = {0};
    nb_tokenizer *t;
    nb_map text;
    int64_t start_us = nb_clock_us();
    if (nb_tokenizer_open(argv[1], &t, &err) != NB_OK) return fail(&err);
    double open_s = 1e-6 * (double)(nb_clock_us() - start_us);
    if (nb_map_open(argv[2], &text, &err) != NB_OK) return fail(&err);
    int64_t encode_us = INT64_MAX, decode_us = INT64_MAX;
    nb_ids ids = {0};
    nb_buf decoded = {0};
    for (int i = 0; i < RUNS; i++) {
        ids.n = 0;
        nb_buf_clear(&decoded);
        start_us = nb_clock_us();
        if (nb_tokenizer_encode(t, (nb_str){(const char *)text.ptr, text.n_byte}, true, &ids, &err) != NB_OK)
            return fail(&err);
        encode_us = least(encode_us, nb_clock_us() - start_us);
        start_us = nb_clock_us();
        nb_tokenizer_decode(t, ids.id, ids.n, false, &decoded);
        decode_us = least(decode_us, nb_clock_us() - start_us);
    }
    printf("vocabulary %d, open %.3f s, %zu bytes, %lld ids, encode %.1f MB/s, decode %.1f MB/s\n",
           nb_tokenizer_vocab_size(t), open_s, text.n_byte, (long long)ids.n, (double)text.n_byte / (double)encode_us,
           (double)decoded.len / (double)decode_us);
    nb_ids_drop(&ids);
    nb_buf_drop(&decoded);
    nb_map_close(&text);
    nb_tokenizer_close(t);
    return 0;
}
