/* SPDX-License-Identifier: Apache-2.0
 * As x86/pair_avx2.c: the dot products of BF16 that ARM has round in another way. */
#include "kernels_opt/arm/vec_neon.h"

typedef uint32x4_t pairs;

G4_INLINE pairs pair_load(const unsigned char *p)
{
    return vreinterpretq_u32_u8(vld1q_u8(p));
}

/* Magnitudes under 2^-126 to 0 of their sign; not NaN. */
G4_INLINE vec flush(vec v)
{
    uint32x4_t tiny = vcaltq_f32(v, vdupq_n_f32(0x1p-126f));
    uint32x4_t drop = vandq_u32(tiny, vdupq_n_u32(0x7fffffff));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), drop));
}

G4_INLINE vec second(pairs p)
{
    return flush(vreinterpretq_f32_u32(vandq_u32(p, vdupq_n_u32(0xffff0000u))));
}

G4_INLINE vec first_of(pairs p)
{
    return flush(vreinterpretq_f32_u32(vshlq_n_u32(p, 16)));
}

G4_INLINE vec pair_fma(vec acc, pairs w, pairs x)
{
    acc = flush(vec_fma(second(w), second(x), acc));
    return flush(vec_fma(first_of(w), first_of(x), acc));
}

#define G4_FN(name) g4_##name##_neon
#include "kernels_opt/c/linear_pair.h"
