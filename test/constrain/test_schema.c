// JSON schemas: what is accepted, what is not, and what is refused by its name and place.
#include "support/check.h"
#include "support/json_validator.h"
#include "support/walker.h"

#include <string.h>

#include "constrain/constrain.h"

static int compile(const char *schema, nb_automaton **out, nb_error *err)
{
    nb_constrain_spec spec = {.kind = NB_CONSTRAIN_SCHEMA, .text = nb_str_from(schema)};
    return nb_constrain_compile(&spec, out, err);
}

static void check(const char *schema, const char *const *yes, const char *const *no)
{
    nb_automaton *a;
    nb_error err = {0};
    nb_test_ok(compile(schema, &a, &err), &err);
    for (; *yes; yes++)
        if (!walk_accepts(a, nb_str_from(*yes))) fail_msg("%s\nrefuses %s", schema, *yes);
    for (; *no; no++)
        if (walk_accepts(a, nb_str_from(*no))) fail_msg("%s\naccepts %s", schema, *no);
    nb_automaton_close(a);
}

#define LIST(...)                       \
    (const char *const[])               \
    {                                   \
        __VA_ARGS__ __VA_OPT__(, ) NULL \
    }

static void values_of_each_type(void **state)
{
    (void)state;
    check("{\"type\": \"string\"}", LIST("\"\"", "\"a\xc3\xa9\"", "\"\\n\\u00e9\\ud83d\\ude00\\/\""),
          LIST("a", "\"", "\"\n\"", "\"\\x\"", "\"\\ud83d\"", "\"a\" ", "\"\xff\""));
    check("{\"type\": \"integer\"}", LIST("0", "-12", "999999999999999999"), LIST("01", "1.0", "-", "+1", "-0", "1e3"));
    check("{\"type\": \"number\"}", LIST("0", "-1.50", "2e10", "3.25E-7"), LIST(".5", "1.", "1e", "1e100", "NaN"));
    check("{\"type\": \"boolean\"}", LIST("true", "false"), LIST("True", "1"));
    check("{\"type\": [\"string\", \"null\"]}", LIST("null", "\"x\""), LIST("1", "nul"));
    check("{}", LIST("1", "[1, {\"a\": [null]}]", "\"\""), LIST("", "[1,]", "{a: 1}"));
    check("true", LIST("1"), LIST(""));
    check("{\"enum\": [1, \"a\\\"b\", null, [1, 2], 1.5]}", LIST("1", "\"a\\\"b\"", "null", "[1, 2]", "1.5"),
          LIST("2", "\"a\""));
    check("{\"const\": {\"k\": 1}}", LIST("{\"k\": 1}"), LIST("{}"));
    check("{\"type\": \"integer\", \"enum\": [1, \"x\", 2.5, 7], \"maximum\": 5}", LIST("1"),
          LIST("7", "\"x\"", "2.5"));
}

static void strings_have_lengths_and_patterns(void **state)
{
    (void)state;
    check("{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
          LIST("\"ab\"", "\"\xe2\x82\xac\\n\xf0\x9f\x98\x80\""), LIST("\"a\"", "\"abcd\""));
    check("{\"type\": \"string\", \"minLength\": 2}", LIST("\"ab\"", "\"abcdefghijklmnop\""), LIST("\"a\""));
    check("{\"pattern\": \"^a+$\"}", LIST("\"aaa\""), LIST("\"\"", "\"ba\""));
    check("{\"pattern\": \"b\"}", LIST("\"abc\"", "\"b\""), LIST("\"a\""));
    check("{\"pattern\": \"^[\\\"\\\\\\\\\\n]{2}$\"}", LIST("\"\\\"\\\\\"", "\"\\n\\n\""), LIST("\"\\\"\"", "\"ab\""));
    check("{\"type\": \"string\", \"pattern\": \"^[a-z]*$\", \"minLength\": 3, \"maxLength\": 4}",
          LIST("\"abc\"", "\"abcd\""), LIST("\"ab\"", "\"abcde\"", "\"ab1\""));
    check("{\"type\": \"string\", \"format\": \"path\"}", LIST("\"a\""), LIST("1"));
    check("{\"type\": \"string\", \"format\": \"date\", \"pattern\": \"^2024\"}", LIST("\"2024-02-28\""),
          LIST("\"2023-01-01\"", "\"2024-13-01\""));
}

