/* SPDX-License-Identifier: Apache-2.0
 * safetensors (format of huggingface/safetensors, README "Format"):
 *
 *   | n u64 | header: n bytes of JSON | tensor bytes ... |
 *
 * The header maps a tensor's name to {"dtype", "shape", "data_offsets": [begin,
 * end]}, offsets counted from the end of the header; "__metadata__" maps strings
 * to strings.  Stricter than some readers: duplicate keys, holes, overlaps and
 * bytes behind the last tensor are errors. */
#include "ref/file/store_parts.h"

#include "ref/base/bytes.h"
#include "ref/base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 };   /* the format's own limit */

static const struct {
    const char *name;
    size_t bytes;
    g4_store_type type;
    g4_dtype dtype;
} types[] = {
    { "F32", 4, G4_ST_DTYPE, G4_F32 }, { "F16", 2, G4_ST_DTYPE, G4_F16 },
    { "BF16", 2, G4_ST_DTYPE, G4_BF16 },
    { "I64", 8, G4_ST_I64, 0 },   { "F64", 8, G4_ST_OTHER, 0 }, { "I32", 4, G4_ST_OTHER, 0 },
    { "I16", 2, G4_ST_OTHER, 0 }, { "I8", 1, G4_ST_OTHER, 0 },  { "U8", 1, G4_ST_OTHER, 0 },
    { "BOOL", 1, G4_ST_OTHER, 0 }, { "U16", 2, G4_ST_OTHER, 0 }, { "U32", 4, G4_ST_OTHER, 0 },
    { "U64", 8, G4_ST_OTHER, 0 }, { "F8_E4M3", 1, G4_ST_OTHER, 0 },
    { "F8_E5M2", 1, G4_ST_OTHER, 0 },
};

typedef struct parse_ctx {
    g4_store *store;
    const char *file;
    const uint8_t *data;   /* first tensor byte */
    size_t size;           /* tensor bytes in all */
} parse_ctx;

static g4_status parse_type(const parse_ctx *p, const json_t *entry, g4_tensor *t,
                            size_t *value_bytes, g4_err *err)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0) {
            t->type = types[i].type;
            t->dtype = types[i].dtype;
            t->type_name = types[i].name;
            *value_bytes = types[i].bytes;
            return G4_OK;
        }
    return g4_fail(err, G4_EINPUT, "%s: tensor %s has dtype %s, which is unknown", p->file, t->name,
                   name ? name : "(none)");
}

/* Shape and the number of bytes it needs. */
static g4_status parse_shape(const parse_ctx *p, const json_t *entry, g4_tensor *t,
                             size_t value_bytes, g4_err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t rank = json_array_size(shape), need = value_bytes;
    if (!json_is_array(shape))
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has no shape", p->file, t->name);
    if (rank > G4_MAX_RANK)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s has %zu dimensions", p->file, t->name, rank);
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *v = json_array_get(shape, i);
        int64_t n = json_is_integer(v) ? json_integer_value(v) : -1;
        if (n < 0 || __builtin_mul_overflow(need, (size_t)n, &need))
            return g4_fail(err, G4_EINPUT, "%s: tensor %s: bad shape at dimension %zu", p->file,
                           t->name, i);
        t->shape[i] = n;
    }
    t->bytes = need;
    return G4_OK;
}

static g4_status parse_range(const parse_ctx *p, const json_t *entry, g4_tensor *t, g4_err *err)
{
    const json_t *range = json_object_get(entry, "data_offsets");
    const json_t *b = json_array_get(range, 0), *e = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return g4_fail(err, G4_EINPUT, "%s: tensor %s: data_offsets is no pair of integers",
                       p->file, t->name);
    int64_t begin = json_integer_value(b), end = json_integer_value(e);
    if (begin < 0 || end < begin || (uint64_t)end > p->size)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s: bytes %lld to %lld lie outside %zu", p->file,
                       t->name, (long long)begin, (long long)end, p->size);
    if ((size_t)(end - begin) != t->bytes)
        return g4_fail(err, G4_EINPUT, "%s: tensor %s: shape needs %zu bytes, not the %lld given",
                       p->file, t->name, t->bytes, (long long)(end - begin));
    t->data = p->data + begin;
    return G4_OK;
}

