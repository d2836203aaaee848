#include "support/check.h"

#include "support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

int client_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

bool client_send(int fd, nb_str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes = nb_str_slice(bytes, (size_t)n, bytes.len);
    }
    return true;
}

// 1: bytes came, 0: the end, -1: nothing in time.
static int read_some(int fd, nb_buf *out, int64_t until_us)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int64_t left_us = until_us - nb_clock_us();
    if (left_us <= 0 || poll(&wait, 1, (int)(left_us / 1000) + 1) <= 0) return -1;
    char bytes[65536];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n > 0) nb_buf_add(out, bytes, (size_t)n);
    return n > 0;
}

bool client_read(int fd, nb_buf *out, int timeout_ms)
{
    int64_t until_us = nb_clock_us() + (int64_t)timeout_ms * 1000;
    int got;
    do got = read_some(fd, out, until_us);
    while (got > 0);
    return got == 0;
}

bool client_read_until(int fd, nb_buf *out, const char *text, int timeout_ms)
{
    int64_t until_us = nb_clock_us() + (int64_t)timeout_ms * 1000;
    while (nb_str_find(nb_buf_str(out), nb_str_from(text), 0) < 0) {
        if (read_some(fd, out, until_us) <= 0) return false;
    }
    return true;
}

int client_status(nb_str response)
{
    int status = 0;
    if (response.len < 12 || sscanf(response.ptr, "HTTP/1.%*1d %d", &status) != 1) return 0;
    return status;
}

nb_str client_body(nb_str response)
{
    int64_t at = nb_str_find(response, NB_STR("\r\n\r\n"), 0);
    return at < 0 ? (nb_str){0} : nb_str_slice(response, (size_t)at + 4, response.len);
}

nb_str client_header(nb_str response, const char *name)
{
    size_t n_name = strlen(name);
    int64_t at = nb_str_find(response, NB_STR("\r\n"), 0);
    while (at >= 0) {
        size_t from = (size_t)at + 2;
        at = nb_str_find(response, NB_STR("\r\n"), from);
        if (at < 0 || (size_t)at == from) break;
        nb_str line = nb_str_slice(response, from, (size_t)at);
        if (line.len > n_name + 2 && line.ptr[n_name] == ':' && strncasecmp(line.ptr, name, n_name) == 0)
            return nb_str_slice(line, n_name + 2, line.len);
    }
    return (nb_str){0};
}

int client_request(int port, const char *line, const char *headers, nb_str body, nb_buf *out)
{
    nb_buf request = {0};
    nb_buf_printf(&request, "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s", line, headers);
    if (body.len > 0) nb_buf_printf(&request, "Content-Length: %zu\r\n", body.len);
    nb_buf_add_c(&request, "\r\n");
    nb_buf_add_str(&request, body);
    int fd = client_connect(port);
    client_send(fd, nb_buf_str(&request));
    nb_buf_clear(out);
    client_read(fd, out, 120000); // sanitizers are slow
    close(fd);
    nb_buf_drop(&request);
    return client_status(nb_buf_str(out));
}