static void numbers_have_bounds(void **state)
{
    (void)state;
    check("{\"type\": \"integer\", \"minimum\": -5, \"maximum\": 120}", LIST("-5", "-1", "0", "9", "99", "120"),
          LIST("-6", "121", "-10", "1000"));
    check("{\"type\": \"integer\", \"exclusiveMinimum\": 9, \"exclusiveMaximum\": 12}", LIST("10", "11"),
          LIST("9", "12"));
    check("{\"type\": \"integer\", \"minimum\": 17}", LIST("17", "20", "100", "999999"), LIST("16", "9", "-17"));
    check("{\"type\": \"integer\", \"maximum\": -17}", LIST("-17", "-20", "-100"), LIST("-16", "0", "17"));
    check("{\"type\": \"integer\", \"minimum\": 0.5, \"maximum\": 2.5}", LIST("1", "2"), LIST("0", "3"));
    check("{\"type\": \"integer\", \"multipleOf\": 7}", LIST("0", "7", "-21", "700"), LIST("1", "8", "-20"));
    check("{\"type\": \"integer\", \"multipleOf\": 5, \"minimum\": 3, \"maximum\": 16}", LIST("5", "10", "15"),
          LIST("0", "20", "7"));
    check("{\"type\": \"number\", \"minimum\": 0, \"maximum\": 1}", LIST("0", "0.0", "0.999", "1", "1.00"),
          LIST("1.01", "-0.1", "2", "1e0"));
    check("{\"type\": \"number\", \"exclusiveMinimum\": 0, \"exclusiveMaximum\": 1}", LIST("0.001", "0.9"),
          LIST("0", "0.0", "1", "1.0"));
    check("{\"type\": \"number\", \"minimum\": -2.75, \"maximum\": 10.5}",
          LIST("-2.75", "-2.7", "-0.5", "3", "10.5", "10.49"), LIST("-2.751", "-3", "10.51", "11"));
    check("{\"type\": \"number\", \"exclusiveMinimum\": -2.75, \"maximum\": -1}", LIST("-2.74", "-1", "-1.0", "-2"),
          LIST("-2.75", "-2.750", "-0.9"));
    check("{\"type\": \"integer\", \"minimum\": -9223372036854775808, \"maximum\": 18446744073709551615}",
          LIST("0", "-12345"), LIST("a"));
}

