/* SPDX-License-Identifier: Apache-2.0
 * tq1_0: 256 values of {-d, 0, d}, five to a byte; read only.
 *
 *   | 48 bytes of 5 digits | 4 bytes of 4 digits | d f16 |     54 bytes, 1.6875 bits a value
 *
 * A byte holds its base-3 digits as a fraction of 256: multiplying by 3^k modulo 256 and
 * taking the part above 256 of 3 times that gives digit k; the value is d * (digit - 1).
 * Digit k of byte i: value 32k + i (bytes 0..31), 160 + 16k + i (the next 16), 240 + 4k + i. */
#include "ref/dtype/block.h"

typedef struct block {
    uint8_t q[52];
    uint8_t d[2];
} block;
_Static_assert(sizeof(block) == 54, "tq1_0");

/* Digits 0.. of `bytes` bytes, digit by digit. */
static float *unpack_digits(float *y, const uint8_t *q, int bytes, int digits, float d)
{
    unsigned power = 1;
    for (int k = 0; k < digits; k++, power *= 3)
        for (int i = 0; i < bytes; i++)
            *y++ = d * (float)((int)((q[i] * power & 255) * 3 >> 8) - 1);
    return y;
}

void g4_unpack_tq1_0(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= G4_SUPER, b++) {
        float d = g4_block_f16(b->d);
        y = unpack_digits(y, b->q, 32, 5, d);
        y = unpack_digits(y, b->q + 32, 16, 5, d);
        y = unpack_digits(y, b->q + 48, 4, 4, d);
    }
}
