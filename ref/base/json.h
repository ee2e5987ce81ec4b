/* SPDX-License-Identifier: Apache-2.0
 * A thin, checked face on jansson: foreign JSON is read with duplicates, bad
 * UTF-8, trailing bytes, nesting over 64 levels and more values than memory should
 * hold refused; integers are exact.
 * A g4_json knows its file's name, so that every message can give it.
 * Typed getters: `key` must be there (req) or leaves *out alone (opt; a JSON
 * null counts as absent); wrong type or range is an error that names key and
 * value. */
#ifndef G4_BASE_JSON_H
#define G4_BASE_JSON_H

#include "ref/base/err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

typedef struct g4_json {
    json_t *root;        /* owned by the g4_json that g4_json_load filled; else borrowed */
    const char *file;    /* for messages; must outlive the g4_json */
} g4_json;

/* Reads a file of at most max_bytes; the root must be an object. */
g4_status g4_json_load(g4_json *j, const char *path, size_t max_bytes, g4_err *err);
/* Any JSON value; data need not end in NUL.  file is for messages. */
g4_status g4_json_parse(g4_json *j, const char *file, const void *data, size_t size,
                        g4_err *err);
/* One of several values that are kept: *taken, 0 at first, counts the memory of all, of
 * which there may be as much as of one by itself. */
g4_status g4_json_parse_some(g4_json *j, const char *file, const void *data, size_t size,
                             size_t *taken, g4_err *err);
void g4_json_free(g4_json *j);

/* Is key there and not null? */
int g4_json_has(const g4_json *j, const char *key);
/* A member object / array as a borrowed g4_json; root NULL where opt and absent. */
g4_status g4_json_object(const g4_json *j, const char *key, int required, g4_json *out,
                         g4_err *err);
g4_status g4_json_array(const g4_json *j, const char *key, int required, g4_json *out,
                        g4_err *err);
g4_status g4_json_req_int(const g4_json *j, const char *key, int64_t min, int64_t max,
                          int64_t *out, g4_err *err);
g4_status g4_json_opt_int(const g4_json *j, const char *key, int64_t min, int64_t max,
                          int64_t *out, g4_err *err);
/* Finite numbers in [min, max]; a JSON integer will do. */
g4_status g4_json_opt_num(const g4_json *j, const char *key, double min, double max,
                          double *out, g4_err *err);
g4_status g4_json_opt_bool(const g4_json *j, const char *key, int *out, g4_err *err);
/* Borrowed until g4_json_free; never contains NUL. */
g4_status g4_json_opt_str(const g4_json *j, const char *key, const char **out, g4_err *err);

#endif
