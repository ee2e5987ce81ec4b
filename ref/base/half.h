/* SPDX-License-Identifier: Apache-2.0
 * 16-bit floats to and from float32.  Widening is exact; narrowing rounds to
 * nearest even, keeps infinities, turns every NaN into a quiet one.
 *   bf16: sign 1, exponent 8, mantissa 7   (a float32 cut in half)
 *   f16 : sign 1, exponent 5, mantissa 10  (IEEE binary16)
 * Loads go through memcpy: a weight may start at an odd offset of its file. */
#ifndef G4_BASE_HALF_H
#define G4_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float g4_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint32_t g4_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float g4_bf16_to_f32(uint16_t h)
{
    return g4_f32_from_bits((uint32_t)h << 16);
}

static inline uint16_t g4_f32_to_bf16(float f)
{
    uint32_t u = g4_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

static inline float g4_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, em = h & 0x7fff;
    if (em >= 0x7c00)   /* infinity, NaN (made quiet) */
        return g4_f32_from_bits(sign | 0x7f800000u | (em > 0x7c00 ? 0x400000u : 0) |
                                ((em & 0x3ff) << 13));
    if (em >= 0x400) return g4_f32_from_bits(sign | ((em << 13) + 0x38000000u));
    float tiny = (float)em * 0x1p-24f;   /* subnormal: exact in float32 */
    return g4_f32_from_bits(sign | g4_f32_bits(tiny));
}

static inline uint16_t g4_f32_to_f16(float f)
{
    uint32_t u = g4_f32_bits(f), a = u & 0x7fffffffu;
    uint16_t sign = (uint16_t)((u >> 16) & 0x8000);
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00);   /* rounds to 65536 or above */
    if (a < 0x38800000u) {   /* below 2^-14: add 0.5, the unit in the last place is then 2^-24 */
        float t = g4_f32_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (g4_f32_bits(t) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1)) >> 13));
}

static inline uint16_t g4_load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

#endif
