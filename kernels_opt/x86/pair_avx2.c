/* SPDX-License-Identifier: Apache-2.0
 * What vdpbf16ps does, in five steps for each half of a pair: slower than float32, here so
 * that its numbers can be had everywhere. */
#include "kernels_opt/x86/vec_avx2.h"

typedef __m256i pairs;

G4_INLINE pairs pair_load(const unsigned char *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Magnitudes under 2^-126 to 0 of their sign; not NaN. */
G4_INLINE vec flush(vec v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), least = _mm256_set1_ps(0x1p-126f);
    __m256 tiny = _mm256_cmp_ps(_mm256_andnot_ps(sign, v), least, _CMP_LT_OQ);
    return _mm256_andnot_ps(_mm256_andnot_ps(sign, tiny), v);
}

G4_INLINE vec second(pairs p)
{
    return flush(_mm256_castsi256_ps(_mm256_and_si256(p, _mm256_set1_epi32((int)0xffff0000u))));
}

G4_INLINE vec first_of(pairs p)
{
    return flush(_mm256_castsi256_ps(_mm256_slli_epi32(p, 16)));
}

G4_INLINE vec pair_fma(vec acc, pairs w, pairs x)
{
    acc = flush(vec_fma(second(w), second(x), acc));
    return flush(vec_fma(first_of(w), first_of(x), acc));
}

#define G4_FN(name) g4_##name##_avx2
#include "kernels_opt/c/linear_pair.h"
