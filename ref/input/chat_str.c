/* SPDX-License-Identifier: Apache-2.0
 * The parts of Python that the template leans on: str(), repr(), strip(),
 * upper(), and Jinja's dictsort filter.  Called by the chat renderer only. */
#include "ref/input/chat_impl.h"
#include "ref/input/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void chat_put(chat_buf *b, const char *s, size_t n)
{
    if (b->failed) return;
    if (n >= b->capacity - b->len) {   /* room for a NUL as well */
        size_t want;
        char *p = NULL;
        if (!__builtin_add_overflow(b->len, n, &want) && want < SIZE_MAX / 4)
            p = realloc(b->data, want = want * 2 + 256);
        if (!p) {
            b->failed = 1;
            return;
        }
        b->data = p;
        b->capacity = want;
    }
    memcpy(b->data + b->len, s, n);
    b->len += n;
    b->data[b->len] = 0;
}

void chat_puts(chat_buf *b, const char *s)
{
    chat_put(b, s, strlen(s));
}

int chat_truthy(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_TRUE: return 1;
    case JSON_INTEGER: return json_integer_value(v) != 0;
    case JSON_REAL: return json_real_value(v) != 0;
    case JSON_STRING: return json_string_length(v) > 0;
    case JSON_ARRAY: return json_array_size(v) > 0;
    case JSON_OBJECT: return json_object_size(v) > 0;
    default: return 0;
    }
}

/* Reads one character; invalid UTF-8 cannot occur in strings of a JSON file. */
static uint32_t get_char(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    uint32_t c = p[0];
    int more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    if (more) c &= 0x3fu >> more;
    for (int i = 1; i <= more; i++) c = c << 6 | (p[i] & 0x3f);
    *s += more + 1;
    return c;
}

static int put_char(char *p, uint32_t c)
{
    if (c < 0x80) {
        p[0] = (char)c;
        return 1;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, c >>= 6) p[i] = (char)(0x80 | (c & 0x3f));
    p[0] = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | c);
    return more + 1;
}

/* str.isspace() of one character. */
static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

void chat_strip(const char **s, size_t *n)
{
    const char *begin = *s, *end = *s + *n;
    for (const char *p = begin; p < end; begin = p)
        if (!is_space(get_char(&p))) break;
    while (end > begin) {
        const char *p = end - 1;
        while (p > begin && ((unsigned char)*p & 0xc0) == 0x80) p--;
        const char *at = p;
        if (!is_space(get_char(&p))) break;
        end = at;
    }
    *s = begin;
    *n = (size_t)(end - begin);
}

/* Adds 1 to the last digit of "d.ddde+XX"; a carry out of the first one is left
 * out: the text then reads back as another number and is not taken. */
static void next_digit(char *digits)
{
    for (char *p = strchr(digits, 'e'); p-- > digits;) {
        if (*p == '.') continue;
        if (*p != '9') {
            ++*p;
            return;
        }
        *p = '0';
    }
}

/* The shortest digits that read back as d; exponent form below 1e-4 and from 1e16.
 * Below a power of two the numbers are closer than above it, so there the digits
 * next above the nearest may read back where the nearest do not. */
void chat_float(char *text, double d)
{
    char digits[32];
    int prec = 0;
    for (;; prec++) {
        snprintf(digits, sizeof digits, "%.*e", prec, d);
        if (strtod(digits, NULL) == d || prec == 17) break;
        next_digit(digits);
        if (strtod(digits, NULL) == d) break;
    }
    const char *e = strchr(digits, 'e');
    int exp = atoi(e + 1);
    if (exp < -4 || exp >= 16) {
        snprintf(text, 33, "%.*se%c%02d", (int)(e - digits), digits, exp < 0 ? '-' : '+',
                 abs(exp));
        return;
    }
    /* Places the point by hand: %f would round d anew, not these digits. */
    const char *p = digits;
    char *out = text;
    if (*p == '-') *out++ = *p++;
    for (int i = exp < 0 ? exp : 0, n = prec > exp ? prec : exp + 1; i <= n; i++) {
        *out++ = i < 0 || p >= e ? '0' : *p++;
        if (p < e && *p == '.') p++;
        if (i == exp) *out++ = '.';
    }
    *out = 0;
}

/* The repr of these is an escape: assigned and not str.isprintable(), or never to be
 * assigned.  What is merely unassigned depends on the Unicode version of the Python
 * that asks, and is printed here. */
static int is_hidden(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        {0x7f, 0xa0}, {0xad, 0xad}, {0x600, 0x605}, {0x61c, 0x61c}, {0x6dd, 0x6dd},
        {0x70f, 0x70f}, {0x890, 0x891}, {0x8e2, 0x8e2}, {0x1680, 0x1680}, {0x180e, 0x180e},
        {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000},
        {0xe000, 0xf8ff}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0x110bd, 0x110bd},
        {0x110cd, 0x110cd}, {0x13430, 0x13438}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
        {0xe0001, 0xe007f}, {0xf0000, 0x10ffff},
    };
    if (c < 0x20 || (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef)) return 1;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1]) return 1;
    return 0;
}

