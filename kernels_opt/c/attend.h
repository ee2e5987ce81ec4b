/* SPDX-License-Identifier: Apache-2.0
 * Attention of the query heads that share a key/value head, on vectors of VEC
 * lanes; included like c/linear.h.  Keys are read once for SCORE_H heads, values
 * once for as many heads as a register tile holds.  Order per output is that of
 * ops.h: scores in 16 lanes, values key by key inside a block of 64 positions. */
#include "kernels_opt/c/pack.h"
#include "ref/base/real.h"

enum {
    KEYS = 4,             /* scores of one head folded together */
    SCORE_H = REG_ACCS / (PASSES * KEYS) > 4 ? 4
              : REG_ACCS / (PASSES * KEYS) < 1 ? 1 : REG_ACCS / (PASSES * KEYS),
    KEY_BLOCK = 64,
};

/* The cache row of position k. */
G4_INLINE int64_t ring_row(const g4_attend_args *a, int64_t k)
{
    return k % a->slots;
}

/* p[h][k .. k + 3] = q[h] . key[..] for heads [h, h + H), H constant; key rows given. */
G4_INLINE void score_tile(const g4_attend_args *a, const float *const key[KEYS], int64_t head,
                          float (*out)[KEYS], const int H)
{
    vec acc[4][KEYS][PASSES];
    int64_t n = a->head_dim, whole = n - n % G4_LANES;
    const float *q = a->q + head * n;
    G4_UNROLL
    for (int h = 0; h < H; h++)
        G4_UNROLL
        for (int j = 0; j < KEYS; j++)
            G4_UNROLL
            for (int p = 0; p < PASSES; p++) acc[h][j][p] = vec_zero();
    for (int64_t i = 0; i < whole; i += G4_LANES)
        G4_UNROLL
        for (int p = 0; p < PASSES; p++) {
            vec kv[KEYS];
            G4_UNROLL
            for (int j = 0; j < KEYS; j++) kv[j] = vec_load(key[j] + i + p * VEC);
            G4_UNROLL
            for (int h = 0; h < H; h++) {
                vec qv = vec_load(q + h * n + i + p * VEC);
                G4_UNROLL
                for (int j = 0; j < KEYS; j++) acc[h][j][p] = vec_fma(qv, kv[j], acc[h][j][p]);
            }
        }
    float lane[KEYS * G4_LANES], tq[G4_LANES], tk[G4_LANES];
    G4_UNROLL
    for (int h = 0; h < H; h++) {
        if (whole < n) load_tail(tq, q + h * n + whole, n - whole, G4_F32, G4_PAD_X);
        G4_UNROLL
        for (int j = 0; j < KEYS; j++) {
            if (whole < n) load_tail(tk, key[j] + whole, n - whole, G4_F32, G4_PAD_W);
            G4_UNROLL
            for (int p = 0; p < PASSES; p++) {
                vec v = acc[h][j][p];
                if (whole < n) v = vec_fma(vec_load(tq + p * VEC), vec_load(tk + p * VEC), v);
                vec_store(lane + j * G4_LANES + p * VEC, v);
            }
        }
        fold4(out[h], lane);
    }
}

/* scratch[h][k] = q[h] . key[lo + k] */
G4_INLINE void scores(const g4_attend_args *a)
{
    int64_t n = a->hi - a->lo;
    for (int64_t k = 0; k < n; k += KEYS) {
        int64_t some = g4_min(n - k, KEYS);
        const float *key[KEYS];
        for (int j = 0; j < KEYS; j++)   /* past the end: the last key again, not stored */
            key[j] = a->key + ring_row(a, a->lo + g4_min(k + j, n - 1)) * a->stride;
        for (int64_t h = 0; h < a->heads;) {
            float out[4][KEYS];
            int64_t left = a->heads - h, took = left >= SCORE_H ? SCORE_H : left >= 2 ? 2 : 1;
            if (SCORE_H >= 4 && took == 4)
                score_tile(a, key, h, out, 4);
            else if (SCORE_H >= 2 && took >= 2)
                score_tile(a, key, h, out, 2), took = 2;
            else
                score_tile(a, key, h, out, 1), took = 1;
            for (int64_t i = 0; i < took; i++)
                memcpy(a->scratch + (h + i) * n + k, out[i], (size_t)some * sizeof(float));
            h += took;
        }
    }
}

