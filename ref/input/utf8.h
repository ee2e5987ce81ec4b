/* SPDX-License-Identifier: Apache-2.0
 * UTF-8 by the table of the Unicode standard (3-7): no overlong form, no
 * surrogate, nothing above U+10FFFF. */
#ifndef G4_INPUT_UTF8_H
#define G4_INPUT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at p (n bytes are left there); 0: not a valid one. */
static inline size_t g4_utf8_len(const uint8_t *p, size_t n)
{
    if (n == 0) return 0;
    if (p[0] < 0x80) return 1;
    size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return len;
}

/* Offset of the first byte that is not UTF-8; n where all of it is. */
static inline size_t g4_utf8_check(const void *text, size_t n)
{
    const uint8_t *p = text;
    size_t at = 0;
    while (at < n) {
        size_t len = g4_utf8_len(p + at, n - at);
        if (len == 0) return at;
        at += len;
    }
    return n;
}

#endif
