/* SPDX-License-Identifier: Apache-2.0
 * The vector that the files of c/ are written for, as one zmm register: all 16 lanes. */
#ifndef G4_KERNELS_VEC_AVX512_H
#define G4_KERNELS_VEC_AVX512_H

#include "kernels_opt/x86/fold_x86.h"

#define G4_VEC_WIDE   /* 8 tokens fit in c/direct.h */

enum {
    VEC = 16,        /* floats a vector */
    TILE_R = 4,      /* rows x tokens of a register tile: 24 of 32 registers */
    TILE_T = 6,
    REG_ACCS = 24,   /* accumulators of the other kernels */
};

typedef __m512 vec;

G4_INLINE vec vec_zero(void) { return _mm512_setzero_ps(); }
G4_INLINE vec vec_set1(float f) { return _mm512_set1_ps(f); }
G4_INLINE vec vec_load(const void *p) { return _mm512_loadu_ps(p); }
G4_INLINE void vec_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
G4_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
G4_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

G4_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
G4_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
G4_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }   /* a > b ? a : b */

/* p * 2^n, n the low bits of `even` (kernels_opt/span.h). */
G4_INLINE vec vec_times_2_to(vec p, vec even)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(even), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}

/* x < least ? 0 : p */
G4_INLINE vec vec_zero_below(vec p, vec x, float least)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(least), _CMP_NLT_UQ), p);
}

G4_INLINE vec vec_bf16(const void *p)
{
    __m512i h = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(h, 16));
}

G4_INLINE vec vec_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

#endif
