/* SPDX-License-Identifier: Apache-2.0
 * (pointer, length) cursor over foreign bytes, little-endian, bounds-checked:
 * the only way a binary parser here reads memory.  A short read sets `bad` and
 * gives zero; callers test `bad` once at the end of a record. */
#ifndef G4_BASE_BYTES_H
#define G4_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct g4_bytes {
    const uint8_t *data;
    size_t size, at;
    int bad;
} g4_bytes;

static inline const uint8_t *g4_bytes_take(g4_bytes *b, size_t n)
{
    if (b->bad || n > b->size - b->at) {
        b->bad = 1;
        return NULL;
    }
    const uint8_t *p = b->data + b->at;
    b->at += n;
    return p;
}

static inline uint64_t g4_bytes_uint(g4_bytes *b, size_t n)   /* n <= 8 bytes */
{
    const uint8_t *p = g4_bytes_take(b, n);
    uint64_t v = 0;
    if (p)
        for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

#endif