static void objects_have_their_properties_in_order(void **state)
{
    (void)state;
    const char *schema = "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": "
                         "\"boolean\"}, \"c\": {}}, "
                         "\"required\": [\"b\"]}";
    check(schema,
          LIST("{\"b\": true}", "{\"a\":1,\"b\":false}", "{ \"a\": 1, \"b\": true, \"c\": [] }", "{\n  \"b\": true\n}"),
          LIST("{}", "{\"b\": true, \"a\": 1}", "{\"b\": 1}", "{\"b\": true, \"d\": 1}", "{\"b\": true,}",
               "{,\"b\": true}"));
    check("{\"properties\": {\"a\": {}}, \"additionalProperties\": {\"type\": \"integer\"}}",
          LIST("{}", "{\"x\": 1, \"y\": 2}", "{\"a\": \"s\", \"x\": 1}"),
          LIST("{\"x\": \"s\"}", "{\"x\": 1, \"a\": 1}"));
    check("{\"type\": \"object\"}", LIST("{}", "{\"any\": {\"thing\": 1}}"), LIST("[]"));
    check("{\"type\": \"object\", \"additionalProperties\": false}", LIST("{}"), LIST("{\"a\": 1}"));
    check("{\"type\": \"object\", \"required\": [\"k\"]}", LIST("{\"k\": 1}", "{\"k\": 1, \"x\": 2}"),
          LIST("{}", "{\"x\": 2}"));
    check("{\"patternProperties\": {\"^n_\": {\"type\": \"integer\"}, \"s$\": {\"type\": [\"integer\", \"string\"]}}}",
          LIST("{\"n_a\": 1}", "{\"xs\": \"v\"}", "{\"n_s\": 1}"),
          LIST("{\"n_a\": \"v\"}", "{\"n_s\": \"v\"}", "{\"other\": 1}"));
    check("{\"type\": \"object\", \"additionalProperties\": true, \"maxProperties\": 2, \"minProperties\": 1}",
          LIST("{\"a\": 1}", "{\"a\": 1, \"b\": 2}"), LIST("{}", "{\"a\": 1, \"b\": 2, \"c\": 3}"));
    check("{\"properties\": {\"a\": {}, \"b\": {}, \"c\": {}}, \"minProperties\": 2}",
          LIST("{\"a\": 1, \"c\": 1}", "{\"a\":1,\"b\":1,\"c\":1}"), LIST("{}", "{\"b\": 1}"));
    check("{\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[a-z]+$\"}, \"additionalProperties\": true}",
          LIST("{\"abc\": 1}"), LIST("{\"A\": 1}"));
}

static void arrays_have_items_and_a_length(void **state)
{
    (void)state;
    check("{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 3}",
          LIST("[1]", "[1, 2,\n 3]"), LIST("[]", "[1,2,3,4]", "[\"a\"]"));
    check("{\"prefixItems\": [{\"type\": \"integer\"}, {\"type\": \"string\"}]}", LIST("[]", "[1]", "[1, \"a\"]"),
          LIST("[\"a\"]", "[1, \"a\", 2]"));
    check("{\"prefixItems\": [{\"type\": \"integer\"}], \"items\": {\"type\": \"null\"}, \"minItems\": 2}",
          LIST("[1, null]", "[1, null, null]"), LIST("[1]", "[1, 2]"));
    check("{\"items\": [{\"type\": \"integer\"}], \"additionalItems\": {\"type\": \"boolean\"}}",
          LIST("[1, true, false]"), LIST("[1, 2]"));
    check("{\"items\": {\"enum\": [\"a\", 1, 1.0, \"b\"]}, \"uniqueItems\": true, \"minItems\": 1}",
          LIST("[\"a\"]", "[1]", "[\"a\", 1, \"b\"]", "[\"a\", \"b\"]"), LIST("[]", "[\"a\", \"a\"]", "[1, 1.0]"));
    check("{\"items\": {\"enum\": [1, 2, 3]}, \"uniqueItems\": true, \"maxItems\": 2}", LIST("[]", "[1, 3]"),
          LIST("[1, 2, 3]", "[2, 2]"));
    check("{\"type\": \"array\", \"uniqueItems\": true, \"maxItems\": 1}", LIST("[]", "[5]"), LIST("[5, 6]"));
    check("{\"type\": \"array\", \"maxItems\": 0}", LIST("[]", "[ ]"), LIST("[1]"));
}

