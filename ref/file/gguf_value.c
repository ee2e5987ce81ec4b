/* SPDX-License-Identifier: Apache-2.0
 * Values of GGUF keys; that they lie in the file was checked when it was parsed. */
#include "ref/base/bytes.h"
#include "ref/file/gguf.h"

#include <stdio.h>
#include <stdlib.h>

size_t g4_gguf_width(g4_gguf_type t)
{
    static const unsigned char width[G4_GGUF_TYPES] = {
        [G4_GGUF_U8] = 1,  [G4_GGUF_I8] = 1,  [G4_GGUF_U16] = 2, [G4_GGUF_I16] = 2,
        [G4_GGUF_U32] = 4, [G4_GGUF_I32] = 4, [G4_GGUF_F32] = 4, [G4_GGUF_BOOL] = 1,
        [G4_GGUF_U64] = 8, [G4_GGUF_I64] = 8, [G4_GGUF_F64] = 8,
    };
    return width[t];
}

static int is_signed(g4_gguf_type t)
{
    return t == G4_GGUF_I8 || t == G4_GGUF_I16 || t == G4_GGUF_I32 || t == G4_GGUF_I64;
}

int g4_gguf_is_int(const g4_gguf_key *k)
{
    return g4_gguf_width(k->type) != 0 && k->type != G4_GGUF_F32 && k->type != G4_GGUF_F64;
}

int64_t g4_gguf_int(const g4_gguf_key *k, uint64_t i)
{
    size_t w = g4_gguf_width(k->type);
    g4_bytes b = { .data = k->data, .size = k->bytes, .at = (size_t)i * w };
    uint64_t v = g4_bytes_uint(&b, w);
    if (is_signed(k->type)) return (int64_t)(v << (64 - 8 * w)) >> (64 - 8 * w);
    return v > INT64_MAX ? -1 : (int64_t)v;
}

/* The decimal with the fewest digits that float32 rounds to f, as a double. */
static double shortest(float f)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f) return strtod(text, NULL);
    }
    return (double)f;   /* NaN */
}

json_t *g4_gguf_value(const g4_gguf_key *k, uint64_t i)
{
    g4_bytes b = { .data = k->data, .size = k->bytes };
    if (k->type == G4_GGUF_BOOL) return json_boolean(g4_gguf_int(k, i));
    if (k->type == G4_GGUF_U64 && g4_gguf_int(k, i) < 0) return NULL;
    if (g4_gguf_is_int(k)) return json_integer(g4_gguf_int(k, i));
    if (k->type == G4_GGUF_STRING) {
        size_t at = 0, len = 0;
        const char *s = NULL;
        for (uint64_t j = 0; j <= i; j++) s = g4_gguf_next(k, &at, &len);
        return s ? json_stringn(s, len) : NULL;
    }
    size_t w = g4_gguf_width(k->type);
    b.at = (size_t)i * w;
    uint64_t bits = g4_bytes_uint(&b, w);
    float f;
    double d;
    uint32_t low = (uint32_t)bits;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return json_real(w == 4 ? shortest(f) : d);   /* NULL for what is not finite */
}

const char *g4_gguf_next(const g4_gguf_key *k, size_t *at, size_t *len)
{
    if (k->type != G4_GGUF_STRING || *at >= k->bytes) return NULL;
    g4_bytes b = { .data = k->data, .size = k->bytes, .at = *at };
    *len = (size_t)g4_bytes_uint(&b, 8);
    const char *s = (const char *)g4_bytes_take(&b, *len);
    *at = b.at;
    return s;
}

const char *g4_gguf_string(const g4_gguf_key *k, size_t *len)
{
    size_t at = 0;
    return k && !k->is_array ? g4_gguf_next(k, &at, len) : NULL;
}
