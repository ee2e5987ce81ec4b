/* SPDX-License-Identifier: Apache-2.0
 * mxfp4: 32 values of 4-bit floats (sign 1, exponent 2, mantissa 1: 0, 0.5, 1, 1.5, 2, 3,
 * 4, 6) share the power of two 2^(e - 127); the microscaling format of the Open Compute
 * Project, read only.  Scale 0xff is not a NaN here, as in ggml: it is 2^128.
 *
 *   | e u8 | q[0] + 16 q[16] | .. | q[15] + 16 q[31] |     17 bytes, 4.25 bits a value */
#include "ref/dtype/block.h"

typedef struct block {
    uint8_t e;
    uint8_t q[16];
} block;
_Static_assert(sizeof(block) == 17, "mxfp4");

/* Twice the values, so that half the scale, 2^(e - 128), stays finite for every e. */
static const float twice[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

void g4_unpack_mxfp4(float *y, const void *packed, int64_t n)
{
    const block *b = packed;
    for (; n > 0; n -= 32, y += 32, b++) {
        uint32_t e = b->e;   /* 2^-128 and 2^-127 are subnormal */
        float half = g4_f32_from_bits(e < 2 ? 0x200000u << e : (e - 1) << 23);
        for (int i = 0; i < 16; i++) {
            y[i] = half * twice[b->q[i] & 15];
            y[i + 16] = half * twice[b->q[i] >> 4];
        }
    }
}