static void schemas_combine(void **state)
{
    (void)state;
    check("{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"string\", \"maxLength\": 2}]}", LIST("1", "\"ab\""),
          LIST("\"abc\"", "null"));
    check("{\"type\": \"object\", \"properties\": {\"k\": {}}, \"anyOf\": [{\"required\": [\"k\"]}, {\"properties\": "
          "{\"z\": {\"const\": 1}}}]}",
          LIST("{\"k\": 1}", "{\"z\": 1}", "{}"), LIST("{\"z\": 2}"));
    check("{\"allOf\": [{\"$ref\": \"#/$defs/base\"}, {\"properties\": {\"b\": {\"maximum\": 5}}, \"required\": "
          "[\"b\"]}], "
          "\"$defs\": {\"base\": {\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": "
          "{\"type\": \"integer\", \"minimum\": 3}}}}}",
          LIST("{\"b\": 3}", "{\"a\": 1, \"b\": 5}"), LIST("{}", "{\"b\": 6}", "{\"b\": 2}"));
    check("{\"oneOf\": [{\"type\": \"object\", \"properties\": {\"t\": {\"const\": \"x\"}, \"v\": {\"type\": "
          "\"integer\"}}, \"required\": [\"t\", \"v\"]}, "
          "{\"type\": \"object\", \"properties\": {\"t\": {\"const\": \"y\"}, \"v\": {\"type\": \"string\"}}, "
          "\"required\": [\"t\", \"v\"]}]}",
          LIST("{\"t\": \"x\", \"v\": 1}", "{\"t\": \"y\", \"v\": \"s\"}"),
          LIST("{\"t\": \"x\", \"v\": \"s\"}", "{\"t\": \"z\", \"v\": 1}"));
    check("{\"$ref\": \"#/$defs/tree\", \"$defs\": {\"tree\": {\"type\": \"object\", \"properties\": {\"v\": "
          "{\"type\": \"integer\"}, "
          "\"kids\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/tree\"}}}, \"required\": [\"v\"]}}}",
          LIST("{\"v\": 1}", "{\"v\": 1, \"kids\": [{\"v\": 2, \"kids\": []}, {\"v\": 3}]}"),
          LIST("{\"kids\": []}", "{\"v\": 1, \"kids\": [1]}"));
    check("{\"$ref\": \"#/definitions/a~1b%25\", \"definitions\": {\"a/b%\": {\"type\": \"null\"}}}", LIST("null"),
          LIST("1"));
    check("{\"type\": \"object\", \"properties\": {\"self\": {\"$ref\": \"#\"}}}",
          LIST("{}", "{\"self\": {\"self\": {}}}"), LIST("{\"self\": 1}"));
    check("{\"anyOf\": [false, {\"type\": \"integer\"}]}", LIST("1"), LIST("true"));
    // A property that tells branches apart is written even where it is not required.
    check("{\"oneOf\": [{\"properties\": {\"t\": {\"const\": \"x\"}, \"v\": {}}, \"type\": \"object\"}, "
          "{\"properties\": {\"t\": {\"const\": \"y\"}, \"v\": {}}, \"type\": \"object\"}]}",
          LIST("{\"t\": \"x\"}", "{\"t\": \"y\", \"v\": 1}"), LIST("{}", "{\"v\": 1}"));
}

