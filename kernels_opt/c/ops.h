/* SPDX-License-Identifier: Apache-2.0
 * The definitions of ref/model/ops_ref.c, compiled for one ISA: a file ops_<isa>.c
 * names it by G4_FN and includes this.  All float64 work is elementwise or in 16
 * lanes, so the compiler may vectorise it and the bits stay: -ffp-contract=off
 * forbids the one thing that would change them. */
#define G4_OPS_REF_NAME G4_FN(ops)
#include "ref/model/ops_ref.c"

#include "kernels_opt/kernels.h"

void G4_FN(rmsnorm_f32)(float *y, const float *x, const float *w, int64_t n, double eps)
{
    rmsnorm(y, x, w, n, eps);
}

void G4_FN(layernorm_f32)(float *y, const float *x, const float *w, const float *b, int64_t n,
                          double eps)
{
    layernorm(y, x, w, b, n, eps);
}

void G4_FN(rope_f32)(float *x, const double *cosine, const double *sine, int64_t half)
{
    rope(x, cosine, sine, half);
}

void G4_FN(gelu_mul_f32)(float *y, const float *gate, const float *up, int64_t n)
{
    gelu_mul(y, gate, up, n);
}

void G4_FN(add_scale_f32)(float *y, const float *x, const float *r, int64_t n, double scale)
{
    add_scale(y, x, r, n, scale);
}

void G4_FN(softcap_f32)(float *x, int64_t n, double cap)
{
    softcap(x, n, cap);
}
