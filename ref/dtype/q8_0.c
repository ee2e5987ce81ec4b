/* SPDX-License-Identifier: Apache-2.0
 * q8_0: 32 values share one f16 scale d; value i is d * q[i].
 *
 *   | d f16 | q[0] .. q[31] int8 |     34 bytes, 8.5 bits a value
 *
 * Packing takes d = max|x| / 127 and rounds to nearest, ties away from zero, as
 * ggml's reference quantizer does (quantize_row_q8_0_ref). */
#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

enum { BLOCK = 32, BYTES = 34 };

void g4_unpack_q8_0(float *y, const void *packed, int64_t n)
{
    const unsigned char *p = packed;
    for (int64_t b = 0; b < n / BLOCK; b++, p += BYTES) {
        float d = g4_f16_to_f32(g4_load_u16(p));
        for (int i = 0; i < BLOCK; i++) y[b * BLOCK + i] = d * (float)(int8_t)p[2 + i];
    }
}

void g4_pack_q8_0(void *packed, const float *x, int64_t n)
{
    unsigned char *p = packed;
    for (int64_t b = 0; b < n / BLOCK; b++, p += BYTES) {
        float top = 0.0f;
        for (int i = 0; i < BLOCK; i++) {
            float a = __builtin_fabsf(x[b * BLOCK + i]);
            top = a > top ? a : top;
        }
        float d = top / 127.0f, inv = d != 0.0f ? 1.0f / d : 0.0f;
        uint16_t h = g4_f32_to_f16(d);
        memcpy(p, &h, 2);
        for (int i = 0; i < BLOCK; i++) {
            float v = x[b * BLOCK + i] * inv;
            p[2 + i] = (unsigned char)(int8_t)(v < 0.0f ? v - 0.5f : v + 0.5f);
        }
    }
}
