/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/dtype/fit.h"

#include "ref/dtype/iq4.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = G4_FIT_LANES };

g4_fit_kind g4_fit_begin(g4_fit *f, const float *x, const float *weight, int n)
{
    uint32_t top = 0, heavy = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bits = g4_f32_bits(x[i]) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    for (int i = 0; weight && i < n; i++) {
        uint32_t bits = g4_f32_bits(weight[i]);
        heavy = bits > heavy ? bits : heavy;
    }
    /* Largest scale 65504 times the largest int8 scale times level: below 2^30.  Smallest
     * value of any format: 2^-24, and what is under half of that is 0. */
    if (top >= 0x4e800000u) return G4_FIT_NOT_A_NUMBER;
    if (top < 0x33000000u) return G4_FIT_ZERO;
    uint32_t e = top >> 23, we = heavy >> 23;
    f->up = g4_f32_from_bits(e << 23);
    f->down = g4_f32_from_bits((254 - e) << 23);
    f->n = n;
    /* Weights of a block that are all 0 (or nearly) do not say anything. */
    float w_down = we > 0 && we < 254 ? g4_f32_from_bits((254 - we) << 23) : 0.0f;
    for (int i = 0; i < n; i++) {
        f->x[i] = x[i] * f->down;
        f->w[i] = w_down > 0.0f ? weight[i] * w_down : 1.0f;
    }
    return G4_FIT_OK;
}

uint16_t g4_fit_store(const g4_fit *f, float d)
{
    return g4_f32_to_f16(d * f->up);
}

float g4_fit_load(const g4_fit *f, uint16_t h)
{
    return g4_f16_to_f32(h) * f->down;
}

/* Nearest integer in lo..hi, ties to even; a NaN gives lo. */
INLINE float nearest(float v, float lo, float hi)
{
    const float whole = 0x1.8p23f;   /* adding it leaves no place for a fraction */
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    return (v + whole) - whole;
}

INLINE float nearest_iq4(float v)
{
    float q = g4_iq4_level[0];
    for (int k = 1; k < 16; k++) {   /* a sum instead of a search: no branches */
        float middle = 0.5f * (g4_iq4_level[k - 1] + g4_iq4_level[k]);
        q += v > middle ? g4_iq4_level[k] - g4_iq4_level[k - 1] : 0.0f;
    }
    return q;
}

/* Four values side by side: each lane does what a float would, on every machine. */
typedef float four __attribute__((vector_size(16)));
typedef int32_t four_bits __attribute__((vector_size(16)));

INLINE four pick(four_bits which, four yes, four no)
{
    return (four)((which & (four_bits)yes) | (~which & (four_bits)no));
}

