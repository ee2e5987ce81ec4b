/* SPDX-License-Identifier: Apache-2.0
 * The fold of four outputs at once, for AVX2 and AVX-512. */
#ifndef G4_KERNELS_FOLD_X86_H
#define G4_KERNELS_FOLD_X86_H

#include "kernels_opt/lanes.h"

#include <immintrin.h>

G4_INLINE __m128 fold_to_4(const float *lane)   /* 16 lanes to 4 */
{
    __m256 v = _mm256_add_ps(_mm256_loadu_ps(lane), _mm256_loadu_ps(lane + 8));
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

/* y[j] = fold of lane[16 j .. 16 j + 15], j < 4. */
G4_INLINE void fold4(float *y, const float *lane)
{
    __m128 a = fold_to_4(lane), b = fold_to_4(lane + 16);
    __m128 c = fold_to_4(lane + 32), d = fold_to_4(lane + 48);
    __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));   /* a0 a1 b0 b1 */
    __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    __m128 even = _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(2, 0, 2, 0));      /* a0 b0 c0 d0 */
    __m128 odd = _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 1, 3, 1));
    _mm_storeu_ps(y, _mm_add_ps(even, odd));
}

#endif
