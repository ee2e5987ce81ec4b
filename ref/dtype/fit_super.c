/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/dtype/fit_super.h"

#include <float.h>

enum { NEAR = 2 /* steps 3 and 4 */, TRIED = 12 };

static float size_of(float v)
{
    return __builtin_fabsf(v);
}

/* Nearest integer in lo..hi. */
static int whole(float v, int lo, int hi)
{
    v = v > (float)lo ? v : (float)lo;
    v = v < (float)hi ? v : (float)hi;
    return (int)((v + 0x1.8p23f) - 0x1.8p23f);
}

static void put(uint8_t p[2], uint16_t h)
{
    memcpy(p, &h, 2);
}

static uint16_t get(const uint8_t p[2])
{
    return g4_load_u16(p);
}

static int is_finite(uint16_t h)
{
    return (h & 0x7fff) < 0x7c00;
}

/* Zeros, or a NaN for a block that has no scale. */
static g4_fit_kind begin(g4_fit *f, const float *x, const float *weight, g4_super *s)
{
    g4_fit_kind kind = g4_fit_begin(f, x, weight, G4_SUPER);
    memset(s, 0, sizeof *s);
    put(s->d, kind == G4_FIT_ZERO ? 0 : 0x7e00);
    put(s->dmin, kind == G4_FIT_ZERO ? 0 : 0x7e00);
    return kind;
}

static float farthest(const float *want, int subs)
{
    float far = 0.0f;
    for (int j = 0; j < subs; j++)
        if (size_of(want[j]) > size_of(far)) far = want[j];
    return far;
}

/* Shared scales with which the largest of want meets an integer near an end, as f16;
 * number k of 4 * TRIED, or 0. */
static uint16_t shared(const g4_fit *f, float far, int lo, int hi, int k)
{
    int end = k % 2 ? hi - k / 4 : lo + k / 4;
    if (far == 0.0f || end == 0 || (k % 2 ? end < 0 : end > 0)) return 0;
    uint16_t h = (uint16_t)(g4_fit_store(f, far / (float)end) + k / 2 % 2);
    return h;   /* and the next one: f16 has few digits far down */
}

/* Step 2: want[j] = shared scale * integer in lo..hi. */
static uint16_t share(const g4_fit *f, const float *want, const float *gain, int subs, int lo,
                      int hi)
{
    float far = farthest(want, subs), least = FLT_MAX;
    uint16_t best = g4_fit_store(f, far / (float)(lo ? lo : hi));
    for (int k = 0; k < 4 * TRIED; k++) {
        uint16_t h = shared(f, far, lo, hi, k);
        float d = g4_fit_load(f, h), sum = 0.0f;
        if (d == 0.0f || !is_finite(h)) continue;
        for (int j = 0; j < subs; j++) {
            float e = want[j] - d * (float)whole(want[j] / d, lo, hi);
            sum += gain[j] * e * e;
        }
        if (sum < least) {
            least = sum;
            best = h;
        }
    }
    return best;
}

/* Is what is left of the error the rounding of scales, and not that of levels? */
static int only_rounding(const g4_fit *f, float error)
{
    float all = 0.0f;
    for (int i = 0; i < G4_SUPER; i++) all += f->w[i] * f->x[i] * f->x[i];
    return error <= all * 0x1p-16f;
}

/* ---- scales alone ---- */

/* Step 3 for all sub-blocks, integers at most `far` from their own; the error. */
static float choose(const g4_fit *f, int len, g4_levels l, int lo, int hi, const float *want,
                    int far, g4_super *s)
{
    float d = g4_fit_load(f, get(s->d)), total = 0.0f;
    for (int at = 0, j = 0; at < G4_SUPER; at += len, j++) {
        float least = FLT_MAX;
        int near = d != 0.0f ? whole(want[j] / d, lo, hi) : 0;
        int first = near - far > lo ? near - far : lo, last = near + far < hi ? near + far : hi;
        for (int c = first; c <= last; c++) {
            float e = g4_fit_error(f->x + at, f->w + at, len, l, d * (float)c, NULL);
            if (e < least) {
                least = e;
                s->scale[j] = c;
            }
        }
        total += g4_fit_error(f->x + at, f->w + at, len, l, d * (float)s->scale[j], s->q + at);
    }
    return total;
}

/* Step 4. */
static uint16_t refit(const g4_fit *f, int len, const g4_super *s)
{
    float xq = 0.0f, qq = 0.0f;
    for (int i = 0; i < G4_SUPER; i++) {
        float v = (float)s->scale[i / len] * s->q[i];
        xq += f->w[i] * v * f->x[i];
        qq += f->w[i] * v * v;
    }
    return qq > 0.0f ? g4_fit_store(f, xq / qq) : 0;
}

