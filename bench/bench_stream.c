// What serving costs beside the model: `bench_stream [CLIENTS [TOKENS]]` streams completions of that many tokens to
// that many clients at once, over HTTP, from a device that returns at once. All threads of the server run on one core,
// the clients in a process of their own on the others. Prints tokens per second of wall clock and of the server's CPU
// time, and the events that the clients received; the fake device's own share is included.
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/fake_server.h"

enum { CLIENTS_MAX = 4096 };

// ---- The clients

typedef struct reader {    // one stream; events are counted across the pieces in which it comes
    int event_at, done_at; // how much of the marks has come
    int64_t n_event;
    bool done;
} reader;

static void give_up(const char *what)
{
    perror(what);
    _exit(1);
}

static int send_request(int port, int i, int n_tok)
{
    char body[200], request[400];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) give_up("connect");
    int n =
        snprintf(body, sizeof(body),
                 "{\"prompt\": \"client %d\", \"max_tokens\": %d, \"ignore_eos\": true, \"stream\": true}", i, n_tok);
    n = snprintf(request, sizeof(request),
                 "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", n,
                 body);
    if (send(fd, request, (size_t)n, 0) != n) give_up("send");
    return fd;
}

// Whether `c` completes the mark, of which *at characters have come. No mark has its first character in it twice.
static bool completes(const char *mark, int *at, char c)
{
    *at = c == mark[*at] ? *at + 1 : c == mark[0];
    if (mark[*at]) return false;
    *at = 0;
    return true;
}

// Each event holds "finish_reason" once.
static void count_events(reader *r, const char *bytes, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++) {
        r->n_event += completes("finish_reason", &r->event_at, bytes[i]);
        r->done |= completes("[DONE]", &r->done_at, bytes[i]);
    }
}

static int64_t run_clients(int port, int n_client, int n_tok)
{
    static struct pollfd fd[CLIENTS_MAX];
    static reader all[CLIENTS_MAX];
    static char bytes[1 << 16];
    int64_t n_event = 0;
    for (int i = 0; i < n_client; i++) fd[i] = (struct pollfd){.fd = send_request(port, i, n_tok), .events = POLLIN};
    for (int n_open = n_client; n_open > 0;) {
        if (poll(fd, (nfds_t)n_client, -1) < 0) give_up("poll");
        for (int i = 0; i < n_client; i++) {
            if (fd[i].fd < 0 || !fd[i].revents) continue;
            ssize_t n = recv(fd[i].fd, bytes, sizeof(bytes), 0);
            if (n > 0) {
                count_events(&all[i], bytes, n);
                continue;
            }
            if (!all[i].done) return -1;
            n_event += all[i].n_event;
            close(fd[i].fd);
            fd[i].fd = -1;
            n_open--;
        }
    }
    return n_event;
}

// ---- The server

static void take_core(bool server)
{
    cpu_set_t all, mine;
    sched_getaffinity(0, sizeof(all), &all);
    int first = 0;
    while (!CPU_ISSET(first, &all)) first++;
    CPU_ZERO(&mine);
    CPU_SET(first, &mine);
    if (!server && CPU_COUNT(&all) > 1) CPU_XOR(&mine, &all, &mine);
    sched_setaffinity(0, sizeof(mine), &mine);
}

static double cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void be_clients(const int *to, const int *from, int n_client, int n_tok)
{
    int port;
    take_core(false);
    if (read(to[0], &port, sizeof(port)) != sizeof(port)) _exit(1);
    int64_t n_event = run_clients(port, n_client, n_tok);
    _exit(write(from[1], &n_event, sizeof(n_event)) == sizeof(n_event) && n_event >= 0 ? 0 : 1);
}

int main(int argc, char **argv)
{
    int n_client = argc > 1 ? atoi(argv[1]) : 256, n_tok = argc > 2 ? atoi(argv[2]) : 1000;
    int to[2], from[2], status;
    int64_t n_event = -1;
    if (n_client < 1 || n_client > CLIENTS_MAX || n_tok < 1 || n_tok > 100000 || pipe(to) != 0 || pipe(from) != 0) {
        fprintf(stderr, "usage: bench_stream [CLIENTS [TOKENS]]\n");
        return 2;
    }
    pid_t clients = fork();
    if (clients == 0) be_clients(to, from, n_client, n_tok);
    take_core(true);
    fake_server *server = fake_server_open(
        &(fake_server_options){.max_num_seqs = n_client, .max_waiting = n_client, .max_model_len = n_tok + 64});
    double begin_cpu_s = cpu_s();
    int64_t begin_us = nb_clock_us();
    if (write(to[1], &server->port, sizeof(server->port)) != sizeof(server->port)) give_up("write");
    waitpid(clients, &status, 0);
    double s = 1e-6 * (double)(nb_clock_us() - begin_us), server_s = cpu_s() - begin_cpu_s;
    fake_server_close(server);
    if (status != 0 || read(from[0], &n_event, sizeof(n_event)) != sizeof(n_event)) {
        fprintf(stderr, "bench_stream: a client did not get its whole stream\n");
        return 1;
    }
    double n = (double)n_client * n_tok;
    printf("clients %d tokens %d events %lld tokens_per_s %.0f tokens_per_cpu_s %.0f\n", n_client, n_tok,
           (long long)n_event, n / s, n / server_s);
    return 0;
}