INLINE four nearest4(four v, float lo, float hi)
{
    four least = (four){ 0 } + lo, most = (four){ 0 } + hi;
    v = pick(v > least, v, least);   /* a NaN gives lo */
    v = pick(v < most, v, most);
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

INLINE four nearest4_iq4(four v)
{
    four q = (four){ 0 } + g4_iq4_level[0];
    for (int k = 1; k < 16; k++) {
        four step = (four){ 0 } + (g4_iq4_level[k] - g4_iq4_level[k - 1]);
        four_bits above = v > 0.5f * (g4_iq4_level[k - 1] + g4_iq4_level[k]);
        q += (four)(above & (four_bits)step);
    }
    return q;
}

/* ---- one scale ---- */

enum { FAN = 16, HALF = 8, ROUNDS = 3 };

/* Better by less is rounding; where many are as good, the first stands, so that like
 * sub-blocks get like scales. */
static const float MORE = 1.0f + 0x1p-18f;

/* Scales side by side, a lane each: no sum to fold. */
INLINE void fan_sums(const float *x, const float *w, int n, g4_levels l, int iq4,
                     const float inverse[FAN], float xq[FAN], float qq[FAN])
{
    four sx[FAN / 4] = { 0 }, sq[FAN / 4] = { 0 }, scale[FAN / 4];
    memcpy(scale, inverse, sizeof scale);
    for (int i = 0; i < n; i++) {
        float wi = w[i], wx = x[i] * wi;
        for (int g = 0; g < FAN / 4; g++) {
            four v = scale[g] * x[i], q = iq4 ? nearest4_iq4(v) : nearest4(v, l.lo, l.hi);
            sx[g] += q * wx;
            sq[g] += q * q * wi;
        }
    }
    memcpy(xq, sx, sizeof sx);
    memcpy(qq, sq, sizeof sq);
}

typedef struct scale_fit {
    float d, drop, qq;   /* drop: error without the scale minus error with it */
    float inverse;       /* what gave the levels */
} scale_fit;

INLINE scale_fit best_of_fan(const float *x, const float *w, int n, g4_levels l, int iq4,
                             const float inverse[FAN], scale_fit best)
{
    float xq[FAN], qq[FAN];
    fan_sums(x, w, n, l, iq4, inverse, xq, qq);
    for (int k = 0; k < FAN; k++)
        if (xq[k] * xq[k] > best.drop * qq[k] * MORE)
            best = (scale_fit){ xq[k] / qq[k], xq[k] * xq[k] / qq[k], qq[k], inverse[k] };
    return best;
}

/* Where the largest value may lie, in parts of the last level: beyond 1 it is clipped. */
static const float reach[FAN] = {
    1.0f, 0.9f, 1.1f, 0.8f, 0.7f, 1.25f, 0.6f, 1.5f,
    0.95f, 1.05f, 0.85f, 1.15f, 0.75f, 0.65f, 1.35f, 0.55f,
};

INLINE float fit_scale(const float *x, const float *w, int n, g4_levels l, int iq4, float *gain)
{
    float far = 0.0f, inverse[FAN];
    scale_fit best = { 0.0f, 0.0f, 0.0f, 0.0f };
    for (int i = 0; i < n; i++)
        if (w[i] > 0.0f && __builtin_fabsf(x[i]) > __builtin_fabsf(far)) far = x[i];
    *gain = 0.0f;
    if (far == 0.0f) return 0.0f;
    /* 1. Coarse, both signs: the levels are not symmetric. */
    for (int half = 0; half < 2; half++) {
        for (int k = 0; k < FAN; k++)
            inverse[k] = (k % 2 ? l.hi : l.lo) / far * reach[half * FAN / 2 + k / 2];
        best = best_of_fan(x, w, n, l, iq4, inverse, best);
    }
    /* 2. Fine, about as far as the next coarse one.  3. The scale that fits these levels
     * best may have better levels yet. */
    for (int round = 0; round < ROUNDS && best.d != 0.0f; round++) {
        float from = round ? 1.0f / best.d : best.inverse, step = round ? 0.001f : 0.0035f;
        for (int k = 0; k < FAN; k++)
            inverse[k] = from * (1.0f + step * (float)(k - FAN / 2));
        scale_fit next = best_of_fan(x, w, n, l, iq4, inverse, best);
        if (round && !(next.drop > best.drop)) break;
        best = next;
    }
    *gain = best.qq;
    return best.d;
}

float g4_fit_scale(const float *x, const float *w, int n, g4_levels l, float *gain)
{
    if (l.iq4) return fit_scale(x, w, n, l, 1, gain);
    return fit_scale(x, w, n, l, 0, gain);
}

/* The sum of w (x - d q - m)^2. */
static float error_of(const float *x, const float *w, int n, float d, float m, const float *q)
{
    four sum[LANES / 4] = { 0 };
    for (int i = 0; i < n; i += 4) {
        four xi, wi, qi;
        memcpy(&xi, x + i, sizeof xi);
        memcpy(&wi, w + i, sizeof wi);
        memcpy(&qi, q + i, sizeof qi);
        four e = xi - (qi * d + m);
        sum[i / 4 % 2] += wi * (e * e);
    }
    four all = sum[0] + sum[1];
    return (all[0] + all[2]) + (all[1] + all[3]);
}

float g4_fit_error(const float *x, const float *w, int n, g4_levels l, float d, float *q)
{
    float own[G4_SUPER], inverse = d != 0.0f ? 1.0f / d : 0.0f;
    if (!q) q = own;
    if (l.iq4)
        for (int i = 0; i < n; i++) q[i] = nearest_iq4(x[i] * inverse);
    else
        for (int i = 0; i < n; i++) q[i] = nearest(x[i] * inverse, l.lo, l.hi);
    return error_of(x, w, n, d, 0.0f, q);
}

/* ---- a scale and an offset ---- */

typedef struct line_sums {
    float xq, qq, q;   /* sums of w x q, w q q, w q */
} line_sums;

/* Lines side by side, x and m counted from base, so that a far offset costs no digits. */
INLINE void fan_of_lines(const float *x, const float *w, int n, float hi, float base,
                         const g4_line at[HALF], line_sums out[HALF])
{
    four sx[HALF / 4] = { 0 }, sq[HALF / 4] = { 0 }, s[HALF / 4] = { 0 };
    four inverse[HALF / 4], m[HALF / 4];
    float xq[HALF], qq[HALF], sum[HALF];
    for (int k = 0; k < HALF; k++) {
        inverse[k / 4][k % 4] = 1.0f / at[k].d;
        m[k / 4][k % 4] = at[k].m;
    }
    for (int i = 0; i < n; i++) {
        float v = x[i] - base, wi = w[i], wv = wi * v;
        for (int g = 0; g < HALF / 4; g++) {
            four q = nearest4((v - m[g]) * inverse[g], 0.0f, hi), wq = q * wi;
            sx[g] += q * wv;
            sq[g] += wq * q;
            s[g] += wq;
        }
    }
    memcpy(xq, sx, sizeof sx);
    memcpy(qq, sq, sizeof sq);
    memcpy(sum, s, sizeof s);
    for (int k = 0; k < HALF; k++) out[k] = (line_sums){ xq[k], qq[k], sum[k] };
}

typedef struct line_fit {
    g4_line at;
    float drop;   /* error without the line minus error with it */
    float qq;
} line_fit;

/* Least squares; w, wx: the sums of w and of w x. */
INLINE line_fit solve(line_sums s, float w, float wx, float max_m)
{
    line_fit f = { { 0.0f, wx / w }, 0.0f, s.qq };
    float det = w * s.qq - s.q * s.q;
    if (det > w * s.qq * 0x1p-19f) {   /* else all on one level, but for rounding */
        f.at.d = (w * s.xq - wx * s.q) / det;
        f.at.m = (wx - f.at.d * s.q) / w;
    }
    if (f.at.m > max_m) {
        f.at.m = max_m;
        f.at.d = s.qq > 0.0f ? (s.xq - max_m * s.q) / s.qq : 0.0f;
    }
    f.drop = f.at.d * (2.0f * (s.xq - f.at.m * s.q) - f.at.d * s.qq) +
             f.at.m * (2.0f * wx - f.at.m * w);
    return f;
}

typedef struct line_job {
    const float *x, *w;
    int n;
    float hi, base, max_m, sum_w, sum_wx;
} line_job;

static line_fit best_of_lines(const line_job *j, const g4_line at[FAN], line_fit best)
{
    line_sums s[FAN];
    fan_of_lines(j->x, j->w, j->n, j->hi, j->base, at, s);
    fan_of_lines(j->x, j->w, j->n, j->hi, j->base, at + HALF, s + HALF);
    for (int k = 0; k < FAN; k++) {
        line_fit f = solve(s[k], j->sum_w, j->sum_wx, j->max_m);
        if (f.drop > best.drop * MORE) best = f;
    }
    return best;
}

static line_fit fit_line(const line_job *j, float range)
{
    /* How much of the range to leave out below and above. */
    static const float cut[4] = { 0.0f, 0.05f, 0.11f, -0.03f };
    float hi = j->hi, step = hi > 16.0f ? 1.0f : hi > 8.0f ? 0.5f : 0.125f;
    line_fit best = { { 0.0f, 0.0f }, 0.0f, 0.0f };
    g4_line at[FAN];
    /* 1. Cut both ends. */
    for (int k = 0; k < FAN; k++)
        at[k] = (g4_line){ range * (1.0f - cut[k / 4] - cut[k % 4]) / hi, range * cut[k / 4] };
    best = best_of_lines(j, at, best);
    /* 2. Values that lie on few even steps: the last on any level from half on. */
    for (int half = 0; half < (hi < 8.0f ? 2 : 1); half++) {
        for (int k = 0; k < FAN; k++)
            at[k] = (g4_line){ range / (hi - step * ((float)k + 0.5f * (float)half)), 0.0f };
        best = best_of_lines(j, at, best);
    }
    /* An outlier leaves few levels to the others: where these lie decides. */
    for (int k = 0; k < FAN; k++)
        at[k] = (g4_line){ range / (hi + 0.125f * (float)(k - FAN / 2) + 0.0625f), 0.0f };
    best = best_of_lines(j, at, best);
    for (int k = 0; k < FAN; k++)
        at[k] = (g4_line){ range / (hi - 1.0f), range / (hi - 1.0f) * (float)k / -FAN };
    best = best_of_lines(j, at, best);
    /* 3. Around the best, then alternate. */
    g4_line from = best.at;
    if (!(from.d > 0.0f)) return best;
    for (int k = 0; k < FAN; k++)
        at[k] = (g4_line){ from.d * (1.0f + 0.012f * ((float)(k % 4) - 1.5f)),
                           from.m + 0.15f * from.d * ((float)(k / 4) - 1.5f) };
    best = best_of_lines(j, at, best);
    for (int round = 0; round < 3 && best.at.d > 0.0f; round++) {
        for (int k = 0; k < FAN; k++)
            at[k] = (g4_line){ best.at.d * (1.0f + 0.004f * (float)(k % 4 == 3 ? -1 : k % 4)),
                               best.at.m - 0.05f * best.at.d * (float)(k / 4) };
        line_fit next = best_of_lines(j, at, best);
        if (!(next.drop > best.drop)) break;
        best = next;
    }
    return best;
}

g4_line g4_fit_line(const float *x, const float *w, int n, float hi, float max_m, float *gain)
{
    float low = __builtin_inff(), high = -low;
    for (int i = 0; i < n; i++) {
        if (!(w[i] > 0.0f)) continue;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float base = low < max_m ? low : max_m;
    line_job j = { x, w, n, hi, base, max_m - base, 0.0f, 0.0f };
    *gain = 0.0f;
    if (!(high > base)) return (g4_line){ 0.0f, base };
    for (int i = 0; i < n; i++) {
        j.sum_w += w[i];
        j.sum_wx += w[i] * (x[i] - base);
    }
    line_fit best = fit_line(&j, high - base);
    *gain = best.qq;
    return (g4_line){ best.at.d, best.at.m + base };
}

float g4_fit_line_error(const float *x, const float *w, int n, float hi, g4_line at, float *q)
{
    float own[G4_SUPER], inverse = at.d != 0.0f ? 1.0f / at.d : 0.0f;
    if (!q) q = own;
    for (int i = 0; i < n; i++) q[i] = nearest((x[i] - at.m) * inverse, 0.0f, hi);
    return error_of(x, w, n, at.d, at.m, q);
}
