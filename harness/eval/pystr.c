/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/pystr.h"

#include "ref/input/utf8.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

/* str.isspace(): bidirectional classes WS, B, S and category Zs. */
static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static uint32_t code_point(const unsigned char *p, size_t len)
{
    uint32_t c = len == 1 ? p[0] : p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) c = c << 6 | (p[i] & 0x3f);
    return c;
}

int g4_py_space(const char *text, size_t len, size_t *step)
{
    const unsigned char *p = (const unsigned char *)text;
    *step = g4_utf8_len(p, len);
    if (*step == 0) *step = 1;
    return is_space(code_point(p, *step));
}

const char *g4_py_strip(g4_arena *arena, const char *text)
{
    size_t n = strlen(text), begin = n, end = 0;
    for (size_t at = 0; at < n;) {
        size_t len;
        if (!g4_py_space(text + at, n - at, &len)) {
            if (begin == n) begin = at;
            end = at + len;
        }
        at += len;
    }
    return g4_arena_strndup(arena, text + begin, end > begin ? end - begin : 0);
}

const char *g4_py_replace(g4_arena *arena, const char *text, const char *what, const char *by)
{
    size_t n = 0, w = strlen(what), k = strlen(by);
    if (!text) return NULL;
    char *out = g4_arena_alloc(arena, strlen(text) / w * (k > w ? k : w) + strlen(text) + 1, 1);
    while (out && *text) {
        int hit = strncmp(text, what, w) == 0;
        memcpy(out + n, hit ? by : text, hit ? k : 1);
        n += hit ? k : 1;
        text += hit ? w : 1;
    }
    return out;
}

static size_t encode(uint32_t c, char *to)
{
    if (c < 0x80) return *to = (char)c, 1;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)((0xf00u >> n & 0xff) | c);   /* n ones, a zero, the rest */
    return n;
}

/* The first letter in upper case, or not; all others in lower case. */
static char *cased(g4_arena *arena, const char *text, int upper_first)
{
    size_t n = strlen(text), k = 0;
    char *out = g4_arena_alloc(arena, 2 * n + 1, 1);
    locale_t names = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    for (size_t at = 0; out && at < n;) {
        size_t len = g4_utf8_len((const unsigned char *)text + at, n - at);
        if (len == 0) len = 1;
        uint32_t c = code_point((const unsigned char *)text + at, len);
        int upper = upper_first && at == 0;
        if (c < 0x80 && upper && c >= 'a' && c <= 'z') c -= 32;
        else if (c < 0x80 && !upper && c >= 'A' && c <= 'Z') c += 32;
        else if (c >= 0x80 && names)
            c = (uint32_t)(upper ? towupper_l((wint_t)c, names) : towlower_l((wint_t)c, names));
        k += encode(c, out + k);
        at += len;
    }
    if (names) freelocale(names);
    return out;
}

const char *g4_py_capitalize(g4_arena *arena, const char *text)
{
    return cased(arena, text, 1);
}

/* unicodedata.category() begins with P, Unicode 14 as CPython 3.11 has it: first and last of
 * each run. */
static const uint32_t punctuation[][2] = {
#include "harness/eval/punctuation.def"
};

static int is_punctuation(uint32_t c)
{
    size_t low = 0, high = sizeof punctuation / sizeof punctuation[0];
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > punctuation[mid][1]) low = mid + 1;
        else high = mid;
    }
    return low < sizeof punctuation / sizeof punctuation[0] && c >= punctuation[low][0];
}

const char *g4_py_lower_bare(g4_arena *arena, const char *text)
{
    char *out = cased(arena, text, 0);
    size_t n = out ? strlen(out) : 0, k = 0;
    for (size_t at = 0; at < n;) {
        size_t len = g4_utf8_len((const unsigned char *)out + at, n - at);
        if (len == 0) len = 1;
        if (!is_punctuation(code_point((const unsigned char *)out + at, len))) {
            memmove(out + k, out + at, len);
            k += len;
        }
        at += len;
    }
    if (out) out[k] = 0;
    return out;
}

