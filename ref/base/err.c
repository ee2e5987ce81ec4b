/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/err.h"

#include <stdarg.h>
#include <stdio.h>

/* Copies src to dst, control bytes and DEL as \xNN; bytes above 0x7f stay (UTF-8). */
static void escape(char *dst, size_t size, const char *src)
{
    size_t at = 0;
    for (; *src && at + 5 < size; src++) {
        unsigned char c = (unsigned char)*src;
        if (c >= 0x20 && c != 0x7f) dst[at++] = (char)c;
        else at += (size_t)snprintf(dst + at, size - at, "\\x%02x", c);
    }
    dst[at] = 0;
}

g4_status g4_fail(g4_err *err, g4_status code, const char *fmt, ...)
{
    if (err) {
        char raw[sizeof err->msg];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(raw, sizeof raw, fmt, ap);
        va_end(ap);
        err->code = code;
        escape(err->msg, sizeof err->msg, raw);
    }
    return code;
}

g4_status g4_nomem(g4_err *err, const char *what)
{
    return g4_fail(err, G4_ENOMEM, "out of memory (%s)", what);
}
