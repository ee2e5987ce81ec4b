/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/x86/vec_avx512.h"

typedef __m512i pairs;

G4_INLINE pairs pair_load(const unsigned char *p) { return _mm512_loadu_si512(p); }

G4_INLINE vec pair_fma(vec acc, pairs w, pairs x)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x);
}

#define G4_FN(name) g4_##name##_avx512bf16
#include "kernels_opt/c/linear_pair.h"
