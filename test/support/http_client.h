// A client of the plainest kind for tests of the server: it sends what it is told, however wrong, and reads to the end.
#ifndef NB_TEST_HTTP_CLIENT_H
#define NB_TEST_HTTP_CLIENT_H

#include "base/str.h"

int client_connect(int port);                          // a socket to 127.0.0.1; fails the test if it cannot
bool client_send(int fd, nb_str bytes);                // false: the server has closed the connection
bool client_read(int fd, nb_buf *out, int timeout_ms); // until the server closes; false: it did not in time
bool client_read_until(int fd, nb_buf *out, const char *text, int timeout_ms); // until `text` has come
int client_status(nb_str response);                                            // 200, or 0 when it is none
nb_str client_body(nb_str response);                                           // behind the first blank line
nb_str client_header(nb_str response, const char *name);                       // its value, empty when absent

// One request on its own connection: "GET /path", with `headers` ("A: b\r\n" each, or "") and a body. The response to
// the end of the connection is put into `out` (cleared first). Returns the status, 0 if there was none.
int client_request(int port, const char *line, const char *headers, nb_str body, nb_buf *out);

#endif
