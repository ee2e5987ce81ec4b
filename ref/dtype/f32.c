/* SPDX-License-Identifier: Apache-2.0
 * f32: IEEE 754 binary32, little-endian, 4 bytes a value. */
#include "ref/dtype/dtype.h"

#include <string.h>

void g4_unpack_f32(float *y, const void *packed, int64_t n)
{
    memcpy(y, packed, (size_t)n * 4);
}

void g4_pack_f32(void *packed, const float *x, const float *weight, int64_t n)
{
    (void)weight;
    memcpy(packed, x, (size_t)n * 4);
}