static g4_status parse_entry(const parse_ctx *p, const char *name, json_t *entry, g4_err *err)
{
    g4_tensor t = { .file = p->file, .name = name };
    size_t value_bytes = 0;
    if (!json_is_object(entry))
        return g4_fail(err, G4_EINPUT, "%s: header entry %s is no object", p->file, name);
    t.name = g4_arena_strndup(&p->store->arena, name, strlen(name));
    if (!t.name) return g4_nomem(err, p->file);
    G4_TRY(parse_type(p, entry, &t, &value_bytes, err));
    G4_TRY(parse_shape(p, entry, &t, value_bytes, err));
    G4_TRY(parse_range(p, entry, &t, err));
    return g4_store_push(p->store, &t, err);
}

/* "__metadata__": a map from strings to strings; nothing in it is used. */
static g4_status check_metadata(const parse_ctx *p, json_t *value, g4_err *err)
{
    const char *key;
    json_t *text;
    int good = json_is_object(value);
    if (good)
        json_object_foreach(value, key, text) good &= json_is_string(text);
    if (good) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: __metadata__ is no map of strings", p->file);
}

static int by_place(const void *a, const void *b)
{
    const g4_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);   /* empty ones first */
}

/* Sorted by place, each tensor must begin where the one before it ended. */
static g4_status check_cover(const parse_ctx *p, size_t first, g4_err *err)
{
    size_t n = p->store->count - first, at = 0;
    g4_tensor *list = n > 0 ? p->store->list + first : NULL;
    if (n > 1) qsort(list, n, sizeof *list, by_place);
    for (size_t i = 0; i < n; i++) {
        size_t begin = (size_t)(list[i].data - p->data);
        if (begin != at)
            return g4_fail(err, G4_EINPUT, "%s: tensor %s begins at byte %zu, not at %zu", p->file,
                           list[i].name, begin, at);
        at = begin + list[i].bytes;
    }
    if (at != p->size)
        return g4_fail(err, G4_EINPUT, "%s: %zu bytes behind the last tensor", p->file,
                       p->size - at);
    return G4_OK;
}

g4_status g4_safetensors_parse(g4_store *s, const char *file, const uint8_t *data, size_t size,
                               g4_err *err)
{
    g4_bytes b = { .data = data, .size = size };
    uint64_t n = g4_bytes_uint(&b, 8);
    if (b.bad) return g4_fail(err, G4_EINPUT, "%s: %zu bytes are no safetensors file", file, size);
    if (n > MAX_HEADER || n > size - 8)
        return g4_fail(err, G4_EINPUT, "%s: header of %llu bytes in a file of %zu", file,
                       (unsigned long long)n, size);
    const uint8_t *header = g4_bytes_take(&b, (size_t)n);
    parse_ctx p = { s, file, data + b.at, size - b.at };
    size_t first = s->count;
    g4_json j;
    if (n == 0 || header[0] != '{')   /* the format says so: no other file starts like this */
        return g4_fail(err, G4_EINPUT, "%s: header does not begin with {", file);
    G4_TRY(g4_json_parse(&j, file, header, (size_t)n, err));
    g4_status st = G4_OK;
    if (!json_is_object(j.root)) st = g4_fail(err, G4_EINPUT, "%s: header is no object", file);
    const char *name;
    json_t *value;
    if (st == G4_OK)
        json_object_foreach(j.root, name, value) {
            st = strcmp(name, "__metadata__") == 0 ? check_metadata(&p, value, err)
                                                   : parse_entry(&p, name, value, err);
            if (st != G4_OK) break;
        }
    g4_json_free(&j);
    if (st == G4_OK) st = check_cover(&p, first, err);
    return st;
}
