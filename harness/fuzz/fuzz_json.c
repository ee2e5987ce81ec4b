/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: any JSON.  An error names the file in one line without control
 * bytes; of an object every member goes through every getter. */
#include "ref/base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

/* Taken, or refused with a message that can be shown in a terminal. */
static int taken(g4_status s, const g4_err *err)
{
    if (s == G4_OK) return 1;
    require(s == G4_EINPUT && strncmp(err->msg, "fuzz: ", 6) == 0);
    for (const char *p = err->msg; *p; p++) require((unsigned char)*p >= 32 && *p != 127);
    return 0;
}

static void getters(const g4_json *j, const char *key, const json_t *v)
{
    g4_json part;
    g4_err err;
    int64_t i = 1;
    double d = 1;
    int b = 2;
    const char *s = "";
    int null = json_is_null(v);
    require(g4_json_has(j, key) == !null);
    require(taken(g4_json_object(j, key, 0, &part, &err), &err) == (null || json_is_object(v)));
    require(taken(g4_json_array(j, key, 1, &part, &err), &err) == json_is_array(v));
    int in_range = json_is_integer(v) && json_integer_value(v) >= -5 && json_integer_value(v) <= 5;
    require(taken(g4_json_req_int(j, key, -5, 5, &i, &err), &err) == in_range);
    require(i >= -5 && i <= 5);
    taken(g4_json_opt_num(j, key, -1e3, 1e3, &d, &err), &err);
    require(d >= -1e3 && d <= 1e3);
    require(taken(g4_json_opt_bool(j, key, &b, &err), &err) == (null || json_is_boolean(v)));
    require(taken(g4_json_opt_str(j, key, &s, &err), &err) == (null || json_is_string(v)));
    require(strlen(s) == (json_is_string(v) ? json_string_length(v) : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g4_json j;
    g4_err err = { 0 };
    const char *key;
    json_t *v;
    if (!taken(g4_json_parse(&j, "fuzz", data, size, &err), &err)) {
        require(j.root == NULL);
        return 0;
    }
    if (json_is_object(j.root))
        json_object_foreach(j.root, key, v) getters(&j, key, v);
    g4_json_free(&j);
    return 0;
}