/* p = f32(exp(s - max s)) in place; returns their sum, added in order. */
static double soften(float *p, int64_t n)
{
    float top[G4_LANES];
    int64_t i = 0;
    for (int l = 0; l < G4_LANES; l++) top[l] = -__builtin_inff();
    for (; i + G4_LANES <= n; i += G4_LANES)
        for (int l = 0; l < G4_LANES; l++) top[l] = p[i + l] > top[l] ? p[i + l] : top[l];
    for (int l = 0; i + l < n; l++) top[l] = p[i + l] > top[l] ? p[i + l] : top[l];
    for (int l = 1; l < G4_LANES; l++) top[0] = top[l] > top[0] ? top[l] : top[0];
    const double max = (double)top[0];
    for (i = 0; i < n; i++) p[i] = (float)g4_exp((double)p[i] - max);
    double sum = 0.0;
    for (i = 0; i < n; i++) sum += (double)p[i];
    return sum;
}

/* out[h][d ..] += the block's sum over keys [lo, hi) for H heads x D vectors. */
G4_INLINE void value_tile(const g4_attend_args *a, int64_t lo, int64_t hi, int64_t head, int64_t d,
                          const int H, const int D)
{
    vec acc[4][8];
    int64_t n = a->hi - a->lo, row = ring_row(a, lo);
    G4_UNROLL
    for (int h = 0; h < H; h++)
        G4_UNROLL
        for (int j = 0; j < D; j++) acc[h][j] = vec_zero();
    for (int64_t k = lo; k < hi; k++) {
        const float *value = a->value + row * a->stride + d, *p = a->scratch + head * n + k - a->lo;
        vec v[8];
        G4_UNROLL
        for (int j = 0; j < D; j++) v[j] = vec_load(value + j * VEC);
        G4_UNROLL
        for (int h = 0; h < H; h++) {
            vec ph = vec_set1(p[h * n]);
            G4_UNROLL
            for (int j = 0; j < D; j++) acc[h][j] = vec_fma(ph, v[j], acc[h][j]);
        }
        if (++row == a->slots) row = 0;
    }
    G4_UNROLL
    for (int h = 0; h < H; h++) {
        float *out = a->out + (head + h) * a->head_dim + d;
        G4_UNROLL
        for (int j = 0; j < D; j++)
            vec_store(out + j * VEC, vec_add(vec_load(out + j * VEC), acc[h][j]));
    }
}

/* The same for the last few elements of one head. */
static void value_tail(const g4_attend_args *a, int64_t lo, int64_t hi, int64_t head, int64_t d)
{
    const float *p = a->scratch + head * (a->hi - a->lo) - a->lo;
    for (; d < a->head_dim; d++) {
        float acc = 0.0f;
        for (int64_t k = lo; k < hi; k++)
            acc = __builtin_fmaf(p[k], a->value[ring_row(a, k) * a->stride + d], acc);
        a->out[head * a->head_dim + d] += acc;
    }
}

G4_INLINE void value_heads(const g4_attend_args *a, int64_t lo, int64_t hi, int64_t head,
                           const int H)
{
    enum { FEW = 8 };
    const int D = REG_ACCS / H < FEW ? REG_ACCS / H : FEW;
    int64_t d = 0;
    for (; d + D * VEC <= a->head_dim; d += D * VEC) value_tile(a, lo, hi, head, d, H, D);
    for (; d + VEC <= a->head_dim; d += VEC) value_tile(a, lo, hi, head, d, H, 1);
    for (int h = 0; h < H && d < a->head_dim; h++) value_tail(a, lo, hi, head + h, d);
}

void G4_FN(attend_f32)(const g4_attend_args *a)
{
    int64_t n = a->hi - a->lo;
    memset(a->out, 0, (size_t)(a->heads * a->head_dim) * sizeof(float));
    scores(a);
    for (int64_t h = 0; h < a->heads;) {
        int64_t took = a->heads - h >= 4 ? 4 : a->heads - h >= 2 ? 2 : 1;
        double sum[4];
        for (int64_t i = 0; i < took; i++) sum[i] = soften(a->scratch + (h + i) * n, n);
        for (int64_t lo = a->lo; lo < a->hi;) {
            int64_t hi = g4_min((lo / KEY_BLOCK + 1) * KEY_BLOCK, a->hi);
            if (took == 4) value_heads(a, lo, hi, h, 4);
            else if (took == 2) value_heads(a, lo, hi, h, 2);
            else value_heads(a, lo, hi, h, 1);
            lo = hi;
        }
        for (int64_t i = 0; i < took; i++) {
            float *out = a->out + (h + i) * a->head_dim;
            for (int64_t d = 0; d < a->head_dim; d++) out[d] = (float)((double)out[d] / sum[i]);
        }
        h += took;
    }
}
