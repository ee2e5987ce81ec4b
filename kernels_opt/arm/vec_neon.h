/* SPDX-License-Identifier: Apache-2.0
 * The vector that the files of c/ are written for, as one NEON register: a quarter of the
 * lanes; and the fold of four outputs at once. */
#ifndef G4_KERNELS_VEC_NEON_H
#define G4_KERNELS_VEC_NEON_H

#include "kernels_opt/lanes.h"

#include <arm_neon.h>
#include <string.h>

enum {
    VEC = 4,         /* floats a vector */
    TILE_R = 4,      /* rows x tokens of a register tile: 24 of 32 registers */
    TILE_T = 6,
    REG_ACCS = 16,   /* accumulators of the other kernels */
};

typedef float32x4_t vec;

G4_INLINE vec vec_zero(void) { return vdupq_n_f32(0.0f); }
G4_INLINE vec vec_set1(float f) { return vdupq_n_f32(f); }
G4_INLINE void vec_store(float *p, vec v) { vst1q_f32(p, v); }
G4_INLINE vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }
G4_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }

G4_INLINE vec vec_sub(vec a, vec b) { return vsubq_f32(a, b); }
G4_INLINE vec vec_mul(vec a, vec b) { return vmulq_f32(a, b); }
G4_INLINE vec vec_max(vec a, vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }

/* p * 2^n, n the low bits of `even` (kernels_opt/span.h). */
G4_INLINE vec vec_times_2_to(vec p, vec even)
{
    uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(even), 23);
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p), n));
}

/* x < least ? 0 : p */
G4_INLINE vec vec_zero_below(vec p, vec x, float least)
{
    uint32x4_t below = vcltq_f32(x, vdupq_n_f32(least));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), below));
}

/* Weights have no alignment: bytes are loaded, not floats. */
G4_INLINE vec vec_load(const void *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

G4_INLINE vec vec_bf16(const void *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

G4_INLINE vec vec_f16(const void *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

G4_INLINE vec fold_to_4(const float *lane)   /* 16 lanes to 4 */
{
    vec lo = vaddq_f32(vld1q_f32(lane), vld1q_f32(lane + 8));
    vec hi = vaddq_f32(vld1q_f32(lane + 4), vld1q_f32(lane + 12));
    return vaddq_f32(lo, hi);
}

G4_INLINE vec fold_pair(vec a, vec b)   /* a0 a1 b0 b1 */
{
    return vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)),
                     vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
}

/* y[j] = fold of lane[16 j .. 16 j + 15], j < 4. */
G4_INLINE void fold4(float *y, const float *lane)
{
    vec ab = fold_pair(fold_to_4(lane), fold_to_4(lane + 16));
    vec cd = fold_pair(fold_to_4(lane + 32), fold_to_4(lane + 48));
    vst1q_f32(y, vaddq_f32(vuzp1q_f32(ab, cd), vuzp2q_f32(ab, cd)));
}

#endif
