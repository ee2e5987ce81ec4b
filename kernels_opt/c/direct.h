/* SPDX-License-Identifier: Apache-2.0
 * A linear layer over 1..8 tokens: bound by memory, so each weight is read once,
 * where it lies, widened in registers and used for all tokens.  All PASSES
 * vectors of an output advance together; R rows at a time keep enough sums apart
 * to hide the latency of a multiply-add. */
#ifndef G4_KERNELS_C_DIRECT_H
#define G4_KERNELS_C_DIRECT_H

#include "kernels_opt/c/pack.h"

enum { MAX_R = 4, MAX_T = REG_ACCS / PASSES < 8 ? REG_ACCS / PASSES : 8 };

enum { LANE_SETS = MAX_T * MAX_R + 3 };   /* outputs of a tile, rounded up to fours */

_Static_assert(MAX_T >= 4, "direct_tokens() needs four");

/* Ends the R x T rows whose lanes are in lane[T][R][16]: tail, fold, store. */
static void direct_end(const g4_linear_args *a, float *lane, int64_t r, int64_t t0, int R, int T,
                       g4_dtype type)
{
    int64_t tail = a->w->cols % G4_LANES, whole = a->w->cols - tail;
    float out[LANE_SETS];
    for (int o = 0; tail && o < R * T; o++) {
        float w[G4_LANES], x[G4_LANES], *l = lane + o * G4_LANES;
        const unsigned char *row = g4_mat_row(a->w, r + o % R);
        load_tail(w, row + (size_t)whole * size_of(type), tail, type, G4_PAD_W);
        load_tail(x, a->x + (t0 + o / R) * a->ldx + whole, tail, G4_F32, G4_PAD_X);
        for (int p = 0; p < G4_LANES; p += VEC)
            vec_store(l + p, vec_fma(vec_load(w + p), vec_load(x + p), vec_load(l + p)));
    }
    for (int o = R * T; o % 4; o++) memset(lane + o * G4_LANES, 0, G4_LANES * sizeof *lane);
    for (int o = 0; o < R * T; o += 4) fold4(out + o, lane + o * G4_LANES);
    for (int o = 0; o < R * T; o++) a->y[(t0 + o / R) * a->ldy + r + o % R] = out[o];
}

/* Rows [r, r + R) x tokens [t0, t0 + T); R and T are constants after inlining. */
G4_INLINE void direct(const g4_linear_args *a, int64_t r, int64_t t0, const int R, const int T,
                      g4_dtype type)
{
    vec acc[MAX_T][MAX_R][PASSES];
    const unsigned char *row[MAX_R];
    const float *x = a->x + t0 * a->ldx;
    const int64_t n = a->w->cols, ldx = a->ldx;
    G4_UNROLL
    for (int i = 0; i < R; i++) {
        row[i] = g4_mat_row(a->w, r + i);
        G4_UNROLL
        for (int t = 0; t < T; t++)
            G4_UNROLL
            for (int p = 0; p < PASSES; p++) acc[t][i][p] = vec_zero();
    }
    for (int64_t k = 0; k + G4_LANES <= n; k += G4_LANES)
        G4_UNROLL
        for (int p = 0; p < PASSES; p++) {
            vec w[MAX_R];
            G4_UNROLL
            for (int i = 0; i < R; i++)
                w[i] = load_as(type, row[i] + (size_t)(k + p * VEC) * size_of(type));
            if (p == 0)
                G4_UNROLL
                for (int i = 0; i < R; i++)
                    __builtin_prefetch(row[i] + R * a->w->row_bytes + (size_t)k * size_of(type));
            G4_UNROLL
            for (int t = 0; t < T; t++) {
                vec xt = vec_load(x + t * ldx + k + p * VEC);
                G4_UNROLL
                for (int i = 0; i < R; i++) acc[t][i][p] = vec_fma(w[i], xt, acc[t][i][p]);
            }
        }
    float lane[LANE_SETS * G4_LANES];
    G4_UNROLL
    for (int t = 0; t < T; t++)
        G4_UNROLL
        for (int i = 0; i < R; i++)
            G4_UNROLL
            for (int p = 0; p < PASSES; p++)
                vec_store(lane + (t * R + i) * G4_LANES + p * VEC, acc[t][i][p]);
    direct_end(a, lane, r, t0, R, T, type);
}

/* All rows for T tokens, R rows at a time. */
G4_INLINE void direct_rows(const g4_linear_args *a, int64_t r0, int64_t r1, int64_t t0,
                           const int R, const int T, g4_dtype type)
{
    int64_t r = r0;
    for (; r + R <= r1; r += R) direct(a, r, t0, R, T, type);
    for (; r < r1; r++) direct(a, r, t0, 1, T, type);
}

/* How many rows fit beside T tokens. */
#define DIRECT_R(T) (REG_ACCS / (PASSES * (T)) > MAX_R ? MAX_R : REG_ACCS / (PASSES * (T)))

G4_INLINE void linear_direct(const g4_linear_args *a, int64_t r0, int64_t r1, g4_dtype type)
{
    int64_t t = 0, left = a->tokens;
    for (; left > 0; t = a->tokens - left) {
        int64_t n = g4_min(left, MAX_T);
        left -= n;
        if (n == 1) direct_rows(a, r0, r1, t, DIRECT_R(1), 1, type);
        if (n == 2) direct_rows(a, r0, r1, t, DIRECT_R(2), 2, type);
        if (n == 3) direct_rows(a, r0, r1, t, DIRECT_R(3), 3, type);
        if (n == 4) direct_rows(a, r0, r1, t, DIRECT_R(4), 4, type);
#ifdef G4_VEC_WIDE   /* vec_<isa>.h: registers for more tokens at once */
        if (n == 5) direct_rows(a, r0, r1, t, DIRECT_R(5), 5, type);
        if (n == 6) direct_rows(a, r0, r1, t, DIRECT_R(6), 6, type);
        if (n == 7) direct_rows(a, r0, r1, t, DIRECT_R(7), 7, type);
        if (n == 8) direct_rows(a, r0, r1, t, DIRECT_R(8), 8, type);
#endif
    }
}

#endif
