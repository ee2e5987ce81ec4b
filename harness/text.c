/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/text.h"

#include "ref/base/map.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 character at p that may be shown as it is; 0: escape one
 * byte.  Overlong forms, surrogates and values past U+10FFFF are not UTF-8;
 * U+0080..U+009F are controls (U+009B starts an escape sequence like ESC [). */
static size_t shown(const unsigned char *p)
{
    if (p[0] < 0x80) return p[0] >= 0x20 && p[0] != 0x7f;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    uint32_t c = p[0] & (0xffu >> (n + 1));
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;   /* also stops at the NUL */
        c = c << 6 | (p[i] & 0x3f);
    }
    static const uint32_t least[5] = { 0, 0, 0xa0, 0x800, 0x10000 };
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

char *g4_text_safe(char *dst, size_t size, const char *src)
{
    const unsigned char *p = (const unsigned char *)src;
    size_t at = 0;
    while (*p && at + 5 < size) {
        size_t n = shown(p);
        if (n) {
            memcpy(dst + at, p, n);
            at += n;
            p += n;
        } else {
            at += (size_t)snprintf(dst + at, size - at, "\\x%02x", *p++);
        }
    }
    dst[at] = 0;
    return dst;
}

char *g4_text_cell(char *dst, size_t size, const char *src)
{
    g4_text_safe(dst, size, src);
    for (char *c = dst; *c; c++)
        if (strchr("\",|\\", *c)) *c = '_';
    return dst;
}

char *g4_text_bytes(char *dst, size_t size, uint64_t bytes)
{
    static const char *const unit[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
    double v = (double)bytes;
    int u = 0;
    for (; v >= 1000 && u < 6; u++) v /= 1000;
    snprintf(dst, size, u ? "%.2f %s" : "%.0f %s", v, unit[u]);
    return dst;
}

g4_status g4_text_read(const char *path, size_t most, char **text, size_t *size, g4_err *err)
{
    uint8_t *data;
    *text = NULL;
    G4_TRY(g4_file_read(path, most, &data, size, err));
    size_t at = g4_utf8_check(data, *size);
    if (at < *size) {
        free(data);
        return g4_fail(err, G4_EINPUT, "%s: not UTF-8 at byte %zu", path, at);
    }
    *text = (char *)data;
    return G4_OK;
}

void g4_text_wrap(FILE *out, const char *text, int indent, int width)
{
    int column = indent;
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (column > indent && column + 1 + len > width) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", len, text);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}
