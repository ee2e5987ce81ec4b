/* SPDX-License-Identifier: Apache-2.0
 * The vector that the files of c/ are written for, as one ymm register: half the lanes. */
#ifndef G4_KERNELS_VEC_AVX2_H
#define G4_KERNELS_VEC_AVX2_H

#include "kernels_opt/x86/fold_x86.h"

enum {
    VEC = 8,        /* floats a vector */
    TILE_R = 4,     /* rows x tokens of a register tile: 12 of 16 registers */
    TILE_T = 3,
    REG_ACCS = 8,   /* accumulators of the other kernels */
};

typedef __m256 vec;

G4_INLINE vec vec_zero(void) { return _mm256_setzero_ps(); }
G4_INLINE vec vec_set1(float f) { return _mm256_set1_ps(f); }
G4_INLINE vec vec_load(const void *p) { return _mm256_loadu_ps(p); }
G4_INLINE void vec_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
G4_INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
G4_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

G4_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
G4_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
G4_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }   /* a > b ? a : b */

/* p * 2^n, n the low bits of `even` (kernels_opt/span.h). */
G4_INLINE vec vec_times_2_to(vec p, vec even)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(even), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}

/* x < least ? 0 : p */
G4_INLINE vec vec_zero_below(vec p, vec x, float least)
{
    return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(least), _CMP_NLT_UQ), p);
}

G4_INLINE vec vec_bf16(const void *p)
{
    __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(h, 16));
}

G4_INLINE vec vec_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

#endif
