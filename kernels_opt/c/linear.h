/* SPDX-License-Identifier: Apache-2.0
 * The linear kernels of one ISA: a file x86/linear_<isa>.c or arm/linear_<isa>.c
 * includes its vector header, says G4_FN(name) (the kernel's full name), then
 * includes this.  Q8_0 goes through tiles even for one token: unpacking it costs
 * more than the tile's idle columns. */
#include "kernels_opt/c/direct.h"
#include "kernels_opt/c/tiled.h"

G4_INLINE void linear_any(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch,
                          g4_dtype type)
{
    if (a->tokens <= G4_DIRECT_TOKENS)
        linear_direct(a, r0, r1, type);
    else
        linear_tiled(a, r0, r1, scratch, type);
}

void G4_FN(linear_f32)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    linear_any(a, r0, r1, scratch, G4_F32);
}

void G4_FN(linear_f16)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    linear_any(a, r0, r1, scratch, G4_F16);
}

void G4_FN(linear_bf16)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    linear_any(a, r0, r1, scratch, G4_BF16);
}

void G4_FN(linear_q8_0)(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    linear_tiled(a, r0, r1, scratch, G4_Q8_0);
}
