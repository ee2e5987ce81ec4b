/* SPDX-License-Identifier: Apache-2.0
 * bf16: the upper half of a float32: sign 1, exponent 8, mantissa 7 bits;
 * little-endian, 2 bytes a value.  Unpacking is exact, packing rounds to nearest even. */
#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

void g4_unpack_bf16(float *y, const void *packed, int64_t n)
{
    const unsigned char *p = packed;
    for (int64_t i = 0; i < n; i++) y[i] = g4_bf16_to_f32(g4_load_u16(p + 2 * i));
}

void g4_pack_bf16(void *packed, const float *x, const float *weight, int64_t n)
{
    (void)weight;
    unsigned char *p = packed;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = g4_f32_to_bf16(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}
