// Formats of strings as regular expressions of what is surely valid: a reader may know more forms.
#include <string.h>

#include "constrain/grammar_regex.h"
#include "constrain/grammar_schema_internal.h"

// Days of each month; February 29 is left out, as it depends on the year.
#define DATE                                                                                              \
    "([1-9]\\d{3})-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1" \
    "\\d|2[0-8]))"
#define TIME  "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define HOST  LABEL "(\\." LABEL "){0,3}"
#define BYTE  "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4  BYTE "(\\." BYTE "){3}"
#define H     "[0-9A-Fa-f]{1,4}"
#define IPV6                                                                                                         \
    "((" H ":){7}" H "|(" H ":){1,7}:|(" H ":){1,6}:" H "|(" H ":){1,5}(:" H "){1,2}|(" H ":){1,4}(:" H "){1,3}|(" H \
    ":){1,3}(:" H "){1,4}|(" H ":){1,2}(:" H "){1,5}|" H ":(:" H "){1,6}|:((:" H "){1,7}|:))"
#define PCHAR    "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})"
#define PATH     "(/" PCHAR "*)*(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define URI      "[A-Za-z][A-Za-z0-9+.-]{0,15}://" HOST "(:[1-9]\\d{0,3})?" PATH
#define HMS      "T(\\d{1,4}H(\\d{1,4}M(\\d{1,4}S)?)?|\\d{1,4}M(\\d{1,4}S)?|\\d{1,4}S)"
#define DURATION "P(\\d{1,4}W|(\\d{1,4}D|\\d{1,4}M(\\d{1,4}D)?|\\d{1,4}Y(\\d{1,4}M(\\d{1,4}D)?)?)(" HMS ")?|" HMS ")"
#define WORD     "[A-Za-z0-9_%+-]{1,16}"

static const struct {
    const char *name, *regex;
} formats[] = {
    {"date-time", DATE "T" TIME},
    {"date", DATE},
    {"time", TIME},
    {"duration", DURATION},
    {"email", WORD "(\\." WORD "){0,3}@" LABEL "(\\." LABEL "){0,2}\\.[A-Za-z]{2,10}"},
    {"hostname", HOST},
    {"ipv4", IPV4},
    {"ipv6", IPV6},
    {"uuid", "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
    {"uri", URI},
    {"uri-reference", URI "|" PATH},
    {"json-pointer", "(/([^/~]|~[01])*)*"},
    {"relative-json-pointer", "(0|[1-9]\\d{0,5})(#|(/([^/~]|~[01])*)*)"},
};

// Formats of JSON Schema that are not in the table.
static bool is_standard(const char *name)
{
    static const char *const list[] = {"idn-email",    "idn-hostname", "iri", "iri-reference",
                                       "uri-template", "regex",        NULL};
    return nb_schema_is_one_of(name, list);
}

int nb_schema_format(nb_schema *s, const char *name, const char *path, bool *idle, nb_expr *out)
{
    nb_regex_options options = {.chars = s->raw ? NULL : nb_grammar_json_char};
    *idle = false;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (!strcmp(formats[i].name, name))
            return nb_grammar_regex(s->g, nb_str_from(formats[i].regex), &options, out, s->err);
    *idle = true;
    if (!is_standard(name)) return NB_OK;
    return nb_schema_refuse(s, path, "format", "\"%.80s\" is not supported: leave it out, or write it as a pattern",
                            name);
}
