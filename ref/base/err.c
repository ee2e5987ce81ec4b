/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of c in a message: control bytes and DEL become \xNN, those above 0x7f
 * stay (UTF-8). */
static size_t width(char c)
{
    return ((unsigned char)c >= 0x20 && c != 0x7f) ? 1 : 4;
}

static char *escape(char *dst, const char *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (width(src[i]) == 1) *dst++ = src[i];
        else dst += snprintf(dst, 5, "\\x%02x", (unsigned char)src[i]);
    }
    return dst;
}

static int inside_utf8(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* src to dst [size].  What does not fit loses its middle: a path stands in front
 * and may be long, what is wrong with it stands behind. */
static void shorten(char *dst, size_t size, const char *src)
{
    size_t n = strlen(src), all = 0, half = (size - 4) / 2, used = 0, head = 0, tail = n;
    for (size_t i = 0; i < n; i++) all += width(src[i]);
    if (all < size) {
        *escape(dst, src, n) = 0;
        return;
    }
    while (used + width(src[head]) <= half) used += width(src[head++]);
    for (used = 0; used + width(src[tail - 1]) <= half;) used += width(src[--tail]);
    while (head > 0 && inside_utf8(src[head])) head--;
    while (inside_utf8(src[tail])) tail++;
    dst = escape(dst, src, head);
    dst = escape(dst, "...", 3);
    *escape(dst, src + tail, n - tail) = 0;
}

g4_status g4_fail(g4_err *err, g4_status code, const char *fmt, ...)
{
    if (err) {
        char raw[8192];   /* PATH_MAX twice */
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(raw, sizeof raw, fmt, ap);
        va_end(ap);
        err->code = code;
        shorten(err->msg, sizeof err->msg, raw);
    }
    return code;
}

g4_status g4_nomem(g4_err *err, const char *what)
{
    return g4_fail(err, G4_ENOMEM, "out of memory (%s)", what);
}
