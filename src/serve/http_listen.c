// The listening socket: made here and not by MHD, so that a failure can say what is wrong.
#include "serve/http_internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 2048 };

static int bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &n) != 0) return 0;
    if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static int try_listen(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
    if (fd < 0) return -1;
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int nb_http_listen(const nb_http_options *options, int *fd, int *port, nb_error *err)
{
    char service[16];
    snprintf(service, sizeof service, "%d", options->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    const char *host = options->host ? options->host : "0.0.0.0";
    int code = getaddrinfo(host, service, &hints, &list);
    if (code != 0) return nb_error_set(err, NB_ERR_IO, "host \"%s\": %s", host, gai_strerror(code));
    *fd = -1;
    for (const struct addrinfo *a = list; a && *fd < 0; a = a->ai_next) *fd = try_listen(a);
    freeaddrinfo(list);
    if (*fd < 0)
        return nb_error_set(err, NB_ERR_IO, "cannot listen on %s port %d: %s", host, options->port, strerror(errno));
    *port = bound_port(*fd);
    return NB_OK;
}