static void formats_have_their_form(void **state)
{
    (void)state;
    static const struct {
        const char *format, *yes[4], *no[4];
    } row[] = {
        {"date-time",
         {"2024-02-28T23:59:59Z", "1999-12-31T00:00:00.123+05:30"},
         {"2024-02-30T00:00:00Z", "2024-01-01", "2024-01-01T24:00:00Z"}},
        {"date", {"2024-04-30", "2000-12-31"}, {"2024-04-31", "2024-00-10", "24-01-01"}},
        {"time", {"12:30:00Z", "23:59:59.5-01:00"}, {"12:30", "25:00:00Z"}},
        {"duration", {"P1Y2M3DT4H5M6S", "PT1S", "P2W"}, {"P", "1Y", "PT"}},
        {"email", {"a.b+c@mail.example.org"}, {"a@", "@b.org", "a b@c.org"}},
        {"hostname", {"example.com", "a-b.c"}, {"-a.com", "a..b", "a-"}},
        {"ipv4", {"0.0.0.0", "255.10.1.99"}, {"256.1.1.1", "1.2.3", "01.2.3.4"}},
        {"ipv6", {"::", "::1", "fe80::1:2", "1:2:3:4:5:6:7:8"}, {"1::2::3", "1:2:3", ":::"}},
        {"uuid", {"123e4567-e89b-12d3-a456-426614174000"}, {"123e4567e89b12d3a456426614174000"}},
        {"uri", {"https://example.org:80/a/b?c=d#e", "ftp://a.b"}, {"example.org", "http://", "http://a b"}},
        {"json-pointer", {"", "/a/0/~0~1"}, {"a", "/~2"}},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        char schema[200], text[200];
        nb_automaton *a;
        nb_error err = {0};
        snprintf(schema, sizeof(schema), "{\"type\": \"string\", \"format\": \"%s\"}", row[i].format);
        nb_test_ok(compile(schema, &a, &err), &err);
        for (int k = 0; k < 4; k++) {
            snprintf(text, sizeof(text), "\"%s\"", row[i].yes[k] ? row[i].yes[k] : "");
            if (row[i].yes[k] && !walk_accepts(a, nb_str_from(text))) fail_msg("%s refuses %s", row[i].format, text);
            snprintf(text, sizeof(text), "\"%s\"", row[i].no[k] ? row[i].no[k] : "");
            if (row[i].no[k] && walk_accepts(a, nb_str_from(text))) fail_msg("%s accepts %s", row[i].format, text);
        }
        nb_automaton_close(a);
    }
}

// ---- Refusals

static void refuses(const char *schema, const char *part)
{
    nb_automaton *a;
    nb_error err = {0};
    nb_test_fails(compile(schema, &a, &err), &err, part);
}

static void what_cannot_be_kept_is_named_with_its_place(void **state)
{
    (void)state;
    static const char *const keyword[] = {"not",        "if", "contains", "dependentRequired", "unevaluatedItems",
                                          "$dynamicRef"};
    for (size_t i = 0; i < sizeof(keyword) / sizeof(keyword[0]); i++) {
        char schema[200], part[100];
        snprintf(schema, sizeof(schema), "{\"properties\": {\"p\": {\"items\": {\"%s\": {\"a\": {}}}}}}", keyword[i]);
        snprintf(part, sizeof(part), "#/properties/p/items/%s is not supported", keyword[i]);
        refuses(schema, part);
    }
    refuses("{\"type\": \"string\", \"format\": \"iri\"}", "#/format \"iri\" is not supported");
    refuses("{\"type\": \"text\"}", "#/type must be");
    refuses("{\"$ref\": \"other.json\"}", "#/$ref");
    refuses("{\"$ref\": \"#/$defs/none\"}", "not there");
    refuses("{\"pattern\": \"(?=a)\"}", "#/pattern cannot be used");
    refuses("{\"minLength\": -1}", "#/minLength must be");
    refuses("{\"minimum\": \"1\"}", "#/minimum must be a number");
    refuses("{\"multipleOf\": 0.1}", "#/multipleOf");
    refuses("{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"number\"}]}", "#/oneOf has the branches 0 and 1");
    refuses("{\"oneOf\": [{\"type\": \"string\"}, {\"type\": \"string\", \"maxLength\": 3}]}", "#/oneOf");
    refuses("{\"type\": \"array\", \"uniqueItems\": true}", "#/uniqueItems is only supported");
    refuses("5", "must be an object or a boolean");
}

static void what_nothing_satisfies_is_refused(void **state)
{
    (void)state;
    refuses("false", "no text");
    refuses("{\"type\": \"string\", \"minLength\": 5, \"maxLength\": 3}", "no text");
    refuses("{\"type\": \"integer\", \"minimum\": 5, \"maximum\": 3}", "no text");
    refuses("{\"allOf\": [{\"type\": \"string\"}, {\"type\": \"integer\"}]}", "no text");
    refuses("{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": "
            "\"#/$defs/a\"}}, \"required\": [\"a\"]}}}",
            "no text");
    refuses("{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"$ref\": \"#/$defs/a\"}}}", "leads to itself");
    refuses("{\"properties\": {\"a\": {}}, \"additionalProperties\": false, \"required\": [\"b\"]}", "no text");
}

