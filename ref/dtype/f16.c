/* SPDX-License-Identifier: Apache-2.0
 * f16: IEEE 754 binary16: sign 1, exponent 5, mantissa 10 bits; up to 65504;
 * little-endian, 2 bytes a value.  Unpacking is exact, packing rounds to nearest even. */
#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

void g4_unpack_f16(float *y, const void *packed, int64_t n)
{
    const unsigned char *p = packed;
    for (int64_t i = 0; i < n; i++) y[i] = g4_f16_to_f32(g4_load_u16(p + 2 * i));
}

void g4_pack_f16(void *packed, const float *x, const float *weight, int64_t n)
{
    (void)weight;
    unsigned char *p = packed;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = g4_f32_to_f16(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}