static void put(g4_buffer *b, const char *data, size_t size)
{
    if (b->failed) return;
    if (b->size + size >= b->capacity) {
        size_t want = 2 * (b->size + size) + 256;
        char *p = realloc(b->data, want);
        if (!p) {
            b->failed = 1;
            return;
        }
        b->data = p;
        b->capacity = want;
    }
    memcpy(b->data + b->size, data, size);
    b->data[b->size += size] = 0;
}

void g4_py_put(g4_buffer *b, const char *text)
{
    put(b, text, strlen(text));
}

/* Only what must be escaped is; \b \f \n \r \t by letter, others as \u001f. */
static void put_string(g4_buffer *b, const char *s, size_t len)
{
    static const char letter[] = "btnvfr";   /* 8 to 13; \v has no letter in JSON */
    g4_py_put(b, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        char e[8] = { '\\', (char)c, 0 };
        if (c >= 8 && c <= 13 && c != 11) e[1] = letter[c - 8];
        else if (c < 32) snprintf(e, sizeof e, "\\u%04x", c);
        else if (c != '"' && c != '\\') snprintf(e, sizeof e, "%c", c);
        g4_py_put(b, e);
    }
    g4_py_put(b, "\"");
}

static void newline(g4_buffer *b, int indent)
{
    if (!indent) return;
    g4_py_put(b, "\n");
    for (int i = 1; i < indent; i++) g4_py_put(b, "  ");
}

static void value_out(g4_buffer *b, const json_t *v, int indent);

/* A list's or an object's members; indent: 1 + depth, or 0 for one line. */
static void members(g4_buffer *b, const json_t *v, int indent)
{
    int object = json_is_object(v), inner = indent ? indent + 1 : 0;
    const char *comma = indent ? "," : ", ", *key;
    size_t n = object ? json_object_size(v) : json_array_size(v), i = 0;
    json_t *one;
    g4_py_put(b, object ? "{" : "[");
    if (object) {
        json_object_foreach((json_t *)v, key, one) {
            if (i++) g4_py_put(b, comma);
            newline(b, inner);
            put_string(b, key, strlen(key));
            g4_py_put(b, ": ");
            value_out(b, one, inner);
        }
    } else {
        json_array_foreach(v, i, one) {
            if (i) g4_py_put(b, comma);
            newline(b, inner);
            value_out(b, one, inner);
        }
    }
    if (n) newline(b, indent);
    g4_py_put(b, object ? "}" : "]");
}

/* repr(): the shortest text that reads back as the same number, with an exponent below 1e-4
 * and from 1e16 on. */
static void real_out(g4_buffer *b, double v)
{
    char text[64];
    int digits = 0, exponent;
    do snprintf(text, sizeof text, "%.*e", digits++, v);
    while (digits < 17 && strtod(text, NULL) != v);
    exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int behind = digits - 1 - exponent;
        snprintf(text, sizeof text, "%.*f", behind > 0 ? behind : 1, v);
    }
    g4_py_put(b, text);
}

static void value_out(g4_buffer *b, const json_t *v, int indent)
{
    char number[40];
    switch (json_typeof(v)) {
    case JSON_OBJECT:
    case JSON_ARRAY: members(b, v, indent); return;
    case JSON_STRING: put_string(b, json_string_value(v), json_string_length(v)); return;
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        g4_py_put(b, number);
        return;
    case JSON_REAL: real_out(b, json_real_value(v)); return;
    case JSON_TRUE: g4_py_put(b, "true"); return;
    case JSON_FALSE: g4_py_put(b, "false"); return;
    case JSON_NULL: g4_py_put(b, "null"); return;
    }
}

void g4_py_json(g4_buffer *b, const json_t *value, int indent)
{
    value_out(b, value, indent);
}

void g4_py_hash(const char *text, char hex[G4_SHA256_HEX])
{
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    g4_sha256_add(&sha, text, strlen(text));
    g4_sha256_end(&sha, hex);
}
