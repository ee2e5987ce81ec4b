/* SPDX-License-Identifier: Apache-2.0
 * x to 8 bits (law and order in panel.h), written so that a compiler makes vectors of
 * it: each ISA's file includes this.  Largest magnitudes are compared as integers, which
 * puts infinities and NaNs on top; adding and taking away 1.5 * 2^23 rounds to even. */
#ifndef G4_KERNELS_C_ROUND_H
#define G4_KERNELS_C_ROUND_H

#include "kernels_opt/panel.h"

#include <string.h>

/* Returns d; q [32] gets the values. */
G4_INLINE float round_block(signed char q[G4_PANEL_BLOCK], const float *x)
{
    const uint32_t infinity = 0x7f800000u, tiny = (127u - 100u) << 23;
    const float even = 0x1.8p23f;
    uint32_t bits[G4_PANEL_BLOCK], most = 0;
    float m;
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < G4_PANEL_BLOCK; i++) {
        uint32_t magnitude = bits[i] & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    if (most >= infinity || most < tiny) {
        memset(q, 0, G4_PANEL_BLOCK);
        return most >= infinity ? __builtin_nanf("") : 0.0f;
    }
    memcpy(&m, &most, 4);
    float d = m / 127.0f, inverse = 1.0f / d;
    for (int i = 0; i < G4_PANEL_BLOCK; i++)
        q[i] = (signed char)(int)(x[i] * inverse + even - even);
    return d;
}

G4_INLINE int sum_of(const signed char *q, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++) sum += q[i];
    return sum;
}

G4_INLINE void round_token(unsigned char *block, int64_t T, int64_t t, const float *x,
                           const g4_panel_format *f)
{
    signed char q[G4_PANEL_BLOCK];
    float d = round_block(q, x);
    unsigned char *correction = block + (G4_PANEL_BLOCK + 4) * T + 4 * t;
    memcpy(block + G4_PANEL_BLOCK * t, q, sizeof q);
    memcpy(block + G4_PANEL_BLOCK * T + 4 * t, &d, 4);
    int32_t low = sum_of(q, 16), high = sum_of(q + 16, 16), start = -f->offset * (low + high);
    int16_t halves[2] = { (int16_t)-low, (int16_t)-high };
    float minimum = d * (float)(low + high);
    memcpy(correction, f->correction == G4_CORRECT_HALVES    ? (const void *)halves
                       : f->correction == G4_CORRECT_MINIMUM ? (const void *)&minimum
                                                             : (const void *)&start, 4);
}

G4_INLINE void round_tiles(const g4_round_args *a, int64_t p0, int64_t p1)
{
    g4_panel_format f = g4_panel_format_get(a->dtype);
    int64_t blocks = a->cols / G4_PANEL_BLOCK;
    for (int64_t p = p0; p < p1; p++) {
        int64_t t0 = g4_xq_begin(a->tokens, p), T = g4_xq_begin(a->tokens, p + 1) - t0;
        unsigned char *tile = a->xq + t0 * blocks * G4_XQ_BYTES;
        for (int64_t t = 0; t < T; t++)
            for (int64_t b = 0; b < blocks; b++)
                round_token(tile + b * T * G4_XQ_BYTES, T, t,
                            a->x + (t0 + t) * a->ldx + b * G4_PANEL_BLOCK, &f);
    }
}

#endif