void g4_fit_super(const float *x, const float *weight, int len, g4_levels l, int scale_lo,
                  int scale_hi, g4_super *s)
{
    g4_fit f;
    float want[G4_SUBS], gain[G4_SUBS];
    if (begin(&f, x, weight, s) != G4_FIT_OK) return;
    for (int at = 0, j = 0; at < G4_SUPER; at += len, j++)
        want[j] = g4_fit_scale(f.x + at, f.w + at, len, l, &gain[j]);
    uint16_t h = share(&f, want, gain, G4_SUPER / len, scale_lo, scale_hi);
    if (!is_finite(h)) return;
    put(s->d, h);
    float error = choose(&f, len, l, scale_lo, scale_hi, want, 1, s);
    for (int round = 0; round < NEAR; round++) {
        g4_super next = *s;
        h = refit(&f, len, s);
        if (!is_finite(h) || h == get(s->d)) break;
        put(next.d, h);
        float e = choose(&f, len, l, scale_lo, scale_hi, want, 1, &next);
        if (!(e < error)) break;
        error = e;
        *s = next;
    }
    float far = farthest(want, G4_SUPER / len);
    for (int k = 0; k < 4 * TRIED && error > 0.0f && only_rounding(&f, error); k++) {
        g4_super next = *s;   /* rows of one or few values: luck decides, so try more */
        h = shared(&f, far, scale_lo, scale_hi, k);
        if (h == 0 || !is_finite(h)) continue;
        put(next.d, h);
        float e = choose(&f, len, l, scale_lo, scale_hi, want, scale_hi - scale_lo, &next);
        if (e < error) *s = next;
        error = e < error ? e : error;
    }
}

/* ---- scales and offsets ---- */

static float choose_line(const g4_fit *f, int len, float hi, int most, const g4_line *want,
                         int far, g4_super *s)
{
    float d = g4_fit_load(f, get(s->d)), dmin = g4_fit_load(f, get(s->dmin)), total = 0.0f;
    for (int at = 0, j = 0; at < G4_SUPER; at += len, j++) {
        const float *x = f->x + at, *w = f->w + at;
        float least = FLT_MAX;
        int scale = d != 0.0f ? whole(want[j].d / d, 0, most) : 0;
        int min = dmin != 0.0f ? whole(-want[j].m / dmin, 0, most) : 0;
        for (int c = 0; c < 3 * (2 * far + 1); c++) {
            int a = scale + c / 3 - far, b = min + c % 3 - 1;
            if (a < 0 || a > most || b < 0 || b > most) continue;
            g4_line line = { d * (float)a, -(dmin * (float)b) };
            float e = g4_fit_line_error(x, w, len, hi, line, NULL);
            if (e < least) {
                least = e;
                s->scale[j] = a;
                s->min[j] = b;
            }
        }
        g4_line line = { d * (float)s->scale[j], -(dmin * (float)s->min[j]) };
        total += g4_fit_line_error(x, w, len, hi, line, s->q + at);
    }
    return total;
}

/* x = d u - dmin v with u = scale q, v = min: two unknowns. */
static int refit_line(const g4_fit *f, int len, g4_super *s)
{
    float uu = 0.0f, uv = 0.0f, vv = 0.0f, xu = 0.0f, xv = 0.0f;
    for (int i = 0; i < G4_SUPER; i++) {
        float u = (float)s->scale[i / len] * s->q[i], v = (float)s->min[i / len], w = f->w[i];
        uu += w * u * u;
        uv += w * u * v;
        vv += w * v * v;
        xu += w * u * f->x[i];
        xv += w * v * f->x[i];
    }
    float det = uu * vv - uv * uv, d, dmin = 0.0f;
    if (det > uu * vv * 0x1p-16f) {
        d = (vv * xu - uv * xv) / det;
        dmin = (uv * xu - uu * xv) / det;
    } else {
        if (vv > 0.0f || !(uu > 0.0f)) return 0;   /* only scales, or nothing to win */
        d = xu / uu;
    }
    uint16_t hd = g4_fit_store(f, d), hm = g4_fit_store(f, dmin);
    if (!is_finite(hd) || !is_finite(hm) || (hd == get(s->d) && hm == get(s->dmin))) return 0;
    put(s->d, hd);
    put(s->dmin, hm);
    return 1;
}

void g4_fit_super_line(const float *x, const float *weight, int len, float hi, int most,
                       g4_super *s)
{
    g4_fit f;
    g4_line want[G4_SUBS];
    float scale[G4_SUBS], min[G4_SUBS], gain[G4_SUBS], weights[G4_SUBS];
    if (begin(&f, x, weight, s) != G4_FIT_OK) return;
    for (int at = 0, j = 0; at < G4_SUPER; at += len, j++) {
        want[j] = g4_fit_line(f.x + at, f.w + at, len, hi, 0.0f, &gain[j]);
        scale[j] = want[j].d;
        min[j] = -want[j].m;
        weights[j] = 0.0f;
        for (int i = 0; i < len; i++) weights[j] += f.w[at + i];
    }
    uint16_t hd = share(&f, scale, gain, G4_SUPER / len, 0, most);
    uint16_t hm = share(&f, min, weights, G4_SUPER / len, 0, most);
    if (!is_finite(hd) || !is_finite(hm)) return;
    put(s->d, hd);
    put(s->dmin, hm);
    float error = choose_line(&f, len, hi, most, want, 1, s);
    for (int round = 0; round < NEAR; round++) {
        g4_super next = *s;
        if (!refit_line(&f, len, &next)) break;
        float e = choose_line(&f, len, hi, most, want, 1, &next);
        if (!(e < error)) break;
        error = e;
        *s = next;
    }
    for (int k = 0; k < 4 * TRIED && error > 0.0f && only_rounding(&f, error); k++) {
        g4_super next = *s;
        hd = shared(&f, farthest(scale, G4_SUPER / len), 0, most, k);
        if (hd == 0 || !is_finite(hd)) continue;
        put(next.d, hd);
        float e = choose_line(&f, len, hi, most, want, most, &next);
        if (e < error) *s = next;
        error = e < error ? e : error;
    }
}
