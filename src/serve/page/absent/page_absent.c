// What / shows where the page could not be built.
#include "serve/page.h"

#define TEXT                                                                                                        \
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">"          \
    "<title>nibble</title><h1>nibble</h1><p>The server runs; its API begins at <code>/v1</code>."                   \
    "<p>This build has no chat page: the page is made where Node.js and npm are found and the npm registry can be " \
    "reached. Install both and build again; <code>cmake -DNB_PAGE=ON</code> says what is missing.\n"

const nb_page nb_page_built = {
    .html = (const unsigned char *)TEXT,
    .n_html = sizeof(TEXT) - 1,
    .etag = "absent-1",
    .script_hash = "'none'",
    .style_hash = "'none'",
};
