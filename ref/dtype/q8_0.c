/* SPDX-License-Identifier: Apache-2.0
 * q8_0: 32 values share one f16 scale d; value i is d * q[i].
 *
 *   | d f16 | q[0] .. q[31] int8 |     34 bytes, 8.5 bits a value
 *
 * Packing takes d = max|x| / 127 and rounds to nearest, ties away from zero, as
 * ggml's reference quantizer does (quantize_row_q8_0_ref).  Where that leaves C:
 * a block with an infinity or a NaN becomes all NaN (d is NaN), so that neither
 * gets lost; where 1 / d would be infinite, d is 0 in f16 anyhow and so is q. */
#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

#include <float.h>

enum { BLOCK = 32, BYTES = 34 };

void g4_unpack_q8_0(float *y, const void *packed, int64_t n)
{
    const unsigned char *p = packed;
    for (int64_t b = 0; b < n / BLOCK; b++, p += BYTES) {
        float d = g4_f16_to_f32(g4_load_u16(p));
        for (int i = 0; i < BLOCK; i++) y[b * BLOCK + i] = d * (float)(int8_t)p[2 + i];
    }
}

/* Adding 0.5 and cutting would take the float below 0.5 up to 1. */
static int round_away(float v)
{
    int whole = (int)v;
    float rest = v - (float)whole;   /* exact */
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

void g4_pack_q8_0(void *packed, const float *x, const float *weight, int64_t n)
{
    (void)weight;
    unsigned char *p = packed;
    for (int64_t b = 0; b < n / BLOCK; b++, p += BYTES) {
        float top = 0.0f, all = 0.0f;
        for (int i = 0; i < BLOCK; i++) {
            float a = __builtin_fabsf(x[b * BLOCK + i]);
            top = a > top ? a : top;
            all += a * 0.0f;   /* NaN from here on if a is infinite or NaN */
        }
        float d = top / 127.0f + all, inv = 1.0f / d;
        uint16_t h = d == d ? g4_f32_to_f16(d) : 0x7e00;   /* CPUs differ in a NaN's sign */
        memcpy(p, &h, 2);
        if (!(inv <= FLT_MAX)) inv = 0.0f;
        for (int i = 0; i < BLOCK; i++)
            p[2 + i] = (unsigned char)(inv > 0.0f ? round_away(x[b * BLOCK + i] * inv) : 0);
    }
}
