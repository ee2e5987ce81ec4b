/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/json.h"

#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_VALUE_BYTES = 512 << 20 };

/* What jansson takes for the value that a byte outside of strings stands for, rounded up:
 * "{}," is 3 bytes of text and 256 of memory. */
static size_t value_bytes(uint8_t byte)
{
    switch (byte) {
    case '{': return 256;
    case '[': return 128;
    case ':': return 96;    /* a key and its place in the table */
    case ',': return 48;
    case '"': return 24;
    default: return 1;
    }
}

/* Before jansson sees it: it allows 2048 levels and frees them recursively, 64 are plenty
 * here; and no file may become more memory than any good one needs. */
static g4_status check_size(const char *file, const uint8_t *p, size_t size, size_t *taken,
                            g4_err *err)
{
    int depth = 0, in_string = 0;
    size_t bytes = *taken;
    for (size_t i = 0; i < size; i++) {
        bytes += in_string ? 1 : value_bytes(p[i]);
        if (in_string) {
            if (p[i] == '\\') i++;
            else if (p[i] == '"') in_string = 0;
        } else if (p[i] == '"') {
            in_string = 1;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > MAX_DEPTH)
                return g4_fail(err, G4_EINPUT, "%s: JSON nested deeper than %d levels", file,
                               (int)MAX_DEPTH);
        } else if (p[i] == '}' || p[i] == ']') {
            depth--;
        }
    }
    *taken = bytes;
    if (bytes <= MAX_VALUE_BYTES) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: JSON of more than %d MB of values", file,
                   (int)(MAX_VALUE_BYTES >> 20));
}

g4_status g4_json_parse_some(g4_json *j, const char *file, const void *data, size_t size,
                             size_t *taken, g4_err *err)
{
    json_error_t je;
    j->root = NULL;
    j->file = file;
    G4_TRY(check_size(file, data, size, taken, err));
    j->root = json_loadb(data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!j->root) {
        if (json_error_code(&je) == json_error_out_of_memory) return g4_nomem(err, file);
        return g4_fail(err, G4_EINPUT, "%s: not valid JSON at line %d, byte %d: %s", file, je.line,
                       je.position, je.text);
    }
    return G4_OK;
}

g4_status g4_json_parse(g4_json *j, const char *file, const void *data, size_t size,
                        g4_err *err)
{
    size_t taken = 0;
    return g4_json_parse_some(j, file, data, size, &taken, err);
}

g4_status g4_json_load(g4_json *j, const char *path, size_t max_bytes, g4_err *err)
{
    uint8_t *data;
    size_t size;
    j->root = NULL;
    j->file = path;
    G4_TRY(g4_file_read(path, max_bytes, &data, &size, err));
    g4_status s = g4_json_parse(j, path, data, size, err);
    free(data);
    if (s == G4_OK && !json_is_object(j->root)) {
        g4_json_free(j);
        s = g4_fail(err, G4_EINPUT, "%s: not a JSON object", path);
    }
    return s;
}

void g4_json_free(g4_json *j)
{
    json_decref(j->root);
    j->root = NULL;
}

/* The member, or NULL where it is absent or null. */
static json_t *member(const g4_json *j, const char *key)
{
    json_t *v = json_object_get(j->root, key);
    return json_is_null(v) ? NULL : v;
}

int g4_json_has(const g4_json *j, const char *key)
{
    return member(j, key) != NULL;
}

static g4_status missing(const g4_json *j, const char *key, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: %s is missing", j->file, key);
}

static g4_status wrong(const g4_json *j, const char *key, const json_t *v, const char *want,
                       g4_err *err)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    g4_status s = g4_fail(err, G4_EINPUT, "%s: %s is %.80s%s, expected %s", j->file, key,
                          text ? text : "?", text && strlen(text) > 80 ? "..." : "", want);
    free(text);
    return s;
}

static g4_status container(const g4_json *j, const char *key, int required, int array,
                           g4_json *out, g4_err *err)
{
    json_t *v = member(j, key);
    *out = (g4_json){ .root = v, .file = j->file };
    if (!v) return required ? missing(j, key, err) : G4_OK;
    if (array ? json_is_array(v) : json_is_object(v)) return G4_OK;
    out->root = NULL;
    return wrong(j, key, v, array ? "an array" : "an object", err);
}

g4_status g4_json_object(const g4_json *j, const char *key, int required, g4_json *out,
                         g4_err *err)
{
    return container(j, key, required, 0, out, err);
}

g4_status g4_json_array(const g4_json *j, const char *key, int required, g4_json *out,
                        g4_err *err)
{
    return container(j, key, required, 1, out, err);
}

g4_status g4_json_opt_int(const g4_json *j, const char *key, int64_t min, int64_t max,
                          int64_t *out, g4_err *err)
{
    json_t *v = member(j, key);
    if (!v) return G4_OK;
    if (!json_is_integer(v)) return wrong(j, key, v, "an integer", err);
    int64_t i = json_integer_value(v);
    if (i < min || i > max)
        return g4_fail(err, G4_EINPUT, "%s: %s is %lld, expected %lld to %lld", j->file, key,
                       (long long)i, (long long)min, (long long)max);
    *out = i;
    return G4_OK;
}

g4_status g4_json_req_int(const g4_json *j, const char *key, int64_t min, int64_t max,
                          int64_t *out, g4_err *err)
{
    if (!member(j, key)) return missing(j, key, err);
    return g4_json_opt_int(j, key, min, max, out, err);
}

g4_status g4_json_opt_num(const g4_json *j, const char *key, double min, double max,
                          double *out, g4_err *err)
{
    json_t *v = member(j, key);
    if (!v) return G4_OK;
    if (!json_is_number(v)) return wrong(j, key, v, "a number", err);
    double d = json_number_value(v);
    if (!(d >= min && d <= max))
        return g4_fail(err, G4_EINPUT, "%s: %s is %g, expected %g to %g", j->file, key, d, min,
                       max);
    *out = d;
    return G4_OK;
}

g4_status g4_json_opt_bool(const g4_json *j, const char *key, int *out, g4_err *err)
{
    json_t *v = member(j, key);
    if (!v) return G4_OK;
    if (!json_is_boolean(v)) return wrong(j, key, v, "true or false", err);
    *out = json_is_true(v);
    return G4_OK;
}

g4_status g4_json_opt_str(const g4_json *j, const char *key, const char **out, g4_err *err)
{
    json_t *v = member(j, key);
    if (!v) return G4_OK;
    if (!json_is_string(v)) return wrong(j, key, v, "a string", err);
    *out = json_string_value(v);
    return G4_OK;
}
