/* SPDX-License-Identifier: Apache-2.0
 * The definition of linear_pair and round_pair (law in kernels_opt/pair.h): what every
 * ISA's kernel is compared with, bit by bit, and what runs where there is none. */
#include "kernels_opt/pair.h"

#include "kernels_opt/c/round_pair.h"
#include "ref/base/half.h"
#include "ref/dtype/dtype.h"

#include <float.h>
#include <math.h>

static float flush(float v)
{
    return fabsf(v) < FLT_MIN ? copysignf(0.0f, v) : v;
}

/* Value i of a row of n, which is followed by zeros. */
static float value_at(const unsigned char *row, int64_t i, int64_t n)
{
    return i < n ? flush(g4_bf16_to_f32(g4_load_u16(row + 2 * i))) : 0.0f;
}

static float pair_dot(const unsigned char *w, const unsigned char *x, int64_t n)
{
    float lane[G4_LANES] = { 0 };
    for (int64_t i = 0; i < g4_pair_ld(n); i += 2) {
        float *acc = &lane[i / 2 % G4_LANES];
        *acc = flush(fmaf(value_at(w, i + 1, n), value_at(x, i + 1, n), *acc));
        *acc = flush(fmaf(value_at(w, i, n), value_at(x, i, n), *acc));
    }
    for (int half = G4_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

void g4_linear_pair_c(const g4_linear_args *a, int64_t r0, int64_t r1, float *scratch)
{
    int64_t n = a->w->cols;
    (void)scratch;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t t = 0; t < a->tokens; t++)
            a->y[t * a->ldy + r] = pair_dot(g4_mat_row(a->w, r), a->xq + 2 * t * g4_pair_ld(n), n);
}

void g4_round_pair_c(const g4_round_args *a, int64_t t0, int64_t t1)
{
    round_pairs(a, t0, t1);
}

int64_t g4_pair_bytes(int64_t tokens, int64_t cols)
{
    return 2 * tokens * g4_pair_ld(cols);
}
