// The page at /: one HTML document with its script and style inside, embedded in the binary, made from src/serve/page
// by the build (cmake/page.cmake). It is a client of the API like any other: it holds no secret, so it needs no key,
// and asks for one when the API does. The policy that comes with it lets nothing run or load but what was built.
#ifndef NB_PAGE_H
#define NB_PAGE_H

#include "serve/http.h"

typedef struct nb_page { // constant bytes of the binary
    const unsigned char *html;
    size_t n_html;
    const unsigned char *gzip; // the same, compressed; NULL: not there
    size_t n_gzip;
    const char *etag;        // of the content, without quotes
    const char *script_hash; // source of the policy for the script, "'sha256-...'", or "'none'"
    const char *style_hash;
} nb_page;

extern const nb_page nb_page_built; // made by the build, or page/absent/page_absent.c

// Handler of GET /. `user` is the nb_page.
void nb_page_get(void *user, nb_http_exchange *exchange);

#endif