static void put_repr_string(chat_buf *b, const char *s, size_t n)
{
    const char *end = s + n, *quote = memchr(s, '\'', n) && !memchr(s, '"', n) ? "\"" : "'";
    chat_puts(b, quote);
    while (s < end) {
        const char *at = s;
        char esc[16];
        uint32_t c = get_char(&s);
        if (c == '\n' || c == '\r' || c == '\t') {
            chat_puts(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        } else if (c == '\\' || c == (uint32_t)*quote) {
            chat_puts(b, "\\");
            chat_put(b, at, 1);
        } else if (is_hidden(c)) {
            snprintf(esc, sizeof esc, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x",
                     (unsigned)c);
            chat_puts(b, esc);
        } else {
            chat_put(b, at, (size_t)(s - at));
        }
    }
    chat_puts(b, quote);
}

/* repr(); depth is bounded by that of the JSON reader. */
static void put_repr(chat_buf *b, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i, n = 0;
    if (json_is_string(v)) {
        put_repr_string(b, json_string_value(v), json_string_length(v));
    } else if (json_is_array(v)) {
        chat_puts(b, "[");
        json_array_foreach(v, i, item) {
            if (i) chat_puts(b, ", ");
            put_repr(b, item);
        }
        chat_puts(b, "]");
    } else if (json_is_object(v)) {
        chat_puts(b, "{");
        json_object_foreach((json_t *)v, key, item) {
            if (n++) chat_puts(b, ", ");
            put_repr_string(b, key, strlen(key));
            chat_puts(b, ": ");
            put_repr(b, item);
        }
        chat_puts(b, "}");
    } else {
        chat_str(b, v);
    }
}

void chat_str(chat_buf *b, const json_t *v)
{
    char num[40];
    if (!v) return;
    switch (json_typeof(v)) {
    case JSON_NULL: chat_puts(b, "None"); break;
    case JSON_TRUE: chat_puts(b, "True"); break;
    case JSON_FALSE: chat_puts(b, "False"); break;
    case JSON_STRING: chat_put(b, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER:
        snprintf(num, sizeof num, "%lld", (long long)json_integer_value(v));
        chat_puts(b, num);
        break;
    case JSON_REAL:
        chat_float(num, json_real_value(v));
        chat_puts(b, num);
        break;
    default: put_repr(b, v);
    }
}

g4_status chat_upper(chat_ctx *c, chat_buf *b, const json_t *v)
{
    size_t from = b->len;
    chat_str(b, v);
    if (b->failed) return G4_OK;   /* reported by whoever owns b */
    for (size_t i = from; i < b->len; i++)
        if ((unsigned char)b->data[i] >= 0x80)
            return g4_fail(c->err, G4_EINPUT, "%s: %s: type %.60s is not a JSON schema type",
                           c->file, c->where, b->data + from);
    for (size_t i = from; i < b->len; i++)
        if (b->data[i] >= 'a' && b->data[i] <= 'z') b->data[i] = (char)(b->data[i] - 32);
    return G4_OK;
}

static const struct { uint32_t first, last, step; int32_t delta; } lower_rows[] = {
#include "ref/input/chat_lower.inc"
};

/* str.lower() of a key for sorting; a capital sigma at a word's end is taken as
 * any other (Python makes it final: only the order beside a twin key differs). */
static const char *lower(g4_arena *a, const char *key)
{
    size_t n = strlen(key), at = 0;
    char *out = g4_arena_alloc(a, n + 1, 2);   /* at most doubled: U+0130, 2 bytes to 3 */
    if (!out) return NULL;
    for (const char *p = key; *p;) {
        uint32_t c = get_char(&p);
        if (c >= 'A' && c <= 'Z') c += 32;
        if (c == 0x130) {   /* dotted capital i: i and a combining dot */
            out[at++] = 'i';
            c = 0x307;
        }
        for (size_t i = 0; c >= 0x80 && i < sizeof lower_rows / sizeof *lower_rows; i++)
            if (c >= lower_rows[i].first && c <= lower_rows[i].last &&
                (c - lower_rows[i].first) % lower_rows[i].step == 0) {
                c = (uint32_t)((int32_t)c + lower_rows[i].delta);
                break;
            }
        at += (size_t)put_char(out + at, c);
    }
    return out;
}

/* The order of UTF-8 bytes is that of code points, which is Python's. */
static int by_lower_key(const void *va, const void *vb)
{
    const chat_member *a = va, *b = vb;
    int d = strcmp(a->lower, b->lower);
    return d ? d : a->index < b->index ? -1 : a->index > b->index;
}

g4_status chat_dictsort(chat_ctx *c, json_t *object, chat_member **list, size_t *n)
{
    const char *key;
    json_t *value;
    size_t i = 0;
    *n = json_object_size(object);
    *list = g4_arena_alloc(&c->arena, *n ? *n : 1, sizeof **list);
    if (!*list) return g4_nomem(c->err, c->file);
    json_object_foreach(object, key, value) {
        (*list)[i] = (chat_member){ key, lower(&c->arena, key), value, i };
        if (!(*list)[i++].lower) return g4_nomem(c->err, c->file);
    }
    qsort(*list, *n, sizeof **list, by_lower_key);
    return G4_OK;
}