static void hostile_schemas_are_refused_soon(void **state)
{
    (void)state;
    nb_buf s = {0};
    nb_buf_add_c(&s, "{\"$defs\": {\"d0\": {\"type\": \"null\"}");
    for (int i = 1; i < 25; i++)
        nb_buf_printf(&s, ", \"d%d\": {\"allOf\": [{\"$ref\": \"#/$defs/d%d\"}, {\"$ref\": \"#/$defs/d%d\"}]}", i,
                      i - 1, i - 1);
    nb_buf_add_c(&s, "}, \"$ref\": \"#/$defs/d24\"}");
    refuses(s.ptr, "combines too many");
    nb_buf_clear(&s);
    nb_buf_add_c(&s, "{\"allOf\": [{}");
    for (int i = 0; i < 12; i++)
        nb_buf_add_c(&s, ", {\"anyOf\": [{\"type\": \"string\"}, {\"minLength\": 3}, {\"maxLength\": 4}]}");
    nb_buf_add_c(&s, "]}");
    refuses(s.ptr, "too many combinations");
    refuses("{\"type\": \"string\", \"maxLength\": 1000000}", "#/maxLength is too large");
    refuses("{\"type\": \"string\", \"minLength\": 60000}", "#/minLength is too large: at most 20000");
    refuses("{\"type\": \"string\", \"pattern\": \"(a|b)*a(a|b){30}\"}", "too large");
    refuses("{\"type\": \"object\", \"additionalProperties\": true, \"maxProperties\": 100000}",
            "#/maxProperties is too large");
    nb_buf_drop(&s);
}

static void large_lists_and_long_chains_are_fine(void **state)
{
    (void)state;
    nb_automaton *a;
    nb_error err = {0};
    nb_buf s = {0};
    nb_buf_add_c(&s, "{\"enum\": [\"x\"");
    for (int i = 0; i < 5000; i++) nb_buf_printf(&s, ", \"value number %d\"", i * 7919);
    nb_buf_add_c(&s, "]}");
    nb_test_ok(compile(s.ptr, &a, &err), &err);
    assert_true(walk_accepts(a, NB_STR("\"value number 39595\"")));
    assert_false(walk_accepts(a, NB_STR("\"value number 39596\"")));
    nb_automaton_close(a);
    nb_buf_clear(&s);
    nb_buf_add_c(&s, "{\"$ref\": \"#/$defs/d0\", \"$defs\": {");
    for (int i = 0; i < 5000; i++) nb_buf_printf(&s, "\"d%d\": {\"items\": {\"$ref\": \"#/$defs/d%d\"}}, ", i, i + 1);
    nb_buf_add_c(&s, "\"d5000\": {\"type\": \"null\"}}}");
    nb_test_ok(compile(s.ptr, &a, &err), &err);
    assert_true(walk_accepts(a, NB_STR("[[[], [[]]]]")));
    nb_automaton_close(a);
    nb_buf_drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_each_type),
        cmocka_unit_test(strings_have_lengths_and_patterns),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(objects_have_their_properties_in_order),
        cmocka_unit_test(arrays_have_items_and_a_length),
        cmocka_unit_test(schemas_combine),
        cmocka_unit_test(formats_have_their_form),
        cmocka_unit_test(what_cannot_be_kept_is_named_with_its_place),
        cmocka_unit_test(what_nothing_satisfies_is_refused),
        cmocka_unit_test(hostile_schemas_are_refused_soon),
        cmocka_unit_test(large_lists_and_long_chains_are_fine),
    };
    return nb_test_run("schema", tests);
}
