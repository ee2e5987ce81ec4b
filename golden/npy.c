/* SPDX-License-Identifier: Apache-2.0
 * The header is one small dict of Python's, read by a cursor that knows its three
 * keys and nothing else: no expression, no nesting, no comment. */
#include "golden/array.h"

#include "ref/base/bytes.h"

#include <string.h>

enum { MAX_HEADER = 10000 };   /* NumPy's own limit for files of strangers */

typedef struct cursor {
    const char *at, *end;
} cursor;

static int peek(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t')) c->at++;
    return c->at < c->end ? (unsigned char)*c->at : -1;
}

static int take(cursor *c, int want)
{
    if (peek(c) != want) return 0;
    c->at++;
    return 1;
}

/* 'text', at most size - 1 bytes long. */
static int take_string(cursor *c, char *out, size_t size)
{
    size_t n = 0;
    int quote = peek(c);
    if (quote != '\'' && quote != '"') return 0;
    for (c->at++; c->at < c->end && *c->at != quote; c->at++) {
        if (n + 1 == size || *c->at == '\\') return 0;
        out[n++] = *c->at;
    }
    out[n] = 0;
    return take(c, quote);
}

static int take_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    if (peek(c) < 0 || (size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return 0;
    c->at += n;
    return 1;
}

static int take_int(cursor *c, int64_t *out)
{
    int digit = peek(c);
    *out = 0;
    if (digit < '0' || digit > '9') return 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, *c->at - '0', out))
            return 0;
    return 1;
}

/* (), (3,) or (3, 4); more dimensions than there is room for are a fault as well. */
static int take_shape(cursor *c, g4_array *a)
{
    if (!take(c, '(')) return 0;
    for (a->rank = 0; !take(c, ')'); a->rank++) {
        if (a->rank == G4_ARRAY_RANK || !take_int(c, &a->dims[a->rank])) return 0;
        if (take(c, ',')) continue;
        a->rank++;
        return a->rank > 1 && take(c, ')');
    }
    return 1;
}

/* What is wrong with the header, or NULL. */
static const char *header_fault(cursor c, g4_array *a, char descr[8])
{
    char key[16];
    int have_descr = 0, have_order = 0, have_shape = 0;
    static const char bad[] = "its header is not {'descr', 'fortran_order', 'shape'}";
    if (!take(&c, '{')) return bad;
    while (!take(&c, '}')) {
        if (!take_string(&c, key, sizeof key) || !take(&c, ':')) return bad;
        if (strcmp(key, "descr") == 0 && !have_descr++) {
            if (!take_string(&c, descr, 8)) return "its type is not that of plain numbers";
        } else if (strcmp(key, "fortran_order") == 0 && !have_order++) {
            if (take_word(&c, "True")) return "its values are in Fortran order, not in C order";
            if (!take_word(&c, "False")) return bad;
        } else if (strcmp(key, "shape") == 0 && !have_shape++) {
            if (!take_shape(&c, a)) return "its shape is not a tuple of at most 8 sizes";
        } else {
            return bad;
        }
        if (!take(&c, ',') && peek(&c) != '}') return bad;
    }
    return have_descr && have_order && have_shape && peek(&c) < 0 ? NULL : bad;
}

/* "<f4": little-endian or, for single bytes, '|'. */
static int set_type(g4_array *a, const char *descr)
{
    static const char *const known[] = { "<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8",
                                         "|u1", "<u2", "<u4", "<u8", "|b1" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(descr, known[i]) == 0) {
            a->kind = descr[1];
            a->size = descr[2] - '0';
            return 1;
        }
    return 0;
}

g4_status g4_npy_parse(g4_array *a, const char *file, const uint8_t *data, size_t size,
                       g4_err *err)
{
    g4_bytes b = { .data = data, .size = size };
    char descr[8];
    const uint8_t *magic = g4_bytes_take(&b, 6);
    if (!magic || memcmp(magic, "\x93NUMPY", 6) != 0)
        return g4_fail(err, G4_EINPUT, "%s: is no .npy file", file);
    unsigned major = (unsigned)g4_bytes_uint(&b, 1), minor = (unsigned)g4_bytes_uint(&b, 1);
    if (b.bad || major < 1 || major > 3 || minor != 0)
        return g4_fail(err, G4_EINPUT, "%s: .npy version %u.%u is unknown", file, major, minor);
    size_t n = (size_t)g4_bytes_uint(&b, major == 1 ? 2 : 4), need;
    const uint8_t *header = n <= MAX_HEADER ? g4_bytes_take(&b, n) : NULL;
    if (!header)
        return g4_fail(err, G4_EINPUT, "%s: a header of %zu bytes in a file of %zu", file, n, size);
    const char *text = (const char *)header;
    const char *fault = header_fault((cursor){ text, text + n }, a, descr);
    if (fault) return g4_fail(err, G4_EINPUT, "%s: %s", file, fault);
    if (!set_type(a, descr))
        return g4_fail(err, G4_EINPUT, "%s: type '%s' is none of f2 f4 f8, i1 to i8, u1 to u8, b1 "
                       "in little-endian order", file, descr);
    need = (size_t)a->size;
    for (int i = 0; i < a->rank; i++)
        if (__builtin_mul_overflow(need, (size_t)a->dims[i], &need))
            return g4_fail(err, G4_EINPUT, "%s: its shape has too many values", file);
    if (need != size - b.at)
        return g4_fail(err, G4_EINPUT, "%s: its shape needs %zu bytes, and %zu follow the header",
                       file, need, size - b.at);
    a->file = file;
    a->data = data + b.at;
    return G4_OK;
}
