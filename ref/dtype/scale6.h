/* SPDX-License-Identifier: Apache-2.0
 * The 12 bytes of q4_k and q5_k that hold 8 scales s and 8 offsets m of 6 bits:
 *
 *   byte 0..3    s[j] of j = 0..3, above it in bits 6, 7 the high bits of s[j + 4]
 *   byte 4..7    the same of m
 *   byte 8..11   the low four bits of s[j + 4], above them those of m[j + 4] */
#ifndef G4_DTYPE_SCALE6_H
#define G4_DTYPE_SCALE6_H

#include <stdint.h>

static inline void g4_scale6_get(const uint8_t p[12], int j, int *s, int *m)
{
    int low = j % 4;
    *s = j < 4 ? p[low] & 63 : (p[8 + low] & 15) | p[low] >> 6 << 4;
    *m = j < 4 ? p[4 + low] & 63 : p[8 + low] >> 4 | p[4 + low] >> 6 << 4;
}

/* Into 12 bytes that were 0. */
static inline void g4_scale6_put(uint8_t p[12], int j, int s, int m)
{
    int low = j % 4;
    p[low] |= (uint8_t)(j < 4 ? s : s >> 4 << 6);
    p[4 + low] |= (uint8_t)(j < 4 ? m : m >> 4 << 6);
    if (j >= 4) p[8 + low] |= (uint8_t)((s & 15) | (m & 15) << 4);
}

#endif
